/* Compares agwb.schema_version with what the programs need. */
#include "domain/schema.h"

enum { AGAIN_MS = 1000, GATE_MS = 10000 };

/* Not answered. A lost connection is reported by its own handler. */
static void put_off(struct schema_check *c, const struct err *e)
{
    int64_t held;

    if (!db_is_up(c->db))
        return;
    if (log_gate_pass(&c->gate, GATE_MS, &held))
        log_warn("could not check the schema, will try again", log_str("reason", e->text),
                 log_int("held_back", held));
    loop_timer_start(c->timer, AGAIN_MS);
}

static void answer(struct schema_check *c, const struct err *verdict)
{
    c->answered = true;
    c->done(c->arg, verdict);
}

static void on_version(void *arg, const struct db_result *r, const struct err *e)
{
    struct schema_check *c = arg;
    struct err verdict;

    c->asking = false;
    if (e && e->class == ERR_CONFIG) {
        err_set(&verdict, ERR_CONFIG, 0,
                "the database has no usable agwb schema (%s): run agwb-publisher migrate", e->text);
        answer(c, &verdict);
    } else if (e) {
        put_off(c, e);
    } else if (db_int(r, 0, 0) < SCHEMA_VERSION) {
        err_set(&verdict, ERR_CONFIG, 0,
                "the database schema is at version %lld, this program needs %d: run agwb-publisher migrate",
                (long long)db_int(r, 0, 0), SCHEMA_VERSION);
        answer(c, &verdict);
    } else {
        answer(c, NULL);
    }
}

void schema_check_ask(struct schema_check *c)
{
    if (c->answered || c->asking)
        return;
    c->asking = db_query(c->db, "select coalesce(max(version), 0) from agwb.schema_version", NULL, on_version,
                         c) == 0;
}

static void on_timer(void *arg)
{
    schema_check_ask(arg);
}

void schema_check_init(struct schema_check *c, struct loop *l, struct db *d, schema_checked_fn *done,
                       void *arg)
{
    *c = (struct schema_check){.db = d, .timer = loop_timer_new(l, on_timer, c), .done = done, .arg = arg};
}

void schema_check_fini(struct schema_check *c)
{
    loop_timer_free(&c->timer);
}
