/* Asks agwb.trace() and prints its rows: a line each, or one JSON object. */
#include "publisher/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/record.h"
#include "domain/contact.h"
#include "domain/peers.h"

enum { OUT_LIMIT = 64 << 20, STATEMENT_MS = 60000, CHOICES = 10, VALUE_LIMIT = 4096 };

/* --- the command line --- */

int trace_options_parse(int argc, char **argv, struct trace_options *o, struct err *e)
{
    *o = (struct trace_options){0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--body") == 0)
            o->body = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            o->help = true;
        else if (argv[i][0] == '-')
            return err_set(e, ERR_USAGE, 0, "trace: unknown option %.40s (see trace --help)", argv[i]);
        else if (o->id)
            return err_set(e, ERR_USAGE, 0, "trace: one message at a time, found %.60s and %.60s", o->id,
                           argv[i]);
        else
            o->id = argv[i];
    }
    if (!o->id && !o->help)
        return err_set(e, ERR_USAGE, 0, "trace: which message? (an id, or a person's number)");
    return 0;
}

static void write_usage(struct buf *out)
{
    buf_add_str(
        out,
        "usage: agwb-publisher [-c FILE] trace ID [--json] [--body]\n\n"
        "ID is a job's, a reply's messageId, a provider's id of what was received or sent, or the id of a\n"
        "row of messages; or a person's number or JID, which lists their newest messages to choose from.\n\n"
        "  --json   one object\n"
        "  --body   what was said, too\n\n"
        "Each line is an event: when, how long after the one before, what, and what is known of it.\n\n"
        "exit status: 0 done, 1 nothing is known of it, 64 usage, 69 the database is unavailable, 78 its\n"
        "schema is too old\n");
}

/* --- events --- */

