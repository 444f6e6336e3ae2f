/* The claim loop: at most one claim in flight, none while the outbox has no room. */
#include "publisher/intake.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/crash.h"
#include "base/log.h"
#include "domain/families.h"
#include "publisher/request.h"

enum { SWEEP_LIMIT = 500, CLAIM_RETRY_MS = 1000 };

struct intake {
    struct intake_deps deps;
    bool open;
    bool wanted;   /* pending rows are likely */
    bool claiming; /* a claim is in flight */
    bool sweeping;
    bool sweep_due;
    size_t asked;                  /* rows the claim in flight may bring */
    int64_t claim_after;           /* after a failed claim: monotonic ms */
    struct loop_timer *poll_timer; /* the sweep's period */
    struct loop_timer *due_timer;  /* the next retry, lease end, or the end of a hold */
    int64_t due_at;                /* of that timer: monotonic ms */
    struct db_params params;
    struct buf body;
    struct log_gate fault_gate;
};

static void on_poll(void *arg)
{
    struct intake *i = arg;

    i->wanted = true;
    i->sweep_due = true;
    loop_timer_start(i->poll_timer, i->deps.config->database.poll_interval_ms);
}

static void on_due(void *arg)
{
    struct intake *i = arg;

    i->wanted = true;
    i->sweep_due = true;
}

struct intake *intake_new(const struct intake_deps *deps)
{
    struct intake *i = xcalloc(1, sizeof *i);

    i->deps = *deps;
    i->poll_timer = loop_timer_new(deps->loop, on_poll, i);
    i->due_timer = loop_timer_new(deps->loop, on_due, i);
    db_params_init(&i->params);
    buf_init(&i->body, MESSAGE_MAX_BYTES);
    return i;
}

void intake_free(struct intake **i)
{
    if (!*i)
        return;
    loop_timer_free(&(*i)->poll_timer);
    loop_timer_free(&(*i)->due_timer);
    db_params_fini(&(*i)->params);
    buf_fini(&(*i)->body);
    free(*i);
    *i = NULL;
}

void intake_open(struct intake *i)
{
    i->open = true;
    on_poll(i);
}

void intake_close(struct intake *i)
{
    i->open = false;
    loop_timer_stop(i->poll_timer);
    loop_timer_stop(i->due_timer);
}

void intake_wake(struct intake *i)
{
    i->wanted = true;
}

/* The sooner one counts; to come once too early costs a look. */
void intake_due_in(struct intake *i, int64_t ms)
{
    int64_t at = loop_now_ms(i->deps.loop) + ms;

    if (!i->open || (loop_timer_is_active(i->due_timer) && i->due_at <= at))
        return;
    i->due_at = at;
    loop_timer_start(i->due_timer, ms);
}

bool intake_is_idle(const struct intake *i)
{
    return !i->claiming && !i->sweeping;
}

static void statement_failed(struct intake *i, const char *what, const struct err *e)
{
    int64_t held;

    i->claim_after = loop_now_ms(i->deps.loop) + CLAIM_RETRY_MS;
    i->wanted = true;
    intake_due_in(i, CLAIM_RETRY_MS);
    if (log_gate_pass(&i->fault_gate, 10000, &held))
        log_warn(what, log_str("reason", e->text), log_int("held_back", held));
}

