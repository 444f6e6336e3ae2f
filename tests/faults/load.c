/* The load: questions of many contacts, each with an id of its own, asked again until the database has
 * confirmed them. It runs as a process of its own, so that a fault that is waited for does not stop it. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "faults.h"

enum { TICK_MS = 100 };

static volatile sig_atomic_t stopped;

static void on_term(int signo)
{
    (void)signo;
    stopped = 1;
}

void helper_begin(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, on_term);
}

bool helper_is_stopped(void)
{
    return stopped;
}

bool commit_for_certain(struct db_session **s, const char *url, const char *sql,
                        const struct db_params *params)
{
    struct db_settings settings = {.url = url, .connect_timeout_ms = 2000, .application_name = "load"};

    while (!stopped) {
        struct err e = {.class = ERR_NONE};
        if (*s == NULL)
            *s = db_session_open(&settings, &e);
        struct db_result *r = *s != NULL ? db_session_query(*s, sql, params, &e) : NULL;
        if (r != NULL) {
            db_result_free(&r);
            return true;
        }
        if (e.class != ERR_TEMPORARY && e.class != ERR_UNAVAILABLE) {
            fprintf(stderr, "load: %s\n", e.text);
            _exit(1);
        }
        db_session_close(s);
        poll(NULL, 0, 50);
    }
    return false;
}

/* In the child. A statement asks at most one question of each contact. */
static void run(const struct world *w, int rate, int64_t count)
{
    struct db_session *s = NULL;
    int64_t next = 1, start_at = clock_mono_ms();
    char sql[256];

    while (!stopped && (count == 0 || next <= count)) {
        int64_t due = rate > 0 ? (clock_mono_ms() - start_at) * rate / 1000 + 1 : INT64_MAX;
        int64_t batch = w->settings.contacts;
        if (rate > 0 && due - next < batch)
            batch = due - next;
        if (count > 0 && count - next + 1 < batch)
            batch = count - next + 1;
        if (batch <= 0) {
            poll(NULL, 0, TICK_MS);
            continue;
        }
        snprintf(sql, sizeof sql, "select faults.%s(%lld, %lld, %d, %s)",
                 w->settings.both_ways ? "ask_by_webhook" : "ask", (long long)next,
                 (long long)(next + batch - 1), w->settings.contacts, w->settings.mixed ? "true" : "false");
        if (!commit_for_certain(&s, w->url, sql, NULL))
            break;
        next += batch;
        if (rate > 0)
            poll(NULL, 0, TICK_MS);
    }
    db_session_close(&s);
}

void world_load(struct world *w, int rate, int64_t count)
{
    struct process *p = &w->loader;

    *p = (struct process){0};
    fflush(NULL);
    p->pid = fork();
    if (p->pid != 0)
        return;
    helper_begin();
    run(w, rate, count);
    _exit(0);
}

void world_load_stop(struct world *w)
{
    if (process_has_ended(&w->loader))
        return;
    process_end(&w->loader);
}

void world_load_wait(struct world *w)
{
    struct wait patience = wait_begin("the load is asked");

    while (!process_has_ended(&w->loader)) {
        world_tend(w);
        wait_turn(&patience);
    }
    if (w->loader.status != 0)
        fail_msg("the load ended with status %d", w->loader.status);
}
