/* What `dlq` asks of PostgreSQL: schemas/sql/006_workbench.sql from this side. Blocking. */
#ifndef AGWB_CONSUMER_DLQ_STORE_H
#define AGWB_CONSUMER_DLQ_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "consumer/dlq_message.h"
#include "domain/config.h"
#include "io/db.h"

struct dlq_store;

/* who: goes into agwb.audit. NULL and err; so for every call below, ERR_UNAVAILABLE when the server went
 * away. */
struct dlq_store *dlq_store_open(const struct config *c, const char *who, struct err *e);
void dlq_store_close(struct dlq_store **s);

/* Holds the queue until the store is closed. -1 and ERR_TEMPORARY names who has it. */
int dlq_store_hold(struct dlq_store *s, const char *queue, struct err *e) MUST_CHECK;

/* Columns of the row that dlq_store_inspect() gives. */
enum dlq_fact {
    DLQ_FACT_STATE = 0,
    DLQ_FACT_KIND,
    DLQ_FACT_ATTEMPTS,
    DLQ_FACT_REPLAYS,
    DLQ_FACT_ACCOUNT,
    DLQ_FACT_CHANNEL,
    DLQ_FACT_ADDRESS,
    DLQ_FACT_WORKSPACE,
    DLQ_FACT_REASON,
    DLQ_FACT_PROVIDER_ID,
    DLQ_FACT_ACCEPTED_AT,
    DLQ_FACT_SETTLED_AT,
    DLQ_FACT_JOB_ID,
    DLQ_FACT_JOB_STATUS,
    DLQ_FACT_JOB_ERROR,
    DLQ_FACT_COUNT
};
/* One row; the caller's. */
struct db_result *dlq_store_inspect(struct dlq_store *s, const struct dlq_message *m, struct err *e);

/* started_at, account, outcome, disposition, http_status, provider_code, detail. The caller's. */
enum { DLQ_ATTEMPT_COLUMNS = 7 };
struct db_result *dlq_store_attempts(struct dlq_store *s, const struct dlq_message *m, struct err *e);

/* Spelled as agwb.begin_replay() says them. */
enum dlq_verdict {
    DLQ_GO = 0,    /* publish it, with generation n */
    DLQ_ARRIVED,   /* an earlier run has: the copy is a leftover */
    DLQ_SENT,      /* or answered */
    DLQ_BUSY,      /* under way */
    DLQ_CANCELLED, /* must not go any more */
    DLQ_CONFLICT,  /* another message has its id */
};
struct dlq_begun {
    enum dlq_verdict verdict;
    int32_t n;        /* the generation */
    int64_t audit_id; /* for dlq_store_end(), when the verdict is GO or ARRIVED */
};
/* dry: only the verdict. */
int dlq_store_begin_replay(struct dlq_store *s, const struct dlq_message *m, bool again, bool dry,
                           struct dlq_begun *begun, struct err *e) MUST_CHECK;
/* action: DLQ_PARK or DLQ_PURGE. */
int dlq_store_begin(struct dlq_store *s, enum dlq_verb action, const struct dlq_message *m, int64_t *audit_id,
                    struct err *e) MUST_CHECK;
/* The old copy is acked. */
int dlq_store_end(struct dlq_store *s, int64_t audit_id, struct err *e) MUST_CHECK;

#endif
