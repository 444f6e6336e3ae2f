/* The error value. Knows nothing of what failed; only keeps its text to one printable line. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* A cut must not leave half a UTF-8 character behind: the length without an unfinished one at the end of
 * text[0..len). */
static size_t whole_characters(const char *text, size_t len)
{
    size_t last = len;
    while (last > 0 && len - last < 4) {
        last--;
        if (((unsigned char)text[last] & 0xc0) != 0x80)
            break;
    }
    return last + utf8_length(text + last, len - last);
}

/* Makes e->text one line of `len` bytes, or of what fits. */
static void store_line(struct err *e, const char *text, size_t len)
{
    if (len > sizeof e->text - 1)
        len = whole_characters(text, sizeof e->text - 1);
    memcpy(e->text, text, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            e->text[i] = ' ';
    e->text[len] = '\0';
}

/* Twice the size of e->text, so that a cut is made in one place only: store_line. */
enum { SCRATCH_BYTES = 2 * sizeof((struct err *)0)->text };

/* The length of what vsnprintf left in the scratch space. */
static size_t kept(int formatted)
{
    if (formatted < 0)
        return 0;
    return formatted < SCRATCH_BYTES ? (size_t)formatted : SCRATCH_BYTES - 1;
}

int err_set(struct err *e, enum err_class class, int code, const char *fmt, ...)
{
    if (!e)
        return -1;
    char text[SCRATCH_BYTES]; /* the arguments may point into e->text */
    va_list args;
    va_start(args, fmt);
    size_t len = kept(vsnprintf(text, sizeof text, fmt, args));
    va_end(args);

    e->class = class;
    e->code = code;
    store_line(e, text, len);
    return -1;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -1;
    char text[SCRATCH_BYTES];
    va_list args;
    va_start(args, fmt);
    size_t len = kept(vsnprintf(text, sizeof text, fmt, args));
    va_end(args);

    const char *parts[] = {": ", e->text};
    for (size_t i = 0; i < 2; i++) {
        size_t room = sizeof text - len;
        size_t part = strnlen(parts[i], room);
        memcpy(text + len, parts[i], part);
        len += part;
    }
    store_line(e, text, len);
    return -1;
}

int err_exit_status(const struct err *e)
{
    switch (e ? e->class : ERR_NONE) {
    case ERR_NONE:
        return 0;
    case ERR_USAGE:
        return 64;
    case ERR_UNAVAILABLE:
        return 69;
    case ERR_BUG:
        return 70;
    case ERR_TEMPORARY:
        return 75;
    case ERR_CONFIG:
        return 78;
    case ERR_DATA:
        return 1;
    }
    return 70;
}

const char *err_class_name(enum err_class class)
{
    switch (class) {
    case ERR_NONE:
        return "none";
    case ERR_USAGE:
        return "usage";
    case ERR_UNAVAILABLE:
        return "unavailable";
    case ERR_BUG:
        return "bug";
    case ERR_TEMPORARY:
        return "temporary";
    case ERR_CONFIG:
        return "config";
    case ERR_DATA:
        return "data";
    }
    return "unknown";
}
