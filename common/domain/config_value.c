/* One value: checked against its row of the table, stored, compared, printed, wiped. Knows no source of
 * values. */
#include "domain/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

static void *value_at(const struct config_option *o, void *base)
{
    return (char *)base + o->offset;
}

static const void *const_value_at(const struct config_option *o, const void *base)
{
    return (const char *)base + o->offset;
}

static size_t *count_at(const struct config_option *o, void *base)
{
    return (size_t *)((char *)base + o->count_offset);
}

static size_t count_of(const struct config_option *o, const void *base)
{
    return *(const size_t *)((const char *)base + o->count_offset);
}

static const char *string_of(const struct config_option *o, const void *base)
{
    return *(const char *const *)const_value_at(o, base);
}

/* Integers and enums are int64_t, int or an enum in the struct; a row knows the size. */
static void store_int(const struct config_option *o, void *base, int64_t value)
{
    int narrow = (int)value;
    if (o->size == sizeof narrow)
        memcpy(value_at(o, base), &narrow, sizeof narrow);
    else
        memcpy(value_at(o, base), &value, sizeof value);
}

static int64_t int_of(const struct config_option *o, const void *base)
{
    int narrow;
    int64_t wide;
    if (o->size == sizeof narrow) {
        memcpy(&narrow, const_value_at(o, base), sizeof narrow);
        return narrow;
    }
    memcpy(&wide, const_value_at(o, base), sizeof wide);
    return wide;
}

const char *config_text(struct config_loader *l, const char *fmt, ...)
{
    char text[4608]; /* a path and a little more */
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return arena_strdup(l->store->arena, text);
}

int config_fault(struct config_loader *l, const struct config_slot *s, const char *found)
{
    char expected[CONFIG_EXPECTED_SIZE];
    config_expected(s->option, expected);
    if (s->option->secret)
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected %s", s->where, s->name, expected);
    return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected %s, found %s", s->where, s->name, expected,
                   found);
}

static int fault_quoted(struct config_loader *l, const struct config_slot *s, const char *text)
{
    char found[128];
    (void)snprintf(found, sizeof found, "\"%.100s\"", text);
    return config_fault(l, s, found);
}

/* Remembers where the value came from, for the faults that concern more than one option. */
static int stored(struct config_loader *l, const struct config_slot *s)
{
    if (s->base == &l->store->config)
        l->where[s->option - config_options] = s->where;
    return 0;
}

/* What may go into a header, a log line or JSON. A password may be any bytes above the control characters. */
static bool is_clean(const struct config_option *o, const char *text)
{
    size_t len;
    for (const char *p = text; *p; p += len) {
        bool is_blank = *p == '\n' || *p == '\t';
        len = o->secret ? 1 : utf8_length(p, strlen(p));
        if (len == 0 || (iscntrl((unsigned char)*p) && !(is_blank && o->multiline)))
            return false;
    }
    return true;
}

int config_put_string(struct config_loader *l, const struct config_slot *s, const char *text)
{
    const struct config_option *o = s->option;
    int64_t len = (int64_t)strlen(text);
    if (len < o->min || len > o->max)
        return fault_quoted(l, s, text);
    if (!is_clean(o, text))
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected UTF-8 text without control characters",
                       s->where, s->name);
    config_wipe(o, s->base);
    *(const char **)value_at(o, s->base) = arena_strdup(l->store->arena, text);
    return stored(l, s);
}

int config_put_int(struct config_loader *l, const struct config_slot *s, int64_t value)
{
    if (value < s->option->min || value > s->option->max) {
        char found[32];
        (void)snprintf(found, sizeof found, "%" PRId64, value);
        return config_fault(l, s, found);
    }
    store_int(s->option, s->base, value);
    return stored(l, s);
}

int config_put_real(struct config_loader *l, const struct config_slot *s, double value)
{
    if (!isfinite(value) || value < (double)s->option->min || value > (double)s->option->max) {
        char found[32];
        (void)snprintf(found, sizeof found, "%g", value);
        return config_fault(l, s, found);
    }
    *(double *)value_at(s->option, s->base) = value;
    return stored(l, s);
}

int config_put_bool(struct config_loader *l, const struct config_slot *s, bool value)
{
    *(bool *)value_at(s->option, s->base) = value;
    return stored(l, s);
}

