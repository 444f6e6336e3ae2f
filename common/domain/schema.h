/* The version of the database schema that the programs rely on, and the question whether a database has
 * it. */
#ifndef AGWB_DOMAIN_SCHEMA_H
#define AGWB_DOMAIN_SCHEMA_H

#include "base/err.h"
#include "io/db.h"

/* The newest schemas/sql migration; a test compares the two. */
enum { SCHEMA_VERSION = 9 };

/* e is NULL when the schema is there and new enough; ERR_CONFIG names the way out; ERR_TEMPORARY: could
 * not be asked. */
typedef void schema_checked_fn(void *arg, const struct err *e);

struct schema_check { /* the caller's storage; lives until the callback has run */
    schema_checked_fn *done;
    void *arg;
};

/* Asks on a connection that is up. Calls back once, in a later turn, unless -1 is returned. */
int schema_check_start(struct schema_check *c, struct db *d, schema_checked_fn *done, void *arg) MUST_CHECK;

#endif
