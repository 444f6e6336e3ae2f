/* The SMS gateway of an existing backend: POST /send-sms with the message and its metadata. Its answer's
 * shape is not fixed: any 2xx is accepted, an id is taken from where gateways usually put it. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "consumer/channels/channel.h"
#include "domain/contact.h"

static void add_member(struct buf *b, const char *key, const char *value)
{
    if (!value)
        return;
    if (b->len > 0 && b->data[b->len - 1] != '{')
        buf_add_char(b, ',');
    buf_add_json_str(b, key, strlen(key));
    buf_add_char(b, ':');
    buf_add_json_str(b, value, strlen(value));
}

/* SMS has no attachments here: their links follow the text. */
static void add_text(struct buf *b, const struct reply *reply)
{
    struct buf text;

    buf_init(&text, CHANNEL_BODY_MAX);
    buf_add_str(&text, reply->text);
    for (size_t i = 0; i < reply->attachment_count; i++) {
        if (text.len > 0)
            buf_add_char(&text, '\n');
        buf_add_str(&text, reply->attachments[i].url);
    }
    add_member(b, "message", buf_str(&text));
    buf_fini(&text);
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    if (!is_e164(s->address))
        return err_set(e, ERR_DATA, 0, "the contact has no phone number: SMS cannot reach it");
    channel_request_url(r, s->account, "", config_account_option(s->account, "path", "/send-sms"));
    if (s->account->token)
        buf_printf(&r->headers[r->header_count++], "Authorization: Bearer %s", s->account->token);
    channel_request_header(r, "Content-Type", "application/json");
    channel_request_header(r, "Accept", "application/json");
    r->user = s->account->user;
    r->password = s->account->password;

    buf_add_char(&r->body, '{');
    add_member(&r->body, "to", s->address);
    add_text(&r->body, s->reply);
    add_member(&r->body, "workspaceId", s->workspace_id);
    add_member(&r->body, "contactId", s->contact_id);
    buf_add_str(&r->body, ",\"metadata\":{");
    add_member(&r->body, "contactId", s->contact_id);
    add_member(&r->body, "messageId", s->message_id);
    add_member(&r->body, "aiLogId", s->job_id ? s->job_id : s->message_id);
    buf_add_str(&r->body, ",\"isAiGenerated\":true}}");
    return 0;
}

/* An id that is too long is none: cut, it would match no receipt. */
static void take_id(const struct json_node *root, struct channel_verdict *v)
{
    static const char *const PLACES[] = {"sid", "id", "messageId", "data.id"};
    const struct json_node *n;
    int64_t number;

    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0] && !v->provider_id[0]; i++) {
        n = json_path(root, PLACES[i]);
        if (json_str(n) && strlen(json_str(n)) < sizeof v->provider_id)
            snprintf(v->provider_id, sizeof v->provider_id, "%s", json_str(n));
        else if (json_int(n, &number))
            snprintf(v->provider_id, sizeof v->provider_id, "%lld", (long long)number);
    }
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const struct json_node *success = json_member(root, "success");
    const char *text = json_str(json_member(root, "message"));

    v->outcome = channel_outcome_of_status(r->status);
    if (v->outcome == OUTCOME_DELIVERED && json_kind_of(success) == JSON_BOOL && !json_true(success))
        v->outcome = OUTCOME_PERMFAIL;
    if (v->outcome == OUTCOME_DELIVERED)
        take_id(root, v);
    else
        channel_verdict_detail(v, text ? text : json_str(json_member(root, "error")));
    json_free(&doc);
}

static const enum channel CHANNELS[] = {CHANNEL_SMS, CHANNEL_NONE};

const struct channel_provider CHANNEL_SMS_GATEWAY = {
    .name = "sms_gateway", .channels = CHANNELS, .build = build, .judge = judge};
