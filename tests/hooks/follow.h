/* The providers' receipts: follows the stand-in provider's journal and posts, for each message that it took,
 * what the real one would post about it afterwards. */
#ifndef AGWB_TESTS_HOOKS_FOLLOW_H
#define AGWB_TESTS_HOOKS_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/hooks/front.h"

enum { FOLLOW_MAX_RULES = 8 };

struct follow_settings {
    const char *journal;    /* file */
    enum hook_status up_to; /* HOOK_SENT, HOOK_DELIVERED or HOOK_READ */
    bool disorder;          /* each receipt twice, the last one first */
    struct {
        const char *text; /* messages that contain it */
        int64_t code;     /* fail with it in the end; 0: nothing is said of them at all */
    } rules[FOLLOW_MAX_RULES];
    size_t rule_count;
};

/* Until stop_fd is readable. */
int follow(const struct follow_settings *s, struct front *f, int stop_fd, struct err *e) MUST_CHECK;

#endif
