/* One pass over the bytes that lets nothing through which RFC 8259 forbids, which readers disagree on
 * (duplicate keys, NUL, huge numbers) or which costs too much. An explicit stack in place of recursion.
 * Builds nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_private.h"
#include "base/utf8.h"

enum expect {
    EXPECT_VALUE,      /* after ':', after ',' in an array, at the start */
    EXPECT_FIRST_ITEM, /* after '[' */
    EXPECT_FIRST_KEY,  /* after '{' */
    EXPECT_KEY,        /* after ',' in an object */
    EXPECT_SEPARATOR,  /* after a value inside an array or object */
    EXPECT_END,        /* after the outermost value */
};

struct frame {
    bool is_object;
    bool inside;           /* a member or item has begun and not ended: it is part of the path */
    uint32_t count;        /* members or items begun */
    size_t first_key;      /* object: its keys begin here in scan.keys */
    uint32_t key, key_len; /* object: the raw bytes of the key last read */
};

struct seen_key {
    uint32_t hash; /* of the characters the key stands for */
    uint32_t at;   /* behind its opening quote */
};

struct scan {
    const char *bytes;
    size_t len, at;
    enum expect expect;
    size_t depth, max_depth;
    bool is_foreign; /* see json_scan_foreign */
    uint32_t value_count;
    struct frame *frames;  /* of all open containers, innermost last */
    struct seen_key *keys; /* of all open objects, innermost last */
    size_t key_count;
    struct err *e;
};

/* --- faults -------------------------------------------------------------------------------------------- */

static bool is_plain_name(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = key[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return len > 0;
}

/* Keys come from outside: long ones are cut, odd ones quoted in the form they had. */
static void add_key_to_path(struct buf *path, const char *key, size_t len)
{
    enum { SHOWN = 48 };
    size_t shown = len;
    if (len > SHOWN) {
        shown = 0;
        while (shown < SHOWN)
            shown += utf8_length(key + shown, len - shown);
    }
    const char *rest = shown < len ? "..." : "";
    if (is_plain_name(key, len))
        buf_printf(path, ".%.*s%s", (int)shown, key, rest);
    else
        buf_printf(path, "[\"%.*s%s\"]", (int)shown, key, rest);
}

static void write_path(const struct scan *s, struct buf *path)
{
    buf_add_char(path, '$');
    for (size_t i = 0; i < s->depth; i++) {
        const struct frame *f = &s->frames[i];
        if (!f->inside)
            continue;
        if (f->is_object)
            add_key_to_path(path, s->bytes + f->key, f->key_len);
        else
            buf_printf(path, "[%" PRIu32 "]", f->count - 1);
    }
}

PRINTF_LIKE(2, 3) static int fault(const struct scan *s, const char *fmt, ...)
{
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);

    struct buf path;
    buf_init(&path, 240);
    write_path(s, &path);
    err_set(s->e, ERR_DATA, 0, "%.*s%s at byte %zu: %s", (int)path.len, path.data, path.failed ? "..." : "",
            s->at, text);
    buf_fini(&path);
    return -1;
}

static int unexpected(const struct scan *s, const char *expected)
{
    if (s->at == s->len)
        return fault(s, "expected %s, but the text ends", expected);
    unsigned char c = (unsigned char)s->bytes[s->at];
    if (c > 0x20 && c < 0x7f)
        return fault(s, "expected %s, found '%c'", expected, c);
    return fault(s, "expected %s, found byte 0x%02x", expected, c);
}

/* --- small steps --------------------------------------------------------------------------------------- */

/* NUL at the end of the bytes: no rule ever expects a NUL, so both are refused alike. */
static char peek(const struct scan *s)
{
    return s->at < s->len ? s->bytes[s->at] : '\0';
}

