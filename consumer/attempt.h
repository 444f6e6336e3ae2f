/* One attempt: from a claim to a request, from the provider's answer to a settlement, with its log line
 * and its figures. */
#ifndef AGWB_CONSUMER_ATTEMPT_H
#define AGWB_CONSUMER_ATTEMPT_H

#include <sys/queue.h>

#include "base/metrics.h"
#include "consumer/circuit.h"
#include "consumer/delivery.h"
#include "consumer/error_rate.h"
#include "consumer/ledger.h"
#include "consumer/probe.h"
#include "domain/config.h"
#include "io/http.h"

LIST_HEAD(attempt_list, attempt);

struct attempt_deps { /* borrowed */
    const struct config *config;
    struct metrics *metrics;
    struct http *http;
    struct circuits *circuits;
    struct error_rates *errors;
    struct alerts *alerts;
    struct probes *probes;
    struct loop *loop;
    struct attempt_list *running; /* attempt.c keeps them here until their end */
    /* The attempt's end: *s is borrowed until it returns. In the read phase; should only record. */
    void (*on_end)(void *arg, const struct settlement *s);
    void *arg;
};

/* Starts the attempt of a claimed delivery; everything is copied. 0: on_end will follow in a later turn.
 * 1: it ended before any request (this message cannot go this way), *s is the settlement and on_end does
 * not follow. claim_ms is what the claim's statement took, for the log line. */
int attempt_start(const struct attempt_deps *deps, const struct ledger_claim *claim, double claim_ms,
                  struct settlement *s);
/* Frees those that still run. The http they wait for must be gone: none of them ends any more. */
void attempts_free(struct attempt_list *running);

#endif
