/* What a broker sends while the connection is up, from the bytes on the socket to the handlers: frames,
 * methods, properties, headers, x-death, confirms, closes. The library's own decoder is part of it. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <amqp_tcp_socket.h>

#include "io/broker_private.h"
#include "io/loop.h"

enum { FRAME_MAX = 131072, MAX_BODY = 1024, PUBLISHED = 3 };

static struct {
    struct loop *loop;
    struct loop_timer *timer, *kick;
    int confirms;
} rig;

static const struct broker_consume consume = {.queue = "wb_queue", .prefetch = 10};

static size_t length_of(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    (void)arg;
    fuzz_require(d->queue == consume.queue, "a delivery comes by a queue of ours");
    fuzz_require(d->header_count <= BROKER_MAX_HEADERS, "headers are bounded");
    fuzz_require((d->body != NULL) == (d->body_len <= MAX_BODY), "only a body that is too large is left out");
    size_t touched = length_of(d->message_id) + length_of(d->correlation_id) + length_of(d->content_type) +
                     length_of(d->type) + length_of(d->app_id) + length_of(d->death.queue) +
                     length_of(d->death.reason);
    for (size_t i = 0; i < d->header_count; i++) {
        fuzz_require(d->headers[i].name != NULL, "a header has a name");
        touched += length_of(d->headers[i].name) + length_of(d->headers[i].str);
    }
    for (size_t i = 0; d->body != NULL && i < d->body_len; i++)
        touched += d->body[i] != '\0';
    fuzz_require(touched < SIZE_MAX, "all of it can be read");
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    (void)arg, (void)result;
    fuzz_require(cookie < PUBLISHED && ++rig.confirms <= PUBLISHED, "each publish is answered once");
}

/* A broker whose connection stands, without the connecting. */
static struct broker broker_up(amqp_connection_state_t conn)
{
    struct broker b = {
        .loop = rig.loop,
        .settings = {.confirms = true, .consumes = &consume, .consume_count = 1, .max_body_bytes = MAX_BODY},
        .on = {.on_delivery = on_delivery, .on_confirm = on_confirm},
        .state = BROKER_UP,
        .timer = rig.timer,
        .kick = rig.kick,
        .connects = 1,
        .conn = conn,
        .fd = -1,
        .consuming = true,
        .generation = 1,
    };
    broker_content_init(&b.content, MAX_BODY);
    broker_window_init(&b.window);
    return b;
}

static void publish_some(struct broker *b)
{
    static const char *const ids[PUBLISHED] = {"m-1", "m-2", "m-2"};
    for (size_t i = 0; i < PUBLISHED; i++) {
        const struct broker_message m = {.exchange = "",
                                         .routing_key = "ag_queue",
                                         .body = "{}",
                                         .body_len = 2,
                                         .message_id = ids[i],
                                         .expiration_ms = -1};
        struct err e;
        (void)!broker_publish(b, &m, i, &e);
    }
}

/* NULL when the library has no memory. The greeting takes the connection to where the log-in leaves it. */
static amqp_connection_state_t connection_on(int fd)
{
    static const char greeting[] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
    const amqp_bytes_t bytes = {sizeof greeting, (void *)(uintptr_t)greeting};
    amqp_frame_t f;
    amqp_connection_state_t conn = amqp_new_connection();
    amqp_socket_t *socket = conn == NULL ? NULL : amqp_tcp_socket_new(conn);
    if (socket != NULL && amqp_handle_input(conn, bytes, &f) == (int)bytes.len &&
        amqp_tune_connection(conn, 0, FRAME_MAX, 0) == AMQP_STATUS_OK) {
        amqp_tcp_socket_set_sockfd(socket, fd);
        return conn;
    }
    if (conn != NULL)
        amqp_destroy_connection(conn);
    return NULL;
}

void fuzz_amqp(const char *bytes, size_t len)
{
    int ends[2];
    if (rig.loop == NULL) {
        rig.loop = loop_new();
        rig.timer = loop_timer_new(rig.loop, NULL, NULL);
        rig.kick = loop_timer_new(rig.loop, NULL, NULL);
    }
    rig.confirms = 0;
    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0,
                 "this machine has sockets");
    amqp_connection_state_t conn = connection_on(ends[0]);
    if (conn == NULL) {
        close(ends[0]);
        close(ends[1]);
        return;
    }
    struct broker b = broker_up(conn);
    publish_some(&b);
    (void)!send(ends[1], bytes, len, MSG_NOSIGNAL);
    (void)shutdown(ends[1], SHUT_WR);
    while (b.state == BROKER_UP && !broker_read_frames(&b))
        continue;
    fuzz_require(b.state == BROKER_BROKEN && b.fault.class != ERR_NONE && b.fault.text[0] != '\0',
                 "a connection that ended is reported with a reason");
    broker_window_abandon(&b);
    fuzz_require(rig.confirms == PUBLISHED || b.window.count == 0, "no publish is left unanswered");
    broker_window_fini(&b.window);
    broker_content_fini(&b.content);
    amqp_destroy_connection(conn); /* closes its end */
    close(ends[1]);
}
