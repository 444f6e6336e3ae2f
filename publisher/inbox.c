/* One batch at a time: claimed, read in one go, then recorded in pieces. A piece with a row at fault is
 * halved until the culprit stands alone. While a batch is being recorded, the next one gathers in the table;
 * there is nothing to gain from reading ahead. */
#include "publisher/inbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/crash.h"
#include "base/log.h"
#include "domain/families.h"
#include "publisher/inbox_row.h"

enum {
    CLAIM_BYTES = 4 * 1024 * 1024, /* bodies of one claim together */
    PIECE_EVENTS = 500,            /* messages and receipts of one transaction; a single row may have more */
    PIECE_BYTES = 32 * 1024 * 1024,
    KEEP_BYTES = 1024 * 1024, /* of memory between batches, each buffer */
    RECEIPTS_LIMIT = 500,
    RECEIPTS_IDLE_MS = 30000,
    RETRY_MS = 1000
};

/* Columns of claim_inbox(). */
enum claim_column { CLAIM_ID = 0, CLAIM_PROVIDER, CLAIM_ACCOUNT, CLAIM_HEADERS, CLAIM_BODY, CLAIM_FAULT };
/* Columns of record_inbox(). */
enum result_column { RESULT_N = 0, RESULT_WORD, RESULT_REASON, RESULT_JOB };

struct inbox {
    struct inbox_deps deps;
    bool open;
    bool wanted;   /* pending rows are likely */
    bool claiming; /* a claim is in flight */
    bool recording;
    bool applying, receipts_due;
    int64_t retry_at;                  /* after a failed statement: monotonic ms */
    struct loop_timer *poll_timer;     /* the sweep's period */
    struct loop_timer *receipts_timer; /* when a receipt is looked at again */
    struct arena *arena;               /* the batch's */
    struct inbox_row *rows;            /* in the arena */
    size_t count, first;               /* rows before `first` are recorded */
    size_t piece;                      /* rows from `first` on in the statement that runs now */
    size_t limit;                      /* of a piece; halved when it has a row at fault */
    struct db_params params;
    struct buf messages, receipts;
    struct log_gate gate;
};

static void on_poll(void *arg)
{
    struct inbox *i = arg;

    i->wanted = true;
    loop_timer_start(i->poll_timer, i->deps.config->database.poll_interval_ms);
}

static void on_receipts_due(void *arg)
{
    struct inbox *i = arg;

    i->receipts_due = true;
}

struct inbox *inbox_new(const struct inbox_deps *deps)
{
    struct inbox *i = xcalloc(1, sizeof *i);

    i->deps = *deps;
    i->limit = SIZE_MAX;
    i->arena = arena_new();
    i->poll_timer = loop_timer_new(deps->loop, on_poll, i);
    i->receipts_timer = loop_timer_new(deps->loop, on_receipts_due, i);
    db_params_init(&i->params);
    buf_init(&i->messages, PIECE_BYTES);
    buf_init(&i->receipts, PIECE_BYTES);
    return i;
}

void inbox_free(struct inbox **i)
{
    if (!*i)
        return;
    loop_timer_free(&(*i)->poll_timer);
    loop_timer_free(&(*i)->receipts_timer);
    arena_free(&(*i)->arena);
    db_params_fini(&(*i)->params);
    buf_fini(&(*i)->messages);
    buf_fini(&(*i)->receipts);
    free(*i);
    *i = NULL;
}

void inbox_open(struct inbox *i)
{
    i->open = true;
    i->receipts_due = true;
    on_poll(i);
}

void inbox_close(struct inbox *i)
{
    i->open = false;
    loop_timer_stop(i->poll_timer);
    loop_timer_stop(i->receipts_timer);
}

void inbox_wake(struct inbox *i)
{
    i->wanted = true;
}

bool inbox_is_idle(const struct inbox *i)
{
    /* without the database the batch is nobody's duty: its rows are pending, and the lease ends */
    return !i->claiming && !i->applying && (i->first == i->count || !db_is_up(i->deps.db));
}

