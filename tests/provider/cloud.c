/* Meta's POST /{version}/{phone number id}/messages: bearer token, JSON without members that it does not
 * know, errors as the Graph API writes them. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char DIGITS[] = "0123456789";

/* /v25.0/106540352242922/messages */
static bool owns(const char *path)
{
    size_t major, id;

    if (strncmp(path, "/v", 2) != 0)
        return false;
    path += 2;
    major = strspn(path, DIGITS);
    if (major < 1 || major > 2 || path[major] != '.' || strspn(path + major + 1, DIGITS) != 1)
        return false;
    path += major + 2;
    id = path[0] == '/' ? strspn(path + 1, DIGITS) : 0;
    return id > 0 && strcmp(path + 1 + id, "/messages") == 0;
}

/* --- errors --- */

static const struct code {
    int code, status;
    const char *title;
} CODES[] = {
    {0, 401, "AuthException"},
    {1, 400, "API Unknown"},
    {2, 503, "API Service"},
    {4, 400, "API Too Many Calls"},
    {10, 403, "API Permission Denied"},
    {100, 400, "Invalid parameter"},
    {190, 401, "Access token has expired"},
    {368, 403, "Temporarily blocked for policies violations"},
    {80007, 400, "Rate limit issues"},
    {130429, 400, "Rate limit hit"},
    {131000, 500, "Something went wrong"},
    {131005, 403, "Access denied"},
    {131008, 400, "Required parameter is missing"},
    {131009, 400, "Parameter value is not valid"},
    {131016, 500, "Service unavailable"},
    {131026, 400, "Message undeliverable"},
    {131030, 400, "Recipient phone number not in allowed list"},
    {131031, 403, "Business Account locked"},
    {131042, 400, "Business eligibility payment issue"},
    {131047, 400, "Re-engagement message"},
    {131048, 400, "Spam rate limit hit"},
    {131051, 400, "Unsupported message type"},
    {131056, 400, "(Business Account, Consumer Account) pair rate limit hit"},
    {131057, 500, "Account in maintenance mode"},
    {133010, 400, "Phone number not registered"},
};

static const struct code *find_code(int64_t code)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (CODES[i].code == code)
            return &CODES[i];
    }
    return NULL;
}

static void write_body(const struct code *c, const char *details, struct buf *out)
{
    buf_printf(out, "{\"error\":{\"message\":\"(#%d) %s\",\"type\":\"OAuthException\",\"code\":%d,", c->code,
               c->title, c->code);
    buf_add_str(out, "\"error_data\":{\"messaging_product\":\"whatsapp\",\"details\":");
    buf_add_json_str(out, details, strlen(details));
    buf_add_str(out, "},\"fbtrace_id\":\"AXsgnV2Cm3ZMGF3dF_cfYIn\"}}");
}

static int write_code(int64_t code, struct buf *out)
{
    const struct code *c = find_code(code);

    if (c == NULL)
        return 0;
    write_body(c, c->title, out);
    return c->status;
}

static int PRINTF_LIKE(3, 4) refuse(struct provider_answer *a, int code, const char *fmt, ...)
{
    const struct code *c = find_code(code);
    char details[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(details, sizeof details, fmt, args);
    va_end(args);
    a->status = c->status;
    write_body(c, details, &a->body);
    return -1;
}

/* --- members --- */

static int check_names(const struct json_node *object, const char *param, const char *const *known,
                       struct provider_answer *a)
{
    for (const struct json_node *n = json_first(object); n != NULL; n = json_next(n)) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], json_key(n)) != 0)
            i++;
        if (known[i] == NULL)
            return refuse(a, 100, "Unexpected key \"%s\" on param \"%s\".", json_key(n), param);
    }
    return 0;
}

static bool is_absent(const struct json_node *object, const char *key)
{
    return json_kind_of(json_member(object, key)) == JSON_ABSENT;
}

static int check_string(const struct json_node *object, const char *key, size_t max,
                        struct provider_answer *a)
{
    if (is_absent(object, key))
        return 0;
    if (!provider_has_text(object, key))
        return refuse(a, 100, "Param %s must be a non-empty string.", key);
    if (provider_units(json_str(json_member(object, key))) > max)
        return refuse(a, 100, "Param %s must be at most %zu characters long.", key, max);
    return 0;
}

static int check_text(const struct json_node *text, struct provider_answer *a)
{
    static const char *const KNOWN[] = {"body", "preview_url", NULL};

    if (check_names(text, "text", KNOWN, a) != 0)
        return -1;
    if (is_absent(text, "body"))
        return refuse(a, 131008, "Parameter body is mandatory for type text.");
    if (!is_absent(text, "preview_url") && json_kind_of(json_member(text, "preview_url")) != JSON_BOOL)
        return refuse(a, 100, "Param preview_url must be a boolean.");
    return check_string(text, "body", 4096, a);
}

static int check_media(const struct json_node *media, const char *type, struct provider_answer *a)
{
    static const char *const IMAGE[] = {"id", "link", "caption", NULL};
    static const char *const DOCUMENT[] = {"id", "link", "caption", "filename", NULL};

    if (check_names(media, type, strcmp(type, "image") == 0 ? IMAGE : DOCUMENT, a) != 0)
        return -1;
    if (is_absent(media, "id") == is_absent(media, "link"))
        return refuse(a, 131009, "Exactly one of id and link must be present in %s.", type);
    if (!is_absent(media, "link") && !provider_is_url(json_str(json_member(media, "link"))))
        return refuse(a, 131009, "Param %s['link'] is not a valid URI.", type);
    return check_string(media, "caption", 1024, a) != 0 ? -1 : check_string(media, "filename", 240, a);
}

