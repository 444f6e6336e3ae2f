/* The ledger: every durable fact about a delivery goes through here, and all of the consumer's SQL is
 * here. One call is one statement over a batch.
 *
 * Each call returns 0 and calls back once in a later turn, or returns -1 when its connection is not up
 * (nothing is called back). Callbacks get borrowed data; with e set there is no result: ERR_TEMPORARY (try
 * again after the reconnect), ERR_DATA (a row of the batch is at fault), others as db.h. */
#ifndef AGWB_CONSUMER_LEDGER_H
#define AGWB_CONSUMER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumer/delivery.h"
#include "domain/config.h"
#include "domain/message.h"
#include "io/db.h"

struct ledger;

struct ledger_deps { /* borrowed for the ledger's life */
    const struct config *config;
    struct db *accept_db; /* accepts */
    struct db *work_db;   /* claims, settles, sweeps, parked copies */
    const char *owner;
};

#define LEDGER_CHANNEL "agwb_deliveries"

struct ledger *ledger_new(const struct ledger_deps *deps);
void ledger_free(struct ledger **l); /* the connections must be freed before: no callback may come */

/* What may be claimed. */
struct ledger_ask {
    size_t slots;
    const char *const *skip; /* accounts to leave alone: their circuit is open */
    size_t skip_count;
    const char *only; /* the one account to probe, or NULL */
    uint64_t number;  /* of this process's claims: what it takes is known by it */
};

struct ledger_claim {
    const char *message_id;
    int32_t fence, attempts;       /* attempts: counted tries, this one included */
    int32_t parts_sent, parts_end; /* this attempt's part; before which one it ends, -1 = with the last */
    const char *kind, *account, *channel, *address, *payload, *headers_json;
    size_t payload_len;
    const struct reply *reply; /* the payload, where it is parsed already; NULL: it is not */
    const char *job_id, *workspace_id, *contact_id; /* NULL when unknown */
    const char *quoted_id;                          /* of the message that is answered; NULL when unknown */
    const char *chain;                              /* "" = the account's own */
    int32_t step;
    bool as_template;
    const char *number, *email;                /* the contact's, for accounts with a chain; "" = none */
    int64_t accepted_ms, due_ms, published_ms; /* wall; published_ms 0 when unknown */
};

/* --- accept --- */
struct ledger_arrival {
    const struct reply *reply;
    const char *body;
    size_t body_len;
    const char *headers_json; /* an object */
    bool has_content;         /* there is something in it that is to be sent */
    int32_t replay;           /* generation of the replay it came by; 0 = none */
};

enum ledger_accept_result {
    LEDGER_ACCEPTED = 0,
    LEDGER_DUPLICATE,  /* same id, same body: the ledger has it */
    LEDGER_CONFLICT,   /* same id, other body: not stored */
    LEDGER_ERROR,      /* an agent's error without anything to send: ledger_fail is next */
    LEDGER_EMPTY,      /* a partial reply without anything to send: the same */
    LEDGER_UNROUTABLE, /* stored as parked; reason says why */
};

struct ledger_accepted {
    enum ledger_accept_result result;
    bool orphan;        /* its request is unknown */
    const char *reason; /* "" when none */
    /* Claimed for an attempt with the acceptance, without the payload and headers, which the arrival has;
     * NULL: it waits in its lane. */
    const struct ledger_claim *claim;
};

typedef void ledger_accepted_fn(void *arg, const struct ledger_accepted *results, size_t count,
                                const struct err *e);
/* Results come in the order of the arrivals. message_ids must be distinct. Up to ask->slots of them are
 * claimed at once, where their lanes are free and nobody waits; ask->only is not looked at. */
int ledger_accept(struct ledger *l, const struct ledger_arrival *const *arrivals, size_t count,
                  const struct ledger_ask *ask, ledger_accepted_fn *done, void *arg) MUST_CHECK;

/* --- claim, settle --- */
typedef void ledger_done_fn(void *arg, const struct err *e);

/* What a claim left behind. */
struct ledger_wait {
    int64_t next_due_ms;                          /* until the next lane's head may go; -1 = nothing waits */
    int64_t held_all, held_account, held_contact; /* how often a limit held something back */
    int64_t cancelled;                            /* heads that must not be sent any more */
};
typedef void ledger_claimed_fn(void *arg, const struct ledger_claim *claims, size_t count,
                               const struct ledger_wait *wait, const struct err *e);
/* Claims up to `slots` lane heads within the limits of the configuration. What must not be sent any more is
 * cancelled on the way. */
int ledger_claim(struct ledger *l, const struct ledger_ask *ask, ledger_claimed_fn *done,
                 void *arg) MUST_CHECK;

/* Wakes the consumers that listen on LEDGER_CHANNEL. */
int ledger_call_others(struct ledger *l, ledger_done_fn *done, void *arg) MUST_CHECK;

