/* The plain payload, for websites, e-mail and whatever front end speaks it: schemas/webhook.schema.json. It
 * is ours, so that a member of the wrong kind is refused with its path. */
#include <string.h>

#include "base/utf8.h"
#include "domain/contact.h"
#include "publisher/webhooks/payload.h"

/* X-Webhook-Signature: sha256=<HMAC of the body>. */
static int verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    static const char algorithm[] = "sha256=";
    const char *given = webhook_header(row, "X-Webhook-Signature");

    (void)url;
    if (given == NULL)
        return 1;
    if (strncmp(given, algorithm, strlen(algorithm)) != 0)
        return err_set(e, ERR_DATA, 0, "X-Webhook-Signature does not begin with %s", algorithm);
    return signature_is_hex_hmac("SHA256", secret, row->body, row->body_len, given + strlen(algorithm))
               ? 0
               : err_set(e, ERR_DATA, 0, "X-Webhook-Signature is not this body's");
}

/* --- members --- */

struct reader { /* of one object */
    const struct json_node *object;
    const char *path; /* "$.from" */
    struct arena *arena;
    struct err *e;
};

static int refuse(const struct reader *r, const char *member, const char *expected)
{
    return err_set(r->e, ERR_DATA, 0, "%s.%s: expected %s", r->path, member, expected);
}

static bool is_absent(const struct json_node *n)
{
    return json_kind_of(n) == JSON_ABSENT || json_kind_of(n) == JSON_NULL;
}

/* An optional string of at most `most` characters, borrowed; null and "" count as absent. */
static int read_string(const struct reader *r, const char *member, size_t most, const char **out)
{
    const struct json_node *n = json_member(r->object, member);
    const char *text = json_str(n);

    *out = NULL;
    if (is_absent(n))
        return 0;
    if (text == NULL)
        return refuse(r, member, "a string");
    if (utf8_count(text) > most)
        return err_set(r->e, ERR_DATA, 0, "%s.%s: more than %zu characters", r->path, member, most);
    *out = text[0] == '\0' ? NULL : text;
    return 0;
}

static int read_id(const struct reader *r, const char *member, const char **out)
{
    if (read_string(r, member, MESSAGE_MAX_EXTERNAL_ID, out) != 0)
        return -1;
    if (*out != NULL && (*out = payload_id_text(*out, r->arena)) == NULL)
        return refuse(r, member, "printable ASCII without spaces");
    return 0;
}

static int read_line(const struct reader *r, const char *member, size_t most, const char **out)
{
    if (read_string(r, member, most, out) != 0)
        return -1;
    *out = payload_line_text(*out, most, r->arena);
    return 0;
}

static int read_time(const struct reader *r, int64_t *ms)
{
    const struct json_node *n = json_member(r->object, "timestamp");

    *ms = payload_time_ms(n);
    return is_absent(n) || *ms > 0 ? 0 : refuse(r, "timestamp", "Unix seconds or milliseconds");
}

/* --- messages --- */

/* One '@' with something on both sides, and no mark of a list or a display name. */
static bool is_email(const char *text)
{
    const char *at = strchr(text, '@');

    return at != NULL && at > text && at[1] != '\0' && strchr(at + 1, '@') == NULL &&
           strpbrk(text, "<>,;\"()[]\\:") == NULL;
}

static int read_phone(const struct reader *r, struct webhook_message *m)
{
    char number[CONTACT_E164_MAX + 1];
    const char *phone;

    if (read_string(r, "phone", MESSAGE_MAX_NUMBER, &phone) != 0)
        return -1;
    if (phone == NULL)
        return 0;
    if (!contact_normalise_number(phone, number))
        return refuse(r, "phone", "a number as +12025550143");
    m->number = arena_strdup(r->arena, number);
    return 0;
}

static int read_sender(const struct reader *message, struct webhook_message *m)
{
    const struct reader r = {json_member(message->object, "from"), "$.from", message->arena, message->e};

    if (json_kind_of(r.object) != JSON_OBJECT)
        return refuse(message, "from", "an object");
    if (read_phone(&r, m) != 0 || read_id(&r, "email", &m->email) != 0 ||
        read_id(&r, "id", &m->user_id) != 0 || read_line(&r, "name", MESSAGE_MAX_NAME, &m->name) != 0)
        return -1;
    if (m->email != NULL && !is_email(m->email))
        return refuse(&r, "email", "an address as ann@example.com");
    if (m->number == NULL && m->email == NULL && m->user_id == NULL)
        return refuse(message, "from", "phone, email or id in it");
    return 0;
}

static const char *kind_of(const char *mime_type)
{
    static const char *const kinds[][2] = {
        {"image/", "image"}, {"audio/", "audio"}, {"video/", "video"}, {"", "document"}};
    size_t i = 0;

    while (strncmp(mime_type == NULL ? "" : mime_type, kinds[i][0], strlen(kinds[i][0])) != 0)
        i++;
    return kinds[i][1];
}

