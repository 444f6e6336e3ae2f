/* What reached the provider: one JSON line a request, appended to a file by one write(2) before the answer
 * leaves. From then on the real provider would have the message, whatever happens to us or to the answer. */
#ifndef AGWB_TESTS_PROVIDER_JOURNAL_H
#define AGWB_TESTS_PROVIDER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct journal;

struct journal_entry { /* borrowed; strings may be NULL */
    const char *method, *path, *provider;
    const char *to, *text;
    const char *body; /* the bytes as they came */
    size_t body_len;
    bool body_is_json; /* spliced as a JSON value; else written as a string */
    bool auth_ok;
    int status;        /* what will be answered; 0 = no answer */
    const char *fault; /* the scripted fault that is played, or NULL */
    bool accepted;     /* the provider took the message: its contact gets it */
    const char *id;    /* the message id given out, or NULL */
    uint64_t connection;
};

/* Appends to the file; without a path the lines are kept in memory. */
struct journal *journal_open(const char *path, struct err *e);
void journal_close(struct journal **j);

/* Appends one line {"seq":1,"wall_ms":..,"mono_us":..,...}; the sequence number of the entry is returned.
 * Ends the process when the file cannot be written: a journal with holes proves nothing. */
uint64_t journal_add(struct journal *j, const struct journal_entry *entry);
/* The last entry's sequence number; 0 = none yet. */
uint64_t journal_last(const struct journal *j);
/* A JSON array of the entries behind `after`, at most `limit` and as many as fit the buffer's limit. */
void journal_list(struct journal *j, uint64_t after, uint64_t limit, struct buf *out);

#endif
