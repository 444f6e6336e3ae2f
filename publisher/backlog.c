/* One statement each interval. */
#include "publisher/backlog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"

enum { INTERVAL_MS = 10000 };

/* What waits for the agent, and what waits for a provider. */
static const struct line {
    const char *queue;
    int count_column, age_column;
} LINES[] = {{"ai-processing", 0, 1}, {"outgoing-messages", 2, 3}};
enum { LINE_COUNT = sizeof LINES / sizeof LINES[0] };

struct backlog {
    struct backlog_deps deps;
    struct loop_timer *timer;
    struct db_params params;
    bool is_high[LINE_COUNT];
};

static void on_timer(void *arg);

struct backlog *backlog_new(const struct backlog_deps *deps)
{
    struct backlog *b = xcalloc(1, sizeof *b);

    b->deps = *deps;
    b->timer = loop_timer_new(deps->loop, on_timer, b);
    db_params_init(&b->params);
    return b;
}

void backlog_free(struct backlog **b)
{
    if (!*b)
        return;
    loop_timer_free(&(*b)->timer);
    db_params_fini(&(*b)->params);
    free(*b);
    *b = NULL;
}

void backlog_open(struct backlog *b)
{
    loop_timer_start(b->timer, 0);
}

/* The count ends at one more than the limit. */
static void raise_change(struct backlog *b, size_t line, int64_t count, int64_t age_ms)
{
    char waiting[32], oldest[32];
    int64_t limit = b->deps.config->alerts.backlog;

    snprintf(waiting, sizeof waiting, "%s%" PRId64, limit > 0 && count > limit ? "more than " : "",
             limit > 0 && count > limit ? limit : count);
    snprintf(oldest, sizeof oldest, "%" PRId64, age_ms / 1000);
    alerts_raise(b->deps.alerts,
                 &(struct alert){.kind = ALERT_BACKLOG,
                                 .is_over = !b->is_high[line],
                                 .about = LINES[line].queue,
                                 .text = b->is_high[line] ? "too much waits, or for too long"
                                                          : "the backlog is worked off",
                                 .details = {{"waiting", waiting}, {"oldest_seconds", oldest}}});
}

static void judge(struct backlog *b, size_t line, int64_t count, int64_t age_ms)
{
    const struct config *c = b->deps.config;
    bool is_high = (c->alerts.backlog > 0 && count > c->alerts.backlog) ||
                   (c->alerts.backlog_age_ms > 0 && age_ms > c->alerts.backlog_age_ms);

    if (is_high == b->is_high[line])
        return;
    b->is_high[line] = is_high;
    raise_change(b, line, count, age_ms);
}

static void on_counted(void *arg, const struct db_result *r, const struct err *e)
{
    struct backlog *b = arg;

    if (e)
        return; /* the same connection's other statements say so */
    for (size_t i = 0; i < LINE_COUNT; i++)
        judge(b, i, db_int(r, 0, LINES[i].count_column), db_int(r, 0, LINES[i].age_column));
}

static void on_timer(void *arg)
{
    struct backlog *b = arg;
    const struct config *c = b->deps.config;

    loop_timer_start(b->timer, INTERVAL_MS);
    if (c->alerts.backlog <= 0 && c->alerts.backlog_age_ms <= 0)
        return;
    db_params_clear(&b->params);
    db_param_int8(&b->params, c->alerts.backlog);
    if (db_is_up(b->deps.db) && db_pending(b->deps.db) == 0 &&
        db_query(b->deps.db, "select jobs, oldest_job_ms, replies, oldest_reply_ms from agwb.backlog($1)",
                 &b->params, on_counted, b) != 0)
        return; /* it went down just now: next time */
}
