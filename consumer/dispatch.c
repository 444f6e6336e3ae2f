/* Claim, start, settle. One claim, one settle and one sweep at most are under way; what gathers meanwhile
 * is the next batch. */
#include "consumer/dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "consumer/attempt.h"
#include "consumer/claimed.h"
#include "consumer/dispatch_count.h"

enum { SETTLE_BATCH = 200, RETRY_MS = 500, CALL_INTERVAL_MS = 200 };
enum {
    AHEAD_PART = 8,  /* of the slots: what is claimed ahead is uncertain, too, when we are killed */
    STALE_MS = 2000, /* so long a claim may wait for its slot */
};

/* An ended attempt that the ledger does not know of yet. */
struct ended {
    struct ended *next;
    struct settlement settlement;
};

struct dispatch {
    struct dispatch_deps deps;
    struct attempt_deps attempts;
    struct attempt_list open_attempts;
    bool open, wanted, claiming, sweep_due, sweeping;
    struct circuits *circuits;
    struct error_rates *errors;
    struct probes *probes;
    const char *probing;   /* account that the claim under way probes, or NULL */
    size_t asked;          /* slots of the claim under way */
    size_t lent;           /* slots that an acceptance under way may claim */
    int64_t claim_boot_ms; /* when it was asked: the lease cannot have begun before */
    int64_t claim_us;
    uint64_t claim_number;
    bool claim_lost;               /* its answer never came */
    struct ledger_unstarted *late; /* claimed, not sent, and too little of the lease left by then */
    size_t late_count;
    bool releasing;         /* the lost or the late ones are being given back; no claim before that is done */
    size_t releasing_count; /* the first late ones are in that statement; 0 = the lost ones */
    size_t running;         /* attempts */
    struct claimed_queue claimed; /* wait for a slot */
    size_t ahead;                 /* how many may: as many attempts as ended during the last acceptance */
    size_t ends;                  /* attempts that ended during this one */
    struct ended *head, *tail;    /* ended, oldest first */
    size_t ended_count;
    size_t settling; /* the first ones are in the statement under way */
    size_t settle_limit;
    bool settle_bare;   /* the next settlement is a culprit's alone */
    int64_t call_after; /* monotonic ms */
    int64_t retry_at;   /* after a failed statement: monotonic ms */
    struct loop_timer *due_timer, *sweep_timer;
    struct log_gate gate;
};

static void on_due(void *arg)
{
    struct dispatch *d = arg;

    d->wanted = true;
}

static void on_sweep_timer(void *arg)
{
    struct dispatch *d = arg;

    d->sweep_due = true;
    d->wanted = true;
    error_rates_look(d->errors, loop_now_ms(d->deps.loop));
    loop_timer_start(d->sweep_timer, d->deps.config->database.poll_interval_ms);
}

static void on_attempt_end(void *arg, const struct settlement *s);
static void on_attempt_late(void *arg, const struct settlement *s);

struct dispatch *dispatch_new(const struct dispatch_deps *deps)
{
    struct dispatch *d = xcalloc(1, sizeof *d);

    d->deps = *deps;
    d->circuits = circuits_new(deps->config, deps->metrics, deps->alerts);
    d->errors = error_rates_new(deps->config, deps->alerts);
    d->probes = probes_new();
    d->attempts = (struct attempt_deps){.loop = deps->loop,
                                        .running = &d->open_attempts,
                                        .circuits = d->circuits,
                                        .errors = d->errors,
                                        .alerts = deps->alerts,
                                        .probes = d->probes,
                                        .config = deps->config,
                                        .metrics = deps->metrics,
                                        .http = deps->http,
                                        .on_end = on_attempt_end,
                                        .on_late = on_attempt_late,
                                        .arg = d};
    claimed_init(&d->claimed);
    d->settle_limit = SETTLE_BATCH;
    d->due_timer = loop_timer_new(deps->loop, on_due, d);
    d->sweep_timer = loop_timer_new(deps->loop, on_sweep_timer, d);
    return d;
}

