/* WAHA: {"event","session","payload",...}. Its engines differ in what they add beside the common members; of
 * that only a hidden id's number, the name and the reply are read. */
#include <string.h>
#include <strings.h>

#include "domain/contact.h"
#include "publisher/webhooks/payload.h"

/* With a key set in WAHA its HMAC comes; X-Api-Key is what a custom header can carry. */
static int verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    const char *mac = webhook_header(row, "X-Webhook-Hmac");
    const char *algorithm = webhook_header(row, "X-Webhook-Hmac-Algorithm");
    const char *key = webhook_header(row, "X-Api-Key");

    (void)url;
    if (mac == NULL && key == NULL)
        return 1;
    if (mac == NULL)
        return signature_is_secret(key, secret) ? 0 : err_set(e, ERR_DATA, 0, "X-Api-Key is another key");
    if (algorithm != NULL && strcasecmp(algorithm, "sha512") != 0)
        return err_set(e, ERR_DATA, 0, "X-Webhook-Hmac-Algorithm is not sha512");
    return signature_is_hex_hmac("SHA512", secret, row->body, row->body_len, mac)
               ? 0
               : err_set(e, ERR_DATA, 0, "X-Webhook-Hmac is not this body's");
}

/* --- common members --- */

/* "true_12025550143@c.us_AAAA", or an object that holds it. */
static const char *id_of(const struct json_node *n, struct arena *a)
{
    return payload_id(json_kind_of(n) == JSON_OBJECT ? json_member(n, "_serialized") : n, a);
}

/* The chat that such an id names; "" when it has another form. */
static const char *chat_of(const char *id, struct arena *a)
{
    const char *chat = id == NULL ? NULL : strchr(id, '_');

    return chat == NULL ? "" : arena_dup(a, chat + 1, strcspn(chat + 1, "_"));
}

/* Where the engines say which number a hidden id is: of who sent it, of who got it. */
static const char *const SENDER_PATHS[] = {"_data.key.remoteJidAlt", "_data.key.senderPn",
                                           "_data.Info.SenderAlt"};
static const char *const RECIPIENT_PATHS[] = {"_data.key.remoteJidAlt", "_data.Info.RecipientAlt"};
enum {
    SENDER_PATH_COUNT = sizeof SENDER_PATHS / sizeof SENDER_PATHS[0],
    RECIPIENT_PATH_COUNT = sizeof RECIPIENT_PATHS / sizeof RECIPIENT_PATHS[0]
};

static void read_paths(const struct json_node *payload, const char *const *paths, size_t count,
                       const char **strings)
{
    for (size_t i = 0; i < count; i++)
        strings[i] = json_str(json_path(payload, paths[i]));
}

static const char *name_of(const struct json_node *payload, struct arena *a)
{
    static const char *const paths[] = {"_data.notifyName", "_data.pushName", "_data.Info.PushName"};
    const char *name = NULL;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && name == NULL; i++)
        name = payload_line(json_path(payload, paths[i]), MESSAGE_MAX_NAME, a);
    return name;
}

/* --- messages --- */

static const struct {
    const char *prefix, *content_type;
} MEDIA[] = {{"image/webp", "sticker"},
             {"image/", "image"},
             {"video/", "video"},
             {"audio/", "audio"},
             {"", "document"}};

static const char *media_kind(const char *mime_type)
{
    size_t i = 0;

    while (strncmp(mime_type == NULL ? "" : mime_type, MEDIA[i].prefix, strlen(MEDIA[i].prefix)) != 0)
        i++;
    return MEDIA[i].content_type;
}

static void read_media(const struct json_node *payload, struct webhook_message *m, struct arena *a)
{
    const struct json_node *media = json_member(payload, "media");

    m->media_url = payload_url(json_str(json_member(media, "url")), a);
    m->media_type = payload_line(json_member(media, "mimetype"), MESSAGE_MAX_WORD, a);
    m->media_name = payload_line(json_member(media, "filename"), MESSAGE_MAX_NAME, a);
    m->content_type = media_kind(m->media_type);
}

static const char *read_content(const struct json_node *payload, struct webhook_message *m, struct arena *a)
{
    const struct json_node *place = json_member(payload, "location"), *cards = json_member(payload, "vCards");
    double latitude, longitude;

    if (json_true(json_member(payload, "hasMedia")))
        read_media(payload, m, a);
    if (json_real(json_member(place, "latitude"), &latitude) &&
        json_real(json_member(place, "longitude"), &longitude)) {
        m->content_type = "location";
        return payload_place(latitude, longitude, json_str(json_member(place, "description")), NULL, a);
    }
    if (json_first(cards) != NULL) {
        m->content_type = "contacts";
        return NULL;
    }
    return json_str(json_member(payload, "body"));
}

static void take_message(struct webhook_events *ev, const struct json_node *payload)
{
    const struct json_node *reply = json_member(payload, "replyTo");
    const char *known[SENDER_PATH_COUNT], *text;
    struct arena *a = ev->arena;
    struct webhook_message m = {.channel = CHANNEL_WHATSAPP};

    if (json_true(json_member(payload, "fromMe"))) {
        webhook_ignore(ev, "a message of our own");
        return;
    }
    read_paths(payload, SENDER_PATHS, SENDER_PATH_COUNT, known);
    if (!payload_set_person(ev, &m, json_str(json_member(payload, "from")), known, SENDER_PATH_COUNT))
        return;
    m.external_id = id_of(json_member(payload, "id"), a);
    m.name = name_of(payload, a);
    m.sent_ms = payload_time_ms(json_member(payload, "timestamp"));
    m.quoted_id = payload_id(json_kind_of(reply) == JSON_OBJECT ? json_member(reply, "id") : reply, a);
    text = read_content(payload, &m, a);
    payload_add_message(ev, &m, text, NULL);
}

