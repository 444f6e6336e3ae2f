/* The confirm window. An entry is in exactly one list: free, queued (not sent yet), or sent (its slot
 * number is the broker's cookie). What is known about a job moves on to `ledger lines`: ids with a result,
 * written to PostgreSQL by batch, kept until the database took them. */
#include "publisher/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/uuid.h"
#include "domain/contact.h"
#include "domain/families.h"
#include "domain/message.h"

/* A queue that was deleted is only declared again by a new connection, and RabbitMQ 3.10 goes on refusing a
 * channel when a length limit is taken away. */
enum { RECORD_BATCH = 500, RECORD_RETRY_MS = 1000, RENEW_AFTER = 3 };

enum entry_state { ENTRY_FREE = 0, ENTRY_QUEUED, ENTRY_SENT };

struct entry {
    enum entry_state state;
    uint32_t next; /* in the free or queued list */
    char id[UUID_TEXT_LEN + 1];
    char contact[CONTACT_MASK_SIZE];
    char task_type[32];
    char traceparent[56]; /* once sent */
    char *body;           /* owned while queued */
    size_t body_len;
    int64_t sent_us;
};

/* A job whose fate is known and not yet in PostgreSQL. */
struct line {
    char id[UUID_TEXT_LEN + 1];
    enum outbox_result result; /* of a job that was not published */
    int64_t wait_ms;           /* OUTBOX_FAULT; -1 = failed for good */
    char *reason;              /* owned; NULL = none */
};

struct lines {
    struct line *items;
    size_t count, cap;
    size_t in_flight; /* the first ones are in the statement that runs now */
};

struct outbox {
    struct outbox_deps deps;
    struct entry *entries;
    size_t capacity;
    uint32_t free_head, queue_head, queue_tail; /* indices; NONE ends a list */
    size_t queued, sent;
    struct lines published, dismissed;
    struct db_params params;
    int64_t hold_until;   /* after returns and nacks: monotonic ms */
    int refusals;         /* consecutive turns with them, for the backoff */
    int64_t record_after; /* after a failed record: monotonic ms */
    int64_t renew_at;     /* monotonic ms; set anew whenever the window was empty */
    bool renewing;
    bool behind; /* the database did not take a record; true until it has taken all */
    struct log_gate refusal_gate, record_gate;
};

static const uint32_t NONE = UINT32_MAX;
static const struct backoff REFUSAL_BACKOFF = {
    .delay_ms = 500, .multiplier = 2, .max_delay_ms = 30000, .jitter = 0.2};

struct outbox *outbox_new(const struct outbox_deps *deps)
{
    struct outbox *o = xcalloc(1, sizeof *o);

    o->deps = *deps;
    o->capacity = (size_t)deps->config->publisher.window;
    o->entries = xcalloc(o->capacity, sizeof *o->entries);
    o->queue_head = o->queue_tail = NONE;
    o->free_head = NONE;
    for (size_t i = o->capacity; i-- > 0;) {
        o->entries[i].next = o->free_head;
        o->free_head = (uint32_t)i;
    }
    db_params_init(&o->params);
    return o;
}

static void lines_drop(struct lines *l, size_t count)
{
    if (count == 0)
        return; /* there may be no memory yet, and memmove wants some */
    for (size_t i = 0; i < count; i++)
        free(l->items[i].reason);
    memmove(l->items, l->items + count, (l->count - count) * sizeof *l->items);
    l->count -= count;
}

static struct line *lines_add(struct lines *l, const char *id)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->items = xrealloc(l->items, l->cap, sizeof *l->items);
    }
    struct line *n = &l->items[l->count++];
    *n = (struct line){0};
    memcpy(n->id, id, sizeof n->id);
    return n;
}

void outbox_free(struct outbox **o)
{
    if (!*o)
        return;
    for (size_t i = 0; i < (*o)->capacity; i++)
        free((*o)->entries[i].body);
    lines_drop(&(*o)->published, (*o)->published.count);
    lines_drop(&(*o)->dismissed, (*o)->dismissed.count);
    free((*o)->published.items);
    free((*o)->dismissed.items);
    free((*o)->entries);
    db_params_fini(&(*o)->params);
    free(*o);
    *o = NULL;
}

