#include "publisher/webhooks/payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "domain/contact.h"

struct json *payload_read(const struct webhook_row *row, struct err *e)
{
    struct json *doc = json_parse_foreign(row->body, row->body_len, e);

    if (doc != NULL && json_kind_of(json_root(doc)) != JSON_OBJECT) {
        err_set(e, ERR_DATA, 0, "$: expected an object");
        json_free(&doc);
    }
    return doc;
}

int payload_end(const struct webhook_events *ev, struct err *e)
{
    if (ev->is_full)
        return err_set(e, ERR_DATA, 0, "more than %d messages or receipts in one row", WEBHOOK_EVENTS_MAX);
    return 0;
}

const struct json_node *payload_each(const struct json_node *array_or_one, const struct json_node *last)
{
    if (json_kind_of(array_or_one) == JSON_ARRAY)
        return last == NULL ? json_first(array_or_one) : json_next(last);
    return last == NULL ? array_or_one : NULL;
}

/* --- words and numbers --- */

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

const char *payload_id_text(const char *text, struct arena *a)
{
    size_t len = text == NULL ? 0 : strnlen(text, MESSAGE_MAX_EXTERNAL_ID + 1);

    return len > 0 && len <= MESSAGE_MAX_EXTERNAL_ID && is_printable(text) ? arena_strdup(a, text) : NULL;
}

/* A whole number's digits in `digits`, else the string, else NULL. */
static const char *word_of(const struct json_node *n, char digits[24])
{
    int64_t value;

    if (!json_int(n, &value))
        return json_str(n);
    snprintf(digits, 24, "%" PRId64, value);
    return digits;
}

const char *payload_id(const struct json_node *n, struct arena *a)
{
    char digits[24];

    return payload_id_text(word_of(n, digits), a);
}