static void statement_failed(struct inbox *i, const char *what, const struct err *e)
{
    int64_t held;

    i->retry_at = loop_now_ms(i->deps.loop) + RETRY_MS;
    if (i->open)
        loop_timer_start(i->poll_timer, RETRY_MS);
    if (log_gate_pass(&i->gate, 10000, &held))
        log_warn(what, log_str("reason", e->text), log_int("held_back", held));
}

/* --- claiming --- */

static const char *column(const struct db_result *r, size_t row, enum claim_column col)
{
    return db_is_null(r, row, (int)col) ? NULL : db_text(r, row, (int)col);
}

static void read_rows(struct inbox *i, const struct db_result *r)
{
    i->count = db_rows(r);
    i->first = 0;
    i->rows = arena_alloc(i->arena, i->count * sizeof *i->rows);
    for (size_t row = 0; row < i->count; row++) {
        struct inbox_claim claim = {.id = db_text(r, row, CLAIM_ID),
                                    .provider = db_text(r, row, CLAIM_PROVIDER),
                                    .account = column(r, row, CLAIM_ACCOUNT),
                                    .headers = column(r, row, CLAIM_HEADERS),
                                    .body = column(r, row, CLAIM_BODY),
                                    .body_len = db_text_len(r, row, CLAIM_BODY),
                                    .fault = column(r, row, CLAIM_FAULT)};
        inbox_row_read(i->deps.config, &claim, i->arena, &i->rows[row]);
        if (i->rows[row].is_forged)
            metric_add(i->deps.metrics, &METRIC_SIGNATURE_FAILURES, 1, i->rows[row].provider, NULL);
    }
}

static void on_claimed(void *arg, const struct db_result *r, const struct err *e)
{
    struct inbox *i = arg;

    i->claiming = false;
    if (e) {
        i->wanted = true;
        statement_failed(i, "could not claim webhooks, will try again", e);
        return;
    }
    if (db_rows(r) == 0)
        return;
    CRASH_POINT("publisher-inbox-claimed");
    read_rows(i, r);
    i->wanted = true; /* a claim is cut short by bytes and by suspects: there may be more in any case */
}

static void drop_batch(struct inbox *i)
{
    arena_reset(i->arena);
    i->rows = NULL;
    i->count = i->first = 0;
    if (i->messages.cap > KEEP_BYTES) { /* a rare large body must not stay for ever */
        buf_fini(&i->messages);
        buf_init(&i->messages, PIECE_BYTES);
        db_params_fini(&i->params);
        db_params_init(&i->params);
    }
}

static void claim(struct inbox *i)
{
    const struct config *c = i->deps.config;
    struct db_params *p = &i->params;

    drop_batch(i);
    db_params_clear(p);
    db_param_text(p, i->deps.owner);
    db_param_int4(p, (int32_t)c->publisher.batch);
    db_param_int8(p, c->publisher.lease_ms);
    db_param_int8(p, INBOX_MAX_BODY);
    db_param_int8(p, CLAIM_BYTES);
    if (db_query(i->deps.db, "select * from agwb.claim_inbox($1, $2, $3, $4, $5)", p, on_claimed, i) == 0) {
        i->claiming = true;
        i->wanted = false;
    }
}

/* --- what became of a row --- */

static void log_message(const struct inbox_row *row, const struct webhook_message *m,
                        const struct db_result *r, size_t n)
{
    char masked[CONTACT_MASK_SIZE];

    log_info("webhook message", log_str("provider", row->provider),
             log_str("account", inbox_row_account(row, m->other)),
             log_str("contact", inbox_mask_sender(m, masked)), log_str("channel", channel_name(m->channel)),
             log_str("result", db_text(r, n, RESULT_WORD)),
             log_str("messageId", db_is_null(r, n, RESULT_JOB) ? NULL : db_text(r, n, RESULT_JOB)),
             log_str("reason", db_is_null(r, n, RESULT_REASON) ? NULL : db_text(r, n, RESULT_REASON)),
             log_str("inboxId", row->id));
}