size_t outbox_room(const struct outbox *o)
{
    if (!broker_is_up(o->deps.broker) || broker_is_blocked(o->deps.broker) ||
        loop_now_ms(o->deps.loop) < o->hold_until)
        return 0;
    if (o->queued >= (size_t)o->deps.config->publisher.batch)
        return 0; /* the broker takes no more for now: what waits here costs memory and lease */
    /* A database that does not take our records must not be asked for more work than the window. */
    size_t busy = o->queued + o->sent + o->published.count + o->dismissed.count;
    return busy < o->capacity ? o->capacity - busy : 0;
}

size_t outbox_in_flight(const struct outbox *o)
{
    return o->sent;
}

bool outbox_is_behind(const struct outbox *o)
{
    return o->behind || !db_is_up(o->deps.db);
}

bool outbox_is_idle(const struct outbox *o)
{
    return o->queued == 0 && o->sent == 0 && o->published.count == 0 && o->dismissed.count == 0;
}

void outbox_put(struct outbox *o, const struct outbox_job *job)
{
    uint32_t slot = o->free_head;
    struct entry *n = &o->entries[slot];

    o->free_head = n->next;
    n->state = ENTRY_QUEUED;
    n->next = NONE;
    str_copy(n->id, sizeof n->id, job->id);
    str_copy(n->task_type, sizeof n->task_type, job->task_type);
    contact_mask(job->contact, n->contact);
    n->body = xrealloc(NULL, job->body_len, 1);
    memcpy(n->body, job->body, job->body_len);
    n->body_len = job->body_len;
    if (o->queue_tail == NONE)
        o->queue_head = slot;
    else
        o->entries[o->queue_tail].next = slot;
    o->queue_tail = slot;
    o->queued++;
}

static void entry_release(struct outbox *o, uint32_t slot)
{
    struct entry *n = &o->entries[slot];

    free(n->body);
    *n = (struct entry){.state = ENTRY_FREE, .next = o->free_head};
    o->free_head = slot;
}

static uint32_t queue_pop(struct outbox *o)
{
    uint32_t slot = o->queue_head;

    o->queue_head = o->entries[slot].next;
    if (o->queue_head == NONE)
        o->queue_tail = NONE;
    o->queued--;
    return slot;
}

static const char *row_result(enum outbox_result result, int64_t wait_ms)
{
    switch (result) {
    case OUTBOX_RETURNED:
        return NULL; /* not a result of the row: it will be taken in again */
    case OUTBOX_REFUSED:
        return "refused";
    case OUTBOX_FAULT:
        return wait_ms < 0 ? "failed" : "retried";
    }
    return NULL;
}

void outbox_dismiss(struct outbox *o, const char *id, enum outbox_result result, const char *reason,
                    int attempts)
{
    const struct config_retry *ladder = &o->deps.config->retry.job;
    struct line *n = lines_add(&o->dismissed, id);
    const char *counted;

    n->result = result;
    n->wait_ms = -1;
    if (result == OUTBOX_FAULT && attempts < ladder->tries)
        n->wait_ms = backoff_jittered_ms(&ladder->backoff, attempts, random_u64());
    n->reason = xstrdup(reason);
    counted = row_result(result, n->wait_ms);
    if (counted) {
        metric_add(o->deps.metrics, &METRIC_INTAKE_ROWS, 1, counted, NULL);
        log_write(result == OUTBOX_FAULT ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "job not published",
                  LOG_FIELDS(log_str("messageId", id), log_str("result", counted), log_str("reason", reason),
                             log_int("attempts", attempts), log_int("retry_in_ms", n->wait_ms)));
    }
}

static const char *give_back_reason(enum broker_confirm result)
{
    switch (result) {
    case BROKER_CONFIRMED:
        return NULL;
    case BROKER_RETURNED:
        return "returned: no queue takes the request";
    case BROKER_NACKED:
        return "nacked: the queue refused the request";
    case BROKER_UNKNOWN:
        return "the broker connection was lost before the confirm";
    }
    return NULL;
}

static void hold_intake(struct outbox *o, const char *reason)
{
    int64_t now = loop_now_ms(o->deps.loop), held;

    if (now >= o->hold_until) {
        o->refusals++;
        o->hold_until = now + backoff_jittered_ms(&REFUSAL_BACKOFF, o->refusals, random_u64());
        if (o->refusals % RENEW_AFTER == 0)
            broker_renew(o->deps.broker, "renewed, since the queue goes on refusing requests");
    }
    if (log_gate_pass(&o->refusal_gate, 10000, &held))
        log_warn("request not taken by the broker, job is pending again", log_str("reason", reason),
                 log_str("queue", o->deps.config->topology.agent_queue), log_int("held_back", held));
}

