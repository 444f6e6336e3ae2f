/* Wasender's POST /api/send-message: bearer key, JSON, one kind of content, 422 with a map of errors as
 * Laravel writes it. */
#include "tests/provider/provider.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool owns(const char *path)
{
    return strcmp(path, "/api/send-message") == 0;
}

/* --- the errors map of a 422 --- */

struct problems {
    struct buf *out; /* {"success":false,...,"errors":{ */
    size_t count;
};

static void add_problem(struct problems *p, const char *member, const char *sentence)
{
    if (p->count++ == 0)
        buf_add_str(p->out, "{\"success\":false,\"message\":\"Validation failed\",\"errors\":{");
    else
        buf_add_char(p->out, ',');
    buf_printf(p->out, "\"%s\":[\"%s\"]", member, sentence);
}

static void add_problem_of(struct problems *p, const char *member, const char *what)
{
    char sentence[160];

    snprintf(sentence, sizeof sentence, "The %s field %s.", member, what);
    add_problem(p, member, sentence);
}

/* --- the members --- */

static bool has(const struct json_node *root, const char *member)
{
    enum json_kind kind = json_kind_of(json_member(root, member));
    return kind != JSON_ABSENT && kind != JSON_NULL;
}

static bool ends_with_domain(const char *s, const char *local_characters, const char *domain)
{
    size_t local = strspn(s, local_characters);
    return local >= 5 && strcmp(s + local, domain) == 0;
}

/* A number, a group, a channel or a user name. A user's JID is not documented and therefore refused. */
static bool is_recipient(const char *s)
{
    return provider_is_e164(s) || ends_with_domain(s, "0123456789-", "@g.us") ||
           ends_with_domain(s, "0123456789", "@newsletter") ||
           (s[0] == '@' && s[1] != '\0' && strchr(s + 1, '@') == NULL);
}

static void check_recipient(const struct json_node *root, struct problems *p)
{
    const char *to = json_str(json_member(root, "to"));

    if (!has(root, "to"))
        add_problem_of(p, "to", "is required");
    else if (to == NULL)
        add_problem_of(p, "to", "must be a string");
    else if (!is_recipient(to))
        add_problem_of(p, "to", "must be a valid E.164 number, group JID or channel JID");
}

static void check_text(const struct json_node *root, struct problems *p)
{
    const char *text = json_str(json_member(root, "text"));

    if (has(root, "text") && text == NULL)
        add_problem_of(p, "text", "must be a string");
    else if (text != NULL && text[strspn(text, " \t\r\n")] == '\0')
        add_problem_of(p, "text", "must not be empty");
}

static bool is_contact(const struct json_node *n)
{
    return json_str(json_member(n, "name")) != NULL && json_str(json_member(n, "phone")) != NULL;
}

static bool is_location(const struct json_node *n)
{
    double value;
    return json_real(json_member(n, "latitude"), &value) && json_real(json_member(n, "longitude"), &value);
}

static void check_content(const struct json_node *root, struct problems *p)
{
    static const char *const urls[] = {"imageUrl", "videoUrl", "documentUrl", "audioUrl", "stickerUrl"};
    size_t kinds = 0;

    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        if (!has(root, urls[i]))
            continue;
        kinds++;
        if (!provider_is_url(json_str(json_member(root, urls[i]))))
            add_problem_of(p, urls[i], "must be a valid URL");
    }
    if (has(root, "contact")) {
        kinds++;
        if (!is_contact(json_member(root, "contact")))
            add_problem_of(p, "contact", "must have name and phone");
    }
    if (has(root, "location")) {
        kinds++;
        if (!is_location(json_member(root, "location")))
            add_problem_of(p, "location", "must have latitude and longitude");
    }
    if (kinds > 1)
        add_problem(p, "content", "Only one kind of media may be sent.");
    if (kinds == 0 && !has(root, "text"))
        add_problem_of(p, "text", "is required when no media is present");
    if (has(root, "stickerUrl") && has(root, "text"))
        add_problem_of(p, "text", "is not allowed with a sticker");
}

