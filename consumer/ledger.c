/* Calls of schema agwb's functions: arrays in, rows out. A call record carries the callback over the
 * statement's flight. */
#include "consumer/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/uuid.h"
#include "domain/contact.h"

enum { SWEEP_LIMIT = 500, ACCOUNTS_LIMIT = 64 * 1024 };

struct ledger {
    struct ledger_deps deps;
    struct db_params params;
    struct buf accounts; /* the routing table agwb.accept_replies() wants */
};

/* One statement's callback. `count` is the batch's size where results are arrays. */
struct call {
    union {
        ledger_accepted_fn *accepted;
        ledger_claimed_fn *claimed;
        ledger_settled_fn *settled;
        ledger_done_fn *done;
        ledger_swept_fn *swept;
        ledger_parked_fn *parked;
        ledger_failed_fn *failed;
        ledger_overdue_fn *overdue;
    };
    void *arg;
    size_t count;
};

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
    if (!*l)
        return;
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

static int run(struct db *db, const char *sql, const struct db_params *p, db_done_fn *done,
               const struct call *call)
{
    struct call *copy = xcalloc(1, sizeof *copy);

    *copy = *call;
    if (db_query(db, sql, p, done, copy) == 0)
        return 0;
    free(copy);
    return -1;
}

static struct call take(void *arg)
{
    struct call c = *(struct call *)arg;

    free(arg);
    return c;
}

static void item_text(struct db_params *p, const char *s)
{
    db_item_text(p, s, s ? strlen(s) : 0);
}

static const char *text_or_null(const struct db_result *r, size_t row, int col)
{
    return db_is_null(r, row, col) ? NULL : db_text(r, row, col);
}

/* --- accept --- */

typedef void write_item_fn(struct db_params *p, const struct ledger_arrival *a);

static void write_message_id(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->message_id);
}
static void write_original(struct db_params *p, const struct ledger_arrival *a)
{
    /* an id that is no uuid is nobody's request */
    item_text(p, is_uuid(a->reply->original_message_id) ? a->reply->original_message_id : NULL);
}
static void write_status(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, reply_status_name(a->reply->status));
}
static void write_has_content(struct db_params *p, const struct ledger_arrival *a)
{
    db_item_bool(p, a->reply->text || a->reply->attachment_count > 0);
}
static void write_jid(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->contact.remote_jid);
}
static void write_address(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->contact.phone_number);
}
static void write_channel(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->channel == CHANNEL_NONE ? NULL : channel_name(a->reply->channel));
}
static void write_workspace(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->workspace_id);
}
static void write_conversation(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->conversation_id);
}
static void write_contact(struct db_params *p, const struct ledger_arrival *a)
{
    item_text(p, a->reply->contact_id);
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
    item_text(p, a->headers_json);
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

static void on_accepted(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
    struct ledger_accepted *results;
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
    for (size_t i = 0; i < c.count; i++)
        results[i] = (struct ledger_accepted){.result = accept_result(db_text(r, i, 1)),
                                              .orphan = db_bool(r, i, 2),
                                              .reason = db_text(r, i, 3)};
    c.accepted(c.arg, results, c.count, NULL);
    free(results);
}

int ledger_accept(struct ledger *l, const struct ledger_arrival *const *arrivals, size_t count,
                  ledger_accepted_fn *done, void *arg)
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
    return run(l->deps.accept_db,
               "select message_id, result, orphan, coalesce(reason, '') from "
               "agwb.accept_replies($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::jsonb)",
               p, on_accepted, &(struct call){.accepted = done, .arg = arg, .count = count});
}

/* --- claim, settle --- */

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
        .job_id = text_or_null(r, row, 8),
        .workspace_id = text_or_null(r, row, 9),
        .contact_id = text_or_null(r, row, 10),
        .headers_json = db_text(r, row, 11),
        .accepted_ms = db_int(r, row, 12),
        .due_ms = db_int(r, row, 13),
        .published_ms = db_int(r, row, 14),
    };
}

static void add_limits(const struct ledger *l, struct db_params *p)
{
    const struct config *c = l->deps.config;

    db_param_int4(p, (int32_t)c->limits.sends_per_minute);
    db_param_int4(p, (int32_t)c->limits.account_per_minute);
    db_param_int4(p, (int32_t)c->limits.contact_per_minute);
    db_param_int8(p, c->limits.window_ms);
}

