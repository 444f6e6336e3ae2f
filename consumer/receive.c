/* Arrivals stand in one list in the order they came; an arrival is waiting, in the batch under way, being
 * parked, or done. Done ones are acked: the front of the list with one multiple ack, others one by one, so
 * that a slow one holds nobody up. */
#include "consumer/receive.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/utf8.h"
#include "base/uuid.h"
#include "consumer/arrival.h"
#include "domain/contact.h"
#include "domain/families.h"

enum {
    BATCH_MAX = 100,
    RETRY_MS = 500,
    /* How long a reply may wait for a free slot, to be claimed with its acceptance: without one it takes a
     * row of its lane, and a claim later. */
    PATIENCE_MS = 100,
    /* But acceptance must not fall behind the queue, whose TTL would kill what merely waits its turn: replies
     * older than this part of the TTL do not wait. */
    PATIENCE_TTL_PART = 4,
};

struct receive {
    struct receive_deps deps;
    struct arrival *head, *tail;
    size_t waiting, count;
    uint64_t acked;
    size_t done; /* of them, and not acked */
    struct arrival *batch[BATCH_MAX];
    size_t batch_count; /* > 0: an accept is under way */
    size_t batch_limit; /* halved when a batch has a row at fault, until it stands alone */
    int64_t retry_at;   /* after a failed accept: monotonic ms */
    struct loop_timer *patience;
    bool has_peers;
    struct log_gate gate;
};

static void on_patience_end(void *arg)
{
    (void)arg; /* the turn that follows looks */
}

struct receive *receive_new(const struct receive_deps *deps)
{
    struct receive *r = xcalloc(1, sizeof *r);

    r->deps = *deps;
    r->batch_limit = BATCH_MAX;
    r->patience = loop_timer_new(deps->loop, on_patience_end, r);
    return r;
}

void receive_free(struct receive **r)
{
    struct arrival *a, *next;

    if (!*r)
        return;
    for (a = (*r)->head; a; a = next) {
        next = a->next;
        arrival_free(a);
    }
    loop_timer_free(&(*r)->patience);
    free(*r);
    *r = NULL;
}

void receive_set_peers(struct receive *r, bool has_peers)
{
    r->has_peers = has_peers;
}

uint64_t receive_acked(const struct receive *r)
{
    return r->acked;
}

bool receive_is_idle(const struct receive *r)
{
    /* without the database nothing can be accepted: what waits for it is the broker's still */
    return r->count == (ledger_can_accept(r->deps.ledger) ? 0 : r->waiting);
}

/* --- arriving --- */

static void set_done(struct arrival *a)
{
    a->state = ARRIVAL_DONE;
    a->owner->done++;
}

static void on_parked(void *arg)
{
    set_done(arg);
}

static void park(struct receive *r, struct arrival *a, enum parking_reason reason, const char *text)
{
    struct parking_note note = {.queue = TOPOLOGY_WB_PARKED,
                                .origin = r->deps.config->topology.webhook_queue,
                                .death = a->death,
                                .reason = reason,
                                .text = text,
                                .message_id = a->reply ? a->reply->message_id : NULL,
                                .body = a->body,
                                .body_len = a->body_len,
                                .traceparent = a->traceparent,
                                .first_seen_ms = clock_wall_ms()};

    a->state = ARRIVAL_PARKING;
    parking_add(r->deps.parking, &note, on_parked, a);
}

static void append(struct receive *r, struct arrival *a)
{
    if (r->tail)
        r->tail->next = a;
    else
        r->head = a;
    r->tail = a;
    r->count++;
}

/* The age counts from the reply's own time, else from the property the agent's client set. */
static bool is_fresh(const struct receive *r, const struct broker_delivery *d, const struct reply *reply)
{
    int64_t sent_s = d->timestamp > 0 && d->timestamp < INT64_MAX / 1000 ? d->timestamp : 0;
    int64_t at = reply->timestamp_ms > 0 ? reply->timestamp_ms : sent_s * 1000;

    return at > 0 && clock_wall_ms() - at <= r->deps.config->consumer.late_reply_max_ms;
}

