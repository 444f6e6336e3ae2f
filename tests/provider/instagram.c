/* Meta's POST /{version}/{Instagram account id}/messages: bearer token, errors as the Graph API writes them.
 * The path is the Cloud API's; an Instagram account's id begins with 17841. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char DIGITS[] = "0123456789";

enum { TEXT_MAX_BYTES = 1000 };

/* /v25.0/17841400000000000/messages */
static bool owns(const char *path)
{
    size_t major = strncmp(path, "/v", 2) == 0 ? strspn(path + 2, DIGITS) : 0;

    if (major < 1 || major > 2 || path[2 + major] != '.')
        return false;
    path += 3 + major;
    if (strspn(path, DIGITS) != 1 || strncmp(path + 1, "/17841", 6) != 0)
        return false;
    path += 2;
    return strcmp(path + strspn(path, DIGITS), "/messages") == 0;
}

static const struct code {
    int code, subcode, status;
    const char *message;
} CODES[] = {
    {1, 0, 500, "An unknown error has occurred."},
    {2, 0, 503, "Service temporarily unavailable"},
    {4, 0, 403, "Application request limit reached"},
    {10, 0, 403, "Application does not have permission for this action"},
    {10, 2018278, 403, "This message is sent outside of allowed window."},
    {100, 0, 400, "Invalid parameter"},
    {100, 2018001, 400, "No matching user found"},
    {190, 0, 401, "Error validating access token"},
    {200, 1545041, 403, "Message Not Sent. This person isn't available right now."},
    {551, 1545041, 400, "This person isn't available right now."},
    {613, 0, 400, "Calls to this API have exceeded the rate limit."},
};

static void write_body(const struct code *c, const char *details, struct buf *out)
{
    char message[300];

    snprintf(message, sizeof message, "(#%d) %s", c->code, details);
    buf_add_str(out, "{\"error\":{\"message\":");
    buf_add_json_str(out, message, strlen(message));
    buf_printf(out, ",\"type\":\"OAuthException\",\"code\":%d", c->code);
    if (c->subcode != 0)
        buf_printf(out, ",\"error_subcode\":%d", c->subcode);
    buf_add_str(out, ",\"fbtrace_id\":\"AXsgnV2Cm3ZMGF3dF_cfYIn\"}}");
}

/* By the code, or by the subcode where a code has several. */
static int write_code(int64_t code, struct buf *out)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (CODES[i].subcode == code || (CODES[i].code == code && (CODES[i].subcode == 0 || code == 551))) {
            write_body(&CODES[i], CODES[i].message, out);
            return CODES[i].status;
        }
    }
    return 0;
}

static int refuse(struct provider_answer *a, int code, const char *details)
{
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        if (CODES[i].code != code || CODES[i].subcode != 0)
            continue;
        a->status = CODES[i].status;
        write_body(&CODES[i], details, &a->body);
        break;
    }
    return -1;
}

static bool has_only(const struct json_node *object, const char *const *known)
{
    for (const struct json_node *n = json_first(object); n != NULL; n = json_next(n)) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], json_key(n)) != 0)
            i++;
        if (known[i] == NULL)
            return false;
    }
    return true;
}

static bool is_word(const char *s, const char *const *words)
{
    while (s != NULL && *words != NULL && strcmp(*words, s) != 0)
        words++;
    return s != NULL && *words != NULL;
}

static int check_attachment(const struct json_node *attachment, struct provider_answer *a)
{
    static const char *const TYPES[] = {"image", "video", "audio", "file", NULL};

    if (!is_word(json_str(json_member(attachment, "type")), TYPES))
        return refuse(a, 100, "param message[attachment][type] must be one of {image, video, audio, file}");
    if (!provider_is_url(json_str(json_path(attachment, "payload.url"))))
        return refuse(a, 100, "param message[attachment][payload][url] must be a URL");
    return 0;
}

static int check_message(const struct json_node *message, struct provider_answer *a)
{
    static const char *const KNOWN[] = {"text", "attachment", NULL};
    const struct json_node *attachment = json_member(message, "attachment");
    const char *text = json_str(json_member(message, "text"));

    if (json_kind_of(message) != JSON_OBJECT || !has_only(message, KNOWN))
        return refuse(a, 100, "param message is not valid");
    if ((text != NULL) == (json_kind_of(attachment) == JSON_OBJECT))
        return refuse(a, 100, "Exactly one of text and attachment must be given");
    if (text == NULL)
        return check_attachment(attachment, a);
    if (!provider_has_text(message, "text") || strlen(text) > TEXT_MAX_BYTES)
        return refuse(a, 100, "Length of param message[text] must be 1 to 1000 bytes");
    return 0;
}

static int check(const struct json_node *root, struct provider_answer *a)
{
    static const char *const KNOWN[] = {"recipient", "messaging_type", "message", NULL};
    static const char *const TYPES[] = {"RESPONSE", "UPDATE", NULL};
    const char *id = json_str(json_path(root, "recipient.id"));

    if (json_kind_of(root) != JSON_OBJECT || !has_only(root, KNOWN))
        return refuse(a, 100, "The request is not valid");
    if (id == NULL || *id == '\0' || id[strspn(id, DIGITS)] != '\0')
        return refuse(a, 100, "param recipient[id] must be an id");
    if (!is_word(json_str(json_member(root, "messaging_type")), TYPES))
        return refuse(a, 100, "param messaging_type must be one of {RESPONSE, UPDATE}");
    return check_message(json_member(root, "message"), a);
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_bearer_ok(q);
    provider_note_strings(q, "recipient.id", "message.text", a);
    if (strcmp(q->method, "POST") != 0)
        refuse(a, 100, "Unsupported request");
    else if (!a->auth_ok)
        refuse(a, 190, "Error validating access token");
    else if (check(q->json, a) == 0) {
        a->status = 200;
        snprintf(a->id, sizeof a->id, "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlE%08" PRIX64, number);
        buf_printf(&a->body, "{\"recipient_id\":\"%s\",\"message_id\":\"%s\"}",
                   json_str(json_path(q->json, "recipient.id")), a->id);
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    (void)retry_after_s;
    write_code(status == 401 ? 190 : status == 403 ? 10 : status == 429 ? 613 : status >= 500 ? 2 : 100, out);
}

static void write_refusal(struct buf *out)
{
    write_code(551, out);
}

const struct provider PROVIDER_INSTAGRAM = {
    .name = "instagram",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
    .write_code = write_code,
};
