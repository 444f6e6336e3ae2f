/* The WhatsApp Cloud API of Meta's Graph: POST /{version}/{phone number id}/messages. What an answer means is
 * in its error code, never in the HTTP status, which differs from case to case for one code. There is no
 * idempotency key on send; our id comes back in the status webhooks (biz_opaque_callback_data). */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consumer/channels/channel.h"

#define DEFAULT_URL     "https://graph.facebook.com"
#define DEFAULT_VERSION "v25.0"

enum { VERSION_OLDEST = 21 }; /* alive in November 2026; an older one is answered as if it were the oldest */

/* --- the account --- */

/* ^v[0-9]{1,2}\.[0-9]$: anything else could lead the token to another path. */
static bool is_version(const char *s)
{
    size_t digits = s[0] == 'v' ? strspn(s + 1, "0123456789") : 0;

    return (digits == 1 || digits == 2) && s[1 + digits] == '.' && s[2 + digits] >= '0' &&
           s[2 + digits] <= '9' && s[3 + digits] == '\0';
}

static bool is_phone_number_id(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits > 0 && digits <= 32 && s[digits] == '\0';
}

static int check(const struct config_account *a, struct err *e)
{
    const char *version = config_account_option(a, "api_version", DEFAULT_VERSION);

    if (!is_phone_number_id(config_account_option(a, "phone_number_id", "")))
        return err_set(e, ERR_CONFIG, 0,
                       "options.phone_number_id: expected the id of the sender's number (digits, not the "
                       "number itself)");
    if (!is_version(version))
        return err_set(e, ERR_CONFIG, 0,
                       "options.api_version: expected a version as " DEFAULT_VERSION ", found \"%.20s\"",
                       version);
    if (strtol(version + 1, NULL, 10) < VERSION_OLDEST)
        log_warn("this version of the Graph API has expired: requests are answered by a later one",
                 log_str("account", a->name), log_str("api_version", version));
    return 0;
}

/* --- the request --- */

static void add_content(struct buf *b, const struct channel_content *c)
{
    const char *type = !c->file ? "text" : c->is_image ? "image" : "document";

    channel_json_member(b, "type", type);
    channel_json_open(b, type);
    if (c->file) {
        channel_json_member(b, "link", c->file->url);
        channel_json_member(b, "caption", c->text);
        channel_json_member(b, "filename", c->is_image ? NULL : c->file->file_name);
    } else {
        buf_add_str(b, "\"preview_url\":false");
        channel_json_member(b, "body", c->text);
    }
    buf_add_char(b, '}');
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    struct channel_content c;
    char number[CONTACT_E164_MAX + 1];

    if (!channel_number(s->address, number))
        return err_set(e, ERR_DATA, 0, "the contact has no phone number: the Cloud API cannot reach it");
    if (channel_take_content(&CHANNEL_WHATSAPP_CLOUD, s->reply, &c, e) != 0)
        return -1;
    channel_request_url(r, s->account, DEFAULT_URL, "/");
    channel_add_encoded(&r->url, config_account_option(s->account, "api_version", DEFAULT_VERSION));
    buf_add_char(&r->url, '/');
    channel_add_encoded(&r->url, config_account_option(s->account, "phone_number_id", ""));
    buf_add_str(&r->url, "/messages");
    channel_request_bearer_json(r, s->account);

    buf_add_str(&r->body, "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\"");
    channel_json_member(&r->body, "to", number + 1);
    add_content(&r->body, &c);
    if (s->quoted_id) {
        channel_json_open(&r->body, "context");
        channel_json_member(&r->body, "message_id", s->quoted_id);
        buf_add_char(&r->body, '}');
    }
    channel_json_member(&r->body, "biz_opaque_callback_data", s->message_id);
    buf_add_char(&r->body, '}');
    return 0;
}

/* --- the answer --- */

