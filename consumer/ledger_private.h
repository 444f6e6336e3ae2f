/* Shared by the ledger's files only: the call record that carries a callback over its statement's flight. */
#ifndef AGWB_CONSUMER_LEDGER_PRIVATE_H
#define AGWB_CONSUMER_LEDGER_PRIVATE_H

#include <sys/queue.h>

#include "consumer/ledger.h"

struct ledger {
    struct ledger_deps deps;
    struct db_params params;
    struct buf accounts;            /* the routing table agwb.accept_replies() wants */
    LIST_HEAD(, ledger_call) calls; /* whose statements are in flight */
};

/* One statement's callback. `count` is the batch's size where results are arrays. */
struct ledger_call {
    union {
        ledger_accepted_fn *accepted;
        ledger_claimed_fn *claimed;
        ledger_settled_fn *settled;
        ledger_done_fn *done;
        ledger_swept_fn *swept;
        ledger_parked_fn *parked;
        ledger_failed_fn *failed;
        ledger_overdue_fn *overdue;
        ledger_bounces_fn *bounces;
    };
    void *arg;
    size_t count;
    LIST_ENTRY(ledger_call) entry;
};

/* Runs the statement with l->params; on success the call is carried to the callback, which must take it. -1
 * when the connection is not up. */
int ledger_run(struct ledger *l, struct db *db, const char *sql, db_done_fn *done,
               const struct ledger_call *call);
struct ledger_call ledger_take(void *arg);
/* A db_done_fn for calls that only want to know whether it worked. */
void ledger_on_done(void *arg, const struct db_result *r, const struct err *e);

/* The name of a claim: each has its own, so that one whose answer was lost can be undone. */
void ledger_add_claim_owner(const struct ledger *l, struct db_params *p, uint64_t number);
/* The array of accounts that are left alone. */
void ledger_add_skipped(struct db_params *p, const struct ledger_ask *ask);
/* The array of accounts that have a chain. */
void ledger_add_chained(const struct ledger *l, struct db_params *p);
/* The limits, as the last parameters of a claim and of what claims besides. */
void ledger_add_limits(const struct ledger *l, struct db_params *p);
/* A way as the JSON that agwb.settle_deliveries() wants, or NULL for another disposition than next. */
void ledger_item_way(struct db_params *p, const struct settlement *s);

/* NULL is SQL NULL. */
void ledger_item_text(struct db_params *p, const char *s);
const char *ledger_text_or_null(const struct db_result *r, size_t row, int col);

#endif
