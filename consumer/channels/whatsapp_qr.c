/* WhatsApp through a self-hosted service with a linked phone: Evolution API v2, WAHA and open-wa, or one that
 * speaks like them. What differs is a row of PRESETS; how they answer is one table, since their answers have
 * nothing in common that could be mistaken. None of them has an idempotency key on send. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "consumer/channels/channel.h"
#include "consumer/channels/template.h"

#define INSTANCE "{instance}" /* in a path: the instance's name, percent-encoded */

/* A message as its preset writes it. */
struct letter {
    const char *to, *instance, *text; /* text is NULL for a file without caption */
    const struct reply_attachment *file;
    const char *file_name; /* never NULL when there is a file */
    const char *quoted_id; /* NULL = nothing is quoted */
    bool is_image;
};

struct preset {
    const char *name;
    const char *key_header;
    bool needs_key;
    const char *instance; /* when the account names none; NULL = it must */
    const char *text_path, *image_path, *file_path;
    const char *number_suffix; /* behind the digits of a number */
    bool has_lid;              /* takes hidden ids */
    void (*write)(struct buf *b, const struct letter *m);
};

/* --- bodies --- */

static void write_evolution(struct buf *b, const struct letter *m)
{
    channel_json_member(b, "number", m->to);
    if (!m->file) {
        channel_json_member(b, "text", m->text);
        return;
    }
    channel_json_member(b, "mediatype", m->is_image ? "image" : "document");
    channel_json_member(b, "mimetype", m->file->mime_type);
    channel_json_member(b, "caption", m->text ? m->text : "");
    channel_json_member(b, "media", m->file->url);
    channel_json_member(b, "fileName", m->file_name);
}

static void write_waha(struct buf *b, const struct letter *m)
{
    const char *usual_type = m->is_image ? "image/jpeg" : "application/octet-stream";

    channel_json_member(b, "session", m->instance);
    channel_json_member(b, "chatId", m->to);
    channel_json_member(b, "reply_to", m->quoted_id);
    if (!m->file) {
        channel_json_member(b, "text", m->text);
        return;
    }
    channel_json_member(b, "caption", m->text);
    channel_json_open(b, "file");
    channel_json_member(b, "mimetype", m->file->mime_type ? m->file->mime_type : usual_type);
    channel_json_member(b, "filename", m->file_name);
    channel_json_member(b, "url", m->file->url);
    buf_add_char(b, '}');
}

static void write_openwa(struct buf *b, const struct letter *m)
{
    channel_json_open(b, "args");
    channel_json_member(b, "to", m->to);
    if (m->file) {
        channel_json_member(b, "file", m->file->url);
        channel_json_member(b, "filename", m->file_name);
        channel_json_member(b, "caption", m->text ? m->text : "");
    } else {
        channel_json_member(b, "content", m->text);
    }
    buf_add_char(b, '}');
}

static const struct preset PRESETS[] = {
    {.name = "evolution",
     .key_header = "apikey",
     .needs_key = true,
     .text_path = "/message/sendText/" INSTANCE,
     .image_path = "/message/sendMedia/" INSTANCE,
     .file_path = "/message/sendMedia/" INSTANCE,
     .number_suffix = "",
     .has_lid = true,
     .write = write_evolution},
    {.name = "waha",
     .key_header = "X-Api-Key",
     .instance = "default",
     .text_path = "/api/sendText",
     .image_path = "/api/sendImage",
     .file_path = "/api/sendFile",
     .number_suffix = "@c.us",
     .has_lid = true,
     .write = write_waha},
    {.name = "openwa",
     .key_header = "api_key",
     .instance = "",
     .text_path = "/sendText",
     .image_path = "/sendFile",
     .file_path = "/sendFile",
     .number_suffix = "@c.us",
     .write = write_openwa},
};
enum { PRESET_COUNT = sizeof PRESETS / sizeof PRESETS[0] };

/* --- the account --- */

