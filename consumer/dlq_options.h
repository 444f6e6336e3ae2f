/* The command line of `dlq`: a verb, a queue, filters. Pure. */
#ifndef AGWB_CONSUMER_DLQ_OPTIONS_H
#define AGWB_CONSUMER_DLQ_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "domain/contact.h"

enum dlq_verb { DLQ_LIST = 0, DLQ_SHOW, DLQ_REPLAY, DLQ_PARK, DLQ_PURGE };
const char *dlq_verb_name(enum dlq_verb v);
bool dlq_verb_moves(enum dlq_verb v); /* messages, rather than looks at them */

/* The four queues, each with where its messages came from. */
enum dlq_side { DLQ_REPLIES = 0, DLQ_REQUESTS };
struct dlq_queue {
    const char *name;
    enum dlq_side side;
    const char *parked; /* where `park` moves its messages; NULL: they are parked already */
};
enum { DLQ_QUEUE_COUNT = 4 };
extern const struct dlq_queue DLQ_QUEUES[DLQ_QUEUE_COUNT];

struct dlq_filter {
    const char *reason, *message_id, *workspace; /* borrowed from argv; NULL = any */
    int64_t min_age_ms, max_age_ms;              /* < 0 = any */
    const char *jid;                             /* a JID that hides its number; NULL = any */
    char number[CONTACT_E164_MAX + 1];           /* "" = any */
};

struct dlq_options {
    bool help;
    enum dlq_verb verb;
    const struct dlq_queue *queue; /* NULL: `list` of all */
    struct dlq_filter filter;
    int64_t limit, rate; /* rate: a second; 0 = as fast as it goes */
    bool execute, yes, json, body, again;
};

enum { DLQ_LIMIT_DEFAULT = 10, DLQ_LIMIT_MAX = 1000000, DLQ_RATE_MAX = 1000 };

/* argv[0] is the verb; it may be reordered. 0, or -1 and ERR_USAGE. */
int dlq_options_parse(int argc, char **argv, struct dlq_options *o, struct err *e) MUST_CHECK;

/* "90s", "15m", "2h", "1d" in milliseconds. */
bool dlq_duration_parse(const char *text, int64_t *ms);

void dlq_usage_write(struct buf *out);

#endif
