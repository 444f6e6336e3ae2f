/* A delivery: its durable states, as the ledger knows them, and the value that travels from a claim to its
 * settlement. */
#ifndef AGWB_CONSUMER_DELIVERY_H
#define AGWB_CONSUMER_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumer/disposition.h"
#include "consumer/outcome.h"

/* Spelled as in agwb.deliveries.state; a test compares the two lists.
 *
 *            accept            claim              settle: done
 *   (reply) --------> READY --------> SENDING ----------------> SENT
 *                      ^ ^              |  |
 *                      | +--------------+  | settle: reconcile, or the owner died (lease end)
 *                      |  settle: continue,|
 *                      |  retry, hold,     v
 *                      |  next; release  UNCERTAIN ---> SENT    (a late definite result)
 *                      +-------------------+   |
 *          policy: resend, or a receipt that   +------> PARKED  (policy: park)
 *          proves the part under way
 *   settle: park takes SENDING to PARKED; CANCELLED is for what must not be sent any more. A receipt that
 *   proves what was parked as uncertain takes it back to READY, and one that says that what was SENT did not
 *   arrive to READY (retry, next) or PARKED.
 *
 * It waits in READY (next_attempt_at, or its lane's head), in SENDING (the attempt's end, or lease_until)
 * and in UNCERTAIN (a receipt, or next_attempt_at). */
enum delivery_state {
    DELIVERY_READY = 0,
    DELIVERY_SENDING,
    DELIVERY_UNCERTAIN,
    DELIVERY_SENT,
    DELIVERY_PARKED,
    DELIVERY_CANCELLED,
};
enum { DELIVERY_STATE_COUNT = DELIVERY_CANCELLED + 1 };

const char *delivery_state_name(enum delivery_state s);
/* The state that settles an attempt of this disposition. */
enum delivery_state delivery_state_after(enum disposition_kind k);
/* Whether the ledger may take a row from one state to the other. */
bool delivery_may_move(enum delivery_state from, enum delivery_state to);

/* By which way a delivery goes. */
struct delivery_way {
    char account[64], channel[16];
    char address[256]; /* E.164 where there is a number, else what the channel knows the contact by */
    char chain[64];    /* the account whose chain led here; "" = it is the contact's first */
    int32_t step;      /* how many entries of the chain are behind it */
    bool as_template;  /* the account's template in place of the reply */
};

/* One claimed attempt's end, ready for the ledger. */
enum { SETTLEMENT_TEXT = 200 };
struct settlement {
    char message_id[129];
    int32_t fence;
    enum outcome outcome;
    struct disposition disposition;
    struct delivery_way next;           /* for DISPOSITION_NEXT */
    bool opted_out;                     /* the contact wants no messages */
    char provider_id[257];              /* "" = none */
    char reason[SETTLEMENT_TEXT + 160]; /* of the state after; "" when sent */
    char provider_code[48], detail[SETTLEMENT_TEXT + 80];
    int32_t http_status;          /* 0 = no answer */
    int64_t started_ms, ended_ms; /* wall */
    char timings[256];            /* JSON */
};

#endif