void receive_on_delivery(struct receive *r, const struct broker_delivery *d)
{
    struct arrival *a;
    struct reply *reply;
    struct err e;

    if (!d->body) { /* too large to copy: the queue's dead-letter exchange keeps it */
        metric_add(r->deps.metrics, &METRIC_CONSUMED, 1, "invalid", NULL);
        log_error("reply dead-lettered: its body is beyond any limit", log_str("messageId", d->message_id),
                  log_int("bytes", (int64_t)d->body_len));
        broker_reject(r->deps.broker, d->epoch, d->delivery_tag, false);
        return;
    }
    a = arrival_new(d, r, loop_now_ms(r->deps.loop));
    append(r, a);
    reply = arena_alloc(a->arena, sizeof *reply);
    if (message_parse_reply(a->body, a->body_len, a->arena, reply, &e) == 0) {
        a->reply = reply;
        a->id_hash = str_hash(reply->message_id);
        if (a->late && !is_fresh(r, d, reply)) {
            park(r, a, PARKING_LATE, "dead and older than late_reply_max_ms, or of unknown age");
            return;
        }
        a->state = ARRIVAL_WAITING;
        r->waiting++;
        CRASH_POINT("consumer-delivered");
        return;
    }
    metric_add(r->deps.metrics, &METRIC_CONSUMED, 1, "invalid", NULL);
    park(r, a, PARKING_INVALID, e.text);
}

void receive_on_down(struct receive *r)
{
    struct arrival **link = &r->head, *a;

    r->tail = NULL;
    while ((a = *link)) {
        if (a->state == ARRIVAL_WAITING) {
            *link = a->next;
            r->waiting--;
            r->count--;
            arrival_free(a);
        } else {
            r->tail = a;
            link = &a->next;
        }
    }
}

/* --- accepting --- */

static const char *result_label(const struct arrival *a, enum ledger_accept_result result)
{
    switch (result) {
    case LEDGER_ACCEPTED:
    case LEDGER_ERROR:
    case LEDGER_EMPTY:
    case LEDGER_UNROUTABLE:
        return a->late ? "late" : "accepted";
    case LEDGER_DUPLICATE:
        return "duplicate";
    case LEDGER_CONFLICT:
        return "conflict";
    }
    return "";
}

static void count_agent(const struct receive *r, const struct reply *reply)
{
    struct metrics *m = r->deps.metrics;

    if (reply->agent.processing_time_s >= 0)
        metric_observe(m, &METRIC_AGENT_SECONDS, reply->agent.processing_time_s, NULL, NULL);
    if (reply->agent.tokens_used > 0)
        metric_add(m, &METRIC_AGENT_TOKENS, (double)reply->agent.tokens_used, NULL, NULL);
    if (reply->agent.tool_count > 0)
        metric_add(m, &METRIC_AGENT_TOOL_USES, (double)reply->agent.tool_count, NULL, NULL);
    if (reply->status == REPLY_ERROR)
        metric_add(m, &METRIC_AGENT_ERRORS, 1, NULL, NULL);
    if (reply->timestamp_ms > 0)
        metric_observe(m, &METRIC_QUEUE_SECONDS, (double)(clock_wall_ms() - reply->timestamp_ms) / 1000.0,
                       NULL, NULL);
}

static void log_consumed(const struct arrival *a, const struct ledger_accepted *result)
{
    const struct reply *reply = a->reply;
    const char *address =
        reply->contact.phone_number ? reply->contact.phone_number : reply->contact.remote_jid;
    char masked[CONTACT_MASK_SIZE];
    struct log_field processing = log_real("processingTime", reply->agent.processing_time_s);

    if (reply->agent.processing_time_s < 0)
        processing = log_str("processingTime", NULL);
    log_info("consumed", log_str("messageId", reply->message_id),
             log_str("originalMessageId", reply->original_message_id),
             log_str("contact", contact_mask(address, masked)),
             log_str("status", reply_status_name(reply->status)), processing,
             log_str("result", result->result == LEDGER_EMPTY   ? "empty"
                               : result->result == LEDGER_ERROR ? "error"
                                                                : result_label(a, result->result)),
             log_str("reason", result->reason[0] ? result->reason : NULL));
}

static void on_request_failed(void *arg, enum ledger_fail_result result)
{
    struct arrival *a = arg;

    (void)result;
    set_done(a);
}

/* Whole characters only: PostgreSQL refuses halves. */
static void add_prefix(struct buf *b, const char *text, size_t max_chars)
{
    buf_add(b, text, utf8_prefix(text, max_chars));
}

/* What of the reply is to be sent: policy decides for one that the agent itself calls incomplete. */
static bool has_content(const struct receive *r, const struct reply *reply)
{
    const struct config *c = r->deps.config;

    if ((reply->status == REPLY_PARTIAL && c->agent.partial == INCOMPLETE_FALLBACK) ||
        (reply->status == REPLY_ERROR && c->agent.error == INCOMPLETE_FALLBACK))
        return false;
    return reply->text || reply->attachment_count > 0;
}

/* An agent's error or partial reply without anything to send: its request will not be answered. With
 * agent.retry_errors the job's own ladder comes first. */