static void log_receipt(const struct inbox_row *row, const struct webhook_receipt *receipt)
{
    char masked[CONTACT_MASK_SIZE];

    log_info("receipt", log_str("provider", row->provider),
             log_str("account", inbox_row_account(row, receipt->other)),
             log_str("contact", receipt->recipient ? contact_mask(receipt->recipient, masked) : NULL),
             log_str("status", receipt_status_name(receipt->status)),
             log_str("providerId", receipt->external_id), log_str("code", receipt->code),
             log_str("inboxId", row->id));
}

static void log_row(const struct inbox_row *row)
{
    if (row->result == INBOX_DONE)
        return; /* its messages and receipts have lines of their own */
    log_write(row->result == INBOX_FAILED ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
              row->result == INBOX_FAILED ? "webhook failed" : "webhook ignored",
              LOG_FIELDS(log_str("provider", row->provider), log_str("account", row->account_name),
                         log_str("reason", row->error), log_str("inboxId", row->id)));
}

/* The results from `n` on are those of this row's messages. */
static void report_row(struct inbox *i, const struct inbox_row *row, const struct db_result *r, size_t n)
{
    const struct webhook_events *ev = &row->events;
    size_t duplicates = 0, lost = 0;

    for (size_t k = 0; k < ev->message_count && n + k < db_rows(r); k++) {
        log_message(row, &ev->messages[k], r, n + k);
        duplicates += strcmp(db_text(r, n + k, RESULT_WORD), "duplicate") == 0;
        lost += strcmp(db_text(r, n + k, RESULT_WORD), "lost") == 0;
    }
    if (lost > 0)
        return; /* whoever has the row now reports it */
    for (size_t k = 0; k < ev->receipt_count; k++) {
        log_receipt(row, &ev->receipts[k]);
        metric_add(i->deps.metrics, &METRIC_RECEIPTS, 1, row->provider,
                   receipt_status_name(ev->receipts[k].status));
    }
    log_row(row);
    metric_add(i->deps.metrics, &METRIC_INBOX_ROWS, 1, row->provider,
               duplicates > 0 && duplicates == ev->message_count && ev->receipt_count == 0
                   ? "duplicate"
                   : inbox_result_name(row->result));
}

/* --- recording --- */

static void report_piece(struct inbox *i, const struct db_result *r)
{
    size_t n = 0, receipts = 0;

    for (size_t k = i->first; k < i->first + i->piece; k++) {
        report_row(i, &i->rows[k], r, n);
        n += i->rows[k].events.message_count;
        receipts += i->rows[k].events.receipt_count;
    }
    if (receipts > 0)
        i->receipts_due = true;
    if (n > 0 && i->deps.config->publisher.debounce_ms > 0)
        intake_due_in(i->deps.intake, i->deps.config->publisher.debounce_ms);
}

/* A row that cannot even be recorded as failed is left to its lease: the claim counts, and ends it. */
static void piece_at_fault(struct inbox *i, const struct err *e)
{
    struct inbox_row *culprit = &i->rows[i->first];

    if (i->piece > 1) {
        i->limit = i->piece / 2;
    } else if (culprit->result != INBOX_FAILED) {
        inbox_row_fail(culprit, i->arena, e->text);
    } else {
        log_error("webhook can not be recorded", log_str("inboxId", culprit->id), log_str("reason", e->text));
        i->first++;
    }
}

static void on_recorded(void *arg, const struct db_result *r, const struct err *e)
{
    struct inbox *i = arg;

    i->recording = false;
    if (e && (e->class == ERR_DATA || e->class == ERR_BUG)) {
        piece_at_fault(i, e);
    } else if (e) {
        statement_failed(i, "could not record webhooks, will try again", e);
    } else {
        CRASH_POINT("publisher-inbox-recorded");
        report_piece(i, r);
        i->first += i->piece;
        i->limit = i->limit < SIZE_MAX / 2 ? i->limit * 2 : SIZE_MAX;
    }
}

