/* What a provider had taken and could not deliver after all: its FAILED receipts, judged like an attempt's
 * end and settled the same way: again, by the next step of the chain, or to a person. */
#ifndef AGWB_CONSUMER_BOUNCE_H
#define AGWB_CONSUMER_BOUNCE_H

#include <stdbool.h>

#include "base/metrics.h"
#include "consumer/ledger.h"
#include "domain/alert.h"
#include "domain/config.h"
#include "io/loop.h"

struct bounce;

struct bounce_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct ledger *ledger;
    struct alerts *alerts;
    void (*on_settled)(void *arg); /* something may be due again, or parked without a copy */
    void *arg;
};

struct bounce *bounce_new(const struct bounce_deps *deps);
void bounce_free(struct bounce **b);
void bounce_look(struct bounce *b); /* there are receipts to judge */
void bounce_turn(struct bounce *b);
bool bounce_is_idle(const struct bounce *b); /* no statement is under way */

#endif
