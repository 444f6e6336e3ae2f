/* Claiming what is due, settling what ended, giving back what was not started. */
#include "consumer/ledger_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "domain/peers.h"

enum { OWNER_MAX = PEERS_OWNER_SIZE + 24 };

static struct ledger_claim claim_of_row(const struct db_result *r, size_t row)
{
    return (struct ledger_claim){
        .message_id = db_text(r, row, 0),
        .fence = (int32_t)db_int(r, row, 1),
        .attempts = (int32_t)db_int(r, row, 2),
        .kind = db_text(r, row, 3),
        .account = db_text(r, row, 4),
        .channel = db_text(r, row, 5),
        .address = db_text(r, row, 6),
        .payload = db_text(r, row, 7),
        .payload_len = db_text_len(r, row, 7),
        .job_id = ledger_text_or_null(r, row, 8),
        .workspace_id = ledger_text_or_null(r, row, 9),
        .contact_id = ledger_text_or_null(r, row, 10),
        .headers_json = db_text(r, row, 11),
        .accepted_ms = db_int(r, row, 12),
        .due_ms = db_int(r, row, 13),
        .published_ms = db_int(r, row, 14),
        .parts_sent = (int32_t)db_int(r, row, 15),
        .parts_end = db_is_null(r, row, 16) ? -1 : (int32_t)db_int(r, row, 16),
        .quoted_id = ledger_text_or_null(r, row, 17),
        .step = (int32_t)db_int(r, row, 18),
        .chain = db_text(r, row, 19),
        .as_template = db_bool(r, row, 20),
        .number = db_text(r, row, 21),
        .email = db_text(r, row, 22),
    };
}

void ledger_add_limits(const struct ledger *l, struct db_params *p)
{
    const struct config *c = l->deps.config;

    db_param_int4(p, (int32_t)c->limits.sends_per_minute);
    db_param_int4(p, (int32_t)c->limits.account_per_minute);
    db_param_int4(p, (int32_t)c->limits.contact_per_minute);
    db_param_int8(p, c->limits.window_ms);
}

static struct ledger_wait wait_of_row(const struct db_result *r, size_t row)
{
    return (struct ledger_wait){.next_due_ms = db_is_null(r, row, 23) ? -1 : db_int(r, row, 23),
                                .held_all = db_int(r, row, 24),
                                .held_account = db_int(r, row, 25),
                                .held_contact = db_int(r, row, 26),
                                .cancelled = db_int(r, row, 27)};
}

static void on_claimed(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    struct ledger_wait wait = {.next_due_ms = -1};
    struct ledger_claim *claims;
    size_t rows, count = 0;

    if (e) {
        c.claimed(c.arg, NULL, 0, &wait, e);
        return;
    }
    rows = db_rows(r);
    claims = xcalloc(rows ? rows : 1, sizeof *claims);
    for (size_t i = 0; i < rows; i++) {
        if (db_is_null(r, i, 0))
            wait = wait_of_row(r, i);
        else
            claims[count++] = claim_of_row(r, i);
    }
    c.claimed(c.arg, claims, count, &wait, NULL);
    free(claims);
}

void ledger_add_claim_owner(const struct ledger *l, struct db_params *p, uint64_t number)
{
    char owner[OWNER_MAX];

    snprintf(owner, sizeof owner, "%s:%" PRIu64, l->deps.owner, number);
    db_param_text(p, owner);
}

void ledger_add_skipped(struct db_params *p, const struct ledger_ask *ask)
{
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < ask->skip_count; i++)
        ledger_item_text(p, ask->skip[i]);
    db_array_end(p);
}

int ledger_claim(struct ledger *l, const struct ledger_ask *ask, ledger_claimed_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    ledger_add_claim_owner(l, p, ask->number);
    db_param_int4(p, (int32_t)ask->slots);
    db_param_int8(p, l->deps.config->consumer.lease_ms);
    db_param_bool(p, l->deps.config->consumer.drop_stale);
    db_param_bool(p, l->deps.config->consumer.uncertain == UNCERTAIN_RESEND);
    ledger_add_skipped(p, ask);
    db_param_text(p, ask->only);
    ledger_add_chained(l, p);
    ledger_add_limits(l, p);
    return ledger_run(
        l, l->deps.work_db,
        "select * from agwb.claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", on_claimed,
        &(struct ledger_call){.claimed = done, .arg = arg});
}

static void on_settled(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    struct ledger_settled *settled;
    size_t rows;

    if (e) {
        c.settled(c.arg, NULL, 0, e);
        return;
    }
    rows = db_rows(r);
    settled = xcalloc(rows ? rows : 1, sizeof *settled);
    for (size_t i = 0; i < rows; i++)
        settled[i] = (struct ledger_settled){.message_id = db_text(r, i, 0),
                                             .job_created_ms = db_int(r, i, 1),
                                             .job_published_ms = db_int(r, i, 2),
                                             .is_due = db_bool(r, i, 3)};
    c.settled(c.arg, settled, rows, NULL);
    free(settled);
}

typedef void write_settlement_fn(struct db_params *p, const struct settlement *s);

