/* The configuration file: libconfig's tree walked against the table of options. The only file that includes
 * libconfig.h; it knows the file's grammar and where each setting stands, and leaves types and ranges of
 * values to config_value.c. */
#include "domain/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

enum { FILE_MAX_BYTES = 1 << 20 };

/* "agwb.cfg:12" */
static const char *where_is(struct config_loader *l, const config_setting_t *s)
{
    return config_text(l, "%s:%u", l->source->file, config_setting_source_line(s));
}

static const char *found_in(struct config_loader *l, const config_setting_t *s)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_GROUP:
        return "a group { }";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return config_text(l, "%lld", config_setting_get_int64(s));
    case CONFIG_TYPE_FLOAT:
        return config_text(l, "%#g", config_setting_get_float(s));
    case CONFIG_TYPE_STRING:
        return config_text(l, "\"%.100s\"", config_setting_get_string(s));
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(s) ? "true" : "false";
    default: /* libconfig's types are plain ints */
        return "a list";
    }
}

static int unknown_option(struct config_loader *l, const config_setting_t *s, const char *name,
                          const struct config_suggestion *near)
{
    return err_set(l->err, ERR_CONFIG, 0, "%s: %s: unknown option%s%s%s", where_is(l, s), name,
                   *near->best ? ", did you mean " : "", near->best, *near->best ? "?" : "");
}

/* --- values --- */
static bool is_integer(const config_setting_t *s)
{
    return config_setting_type(s) == CONFIG_TYPE_INT || config_setting_type(s) == CONFIG_TYPE_INT64;
}

static int put_list(struct config_loader *l, const struct config_slot *slot, const config_setting_t *s)
{
    const char *items[CONFIG_MAX_WORKSPACES + 1];
    int count = config_setting_length(s);
    for (int i = 0; i < count && i <= CONFIG_MAX_WORKSPACES; i++) {
        items[i] = config_setting_get_string_elem(s, i);
        if (!items[i])
            return config_fault(l, slot, "another type in the list");
    }
    return config_put_strings(l, slot, items, (size_t)count);
}

static int put_setting(struct config_loader *l, const struct config_slot *slot, const config_setting_t *s)
{
    int type = config_setting_type(s);
    switch (slot->option->type) {
    case CONFIG_STRING:
    case CONFIG_WORD:
        if (type != CONFIG_TYPE_STRING)
            break;
        l->file_has_secret |= slot->option->secret && *config_setting_get_string(s);
        return config_put_text(l, slot, config_setting_get_string(s));
    case CONFIG_INT:
        if (!is_integer(s))
            break;
        return config_put_int(l, slot, config_setting_get_int64(s));
    case CONFIG_REAL:
        if (is_integer(s))
            return config_put_real(l, slot, (double)config_setting_get_int64(s));
        if (type != CONFIG_TYPE_FLOAT)
            break;
        return config_put_real(l, slot, config_setting_get_float(s));
    case CONFIG_BOOL:
        if (type != CONFIG_TYPE_BOOL)
            break;
        return config_put_bool(l, slot, config_setting_get_bool(s) != 0);
    case CONFIG_STRINGS:
        if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST)
            break;
        return put_list(l, slot, s);
    }
    return config_fault(l, slot, found_in(l, s));
}

/* --- accounts --- */
static int walk_account_options(struct config_loader *l, struct config_account *a,
                                const config_setting_t *group)
{
    if (!config_setting_is_group(group))
        return err_set(l->err, ERR_CONFIG, 0, "%s: options: expected a group { }, found %s",
                       where_is(l, group), found_in(l, group));
    for (unsigned i = 0; i < (unsigned)config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, i);
        const char *text = config_setting_get_string(s);
        if (config_setting_is_aggregate(s))
            return err_set(l->err, ERR_CONFIG, 0,
                           "%s: options.%s: expected a string, number or boolean, found %s", where_is(l, s),
                           config_setting_name(s), found_in(l, s));
        if (!text && config_setting_type(s) == CONFIG_TYPE_FLOAT)
            text = config_text(l, "%.15g", config_setting_get_float(s));
        if (config_account_put_option(l, a, config_setting_name(s), text ? text : found_in(l, s)) < 0)
            return err_prefix(l->err, "%s: options.%s", where_is(l, s), config_setting_name(s));
    }
    return 0;
}

/* A secret and its file fill the same member, so a second one finds it filled. */
static int put_account_secret(struct config_loader *l, const struct config_slot *slot,
                              const config_setting_t *s, bool is_file)
{
    const char *row = slot->option->name;
    const char *const *member = (const char *const *)((const char *)slot->base + slot->option->offset);
    if (*member)
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected %s or %s_file, found both", slot->where,
                       slot->name, row, row);
    if (!is_file)
        return put_setting(l, slot, s);
    if (config_setting_type(s) != CONFIG_TYPE_STRING)
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected the path of a file, found %s", slot->where,
                       slot->name, found_in(l, s));
    return config_put_secret_file(l, slot, config_setting_get_string(s));
}

