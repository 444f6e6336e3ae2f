/* Instagram: Meta's envelope with entries of `messaging` events, addressed by ids that hold for one account
 * only. A read event names the message up to which was read. */
#include <string.h>

#include "publisher/webhooks/meta.h"

#define OBJECT "instagram"

/* --- messages --- */

static const struct {
    const char *type, *content_type;
} ATTACHMENTS[] = {
    {"image", "image"},          {"video", "video"},    {"audio", "audio"},
    {"file", "document"},        {"ig_reel", "video"},  {"reel", "video"},
    {"animated_image", "image"}, {"share", "document"}, {"story_mention", "image"},
};
enum { ATTACHMENT_COUNT = sizeof ATTACHMENTS / sizeof ATTACHMENTS[0] };

static const char *kind_of(const char *type)
{
    for (size_t i = 0; i < ATTACHMENT_COUNT && type != NULL; i++) {
        if (strcmp(ATTACHMENTS[i].type, type) == 0)
            return ATTACHMENTS[i].content_type;
    }
    return NULL;
}

/* Of one of an unknown kind there is nothing to say. */
static void read_files(const struct json_node *message, struct webhook_message *m,
                       struct payload_files *files, struct arena *a)
{
    const struct json_node *list = json_member(message, "attachments");

    for (const struct json_node *n = json_first(list); n != NULL && files->count < MESSAGE_MAX_ATTACHMENTS;
         n = json_next(n)) {
        const char *url = payload_url(json_str(json_path(n, "payload.url")), a);
        const char *kind = kind_of(json_str(json_member(n, "type")));
        if (m->content_type == NULL)
            m->content_type = kind;
        if (url != NULL && kind != NULL)
            files->urls[files->count++] = url;
    }
    m->media_url = files->urls[0];
}

static const char *own_reason(const struct json_node *message)
{
    static const char *const flags[][2] = {
        {"is_echo", "a message of our own"},
        {"is_deleted", "a deletion"},
        {"is_unsupported", "a message that Meta does not pass on"},
    };

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (json_true(json_member(message, flags[i][0])))
            return flags[i][1];
    }
    return NULL;
}

static void take_message(struct webhook_events *ev, const struct json_node *n,
                         const struct json_node *message)
{
    const char *reason = own_reason(message);
    struct payload_files files = {0};
    struct arena *a = ev->arena;
    struct webhook_message m = {.channel = CHANNEL_INSTAGRAM};

    if (reason != NULL) {
        webhook_ignore(ev, "%s", reason);
        return;
    }
    m.external_id = payload_id(json_member(message, "mid"), a);
    m.user_id = payload_id(json_path(n, "sender.id"), a);
    m.quoted_id = payload_id(json_path(message, "reply_to.mid"), a);
    m.sent_ms = payload_time_ms(json_member(n, "timestamp"));
    read_files(message, &m, &files, a);
    payload_add_message(ev, &m, json_str(json_member(message, "text")), &files);
}

/* A button that was pressed. */
static void take_postback(struct webhook_events *ev, const struct json_node *n,
                          const struct json_node *postback)
{
    struct webhook_message m = {.channel = CHANNEL_INSTAGRAM, .content_type = "interactive"};

    m.external_id = payload_id(json_member(postback, "mid"), ev->arena);
    m.user_id = payload_id(json_path(n, "sender.id"), ev->arena);
    m.sent_ms = payload_time_ms(json_member(n, "timestamp"));
    payload_add_message(ev, &m, json_str(json_member(postback, "title")), NULL);
}

/* --- receipts --- */

static void take_receipt(struct webhook_events *ev, const struct json_node *n, const struct json_node *mid,
                         enum receipt_status status)
{
    struct webhook_receipt r = {.status = status,
                                .external_id = payload_id(mid, ev->arena),
                                .at_ms = payload_time_ms(json_member(n, "timestamp"))};

    payload_add_receipt(ev, &r);
}

static void take_delivery(struct webhook_events *ev, const struct json_node *n,
                          const struct json_node *delivery)
{
    for (const struct json_node *mid = json_first(json_member(delivery, "mids")); mid != NULL;
         mid = json_next(mid))
        take_receipt(ev, n, mid, RECEIPT_DELIVERED);
}

static void take_read(struct webhook_events *ev, const struct json_node *n, const struct json_node *read)
{
    take_receipt(ev, n, json_member(read, "mid"), RECEIPT_READ);
}

/* --- the envelope --- */

/* By the member that holds it; everything else is passed over: reactions, edits, referrals, opt-ins. */
static const struct {
    const char *member;
    void (*take)(struct webhook_events *ev, const struct json_node *n, const struct json_node *part);
} EVENTS[] = {
    {"message", take_message}, {"postback", take_postback}, {"delivery", take_delivery}, {"read", take_read}};
enum { EVENT_COUNT = sizeof EVENTS / sizeof EVENTS[0] };

static bool is_address(const char *key)
{
    return strcmp(key, "sender") == 0 || strcmp(key, "recipient") == 0 || strcmp(key, "timestamp") == 0;
}

static void take_event(struct webhook_events *ev, const struct json_node *n)
{
    const struct json_node *other = json_first(n);

    for (size_t i = 0; i < EVENT_COUNT; i++) {
        const struct json_node *part = json_member(n, EVENTS[i].member);
        if (part != NULL) {
            EVENTS[i].take(ev, n, part);
            return;
        }
    }
    while (other != NULL && is_address(json_key(other)))
        other = json_next(other);
    webhook_ignore(ev, "an event of kind %.40s", other == NULL ? "nothing" : json_key(other));
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
        ev->hint = payload_id(json_member(entry, "id"), ev->arena);
        for (const struct json_node *n = json_first(json_member(entry, "messaging")); n != NULL;
             n = json_next(n))
            take_event(ev, n);
        if (json_first(json_member(entry, "changes")) != NULL)
            webhook_ignore(ev, "a comment or a mention");
        if (json_first(json_member(entry, "standby")) != NULL)
            webhook_ignore(ev, "another app's conversation");
    }
    json_free(&doc);
    if (ev->message_count + ev->receipt_count == 0)
        webhook_ignore(ev, "no messages or receipts in it");
    return payload_end(ev, e);
}

/* --- the account --- */

static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = meta_read(row, OBJECT, NULL);
    const char *hint = NULL;

    if (doc != NULL)
        hint = payload_id(json_member(json_item(json_member(json_root(doc), "entry"), 0), "id"), a);
    json_free(&doc);
    return hint;
}

/* The id of the professional account, as the requests name it. */
static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    return meta_is_for(config_account_option(a, "account_id", a->from), hint);
}

const struct webhook_provider WEBHOOK_INSTAGRAM = {
    .name = "instagram",
    .account_provider = "instagram",
    .verify = meta_verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
