/* Something waits and nothing moves: what a look at a queue and a counter of what was done tell when they are
 * taken more than once. Pure. */
#ifndef AGWB_DOMAIN_STANDSTILL_H
#define AGWB_DOMAIN_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    STANDSTILL_MS = 10000,     /* so long without a move is one */
    STANDSTILL_LOOK_MS = 3000, /* how soon to look again while it may be one */
};

struct standstill { /* zero: nothing seen yet */
    bool is_waiting;
    int64_t since_ms; /* monotonic: since when it waits without a move */
    uint64_t done;    /* the counter then */
    bool is_reached;
};

/* Takes a look; done counts moves and never goes back. True when it stands still. */
bool standstill_look(struct standstill *s, bool is_waiting, uint64_t done, int64_t now_ms);

#endif
