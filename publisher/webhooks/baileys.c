#include "publisher/webhooks/baileys.h"

#include <string.h>
#include <strings.h>

/* --- what a message holds --- */

/* A member of `message`: the first one that has a line decides. */
struct content {
    const char *member;
    const char *type; /* webhook_message.content_type; NULL = passed over */
    const char *text_path,
        *text_path2; /* where its words are, NULL = nowhere; the reason where type is NULL */
    bool is_media;
};

static const struct content CONTENTS[] = {
    {"conversation", "text", NULL, NULL, false}, /* itself a string */
    {"extendedTextMessage", "text", "text", NULL, false},
    {"imageMessage", "image", "caption", NULL, true},
    {"videoMessage", "video", "caption", NULL, true},
    {"ptvMessage", "video", "caption", NULL, true},
    {"audioMessage", "audio", NULL, NULL, true},
    {"documentMessage", "document", "caption", NULL, true},
    {"stickerMessage", "sticker", NULL, NULL, true},
    {"locationMessage", "location", NULL, NULL, false},
    {"liveLocationMessage", "location", NULL, NULL, false},
    {"contactMessage", "contacts", NULL, NULL, false},
    {"contactsArrayMessage", "contacts", NULL, NULL, false},
    {"buttonsResponseMessage", "interactive", "selectedDisplayText", "selectedButtonId", false},
    {"templateButtonReplyMessage", "interactive", "selectedDisplayText", "selectedId", false},
    {"listResponseMessage", "interactive", "title", "singleSelectReply.selectedRowId", false},
    {"interactiveResponseMessage", "interactive", "body.text", NULL, false},
    {"orderMessage", "interactive", "message", "orderTitle", false},
    {"reactionMessage", NULL, "a reaction", NULL, false},
    {"encReactionMessage", NULL, "a reaction", NULL, false},
    {"editedMessage", NULL, "an edit", NULL, false},
    {"secretEncryptedMessage", NULL, "an edit", NULL, false},
    {"pollCreationMessage", NULL, "a poll", NULL, false},
    {"pollCreationMessageV2", NULL, "a poll", NULL, false},
    {"pollCreationMessageV3", NULL, "a poll", NULL, false},
    {"pollUpdateMessage", NULL, "a vote", NULL, false},
    {"callLogMesssage", NULL, "a call", NULL, false}, /* sic */
    {"call", NULL, "a call", NULL, false},
    {"protocolMessage", NULL, "a protocol message", NULL, false},
};
enum { CONTENT_COUNT = sizeof CONTENTS / sizeof CONTENTS[0] };

static const char *const WRAPPERS[] = {
    "ephemeralMessage",           "viewOnceMessage",   "viewOnceMessageV2",
    "viewOnceMessageV2Extension", "deviceSentMessage", "documentWithCaptionMessage",
};
enum { WRAPPER_COUNT = sizeof WRAPPERS / sizeof WRAPPERS[0] };

/* The message within the wrappers; there is no deeper nesting than JSON's own. */
static const struct json_node *unwrap(const struct json_node *message)
{
    for (size_t i = 0; i < WRAPPER_COUNT; i++) {
        const struct json_node *inner = json_member(json_member(message, WRAPPERS[i]), "message");
        if (inner != NULL) {
            message = inner;
            i = (size_t)-1;
        }
    }
    return message;
}

static const struct content *find_content(const struct json_node *message, const struct json_node **part)
{
    for (size_t i = 0; i < CONTENT_COUNT; i++) {
        *part = json_member(message, CONTENTS[i].member);
        if (json_kind_of(*part) != JSON_ABSENT && json_kind_of(*part) != JSON_NULL)
            return &CONTENTS[i];
    }
    *part = NULL;
    return NULL;
}

static const char *read_place(const struct json_node *part, struct arena *a)
{
    double latitude, longitude;

    if (!json_real(json_member(part, "degreesLatitude"), &latitude) ||
        !json_real(json_member(part, "degreesLongitude"), &longitude))
        return NULL;
    return payload_place(latitude, longitude, json_str(json_member(part, "name")),
                         json_str(json_member(part, "address")), a);
}

static const char *read_contacts(const struct json_node *part, struct arena *a)
{
    enum { SHOWN = 10 };
    const char *names[SHOWN];
    const struct json_node *list = json_member(part, "contacts");
    size_t count = 0;

    list = json_kind_of(list) == JSON_ARRAY ? list : part;
    for (const struct json_node *n = payload_each(list, NULL); n != NULL && count < SHOWN;
         n = payload_each(list, n))
        names[count++] = json_str(json_member(n, "displayName"));
    return payload_note("contacts", names, count, a);
}

static const char *read_words(const struct content *c, const struct json_node *part, struct arena *a)
{
    const char *words = json_str(part); /* "conversation" */

    if (strcmp(c->type, "location") == 0)
        return read_place(part, a);
    if (strcmp(c->type, "contacts") == 0)
        return read_contacts(part, a);
    if (words == NULL && c->text_path != NULL)
        words = json_str(json_path(part, c->text_path));
    if (words == NULL && c->text_path2 != NULL)
        words = json_str(json_path(part, c->text_path2));
    return words;
}

