/* Wasender (wasenderapi.com): WhatsApp through a linked session. Wire facts: its public API documentation,
 * "Send Message" and "Rate limits" (as of August 2026). There is no idempotency key on send. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "consumer/channels/channel.h"
#include "domain/contact.h"

#define DEFAULT_URL "https://www.wasenderapi.com"

/* `to` is documented for E.164 numbers and group JIDs; hidden ids and broadcasts are not. */
static int check_address(const char *address, struct err *e)
{
    if (is_e164(address) || contact_jid_kind_of(address) == CONTACT_JID_GROUP)
        return 0;
    return err_set(e, ERR_DATA, 0, "the address is neither a number nor a group: Wasender cannot reach it");
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    const struct reply_attachment *file = s->part->file_count ? &s->part->files[0] : NULL;

    if (check_address(s->address, e) != 0)
        return -1;
    channel_request_url(r, s->account, DEFAULT_URL, "");
    /* the base URL is accepted with and without its /api */
    if (r->url.len < 4 || memcmp(r->url.data + r->url.len - 4, "/api", 4) != 0)
        buf_add_str(&r->url, "/api");
    buf_add_str(&r->url, "/send-message");
    channel_request_bearer_json(r, s->account);

    buf_add_char(&r->body, '{');
    channel_json_member(&r->body, "to", s->address);
    channel_json_member(&r->body, "text", s->part->text);
    if (file) {
        channel_json_member(&r->body, s->part->is_image ? "imageUrl" : "documentUrl", file->url);
        channel_json_member(&r->body, "fileName", s->part->is_image ? NULL : file->file_name);
    }
    buf_add_char(&r->body, '}');
    return 0;
}

/* Between two messages when the answer names no wait; account protection allows one in 5 s. */
enum { TRIAL_MS = 60000, PROTECTED_MS = 6000 };

static bool has_word(const char *text, const char *word)
{
    return text && strcasestr(text, word) != NULL;
}

/* Seconds, in the body of a 429 as number or text. */
static void take_retry_after(const struct json_node *root, struct channel_verdict *v)
{
    double seconds;
    const struct json_node *n = json_member(root, "retry_after");
    const char *text = json_str(n);
    int whole;

    if (json_real(n, &seconds) && seconds >= 0 && seconds <= 86400)
        v->retry_after_ms = (int64_t)(seconds * 1000);
    else if (text && sscanf(text, "%6d", &whole) == 1 && whole >= 0)
        v->retry_after_ms = (int64_t)whole * 1000;
}

/* X-RateLimit-Reset: seconds until the reset; an older form is a Unix time. */
static void take_reset_header(const struct http_result *r, struct channel_verdict *v)
{
    const char *reset = v->retry_after_ms < 0 ? http_result_header(r, "X-RateLimit-Reset") : NULL;
    int seconds;

    if (reset && sscanf(reset, "%7d", &seconds) == 1 && seconds > 0 && seconds <= 3600)
        v->retry_after_ms = (int64_t)seconds * 1000;
}

/* Of a refusal that no status explains. */
static enum outcome outcome_of_words(const char *text)
{
    if (has_word(text, "No Active Subscription") || has_word(text, "not connected"))
        return OUTCOME_AUTH;
    return has_word(text, "rate limit") || has_word(text, "account protection") ? OUTCOME_THROTTLED
                                                                                : OUTCOME_PERMFAIL;
}

/* A 2xx without success = true or false is no answer of this API: a proxy's page, a cut body. Whether the
 * message went is unknown. */
static enum outcome outcome_of_success(const struct json_node *root, const char *text)
{
    const struct json_node *success = json_member(root, "success");

    if (json_true(success))
        return OUTCOME_DELIVERED;
    return json_kind_of(success) == JSON_BOOL ? outcome_of_words(text) : OUTCOME_UNCERTAIN;
}

static enum outcome outcome_of(int status, const struct json_node *root, const char *text)
{
    if (status >= 200 && status < 300)
        return outcome_of_success(root, text);
    /* a session that lost its phone is the account's fault, whatever status it comes with */
    if (has_word(text, "No Active Subscription") ||
        ((status == 400 || status == 409) && has_word(text, "not connected")))
        return OUTCOME_AUTH;
    return channel_outcome_of_status(status);
}

/* What the outcome does not say. A refusal in the service's own words is about the message. */
static void take_remarks(int status, const char *text, struct channel_verdict *v)
{
    if (v->outcome != OUTCOME_PERMFAIL)
        return;
    v->account_works = text != NULL && status != 404;
    v->needs_operator = status == 404; /* the base URL is wrong */
    if (has_word(text, "Invalid number JID"))
        v->block = BLOCK_UNREACHABLE;
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const char *text = json_str(json_member(root, "message"));
    int64_t id;

    if (!text)
        text = json_str(json_member(root, "error"));
    v->outcome = outcome_of(r->status, root, text);
    if (v->outcome == OUTCOME_THROTTLED) {
        take_retry_after(root, v);
        if (r->status == 429) /* else it is only when the count starts anew */
            take_reset_header(r, v);
        if (v->retry_after_ms < 0)
            v->retry_after_ms = has_word(text, "free trial") ? TRIAL_MS : PROTECTED_MS;
    }
    if (v->outcome == OUTCOME_DELIVERED && json_int(json_path(root, "data.msgId"), &id))
        snprintf(v->provider_id, sizeof v->provider_id, "%lld", (long long)id);
    if (v->outcome != OUTCOME_DELIVERED)
        channel_verdict_detail(v, text ? text : "no readable answer");
    take_remarks(r->status, text, v);
    json_free(&doc);
}

/* message.sent with success = false, or status 0: words at best, never a code. */
static void judge_receipt(const char *code, const char *detail, struct channel_verdict *v)
{
    (void)code;
    channel_verdict_set(v, outcome_of_words(detail), 0);
    if (v->outcome == OUTCOME_THROTTLED)
        v->retry_after_ms = PROTECTED_MS;
    take_remarks(0, detail, v);
    v->account_works = v->outcome == OUTCOME_PERMFAIL;
}

static const enum channel CHANNELS[] = {CHANNEL_WHATSAPP, CHANNEL_NONE};

static const char *const OPTIONS[] = {"session_id", NULL}; /* for its webhooks */

const struct channel_provider CHANNEL_WASENDER = {.name = "wasender",
                                                  .channels = CHANNELS,
                                                  .needs_token = true,
                                                  .options = OPTIONS,
                                                  .attachment_limit = 1,
                                                  .build = build,
                                                  .judge = judge,
                                                  .judge_receipt = judge_receipt};
