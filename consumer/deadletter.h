/* Copies to wb_parked, the queue of messages that wait for a person: replies that never reached the
 * ledger, and deliveries that the ledger has parked. A copy is published with its reasons as headers and
 * is done only when the broker has confirmed it; until then it is tried again. */
#ifndef AGWB_CONSUMER_DEADLETTER_H
#define AGWB_CONSUMER_DEADLETTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "consumer/ledger.h"
#include "domain/config.h"
#include "io/broker.h"
#include "io/loop.h"

struct deadletter;

struct deadletter_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct broker *broker; /* publishes; its handlers must call deadletter_on_confirm */
    struct ledger *ledger;
};

/* Why a message is parked: label of agwb_dead_letters_total and header agwb-reason. */
enum deadletter_reason {
    DEADLETTER_INVALID = 0, /* breaks the contract; the failing path is in the text */
    DEADLETTER_ID_CONFLICT, /* the id is taken by another body */
    DEADLETTER_POISON,      /* the database cannot store it */
    DEADLETTER_UNROUTABLE,  /* no address, or no account for its channel */
    DEADLETTER_PERMANENT,   /* the provider will never take it */
    DEADLETTER_EXHAUSTED,   /* every try failed */
    DEADLETTER_UNCERTAIN,   /* it may have been sent, and no receipt came */
};
const char *deadletter_reason_name(enum deadletter_reason r);

struct deadletter_note { /* copied */
    enum deadletter_reason reason;
    const char *text;       /* what exactly: for the person */
    const char *message_id; /* NULL when it has none */
    const char *body;
    size_t body_len;
    const char *traceparent; /* NULL when none */
    int64_t attempts, first_seen_ms;
};

/* The copy is confirmed. Runs in the read phase. */
typedef void deadletter_done_fn(void *arg);

struct deadletter *deadletter_new(const struct deadletter_deps *deps);
void deadletter_free(struct deadletter **d);

void deadletter_add(struct deadletter *d, const struct deadletter_note *note, deadletter_done_fn *done,
                    void *arg);
/* The ledger may have parked deliveries without a copy. */
void deadletter_look(struct deadletter *d);

void deadletter_on_confirm(struct deadletter *d, uint64_t cookie, enum broker_confirm result);
void deadletter_turn(struct deadletter *d);
bool deadletter_is_idle(const struct deadletter *d);

#endif
