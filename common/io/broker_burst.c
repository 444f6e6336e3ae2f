/* The frames of many publishes in one write. The library writes three times a message; on plain TCP we encode
 * the frames ourselves (AMQP 0-9-1, 4.2) and send what one turn has published at once. Nothing of the
 * library's may get between the halves of a frame, so a burst is written to its end before anything else is.
 * TLS records are the library's business: there it writes. */
#include "io/broker_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

enum {
    BURST_LIMIT = 64 * 1024 * 1024, /* far above: the window bounds it */
    BURST_FULL = 256 * 1024,        /* sent at once, not at the turn's end */
    WRITE_PATIENCE_MS = 5000,       /* the broker does not read: the window keeps us from getting there */
    FRAME_METHOD = 1,
    FRAME_HEADER = 2,
    FRAME_BODY = 3,
    FRAME_END = 0xce,
    FRAME_OVERHEAD = 8, /* type, channel, size; end */
    CLASS_BASIC = 60,
    METHOD_PUBLISH = 40,
    BIT_MANDATORY = 1,
    PERSISTENT = 2,
};

/* Property flags in the order of the wire. */
enum {
    HAS_CONTENT_TYPE = 1 << 15,
    HAS_HEADERS = 1 << 13,
    HAS_DELIVERY_MODE = 1 << 12,
    HAS_CORRELATION_ID = 1 << 10,
    HAS_EXPIRATION = 1 << 8,
    HAS_MESSAGE_ID = 1 << 7,
    HAS_TIMESTAMP = 1 << 6,
    HAS_TYPE = 1 << 5,
    HAS_APP_ID = 1 << 3,
};

void broker_burst_init(struct buf *burst)
{
    buf_init(burst, BURST_LIMIT);
}

/* --- encoding; lengths were checked by broker_message_check --- */

/* The size is filled in by end_frame. */
static size_t begin_frame(struct buf *b, int type)
{
    const char head[] = {(char)type, BROKER_CHANNEL >> 8, BROKER_CHANNEL & 255, 0, 0, 0, 0};
    buf_add(b, head, sizeof head);
    return b->len;
}

static void put_u32(char *at, size_t value)
{
    at[0] = (char)(value >> 24);
    at[1] = (char)(value >> 16);
    at[2] = (char)(value >> 8);
    at[3] = (char)value;
}

static void end_frame(struct buf *b, size_t payload_at)
{
    put_u32(b->data + payload_at - 4, b->len - payload_at);
    buf_add_char(b, (char)FRAME_END);
}

static void add_short(struct buf *b, const char *text)
{
    size_t len = strlen(text);
    buf_add_char(b, (char)len);
    buf_add(b, text, len);
}

/* The number as text. */
static void add_short_int(struct buf *b, int64_t value)
{
    size_t at = b->len;
    buf_add_char(b, 0);
    buf_add_int(b, value);
    b->data[at] = (char)(b->len - at - 1);
}

static void add_headers(struct buf *b, const struct broker_message *m)
{
    buf_add_u32(b, 0);
    size_t at = b->len;
    for (size_t i = 0; i < m->header_count; i++) {
        const struct broker_header *h = &m->headers[i];
        add_short(b, h->name);
        if (h->str) {
            buf_add_char(b, 'S');
            buf_add_u32(b, (uint32_t)strlen(h->str));
            buf_add_str(b, h->str);
        } else {
            buf_add_char(b, 'l');
            buf_add_u64(b, (uint64_t)h->i);
        }
    }
    put_u32(b->data + at - 4, b->len - at);
}

static uint16_t flags_of(const struct broker_message *m)
{
    return (uint16_t)(HAS_DELIVERY_MODE | (m->content_type ? HAS_CONTENT_TYPE : 0) |
                      (m->header_count > 0 ? HAS_HEADERS : 0) | (m->correlation_id ? HAS_CORRELATION_ID : 0) |
                      (m->expiration_ms >= 0 ? HAS_EXPIRATION : 0) | (m->message_id ? HAS_MESSAGE_ID : 0) |
                      (m->timestamp_s > 0 ? HAS_TIMESTAMP : 0) | (m->type ? HAS_TYPE : 0) |
                      (m->app_id ? HAS_APP_ID : 0));
}

static void add_properties(struct buf *b, const struct broker_message *m)
{
    buf_add_u16(b, flags_of(m));
    if (m->content_type)
        add_short(b, m->content_type);
    if (m->header_count > 0)
        add_headers(b, m);
    buf_add_char(b, PERSISTENT);
    if (m->correlation_id)
        add_short(b, m->correlation_id);
    if (m->expiration_ms >= 0)
        add_short_int(b, m->expiration_ms);
    if (m->message_id)
        add_short(b, m->message_id);
    if (m->timestamp_s > 0)
        buf_add_u64(b, (uint64_t)m->timestamp_s);
    if (m->type)
        add_short(b, m->type);
    if (m->app_id)
        add_short(b, m->app_id);
}

static void add_body(struct buf *b, const struct broker_message *m, size_t frame_max)
{
    size_t most = frame_max > FRAME_OVERHEAD ? frame_max - FRAME_OVERHEAD : SIZE_MAX; /* 0 = no limit */

    for (size_t done = 0, part; done < m->body_len; done += part) {
        part = m->body_len - done < most ? m->body_len - done : most;
        size_t at = begin_frame(b, FRAME_BODY);
        buf_add(b, m->body + done, part);
        end_frame(b, at);
    }
}

void broker_burst_add(struct buf *b, const struct broker_message *m, size_t frame_max)
{
    size_t at = begin_frame(b, FRAME_METHOD);
    buf_add_u16(b, CLASS_BASIC);
    buf_add_u16(b, METHOD_PUBLISH);
    buf_add_u16(b, 0); /* reserved */
    add_short(b, m->exchange);
    add_short(b, m->routing_key);
    buf_add_char(b, BIT_MANDATORY);
    end_frame(b, at);

    at = begin_frame(b, FRAME_HEADER);
    buf_add_u16(b, CLASS_BASIC);
    buf_add_u16(b, 0); /* weight */
    buf_add_u64(b, m->body_len);
    add_properties(b, m);
    end_frame(b, at);
    add_body(b, m, frame_max);
}

bool broker_burst_is_full(const struct buf *burst)
{
    return burst->len >= BURST_FULL;
}

/* --- sending --- */

static bool wait_writable(int fd, int64_t deadline_at)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int64_t left_ms = deadline_at - clock_mono_ms();

    return left_ms > 0 && (poll(&p, 1, (int)left_ms) > 0 || errno == EINTR);
}

int broker_burst_send(struct buf *burst, int fd, struct err *e)
{
    int64_t deadline_at = clock_mono_ms() + WRITE_PATIENCE_MS;
    size_t done = 0;

    while (done < burst->len) {
        ssize_t sent = send(fd, burst->data + done, burst->len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
            done += (size_t)sent;
        else if (errno != EAGAIN && errno != EINTR)
            return err_set(e, ERR_TEMPORARY, errno, "publish: %s", strerror(errno));
        else if (!wait_writable(fd, deadline_at))
            return err_set(e, ERR_TEMPORARY, 0, "publish: the broker has not read for %d ms",
                           WRITE_PATIENCE_MS);
    }
    buf_clear(burst);
    return 0;
}
