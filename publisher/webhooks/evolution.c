/* Evolution API v2: {"event","instance","data","apikey",...}. The body holds the API key, so that no part of
 * it but what is read here may go anywhere. Custom headers can carry a key or a JWT; of these only `apikey`
 * is checked: a JWT in Authorization proves nothing here. */
#include <string.h>

#include "publisher/webhooks/baileys.h"

static int verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    const char *header = webhook_header(row, "apikey");
    struct json *doc = header != NULL ? NULL : payload_read(row, NULL);
    const char *given = doc != NULL ? json_str(json_member(json_root(doc), "apikey")) : header;
    int rc = 1;

    (void)url;
    if (given != NULL)
        rc = signature_is_secret(given, secret) ? 0 : err_set(e, ERR_DATA, 0, "apikey is another key");
    json_free(&doc);
    return rc;
}

/* --- events --- */

/* Two spellings of a receipt: {"keyId","remoteJid","fromMe","status"} and {"key":{...},"update":{"status"}}.
 */
static void take_update(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *key = json_member(n, "key"), *ours, *status = json_member(n, "status");
    struct webhook_receipt r = {0};

    key = key != NULL ? key : n;
    ours = json_member(key, "fromMe");
    if (json_kind_of(ours) == JSON_BOOL && !json_true(ours)) {
        webhook_ignore(ev, "news of a message that is not ours");
        return;
    }
    r.external_id = payload_id(json_member(n, "keyId"), ev->arena);
    if (r.external_id == NULL)
        r.external_id = payload_id(json_member(key, "id"), ev->arena);
    r.recipient = baileys_recipient(key, ev->arena);
    baileys_take_status(ev, status != NULL ? status : json_path(n, "update.status"), &r);
}

/* Everything else is passed over: edits, deletions, chats, contacts, groups, calls, the connection. */
static const struct {
    const char *name;
    void (*take)(struct webhook_events *ev, const struct json_node *n);
} EVENTS[] = {
    {"messages.upsert", baileys_take_message},
    {"messages.update", take_update},
    {"send.message", baileys_take_echo},
};
enum { EVENT_COUNT = sizeof EVENTS / sizeof EVENTS[0] };

/* "MESSAGES_UPSERT" is "messages.upsert". */
static bool is_event(const char *name, const char *said)
{
    for (; *name != '\0' && *said != '\0'; name++, said++) {
        char c = *said >= 'A' && *said <= 'Z' ? (char)(*said + ('a' - 'A')) : *said == '_' ? '.' : *said;
        if (c != *name)
            return false;
    }
    return *name == *said;
}

static void take_event(struct webhook_events *ev, const struct json_node *data, const char *name)
{
    size_t i = 0;

    while (i < EVENT_COUNT && !is_event(EVENTS[i].name, name))
        i++;
    if (i == EVENT_COUNT) {
        webhook_ignore(ev, "the event %.60s", name);
        return;
    }
    for (const struct json_node *n = payload_each(data, NULL); n != NULL; n = payload_each(data, n))
        EVENTS[i].take(ev, n);
    if (ev->message_count + ev->receipt_count == 0)
        webhook_ignore(ev, "the event %.60s without data", name);
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct json *doc = payload_read(row, e);
    const char *name = doc == NULL ? NULL : json_str(json_member(json_root(doc), "event"));
    int rc;

    (void)account;
    if (doc == NULL)
        return -1;
    if (name == NULL) {
        rc = err_set(e, ERR_DATA, 0, "$.event: expected a string");
    } else {
        take_event(ev, json_member(json_root(doc), "data"), name);
        rc = payload_end(ev, e);
    }
    json_free(&doc);
    return rc;
}

/* --- the account --- */

static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = payload_read(row, NULL);
    const char *hint =
        doc == NULL ? NULL : payload_line(json_member(json_root(doc), "instance"), MESSAGE_MAX_NAME, a);

    json_free(&doc);
    return hint;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    const char *instance = config_account_option(a, "instance", NULL);

    if (instance == NULL)
        return WEBHOOK_MATCH_UNKNOWN;
    return strcmp(instance, hint) == 0 ? WEBHOOK_MATCH_YES : WEBHOOK_MATCH_NO;
}

const struct webhook_provider WEBHOOK_EVOLUTION = {
    .name = "evolution",
    .account_provider = "whatsapp_qr",
    .preset = "evolution",
    .verify = verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
