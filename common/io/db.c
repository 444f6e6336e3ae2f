/* The life of one PostgreSQL connection and its queue of statements. Knows nothing of what the statements
 * mean.
 *
 *              ┌──────────────────────────────── lost, refused, too late ◄──────────────────┐
 *              ▼                                                                             │
 *   WAITING ──timer──► RESOLVING ──pool──► CONNECTING ──socket──► PREPARING ──socket──► UP ──┘
 *              └────── no name to look up ─────▲
 *
 * Every state has its deadline in the one timer: WAITING the next attempt, the three in the middle the end of
 * this attempt, UP the answer to the statement in flight. */
#include "io/db_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/log.h"

enum { ANSWER_GRACE_MS = 5000, STEADY_MS = 10000 };
static const struct backoff RECONNECT = {
    .delay_ms = 200, .multiplier = 2, .max_delay_ms = 10000, .jitter = 0.2};

enum db_state { DB_WAITING = 0, DB_RESOLVING, DB_CONNECTING, DB_PREPARING, DB_UP };

static const struct {
    const char *name;
    unsigned next; /* a bit for each state that may follow */
} STATES[] = {
    [DB_WAITING] = {"waiting", 1u << DB_RESOLVING | 1u << DB_CONNECTING | 1u << DB_WAITING},
    [DB_RESOLVING] = {"resolving", 1u << DB_CONNECTING | 1u << DB_WAITING},
    [DB_CONNECTING] = {"connecting", 1u << DB_PREPARING | 1u << DB_WAITING},
    [DB_PREPARING] = {"preparing", 1u << DB_UP | 1u << DB_WAITING},
    [DB_UP] = {"up", 1u << DB_WAITING},
};

/* What the owner was told last. */
enum told { TOLD_NOTHING = 0, TOLD_UP, TOLD_DOWN, TOLD_REFUSED };

struct statement {
    STAILQ_ENTRY(statement) link;
    char *sql;
    struct db_params params; /* given to libpq and emptied when it is sent */
    db_done_fn *done;
    void *arg;
};
STAILQ_HEAD(statements, statement);

/* A name lookup on the pool. Not cancellable, so it may outlive its owner. */
struct lookup {
    struct db *owner; /* NULL once the db was freed */
    struct db_hosts hosts;
    struct err why;
    bool failed;
};

struct db {
    struct loop *loop;
    struct db_settings settings;
    struct db_handlers handlers;
    void *arg;

    enum db_state state;
    enum told told;
    struct loop_timer *timer;
    int tries;     /* failed attempts in a row */
    unsigned turn; /* of the hosts, see db_connect_start */
    int64_t up_at; /* monotonic ms of the last DB_UP */
    uint64_t ups;

    struct lookup *lookup; /* on the pool, or NULL */
    PGconn *conn;
    struct loop_watch *watch;
    struct err farewell; /* the server's reason for closing, when it gave one to an idle connection */
    bool broken; /* sending failed: the timer, due at once, ends the connection outside the caller's call */

    struct statements queue;
    size_t pending;
    struct db_names names;
    bool naming;      /* what is in flight prepares the head, which is sent next */
    bool in_flight;   /* the head of the queue (in DB_PREPARING: the first script) awaits its end */
    PGresult *result; /* of it, as far as it came */

    bool busy;   /* one of our callbacks is running, and may call db_free */
    bool doomed; /* db_free was called in it */
};

static void on_timer(void *arg);
static void on_socket(void *arg, int events);

static void move(struct db *d, enum db_state to)
{
    assert(STATES[d->state].next & 1u << to);
    log_debug("database connection", log_str("from", STATES[d->state].name), log_str("to", STATES[to].name));
    d->state = to;
}

/* --- birth and death --- */
struct db *db_new(struct loop *l, const struct db_settings *s, const struct db_handlers *h, void *arg)
{
    struct db *d = xcalloc(1, sizeof *d);
    d->loop = l;
    d->settings = *s;
    d->handlers = *h;
    d->arg = arg;
    d->names.allowed = s->keeps_session;
    STAILQ_INIT(&d->queue);
    d->timer = loop_timer_new(l, on_timer, d);
    loop_timer_start(d->timer, 0);
    return d;
}

static void statement_free(struct statement *s)
{
    free(s->sql);
    db_params_fini(&s->params);
    free(s);
}

static struct statement *take_head(struct db *d)
{
    struct statement *s = STAILQ_FIRST(&d->queue);
    if (s != NULL) {
        STAILQ_REMOVE_HEAD(&d->queue, link);
        d->pending--;
    }
    return s;
}