/* Its parameters are not compared with a template: there is none. */
static int check_template(const struct json_node *t, struct provider_answer *a)
{
    static const char *const KNOWN[] = {"name", "language", "components", NULL};

    if (check_names(t, "template", KNOWN, a) != 0)
        return -1;
    if (!provider_has_text(t, "name") || !provider_has_text(json_member(t, "language"), "code"))
        return refuse(a, 132001, "The template needs a name and a language code.");
    return 0;
}

static int check_content(const struct json_node *root, struct provider_answer *a)
{
    const char *type = json_str(json_member(root, "type"));
    const struct json_node *content = type != NULL ? json_member(root, type) : NULL;

    if (type == NULL)
        return refuse(a, 131008, "Parameter type is missing.");
    if (json_kind_of(content) != JSON_OBJECT)
        return refuse(a, 131008, "Parameter %s is missing.", type);
    if (strcmp(type, "text") == 0)
        return check_text(content, a);
    if (strcmp(type, "image") == 0 || strcmp(type, "document") == 0)
        return check_media(content, type, a);
    if (strcmp(type, "template") == 0)
        return check_template(content, a);
    return refuse(a, 131051, "Type %s is not supported.", type);
}

static bool is_word(const struct json_node *root, const char *key, const char *word)
{
    const char *s = json_str(json_member(root, key));
    return s != NULL && strcmp(s, word) == 0;
}

/* Digits, with a plus or without. */
static bool is_recipient(const char *to)
{
    size_t digits = to != NULL ? strspn(to + (to[0] == '+'), DIGITS) : 0;
    return digits >= 8 && digits <= 15 && to[digits + (to[0] == '+')] == '\0';
}

/* Two letters, a dot, letters and digits. */
static bool is_user_id(const char *id)
{
    return id != NULL && strlen(id) > 3 && id[2] == '.' && strpbrk(id, " /@+") == NULL;
}

static int check_frame(const struct json_node *root, struct provider_answer *a)
{
    static const char *const KNOWN[] = {"messaging_product",
                                        "recipient_type",
                                        "to",
                                        "recipient",
                                        "type",
                                        "text",
                                        "image",
                                        "document",
                                        "audio",
                                        "video",
                                        "sticker",
                                        "template",
                                        "context",
                                        "biz_opaque_callback_data",
                                        NULL};

    if (check_names(root, "message", KNOWN, a) != 0)
        return -1;
    if (!is_word(root, "messaging_product", "whatsapp"))
        return refuse(a, 100, "The parameter messaging_product is required.");
    if (!is_absent(root, "recipient_type") && !is_word(root, "recipient_type", "individual"))
        return refuse(a, 131009, "Param recipient_type is not valid.");
    if (is_absent(root, "to") && !is_user_id(json_str(json_member(root, "recipient"))))
        return refuse(a, 131008, "The parameter to is required.");
    if (!is_absent(root, "to") && !is_recipient(json_str(json_member(root, "to"))))
        return refuse(a, 131009, "Param to is not a valid phone number.");
    if (!is_absent(root, "context") && !provider_has_text(json_member(root, "context"), "message_id"))
        return refuse(a, 131009, "Param context['message_id'] is not valid.");
    return check_string(root, "biz_opaque_callback_data", 512, a);
}

/* --- the answer --- */

static void take(const struct json_node *root, uint64_t number, struct provider_answer *a)
{
    const char *to = json_str(json_member(root, is_absent(root, "to") ? "recipient" : "to"));

    a->status = 200;
    snprintf(a->id, sizeof a->id, "wamid.HBgLMTIwMjU1NTAxNDMVAgARGBI%08" PRIX64 "AA==", number);
    buf_printf(&a->body,
               "{\"messaging_product\":\"whatsapp\",\"contacts\":[{\"input\":\"%s\",\"wa_id\":\"%s\"}],"
               "\"messages\":[{\"id\":\"%s\",\"message_status\":\"accepted\"}]}",
               to, to + (to[0] == '+'), a->id);
}

static void note(const struct provider_request *q, struct provider_answer *a)
{
    provider_note_strings(q, "to", "text.body", a);
    buf_add_str(&a->to, json_str(json_member(q->json, "recipient")));
    buf_add_str(&a->text, json_str(json_path(q->json, "image.caption")));
    buf_add_str(&a->text, json_str(json_path(q->json, "document.caption")));
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_bearer_ok(q);
    note(q, a);
    if (strcmp(q->method, "POST") != 0)
        refuse(a, 100, "Unsupported request.");
    else if (!a->auth_ok)
        refuse(a, 190, "Error validating access token.");
    else if (json_kind_of(q->json) != JSON_OBJECT)
        refuse(a, 100, "The request is no JSON object.");
    else if (check_frame(q->json, a) == 0 && check_content(q->json, a) == 0)
        take(q->json, number, a);
}

static int code_of_status(int status)
{
    switch (status) {
    case 401:
        return 190;
    case 403:
        return 10;
    case 429:
        return 130429;
    case 500:
        return 131000;
    default:
        return status > 500 ? 131016 : 100;
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    (void)retry_after_s;
    write_code(code_of_status(status), out);
}

static void write_refusal(struct buf *out)
{
    write_code(131026, out);
}

const struct provider PROVIDER_CLOUD = {
    .name = "cloud",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
    .write_code = write_code,
};