static void fail_request(struct receive *r, struct arrival *a)
{
    const struct reply *reply = a->reply;
    struct ledger_failure failure = {.job_id = reply->original_message_id};
    bool is_error = reply->status == REPLY_ERROR;
    struct buf reason;

    if (!is_uuid(reply->original_message_id)) {
        on_request_failed(a, LEDGER_FAIL_UNKNOWN);
        return;
    }
    buf_init(&reason, 8192);
    buf_add_str(&reason, "agent: ");
    add_prefix(&reason, reply->error.code ? reply->error.code : is_error ? "ERROR" : "PARTIAL", 128);
    buf_add_str(&reason, ": ");
    add_prefix(&reason,
               reply->error.message ? reply->error.message
               : is_error           ? "no message"
                                    : "no answer",
               1000);
    failure.reason = buf_str(&reason);
    failure.retry = r->deps.config->agent.retry_errors;
    a->state = ARRIVAL_FAILING;
    fallback_add(r->deps.fallback, &failure, on_request_failed, a);
    buf_fini(&reason);
}

static void finish(struct receive *r, struct arrival *a, const struct ledger_accepted *result)
{
    metric_add(r->deps.metrics, &METRIC_CONSUMED, 1, result_label(a, result->result), NULL);
    log_consumed(a, result);
    if (result->result == LEDGER_CONFLICT) {
        park(r, a, PARKING_ID_CONFLICT, "$.messageId: already used by a reply with another body");
        return;
    }
    if (result->result == LEDGER_DUPLICATE && a->late) {
        park(r, a, PARKING_DUPLICATE, "dead, and in the ledger already");
        return;
    }
    if (result->result != LEDGER_DUPLICATE)
        count_agent(r, a->reply);
    if (result->orphan && result->result == LEDGER_ACCEPTED)
        metric_add(r->deps.metrics, &METRIC_ORPHANS, 1, NULL, NULL);
    if (result->result == LEDGER_ERROR || result->result == LEDGER_EMPTY) {
        fail_request(r, a);
        return;
    }
    set_done(a);
}

static void batch_back_to_waiting(struct receive *r)
{
    for (size_t i = 0; i < r->batch_count; i++)
        r->batch[i]->state = ARRIVAL_WAITING;
    r->waiting += r->batch_count;
    r->batch_count = 0;
}

/* A row at fault fails its whole batch. The next batch starts with the same rows and is half as long; what
 * fails alone is the culprit. */
static void batch_at_fault(struct receive *r, const struct err *e)
{
    if (r->batch_count == 1) {
        struct arrival *culprit = r->batch[0];
        r->batch_count = 0;
        metric_add(r->deps.metrics, &METRIC_CONSUMED, 1, "invalid", NULL);
        park(r, culprit, PARKING_POISON, e->text);
        return;
    }
    r->batch_limit = r->batch_count / 2;
    batch_back_to_waiting(r);
}

