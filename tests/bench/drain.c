/* See bench.h. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/client.h"

enum { PREFETCH = 1000, QUIET_MS = 300 };

struct drain {
    struct client client;
    struct loop_timer *quiet; /* after the last expected message: is there one more? */
    struct distinct *ids;
    int64_t count, got;
};

static void on_quiet(void *arg)
{
    struct drain *d = arg;
    loop_stop(d->client.loop);
}

static void on_up(void *arg)
{
    struct drain *d = arg;
    if (d->count == 0)
        loop_timer_start(d->quiet, QUIET_MS);
}

static void on_delivery(void *arg, const struct broker_delivery *m)
{
    struct drain *d = arg;

    if (m->message_id)
        distinct_add(d->ids, m->message_id, strlen(m->message_id));
    d->got++;
    broker_ack(d->client.broker, m->epoch, m->delivery_tag, false);
    if (d->got >= d->count)
        loop_timer_start(d->quiet, QUIET_MS);
}

int drain_run(const char *amqp, const char *queue, int64_t count, struct err *e)
{
    static const struct broker_handlers HANDLERS = {.on_up = on_up, .on_delivery = on_delivery};
    const struct broker_consume consume = {.queue = queue, .prefetch = PREFETCH};
    struct drain d = {.ids = distinct_new(), .count = count};

    client_open(&d.client, amqp, &HANDLERS, &consume, e);
    d.quiet = loop_timer_new(d.client.loop, on_quiet, &d);
    loop_run(d.client.loop);
    loop_timer_free(&d.quiet);
    client_close(&d.client);
    if (!e->text[0])
        printf("{\"count\":%" PRId64 ",\"distinct\":%" PRIu64 "}\n", d.got, distinct_count(d.ids));
    free(d.ids);
    return e->text[0] ? -1 : 0;
}