static void text_or_absent(struct db_params *p, const char *s)
{
    ledger_item_text(p, s[0] ? s : NULL);
}
static void settle_message_id(struct db_params *p, const struct settlement *s)
{
    ledger_item_text(p, s->message_id);
}
static void settle_fence(struct db_params *p, const struct settlement *s)
{
    db_item_int4(p, s->fence);
}
static void settle_state(struct db_params *p, const struct settlement *s)
{
    ledger_item_text(p, delivery_state_name(delivery_state_after(s->disposition.kind)));
}
static void settle_wait(struct db_params *p, const struct settlement *s)
{
    db_item_int8(p, s->disposition.wait_ms);
}
static void settle_counted(struct db_params *p, const struct settlement *s)
{
    db_item_bool(p, s->disposition.counted);
}
static void settle_provider_id(struct db_params *p, const struct settlement *s)
{
    text_or_absent(p, s->provider_id);
}
static void settle_reason(struct db_params *p, const struct settlement *s)
{
    text_or_absent(p, s->reason);
}
static void settle_started(struct db_params *p, const struct settlement *s)
{
    db_item_int8(p, s->started_ms);
}
static void settle_ended(struct db_params *p, const struct settlement *s)
{
    db_item_int8(p, s->ended_ms);
}
static void settle_http_status(struct db_params *p, const struct settlement *s)
{
    if (s->http_status)
        db_item_int4(p, s->http_status);
    else
        db_item_null(p);
}
static void settle_provider_code(struct db_params *p, const struct settlement *s)
{
    text_or_absent(p, s->provider_code);
}
static void settle_outcome(struct db_params *p, const struct settlement *s)
{
    ledger_item_text(p, outcome_name(s->outcome));
}
static void settle_disposition(struct db_params *p, const struct settlement *s)
{
    ledger_item_text(p, disposition_name(s->disposition.kind));
}
static void settle_detail(struct db_params *p, const struct settlement *s)
{
    text_or_absent(p, s->detail);
}
static void settle_timings(struct db_params *p, const struct settlement *s)
{
    ledger_item_text(p, s->timings);
}

/* agwb.settle_deliveries()'s array parameters, in order. */
static const struct {
    enum db_type type;
    write_settlement_fn *write;
} SETTLE_COLUMNS[] = {
    {DB_TEXT, settle_message_id},  {DB_INT4, settle_fence},         {DB_TEXT, settle_state},
    {DB_INT8, settle_wait},        {DB_BOOL, settle_counted},       {DB_TEXT, settle_provider_id},
    {DB_TEXT, settle_reason},      {DB_INT8, settle_started},       {DB_INT8, settle_ended},
    {DB_INT4, settle_http_status}, {DB_TEXT, settle_provider_code}, {DB_TEXT, settle_outcome},
    {DB_TEXT, settle_disposition}, {DB_TEXT, settle_detail},        {DB_TEXT, settle_timings},
    {DB_TEXT, ledger_item_way},
};

int ledger_settle(struct ledger *l, const struct settlement *const *items, size_t count, bool bare,
                  ledger_settled_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    for (size_t c = 0; c < sizeof SETTLE_COLUMNS / sizeof SETTLE_COLUMNS[0]; c++) {
        db_array_begin(p, SETTLE_COLUMNS[c].type);
        for (size_t i = 0; i < count; i++)
            SETTLE_COLUMNS[c].write(p, items[i]);
        db_array_end(p);
    }
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++) {
        if (items[i]->opted_out)
            ledger_item_text(p, items[i]->message_id);
    }
    db_array_end(p);
    ledger_add_limits(l, p);
    db_param_bool(p, bare);
    return ledger_run(
        l, l->deps.work_db,
        "select * from agwb.settle_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
        "$14, $15, $16, $17, $18, $19, $20, $21, $22)",
        on_settled, &(struct ledger_call){.settled = done, .arg = arg});
}

int ledger_release(struct ledger *l, const struct ledger_unstarted *items, size_t count, ledger_done_fn *done,
                   void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        ledger_item_text(p, items[i].message_id);
    db_array_end(p);
    db_array_begin(p, DB_INT4);
    for (size_t i = 0; i < count; i++)
        db_item_int4(p, items[i].fence);
    db_array_end(p);
    return ledger_run(l, l->deps.work_db, "select agwb.release_deliveries($1, $2)", ledger_on_done,
                      &(struct ledger_call){.done = done, .arg = arg});
}

int ledger_release_claim(struct ledger *l, uint64_t number, ledger_done_fn *done, void *arg)
{
    db_params_clear(&l->params);
    ledger_add_claim_owner(l, &l->params, number);
    return ledger_run(l, l->deps.work_db, "select agwb.release_claim($1)", ledger_on_done,
                      &(struct ledger_call){.done = done, .arg = arg});
}

int ledger_call_others(struct ledger *l, ledger_done_fn *done, void *arg)
{
    db_params_clear(&l->params);
    return ledger_run(l, l->deps.work_db, "select pg_notify('" LEDGER_CHANNEL "', '')", ledger_on_done,
                      &(struct ledger_call){.done = done, .arg = arg});
}
