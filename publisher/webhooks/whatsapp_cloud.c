/* The WhatsApp Cloud API: Meta's envelope with entries of changes, each with messages, statuses or errors.
 * Since 2026 a person may have only a business-scoped user id, and then neither wa_id nor from. */
#include <stdio.h>
#include <string.h>

#include "publisher/webhooks/meta.h"

#define OBJECT "whatsapp_business_account"

/* --- messages --- */

/* Everything of one `value` that its messages refer to. */
struct change {
    struct webhook_events *ev;
    const struct json_node *contacts;
};

static bool is_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static const char *name_of(const struct change *c, const char *from, const char *user_id)
{
    for (const struct json_node *n = json_first(c->contacts); n != NULL; n = json_next(n)) {
        if (is_same(json_str(json_member(n, "wa_id")), from) ||
            is_same(json_str(json_member(n, "user_id")), user_id))
            return payload_line(json_path(n, "profile.name"), MESSAGE_MAX_NAME, c->ev->arena);
    }
    return NULL;
}

static const char *read_text(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    (void)m, (void)a;
    return json_str(json_member(part, "body"));
}

static const char *read_media(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    m->media_id = payload_id(json_member(part, "id"), a);
    m->media_url = payload_url(json_str(json_member(part, "url")), a);
    m->media_type = payload_line(json_member(part, "mime_type"), MESSAGE_MAX_WORD, a);
    m->media_name = payload_line(json_member(part, "filename"), MESSAGE_MAX_NAME, a);
    return json_str(json_member(part, "caption"));
}

static const char *read_location(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    double latitude = 0, longitude = 0;

    (void)m;
    if (!json_real(json_member(part, "latitude"), &latitude) ||
        !json_real(json_member(part, "longitude"), &longitude))
        return NULL;
    return payload_place(latitude, longitude, json_str(json_member(part, "name")),
                         json_str(json_member(part, "address")), a);
}

/* Here the part is an array: of each its name and its first number. */
static const char *read_contacts(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    enum { WORDS = 20 };
    const char *words[WORDS];
    size_t count = 0;

    (void)m;
    for (const struct json_node *n = json_first(part); n != NULL && count < WORDS; n = json_next(n)) {
        words[count++] = json_str(json_path(n, "name.formatted_name"));
        words[count++] = json_str(json_member(json_item(json_member(n, "phones"), 0), "phone"));
    }
    return payload_note("contacts", words, count, a);
}

static const char *read_button(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    (void)m, (void)a;
    return json_str(json_member(part, "text"));
}

static const char *read_interactive(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    static const char *const paths[] = {"button_reply.title", "list_reply.title", "nfm_reply.response_json",
                                        "nfm_reply.body"};

    (void)m, (void)a;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const char *title = json_str(json_path(part, paths[i]));
        if (title != NULL)
            return title;
    }
    return NULL;
}

/* What the person says to it, then of each product how many. */
static const char *read_order(const struct json_node *part, struct webhook_message *m, struct arena *a)
{
    enum { SHOWN = 20, WORDS_SIZE = MESSAGE_MAX_WORD + 16 };
    const char *words[SHOWN] = {json_str(json_member(part, "text"))};
    size_t count = 1;

    (void)m;
    for (const struct json_node *n = json_first(json_member(part, "product_items"));
         n != NULL && count < SHOWN; n = json_next(n)) {
        const char *product = payload_line(json_member(n, "product_retailer_id"), MESSAGE_MAX_WORD, a);
        const char *quantity = payload_line(json_member(n, "quantity"), 8, a);
        char *line = arena_alloc(a, WORDS_SIZE);
        (void)snprintf(line, WORDS_SIZE, "%.8s x %s", quantity == NULL ? "?" : quantity,
                       product == NULL ? "?" : product);
        words[count++] = line;
    }
    return payload_note("order", words, count, a);
}

/* What has no line here is passed over: reaction, system, unsupported, and what is not known yet. */
static const struct {
    const char *type; /* also the member that holds it */
    const char *content_type;
    const char *(*read)(const struct json_node *part, struct webhook_message *m, struct arena *a);
} TYPES[] = {
    {"text", "text", read_text},
    {"image", "image", read_media},
    {"video", "video", read_media},
    {"audio", "audio", read_media},
    {"document", "document", read_media},
    {"sticker", "sticker", read_media},
    {"location", "location", read_location},
    {"contacts", "contacts", read_contacts},
    {"button", "interactive", read_button},
    {"interactive", "interactive", read_interactive},
    {"order", "interactive", read_order},
};
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };

static bool set_sender(const struct change *c, const struct json_node *n, struct webhook_message *m)
{
    const char *from = json_str(json_member(n, "from"));
    const char *user_id = json_str(json_member(n, "from_user_id"));

    m->user_id = payload_id_text(user_id, c->ev->arena);
    m->name = name_of(c, from, user_id);
    if (json_member(n, "group_id") != NULL) {
        webhook_ignore(c->ev, "a group's message");
        return false;
    }
    if (from == NULL && m->user_id != NULL)
        return true;
    return payload_set_person(c->ev, m, from, NULL, 0);
}