static void drop_ended(struct dispatch *d, size_t count)
{
    for (; count > 0 && d->head; count--) {
        struct ended *n = d->head;
        d->head = n->next;
        if (!d->head)
            d->tail = NULL;
        d->ended_count--;
        free(n);
    }
}

void dispatch_free(struct dispatch **d)
{
    if (!*d)
        return;
    claimed_fini(&(*d)->claimed);
    drop_ended(*d, (*d)->ended_count);
    free((*d)->late);
    attempts_free(&(*d)->open_attempts);
    circuits_free(&(*d)->circuits);
    error_rates_free(&(*d)->errors);
    probes_free(&(*d)->probes);
    loop_timer_free(&(*d)->due_timer);
    loop_timer_free(&(*d)->sweep_timer);
    free(*d);
    *d = NULL;
}

void dispatch_open(struct dispatch *d)
{
    d->open = true;
    on_sweep_timer(d);
}

void dispatch_wake(struct dispatch *d)
{
    d->wanted = true;
}

static bool has_unstarted(const struct dispatch *d)
{
    return d->claim_lost || d->late_count > 0;
}

bool dispatch_is_idle(const struct dispatch *d)
{
    return d->running == 0 && d->claimed.count == 0 && d->ended_count == 0 && !d->claiming && !d->sweeping &&
           !d->releasing && !has_unstarted(d);
}

size_t dispatch_in_flight(const struct dispatch *d)
{
    return d->running;
}

bool dispatch_is_cut_off(const struct dispatch *d)
{
    const char *down[CONFIG_MAX_ACCOUNTS];
    size_t accounts = d->deps.config->channels.account_count;

    return accounts > 0 && circuits_down(d->circuits, down, CONFIG_MAX_ACCOUNTS) == accounts;
}

/* --- attempts --- */

static void add_ended(struct dispatch *d, const struct settlement *s)
{
    struct ended *n = xrealloc(NULL, 1, sizeof *n);

    n->next = NULL;
    n->settlement = *s;
    if (d->tail)
        d->tail->next = n;
    else
        d->head = n;
    d->tail = n;
    d->ended_count++;
}

static void on_attempt_end(void *arg, const struct settlement *s)
{
    struct dispatch *d = arg;

    d->running--;
    d->ends++;
    add_ended(d, s);
}

static void add_late(struct dispatch *d, const char *message_id, int32_t fence)
{
    struct ledger_unstarted *late;

    d->late = xrealloc(d->late, d->late_count + 1, sizeof *d->late);
    late = &d->late[d->late_count++];
    late->fence = fence;
    str_copy(late->message_id, sizeof late->message_id, message_id);
}

static void give_back(struct dispatch *d, const struct settlement *s)
{
    log_warn("claim came too late for an attempt, given back", log_str("messageId", s->message_id));
    add_late(d, s->message_id, s->fence);
}

void dispatch_close(struct dispatch *d)
{
    struct claimed *c;

    d->open = false;
    loop_timer_stop(d->due_timer);
    loop_timer_stop(d->sweep_timer);
    while ((c = claimed_take(&d->claimed))) {
        add_late(d, c->claim.message_id, c->claim.fence);
        claimed_free(c);
    }
}

static void on_attempt_late(void *arg, const struct settlement *s)
{
    struct dispatch *d = arg;

    d->running--;
    give_back(d, s);
}

static int64_t lease_ends_ms(const struct dispatch *d)
{
    return d->claim_boot_ms + d->deps.config->consumer.lease_ms;
}

static void start_attempt(struct dispatch *d, const struct ledger_claim *claim, int64_t ends_ms,
                          double claim_ms)
{
    struct settlement s;

    switch (attempt_start(&d->attempts, claim, ends_ms, claim_ms, &s)) {
    case ATTEMPT_RUNS:
        d->running++;
        break;
    case ATTEMPT_ENDED:
        add_ended(d, &s);
        break;
    case ATTEMPT_LATE:
        give_back(d, &s);
        break;
    }
}

