/* A queue of failed requests on their way to the ledger, and the timer that finds the overdue ones. */
#include "consumer/fallback.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/uuid.h"
#include "domain/families.h"

enum { BATCH_MAX = 50, RETRY_MS = 500, REASON_MAX = 1200 };

struct failed {
    struct failed *next;
    bool batched;
    char job_id[UUID_TEXT_LEN + 1];
    char *reason; /* owned */
    bool retry;
    fallback_done_fn *done;
    void *arg;
};

struct fallback {
    struct fallback_deps deps;
    bool open, overdue_due, looking;
    struct failed *head, *tail;
    struct failed *batch[BATCH_MAX];
    size_t batch_count; /* > 0: a statement is under way */
    size_t batch_limit; /* halved when a batch has a row at fault */
    int64_t retry_at;   /* monotonic ms */
    struct loop_timer *timer;
    struct log_gate gate;
};

static void on_timer(void *arg)
{
    struct fallback *f = arg;

    f->overdue_due = true;
    loop_timer_start(f->timer, f->deps.config->database.poll_interval_ms);
}

struct fallback *fallback_new(const struct fallback_deps *deps)
{
    struct fallback *f = xcalloc(1, sizeof *f);

    f->deps = *deps;
    f->batch_limit = BATCH_MAX;
    f->timer = loop_timer_new(deps->loop, on_timer, f);
    return f;
}

static void failed_free(struct failed *n)
{
    free(n->reason);
    free(n);
}

void fallback_free(struct fallback **f)
{
    struct failed *n, *next;

    if (!*f)
        return;
    for (n = (*f)->head; n; n = next) {
        next = n->next;
        failed_free(n);
    }
    loop_timer_free(&(*f)->timer);
    free(*f);
    *f = NULL;
}

void fallback_open(struct fallback *f)
{
    f->open = true;
    on_timer(f);
}

void fallback_close(struct fallback *f)
{
    f->open = false;
    loop_timer_stop(f->timer);
}

bool fallback_is_idle(const struct fallback *f)
{
    return !f->head && !f->looking;
}

void fallback_add(struct fallback *f, const struct ledger_failure *item, fallback_done_fn *done, void *arg)
{
    struct failed *n = xcalloc(1, sizeof *n);

    snprintf(n->job_id, sizeof n->job_id, "%s", item->job_id);
    n->reason = xstrdup(item->reason);
    n->retry = item->retry;
    n->done = done;
    n->arg = arg;
    if (f->tail)
        f->tail->next = n;
    else
        f->head = n;
    f->tail = n;
}

static void remove_batched(struct fallback *f)
{
    struct failed **link = &f->head, *n;

    f->tail = NULL;
    while ((n = *link)) {
        if (n->batched) {
            *link = n->next;
            failed_free(n);
        } else {
            f->tail = n;
            link = &n->next;
        }
    }
}

static void report(struct fallback *f, const struct failed *n, enum ledger_fail_result result)
{
    static const char *const WORDS[] = {[LEDGER_FAIL_FALLBACK] = "fallback sent to the contact",
                                        [LEDGER_FAIL_QUIET] = "contact not told",
                                        [LEDGER_FAIL_AGAIN] = "tried again",
                                        [LEDGER_FAIL_ANSWERED] = "answered meanwhile",
                                        [LEDGER_FAIL_UNKNOWN] = "request unknown"};

    if (result == LEDGER_FAIL_FALLBACK)
        metric_add(f->deps.metrics, &METRIC_FALLBACKS, 1, NULL, NULL);
    if (result != LEDGER_FAIL_ANSWERED)
        log_warn("request not answered", log_str("messageId", n->job_id), log_str("reason", n->reason),
                 log_str("result", WORDS[result]));
    if (n->done)
        n->done(n->arg, result);
}

static void batch_back(struct fallback *f)
{
    for (size_t i = 0; i < f->batch_count; i++)
        f->batch[i]->batched = false;
    f->batch_count = 0;
}

