/* The lines and objects of `dlq`. */
#include "consumer/dlq_output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "base/record.h"
#include "consumer/dlq_store.h"

enum { BAR_WIDTH = 30 };

const char *dlq_age_text(int64_t age_ms, char out[DLQ_AGE_SIZE])
{
    int64_t s = age_ms / 1000;

    if (age_ms < 0)
        snprintf(out, DLQ_AGE_SIZE, "-");
    else if (s < 120)
        snprintf(out, DLQ_AGE_SIZE, "%" PRId64 "s", s);
    else if (s < 7200)
        snprintf(out, DLQ_AGE_SIZE, "%" PRId64 "m", s / 60);
    else if (s < 172800)
        snprintf(out, DLQ_AGE_SIZE, "%" PRId64 "h %" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        snprintf(out, DLQ_AGE_SIZE, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
    return out;
}

void dlq_write_bar(struct buf *out, int64_t done, int64_t total)
{
    int64_t filled = total > 0 ? done * BAR_WIDTH / total : 0;

    buf_add_char(out, '[');
    for (int64_t i = 0; i < BAR_WIDTH; i++)
        buf_add_char(out, i < filled ? '#' : '-');
    buf_printf(out, "] %" PRId64 "/%" PRId64, done, total);
}

static const char *past_tense(enum dlq_verb verb)
{
    switch (verb) {
    case DLQ_LIST:
        return "listed";
    case DLQ_SHOW:
        return "shown";
    case DLQ_REPLAY:
        return "replayed";
    case DLQ_PARK:
        return "parked";
    case DLQ_PURGE:
        return "purged";
    }
    return "";
}

static const char *result_word(enum dlq_verb verb, enum dlq_result result)
{
    switch (result) {
    case DLQ_SEEN:
        break;
    case DLQ_WOULD:
        return "would";
    case DLQ_DONE:
        return past_tense(verb);
    case DLQ_REMOVED:
        return "removed";
    case DLQ_LEFT:
        return "left";
    }
    return NULL;
}

/* --- queues and summaries --- */

void dlq_write_queue(struct buf *out, bool json, const char *queue, uint32_t messages)
{
    struct record r = {.out = out, .json = json};

    if (!json) {
        buf_printf(out, "%-14s %" PRIu32 "\n", queue, messages);
        return;
    }
    record_open(&r);
    record_id(&r, "type", "queue");
    record_id(&r, "queue", queue);
    record_int(&r, "messages", messages, true);
    record_close(&r, false);
}

void dlq_write_queues_summary(struct buf *out, uint64_t messages)
{
    struct record r = {.out = out, .json = true};

    record_open(&r);
    record_id(&r, "type", "summary");
    record_id(&r, "verb", dlq_verb_name(DLQ_LIST));
    record_int(&r, "queues", DLQ_QUEUE_COUNT, true);
    record_int(&r, "messages", (int64_t)messages, true);
    record_close(&r, false);
}

static bool is_dry(const struct dlq_options *o)
{
    return dlq_verb_moves(o->verb) && !o->execute;
}

static void write_json_summary(struct buf *out, const struct dlq_options *o, const struct dlq_tally *t,
                               const char *target, bool stopped)
{
    struct record r = {.out = out, .json = true};

    record_open(&r);
    record_id(&r, "type", "summary");
    record_id(&r, "verb", dlq_verb_name(o->verb));
    record_id(&r, "queue", o->queue->name);
    record_id(&r, "target", target);
    record_bool(&r, "dryRun", is_dry(o));
    record_bool(&r, "stopped", stopped);
    record_int(&r, "messages", t->messages, true);
    record_int(&r, "examined", t->examined, true);
    record_int(&r, "done", t->done, true);
    record_int(&r, "removed", t->removed, true);
    record_int(&r, "left", t->left, true);
    record_int(&r, "expiredLeft", t->stale, true);
    record_close(&r, false);
}

void dlq_write_summary(struct buf *out, const struct dlq_options *o, const struct dlq_tally *t,
                       const char *target, bool stopped)
{
    if (o->json) {
        write_json_summary(out, o, t, target, stopped);
        return;
    }
    buf_printf(out, "%s%s %" PRId64 " of %" PRIu32 " in %s%s%s", is_dry(o) ? "would be " : "",
               past_tense(o->verb), t->done, t->messages, o->queue->name, target ? " to " : "",
               target ? target : "");
    if (t->removed > 0)
        buf_printf(out, "; %" PRId64 " leftovers of an earlier run removed", t->removed);
    if (t->left > 0)
        buf_printf(out, "; %" PRId64 " left", t->left);
    if (t->stale > 0)
        buf_printf(out, "; %" PRId64 " expired more than an hour old left out (--max-age takes them)",
                   t->stale);
    buf_add_str(out, stopped ? "; stopped" : "");
    buf_add_str(out, is_dry(o) ? " (dry run: --execute does it)\n" : "\n");
}

/* --- messages --- */

static const char *masked_contact(const struct dlq_message *m, char mask[CONTACT_MASK_SIZE])
{
    const char *address = m->number ? m->number : m->jid;

    return address ? contact_mask(address, mask) : NULL;
}

static void add_column(struct buf *out, const char *text, size_t width)
{
    size_t begin = out->len;

    record_add_printable(out, text, strlen(text));
    while (!out->failed && out->len - begin < width)
        buf_add_char(out, ' ');
    buf_add_char(out, ' ');
}

static void write_line(struct buf *out, const struct dlq_message *m, const char *word, const char *why)
{
    char mask[CONTACT_MASK_SIZE], age[DLQ_AGE_SIZE];
    const char *contact = masked_contact(m, mask);

    if (word)
        add_column(out, word, 8);
    add_column(out, m->id, 40);
    add_column(out, m->reason ? m->reason : m->death ? m->death : "-", 11);
    add_column(out, dlq_age_text(m->age_ms, age), 8);
    add_column(out, contact ? contact : "-", 15);
    record_add_clean(out, why ? why : m->detail ? m->detail : "");
    buf_add_char(out, '\n');
}

/* The members that every message has, whatever the verb. */
static void record_message(struct record *r, const struct dlq_message *m)
{
    char mask[CONTACT_MASK_SIZE];

    record_id(r, "queue", m->queue->name);
    record_id(r, "messageId", m->id);
    record_id(r, "originalMessageId", m->original_id);
    record_text(r, "reason", m->reason);
    record_text(r, "death", m->death);
    record_text(r, "error", m->detail);
    record_int(r, "ageS", m->age_ms / 1000, m->age_ms >= 0);
    record_id(r, "contact", masked_contact(m, mask));
    record_id(r, "workspaceId", m->workspace);
    record_int(r, "attempts", m->attempts, m->attempts >= 0);
    record_int(r, "deliveryCount", m->delivery_count, true);
    record_int(r, "bytes", (int64_t)m->delivery->body_len, true);
}

void dlq_write_message(struct buf *out, const struct dlq_options *o, const struct dlq_message *m,
                       enum dlq_result result, const char *why)
{
    struct record r = {.out = out, .json = o->json};
    const char *word = result_word(o->verb, result);

    if (!o->json) {
        write_line(out, m, word, why);
        return;
    }
    record_open(&r);
    record_id(&r, "type", "message");
    record_message(&r, m);
    record_id(&r, "result", word);
    record_id(&r, "why", why);
    record_close(&r, false);
}

/* --- show --- */

static void record_headers(struct record *r, const struct broker_delivery *d)
{
    record_open_member(r, "headers", '{');
    for (size_t i = 0; i < d->header_count; i++) {
        const struct broker_header *h = &d->headers[i];
        struct buf name;

        buf_init(&name, 512);
        buf_add_str(&name, r->json ? "" : "header ");
        record_add_printable(&name, h->name, strlen(h->name));
        if (h->str)
            record_text(r, buf_str(&name), h->str);
        else
            record_int(r, buf_str(&name), h->i, true);
        buf_fini(&name);
    }
    record_close(r, true);
}

enum fact_kind { FACT_ID, FACT_TEXT, FACT_INT, FACT_CONTACT };

/* One column of a result: its key in JSON, its name for people. */
struct fact {
    const char *key, *name;
    enum fact_kind kind;
};

static void record_fact(struct record *r, const struct fact *f, const struct db_result *rows, size_t row,
                        int column)
{
    const char *name = r->json ? f->key : f->name;
    const char *text = db_is_null(rows, row, column) ? NULL : db_text(rows, row, column);
    char mask[CONTACT_MASK_SIZE];

    switch (f->kind) {
    case FACT_ID:
        record_id(r, name, text);
        return;
    case FACT_TEXT:
        record_text(r, name, text);
        return;
    case FACT_INT:
        record_int(r, name, db_int(rows, row, column), text != NULL);
        return;
    case FACT_CONTACT:
        record_id(r, name, text ? contact_mask(text, mask) : NULL);
        return;
    }
}

static void record_ledger(struct record *r, const struct db_result *facts)
{
    static const struct fact FACTS[DLQ_FACT_COUNT] = {
        [DLQ_FACT_STATE] = {"state", "ledger state", FACT_ID},
        [DLQ_FACT_KIND] = {"kind", "kind", FACT_ID},
        [DLQ_FACT_ATTEMPTS] = {"attempts", "ledger attempts", FACT_INT},
        [DLQ_FACT_REPLAYS] = {"replays", "replays", FACT_INT},
        [DLQ_FACT_ACCOUNT] = {"account", "account", FACT_ID},
        [DLQ_FACT_CHANNEL] = {"channel", "channel", FACT_ID},
        [DLQ_FACT_ADDRESS] = {"contact", "ledger contact", FACT_CONTACT},
        [DLQ_FACT_WORKSPACE] = {"workspaceId", "ledger workspace", FACT_ID},
        [DLQ_FACT_REASON] = {"reason", "ledger reason", FACT_TEXT},
        [DLQ_FACT_PROVIDER_ID] = {"providerMessageId", "provider id", FACT_ID},
        [DLQ_FACT_ACCEPTED_AT] = {"acceptedAt", "accepted", FACT_ID},
        [DLQ_FACT_SETTLED_AT] = {"settledAt", "settled", FACT_ID},
        [DLQ_FACT_JOB_ID] = {"jobId", "job", FACT_ID},
        [DLQ_FACT_JOB_STATUS] = {"jobStatus", "job status", FACT_ID},
        [DLQ_FACT_JOB_ERROR] = {"jobError", "job error", FACT_TEXT},
    };

    record_open_member(r, "ledger", '{');
    for (int i = 0; i < DLQ_FACT_COUNT; i++)
        record_fact(r, &FACTS[i], facts, 0, i);
    record_close(r, true);
}

static void record_attempts(struct record *r, const struct db_result *attempts)
{
    static const struct fact COLUMNS[DLQ_ATTEMPT_COLUMNS] = {
        {"startedAt", "attempt", FACT_ID},         {"account", "  account", FACT_ID},
        {"outcome", "  outcome", FACT_ID},         {"disposition", "  disposition", FACT_ID},
        {"httpStatus", "  http status", FACT_INT}, {"providerCode", "  provider code", FACT_TEXT},
        {"detail", "  detail", FACT_TEXT},
    };

    record_open_member(r, "history", '[');
    for (size_t row = 0; row < db_rows(attempts); row++) {
        record_open(r);
        for (int i = 0; i < DLQ_ATTEMPT_COLUMNS; i++)
            record_fact(r, &COLUMNS[i], attempts, row, i);
        record_close(r, true);
    }
    record_close_array(r);
}

/* In JSON a member "body" with the message itself, or null when it is none. */
static void record_body(struct record *r, const struct broker_delivery *d)
{
    struct err ignored;

    if (!r->json) {
        buf_add_str(r->out, "  body\n");
        record_add_printable(r->out, d->body ? d->body : "", d->body ? d->body_len : 0);
        buf_add_char(r->out, '\n');
    } else if (d->body && json_scan(d->body, d->body_len, &ignored) == 0) {
        buf_add_str(r->out, ",\"body\":");
        for (size_t i = 0; i < d->body_len;
             i++) /* in strings there are no line ends, between them they mean nothing */
            buf_add_char(r->out, d->body[i] == '\n' || d->body[i] == '\r' ? ' ' : d->body[i]);
    } else {
        record_id(r, "body", NULL);
    }
}

void dlq_write_detail(struct buf *out, const struct dlq_options *o, const struct dlq_message *m,
                      const struct db_result *facts, const struct db_result *attempts)
{
    struct record r = {.out = out, .json = o->json};

    if (!o->json) {
        record_add_printable(out, m->id, strlen(m->id));
        buf_add_char(out, '\n');
    }
    record_open(&r);
    if (o->json)
        record_id(&r, "type", "message");
    record_message(&r, m);
    record_headers(&r, m->delivery);
    record_ledger(&r, facts);
    record_attempts(&r, attempts);
    if (o->body)
        record_body(&r, m->delivery);
    record_close(&r, false);
}
