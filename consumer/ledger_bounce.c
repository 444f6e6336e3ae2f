/* What went out and did not arrive: agwb.claim_bounces() and agwb.settle_bounces(); and the ways that
 * deliveries take, as SQL knows them. */
#include "consumer/ledger_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"

/* --- ways --- */

void ledger_add_chained(const struct ledger *l, struct db_params *p)
{
    const struct config *c = l->deps.config;

    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < c->channels.account_count; i++) {
        if (c->channels.accounts[i].next_count > 0)
            ledger_item_text(p, c->channels.accounts[i].name);
    }
    db_array_end(p);
}

static void add_member(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, "%s\"%s\":", b->len > 1 ? "," : "", key);
    buf_add_json_str(b, value, strlen(value));
}

void ledger_item_way(struct db_params *p, const struct settlement *s)
{
    enum { WAY_MAX = 4096 }; /* every byte of the fields as \u00XX would fit */
    const struct delivery_way *way = &s->next;
    struct buf json;

    if (s->disposition.kind != DISPOSITION_NEXT) {
        db_item_null(p);
        return;
    }
    buf_init(&json, WAY_MAX);
    buf_add_char(&json, '{');
    add_member(&json, "account", way->account);
    add_member(&json, "channel", way->channel);
    add_member(&json, "address", way->address);
    if (way->chain[0])
        add_member(&json, "chain", way->chain);
    buf_printf(&json, ",\"step\":%d,\"template\":%s}", way->step, way->as_template ? "true" : "false");
    ledger_item_text(p, buf_str(&json));
    buf_fini(&json);
}

/* --- bounces --- */

static struct ledger_bounce bounce_of_row(const struct db_result *r, size_t row)
{
    return (struct ledger_bounce){
        .receipt_id = db_int(r, row, 0),
        .message_id = db_text(r, row, 1),
        .fence = (int32_t)db_int(r, row, 2),
        .attempts = (int32_t)db_int(r, row, 3),
        .part = (int32_t)db_int(r, row, 4),
        .is_current = db_bool(r, row, 5),
        .account = db_text(r, row, 6),
        .channel = db_text(r, row, 7),
        .address = db_text(r, row, 8),
        .step = (int32_t)db_int(r, row, 9),
        .chain = db_text(r, row, 10),
        .as_template = db_bool(r, row, 11),
        .number = db_text(r, row, 12),
        .email = db_text(r, row, 13),
        .code = db_text(r, row, 14),
        .detail = db_text(r, row, 15),
    };
}

static void on_bounces(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    struct ledger_bounce *bounces;
    size_t rows;

    if (e) {
        c.bounces(c.arg, NULL, 0, e);
        return;
    }
    rows = db_rows(r);
    bounces = xcalloc(rows ? rows : 1, sizeof *bounces);
    for (size_t i = 0; i < rows; i++)
        bounces[i] = bounce_of_row(r, i);
    c.bounces(c.arg, bounces, rows, NULL);
    free(bounces);
}

int ledger_claim_bounces(struct ledger *l, size_t limit, ledger_bounces_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_param_int4(p, (int32_t)limit);
    ledger_add_chained(l, p);
    return ledger_run(l, l->deps.work_db, "select * from agwb.claim_bounces($1, $2)", on_bounces,
                      &(struct ledger_call){.bounces = done, .arg = arg});
}

typedef void write_bounced_fn(struct db_params *p, const struct ledger_bounced *b);

static void write_receipt(struct db_params *p, const struct ledger_bounced *b)
{
    db_item_int8(p, b->receipt_id);
}
static void write_message_id(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, b->settlement.message_id);
}
static void write_fence(struct db_params *p, const struct ledger_bounced *b)
{
    db_item_int4(p, b->settlement.fence);
}
static void write_part(struct db_params *p, const struct ledger_bounced *b)
{
    db_item_int4(p, b->part);
}
static void write_attempts(struct db_params *p, const struct ledger_bounced *b)
{
    db_item_int4(p, b->attempts);
}
static void write_state(struct db_params *p, const struct ledger_bounced *b)
{
    enum delivery_state state = delivery_state_after(b->settlement.disposition.kind);

    ledger_item_text(p, b->is_ignored ? NULL : delivery_state_name(state));
}
static void write_wait(struct db_params *p, const struct ledger_bounced *b)
{
    db_item_int8(p, b->settlement.disposition.wait_ms);
}
static void write_reason(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, b->settlement.reason);
}
static void write_code(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, b->settlement.provider_code);
}
static void write_outcome(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, outcome_name(b->settlement.outcome));
}
static void write_disposition(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, disposition_name(b->settlement.disposition.kind));
}
static void write_detail(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_text(p, b->settlement.detail);
}
static void write_next(struct db_params *p, const struct ledger_bounced *b)
{
    ledger_item_way(p, &b->settlement);
}

/* agwb.settle_bounces()'s array parameters, in order. */
static const struct {
    enum db_type type;
    write_bounced_fn *write;
} BOUNCE_COLUMNS[] = {
    {DB_INT8, write_receipt}, {DB_TEXT, write_message_id},  {DB_INT4, write_fence},
    {DB_INT4, write_part},    {DB_INT4, write_attempts},    {DB_TEXT, write_state},
    {DB_INT8, write_wait},    {DB_TEXT, write_reason},      {DB_TEXT, write_code},
    {DB_TEXT, write_outcome}, {DB_TEXT, write_disposition}, {DB_TEXT, write_detail},
    {DB_TEXT, write_next},
};

int ledger_settle_bounces(struct ledger *l, const struct ledger_bounced *items, size_t count,
                          ledger_done_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    for (size_t c = 0; c < sizeof BOUNCE_COLUMNS / sizeof BOUNCE_COLUMNS[0]; c++) {
        db_array_begin(p, BOUNCE_COLUMNS[c].type);
        for (size_t i = 0; i < count; i++)
            BOUNCE_COLUMNS[c].write(p, &items[i]);
        db_array_end(p);
    }
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++) {
        if (items[i].settlement.opted_out)
            ledger_item_text(p, items[i].settlement.message_id);
    }
    db_array_end(p);
    return ledger_run(
        l, l->deps.work_db,
        "select agwb.settle_bounces($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        ledger_on_done, &(struct ledger_call){.done = done, .arg = arg});
}
