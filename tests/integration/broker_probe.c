/* See broker_probe.h. */
#include "broker_probe.h"

#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arena.h"

enum { PATIENCE_MS = 30000 };

extern char **environ;

/* --- handlers --- */

static void on_up(void *arg)
{
    struct probe *p = arg;
    p->events++;
    p->ups++;
}

static void on_down(void *arg, const struct err *why)
{
    struct probe *p = arg;
    p->events++;
    p->downs++;
    p->why_down = *why;
}

static void on_refused(void *arg, const struct err *why)
{
    struct probe *p = arg;
    p->events++;
    p->refusals++;
    p->why_refused = *why;
}

static void on_blocked(void *arg, bool blocked)
{
    struct probe *p = arg;
    p->events++;
    if (blocked)
        p->blocked++;
    else
        p->unblocked++;
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    struct probe *p = arg;
    p->events++;
    assert_true(cookie < PROBE_MAX_COOKIES);
    p->twice += p->answered[cookie];
    p->answered[cookie] = 1;
    p->results[result]++;
    p->answers++;
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct probe *p = arg;
    p->events++;
    assert_true(p->seen_count < PROBE_MAX_SEEN);
    struct probe_delivery *s = &p->seen[p->seen_count++];
    *s = (struct probe_delivery){.epoch = d->epoch,
                                 .tag = d->delivery_tag,
                                 .queue = d->queue,
                                 .redelivered = d->redelivered,
                                 .has_body = d->body != NULL,
                                 .body_len = d->body_len};
    if (d->body)
        snprintf(s->body, sizeof s->body, "%.*s", d->body_len < 63 ? (int)d->body_len : 63, d->body);
    if (d->message_id)
        snprintf(s->message_id, sizeof s->message_id, "%s", d->message_id);
    if (p->inspect)
        p->inspect(d);
    if (p->ack_all)
        assert_true(broker_ack(p->broker, d->epoch, d->delivery_tag, false));
}

static const struct broker_handlers handlers = {.on_up = on_up,
                                                .on_down = on_down,
                                                .on_refused = on_refused,
                                                .on_delivery = on_delivery,
                                                .on_confirm = on_confirm,
                                                .on_blocked = on_blocked};

/* --- life --- */

static const char *required(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL || value[0] == '\0')
        fail_msg("%s is not set: these tests need a private broker", name);
    return value;
}

static void on_turn(void *arg)
{
    struct probe *p = arg;
    if (p->counter && *p->counter >= p->wanted)
        loop_stop(p->loop);
}

struct probe *probe_new(void)
{
    struct probe *p = xcalloc(1, sizeof *p);
    const char *vhost = getenv("AGWB_TEST_VHOST");
    p->loop = loop_new();
    loop_on_turn(p->loop, on_turn, p);
    p->host = required("AGWB_TEST_AMQP");
    p->settings = (struct broker_settings){.hosts = &p->host,
                                           .host_count = 1,
                                           .user = "guest",
                                           .password = "guest",
                                           .vhost = vhost ? vhost : "/",
                                           .heartbeat_s = 30,
                                           .connect_timeout_ms = 5000,
                                           .connection_name = "test",
                                           .confirm_timeout_ms = 30000,
                                           .max_body_bytes = 262144};
    return p;
}

void probe_start(struct probe *p)
{
    p->broker = broker_new(p->loop, &p->settings, &handlers, p);
}

void probe_start_up(struct probe *p)
{
    probe_start(p);
    probe_wait(p, &p->ups, p->ups + 1);
}

void probe_stop(struct probe *p)
{
    broker_free(&p->broker);
}

void probe_free(struct probe **p)
{
    broker_free(&(*p)->broker);
    loop_free(&(*p)->loop);
    free(*p);
    *p = NULL;
}

static void on_out_of_patience(void *arg)
{
    struct probe *p = arg;
    loop_stop(p->loop);
}

static void turn_for(struct probe *p, int64_t ms)
{
    struct loop_timer *timer = loop_timer_new(p->loop, on_out_of_patience, p);
    loop_timer_start(timer, ms);
    loop_run(p->loop);
    loop_timer_free(&timer);
}

void probe_wait(struct probe *p, const size_t *counter, size_t wanted)
{
    p->counter = counter;
    p->wanted = wanted;
    if (*counter < wanted)
        turn_for(p, PATIENCE_MS);
    p->counter = NULL;
    if (*counter < wanted)
        fail_msg("waited for %zu, got %zu; last down: %s; last refused: %s", wanted, *counter,
                 p->why_down.text, p->why_refused.text);
}

void probe_idle(struct probe *p, int64_t ms)
{
    turn_for(p, ms);
}

/* --- work --- */

void probe_publish(struct probe *p, const char *queue, const char *body, uint64_t cookie)
{
    char id[32];
    snprintf(id, sizeof id, "m-%llu", (unsigned long long)cookie);
    struct broker_message m = {.exchange = "",
                               .routing_key = queue,
                               .body = body,
                               .body_len = strlen(body),
                               .message_id = id,
                               .expiration_ms = -1};
    struct err e;
    if (broker_publish(p->broker, &m, cookie, &e) != 0)
        fail_msg("publish %llu: %s", (unsigned long long)cookie, e.text);
}

void probe_publish_many(struct probe *p, const char *queue, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (broker_room(p->broker) == 0)
            probe_wait(p, &p->answers, p->answers + 1);
        char body[32];
        snprintf(body, sizeof body, "%zu", i);
        probe_publish(p, queue, body, i);
    }
    probe_wait(p, &p->answers, count);
}

const char *probe_queue_name(const char *test, char out[64])
{
    snprintf(out, 64, "test_%s_%d", test, (int)getpid());
    return out;
}

void probe_declare(const char *queue, const struct topology_arg *args, size_t arg_count)
{
    struct topology t = {
        .mode = TOPOLOGY_DECLARE, .queue_count = 1, .queues = {{.name = queue, .arg_count = arg_count}}};
    for (size_t i = 0; i < arg_count; i++)
        t.queues[0].args[i] = args[i];
    struct probe *p = probe_new();
    p->settings.topology = &t;
    probe_start_up(p);
    probe_free(&p);
}

void probe_ctl(const char *arg1, const char *arg2)
{
    const char *argv[] = {required("AGWB_TEST_RABBITMQCTL"), "-q", arg1, arg2, NULL};
    pid_t pid;
    int status;
    assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

uint32_t probe_count(const char *queue)
{
    struct probe *p = probe_new();
    struct err e;
    struct broker_session *bs = broker_session_open(&p->settings, &e);
    uint32_t messages = 0;
    if (bs == NULL || broker_session_count(bs, queue, &messages, &e) != 0)
        fail_msg("%s", e.text);
    broker_session_close(&bs);
    probe_free(&p);
    return messages;
}
