/* For the tests of the webhooks' parsers: a body in, what comes out as lines of text. */
#ifndef AGWB_TESTS_WEBHOOK_RIG_H
#define AGWB_TESTS_WEBHOOK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "publisher/webhooks/webhook.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { RIG_LINES_MAX = 8 * 1024 * 1024 };

static inline void rig_add(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, " %s=\"", name);
    for (uint32_t c; (c = utf8_next(&value)) != 0;) {
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", (char)c);
        else if (c < ' ' || c > '~')
            buf_printf(out, "\\u{%x}", c);
        else
            buf_add_char(out, (char)c);
    }
    buf_add_char(out, '"');
}

static inline void rig_add_time(struct buf *out, int64_t ms)
{
    if (ms != 0)
        buf_printf(out, " at=%" PRId64, ms);
}

static inline void rig_add_message(struct buf *out, const struct webhook_message *m)
{
    static const char *const wishes[] = {
        [WISH_NONE] = NULL, [WISH_STOP] = "stop", [WISH_START] = "start", [WISH_HELP] = "help"};

    buf_printf(out, "message %s %s", channel_name(m->channel), m->content_type);
    rig_add(out, "id", m->external_id);
    rig_add(out, "number", m->number);
    rig_add(out, "jid", m->jid);
    rig_add(out, "email", m->email);
    rig_add(out, "user", m->user_id);
    rig_add(out, "name", m->name);
    rig_add(out, "text", m->text);
    if (m->cut_from > 0)
        buf_printf(out, " cut_from=%zu", m->cut_from);
    rig_add(out, "media_url", m->media_url);
    rig_add(out, "media_id", m->media_id);
    rig_add(out, "media_type", m->media_type);
    rig_add(out, "media_name", m->media_name);
    rig_add(out, "quoted", m->quoted_id);
    rig_add(out, "wish", wishes[m->wish]);
    rig_add_time(out, m->sent_ms);
    buf_add_char(out, '\n');
}

static inline void rig_add_receipt(struct buf *out, const struct webhook_receipt *r)
{
    buf_printf(out, "receipt %s", receipt_status_name(r->status));
    rig_add(out, "id", r->external_id);
    rig_add(out, "our", r->our_id);
    rig_add(out, "recipient", r->recipient);
    rig_add(out, "text", r->text);
    rig_add(out, "code", r->code);
    rig_add(out, "detail", r->detail);
    rig_add_time(out, r->at_ms);
    buf_add_char(out, '\n');
}

/* From memory that ends with the body's NUL, so that the sanitizers see a read beyond it. The lines stay
 * valid until the next call. */
static inline const char *rig_parse_bytes(const struct webhook_provider *p, const char *body, size_t len)
{
    static struct buf out;
    struct arena *a = arena_new();
    char *copy = malloc(len + 1);
    struct webhook_row row = {.provider = p->name, .body = copy, .body_len = len};
    struct webhook_events ev = {.arena = a};
    struct err e = {0};

    assert_non_null(copy);
    memcpy(copy, body, len);
    copy[len] = '\0';
    buf_fini(&out);
    buf_init(&out, RIG_LINES_MAX);
    if (p->parse(&row, NULL, &ev, &e) != 0) {
        assert_int_equal(e.class, ERR_DATA);
        buf_printf(&out, "refused: %s\n", e.text);
    } else {
        for (size_t i = 0; i < ev.message_count; i++)
            rig_add_message(&out, &ev.messages[i]);
        for (size_t i = 0; i < ev.receipt_count; i++)
            rig_add_receipt(&out, &ev.receipts[i]);
        if (ev.ignored[0] != '\0')
            buf_printf(&out, "ignored: %s\n", ev.ignored);
    }
    free(copy);
    arena_free(&a);
    assert_false(out.failed);
    return buf_str(&out);
}

static inline const char *rig_parse(const struct webhook_provider *p, const char *body)
{
    return rig_parse_bytes(p, body, strlen(body));
}

/* The body gives exactly these lines. */
static inline void rig_expect(const struct webhook_provider *p, const char *body, const char *lines)
{
    const char *found = rig_parse(p, body);

    if (strcmp(found, lines) != 0)
        fail_msg("%s: %.2000s\ngives:\n%s\nexpected:\n%s", p->name, body, found, lines);
}

#endif
