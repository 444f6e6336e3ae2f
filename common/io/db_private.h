/* What the files of module db share. Nobody else includes this (nor libpq-fe.h), but for the module's own
 * tests. */
#ifndef AGWB_IO_DB_PRIVATE_H
#define AGWB_IO_DB_PRIVATE_H

#include <libpq-fe.h>

#include "io/db.h"

struct db_result {
    PGresult *pg;
};

/* --- db_params.c --- */
/* Parameters as libpq wants them; the values are borrowed from the db_params. */
struct db_wire {
    int count;
    Oid types[DB_MAX_PARAMS];
    const char *values[DB_MAX_PARAMS];
    int lengths[DB_MAX_PARAMS];
    int formats[DB_MAX_PARAMS];
};
void db_params_wire(const struct db_params *p, struct db_wire *w); /* p NULL = none */
void db_params_copy(struct db_params *to,
                    const struct db_params *from); /* `to` is not initialised; from NULL = none */

/* --- db_names.c --- */
enum { DB_MAX_NAMES = 32 };

struct db_names { /* zeroed at first */
    bool allowed;
    size_t count;
    uint64_t at[DB_MAX_NAMES]; /* the statements' digests */
};
/* Sends the statement by its name if it has one, else (naming) prepares it, else sends it as it is. False:
 * the connection is broken. Prepared, it gets its name by db_names_add, and is sent again. */
bool db_names_send(struct db_names *n, PGconn *conn, const char *sql, const struct db_params *p,
                   bool *naming) MUST_CHECK;
void db_names_add(struct db_names *n, const char *sql, const struct db_params *p);
/* The connection is another one. */
void db_names_clear(struct db_names *n);
/* After a statement's error: whether a name may be at fault, and not the statement. Then no statement has one
 * any more. */
bool db_names_failed(struct db_names *n, const char *sqlstate);

/* --- db_result.c --- */
/* What a statement's SQLSTATE means for us (see db_done_fn). */
enum err_class db_sqlstate_class(const char *sqlstate);
bool db_result_is_error(const PGresult *pg);
/* The primary message and SQLSTATE of a failed statement; values quoted in data errors are left out. */
void db_result_error(const PGresult *pg, struct err *e);
/* Why an established connection is unusable: ERR_TEMPORARY with libpq's own words. */
void db_lost_error(const PGconn *conn, struct err *e);

/* --- db_connect.c --- */
enum { DB_MAX_HOSTS = 16 };

/* The servers that a connection URL names, one entry an address. count 0: libpq's own defaults are used. */
struct db_hosts {
    int count;
    struct {
        char host[256]; /* a name, an address or a socket's directory */
        char addr[64];  /* "" = host is what libpq connects to */
        char port[8];   /* "" = default */
    } at[DB_MAX_HOSTS];
};

/* -1 and ERR_CONFIG when libpq can't read the URL. */
int db_hosts_parse(const char *url, struct db_hosts *hosts, struct err *e) MUST_CHECK;
bool db_hosts_need_lookup(const struct db_hosts *hosts);
/* Replaces every name by its addresses. Blocks: for a pool thread. -1 and ERR_TEMPORARY when no entry is
 * left. */
int db_hosts_lookup(struct db_hosts *hosts, struct err *e) MUST_CHECK;

/* Begins a connection (to be driven by PQconnectPoll). `turn` rotates the hosts: PQconnectPoll has no timeout
 * per host, so a host that swallows packets would otherwise use up every attempt's time. NULL (out of memory)
 * is a connection with status CONNECTION_BAD to libpq. */
PGconn *db_connect_start(const struct db_settings *s, const struct db_hosts *hosts, unsigned turn);
/* Why it failed: ERR_CONFIG when trying again won't mend it, else ERR_TEMPORARY. */
void db_connect_error(const PGconn *conn, struct err *e);
/* The script that makes a fresh connection ours: statement timeout, LISTEN. */
void db_setup_script(const struct db_settings *s, PGconn *conn, struct buf *sql);

#endif
