/* The request (ag_queue): values to bytes, and the check of such bytes. The tables say what
 * schemas/ag_queue.schema.json says. */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/utf8.h"
#include "domain/contact.h"
#include "domain/message.h"
#include "domain/message_shape.h"

/* Unix seconds below 1e11, from where on readers take a number for milliseconds. */
#define SECONDS_MAX INT64_C(99999999999)

static const char *const task_words[] = {"conversation", "appointment", "order", "search", NULL};
static const char *const priority_words[] = {"normal", "high", "urgent", NULL};
static const char *const role_words[] = {"user", "assistant", NULL};

/* --- shape --------------------------------------------------------------------------------------------- */

static bool is_e164_or_empty(const char *text)
{
    return text[0] == '\0' || is_e164(text);
}

static bool is_country_code_or_empty(const char *text)
{
    size_t len = strspn(text, "0123456789");
    return text[0] != '0' && len <= 3 && text[len] == '\0';
}

static const struct text_rule rule_task = {.words = task_words};
static const struct text_rule rule_priority = {.words = priority_words};
static const struct text_rule rule_role = {.words = role_words};
static const struct text_rule rule_any = {0};
static const struct text_rule rule_external_id = {.max_chars = MESSAGE_MAX_EXTERNAL_ID};
static const struct text_rule rule_number = {
    .fits = is_e164_or_empty,
    .expected = "an E.164 number such as +12025550143",
};
static const struct text_rule rule_country_code = {
    .fits = is_country_code_or_empty,
    .expected = "a country code of 1 to 3 digits",
};

static const struct shape contact_members[] = {
    {.key = "remoteJid", .kind = SHAPE_TEXT, .required = true, .rule = &rule_jid},
    {.key = "phoneNumber", .kind = SHAPE_TEXT, .required = true, .rule = &rule_number},
    {.key = "name", .kind = SHAPE_TEXT, .required = true, .rule = &rule_name},
    {.key = "countryCode", .kind = SHAPE_TEXT, .required = true, .rule = &rule_country_code},
};

static const struct shape message_members[] = {
    {.key = "text", .kind = SHAPE_TEXT, .required = true, .rule = &rule_text},
    {.key = "messageId", .kind = SHAPE_TEXT, .required = true, .rule = &rule_external_id},
    {.key = "timestamp", .kind = SHAPE_INTEGER, .required = true, .min = 0, .max = SECONDS_MAX},
};

static const struct shape turn_members[] = {
    {.key = "role", .kind = SHAPE_TEXT, .required = true, .rule = &rule_role},
    {.key = "content", .kind = SHAPE_TEXT, .required = true, .rule = &rule_any},
};

static const struct shape turn = {.kind = SHAPE_OBJECT, SHAPE_MEMBERS(turn_members)};

static const struct shape context_members[] = {
    {.key = "conversationHistory", .kind = SHAPE_LIST, .required = true, .item = &turn},
    {.key = "userNotes", .kind = SHAPE_TEXT, .required = true, .rule = &rule_any},
    {.key = "sessionData", .kind = SHAPE_OBJECT, .required = true},
};

static const struct shape metadata_members[] = {
    {.key = "priority", .kind = SHAPE_TEXT, .required = true, .rule = &rule_priority},
    {.key = "retryCount", .kind = SHAPE_INTEGER, .required = true, .min = 0, .max = INT_MAX},
    {.key = "maxRetries", .kind = SHAPE_INTEGER, .required = true, .min = 0, .max = INT_MAX},
    {.key = "deadline", .kind = SHAPE_INTEGER, .min = 0, .max = SECONDS_MAX},
};