static const struct preset *preset_of(const struct config_account *a)
{
    const char *name = config_account_option(a, "preset", PRESETS[0].name);

    for (size_t i = 0; i < PRESET_COUNT; i++) {
        if (strcmp(PRESETS[i].name, name) == 0)
            return &PRESETS[i];
    }
    return NULL;
}

static const char *instance_of(const struct config_account *a, const struct preset *p)
{
    return config_account_option(a, "instance", p->instance);
}

static bool is_path(const char *path)
{
    for (const char *c = strchr(path, '{'); c; c = strchr(c + 1, '{')) {
        if (strncmp(c, INSTANCE, strlen(INSTANCE)) != 0)
            return false;
    }
    return channel_is_path(path);
}

static int check_paths(const struct config_account *a, struct err *e)
{
    static const char *const KEYS[] = {"text_path", "image_path", "file_path"};

    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (!is_path(config_account_option(a, KEYS[i], "/")))
            return err_set(e, ERR_CONFIG, 0,
                           "options.%s: expected a path that begins with '/', without blanks, with no braces "
                           "but those of " INSTANCE,
                           KEYS[i]);
    }
    return 0;
}

static int check(const struct config_account *a, struct err *e)
{
    const struct preset *p = preset_of(a);
    const char *instance;

    if (!p)
        return err_set(e, ERR_CONFIG, 0, "options.preset: expected evolution, waha or openwa");
    if (!a->base_url || !a->base_url[0])
        return err_set(e, ERR_CONFIG, 0, "provider whatsapp_qr needs a base_url: where the service runs");
    if (p->needs_key && !a->token)
        return err_set(e, ERR_CONFIG, 0, "preset %s needs a token: the service's API key", p->name);
    instance = instance_of(a, p);
    /* a path would end elsewhere with them, since dots are resolved */
    if (!instance || strcmp(instance, ".") == 0 || strcmp(instance, "..") == 0)
        return err_set(e, ERR_CONFIG, 0, "options.instance: expected the name of the service's instance");
    if (template_check_flag(a, "quote", e) != 0)
        return -1;
    return check_paths(a, e);
}

/* --- the request --- */

/* Numbers and groups, hidden ids where the service takes them; never channels and broadcasts. */
static int write_recipient(const struct preset *p, const char *address, struct buf *to, struct err *e)
{
    enum contact_jid_kind kind = contact_jid_kind_of(address);
    char number[CONTACT_E164_MAX + 1];

    if (channel_number(address, number))
        buf_printf(to, "%s%s", number + 1, p->number_suffix);
    else if (kind == CONTACT_JID_GROUP)
        buf_add_str(to, address);
    else if (kind == CONTACT_JID_LID && p->has_lid) /* of the person, not of a device */
        buf_printf(to, "%.*s@lid", (int)strcspn(address, ":@"), address);
    else
        return err_set(e, ERR_DATA, 0, "the address is neither a number nor a group: %s cannot reach it",
                       p->name);
    return 0;
}

static void add_path(struct buf *url, const char *path, const char *instance)
{
    for (const char *at = strstr(path, INSTANCE); at; at = strstr(path, INSTANCE)) {
        buf_add(url, path, (size_t)(at - path));
        channel_add_encoded(url, instance);
        path = at + strlen(INSTANCE);
    }
    buf_add_str(url, path);
}

static const char *path_of(const struct config_account *a, const struct preset *p, const struct letter *m)
{
    if (!m->file)
        return config_account_option(a, "text_path", p->text_path);
    return m->is_image ? config_account_option(a, "image_path", p->image_path)
                       : config_account_option(a, "file_path", p->file_path);
}

