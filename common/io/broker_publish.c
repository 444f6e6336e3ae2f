/* Outgoing messages and what the broker says to them. Each publish takes a slot under its sequence number,
 * until its ack or nack comes or the connection goes. */
#include "io/broker_private.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_SLOTS = 4096,        /* a power of two */
    WINDOW_BYTES = 1024 * 1024, /* a broker that stops reading takes 2.8 MB before a write would block
                                   (measured); stay well below */
    MAX_BODY_BYTES = 16777216,  /* RabbitMQ 4.x closes the channel on more */
    EXPIRATION_SIZE = 24,
};
/* RabbitMQ closes the channel on a longer one. */
static const int64_t MAX_EXPIRATION_MS = 4294967295;

enum slot_state { SLOT_FREE = 0, SLOT_IN_FLIGHT, SLOT_RETURNED };

struct broker_slot {
    enum slot_state state;
    uint64_t cookie;
    char *message_id; /* owned; NULL when the message has none */
    int64_t sent_at;
    size_t bytes;
};

/* --- the window --- */

static struct broker_slot *slot_of(const struct broker_window *w, uint64_t sequence)
{
    return &w->slots[sequence & (WINDOW_SLOTS - 1)];
}

void broker_window_init(struct broker_window *w)
{
    *w = (struct broker_window){.slots = xcalloc(WINDOW_SLOTS, sizeof *w->slots), .low = 1, .next = 1};
}

void broker_window_fini(struct broker_window *w)
{
    for (; w->low < w->next; w->low++)
        free(slot_of(w, w->low)->message_id);
    free(w->slots);
    *w = (struct broker_window){0};
}

static void window_add(struct broker_window *w, const char *message_id, uint64_t cookie, int64_t now_ms,
                       size_t bytes)
{
    *slot_of(w, w->next) = (struct broker_slot){.state = SLOT_IN_FLIGHT,
                                                .cookie = cookie,
                                                .message_id = xstrdup(message_id),
                                                .sent_at = now_ms,
                                                .bytes = bytes};
    w->next++;
    w->count++;
    w->bytes += bytes;
}

/* Answers arrive out of order, so a slot in the middle may be free already. */
static void window_resolve(struct broker *b, uint64_t sequence, enum broker_confirm answer)
{
    struct broker_window *w = &b->window;
    struct broker_slot *slot = slot_of(w, sequence);
    if (slot->state == SLOT_FREE)
        return;
    uint64_t cookie = slot->cookie;
    enum broker_confirm result = slot->state == SLOT_RETURNED ? BROKER_RETURNED : answer;
    free(slot->message_id);
    w->count--;
    w->bytes -= slot->bytes;
    *slot = (struct broker_slot){0};
    while (w->low < w->next && slot_of(w, w->low)->state == SLOT_FREE)
        w->low++;
    if (b->on.on_confirm)
        b->on.on_confirm(b->arg, cookie, result);
}

void broker_window_answer(struct broker *b, uint64_t tag, bool multiple, enum broker_confirm answer)
{
    struct broker_window *w = &b->window;
    uint64_t last = multiple && tag == 0 ? w->next - 1 : tag; /* AMQP: 0 with multiple means all so far */
    if (last < w->low || last >= w->next)
        return;
    for (uint64_t sequence = multiple ? w->low : last; sequence <= last; sequence++)
        window_resolve(b, sequence, answer);
}

void broker_window_return(struct broker *b, const char *message_id)
{
    struct broker_window *w = &b->window;
    const char *id = message_id ? message_id : "";
    for (uint64_t sequence = w->low; sequence < w->next; sequence++) {
        struct broker_slot *slot = slot_of(w, sequence);
        const char *its_id = slot->message_id ? slot->message_id : "";
        if (slot->state == SLOT_IN_FLIGHT && strcmp(its_id, id) == 0) {
            slot->state = SLOT_RETURNED;
            return;
        }
    }
}

