/* See client.h. */
#include "tests/bench/client.h"

#include <stddef.h>

static void on_up(void *arg)
{
    (void)arg;
}

static void on_trouble(void *arg, const struct err *why)
{
    struct client *c = arg;
    *c->err = *why;
    loop_stop(c->loop);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    (void)arg;
    (void)d;
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

void client_open(struct client *c, const char *amqp, const struct broker_handlers *handlers,
                 const struct broker_consume *consume, struct err *e)
{
    c->amqp = amqp;
    c->settings = (struct broker_settings){.hosts = &c->amqp,
                                           .host_count = 1,
                                           .user = "guest",
                                           .password = "guest",
                                           .vhost = "/",
                                           .heartbeat_s = 30,
                                           .connect_timeout_ms = 5000,
                                           .connection_name = "bench",
                                           .confirms = consume == NULL,
                                           .confirm_timeout_ms = 60000,
                                           .consumes = consume,
                                           .consume_count = consume != NULL,
                                           .max_body_bytes = 1 << 20};
    c->handlers = (struct broker_handlers){
        .on_up = handlers->on_up ? handlers->on_up : on_up,
        .on_down = on_trouble,
        .on_refused = on_trouble,
        .on_delivery = handlers->on_delivery ? handlers->on_delivery : on_delivery,
        .on_confirm = handlers->on_confirm ? handlers->on_confirm : on_confirm,
        .on_blocked = on_blocked,
    };
    c->err = e;
    c->loop = loop_new();
    c->broker = broker_new(c->loop, &c->settings, &c->handlers, c);
}

void client_close(struct client *c)
{
    broker_free(&c->broker);
    loop_free(&c->loop);
}
