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
    /* The same in place of on_end: it was not sent, for too little was left of its lease. The claim is to be
     * given back; message and fence are all that *s has. */
    void (*on_late)(void *arg, const struct settlement *s);
    void *arg;
};

enum attempt_begun {
    ATTEMPT_RUNS = 0, /* on_end or on_late will follow in a later turn */
    ATTEMPT_ENDED,    /* before any request (this message cannot go this way): *s is the settlement */
    ATTEMPT_LATE,     /* as on_late, and with its *s */
};

/* Starts the attempt of a claimed delivery; everything is copied. lease_ends_ms (boottime) is not later than
 * the ledger has it: what cannot be over by then is not begun, whatever was asked before. claim_ms is what
 * the claim's statement took, for the log line. */
enum attempt_begun attempt_start(const struct attempt_deps *deps, const struct ledger_claim *claim,
                                 int64_t lease_ends_ms, double claim_ms, struct settlement *s);
/* Frees those that still run. The http they wait for must be gone: none of them ends any more. */
void attempts_free(struct attempt_list *running);

#endif