/* Gives back what claim `number` took, whose answer was lost. */
int ledger_release_claim(struct ledger *l, uint64_t number, ledger_done_fn *done, void *arg) MUST_CHECK;

/* Those that were settled, with the job's times where the settlement completed one. A missing one belonged
 * to a newer claim. */
struct ledger_settled {
    const char *message_id;
    int64_t job_created_ms, job_published_ms; /* 0 = completed no job */
    bool is_due;                              /* somewhere a head may go: a claim is worth its while */
};
typedef void ledger_settled_fn(void *arg, const struct ledger_settled *settled, size_t count,
                               const struct err *e);
/* bare: the delivery and its attempt only, without history, usage and job, for one that those refuse. */
int ledger_settle(struct ledger *l, const struct settlement *const *items, size_t count, bool bare,
                  ledger_settled_fn *done, void *arg) MUST_CHECK;

/* Gives back what was claimed and not started. */
struct ledger_unstarted {
    char message_id[129];
    int32_t fence;
};
int ledger_release(struct ledger *l, const struct ledger_unstarted *items, size_t count, ledger_done_fn *done,
                   void *arg) MUST_CHECK;

/* --- sent, and not arrived --- */
struct ledger_bounce {
    int64_t receipt_id;
    const char *message_id;
    int32_t fence, part, attempts; /* attempts: how often this part was sent over this account */
    bool is_current;               /* the part was not sent again since */
    const char *account, *channel, *address, *chain;
    int32_t step;
    bool as_template;
    const char *number, *email; /* as a claim's */
    const char *code, *detail;  /* the provider's; "" = none */
};
typedef void ledger_bounces_fn(void *arg, const struct ledger_bounce *bounces, size_t count,
                               const struct err *e);
/* The FAILED receipts nobody has judged yet, one a message. */
int ledger_claim_bounces(struct ledger *l, size_t limit, ledger_bounces_fn *done, void *arg) MUST_CHECK;

struct ledger_bounced {
    int64_t receipt_id;
    int32_t part, attempts;
    bool is_ignored; /* there is nothing to do about it */
    struct settlement settlement;
};
int ledger_settle_bounces(struct ledger *l, const struct ledger_bounced *items, size_t count,
                          ledger_done_fn *done, void *arg) MUST_CHECK;

/* --- requests that will not be answered --- */
struct ledger_failure {
    const char *job_id; /* a uuid */
    const char *reason;
    bool retry; /* the job's ladder comes first */
};

enum ledger_fail_result {
    LEDGER_FAIL_FALLBACK = 0, /* the contact gets the fallback text */
    LEDGER_FAIL_QUIET,        /* it got one just now, or cannot be reached */
    LEDGER_FAIL_AGAIN,        /* the job is tried again */
    LEDGER_FAIL_ANSWERED,     /* a real reply is in the ledger: nothing was done */
    LEDGER_FAIL_UNKNOWN,      /* no such job */
};
typedef void ledger_failed_fn(void *arg, const enum ledger_fail_result *results, size_t count,
                              const struct err *e);
/* Results come in the order of the items. job_ids must be distinct. */
int ledger_fail(struct ledger *l, const struct ledger_failure *items, size_t count, ledger_failed_fn *done,
                void *arg) MUST_CHECK;

typedef void ledger_overdue_fn(void *arg, const char *const *job_ids, size_t count, const struct err *e);
/* Published jobs without any reply since publisher.answer_timeout_ms. */
int ledger_overdue(struct ledger *l, size_t limit, ledger_overdue_fn *done, void *arg) MUST_CHECK;

/* --- chores --- */
struct ledger_sweep {
    int64_t orphaned, parked, resent;
    int64_t next_due_ms; /* -1 = nothing waits */
    int64_t ready, sending, uncertain, uncopied;
    bool has_bounced; /* there are FAILED receipts to judge */
};
typedef void ledger_swept_fn(void *arg, const struct ledger_sweep *s, const struct err *e);
int ledger_sweep(struct ledger *l, ledger_swept_fn *done, void *arg) MUST_CHECK;

struct ledger_parked {
    const char *message_id, *payload, *headers_json, *reason, *outcome;
    size_t payload_len;
    int64_t attempts, first_seen_ms;
};
typedef void ledger_parked_fn(void *arg, const struct ledger_parked *items, size_t count,
                              const struct err *e);
/* Parked deliveries without a confirmed copy in wb_parked. */
int ledger_claim_parked(struct ledger *l, size_t limit, ledger_parked_fn *done, void *arg) MUST_CHECK;
/* bare: the ledger's row only, without history and job, for one that those refuse. */
int ledger_mark_parked(struct ledger *l, const char *const *message_ids, size_t count, bool bare,
                       ledger_done_fn *done, void *arg) MUST_CHECK;

bool ledger_can_accept(const struct ledger *l); /* the accepting connection is up */
bool ledger_can_work(const struct ledger *l);

#endif
