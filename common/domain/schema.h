/* The version of the database schema that the programs rely on, and the question whether a database has
 * it. */
#ifndef AGWB_DOMAIN_SCHEMA_H
#define AGWB_DOMAIN_SCHEMA_H

#include <stdbool.h>

#include "base/err.h"
#include "base/log.h"
#include "io/db.h"
#include "io/loop.h"

/* The newest schemas/sql migration; a test compares the two. */
enum { SCHEMA_VERSION = 9 };

/* The answer. e is NULL when the schema is there and new enough; ERR_CONFIG names the way out. */
typedef void schema_checked_fn(void *arg, const struct err *e);

struct schema_check { /* the caller's storage */
    struct db *db;
    struct loop_timer *timer; /* until it is asked again */
    bool asking, answered;
    struct log_gate gate;
    schema_checked_fn *done;
    void *arg;
};

void schema_check_init(struct schema_check *c, struct loop *l, struct db *d, schema_checked_fn *done,
                       void *arg);
void schema_check_fini(struct schema_check *c); /* before the db's */
/* The connection is up: asks until there is an answer, which is called back once, in a later turn. When the
 * connection is lost meanwhile, this is to be called again. */
void schema_check_ask(struct schema_check *c);

#endif
