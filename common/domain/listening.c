/* See listening.h. One that arrives while a statement is in flight proves nothing: a pooler passes it on as
 * long as the listener has a server, and by chance the one that listens. */
#include "domain/listening.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"

enum { FIRST_MS = 500, LONGEST_MS = 4000, SILENT_TWICE = 2 };

struct listening {
    struct listening_deps deps;
    struct loop_timer *timer;
    int64_t wait_ms; /* the timer's, longer each time */
    bool sent;       /* in this round, and committed */
    bool heard;      /* any, in this round */
    int silent;      /* rounds in a row */
    bool told;
};

static void on_sent(void *arg, const struct db_result *r, const struct err *e)
{
    struct listening *l = arg;

    (void)r;
    l->sent = e == NULL;
}

static void send_one(struct listening *l)
{
    struct db_params p;

    db_params_init(&p);
    db_param_text(&p, l->deps.channel);
    if (db_is_up(l->deps.listener) &&
        db_query(l->deps.sender, "select pg_notify($1, '')", &p, on_sent, l) != 0)
        log_debug("no notification sent, the connection is not up", log_str("channel", l->deps.channel));
    db_params_fini(&p);
}

static void tell(struct listening *l)
{
    l->told = true;
    log_warn("notifications do not arrive, work is found by polling", log_str("channel", l->deps.channel),
             log_int("poll_interval_ms", l->deps.poll_interval_ms),
             log_str("remedy", "connect directly or to a session pooler, or set database.listen = false"));
}

static void on_timer(void *arg)
{
    struct listening *l = arg;

    bool was_free = db_pending(l->deps.listener) == 0; /* else it may not have come to it */

    if (l->sent && !l->heard && was_free && ++l->silent == SILENT_TWICE) {
        tell(l);
        return;
    }
    l->sent = l->heard = false;
    l->wait_ms = l->wait_ms * 2 < LONGEST_MS ? l->wait_ms * 2 : LONGEST_MS;
    loop_timer_start(l->timer, l->wait_ms);
    send_one(l);
}

struct listening *listening_new(const struct listening_deps *deps)
{
    struct listening *l = xcalloc(1, sizeof *l);

    l->deps = *deps;
    l->timer = loop_timer_new(deps->loop, on_timer, l);
    return l;
}

void listening_free(struct listening **l)
{
    if (!*l)
        return;
    loop_timer_free(&(*l)->timer);
    free(*l);
    *l = NULL;
}

void listening_up(struct listening *l)
{
    if (!l || l->told)
        return;
    l->sent = l->heard = false;
    l->silent = 0;
    l->wait_ms = FIRST_MS;
    loop_timer_start(l->timer, l->wait_ms);
}

void listening_heard(struct listening *l, bool idle)
{
    if (!l)
        return;
    l->heard = true;
    l->silent = 0;
    if (!idle || !loop_timer_is_active(l->timer))
        return;
    loop_timer_stop(l->timer);
    log_debug("notifications arrive", log_str("channel", l->deps.channel));
}
