#include "base/utf8.h"

#include <string.h>

size_t utf8_length(const char *bytes, size_t left)
{
    const unsigned char *p = (const unsigned char *)bytes;
    if (left == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    /* The second byte's range keeps out overlong forms (e0, f0), surrogates (ed) and what is too large (f4).
     */
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static bool is_ascii_8(const char *bytes)
{
    uint64_t v;
    memcpy(&v, bytes, sizeof v);
    return (v & UINT64_C(0x8080808080808080)) == 0;
}

bool is_utf8(const char *bytes, size_t len)
{
    size_t n;
    for (size_t at = 0; at < len; at += n) {
        bool is_ascii = len - at >= 8 && is_ascii_8(bytes + at);
        n = is_ascii ? 8 : utf8_length(bytes + at, len - at);
        if (n == 0)
            return false;
    }
    return true;
}

uint32_t utf8_next(const char **p)
{
    const unsigned char *s = (const unsigned char *)*p;
    if (s[0] == 0)
        return 0;
    if (s[0] < 0x80) {
        *p += 1;
        return s[0];
    }
    if (s[0] < 0xe0) {
        *p += 2;
        return (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    }
    if (s[0] < 0xf0) {
        *p += 3;
        return (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    }
    *p += 4;
    return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 | (uint32_t)(s[2] & 0x3f) << 6 |
           (s[3] & 0x3f);
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t utf8_count(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += !is_continuation(*text);
    return count;
}

size_t utf8_prefix(const char *text, size_t max_chars)
{
    size_t bytes = 0;
    for (size_t count = 0; text[bytes] != '\0'; bytes++) {
        if (is_continuation(text[bytes]))
            continue;
        if (count == max_chars)
            break;
        count++;
    }
    return bytes;
}

bool utf8_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000 || c == 0xfeff;
}

bool utf8_is_blank(const char *text)
{
    for (uint32_t c = utf8_next(&text); c != 0; c = utf8_next(&text))
        if (!utf8_is_space(c))
            return false;
    return true;
}