/* Its type and name go to m if it is the first one. */
static int read_file(const struct reader *r, struct webhook_message *m, const char **url)
{
    const char *type, *name;

    if (json_kind_of(r->object) != JSON_OBJECT)
        return err_set(r->e, ERR_DATA, 0, "%s: expected an object", r->path);
    if (read_string(r, "url", MESSAGE_MAX_URL, url) != 0 ||
        read_line(r, "mimeType", MESSAGE_MAX_WORD, &type) != 0 ||
        read_line(r, "fileName", MESSAGE_MAX_NAME, &name) != 0)
        return -1;
    *url = payload_url(*url, r->arena);
    if (*url == NULL)
        return refuse(r, "url", "an http:// or https:// URL");
    if (m->media_url != NULL)
        return 0;
    m->media_url = *url;
    m->media_type = type;
    m->media_name = name;
    m->content_type = kind_of(type);
    return 0;
}

static int read_files(const struct reader *message, struct webhook_message *m, struct payload_files *files)
{
    const struct json_node *list = json_member(message->object, "attachments");

    if (is_absent(list))
        return 0;
    if (json_kind_of(list) != JSON_ARRAY || json_count(list) > MESSAGE_MAX_ATTACHMENTS)
        return refuse(message, "attachments", "an array of at most 16");
    for (const struct json_node *n = json_first(list); n != NULL; n = json_next(n)) {
        const struct reader r = {n, "$.attachments[]", message->arena, message->e};
        if (read_file(&r, m, &files->urls[files->count]) != 0)
            return -1;
        files->count++;
    }
    return 0;
}

static int take_message(struct webhook_events *ev, const struct reader *r)
{
    struct webhook_message m = {0};
    struct payload_files files = {0};
    const char *channel = json_str(json_member(r->object, "channel"));
    const char *text = json_str(json_member(r->object, "text"));

    if (read_id(r, "id", &m.external_id) != 0)
        return -1;
    if (m.external_id == NULL)
        return refuse(r, "id", "the provider's id of the message");
    if (channel == NULL || !channel_parse(channel, &m.channel))
        return refuse(r, "channel", "whatsapp, sms, email, website or instagram");
    if (text == NULL && !is_absent(json_member(r->object, "text")))
        return refuse(r, "text", "a string");
    if (read_sender(r, &m) != 0 || read_files(r, &m, &files) != 0 ||
        read_id(r, "quotedId", &m.quoted_id) != 0 || read_time(r, &m.sent_ms) != 0)
        return -1;
    payload_add_message(ev, &m, text, &files);
    return 0;
}

/* --- receipts --- */

static const struct {
    const char *word;
    enum receipt_status status;
} STATUSES[] = {{"sent", RECEIPT_SENT},
                {"delivered", RECEIPT_DELIVERED},
                {"read", RECEIPT_READ},
                {"failed", RECEIPT_FAILED}};
enum { STATUS_COUNT = sizeof STATUSES / sizeof STATUSES[0] };

static int take_receipt(struct webhook_events *ev, const struct reader *r)
{
    const char *word = json_str(json_member(r->object, "status"));
    struct webhook_receipt receipt = {0};
    size_t i = 0;

    while (i < STATUS_COUNT && (word == NULL || strcmp(STATUSES[i].word, word) != 0))
        i++;
    if (i == STATUS_COUNT)
        return refuse(r, "status", "sent, delivered, read or failed");
    receipt.status = STATUSES[i].status;
    if (read_id(r, "id", &receipt.external_id) != 0 || read_id(r, "messageId", &receipt.our_id) != 0 ||
        read_line(r, "code", MESSAGE_MAX_WORD, &receipt.code) != 0 ||
        read_line(r, "detail", MESSAGE_MAX_CAPTION, &receipt.detail) != 0 ||
        read_time(r, &receipt.at_ms) != 0)
        return -1;
    if (receipt.external_id == NULL && receipt.our_id == NULL)
        return refuse(r, "id", "id or messageId");
    payload_add_receipt(ev, &receipt);
    return 0;
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct json *doc = payload_read(row, e);
    struct reader r = {.path = "$", .arena = ev->arena, .e = e};
    const char *type;
    int rc;

    (void)account;
    if (doc == NULL)
        return -1;
    r.object = json_root(doc);
    type = json_str(json_member(r.object, "type"));
    if (type != NULL && strcmp(type, "message") == 0)
        rc = take_message(ev, &r);
    else if (type != NULL && strcmp(type, "receipt") == 0)
        rc = take_receipt(ev, &r);
    else
        rc = refuse(&r, "type", "message or receipt");
    json_free(&doc);
    return rc;
}

/* --- the account --- */

static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct json *doc = payload_read(row, NULL);
    const char *hint = doc == NULL ? NULL : payload_id(json_member(json_root(doc), "channel"), a);

    json_free(&doc);
    return hint;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    return strcmp(channel_name(a->channel), hint) == 0 ? WEBHOOK_MATCH_UNKNOWN : WEBHOOK_MATCH_NO;
}

const struct webhook_provider WEBHOOK_GENERIC = {
    .name = "generic",
    .verify = verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