/* A row at fault fails its whole batch: it is halved until the culprit stands alone. That one's reason may be
 * what cannot be stored; what fails without it too is given up, so that its message is parked and
 * acknowledged all the same. */
static void batch_at_fault(struct fallback *f, const struct err *e)
{
    static const char PLAIN[] = "the reason cannot be stored";
    struct failed *n = f->batch[0];

    if (f->batch_count > 1) {
        f->batch_limit = f->batch_count / 2;
        batch_back(f);
        return;
    }
    f->batch_limit = 1;
    if (strcmp(n->reason, PLAIN) != 0) {
        free(n->reason);
        n->reason = xstrdup(PLAIN);
        batch_back(f);
        return;
    }
    log_error("unanswered request refused by the database", log_str("messageId", n->job_id),
              log_str("reason", e->text));
    report(f, n, LEDGER_FAIL_UNKNOWN);
    f->batch_count = 0;
    remove_batched(f);
}

static void batch_failed(struct fallback *f, const struct err *e)
{
    int64_t held;

    if (e->class == ERR_DATA) {
        batch_at_fault(f, e);
        return;
    }
    batch_back(f);
    f->retry_at = loop_now_ms(f->deps.loop) + RETRY_MS;
    if (log_gate_pass(&f->gate, 10000, &held))
        log_warn("could not record unanswered requests, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
}

static void on_failed(void *arg, const enum ledger_fail_result *results, size_t count, const struct err *e)
{
    struct fallback *f = arg;

    if (e) {
        batch_failed(f, e);
        return;
    }
    CRASH_POINT("fallback-committed");
    for (size_t i = 0; i < count; i++)
        report(f, f->batch[i], results[i]);
    f->batch_count = 0;
    f->batch_limit = f->batch_limit * 2 < BATCH_MAX ? f->batch_limit * 2 : BATCH_MAX;
    remove_batched(f);
    f->deps.on_delivery(f->deps.arg);
}

static bool is_in_batch(const struct fallback *f, const char *job_id)
{
    for (size_t i = 0; i < f->batch_count; i++) {
        if (strcmp(f->batch[i]->job_id, job_id) == 0)
            return true;
    }
    return false;
}

static void start_batch(struct fallback *f)
{
    struct ledger_failure items[BATCH_MAX];

    for (struct failed *n = f->head; n && f->batch_count < f->batch_limit; n = n->next) {
        if (is_in_batch(f, n->job_id))
            continue;
        items[f->batch_count] =
            (struct ledger_failure){.job_id = n->job_id, .reason = n->reason, .retry = n->retry};
        n->batched = true;
        f->batch[f->batch_count++] = n;
    }
    if (ledger_fail(f->deps.ledger, items, f->batch_count, on_failed, f) == 0)
        return;
    batch_back(f);
}

static void on_overdue(void *arg, const char *const *job_ids, size_t count, const struct err *e)
{
    struct fallback *f = arg;
    char reason[96];

    f->looking = false;
    if (e)
        return; /* the next look is a poll interval away; a lost connection is reported by its owner */
    snprintf(reason, sizeof reason, "no reply within %lld ms",
             (long long)f->deps.config->publisher.answer_timeout_ms);
    for (size_t i = 0; i < count; i++)
        fallback_add(f, &(struct ledger_failure){.job_id = job_ids[i], .reason = reason}, NULL, NULL);
}

void fallback_turn(struct fallback *f)
{
    if (!ledger_can_accept(f->deps.ledger) || loop_now_ms(f->deps.loop) < f->retry_at)
        return;
    if (f->head && f->batch_count == 0)
        start_batch(f);
    /* only when the last ones are dealt with: the same jobs are overdue until then */
    if (f->open && f->overdue_due && !f->looking && !f->head &&
        ledger_overdue(f->deps.ledger, BATCH_MAX, on_overdue, f) == 0) {
        f->looking = true;
        f->overdue_due = false;
    }
}
