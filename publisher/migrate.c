/* Applies schemas/sql in order: each migration with its row of agwb.schema_version in one transaction. The
 * row keeps the file's digest, so that a changed file is applied again. No lock and
 * no setting is relied on beyond a transaction: behind a pooler the next one may be another session's. */
#include "publisher/migrate.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "io/db.h"

enum { SCRIPT_LIMIT = 1 << 20 };

/* One at a time, for as long as it takes; the key is "agwb". */
static const char BEGIN[] =
    "begin; set local statement_timeout = 0; select pg_advisory_xact_lock(x'61677762'::bigint)";

struct migrate_options {
    const char *complete_status; /* NULL: leave as it is */
};

static int parse_options(int argc, char **argv, struct migrate_options *o, struct err *e)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--complete-status") != 0)
            return err_set(e, ERR_USAGE, 0,
                           "migrate: unknown argument '%s' (expected --complete-status WORD)", argv[i]);
        if (++i == argc || argv[i][0] == '\0')
            return err_set(e, ERR_USAGE, 0,
                           "migrate: --complete-status needs a word, for example: completed");
        o->complete_status = argv[i];
    }
    return 0;
}

/* What the database says no to here is an operator's business, whatever class the statement's error has. */
static int refuse(struct err *e, const char *what)
{
    if (e->class != ERR_TEMPORARY && e->class != ERR_UNAVAILABLE)
        e->class = ERR_CONFIG;
    return err_prefix(e, "%s", what);
}

static int query_int(struct db_session *s, const char *sql, const struct db_params *p, int64_t *value,
                     struct err *e)
{
    struct db_result *r = db_session_query(s, sql, p, e);

    if (!r)
        return -1;
    *value = db_rows(r) > 0 ? db_int(r, 0, 0) : 0;
    db_result_free(&r);
    return 0;
}

static int set_complete_status(struct db_session *s, const char *word, struct err *e)
{
    struct db_params p;
    int64_t ignored;
    int rc;

    db_params_init(&p);
    db_param_text(&p, word);
    rc = query_int(s,
                   "insert into agwb.settings (name, value) values ('complete_status', $1) "
                   "on conflict (name) do update set value = excluded.value returning 1",
                   &p, &ignored, e);
    db_params_fini(&p);
    return rc;
}

/* The rest of the transaction that was begun. */
static int apply(struct db_session *s, const struct migration *m, struct err *e)
{
    struct buf script;
    char what[64];
    int rc;

    snprintf(what, sizeof what, "migration %03d_%s", m->version, m->name);
    buf_init(&script, SCRIPT_LIMIT);
    buf_add_str(&script, m->sql);
    if (m->version > 0)
        buf_printf(&script,
                   "\n;insert into agwb.schema_version (version, name, digest) values (%d, '%s', '%s') "
                   "on conflict (version) do update "
                   "set name = excluded.name, digest = excluded.digest, applied_at = now();\n"
                   "select agwb.grant_rights();\n", /* a running daemon never meets what it has no right to */
                   m->version, m->name, m->digest);
    rc = db_session_script(s, buf_str(&script), e);
    buf_fini(&script);
    if (rc == 0)
        rc = db_session_script(s, "commit", e);
    if (rc != 0)
        return refuse(e, what);
    if (m->version > 0)
        printf("applied %s\n", what);
    return 0;
}

static int begin(struct db_session *s, struct err *e)
{
    return db_session_script(s, BEGIN, e) == 0 ? 0 : refuse(e, "migration lock");
}

static int is_applied(struct db_session *s, const struct migration *m, bool *answer, struct err *e)
{
    struct db_params p;
    int64_t count = 0;
    int rc;

    db_params_init(&p);
    db_param_int4(&p, m->version);
    db_param_text(&p, m->digest);
    rc = query_int(s, "select count(*) from agwb.schema_version where version = $1 and digest = $2", &p,
                   &count, e);
    db_params_fini(&p);
    *answer = count > 0;
    return rc;
}

static int apply_first(struct db_session *s, struct err *e)
{
    for (size_t i = 0; i < MIGRATION_COUNT && MIGRATIONS[i].version == 0; i++) {
        if (begin(s, e) != 0 || apply(s, &MIGRATIONS[i], e) != 0)
            return -1;
    }
    return 0;
}

static int newest_version(void)
{
    return MIGRATIONS[MIGRATION_COUNT - 1].version;
}

/* An older program must not put its functions back over a newer one's: then *version says so. */
static int apply_if_changed(struct db_session *s, const struct migration *m, int64_t *version, struct err *e)
{
    bool applied;

    if (begin(s, e) != 0)
        return -1;
    if (query_int(s, "select coalesce(max(version), 0) from agwb.schema_version", NULL, version, e) != 0 ||
        is_applied(s, m, &applied, e) != 0)
        return refuse(e, "schema version");
    if (*version <= newest_version() && !applied)
        return apply(s, m, e);
    return db_session_script(s, "rollback", e);
}

static int apply_changed(struct db_session *s, struct err *e)
{
    int64_t version = 0;

    for (size_t i = 0; i < MIGRATION_COUNT && version <= newest_version(); i++) {
        if (MIGRATIONS[i].version > 0 && apply_if_changed(s, &MIGRATIONS[i], &version, e) != 0)
            return -1;
    }
    if (version > newest_version())
        printf("schema is at version %lld, newer than this program's %d: left as it is\n", (long long)version,
               newest_version());
    else
        printf("schema is at version %d\n", newest_version());
    return 0;
}

int migrate_command(const struct config *c, int argc, char **argv, struct err *e)
{
    struct migrate_options options = {0};
    struct db_settings settings = {.url = c->database.url,
                                   .connect_timeout_ms = c->database.connect_timeout_ms,
                                   .statement_timeout_ms = c->database.statement_timeout_ms,
                                   .application_name = "agwb-publisher migrate"};
    struct db_session *s;
    int rc = -1;

    if (parse_options(argc, argv, &options, e) != 0)
        return -1;
    s = db_session_open(&settings, e);
    if (!s)
        return -1;
    if (apply_first(s, e) != 0)
        goto out;
    if (options.complete_status && set_complete_status(s, options.complete_status, e) != 0) {
        refuse(e, "--complete-status");
        goto out;
    }
    rc = apply_changed(s, e);
out:
    db_session_close(&s);
    return rc;
}
