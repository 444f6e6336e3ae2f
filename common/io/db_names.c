/* The statements that a connection has prepared, by their text: parsed and looked up in the catalogs once,
 * not at each use. A pooler that gives each transaction another server has others' names or none; it answers
 * with an error, and then nothing is named any more. */
#include "io/db_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* The same text with parameters of other types is another statement. */
static bool find(const struct db_names *n, const char *sql, const struct db_wire *w, char name[DB_NAME_SIZE])
{
    for (size_t i = 0; i < n->count; i++) {
        if (n->at[i].param_count == w->count &&
            memcmp(n->at[i].types, w->types, (size_t)w->count * sizeof w->types[0]) == 0 &&
            strcmp(n->at[i].sql, sql) == 0) {
            snprintf(name, DB_NAME_SIZE, "agwb_%u", n->at[i].number);
            return true;
        }
    }
    return false;
}

/* A name to prepare a statement under, if it is to have one. */
static bool take_name(struct db_names *n, char name[DB_NAME_SIZE])
{
    if (!n->allowed || n->count == DB_MAX_NAMES)
        return false;
    snprintf(name, DB_NAME_SIZE, "agwb_%u", ++n->made);
    return true;
}

bool db_names_send(struct db_names *n, PGconn *conn, const char *sql, const struct db_params *p, bool *naming)
{
    struct db_wire w;
    char name[DB_NAME_SIZE];

    db_params_wire(p, &w);
    *naming = false;
    if (find(n, sql, &w, name))
        return PQsendQueryPrepared(conn, name, w.count, w.values, w.lengths, w.formats, 0);
    *naming = take_name(n, name);
    return *naming ? PQsendPrepare(conn, name, sql, w.count, w.types)
                   : PQsendQueryParams(conn, sql, w.count, w.types, w.values, w.lengths, w.formats, 0);
}

void db_names_add(struct db_names *n, const char *sql, const struct db_params *p)
{
    struct db_wire w;

    db_params_wire(p, &w);
    memcpy(n->at[n->count].types, w.types, sizeof w.types);
    n->at[n->count].param_count = w.count;
    n->at[n->count].sql = xstrdup(sql);
    n->at[n->count++].number = n->made;
}

void db_names_clear(struct db_names *n)
{
    while (n->count > 0)
        free(n->at[--n->count].sql);
}

bool db_names_failed(struct db_names *n, const char *sqlstate)
{
    bool failed = n->allowed && (strcmp(sqlstate, "26000") == 0      /* no such prepared statement */
                                 || strcmp(sqlstate, "42P05") == 0   /* there is one of this name */
                                 || strcmp(sqlstate, "0A000") == 0); /* the function's columns have changed */

    if (failed) {
        n->allowed = false;
        db_names_clear(n);
    }
    return failed;
}