static void log_published(const struct outbox *o, const struct entry *n, int64_t confirm_us)
{
    log_info("published", log_str("messageId", n->id), log_str("contact", n->contact),
             log_str("taskType", n->task_type), log_str("queue", o->deps.config->topology.agent_queue),
             log_str("status", "confirmed"), log_real("confirm_ms", (double)confirm_us / 1000.0),
             log_str("traceparent", n->traceparent));
}

void outbox_on_confirm(struct outbox *o, uint64_t cookie, enum broker_confirm result)
{
    struct entry *n = &o->entries[cookie];
    int64_t took_us = clock_mono_us() - n->sent_us;

    o->sent--;
    if (result == BROKER_CONFIRMED) {
        CRASH_POINT("publisher-confirmed");
        o->refusals = 0;
        lines_add(&o->published, n->id);
        metric_add(o->deps.metrics, &METRIC_PUBLISHED, 1, "confirmed", NULL);
        metric_add(o->deps.metrics, &METRIC_INTAKE_ROWS, 1, "published", NULL);
        metric_observe(o->deps.metrics, &METRIC_CONFIRM_SECONDS, (double)took_us / 1e6, NULL, NULL);
        log_published(o, n, took_us);
    } else {
        if (result != BROKER_UNKNOWN) {
            metric_add(o->deps.metrics, &METRIC_PUBLISHED, 1,
                       result == BROKER_RETURNED ? "returned" : "nacked", NULL);
            hold_intake(o, give_back_reason(result));
        }
        outbox_dismiss(o, n->id, OUTBOX_RETURNED, give_back_reason(result), 0);
    }
    entry_release(o, (uint32_t)cookie);
}

void outbox_on_broker_down(struct outbox *o)
{
    while (o->queued > 0) {
        uint32_t slot = queue_pop(o);
        outbox_dismiss(o, o->entries[slot].id, OUTBOX_RETURNED, give_back_reason(BROKER_UNKNOWN), 0);
        entry_release(o, slot);
    }
}

/* False when the broker takes nothing more for now. */
static bool publish_next(struct outbox *o)
{
    uint32_t slot = o->queue_head;
    struct entry *n = &o->entries[slot];
    const struct topology_settings *topology = &o->deps.config->topology;
    struct broker_header headers[] = {{.name = "traceparent", .str = n->traceparent}};
    struct broker_message m = {.exchange = "",
                               .routing_key = topology->agent_queue,
                               .body = n->body,
                               .body_len = n->body_len,
                               .message_id = n->id,
                               .content_type = "application/json",
                               .type = "agwb.request",
                               .app_id = "agwb-publisher",
                               .timestamp_s = clock_wall_ms() / 1000,
                               .expiration_ms = topology->agent_ttl_ms,
                               .headers = headers,
                               .header_count = 1};
    struct err e;

    traceparent_new(n->traceparent);
    if (broker_publish(o->deps.broker, &m, slot, &e) != 0) {
        if (e.class != ERR_DATA)
            return false;
        queue_pop(o);
        outbox_dismiss(o, n->id, OUTBOX_FAULT, e.text, o->deps.config->retry.job.tries);
        entry_release(o, slot);
        return true;
    }
    queue_pop(o);
    n->state = ENTRY_SENT;
    n->sent_us = clock_mono_us();
    free(n->body);
    n->body = NULL;
    o->sent++;
    CRASH_POINT("publisher-published");
    return true;
}

static void on_renewed(void *arg, const struct db_result *r, const struct err *e)
{
    struct outbox *o = arg;

    (void)r;
    (void)e; /* then a lease may end early: asked twice, never lost */
    o->renewing = false;
}

/* A blocked broker confirms late. What is still in the window keeps its lease. */
static void renew_leases(struct outbox *o)
{
    int64_t lease_ms = o->deps.config->publisher.lease_ms;

    db_params_clear(&o->params);
    db_param_text(&o->params, o->deps.owner);
    db_array_begin(&o->params, DB_UUID);
    for (size_t i = 0; i < o->capacity; i++) {
        if (o->entries[i].state != ENTRY_FREE)
            db_item_text(&o->params, o->entries[i].id, UUID_TEXT_LEN);
    }
    db_array_end(&o->params);
    db_param_int8(&o->params, lease_ms);
    o->renewing = db_query(o->deps.db, "select agwb.renew_jobs($1, $2, $3)", &o->params, on_renewed, o) == 0;
    o->renew_at = loop_now_ms(o->deps.loop) + lease_ms / 3;
}

