/* A circuit for each sender account: when the provider or the credentials are down, the account is left alone
 * and probed with one delivery at a time, so that an outage uses up no message's tries. In memory: each
 * instance finds out for itself. */
#ifndef AGWB_CONSUMER_CIRCUIT_H
#define AGWB_CONSUMER_CIRCUIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "consumer/outcome.h"
#include "domain/alert.h"
#include "domain/config.h"

enum circuit_state {
    CIRCUIT_CLOSED = 0, /* in use */
    CIRCUIT_OPEN,       /* left alone until the next probe */
    CIRCUIT_PROBING,    /* one claim or attempt is under way */
};

/* A row of failures opens it; a refused account does so at once. */
enum {
    CIRCUIT_FAILURES = 5,
    CIRCUIT_PROBE_MS = 5000,
    CIRCUIT_PROBE_MAX_MS = 300000,
    CIRCUIT_IDLE_PROBE_MS = 1000
};

struct circuits;
struct circuits *circuits_new(const struct config *c, struct metrics *m, struct alerts *a); /* borrowed */
void circuits_free(struct circuits **c);

/* An attempt over the account ended. works: whatever the outcome, the provider spoke as one that works and
 * meant this message alone. A change raises an alert. */
void circuits_record(struct circuits *c, const char *account, enum outcome outcome, bool works,
                     int64_t now_ms);
/* The account is down: a failure now says nothing about the message. */
bool circuits_is_down(const struct circuits *c, const char *account);
enum circuit_state circuits_state(const struct circuits *c, const char *account);

/* Accounts that are down, for claims; returns how many of `max` were written. Names are the configuration's.
 */
size_t circuits_down(const struct circuits *c, const char **names, size_t max);
/* The account whose probe is due, now PROBING, or NULL. */
const char *circuits_take_probe(struct circuits *c, int64_t now_ms);
/* The probe found nothing to send. */
void circuits_probe_missed(struct circuits *c, const char *account, int64_t now_ms);
/* When the next probe is due; -1 = no account is down. */
int64_t circuits_next_probe_at(const struct circuits *c);

#endif
