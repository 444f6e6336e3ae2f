/* Moves one dead letter: back to work, to its parked queue, or out. A message is in two queues for a moment,
 * never in none: the copy is confirmed before the old one is acked. */
#ifndef AGWB_CONSUMER_REPLAY_H
#define AGWB_CONSUMER_REPLAY_H

#include "consumer/dlq_message.h"
#include "consumer/dlq_output.h"
#include "consumer/dlq_store.h"
#include "domain/config.h"
#include "io/broker.h"

/* Header of a replayed message: its generation, an integer from 1. */
#define REPLAY_HEADER "agwb-replay"

struct replay {
    const struct config *config;
    const struct dlq_options *options;
    struct broker_session *broker;
    struct dlq_store *store;
    const char *who;
};

/* Where the options' verb moves messages: a queue's name; NULL: nowhere. */
const char *replay_target(const struct config *c, const struct dlq_options *o);

/* Does, or for a dry run judges, what the verb says. *result is DLQ_WOULD, DLQ_DONE, DLQ_REMOVED, or DLQ_LEFT
 * with the reason in *why (static). What m->delivery points at is gone afterwards. */
int replay_message(const struct replay *r, const struct dlq_message *m, enum dlq_result *result,
                   const char **why, struct err *e) MUST_CHECK;

#endif
