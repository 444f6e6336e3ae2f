/* The life of a connection:
 *
 *   WAITING --timer--> DIALING --connected--> UP --fault--> BROKEN --next read phase--> WAITING
 *      ^                  |
 *      '----- failed -----'
 *
 * WAITING waits for the backoff timer; DIALING for the worker pool, whose every step has a timeout; UP for
 * the socket, and for a timer that is never further off than heartbeats need; BROKEN exists because a fault
 * met while writing may not call handlers there and then: the loss is reported from the read phase that
 * follows. */
#include "io/broker_private.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/log.h"

enum {
    TICK_MS = 1000,    /* at most; heartbeats need a quarter of their interval */
    STABLE_MS = 10000, /* a connection that lasted so long was no failure */
};

/* One rung for each round of all hosts. */
static const struct backoff reconnect = {
    .delay_ms = 500, .multiplier = 2.0, .max_delay_ms = 30000, .jitter = 0.2};
enum { LAST_RUNG = 32 };

static const struct {
    const char *name;
    unsigned next; /* states it may move to, as bits */
} states[] = {
    [BROKER_WAITING] = {"waiting", 1u << BROKER_DIALING},
    [BROKER_DIALING] = {"dialing", 1u << BROKER_UP | 1u << BROKER_WAITING},
    [BROKER_UP] = {"up", 1u << BROKER_BROKEN},
    [BROKER_BROKEN] = {"broken", 1u << BROKER_WAITING},
};

static void move(struct broker *b, enum broker_state to)
{
    assert(states[b->state].next & 1u << to);
    log_debug("broker connection", log_str("name", b->settings.connection_name),
              log_str("from", states[b->state].name), log_str("to", states[to].name));
    b->state = to;
}

/* --- connecting --- */

/* One connect on the worker pool. It owns itself and shares the plan, since the broker may be freed
 * meanwhile. */
struct dial {
    struct broker_plan *plan;
    size_t host;
    bool consume;
    unsigned generation;
    amqp_connection_state_t conn; /* NULL: failed, err says why */
    struct err err;
};

static void dial_work(void *arg)
{
    struct dial *d = arg;
    const struct broker_settings *s = &d->plan->settings;
    d->conn = broker_link_open(s, d->host, s->heartbeat_s, &d->err);
    if (d->conn == NULL)
        return;
    if (broker_prepare(d->conn, s, &d->err) == 0 &&
        (!d->consume || broker_consume_all(d->conn, s, d->generation, &d->err) == 0))
        return;
    err_prefix(&d->err, "broker %s", s->hosts[d->host]);
    broker_link_close(d->conn);
    d->conn = NULL;
}

static void wait_for_retry(struct broker *b, bool refused)
{
    size_t hosts = b->settings.host_count;
    int rung = refused ? LAST_RUNG : (int)(((size_t)b->failures + hosts - 1) / hosts);
    b->host = (b->host + 1) % hosts;
    loop_timer_start(b->timer, backoff_jittered_ms(&reconnect, rung, random_u64()));
}

static void on_not_connected(struct broker *b, const struct err *why)
{
    bool refused = why->class == ERR_CONFIG;
    move(b, BROKER_WAITING);
    b->failures++;
    wait_for_retry(b, refused);
    if (refused && b->on.on_refused)
        b->on.on_refused(b->arg, why);
    else if (!refused && b->on.on_down)
        b->on.on_down(b->arg, why);
}

/* Brings the consumers in line with what was asked for by pause and resume, also while connecting. */
static void align_consumers(struct broker *b)
{
    if (b->state != BROKER_UP || b->consuming == !b->paused)
        return;
    int status;
    if (b->paused)
        status = broker_send_cancel_all(b->conn, &b->settings, b->generation);
    else
        status = broker_send_consume_all(b->conn, &b->settings, ++b->generation);
    b->consuming = !b->paused;
    if (status == AMQP_STATUS_OK) {
        broker_after_write(b);
        return;
    }
    struct err why;
    broker_status_error(status, b->paused ? "pause" : "resume", &why);
    broker_break(b, &why);
}

