/* Look, judge, settle; one statement at most is under way. Nothing is held between the two statements but the
 * answers themselves: the second one is fenced, so whoever else judged the same receipt changes nothing. */
#include "consumer/bounce.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "consumer/judgement.h"
#include "domain/families.h"

enum { BATCH_MAX = 100, RETRY_MS = 500 };

struct bounce {
    struct bounce_deps deps;
    bool wanted, busy;
    struct ledger_bounced items[BATCH_MAX]; /* in the settling statement */
    size_t count, limit;
    bool ignore_next; /* the database refuses what follows from the next one */
    int64_t retry_at; /* monotonic ms */
    struct loop_timer *timer;
    struct log_gate gate;
};

static void on_timer(void *arg)
{
    (void)arg; /* the turn looks */
}

struct bounce *bounce_new(const struct bounce_deps *deps)
{
    struct bounce *b = xcalloc(1, sizeof *b);

    b->deps = *deps;
    b->limit = BATCH_MAX;
    b->timer = loop_timer_new(deps->loop, on_timer, b);
    return b;
}

void bounce_free(struct bounce **b)
{
    if (!*b)
        return;
    loop_timer_free(&(*b)->timer);
    free(*b);
    *b = NULL;
}

void bounce_look(struct bounce *b)
{
    b->wanted = true;
}

bool bounce_is_idle(const struct bounce *b)
{
    return !b->busy;
}

/* --- judging --- */

static struct delivery_way way_of(const struct ledger_bounce *bounce)
{
    struct delivery_way way = {.step = bounce->step, .as_template = bounce->as_template};

    snprintf(way.account, sizeof way.account, "%s", bounce->account);
    snprintf(way.channel, sizeof way.channel, "%s", bounce->channel);
    snprintf(way.address, sizeof way.address, "%s", bounce->address);
    snprintf(way.chain, sizeof way.chain, "%s", bounce->chain);
    return way;
}

/* A message that was taken once and failed waits and is tried again, whatever the provider lacked: to hold it
 * without counting could send it for ever. */
static void count_every_failure(struct channel_verdict *v)
{
    if (v->outcome == OUTCOME_THROTTLED || v->outcome == OUTCOME_AUTH)
        v->outcome = OUTCOME_TEMPFAIL;
}

static void judge(struct bounce *b, const struct ledger_bounce *bounce, struct settlement *s)
{
    const struct config_account *account = config_account_find(b->deps.config, bounce->account);
    const struct channel_provider *provider = account ? channel_find(account->provider) : NULL;
    struct channel_verdict v = {.outcome = OUTCOME_PERMFAIL, .retry_after_ms = -1};
    struct delivery_way way = way_of(bounce);
    struct chain_contact contact = {.number = bounce->number, .email = bounce->email};

    if (provider)
        channel_judge_receipt(provider, bounce->code, bounce->detail, &v);
    else
        snprintf(v.provider_code, sizeof v.provider_code, "no_account");
    v.needs_operator = v.needs_operator || v.outcome == OUTCOME_AUTH;
    count_every_failure(&v);
    judgement_pass(&(struct judgement){.config = b->deps.config,
                                       .alerts = b->deps.alerts,
                                       .verdict = &v,
                                       .way = &way,
                                       .contact = &contact,
                                       .attempts = bounce->attempts},
                   s);
}

static void log_bounce(const struct ledger_bounce *bounce, const struct settlement *s)
{
    log_info("delivery failed after it was sent", log_str("messageId", s->message_id),
             log_str("channel", bounce->channel), log_str("account", bounce->account),
             log_int("part", bounce->part), log_str("outcome", outcome_name(s->outcome)),
             log_str("disposition", disposition_name(s->disposition.kind)),
             log_str("next", s->disposition.kind == DISPOSITION_NEXT ? chain_step_name(&s->next) : NULL),
             log_str("code", s->provider_code), log_str("detail", s->detail[0] ? s->detail : NULL));
}

static void take(struct bounce *b, const struct ledger_bounce *bounce)
{
    struct ledger_bounced *item = &b->items[b->count++];
    struct settlement *s = &item->settlement;

    *item = (struct ledger_bounced){
        .receipt_id = bounce->receipt_id, .part = bounce->part, .attempts = bounce->attempts};
    snprintf(s->message_id, sizeof s->message_id, "%s", bounce->message_id);
    s->fence = bounce->fence;
    item->is_ignored = !bounce->is_current || b->ignore_next;
    if (item->is_ignored)
        return;
    judge(b, bounce, s);
    log_bounce(bounce, s);
    metric_add(b->deps.metrics, &METRIC_BOUNCES, 1, bounce->channel, disposition_name(s->disposition.kind));
}

/* --- the ledger --- */

static void failed(struct bounce *b, const struct err *e)
{
    int64_t held;

    b->busy = false;
    b->wanted = true;
    if (e->class == ERR_DATA && b->count > 1) {
        b->limit = 1;
        return;
    }
    if (e->class == ERR_DATA && b->count == 1 && !b->ignore_next) {
        b->ignore_next = true;
        log_error("the database refuses what follows from a receipt, left as it is",
                  log_str("messageId", b->items[0].settlement.message_id), log_str("reason", e->text));
        return;
    }
    b->retry_at = loop_now_ms(b->deps.loop) + RETRY_MS;
    loop_timer_start(b->timer, RETRY_MS);
    if (log_gate_pass(&b->gate, 10000, &held))
        log_warn("could not look after failed receipts, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
}

static void on_settled(void *arg, const struct err *e)
{
    struct bounce *b = arg;

    if (e) {
        failed(b, e);
        return;
    }
    CRASH_POINT("consumer-bounce-settled");
    b->busy = false;
    b->wanted = b->wanted || b->count == b->limit;
    b->ignore_next = false;
    b->limit = BATCH_MAX;
    b->deps.on_settled(b->deps.arg);
}

static void on_claimed(void *arg, const struct ledger_bounce *bounces, size_t count, const struct err *e)
{
    struct bounce *b = arg;

    b->count = 0;
    if (e) {
        failed(b, e);
        return;
    }
    for (size_t i = 0; i < count && i < BATCH_MAX; i++)
        take(b, &bounces[i]);
    CRASH_POINT("consumer-bounce-judged");
    if (b->count == 0 || ledger_settle_bounces(b->deps.ledger, b->items, b->count, on_settled, b) != 0)
        b->busy = false; /* the next sweep says it again */
}

void bounce_turn(struct bounce *b)
{
    if (!b->wanted || b->busy || !ledger_can_work(b->deps.ledger) || loop_now_ms(b->deps.loop) < b->retry_at)
        return;
    if (ledger_claim_bounces(b->deps.ledger, b->limit, on_claimed, b) == 0) {
        b->busy = true;
        b->wanted = false;
    }
}
