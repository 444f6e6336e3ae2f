/* Compares agwb.schema_version with what the programs need. */
#include "domain/schema.h"

static void on_version(void *arg, const struct db_result *r, const struct err *e)
{
    struct schema_check *c = arg;
    struct err verdict;

    if (e && e->class == ERR_CONFIG) {
        err_set(&verdict, ERR_CONFIG, 0,
                "the database has no usable agwb schema (%s): run agwb-publisher migrate", e->text);
        c->done(c->arg, &verdict);
    } else if (e) {
        c->done(c->arg, e);
    } else if (db_int(r, 0, 0) < SCHEMA_VERSION) {
        err_set(&verdict, ERR_CONFIG, 0,
                "the database schema is at version %lld, this program needs %d: run agwb-publisher migrate",
                (long long)db_int(r, 0, 0), SCHEMA_VERSION);
        c->done(c->arg, &verdict);
    } else {
        c->done(c->arg, NULL);
    }
}

int schema_check_start(struct schema_check *c, struct db *d, schema_checked_fn *done, void *arg)
{
    c->done = done;
    c->arg = arg;
    return db_query(d, "select coalesce(max(version), 0) from agwb.schema_version", NULL, on_version, c);
}