/* The URL of the file itself is encrypted; a service that decrypts names its own. */
static void read_media(const struct json_node *message, const struct json_node *part,
                       struct webhook_message *m, struct arena *a)
{
    m->media_url = payload_url(json_str(json_member(message, "mediaUrl")), a);
    if (m->media_url == NULL)
        m->media_url = payload_url(json_str(json_member(part, "url")), a);
    m->media_type = payload_line(json_member(part, "mimetype"), MESSAGE_MAX_WORD, a);
    m->media_name = payload_line(json_member(part, "fileName"), MESSAGE_MAX_NAME, a);
}

/* --- whose it is --- */

const char *baileys_recipient(const struct json_node *key, struct arena *a)
{
    const char *const known[] = {json_str(json_member(key, "remoteJidAlt"))};

    return payload_recipient(json_str(json_member(key, "remoteJid")), known, 1, a);
}

static bool set_sender(struct webhook_events *ev, const struct json_node *key, struct webhook_message *m)
{
    const char *const known[] = {
        json_str(json_member(key, "cleanedSenderPn")), json_str(json_member(key, "senderPn")),
        json_str(json_member(key, "remoteJidAlt")), json_str(json_member(key, "senderLid"))};

    if (json_true(json_member(key, "fromMe"))) {
        webhook_ignore(ev, "a message of our own");
        return false;
    }
    return payload_set_person(ev, m, json_str(json_member(key, "remoteJid")), known,
                              sizeof known / sizeof known[0]);
}

/* --- messages --- */

static const char *protocol_reason(const struct json_node *part)
{
    const struct json_node *type = json_member(part, "type");
    const char *word = json_str(type);
    int64_t number = -1;

    (void)json_int(type, &number);
    if (number == 0 || (word != NULL && strcmp(word, "REVOKE") == 0))
        return "a deletion";
    if (number == 14 || (word != NULL && strcmp(word, "MESSAGE_EDIT") == 0))
        return "an edit";
    return "a protocol message";
}

static const char *reason_of(const struct content *c, const struct json_node *part)
{
    return strcmp(c->member, "protocolMessage") == 0 ? protocol_reason(part) : c->text_path;
}

void baileys_take_message(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *key = json_member(n, "key"), *message = unwrap(json_member(n, "message")), *part;
    const struct content *c = find_content(message, &part);
    const char *body = json_str(json_member(n, "messageBody"));
    struct arena *a = ev->arena;
    struct webhook_message m = {.channel = CHANNEL_WHATSAPP};

    if (!set_sender(ev, key, &m))
        return;
    if (c == NULL && (body == NULL || body[0] == '\0')) {
        webhook_ignore(ev, "a message of a kind that is not known: %.40s", json_key(json_first(message)));
        return;
    }
    if (c != NULL && c->type == NULL) {
        webhook_ignore(ev, "%s", reason_of(c, part));
        return;
    }
    m.external_id = payload_id(json_member(key, "id"), a);
    m.name = payload_line(json_member(n, "pushName"), MESSAGE_MAX_NAME, a);
    m.sent_ms = payload_time_ms(json_member(n, "messageTimestamp"));
    m.quoted_id = payload_id(json_path(part, "contextInfo.stanzaId"), a);
    if (m.quoted_id == NULL)
        m.quoted_id = payload_id(json_path(n, "contextInfo.stanzaId"), a);
    m.content_type = c == NULL ? "text" : c->type;
    if (c != NULL && c->is_media)
        read_media(message, part, &m, a);
    if ((body == NULL || body[0] == '\0') && c != NULL)
        body = read_words(c, part, a);
    payload_add_message(ev, &m, body, NULL);
}

void baileys_take_echo(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *key = json_member(n, "key"), *part;
    const struct content *c = find_content(unwrap(json_member(n, "message")), &part);
    struct webhook_receipt r = {.status = RECEIPT_SENT};

    r.external_id = payload_id(json_member(key, "id"), ev->arena);
    r.recipient = baileys_recipient(key, ev->arena);
    r.at_ms = payload_time_ms(json_member(n, "messageTimestamp"));
    if (c != NULL && c->type != NULL)
        r.text = arena_strdup(ev->arena, read_words(c, part, ev->arena));
    payload_add_receipt(ev, &r);
}

/* --- statuses --- */

static const struct {
    const char *words[4]; /* its number first */
    enum receipt_status status;
} STATUSES[] = {
    {{"0", "error", "failed"}, RECEIPT_FAILED},
    {{"2", "server_ack", "sent"}, RECEIPT_SENT},
    {{"3", "delivery_ack", "delivered"}, RECEIPT_DELIVERED},
    {{"4", "read"}, RECEIPT_READ},
    {{"5", "played"}, RECEIPT_READ},
};
enum { STATUS_COUNT = sizeof STATUSES / sizeof STATUSES[0] };

static bool find_status(const char *word, enum receipt_status *status)
{
    for (size_t i = 0; i < STATUS_COUNT; i++) {
        for (const char *const *w = STATUSES[i].words; *w != NULL; w++) {
            if (strcasecmp(*w, word) == 0) {
                *status = STATUSES[i].status;
                return true;
            }
        }
    }
    return false;
}

void baileys_take_status(struct webhook_events *ev, const struct json_node *status, struct webhook_receipt *r)
{
    const char *word = payload_id(status, ev->arena);

    if (word == NULL || !find_status(word, &r->status)) {
        webhook_ignore(ev, "a status %.40s", word == NULL ? "of nothing" : word);
        return;
    }
    if (r->status == RECEIPT_FAILED && r->code == NULL)
        r->code = "ERROR";
    payload_add_receipt(ev, r);
}