static struct ledger_wait wait_of_row(const struct db_result *r, size_t row)
{
    return (struct ledger_wait){.next_due_ms = db_is_null(r, row, 15) ? -1 : db_int(r, row, 15),
                                .held_all = db_int(r, row, 16),
                                .held_account = db_int(r, row, 17),
                                .held_contact = db_int(r, row, 18),
                                .cancelled = db_int(r, row, 19)};
}

static void on_claimed(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
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

int ledger_claim(struct ledger *l, const struct ledger_ask *ask, ledger_claimed_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_param_text(p, l->deps.owner);
    db_param_int4(p, (int32_t)ask->slots);
    db_param_int8(p, l->deps.config->consumer.lease_ms);
    db_param_bool(p, l->deps.config->consumer.drop_stale);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < ask->skip_count; i++)
        item_text(p, ask->skip[i]);
    db_array_end(p);
    db_param_text(p, ask->only);
    add_limits(l, p);
    return run(l->deps.work_db,
               "select * from agwb.claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", p, on_claimed,
               &(struct call){.claimed = done, .arg = arg});
}

static void on_settled(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
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
                                             .job_published_ms = db_int(r, i, 2)};
    c.settled(c.arg, settled, rows, NULL);
    free(settled);
}

typedef void write_settlement_fn(struct db_params *p, const struct settlement *s);

static void text_or_absent(struct db_params *p, const char *s)
{
    item_text(p, s[0] ? s : NULL);
}
static void settle_message_id(struct db_params *p, const struct settlement *s)
{
    item_text(p, s->message_id);
}
static void settle_fence(struct db_params *p, const struct settlement *s)
{
    db_item_int4(p, s->fence);
}
static void settle_state(struct db_params *p, const struct settlement *s)
{
    item_text(p, delivery_state_name(delivery_state_after(s->disposition.kind)));
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
    item_text(p, outcome_name(s->outcome));
}
static void settle_disposition(struct db_params *p, const struct settlement *s)
{
    item_text(p, disposition_name(s->disposition.kind));
}
static void settle_detail(struct db_params *p, const struct settlement *s)
{
    text_or_absent(p, s->detail);
}
static void settle_timings(struct db_params *p, const struct settlement *s)
{
    item_text(p, s->timings);
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
};

int ledger_settle(struct ledger *l, const struct settlement *const *items, size_t count,
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
    add_limits(l, p);
    return run(l->deps.work_db,
               "select * from agwb.settle_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
               "$14, $15, $16, $17, $18, $19)",
               p, on_settled, &(struct call){.settled = done, .arg = arg});
}

static void on_done(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);

    (void)r;
    c.done(c.arg, e);
}

int ledger_release(struct ledger *l, const char *message_id, int32_t fence, ledger_done_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_TEXT);
    item_text(p, message_id);
    db_array_end(p);
    db_array_begin(p, DB_INT4);
    db_item_int4(p, fence);
    db_array_end(p);
    return run(l->deps.work_db, "select agwb.release_deliveries($1, $2)", p, on_done,
               &(struct call){.done = done, .arg = arg});
}

/* --- requests that will not be answered --- */

static enum ledger_fail_result fail_result(const char *word)
{
    static const char *const WORDS[] = {[LEDGER_FAIL_FALLBACK] = "fallback",
                                        [LEDGER_FAIL_QUIET] = "quiet",
                                        [LEDGER_FAIL_AGAIN] = "again",
                                        [LEDGER_FAIL_ANSWERED] = "answered",
                                        [LEDGER_FAIL_UNKNOWN] = "unknown"};

    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strcmp(WORDS[i], word) == 0)
            return (enum ledger_fail_result)i;
    }
    return LEDGER_FAIL_UNKNOWN;
}

