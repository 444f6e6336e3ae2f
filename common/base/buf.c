/* The growing byte buffer. */
#include "base/buf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){.limit = limit_bytes};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Makes room for `need` bytes in all. Stays within the limit, but for the NUL that buf_str and buf_printf put
 * behind. */
static void reserve(struct buf *b, size_t need)
{
    if (need <= b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->limit)
        cap = b->limit;
    if (cap < need)
        cap = need;
    b->data = xrealloc(b->data, cap, 1);
    b->cap = cap;
}

/* True when `len` more bytes may be added, and then there is room for them. */
static bool has_room(struct buf *b, size_t len)
{
    if (b->failed || len > b->limit - b->len) {
        b->failed = true;
        return false;
    }
    reserve(b, b->len + len);
    return true;
}

/* The usual case, without a call: there is room already. */
static inline bool fits(const struct buf *b, size_t len)
{
    return !b->failed && len <= b->cap - b->len && len <= b->limit - b->len;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0 || (!fits(b, len) && !has_room(b, len)))
        return;
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void buf_add_str(struct buf *b, const char *s)
{
    if (s)
        buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    if (fits(b, 1) || has_room(b, 1))
        b->data[b->len++] = c;
}

/* The rare long text of buf_printf: formatted a second time, straight into its place. */
static void PRINTF_LIKE(3, 0) print_long(struct buf *b, size_t len, const char *fmt, va_list args)
{
    if (!has_room(b, len))
        return;
    reserve(b, b->len + len + 1);
    vsnprintf(b->data + b->len, len + 1, fmt, args);
    b->len += len;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char text[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(text, sizeof text, fmt, args);
    if (len < 0)
        b->failed = true;
    else if ((size_t)len < sizeof text)
        buf_add(b, text, (size_t)len);
    else
        print_long(b, (size_t)len, fmt, again);
    va_end(again);
    va_end(args);
}

void buf_add_int(struct buf *b, int64_t value)
{
    char text[20]; /* the digits of INT64_MIN and its sign */
    char *at = text + sizeof text;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;

    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        *--at = '-';
    buf_add(b, at, (size_t)(text + sizeof text - at));
}

/* Nearly every number that is written is a time in milliseconds that was read in microseconds. */
static bool add_thousandths(struct buf *b, double value)
{
    enum { LARGEST = 1000000 }; /* has 9 digits as thousandths */
    char text[] = ".000";
    size_t digits = 3;

    if (!(value >= 0 && value < LARGEST))
        return false;
    int64_t thousandths = llround(value * 1000);
    if (fabs(value * 1000 - (double)thousandths) > 1e-9 || (thousandths == 0 && signbit(value)))
        return false; /* has more than three decimals */
    buf_add_int(b, thousandths / 1000);
    for (int64_t left = thousandths % 1000, at = 3; at > 0; at--, left /= 10)
        text[at] = (char)('0' + left % 10);
    while (digits > 0 && text[digits] == '0')
        digits--;
    if (digits > 0)
        buf_add(b, text, digits + 1);
    return true;
}

void buf_add_real(struct buf *b, double value)
{
    if (!isfinite(value))
        buf_add_str(b, "null");
    else if (!add_thousandths(b, value))
        buf_printf(b, "%.9g", value);
}

/* Sixteen bytes at once, as whatever vectors the machine has: true when all are plain. As signed bytes, those
 * of UTF-8 sequences are below the space, too. */
typedef signed char bytes_16 __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

static bool is_plain_16(const char *bytes)
{
    bytes_16 v;
    memcpy(&v, bytes, sizeof v);
    halves odd = (halves)((v < 0x20) | (v == '"') | (v == '\\'));
    return (odd[0] | odd[1]) == 0;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

size_t json_plain_prefix(const char *bytes, size_t len)
{
    size_t at = 0;
    while (len - at >= 16 && is_plain_16(bytes + at))
        at += 16;
    while (at < len && is_plain((unsigned char)bytes[at]))
        at++;
    return at;
}

static void add_json_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
    case '\\':
        buf_add(b, (char[]){'\\', (char)c}, 2);
        break;
    case '\n':
        buf_add(b, "\\n", 2);
        break;
    case '\r':
        buf_add(b, "\\r", 2);
        break;
    case '\t':
        buf_add(b, "\\t", 2);
        break;
    default:
        buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

void buf_add_json_str(struct buf *b, const char *s, size_t len)
{
    buf_add_char(b, '"');
    size_t copied = 0;
    for (size_t i = json_plain_prefix(s, len); i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(b, s + copied, i - copied);
        add_json_escape(b, c);
        copied = i + 1;
    }
    if (copied < len)
        buf_add(b, s + copied, len - copied);
    buf_add_char(b, '"');
}

void buf_add_u16(struct buf *b, uint16_t v)
{
    buf_add(b, (unsigned char[]){(unsigned char)(v >> 8), (unsigned char)v}, 2);
}

void buf_add_u32(struct buf *b, uint32_t v)
{
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(v >> (24 - 8 * i));
    buf_add(b, bytes, sizeof bytes);
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(v >> (56 - 8 * i));
    buf_add(b, bytes, sizeof bytes);
}

void buf_consume(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

uint32_t str_hash(const char *s)
{
    const uint32_t prime = 16777619;
    uint32_t hash = 2166136261;
    for (; *s != '\0'; s++)
        hash = (hash ^ (unsigned char)*s) * prime;
    return hash;
}

void str_copy(char *to, size_t size, const char *from)
{
    size_t len = strnlen(from, size - 1);
    memcpy(to, from, len);
    to[len] = '\0';
}

const char *buf_str(struct buf *b)
{
    if (b->failed)
        return NULL;
    if (b->len == 0)
        return "";
    reserve(b, b->len + 1);
    b->data[b->len] = '\0';
    return b->data;
}