static int64_t tick_ms(const struct broker *b)
{
    int64_t quarter_ms = (int64_t)amqp_get_heartbeat(b->conn) * 1000 / 4;
    return quarter_ms > 0 && quarter_ms < TICK_MS ? quarter_ms : TICK_MS;
}

static void on_readable(void *arg, int events);

static void on_connected(struct broker *b, const struct dial *d, int fd)
{
    move(b, BROKER_UP);
    b->conn = d->conn;
    b->fd = fd;
    b->connects++;
    b->up_at = loop_now_ms(b->loop);
    b->unblocked_at = b->up_at;
    b->consuming = d->consume;
    b->watch = loop_watch_new(b->loop, fd, on_readable, b);
    loop_watch_set(b->watch, LOOP_READ);
    loop_timer_start(b->timer, tick_ms(b));
    loop_timer_start(b->kick, 0); /* the blocking calls may have left frames in the library */
    if (b->on.on_up)
        b->on.on_up(b->arg);
    align_consumers(b);
}

static void dial_done(void *arg)
{
    struct dial *d = arg;
    struct broker *b = d->plan->owner;
    int fd = -1;
    if (d->conn != NULL && b != NULL) {
        fd = fcntl(amqp_get_sockfd(d->conn), F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            err_set(&d->err, ERR_TEMPORARY, 0, "broker %s: no free file descriptor",
                    d->plan->settings.hosts[d->host]);
    }
    if (fd < 0 && d->conn != NULL)
        broker_link_drop(d->conn);
    if (fd >= 0)
        on_connected(b, d, fd);
    else if (b != NULL)
        on_not_connected(b, &d->err);
    broker_plan_release(&d->plan);
    free(d);
}

static void dial(struct broker *b)
{
    move(b, BROKER_DIALING);
    struct dial *d = xcalloc(1, sizeof *d);
    d->plan = broker_plan_use(b->plan);
    d->host = b->host;
    d->consume = !b->paused;
    d->generation = ++b->generation;
    loop_work(b->loop, dial_work, dial_done, d);
}

/* --- up and down --- */

void broker_break(struct broker *b, const struct err *why)
{
    if (b->state == BROKER_BROKEN) {
        if (b->fault.code <= 0 && why->code > 0) /* the library's codes are negative, the broker's positive */
            b->fault = *why;
        return;
    }
    move(b, BROKER_BROKEN);
    b->fault = *why;
    loop_timer_stop(b->timer);
    loop_timer_start(b->kick, 0);
}

void broker_renew(struct broker *b, const char *reason)
{
    struct err why;

    if (b->state != BROKER_UP)
        return;
    err_set(&why, ERR_TEMPORARY, 0, "%s", reason);
    broker_break(b, &why);
}

void broker_after_write(struct broker *b)
{
    if (amqp_frames_enqueued(b->conn) || amqp_data_in_buffer(b->conn))
        loop_timer_start(b->kick, 0);
}

void broker_flush(struct broker *b)
{
    struct err why;

    loop_timer_stop(b->burst_timer);
    if (b->state == BROKER_UP && b->burst.len > 0 && broker_burst_send(&b->burst, b->fd, &why) != 0)
        broker_break(b, &why);
}

static void disconnect(struct broker *b)
{
    loop_timer_stop(b->burst_timer);
    buf_clear(&b->burst);
    loop_watch_free(&b->watch);
    close(b->fd);
    b->fd = -1;
    broker_link_drop(b->conn);
    b->conn = NULL;
    broker_content_reset(&b->content);
}

static void report_loss(struct broker *b)
{
    struct err why = b->fault;
    why.class = ERR_TEMPORARY; /* whatever the broker said: it took this connection once, so trying again
                                  makes sense */
    disconnect(b);
    move(b, BROKER_WAITING);
    loop_timer_stop(b->kick);
    b->failures = loop_now_ms(b->loop) - b->up_at >= STABLE_MS ? 1 : b->failures + 1;
    wait_for_retry(b, false);
    broker_window_abandon(b);
    if (b->blocked && b->on.on_blocked)
        b->on.on_blocked(b->arg, false);
    b->blocked = false;
    if (b->on.on_down)
        b->on.on_down(b->arg, &why);
}

/* Asked only when everything that had arrived is read, so that a process that was stopped does not blame the
 * broker. */
static void check_confirm_timeout(struct broker *b)
{
    int64_t since = broker_window_oldest_at(&b->window);
    if (b->state != BROKER_UP || b->blocked || since == INT64_MAX)
        return;
    if (since < b->unblocked_at)
        since = b->unblocked_at;
    int64_t waited_ms = loop_now_ms(b->loop) - since;
    if (waited_ms < b->settings.confirm_timeout_ms)
        return;
    struct err why;
    err_set(&why, ERR_TEMPORARY, 0, "no confirm within %lld ms", (long long)waited_ms);
    broker_break(b, &why);
}

/* A broken connection is read once more: late confirms are in there, and perhaps why the broker closed it. */
static void read_turn(struct broker *b)
{
    bool drained = broker_read_frames(b);
    if (drained)
        check_confirm_timeout(b);
    if (b->state == BROKER_BROKEN)
        report_loss(b);
    else if (!drained)
        loop_timer_start(b->kick, 0);
}

static void on_readable(void *arg, int events)
{
    (void)events;
    struct broker *b = arg;
    if (b->state == BROKER_UP || b->state == BROKER_BROKEN)
        read_turn(b);
}

static void on_kick(void *arg)
{
    on_readable(arg, LOOP_READ);
}

static void on_burst_due(void *arg)
{
    broker_flush(arg);
}

static void on_timer(void *arg)
{
    struct broker *b = arg;
    switch (b->state) {
    case BROKER_WAITING:
        dial(b);
        break;
    case BROKER_UP:
        loop_timer_start(b->timer, tick_ms(b));
        read_turn(b);
        break;
    case BROKER_DIALING:
    case BROKER_BROKEN:
        break;
    }
}

/* --- the public life cycle --- */

struct broker *broker_new(struct loop *l, const struct broker_settings *s, const struct broker_handlers *h,
                          void *arg)
{
    assert(s->host_count > 0 && s->consume_count <= BROKER_MAX_CONSUMES);
    struct broker *b = xcalloc(1, sizeof *b);
    b->loop = l;
    b->settings = *s;
    b->on = *h;
    b->arg = arg;
    b->fd = -1;
    b->plan = broker_plan_new(s, b);
    b->timer = loop_timer_new(l, on_timer, b);
    b->kick = loop_timer_new(l, on_kick, b);
    b->burst_timer = loop_timer_new(l, on_burst_due, b);
    b->host = (size_t)(random_u64() % s->host_count);
    broker_content_init(&b->content, s->max_body_bytes);
    broker_burst_init(&b->burst);
    if (s->confirms)
        broker_window_init(&b->window);
    dial(b);
    return b;
}

/* connection.close waits for its answer, so acks written before it have arrived. Yet RabbitMQ's quorum queues
 * hold acks back while 32 are being replicated and forget those with the channel (measured): a prefetch
 * beyond 32 with single acks sees some messages again. */
static void goodbye_work(void *conn)
{
    broker_link_close(conn);
}

static void goodbye_done(void *conn)
{
    (void)conn;
}

void broker_free(struct broker **broker)
{
    struct broker *b = *broker;
    if (b == NULL)
        return;
    *broker = NULL;
    broker_flush(b);
    loop_timer_free(&b->timer);
    loop_timer_free(&b->kick);
    loop_timer_free(&b->burst_timer);
    if (b->conn != NULL) {
        loop_watch_free(&b->watch);
        close(b->fd);
        loop_work(b->loop, goodbye_work, goodbye_done, b->conn);
    }
    b->plan->owner = NULL;
    broker_plan_release(&b->plan);
    broker_content_fini(&b->content);
    broker_window_fini(&b->window);
    buf_fini(&b->burst);
    free(b);
}

bool broker_is_up(const struct broker *b)
{
    return b->state == BROKER_UP;
}

bool broker_is_blocked(const struct broker *b)
{
    return b->blocked;
}

uint64_t broker_reconnects(const struct broker *b)
{
    return b->connects > 0 ? b->connects - 1 : 0;
}

void broker_pause(struct broker *b)
{
    b->paused = true;
    align_consumers(b);
}

void broker_resume(struct broker *b)
{
    b->paused = false;
    align_consumers(b);
}

bool broker_is_paused(const struct broker *b)
{
    return b->paused;
}

/* --- acks --- */

static bool settled(struct broker *b, int status)
{
    if (status == AMQP_STATUS_OK) {
        broker_after_write(b);
        return true;
    }
    struct err why;
    broker_status_error(status, "ack", &why);
    broker_break(b, &why);
    return false;
}

bool broker_ack(struct broker *b, uint64_t epoch, uint64_t delivery_tag, bool multiple)
{
    if (b->state != BROKER_UP || epoch != b->connects)
        return false;
    return settled(b, amqp_basic_ack(b->conn, BROKER_CHANNEL, delivery_tag, multiple));
}

bool broker_reject(struct broker *b, uint64_t epoch, uint64_t delivery_tag, bool requeue)
{
    if (b->state != BROKER_UP || epoch != b->connects)
        return false;
    return settled(b, amqp_basic_reject(b->conn, BROKER_CHANNEL, delivery_tag, requeue));
}

/* --- queue queries --- */

struct query {
    struct broker_plan *plan;
    size_t host;
    char *names[TOPOLOGY_MAX_QUEUES]; /* our own copies: the pool may outlive the caller's */
    const char *given_names[TOPOLOGY_MAX_QUEUES];
    struct broker_queue_info infos[TOPOLOGY_MAX_QUEUES];
    size_t count;
    bool failed;
    struct err err;
    broker_queues_fn *done;
    void *arg;
};

static void query_work(void *arg)
{
    struct query *q = arg;
    amqp_connection_state_t conn = broker_link_open(&q->plan->settings, q->host, 0, &q->err);
    q->failed = conn == NULL;
    for (size_t i = 0; i < q->count && !q->failed; i++)
        q->failed = broker_count_queue(conn, q->names[i], &q->infos[i], &q->err) != 0;
    if (conn != NULL)
        broker_link_close(conn);
}

static void query_done(void *arg)
{
    struct query *q = arg;
    for (size_t i = 0; i < q->count; i++) {
        q->infos[i].queue = q->given_names[i];
        free(q->names[i]);
    }
    if (q->plan->owner != NULL)
        q->done(q->arg, q->failed ? NULL : q->infos, q->failed ? 0 : q->count, q->failed ? &q->err : NULL);
    broker_plan_release(&q->plan);
    free(q);
}

void broker_query_queues(struct broker *b, const char *const *names, size_t count, broker_queues_fn *done,
                         void *arg)
{
    assert(count <= TOPOLOGY_MAX_QUEUES);
    struct query *q = xcalloc(1, sizeof *q);
    q->plan = broker_plan_use(b->plan);
    q->host = b->host;
    q->count = count;
    q->done = done;
    q->arg = arg;
    for (size_t i = 0; i < count; i++) {
        q->given_names[i] = names[i];
        q->names[i] = xstrdup(names[i]);
    }
    loop_work(b->loop, query_work, query_done, q);
}
