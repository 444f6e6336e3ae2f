/* See bench.h. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/broker.h"
#include "io/loop.h"

enum { PREFETCH = 1000, QUIET_MS = 300 };

struct drain {
    struct loop *loop;
    struct broker *broker;
    struct loop_timer *quiet; /* after the last expected message: is there one more? */
    struct distinct *ids;
    int64_t count, got;
    struct err *err;
};

static void on_quiet(void *arg)
{
    struct drain *d = arg;
    loop_stop(d->loop);
}

static void on_up(void *arg)
{
    struct drain *d = arg;
    if (d->count == 0)
        loop_timer_start(d->quiet, QUIET_MS);
}

static void on_trouble(void *arg, const struct err *why)
{
    struct drain *d = arg;
    *d->err = *why;
    loop_stop(d->loop);
}

static void on_delivery(void *arg, const struct broker_delivery *m)
{
    struct drain *d = arg;

    if (m->message_id)
        distinct_add(d->ids, m->message_id, strlen(m->message_id));
    d->got++;
    broker_ack(d->broker, m->epoch, m->delivery_tag, false);
    if (d->got >= d->count)
        loop_timer_start(d->quiet, QUIET_MS);
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    (void)arg;
    (void)cookie;
    (void)result;
}

static void on_blocked(void *arg, bool blocked)
{
    (void)arg;
    (void)blocked;
}

int drain_run(const char *amqp, const char *queue, int64_t count, struct err *e)
{
    static const struct broker_handlers HANDLERS = {.on_up = on_up,
                                                    .on_down = on_trouble,
                                                    .on_refused = on_trouble,
                                                    .on_delivery = on_delivery,
                                                    .on_confirm = on_confirm,
                                                    .on_blocked = on_blocked};
    const struct broker_consume consume = {.queue = queue, .prefetch = PREFETCH};
    const struct broker_settings settings = {.hosts = &amqp,
                                             .host_count = 1,
                                             .user = "guest",
                                             .password = "guest",
                                             .vhost = "/",
                                             .heartbeat_s = 30,
                                             .connect_timeout_ms = 5000,
                                             .connection_name = "bench",
                                             .consumes = &consume,
                                             .consume_count = 1,
                                             .max_body_bytes = 1 << 20};
    struct drain d = {.loop = loop_new(), .ids = distinct_new(), .count = count, .err = e};

    d.quiet = loop_timer_new(d.loop, on_quiet, &d);
    d.broker = broker_new(d.loop, &settings, &HANDLERS, &d);
    loop_run(d.loop);
    broker_free(&d.broker);
    loop_timer_free(&d.quiet);
    loop_free(&d.loop);
    if (!e->text[0])
        printf("{\"count\":%" PRId64 ",\"distinct\":%" PRIu64 "}\n", d.got, distinct_count(d.ids));
    free(d.ids);
    return e->text[0] ? -1 : 0;
}
