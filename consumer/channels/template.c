/* Templates: the options, and the parameter. Meta refuses a parameter with line breaks, tabs or more than
 * four spaces in a row. */
#include "consumer/channels/template.h"

#include <string.h>

#include "base/grapheme.h"
#include "base/utf8.h"

enum { PARAMETER_MAX = 1024 };

#define MORE "\xe2\x80\xa6" /* an ellipsis */

int template_check_flag(const struct config_account *a, const char *name, struct err *e)
{
    const char *value = config_account_option(a, name, "true");

    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return err_set(e, ERR_CONFIG, 0, "options.%s: expected true or false", name);
    return 0;
}

/* en, en_US, zh_CN, fil */
static bool is_language(const char *s)
{
    size_t letters = strspn(s, "abcdefghijklmnopqrstuvwxyz"), region;

    if (letters < 2 || letters > 3)
        return false;
    region = s[letters] == '_' ? strspn(s + letters + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;
    return region == 2 ? s[letters + 3] == '\0' : s[letters] == '\0';
}

int template_check(const struct config_account *a, bool (*is_name)(const char *name), const char *expected,
                   struct err *e)
{
    const char *name = template_name(a);

    if (!name && (config_account_option(a, "template_language", NULL) ||
                  config_account_option(a, "template_text", NULL)))
        return err_set(e, ERR_CONFIG, 0, "options.template: missing beside its other options");
    if (name && !is_name(name))
        return err_set(e, ERR_CONFIG, 0, "options.template: expected %s", expected);
    if (!is_language(template_language(a)))
        return err_set(e, ERR_CONFIG, 0, "options.template_language: expected a language as en_US");
    return template_check_flag(a, "template_text", e);
}

const char *template_name(const struct config_account *a)
{
    return config_account_option(a, "template", NULL);
}

const char *template_language(const struct config_account *a)
{
    return config_account_option(a, "template_language", "en_US");
}

/* The text with every row of white space as one space, and none at its ends. */
static void add_line(struct buf *out, const char *text)
{
    bool space = false;

    for (const char *p = text, *at = p; utf8_next(&p); at = p) {
        const char *from = at;
        if (utf8_is_space(utf8_next(&from))) {
            space = out->len > 0;
            continue;
        }
        if (space)
            buf_add_char(out, ' ');
        space = false;
        buf_add(out, at, (size_t)(p - at));
    }
}

/* Bytes of as many whole characters as take no more than `units` UTF-16 code units. */
static size_t prefix_of(const char *text, size_t units)
{
    size_t used = 0, bytes = 0, cluster;

    while ((cluster = grapheme_length(text + bytes)) > 0) {
        for (const char *p = text + bytes; p < text + bytes + cluster;)
            used += utf8_next(&p) > 0xffff ? 2 : 1;
        if (used > units)
            break;
        bytes += cluster;
    }
    return bytes;
}

int template_text(const struct channel_send *s, struct buf *out, struct err *e)
{
    const char *text = s->reply->text ? s->reply->text : s->part->text;
    struct buf line;

    if (strcmp(config_account_option(s->account, "template_text", "false"), "true") != 0)
        return 0;
    if (!text)
        return err_set(e, ERR_DATA, 0, "the template wants a text, and the reply has none");
    buf_init(&line, CHANNEL_BODY_MAX);
    add_line(&line, text);
    text = buf_str(&line);
    if (text && prefix_of(text, PARAMETER_MAX) == line.len) {
        buf_add_str(out, text);
    } else if (text) {
        buf_add(out, text, prefix_of(text, PARAMETER_MAX - 1));
        buf_add_str(out, MORE);
    }
    buf_fini(&line);
    return 1;
}
