/* Twilio's Messages resource: SMS, and WhatsApp with "whatsapp:" before both addresses. The account's user
 * and password are AccountSid and AuthToken, or an API key's (then option account_sid). There is no
 * idempotency key on send. */
#include <stdlib.h>
#include <string.h>

#include "consumer/channels/channel.h"
#include "consumer/channels/template.h"

#define DEFAULT_URL "https://api.twilio.com"
#define WHATSAPP    "whatsapp:"

enum { VALIDITY_MAX_S = 36000 };

/* --- the account --- */

static const char *account_sid(const struct config_account *a)
{
    return config_account_option(a, "account_sid", a->user);
}

/* "AC" or "MG" and 32 hexadecimal digits. */
static bool is_sid(const char *s, const char *kind)
{
    return s && strncmp(s, kind, 2) == 0 && strspn(s + 2, "0123456789abcdefABCDEF") == 32 && s[34] == '\0';
}

static bool is_content_sid(const char *s)
{
    return is_sid(s, "HX");
}

static const char *without_prefix(const char *from)
{
    return from && strncmp(from, WHATSAPP, strlen(WHATSAPP)) == 0 ? from + strlen(WHATSAPP) : from;
}

static int check_sender(const struct config_account *a, struct err *e)
{
    const char *service = config_account_option(a, "messaging_service_sid", NULL);

    if (service && !is_sid(service, "MG"))
        return err_set(e, ERR_CONFIG, 0,
                       "options.messaging_service_sid: expected MG and 32 hexadecimal digits");
    if (!service && !a->from)
        return err_set(e, ERR_CONFIG, 0,
                       "provider twilio needs a sender: from, or options.messaging_service_sid");
    if (a->from && a->channel == CHANNEL_WHATSAPP && !is_e164(without_prefix(a->from)))
        return err_set(e, ERR_CONFIG, 0, "from: expected the WhatsApp sender's number as +12025550143");
    return 0;
}

static int check(const struct config_account *a, struct err *e)
{
    const char *callback = config_account_option(a, "status_callback", NULL);
    const char *validity = config_account_option(a, "validity_s", "1");
    long seconds = strlen(validity) <= 5 ? strtol(validity, NULL, 10) : 0;

    if (!a->user || !a->password)
        return err_set(e, ERR_CONFIG, 0,
                       "provider twilio needs user (the AccountSid or an API key) and password");
    if (!is_sid(account_sid(a), "AC"))
        return err_set(e, ERR_CONFIG, 0,
                       "expected AC and 32 hexadecimal digits in user, or in options.account_sid beside an "
                       "API key");
    if (callback && strncmp(callback, "https://", 8) != 0 && strncmp(callback, "http://", 7) != 0)
        return err_set(e, ERR_CONFIG, 0, "options.status_callback: expected an http:// or https:// URL");
    if (validity[strspn(validity, "0123456789")] || seconds < 1 || seconds > VALIDITY_MAX_S)
        return err_set(e, ERR_CONFIG, 0, "options.validity_s: expected 1 to %d", VALIDITY_MAX_S);
    if (template_check(a, is_content_sid, "a ContentSid, HX and 32 hexadecimal digits", e) != 0)
        return -1;
    return check_sender(a, e);
}

/* --- the request --- */

static void add_address(struct buf *b, const char *key, const char *address, bool is_whatsapp)
{
    struct buf prefixed;

    buf_init(&prefixed, CHANNEL_URL_MAX);
    buf_printf(&prefixed, "%s%s", is_whatsapp ? WHATSAPP : "", address);
    channel_form_field(b, key, buf_str(&prefixed));
    buf_fini(&prefixed);
}

