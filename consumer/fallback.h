/* Requests that will not be answered: a dead-lettered one, an agent's error without text, a published job
 * without any reply in time. One place decides what their contacts hear: agwb.fail_requests(), called here
 * by batch. */
#ifndef AGWB_CONSUMER_FALLBACK_H
#define AGWB_CONSUMER_FALLBACK_H

#include <stdbool.h>

#include "base/metrics.h"
#include "consumer/ledger.h"
#include "domain/config.h"
#include "io/loop.h"

struct fallback;

struct fallback_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct ledger *ledger;
    void (*on_delivery)(void *arg); /* the ledger has new deliveries */
    void *arg;
};

/* The result is committed. In the read phase. */
typedef void fallback_done_fn(void *arg, enum ledger_fail_result result);

struct fallback *fallback_new(const struct fallback_deps *deps);
void fallback_free(struct fallback **f);

void fallback_open(struct fallback *f);  /* begin looking for overdue jobs: the schema is known to be good */
void fallback_close(struct fallback *f); /* drain: look no more; what was added is still carried out */
/* job_id is a uuid. Everything is copied; tried again until the database took it. */
void fallback_add(struct fallback *f, const struct ledger_failure *item, fallback_done_fn *done, void *arg);
void fallback_turn(struct fallback *f);
bool fallback_is_idle(const struct fallback *f);

#endif