/* "token" of "token_file": the secrets that may stand in a file of their own. NULL for every other key. */
static const char *secret_of_file_key(const char *key)
{
    return strcmp(key, "token_file") == 0            ? "token"
           : strcmp(key, "webhook_secret_file") == 0 ? "webhook_secret"
                                                     : NULL;
}

static int put_account_member(struct config_loader *l, struct config_account *a, const char *path,
                              const config_setting_t *s)
{
    const char *key = config_setting_name(s);
    const char *in_file = secret_of_file_key(key);
    const char *row = in_file ? in_file : key;
    struct config_slot slot = {
        .option = config_find(config_account_options, row, strlen(row)),
        .base = a,
        .where = where_is(l, s),
        .name = config_text(l, "%s.%s", path, key),
    };
    if (strcmp(key, "options") == 0)
        return walk_account_options(l, a, s);
    if (!slot.option) {
        struct config_suggestion near;
        config_suggest_begin(&near, key);
        for (const struct config_option *o = config_account_options; o->name; o++)
            config_suggest_offer(&near, o->name);
        config_suggest_offer(&near, "token_file");
        config_suggest_offer(&near, "webhook_secret_file");
        config_suggest_offer(&near, "options");
        return unknown_option(l, s, slot.name, &near);
    }
    if (strcmp(row, "token") == 0 || strcmp(row, "webhook_secret") == 0)
        return put_account_secret(l, &slot, s, in_file != NULL);
    return put_setting(l, &slot, s);
}

static int walk_accounts(struct config_loader *l, const config_setting_t *list)
{
    if (!config_setting_is_list(list))
        return err_set(l->err, ERR_CONFIG, 0, "%s: channels.accounts: expected a list ( { }, ... ), found %s",
                       where_is(l, list), found_in(l, list));
    for (unsigned i = 0; i < (unsigned)config_setting_length(list); i++) {
        const config_setting_t *group = config_setting_get_elem(list, i);
        const char *path = config_text(l, "channels.accounts[%u]", i);
        if (!config_setting_is_group(group))
            return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected a group { }, found %s",
                           where_is(l, group), path, found_in(l, group));
        struct config_account *a = config_account_add(l, where_is(l, group));
        if (!a)
            return -1;
        for (unsigned j = 0; j < (unsigned)config_setting_length(group); j++) {
            if (put_account_member(l, a, path, config_setting_get_elem(group, j)) < 0)
                return -1;
        }
        if (config_account_check(l, i) < 0)
            return -1;
    }
    return 0;
}

/* --- groups --- */
/* NOLINTBEGIN(misc-no-recursion): only into names that the table knows as groups, so its depth is the table's
 */
static int walk_group(struct config_loader *l, const config_setting_t *group, const char *path);

static int walk_setting(struct config_loader *l, const config_setting_t *s, const char *name)
{
    const struct config_option *o = config_find(config_options, name, strlen(name));
    struct config_slot slot = {.option = o, .base = &l->store->config, .where = where_is(l, s), .name = name};
    if (o)
        return put_setting(l, &slot, s);
    if (strcmp(name, "channels.accounts") == 0)
        return walk_accounts(l, s);
    if (config_is_group(name) || strcmp(name, "channels") == 0) {
        if (config_setting_is_group(s))
            return walk_group(l, s, name);
        return err_set(l->err, ERR_CONFIG, 0, "%s: %s: expected a group { }, found %s", slot.where, name,
                       found_in(l, s));
    }
    struct config_suggestion near;
    config_suggest_begin(&near, name);
    for (o = config_options; o->name; o++) {
        config_suggest_offer(&near, o->name);
        if (!strchr(name, '.'))
            config_suggest_offer(&near, config_text(l, "%.*s", (int)strcspn(o->name, "."), o->name));
    }
    config_suggest_offer(&near, "channels");
    config_suggest_offer(&near, "channels.accounts");
    return unknown_option(l, s, name, &near);
}

static int walk_group(struct config_loader *l, const config_setting_t *group, const char *path)
{
    for (unsigned i = 0; i < (unsigned)config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, i);
        const char *name = config_text(l, "%s%s%s", path, *path ? "." : "", config_setting_name(s));
        if (walk_setting(l, s, name) < 0)
            return -1;
    }
    return 0;
}

/* NOLINTEND(misc-no-recursion) */

/* --- the text --- */
/* libconfig 1.5 cuts a plain integer to 32 bits without a word (4294967896 becomes 600), and reads a comment
 * without an end as the end of the file. A scan of the raw text catches both; everything else is the
 * parser's. */
struct scan {
    const char *p;
    unsigned line;
};

/* False when the comment has no end. */
static bool scan_comment(struct scan *s)
{
    const char *end = strstr(s->p + 2, "*/");
    const char *stop = end ? end + 2 : s->p + strlen(s->p);
    for (; s->p < stop; s->p++)
        s->line += *s->p == '\n';
    return end != NULL;
}

