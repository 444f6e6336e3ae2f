/* See bench.h: publishing as fast as the broker confirms. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/bench/client.h"

typedef void body_fn(struct buf *b, int64_t n);

struct pump {
    struct client client;
    const char *queue;
    body_fn *write;
    int64_t body_bytes, next, end, confirmed, window, failed;
    int64_t begun_us;
    struct buf body;
};

static void publish_some(void *arg)
{
    struct pump *p = arg;
    struct err ignored;
    char id[32];

    while (broker_is_up(p->client.broker) && p->next < p->end &&
           (int64_t)broker_unconfirmed(p->client.broker) < p->window && broker_room(p->client.broker) > 0) {
        buf_clear(&p->body);
        if (p->write)
            p->write(&p->body, p->next);
        else
            for (int64_t i = 0; i < p->body_bytes; i++)
                buf_add_char(&p->body, 'x');
        snprintf(id, sizeof id, "bench-%" PRId64, p->next);
        const struct broker_message m = {.exchange = "",
                                         .routing_key = p->queue,
                                         .body = buf_str(&p->body),
                                         .body_len = p->body.len,
                                         .message_id = id,
                                         .content_type = "application/json",
                                         .expiration_ms = -1};
        if (broker_publish(p->client.broker, &m, 0, &ignored) != 0)
            break;
        p->next++;
    }
}

static void on_up(void *arg)
{
    struct pump *p = arg;
    if (p->begun_us == 0)
        p->begun_us = clock_mono_us();
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    struct pump *p = arg;

    (void)cookie;
    p->failed += result != BROKER_CONFIRMED;
    if (++p->confirmed == p->end)
        loop_stop(p->client.loop);
}

static int run(struct pump *p, const char *amqp, struct err *e)
{
    static const struct broker_handlers HANDLERS = {.on_up = on_up, .on_confirm = on_confirm};

    buf_init(&p->body, 1 << 20);
    client_open(&p->client, amqp, &HANDLERS, NULL, e);
    loop_on_turn(p->client.loop, publish_some, p);
    loop_run(p->client.loop);
    double seconds = (double)(clock_mono_us() - p->begun_us) / 1e6;
    client_close(&p->client);
    buf_fini(&p->body);
    if (p->confirmed < p->end || p->failed > 0)
        return e->text[0] ? -1 : err_set(e, ERR_DATA, 0, "%" PRId64 " messages were not taken", p->failed);
    printf("{\"rate\":%.0f,\"seconds\":%.4f,\"cpu_ms\":%.1f}\n", (double)p->end / seconds, seconds, cpu_ms());
    return 0;
}

int pump_run(const char *amqp, const char *queue, int64_t count, int64_t window, int64_t body_bytes,
             struct err *e)
{
    struct pump p = {.queue = queue, .end = count, .window = window, .body_bytes = body_bytes};
    return run(&p, amqp, e);
}

static int64_t reply_first;
static bool replies_for_jobs;

static void write_reply(struct buf *b, int64_t n)
{
    int64_t contact = reply_first + n;

    buf_printf(b, "{\"messageId\":\"bench-%" PRId64 "\",", contact);
    if (replies_for_jobs)
        buf_printf(b, "\"originalMessageId\":\"00000000-0000-4000-8000-%012" PRId64 "\",", contact);
    buf_printf(b,
               "\"timestamp\":%" PRId64
               ",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+1202%07" PRId64 "\"},"
               "\"response\":{\"type\":\"text\",\"text\":\"",
               clock_wall_ms() / 1000, 5000000 + contact % 4000000);
    for (int i = 0; i < 24; i++)
        buf_add_str(b, "An answer of the usual length. ");
    buf_add_str(b, "\"},\"agentMetadata\":{\"processingTime\":1.5,\"tokensUsed\":120}}");
}

int replies_run(const char *amqp, int64_t first, int64_t count, bool for_jobs, struct err *e)
{
    struct pump p = {.queue = "wb_queue", .write = write_reply, .end = count, .window = 1000};

    reply_first = first;
    replies_for_jobs = for_jobs;
    return run(&p, amqp, e);
}
