/* The agent's work. A request is a task: NEW until the turn looks at it, THINKING until its delay is over,
 * REPLYING until the broker has confirmed every reply, then acked and gone. When the connection goes all
 * tasks go with it, since the broker will deliver their requests again. */
#include "tests/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "domain/message.h"
#include "io/broker.h"
#include "tests/agent/reply.h"

enum { STOP_TIMEOUT_MS = 5000, REPUBLISH_AFTER_MS = 200, EXIT_CRASHED = 70 };

enum outgoing_state { OUTGOING_UNSENT = 0, OUTGOING_SENT, OUTGOING_CONFIRMED };

struct outgoing {
    struct task *task;
    enum outgoing_state state;
    char id[UUID_TEXT_LEN + 1];
    struct buf body;
    int64_t published_us;
};

enum task_state { TASK_NEW = 0, TASK_THINKING, TASK_REPLYING };

struct task {
    TAILQ_ENTRY(task) entry;
    struct agent *agent;
    enum task_state state;
    uint64_t epoch, delivery_tag;
    bool redelivered;
    char *body;
    size_t body_len;
    struct json *request; /* NULL while NEW */
    struct behaviour behaviour;
    int64_t received_us;
    int64_t due_at; /* loop time */
    struct outgoing outgoing[BEHAVIOUR_MAX_REPLIES];
    size_t outgoing_count;
};
TAILQ_HEAD(task_list, task);

struct agent {
    const struct agent_settings *settings;
    struct loop *loop;
    struct loop_timer *wake; /* the next task is due, or stopping takes too long */
    struct broker *broker;
    const char *hosts[1];
    struct broker_consume consume;
    struct broker_settings broker_settings;
    struct task_list tasks;
    int journal_fd; /* -1 = none */
    bool was_ready, is_stopping;
    int64_t stop_at;
    uint64_t handled, invalid;
};

/* --- journal --- */

static void add_member(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    if (value != NULL)
        buf_add_json_str(b, value, strlen(value));
    else
        buf_add_str(b, "null");
}

static void write_journal(const struct agent *a, const struct task *t, const struct outgoing *o,
                          const char *event)
{
    struct buf b;
    const struct json_node *root = t->request != NULL ? json_root(t->request) : NULL;

    if (a->journal_fd < 0)
        return;
    buf_init(&b, 16 * 1024);
    buf_printf(&b, "{\"wall_ms\":%" PRId64 ",\"mono_us\":%" PRId64, clock_wall_ms(), clock_mono_us());
    add_member(&b, "event", event);
    add_member(&b, "request", json_str(json_member(root, "messageId")));
    add_member(&b, "behaviour", behaviour_name(t->behaviour.kind));
    add_member(&b, "reply", o != NULL ? o->id : NULL);
    add_member(&b, "status", o != NULL ? t->behaviour.status : NULL);
    buf_printf(&b, ",\"redelivered\":%s,\"received_us\":%" PRId64, t->redelivered ? "true" : "false",
               t->received_us);
    if (o != NULL)
        buf_printf(&b, ",\"published_us\":%" PRId64, o->published_us);
    buf_add_str(&b, "}\n");
    if (write(a->journal_fd, b.data, b.len) != (ssize_t)b.len) {
        perror("agent: the journal cannot be written");
        abort();
    }
    buf_fini(&b);
}

/* --- tasks --- */

static void task_free(struct task *t)
{
    TAILQ_REMOVE(&t->agent->tasks, t, entry);
    for (size_t i = 0; i < t->outgoing_count; i++)
        buf_fini(&t->outgoing[i].body);
    json_free(&t->request);
    free(t->body);
    free(t);
}

/* The request is settled: acked, or given back as a dead letter. */
static void finish(struct task *t, bool ack)
{
    struct agent *a = t->agent;

    if (ack)
        broker_ack(a->broker, t->epoch, t->delivery_tag, false);
    else
        broker_reject(a->broker, t->epoch, t->delivery_tag, false);
    task_free(t);
    a->handled++;
    if (a->settings->count > 0 && a->handled >= a->settings->count)
        agent_stop(a);
}

