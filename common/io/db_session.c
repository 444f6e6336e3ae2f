/* One-shot use for commands that run and end: a blocking connection without a loop. */
#include "io/db_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"

struct db_session {
    PGconn *conn;
};

/* Waits until libpq may go on; -1 when the deadline has passed. */
static int wait_socket(PGconn *conn, PostgresPollingStatusType wanted, int64_t deadline_at)
{
    struct pollfd fd = {.fd = PQsocket(conn), .events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT};
    for (;;) {
        int64_t left_ms = deadline_at - clock_mono_ms();
        int ready = left_ms <= 0 ? 0 : poll(&fd, 1, (int)(left_ms < 60000 ? left_ms : 60000));
        if (ready > 0)
            return 0;
        if (left_ms <= 0 || (ready < 0 && errno != EINTR))
            return -1;
    }
}

/* One attempt. On failure `conn` is closed and *late says whether it was for the deadline. */
static PGconn *connect_once(const struct db_settings *s, const struct db_hosts *hosts, unsigned turn,
                            bool *late, struct err *e)
{
    int64_t deadline_at = clock_mono_ms() + s->connect_timeout_ms;
    PGconn *conn = db_connect_start(s, hosts, turn);
    PostgresPollingStatusType step =
        PQstatus(conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    *late = false;
    while (step == PGRES_POLLING_READING || step == PGRES_POLLING_WRITING) {
        if (wait_socket(conn, step, deadline_at) != 0) {
            err_set(e, ERR_UNAVAILABLE, 0, "no database connection within %lld ms",
                    (long long)s->connect_timeout_ms);
            *late = true;
            PQfinish(conn);
            return NULL;
        }
        step = PQconnectPoll(conn);
    }
    if (step == PGRES_POLLING_OK)
        return conn;
    struct err why = {.class = ERR_NONE};
    db_connect_error(conn, &why);
    err_set(e, why.class == ERR_CONFIG ? ERR_CONFIG : ERR_UNAVAILABLE, 0, "%s", why.text);
    PQfinish(conn);
    return NULL;
}

/* A silent host takes a whole attempt, so the others get theirs. */
static PGconn *connect_any(const struct db_settings *s, const struct db_hosts *hosts, struct err *e)
{
    bool late = true;
    PGconn *conn = NULL;
    for (int turn = 0; conn == NULL && late && (turn == 0 || turn < hosts->count); turn++)
        conn = connect_once(s, hosts, (unsigned)turn, &late, e);
    return conn;
}

static int set_up(struct db_session *ds, const struct db_settings *s, struct err *e)
{
    struct db_settings quiet = *s;
    quiet.listen_channel = NULL; /* nothing here would read the notifications */
    struct buf sql;
    buf_init(&sql, 4096);
    db_setup_script(&quiet, ds->conn, &sql);
    int rc = db_session_script(ds, buf_str(&sql), e);
    buf_fini(&sql);
    return rc;
}

struct db_session *db_session_open(const struct db_settings *s, struct err *e)
{
    struct db_hosts hosts;
    struct err why = {.class = ERR_NONE};
    if (db_hosts_parse(s->url, &hosts, e) != 0)
        return NULL;
    if (db_hosts_need_lookup(&hosts) && db_hosts_lookup(&hosts, &why) != 0) {
        err_set(e, ERR_UNAVAILABLE, 0, "%s", why.text);
        return NULL;
    }
    PGconn *conn = connect_any(s, &hosts, e);
    if (conn == NULL)
        return NULL;
    struct db_session *ds = xcalloc(1, sizeof *ds);
    ds->conn = conn;
    if (set_up(ds, s, e) != 0)
        db_session_close(&ds);
    return ds;
}

void db_session_close(struct db_session **ds)
{
    if (*ds == NULL)
        return;
    PQfinish((*ds)->conn);
    free(*ds);
    *ds = NULL;
}

/* 0, or -1 and the error of a statement that libpq has brought to its end. */
static int check(const struct db_session *ds, const PGresult *pg, struct err *e)
{
    if (pg == NULL) {
        db_lost_error(ds->conn, e);
        return -1;
    }
    if (!db_result_is_error(pg))
        return 0;
    db_result_error(pg, e);
    return -1;
}

struct db_result *db_session_query(struct db_session *ds, const char *sql, const struct db_params *p,
                                   struct err *e)
{
    if (p != NULL && (p->bytes.failed || p->array_at != 0)) {
        err_set(e, ERR_BUG, 0, "the statement's parameters are unusable or too large");
        return NULL;
    }
    struct db_wire w;
    db_params_wire(p, &w);
    PGresult *pg = PQexecParams(ds->conn, sql, w.count, w.types, w.values, w.lengths, w.formats, 0);
    if (check(ds, pg, e) != 0) {
        PQclear(pg);
        return NULL;
    }
    struct db_result *r = xcalloc(1, sizeof *r);
    r->pg = pg;
    return r;
}

int db_session_script(struct db_session *ds, const char *sql, struct err *e)
{
    PGresult *pg = PQexec(ds->conn, sql);
    int rc = check(ds, pg, e);
    PQclear(pg);
    return rc;
}

int db_session_wait(struct db_session *ds, int64_t timeout_ms, struct err *e)
{
    int64_t deadline_at = clock_mono_ms() + timeout_ms;
    for (;;) {
        if (PQconsumeInput(ds->conn) == 0) {
            db_lost_error(ds->conn, e);
            return -1;
        }
        PGnotify *n = PQnotifies(ds->conn);
        PQfreemem(n);
        if (n != NULL)
            return 1;
        if (wait_socket(ds->conn, PGRES_POLLING_READING, deadline_at) != 0)
            return 0;
    }
}