const char *payload_url(const char *text, struct arena *a)
{
    size_t len = text == NULL ? 0 : strnlen(text, MESSAGE_MAX_URL + 1);

    if (len == 0 || len > MESSAGE_MAX_URL || !is_printable(text))
        return NULL;
    if (strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
        return NULL;
    return arena_strdup(a, text);
}

static int64_t as_milliseconds(double value)
{
    const double first_in_ms = 1e11, last = 1e15;

    if (!(value >= 1) || value > last)
        return 0;
    return value >= first_in_ms ? (int64_t)value : (int64_t)(value * 1000);
}

int64_t payload_time_text_ms(const char *digits)
{
    size_t len = digits == NULL ? 0 : strspn(digits, "0123456789");

    return len > 0 && len <= 15 && digits[len] == '\0' ? as_milliseconds(strtod(digits, NULL)) : 0;
}

int64_t payload_time_ms(const struct json_node *n)
{
    double value;

    return json_real(n, &value) ? as_milliseconds(value) : payload_time_text_ms(json_str(n));
}

/* --- texts --- */

/* C0 but for line feed and tab, DEL, C1. */
static bool is_control(uint32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
}

/* Embeddings, overrides and isolates: in a name they turn around what stands beside it. */
static bool is_direction_override(uint32_t c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Bytes of the character at p; 0 for a byte that begins none. */
static size_t character_at(const char *p, size_t left, uint32_t *c)
{
    size_t n = utf8_length(p, left);

    *c = n > 0 && *p != '\0' ? utf8_next(&p) : 0;
    return n;
}

/* For `clean`: a byte that is no UTF-8 becomes three. */
static char *room_to_clean(const char *text, size_t len, struct arena *a)
{
    return arena_alloc(a, (is_utf8(text, len) ? len : 3 * len) + 1);
}

static const char REPLACEMENT[] = {'\xef', '\xbf', '\xbd'}; /* U+FFFD */

/* Copies without control characters; a carriage return without a line feed behind it is one. */
static size_t clean(const char *text, size_t len, char *out)
{
    size_t written = 0, step;

    for (size_t at = 0; at < len; at += step) {
        uint32_t c;
        step = character_at(text + at, len - at, &c);
        if (step == 0) {
            memcpy(out + written, REPLACEMENT, sizeof REPLACEMENT);
            written += sizeof REPLACEMENT;
            step = 1;
        } else if (c == '\r' && (at + 1 == len || text[at + 1] != '\n')) {
            out[written++] = '\n';
        } else if (!is_control(c)) {
            memcpy(out + written, text + at, step);
            written += step;
        }
    }
    return written;
}

/* Where to cut at or before `most`: behind white space if there is some near, else between two characters, of
 * which the second does not belong to the first. */
static size_t cut_at(const char *text, size_t most)
{
    enum { NEAR = 256 };
    size_t at = most;

    for (size_t near = most; near > most - NEAR; near--) {
        if (text[near - 1] == ' ' || text[near - 1] == '\n')
            return near;
    }
    for (;;) {
        const char *next;
        uint32_t c;
        while (((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        next = text + at;
        c = utf8_next(&next);
        bool is_joined = (c >= 0x300 && c <= 0x36f) || c == 0x200d || (c >= 0xfe00 && c <= 0xfe0f) ||
                         (c >= 0x1f3fb && c <= 0x1f3ff) ||
                         (at >= 3 && memcmp(text + at - 3, "\xe2\x80\x8d", 3) == 0);
        if (!is_joined || at <= most - NEAR)
            return at;
        at--;
    }
}

const char *payload_text(const char *text, size_t len, struct arena *a, size_t *cut_from)
{
    char *out = room_to_clean(text, len, a);
    size_t kept = clean(text, len, out);

    *cut_from = 0;
    if (kept > PAYLOAD_TEXT_MAX) {
        *cut_from = utf8_count(out);
        out[cut_at(out, PAYLOAD_TEXT_MAX)] = '\0';
    }
    return utf8_is_blank(out) ? NULL : out;
}

const char *payload_line_text(const char *text, size_t most, struct arena *a)
{
    size_t len = text == NULL ? 0 : strlen(text), written = 0, kept = 0;
    char *out;

    if (len == 0)
        return NULL;
    out = room_to_clean(text, len, a);
    len = clean(text, len, out);
    for (size_t at = 0, step; at < len; at += step) {
        uint32_t c;
        step = character_at(out + at, len - at, &c);
        bool is_space = utf8_is_space(c);
        if (is_direction_override(c) || (is_space && written == 0))
            continue;
        if (is_space) {
            out[written++] = ' ';
            continue;
        }
        memmove(out + written, out + at, step);
        written += step;
        kept = written;
    }
    out[kept] = '\0';
    out[utf8_prefix(out, most)] = '\0';
    return out[0] == '\0' ? NULL : out;
}

const char *payload_line(const struct json_node *n, size_t most, struct arena *a)
{
    char digits[24];

    return payload_line_text(word_of(n, digits), most, a);
}

const char *payload_note(const char *kind, const char *const *parts, size_t count, struct arena *a)
{
    struct buf b;
    const char *note;
    bool is_first = true;

    buf_init(&b, PAYLOAD_TEXT_MAX);
    buf_printf(&b, "[%s", kind);
    for (size_t i = 0; i < count; i++) {
        const char *part = payload_line_text(parts[i], MESSAGE_MAX_NAME, a);
        if (part == NULL)
            continue;
        buf_printf(&b, "%s %s", is_first ? ":" : ",", part);
        is_first = false;
    }
    buf_add_char(&b, ']');
    note = arena_dup(a, b.data, b.len);
    buf_fini(&b);
    return note;
}

const char *payload_place(double latitude, double longitude, const char *name, const char *address,
                          struct arena *a)
{
    char point[64];
    const char *const parts[] = {point, name, address};

    snprintf(point, sizeof point, "%.9g,%.9g", latitude, longitude);
    return payload_note("location", parts, sizeof parts / sizeof parts[0], a);
}

/* --- addresses --- */

const char *payload_number(const char *number_or_jid, struct arena *a)
{
    char number[CONTACT_E164_MAX + 1], with_plus[CONTACT_E164_MAX + 1];

    if (number_or_jid == NULL)
        return NULL;
    if (contact_number_from_jid(number_or_jid, number) || contact_normalise_number(number_or_jid, number))
        return arena_strdup(a, number);
    if (strlen(number_or_jid) >= sizeof with_plus - 1)
        return NULL;
    snprintf(with_plus, sizeof with_plus, "+%s", number_or_jid);
    return is_e164(with_plus) ? arena_strdup(a, with_plus) : NULL;
}

static const char *first_number(const char *const *known, size_t count, struct arena *a)
{
    const char *number = NULL;

    for (size_t i = 0; i < count && number == NULL; i++)
        number = payload_number(known[i], a);
    return number;
}

static const char *user_jid(const char *number, struct arena *a)
{
    char jid[CONTACT_E164_MAX + sizeof "@s.whatsapp.net"];

    snprintf(jid, sizeof jid, "%s@s.whatsapp.net", number + 1);
    return arena_strdup(a, jid);
}

/* Without the device. */
static const char *hidden_jid(const char *jid, struct arena *a)
{
    size_t local = strcspn(jid, ":@");
    char *bare = arena_alloc(a, local + sizeof "@lid");

    memcpy(bare, jid, local);
    memcpy(bare + local, "@lid", sizeof "@lid");
    return bare;
}

static const char *first_hidden(const char *jid, const char *const *known, size_t count, struct arena *a)
{
    for (size_t i = 0; contact_jid_kind_of(jid) != CONTACT_JID_LID; i++) {
        if (i == count)
            return NULL;
        jid = known[i];
    }
    return hidden_jid(jid, a);
}

static const char *nobody(enum contact_jid_kind kind)
{
    switch (kind) {
    case CONTACT_JID_GROUP:
        return "a group's message";
    case CONTACT_JID_NEWSLETTER:
        return "a channel's message";
    case CONTACT_JID_BROADCAST:
        return "a status or broadcast";
    case CONTACT_JID_NONE:
        return "a sender that is no address";
    case CONTACT_JID_USER:
    case CONTACT_JID_LID:
        break;
    }
    return NULL;
}

bool payload_set_person(struct webhook_events *ev, struct webhook_message *m, const char *jid,
                        const char *const *known, size_t known_count)
{
    enum contact_jid_kind kind = contact_jid_kind_of(jid);
    const char *reason = nobody(kind);
    const char *number = payload_number(jid, ev->arena), *hidden;

    if (reason != NULL && (kind != CONTACT_JID_NONE || number == NULL)) {
        webhook_ignore(ev, "%s", reason);
        return false;
    }
    m->number = number != NULL ? number : first_number(known, known_count, ev->arena);
    hidden = first_hidden(jid, known, known_count, ev->arena);
    m->jid = m->number != NULL ? user_jid(m->number, ev->arena) : hidden;
    if (m->user_id == NULL)
        m->user_id = hidden;
    return true;
}

const char *payload_recipient(const char *jid, const char *const *known, size_t known_count, struct arena *a)
{
    const char *number = payload_number(jid, a);

    if (number == NULL)
        number = first_number(known, known_count, a);
    if (number == NULL && contact_jid_kind_of(jid) == CONTACT_JID_LID)
        return hidden_jid(jid, a);
    return number;
}

/* --- events --- */

static const char *cleaned(const char *text, struct arena *a, size_t *cut_from)
{
    return text == NULL ? NULL : payload_text(text, strlen(text), a, cut_from);
}

/* The text with a link to each file but the first. */
static const char *with_files(const char *text, const struct payload_files *f, struct arena *a)
{
    size_t size = (text == NULL ? 0 : strlen(text)) + 1;
    char *out, *end;

    for (size_t i = 1; i < f->count; i++)
        size += strlen(f->urls[i]) + sizeof "\n[file: ]";
    out = end = arena_alloc(a, size);
    end += snprintf(end, size, "%s", text == NULL ? "" : text);
    for (size_t i = 1; i < f->count; i++)
        end += snprintf(end, size - (size_t)(end - out), "%s[file: %s]", end == out ? "" : "\n", f->urls[i]);
    return out;
}

/* What stands for a message without words. */
static const char *placeholder(const struct webhook_message *m, struct arena *a)
{
    size_t size = strlen(m->content_type) + sizeof "[: ]" + (m->media_name ? strlen(m->media_name) : 0);
    char *text = arena_alloc(a, size);

    snprintf(text, size, "[%s%s%s]", m->content_type, m->media_name ? ": " : "",
             m->media_name ? m->media_name : "");
    return text;
}

void payload_add_message(struct webhook_events *ev, const struct webhook_message *given, const char *text,
                         const struct payload_files *files)
{
    struct webhook_message m = *given, *slot;

    if (m.external_id == NULL) {
        webhook_ignore(ev, "a message without an id");
        return;
    }
    if (m.number == NULL && m.jid == NULL && m.email == NULL && m.user_id == NULL) {
        webhook_ignore(ev, "a message without a sender");
        return;
    }
    m.content_type = m.content_type == NULL ? "text" : m.content_type;
    m.text = cleaned(text, ev->arena, &m.cut_from);
    if (m.text != NULL && m.wish == WISH_NONE)
        m.wish = webhook_wish_of(m.channel, m.text);
    if (files != NULL && files->count > 1)
        m.text = cleaned(with_files(text, files, ev->arena), ev->arena, &m.cut_from);
    if (m.text == NULL && strcmp(m.content_type, "text") == 0) {
        webhook_ignore(ev, "a message without text");
        return;
    }
    if (m.cut_from > 0)
        webhook_ignore(ev, "a text is cut to %d KiB", PAYLOAD_TEXT_MAX / 1024);
    if (m.text == NULL)
        m.text = placeholder(&m, ev->arena);
    m.hint = ev->hint;
    slot = webhook_add_message(ev);
    if (slot != NULL)
        *slot = m;
}

void payload_add_receipt(struct webhook_events *ev, const struct webhook_receipt *r)
{
    struct webhook_receipt *slot;

    if (r->external_id == NULL && r->our_id == NULL && r->recipient == NULL) {
        webhook_ignore(ev, "a receipt that names no message");
        return;
    }
    slot = webhook_add_receipt(ev);
    if (slot == NULL)
        return;
    *slot = *r;
    slot->hint = ev->hint;
}
