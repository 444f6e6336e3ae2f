/* The copies on their way to a parked queue: a list of slots, each queued or sent, never dropped before its
 * confirm. */
#include "consumer/parking.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "base/log.h"
#include "domain/families.h"

enum {
    LEDGER_BATCH = 50,
    MARK_RETRY_MS = 1000,
    RENEW_AFTER = 3 /* a deleted queue is declared again by a new connection */
};

enum copy_state { COPY_FREE = 0, COPY_QUEUED, COPY_SENT, COPY_CONFIRMED };

struct copy {
    enum copy_state state;
    bool from_ledger; /* confirmed ones are marked in the ledger */
    enum parking_reason reason;
    int64_t attempts, first_seen_ms;
    const char *queue, *origin; /* borrowed: static, or the configuration's */
    char *text, *message_id, *traceparent, *death, *outcome, *body; /* owned */
    size_t body_len;
    parking_done_fn *done;
    void *arg;
};

struct parking {
    struct parking_deps deps;
    struct copy *copies;
    size_t cap, used; /* used: not free */
    bool look, claiming, marking;
    size_t ledger_copies;        /* used ones that came from the ledger */
    size_t marked[LEDGER_BATCH]; /* slots of the mark in flight */
    size_t marked_count;
    size_t mark_limit;              /* halved when a batch has a row at fault */
    bool mark_bare;                 /* the next mark is the culprit's alone */
    int64_t hold_until, mark_after; /* monotonic ms */
    int refusals;
    struct log_gate gate;
};

static const struct backoff REFUSAL_BACKOFF = {
    .delay_ms = 500, .multiplier = 2, .max_delay_ms = 30000, .jitter = 0.2};

const char *parking_reason_name(enum parking_reason r)
{
    switch (r) {
    case PARKING_INVALID:
        return "invalid";
    case PARKING_ID_CONFLICT:
        return "id_conflict";
    case PARKING_POISON:
        return "poison";
    case PARKING_UNROUTABLE:
        return "unroutable";
    case PARKING_PERMANENT:
        return "permanent";
    case PARKING_EXHAUSTED:
        return "exhausted";
    case PARKING_UNCERTAIN:
        return "uncertain";
    case PARKING_OVERTAKEN:
        return "overtaken";
    case PARKING_LATE:
        return "late";
    case PARKING_DUPLICATE:
        return "duplicate";
    case PARKING_DEAD:
        return "dead";
    }
    return "";
}

struct parking *parking_new(const struct parking_deps *deps)
{
    struct parking *d = xcalloc(1, sizeof *d);

    d->deps = *deps;
    d->mark_limit = LEDGER_BATCH;
    return d;
}

static void copy_release(struct parking *d, struct copy *c)
{
    if (c->from_ledger)
        d->ledger_copies--;
    free(c->text);
    free(c->message_id);
    free(c->traceparent);
    free(c->death);
    free(c->outcome);
    free(c->body);
    *c = (struct copy){.state = COPY_FREE};
    d->used--;
}

void parking_free(struct parking **d)
{
    if (!*d)
        return;
    for (size_t i = 0; i < (*d)->cap; i++) {
        if ((*d)->copies[i].state != COPY_FREE)
            copy_release(*d, &(*d)->copies[i]);
    }
    free((*d)->copies);
    free(*d);
    *d = NULL;
}

static struct copy *copy_new(struct parking *d)
{
    size_t i = 0;

    while (i < d->cap && d->copies[i].state != COPY_FREE)
        i++;
    if (i == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 16;
        d->copies = xrealloc(d->copies, cap, sizeof *d->copies);
        memset(d->copies + d->cap, 0, (cap - d->cap) * sizeof *d->copies);
        d->cap = cap;
    }
    d->used++;
    return &d->copies[i];
}

/* What nobody can do anything about (an invalid number) and what is only a leftover raise no alert. */
static bool is_alarming(enum parking_reason r)
{
    switch (r) {
    case PARKING_PERMANENT:
    case PARKING_DUPLICATE:
        return false;
    case PARKING_INVALID:
    case PARKING_ID_CONFLICT:
    case PARKING_POISON:
    case PARKING_UNROUTABLE:
    case PARKING_EXHAUSTED:
    case PARKING_UNCERTAIN:
    case PARKING_OVERTAKEN:
    case PARKING_LATE:
    case PARKING_DEAD:
        return true;
    }
    return true;
}

static bool was_tried(enum parking_reason r)
{
    return r == PARKING_EXHAUSTED || r == PARKING_UNCERTAIN || r == PARKING_OVERTAKEN;
}