static size_t slots(const struct dispatch *d)
{
    return (size_t)d->deps.config->consumer.max_in_flight;
}

/* What was true of account and contact when it was claimed is looked at once more, by a claim, when it is
 * known to be otherwise or was some time ago. */
static void start_claimed(struct dispatch *d)
{
    while (d->running < slots(d) && d->claimed.count > 0) {
        struct claimed *c = claimed_take(&d->claimed);
        if (loop_now_ms(d->deps.loop) - c->claimed_at > STALE_MS ||
            circuits_is_down(d->circuits, c->claim.account))
            add_late(d, c->claim.message_id, c->claim.fence);
        else
            start_attempt(d, &c->claim, c->lease_ends_ms, c->claim_ms);
        claimed_free(c);
    }
}

/* --- the ledger --- */

static void statement_failed(struct dispatch *d, const char *what, const struct err *e)
{
    int64_t held;

    d->retry_at = loop_now_ms(d->deps.loop) + RETRY_MS;
    d->wanted = true;
    loop_timer_start(d->due_timer, RETRY_MS);
    if (log_gate_pass(&d->gate, 10000, &held))
        log_warn(what, log_str("reason", e->text), log_int("held_back", held));
}

/* The next look: a head that becomes due, or the probe of an account that is down. */
static void plan_wake(struct dispatch *d, int64_t next_due_ms)
{
    int64_t probe_at = circuits_next_probe_at(d->circuits), now = loop_now_ms(d->deps.loop);
    int64_t wait_ms = next_due_ms;

    if (probe_at >= 0 && (wait_ms < 0 || probe_at - now < wait_ms))
        wait_ms = probe_at > now ? probe_at - now : 0;
    if (wait_ms >= 0 && d->open)
        loop_timer_start(d->due_timer, wait_ms);
}

static void on_called(void *arg, const struct err *e)
{
    (void)arg;
    (void)e; /* their own sweep finds the work */
}

/* We are full and there is more: the other instances may sleep until their next sweep. */
static void call_others(struct dispatch *d)
{
    int64_t now = loop_now_ms(d->deps.loop);

    if (now < d->call_after)
        return;
    if (ledger_call_others(d->deps.ledger, on_called, d) == 0)
        d->call_after = now + CALL_INTERVAL_MS;
}

static void on_claimed(void *arg, const struct ledger_claim *claims, size_t count,
                       const struct ledger_wait *wait, const struct err *e)
{
    struct dispatch *d = arg;
    double claim_ms = (double)(clock_mono_us() - d->claim_us) / 1000.0;
    const char *probing = d->probing;

    d->claiming = false;
    d->probing = NULL;
    if (probing && (e || count == 0))
        circuits_probe_missed(d->circuits, probing, loop_now_ms(d->deps.loop));
    if (e) {
        d->claim_lost = true;
        statement_failed(d, "could not claim deliveries, will try again", e);
        return;
    }
    if (count > 0)
        CRASH_POINT("consumer-claimed");
    for (size_t i = 0; i < count; i++)
        start_attempt(d, &claims[i], lease_ends_ms(d), claim_ms);
    plan_wake(d, wait->next_due_ms);
    if (count == d->asked || wait->cancelled > 0 || probing)
        d->wanted = true;
    if (count == d->asked && !probing)
        call_others(d);
    dispatch_count_held(d->deps.metrics, wait);
}

/* Ended attempts hold their lanes until they are settled; a ledger that lags must not be asked for ever
 * more. */
static size_t free_slots(const struct dispatch *d, size_t ahead)
{
    size_t limit = slots(d) + ahead, taken = d->running + d->claimed.count;

    return taken >= limit || d->ended_count >= slots(d) + SETTLE_BATCH ? 0 : limit - taken;
}

static void begin_claim(struct dispatch *d, struct ledger_ask *ask)
{
    ask->number = ++d->claim_number;
    d->claim_boot_ms = clock_boot_ms();
    d->claim_us = clock_mono_us();
}

