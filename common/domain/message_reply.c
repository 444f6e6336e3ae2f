/* The reply (wb_queue): bytes to a checked value. The tables say what schemas/wb_queue.schema.json says. */
#include <string.h>

#include "base/utf8.h"
#include "domain/contact.h"
#include "domain/message.h"
#include "domain/message_shape.h"

/* In the order of their enums. */
static const char *const status_words[] = {"success", "error", "partial", NULL};
static const char *const type_words[] = {"text", "image", "document", NULL};

const char *reply_status_name(enum reply_status s)
{
    return status_words[s];
}

/* --- shape --------------------------------------------------------------------------------------------- */

static bool is_number_or_empty(const char *text)
{
    char e164[CONTACT_E164_MAX + 1];
    return text[0] == '\0' || contact_normalise_number(text, e164);
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

static bool is_url_text(const char *text)
{
    if (text[0] == '\0')
        return false;
    for (uint32_t c = utf8_next(&text); c != 0; c = utf8_next(&text))
        if (is_control(c) || utf8_is_space(c))
            return false;
    return true;
}

static bool is_one_line(const char *text)
{
    for (uint32_t c = utf8_next(&text); c != 0; c = utf8_next(&text))
        if (is_control(c))
            return false;
    return true;
}

static const struct text_rule rule_status = {.words = status_words};
static const struct text_rule rule_type = {.words = type_words};
static const struct text_rule rule_word = {.max_chars = MESSAGE_MAX_WORD};
static const struct text_rule rule_caption = {.max_chars = MESSAGE_MAX_CAPTION};
static const struct text_rule rule_number = {
    .max_chars = MESSAGE_MAX_NUMBER,
    .fits = is_number_or_empty,
    .expected = "an E.164 number such as +12025550143",
};
static const struct text_rule rule_url = {
    .max_chars = MESSAGE_MAX_URL,
    .fits = is_url_text,
    .expected = "a URL: no white space, no control characters, not empty",
};
static const struct text_rule rule_mime_type = {
    .max_chars = MESSAGE_MAX_WORD,
    .fits = is_one_line,
    .expected = "no control characters",
};
static const struct text_rule rule_file_name = {
    .max_chars = MESSAGE_MAX_NAME,
    .fits = is_one_line,
    .expected = "no control characters",
};

static const struct shape contact_members[] = {
    {.key = "remoteJid", .kind = SHAPE_TEXT, .rule = &rule_jid},
    {.key = "phoneNumber", .kind = SHAPE_TEXT, .rule = &rule_number},
    {.key = "name", .kind = SHAPE_TEXT, .rule = &rule_name},
};

static const struct shape attachment_members[] = {
    {.key = "url", .kind = SHAPE_TEXT, .required = true, .rule = &rule_url},
    {.key = "mimeType", .kind = SHAPE_TEXT, .rule = &rule_mime_type},
    {.key = "fileName", .kind = SHAPE_TEXT, .rule = &rule_file_name},
    {.key = "caption", .kind = SHAPE_TEXT, .rule = &rule_caption},
};

static const struct shape attachment = {
    .kind = SHAPE_OBJECT,
    SHAPE_MEMBERS(attachment_members),
    .or_text = &rule_url,
};

static const struct shape response_members[] = {
    {.key = "text", .kind = SHAPE_TEXT, .rule = &rule_text},
    {.key = "type", .kind = SHAPE_TEXT, .rule = &rule_type},
    {.key = "attachments", .kind = SHAPE_LIST, .max = MESSAGE_MAX_ATTACHMENTS, .item = &attachment},
};

static const struct shape tool = {.kind = SHAPE_TEXT, .rule = &rule_word};

static const struct shape agent_members[] = {
    {.key = "toolsUsed", .kind = SHAPE_LIST, .max = MESSAGE_MAX_TOOLS, .item = &tool},
    {.key = "processingTime", .kind = SHAPE_REAL, .min = 0},
    {.key = "tokensUsed", .kind = SHAPE_INTEGER, .min = 0, .max = SHAPE_INT_MAX},
};

static const struct shape error_members[] = {
    {.key = "code", .kind = SHAPE_TEXT, .rule = &rule_word},
    {.key = "message", .kind = SHAPE_TEXT, .rule = &rule_text},
};

static const struct shape metadata_members[] = {
    {.key = "deadline", .kind = SHAPE_INTEGER, .min = 0, .max = SHAPE_INT_MAX},
};

static const struct shape reply_members[] = {
    {.key = "messageId", .kind = SHAPE_TEXT, .required = true, .rule = &rule_message_id},
    {.key = "originalMessageId", .kind = SHAPE_TEXT, .rule = &rule_message_id},
    {.key = "timestamp", .kind = SHAPE_INTEGER, .min = 0, .max = SHAPE_INT_MAX},
    {.key = "status", .kind = SHAPE_TEXT, .required = true, .rule = &rule_status},
    {.key = "contact", .kind = SHAPE_OBJECT, SHAPE_MEMBERS(contact_members)},
    {.key = "response", .kind = SHAPE_OBJECT, SHAPE_MEMBERS(response_members)},
    {.key = "agentMetadata", .kind = SHAPE_OBJECT, SHAPE_MEMBERS(agent_members)},
    {.key = "error", .kind = SHAPE_OBJECT, SHAPE_MEMBERS(error_members)},
    {.key = "workspaceId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "conversationId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "contactId", .kind = SHAPE_TEXT, .rule = &rule_uuid},
    {.key = "channel", .kind = SHAPE_TEXT, .rule = &rule_channel},
    {.key = "metadata", .kind = SHAPE_OBJECT, SHAPE_MEMBERS(metadata_members)},
};

static const struct shape reply_shape = {.kind = SHAPE_OBJECT, SHAPE_MEMBERS(reply_members)};

/* --- values of a checked document ---------------------------------------------------------------------- */

/* A copy of a member's text; NULL when it is absent, null or "". */
static const char *take_text(struct arena *a, const struct json_node *object, const char *key)
{
    const char *text = json_str(json_member(object, key));
    return text == NULL || text[0] == '\0' ? NULL : arena_strdup(a, text);
}

static int take_word(const char *const *words, const struct json_node *object, const char *key, int if_absent)
{
    const char *text = json_str(json_member(object, key));
    return text == NULL ? if_absent : word_index(words, text);
}

/* Seconds or milliseconds to milliseconds. In seconds 1e11 would be the year 5138, in milliseconds it was
 * March 1973. */
static int64_t take_time_ms(const struct json_node *object, const char *key)
{
    const int64_t first_in_ms = 100000000000;
    int64_t t;
    if (!json_int(json_member(object, key), &t))
        return 0;
    return t >= first_in_ms ? t : t * 1000;
}

static void take_contact(struct reply *r, const struct json_node *contact, struct arena *a)
{
    char e164[CONTACT_E164_MAX + 1];
    r->contact.remote_jid = take_text(a, contact, "remoteJid");
    r->contact.name = take_text(a, contact, "name");
    if (contact_normalise_number(json_str(json_member(contact, "phoneNumber")), e164))
        r->contact.phone_number = arena_strdup(a, e164);
}

static struct reply_attachment take_attachment(const struct json_node *n, struct arena *a)
{
    if (json_str(n) != NULL)
        return (struct reply_attachment){.url = arena_strdup(a, json_str(n))};
    return (struct reply_attachment){
        .url = take_text(a, n, "url"),
        .mime_type = take_text(a, n, "mimeType"),
        .file_name = take_text(a, n, "fileName"),
        .caption = take_text(a, n, "caption"),
    };
}

static void take_response(struct reply *r, const struct json_node *response, struct arena *a)
{
    const char *text = json_str(json_member(response, "text"));
    if (text != NULL && !utf8_is_blank(text))
        r->text = arena_strdup(a, text);
    r->type = (enum reply_type)take_word(type_words, response, "type", REPLY_TEXT);
    const struct json_node *n = json_first(json_member(response, "attachments"));
    for (; n != NULL; n = json_next(n))
        r->attachments[r->attachment_count++] = take_attachment(n, a);
}

static void take_agent(struct reply *r, const struct json_node *agent, struct arena *a)
{
    r->agent.processing_time_s = -1;
    r->agent.tokens_used = -1;
    (void)json_real(json_member(agent, "processingTime"), &r->agent.processing_time_s);
    (void)json_int(json_member(agent, "tokensUsed"), &r->agent.tokens_used);
    const struct json_node *tools = json_member(agent, "toolsUsed");
    size_t count = json_count(tools);
    if (count == 0)
        return;
    const char **names = arena_alloc(a, count * sizeof *names);
    for (const struct json_node *n = json_first(tools); n != NULL; n = json_next(n))
        names[r->agent.tool_count++] = arena_strdup(a, json_str(n));
    r->agent.tools_used = names;
}

static void take_reply(struct reply *r, const struct json_node *root, struct arena *a)
{
    *r = (struct reply){
        .message_id = take_text(a, root, "messageId"),
        .original_message_id = take_text(a, root, "originalMessageId"),
        .timestamp_ms = take_time_ms(root, "timestamp"),
        .status = (enum reply_status)take_word(status_words, root, "status", REPLY_ERROR),
        .workspace_id = take_text(a, root, "workspaceId"),
        .conversation_id = take_text(a, root, "conversationId"),
        .contact_id = take_text(a, root, "contactId"),
        .deadline_ms = take_time_ms(json_member(root, "metadata"), "deadline"),
    };
    const char *channel = json_str(json_member(root, "channel"));
    if (channel != NULL)
        (void)channel_parse(channel, &r->channel);
    const struct json_node *error = json_member(root, "error");
    r->error.code = take_text(a, error, "code");
    r->error.message = take_text(a, error, "message");
    take_contact(r, json_member(root, "contact"), a);
    take_response(r, json_member(root, "response"), a);
    take_agent(r, json_member(root, "agentMetadata"), a);
}

/* --- rules across members ------------------------------------------------------------------------------ */

static int check_reply(const struct reply *r, struct err *e)
{
    if (r->contact.remote_jid == NULL && r->contact.phone_number == NULL && r->original_message_id == NULL)
        return err_set(e, ERR_DATA, 0,
                       "$.contact: expected remoteJid or phoneNumber, since originalMessageId is missing");
    if (r->status == REPLY_SUCCESS && r->text == NULL && r->attachment_count == 0)
        return err_set(e, ERR_DATA, 0,
                       "$.response: expected a text or an attachment, since status is success");
    return 0;
}

int message_parse_reply(const char *bytes, size_t len, struct arena *a, struct reply *r, struct err *e)
{
    struct json *document = json_parse(bytes, len, e);
    if (document == NULL)
        return -1;
    int rc = shape_check(&reply_shape, json_root(document), e);
    if (rc == 0) {
        take_reply(r, json_root(document), a);
        rc = check_reply(r, e);
    }
    json_free(&document);
    return rc;
}
