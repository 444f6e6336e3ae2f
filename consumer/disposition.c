/* The retry policy. One row an outcome; nothing else in the program decides whether a message is tried
 * again. */
#include "consumer/disposition.h"

const char *outcome_name(enum outcome o)
{
    static const char *const NAMES[OUTCOME_COUNT] = {
        [OUTCOME_DELIVERED] = "DELIVERED", [OUTCOME_TEMPFAIL] = "TEMPFAIL",
        [OUTCOME_THROTTLED] = "THROTTLED", [OUTCOME_PERMFAIL] = "PERMFAIL",
        [OUTCOME_UNCERTAIN] = "UNCERTAIN", [OUTCOME_AUTH] = "AUTH",
    };

    return NAMES[o];
}

const char *disposition_name(enum disposition_kind k)
{
    static const char *const NAMES[DISPOSITION_COUNT] = {
        [DISPOSITION_DONE] = "done", [DISPOSITION_CONTINUE] = "continue",   [DISPOSITION_RETRY] = "retry",
        [DISPOSITION_HOLD] = "hold", [DISPOSITION_RECONCILE] = "reconcile", [DISPOSITION_NEXT] = "next",
        [DISPOSITION_PARK] = "park",
    };

    return NAMES[k];
}

/* Never sooner than the provider asked for, never later than an hour because of it. */
static int64_t wait_at_least(int64_t wait_ms, int64_t retry_after_ms)
{
    int64_t asked =
        retry_after_ms < DISPOSITION_RETRY_AFTER_MAX_MS ? retry_after_ms : DISPOSITION_RETRY_AFTER_MAX_MS;

    return asked > wait_ms ? asked : wait_ms;
}

static struct disposition give_up(const struct disposition_input *in)
{
    return (struct disposition){.kind = in->has_next ? DISPOSITION_NEXT : DISPOSITION_PARK, .counted = true};
}

static struct disposition retry_or_give_up(const struct disposition_input *in)
{
    int tries = in->tries > 0 && in->tries < in->ladder->tries ? in->tries : in->ladder->tries;
    int64_t wait_ms;

    if (in->attempts >= tries)
        return give_up(in);
    wait_ms = backoff_jittered_ms(&in->ladder->backoff, in->attempts, in->random);
    return (struct disposition){
        .kind = DISPOSITION_RETRY, .wait_ms = wait_at_least(wait_ms, in->retry_after_ms), .counted = true};
}

/* Without jitter a throttled crowd would come back as one. The provider's own figure is a floor. */
static struct disposition hold(const struct disposition_input *in, int64_t usual_ms)
{
    struct backoff spread = {.delay_ms = usual_ms, .multiplier = 1, .jitter = in->ladder->backoff.jitter};
    int64_t wait_ms = backoff_jittered_ms(&spread, 1, in->random);

    return (struct disposition){.kind = DISPOSITION_HOLD,
                                .wait_ms = wait_at_least(wait_ms, in->retry_after_ms)};
}

struct disposition disposition_decide(const struct disposition_input *in)
{
    switch (in->outcome) {
    case OUTCOME_DELIVERED:
        return (struct disposition){.kind = in->has_more ? DISPOSITION_CONTINUE : DISPOSITION_DONE,
                                    .counted = true};
    case OUTCOME_TEMPFAIL:
        /* the circuit decides when the account is tried again, the lane just waits for its turn */
        return in->account_down ? hold(in, 0) : retry_or_give_up(in);
    case OUTCOME_THROTTLED:
        return hold(in, in->retry_after_ms >= 0 ? 0 : DISPOSITION_THROTTLE_MS);
    case OUTCOME_PERMFAIL:
        return give_up(in);
    case OUTCOME_UNCERTAIN:
        return (struct disposition){
            .kind = DISPOSITION_RECONCILE, .wait_ms = in->uncertain_wait_ms, .counted = true};
    case OUTCOME_AUTH:
        return hold(in, in->account_down ? 0 : DISPOSITION_ACCOUNT_MS);
    }
    return (struct disposition){.kind = DISPOSITION_PARK, .counted = true};
}
