/* A message of wb_queue or dlx_webhook while it is this process's: what is kept of it until it is
 * acknowledged. What becomes of it is decided in receive.c. */
#ifndef AGWB_CONSUMER_ARRIVAL_H
#define AGWB_CONSUMER_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "domain/message.h"
#include "io/broker.h"

struct receive;

enum arrival_state { ARRIVAL_WAITING = 0, ARRIVAL_BATCHED, ARRIVAL_FAILING, ARRIVAL_PARKING, ARRIVAL_DONE };

struct arrival {
    struct arrival *next;  /* the owner's list */
    struct receive *owner; /* for callbacks */
    enum arrival_state state;
    uint64_t epoch, tag;
    uint32_t id_hash;    /* of the reply's messageId */
    int64_t arrived_at;  /* monotonic ms */
    struct arena *arena; /* owns all below */
    struct reply *reply; /* NULL until it was parsed, and when it is none */
    char *body;
    size_t body_len;
    char *headers_json;      /* those that travel on */
    const char *traceparent; /* NULL when none */
    int32_t replay;          /* 0 = none */
    bool late;               /* came by dlx_webhook */
    const char *death;       /* what the broker says of its death; NULL when it came alive */
};

/* Copies all that is kept of the delivery, whose body must be there; the reply is not parsed. */
struct arrival *arrival_new(const struct broker_delivery *d, struct receive *owner, int64_t now_ms);
void arrival_free(struct arrival *a);

#endif
