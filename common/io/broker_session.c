/* The blocking connection of one-shot commands. No loop, no handlers: each call sends, then reads frames
 * until its answer is there. Heartbeats are off, since a command may think longer between two calls than they
 * allow. */
#include "io/broker_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/backoff.h"
#include "base/clock.h"

enum { GET_TIMEOUT_MS = 10000 };

struct broker_session {
    amqp_connection_state_t conn;
    struct broker_content content;
    uint64_t published; /* sequence number of the latest publish */
    bool broken;        /* an answer is missing: what comes next could be mistaken for it */
};

static void make_unavailable(struct err *e)
{
    if (e != NULL && e->class == ERR_TEMPORARY)
        e->class = ERR_UNAVAILABLE;
}

static int fail(struct broker_session *bs, struct err *e)
{
    bs->broken = true;
    make_unavailable(e);
    return -1;
}

static int check_usable(const struct broker_session *bs, struct err *e)
{
    return bs->broken ? err_set(e, ERR_UNAVAILABLE, 0, "the broker connection failed before") : 0;
}

struct broker_session *broker_session_open(const struct broker_settings *s, struct err *e)
{
    struct broker_settings own = *s;
    own.topology = NULL;
    own.confirms = true;
    struct err why = {0};
    amqp_connection_state_t conn = NULL;
    size_t first = (size_t)(random_u64() % s->host_count);
    for (size_t i = 0; i < s->host_count && conn == NULL; i++)
        conn = broker_link_open(&own, (first + i) % s->host_count, 0, &why);
    if (conn != NULL && broker_prepare(conn, &own, &why) != 0) {
        broker_link_drop(conn);
        conn = NULL;
    }
    if (conn == NULL) {
        make_unavailable(&why);
        if (e != NULL)
            *e = why;
        return NULL;
    }
    struct broker_session *bs = xcalloc(1, sizeof *bs);
    bs->conn = conn;
    broker_content_init(&bs->content, s->max_body_bytes);
    return bs;
}

void broker_session_close(struct broker_session **session)
{
    struct broker_session *bs = *session;
    if (bs == NULL)
        return;
    *session = NULL;
    if (bs->broken)
        broker_link_drop(bs->conn);
    else
        broker_link_close(bs->conn); /* waits for the answer, so acks sent before have arrived */
    broker_content_fini(&bs->content);
    free(bs);
}

/* --- frames --- */

static struct timeval time_left(int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_mono_ms();
    if (left_ms < 0)
        left_ms = 0;
    return (struct timeval){.tv_sec = (time_t)(left_ms / 1000),
                            .tv_usec = (suseconds_t)(left_ms % 1000 * 1000)};
}

/* The next frame that answers something; a close is an error, blocked and unblocked only delay. */
static int next_frame(struct broker_session *bs, int64_t deadline_ms, amqp_frame_t *f, struct err *e)
{
    for (;;) {
        amqp_maybe_release_buffers(bs->conn);
        struct timeval left = time_left(deadline_ms);
        int status = amqp_simple_wait_frame_noblock(bs->conn, f, &left);
        if (status == AMQP_STATUS_TIMEOUT)
            return err_set(e, ERR_UNAVAILABLE, status, "the broker did not answer in time");
        if (status != AMQP_STATUS_OK)
            return broker_status_error(status, "broker connection", e);
        if (f->frame_type != AMQP_FRAME_METHOD)
            return 0;
        amqp_method_number_t id = f->payload.method.id;
        if (id == AMQP_CHANNEL_CLOSE_METHOD || id == AMQP_CONNECTION_CLOSE_METHOD)
            return broker_close_error(&f->payload.method, "the broker refused", e);
        if (id != AMQP_CONNECTION_BLOCKED_METHOD && id != AMQP_CONNECTION_UNBLOCKED_METHOD)
            return 0;
    }
}

/* The content of a method just read. */
static int read_content(struct broker_session *bs, int64_t deadline_ms, struct err *e)
{
    int complete = 0;
    while (complete == 0) {
        amqp_frame_t f;
        if (next_frame(bs, deadline_ms, &f, e) != 0)
            return -1;
        complete = broker_content_feed(&bs->content, &f, e);
    }
    return complete == 1 ? 0 : -1;
}

