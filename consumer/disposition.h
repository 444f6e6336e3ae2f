/* What to do about an outcome: the retry policy, whole and in one place. Pure. */
#ifndef AGWB_CONSUMER_DISPOSITION_H
#define AGWB_CONSUMER_DISPOSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "consumer/outcome.h"
#include "domain/config.h"

/* Spelled as in agwb.delivery_attempts.disposition. */
enum disposition_kind {
    DISPOSITION_DONE = 0, /* sent */
    DISPOSITION_CONTINUE, /* a part is sent: ready at once for the next one */
    DISPOSITION_RETRY,    /* ready again after wait_ms; the attempt counts */
    DISPOSITION_HOLD, /* ready again after wait_ms; the attempt does not count: the message is not at fault */
    DISPOSITION_RECONCILE, /* uncertain: a receipt may come within wait_ms, then the account's policy decides
                            */
    DISPOSITION_NEXT,      /* ready at once by the next step of the account's chain */
    DISPOSITION_PARK,      /* to wb_parked, for a person */
};
enum { DISPOSITION_COUNT = DISPOSITION_PARK + 1 };

const char *disposition_name(enum disposition_kind k);

struct disposition {
    enum disposition_kind kind;
    int64_t wait_ms; /* RETRY, HOLD, RECONCILE */
    bool counted;    /* this attempt is one of the message's tries */
};

struct disposition_input {
    enum outcome outcome;
    bool has_more;          /* DELIVERED: parts that were not sent yet */
    bool has_next;          /* a failure for good: the chain has a step for it */
    int attempts;           /* counted tries, this one included; >= 1 */
    int tries;              /* in all for this kind of failure, if fewer than the ladder has; 0 = as that */
    int64_t retry_after_ms; /* the provider's wish; -1 = none */
    bool account_down;      /* the account's circuit is open: a failure says nothing about this message */
    const struct config_retry *ladder;
    int64_t uncertain_wait_ms;
    uint64_t random; /* uniform; for the jitter */
};

struct disposition disposition_decide(const struct disposition_input *in);

/* Waits that are not the ladder's. */
enum {
    DISPOSITION_RETRY_AFTER_MAX_MS = 3600000, /* a longer Retry-After is cut to this */
    DISPOSITION_THROTTLE_MS = 5000,           /* throttled without a Retry-After */
    DISPOSITION_ACCOUNT_MS = 60000,           /* the account is refused: how often it is tried */
};

#endif
