/* The script's part in an answer. */
#include "tests/provider/play.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

void play_init(struct play *p)
{
    memset(p, 0, sizeof *p);
    provider_answer_init(&p->answer);
    buf_init(&p->bytes, PROVIDER_MAX_ANSWER);
}

void play_fini(struct play *p)
{
    provider_answer_fini(&p->answer);
    buf_fini(&p->bytes);
}

/* --- answers in place of the real one --- */

/* A code that the provider does not have is a mistake of the script, and must look like nothing else. */
static void change_to_code(struct provider_answer *a, const struct provider *owner,
                           const struct action *action)
{
    buf_clear(&a->body);
    a->status = owner->write_code != NULL ? owner->write_code(action->code, &a->body) : 0;
    if (a->status == 0) {
        a->status = 501;
        buf_printf(&a->body, "the script's code %" PRId64 " is none of %s", action->code, owner->name);
    } else if (action->status != 0) {
        a->status = action->status;
    }
}

static void change_status_and_body(struct provider_answer *a, const struct provider *owner,
                                   const struct action *action)
{
    if (action->has_code) {
        change_to_code(a, owner, action);
        return;
    }
    if (action->status != 0)
        a->status = action->status;
    if (action->body != NULL) {
        buf_clear(&a->body);
        buf_add_str(&a->body, action->body);
    } else if (action->status >= 300) {
        buf_clear(&a->body);
        owner->write_error(a->status, action->retry_after_s, &a->body);
    }
}

static void add_headers(struct provider_answer *a, const struct action *action)
{
    char text[64];

    if (action->retry_after_s >= 0) {
        snprintf(text, sizeof text, "%" PRId64, action->retry_after_s);
        provider_answer_header(a, "Retry-After", text);
    }
    if (action->retry_after_date_s >= 0) {
        time_t when = (time_t)(clock_wall_ms() / 1000 + action->retry_after_date_s);
        struct tm tm;
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &tm));
        provider_answer_header(a, "Retry-After", text);
    }
    for (const struct json_node *n = json_first(action->headers); n != NULL; n = json_next(n))
        provider_answer_header(a, json_key(n), json_str(n));
}

/* --- faults --- */

static void set_body(struct provider_answer *a, const char *body)
{
    buf_clear(&a->body);
    buf_add_str(&a->body, body);
}

/* The answer as bytes of ours, since libmicrohttpd would send them in one piece. */
static void write_drip(struct play *p, int64_t ms_per_byte)
{
    struct provider_answer *a = &p->answer;

    p->ending = END_BYTES;
    p->us_per_byte = ms_per_byte * 1000;
    buf_printf(&p->bytes, "HTTP/1.1 %d Dripping\r\nConnection: close\r\nContent-Type: application/json\r\n",
               a->status);
    for (size_t i = 0; i < a->header_count; i++)
        buf_printf(&p->bytes, "%s: %s\r\n", a->headers[i].name, a->headers[i].value);
    buf_printf(&p->bytes, "Content-Length: %zu\r\n\r\n", a->body.len);
    buf_add(&p->bytes, a->body.data, a->body.len);
}

static void write_raw(struct play *p, const char *bytes)
{
    p->ending = END_BYTES;
    buf_add_str(&p->bytes, bytes);
}

static void play_fault(struct play *p, const struct provider *owner, const struct action *action)
{
    switch (action->fault) {
    case FAULT_NONE:
    case FAULT_COUNT:
        break;
    case FAULT_HANG:
        p->ending = END_HANG;
        break;
    case FAULT_RESET_BEFORE:
    case FAULT_RESET_AFTER_REQUEST:
        p->ending = END_RESET;
        break;
    case FAULT_CLOSE_WITHOUT_ANSWER:
        p->ending = END_CLOSE;
        break;
    case FAULT_GARBAGE:
        write_raw(p, "\x15\x03\x01 this is not HTTP \xff\xfe\r\n\r\n");
        break;
    case FAULT_MALFORMED_JSON:
        set_body(&p->answer, "{\"success\":true,\"data\":{\"msgId\":");
        break;
    case FAULT_HUGE_BODY:
        p->padding = (size_t)action->bytes;
        break;
    case FAULT_DRIP:
        write_drip(p, action->ms_per_byte);
        break;
    case FAULT_SUCCESS_FALSE:
        buf_clear(&p->answer.body);
        if (owner != NULL)
            owner->write_refusal(&p->answer.body);
        break;
    case FAULT_RAW:
        write_raw(p, action->raw);
        break;
    }
}

/* --- journal --- */

static bool is_accepted(const struct provider_answer *a, const struct action *action)
{
    if (action != NULL && action->has_accepted)
        return action->accepted;
    if (action != NULL && (action->fault == FAULT_SUCCESS_FALSE || action->fault == FAULT_RESET_BEFORE))
        return false;
    return a->status < 300;
}

static const char *text_or_null(struct buf *b)
{
    return b->len > 0 ? buf_str(b) : NULL;
}

static void write_journal(struct play *p, struct control *c, const struct provider_request *q,
                          uint64_t connection, const struct action *action)
{
    struct provider_answer *a = &p->answer;
    const struct provider *owner = provider_for_path(q->path);
    enum fault fault = action != NULL ? action->fault : FAULT_NONE;
    bool is_answered = p->ending == END_ANSWER || fault == FAULT_DRIP;
    bool accepted = is_accepted(a, action);
    const struct journal_entry entry = {
        .method = q->method,
        .path = q->path,
        .provider = owner != NULL ? owner->name : NULL,
        .to = text_or_null(&a->to),
        .text = text_or_null(&a->text),
        .body = q->body,
        .body_len = q->body_len,
        .body_is_json = q->json != NULL,
        .auth_ok = a->auth_ok,
        .status = is_answered ? a->status : 0,
        .fault = fault_name(fault),
        .accepted = accepted,
        .id = accepted && a->id[0] != '\0' ? a->id : NULL,
        .connection = connection,
    };

    journal_add(c->journal, &entry);
    c->stats.requests++;
    c->stats.accepted += accepted;
    c->stats.by_fault[fault]++;
    c->stats.by_status[entry.status]++;
}

/* --- requests --- */

static void ask_provider(struct play *p, struct control *c, const struct provider_request *q,
                         bool is_too_large)
{
    const struct provider *owner = provider_for_path(q->path);
    struct provider_answer *a = &p->answer;

    if (owner == NULL) {
        a->status = 404;
        buf_add_str(&a->body, "{\"success\":false,\"message\":\"Not found\"}");
    } else if (is_too_large) {
        a->status = 413;
        owner->write_error(413, -1, &a->body);
    } else {
        owner->answer(q, ++c->answers, a);
    }
}

void play_request(struct play *p, struct control *c, const struct provider_request *q, uint64_t connection,
                  bool is_too_large)
{
    struct provider_answer *a = &p->answer;
    const struct action *action = NULL;

    ask_provider(p, c, q, is_too_large);
    if (a->status < 300)
        action = script_take(c->script, false, q->path, buf_str(&a->to), buf_str(&a->text));
    if (action != NULL) {
        const struct provider *owner = provider_for_path(q->path);
        change_status_and_body(a, owner, action);
        add_headers(a, action);
        play_fault(p, owner, action);
        p->delay_ms = action->delay_ms;
    }
    write_journal(p, c, q, connection, action);
}

bool play_early(struct play *p, struct control *c, const struct provider_request *q, uint64_t connection)
{
    const struct action *action = script_take(c->script, true, q->path, NULL, NULL);

    if (action == NULL)
        return false;
    play_fault(p, NULL, action);
    write_journal(p, c, q, connection, action);
    return true;
}