/* What a link's path ends with when that looks like a file's name, else "" */
static void name_of_link(const char *url, char *out, size_t size)
{
    const char *path = strstr(url, "://"), *segment;
    size_t len;

    out[0] = '\0';
    path = path ? path + 3 + strcspn(path + 3, "/?#") : "";
    len = strcspn(path, "?#");
    segment = memrchr(path, '/', len);
    len -= segment ? (size_t)(++segment - path) : len;
    if (len > 0 && len < size && memchr(segment, '.', len))
        snprintf(out, size, "%.*s", (int)len, segment);
}

/* Evolution fails when it has to find a name in a link that has none. */
static const char *file_name(const struct channel_part *p, char *out, size_t size)
{
    if (p->file_count == 0 || p->files[0].file_name)
        return p->file_count ? p->files[0].file_name : NULL;
    name_of_link(p->files[0].url, out, size);
    if (!out[0])
        snprintf(out, size, "%s", p->is_image ? "image.jpg" : "document");
    return out;
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    const struct preset *p = preset_of(s->account);
    struct letter m;
    struct buf to;
    char name[128];
    int rc = -1;

    buf_init(&to, CHANNEL_HEADER_MAX);
    if (write_recipient(p, s->address, &to, e) != 0)
        goto out;
    m = (struct letter){.to = buf_str(&to),
                        .instance = instance_of(s->account, p),
                        .text = s->part->text,
                        .file = s->part->file_count ? &s->part->files[0] : NULL,
                        .file_name = file_name(s->part, name, sizeof name),
                        .is_image = s->part->is_image,
                        .quoted_id = s->quoted_id};
    channel_request_url(r, s->account, "", "");
    add_path(&r->url, path_of(s->account, p, &m), m.instance);
    if (s->account->token)
        channel_request_header(r, p->key_header, s->account->token);
    channel_request_header(r, "Content-Type", "application/json");
    channel_request_header(r, "Accept", "application/json");
    buf_add_char(&r->body, '{');
    p->write(&r->body, &m);
    buf_add_char(&r->body, '}');
    rc = 0;
out:
    buf_fini(&to);
    return rc;
}

/* --- the answer --- */

/* What a refusal says, then what its status says; the first line that fits. */
static const struct rule {
    int first, last;   /* HTTP status */
    const char *words; /* in one of the answer's messages, in any case; NULL = whatever they say */
    enum outcome outcome;
    int wait_s;
    unsigned flags;
} RULES[] = {
    {0, 599, "error 463", OUTCOME_AUTH, 3600, LINE_OPERATOR}, /* WhatsApp has restricted the account */
    {0, 599, "is not connected", OUTCOME_AUTH, 30, 0},
    {0, 599, "Connection Closed", OUTCOME_AUTH, 30, 0},
    {422, 422, "Session status is not as expected", OUTCOME_AUTH, 30, 0},
    {200, 299, NULL, OUTCOME_TEMPFAIL, 0, 0}, /* "success": false */
    {300, 399, NULL, OUTCOME_AUTH, 0, 0},     /* the URL */
    {401, 404, NULL, OUTCOME_AUTH, 0, 0},     /* the key, the instance or the URL */
    {408, 408, NULL, OUTCOME_TEMPFAIL, 0, 0},
    {425, 425, NULL, OUTCOME_TEMPFAIL, 0, 0},
    {429, 429, NULL, OUTCOME_THROTTLED, 10, 0},
    {500, 599, NULL, OUTCOME_TEMPFAIL, 0, 0},
    {0, INT_MAX, NULL, OUTCOME_PERMFAIL, 0, 0}, /* 400, 413, 415, 422 and what nobody sends; a receipt */
};

enum { WAIT_UNKNOWN_NUMBER_S = 60 }; /* "not on WhatsApp" is wrong at times */

enum { TEXTS_MAX = 6 };

/* The messages of an answer, the most telling first. WAHA repeats our request in its errors: other members
 * may hold anything. */
