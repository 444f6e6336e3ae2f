/* Copies to the parked queues, where messages wait for a person: dead requests, replies that never reached
 * the ledger, and deliveries that the ledger has parked. A copy is published with its reasons as headers and
 * is done only when the broker has confirmed it; until then it is tried again. */
#ifndef AGWB_CONSUMER_PARKING_H
#define AGWB_CONSUMER_PARKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "consumer/ledger.h"
#include "domain/alert.h"
#include "domain/config.h"
#include "io/broker.h"
#include "io/loop.h"

struct parking;

struct parking_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct broker *broker; /* publishes; its handlers must call parking_on_confirm */
    struct ledger *ledger;
    struct alerts *alerts;
};

/* Why a message is parked: label of agwb_dead_letters_total and header agwb-reason. */
enum parking_reason {
    PARKING_INVALID = 0, /* breaks the contract; the failing path is in the text */
    PARKING_ID_CONFLICT, /* the id is taken by another body */
    PARKING_POISON,      /* the database cannot store it */
    PARKING_UNROUTABLE,  /* no address, or no account for its channel */
    PARKING_PERMANENT,   /* the provider will never take it */
    PARKING_EXHAUSTED,   /* every try failed */
    PARKING_UNCERTAIN,   /* it may have been sent, and no receipt came */
    PARKING_OVERTAKEN,   /* not sent when its turn was, and a later one to the contact has gone */
    PARKING_LATE,        /* a dead reply that is too old, or of unknown age */
    PARKING_DUPLICATE,   /* a dead reply that the ledger has already */
    PARKING_DEAD,        /* a request that no agent answered */
};
const char *parking_reason_name(enum parking_reason r);

struct parking_note {   /* copied */
    const char *queue;  /* TOPOLOGY_WB_PARKED or TOPOLOGY_AG_PARKED; static */
    const char *origin; /* the queue it came from; static or of the configuration */
    const char *death;  /* what the broker says of its death, "expired"; NULL when it came alive */
    enum parking_reason reason;
    const char *text;       /* what exactly: for the person */
    const char *message_id; /* NULL when it has none */
    const char *body;
    size_t body_len;
    const char *outcome;     /* of the last attempt; NULL when there was none */
    const char *traceparent; /* NULL when none */
    int64_t attempts, first_seen_ms;
};

/* The copy is confirmed. Runs in the read phase. */
typedef void parking_done_fn(void *arg);

struct parking *parking_new(const struct parking_deps *deps);
void parking_free(struct parking **d);

void parking_add(struct parking *d, const struct parking_note *note, parking_done_fn *done, void *arg);
/* The ledger may have parked deliveries without a copy. */
void parking_look(struct parking *d);

void parking_on_confirm(struct parking *d, uint64_t cookie, enum broker_confirm result);
void parking_turn(struct parking *d);
bool parking_is_idle(const struct parking *d);

#endif