int config_put_strings(struct config_loader *l, const struct config_slot *s, const char *const *items,
                       size_t count)
{
    const struct config_option *o = s->option;
    if (count < (size_t)o->min || count > (size_t)o->max) {
        char found[32];
        (void)snprintf(found, sizeof found, "%zu", count);
        return config_fault(l, s, found);
    }
    const char **list = value_at(o, s->base);
    for (size_t i = 0; i < count; i++) {
        if (!*items[i] || strlen(items[i]) > 255 || !is_clean(o, items[i]))
            return err_set(l->err, ERR_CONFIG, 0,
                           "%s: %s: expected strings of 1..255 printable bytes, found \"%.100s\"", s->where,
                           s->name, items[i]);
        list[i] = arena_strdup(l->store->arena, items[i]);
    }
    *count_at(o, s->base) = count;
    return stored(l, s);
}

static int put_word(struct config_loader *l, const struct config_slot *s, const char *text)
{
    for (int i = 0; s->option->words[i]; i++) {
        if (strcmp(text, s->option->words[i]) == 0) {
            store_int(s->option, s->base, s->option->min + i);
            return stored(l, s);
        }
    }
    return fault_quoted(l, s, text);
}

bool config_parse_int(const char *text, int64_t *value)
{
    const char *digits = text + (*text == '-');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    *value = strtoll(text, NULL, 10);
    return errno == 0;
}

static bool parse_real(const char *text, double *value)
{
    if (!*text || text[strspn(text, "0123456789.eE+-")])
        return false;
    char *end;
    *value = strtod(text, &end);
    return *end == '\0';
}

