/* Calls of the workbench's functions. The queue is held by a transaction of a second connection: a lock of
 * the session would not survive a transaction pooler. */
#include "consumer/dlq_store.h"

#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "base/arena.h"
#include "domain/peers.h"

struct dlq_store {
    const struct config *config;
    const char *who;
    struct db_session *db, *holder;
    struct db_params params;
};

static struct db_session *connect_as(const struct dlq_store *s, const char *name, struct err *e)
{
    struct db_settings settings = peers_db_settings(s->config, name);

    return db_session_open(&settings, e);
}

struct dlq_store *dlq_store_open(const struct config *c, const char *who, struct err *e)
{
    struct dlq_store *s = xcalloc(1, sizeof *s);

    s->config = c;
    s->who = who;
    db_params_init(&s->params);
    s->db = connect_as(s, "agwb-consumer dlq", e);
    if (!s->db)
        dlq_store_close(&s);
    return s;
}

void dlq_store_close(struct dlq_store **s)
{
    if (!*s)
        return;
    db_session_close(&(*s)->db);
    db_session_close(&(*s)->holder);
    db_params_fini(&(*s)->params);
    free(*s);
    *s = NULL;
}

int dlq_store_hold(struct dlq_store *s, const char *queue, struct err *e)
{
    struct db_result *r;
    int rc = 0;

    s->holder = connect_as(s, s->who, e);
    if (!s->holder)
        return -1;
    if (db_session_script(s->holder, "begin; set local idle_in_transaction_session_timeout = 0", e) != 0)
        return -1;
    db_params_clear(&s->params);
    db_param_text(&s->params, queue);
    r = peers_ask(s->holder, "select agwb.hold_queue($1)", &s->params, e);
    if (!r)
        return -1;
    if (!db_is_null(r, 0, 0))
        rc = err_set(e, ERR_TEMPORARY, 0, "dlq: another run has %s: %s", queue, db_text(r, 0, 0));
    db_result_free(&r);
    return rc;
}

struct db_result *dlq_store_inspect(struct dlq_store *s, const struct dlq_message *m, struct err *e)
{
    db_params_clear(&s->params);
    db_param_text(&s->params, m->id);
    db_param_text(&s->params, m->original_id);
    return peers_ask(
        s->db,
        "select state, kind, attempts, replays, account, channel, address, workspace_id, reason, "
        "provider_message_id, accepted_at, settled_at, job_id, job_status, job_error "
        "from agwb.inspect_message($1, $2)",
        &s->params, e);
}

struct db_result *dlq_store_attempts(struct dlq_store *s, const struct dlq_message *m, struct err *e)
{
    db_params_clear(&s->params);
    db_param_text(&s->params, m->id);
    return peers_ask(s->db,
                     "select started_at, account, outcome, disposition, http_status, provider_code, detail "
                     "from agwb.list_attempts($1)",
                     &s->params, e);
}

static int read_verdict(const char *word, enum dlq_verdict *verdict, struct err *e)
{
    static const char *const WORDS[] = {
        [DLQ_GO] = "go",     [DLQ_ARRIVED] = "done",        [DLQ_SENT] = "sent",
        [DLQ_BUSY] = "busy", [DLQ_CANCELLED] = "cancelled", [DLQ_CONFLICT] = "conflict"};

    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strcmp(word, WORDS[i]) == 0) {
            *verdict = (enum dlq_verdict)i;
            return 0;
        }
    }
    return err_set(e, ERR_BUG, 0, "agwb.begin_replay says '%.40s'", word);
}

int dlq_store_begin_replay(struct dlq_store *s, const struct dlq_message *m, bool again, bool dry,
                           struct dlq_begun *begun, struct err *e)
{
    struct db_params *p = &s->params;
    struct db_result *r;
    int rc;

    db_params_clear(p);
    db_param_text(p, m->id);
    db_param_bool(p, m->queue->side == DLQ_REQUESTS);
    db_array_begin(p, DB_BYTEA);
    db_item_bytes(p, m->delivery->body, m->delivery->body_len);
    db_array_end(p);
    db_param_text(p, m->queue->name);
    db_param_text(p, s->who);
    db_param_bool(p, again);
    db_param_bool(p, dry);
    r = peers_ask(s->db, "select id, n, verdict from agwb.begin_replay($1, $2, $3, $4, $5, $6, $7)", p, e);
    if (!r)
        return -1;
    begun->audit_id = db_int(r, 0, 0);
    begun->n = (int32_t)db_int(r, 0, 1);
    rc = read_verdict(db_text(r, 0, 2), &begun->verdict, e);
    db_result_free(&r);
    return rc;
}

int dlq_store_begin(struct dlq_store *s, enum dlq_verb action, const struct dlq_message *m, int64_t *audit_id,
                    struct err *e)
{
    struct db_params *p = &s->params;
    struct db_result *r;

    db_params_clear(p);
    db_param_text(p, dlq_verb_name(action));
    db_param_text(p, m->id);
    db_param_text(p, m->queue->name);
    db_param_text(p, s->who);
    r = peers_ask(s->db, "select agwb.begin_action($1, $2, $3, $4)", p, e);
    if (!r)
        return -1;
    *audit_id = db_int(r, 0, 0);
    db_result_free(&r);
    return 0;
}

int dlq_store_end(struct dlq_store *s, int64_t audit_id, struct err *e)
{
    struct db_result *r;

    db_params_clear(&s->params);
    db_param_int8(&s->params, audit_id);
    r = peers_ask(s->db, "select agwb.end_action($1)", &s->params, e);
    if (!r)
        return -1;
    db_result_free(&r);
    return 0;
}
