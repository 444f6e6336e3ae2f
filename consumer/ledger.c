/* The ledger's life, what its calls share, and the chores between claims. */
#include "consumer/ledger_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"

enum { SWEEP_LIMIT = 500, ACCOUNTS_LIMIT = 64 * 1024 };

static void write_accounts(struct ledger *l)
{
    const struct config *c = l->deps.config;

    buf_add_char(&l->accounts, '[');
    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        const char *channel = channel_name(a->channel);

        buf_add_str(&l->accounts, i ? ",{\"name\":" : "{\"name\":");
        buf_add_json_str(&l->accounts, a->name, strlen(a->name));
        buf_add_str(&l->accounts, ",\"channel\":");
        buf_add_json_str(&l->accounts, channel, strlen(channel));
        buf_printf(&l->accounts, ",\"default\":%s,\"workspaces\":[", a->is_default ? "true" : "false");
        for (size_t w = 0; w < a->workspace_count; w++) {
            buf_add_str(&l->accounts, w ? "," : "");
            buf_add_json_str(&l->accounts, a->workspaces[w], strlen(a->workspaces[w]));
        }
        buf_add_str(&l->accounts, "]}");
    }
    buf_add_char(&l->accounts, ']');
}

struct ledger *ledger_new(const struct ledger_deps *deps)
{
    struct ledger *l = xcalloc(1, sizeof *l);

    l->deps = *deps;
    db_params_init(&l->params);
    buf_init(&l->accounts, ACCOUNTS_LIMIT);
    write_accounts(l);
    return l;
}

void ledger_free(struct ledger **l)
{
    struct ledger_call *call;

    if (!*l)
        return;
    while ((call = LIST_FIRST(&(*l)->calls))) {
        LIST_REMOVE(call, entry);
        free(call);
    }
    db_params_fini(&(*l)->params);
    buf_fini(&(*l)->accounts);
    free(*l);
    *l = NULL;
}

bool ledger_can_accept(const struct ledger *l)
{
    return db_is_up(l->deps.accept_db);
}

bool ledger_can_work(const struct ledger *l)
{
    return db_is_up(l->deps.work_db);
}

int ledger_run(struct ledger *l, struct db *db, const char *sql, db_done_fn *done,
               const struct ledger_call *call)
{
    struct ledger_call *copy = xcalloc(1, sizeof *copy);

    *copy = *call;
    if (db_query(db, sql, &l->params, done, copy) == 0) {
        LIST_INSERT_HEAD(&l->calls, copy, entry);
        return 0;
    }
    free(copy);
    return -1;
}

struct ledger_call ledger_take(void *arg)
{
    struct ledger_call *call = arg, taken = *call;

    LIST_REMOVE(call, entry);
    free(call);
    return taken;
}

void ledger_item_text(struct db_params *p, const char *s)
{
    db_item_text(p, s, s ? strlen(s) : 0);
}

const char *ledger_text_or_null(const struct db_result *r, size_t row, int col)
{
    return db_is_null(r, row, col) ? NULL : db_text(r, row, col);
}

void ledger_on_done(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);

    (void)r;
    c.done(c.arg, e);
}

/* --- chores --- */

static void on_swept(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);

    if (e) {
        c.swept(c.arg, NULL, e);
        return;
    }
    c.swept(c.arg,
            &(struct ledger_sweep){.orphaned = db_int(r, 0, 0),
                                   .parked = db_int(r, 0, 1),
                                   .resent = db_int(r, 0, 2),
                                   .next_due_ms = db_is_null(r, 0, 3) ? -1 : db_int(r, 0, 3),
                                   .ready = db_int(r, 0, 4),
                                   .sending = db_int(r, 0, 5),
                                   .uncertain = db_int(r, 0, 6),
                                   .uncopied = db_int(r, 0, 7),
                                   .has_bounced = db_bool(r, 0, 8)},
            NULL);
}

int ledger_sweep(struct ledger *l, ledger_swept_fn *done, void *arg)
{
    struct db_params *p = &l->params;
    const struct config *c = l->deps.config;

    db_params_clear(p);
    db_param_int4(p, SWEEP_LIMIT);
    db_param_int8(p, c->consumer.uncertain_wait_ms);
    db_param_bool(p, c->consumer.uncertain == UNCERTAIN_RESEND);
    return ledger_run(l, l->deps.work_db, "select * from agwb.sweep_deliveries($1, $2, $3)", on_swept,
                      &(struct ledger_call){.swept = done, .arg = arg});
}

static void on_parked(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    struct ledger_parked *items;
    size_t rows;

    if (e) {
        c.parked(c.arg, NULL, 0, e);
        return;
    }
    rows = db_rows(r);
    items = xcalloc(rows ? rows : 1, sizeof *items);
    for (size_t i = 0; i < rows; i++)
        items[i] = (struct ledger_parked){.message_id = db_text(r, i, 0),
                                          .payload = db_text(r, i, 1),
                                          .payload_len = db_text_len(r, i, 1),
                                          .headers_json = db_text(r, i, 2),
                                          .reason = db_text(r, i, 3),
                                          .outcome = db_text(r, i, 4),
                                          .attempts = db_int(r, i, 5),
                                          .first_seen_ms = db_int(r, i, 6)};
    c.parked(c.arg, items, rows, NULL);
    free(items);
}

int ledger_claim_parked(struct ledger *l, size_t limit, ledger_parked_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_param_text(p, l->deps.owner);
    db_param_int4(p, (int32_t)limit);
    db_param_int8(p, l->deps.config->consumer.lease_ms);
    return ledger_run(l, l->deps.work_db, "select * from agwb.claim_parked($1, $2, $3)", on_parked,
                      &(struct ledger_call){.parked = done, .arg = arg});
}

int ledger_mark_parked(struct ledger *l, const char *const *message_ids, size_t count, bool bare,
                       ledger_done_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        ledger_item_text(p, message_ids[i]);
    db_array_end(p);
    db_param_bool(p, bare);
    return ledger_run(l, l->deps.work_db, "select agwb.mark_parked($1, $2)", ledger_on_done,
                      &(struct ledger_call){.done = done, .arg = arg});
}