static void disconnect(struct db *d)
{
    loop_watch_free(&d->watch); /* before libpq closes the descriptor */
    PQfinish(d->conn);
    d->conn = NULL;
    d->in_flight = false;
    d->naming = false;
    db_names_clear(&d->names);
    d->broken = false;
    d->farewell = (struct err){.class = ERR_NONE};
}

static void destroy(struct db *d)
{
    disconnect(d);
    PQclear(d->result);
    for (struct statement *s; (s = take_head(d)) != NULL;)
        statement_free(s);
    if (d->lookup != NULL)
        d->lookup->owner = NULL;
    loop_timer_free(&d->timer);
    free(d);
}

void db_free(struct db **d)
{
    if (*d == NULL)
        return;
    if ((*d)->busy)
        (*d)->doomed = true;
    else
        destroy(*d);
    *d = NULL;
}

/* Every way in from the loop stands between these two; after each handler that was called, d->doomed says
 * whether to go on. */
static void enter(struct db *d)
{
    d->busy = true;
}

static void leave(struct db *d)
{
    d->busy = false;
    if (d->doomed)
        destroy(d);
}

bool db_is_up(const struct db *d)
{
    return d->state == DB_UP;
}

size_t db_pending(const struct db *d)
{
    return d->pending;
}

uint64_t db_reconnects(const struct db *d)
{
    return d->ups > 1 ? d->ups - 1 : 0;
}

/* --- losing it --- */
/* Fails what was queued. The statement in flight may have come to an error of its own before the connection
 * broke. */
static void fail_queue(struct db *d, const struct err *why, PGresult *last)
{
    struct db_result r = {.pg = last};
    bool has_last = last != NULL && db_result_is_error(last);
    for (struct statement *s; !d->doomed && (s = take_head(d)) != NULL; has_last = false) {
        struct err e = *why;
        if (has_last)
            db_result_error(last, &e);
        s->done(s->arg, has_last ? &r : NULL, &e);
        statement_free(s);
    }
    PQclear(last);
}

/* Once for each loss; a refusal is worth telling even when the owner knows that the connection is down. */
static void tell_lost(struct db *d, const struct err *why)
{
    if (why->class == ERR_CONFIG && d->told != TOLD_REFUSED) {
        d->told = TOLD_REFUSED;
        if (d->handlers.on_refused != NULL)
            d->handlers.on_refused(d->arg, why);
    } else if (d->told == TOLD_NOTHING || d->told == TOLD_UP) {
        d->told = TOLD_DOWN;
        if (d->handlers.on_down != NULL)
            d->handlers.on_down(d->arg, why);
    }
}

/* Ends the connection or the attempt, and arms the next one. `why`: ERR_CONFIG = refused, ERR_TEMPORARY =
 * lost or not reached. */
static void lose(struct db *d, const struct err *why)
{
    if (d->state == DB_UP && loop_now_ms(d->loop) - d->up_at >= STEADY_MS)
        d->tries = 0;
    d->tries++;
    bool was_up = d->state == DB_UP;
    PGresult *last = d->result;
    d->result = NULL;
    disconnect(d);
    move(d, DB_WAITING);
    int64_t wait_ms = backoff_jittered_ms(&RECONNECT, d->tries, random_u64());
    loop_timer_start(d->timer, wait_ms);
    log_debug("database connection failed", log_str("error", why->text), log_int("retry_ms", wait_ms));

    if (was_up)
        fail_queue(d, why, last);
    else
        PQclear(last);
    if (!d->doomed)
        tell_lost(d, why);
}

/* --- statements --- */
/* Not in the call of someone else: from the timer, which fires in the next turn. */
static void lose_soon(struct db *d)
{
    d->broken = true;
    loop_timer_start(d->timer, 0);
}

