/* The HTTP SMS gateway of the first specification: POST /send-sms without authentication, 400 with a reason.
 */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool owns(const char *path)
{
    return strcmp(path, "/send-sms") == 0;
}

struct member {
    const char *path;
    enum json_kind kind;
    bool required;
};

/* metadata.aiLogId names a log entry of the gateway's own system, so a bridge that has none leaves it out. */
static const struct member MEMBERS[] = {
    {"to", JSON_STRING, true},
    {"message", JSON_STRING, true},
    {"workspaceId", JSON_STRING, true},
    {"contactId", JSON_STRING, true},
    {"metadata", JSON_OBJECT, true},
    {"metadata.contactId", JSON_STRING, true},
    {"metadata.isAiGenerated", JSON_BOOL, true},
    {"metadata.aiLogId", JSON_STRING, false},
};

static int PRINTF_LIKE(3, 4) refuse(struct provider_answer *a, int status, const char *fmt, ...)
{
    char reason[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    a->status = status;
    buf_add_str(&a->body, "{\"success\":false,\"error\":");
    buf_add_json_str(&a->body, reason, strlen(reason));
    buf_add_char(&a->body, '}');
    return -1;
}

static int check_members(const struct json_node *root, struct provider_answer *a)
{
    for (size_t i = 0; i < sizeof MEMBERS / sizeof MEMBERS[0]; i++) {
        const struct member *m = &MEMBERS[i];
        const struct json_node *n = json_path(root, m->path);
        enum json_kind kind = json_kind_of(n);
        const char *s = json_str(n);

        if (kind == JSON_ABSENT && !m->required)
            continue;
        if (kind == JSON_ABSENT)
            return refuse(a, 400, "member %s is missing", m->path);
        if (kind != m->kind)
            return refuse(a, 400, "member %s must be of type %s", m->path, json_kind_name(m->kind));
        if (s != NULL && s[strspn(s, " \t\r\n")] == '\0')
            return refuse(a, 400, "member %s is empty", m->path);
    }
    return 0;
}

static int check(const struct json_node *root, struct provider_answer *a)
{
    if (check_members(root, a) != 0)
        return -1;
    if (!provider_is_e164(json_str(json_member(root, "to"))))
        return refuse(a, 400, "member to must be an E.164 number");
    if (strcmp(json_str(json_member(root, "contactId")), json_str(json_path(root, "metadata.contactId"))) !=
        0)
        return refuse(a, 400, "contactId and metadata.contactId differ");
    return 0;
}

static void take(uint64_t number, struct provider_answer *a)
{
    a->status = 200;
    snprintf(a->id, sizeof a->id, "sms-%06" PRIu64, number);
    buf_printf(&a->body, "{\"success\":true,\"messageId\":\"%s\"}", a->id);
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = true;
    provider_note_strings(q, "to", "message", a);
    if (strcmp(q->method, "POST") != 0) {
        provider_answer_header(a, "Allow", "POST");
        refuse(a, 405, "method %s is not allowed", q->method);
    } else if (!provider_is_json(q)) {
        refuse(a, 415, "Content-Type must be application/json");
    } else if (json_kind_of(q->json) != JSON_OBJECT) {
        refuse(a, 400, "the body is not a JSON object");
    } else if (check(q->json, a) == 0) {
        take(number, a);
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    if (retry_after_s >= 0)
        buf_printf(out, "{\"success\":false,\"error\":\"answered %d\",\"retryAfter\":%" PRId64 "}", status,
                   retry_after_s);
    else
        buf_printf(out, "{\"success\":false,\"error\":\"answered %d\"}", status);
}

static void write_refusal(struct buf *out)
{
    buf_add_str(out, "{\"success\":false,\"error\":\"the number does not take messages\"}");
}

const struct provider PROVIDER_SMS_GATEWAY = {
    .name = "sms_gateway",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
};
