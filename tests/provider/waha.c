/* WAHA: POST /api/sendText, /api/sendImage and /api/sendFile with session and chatId in the body, X-Api-Key,
 * 422 while the session does not work. A session named "starting" never works. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool owns(const char *path)
{
    return strcmp(path, "/api/sendText") == 0 || strcmp(path, "/api/sendImage") == 0 ||
           strcmp(path, "/api/sendFile") == 0;
}

static int refuse(struct provider_answer *a, int status, const char *words)
{
    a->status = status;
    buf_printf(&a->body, "{\"statusCode\":%d,\"message\":\"%s\"}", status, words);
    return -1;
}

/* --- members --- */

/* A user's JID is "@c.us" here; the other spelling is not taken. */
static bool is_chat(const char *s)
{
    size_t local = s != NULL ? strspn(s, "0123456789-") : 0;

    return local >= 5 && (strcmp(s + local, "@c.us") == 0 || strcmp(s + local, "@g.us") == 0 ||
                          strcmp(s + local, "@lid") == 0 || strcmp(s + local, "@newsletter") == 0);
}

static void write_not_working(const char *session, struct buf *out)
{
    buf_add_str(out,
                "{\"error\":\"Session status is not as expected. Try again later or restart the session\","
                "\"session\":");
    buf_add_json_str(out, session, strlen(session));
    buf_add_str(out, ",\"status\":\"STARTING\",\"expected\":[\"WORKING\"]}");
}

static int check_file(const struct json_node *root, struct provider_answer *a)
{
    const struct json_node *file = json_member(root, "file");

    if (json_kind_of(file) != JSON_OBJECT)
        return refuse(a, 400, "file must be an object");
    if (!provider_has_text(file, "mimetype"))
        return refuse(a, 400, "file.mimetype must be a string");
    return provider_is_url(json_str(json_member(file, "url"))) ? 0 : refuse(a, 400, "file.url must be a URL");
}

static int check(const struct provider_request *q, struct provider_answer *a)
{
    const char *session = json_str(json_member(q->json, "session"));

    if (json_kind_of(q->json) != JSON_OBJECT)
        return refuse(a, 400, "the body is no JSON object");
    if (!provider_has_text(q->json, "session"))
        return refuse(a, 400, "session must be a string");
    if (!is_chat(json_str(json_member(q->json, "chatId"))))
        return refuse(a, 400, "chatId must be a chat id");
    if (strcmp(session, "starting") == 0) {
        a->status = 422;
        write_not_working(session, &a->body);
        return -1;
    }
    if (strcmp(q->path, "/api/sendText") != 0)
        return check_file(q->json, a);
    return provider_has_text(q->json, "text") ? 0 : refuse(a, 400, "text must be a string");
}

/* --- the answer --- */

static void take(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    const char *chat = json_str(json_member(q->json, "chatId"));

    a->status = 201;
    snprintf(a->id, sizeof a->id, "true_%s_3EB0%08" PRIX64, chat, number);
    buf_printf(&a->body,
               "{\"id\":\"%s\",\"timestamp\":1666943582,\"fromMe\":true,\"to\":\"%s\",\"body\":", a->id,
               chat);
    buf_add_json_str(&a->body, buf_str(&a->text), a->text.len);
    buf_add_str(&a->body, ",\"ack\":1,\"ackName\":\"SERVER\"}");
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_key_ok(q, "X-Api-Key");
    provider_note_strings(q, "chatId", "text", a);
    buf_add_str(&a->text, json_str(json_member(q->json, "caption")));
    if (strcmp(q->method, "POST") != 0)
        refuse(a, 404, "Cannot GET");
    else if (!a->auth_ok)
        refuse(a, 401, "Unauthorized");
    else if (check(q, a) == 0)
        take(q, number, a);
}

/* It repeats the request in its own failures. */
static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    (void)retry_after_s;
    if (status == 422)
        write_not_working("default", out);
    else if (status >= 500)
        buf_printf(
            out,
            "{\"statusCode\":%d,\"timestamp\":\"2026-07-01T00:00:00.000Z\",\"exception\":{\"message\":"
            "\"Evaluation failed\"},\"request\":{\"path\":\"/api/sendText\",\"body\":{\"text\":\"error "
            "463\"}}}",
            status);
    else
        buf_printf(out, "{\"statusCode\":%d,\"message\":\"%s\"}", status,
                   status == 401 ? "Unauthorized" : "Bad Request");
}

static void write_refusal(struct buf *out)
{
    buf_add_str(out,
                "{\"statusCode\":500,\"exception\":{\"message\":\"Evaluation failed: server returned error "
                "463\"}}");
}

const struct provider PROVIDER_WAHA = {
    .name = "waha",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
};
