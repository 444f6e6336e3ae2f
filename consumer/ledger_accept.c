/* Accepting replies: agwb.accept_replies(). */
#include "consumer/ledger_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/uuid.h"

typedef void write_item_fn(struct db_params *p, const struct ledger_arrival *a);

static void write_message_id(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->message_id);
}
static void write_original(struct db_params *p, const struct ledger_arrival *a)
{
    /* an id that is no uuid is nobody's request */
    ledger_item_text(p, is_uuid(a->reply->original_message_id) ? a->reply->original_message_id : NULL);
}
static void write_status(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, reply_status_name(a->reply->status));
}
static void write_has_content(struct db_params *p, const struct ledger_arrival *a)
{
    db_item_bool(p, a->has_content);
}
static void write_jid(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->contact.remote_jid);
}
static void write_address(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->contact.phone_number);
}
static void write_channel(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->channel == CHANNEL_NONE ? NULL : channel_name(a->reply->channel));
}
static void write_workspace(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->workspace_id);
}
static void write_conversation(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->conversation_id);
}
static void write_contact(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->reply->contact_id);
}
static void write_published(struct db_params *p, const struct ledger_arrival *a)
{
    if (a->reply->timestamp_ms > 0)
        db_item_int8(p, a->reply->timestamp_ms);
    else
        db_item_null(p);
}
static void write_payload(struct db_params *p, const struct ledger_arrival *a)
{
    db_item_bytes(p, a->body, a->body_len);
}
static void write_headers(struct db_params *p, const struct ledger_arrival *a)
{
    ledger_item_text(p, a->headers_json);
}

static void write_replay(struct db_params *p, const struct ledger_arrival *a)
{
    db_item_int4(p, a->replay);
}

/* agwb.accept_replies()'s array parameters, in order. */
static const struct {
    enum db_type type;
    write_item_fn *write;
} ACCEPT_COLUMNS[] = {
    {DB_TEXT, write_message_id},  {DB_UUID, write_original},  {DB_TEXT, write_status},
    {DB_BOOL, write_has_content}, {DB_TEXT, write_jid},       {DB_TEXT, write_address},
    {DB_TEXT, write_channel},     {DB_UUID, write_workspace}, {DB_UUID, write_conversation},
    {DB_UUID, write_contact},     {DB_INT8, write_published}, {DB_BYTEA, write_payload},
    {DB_TEXT, write_headers},     {DB_INT4, write_replay},
};

static enum ledger_accept_result accept_result(const char *word)
{
    static const char *const WORDS[] = {
        [LEDGER_ACCEPTED] = "accepted", [LEDGER_DUPLICATE] = "duplicate", [LEDGER_CONFLICT] = "conflict",
        [LEDGER_ERROR] = "error",       [LEDGER_EMPTY] = "empty",         [LEDGER_UNROUTABLE] = "unroutable"};

    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strcmp(WORDS[i], word) == 0)
            return (enum ledger_accept_result)i;
    }
    return LEDGER_CONFLICT; /* an operator's own function said something else: nothing is stored as far as we
                               know */
}

/* The first attempt of a new reply. */
static struct ledger_claim claim_of_row(const struct db_result *r, size_t row)
{
    return (struct ledger_claim){
        .message_id = db_text(r, row, 0),
        .fence = (int32_t)db_int(r, row, 4),
        .attempts = 1,
        .parts_end = -1,
        .kind = "reply",
        .account = db_text(r, row, 5),
        .channel = db_text(r, row, 6),
        .address = db_text(r, row, 7),
        .job_id = ledger_text_or_null(r, row, 8),
        .workspace_id = ledger_text_or_null(r, row, 9),
        .contact_id = ledger_text_or_null(r, row, 10),
        .accepted_ms = db_int(r, row, 11),
        .due_ms = db_int(r, row, 11),
        .quoted_id = ledger_text_or_null(r, row, 12),
        .chain = "",
        .number = db_text(r, row, 13),
        .email = db_text(r, row, 14),
    };
}

static void on_accepted(void *arg, const struct db_result *r, const struct err *e)
{
    struct ledger_call c = ledger_take(arg);
    struct ledger_accepted *results;
    struct ledger_claim *claims;
    struct err short_answer;

    if (e) {
        c.accepted(c.arg, NULL, 0, e);
        return;
    }
    if (db_rows(r) != c.count) {
        err_set(&short_answer, ERR_BUG, 0, "agwb.accept_replies answered %zu rows for %zu replies",
                db_rows(r), c.count);
        c.accepted(c.arg, NULL, 0, &short_answer);
        return;
    }
    results = xcalloc(c.count, sizeof *results);
    claims = xcalloc(c.count, sizeof *claims);
    for (size_t i = 0; i < c.count; i++) {
        results[i] = (struct ledger_accepted){.result = accept_result(db_text(r, i, 1)),
                                              .orphan = db_bool(r, i, 2),
                                              .reason = db_text(r, i, 3)};
        if (db_is_null(r, i, 4))
            continue;
        claims[i] = claim_of_row(r, i);
        results[i].claim = &claims[i];
    }
    c.accepted(c.arg, results, c.count, NULL);
    free(claims);
    free(results);
}

int ledger_accept(struct ledger *l, const struct ledger_arrival *const *arrivals, size_t count,
                  const struct ledger_ask *ask, ledger_accepted_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    for (size_t c = 0; c < sizeof ACCEPT_COLUMNS / sizeof ACCEPT_COLUMNS[0]; c++) {
        db_array_begin(p, ACCEPT_COLUMNS[c].type);
        for (size_t i = 0; i < count; i++)
            ACCEPT_COLUMNS[c].write(p, arrivals[i]);
        db_array_end(p);
    }
    db_param_text(p, buf_str(&l->accounts));
    ledger_add_claim_owner(l, p, ask->number);
    db_param_int4(p, (int32_t)ask->slots);
    db_param_int8(p, l->deps.config->consumer.lease_ms);
    db_param_bool(p, l->deps.config->consumer.drop_stale);
    db_param_bool(p, l->deps.config->consumer.uncertain == UNCERTAIN_RESEND);
    ledger_add_skipped(p, ask);
    ledger_add_chained(l, p);
    ledger_add_limits(l, p);
    return ledger_run(l, l->deps.accept_db,
                      "select * from agwb.accept_replies($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
                      "$13, $14, $15::jsonb, "
                      "$16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)",
                      on_accepted, &(struct ledger_call){.accepted = done, .arg = arg, .count = count});
}
