/* What `dlq` prints: lines for people, or an object a line with stable keys. Numbers are masked wherever they
 * stand, control characters of foreign texts never reach the terminal, a body is written only when asked for.
 * Pure. */
#ifndef AGWB_CONSUMER_DLQ_OUTPUT_H
#define AGWB_CONSUMER_DLQ_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "consumer/dlq_message.h"
#include "io/db.h"

/* What became of a message. */
enum dlq_result {
    DLQ_SEEN = 0, /* only looked at */
    DLQ_WOULD,    /* a dry run: it would be done */
    DLQ_DONE,
    DLQ_REMOVED, /* an earlier run that died has replayed it: the leftover is acked */
    DLQ_LEFT,    /* stays in its queue */
};

struct dlq_tally {
    uint32_t messages; /* in the queue when the run began */
    int64_t examined;
    int64_t done; /* or listed, or what would be done: what --limit counts */
    int64_t removed, left;
    int64_t stale; /* left because they are expired and old */
};

void dlq_write_queue(struct buf *out, bool json, const char *queue, uint32_t messages);
void dlq_write_queues_summary(struct buf *out, uint64_t messages);

/* One line. why: for DLQ_LEFT, else NULL. */
void dlq_write_message(struct buf *out, const struct dlq_options *o, const struct dlq_message *m,
                       enum dlq_result result, const char *why);

/* All there is; facts and attempts as the store gives them. */
void dlq_write_detail(struct buf *out, const struct dlq_options *o, const struct dlq_message *m,
                      const struct db_result *facts, const struct db_result *attempts);

/* target: the queue they go to; NULL = none. stopped: before its end. */
void dlq_write_summary(struct buf *out, const struct dlq_options *o, const struct dlq_tally *t,
                       const char *target, bool stopped);

/* "90s", "15m", "3h 5m", "2d 4h"; "-" when unknown (< 0). */
enum { DLQ_AGE_SIZE = 48 };
const char *dlq_age_text(int64_t age_ms, char out[DLQ_AGE_SIZE]);

/* A bar like "[####----] 12/40", without a line's end. */
void dlq_write_bar(struct buf *out, int64_t done, int64_t total);

#endif