static int add_template(struct buf *b, const struct channel_send *s, struct err *e)
{
    struct buf text, variables;
    int has_text;

    buf_init(&text, CHANNEL_BODY_MAX);
    buf_init(&variables, CHANNEL_BODY_MAX);
    has_text = template_text(s, &text, e);
    if (has_text >= 0)
        channel_form_field(b, "ContentSid", template_name(s->account));
    if (has_text > 0) {
        buf_add_char(&variables, '{');
        channel_json_member(&variables, "1", buf_str(&text));
        buf_add_char(&variables, '}');
        channel_form_field(b, "ContentVariables", buf_str(&variables));
    }
    buf_fini(&variables);
    buf_fini(&text);
    return has_text < 0 ? -1 : 0;
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    const struct config_account *a = s->account;
    bool is_whatsapp = a->channel == CHANNEL_WHATSAPP;
    char number[CONTACT_E164_MAX + 1];

    if (!channel_number(s->address, number))
        return err_set(e, ERR_DATA, 0, "the contact has no phone number: Twilio cannot reach it");
    channel_request_url(r, a, DEFAULT_URL, "/2010-04-01/Accounts/");
    channel_add_encoded(&r->url, account_sid(a));
    buf_add_str(&r->url, "/Messages.json");
    channel_request_header(r, "Content-Type", "application/x-www-form-urlencoded");
    channel_request_header(r, "Accept", "application/json");
    r->user = a->user;
    r->password = a->password;

    add_address(&r->body, "To", number, is_whatsapp);
    if (a->from)
        add_address(&r->body, "From", is_whatsapp ? without_prefix(a->from) : a->from, is_whatsapp);
    channel_form_field(&r->body, "MessagingServiceSid",
                       config_account_option(a, "messaging_service_sid", NULL));
    channel_form_field(&r->body, "StatusCallback", config_account_option(a, "status_callback", NULL));
    channel_form_field(&r->body, "ValidityPeriod", config_account_option(a, "validity_s", NULL));
    if (s->as_template)
        return add_template(&r->body, s, e);
    channel_form_field(&r->body, "Body", s->part->text);
    channel_form_field(&r->body, "MediaUrl", s->part->file_count ? s->part->files[0].url : NULL);
    return 0;
}

/* --- the answer --- */

/* Twilio's error codes of a request. A wait is the first one to try; how often is the retry policy's. */
static const struct channel_error REQUEST_ERRORS[] = {
    {20003, 20003, OUTCOME_AUTH, 0, 0, "authentication failed"},
    {20005, 20006, OUTCOME_AUTH, 0, 0, "account not active, or access denied"},
    {20404, 20404, OUTCOME_AUTH, 0, 0, "no such account"},
    {20429, 20429, OUTCOME_THROTTLED, 1, 0, "too many requests"},
    {20500, 20500, OUTCOME_TEMPFAIL, 5, 0, "internal error"},
    {20503, 20503, OUTCOME_TEMPFAIL, 5, 0, "service unavailable"},
    {21211, 21211, OUTCOME_PERMFAIL, 0, 0, "invalid number"},
    {21212, 21212, OUTCOME_AUTH, 0, 0, "invalid sender"},
    {21408, 21408, OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "the account may not send to this region"},
    {21602, 21602, OUTCOME_PERMFAIL, 0, 0, "text missing"},
    {21603, 21603, OUTCOME_AUTH, 0, 0, "sender missing"},
    {21604, 21604, OUTCOME_PERMFAIL, 0, 0, "recipient missing"},
    {21606, 21606, OUTCOME_AUTH, 0, 0, "the sender is not ours or cannot send"},
    {21608, 21608, OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "a trial account, and an unverified number"},
    {21610, 21610, OUTCOME_PERMFAIL, 0, LINE_OPTED_OUT, "the recipient has opted out"},
    {21611, 21611, OUTCOME_THROTTLED, 300, LINE_OPERATOR, "the sender's queue is full"},
    {21612, 21612, OUTCOME_PERMFAIL, 0, 0, "not reachable from this sender"},
    {21614, 21614, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "not a mobile number"},
    {21617, 21617, OUTCOME_PERMFAIL, 0, 0, "text too long"},
    {21619, 21619, OUTCOME_PERMFAIL, 0, 0, "text and media missing"},
    {21620, 21620, OUTCOME_PERMFAIL, 0, 0, "media URL not valid"},
    {21623, 21623, OUTCOME_PERMFAIL, 0, 0, "media URL not valid"},
    {21635, 21635, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "a landline"},
    {21656, 21656, OUTCOME_PERMFAIL, 0, 0, "content variables not valid"},
    {21659, 21661, OUTCOME_AUTH, 0, 0, "the sender does not fit account or country"},
    {21701, 21701, OUTCOME_AUTH, 0, 0, "no such Messaging Service"},
    {21703, 21705, OUTCOME_AUTH, 0, 0, "the Messaging Service has no sender or is not valid"},
    {21730, 21730, OUTCOME_TEMPFAIL, 60, 0, "maintenance"},
    {63007, 63007, OUTCOME_AUTH, 0, 0, "no such WhatsApp sender"},
    {63017, 63017, OUTCOME_THROTTLED, 5, 0, "the account's channel rate"},
    {63018, 63018, OUTCOME_THROTTLED, 60, 0, "the channel's rate"},
    {63027, 63028, OUTCOME_PERMFAIL, 0, 0, "template: not found, or its parameters"},
    {63038, 63038, OUTCOME_THROTTLED, 3600, LINE_OPERATOR, "the day's limit"},
};
/* Those that come by callback, of a message that was taken. */
static const struct channel_error RECEIPT_ERRORS[] = {
    {30001, 30001, OUTCOME_TEMPFAIL, 600, 0, "queue overflow"},
    {30002, 30002, OUTCOME_AUTH, 0, 0, "account suspended"},
    {30003, 30003, OUTCOME_TEMPFAIL, 1800, LINE_WORKS | LINE_TWICE, "handset off or without signal"},
    {30004, 30004, OUTCOME_PERMFAIL, 0, LINE_OPTED_OUT, "blocked by recipient or carrier"},
    {30005, 30005, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "unknown number"},
    {30006, 30006, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "a landline or an unreachable carrier"},
    {30007, 30007, OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "filtered as spam"},
    {30008, 30008, OUTCOME_TEMPFAIL, 300, LINE_WORKS | LINE_TWICE, "unknown error"},
    {30034, 30034, OUTCOME_AUTH, 0, 0, "the sender is not registered for A2P 10DLC"},
    {30036, 30036, OUTCOME_PERMFAIL, 0, 0, "validity period expired"},
    {63003, 63003, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "recipient not found"},
    {63015, 63015, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "recipient has not joined the sandbox"},
    {63016, 63016, OUTCOME_PERMFAIL, 0, LINE_WINDOW, "outside the 24-hour window"},
    {63018, 63018, OUTCOME_THROTTLED, 3600, 0, "the channel's rate"},
    {63024, 63024, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "invalid recipient"},
    {63049, 63049, OUTCOME_PERMFAIL, 0, 0, "WhatsApp chose not to deliver"},
};