static const struct shape request_members[] = {
    {.key = "messageId", .kind = SHAPE_TEXT, .required = true, .rule = &rule_message_id},
    {.key = "timestamp", .kind = SHAPE_INTEGER, .required = true, .min = 0, .max = SECONDS_MAX},
    {.key = "taskType", .kind = SHAPE_TEXT, .required = true, .rule = &rule_task},
    {.key = "contact", .kind = SHAPE_OBJECT, .required = true, SHAPE_MEMBERS(contact_members)},
    {.key = "message", .kind = SHAPE_OBJECT, .required = true, SHAPE_MEMBERS(message_members)},
    {.key = "context", .kind = SHAPE_OBJECT, .required = true, SHAPE_MEMBERS(context_members)},
    {.key = "metadata", .kind = SHAPE_OBJECT, .required = true, SHAPE_MEMBERS(metadata_members)},
    {.key = "workspaceId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "conversationId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "contactId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "channel", .kind = SHAPE_TEXT, .rule = &rule_channel},
};

static const struct shape request_shape = {.kind = SHAPE_OBJECT, SHAPE_MEMBERS(request_members)};

/* --- rules across members ------------------------------------------------------------------------------ */

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int check_names_someone(const char *jid, const char *number, const char *contact_id, struct err *e)
{
    if (has_text(jid) || has_text(number) || has_text(contact_id))
        return 0;
    return err_set(e, ERR_DATA, 0,
                   "$.contact: expected remoteJid or phoneNumber, since contactId is missing");
}

static bool is_code_of(const char *country_code, const char *number)
{
    return strncmp(country_code, number + 1, strlen(country_code)) == 0;
}

static int check_document(const struct json_node *root, struct err *e)
{
    if (shape_check(&request_shape, root, e) != 0)
        return -1;
    const char *number = json_str(json_path(root, "contact.phoneNumber"));
    const char *code = json_str(json_path(root, "contact.countryCode"));
    if (has_text(number) && !is_code_of(code, number))
        return err_set(e, ERR_DATA, 0, "$.contact.countryCode: expected the first digits of phoneNumber");
    return check_names_someone(json_str(json_path(root, "contact.remoteJid")), number,
                               json_str(json_member(root, "contactId")), e);
}

int message_check_request(const char *bytes, size_t len, struct err *e)
{
    struct json *document = json_parse(bytes, len, e);
    if (document == NULL)
        return -1;
    int rc = check_document(json_root(document), e);
    json_free(&document);
    return rc;
}

/* --- values, before they are written ------------------------------------------------------------------- */

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static int check_texts(const struct request *q, struct err *e)
{
    const struct {
        const char *path;
        const struct text_rule *rule;
        const char *text;
    } texts[] = {
        {"$.messageId", &rule_message_id, q->message_id},
        {"$.taskType", &rule_task, q->task_type},
        {"$.contact.remoteJid", &rule_jid, q->contact.remote_jid},
        {"$.contact.phoneNumber", &rule_number, q->contact.phone_number},
        {"$.message.text", &rule_text, q->message.text},
        {"$.message.messageId", &rule_external_id, q->message.message_id},
        {"$.metadata.priority", &rule_priority, q->priority},
    };
    const struct {
        const char *path, *text;
    } uuids[] = {
        {"$.workspaceId", q->workspace_id},
        {"$.conversationId", q->conversation_id},
        {"$.contactId", q->contact_id},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (text_rule_check(texts[i].rule, texts[i].path, or_empty(texts[i].text), e) != 0)
            return -1;
    for (size_t i = 0; i < sizeof uuids / sizeof uuids[0]; i++)
        if (has_text(uuids[i].text) && text_rule_check(&rule_uuid, uuids[i].path, uuids[i].text, e) != 0)
            return -1;
    return 0;
}

/* Of the other texts the rules above let only ASCII through. */
static int check_encoding(const struct request *q, struct err *e)
{
    const struct {
        const char *path, *text;
    } texts[] = {
        {"$.contact.name", q->contact.name},
        {"$.message.text", q->message.text},
        {"$.message.messageId", q->message.message_id},
        {"$.context.userNotes", q->user_notes},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].text != NULL && !is_utf8(texts[i].text, strlen(texts[i].text)))
            return err_set(e, ERR_DATA, 0, "%s: not UTF-8", texts[i].path);
    return 0;
}

static int check_integers(const struct request *q, struct err *e)
{
    const struct {
        const char *path;
        int64_t value, max;
    } integers[] = {
        {"$.timestamp", q->timestamp_s, SECONDS_MAX},
        {"$.message.timestamp", q->message.timestamp_s, SECONDS_MAX},
        {"$.metadata.retryCount", q->retry_count, INT_MAX},
        {"$.metadata.maxRetries", q->max_retries, INT_MAX},
        {"$.metadata.deadline", q->deadline_s, SECONDS_MAX},
    };
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        if (integers[i].value < 0 || integers[i].value > integers[i].max)
            return err_set(e, ERR_DATA, 0, "%s: expected an integer from 0 to %" PRId64, integers[i].path,
                           integers[i].max);
    return 0;
}

/* What is spliced must be one JSON text of its kind, so that it can neither end its member early nor add
 * others. It stands inside two objects. */
static int check_splice(const char *path, char first, const char *text, struct err *e)
{
    if (text == NULL)
        return 0;
    if (text[strspn(text, " \t\r\n")] != first)
        return err_set(e, ERR_DATA, 0, "%s: expected %s", path, first == '[' ? "array" : "object");
    return json_scan_nested(text, strlen(text), 2, e) == 0 ? 0 : err_prefix(e, "%s", path);
}

static int check_values(const struct request *q, struct err *e)
{
    if (check_encoding(q, e) != 0 || check_texts(q, e) != 0 || check_integers(q, e) != 0)
        return -1;
    if (check_splice("$.context.conversationHistory", '[', q->history_json, e) != 0)
        return -1;
    if (check_splice("$.context.sessionData", '{', q->session_data_json, e) != 0)
        return -1;
    return check_names_someone(q->contact.remote_jid, q->contact.phone_number, q->contact_id, e);
}

/* --- writing ------------------------------------------------------------------------------------------- */

static void add_text(struct buf *out, const char *before, const char *text)
{
    buf_add_str(out, before);
    buf_add_json_str(out, text, text == NULL ? 0 : strlen(text));
}

static void add_integer(struct buf *out, const char *before, int64_t value)
{
    buf_add_str(out, before);
    buf_add_int(out, value);
}

static void add_text_if_any(struct buf *out, const char *before, const char *text)
{
    if (has_text(text))
        add_text(out, before, text);
}

static void add_contact(struct buf *out, const struct request *q)
{
    const char *name = or_empty(q->contact.name);
    const char *number = or_empty(q->contact.phone_number);
    const char *code = or_empty(q->contact.country_code);
    bool is_usable = is_country_code_or_empty(code) && (number[0] == '\0' || is_code_of(code, number));

    add_text(out, ",\"contact\":{\"remoteJid\":", q->contact.remote_jid);
    add_text(out, ",\"phoneNumber\":", number);
    buf_add_str(out, ",\"name\":");
    buf_add_json_str(out, name, utf8_prefix(name, MESSAGE_MAX_NAME));
    add_text(out, ",\"countryCode\":", is_usable ? code : "");
    buf_add_char(out, '}');
}

static void add_metadata(struct buf *out, const struct request *q)
{
    add_text(out, ",\"metadata\":{\"priority\":", q->priority);
    add_integer(out, ",\"retryCount\":", q->retry_count);
    add_integer(out, ",\"maxRetries\":", q->max_retries);
    if (q->deadline_s > 0)
        add_integer(out, ",\"deadline\":", q->deadline_s);
    buf_add_char(out, '}');
}

static void add_request(struct buf *out, const struct request *q)
{
    add_text(out, "{\"messageId\":", q->message_id);
    add_integer(out, ",\"timestamp\":", q->timestamp_s);
    add_text(out, ",\"taskType\":", q->task_type);
    add_contact(out, q);
    add_text(out, ",\"message\":{\"text\":", q->message.text);
    add_text(out, ",\"messageId\":", q->message.message_id);
    add_integer(out, ",\"timestamp\":", q->message.timestamp_s);
    buf_add_str(out, "},\"context\":{\"conversationHistory\":");
    buf_add_str(out, q->history_json == NULL ? "[]" : q->history_json);
    add_text(out, ",\"userNotes\":", q->user_notes);
    buf_add_str(out, ",\"sessionData\":");
    buf_add_str(out, q->session_data_json == NULL ? "{}" : q->session_data_json);
    buf_add_char(out, '}');
    add_metadata(out, q);
    add_text_if_any(out, ",\"workspaceId\":", q->workspace_id);
    add_text_if_any(out, ",\"conversationId\":", q->conversation_id);
    add_text_if_any(out, ",\"contactId\":", q->contact_id);
    add_text_if_any(out, ",\"channel\":", channel_name(q->channel));
    buf_add_char(out, '}');
}

/* The values are checked and the rest is ours, so that the whole need not be scanned again: this runs for
 * every row. */
int message_write_request(const struct request *q, struct buf *out, struct err *e)
{
    size_t start = out->len;
    if (check_values(q, e) != 0)
        return -1;
    add_request(out, q);
    if (!out->failed && out->len - start <= MESSAGE_MAX_BYTES)
        return 0;
    bool is_full = out->failed;
    out->len = start;
    out->failed = false;
    if (is_full)
        return err_set(e, ERR_DATA, 0, "$: does not fit into %zu bytes", out->limit - start);
    return err_set(e, ERR_DATA, 0, "$: more than %d bytes", MESSAGE_MAX_BYTES);
}
