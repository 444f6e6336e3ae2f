/* Claims that wait in this process for a slot: an acceptance claims a few more than there are free slots, as
 * many as will be free when it has ended. */
#ifndef AGWB_CONSUMER_CLAIMED_H
#define AGWB_CONSUMER_CLAIMED_H

#include <stdint.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "consumer/ledger.h"

struct claimed {
    STAILQ_ENTRY(claimed) entry;
    struct ledger_claim claim;
    struct arena *arena;   /* what the claim points to */
    int64_t claimed_at;    /* monotonic ms */
    int64_t lease_ends_ms; /* boottime */
    double claim_ms;       /* what the statement took */
};

struct claimed_queue { /* the first is the oldest */
    STAILQ_HEAD(, claimed) list;
    size_t count;
};

void claimed_init(struct claimed_queue *q);
void claimed_fini(struct claimed_queue *q);
/* Adds a copy of *c, whose strings are copied into *arena; payload, reply and headers live there already. It
 * is taken, and nulled. */
void claimed_add(struct claimed_queue *q, const struct claimed *c, struct arena **arena);
struct claimed *claimed_take(struct claimed_queue *q); /* NULL when there is none; claimed_free() is next */
void claimed_free(struct claimed *c);

#endif
