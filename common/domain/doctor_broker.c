/* The broker as the daemons need it: login, queues, confirms and returns. */
#include "domain/doctor_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "domain/peers.h"

enum { ANSWER_TIMEOUT_MS = 5000, ACCESS_REFUSED = 403 };

/* Before 3.10 a quorum queue knows neither a time to live nor at-least-once dead-lettering. */
static bool is_too_old(const char *product)
{
    int major, minor;

    return sscanf(product, "RabbitMQ %3d.%3d", &major, &minor) == 2 &&
           (major < 3 || (major == 3 && minor < 10));
}

static struct broker_session *open_session(struct doctor *d, const struct config *c)
{
    struct broker_settings settings = peers_broker_settings(c, "agwb doctor");
    struct err e = {0};
    char product[BROKER_PRODUCT_SIZE];
    struct broker_session *bs = broker_session_open(&settings, &e);

    if (!bs) {
        doctor_fail(d, "broker",
                    e.class == ERR_CONFIG ? "check rabbitmq.user, password, vhost and the TLS settings"
                                          : "is it running, and rabbitmq.hosts right?",
                    &e);
        return NULL;
    }
    broker_session_product(bs, product);
    if (is_too_old(product) && c->topology.queue_type == TOPOLOGY_QUORUM)
        doctor_warn(d, "broker", "upgrade it to 3.10 or later, or set topology.queue_type = \"classic\"",
                    "%s knows no time to live for quorum queues", product);
    else
        doctor_ok(d, "broker", "%s lets %s into %s", product, c->rabbitmq.user, c->rabbitmq.vhost);
    return bs;
}

/* --- queues --- */

static void look_at_missing(struct doctor *d, const char *name, const char *queue, enum topology_mode mode)
{
    struct err e;

    switch (mode) {
    case TOPOLOGY_DECLARE:
        doctor_ok(d, name, "missing: the daemons declare it when they start");
        return;
    case TOPOLOGY_PASSIVE:
        (void)err_set(&e, ERR_CONFIG, 404, "queue '%s' does not exist", queue);
        doctor_fail(d, name, "declare it, or use topology.mode = \"declare\"", &e);
        return;
    case TOPOLOGY_NONE:
        doctor_warn(d, name, "declare it", "queue '%s' does not exist", queue);
        return;
    }
}

static void report_difference(struct doctor *d, const char *name, enum topology_mode mode,
                              const struct err *why)
{
    if (mode == TOPOLOGY_DECLARE)
        doctor_fail(d, name,
                    why->code == ACCESS_REFUSED
                        ? "give the user the configure right for it, or use topology.mode = \"passive\""
                        : NULL,
                    why);
    else if (why->code == ACCESS_REFUSED)
        doctor_ok(d, name, "there; its arguments are not compared: the user may not declare it");
    else
        doctor_warn(d, name, NULL, "%s", why->text);
}

static void report_good(struct doctor *d, const char *name, const struct broker_queue_info *info)
{
    if (info->messages > 0 && info->consumers == 0)
        doctor_warn(d, name, "is its reader running?", "%" PRIu32 " messages and nobody reads them",
                    info->messages);
    else
        doctor_ok(d, name,
                  "arguments as wanted (policies cannot be seen from here), %" PRIu32 " messages, %" PRIu32
                  " consumers",
                  info->messages, info->consumers);
}

/* Parked messages wait for a person, not for a consumer. */
static bool is_parked(const char *queue)
{
    return strcmp(queue, TOPOLOGY_AG_PARKED) == 0 || strcmp(queue, TOPOLOGY_WB_PARKED) == 0;
}

static int look_at_queue(struct doctor *d, const struct config *c, struct broker_session *bs,
                         const struct topology_queue *q)
{
    struct broker_queue_info info;
    struct err e = {0};
    char name[BROKER_NAME_SIZE + 8];

    snprintf(name, sizeof name, "queue %s", q->name);
    if (broker_session_look(bs, q->name, &info, &e) != 0) {
        doctor_fail(d, name, NULL, &e);
        return -1;
    }
    if (!info.exists) {
        look_at_missing(d, name, q->name, c->topology.mode);
    } else if (broker_session_compare(bs, q, &e) != 0) {
        if (e.class != ERR_CONFIG) {
            doctor_fail(d, name, NULL, &e);
            return -1;
        }
        report_difference(d, name, c->topology.mode, &e);
    } else {
        if (is_parked(q->name))
            info.consumers++;
        report_good(d, name, &info);
    }
    return 0;
}

static int look_at_queues(struct doctor *d, const struct config *c, struct broker_session *bs)
{
    struct topology t;

    topology_build(&c->topology, &t);
    for (size_t i = 0; i < t.queue_count; i++) {
        if (look_at_queue(d, c, bs, &t.queues[i]) != 0)
            return -1;
    }
    return 0;
}

/* --- a round trip --- */

static struct broker_message probe_message(const char *queue)
{
    return (struct broker_message){.exchange = "",
                                   .routing_key = queue,
                                   .body = "{}",
                                   .body_len = 2,
                                   .message_id = "agwb-doctor",
                                   .expiration_ms = ANSWER_TIMEOUT_MS};
}

/* 0 when a message came back out of a queue of our own. */
static int confirm_one(struct broker_session *bs, const char *queue, struct err *e)
{
    struct broker_message m = probe_message(queue);
    struct broker_delivery got;

    if (broker_session_publish(bs, &m, ANSWER_TIMEOUT_MS, e) != 0)
        return -1;
    int count = broker_session_get(bs, queue, &got, e);
    if (count == 0)
        return err_set(e, ERR_UNAVAILABLE, 0, "a confirmed message is not in its queue");
    return count < 0 ? -1 : broker_session_ack(bs, got.delivery_tag, e);
}

/* 0 when a message for a queue that does not exist is returned, as `mandatory` demands. */
static int return_one(struct broker_session *bs, struct err *e)
{
    char queue[64];
    struct err why = {0};

    snprintf(queue, sizeof queue, "agwb-doctor-%016" PRIx64, random_u64());
    struct broker_message m = probe_message(queue);
    if (broker_session_publish(bs, &m, ANSWER_TIMEOUT_MS, &why) == 0)
        return err_set(e, ERR_CONFIG, 0,
                       "a message for a queue that does not exist was confirmed, not returned");
    if (strstr(why.text, "no queue takes"))
        return 0;
    *e = why;
    return -1;
}

static void look_at_round_trip(struct doctor *d, struct broker_session *bs)
{
    char queue[BROKER_NAME_SIZE];
    struct err e = {0};

    if (broker_session_temporary(bs, queue, &e) != 0) {
        if (e.code == ACCESS_REFUSED)
            doctor_warn(d, "round trip", "grant configure, write and read on ^amq\\.gen.* to have it tried",
                        "not tried: the user may not declare a queue of its own");
        else
            doctor_fail(d, "round trip", NULL, &e);
        return;
    }
    if (confirm_one(bs, queue, &e) != 0 || return_one(bs, &e) != 0)
        doctor_fail(d, "round trip",
                    "is the broker under a memory or disk alarm? (rabbitmq-diagnostics alarms)", &e);
    else
        doctor_ok(d, "round trip", "one message confirmed and read back, one without a queue returned");
}

void doctor_look_at_broker(struct doctor *d, const struct config *c)
{
    struct broker_session *bs = open_session(d, c);

    if (bs && look_at_queues(d, c, bs) == 0)
        look_at_round_trip(d, bs);
    broker_session_close(&bs);
}