static void skip_space(struct scan *s)
{
    while (s->at < s->len && (unsigned char)s->bytes[s->at] <= ' ') {
        char c = s->bytes[s->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
            return;
        s->at++;
    }
}

static bool skip_digits(struct scan *s)
{
    size_t start = s->at;
    while (s->at < s->len && s->bytes[s->at] >= '0' && s->bytes[s->at] <= '9')
        s->at++;
    return s->at > start;
}

static struct frame *top(struct scan *s)
{
    return &s->frames[s->depth - 1];
}

static void end_value(struct scan *s)
{
    if (s->depth == 0) {
        s->expect = EXPECT_END;
        return;
    }
    top(s)->inside = false;
    s->expect = EXPECT_SEPARATOR;
}

static int open_container(struct scan *s, bool is_object)
{
    if (s->depth == s->max_depth)
        return fault(s, "more than %d levels", JSON_MAX_DEPTH);
    s->frames[s->depth++] = (struct frame){.is_object = is_object, .first_key = s->key_count};
    s->expect = is_object ? EXPECT_FIRST_KEY : EXPECT_FIRST_ITEM;
    s->at++;
    return 0;
}

static void close_container(struct scan *s)
{
    s->at++;
    s->key_count = top(s)->first_key;
    s->depth--;
    end_value(s);
}

/* --- strings ------------------------------------------------------------------------------------------- */

enum string_byte { STRING_CONTROL = 0, STRING_PLAIN, STRING_QUOTE, STRING_ESCAPE, STRING_MULTIBYTE };

/* clang-format off */
static const unsigned char string_bytes[256] = {
    [0x20 ... 0x21] = STRING_PLAIN,
    [0x22] = STRING_QUOTE,
    [0x23 ... 0x5b] = STRING_PLAIN,
    [0x5c] = STRING_ESCAPE,
    [0x5d ... 0x7f] = STRING_PLAIN,
    [0x80 ... 0xff] = STRING_MULTIBYTE,
};
/* clang-format on */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The UTF-16 unit of "\uXXXX" at p, or -1. */
static int32_t escaped_unit(const char *p, size_t left)
{
    if (left < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xdc00 && unit <= 0xdfff;
}

static int scan_unicode_escape(struct scan *s)
{
    const char *p = s->bytes + s->at;
    size_t left = s->len - s->at;
    int32_t unit = escaped_unit(p, left);
    if (unit < 0)
        return fault(s, "\\u needs four hexadecimal digits");
    if (unit == 0)
        return fault(s, "\\u0000 is not accepted");
    if (is_low_surrogate(unit) ||
        (is_high_surrogate(unit) && !is_low_surrogate(escaped_unit(p + 6, left - 6))))
        return fault(s, "half a surrogate pair");
    s->at += is_high_surrogate(unit) ? 12 : 6;
    return 0;
}

static int scan_escape(struct scan *s)
{
    char c = s->at + 1 < s->len ? s->bytes[s->at + 1] : '\0';
    if (c == 'u')
        return scan_unicode_escape(s);
    if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
        return fault(s, "unknown escape in a string");
    s->at += 2;
    return 0;
}

static int scan_multibyte(struct scan *s)
{
    size_t n = utf8_length(s->bytes + s->at, s->len - s->at);
    if (n == 0)
        return fault(s, "not UTF-8");
    s->at += n;
    return 0;
}

/* From behind the opening quote to behind the closing one. */
static int scan_string(struct scan *s)
{
    for (;;) {
        s->at += json_plain_prefix(s->bytes + s->at, s->len - s->at);
        if (s->at == s->len)
            return fault(s, "the string has no end");
        int rc = 0;
        switch ((enum string_byte)string_bytes[(unsigned char)s->bytes[s->at]]) {
        case STRING_QUOTE:
            s->at++;
            return 0;
        case STRING_ESCAPE:
            rc = scan_escape(s);
            break;
        case STRING_MULTIBYTE:
            rc = scan_multibyte(s);
            break;
        case STRING_CONTROL:
            rc = fault(s, "control character 0x%02x in a string", (unsigned char)s->bytes[s->at]);
            break;
        case STRING_PLAIN:
            break;
        }
        if (rc != 0)
            return -1;
    }
}

/* --- keys ---------------------------------------------------------------------------------------------- */

static uint32_t unescape(const char **p)
{
    char c = (*p)[1];
    if (c != 'u') {
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *which = strchr(from, c);
        *p += 2;
        return (uint32_t)(which != NULL ? to[which - from] : c);
    }
    int32_t unit = escaped_unit(*p, 6);
    *p += 6;
    if (!is_high_surrogate(unit))
        return (uint32_t)unit;
    int32_t low = escaped_unit(*p, 6);
    *p += 6;
    return 0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
}

/* The next character that a scanned string stands for; 0 at its closing quote (NUL was refused before). */
static uint32_t next_char(const char **p)
{
    if (**p == '"')
        return 0;
    return **p == '\\' ? unescape(p) : utf8_next(p);
}

/* FNV-1a by characters, not bytes: "a" and "\u0061" are one key. */
static const uint32_t HASH_OF_NOTHING = 2166136261;

static uint32_t hash_char(uint32_t hash, uint32_t c)
{
    return (hash ^ c) * 16777619;
}

static uint32_t hash_key(const char *key)
{
    uint32_t hash = HASH_OF_NOTHING;
    for (uint32_t c = next_char(&key); c != 0; c = next_char(&key))
        hash = hash_char(hash, c);
    return hash;
}

/* From behind the opening quote to behind the closing one, with the key's hash. Nearly every key is short and
 * plain: one loop does both. */
static int scan_key_text(struct scan *s, uint32_t *hash)
{
    size_t start = s->at;
    *hash = HASH_OF_NOTHING;
    for (; s->at < s->len && string_bytes[(unsigned char)s->bytes[s->at]] == STRING_PLAIN; s->at++)
        *hash = hash_char(*hash, (unsigned char)s->bytes[s->at]);
    if (peek(s) == '"') {
        s->at++;
        return 0;
    }
    if (scan_string(s) != 0)
        return -1;
    *hash = hash_key(s->bytes + start);
    return 0;
}

static bool is_same_key(const char *a, const char *b)
{
    uint32_t ca, cb;
    do {
        ca = next_char(&a);
        cb = next_char(&b);
    } while (ca == cb && ca != 0);
    return ca == cb;
}

/* Linear among one object's keys, of which there are at most JSON_MAX_MEMBERS; nearly always it compares
 * hashes only. */
static int remember_key(struct scan *s, struct frame *f, uint32_t hash)
{
    if (s->is_foreign) {
        f->count++;
        return 0;
    }
    const char *key = s->bytes + f->key;
    const struct seen_key *keys = s->keys + f->first_key;
    for (uint32_t i = 0; i < f->count; i++)
        if (keys[i].hash == hash && is_same_key(s->bytes + keys[i].at, key)) {
            s->at = f->key - 1;
            return fault(s, "duplicate key");
        }
    if (f->count == JSON_MAX_MEMBERS) {
        s->at = f->key - 1;
        return fault(s, "more than %d members in one object", JSON_MAX_MEMBERS);
    }
    s->keys[s->key_count++] = (struct seen_key){.hash = hash, .at = f->key};
    f->count++;
    return 0;
}

static int scan_key(struct scan *s)
{
    struct frame *f = top(s);
    if (peek(s) != '"')
        return unexpected(s, s->expect == EXPECT_FIRST_KEY ? "a key or '}'" : "a key");
    size_t key = ++s->at;
    uint32_t hash;
    if (scan_key_text(s, &hash) != 0)
        return -1;
    f->key = (uint32_t)key;
    f->key_len = (uint32_t)(s->at - 1 - key);
    f->inside = true;
    if (remember_key(s, f, hash) != 0)
        return -1;
    skip_space(s);
    if (peek(s) != ':')
        return unexpected(s, "':'");
    s->at++;
    s->expect = EXPECT_VALUE;
    return 0;
}

/* --- values -------------------------------------------------------------------------------------------- */

static bool is_finite_number(const char *number)
{
    return isfinite(strtod(number, NULL));
}

/* PostgreSQL's numeric holds less than the grammar allows: what one reader takes and another refuses would be
 * accepted and then never settled. */
static bool has_sound_exponent(const char *number)
{
    const char *exponent = strpbrk(number, "eE");
    long power = exponent == NULL ? 0 : strtol(exponent + 1, NULL, 10);
    return power >= -JSON_MAX_EXPONENT && power <= JSON_MAX_EXPONENT;
}

static int check_exponent(struct scan *s, size_t len)
{
    char number[JSON_MAX_NUMBER + 1];
    memcpy(number, s->bytes + s->at, len);
    number[len] = '\0';
    if (!is_finite_number(number))
        return fault(s, "a number too large for a double");
    if (!has_sound_exponent(number))
        return fault(s, "a number whose exponent is beyond %d", JSON_MAX_EXPONENT);
    return 0;
}

static int scan_number(struct scan *s)
{
    size_t start = s->at;
    bool has_exponent = false;
    s->at += peek(s) == '-';
    if (peek(s) == '0')
        s->at++;
    else if (!skip_digits(s))
        return unexpected(s, "a digit");
    if (peek(s) == '.') {
        s->at++;
        if (!skip_digits(s))
            return unexpected(s, "a digit");
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        has_exponent = true;
        s->at++;
        s->at += peek(s) == '+' || peek(s) == '-';
        if (!skip_digits(s))
            return unexpected(s, "a digit");
    }
    size_t len = s->at - start;
    s->at = start; /* faults name where the number begins */
    if (len > JSON_MAX_NUMBER)
        return fault(s, "a number of more than %d characters", JSON_MAX_NUMBER);
    if (has_exponent && check_exponent(s, len) != 0)
        return -1;
    s->at += len;
    end_value(s);
    return 0;
}

static int scan_literal(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->bytes + s->at, word, n) != 0)
        return unexpected(s, "a value");
    s->at += n;
    end_value(s);
    return 0;
}

