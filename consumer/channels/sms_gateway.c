/* The SMS gateway of an existing backend: POST /send-sms with the message and its metadata. Its answer's
 * shape is not fixed: any 2xx is accepted, an id is taken from where gateways usually put it. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "consumer/channels/channel.h"
#include "domain/contact.h"

#define DEFAULT_PATH "/send-sms"

/* --- the account --- */

static int check(const struct config_account *a, struct err *e)
{
    if (!a->base_url || !a->base_url[0])
        return err_set(e, ERR_CONFIG, 0, "provider sms_gateway needs base_url (https://sms.example.com)");
    if (!channel_is_path(config_account_option(a, "path", DEFAULT_PATH)))
        return err_set(e, ERR_CONFIG, 0,
                       "options.path: expected a path that begins with '/', without blanks");
    return 0;
}

/* --- the request --- */

static void write_body(const struct channel_send *s, struct buf *b)
{
    buf_add_char(b, '{');
    channel_json_member(b, "to", s->address);
    channel_json_member(b, "message", s->part->text);
    channel_json_member(b, "workspaceId", s->workspace_id);
    channel_json_member(b, "contactId", s->contact_id);
    channel_json_open(b, "metadata");
    channel_json_member(b, "contactId", s->contact_id);
    channel_json_member(b, "messageId", s->message_id);
    channel_json_member(b, "aiLogId", s->job_id ? s->job_id : s->message_id);
    buf_add_str(b, ",\"isAiGenerated\":true}}");
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    if (!is_e164(s->address))
        return err_set(e, ERR_DATA, 0, "the contact has no phone number: SMS cannot reach it");
    channel_request_url(r, s->account, "", config_account_option(s->account, "path", DEFAULT_PATH));
    channel_request_bearer_json(r, s->account);
    r->user = s->account->user;
    r->password = s->account->password;
    write_body(s, &r->body);
    return 0;
}

/* --- the answer --- */

static void take_id(const struct json_node *root, struct channel_verdict *v)
{
    static const char *const PLACES[] = {"sid", "id", "messageId", "data.id"};
    const struct json_node *n;
    int64_t number;

    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0] && !v->provider_id[0]; i++) {
        n = json_path(root, PLACES[i]);
        channel_verdict_id(v, json_str(n));
        if (json_int(n, &number))
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
    v->account_works = v->outcome == OUTCOME_PERMFAIL && v->detail[0];
    json_free(&doc);
}

static const enum channel CHANNELS[] = {CHANNEL_SMS, CHANNEL_NONE};
static const char *const OPTIONS[] = {"path", "max_segments", "smart_encoding", NULL};

const struct channel_provider CHANNEL_SMS_GATEWAY = {
    .name = "sms_gateway",
    .channels = CHANNELS,
    .options = OPTIONS,
    .check = check,
    .build = build,
    .judge = judge,
};
