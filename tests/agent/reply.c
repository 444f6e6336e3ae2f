/* Replies. Written by hand on purpose, and not by the codec under test. */
#include "tests/agent/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void add(struct buf *out, const char *before, const char *s)
{
    buf_add_str(out, before);
    buf_add_json_str(out, s != NULL ? s : "", s != NULL ? strlen(s) : 0);
}

static const char *text_of(const struct json_node *request, const char *path)
{
    return json_str(json_path(request, path));
}

/* A user's text may be as long as a message may be, and ours says more. */
static size_t quotable_length(const char *text)
{
    const size_t max = 60000;
    size_t len = strlen(text);

    if (len <= max)
        return len;
    len = max;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

static void add_answer_text(const struct reply_facts *f, struct buf *out)
{
    const char *asked = text_of(f->request, "message.text");
    struct buf text;

    buf_init(&text, REPLY_MAX_BYTES);
    buf_add_str(&text, "Re: ");
    buf_add(&text, asked, quotable_length(asked));
    buf_printf(&text, " #%s", text_of(f->request, "messageId"));
    if (f->number > 1)
        buf_printf(&text, " (%" PRId64 ")", f->number);
    if (f->differ)
        buf_add_str(&text, " (changed)");
    add(out, "\"text\":", buf_str(&text));
    buf_fini(&text);
}

static void add_pictures(const struct reply_facts *f, struct buf *out)
{
    const char *asked = text_of(f->request, "message.text");
    char caption[64];

    for (int64_t i = 1; i <= f->behaviour->pictures; i++) {
        buf_printf(out, "%s{\"url\":\"https://example.com/%" PRId64 ".jpg\",\"mimeType\":\"image/jpeg\"",
                   i > 1 ? "," : "", i);
        snprintf(caption, sizeof caption, "%.*s.%" PRId64, (int)strcspn(asked, " "), asked, i);
        if (i > 1)
            add(out, ",\"caption\":", caption);
        buf_add_char(out, '}');
    }
}

static void add_response(const struct reply_facts *f, struct buf *out)
{
    const struct behaviour *b = f->behaviour;

    buf_add_str(out, ",\"response\":{");
    if (b->has_text) {
        add_answer_text(f, out);
        buf_add_char(out, ',');
    }
    add(out, "\"type\":", b->type);
    buf_add_str(out, ",\"attachments\":[");
    if (b->attachment[0] != '\0') {
        add(out, "{\"url\":", b->attachment);
        if (strcmp(b->type, "document") == 0)
            buf_add_str(out, ",\"fileName\":\"document.pdf\",\"mimeType\":\"application/pdf\"");
        buf_add_char(out, '}');
    }
    add_pictures(f, out);
    buf_add_str(out, "]}");
}

static void add_echo(const struct reply_facts *f, struct buf *out)
{
    static const char *const members[] = {"workspaceId", "conversationId", "contactId", "channel"};
    int64_t deadline = 0;

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        const char *value = text_of(f->request, members[i]);
        if (value == NULL)
            continue;
        buf_printf(out, ",\"%s\":", members[i]);
        add(out, "", value);
    }
    if (json_int(json_path(f->request, "metadata.deadline"), &deadline))
        buf_printf(out, ",\"metadata\":{\"deadline\":%" PRId64 "}", deadline);
}

static void add_error(const struct behaviour *b, struct buf *out)
{
    if (b->error_code[0] == '\0')
        return;
    add(out, ",\"error\":{\"code\":", b->error_code);
    buf_add_str(out, ",\"message\":\"the stand-in agent was asked to fail\",\"stack\":\"agent\"}");
}

static void write_whole(const struct reply_facts *f, struct buf *out)
{
    add(out, "{\"messageId\":", f->reply_id);
    add(out, ",\"originalMessageId\":", text_of(f->request, "messageId"));
    buf_printf(out, ",\"timestamp\":%" PRId64, f->timestamp_s);
    add(out, ",\"status\":", f->behaviour->status);
    add(out, ",\"contact\":{\"remoteJid\":", text_of(f->request, "contact.remoteJid"));
    add(out, ",\"phoneNumber\":", text_of(f->request, "contact.phoneNumber"));
    add(out, ",\"name\":", text_of(f->request, "contact.name"));
    buf_add_char(out, '}');
    add_response(f, out);
    buf_printf(
        out,
        ",\"agentMetadata\":{\"toolsUsed\":[\"database_query\"],\"reasoningSteps\":[\"read\",\"answer\"],"
        "\"processingTime\":%.3f,\"tokensUsed\":%zu}",
        f->processing_s, 20 + strlen(text_of(f->request, "message.text")) / 4);
    add_error(f->behaviour, out);
    if (f->echo_ids)
        add_echo(f, out);
    buf_add_char(out, '}');
}

void reply_write(const struct reply_facts *f, struct buf *out)
{
    switch (f->behaviour->kind) {
    case BEHAVIOUR_MALFORMED:
        add(out, "{\"messageId\":", f->reply_id);
        buf_add_str(out, ",\"originalMessageId\":");
        return;
    case BEHAVIOUR_INCOMPLETE:
        add(out, "{\"messageId\":", f->reply_id);
        buf_add_str(out, ",\"response\":{\"text\":\"for nobody\"}}");
        return;
    case BEHAVIOUR_ANSWER:
    case BEHAVIOUR_DUPLICATE:
    case BEHAVIOUR_CONFLICT:
    case BEHAVIOUR_SILENT:
    case BEHAVIOUR_REJECT:
    case BEHAVIOUR_CRASH:
    case BEHAVIOUR_CRASH_AFTER:
        write_whole(f, out);
        return;
    }
}

void reply_id_v5(const char *request_id, int64_t number, char out[UUID_TEXT_LEN + 1])
{
    char name[200];
    int len = snprintf(name, sizeof name, "%s/%" PRId64, request_id, number);

    uuid_v5(REPLY_NAMESPACE, name, len < 0 ? 0 : (size_t)len, out);
}
