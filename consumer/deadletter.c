/* The copies on their way to wb_parked: a list of slots, each queued or sent, never dropped before its
 * confirm. */
#include "consumer/deadletter.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "domain/families.h"

enum { LEDGER_BATCH = 50, MARK_RETRY_MS = 1000 };

enum copy_state { COPY_FREE = 0, COPY_QUEUED, COPY_SENT, COPY_CONFIRMED };

struct copy {
    enum copy_state state;
    bool from_ledger; /* confirmed ones are marked in the ledger */
    enum deadletter_reason reason;
    int64_t attempts, first_seen_ms;
    char *text, *message_id, *traceparent, *body; /* owned */
    size_t body_len;
    deadletter_done_fn *done;
    void *arg;
};

struct deadletter {
    struct deadletter_deps deps;
    struct copy *copies;
    size_t cap, used; /* used: not free */
    bool look, claiming, marking;
    size_t ledger_copies;        /* used ones that came from the ledger */
    size_t marked[LEDGER_BATCH]; /* slots of the mark in flight */
    size_t marked_count;
    int64_t hold_until, mark_after; /* monotonic ms */
    int refusals;
    struct log_gate gate;
};

static const struct backoff REFUSAL_BACKOFF = {
    .delay_ms = 500, .multiplier = 2, .max_delay_ms = 30000, .jitter = 0.2};

const char *deadletter_reason_name(enum deadletter_reason r)
{
    switch (r) {
    case DEADLETTER_INVALID:
        return "invalid";
    case DEADLETTER_ID_CONFLICT:
        return "id_conflict";
    case DEADLETTER_POISON:
        return "poison";
    case DEADLETTER_UNROUTABLE:
        return "unroutable";
    case DEADLETTER_PERMANENT:
        return "permanent";
    case DEADLETTER_EXHAUSTED:
        return "exhausted";
    case DEADLETTER_UNCERTAIN:
        return "uncertain";
    }
    return "";
}

struct deadletter *deadletter_new(const struct deadletter_deps *deps)
{
    struct deadletter *d = xcalloc(1, sizeof *d);

    d->deps = *deps;
    return d;
}

static void copy_release(struct deadletter *d, struct copy *c)
{
    if (c->from_ledger)
        d->ledger_copies--;
    free(c->text);
    free(c->message_id);
    free(c->traceparent);
    free(c->body);
    *c = (struct copy){.state = COPY_FREE};
    d->used--;
}

void deadletter_free(struct deadletter **d)
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

static struct copy *copy_new(struct deadletter *d)
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

static struct copy *add_copy(struct deadletter *d, const struct deadletter_note *note)
{
    struct copy *c = copy_new(d);

    *c = (struct copy){.state = COPY_QUEUED,
                       .reason = note->reason,
                       .attempts = note->attempts,
                       .first_seen_ms = note->first_seen_ms,
                       .text = xstrdup(note->text),
                       .message_id = xstrdup(note->message_id),
                       .traceparent = xstrdup(note->traceparent),
                       .body = xcalloc(1, note->body_len + 1),
                       .body_len = note->body_len};
    memcpy(c->body, note->body, note->body_len);
    log_warn("parked", log_str("messageId", c->message_id), log_str("queue", TOPOLOGY_WB_PARKED),
             log_str("reason", deadletter_reason_name(c->reason)), log_str("detail", c->text),
             log_int("attempts", c->attempts));
    return c;
}

void deadletter_add(struct deadletter *d, const struct deadletter_note *note, deadletter_done_fn *done,
                    void *arg)
{
    struct copy *c = add_copy(d, note);

    c->done = done;
    c->arg = arg;
}

void deadletter_look(struct deadletter *d)
{
    d->look = true;
}

bool deadletter_is_idle(const struct deadletter *d)
{
    return d->used == 0 && !d->claiming && !d->marking;
}

/* --- publishing --- */