/* Meta's "Error codes" of the Cloud API. A wait is the first one to try; how often is the retry policy's. */
static const struct channel_error ERRORS[] = {
    {0, 0, OUTCOME_AUTH, 0, "authentication failed"},
    {1, 1, OUTCOME_TEMPFAIL, 5, "unknown API error"},
    {2, 2, OUTCOME_TEMPFAIL, 5, "service temporarily down"},
    {3, 3, OUTCOME_AUTH, 0, "the app may not use this method"},
    {4, 4, OUTCOME_THROTTLED, 60, "the app's call rate"},
    {10, 10, OUTCOME_AUTH, 0, "permission denied"},
    {33, 33, OUTCOME_AUTH, 0, "the phone number id does not exist"},
    {100, 100, OUTCOME_PERMFAIL, 0, "invalid parameter"},
    {190, 190, OUTCOME_AUTH, 0, "the access token has expired or is invalid"},
    {200, 299, OUTCOME_AUTH, 0, "permission missing"},
    {368, 368, OUTCOME_AUTH, 0, "blocked for policy violations"},
    {80007, 80007, OUTCOME_THROTTLED, 60, "the business account's rate"},
    {130429, 130429, OUTCOME_THROTTLED, 2, "the number's throughput"},
    {130472, 130472, OUTCOME_PERMFAIL, 0, "the user is part of an experiment"},
    {130497, 130497, OUTCOME_PERMFAIL, 0, "the business may not write to this country"},
    {131000, 131000, OUTCOME_TEMPFAIL, 5, "something went wrong"},
    {131005, 131005, OUTCOME_AUTH, 0, "access denied"},
    {131008, 131008, OUTCOME_PERMFAIL, 0, "required parameter missing"},
    {131009, 131009, OUTCOME_PERMFAIL, 0, "parameter value not valid"},
    {131016, 131016, OUTCOME_TEMPFAIL, 5, "service unavailable"},
    {131021, 131021, OUTCOME_PERMFAIL, 0, "recipient is the sender"},
    {131026, 131026, OUTCOME_PERMFAIL, 0, "undeliverable: not on WhatsApp, or too old a version"},
    {131030, 131030, OUTCOME_PERMFAIL, 0, "recipient not in the test number's list"},
    {131031, 131031, OUTCOME_AUTH, 0, "account locked"},
    {131042, 131042, OUTCOME_AUTH, 0, "payment or eligibility"},
    {131045, 131045, OUTCOME_AUTH, 0, "the number's registration"},
    {131047, 131047, OUTCOME_PERMFAIL, 0, "more than 24 hours since the user's last message"},
    {131048, 131048, OUTCOME_THROTTLED, 900, "spam rate: the number's quality"},
    {131049, 131049, OUTCOME_PERMFAIL, 0, "not delivered for a healthy ecosystem"},
    {131050, 131050, OUTCOME_PERMFAIL, 0, "the user stopped marketing messages"},
    {131051, 131051, OUTCOME_PERMFAIL, 0, "unsupported message type"},
    {131052, 131052, OUTCOME_TEMPFAIL, 30, "the file could not be fetched"},
    {131053, 131053, OUTCOME_PERMFAIL, 0, "the file's type or size"},
    {131056, 131056, OUTCOME_THROTTLED, 4, "too many messages to this user"},
    {131057, 131057, OUTCOME_TEMPFAIL, 60, "account in maintenance"},
    {132000, 132001, OUTCOME_PERMFAIL, 0, "template: parameters, or not found"},
    {132005, 132005, OUTCOME_PERMFAIL, 0, "template: text too long"},
    {132007, 132007, OUTCOME_PERMFAIL, 0, "template: against the policy"},
    {132012, 132012, OUTCOME_PERMFAIL, 0, "template: a parameter's format"},
    {132015, 132016, OUTCOME_PERMFAIL, 0, "template paused or disabled"},
    {132068, 132068, OUTCOME_PERMFAIL, 0, "flow blocked"},
    {132069, 132069, OUTCOME_THROTTLED, 300, "flow throttled"},
    {133000, 133000, OUTCOME_AUTH, 0, "the number's deregistration"},
    {133004, 133004, OUTCOME_TEMPFAIL, 10, "server temporarily unavailable"},
    {133005, 133006, OUTCOME_AUTH, 0, "the number's PIN"},
    {133008, 133010, OUTCOME_AUTH, 0, "the number's PIN, or it is not registered"},
    {133015, 133016, OUTCOME_AUTH, 0, "the number's registration"},
    {135000, 135000, OUTCOME_PERMFAIL, 0, "generic user error"},
};

enum { WAIT_TRANSIENT_S = 5, WAIT_THROTTLED_S = 30 }; /* of codes that are not in the table */

/* Graph reports an id that does not exist as an invalid parameter; that is not the message's fault. */
static int64_t code_of(const struct json_node *error, int64_t code)
{
    enum { INVALID_PARAMETER = 100, NO_SUCH_ID = 33 };
    int64_t subcode = 0;

    if (code == INVALID_PARAMETER && channel_json_int(json_member(error, "error_subcode"), &subcode) &&
        subcode == NO_SUCH_ID)
        return NO_SUCH_ID;
    return code;
}

static void judge_error(int status, const struct json_node *error, struct channel_verdict *v)
{
    const char *details = json_str(json_path(error, "error_data.details"));
    const struct channel_error *line;
    int64_t code;

    channel_verdict_detail(v, details ? details : json_str(json_member(error, "message")));
    if (!channel_json_int(json_member(error, "code"), &code)) {
        channel_verdict_of_bare_status(v, status);
        return;
    }
    line = channel_error_find(ERRORS, sizeof ERRORS / sizeof ERRORS[0], code_of(error, code));
    channel_verdict_of_code(v, line, code, status);
    if (line)
        return;
    if (json_true(json_member(error, "is_transient")))
        v->outcome = OUTCOME_TEMPFAIL;
    channel_verdict_set(v, v->outcome, v->outcome == OUTCOME_TEMPFAIL ? WAIT_TRANSIENT_S : 0);
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const struct json_node *error = json_member(root, "error");
    const char *id = json_str(json_member(json_item(json_member(root, "messages"), 0), "id"));

    if (json_kind_of(error) == JSON_OBJECT) {
        judge_error(r->status, error, v);
    } else if (id && r->status >= 200 && r->status < 300) {
        channel_verdict_set(v, OUTCOME_DELIVERED, 0);
        channel_verdict_id(v, id);
    } else {
        channel_verdict_of_bare_status(v, r->status);
    }
    if (v->outcome == OUTCOME_THROTTLED)
        channel_verdict_set(v, OUTCOME_THROTTLED, WAIT_THROTTLED_S);
    json_free(&doc);
}

static const enum channel CHANNELS[] = {CHANNEL_WHATSAPP, CHANNEL_NONE};
static const char *const OPTIONS[] = {"phone_number_id", "api_version", NULL};

const struct channel_provider CHANNEL_WHATSAPP_CLOUD = {
    .name = "whatsapp_cloud",
    .channels = CHANNELS,
    .needs_token = true,
    .options = OPTIONS,
    .text_limit = 4096,
    .caption_limit = 1024,
    .attachment_limit = 1,
    .check = check,
    .build = build,
    .judge = judge,
};
