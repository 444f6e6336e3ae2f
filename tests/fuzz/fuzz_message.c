/* The two wire messages: what is accepted keeps the promises of message.h, and what is written is accepted.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "base/uuid.h"
#include "domain/contact.h"
#include "domain/message.h"

static void check_refusal(const struct err *e)
{
    fuzz_require(e->class == ERR_DATA && e->text[0] == '$', "a refusal names the JSON path");
    fuzz_require(is_utf8(e->text, strlen(e->text)), "a refusal is UTF-8");
}

/* --- the reply ----------------------------------------------------------------------------------------- */

static bool is_json(struct channel_request *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(buf_str(&r->headers[i]), "Content-Type: application/json") == 0)
            return true;
    return false;
}

/* What any of the providers asks of an account. */
static const struct config_account account = {
    .name = "main",
    .channel = CHANNEL_WHATSAPP,
    .base_url = "https://api.example.com/",
    .token = "token",
    .user = "AC00000000000000000000000000000000",
    .password = "word",
    .from = "+12025550142",
    .options = {{"phone_number_id", "100000000000001"}, {"instance", "one"}},
    .option_count = 2,
};

/* A mail's lines end as SMTP wants them, and are no longer than it takes. */
static bool is_mail(const struct buf *b)
{
    size_t column = 0;

    for (size_t i = 0; i < b->len; i++, column++) {
        bool is_break = b->data[i] == '\r' && i + 1 < b->len && b->data[i + 1] == '\n';
        if (b->data[i] == '\0' || column > 998 || ((b->data[i] == '\r' || b->data[i] == '\n') && !is_break))
            return false;
        if (is_break) {
            i++;
            column = (size_t)-1;
        }
    }
    return column == 0;
}

/* An address of the provider's kind, where the reply's is none. */
static const char *address_for(const struct channel_provider *p, const char *address)
{
    return *p->channels == CHANNEL_EMAIL       ? "bob@example.net"
           : *p->channels == CHANNEL_INSTAGRAM ? "9876543210"
                                               : address;
}

static void check_build(const struct channel_provider *p, const struct reply *r,
                        const struct channel_part *part, const char *address)
{
    struct config_account sender = account;
    struct channel_send send = {.account = &sender,
                                .reply = r,
                                .part = part,
                                .address = address_for(p, address),
                                .message_id = r->message_id,
                                .workspace_id = r->workspace_id,
                                .contact_id = r->contact_id,
                                .job_id = r->original_message_id,
                                .quoted_id = r->original_message_id};
    struct channel_request request;
    struct err e = {0};

    if (*p->channels == CHANNEL_EMAIL)
        sender.from = "shop@example.com";
    channel_request_init(&request);
    if (p->build(&send, &request, &e) != 0) {
        fuzz_require(e.class == ERR_DATA, "a message that a provider cannot carry is the message's fault");
    } else {
        fuzz_require(!request.body.failed && !request.url.failed, "a request fits");
        fuzz_require(!request.is_mail || is_mail(&request.body), "a mail has only whole lines");
        fuzz_require(!is_json(&request) || request.body.len > JSON_MAX_BYTES ||
                         json_scan(request.body.data, request.body.len, &e) == 0,
                     "a body that is said to be JSON is");
    }
    channel_request_fini(&request);
}

static void check_parts(const struct channel_provider *p, const struct reply *r, const char *address,
                        struct arena *arena)
{
    struct channel_parts parts;
    struct err e = {0};

    if (p->build == NULL) /* nothing is sent */
        return;
    if (channel_plan(p, &account, r, arena, &parts, &e) != 0) {
        fuzz_require(e.class == ERR_DATA, "a reply that cannot be sent is its own fault");
        return;
    }
    fuzz_require(parts.count > 0, "a reply takes a message");
    for (size_t i = 0; i < parts.count; i++)
        check_build(p, r, &parts.items[i], address);
}

static void check_texts(const struct reply *r)
{
    const char *const texts[] = {r->message_id, r->original_message_id, r->contact.name,
                                 r->text,       r->error.code,          r->error.message};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        fuzz_require(texts[i] == NULL || is_utf8(texts[i], strlen(texts[i])), "a reply's texts are UTF-8");
    for (size_t i = 0; i < r->attachment_count; i++)
        fuzz_require(r->attachments[i].url != NULL, "an attachment has a URL");
    for (size_t i = 0; i < r->agent.tool_count; i++)
        fuzz_require(r->agent.tools_used[i] != NULL, "a tool has a name");
}

