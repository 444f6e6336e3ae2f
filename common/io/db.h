/* One PostgreSQL connection that keeps itself alive (asynchronous connect, backoff, keepalives) and runs
 * one statement after the other from a short queue. The only module that includes libpq-fe.h. Parameters
 * only; statements are calls of schema agwb's functions.
 *
 * Callbacks run in the read phase of a turn, never inside a call into this module. Results are borrowed
 * until the callback returns. */
#ifndef AGWB_IO_DB_H
#define AGWB_IO_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"

struct db;
struct db_result;

struct db_settings {              /* strings borrowed for the db's life */
    const char *url;              /* libpq URL or key=value string */
    int64_t connect_timeout_ms;   /* whole connect, all hosts */
    int64_t statement_timeout_ms; /* set on the session; 0 = none */
    const char *application_name;
    const char *listen_channel; /* LISTEN after each connect, or NULL */
    bool keeps_session;         /* no pooler in between that changes servers: statements may be prepared */
};

struct db_handlers {
    void (*on_up)(
        void *arg); /* connected (and listening); what happened while away was not notified: sweep now */
    /* Lost or not reached; reconnecting by itself. Statements in flight or queued were failed before, with
     * ERR_TEMPORARY. */
    void (*on_down)(void *arg, const struct err *why);
    /* Refused in a way that trying again won't mend: wrong password, unknown database or role, missing
     * schema (ERR_CONFIG). Goes on trying. */
    void (*on_refused)(void *arg, const struct err *why);
    /* One or more notifications arrived; folded per read. idle: no statement was in flight, which a pooler in
     * transaction mode does not let happen. */
    void (*on_notify)(void *arg, bool idle);
};

struct db *db_new(struct loop *l, const struct db_settings *s, const struct db_handlers *h, void *arg);
void db_free(struct db **d); /* pending callbacks are dropped without being called */
bool db_is_up(const struct db *d);
size_t db_pending(const struct db *d); /* statements queued or in flight */
uint64_t db_reconnects(const struct db *d);

/* --- parameters --- */
enum { DB_MAX_PARAMS = 32 };
enum db_type {
    DB_TEXT = 25,
    DB_BYTEA = 17,
    DB_UUID = 2950,
    DB_INT4 = 23,
    DB_INT8 = 20,
    DB_BOOL = 16,
    DB_FLOAT8 = 701
};

/* Parameters are written in binary into one buffer; arrays are one-dimensional. A params value is reused
 * after db_params_clear. */
struct db_params {
    struct buf bytes;
    struct {
        uint32_t oid;
        size_t offset;
        int32_t len; /* -1 = NULL */
    } at[DB_MAX_PARAMS];
    int count;
    size_t array_at; /* where the open array's items begin; 0 = none open */
    int32_t array_items;
};
void db_params_init(struct db_params *p);
void db_params_fini(struct db_params *p);
void db_params_clear(struct db_params *p);
void db_param_text(struct db_params *p, const char *s); /* NULL = SQL NULL */
void db_param_int4(struct db_params *p, int32_t v);
void db_param_int8(struct db_params *p, int64_t v);
void db_param_bool(struct db_params *p, bool v);
void db_param_float8(struct db_params *p, double v);
void db_param_null(struct db_params *p, enum db_type type);
/* An array: begin, items of its type, end. An item of another type is our bug. db_item_text serves DB_TEXT
 * and DB_UUID (36 characters). */
void db_array_begin(struct db_params *p, enum db_type item);
void db_item_null(struct db_params *p);
void db_item_text(struct db_params *p, const char *s, size_t len); /* NULL = SQL NULL */
void db_item_bytes(struct db_params *p, const void *bytes, size_t len);
void db_item_int4(struct db_params *p, int32_t v);
void db_item_int8(struct db_params *p, int64_t v);
void db_item_bool(struct db_params *p, bool v);
void db_item_float8(struct db_params *p, double v);
void db_array_end(struct db_params *p);

/* --- statements --- */
/* Called once for each db_query that returned 0: with rows, or with e (class ERR_TEMPORARY: lost
 * connection, timeouts, serialization, deadlock, shutdown; ERR_CONFIG: missing function or rights;
 * ERR_DATA: SQLSTATE 22, 23, P0001; ERR_BUG: other) and r for the SQLSTATE, or r NULL. */
typedef void db_done_fn(void *arg, const struct db_result *r, const struct err *e);

/* Queues one statement; params (may be NULL) are copied. -1 when the connection is not up (then nothing is
 * called back). */
int db_query(struct db *d, const char *sql, const struct db_params *p, db_done_fn *done,
             void *arg) MUST_CHECK;

size_t db_rows(const struct db_result *r);
bool db_is_null(const struct db_result *r, size_t row, int col);
const char *db_text_or_null(const struct db_result *r, size_t row, int col); /* NULL = SQL NULL */
const char *db_text(const struct db_result *r, size_t row, int col);         /* "" for NULL; text form */
size_t db_text_len(const struct db_result *r, size_t row, int col);
int64_t db_int(const struct db_result *r, size_t row, int col); /* 0 for NULL */
double db_real(const struct db_result *r, size_t row, int col);
bool db_bool(const struct db_result *r, size_t row, int col);
const char *db_sqlstate(const struct db_result *r);         /* "" on success */
int db_column(const struct db_result *r, const char *name); /* -1 when absent */

/* --- one-shot use (migrate, trace, stats, dlq): blocking, no loop --- */
struct db_session;
struct db_session *db_session_open(const struct db_settings *s, struct err *e);
void db_session_close(struct db_session **ds);
/* One statement; the result is the caller's until db_result_free. NULL and err on failure. */
struct db_result *db_session_query(struct db_session *ds, const char *sql, const struct db_params *p,
                                   struct err *e);
void db_result_free(struct db_result **r);
/* Waits for a notification of a channel that a LISTEN of this session named: 1, or 0 when none came in time;
 * -1 and err. */
int db_session_wait(struct db_session *ds, int64_t timeout_ms, struct err *e) MUST_CHECK;
/* A script of several statements without parameters or results (simple protocol, one implicit transaction
 * unless it says BEGIN itself). */
int db_session_script(struct db_session *ds, const char *sql, struct err *e) MUST_CHECK;

#endif
