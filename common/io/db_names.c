/* The statements that a connection has prepared: parsed and looked up in the catalogs once, not at each use.
 * A pooler that gives each transaction another server lets us meet names that others made there, and miss our
 * own. So a name is made of what it stands for: it is that very statement whoever has prepared it, or none,
 * which the server answers with an error; then nothing is named any more. */
#include "io/db_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static uint64_t digest(uint64_t so_far, const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < len; i++)
        so_far = (so_far ^ byte[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return so_far;
}

/* The same text with parameters of other types is another statement. */
static uint64_t digest_statement(const char *sql, const struct db_wire *w)
{
    uint64_t text = digest(UINT64_C(0xcbf29ce484222325), sql, strlen(sql) + 1);

    return digest(text, w->types, (size_t)w->count * sizeof w->types[0]);
}

static bool is_named(const struct db_names *n, uint64_t statement)
{
    for (size_t i = 0; i < n->count; i++) {
        if (n->at[i] == statement)
            return true;
    }
    return false;
}

bool db_names_send(struct db_names *n, PGconn *conn, const char *sql, const struct db_params *p, bool *naming)
{
    struct db_wire w;
    char name[24];

    db_params_wire(p, &w);
    *naming = false;
    if (n->allowed) {
        uint64_t statement = digest_statement(sql, &w);
        snprintf(name, sizeof name, "agwb_%016" PRIx64, statement);
        if (is_named(n, statement))
            return PQsendQueryPrepared(conn, name, w.count, w.values, w.lengths, w.formats, 0);
        *naming = n->count < DB_MAX_NAMES;
    }
    return *naming ? PQsendPrepare(conn, name, sql, w.count, w.types)
                   : PQsendQueryParams(conn, sql, w.count, w.types, w.values, w.lengths, w.formats, 0);
}

void db_names_add(struct db_names *n, const char *sql, const struct db_params *p)
{
    struct db_wire w;

    db_params_wire(p, &w);
    n->at[n->count++] = digest_statement(sql, &w);
}

void db_names_clear(struct db_names *n)
{
    n->count = 0;
}

bool db_names_failed(struct db_names *n, const char *sqlstate)
{
    bool is_pooled = strcmp(sqlstate, "26000") == 0     /* no such prepared statement */
                     || strcmp(sqlstate, "42P05") == 0; /* there is one of this name */
    bool has_changed = strcmp(sqlstate, "0A000") == 0;  /* the function's columns: a migration */

    if (!n->allowed || !(is_pooled || has_changed))
        return false;
    n->allowed = false;
    db_names_clear(n);
    if (is_pooled)
        log_warn("the connection does not keep its session, statements are no longer prepared",
                 log_str("sqlstate", sqlstate),
                 log_str("remedy", "behind a pooler in transaction mode: database.listen = false"));
    return true;
}
