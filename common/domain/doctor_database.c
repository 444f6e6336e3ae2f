/* The database as the daemons need it: login, schema, notifications, clock, nothing that holds up the vacuum.
 */
#include "domain/doctor_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/peers.h"
#include "domain/schema.h"

enum { NOTIFY_TIMEOUT_MS = 3000, SKEW_MAX_MS = 2000, SNAPSHOT_MAX_S = 300 };

static struct db_session *open_session(struct doctor *d, const struct config *c)
{
    struct db_settings settings = peers_db_settings(c, "agwb doctor");
    struct err e = {0};
    struct db_session *db = db_session_open(&settings, &e);

    if (!db)
        doctor_fail(d, "database",
                    e.class == ERR_CONFIG ? "check database.url" : "is it running, and database.url right?",
                    &e);
    return db;
}

static void look_at_server(struct doctor *d, struct db_session *db)
{
    struct err e = {0};
    struct db_result *r = db_session_query(
        db,
        "select current_setting('server_version'), current_user, coalesce(s.ssl, false), coalesce(s.version, "
        "''), "
        "inet_server_addr() is null or inet_server_addr() << '127.0.0.0/8' or inet_server_addr() = '::1', "
        "pg_is_in_recovery() from (select 1) one left join pg_stat_ssl s on s.pid = pg_backend_pid()",
        NULL, &e);

    if (!r) {
        doctor_fail(d, "database", NULL, &e);
        return;
    }
    if (db_bool(r, 0, 5)) {
        (void)err_set(&e, ERR_CONFIG, 0, "this server is a standby: nothing can be written");
        doctor_fail(d, "database", "name the primary, or add target_session_attrs=read-write to database.url",
                    &e);
    } else if (!db_bool(r, 0, 2) && !db_bool(r, 0, 4)) {
        doctor_warn(d, "database", "add sslmode=verify-full to database.url",
                    "password and messages go to PostgreSQL %s in clear text", db_text(r, 0, 0));
    } else {
        doctor_ok(d, "database", "PostgreSQL %s lets %s in%s%s", db_text(r, 0, 0), db_text(r, 0, 1),
                  db_bool(r, 0, 2) ? ", " : "", db_text(r, 0, 3));
    }
    db_result_free(&r);
}

static void look_at_schema(struct doctor *d, struct db_session *db)
{
    struct err e = {0};
    struct db_result *r =
        db_session_query(db, "select coalesce(max(version), 0) from agwb.schema_version", NULL, &e);
    int64_t version = r ? db_int(r, 0, 0) : 0;

    db_result_free(&r);
    if (e.class == ERR_NONE && version < SCHEMA_VERSION)
        (void)err_set(&e, ERR_CONFIG, 0, "version %" PRId64 ", this program needs %d", version,
                      SCHEMA_VERSION);
    if (e.class != ERR_NONE)
        doctor_fail(d, "schema",
                    strstr(e.text, "(42501)")
                        ? "make the role a member of agwb_publisher or agwb_consumer (roles.sql)"
                        : "agwb-publisher migrate",
                    &e);
    else if (version > SCHEMA_VERSION)
        doctor_warn(d, "schema", "upgrade this program", "version %" PRId64 ", this program knows %d",
                    version, SCHEMA_VERSION);
    else
        doctor_ok(d, "schema", "version %" PRId64, version);
}

/* Two sessions: behind a transaction pooler the one that listens has no server of its own while it waits. */
static int notify_round_trip(const struct config *c, struct db_session *db, struct err *e)
{
    struct db_settings settings = peers_db_settings(c, "agwb doctor listens");
    struct db_session *listener = db_session_open(&settings, e);
    int rc = -1;

    if (listener && db_session_script(listener, "listen agwb_doctor", e) == 0 &&
        db_session_script(db, "notify agwb_doctor", e) == 0)
        rc = db_session_wait(listener, NOTIFY_TIMEOUT_MS, e);
    db_session_close(&listener);
    return rc;
}

static void look_at_listen(struct doctor *d, const struct config *c, struct db_session *db)
{
    struct err e = {0};
    int rc = notify_round_trip(c, db, &e);

    if (rc < 0) {
        doctor_fail(d, "listen", NULL, &e);
    } else if (rc == 1) {
        doctor_ok(d, "listen",
                  c->database.listen
                      ? "a notification arrives"
                      : "off, though a notification arrives: database.listen = true wakes at once");
    } else if (!c->database.listen) {
        doctor_ok(d, "listen", "off: work is found every %" PRId64 " ms", c->database.poll_interval_ms);
    } else {
        (void)err_set(&e, ERR_CONFIG, 0, "no notification within %d ms: this is a transaction pooler",
                      NOTIFY_TIMEOUT_MS);
        doctor_fail(d, "listen", "connect directly or to a session pooler, or set database.listen = false",
                    &e);
    }
}

static void look_at_clock(struct doctor *d, struct db_session *db)
{
    struct err e = {0};
    int64_t before = clock_wall_ms();
    struct db_result *r =
        db_session_query(db, "select (extract(epoch from clock_timestamp()) * 1000)::bigint", NULL, &e);
    int64_t after = clock_wall_ms();

    if (!r) {
        doctor_fail(d, "clock", NULL, &e);
        return;
    }
    int64_t skew = db_int(r, 0, 0) - (before + after) / 2, slack = (after - before) / 2;
    if (llabs(skew) > SKEW_MAX_MS + slack)
        doctor_warn(d, "clock", "let both machines keep time (chrony, systemd-timesyncd)",
                    "the database's clock is %" PRId64 " ms %s ours", (int64_t)llabs(skew),
                    skew > 0 ? "ahead of" : "behind");
    else
        doctor_ok(d, "clock", "within %" PRId64 " ms of the database's", (int64_t)llabs(skew) + slack);
    db_result_free(&r);
}

/* What keeps the vacuum from dead rows makes the hot tables slow: an old transaction, a prepared one, a
 * replication slot. */
static const char SNAPSHOT_SQL[] =
    "select what, seconds from ("
    "select 'session ' || pid || ' (' || coalesce(nullif(application_name, ''), usename::text, '?') || ', ' "
    "|| "
    "coalesce(state, '?') || ')' as what, extract(epoch from now() - xact_start)::bigint as seconds "
    "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and xact_start is "
    "not null "
    "and backend_type = 'client backend' union all "
    "select 'prepared transaction ' || gid, extract(epoch from now() - prepared)::bigint from "
    "pg_prepared_xacts "
    "where database = current_database()) x order by seconds desc limit 1";

static void look_at_snapshots(struct doctor *d, struct db_session *db)
{
    struct err e = {0};
    struct db_result *r = db_session_query(db, SNAPSHOT_SQL, NULL, &e);

    if (!r) {
        doctor_fail(d, "transactions", NULL, &e);
        return;
    }
    if (db_rows(r) > 0 && db_int(r, 0, 1) > SNAPSHOT_MAX_S)
        doctor_warn(d, "transactions",
                    "end it (select pg_terminate_backend(PID)): tables grow and slow down meanwhile",
                    "%s has been open for %" PRId64 " s", db_text(r, 0, 0), db_int(r, 0, 1));
    else
        doctor_ok(d, "transactions", "none is older than %d s", SNAPSHOT_MAX_S);
    db_result_free(&r);
}

void doctor_look_at_database(struct doctor *d, const struct config *c)
{
    struct db_session *db = open_session(d, c);

    if (!db)
        return;
    look_at_server(d, db);
    look_at_schema(d, db);
    look_at_listen(d, c, db);
    look_at_clock(d, db);
    look_at_snapshots(d, db);
    db_session_close(&db);
}
