/* Requests that will not be answered: agwb.fail_requests() and agwb.overdue_jobs(). */
#include "consumer/ledger_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/uuid.h"

static enum ledger_fail_result fail_result(const char *word)
{
    static const char *const WORDS[] = {[LEDGER_FAIL_FALLBACK] = "fallback",
                                        [LEDGER_FAIL_QUIET] = "quiet",
                                        [LEDGER_FAIL_AGAIN] = "again",
                                        [LEDGER_FAIL_ANSWERED] = "answered",
                                        [LEDGER_FAIL_UNKNOWN] = "unknown"};

    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strcmp(WORDS[i], word) == 0)
            return (enum ledger_fail_result)i;
    }
    return LEDGER_FAIL_UNKNOWN;
}

static void on_failed(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    enum ledger_fail_result *results;
    struct err short_answer;

    if (e) {
        c.failed(c.arg, NULL, 0, e);
        return;
    }
    if (db_rows(r) != c.count) {
        err_set(&short_answer, ERR_BUG, 0, "agwb.fail_requests answered %zu rows for %zu requests",
                db_rows(r), c.count);
        c.failed(c.arg, NULL, 0, &short_answer);
        return;
    }
    results = xcalloc(c.count, sizeof *results);
    for (size_t i = 0; i < c.count; i++)
        results[i] = fail_result(db_text(r, i, 1));
    c.failed(c.arg, results, c.count, NULL);
    free(results);
}

/* A fallback's id is derived from its request's: however often a request dies, it is the same message. */
static void write_fallback_ids(struct db_params *p, const struct ledger_failure *items, size_t count)
{
    static const char NAMESPACE[] = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"; /* RFC 9562: ISO OID */
    char id[UUID_TEXT_LEN + 1];

    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++) {
        uuid_v5(NAMESPACE, items[i].job_id, strlen(items[i].job_id), id);
        ledger_item_text(p, id);
    }
    db_array_end(p);
}

/* The waits before each further try, in order: one row of the ladder for each. */
static void add_job_ladder(struct db_params *p, const struct config_retry *ladder)
{
    db_array_begin(p, DB_INT8);
    for (int n = 1; n < ladder->tries; n++)
        db_item_int8(p, backoff_jittered_ms(&ladder->backoff, n, random_u64()));
    db_array_end(p);
}

int ledger_fail(struct ledger *l, const struct ledger_failure *items, size_t count, ledger_failed_fn *done,
                void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_UUID);
    for (size_t i = 0; i < count; i++)
        ledger_item_text(p, items[i].job_id);
    db_array_end(p);
    write_fallback_ids(p, items, count);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        ledger_item_text(p, items[i].reason);
    db_array_end(p);
    db_array_begin(p, DB_BOOL);
    for (size_t i = 0; i < count; i++)
        db_item_bool(p, items[i].retry);
    db_array_end(p);
    add_job_ladder(p, &l->deps.config->retry.job);
    db_param_text(p, l->deps.config->consumer.fallback_text);
    db_param_int8(p, l->deps.config->consumer.fallback_window_ms);
    db_param_text(p, buf_str(&l->accounts));
    return ledger_run(l, l->deps.accept_db,
                      "select * from agwb.fail_requests($1, $2, $3, $4, $5, $6, $7, $8::jsonb)", on_failed,
                      &(struct ledger_call){.failed = done, .arg = arg, .count = count});
}

static void on_overdue(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    const char **ids;
    size_t rows;

    if (e) {
        c.overdue(c.arg, NULL, 0, e);
        return;
    }
    rows = db_rows(r);
    ids = xcalloc(rows ? rows : 1, sizeof *ids);
    for (size_t i = 0; i < rows; i++)
        ids[i] = db_text(r, i, 0);
    c.overdue(c.arg, ids, rows, NULL);
    free(ids);
}

int ledger_overdue(struct ledger *l, size_t limit, ledger_overdue_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_param_int8(p, l->deps.config->publisher.answer_timeout_ms);
    db_param_int4(p, (int32_t)limit);
    return ledger_run(l, l->deps.accept_db, "select * from agwb.overdue_jobs($1, $2)", on_overdue,
                      &(struct ledger_call){.overdue = done, .arg = arg});
}