static void record_failed(struct outbox *o, const struct err *e)
{
    int64_t held;

    o->record_after = loop_now_ms(o->deps.loop) + RECORD_RETRY_MS;
    o->behind = true;
    if (log_gate_pass(&o->record_gate, 10000, &held))
        log_warn("could not record jobs, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
}

static void on_published_recorded(void *arg, const struct db_result *r, const struct err *e)
{
    struct outbox *o = arg;

    (void)r;
    if (!e)
        CRASH_POINT("publisher-recorded");
    if (e)
        record_failed(o, e);
    else
        lines_drop(&o->published, o->published.in_flight);
    o->published.in_flight = 0;
}

static void on_dismissed_recorded(void *arg, const struct db_result *r, const struct err *e)
{
    struct outbox *o = arg;

    (void)r;
    if (e)
        record_failed(o, e);
    else
        lines_drop(&o->dismissed, o->dismissed.in_flight);
    o->dismissed.in_flight = 0;
}

static void add_ids(struct db_params *p, const struct lines *l, size_t count)
{
    db_array_begin(p, DB_UUID);
    for (size_t i = 0; i < count; i++)
        db_item_text(p, l->items[i].id, UUID_TEXT_LEN);
    db_array_end(p);
}

static void add_limits(struct outbox *o)
{
    db_param_int4(&o->params, (int32_t)o->deps.config->limits.jobs_per_minute);
    db_param_int8(&o->params, o->deps.config->limits.window_ms);
}

static void record_published(struct outbox *o)
{
    size_t count = o->published.count < RECORD_BATCH ? o->published.count : RECORD_BATCH;

    db_params_clear(&o->params);
    db_param_text(&o->params, o->deps.owner);
    add_ids(&o->params, &o->published, count);
    add_limits(o);
    if (db_query(o->deps.db, "select agwb.record_published($1, $2, $3, $4)", &o->params,
                 on_published_recorded, o) == 0)
        o->published.in_flight = count;
}

static const char *result_word(enum outbox_result result)
{
    switch (result) {
    case OUTBOX_RETURNED:
        return "returned";
    case OUTBOX_REFUSED:
        return "refused";
    case OUTBOX_FAULT:
        return "fault";
    }
    return "";
}

static void record_dismissed(struct outbox *o)
{
    struct db_params *p = &o->params;
    const struct lines *l = &o->dismissed;
    size_t count = l->count < RECORD_BATCH ? l->count : RECORD_BATCH;

    db_params_clear(p);
    db_param_text(p, o->deps.owner);
    add_ids(p, l, count);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++) {
        const char *word = result_word(l->items[i].result);
        db_item_text(p, word, strlen(word));
    }
    db_array_end(p);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        db_item_text(p, l->items[i].reason, l->items[i].reason ? strlen(l->items[i].reason) : 0);
    db_array_end(p);
    db_array_begin(p, DB_INT8);
    for (size_t i = 0; i < count; i++)
        db_item_int8(p, l->items[i].wait_ms);
    db_array_end(p);
    add_limits(o);
    if (db_query(o->deps.db, "select agwb.record_jobs($1, $2, $3, $4, $5, $6, $7)", p, on_dismissed_recorded,
                 o) == 0)
        o->dismissed.in_flight = count;
}

void outbox_turn(struct outbox *o)
{
    while (o->queued > 0 && publish_next(o))
        ;
    broker_flush(o->deps.broker);
    if (o->published.count == 0 && o->dismissed.count == 0)
        o->behind = false;
    if (!db_is_up(o->deps.db) || loop_now_ms(o->deps.loop) < o->record_after)
        return;
    if (o->queued + o->sent == 0)
        o->renew_at = loop_now_ms(o->deps.loop) + o->deps.config->publisher.lease_ms / 3;
    else if (loop_now_ms(o->deps.loop) >= o->renew_at && !o->renewing)
        renew_leases(o);
    if (o->published.count > 0 && o->published.in_flight == 0)
        record_published(o);
    if (o->dismissed.count > 0 && o->dismissed.in_flight == 0)
        record_dismissed(o);
}