/* --- replies --- */

static struct outgoing *add_outgoing(struct task *t)
{
    struct outgoing *o = &t->outgoing[t->outgoing_count++];

    o->task = t;
    buf_init(&o->body, REPLY_MAX_BYTES);
    return o;
}

static void write_reply(struct task *t, struct outgoing *o, int64_t number, bool differ)
{
    const struct agent *a = t->agent;
    const struct json_node *root = json_root(t->request);
    struct reply_facts facts = {
        .request = root,
        .behaviour = &t->behaviour,
        .reply_id = o->id,
        .number = number,
        .timestamp_s = clock_wall_ms() / 1000,
        .processing_s = (double)(clock_mono_us() - t->received_us) / 1e6,
        .echo_ids = a->settings->echo_ids,
        .differ = differ,
    };

    if (a->settings->repeatable) {
        facts.processing_s = 0;
        json_int(json_path(root, "message.timestamp"), &facts.timestamp_s);
    }
    if (o->id[0] == '\0' && a->settings->deterministic_ids)
        reply_id_v5(json_str(json_member(root, "messageId")), number, o->id);
    else if (o->id[0] == '\0')
        uuid_v4(o->id);
    reply_write(&facts, &o->body);
}

static void copy_id(struct outgoing *to, const struct outgoing *from)
{
    memcpy(to->id, from->id, sizeof to->id);
}

static void write_replies(struct task *t)
{
    for (int64_t n = 1; n <= t->behaviour.replies; n++)
        write_reply(t, add_outgoing(t), n, false);
    if (t->outgoing_count == BEHAVIOUR_MAX_REPLIES)
        return;
    const struct outgoing *first = &t->outgoing[0];
    if (t->behaviour.kind == BEHAVIOUR_DUPLICATE) {
        struct outgoing *again = add_outgoing(t);
        copy_id(again, first);
        buf_add(&again->body, first->body.data, first->body.len);
    } else if (t->behaviour.kind == BEHAVIOUR_CONFLICT) {
        struct outgoing *other = add_outgoing(t);
        copy_id(other, first);
        write_reply(t, other, 1, true);
    }
}

/* False when the broker takes no more for now. */
static bool publish(struct task *t, struct outgoing *o)
{
    struct agent *a = t->agent;
    struct err e = {0};
    const struct broker_message m = {
        .exchange = "",
        .routing_key = a->settings->webhook_queue,
        .body = o->body.data,
        .body_len = o->body.len,
        .message_id = o->id,
        .content_type = "application/json",
        .app_id = "stand-in-agent",
        .timestamp_s = clock_wall_ms() / 1000,
        .expiration_ms = -1,
    };

    if (broker_room(a->broker) == 0 || broker_publish(a->broker, &m, (uint64_t)(uintptr_t)o, &e) != 0)
        return false;
    o->state = OUTGOING_SENT;
    o->published_us = clock_mono_us();
    return true;
}

static void publish_unsent(struct task *t)
{
    for (size_t i = 0; i < t->outgoing_count; i++) {
        if (t->outgoing[i].state == OUTGOING_UNSENT && !publish(t, &t->outgoing[i])) {
            t->due_at = loop_now_ms(t->agent->loop) + 5;
            return;
        }
    }
}

static bool is_confirmed(const struct task *t)
{
    for (size_t i = 0; i < t->outgoing_count; i++) {
        if (t->outgoing[i].state != OUTGOING_CONFIRMED)
            return false;
    }
    return true;
}

/* --- the steps of a task --- */

static void crash(const struct task *t)
{
    write_journal(t->agent, t, NULL, "crash");
    _exit(EXIT_CRASHED);
}