static size_t find_texts(const struct json_node *root, const char *texts[TEXTS_MAX])
{
    const struct json_node *response = json_path(root, "response.message");
    const char *const places[TEXTS_MAX] = {
        json_str(json_item(response, 0)),           json_str(response),
        json_str(json_path(root, "error.message")), json_str(json_path(root, "exception.message")),
        json_str(json_member(root, "message")),     json_str(json_member(root, "error"))};
    size_t count = 0;

    for (size_t i = 0; i < TEXTS_MAX; i++) {
        if (places[i])
            texts[count++] = places[i];
    }
    return count;
}

static bool fits(const struct rule *rule, int status, const char *const *texts, size_t count)
{
    if (status < rule->first || status > rule->last)
        return false;
    for (size_t i = 0; rule->words && i < count; i++) {
        if (strcasestr(texts[i], rule->words))
            return true;
    }
    return rule->words == NULL;
}

static void judge_by_rules(int status, const char *const *texts, size_t count, struct channel_verdict *v)
{
    const struct rule *rule = RULES;

    while (!fits(rule, status, texts, count))
        rule++;
    channel_verdict_set(v, rule->outcome, rule->wait_s);
    channel_verdict_flags(v, rule->flags);
}

static void judge_refusal(int status, const struct json_node *root, struct channel_verdict *v)
{
    const char *texts[TEXTS_MAX];
    size_t count = find_texts(root, texts);

    judge_by_rules(status, texts, count, v);
    if (v->outcome == OUTCOME_PERMFAIL && count == 0)
        v->account_works = false; /* it may not have spoken at all */
    channel_verdict_detail(v, count > 0 ? texts[0] : "no readable answer");
}

static bool is_unknown_number(int status, const struct json_node *root)
{
    const struct json_node *first = json_item(json_path(root, "response.message"), 0);
    const struct json_node *exists = json_member(first, "exists");

    return status == 400 && json_kind_of(exists) == JSON_BOOL && !json_true(exists);
}

static void take_id(const struct json_node *root, struct channel_verdict *v)
{
    static const char *const PLACES[] = {"key.id", "id", "id._serialized", "response"};

    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0] && !v->provider_id[0]; i++)
        channel_verdict_id(v, json_str(json_path(root, PLACES[i])));
}

/* An object without an id was taken all the same; what is no object is a proxy's page or a cut answer. */
static void judge(const struct http_result *r, struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const struct json_node *success = json_member(root, "success");
    bool is_refused = json_kind_of(success) == JSON_BOOL && !json_true(success);

    if (is_unknown_number(r->status, root)) {
        channel_verdict_set(v, OUTCOME_TEMPFAIL, WAIT_UNKNOWN_NUMBER_S);
        channel_verdict_flags(v, LINE_UNREACHABLE | LINE_WORKS | LINE_TWICE);
        channel_verdict_detail(v, "the number is not on WhatsApp");
    } else if (r->status < 200 || r->status > 299 || is_refused) {
        judge_refusal(r->status, root, v);
    } else if (json_kind_of(root) != JSON_OBJECT) {
        channel_verdict_of_bare_status(v, r->status);
    } else {
        channel_verdict_set(v, OUTCOME_DELIVERED, 0);
        take_id(root, v);
    }
    json_free(&doc);
}

/* Evolution's ERROR and WAHA's -1: without words it is the message's own fault. Status 0: there is none. */
static void judge_receipt(const char *code, const char *detail, struct channel_verdict *v)
{
    (void)code;
    judge_by_rules(0, &detail, 1, v);
}

static const enum channel CHANNELS[] = {CHANNEL_WHATSAPP, CHANNEL_NONE};
static const char *const OPTIONS[] = {"preset",    "instance", "text_path", "image_path",
                                      "file_path", "quote",    NULL};

const struct channel_provider CHANNEL_WHATSAPP_QR = {
    .name = "whatsapp_qr",
    .channels = CHANNELS,
    .options = OPTIONS,
    .attachment_limit = 1,
    .check = check,
    .build = build,
    .judge = judge,
    .judge_receipt = judge_receipt,
};