static void on_failed(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
    enum ledger_fail_result *results;
    struct err short_answer;

    if (e) {
        c.failed(c.arg, NULL, 0, e);
        return;
    }
    if (db_rows(r) != c.count) {
        err_set(&short_answer, ERR_BUG, 0, "agwb.fail_requests answered %zu rows for %zu requests",
                db_rows(r), c.count);
        c.failed(c.arg, NULL, 0, &short_answer);
        return;
    }
    results = xcalloc(c.count, sizeof *results);
    for (size_t i = 0; i < c.count; i++)
        results[i] = fail_result(db_text(r, i, 1));
    c.failed(c.arg, results, c.count, NULL);
    free(results);
}

/* A fallback's id is derived from its request's: however often a request dies, it is the same message. */
static void write_fallback_ids(struct db_params *p, const struct ledger_failure *items, size_t count)
{
    static const char NAMESPACE[] = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"; /* RFC 9562: ISO OID */
    char id[UUID_TEXT_LEN + 1];

    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++) {
        uuid_v5(NAMESPACE, items[i].job_id, strlen(items[i].job_id), id);
        item_text(p, id);
    }
    db_array_end(p);
}

/* The waits before each further try, in order: one row of the ladder for each. */
static void add_job_ladder(struct db_params *p, const struct config_retry *ladder)
{
    db_array_begin(p, DB_INT8);
    for (int n = 1; n < ladder->tries; n++)
        db_item_int8(p, backoff_jittered_ms(&ladder->backoff, n, random_u64()));
    db_array_end(p);
}

int ledger_fail(struct ledger *l, const struct ledger_failure *items, size_t count, ledger_failed_fn *done,
                void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_UUID);
    for (size_t i = 0; i < count; i++)
        item_text(p, items[i].job_id);
    db_array_end(p);
    write_fallback_ids(p, items, count);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        item_text(p, items[i].reason);
    db_array_end(p);
    db_array_begin(p, DB_BOOL);
    for (size_t i = 0; i < count; i++)
        db_item_bool(p, items[i].retry);
    db_array_end(p);
    add_job_ladder(p, &l->deps.config->retry.job);
    db_param_text(p, l->deps.config->consumer.fallback_text);
    db_param_int8(p, l->deps.config->consumer.fallback_window_ms);
    db_param_text(p, buf_str(&l->accounts));
    return run(l->deps.accept_db, "select * from agwb.fail_requests($1, $2, $3, $4, $5, $6, $7, $8::jsonb)",
               p, on_failed, &(struct call){.failed = done, .arg = arg, .count = count});
}

static void on_overdue(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
    const char **ids;
    size_t rows;

    if (e) {
        c.overdue(c.arg, NULL, 0, e);
        return;
    }
    rows = db_rows(r);
    ids = xcalloc(rows ? rows : 1, sizeof *ids);
    for (size_t i = 0; i < rows; i++)
        ids[i] = db_text(r, i, 0);
    c.overdue(c.arg, ids, rows, NULL);
    free(ids);
}

int ledger_overdue(struct ledger *l, size_t limit, ledger_overdue_fn *done, void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_param_int8(p, l->deps.config->publisher.answer_timeout_ms);
    db_param_int4(p, (int32_t)limit);
    return run(l->deps.accept_db, "select * from agwb.overdue_jobs($1, $2)", p, on_overdue,
               &(struct call){.overdue = done, .arg = arg});
}

/* --- chores --- */

static void on_swept(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);

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
                                   .uncopied = db_int(r, 0, 7)},
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
    return run(l->deps.work_db, "select * from agwb.sweep_deliveries($1, $2, $3)", p, on_swept,
               &(struct call){.swept = done, .arg = arg});
}

static void on_parked(void *arg, const struct db_result *r, const struct err *e)
{
    struct call c = take(arg);
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
    return run(l->deps.work_db, "select * from agwb.claim_parked($1, $2, $3)", p, on_parked,
               &(struct call){.parked = done, .arg = arg});
}

int ledger_mark_parked(struct ledger *l, const char *const *message_ids, size_t count, ledger_done_fn *done,
                       void *arg)
{
    struct db_params *p = &l->params;

    db_params_clear(p);
    db_array_begin(p, DB_TEXT);
    for (size_t i = 0; i < count; i++)
        item_text(p, message_ids[i]);
    db_array_end(p);
    return run(l->deps.work_db, "select agwb.mark_parked($1)", p, on_done,
               &(struct call){.done = done, .arg = arg});
}