static int scan_value(struct scan *s)
{
    if (s->is_foreign && ++s->value_count > JSON_FOREIGN_VALUES)
        return fault(s, "more than %d values", JSON_FOREIGN_VALUES);
    if (s->depth > 0 && !top(s)->is_object) {
        top(s)->count++;
        top(s)->inside = true;
    }
    switch (peek(s)) {
    case '{':
        return open_container(s, true);
    case '[':
        return open_container(s, false);
    case '"':
        s->at++;
        if (scan_string(s) != 0)
            return -1;
        end_value(s);
        return 0;
    case 't':
        return scan_literal(s, "true");
    case 'f':
        return scan_literal(s, "false");
    case 'n':
        return scan_literal(s, "null");
    case '-':
    case '0' ... '9':
        return scan_number(s);
    default:
        return unexpected(s, "a value");
    }
}

static int scan_separator(struct scan *s)
{
    bool is_object = top(s)->is_object;
    if (peek(s) == ',') {
        s->at++;
        s->expect = is_object ? EXPECT_KEY : EXPECT_VALUE;
        return 0;
    }
    if (peek(s) != (is_object ? '}' : ']'))
        return unexpected(s, is_object ? "',' or '}'" : "',' or ']'");
    close_container(s);
    return 0;
}

static int scan_step(struct scan *s)
{
    switch (s->expect) {
    case EXPECT_FIRST_ITEM:
        if (peek(s) == ']') {
            close_container(s);
            return 0;
        }
        return scan_value(s);
    case EXPECT_VALUE:
        return scan_value(s);
    case EXPECT_FIRST_KEY:
        if (peek(s) == '}') {
            close_container(s);
            return 0;
        }
        return scan_key(s);
    case EXPECT_KEY:
        return scan_key(s);
    case EXPECT_SEPARATOR:
        return scan_separator(s);
    case EXPECT_END:
        break;
    }
    return s->at == s->len ? 0 : unexpected(s, "nothing more");
}