static int unexpected_frame(const amqp_frame_t *f, struct err *e)
{
    const char *name =
        f->frame_type == AMQP_FRAME_METHOD ? amqp_method_name(f->payload.method.id) : "content";
    return err_set(e, ERR_UNAVAILABLE, 0, "the broker sent an unexpected frame: %s", name);
}

/* --- queues --- */

int broker_session_look(struct broker_session *bs, const char *queue, struct broker_queue_info *info,
                        struct err *e)
{
    struct err why = {0};
    if (check_usable(bs, e) != 0)
        return -1;
    if (broker_count_queue(bs->conn, queue, info, &why) == 0)
        return 0;
    fail(bs, &why);
    if (e != NULL)
        *e = why;
    return -1;
}

int broker_session_compare(struct broker_session *bs, const struct topology_queue *q, struct err *e)
{
    bool broken = false;
    if (check_usable(bs, e) != 0)
        return -1;
    int rc = broker_compare_queue(bs->conn, q, &broken, e);
    if (broken)
        fail(bs, e);
    return rc;
}

int broker_session_temporary(struct broker_session *bs, char name[BROKER_NAME_SIZE], struct err *e)
{
    if (check_usable(bs, e) != 0)
        return -1;
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(bs->conn, BROKER_CHANNEL, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
    if (ok == NULL || ok->queue.len >= BROKER_NAME_SIZE) {
        if (broker_check_reply(amqp_get_rpc_reply(bs->conn), "temporary queue", e) == 0)
            err_set(e, ERR_UNAVAILABLE, 0, "temporary queue: the broker's name for it is too long");
        return fail(bs, e);
    }
    memcpy(name, ok->queue.bytes, ok->queue.len);
    name[ok->queue.len] = '\0';
    return 0;
}

static const char *server_text(const amqp_table_t *properties, const char *key, char out[32])
{
    for (int i = 0; i < properties->num_entries; i++) {
        const amqp_table_entry_t *t = &properties->entries[i];
        if (t->value.kind == AMQP_FIELD_KIND_UTF8 && t->key.len == strlen(key) &&
            memcmp(t->key.bytes, key, t->key.len) == 0) {
            snprintf(out, 32, "%.*s", (int)t->value.value.bytes.len,
                     (const char *)t->value.value.bytes.bytes);
            return out;
        }
    }
    return "?";
}

void broker_session_product(struct broker_session *bs, char out[BROKER_PRODUCT_SIZE])
{
    const amqp_table_t *properties = amqp_get_server_properties(bs->conn);
    char product[32], version[32];
    snprintf(out, BROKER_PRODUCT_SIZE, "%s %s", server_text(properties, "product", product),
             server_text(properties, "version", version));
}

int broker_session_count(struct broker_session *bs, const char *queue, uint32_t *messages, struct err *e)
{
    struct broker_queue_info info;
    if (broker_session_look(bs, queue, &info, e) != 0)
        return -1;
    if (!info.exists)
        return err_set(e, ERR_CONFIG, AMQP_NOT_FOUND, "queue '%s' does not exist", queue);
    *messages = info.messages;
    return 0;
}

static int read_get_answer(struct broker_session *bs, const char *queue, struct err *e)
{
    int64_t deadline_ms = clock_mono_ms() + GET_TIMEOUT_MS;
    amqp_frame_t f;
    if (next_frame(bs, deadline_ms, &f, e) != 0)
        return -1;
    if (f.frame_type != AMQP_FRAME_METHOD)
        return unexpected_frame(&f, e);
    if (f.payload.method.id == AMQP_BASIC_GET_EMPTY_METHOD)
        return 0;
    if (f.payload.method.id != AMQP_BASIC_GET_OK_METHOD)
        return unexpected_frame(&f, e);
    const amqp_basic_get_ok_t *ok = f.payload.method.decoded;
    if (broker_content_begin(&bs->content, CONTENT_DELIVERY, e) != 0)
        return -1;
    struct broker_delivery *d = &bs->content.delivery;
    d->epoch = 1;
    d->queue = queue;
    d->delivery_tag = ok->delivery_tag;
    d->redelivered = ok->redelivered != 0;
    return read_content(bs, deadline_ms, e) == 0 ? 1 : -1;
}

int broker_session_get(struct broker_session *bs, const char *queue, struct broker_delivery *d, struct err *e)
{
    if (check_usable(bs, e) != 0)
        return -1;
    amqp_basic_get_t get = {.queue = amqp_cstring_bytes(queue)};
    int status = amqp_send_method(bs->conn, BROKER_CHANNEL, AMQP_BASIC_GET_METHOD, &get);
    if (status != AMQP_STATUS_OK) {
        broker_status_error(status, "get", e);
        return fail(bs, e);
    }
    int got = read_get_answer(bs, queue, e);
    if (got < 0)
        return fail(bs, e);
    if (got > 0)
        *d = bs->content.delivery;
    return got;
}

static int settled(struct broker_session *bs, int status, struct err *e)
{
    if (status == AMQP_STATUS_OK)
        return 0;
    broker_status_error(status, "ack", e);
    return fail(bs, e);
}

int broker_session_ack(struct broker_session *bs, uint64_t delivery_tag, struct err *e)
{
    if (check_usable(bs, e) != 0)
        return -1;
    return settled(bs, amqp_basic_ack(bs->conn, BROKER_CHANNEL, delivery_tag, 0), e);
}

int broker_session_requeue(struct broker_session *bs, uint64_t delivery_tag, struct err *e)
{
    if (check_usable(bs, e) != 0)
        return -1;
    return settled(bs, amqp_basic_reject(bs->conn, BROKER_CHANNEL, delivery_tag, 1), e);
}

/* --- publishing --- */

static bool answers(uint64_t sequence, uint64_t tag, bool multiple)
{
    return tag == sequence || (multiple && (tag > sequence || tag == 0));
}

/* Only one publish is ever under way, so a return can only be its. */
static int wait_for_confirm(struct broker_session *bs, int64_t deadline_ms, enum broker_confirm *result,
                            struct err *e)
{
    bool returned = false;
    for (;;) {
        amqp_frame_t f;
        if (next_frame(bs, deadline_ms, &f, e) != 0)
            return -1;
        if (f.frame_type != AMQP_FRAME_METHOD)
            return unexpected_frame(&f, e);
        const amqp_basic_ack_t *ack = f.payload.method.decoded;
        const amqp_basic_nack_t *nack = f.payload.method.decoded;
        switch (f.payload.method.id) {
        case AMQP_BASIC_RETURN_METHOD:
            if (broker_content_begin(&bs->content, CONTENT_RETURN, e) != 0 ||
                read_content(bs, deadline_ms, e) != 0)
                return -1;
            returned = true;
            break;
        case AMQP_BASIC_ACK_METHOD:
            *result = returned ? BROKER_RETURNED : BROKER_CONFIRMED;
            if (answers(bs->published, ack->delivery_tag, ack->multiple != 0))
                return 0;
            break;
        case AMQP_BASIC_NACK_METHOD:
            *result = BROKER_NACKED;
            if (answers(bs->published, nack->delivery_tag, nack->multiple != 0))
                return 0;
            break;
        default:
            return unexpected_frame(&f, e);
        }
    }
}

int broker_session_publish(struct broker_session *bs, const struct broker_message *m, int64_t timeout_ms,
                           struct err *e)
{
    size_t bytes;
    if (check_usable(bs, e) != 0 ||
        broker_message_check(m, (size_t)amqp_get_frame_max(bs->conn), &bytes, e) != 0)
        return -1;
    int status = broker_message_write(bs->conn, m);
    bs->published++;
    if (status != AMQP_STATUS_OK) {
        broker_status_error(status, "publish", e);
        return fail(bs, e);
    }
    enum broker_confirm result = BROKER_UNKNOWN;
    if (wait_for_confirm(bs, clock_mono_ms() + timeout_ms, &result, e) != 0)
        return fail(bs, e);
    switch (result) {
    case BROKER_CONFIRMED:
        return 0;
    case BROKER_RETURNED:
        return err_set(e, ERR_CONFIG, AMQP_NO_ROUTE, "no queue takes '%s' from exchange '%s'", m->routing_key,
                       m->exchange);
    case BROKER_NACKED:
        return err_set(e, ERR_UNAVAILABLE, 0, "queue '%s' refused the message", m->routing_key);
    case BROKER_UNKNOWN:
        break;
    }
    return err_set(e, ERR_BUG, 0, "a confirm without a result");
}
