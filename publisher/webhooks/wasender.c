/* Wasender: {"event","timestamp","sessionId","data"}. The signature is the webhook's secret itself, not an
 * HMAC. A message stands in data.messages, alone or in an array, or is data itself. Receipts carry WhatsApp's
 * id of a message, not the one that its sender got, so that an echo links the two by recipient and text. */
#include <string.h>

#include "domain/contact.h"
#include "publisher/webhooks/baileys.h"

static int verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    const char *given = webhook_header(row, "X-Webhook-Signature");

    (void)url;
    if (given == NULL)
        return 1;
    return signature_is_secret(given, secret)
               ? 0
               : err_set(e, ERR_DATA, 0, "X-Webhook-Signature is another secret");
}

/* --- events --- */

static void take_message(struct webhook_events *ev, const struct json_node *n)
{
    baileys_take_message(ev, n);
}

/* The number in the words of an error, if there is just one. */
static const char *number_in(const char *text, struct arena *a)
{
    enum { DIGITS_MIN = 8 };
    const char *found = NULL;

    while (text != NULL && *text != '\0') {
        size_t digits = strspn(text, "0123456789");
        const char *number = digits < DIGITS_MIN ? NULL : payload_number(arena_dup(a, text, digits), a);
        if (number != NULL && found != NULL && strcmp(number, found) != 0)
            return NULL;
        found = number != NULL ? number : found;
        text += digits > 0 ? digits : 1;
    }
    return found;
}

/* The failure has no key: its words are all that tells whom it was for. */
static void take_sent(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *key = json_member(n, "key"), *success = json_member(n, "success");
    struct webhook_receipt r = {.status = RECEIPT_FAILED, .code = "message.sent"};

    if (json_kind_of(success) != JSON_BOOL || json_true(success)) {
        baileys_take_echo(ev, n);
        return;
    }
    r.external_id = payload_id(json_member(key, "id"), ev->arena);
    r.detail = payload_line(json_member(n, "error"), MESSAGE_MAX_NAME, ev->arena);
    r.recipient = baileys_recipient(key, ev->arena);
    if (r.recipient == NULL)
        r.recipient = number_in(r.detail, ev->arena);
    if (r.external_id == NULL && r.recipient == NULL)
        webhook_ignore(ev, "a message was not sent, which is not said: %s", r.detail ? r.detail : "");
    else
        payload_add_receipt(ev, &r);
}

static void take_update(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *key = json_member(n, "key"), *ours = json_member(key, "fromMe");
    struct webhook_receipt r = {.external_id = payload_id(json_member(key, "id"), ev->arena)};

    if (json_kind_of(ours) == JSON_BOOL && !json_true(ours)) {
        webhook_ignore(ev, "news of a message that is not ours");
        return;
    }
    r.recipient = baileys_recipient(key, ev->arena);
    baileys_take_status(ev, json_path(n, "update.status"), &r);
}

/* Everything else is passed over: groups, channels, reactions, deletions, polls, calls, the session. */
static const struct {
    const char *name;
    void (*take)(struct webhook_events *ev, const struct json_node *n);
} EVENTS[] = {
    {"messages.received", take_message}, {"messages-personal.received", take_message},
    {"messages.upsert", take_message},   {"message.sent", take_sent},
    {"messages.update", take_update},
};
enum { EVENT_COUNT = sizeof EVENTS / sizeof EVENTS[0] };

static void take_event(struct webhook_events *ev, const struct json_node *root, const char *name)
{
    const struct json_node *data = json_member(root, "data");
    const struct json_node *inner = json_member(data, "messages");
    size_t i = 0;

    while (i < EVENT_COUNT && strcmp(EVENTS[i].name, name) != 0)
        i++;
    if (i == EVENT_COUNT) {
        webhook_ignore(ev, "the event %.60s", name);
        return;
    }
    data = inner != NULL ? inner : data;
    for (const struct json_node *n = payload_each(data, NULL); n != NULL; n = payload_each(data, n))
        EVENTS[i].take(ev, n);
    if (ev->message_count + ev->receipt_count == 0)
        webhook_ignore(ev, "the event %.60s without data", name);
}

static int64_t time_of(const struct json_node *root)
{
    return payload_time_ms(json_member(root, "timestamp"));
}

/* What has no time of its own has the event's. */
static void set_times(struct webhook_events *ev, int64_t at_ms)
{
    for (size_t i = 0; i < ev->message_count; i++) {
        if (ev->messages[i].sent_ms == 0)
            ev->messages[i].sent_ms = at_ms;
    }
    for (size_t i = 0; i < ev->receipt_count; i++) {
        if (ev->receipts[i].at_ms == 0)
            ev->receipts[i].at_ms = at_ms;
    }
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct json *doc = payload_read(row, e);
    const struct json_node *root = doc == NULL ? NULL : json_root(doc);
    const char *name = json_str(json_member(root, "event"));
    int rc;

    (void)account;
    if (doc == NULL)
        return -1;
    if (name == NULL) {
        rc = err_set(e, ERR_DATA, 0, "$.event: expected a string");
    } else {
        take_event(ev, root, name);
        set_times(ev, time_of(root));
        rc = payload_end(ev, e);
    }
    json_free(&doc);
    return rc;
}

/* --- the account --- */

/* May be a secret of the session: never shown. */
static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = payload_read(row, NULL);
    const char *hint = doc == NULL ? NULL : payload_id(json_member(json_root(doc), "sessionId"), a);

    json_free(&doc);
    return hint;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    const char *session = config_account_option(a, "session_id", NULL);

    if (a->token != NULL && signature_is_secret(hint, a->token))
        return WEBHOOK_MATCH_YES;
    if (session == NULL)
        return WEBHOOK_MATCH_UNKNOWN;
    return strcmp(session, hint) == 0 ? WEBHOOK_MATCH_YES : WEBHOOK_MATCH_NO;
}

const struct webhook_provider WEBHOOK_WASENDER = {
    .name = "wasender",
    .account_provider = "wasender",
    .verify = verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
