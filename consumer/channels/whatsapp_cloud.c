/* The WhatsApp Cloud API of Meta's Graph: POST /{version}/{phone number id}/messages. There is no idempotency
 * key on send; our id comes back in the status webhooks (biz_opaque_callback_data). */
#include <string.h>

#include "consumer/channels/graph.h"
#include "consumer/channels/template.h"

#define BY_USER_ID "send_by_user_id"

/* --- the account --- */

static bool is_template(const char *s)
{
    size_t length = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return length > 0 && length <= 512 && s[length] == '\0';
}

static int check(const struct config_account *a, struct err *e)
{
    if (!graph_is_id(config_account_option(a, "phone_number_id", "")))
        return err_set(e, ERR_CONFIG, 0,
                       "options.phone_number_id: expected the id of the sender's number (digits, not the "
                       "number itself)");
    if (template_check_flag(a, "quote", e) != 0 || template_check_flag(a, BY_USER_ID, e) != 0 ||
        template_check(a, is_template, "the template's name: small letters, digits and _", e) != 0)
        return -1;
    return graph_check_version(a, e);
}

/* --- the request --- */

/* "US.13491208655302741918": who has a user name instead of a number. */
static bool is_user_id(const char *s)
{
    static const char CAPITALS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return strspn(s, CAPITALS) == 2 && s[2] == '.' && s[3] &&
           !s[3 + strspn(s + 3, "abcdefghijklmnopqrstuvwxyz0123456789.ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

/* Not every account may write to user ids yet: an option. */
static int add_recipient(struct buf *b, const struct channel_send *s, struct err *e)
{
    bool by_user_id = strcmp(config_account_option(s->account, BY_USER_ID, "false"), "true") == 0;
    char number[CONTACT_E164_MAX + 1];

    if (channel_number(s->address, number))
        channel_json_member(b, "to", number + 1);
    else if (by_user_id && is_user_id(s->address))
        channel_json_member(b, "recipient", s->address);
    else
        return err_set(e, ERR_DATA, 0, "the contact has no phone number: the Cloud API cannot reach it");
    return 0;
}

static void add_content(struct buf *b, const struct channel_part *p)
{
    const struct reply_attachment *file = p->file_count ? &p->files[0] : NULL;
    const char *type = !file ? "text" : p->is_image ? "image" : "document";

    channel_json_member(b, "type", type);
    channel_json_open(b, type);
    if (file) {
        channel_json_member(b, "link", file->url);
        channel_json_member(b, "caption", p->text);
        channel_json_member(b, "filename", p->is_image ? NULL : file->file_name);
    } else {
        buf_add_str(b, "\"preview_url\":false");
        channel_json_member(b, "body", p->text);
    }
    buf_add_char(b, '}');
}

static int add_template(struct buf *b, const struct channel_send *s, struct err *e)
{
    struct buf text;
    int has_text;

    buf_init(&text, CHANNEL_BODY_MAX);
    has_text = template_text(s, &text, e);
    if (has_text >= 0) {
        channel_json_member(b, "type", "template");
        channel_json_open(b, "template");
        channel_json_member(b, "name", template_name(s->account));
        channel_json_open(b, "language");
        channel_json_member(b, "code", template_language(s->account));
        buf_add_char(b, '}');
    }
    if (has_text > 0) {
        buf_add_str(b, ",\"components\":[{\"type\":\"body\",\"parameters\":[{\"type\":\"text\"");
        channel_json_member(b, "text", buf_str(&text));
        buf_add_str(b, "}]}]");
    }
    if (has_text >= 0)
        buf_add_char(b, '}');
    buf_fini(&text);
    return has_text < 0 ? -1 : 0;
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    graph_request(r, s->account, config_account_option(s->account, "phone_number_id", ""));

    buf_add_str(&r->body, "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\"");
    if (add_recipient(&r->body, s, e) != 0)
        return -1;
    if (!s->as_template)
        add_content(&r->body, s->part);
    else if (add_template(&r->body, s, e) != 0)
        return -1;
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
    GRAPH_ERRORS,
    {33, 33, OUTCOME_AUTH, 0, 0, "the phone number id does not exist"},
    {80007, 80007, OUTCOME_THROTTLED, 60, 0, "the business account's rate"},
    {130429, 130429, OUTCOME_THROTTLED, 2, 0, "the number's throughput"},
    {130472, 130472, OUTCOME_PERMFAIL, 0, 0, "the user is part of an experiment"},
    {130497, 130497, OUTCOME_PERMFAIL, 0, 0, "the business may not write to this country"},
    {131000, 131000, OUTCOME_TEMPFAIL, 5, 0, "something went wrong"},
    {131005, 131005, OUTCOME_AUTH, 0, 0, "access denied"},
    {131008, 131008, OUTCOME_PERMFAIL, 0, 0, "required parameter missing"},
    {131009, 131009, OUTCOME_PERMFAIL, 0, 0, "parameter value not valid"},
    {131016, 131016, OUTCOME_TEMPFAIL, 5, 0, "service unavailable"},
    {131021, 131021, OUTCOME_PERMFAIL, 0, 0, "recipient is the sender"},
    {131026, 131026, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "undeliverable: not on WhatsApp, or too old"},
    {131030, 131030, OUTCOME_PERMFAIL, 0, 0, "recipient not in the test number's list"},
    {131031, 131031, OUTCOME_AUTH, 0, 0, "account locked"},
    {131042, 131042, OUTCOME_AUTH, 0, 0, "payment or eligibility"},
    {131045, 131045, OUTCOME_AUTH, 0, 0, "the number's registration"},
    {131047, 131047, OUTCOME_PERMFAIL, 0, LINE_WINDOW, "more than 24 hours since the user's last message"},
    {131048, 131048, OUTCOME_THROTTLED, 900, LINE_OPERATOR, "spam rate: the number's quality"},
    {131049, 131049, OUTCOME_PERMFAIL, 0, 0, "not delivered for a healthy ecosystem"},
    {131050, 131050, OUTCOME_PERMFAIL, 0, LINE_OPTED_OUT, "the user stopped marketing messages"},
    {131051, 131051, OUTCOME_PERMFAIL, 0, 0, "unsupported message type"},
    {131052, 131052, OUTCOME_TEMPFAIL, 30, LINE_WORKS | LINE_TWICE, "the file could not be fetched"},
    {131053, 131053, OUTCOME_PERMFAIL, 0, 0, "the file's type or size"},
    {131056, 131056, OUTCOME_THROTTLED, 4, 0, "too many messages to this user"},
    {131057, 131057, OUTCOME_TEMPFAIL, 60, 0, "account in maintenance"},
    {132000, 132001, OUTCOME_PERMFAIL, 0, 0, "template: parameters, or not found"},
    {132005, 132005, OUTCOME_PERMFAIL, 0, 0, "template: text too long"},
    {132007, 132007, OUTCOME_PERMFAIL, 0, 0, "template: against the policy"},
    {132012, 132012, OUTCOME_PERMFAIL, 0, 0, "template: a parameter's format"},
    {132015, 132016, OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "template paused or disabled"},
    {132068, 132068, OUTCOME_PERMFAIL, 0, 0, "flow blocked"},
    {132069, 132069, OUTCOME_THROTTLED, 300, 0, "flow throttled"},
    {133000, 133000, OUTCOME_AUTH, 0, 0, "the number's deregistration"},
    {133004, 133004, OUTCOME_TEMPFAIL, 10, 0, "server temporarily unavailable"},
    {133005, 133006, OUTCOME_AUTH, 0, 0, "the number's PIN"},
    {133008, 133010, OUTCOME_AUTH, 0, 0, "the number's PIN, or it is not registered"},
    {133015, 133016, OUTCOME_AUTH, 0, 0, "the number's registration"},
    {135000, 135000, OUTCOME_PERMFAIL, 0, 0, "generic user error"},
};

enum { ERROR_COUNT = sizeof ERRORS / sizeof ERRORS[0] };

/* Graph reports an id that does not exist as an invalid parameter; that is not the message's fault. */
static const struct graph_subcode SUBCODES[] = {{100, 33, 33}};

static const char *id_of(const struct json_node *root)
{
    return json_str(json_member(json_item(json_member(root, "messages"), 0), "id"));
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    static const struct graph_errors TABLE = {
        .lines = ERRORS, .count = ERROR_COUNT, .subcodes = SUBCODES, .subcode_count = 1};

    graph_judge(r, &TABLE, id_of, v);
}

/* statuses[].errors[].code: most of what goes wrong is only told there. */
static void judge_receipt(const char *code, const char *detail, struct channel_verdict *v)
{
    (void)detail;
    (void)channel_verdict_of_receipt(v, ERRORS, ERROR_COUNT, code);
}

static const enum channel CHANNELS[] = {CHANNEL_WHATSAPP, CHANNEL_NONE};
static const char *const OPTIONS[] = {"phone_number_id", "api_version",    "quote",
                                      BY_USER_ID,        TEMPLATE_OPTIONS, NULL};

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
    .judge_receipt = judge_receipt,
    .has_template = true,
};