/* False when the broker takes nothing more for now. */
static bool publish(struct deadletter *d, size_t slot)
{
    struct copy *c = &d->copies[slot];
    struct broker_header headers[] = {
        {.name = "agwb-reason", .str = deadletter_reason_name(c->reason)},
        {.name = "agwb-error", .str = c->text ? c->text : ""},
        {.name = "agwb-queue", .str = d->deps.config->topology.webhook_queue},
        {.name = "agwb-attempts", .i = c->attempts},
        {.name = "agwb-first-seen", .i = c->first_seen_ms},
        {.name = "agwb-parked-at", .i = clock_wall_ms()},
        {.name = "traceparent", .str = c->traceparent},
    };
    size_t count = sizeof headers / sizeof headers[0] - (c->traceparent ? 0 : 1);
    struct broker_message m = {.exchange = "",
                               .routing_key = TOPOLOGY_WB_PARKED,
                               .body = c->body,
                               .body_len = c->body_len,
                               .message_id = c->message_id,
                               .content_type = "application/json",
                               .type = "parked",
                               .app_id = "agwb-consumer",
                               .timestamp_s = clock_wall_ms() / 1000,
                               .expiration_ms = -1,
                               .headers = headers,
                               .header_count = count};
    struct err e;

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

static void publish_queued(struct deadletter *d)
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

static void refused(struct deadletter *d, enum broker_confirm result)
{
    int64_t now = loop_now_ms(d->deps.loop), held;

    if (now >= d->hold_until)
        d->hold_until = now + backoff_jittered_ms(&REFUSAL_BACKOFF, ++d->refusals, random_u64());
    if (result != BROKER_UNKNOWN && log_gate_pass(&d->gate, 10000, &held))
        log_error("the parked queue does not take a message, will try again",
                  log_str("queue", TOPOLOGY_WB_PARKED),
                  log_str("reason", result == BROKER_RETURNED ? "it does not exist" : "it refuses"),
                  log_int("held_back", held));
}

void deadletter_on_confirm(struct deadletter *d, uint64_t cookie, enum broker_confirm result)
{
    struct copy *c = &d->copies[cookie];

    if (result != BROKER_CONFIRMED) {
        c->state = COPY_QUEUED;
        refused(d, result);
        return;
    }
    d->refusals = 0;
    metric_add(d->deps.metrics, &METRIC_DEAD_LETTERS, 1, TOPOLOGY_WB_PARKED,
               deadletter_reason_name(c->reason));
    if (c->from_ledger) {
        c->state = COPY_CONFIRMED;
        return;
    }
    if (c->done)
        c->done(c->arg);
    copy_release(d, c);
}

/* --- the ledger's parked deliveries --- */

static enum deadletter_reason reason_of_outcome(const char *outcome, const char *text)
{
    if (strncmp(text, "uncertain", 9) == 0)
        return DEADLETTER_UNCERTAIN;
    if (strcmp(outcome, outcome_name(OUTCOME_PERMFAIL)) == 0)
        return DEADLETTER_PERMANENT;
    return outcome[0] ? DEADLETTER_EXHAUSTED : DEADLETTER_UNROUTABLE;
}

static void add_from_ledger(struct deadletter *d, const struct ledger_parked *p)
{
    struct err ignored;
    struct json *headers = json_parse(p->headers_json, strlen(p->headers_json), &ignored);
    struct deadletter_note note = {
        .reason = reason_of_outcome(p->outcome, p->reason),
        .text = p->reason,
        .message_id = p->message_id,
        .body = p->payload,
        .body_len = p->payload_len,
        .traceparent = headers ? json_str(json_member(json_root(headers), "traceparent")) : NULL,
        .attempts = p->attempts,
        .first_seen_ms = p->first_seen_ms};

    add_copy(d, &note)->from_ledger = true;
    d->ledger_copies++;
    json_free(&headers);
}

static void on_claimed(void *arg, const struct ledger_parked *items, size_t count, const struct err *e)
{
    struct deadletter *d = arg;

    d->claiming = false;
    if (e) {
        d->look = true;
        d->mark_after = loop_now_ms(d->deps.loop) + MARK_RETRY_MS;
        return;
    }
    for (size_t i = 0; i < count; i++)
        add_from_ledger(d, &items[i]);
    if (count == LEDGER_BATCH)
        d->look = true;
}

static void on_marked(void *arg, const struct err *e)
{
    struct deadletter *d = arg;

    d->marking = false;
    if (e) {
        d->mark_after = loop_now_ms(d->deps.loop) + MARK_RETRY_MS;
        return;
    }
    for (size_t i = 0; i < d->marked_count; i++)
        copy_release(d, &d->copies[d->marked[i]]);
}

static void mark_confirmed(struct deadletter *d)
{
    const char *ids[LEDGER_BATCH];

    d->marked_count = 0;
    for (size_t i = 0; i < d->cap && d->marked_count < LEDGER_BATCH; i++) {
        if (d->copies[i].state == COPY_CONFIRMED) {
            ids[d->marked_count] = d->copies[i].message_id;
            d->marked[d->marked_count++] = i;
        }
    }
    if (d->marked_count > 0 && ledger_mark_parked(d->deps.ledger, ids, d->marked_count, on_marked, d) == 0)
        d->marking = true;
}

void deadletter_turn(struct deadletter *d)
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
