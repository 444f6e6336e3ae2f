/* What happened in an attempt. Decided by one pure function a provider (channels/), acted on by one pure
 * function for all (disposition). */
#ifndef AGWB_CONSUMER_OUTCOME_H
#define AGWB_CONSUMER_OUTCOME_H

/* Spelled as in agwb.delivery_attempts.outcome. */
enum outcome {
    OUTCOME_DELIVERED = 0, /* the provider took it */
    OUTCOME_TEMPFAIL,      /* not taken; trying again may help */
    OUTCOME_THROTTLED,     /* not taken: too much, too soon; no attempt of this message */
    OUTCOME_PERMFAIL,      /* not taken, and never will be */
    OUTCOME_UNCERTAIN,     /* the request left us and no answer came */
    OUTCOME_AUTH,          /* not taken: the account, not the message, is at fault */
};
enum { OUTCOME_COUNT = OUTCOME_AUTH + 1 };

const char *outcome_name(enum outcome o);

#endif
