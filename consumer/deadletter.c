/* Dead requests on their way: failing, being parked, done. The order matters: the contact's apology is
 * committed before the evidence is moved, and the evidence is safe before the broker is told. */
#include "consumer/deadletter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/uuid.h"

enum dead_state { DEAD_FAILING = 0, DEAD_PARKING, DEAD_DONE };

struct dead {
    struct dead *next;
    struct deadletter *owner;
    enum dead_state state;
    uint64_t epoch, tag;
    struct arena *arena; /* owns all below */
    char *message_id;    /* NULL when it has none */
    char *body, *death, *reason, *traceparent;
    size_t body_len;
};

struct deadletter {
    struct deadletter_deps deps;
    struct dead *head;
    bool done_any;
};

struct deadletter *deadletter_new(const struct deadletter_deps *deps)
{
    struct deadletter *d = xcalloc(1, sizeof *d);

    d->deps = *deps;
    return d;
}

static void dead_free(struct dead *n)
{
    arena_free(&n->arena);
    free(n);
}

void deadletter_free(struct deadletter **d)
{
    struct dead *n, *next;

    if (!*d)
        return;
    for (n = (*d)->head; n; n = next) {
        next = n->next;
        dead_free(n);
    }
    free(*d);
    *d = NULL;
}

bool deadletter_is_idle(const struct deadletter *d)
{
    return !d->head;
}

static void on_parked(void *arg)
{
    struct dead *n = arg;

    CRASH_POINT("deadletter-parked");
    n->state = DEAD_DONE;
    n->owner->done_any = true;
}

static void park(struct dead *n)
{
    struct parking_note note = {.queue = TOPOLOGY_AG_PARKED,
                                .origin = n->owner->deps.config->topology.agent_queue,
                                .death = n->death,
                                .reason = PARKING_DEAD,
                                .text = n->reason,
                                .message_id = n->message_id,
                                .body = n->body,
                                .body_len = n->body_len,
                                .traceparent = n->traceparent,
                                .first_seen_ms = clock_wall_ms()};

    n->state = DEAD_PARKING;
    parking_add(n->owner->deps.parking, &note, on_parked, n);
}

static void on_failed(void *arg, enum ledger_fail_result result)
{
    (void)result;
    park(arg);
}

/* The request's id is the job's: in the property, else in the body. */
static char *find_id(struct arena *a, const struct broker_delivery *d)
{
    struct err ignored;
    struct json *doc;
    char *id = NULL;

    if (d->message_id)
        return arena_strdup(a, d->message_id);
    doc = json_parse(d->body, d->body_len, &ignored);
    if (doc)
        id = arena_strdup(a, json_str(json_member(json_root(doc), "messageId")));
    json_free(&doc);
    return id;
}

static char *find_traceparent(struct arena *a, const struct broker_delivery *d)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, "traceparent") == 0 && is_traceparent(d->headers[i].str))
            return arena_strdup(a, d->headers[i].str);
    }
    return NULL;
}

/* x-death comes from outside: only what PostgreSQL can store is taken from it. */
static char *sound_text(struct arena *a, const char *text)
{
    return text && is_utf8(text, strlen(text)) ? arena_strdup(a, text) : NULL;
}

static struct dead *dead_new(struct deadletter *d, const struct broker_delivery *delivery)
{
    struct dead *n = xcalloc(1, sizeof *n);
    char reason[600];
    const char *queue;

    n->owner = d;
    n->epoch = delivery->epoch;
    n->tag = delivery->delivery_tag;
    n->arena = arena_new();
    n->body = arena_dup(n->arena, delivery->body, delivery->body_len);
    n->body_len = delivery->body_len;
    n->message_id = find_id(n->arena, delivery);
    n->death = sound_text(n->arena, delivery->death.reason);
    n->traceparent = find_traceparent(n->arena, delivery);
    queue = sound_text(n->arena, delivery->death.queue);
    snprintf(reason, sizeof reason, "dead-lettered: %s in %s", n->death ? n->death : "unknown reason",
             queue ? queue : d->deps.config->topology.agent_queue);
    n->reason = arena_strdup(n->arena, reason);
    n->next = d->head;
    d->head = n;
    return n;
}

void deadletter_on_delivery(struct deadletter *d, const struct broker_delivery *delivery)
{
    struct dead *n;

    if (!delivery->body) { /* beyond any limit: its own dead-letter target is ag_parked */
        broker_reject(d->deps.broker, delivery->epoch, delivery->delivery_tag, false);
        return;
    }
    n = dead_new(d, delivery);
    if (is_uuid(n->message_id))
        fallback_add(d->deps.fallback, &(struct ledger_failure){.job_id = n->message_id, .reason = n->reason},
                     on_failed, n);
    else
        park(n);
}

void deadletter_turn(struct deadletter *d)
{
    struct dead **link = &d->head, *n;

    if (!d->done_any)
        return;
    d->done_any = false;
    while ((n = *link)) {
        if (n->state == DEAD_DONE) {
            broker_ack(d->deps.broker, n->epoch, n->tag, false);
            *link = n->next;
            dead_free(n);
        } else {
            link = &n->next;
        }
    }
}