/* How many rows go into the next statement, with their JSON in the buffers. */
static size_t gather(struct inbox *i)
{
    size_t count = 0, events = 0;

    buf_clear(&i->messages);
    buf_clear(&i->receipts);
    buf_add_char(&i->messages, '[');
    buf_add_char(&i->receipts, '[');
    while (i->first + count < i->count && count < i->limit) {
        const struct inbox_row *row = &i->rows[i->first + count];
        events += row->events.message_count + row->events.receipt_count;
        if (count > 0 && events > PIECE_EVENTS)
            break;
        inbox_row_write_messages(row, &i->messages);
        inbox_row_write_receipts(row, &i->receipts);
        count++;
    }
    buf_add_char(&i->messages, ']');
    buf_add_char(&i->receipts, ']');
    return count;
}

static void add_rows(struct inbox *i)
{
    struct db_params *p = &i->params;
    const struct inbox_row *row = &i->rows[i->first];

    db_array_begin(p, DB_UUID);
    for (size_t k = 0; k < i->piece; k++)
        db_item_text(p, row[k].id, UUID_TEXT_LEN);
    db_array_end(p);
    db_array_begin(p, DB_TEXT);
    for (size_t k = 0; k < i->piece; k++) {
        const char *word = inbox_result_name(row[k].result);
        db_item_text(p, word, strlen(word));
    }
    db_array_end(p);
    db_array_begin(p, DB_TEXT);
    for (size_t k = 0; k < i->piece; k++)
        db_item_text(p, row[k].error, row[k].error ? strlen(row[k].error) : 0);
    db_array_end(p);
}

static void record(struct inbox *i)
{
    const struct config *c = i->deps.config;
    struct err e;

    i->piece = gather(i);
    if (i->messages.failed || i->receipts.failed) {
        err_set(&e, ERR_DATA, 0, "its messages are too large together");
        piece_at_fault(i, &e);
        loop_again(i->deps.loop);
        return;
    }
    db_params_clear(&i->params);
    db_param_text(&i->params, i->deps.owner);
    add_rows(i);
    db_param_text(&i->params, buf_str(&i->messages));
    db_param_text(&i->params, buf_str(&i->receipts));
    db_param_int8(&i->params, c->publisher.debounce_ms);
    db_param_int8(&i->params, c->publisher.debounce_max_ms);
    i->recording = db_query(i->deps.db, "select * from agwb.record_inbox($1, $2, $3, $4, $5, $6, $7, $8)",
                            &i->params, on_recorded, i) == 0;
}

/* --- receipts --- */

static void on_applied(void *arg, const struct db_result *r, const struct err *e)
{
    struct inbox *i = arg;
    int64_t next_ms = RECEIPTS_IDLE_MS;

    i->applying = false;
    if (e) {
        i->receipts_due = true;
        statement_failed(i, "could not apply receipts, will try again", e);
        return;
    }
    if (db_int(r, 0, 0) > 0)
        CRASH_POINT("publisher-receipts-applied");
    if (!db_is_null(r, 0, 2) && db_int(r, 0, 2) < next_ms)
        next_ms = db_int(r, 0, 2);
    if (i->open)
        loop_timer_start(i->receipts_timer, next_ms);
}

static void apply_receipts(struct inbox *i)
{
    db_params_clear(&i->params);
    db_param_int4(&i->params, RECEIPTS_LIMIT);
    if (db_query(i->deps.db, "select * from agwb.apply_receipts($1)", &i->params, on_applied, i) == 0) {
        i->applying = true;
        i->receipts_due = false;
    }
}

void inbox_turn(struct inbox *i)
{
    if (!db_is_up(i->deps.db) || loop_now_ms(i->deps.loop) < i->retry_at)
        return;
    if (i->first < i->count && !i->recording)
        record(i);
    if (i->open && i->receipts_due && !i->applying)
        apply_receipts(i);
    if (i->open && i->wanted && !i->claiming && i->first == i->count)
        claim(i);
}
