/* The durable states and the moves between them: one table. */
#include "consumer/delivery.h"

#define TO(s) (1u << (s))

static const struct {
    const char *name;
    unsigned next; /* states that may follow */
} STATES[DELIVERY_STATE_COUNT] = {
    [DELIVERY_READY] = {"ready", TO(DELIVERY_SENDING) | TO(DELIVERY_PARKED) | TO(DELIVERY_CANCELLED)},
    [DELIVERY_SENDING] = {"sending", TO(DELIVERY_READY) | TO(DELIVERY_UNCERTAIN) | TO(DELIVERY_SENT) |
                                         TO(DELIVERY_PARKED)},
    [DELIVERY_UNCERTAIN] = {"uncertain", TO(DELIVERY_READY) | TO(DELIVERY_SENT) | TO(DELIVERY_PARKED)},
    [DELIVERY_SENT] = {"sent", TO(DELIVERY_READY) | TO(DELIVERY_PARKED)}, /* it did not arrive; a replay that
                                                                             was asked for with --again */
    [DELIVERY_PARKED] = {"parked",
                         TO(DELIVERY_READY) | TO(DELIVERY_SENT)}, /* a replay; a receipt after all */
    [DELIVERY_CANCELLED] = {"cancelled", TO(DELIVERY_READY)},
};

const char *delivery_state_name(enum delivery_state s)
{
    return STATES[s].name;
}

bool delivery_may_move(enum delivery_state from, enum delivery_state to)
{
    return (STATES[from].next & TO(to)) != 0;
}

enum delivery_state delivery_state_after(enum disposition_kind k)
{
    switch (k) {
    case DISPOSITION_DONE:
        return DELIVERY_SENT;
    case DISPOSITION_CONTINUE:
    case DISPOSITION_RETRY:
    case DISPOSITION_HOLD:
    case DISPOSITION_NEXT:
        return DELIVERY_READY;
    case DISPOSITION_RECONCILE:
        return DELIVERY_UNCERTAIN;
    case DISPOSITION_PARK:
        return DELIVERY_PARKED;
    }
    return DELIVERY_PARKED;
}