static bool parse_bool(const char *text, bool *value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
                 {"false", false}, {"no", false}, {"off", false}, {"0", false}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

/* "a, b,c" */
static int put_comma_list(struct config_loader *l, const struct config_slot *s, const char *text)
{
    const char *items[CONFIG_MAX_WORKSPACES + 1];
    size_t count = 0;
    const char *p = text + strspn(text, " ");
    while (*p && count < sizeof items / sizeof *items) {
        size_t len = strcspn(p, ",");
        size_t kept = len;
        while (kept > 0 && p[kept - 1] == ' ')
            kept--;
        items[count++] = arena_dup(l->store->arena, p, kept);
        p += len + (p[len] == ',');
        p += strspn(p, " ");
    }
    return config_put_strings(l, s, items, count);
}

int config_put_text(struct config_loader *l, const struct config_slot *s, const char *text)
{
    int64_t integer;
    double real;
    bool flag;
    switch (s->option->type) {
    case CONFIG_STRING:
        return config_put_string(l, s, text);
    case CONFIG_STRINGS:
        return put_comma_list(l, s, text);
    case CONFIG_WORD:
        return put_word(l, s, text);
    case CONFIG_INT:
        return config_parse_int(text, &integer) ? config_put_int(l, s, integer) : fault_quoted(l, s, text);
    case CONFIG_REAL:
        return parse_real(text, &real) ? config_put_real(l, s, real) : fault_quoted(l, s, text);
    case CONFIG_BOOL:
        return parse_bool(text, &flag) ? config_put_bool(l, s, flag) : fault_quoted(l, s, text);
    }
    return err_set(l->err, ERR_BUG, 0, "option %s has no type", s->name);
}

int config_put_fallback(struct config_loader *l, const struct config_option *o, void *base)
{
    if (!o->fallback)
        return 0;
    return config_put_text(
        l, &(struct config_slot){.option = o, .base = base, .where = "default", .name = o->name},
        o->fallback);
}

/* Reads at most size - 1 bytes; the length, or -1 and errno. */
static ssize_t read_small_file(const char *path, char *text, size_t size, mode_t *mode)
{
    ssize_t len = -1;
    /* Not blocking, so that a FIFO given by mistake is refused instead of waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    struct stat st;
    if (fstat(fd, &st) < 0)
        goto out;
    errno = EINVAL;
    if (!S_ISREG(st.st_mode))
        goto out;
    errno = EFBIG;
    if (st.st_size >= (off_t)size)
        goto out;
    *mode = st.st_mode;
    len = read(fd, text, size - 1);
    if (len >= 0)
        text[len] = '\0';
out:;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return len;
}

void config_note_secret_file(struct config_loader *l, const char *path, bool is_exposed)
{
    struct config *c = &l->store->config;
    if (c->secret_file_count == CONFIG_MAX_SECRET_FILES)
        return;
    c->secret_files[c->secret_file_count].path = arena_strdup(l->store->arena, path);
    c->secret_files[c->secret_file_count++].is_exposed = is_exposed;
}

int config_put_secret_file(struct config_loader *l, const struct config_slot *s, const char *path)
{
    char text[CONFIG_MAX_SECRET + 3];
    mode_t mode = 0;
    int rc;
    ssize_t len = read_small_file(path, text, sizeof text, &mode);
    if (len < 0)
        return err_set(l->err, ERR_CONFIG, errno, "%s: %s: cannot read the secret from %s: %s", s->where,
                       s->name, path, strerror(errno));
    if (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    if (len > 0 && text[len - 1] == '\r')
        text[--len] = '\0';
    if (len == 0 || strlen(text) != (size_t)len)
        rc = err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected a line of text in %s, found %s", s->where,
                     s->name, path, len == 0 ? "nothing" : "a NUL byte");
    else
        rc = config_put_string(l, s, text);
    explicit_bzero(text, sizeof text);
    if (rc == 0)
        config_note_secret_file(l, path, (mode & 077) != 0);
    if (rc == 0 && (mode & 077) != 0)
        log_warn("secret file is readable by others", log_str("option", s->name), log_str("path", path));
    return rc;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool config_is_equal(const struct config_option *o, const void *base_a, const void *base_b)
{
    switch (o->type) {
    case CONFIG_STRING:
        return is_same_text(string_of(o, base_a), string_of(o, base_b));
    case CONFIG_INT:
    case CONFIG_BOOL:
    case CONFIG_REAL:
    case CONFIG_WORD:
        return memcmp(const_value_at(o, base_a), const_value_at(o, base_b), o->size) == 0;
    case CONFIG_STRINGS:
        break;
    }
    const char *const *a = const_value_at(o, base_a);
    const char *const *b = const_value_at(o, base_b);
    size_t count = count_of(o, base_a);
    bool equal = count == count_of(o, base_b);
    for (size_t i = 0; equal && i < count; i++)
        equal = is_same_text(a[i], b[i]);
    return equal;
}

void config_wipe(const struct config_option *o, void *base)
{
    if (!o->secret)
        return;
    /* The bytes are the arena's own, const only for the readers of the config. */
    char *text = *(char **)value_at(o, base);
    if (text)
        explicit_bzero(text, strlen(text));
}

void config_print_string(const char *text, struct buf *out)
{
    buf_add_char(out, '"');
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if (*p == '\n' || *p == '\t')
            buf_add_str(out, *p == '\n' ? "\\n" : "\\t");
        else
            buf_add_char(out, *p);
    }
    buf_add_char(out, '"');
}

static void print_strings(const struct config_option *o, const void *base, struct buf *out)
{
    const char *const *items = const_value_at(o, base);
    buf_add_char(out, '[');
    for (size_t i = 0; i < count_of(o, base); i++) {
        buf_add_str(out, i ? ", " : "");
        config_print_string(items[i], out);
    }
    buf_add_char(out, ']');
}

void config_print_value(const struct config_option *o, const void *base, struct buf *out)
{
    const char *text;
    switch (o->type) {
    case CONFIG_STRING:
        text = string_of(o, base);
        config_print_string(o->secret && text && *text ? "***" : text ? text : "", out);
        break;
    case CONFIG_INT:
        buf_printf(out, "%" PRId64, int_of(o, base));
        break;
    case CONFIG_REAL:
        buf_printf(out, "%.15g", *(const double *)const_value_at(o, base));
        break;
    case CONFIG_BOOL:
        buf_add_str(out, *(const bool *)const_value_at(o, base) ? "true" : "false");
        break;
    case CONFIG_WORD:
        config_print_string(o->words[int_of(o, base) - o->min], out);
        break;
    case CONFIG_STRINGS:
        print_strings(o, base, out);
        break;
    }
}
