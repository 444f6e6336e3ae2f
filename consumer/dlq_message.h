/* A message of a dead-letter queue as an operator asks for it: what it is, why it is there, whether a filter
 * means it. Pure. */
#ifndef AGWB_CONSUMER_DLQ_MESSAGE_H
#define AGWB_CONSUMER_DLQ_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "consumer/dlq_options.h"
#include "io/broker.h"

/* Expired replies older than this reach people out of context: replay leaves them out unless told otherwise.
 */
enum { DLQ_EXPIRED_MAX_AGE_MS = 3600000 };

enum { DLQ_ID_MAX = 255 }; /* bytes */

struct dlq_message { /* strings live in the arena; NULL when absent */
    const struct dlq_queue *queue;
    const struct broker_delivery *delivery; /* borrowed until the next call on the broker session */
    uint64_t delivery_tag;
    const char *id; /* the body's messageId, else the property's, else a hash of the bytes: never NULL */
    const char *original_id; /* the request that a reply answers */
    const char *reason;      /* header agwb-reason */
    const char *detail;      /* header agwb-error */
    const char *death;       /* what the broker says: header agwb-death, else the newest x-death */
    const char *jid, *number, *workspace; /* of the body; number in E.164 */
    const char *traceparent;
    int64_t age_ms;         /* < 0: unknown */
    int64_t attempts;       /* < 0: unknown */
    int64_t delivery_count; /* how often it was fetched and given back */
};

/* Reads a delivery; wall_ms is the time its age is counted to. Everything from outside is taken as it comes.
 */
void dlq_message_read(struct dlq_message *m, const struct dlq_queue *q, const struct broker_delivery *d,
                      int64_t wall_ms, struct arena *a);

/* Whether the filter asks for something that the body does not say and the database may know. */
bool dlq_message_needs_facts(const struct dlq_message *m, const struct dlq_filter *f);
/* What it knows, where the body says nothing. address: a number or JID; NULL or "" = unknown. */
void dlq_message_add_facts(struct dlq_message *m, const char *address, const char *workspace,
                           struct arena *a);

bool dlq_message_matches(const struct dlq_message *m, const struct dlq_filter *f);

/* An expired or late reply that is too old, or of unknown age, for a filter that does not speak of age. */
bool dlq_message_is_stale(const struct dlq_message *m, const struct dlq_filter *f);

#endif