static void check_options(const struct json_node *root, struct problems *p)
{
    int64_t id = 0;

    if (has(root, "fileName") && json_str(json_member(root, "fileName")) == NULL)
        add_problem_of(p, "fileName", "must be a string");
    if (has(root, "replyTo") && (!json_int(json_member(root, "replyTo"), &id) || id <= 0))
        add_problem_of(p, "replyTo", "must be a positive integer");
    if (has(root, "viewOnce") && json_kind_of(json_member(root, "viewOnce")) != JSON_BOOL)
        add_problem_of(p, "viewOnce", "must be a boolean");
    if (!has(root, "mentions"))
        return;
    const struct json_node *mentions = json_member(root, "mentions");
    bool strings = json_kind_of(mentions) == JSON_ARRAY;
    for (const struct json_node *n = json_first(mentions); strings && n != NULL; n = json_next(n))
        strings = json_str(n) != NULL;
    if (!strings)
        add_problem_of(p, "mentions", "must be an array of JIDs");
}

/* --- the answer --- */

static void refuse(struct provider_answer *a, int status, const char *message)
{
    a->status = status;
    buf_printf(&a->body, "{\"success\":false,\"message\":\"%s\"}", message);
}

static void take(uint64_t number, struct provider_answer *a)
{
    uint64_t id = 99999 + number;

    a->status = 200;
    snprintf(a->id, sizeof a->id, "%" PRIu64, id);
    buf_printf(&a->body, "{\"success\":true,\"data\":{\"msgId\":%" PRIu64 ",\"jid\":", id);
    buf_add_json_str(&a->body, buf_str(&a->to), a->to.len);
    buf_add_str(&a->body, ",\"status\":\"in_progress\"}}");
    provider_answer_header(a, "X-RateLimit-Limit", "256");
    provider_answer_header(a, "X-RateLimit-Remaining", "255");
    provider_answer_header(a, "X-RateLimit-Reset", "60");
}

static void answer_message(const struct json_node *root, uint64_t number, struct provider_answer *a)
{
    struct problems p = {.out = &a->body};

    check_recipient(root, &p);
    check_text(root, &p);
    check_content(root, &p);
    check_options(root, &p);
    if (p.count == 0) {
        take(number, a);
        return;
    }
    buf_add_str(&a->body, "}}");
    a->status = 422;
}

static void answer(const struct provider_request *q, uint64_t number, struct provider_answer *a)
{
    a->auth_ok = provider_bearer_ok(q);
    provider_note_strings(q, "to", "text", a);
    if (strcmp(q->method, "POST") != 0) {
        provider_answer_header(a, "Allow", "POST");
        refuse(a, 405, "The method is not supported for this route. Supported methods: POST.");
    } else if (!a->auth_ok) {
        refuse(a, 401, "Invalid API key");
    } else if (!provider_is_json(q)) {
        refuse(a, 415, "Content-Type must be application/json");
    } else if (json_kind_of(q->json) != JSON_OBJECT) {
        refuse(a, 400, "The request body is not valid JSON");
    } else {
        answer_message(q->json, number, a);
    }
}

static void write_error(int status, int64_t retry_after_s, struct buf *out)
{
    if (status == 429) {
        /* The real ones have no "success" member here. */
        buf_printf(out,
                   "{\"message\":\"You have account protection enabled. You can only send 1 message every 5 "
                   "seconds.\","
                   "\"retry_after\":%" PRId64 "}",
                   retry_after_s >= 0 ? retry_after_s : 5);
    } else if (status == 401) {
        buf_add_str(out, "{\"success\":false,\"message\":\"Invalid API key\"}");
    } else if (status == 422) {
        buf_add_str(out, "{\"success\":false,\"message\":\"Validation failed\",\"errors\":{\"to\":[\"The to "
                         "field is invalid.\"]}}");
    } else {
        buf_printf(out, "{\"success\":false,\"message\":\"Server answered %d\"}", status);
    }
}

static void write_refusal(struct buf *out)
{
    buf_add_str(out, "{\"success\":false,\"message\":\"The number is not on WhatsApp\"}");
}

const struct provider PROVIDER_WASENDER = {
    .name = "wasender",
    .owns = owns,
    .answer = answer,
    .write_error = write_error,
    .write_refusal = write_refusal,
};