void broker_window_abandon(struct broker *b)
{
    struct broker_window *w = &b->window;
    while (w->low < w->next)
        window_resolve(b, w->low, BROKER_UNKNOWN);
    w->low = w->next = 1;
}

int64_t broker_window_oldest_at(const struct broker_window *w)
{
    return w->low < w->next ? slot_of(w, w->low)->sent_at : INT64_MAX;
}

/* --- one message --- */

static int check_short(const char *what, const char *value, size_t *bytes, struct err *e)
{
    if (value == NULL)
        return 0;
    size_t len = strlen(value);
    if (len > BROKER_SHORTSTR_MAX)
        return err_set(e, ERR_DATA, 0, "%s has %zu bytes, at most %d are possible", what, len,
                       BROKER_SHORTSTR_MAX);
    *bytes += len + 1;
    return 0;
}

static int check_headers(const struct broker_message *m, size_t *bytes, struct err *e)
{
    if (m->header_count > BROKER_MAX_HEADERS)
        return err_set(e, ERR_DATA, 0, "%zu headers, at most %d are possible", m->header_count,
                       BROKER_MAX_HEADERS);
    for (size_t i = 0; i < m->header_count; i++) {
        const struct broker_header *h = &m->headers[i];
        if (check_short("a header's name", h->name, bytes, e) != 0)
            return -1;
        *bytes += 1 + (h->str ? 4 + strlen(h->str) : sizeof h->i);
    }
    return 0;
}

int broker_message_check(const struct broker_message *m, size_t frame_max, size_t *bytes, struct err *e)
{
    *bytes = 64; /* frame, class, sizes, flags, delivery mode, timestamp, expiration */
    if (m->body_len > MAX_BODY_BYTES)
        return err_set(e, ERR_DATA, 0, "the body has %zu bytes, at most %d are possible", m->body_len,
                       MAX_BODY_BYTES);
    if (m->expiration_ms > MAX_EXPIRATION_MS)
        return err_set(e, ERR_DATA, 0, "expiration of %" PRId64 " ms, at most %" PRId64 " are possible",
                       m->expiration_ms, MAX_EXPIRATION_MS);
    size_t routing = 0;
    if (check_short("exchange", m->exchange, &routing, e) != 0 ||
        check_short("routing key", m->routing_key, &routing, e) != 0 ||
        check_short("message_id", m->message_id, bytes, e) != 0 ||
        check_short("correlation_id", m->correlation_id, bytes, e) != 0 ||
        check_short("content_type", m->content_type, bytes, e) != 0 ||
        check_short("type", m->type, bytes, e) != 0 || check_short("app_id", m->app_id, bytes, e) != 0 ||
        check_headers(m, bytes, e) != 0)
        return -1;
    if (frame_max > 0 && *bytes > frame_max)
        return err_set(e, ERR_DATA, 0, "properties and headers need %zu bytes, the broker takes %zu", *bytes,
                       frame_max);
    *bytes += m->body_len;
    return 0;
}

static void set_text(amqp_basic_properties_t *p, amqp_flags_t flag, amqp_bytes_t *field, const char *value)
{
    if (value == NULL)
        return;
    p->_flags |= flag;
    *field = amqp_cstring_bytes(value);
}

static amqp_table_t header_table(const struct broker_message *m, amqp_table_entry_t *entries)
{
    for (size_t i = 0; i < m->header_count; i++) {
        const struct broker_header *h = &m->headers[i];
        entries[i].key = amqp_cstring_bytes(h->name);
        if (h->str)
            entries[i].value = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8,
                                                    .value = {.bytes = amqp_cstring_bytes(h->str)}};
        else
            entries[i].value = (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = h->i}};
    }
    return (amqp_table_t){(int)m->header_count, entries};
}

