/* One run over a queue: its messages are fetched one by one, up to the number that was there at the start, so
 * that what comes back dead is not taken a second time. */
#include "consumer/dlq.h"

#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "consumer/dlq_options.h"
#include "consumer/dlq_output.h"
#include "consumer/dlq_store.h"
#include "consumer/replay.h"
#include "domain/peers.h"

enum { BODY_MAX_BYTES = 16 << 20, OUT_LIMIT = 32 << 20, BAR_INTERVAL_MS = 100, WHO_SIZE = 128 };

struct run {
    const struct config *config;
    struct dlq_options options;
    struct broker_session *broker;
    struct dlq_store *store; /* NULL for what needs no database */
    struct arena *arena;     /* of one message */
    struct buf out;
    char who[WHO_SIZE];
    struct dlq_tally tally;
    int64_t next_at, bar_at; /* monotonic ms: the rate's next turn; the bar's latest */
    bool has_bar;            /* stderr is a terminal */
};

/* Between two messages a run may be ended without harm; a second signal ends it at once, which harms nothing
 * either, but tells no numbers. */
static volatile sig_atomic_t is_stopped;

static void on_signal(int signo)
{
    (void)signo;
    is_stopped = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    is_stopped = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* "alice as root (uid 0) at host": for the audit, and for whoever finds the queue taken. */
static void say_who(char who[WHO_SIZE])
{
    const struct passwd *user = getpwuid(getuid());
    const char *sudo = getenv("SUDO_USER");
    char host[64] = "";

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    snprintf(who, WHO_SIZE, "%.24s%s%.24s (uid %ld) at %.32s", sudo ? sudo : "", sudo ? " as " : "",
             user ? user->pw_name : "unknown", (long)getuid(), host);
}

/* --- output --- */

static void flush_out(struct run *r)
{
    if (r->out.len > 0)
        (void)fwrite(r->out.data, 1, r->out.len, stdout);
    (void)fflush(stdout);
    buf_clear(&r->out);
}

static void hide_bar(const struct run *r)
{
    if (r->has_bar)
        (void)fputs("\r\033[K", stderr);
}

static void show_bar(struct run *r)
{
    struct buf bar;

    if (!r->has_bar || clock_mono_ms() < r->bar_at)
        return;
    r->bar_at = clock_mono_ms() + BAR_INTERVAL_MS;
    buf_init(&bar, 256);
    dlq_write_bar(&bar, r->tally.examined, r->tally.messages);
    (void)fprintf(stderr, "\r%s", buf_str(&bar));
    buf_fini(&bar);
}

/* --- one message --- */

/* Waits for the rate's next turn; a signal ends the wait. */
static void keep_rate(const struct run *r)
{
    int64_t now = clock_mono_ms();

    if (r->next_at > now)
        (void)poll(NULL, 0, (int)(r->next_at - now));
}

static void take_turn(struct run *r)
{
    int64_t now = clock_mono_ms();

    if (r->options.rate > 0 && r->options.execute)
        r->next_at = (r->next_at > now ? r->next_at : now) + 1000 / r->options.rate;
}

static int look_up(struct run *r, struct dlq_message *m, struct err *e)
{
    struct db_result *facts = dlq_store_inspect(r->store, m, e);

    if (!facts)
        return -1;
    dlq_message_add_facts(m, db_text(facts, 0, DLQ_FACT_ADDRESS), db_text(facts, 0, DLQ_FACT_WORKSPACE),
                          r->arena);
    db_result_free(&facts);
    return 0;
}

static int show(struct run *r, const struct dlq_message *m, struct err *e)
{
    struct db_result *facts = dlq_store_inspect(r->store, m, e);
    struct db_result *attempts = facts ? dlq_store_attempts(r->store, m, e) : NULL;
    int rc = attempts ? 0 : -1;

    if (rc == 0)
        dlq_write_detail(&r->out, &r->options, m, facts, attempts);
    db_result_free(&facts);
    db_result_free(&attempts);
    return rc;
}

static void count(struct dlq_tally *t, enum dlq_result result)
{
    switch (result) {
    case DLQ_SEEN:
    case DLQ_WOULD:
    case DLQ_DONE:
        t->done++;
        return;
    case DLQ_REMOVED:
        t->removed++;
        return;
    case DLQ_LEFT:
        t->left++;
        return;
    }
}

static int move(struct run *r, const struct dlq_message *m, struct err *e)
{
    const struct replay replay = {
        .config = r->config, .options = &r->options, .broker = r->broker, .store = r->store, .who = r->who};
    enum dlq_result result;
    const char *why;

    if (r->options.verb == DLQ_REPLAY && dlq_message_is_stale(m, &r->options.filter)) {
        r->tally.stale++;
        return 0;
    }
    keep_rate(r);
    if (is_stopped)
        return 0;
    if (replay_message(&replay, m, &result, &why, e) != 0)
        return -1;
    if (result == DLQ_DONE)
        take_turn(r);
    count(&r->tally, result);
    dlq_write_message(&r->out, &r->options, m, result, why);
    return 0;
}

static int handle(struct run *r, const struct dlq_message *m, struct err *e)
{
    switch (r->options.verb) {
    case DLQ_LIST:
        dlq_write_message(&r->out, &r->options, m, DLQ_SEEN, NULL);
        count(&r->tally, DLQ_SEEN);
        return 0;
    case DLQ_SHOW:
        count(&r->tally, DLQ_SEEN);
        return show(r, m, e);
    case DLQ_REPLAY:
    case DLQ_PARK:
    case DLQ_PURGE:
        return move(r, m, e);
    }
    return 0;
}

/* 1: there was one, 0: the queue is empty, -1 and err. */
static int take_message(struct run *r, struct err *e)
{
    const struct dlq_filter *filter = &r->options.filter;
    struct broker_delivery d;
    struct dlq_message m;
    int rc = broker_session_get(r->broker, r->options.queue->name, &d, e);

    if (rc != 1)
        return rc;
    r->tally.examined++;
    arena_reset(r->arena);
    dlq_message_read(&m, r->options.queue, &d, clock_wall_ms(), r->arena);
    if (dlq_message_needs_facts(&m, filter) && look_up(r, &m, e) != 0)
        return -1;
    if (dlq_message_matches(&m, filter) && handle(r, &m, e) != 0)
        return -1;
    return 1;
}

/* --- the run --- */

static int take_messages(struct run *r, struct err *e)
{
    int rc = 1;

    while (rc == 1 && !is_stopped && r->tally.examined < r->tally.messages &&
           r->tally.done < r->options.limit) {
        rc = take_message(r, e);
        if (r->out.len > 0) {
            hide_bar(r);
            flush_out(r);
        }
        show_bar(r);
    }
    hide_bar(r);
    return rc < 0 ? -1 : 0;
}

/* On a terminal whoever runs this says the queue's name; without one, --yes was given. */
static int confirm(const struct run *r, struct err *e)
{
    const struct dlq_options *o = &r->options;
    const char *target = replay_target(r->config, o), *name = o->queue->name;
    char answer[64] = "";

    if (!o->execute || o->yes || r->tally.messages == 0)
        return 0;
    (void)fprintf(
        stderr,
        "dlq %s: up to %" PRId64 " of %" PRIu32 " messages in %s%s%s.\nType the queue's name to go on: ",
        dlq_verb_name(o->verb), o->limit < r->tally.messages ? o->limit : (int64_t)r->tally.messages,
        r->tally.messages, name, target ? " to " : "", target ? target : ", for good");
    if (!fgets(answer, sizeof answer, stdin))
        answer[0] = '\0';
    answer[strcspn(answer, "\r\n")] = '\0';
    if (strcmp(answer, name) == 0)
        return 0;
    return err_set(e, ERR_USAGE, 0, "dlq %s: '%s' was not typed: nothing was done", dlq_verb_name(o->verb),
                   name);
}

static int run_queue(struct run *r, struct err *e)
{
    const struct dlq_options *o = &r->options;
    int rc;

    if (dlq_verb_moves(o->verb) && dlq_store_hold(r->store, o->queue->name, e) != 0)
        return -1;
    if (broker_session_count(r->broker, o->queue->name, &r->tally.messages, e) != 0 || confirm(r, e) != 0)
        return -1;
    r->has_bar = o->execute && isatty(STDERR_FILENO);
    catch_signals();
    rc = take_messages(r, e);
    if (rc == 0 || r->tally.done > 0)
        dlq_write_summary(&r->out, o, &r->tally, replay_target(r->config, o), rc != 0 || is_stopped);
    if (rc == 0 && is_stopped)
        rc = err_set(e, ERR_TEMPORARY, 0, "dlq %s: stopped by a signal: run it again to go on",
                     dlq_verb_name(o->verb));
    return rc;
}

static int list_queues(struct run *r, struct err *e)
{
    uint64_t total = 0;

    for (size_t i = 0; i < DLQ_QUEUE_COUNT; i++) {
        uint32_t messages;

        if (broker_session_count(r->broker, DLQ_QUEUES[i].name, &messages, e) != 0)
            return -1;
        dlq_write_queue(&r->out, r->options.json, DLQ_QUEUES[i].name, messages);
        total += messages;
    }
    if (r->options.json)
        dlq_write_queues_summary(&r->out, total);
    return 0;
}

static bool needs_store(const struct dlq_options *o)
{
    return o->verb != DLQ_LIST || o->filter.workspace || o->filter.jid || o->filter.number[0];
}

static int run_with_servers(struct run *r, struct err *e)
{
    struct broker_settings settings = peers_broker_settings(r->config, "agwb-consumer dlq");
    int rc = -1;

    settings.max_body_bytes = BODY_MAX_BYTES;
    say_who(r->who);
    if (needs_store(&r->options)) {
        r->store = dlq_store_open(r->config, r->who, e);
        if (!r->store)
            return -1;
    }
    r->broker = broker_session_open(&settings, e);
    if (r->broker)
        rc = r->options.queue ? run_queue(r, e) : list_queues(r, e);
    broker_session_close(&r->broker); /* waits until the broker has the acks */
    dlq_store_close(&r->store);       /* only now may the next run begin */
    return rc;
}

static int check_answerable(const struct dlq_options *o, struct err *e)
{
    if (!o->execute || o->yes || isatty(STDIN_FILENO))
        return 0;
    return err_set(
        e, ERR_USAGE, 0,
        "dlq %s: --execute asks for the queue's name, and there is no terminal: add --yes, or leave "
        "--execute out to see what it would do",
        dlq_verb_name(o->verb));
}

int dlq_command(const struct config *c, int argc, char **argv, struct err *e)
{
    struct run r = {.config = c};
    int rc = -1;

    if (dlq_options_parse(argc, argv, &r.options, e) != 0)
        return -1;
    r.arena = arena_new();
    buf_init(&r.out, OUT_LIMIT);
    if (r.options.help) {
        dlq_usage_write(&r.out);
        rc = 0;
    } else if (check_answerable(&r.options, e) == 0) {
        rc = run_with_servers(&r, e);
    }
    flush_out(&r);
    buf_fini(&r.out);
    arena_free(&r.arena);
    return rc;
}