static void batch_failed(struct receive *r, const struct err *e)
{
    int64_t held;

    if (e->class == ERR_DATA) {
        batch_at_fault(r, e);
        return;
    }
    batch_back_to_waiting(r);
    r->retry_at = loop_now_ms(r->deps.loop) + RETRY_MS;
    if (log_gate_pass(&r->gate, 10000, &held))
        log_warn("could not accept replies, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
}

static void start_claimed(struct receive *r, struct arrival *a, const struct ledger_claim *accepted)
{
    struct ledger_claim claim = *accepted;

    claim.payload = a->body;
    claim.payload_len = a->body_len;
    claim.reply = a->reply;
    claim.headers_json = a->headers_json;
    claim.published_ms = a->reply->timestamp_ms;
    dispatch_start_lent(r->deps.dispatch, &claim, &a->arena);
}

static void on_accepted(void *arg, const struct ledger_accepted *results, size_t count, const struct err *e)
{
    struct receive *r = arg;
    bool has_waiting = false, has_parked = false;

    if (e) {
        dispatch_end_lent(r->deps.dispatch, e, false);
        batch_failed(r, e);
        return;
    }
    CRASH_POINT("consumer-accepted");
    for (size_t i = 0; i < count; i++) {
        has_waiting |= results[i].result == LEDGER_ACCEPTED && !results[i].claim;
        has_parked |= results[i].result == LEDGER_UNROUTABLE;
        finish(r, r->batch[i], &results[i]);
        if (results[i].claim)
            start_claimed(r, r->batch[i], results[i].claim); /* its text may be gone then */
    }
    dispatch_end_lent(r->deps.dispatch, NULL, has_waiting);
    r->batch_count = 0;
    r->batch_limit = r->batch_limit * 2 < BATCH_MAX ? r->batch_limit * 2 : BATCH_MAX;
    if (has_waiting)
        r->deps.on_accepted(r->deps.arg);
    if (has_parked)
        r->deps.on_parked(r->deps.arg);
}

/* One id twice in a batch would meet itself in the ledger's insert: the second waits for the next batch
 * and is then a duplicate or a conflict. */
static bool is_in_batch(const struct receive *r, const struct arrival *a)
{
    for (size_t i = 0; i < r->batch_count; i++) {
        if (r->batch[i]->id_hash == a->id_hash &&
            strcmp(r->batch[i]->reply->message_id, a->reply->message_id) == 0)
            return true;
    }
    return false;
}

/* As the queue's replies come in order, the first one's age is the queue's. Nobody knows it when the agent
 * gives no time, or its clock is ahead of ours. */
static bool is_queue_short(const struct receive *r, const struct arrival *a)
{
    int64_t age_ms = clock_wall_ms() - a->reply->timestamp_ms;

    return a->reply->timestamp_ms > 0 && age_ms >= 0 &&
           age_ms < r->deps.config->topology.webhook_ttl_ms / PATIENCE_TTL_PART;
}

static int64_t patience_left_ms(const struct receive *r)
{
    const struct arrival *a = r->head;

    while (a && a->state != ARRIVAL_WAITING)
        a = a->next;
    return a && !r->has_peers && is_queue_short(r, a)
               ? a->arrived_at + PATIENCE_MS - loop_now_ms(r->deps.loop)
               : 0;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* While one half of the slots sends, the other is accepted: neither the database nor we wait for the other.
 */
static size_t half_of_slots(const struct receive *r)
{
    return ((size_t)r->deps.config->consumer.max_in_flight + 1) / 2;
}

static void start_batch(struct receive *r)
{
    struct ledger_arrival items[BATCH_MAX];
    const struct ledger_arrival *list[BATCH_MAX];
    const char *skip[CONFIG_MAX_ACCOUNTS];
    struct ledger_ask ask = {.skip = skip};
    int64_t patience_ms = patience_left_ms(r);
    size_t limit = r->batch_limit;

    if (dispatch_lend(r->deps.dispatch, &ask, skip, patience_ms > 0) != 0) {
        if (patience_ms > 0)
            loop_timer_start(r->patience, patience_ms);
        return;
    }
    if (patience_ms > 0 && ask.slots > 0)
        limit = least(limit, least(ask.slots, half_of_slots(r)));
    for (struct arrival *a = r->head; a && r->batch_count < limit; a = a->next) {
        if (a->state != ARRIVAL_WAITING || is_in_batch(r, a))
            continue;
        items[r->batch_count] = (struct ledger_arrival){.reply = a->reply,
                                                        .body = a->body,
                                                        .body_len = a->body_len,
                                                        .headers_json = a->headers_json,
                                                        .has_content = has_content(r, a->reply),
                                                        .replay = a->replay};
        list[r->batch_count] = &items[r->batch_count];
        a->state = ARRIVAL_BATCHED;
        r->batch[r->batch_count++] = a;
    }
    r->waiting -= r->batch_count;
    if (ledger_accept(r->deps.ledger, list, r->batch_count, &ask, on_accepted, r) != 0) {
        dispatch_end_lent(r->deps.dispatch, NULL, false);
        batch_back_to_waiting(r);
    }
}

/* --- acking --- */

static void forget_acked(struct receive *r, struct arrival *a)
{
    r->count--;
    r->done--;
    r->acked++;
    arrival_free(a);
}

static void ack_front(struct receive *r)
{
    uint64_t epoch = 0, tag = 0;
    struct arrival *a;

    while ((a = r->head) && a->state == ARRIVAL_DONE) {
        if (epoch != a->epoch && epoch != 0)
            broker_ack(r->deps.broker, epoch, tag, true);
        epoch = a->epoch;
        tag = a->tag;
        r->head = a->next;
        forget_acked(r, a);
    }
    if (!r->head)
        r->tail = NULL;
    if (epoch != 0)
        broker_ack(r->deps.broker, epoch, tag, true);
}

static void ack_rest(struct receive *r)
{
    struct arrival **link = &r->head, *a;

    r->tail = NULL;
    while ((a = *link)) {
        if (a->state == ARRIVAL_DONE) {
            broker_ack(r->deps.broker, a->epoch, a->tag, false);
            *link = a->next;
            forget_acked(r, a);
        } else {
            r->tail = a;
            link = &a->next;
        }
    }
}

void receive_turn(struct receive *r)
{
    if (r->done > 0) {
        ack_front(r);
        if (r->done > 0)
            ack_rest(r);
        CRASH_POINT("consumer-acked");
    }
    if (r->waiting > 0 && r->batch_count == 0 && ledger_can_accept(r->deps.ledger) &&
        loop_now_ms(r->deps.loop) >= r->retry_at)
        start_batch(r);
}