static void check_reply(const struct reply *r)
{
    size_t id_len = strlen(r->message_id);
    fuzz_require(id_len >= 1 && id_len <= MESSAGE_ID_MAX, "a message id has 1 to 128 characters");
    fuzz_require(r->contact.remote_jid || r->contact.phone_number || r->original_message_id,
                 "a reply names someone");
    fuzz_require(!r->contact.phone_number || is_e164(r->contact.phone_number), "a number is normalised");
    fuzz_require(!r->contact.remote_jid || contact_jid_kind_of(r->contact.remote_jid) != CONTACT_JID_NONE,
                 "a JID is of a known kind");
    fuzz_require(r->status != REPLY_SUCCESS || r->text || r->attachment_count > 0, "success says something");
    fuzz_require(!r->text || !utf8_is_blank(r->text), "a blank text counts as absent");
    fuzz_require(r->attachment_count <= MESSAGE_MAX_ATTACHMENTS, "attachments fit");
    fuzz_require(!r->workspace_id || is_uuid(r->workspace_id), "a workspace's id is a uuid");
    fuzz_require(!r->conversation_id || is_uuid(r->conversation_id), "a conversation's id is a uuid");
    fuzz_require(!r->contact_id || is_uuid(r->contact_id), "a contact's id is a uuid");
    fuzz_require(r->timestamp_ms >= 0 && r->deadline_ms >= 0, "times are not negative");
    check_texts(r);
}

void fuzz_reply(const char *bytes, size_t len)
{
    struct arena *a = arena_new();
    struct reply r;
    struct err e = {0};

    if (message_parse_reply(bytes, len, a, &r, &e) != 0) {
        check_refusal(&e);
    } else {
        check_reply(&r);
        const char *address = r.contact.phone_number ? r.contact.phone_number : r.contact.remote_jid;
        for (const struct channel_provider *const *p = fuzz_providers(); *p != NULL && address != NULL; p++)
            check_parts(*p, &r, address, a);
    }
    arena_free(&a);
}

/* --- the request --------------------------------------------------------------------------------------- */

void fuzz_request(const char *bytes, size_t len)
{
    struct err e = {0};
    if (message_check_request(bytes, len, &e) != 0)
        check_refusal(&e);
}

/* A string "~" stands for NULL. */
static const char *next_text(struct fuzz_strings *in)
{
    const char *text = fuzz_next(in);
    return text == NULL || strcmp(text, "~") == 0 ? NULL : text;
}

static int64_t next_integer(struct fuzz_strings *in)
{
    const char *text = fuzz_next(in);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

/* In the order of struct request. */
static struct request next_request(struct fuzz_strings *in)
{
    struct request q = {.message_id = next_text(in)};
    q.timestamp_s = next_integer(in);
    q.task_type = next_text(in);
    q.contact.remote_jid = next_text(in);
    q.contact.phone_number = next_text(in);
    q.contact.name = next_text(in);
    q.contact.country_code = next_text(in);
    q.message.text = next_text(in);
    q.message.message_id = next_text(in);
    q.message.timestamp_s = next_integer(in);
    q.history_json = next_text(in);
    q.user_notes = next_text(in);
    q.session_data_json = next_text(in);
    q.priority = next_text(in);
    q.retry_count = (int)next_integer(in);
    q.max_retries = (int)next_integer(in);
    q.workspace_id = next_text(in);
    q.conversation_id = next_text(in);
    q.contact_id = next_text(in);
    q.channel = (enum channel)((uint64_t)next_integer(in) % (CHANNEL_INSTAGRAM + 1));
    q.deadline_s = next_integer(in);
    return q;
}

/* The shape of the history's elements is the caller's promise, which these bytes do not keep. */
static bool is_about_history(const struct err *e)
{
    static const char path[] = "$.context.conversationHistory";
    return strncmp(e->text, path, sizeof path - 1) == 0;
}

void fuzz_write_request(const char *bytes, size_t len)
{
    static const char before[] = "before";
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    struct request q = next_request(&in);
    struct err e = {0};
    struct buf out;

    buf_init(&out, sizeof before + MESSAGE_MAX_BYTES + len % 512);
    buf_add_str(&out, before);
    if (message_write_request(&q, &out, &e) != 0) {
        check_refusal(&e);
        fuzz_require(strcmp(buf_str(&out), before) == 0, "after a refusal the buffer is as before");
    } else {
        const char *written = buf_str(&out) + strlen(before);
        size_t written_len = out.len - strlen(before);
        fuzz_require(json_scan(written, written_len, &e) == 0, "a written request is JSON");
        fuzz_require(message_check_request(written, written_len, &e) == 0 || is_about_history(&e),
                     "a written request passes its check");
    }
    buf_fini(&out);
    arena_free(&in.arena);
}