static int scan_text(struct scan *s, size_t max_bytes)
{
    bool at_end;

    s->expect = EXPECT_VALUE;
    if (s->len > max_bytes) {
        s->at = max_bytes;
        return fault(s, "more than %zu bytes", max_bytes);
    }
    if (s->len >= 3 && memcmp(s->bytes, "\xef\xbb\xbf", 3) == 0)
        return fault(s, "a byte order mark");
    do {
        at_end = s->expect == EXPECT_END;
        skip_space(s);
        if (scan_step(s) != 0)
            return -1;
    } while (!at_end);
    return 0;
}

int json_scan_nested(const char *bytes, size_t len, size_t levels, struct err *e)
{
    /* Uninitialised on purpose: only what is used is touched. */
    struct seen_key keys[JSON_MAX_DEPTH * JSON_MAX_MEMBERS];
    struct frame frames[JSON_MAX_DEPTH];
    struct scan s = {.bytes = bytes, .len = len, .frames = frames, .keys = keys, .e = e};

    s.max_depth = JSON_MAX_DEPTH - levels;
    return scan_text(&s, JSON_MAX_BYTES);
}

int json_scan_foreign(const char *bytes, size_t len, struct err *e)
{
    struct frame frames[JSON_MAX_DEPTH]; /* uninitialised as well */
    struct scan s = {.bytes = bytes, .len = len, .frames = frames, .is_foreign = true, .e = e};

    s.max_depth = JSON_MAX_DEPTH;
    return scan_text(&s, JSON_FOREIGN_BYTES);
}

int json_scan(const char *bytes, size_t len, struct err *e)
{
    return json_scan_nested(bytes, len, 0, e);
}