static void scan_string(struct scan *s)
{
    for (s->p++; *s->p && *s->p != '"'; s->p++) {
        s->line += *s->p == '\n';
        if (*s->p == '\\' && s->p[1])
            s->p++;
    }
    s->p += *s->p == '"';
}

/* False when the number at p is an integer that the parser would cut. */
static bool scan_number(struct scan *s)
{
    bool is_hex = s->p[0] == '0' && (s->p[1] == 'x' || s->p[1] == 'X');
    char *end;
    errno = 0;
    long long value = strtoll(s->p, &end, is_hex ? 16 : 10);
    bool is_long = *end == 'L';
    bool is_real = !is_hex && *end && strchr(".eE", *end);
    s->p = end;
    s->p += strspn(s->p, is_real ? "0123456789.eE+-" : "L");
    return is_real || (errno == 0 && (is_long || value <= INT32_MAX));
}

/* Steps over one token. NULL, or what should stand there when it is one that the parser would misread. */
static const char *scan_token(struct scan *s)
{
    static const char name[] = "0123456789_-*abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if (*s->p >= '0' && *s->p <= '9')
        return scan_number(s) ? NULL : "an integer up to 2147483647";
    if (strncmp(s->p, "/*", 2) == 0)
        return scan_comment(s) ? NULL : "an end of this comment";
    if (*s->p == '"')
        scan_string(s);
    else if (*s->p == '#' || strncmp(s->p, "//", 2) == 0)
        s->p += strcspn(s->p, "\n");
    else if (isalpha((unsigned char)*s->p) || *s->p == '*')
        s->p += strspn(s->p, name);
    else
        s->line += *s->p++ == '\n';
    return NULL;
}

static int scan_text(struct config_loader *l, const char *text)
{
    struct scan s = {.p = text, .line = 1};
    while (*s.p) {
        struct scan start = s;
        const char *expected = scan_token(&s);
        if (expected)
            return err_set(l->err, ERR_CONFIG, 0, "%s:%u: expected %s, found %.*s", l->source->file,
                           start.line, expected, s.p - start.p < 40 ? (int)(s.p - start.p) : 40, start.p);
    }
    return 0;
}

static int parse_text(struct config_loader *l, const char *text)
{
    config_t tree;
    int rc = -1;
    config_init(&tree);
    /* One file is the whole configuration: a directory that cannot exist makes libconfig refuse every
     * @include. */
    config_set_include_dir(&tree, "/dev/null");
    if (config_read_string(&tree, text))
        rc = walk_group(l, config_root_setting(&tree), "");
    else
        (void)err_set(l->err, ERR_CONFIG, 0, "%s:%d: %s", l->source->file, config_error_line(&tree),
                      strcmp(config_error_text(&tree), "cannot open include file") == 0
                          ? "@include is not supported"
                          : config_error_text(&tree));
    config_destroy(&tree);
    return rc;
}

/* The file's bytes with a NUL behind them, or NULL and err. *fd is open for reading. */
static char *read_text(struct config_loader *l, int fd, const struct stat *st)
{
    const char *file = l->source->file;
    if (!S_ISREG(st->st_mode) || st->st_size > FILE_MAX_BYTES) {
        (void)err_set(l->err, ERR_CONFIG, 0, "%s: expected a regular file of at most %d bytes", file,
                      FILE_MAX_BYTES);
        return NULL;
    }
    size_t size = (size_t)st->st_size;
    char *text = xcalloc(size + 1, 1);
    ssize_t len = 0;
    for (size_t done = 0; done < size && len >= 0; done += (size_t)len) {
        len = read(fd, text + done, size - done);
        if (len == 0)
            break;
    }
    if (len < 0) {
        (void)err_set(l->err, ERR_CONFIG, errno, "%s: cannot read: %s", file, strerror(errno));
        free(text);
        return NULL;
    }
    if (strlen(text) != size) {
        (void)err_set(l->err, ERR_CONFIG, 0, "%s: expected text, found a NUL byte", file);
        free(text);
        return NULL;
    }
    return text;
}

int config_read_libconfig(struct config_loader *l)
{
    const struct config_source *source = l->source;
    if (!source->file)
        return 0;
    int fd = open(source->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && source->file_optional)
        return 0;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        (void)err_set(l->err, ERR_CONFIG, errno, "%s: cannot read: %s", source->file, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    int rc = -1;
    char *text = read_text(l, fd, &st);
    if (text && scan_text(l, text) == 0)
        rc = parse_text(l, text);
    if (rc == 0 && l->file_has_secret)
        config_note_secret_file(l, source->file, (st.st_mode & 07) != 0);
    if (rc == 0 && l->file_has_secret && (st.st_mode & 07) != 0)
        log_warn("configuration file holds secrets and is readable by everyone",
                 log_str("path", source->file));
    if (text)
        explicit_bzero(text, (size_t)st.st_size);
    free(text);
    (void)close(fd);
    return rc;
}