static void flush(struct db *d)
{
    int rc = PQflush(d->conn);
    if (rc < 0)
        lose_soon(d);
    else
        loop_watch_set(d->watch, rc == 1 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void send_next(struct db *d)
{
    struct statement *s = STAILQ_FIRST(&d->queue);
    loop_timer_stop(d->timer);
    if (s == NULL)
        return;
    if (!db_names_send(&d->names, d->conn, s->sql, &s->params, &d->naming)) {
        lose_soon(d);
        return;
    }
    d->in_flight = true;
    if (!d->names.allowed) /* else it may have to be sent again */
        db_params_fini(&s->params);
    /* The server's own timeout comes first; silence beyond it means that the connection is half-open. */
    if (d->settings.statement_timeout_ms > 0)
        loop_timer_start(d->timer, d->settings.statement_timeout_ms + ANSWER_GRACE_MS);
    flush(d);
}

int db_query(struct db *d, const char *sql, const struct db_params *p, db_done_fn *done, void *arg)
{
    if (d->state != DB_UP || d->broken || d->doomed)
        return -1;
    if (p != NULL && (p->bytes.failed || p->array_at != 0)) {
        log_error("statement not sent: its parameters are unusable or too large", log_str("statement", sql));
        return -1;
    }
    struct statement *s = xcalloc(1, sizeof *s);
    s->sql = xstrdup(sql);
    db_params_copy(&s->params, p);
    s->done = done;
    s->arg = arg;
    STAILQ_INSERT_TAIL(&d->queue, s, link);
    d->pending++;
    if (!d->in_flight)
        send_next(d);
    return 0;
}

/* The statement in flight is over: only now, after the server's ReadyForQuery, is it known to be committed.
 */
static void complete(struct db *d)
{
    struct db_result r = {.pg = d->result};
    struct err e = {.class = ERR_NONE};
    d->result = NULL;
    d->in_flight = false;
    d->naming = false;
    if (db_result_is_error(r.pg) && db_names_failed(&d->names, db_sqlstate(&r))) {
        PQclear(r.pg);
        send_next(d); /* the same one once more, as it is: it was not run */
        return;
    }
    struct statement *s = take_head(d);
    if (db_result_is_error(r.pg))
        db_result_error(r.pg, &e);
    send_next(d); /* first, so that the server works while the owner does */
    s->done(s->arg, &r, e.class == ERR_NONE ? NULL : &e);
    statement_free(s);
    PQclear(r.pg);
}

/* The head is prepared, and sent now. */
static void named(struct db *d)
{
    if (db_result_is_error(d->result)) {
        complete(d);
        return;
    }
    struct statement *s = STAILQ_FIRST(&d->queue);
    db_names_add(&d->names, s->sql, &s->params);
    PQclear(d->result);
    d->result = NULL;
    d->in_flight = false;
    d->naming = false;
    send_next(d);
}

/* The first script is over: the connection is the owner's. */
static void prepared(struct db *d)
{
    struct err e = {.class = ERR_NONE};
    if (db_result_is_error(d->result)) {
        db_result_error(d->result, &e);
        if (e.class != ERR_TEMPORARY)
            e.class = ERR_CONFIG;
        lose(d, &e);
        return;
    }
    PQclear(d->result);
    d->result = NULL;
    d->in_flight = false;
    loop_timer_stop(d->timer);
    d->up_at = loop_now_ms(d->loop);
    d->ups++;
    d->told = TOLD_UP;
    move(d, DB_UP);
    if (d->handlers.on_up != NULL)
        d->handlers.on_up(d->arg);
}

/* Keeps the first error, else the last result: a commit can fail after the rows have come. */
static void keep_result(struct db *d, PGresult *r)
{
    if (d->result != NULL && db_result_is_error(d->result)) {
        PQclear(r);
        return;
    }
    PQclear(d->result);
    d->result = r;
}

static bool is_copy(const PGresult *r)
{
    ExecStatusType status = PQresultStatus(r);
    return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

/* Takes what libpq has parsed. Returns false when the connection is gone, or the db. */
static bool read_results(struct db *d)
{
    while (d->in_flight && !PQisBusy(d->conn)) {
        PGresult *r = PQgetResult(d->conn);
        if (r != NULL && is_copy(r)) { /* libpq would repeat this result for ever */
            struct err e = {.class = ERR_NONE};
            err_set(&e, ERR_TEMPORARY, 0, "COPY is not served here");
            keep_result(d, r);
            lose(d, &e);
            return false;
        }
        if (r != NULL)
            keep_result(d, r);
        else if (d->state == DB_PREPARING)
            prepared(d);
        else if (d->naming)
            named(d);
        else
            complete(d);
        if (d->doomed || d->conn == NULL)
            return false;
    }
    return true;
}

static bool take_notifications(struct db *d)
{
    bool any = false;
    for (PGnotify *n; (n = PQnotifies(d->conn)) != NULL; any = true)
        PQfreemem(n);
    return any;
}

static void read_socket(struct db *d)
{
    bool alive = PQconsumeInput(d->conn) != 0, idle = !d->in_flight;
    if (!read_results(d))
        return;
    /* Before DB_UP they mean nothing: on_up makes the owner look anyway. */
    if (take_notifications(d) && d->state == DB_UP && d->handlers.on_notify != NULL)
        d->handlers.on_notify(d->arg, idle);
    if (d->doomed)
        return;
    if (!alive || PQstatus(d->conn) == CONNECTION_BAD) {
        struct err e = d->farewell;
        if (e.class == ERR_NONE)
            db_lost_error(d->conn, &e);
        e.class = ERR_TEMPORARY;
        lose(d, &e);
    }
}

/* An idle connection gets its end as a notice ("terminating connection due to administrator command"). */
static void on_notice(void *arg, const PGresult *notice)
{
    struct db *d = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        db_result_error(notice, &d->farewell);
}

/* --- connecting --- */
static void prepare(struct db *d)
{
    struct buf sql;
    buf_init(&sql, 4096);
    db_setup_script(&d->settings, d->conn, &sql);
    move(d, DB_PREPARING);
    PQsetNoticeReceiver(d->conn, on_notice, d);
    d->watch = loop_watch_new(d->loop, PQsocket(d->conn), on_socket, d);
    if (PQsetnonblocking(d->conn, 1) == 0 && PQsendQuery(d->conn, buf_str(&sql))) {
        d->in_flight = true;
        flush(d);
    } else {
        lose_soon(d);
    }
    buf_fini(&sql);
}

static void fail_attempt(struct db *d)
{
    struct err e = {.class = ERR_NONE};
    db_connect_error(d->conn, &e);
    lose(d, &e);
}

static void watch_attempt(struct db *d, int events)
{
    d->watch = loop_watch_new(d->loop, PQsocket(d->conn), on_socket, d);
    loop_watch_set(d->watch, events);
}

static void connect_step(struct db *d)
{
    loop_watch_free(
        &d->watch); /* libpq may close this descriptor now and open another one for the next host */
    switch (PQconnectPoll(d->conn)) {
    case PGRES_POLLING_READING:
        watch_attempt(d, LOOP_READ);
        break;
    case PGRES_POLLING_WRITING:
        watch_attempt(d, LOOP_WRITE);
        break;
    case PGRES_POLLING_OK:
        prepare(d);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE: /* no longer made by libpq */
        fail_attempt(d);
        break;
    }
}

static void connect_to(struct db *d, const struct db_hosts *hosts)
{
    move(d, DB_CONNECTING);
    d->conn = db_connect_start(&d->settings, hosts, d->turn);
    if (PQstatus(d->conn) == CONNECTION_BAD)
        fail_attempt(d);
    else
        watch_attempt(d, LOOP_WRITE); /* as if PQconnectPoll had said so: libpq's manual, 34.1 */
}

static void run_lookup(void *arg)
{
    struct lookup *k = arg;
    k->failed = db_hosts_lookup(&k->hosts, &k->why) != 0;
}

static void on_lookup(void *arg)
{
    struct lookup *k = arg;
    struct db *d = k->owner;
    if (d != NULL) {
        enter(d);
        d->lookup = NULL;
        if (d->state == DB_RESOLVING && k->failed)
            lose(d, &k->why);
        else if (d->state == DB_RESOLVING)
            connect_to(d, &k->hosts);
        leave(d);
    }
    free(k);
}

/* A lookup that outlived its attempt serves the next one: hung name servers must not fill the pool. */
static void look_up(struct db *d, const struct db_hosts *hosts)
{
    move(d, DB_RESOLVING);
    if (d->lookup != NULL)
        return;
    d->lookup = xcalloc(1, sizeof *d->lookup);
    d->lookup->owner = d;
    d->lookup->hosts = *hosts;
    loop_work(d->loop, run_lookup, on_lookup, d->lookup);
}

static void attempt(struct db *d)
{
    struct err e = {.class = ERR_NONE};
    struct db_hosts hosts;
    loop_timer_start(d->timer, d->settings.connect_timeout_ms);
    if (db_hosts_parse(d->settings.url, &hosts, &e) != 0)
        lose(d, &e);
    else if (db_hosts_need_lookup(&hosts))
        look_up(d, &hosts);
    else
        connect_to(d, &hosts);
}

/* --- the loop's calls --- */
static void lose_late(struct db *d)
{
    struct err e = {.class = ERR_NONE};
    if (d->broken)
        db_lost_error(d->conn, &e);
    else if (d->state == DB_UP)
        err_set(&e, ERR_TEMPORARY, 0, "no answer to a statement within %" PRId64 " ms",
                d->settings.statement_timeout_ms + ANSWER_GRACE_MS);
    else
        err_set(&e, ERR_TEMPORARY, 0, "no database connection within %" PRId64 " ms (%s)",
                d->settings.connect_timeout_ms, STATES[d->state].name);
    if (d->state != DB_UP)
        d->turn++; /* the silent host comes last next time */
    lose(d, &e);
}

static void on_timer(void *arg)
{
    struct db *d = arg;
    enter(d);
    if (d->state == DB_WAITING)
        attempt(d);
    else
        lose_late(d);
    leave(d);
}

static void on_socket(void *arg, int events)
{
    struct db *d = arg;
    enter(d);
    if (d->state == DB_CONNECTING) {
        connect_step(d);
    } else {
        if (events & LOOP_WRITE)
            flush(d);
        if (events & LOOP_READ)
            read_socket(d);
    }
    leave(d);
}