static void look_at(struct task *t)
{
    struct agent *a = t->agent;
    struct err e = {0};

    if (message_check_request(t->body, t->body_len, &e) != 0) {
        log_warn("request refused", log_str("error", e.text));
        write_journal(a, t, NULL, "invalid");
        a->invalid++;
        finish(t, false);
        return;
    }
    t->request = json_parse(t->body, t->body_len, NULL);
    behaviour_choose(a->settings->script, json_str(json_path(json_root(t->request), "message.text")),
                     &t->behaviour);
    t->due_at = loop_now_ms(a->loop) + a->settings->delay_ms + t->behaviour.delay_ms;
    t->state = TASK_THINKING;
}

static void act(struct task *t)
{
    switch (t->behaviour.kind) {
    case BEHAVIOUR_SILENT:
    case BEHAVIOUR_REJECT:
        write_journal(t->agent, t, NULL, "no reply");
        finish(t, t->behaviour.kind == BEHAVIOUR_SILENT);
        return;
    case BEHAVIOUR_CRASH:
        crash(t);
        return;
    case BEHAVIOUR_ANSWER:
    case BEHAVIOUR_DUPLICATE:
    case BEHAVIOUR_CONFLICT:
    case BEHAVIOUR_MALFORMED:
    case BEHAVIOUR_INCOMPLETE:
    case BEHAVIOUR_CRASH_AFTER:
        write_replies(t);
        t->state = TASK_REPLYING;
        publish_unsent(t);
        return;
    }
}

static void reply_on(struct task *t)
{
    if (!is_confirmed(t)) {
        publish_unsent(t);
        return;
    }
    if (t->behaviour.kind == BEHAVIOUR_CRASH_AFTER)
        crash(t);
    finish(t, true);
}

static void step(struct task *t)
{
    if (t->state == TASK_NEW)
        look_at(t);
    else if (t->due_at > loop_now_ms(t->agent->loop) && !(t->state == TASK_REPLYING && is_confirmed(t)))
        return;
    else if (t->state == TASK_THINKING)
        act(t);
    else
        reply_on(t);
}

static void arm_timer(struct agent *a)
{
    int64_t next = a->is_stopping ? a->stop_at : INT64_MAX;
    int64_t now = loop_now_ms(a->loop);
    struct task *t;

    TAILQ_FOREACH(t, &a->tasks, entry)
    {
        bool waits = t->state == TASK_THINKING || (t->state == TASK_REPLYING && t->due_at > now);
        if (waits && t->due_at < next)
            next = t->due_at;
    }
    if (next == INT64_MAX)
        loop_timer_stop(a->wake);
    else
        loop_timer_start(a->wake, next > now ? next - now : 0);
}

static void on_turn(void *arg)
{
    struct agent *a = arg;
    struct task *t = TAILQ_FIRST(&a->tasks);

    while (t != NULL) {
        struct task *next = TAILQ_NEXT(t, entry);
        enum task_state before = t->state;

        if (a->is_stopping && before != TASK_REPLYING)
            task_free(t); /* not acked: the broker delivers it again */
        else
            step(t);
        if (before == TASK_NEW)
            loop_again(a->loop);
        t = next;
    }
    if (a->is_stopping && (TAILQ_EMPTY(&a->tasks) || loop_now_ms(a->loop) >= a->stop_at))
        loop_stop(a->loop);
    arm_timer(a);
}

static void on_wake(void *arg)
{
    (void)arg; /* the turn does the work */
}

/* --- the broker's side --- */

static void on_up(void *arg)
{
    struct agent *a = arg;

    if (a->was_ready)
        return;
    a->was_ready = true;
    puts("ready");
    fflush(stdout);
}

static void on_down(void *arg, const struct err *why)
{
    struct agent *a = arg;

    log_warn("broker lost", log_str("error", why->text));
    while (!TAILQ_EMPTY(&a->tasks))
        task_free(TAILQ_FIRST(&a->tasks));
}