static void claim(struct dispatch *d)
{
    const char *down[CONFIG_MAX_ACCOUNTS];
    struct ledger_ask ask = {.skip = down};
    size_t room = free_slots(d, 0);

    if (room == 0 || d->lent > 0)
        return;
    d->probing = circuits_take_probe(d->circuits, loop_now_ms(d->deps.loop));
    begin_claim(d, &ask);
    ask.only = d->probing;
    ask.slots = d->probing ? 1 : room;
    ask.skip_count = d->probing ? 0 : circuits_down(d->circuits, down, CONFIG_MAX_ACCOUNTS);
    d->asked = ask.slots;
    if (ledger_claim(d->deps.ledger, &ask, on_claimed, d) == 0) {
        d->claiming = true;
        d->wanted = false;
    } else if (d->probing) {
        circuits_probe_missed(d->circuits, d->probing, loop_now_ms(d->deps.loop));
    }
}

/* --- claims with an acceptance --- */

static bool may_claim(const struct dispatch *d)
{
    return d->open && !has_unstarted(d) && ledger_can_work(d->deps.ledger) &&
           loop_now_ms(d->deps.loop) >= d->retry_at;
}

int dispatch_lend(struct dispatch *d, struct ledger_ask *ask, const char **skip, bool may_wait)
{
    ask->slots = 0;
    d->ends = 0;
    if (!may_claim(d))
        return 0;
    ask->slots = free_slots(d, may_wait ? d->ahead : 0);
    if (ask->slots == 0)
        return may_wait ? -1 : 0;
    if (d->claiming || d->wanted)
        return -1;
    begin_claim(d, ask);
    ask->skip_count = circuits_down(d->circuits, skip, CONFIG_MAX_ACCOUNTS);
    d->lent = ask->slots;
    return 0;
}

void dispatch_start_lent(struct dispatch *d, const struct ledger_claim *claim, struct arena **arena)
{
    struct claimed c = {.claim = *claim,
                        .claimed_at = loop_now_ms(d->deps.loop),
                        .lease_ends_ms = lease_ends_ms(d),
                        .claim_ms = (double)(clock_mono_us() - d->claim_us) / 1000.0};

    d->lent--;
    if (d->running < slots(d))
        start_attempt(d, claim, c.lease_ends_ms, c.claim_ms);
    else if (d->open)
        claimed_add(&d->claimed, &c, arena);
    else
        add_late(d, claim->message_id, claim->fence);
}

void dispatch_end_lent(struct dispatch *d, const struct err *e, bool has_waiting)
{
    if (e && d->lent > 0 && e->class != ERR_DATA)
        d->claim_lost = true;
    else if (has_waiting && d->lent == 0 && may_claim(d))
        call_others(d); /* what waits may be theirs */
    d->lent = 0;
    d->ahead = d->ends < slots(d) / AHEAD_PART ? d->ends : slots(d) / AHEAD_PART;
}

/* What was not started must not wait for its lease's end, which would make it uncertain. */
static void on_released(void *arg, const struct err *e)
{
    struct dispatch *d = arg;

    d->releasing = false;
    if (e) {
        statement_failed(d, "could not give claims back, will try again", e);
        return;
    }
    if (d->releasing_count == 0)
        d->claim_lost = false;
    d->late_count -= d->releasing_count;
    if (d->late_count > 0)
        memmove(d->late, d->late + d->releasing_count, d->late_count * sizeof *d->late);
    d->wanted = true;
}

static void release(struct dispatch *d)
{
    int rc = d->claim_lost ? ledger_release_claim(d->deps.ledger, d->claim_number, on_released, d)
                           : ledger_release(d->deps.ledger, d->late, d->late_count, on_released, d);

    d->releasing_count = d->claim_lost ? 0 : d->late_count;
    d->releasing = rc == 0;
}

/* A settlement the database cannot store must not hold up the others: the batch is halved, and what fails
 * alone is settled without the tables beside the ledger. What then still fails is left to the lease's end. */