static void tell(const struct parking *d, const struct copy *c)
{
    char attempts[24];

    if (!is_alarming(c->reason))
        return;
    snprintf(attempts, sizeof attempts, "%" PRId64, c->attempts);
    alerts_raise(d->deps.alerts,
                 &(struct alert){.kind = was_tried(c->reason) ? ALERT_PARKED : ALERT_DEAD,
                                 .about = c->queue,
                                 .text = was_tried(c->reason) ? "a message is given up" : "a message is dead",
                                 .details = {{"messageId", c->message_id},
                                             {"reason", parking_reason_name(c->reason)},
                                             {"detail", c->text},
                                             {"attempts", was_tried(c->reason) ? attempts : NULL}}});
}

static struct copy *add_copy(struct parking *d, const struct parking_note *note)
{
    struct copy *c = copy_new(d);

    *c = (struct copy){.state = COPY_QUEUED,
                       .queue = note->queue,
                       .origin = note->origin,
                       .death = xstrdup(note->death),
                       .outcome = xstrdup(note->outcome),
                       .reason = note->reason,
                       .attempts = note->attempts,
                       .first_seen_ms = note->first_seen_ms,
                       .text = xstrdup(note->text),
                       .message_id = xstrdup(note->message_id),
                       .traceparent = xstrdup(note->traceparent),
                       .body = xcalloc(1, note->body_len + 1),
                       .body_len = note->body_len};
    memcpy(c->body, note->body, note->body_len);
    tell(d, c);
    log_warn("parked", log_str("messageId", c->message_id), log_str("queue", c->queue),
             log_str("reason", parking_reason_name(c->reason)), log_str("detail", c->text),
             log_int("attempts", c->attempts));
    return c;
}

void parking_add(struct parking *d, const struct parking_note *note, parking_done_fn *done, void *arg)
{
    struct copy *c = add_copy(d, note);

    c->done = done;
    c->arg = arg;
}

void parking_look(struct parking *d)
{
    d->look = true;
}

bool parking_is_idle(const struct parking *d)
{
    return d->used == 0 && !d->claiming && !d->marking;
}

/* --- publishing --- */

/* False when the broker takes nothing more for now. */
static bool publish(struct parking *d, size_t slot)
{
    struct copy *c = &d->copies[slot];
    struct broker_header headers[9] = {
        {.name = "agwb-reason", .str = parking_reason_name(c->reason)},
        {.name = "agwb-error", .str = c->text ? c->text : ""},
        {.name = "agwb-queue", .str = c->origin},
        {.name = "agwb-attempts", .i = c->attempts},
        {.name = "agwb-first-seen", .i = c->first_seen_ms},
        {.name = "agwb-parked-at", .i = clock_wall_ms()},
    };
    struct broker_message m = {.exchange = "",
                               .routing_key = c->queue,
                               .body = c->body,
                               .body_len = c->body_len,
                               .message_id = c->message_id,
                               .content_type = "application/json",
                               .type = "parked",
                               .app_id = "agwb-consumer",
                               .timestamp_s = clock_wall_ms() / 1000,
                               .expiration_ms = -1,
                               .headers = headers,
                               .header_count = 6};
    struct err e;

    if (c->traceparent)
        headers[m.header_count++] = (struct broker_header){.name = "traceparent", .str = c->traceparent};
    if (c->outcome)
        headers[m.header_count++] = (struct broker_header){.name = "agwb-outcome", .str = c->outcome};
    if (c->death)
        headers[m.header_count++] = (struct broker_header){.name = "agwb-death", .str = c->death};
    if (broker_publish(d->deps.broker, &m, slot, &e) == 0) {
        c->state = COPY_SENT;
        return true;
    }
    if (e.class == ERR_DATA && c->message_id) {
        /* an id that AMQP cannot carry: the body still has it */
        free(c->message_id);
        c->message_id = NULL;
        return true;
    }
    return false;
}

static void publish_queued(struct parking *d)
{
    if (loop_now_ms(d->deps.loop) < d->hold_until)
        return;
    for (size_t i = 0; i < d->cap; i++) {
        while (d->copies[i].state == COPY_QUEUED) {
            if (!publish(d, i))
                return;
        }
    }
}

static void refused(struct parking *d, const char *queue, enum broker_confirm result)
{
    int64_t now = loop_now_ms(d->deps.loop), held;

    if (now >= d->hold_until) {
        d->hold_until = now + backoff_jittered_ms(&REFUSAL_BACKOFF, ++d->refusals, random_u64());
        if (result != BROKER_UNKNOWN && d->refusals % RENEW_AFTER == 0)
            broker_renew(d->deps.broker, "renewed, since a parked queue goes on refusing messages");
    }
    if (result != BROKER_UNKNOWN && log_gate_pass(&d->gate, 10000, &held))
        log_error("the parked queue does not take a message, will try again", log_str("queue", queue),
                  log_str("reason", result == BROKER_RETURNED ? "it does not exist" : "it refuses"),
                  log_int("held_back", held));
}