static void take_row(struct intake *i, const struct db_result *r, size_t row)
{
    const char *id = db_text(r, row, JOB_ID);
    int attempts = (int)db_int(r, row, JOB_ATTEMPTS);
    struct outbox_job job = {.id = id, .task_type = db_text(r, row, JOB_TASK_TYPE)};
    struct err e;

    if (!db_is_null(r, row, JOB_REFUSED)) {
        outbox_dismiss(i->deps.outbox, id, OUTBOX_REFUSED, db_text(r, row, JOB_REFUSED), attempts);
        return;
    }
    if (!db_is_null(r, row, JOB_FAULT)) {
        outbox_dismiss(i->deps.outbox, id, OUTBOX_FAULT, db_text(r, row, JOB_FAULT), attempts);
        return;
    }
    buf_clear(&i->body);
    if (request_from_row(r, row, i->deps.config->retry.job.tries, &i->body, &e) != 0) {
        outbox_dismiss(i->deps.outbox, id, OUTBOX_FAULT, e.text, attempts);
        return;
    }
    job.contact = db_is_null(r, row, JOB_PHONE_NUMBER) ? db_text(r, row, JOB_REMOTE_JID)
                                                       : db_text(r, row, JOB_PHONE_NUMBER);
    job.body = i->body.data;
    job.body_len = i->body.len;
    outbox_put(i->deps.outbox, &job);
}

static void on_claimed(void *arg, const struct db_result *r, const struct err *e)
{
    struct intake *i = arg;

    i->claiming = false;
    if (e) {
        statement_failed(i, "could not claim jobs, will try again", e);
        return;
    }
    if (db_rows(r) > 0)
        CRASH_POINT("publisher-claimed");
    for (size_t row = 0; row < db_rows(r); row++)
        take_row(i, r, row);
    if (db_rows(r) == i->asked)
        i->wanted = true; /* there may be more */
}

static void claim(struct intake *i, size_t room)
{
    const struct config *c = i->deps.config;
    struct db_params *p = &i->params;
    size_t batch = (size_t)c->publisher.batch;

    i->asked = room < batch ? room : batch;
    db_params_clear(p);
    db_param_text(p, i->deps.owner);
    db_param_int4(p, (int32_t)i->asked);
    db_param_int8(p, c->publisher.lease_ms);
    db_param_int4(p, (int32_t)c->publisher.history);
    db_param_int4(p, (int32_t)c->limits.jobs_in_flight);
    db_param_int4(p, (int32_t)c->limits.jobs_per_minute);
    db_param_int8(p, c->limits.window_ms);
    db_param_int8(p, c->topology.agent_ttl_ms);
    if (db_query(i->deps.db, "select * from agwb.claim_jobs($1, $2, $3, $4, $5, $6, $7, $8)", p, on_claimed,
                 i) == 0) {
        i->claiming = true;
        i->wanted = false;
    }
}

static void on_swept(void *arg, const struct db_result *r, const struct err *e)
{
    struct intake *i = arg;
    int64_t rescued, given_up;

    i->sweeping = false;
    if (e) {
        statement_failed(i, "could not sweep jobs, will try again", e);
        return;
    }
    rescued = db_int(r, 0, 1);
    given_up = db_int(r, 0, 2);
    if (rescued > 0 || given_up > 0)
        log_warn("jobs whose lease ended", log_int("rescued", rescued), log_int("given_up", given_up));
    if (db_int(r, 0, 0) > 0 || rescued > 0)
        i->wanted = true;
    if (!db_is_null(r, 0, 3))
        intake_due_in(i, db_int(r, 0, 3));
    metric_set(i->deps.metrics, &METRIC_OLDEST_PENDING, (double)db_int(r, 0, 4) / 1000.0, NULL, NULL);
}

static void sweep(struct intake *i)
{
    db_params_clear(&i->params);
    db_param_int4(&i->params, SWEEP_LIMIT);
    if (db_query(i->deps.db, "select * from agwb.sweep_jobs($1)", &i->params, on_swept, i) == 0) {
        i->sweeping = true;
        i->sweep_due = false;
    }
}

void intake_turn(struct intake *i)
{
    size_t room;

    if (!i->open || !db_is_up(i->deps.db) || loop_now_ms(i->deps.loop) < i->claim_after)
        return;
    if (i->sweep_due && !i->sweeping && !outbox_is_behind(i->deps.outbox))
        sweep(i);
    if (!i->wanted || i->claiming)
        return;
    room = outbox_room(i->deps.outbox);
    if (room > 0)
        claim(i, room);
}
