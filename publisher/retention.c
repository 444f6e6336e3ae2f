/* One round over the tables each retention.interval_ms; a table with a full batch gets another soon. */
#include "publisher/retention.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "domain/families.h"

/* Between two batches of one round, so that a backlog of old rows takes a share of the server and not all of
 * it. */
enum { BATCH_PAUSE_MS = 200, FAULT_LOG_MS = 600000 };

/* What is deleted by one call. */
static const struct chore {
    const char *name, *sql;
    size_t days_offset; /* of the option, in struct config */
} CHORES[] = {
    {"jobs", "select * from agwb.purge_jobs($1, $2)", offsetof(struct config, retention.jobs_days)},
    {"deliveries", "select * from agwb.purge_deliveries($1, $2)",
     offsetof(struct config, retention.deliveries_days)},
    {"inbox", "select * from agwb.purge_inbox('{done,ignored}', $1, $2)",
     offsetof(struct config, retention.inbox_done_days)},
    {"failed inbox", "select * from agwb.purge_inbox('{failed}', $1, $2)",
     offsetof(struct config, retention.inbox_failed_days)},
    {"usage", "select * from agwb.purge_usage($1, $2)", offsetof(struct config, retention.usage_days)},
    {"conversations", "select * from agwb.purge_conversations($1, $2)",
     offsetof(struct config, retention.conversations_days)},
};
enum { CHORE_COUNT = sizeof CHORES / sizeof CHORES[0] };

struct retention {
    struct retention_deps deps;
    bool open;
    bool due;    /* a call may be made now */
    bool asked;  /* one is under way */
    bool full;   /* some table of this round had a full batch */
    size_t next; /* chore */
    int64_t asked_rows;
    struct loop_timer *timer;
    struct db_params params;
    struct log_gate fault_gate;
};

static void on_timer(void *arg)
{
    struct retention *r = arg;

    r->due = true;
}

struct retention *retention_new(const struct retention_deps *deps)
{
    struct retention *r = xcalloc(1, sizeof *r);

    r->deps = *deps;
    r->timer = loop_timer_new(deps->loop, on_timer, r);
    db_params_init(&r->params);
    return r;
}

void retention_free(struct retention **r)
{
    if (!*r)
        return;
    loop_timer_free(&(*r)->timer);
    db_params_fini(&(*r)->params);
    free(*r);
    *r = NULL;
}

void retention_open(struct retention *r)
{
    r->open = true;
    r->due = true;
}

void retention_close(struct retention *r)
{
    r->open = false;
    loop_timer_stop(r->timer);
}

static int64_t days_of(const struct retention *r, const struct chore *c)
{
    return *(const int64_t *)((const char *)r->deps.config + c->days_offset);
}

static void wait_for(struct retention *r, int64_t ms)
{
    r->due = false;
    if (r->open)
        loop_timer_start(r->timer, ms);
}

/* The next chore of the round, or the end of it. */
static void go_on(struct retention *r)
{
    if (++r->next < CHORE_COUNT) {
        r->due = true;
        return;
    }
    r->next = 0;
    wait_for(r, r->full ? BATCH_PAUSE_MS : r->deps.config->retention.interval_ms);
    r->full = false;
}

static void on_purged(void *arg, const struct db_result *rows, const struct err *e)
{
    struct retention *r = arg;
    int64_t held, total = 0;

    r->asked = false;
    if (e && log_gate_pass(&r->fault_gate, FAULT_LOG_MS, &held))
        log_warn("could not delete old rows, will try again", log_str("what", CHORES[r->next].name),
                 log_str("reason", e->text), log_int("held_back", held));
    for (size_t i = 0; !e && i < db_rows(rows); i++) {
        metric_add(r->deps.metrics, &METRIC_PURGED, (double)db_int(rows, i, 1), db_text(rows, i, 0), NULL);
        total += db_int(rows, i, 1);
        if (db_int(rows, i, 1) >= r->asked_rows)
            r->full = true;
    }
    if (total > 0)
        log_debug("old rows deleted", log_str("what", CHORES[r->next].name), log_int("rows", total));
    go_on(r);
}

static void ask(struct retention *r, const struct chore *c)
{
    r->asked_rows = r->deps.config->retention.batch;
    db_params_clear(&r->params);
    db_param_int4(&r->params, (int32_t)days_of(r, c));
    db_param_int4(&r->params, (int32_t)r->asked_rows);
    r->due = false;
    r->asked = db_query(r->deps.db, c->sql, &r->params, on_purged, r) == 0;
    if (!r->asked)
        wait_for(r, r->deps.config->retention.interval_ms);
}

void retention_turn(struct retention *r)
{
    while (r->open && r->due && !r->asked && db_is_up(r->deps.db) && db_pending(r->deps.db) == 0) {
        if (days_of(r, &CHORES[r->next]) > 0)
            ask(r, &CHORES[r->next]);
        else
            go_on(r);
    }
}