static void take_message(const struct change *c, const struct json_node *n)
{
    const char *type = json_str(json_member(n, "type")), *text;
    struct arena *a = c->ev->arena;
    struct webhook_message m = {.channel = CHANNEL_WHATSAPP};
    size_t i = 0;

    while (i < TYPE_COUNT && !is_same(TYPES[i].type, type))
        i++;
    if (i == TYPE_COUNT) {
        webhook_ignore(c->ev, "a message of type %.40s", type == NULL ? "nothing" : type);
        return;
    }
    if (!set_sender(c, n, &m))
        return;
    text = TYPES[i].read(json_member(n, type), &m, a);
    m.external_id = payload_id(json_member(n, "id"), a);
    m.content_type = TYPES[i].content_type;
    m.quoted_id = payload_id(json_path(n, "context.id"), a);
    m.sent_ms = payload_time_ms(json_member(n, "timestamp"));
    payload_add_message(c->ev, &m, text, NULL);
}

/* --- statuses --- */

static const struct {
    const char *word;
    enum receipt_status status;
} STATUSES[] = {
    {"sent", RECEIPT_SENT},   {"delivered", RECEIPT_DELIVERED}, {"read", RECEIPT_READ},
    {"played", RECEIPT_READ}, {"failed", RECEIPT_FAILED},
};
enum { STATUS_COUNT = sizeof STATUSES / sizeof STATUSES[0] };

static const char *reason_of(const struct json_node *error, struct arena *a)
{
    static const char *const paths[] = {"error_data.details", "message", "title"};
    const char *reason = NULL;

    for (size_t i = 0; i < sizeof paths / sizeof paths[0] && reason == NULL; i++)
        reason = payload_line(json_path(error, paths[i]), MESSAGE_MAX_NAME, a);
    return reason;
}

static void take_status(const struct change *c, const struct json_node *n)
{
    const char *word = json_str(json_member(n, "status"));
    const struct json_node *error = json_item(json_member(n, "errors"), 0);
    struct arena *a = c->ev->arena;
    struct webhook_receipt r = {0};
    size_t i = 0;

    while (i < STATUS_COUNT && !is_same(STATUSES[i].word, word))
        i++;
    if (i == STATUS_COUNT) {
        webhook_ignore(c->ev, "a status %.40s", word == NULL ? "of nothing" : word);
        return;
    }
    r.status = STATUSES[i].status;
    r.external_id = payload_id(json_member(n, "id"), a);
    r.our_id = payload_id(json_member(n, "biz_opaque_callback_data"), a);
    r.recipient = payload_number(json_str(json_member(n, "recipient_id")), a);
    r.at_ms = payload_time_ms(json_member(n, "timestamp"));
    if (r.status == RECEIPT_FAILED) {
        r.code = payload_line(json_member(error, "code"), MESSAGE_MAX_WORD, a);
        r.detail = reason_of(error, a);
    }
    payload_add_receipt(c->ev, &r);
}

/* --- the envelope --- */

static void take_change(struct webhook_events *ev, const struct json_node *n)
{
    const char *field = json_str(json_member(n, "field"));
    const struct json_node *value = json_member(n, "value");
    struct change c = {.ev = ev, .contacts = json_member(value, "contacts")};
    int64_t code = 0;

    if (!is_same(field, "messages")) {
        webhook_ignore(ev, "a notice of %.40s", field == NULL ? "nothing" : field);
        return;
    }
    ev->hint = payload_id(json_path(value, "metadata.phone_number_id"), ev->arena);
    for (n = json_first(json_member(value, "messages")); n != NULL; n = json_next(n))
        take_message(&c, n);
    for (n = json_first(json_member(value, "statuses")); n != NULL; n = json_next(n))
        take_status(&c, n);
    if (json_int(json_member(json_item(json_member(value, "errors"), 0), "code"), &code))
        webhook_ignore(ev, "an error notice, code %ld", (long)code);
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct json *doc = meta_read(row, OBJECT, e);

    (void)account;
    if (doc == NULL)
        return -1;
    for (const struct json_node *entry = json_first(json_member(json_root(doc), "entry")); entry != NULL;
         entry = json_next(entry)) {
        for (const struct json_node *n = json_first(json_member(entry, "changes")); n != NULL;
             n = json_next(n))
            take_change(ev, n);
    }
    json_free(&doc);
    if (ev->message_count + ev->receipt_count == 0)
        webhook_ignore(ev, "no messages or statuses in it");
    return payload_end(ev, e);
}

static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = meta_read(row, OBJECT, NULL);
    const char *hint = NULL;

    if (doc == NULL)
        return NULL;
    const struct json_node *entry = json_item(json_member(json_root(doc), "entry"), 0);
    const struct json_node *change = json_item(json_member(entry, "changes"), 0);
    hint = payload_id(json_path(change, "value.metadata.phone_number_id"), a);
    json_free(&doc);
    return hint;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    return meta_is_for(config_account_option(a, "phone_number_id", NULL), hint);
}

const struct webhook_provider WEBHOOK_WHATSAPP_CLOUD = {
    .name = "whatsapp_cloud",
    .account_provider = "whatsapp_cloud",
    .verify = meta_verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
