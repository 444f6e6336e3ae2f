/* A receiver of webhooks for the tests: a child process that takes every POST, keeps its body as a line of a
 * file, and answers with a status. */
#ifndef AGWB_TESTS_RECEIVER_H
#define AGWB_TESTS_RECEIVER_H

#include "harness.h"

struct receiver {
    int port;
    struct process process;
    char bodies[PATH_SIZE], heads[PATH_SIZE]; /* files: a line a request; heads: with '|' for line ends */
};

/* Begins to listen; it ends with the test. dir: the test's folder. */
void receiver_start(struct receiver *r, const char *dir, int status);
void receiver_end(struct receiver *r);
/* How many of the bodies so far have this text in them (NULL: all). */
size_t receiver_count(const struct receiver *r, const char *text);

#endif