static void settle_failed(struct dispatch *d, size_t count, const struct err *e)
{
    if (e->class != ERR_DATA) {
        statement_failed(d, "could not settle deliveries, will try again", e);
    } else if (count > 1) {
        d->settle_limit = count / 2;
    } else if (!d->settle_bare) {
        d->settle_bare = true;
        d->settle_limit = 1;
        log_error("settled without history and job: the database refuses them",
                  log_str("messageId", d->head->settlement.message_id), log_str("reason", e->text));
    } else {
        d->settle_bare = false;
        log_error("settlement refused by the database, left to its lease's end",
                  log_str("messageId", d->head->settlement.message_id), log_str("reason", e->text));
        drop_ended(d, 1);
    }
}

/* What the settlements leave to do: heads that are due now or later, copies of what was parked. */
static void look_for_work(struct dispatch *d, const struct ledger_settled *settled, size_t count,
                          size_t batch)
{
    const struct ended *n = d->head;
    bool has_parked = false;

    d->wanted |= count < batch || (count > 0 && settled[0].is_due);
    for (size_t i = 0; i < batch; i++, n = n->next) {
        enum delivery_state state = delivery_state_after(n->settlement.disposition.kind);
        d->wanted |= state != DELIVERY_SENT;
        has_parked |= state == DELIVERY_PARKED;
    }
    if (has_parked)
        d->deps.on_parked(d->deps.arg);
}

static void on_settled(void *arg, const struct ledger_settled *settled, size_t count, const struct err *e)
{
    struct dispatch *d = arg;
    size_t batch = d->settling;

    d->settling = 0;
    if (e) {
        settle_failed(d, batch, e);
        return;
    }
    CRASH_POINT("consumer-settled");
    d->settle_bare = false;
    if (count < batch)
        log_warn("attempts whose delivery belongs to a newer claim",
                 log_int("count", (int64_t)(batch - count)));
    dispatch_count_answers(d->deps.metrics, settled, count);
    look_for_work(d, settled, count, batch);
    drop_ended(d, batch);
    d->settle_limit = d->settle_limit * 2 < SETTLE_BATCH ? d->settle_limit * 2 : SETTLE_BATCH;
}

static void settle(struct dispatch *d)
{
    const struct settlement *items[SETTLE_BATCH];
    size_t count = 0;

    for (const struct ended *n = d->head; n && count < d->settle_limit; n = n->next)
        items[count++] = &n->settlement;
    if (ledger_settle(d->deps.ledger, items, count, d->settle_bare, on_settled, d) == 0)
        d->settling = count;
}

static void on_swept(void *arg, const struct ledger_sweep *s, const struct err *e)
{
    struct dispatch *d = arg;

    d->sweeping = false;
    if (e) {
        statement_failed(d, "could not sweep deliveries, will try again", e);
        return;
    }
    if (s->orphaned > 0 || s->parked > 0 || s->resent > 0)
        log_warn("deliveries whose attempt never ended", log_int("uncertain", s->orphaned),
                 log_int("parked", s->parked), log_int("resent", s->resent));
    dispatch_count_sweep(d->deps.metrics, s);
    if (s->uncopied > 0)
        d->deps.on_parked(d->deps.arg);
    if (s->has_bounced)
        d->deps.on_bounced(d->deps.arg);
    if (s->resent > 0)
        d->wanted = true;
}

static void sweep(struct dispatch *d)
{
    if (ledger_sweep(d->deps.ledger, on_swept, d) == 0) {
        d->sweeping = true;
        d->sweep_due = false;
    }
}

void dispatch_turn(struct dispatch *d)
{
    start_claimed(d);
    if (!ledger_can_work(d->deps.ledger) || loop_now_ms(d->deps.loop) < d->retry_at)
        return;
    if (d->head && d->settling == 0)
        settle(d);
    if (has_unstarted(d) && !d->releasing)
        release(d);
    if (!d->open)
        return;
    if (d->wanted && !d->claiming && !has_unstarted(d))
        claim(d);
    if (d->sweep_due && !d->sweeping)
        sweep(d);
}
