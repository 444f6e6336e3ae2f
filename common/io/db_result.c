/* Rows out of a PGresult, and what a failed one means. Knows nothing of connections and queues. */
#include "io/db_private.h"

#include <stdlib.h>
#include <string.h>

size_t db_rows(const struct db_result *r)
{
    return (size_t)PQntuples(r->pg);
}

static bool has_cell(const struct db_result *r, size_t row, int col)
{
    return row < (size_t)PQntuples(r->pg) && col >= 0 && col < PQnfields(r->pg);
}

bool db_is_null(const struct db_result *r, size_t row, int col)
{
    return !has_cell(r, row, col) || PQgetisnull(r->pg, (int)row, col) != 0;
}

const char *db_text(const struct db_result *r, size_t row, int col)
{
    return has_cell(r, row, col) ? PQgetvalue(r->pg, (int)row, col) : "";
}

const char *db_text_or_null(const struct db_result *r, size_t row, int col)
{
    return db_is_null(r, row, col) ? NULL : PQgetvalue(r->pg, (int)row, col);
}

size_t db_text_len(const struct db_result *r, size_t row, int col)
{
    return has_cell(r, row, col) ? (size_t)PQgetlength(r->pg, (int)row, col) : 0;
}

int64_t db_int(const struct db_result *r, size_t row, int col)
{
    return strtoll(db_text(r, row, col), NULL, 10);
}

double db_real(const struct db_result *r, size_t row, int col)
{
    return strtod(db_text(r, row, col), NULL);
}

bool db_bool(const struct db_result *r, size_t row, int col)
{
    return db_text(r, row, col)[0] == 't';
}

int db_column(const struct db_result *r, const char *name)
{
    for (int i = 0; i < PQnfields(r->pg); i++)
        if (strcmp(PQfname(r->pg, i), name) == 0)
            return i;
    return -1;
}

static const char *sqlstate_of(const PGresult *pg)
{
    const char *sqlstate = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
    return sqlstate == NULL ? "" : sqlstate;
}

const char *db_sqlstate(const struct db_result *r)
{
    return sqlstate_of(r->pg);
}

void db_result_free(struct db_result **r)
{
    if (*r == NULL)
        return;
    PQclear((*r)->pg);
    free(*r);
    *r = NULL;
}

/* --- errors --- */
enum err_class db_sqlstate_class(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        enum err_class class;
    } CLASSES[] = {
        {"08", ERR_TEMPORARY},    /* connection */
        {"25006", ERR_TEMPORARY}, /* read only: a standby after a failover */
        {"40", ERR_TEMPORARY},    /* serialization, deadlock */
        {"53", ERR_TEMPORARY},    /* no resources */
        {"55P03", ERR_TEMPORARY}, /* lock not available */
        {"57", ERR_TEMPORARY},    /* cancelled, statement timeout, shutting down, starting up */
        {"58", ERR_TEMPORARY},    /* the server's disk or system */
        {"28", ERR_CONFIG},       /* password, role, pg_hba.conf */
        {"3D000", ERR_CONFIG},    /* no such database */
        {"3F000", ERR_CONFIG},    /* no such schema */
        {"42501", ERR_CONFIG},    /* no right */
        {"42883", ERR_CONFIG},    /* no such function */
        {"42P01", ERR_CONFIG},    /* no such table */
        {"22", ERR_DATA},         /* a value */
        {"23", ERR_DATA},         /* a constraint */
        {"P0001", ERR_DATA},      /* raise exception */
    };
    for (size_t i = 0; i < sizeof CLASSES / sizeof CLASSES[0]; i++)
        if (strncmp(sqlstate, CLASSES[i].prefix, strlen(CLASSES[i].prefix)) == 0)
            return CLASSES[i].class;
    return ERR_BUG;
}

bool db_result_is_error(const PGresult *pg)
{
    switch (PQresultStatus(pg)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
        return false;
    case PGRES_EMPTY_QUERY:
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_COPY_BOTH:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_SINGLE_TUPLE:
    case PGRES_PIPELINE_SYNC:
    case PGRES_PIPELINE_ABORTED:
        break;
    }
    return true;
}

/* The first line of a message; with hide_values what stands in double quotes is left out, as data errors
 * quote the value. */
static void copy_line(char *out, size_t size, const char *message, bool hide_values)
{
    size_t used = 0;
    bool inside = false;
    for (const char *c = message; *c != '\0' && *c != '\n' && used + 1 < size; c++) {
        if (*c == '"')
            inside = !inside;
        if (!inside || *c == '"' || !hide_values)
            out[used++] = *c;
    }
    out[used] = '\0';
}

void db_result_error(const PGresult *pg, struct err *e)
{
    const char *sqlstate = sqlstate_of(pg);
    const char *message = PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY);
    char line[400];
    if (message == NULL)
        message = PQresultErrorMessage(pg);
    copy_line(line, sizeof line, message, strncmp(sqlstate, "22", 2) == 0);

    if (sqlstate[0] != '\0')
        err_set(e, db_sqlstate_class(sqlstate), 0, "%s (%s)", line, sqlstate);
    else if (PQresultStatus(pg) == PGRES_FATAL_ERROR) /* made by libpq itself: the connection broke */
        err_set(e, ERR_TEMPORARY, 0, "connection lost: %s", line);
    else
        err_set(e, ERR_BUG, 0, "unexpected answer to a statement: %s", PQresStatus(PQresultStatus(pg)));
}

void db_lost_error(const PGconn *conn, struct err *e)
{
    char line[400];
    copy_line(line, sizeof line, PQerrorMessage(conn), false);
    err_set(e, ERR_TEMPORARY, 0, "connection lost: %s", line[0] == '\0' ? "closed by the server" : line);
}
