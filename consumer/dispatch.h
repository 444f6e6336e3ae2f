/* Decides when the ledger is asked for what is due, starts what it gives, and settles what ended. At most
 * max_in_flight attempts run; a claim brings only what starts in this turn, an acceptance a few more. */
#ifndef AGWB_CONSUMER_DISPATCH_H
#define AGWB_CONSUMER_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/metrics.h"
#include "consumer/ledger.h"
#include "domain/alert.h"
#include "domain/config.h"
#include "io/http.h"
#include "io/loop.h"

struct dispatch;

struct dispatch_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct ledger *ledger;
    struct http *http;
    struct alerts *alerts;
    void (*on_parked)(void *arg);  /* the ledger may hold parked deliveries without a copy */
    void (*on_bounced)(void *arg); /* the ledger has receipts of what was sent in vain */
    void *arg;
};

struct dispatch *dispatch_new(const struct dispatch_deps *deps);
void dispatch_free(struct dispatch **d);

void dispatch_open(struct dispatch *d);  /* begin: the schema is known to be good */
void dispatch_close(struct dispatch *d); /* drain: claim no more, give back what waits for a slot */
void dispatch_wake(struct dispatch *d);  /* something may be due */
void dispatch_turn(struct dispatch *d);

/* Lends the free slots to an acceptance, which may claim for them, and with may_wait those that will be free
 * when it has ended; until dispatch_end_lent() nothing else is claimed. 0 and a filled ask (perhaps without
 * slots); -1: ask again in a later turn, for a claim is under way or its turn, or with may_wait since all
 * slots are taken. `skip` has room for CONFIG_MAX_ACCOUNTS and must live as long as the ask. */
int dispatch_lend(struct dispatch *d, struct ledger_ask *ask, const char **skip, bool may_wait) MUST_CHECK;
/* Starts what the acceptance claimed, or takes *arena, in which the claim's payload, reply and headers live,
 * and nulls it: then it starts when there is a slot. */
void dispatch_start_lent(struct dispatch *d, const struct ledger_claim *claim, struct arena **arena);
/* The acceptance has ended; e: without an answer, and nobody knows what it claimed. has_waiting: it accepted
 * more than it claimed. */
void dispatch_end_lent(struct dispatch *d, const struct err *e, bool has_waiting);
/* No attempt runs and nothing is unsettled. */
bool dispatch_is_idle(const struct dispatch *d);
size_t dispatch_in_flight(const struct dispatch *d);
/* There are sender accounts, and every one of them is down. */
bool dispatch_is_cut_off(const struct dispatch *d);

#endif