void parking_on_confirm(struct parking *d, uint64_t cookie, enum broker_confirm result)
{
    struct copy *c = &d->copies[cookie];

    if (result != BROKER_CONFIRMED) {
        c->state = COPY_QUEUED;
        refused(d, c->queue, result);
        return;
    }
    d->refusals = 0;
    metric_add(d->deps.metrics, &METRIC_DEAD_LETTERS, 1, c->queue, parking_reason_name(c->reason));
    if (c->from_ledger) {
        c->state = COPY_CONFIRMED;
        CRASH_POINT("parking-confirmed");
        return;
    }
    if (c->done)
        c->done(c->arg);
    copy_release(d, c);
}

/* --- the ledger's parked deliveries --- */

static enum parking_reason reason_of_outcome(const char *outcome, const char *text)
{
    if (strncmp(text, "uncertain", 9) == 0)
        return PARKING_UNCERTAIN;
    if (strncmp(text, "overtaken", 9) == 0)
        return PARKING_OVERTAKEN;
    if (strcmp(outcome, outcome_name(OUTCOME_PERMFAIL)) == 0)
        return PARKING_PERMANENT;
    return outcome[0] ? PARKING_EXHAUSTED : PARKING_UNROUTABLE;
}

static void add_from_ledger(struct parking *d, const struct ledger_parked *p)
{
    struct err ignored;
    struct json *headers = json_parse(p->headers_json, strlen(p->headers_json), &ignored);
    struct parking_note note = {.queue = TOPOLOGY_WB_PARKED,
                                .origin = d->deps.config->topology.webhook_queue,
                                .reason = reason_of_outcome(p->outcome, p->reason),
                                .text = p->reason,
                                .message_id = p->message_id,
                                .outcome = p->outcome[0] ? p->outcome : NULL,
                                .body = p->payload,
                                .body_len = p->payload_len,
                                .traceparent =
                                    headers ? json_str(json_member(json_root(headers), "traceparent")) : NULL,
                                .attempts = p->attempts,
                                .first_seen_ms = p->first_seen_ms};

    add_copy(d, &note)->from_ledger = true;
    d->ledger_copies++;
    json_free(&headers);
}

static void on_claimed(void *arg, const struct ledger_parked *items, size_t count, const struct err *e)
{
    struct parking *d = arg;

    d->claiming = false;
    if (e) {
        d->look = true;
        d->mark_after = loop_now_ms(d->deps.loop) + MARK_RETRY_MS;
        return;
    }
    for (size_t i = 0; i < count; i++)
        add_from_ledger(d, &items[i]);
    if (count > 0)
        CRASH_POINT("parking-claimed");
    if (count == LEDGER_BATCH)
        d->look = true;
}

/* A row at fault fails its whole batch: the batch is halved until the culprit stands alone, which is then
 * marked without the tables beside the ledger. */
static void mark_failed(struct parking *d, const struct err *e)
{
    int64_t held;

    if (e->class == ERR_DATA && d->marked_count > 1) {
        d->mark_limit = d->marked_count / 2;
        return;
    }
    if (e->class == ERR_DATA) {
        d->mark_bare = true;
        d->mark_limit = 1;
    }
    d->mark_after = loop_now_ms(d->deps.loop) + MARK_RETRY_MS;
    if (log_gate_pass(&d->gate, 10000, &held))
        log_warn("could not mark parked deliveries, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
}

static void on_marked(void *arg, const struct err *e)
{
    struct parking *d = arg;

    d->marking = false;
    if (e) {
        mark_failed(d, e);
        return;
    }
    for (size_t i = 0; i < d->marked_count; i++)
        copy_release(d, &d->copies[d->marked[i]]);
    d->mark_bare = false;
    d->mark_limit = d->mark_limit * 2 < LEDGER_BATCH ? d->mark_limit * 2 : LEDGER_BATCH;
}

static void mark_confirmed(struct parking *d)
{
    const char *ids[LEDGER_BATCH];

    d->marked_count = 0;
    for (size_t i = 0; i < d->cap && d->marked_count < d->mark_limit; i++) {
        if (d->copies[i].state == COPY_CONFIRMED) {
            ids[d->marked_count] = d->copies[i].message_id;
            d->marked[d->marked_count++] = i;
        }
    }
    if (d->marked_count > 0 &&
        ledger_mark_parked(d->deps.ledger, ids, d->marked_count, d->mark_bare, on_marked, d) == 0)
        d->marking = true;
}

void parking_turn(struct parking *d)
{
    if (d->used > 0)
        publish_queued(d);
    if (!ledger_can_work(d->deps.ledger) || loop_now_ms(d->deps.loop) < d->mark_after)
        return;
    if (d->ledger_copies > 0 && !d->marking)
        mark_confirmed(d);
    if (d->look && !d->claiming && d->ledger_copies == 0 &&
        ledger_claim_parked(d->deps.ledger, LEDGER_BATCH, on_claimed, d) == 0) {
        d->claiming = true;
        d->look = false;
    }
}
