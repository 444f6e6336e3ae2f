/* open-wa's "easy API": POST /sendText and /sendFile, behind a session's name or not, arguments in "args",
 * an api_key header, {"success","response"} as its answer. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What stands behind the session's name. */
static const char *method_of(const char *path)
{
    const char *second = path[0] == '/' ? strchr(path + 1, '/') : NULL;
    return second != NULL && second > path + 1 ? second : path;
}

static bool owns(const char *path)
{
    return strcmp(method_of(path), "/sendText") == 0 || strcmp(method_of(path), "/sendFile") == 0;
}

static int refuse(struct provider_answer *a, int status, const char *words)
{
    a->status = status;
    buf_printf(&a->body, "{\"success\":false,\"error\":{\"name\":\"Error\",\"message\":\"%s\"}}", words);
    return -1;
}

static bool is_chat(const char *s)
{
    size_t local = s != NULL ? strspn(s, "0123456789-") : 0;
    return local >= 5 && (strcmp(s + local, "@c.us") == 0 || strcmp(s + local, "@g.us") == 0);
}

static int check(const struct provider_request *q, struct provider_answer *a)
{
    const struct json_node *args = json_member(q->json, "args");

    if (json_kind_of(args) != JSON_OBJECT)
        return refuse(a, 500, "args is missing");
    if (!is_chat(json_str(json_member(args, "to"))))
        return refuse(a, 500, "to is not a chat id");
    if (strcmp(method_of(q->path), "/sendText") == 0)
        return provider_has_text(args, "content") ? 0 : refuse(a, 500, "content is missing");
    if (!provider_is_url(json_str(json_member(args, "file"))))
        return refuse(a, 500, "file is not a URL");
    if (!provider_has_text(args, "filename") || json_str(json_member(args, "caption")) == NULL)
        return refuse(a, 500, "filename and caption are positional and cannot be left out");
    return 0;
}

static void take(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->status = 200;
    snprintf(a->id, sizeof a->id, "true_%s_3EB0%08" PRIX64, json_str(json_path(q->json, "args.to")), number);
    buf_printf(&a->body, "{\"success\":true,\"response\":\"%s\"}", a->id);
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_key_ok(q, "api_key") || provider_key_ok(q, "key");
    provider_note_strings(q, "args.to", "args.content", a);
    buf_add_str(&a->text, json_str(json_path(q->json, "args.caption")));
    if (strcmp(q->method, "POST") != 0) {
        refuse(a, 404, "Cannot GET");
    } else if (!a->auth_ok) {
        a->status = 401;
        buf_add_str(&a->body, "{\"error\":\"unauthorised\"}");
    } else if (check(q, a) == 0) {
        take(q, number, a);
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    (void)retry_after_s;
    if (status == 401)
        buf_add_str(out, "{\"error\":\"unauthorised\"}");
    else
        buf_add_str(out, "{\"success\":false,\"error\":{\"name\":\"ProtocolError\",\"message\":\"Session "
                         "closed.\"}}");
}

static void write_refusal(struct buf *out)
{
    write_error(500, -1, out);
}

const struct provider PROVIDER_OPENWA = {
    .name = "openwa",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
};