static void on_refused(void *arg, const struct err *why)
{
    (void)arg;
    log_error("broker refuses", log_str("error", why->text));
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct agent *a = arg;
    struct task *t = xcalloc(1, sizeof *t);

    t->agent = a;
    t->epoch = d->epoch;
    t->delivery_tag = d->delivery_tag;
    t->redelivered = d->redelivered;
    t->received_us = clock_mono_us();
    t->body_len = d->body != NULL ? d->body_len : 0; /* too large: then it is no request */
    t->body = xcalloc(t->body_len + 1, 1);
    if (t->body_len > 0)
        memcpy(t->body, d->body, t->body_len);
    TAILQ_INSERT_TAIL(&a->tasks, t, entry);
}

static const char *confirm_name(enum broker_confirm result)
{
    switch (result) {
    case BROKER_CONFIRMED:
        return "confirmed";
    case BROKER_RETURNED:
        return "returned";
    case BROKER_NACKED:
        return "nacked";
    case BROKER_UNKNOWN:
        return "unknown";
    }
    return "";
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    struct agent *a = arg;
    struct outgoing *o = (struct outgoing *)(uintptr_t)cookie;

    write_journal(a, o->task, o, confirm_name(result));
    if (result == BROKER_CONFIRMED) {
        o->state = OUTGOING_CONFIRMED;
        return;
    }
    o->state = OUTGOING_UNSENT;
    o->task->due_at = loop_now_ms(a->loop) + REPUBLISH_AFTER_MS;
}

static void on_blocked(void *arg, bool blocked)
{
    (void)arg;
    log_warn(blocked ? "broker blocks" : "broker takes messages again");
}

/* --- life --- */

static const struct broker_handlers HANDLERS = {
    .on_up = on_up,
    .on_down = on_down,
    .on_refused = on_refused,
    .on_delivery = on_delivery,
    .on_confirm = on_confirm,
    .on_blocked = on_blocked,
};

struct agent *agent_new(struct loop *l, const struct agent_settings *s, struct err *e)
{
    int journal_fd = -1;

    if (s->journal != NULL) {
        journal_fd = open(s->journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (journal_fd < 0) {
            err_set(e, ERR_USAGE, errno, "journal %s: %s", s->journal, strerror(errno));
            return NULL;
        }
    }
    struct agent *a = xcalloc(1, sizeof *a);
    a->settings = s;
    a->loop = l;
    a->journal_fd = journal_fd;
    TAILQ_INIT(&a->tasks);
    a->hosts[0] = s->host;
    a->consume = (struct broker_consume){.queue = s->agent_queue, .prefetch = s->prefetch};
    a->broker_settings = (struct broker_settings){
        .hosts = a->hosts,
        .host_count = 1,
        .user = s->user,
        .password = s->password,
        .vhost = s->vhost,
        .heartbeat_s = 10,
        .connect_timeout_ms = 5000,
        .connection_name = "stand-in agent",
        .confirms = true,
        .consumes = &a->consume,
        .consume_count = 1,
        .confirm_timeout_ms = 30000,
        .max_body_bytes = MESSAGE_MAX_BYTES,
    };
    a->wake = loop_timer_new(l, on_wake, a);
    a->broker = broker_new(l, &a->broker_settings, &HANDLERS, a);
    loop_on_turn(l, on_turn, a);
    return a;
}

void agent_stop(struct agent *a)
{
    if (a->is_stopping)
        return;
    a->is_stopping = true;
    a->stop_at = loop_now_ms(a->loop) + STOP_TIMEOUT_MS;
    broker_pause(a->broker);
    loop_again(a->loop);
}

void agent_free(struct agent **agent)
{
    struct agent *a = *agent;

    if (a == NULL)
        return;
    broker_free(&a->broker);
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc): each takes itself off the list */
    while (!TAILQ_EMPTY(&a->tasks))
        task_free(TAILQ_FIRST(&a->tasks));
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
    loop_timer_free(&a->wake);
    if (a->journal_fd >= 0)
        close(a->journal_fd);
    fprintf(stderr, "agent: %" PRIu64 " requests handled, %" PRIu64 " of them refused as invalid\n",
            a->handled, a->invalid);
    free(a);
    *agent = NULL;
}