const char *trace_span(int64_t ms, char out[TRACE_SPAN_SIZE])
{
    int64_t s = ms / 1000;

    if (ms < 1000)
        snprintf(out, TRACE_SPAN_SIZE, "%" PRId64 " ms", ms);
    else if (s < 60)
        snprintf(out, TRACE_SPAN_SIZE, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    else if (s < 3600)
        snprintf(out, TRACE_SPAN_SIZE, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, TRACE_SPAN_SIZE, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, TRACE_SPAN_SIZE, "%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
    return out;
}

/* A value as it may be shown: contacts masked; ids as they are, unless they are made of an address; of every
 * other text the numbers. */
static void add_value(struct buf *out, const char *key, const char *text)
{
    size_t len = strlen(key);
    bool is_id = len > 2 && strcmp(key + len - 2, "Id") == 0 && !strchr(text, '@');
    char mask[CONTACT_MASK_SIZE];

    if (strcmp(key, "contact") == 0)
        buf_add_str(out, contact_mask(text, mask));
    else if (is_id)
        record_add_printable(out, text, strlen(text));
    else
        record_add_clean(out, text);
}

static void write_fact(struct record *r, const struct json_node *n)
{
    struct buf value;
    int64_t number;

    if (json_int(n, &number)) {
        if (r->json)
            record_int(r, json_key(n), number, true);
        else
            buf_printf(r->out, "  %s=%" PRId64, json_key(n), number);
        return;
    }
    if (!json_str(n))
        return;
    buf_init(&value, VALUE_LIMIT); /* a longer one is cut: what fitted is kept */
    add_value(&value, json_key(n), json_str(n));
    value.failed = false;
    if (r->json)
        record_id(r, json_key(n), buf_str(&value));
    else
        buf_printf(r->out, "  %s=%s", json_key(n), buf_str(&value));
    buf_fini(&value);
}

static void write_facts(struct record *r, const char *text)
{
    struct err ignored;
    struct json *facts = json_parse(text, strlen(text), &ignored);

    for (const struct json_node *n = facts ? json_first(json_root(facts)) : NULL; n; n = json_next(n))
        write_fact(r, n);
    json_free(&facts);
}

static void write_line(struct buf *out, const struct trace_event *e, const char *at)
{
    struct record r = {.out = out};
    char span[TRACE_SPAN_SIZE];

    buf_printf(out, "%s %12s  %-22s", at, e->previous_ms ? trace_span(e->at_ms - e->previous_ms, span) : "",
               e->event);
    if (e->took_ms >= 0)
        buf_printf(out, "  took=%s", trace_span(e->took_ms, span));
    write_facts(&r, e->facts);
    if (e->id) {
        buf_add_str(out, "  [");
        record_add_printable(out, e->id, strlen(e->id));
        buf_add_char(out, ']');
    }
    buf_add_char(out, '\n');
    if (e->body) {
        buf_add_str(out, "    ");
        record_add_printable(out, e->body, strlen(e->body));
        buf_add_char(out, '\n');
    }
}

void trace_write_event(struct buf *out, bool json, const struct trace_event *e)
{
    struct record r = {.out = out, .json = true};
    char at[25];

    clock_iso8601(e->at_ms, at);
    if (!json) {
        write_line(out, e, at);
        return;
    }
    record_open(&r);
    record_id(&r, "at", at);
    record_int(&r, "sinceMs", e->at_ms - e->previous_ms, e->previous_ms != 0);
    record_id(&r, "event", e->event);
    record_id(&r, "id", e->id);
    record_int(&r, "tookMs", e->took_ms, e->took_ms >= 0);
    record_open_member(&r, "facts", '{');
    write_facts(&r, e->facts);
    record_close(&r, true);
    if (e->body)
        record_id(&r, "body", e->body);
    record_close(&r, true);
}

/* --- the rows --- */

enum { AT, EVENT, ID, TOOK_MS, FACTS, BODY };

static const char *text_or_null(const struct db_result *r, size_t row, int column)
{
    return db_is_null(r, row, column) ? NULL : db_text(r, row, column);
}

/* In text an id stands where it changes. */
static bool is_shown(const struct db_result *r, size_t row, bool json)
{
    return json || row == 0 || strcmp(db_text(r, row, ID), db_text(r, row - 1, ID)) != 0;
}

static void write_events(struct buf *out, const struct trace_options *o, const struct db_result *r)
{
    for (size_t row = 0; row < db_rows(r); row++) {
        struct trace_event e = {.at_ms = db_int(r, row, AT),
                                .previous_ms = row > 0 ? db_int(r, row - 1, AT) : 0,
                                .event = db_text(r, row, EVENT),
                                .id = is_shown(r, row, o->json) ? text_or_null(r, row, ID) : NULL,
                                .took_ms = db_is_null(r, row, TOOK_MS) ? -1 : db_int(r, row, TOOK_MS),
                                .facts = db_text(r, row, FACTS),
                                .body = o->body ? text_or_null(r, row, BODY) : NULL};

        if (o->json && row > 0)
            buf_add_char(out, ',');
        trace_write_event(out, o->json, &e);
    }
}

static void write_trace(struct buf *out, const struct trace_options *o, const struct db_result *r)
{
    size_t last = db_rows(r) - 1;
    char span[TRACE_SPAN_SIZE];

    if (o->json)
        buf_add_str(out, "{\"events\":[");
    write_events(out, o, r);
    if (o->json)
        buf_printf(out, "],\"totalMs\":%" PRId64 "}\n", db_int(r, last, AT) - db_int(r, 0, AT));
    else
        buf_printf(out, "%zu events in %s\n", last + 1,
                   trace_span(db_int(r, last, AT) - db_int(r, 0, AT), span));
}

static void write_choices(struct buf *out, const struct trace_options *o, const struct db_result *r)
{
    static const char *const KEYS[] = {"at", "id", "what", "state", "channel"};
    struct record record = {.out = out, .json = true};
    char at[25];

    for (size_t row = 0; row < db_rows(r); row++) {
        clock_iso8601(db_int(r, row, 0), at);
        if (!o->json) {
            buf_printf(out, "%s  %-9s %-11s %-9s  ", at, db_text(r, row, 2), db_text(r, row, 3),
                       db_text(r, row, 4));
            record_add_printable(out, db_text(r, row, 1), db_text_len(r, row, 1));
            buf_add_char(out, '\n');
            continue;
        }
        record_open(&record);
        record_id(&record, KEYS[0], at);
        for (int i = 1; i < 5; i++)
            record_id(&record, KEYS[i], text_or_null(r, row, i));
        record_close(&record, false);
        record.begun = false;
    }
    if (!o->json)
        buf_add_str(out, "agwb-publisher trace ID shows one\n");
}

/* --- the questions --- */

static struct db_result *ask_trace(struct db_session *db, const char *id, struct err *e)
{
    struct db_params p;
    struct db_result *r;

    db_params_init(&p);
    db_param_text(&p, id);
    r = peers_ask(db,
                  "select (extract(epoch from at) * 1000)::bigint, event, id, took_ms, facts, body "
                  "from agwb.trace($1)",
                  &p, e);
    db_params_fini(&p);
    return r;
}

/* True when the text can stand for a person: then the number, "" when there is none behind the JID. */
static bool is_contact(const char *text, char number[CONTACT_E164_MAX + 1])
{
    char with_plus[CONTACT_E164_MAX + 2];
    bool is_digits = text[0] && text[strspn(text, "0123456789")] == '\0';

    snprintf(with_plus, sizeof with_plus, "+%.16s", text);
    return contact_number_from_jid(text, number) || contact_normalise_number(text, number) ||
           (is_digits && contact_normalise_number(with_plus, number)) ||
           contact_jid_kind_of(text) != CONTACT_JID_NONE;
}

static struct db_result *ask_contact(struct db_session *db, const char *text, const char *number,
                                     struct err *e)
{
    struct db_params p;
    struct db_result *r;

    db_params_init(&p);
    db_param_text(&p, number);
    db_param_text(&p, strchr(text, '@') ? text : "");
    db_param_int4(&p, CHOICES);
    r = peers_ask(db,
                  "select (extract(epoch from at) * 1000)::bigint, id, what, state, channel "
                  "from agwb.trace_contact($1, $2, $3)",
                  &p, e);
    db_params_fini(&p);
    return r;
}

/* What is an id is never taken for a number. */
static int trace(struct db_session *db, const struct trace_options *o, struct buf *out, struct err *e)
{
    char number[CONTACT_E164_MAX + 1];
    struct db_result *r = ask_trace(db, o->id, e);

    if (!r)
        return -1;
    if (db_rows(r) > 0) {
        write_trace(out, o, r);
    } else if (is_contact(o->id, number)) {
        db_result_free(&r);
        r = ask_contact(db, o->id, number, e);
        if (!r)
            return -1;
        if (db_rows(r) > 0)
            write_choices(out, o, r);
    }
    int rc = db_rows(r) > 0 ? 0 : err_set(e, ERR_DATA, 0, "trace: nothing is known of it");
    db_result_free(&r);
    return rc;
}

int trace_command(const struct config *c, int argc, char **argv, struct err *e)
{
    struct trace_options o;
    struct db_settings settings = peers_db_settings(c, "agwb-publisher trace");
    struct db_session *db;
    struct buf out;
    int rc = 0;

    if (trace_options_parse(argc, argv, &o, e) != 0)
        return -1;
    buf_init(&out, OUT_LIMIT);
    if (o.help || !o.id) {
        write_usage(&out);
    } else {
        settings.statement_timeout_ms = STATEMENT_MS;
        db = db_session_open(&settings, e);
        rc = db ? trace(db, &o, &out, e) : -1;
        db_session_close(&db);
    }
    if (out.len > 0)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_fini(&out);
    return rc;
}
