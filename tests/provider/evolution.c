/* Evolution API v2: POST /message/sendText/{instance} and /message/sendMedia/{instance}, an API key in its
 * own header, errors as {"status","error","response":{"message"}}. An instance named "missing" does not
 * exist, one named "closed" has lost its phone, and numbers below +1202555 are not on WhatsApp. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char TEXT[] = "/message/sendText/", MEDIA[] = "/message/sendMedia/";

static const char *instance_of(const char *path)
{
    if (strncmp(path, TEXT, sizeof TEXT - 1) == 0)
        return path + sizeof TEXT - 1;
    return strncmp(path, MEDIA, sizeof MEDIA - 1) == 0 ? path + sizeof MEDIA - 1 : NULL;
}

static bool owns(const char *path)
{
    const char *instance = instance_of(path);
    return instance != NULL && *instance != '\0' && strchr(instance, '/') == NULL;
}

/* --- errors --- */

static const char *words_of(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    default:
        return "Internal Server Error";
    }
}

/* `message` is JSON. */
static int refuse(struct provider_answer *a, int status, const char *message)
{
    a->status = status;
    buf_printf(&a->body, "{\"status\":%d,\"error\":\"%s\",\"response\":{\"message\":%s}}", status,
               words_of(status), message);
    return -1;
}

/* What its schema validator says. */
static int require(struct provider_answer *a, const char *member)
{
    char message[160];

    snprintf(message, sizeof message, "[[\"instance requires property \\\"%s\\\"\"]]", member);
    return refuse(a, 400, message);
}

/* --- members --- */

static bool is_jid(const char *s)
{
    size_t local = strspn(s, "0123456789-");

    return local >= 5 && (strcmp(s + local, "@s.whatsapp.net") == 0 || strcmp(s + local, "@g.us") == 0 ||
                          strcmp(s + local, "@lid") == 0);
}

static int check_number(const char *number, struct provider_answer *a)
{
    size_t digits = strspn(number, "0123456789");
    char message[256];

    if (is_jid(number) || (digits >= 8 && number[digits] == '\0' && strncmp(number, "1202555", 7) >= 0))
        return 0;
    snprintf(message, sizeof message,
             "[{\"jid\":\"%.60s@s.whatsapp.net\",\"exists\":false,\"number\":\"%.60s\"}]", number, number);
    return refuse(a, 400, strpbrk(number, "\"\\") == NULL ? message : "[]");
}

static int check_media(const struct json_node *root, struct provider_answer *a)
{
    const char *type = json_str(json_member(root, "mediatype"));

    if (type == NULL || (strcmp(type, "image") != 0 && strcmp(type, "document") != 0 &&
                         strcmp(type, "video") != 0 && strcmp(type, "audio") != 0))
        return require(a, "mediatype");
    if (!provider_is_url(json_str(json_member(root, "media"))))
        return refuse(a, 400, "[\"Owned media must be a url or base64\"]");
    if (strcmp(type, "document") == 0 && !provider_has_text(root, "fileName"))
        return refuse(a, 500, "\"Cannot read properties of null (reading '1')\"");
    return 0;
}

static int check(const struct provider_request *q, struct provider_answer *a)
{
    const struct json_node *root = q->json;

    if (strcmp(instance_of(q->path), "missing") == 0)
        return refuse(a, 404, "[\"The \\\"missing\\\" instance does not exist\"]");
    if (json_kind_of(root) != JSON_OBJECT)
        return refuse(a, 400, "[\"The body is no JSON object\"]");
    if (!provider_has_text(root, "number"))
        return require(a, "number");
    if (strcmp(instance_of(q->path), "closed") == 0)
        return refuse(a, 500, "\"Connection Closed\"");
    if (check_number(json_str(json_member(root, "number")), a) != 0)
        return -1;
    if (strncmp(q->path, MEDIA, sizeof MEDIA - 1) == 0)
        return check_media(root, a);
    return provider_has_text(root, "text") ? 0 : require(a, "text");
}

/* --- the answer --- */

static void take(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    const char *to = json_str(json_member(q->json, "number"));

    a->status = 201;
    snprintf(a->id, sizeof a->id, "BAE5%012" PRIX64, number);
    buf_printf(&a->body, "{\"key\":{\"remoteJid\":\"%s%s\",\"fromMe\":true,\"id\":\"%s\"},", to,
               strchr(to, '@') == NULL ? "@s.whatsapp.net" : "", a->id);
    buf_add_str(&a->body, "\"message\":{\"conversation\":");
    buf_add_json_str(&a->body, buf_str(&a->text), a->text.len);
    buf_add_str(&a->body, "},\"messageTimestamp\":\"1717689097\",\"status\":\"PENDING\"}");
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_key_ok(q, "apikey");
    provider_note_strings(q, "number", "text", a);
    buf_add_str(&a->text, json_str(json_member(q->json, "caption")));
    if (strcmp(q->method, "POST") != 0)
        refuse(a, 404, "[\"Cannot GET\"]");
    else if (!a->auth_ok)
        refuse(a, 401, "\"Unauthorized\"");
    else if (check(q, a) == 0)
        take(q, number, a);
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    const char *message = status == 400
                              ? "[{\"jid\":\"12025550143@s.whatsapp.net\",\"exists\":false,\"number\":"
                                "\"12025550143\"}]"
                              : "\"Internal server error\"";

    (void)retry_after_s;
    buf_printf(out, "{\"status\":%d,\"error\":\"%s\",\"response\":{\"message\":%s}}", status,
               words_of(status), message);
}

static void write_refusal(struct buf *out)
{
    write_error(400, -1, out);
}

const struct provider PROVIDER_EVOLUTION = {
    .name = "evolution",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
};
