/* Named values in two forms. */
#include "base/record.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { NUMBER_DIGITS = 8, NUMBER_SHOWN = 3, TEXT_LIMIT = 16384, NAME_WIDTH = 18 };

/* --- foreign texts --- */

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* The character at `bytes`, or '?'; how many bytes it takes. */
static size_t add_character(struct buf *out, const char *bytes, size_t left)
{
    size_t len = utf8_length(bytes, left);
    const char *next = bytes;

    if (len == 0 || is_control(utf8_next(&next)))
        buf_add_char(out, '?');
    else
        buf_add(out, bytes, len);
    return len > 0 ? len : 1;
}

void record_add_printable(struct buf *out, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len;)
        at += add_character(out, bytes + at, len - at);
}

static void add_masked(struct buf *out, const char *digits, size_t count)
{
    size_t hidden = count >= NUMBER_DIGITS ? count - NUMBER_SHOWN : 0;

    for (size_t i = 0; i < hidden; i++)
        buf_add_char(out, '*');
    buf_add(out, digits + hidden, count - hidden);
}

void record_add_clean(struct buf *out, const char *text)
{
    size_t len = strlen(text);

    for (size_t at = 0; at < len;) {
        size_t digits = strspn(text + at, "0123456789");
        add_masked(out, text + at, digits);
        at += digits > 0 ? digits : add_character(out, text + at, len - at);
    }
}

/* --- records --- */

static void add_name(struct record *r, const char *name)
{
    if (r->json) {
        if (r->begun)
            buf_add_char(r->out, ',');
        buf_add_json_str(r->out, name, strlen(name));
        buf_add_char(r->out, ':');
    } else {
        buf_printf(r->out, "  %-*s ", NAME_WIDTH, name);
    }
    r->begun = true;
}

static void end_value(struct record *r)
{
    if (!r->json)
        buf_add_char(r->out, '\n');
}

void record_open(struct record *r)
{
    if (r->json) {
        if (r->begun)
            buf_add_char(r->out, ',');
        buf_add_char(r->out, '{');
    }
    r->begun = false;
}

void record_close(struct record *r, bool is_nested)
{
    if (r->json)
        buf_add_str(r->out, is_nested ? "}" : "}\n");
    r->begun = true;
}

void record_open_member(struct record *r, const char *name, char bracket)
{
    if (r->json) {
        add_name(r, name);
        buf_add_char(r->out, bracket);
    }
    r->begun = false;
}

void record_close_array(struct record *r)
{
    if (r->json)
        buf_add_char(r->out, ']');
    r->begun = true;
}

void record_id(struct record *r, const char *name, const char *id)
{
    if (!id && !r->json)
        return;
    add_name(r, name);
    if (!id)
        buf_add_str(r->out, "null");
    else if (r->json)
        buf_add_json_str(r->out, id, strlen(id));
    else
        record_add_printable(r->out, id, strlen(id));
    end_value(r);
}

void record_text(struct record *r, const char *name, const char *text)
{
    struct buf clean;

    buf_init(&clean, TEXT_LIMIT); /* a longer one is cut: what fitted is kept */
    if (text)
        record_add_clean(&clean, text);
    clean.failed = false;
    record_id(r, name, text ? buf_str(&clean) : NULL);
    buf_fini(&clean);
}

void record_int(struct record *r, const char *name, int64_t value, bool known)
{
    if (!known && !r->json)
        return;
    add_name(r, name);
    if (known)
        buf_printf(r->out, "%" PRId64, value);
    else
        buf_add_str(r->out, "null");
    end_value(r);
}

void record_bool(struct record *r, const char *name, bool value)
{
    add_name(r, name);
    buf_add_str(r->out, value ? "true" : "false");
    end_value(r);
}