enum {
    REQUEST_ERROR_COUNT = sizeof REQUEST_ERRORS / sizeof REQUEST_ERRORS[0],
    RECEIPT_ERROR_COUNT = sizeof RECEIPT_ERRORS / sizeof RECEIPT_ERRORS[0]
};

/* Any code may come either way; the table of its own way comes first. */
static void judge_error(int status, const struct json_node *root, struct channel_verdict *v)
{
    const struct channel_error *line;
    int64_t code;

    channel_verdict_detail(v, json_str(json_member(root, "message")));
    if (!channel_json_int(json_member(root, "code"), &code)) {
        channel_verdict_of_bare_status(v, status);
        return;
    }
    line = channel_error_find(REQUEST_ERRORS, REQUEST_ERROR_COUNT, code);
    if (!line)
        line = channel_error_find(RECEIPT_ERRORS, RECEIPT_ERROR_COUNT, code);
    channel_verdict_of_code(v, line, code, status);
}

static void judge_receipt(const char *code, const char *detail, struct channel_verdict *v)
{
    (void)detail;
    if (!channel_verdict_of_receipt(v, RECEIPT_ERRORS, RECEIPT_ERROR_COUNT, code))
        (void)channel_verdict_of_receipt(v, REQUEST_ERRORS, REQUEST_ERROR_COUNT, code);
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const char *sid = json_str(json_member(root, "sid"));

    if (sid && r->status >= 200 && r->status < 300) {
        channel_verdict_set(v, OUTCOME_DELIVERED, 0);
        channel_verdict_id(v, sid);
    } else {
        judge_error(r->status, root, v);
    }
    json_free(&doc);
}

static const enum channel CHANNELS[] = {CHANNEL_SMS, CHANNEL_WHATSAPP, CHANNEL_NONE};
static const char *const OPTIONS[] = {
    "account_sid",  "messaging_service_sid", "status_callback", "webhook_url",   "validity_s",
    "max_segments", "smart_encoding",        "template",        "template_text", NULL};

const struct channel_provider CHANNEL_TWILIO = {
    .name = "twilio",
    .channels = CHANNELS,
    .options = OPTIONS,
    .text_limit = 1600,
    .caption_limit = 1600,
    .attachment_limit = 1, /* of a WhatsApp message */
    .check = check,
    .build = build,
    .judge = judge,
    .judge_receipt = judge_receipt,
    .has_template = true,
};
