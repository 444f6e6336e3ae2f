/* Each move is begun in agwb.audit, carried out, acked and ended, in this order. Killed before the ack, it
 * leaves the old copy and an unfinished row: the next run takes up the row's generation, and the ledger
 * delivers a generation once. Killed after the ack, it leaves only the row. */
#include "consumer/replay.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/crash.h"
#include "consumer/parking.h"

enum { CONFIRM_TIMEOUT_MS = 30000 };

const char *replay_target(const struct config *c, const struct dlq_options *o)
{
    switch (o->verb) {
    case DLQ_REPLAY:
        return o->queue->side == DLQ_REQUESTS ? c->topology.agent_queue : c->topology.webhook_queue;
    case DLQ_PARK:
        return o->queue->parked;
    case DLQ_LIST:
    case DLQ_SHOW:
    case DLQ_PURGE:
        break;
    }
    return NULL;
}

static struct broker_message message_to(const char *queue, const struct broker_delivery *d)
{
    return (struct broker_message){.exchange = "",
                                   .routing_key = queue,
                                   .body = d->body,
                                   .body_len = d->body_len,
                                   .message_id = d->message_id,
                                   .correlation_id = d->correlation_id,
                                   .content_type = d->content_type ? d->content_type : "application/json",
                                   .app_id = "agwb-consumer",
                                   .timestamp_s = clock_wall_ms() / 1000,
                                   .expiration_ms = -1};
}

static int ack_and_end(const struct replay *r, const struct dlq_message *m, int64_t audit_id, struct err *e)
{
    if (broker_session_ack(r->broker, m->delivery_tag, e) != 0)
        return -1;
    CRASH_POINT("replay-acked");
    return dlq_store_end(r->store, audit_id, e);
}

/* --- replay --- */

static const char *why_left(enum dlq_verdict verdict, enum dlq_side side)
{
    switch (verdict) {
    case DLQ_GO:
    case DLQ_ARRIVED:
        break;
    case DLQ_SENT:
        return side == DLQ_REPLIES ? "sent already: --again sends it again"
                                   : "answered already: --again asks again";
    case DLQ_BUSY:
        return side == DLQ_REPLIES ? "its delivery is under way" : "its job is about to be published";
    case DLQ_CANCELLED:
        return side == DLQ_REPLIES ? "its delivery was cancelled" : "its job was cancelled";
    case DLQ_CONFLICT:
        return "the ledger has another message under its id";
    }
    return "";
}

static int publish_replay(const struct replay *r, const struct dlq_message *m, int32_t n, struct err *e)
{
    const struct broker_header headers[] = {{.name = REPLAY_HEADER, .i = n},
                                            {.name = "traceparent", .str = m->traceparent}};
    struct broker_message copy = message_to(replay_target(r->config, r->options), m->delivery);

    copy.type = m->queue->side == DLQ_REQUESTS ? "agwb.request" : "agwb.reply";
    if (m->queue->side == DLQ_REQUESTS)
        copy.expiration_ms = r->config->topology.agent_ttl_ms;
    copy.headers = headers;
    copy.header_count = m->traceparent ? 2 : 1;
    return broker_session_publish(r->broker, &copy, CONFIRM_TIMEOUT_MS, e);
}

static int replay_one(const struct replay *r, const struct dlq_message *m, enum dlq_result *result,
                      const char **why, struct err *e)
{
    bool dry = !r->options->execute;
    struct dlq_begun begun;

    if (dlq_store_begin_replay(r->store, m, r->options->again, dry, &begun, e) != 0)
        return -1;
    if (begun.verdict != DLQ_GO && begun.verdict != DLQ_ARRIVED) {
        *result = DLQ_LEFT;
        *why = why_left(begun.verdict, m->queue->side);
        return 0;
    }
    if (dry)
        return 0;
    *result = begun.verdict == DLQ_GO ? DLQ_DONE : DLQ_REMOVED;
    CRASH_POINT("replay-begun");
    if (begun.verdict == DLQ_GO && publish_replay(r, m, begun.n, e) != 0)
        return -1;
    CRASH_POINT("replay-published");
    return ack_and_end(r, m, begun.audit_id, e);
}

/* --- park, purge --- */

static int publish_parked(const struct replay *r, const struct dlq_message *m, struct err *e)
{
    struct broker_header headers[8];
    size_t n = 0;
    char text[160];
    struct broker_message copy = message_to(m->queue->parked, m->delivery);

    snprintf(text, sizeof text, "parked by %s", r->who);
    headers[n++] = (struct broker_header){.name = "agwb-reason", .str = parking_reason_name(PARKING_DEAD)};
    headers[n++] = (struct broker_header){.name = "agwb-error", .str = text};
    headers[n++] = (struct broker_header){.name = "agwb-queue", .str = m->queue->name};
    headers[n++] = (struct broker_header){.name = "agwb-first-seen", .i = clock_wall_ms()};
    headers[n++] = (struct broker_header){.name = "agwb-parked-at", .i = clock_wall_ms()};
    if (m->death)
        headers[n++] = (struct broker_header){.name = "agwb-death", .str = m->death};
    if (m->traceparent)
        headers[n++] = (struct broker_header){.name = "traceparent", .str = m->traceparent};
    copy.type = "parked";
    copy.headers = headers;
    copy.header_count = n;
    return broker_session_publish(r->broker, &copy, CONFIRM_TIMEOUT_MS, e);
}

static int park_or_purge(const struct replay *r, const struct dlq_message *m, enum dlq_result *result,
                         struct err *e)
{
    int64_t audit_id;

    if (!r->options->execute)
        return 0;
    *result = DLQ_DONE;
    if (dlq_store_begin(r->store, r->options->verb, m, &audit_id, e) != 0)
        return -1;
    if (r->options->verb == DLQ_PARK && publish_parked(r, m, e) != 0)
        return -1;
    return ack_and_end(r, m, audit_id, e);
}

int replay_message(const struct replay *r, const struct dlq_message *m, enum dlq_result *result,
                   const char **why, struct err *e)
{
    int rc;

    *result = DLQ_WOULD;
    *why = NULL;
    if (!m->delivery->body && r->options->verb != DLQ_PURGE) {
        *result = DLQ_LEFT;
        *why = "its body is too large";
        return 0;
    }
    rc = r->options->verb == DLQ_REPLAY ? replay_one(r, m, result, why, e) : park_or_purge(r, m, result, e);
    return rc == 0 ? 0 : err_prefix(e, "message %s", m->id);
}