/* --- receipts --- */

/* The chat is in the id; what `from` and `to` are depends on the engine. */
static const char *recipient_of(const struct json_node *payload, const char *id, struct arena *a)
{
    const char *known[RECIPIENT_PATH_COUNT], *recipient;

    read_paths(payload, RECIPIENT_PATHS, RECIPIENT_PATH_COUNT, known);
    recipient = payload_recipient(chat_of(id, a), known, RECIPIENT_PATH_COUNT, a);
    if (recipient == NULL)
        recipient = payload_recipient(json_str(json_member(payload, "to")), NULL, 0, a);
    return recipient;
}

static void take_any(struct webhook_events *ev, const struct json_node *payload)
{
    struct webhook_receipt r = {.status = RECEIPT_SENT};

    if (!json_true(json_member(payload, "fromMe"))) {
        take_message(ev, payload);
        return;
    }
    r.external_id = id_of(json_member(payload, "id"), ev->arena);
    r.recipient = recipient_of(payload, r.external_id, ev->arena);
    r.text = arena_strdup(ev->arena, json_str(json_member(payload, "body")));
    r.at_ms = payload_time_ms(json_member(payload, "timestamp"));
    payload_add_receipt(ev, &r);
}

static const struct {
    int ack;
    const char *name;
    enum receipt_status status;
} ACKS[] = {
    {-1, "ERROR", RECEIPT_FAILED}, {1, "SERVER", RECEIPT_SENT}, {2, "DEVICE", RECEIPT_DELIVERED},
    {3, "READ", RECEIPT_READ},     {4, "PLAYED", RECEIPT_READ},
};
enum { ACK_COUNT = sizeof ACKS / sizeof ACKS[0] };

static void take_ack(struct webhook_events *ev, const struct json_node *payload)
{
    const char *name = json_str(json_member(payload, "ackName"));
    const struct json_node *ours = json_member(payload, "fromMe");
    struct webhook_receipt r = {0};
    int64_t ack = 0;
    size_t i = 0;

    (void)json_int(json_member(payload, "ack"), &ack);
    while (i < ACK_COUNT && (name != NULL ? strcasecmp(ACKS[i].name, name) != 0 : ACKS[i].ack != ack))
        i++;
    if (json_kind_of(ours) == JSON_BOOL && !json_true(ours)) {
        webhook_ignore(ev, "news of a message that is not ours");
        return;
    }
    if (i == ACK_COUNT) {
        webhook_ignore(ev, "a status %.40s", name == NULL ? "of nothing" : name);
        return;
    }
    r.status = ACKS[i].status;
    r.code = r.status == RECEIPT_FAILED ? "ERROR" : NULL;
    r.external_id = id_of(json_member(payload, "id"), ev->arena);
    r.recipient = recipient_of(payload, r.external_id, ev->arena);
    payload_add_receipt(ev, &r);
}

/* Everything else is passed over: reactions, edits, deletions, groups, polls, calls, the session. */
static const struct {
    const char *name;
    void (*take)(struct webhook_events *ev, const struct json_node *payload);
} EVENTS[] = {{"message", take_message}, {"message.any", take_any}, {"message.ack", take_ack}};
enum { EVENT_COUNT = sizeof EVENTS / sizeof EVENTS[0] };

static void take_event(struct webhook_events *ev, const struct json_node *root, const char *name)
{
    int64_t at_ms = payload_time_ms(json_member(root, "timestamp"));
    size_t i = 0;

    while (i < EVENT_COUNT && strcmp(EVENTS[i].name, name) != 0)
        i++;
    if (i == EVENT_COUNT) {
        webhook_ignore(ev, "the event %.60s", name);
        return;
    }
    EVENTS[i].take(ev, json_member(root, "payload"));
    if (ev->receipt_count > 0 && ev->receipts[0].at_ms == 0)
        ev->receipts[0].at_ms = at_ms;
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct json *doc = payload_read(row, e);
    const char *name = doc == NULL ? NULL : json_str(json_member(json_root(doc), "event"));
    int rc = 0;

    (void)account;
    if (doc == NULL)
        return -1;
    if (name == NULL)
        rc = err_set(e, ERR_DATA, 0, "$.event: expected a string");
    else
        take_event(ev, json_root(doc), name);
    json_free(&doc);
    return rc;
}

/* --- the account --- */

static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = payload_read(row, NULL);
    const char *hint =
        doc == NULL ? NULL : payload_line(json_member(json_root(doc), "session"), MESSAGE_MAX_NAME, a);

    json_free(&doc);
    return hint;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    return strcmp(config_account_option(a, "instance", "default"), hint) == 0 ? WEBHOOK_MATCH_YES
                                                                              : WEBHOOK_MATCH_NO;
}

const struct webhook_provider WEBHOOK_WAHA = {
    .name = "waha",
    .account_provider = "whatsapp_qr",
    .preset = "waha",
    .verify = verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