int broker_message_write(amqp_connection_state_t conn, const struct broker_message *m)
{
    amqp_table_entry_t entries[BROKER_MAX_HEADERS];
    char expiration[EXPIRATION_SIZE];
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
                                 .delivery_mode = AMQP_DELIVERY_PERSISTENT};
    set_text(&p, AMQP_BASIC_MESSAGE_ID_FLAG, &p.message_id, m->message_id);
    set_text(&p, AMQP_BASIC_CORRELATION_ID_FLAG, &p.correlation_id, m->correlation_id);
    set_text(&p, AMQP_BASIC_CONTENT_TYPE_FLAG, &p.content_type, m->content_type);
    set_text(&p, AMQP_BASIC_TYPE_FLAG, &p.type, m->type);
    set_text(&p, AMQP_BASIC_APP_ID_FLAG, &p.app_id, m->app_id);
    if (m->timestamp_s > 0) {
        p._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        p.timestamp = (uint64_t)m->timestamp_s;
    }
    if (m->expiration_ms >= 0) {
        snprintf(expiration, sizeof expiration, "%" PRId64, m->expiration_ms);
        set_text(&p, AMQP_BASIC_EXPIRATION_FLAG, &p.expiration, expiration);
    }
    if (m->header_count > 0) {
        p._flags |= AMQP_BASIC_HEADERS_FLAG;
        p.headers = header_table(m, entries);
    }
    amqp_bytes_t body = {m->body_len,
                         (void *)(uintptr_t)m->body}; /* the library takes, but does not change, a void * */
    return amqp_basic_publish(conn, BROKER_CHANNEL, amqp_cstring_bytes(m->exchange),
                              amqp_cstring_bytes(m->routing_key), 1, 0, &p, body);
}

/* --- publishing --- */

static bool is_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

/* While a burst gathers, its first message has asked the socket. */
static bool may_publish(const struct broker *b)
{
    return b->state == BROKER_UP && b->settings.confirms && !b->blocked && b->window.bytes < WINDOW_BYTES &&
           (b->burst.len > 0 || is_writable(b->fd));
}

/* Slots free up in order, so one that waits long may hold back others behind it. */
static size_t free_slots(const struct broker_window *w)
{
    return WINDOW_SLOTS - (size_t)(w->next - w->low);
}

size_t broker_room(struct broker *b)
{
    if (!may_publish(b))
        return 0;
    const struct broker_window *w = &b->window;
    if (w->count == 0)
        return free_slots(w);
    size_t mean_bytes =
        w->bytes / w->count; /* the next ones are likely to be as large as those on their way */
    size_t fitting = (WINDOW_BYTES - w->bytes) / mean_bytes + 1;
    return fitting < free_slots(w) ? fitting : free_slots(w);
}

size_t broker_unconfirmed(const struct broker *b)
{
    return b->window.count;
}

/* Some or all of it may be out when that fails: what became of it is for on_confirm to say. */
static void write_now(struct broker *b, const struct broker_message *m)
{
    int status = broker_message_write(b->conn, m);
    if (status == AMQP_STATUS_OK) {
        broker_after_write(b);
        return;
    }
    struct err why;
    broker_status_error(status, "publish", &why);
    broker_break(b, &why);
}

static void write_soon(struct broker *b, const struct broker_message *m)
{
    broker_burst_add(&b->burst, m, (size_t)amqp_get_frame_max(b->conn));
    if (broker_burst_is_full(&b->burst))
        broker_flush(b);
    else if (!loop_timer_is_active(b->burst_timer))
        loop_timer_start(b->burst_timer, 0);
}

int broker_publish(struct broker *b, const struct broker_message *m, uint64_t cookie, struct err *e)
{
    if (b->state != BROKER_UP)
        return err_set(e, ERR_TEMPORARY, 0, "not connected to the broker");
    size_t bytes;
    if (broker_message_check(m, (size_t)amqp_get_frame_max(b->conn), &bytes, e) != 0)
        return -1;
    if (!may_publish(b) || free_slots(&b->window) == 0)
        return err_set(e, ERR_TEMPORARY, 0,
                       b->blocked ? "the broker blocks publishing" : "too much is unconfirmed");
    window_add(&b->window, m->message_id, cookie, loop_now_ms(b->loop), bytes);
    if (b->settings.tls)
        write_now(b, m);
    else
        write_soon(b, m);
    return 0;
}
