#include "domain/message_shape.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Where the walk stands. The tables are a few levels deep and their keys are ours, so the path always fits.
 */
struct walk {
    char path[160];
    size_t len;
    struct err *e;
};

int word_index(const char *const *words, const char *text)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    return -1;
}

static int refuse_word(const struct text_rule *rule, const char *path, struct err *e)
{
    char list[160] = "";
    size_t len = 0;
    for (size_t i = 0; rule->words[i] != NULL && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i == 0 ? "" : ", ", rule->words[i]);
    return err_set(e, ERR_DATA, 0, "%s: expected one of %s", path, list);
}

int text_rule_check(const struct text_rule *rule, const char *path, const char *text, struct err *e)
{
    if (rule->max_chars > 0 && utf8_count(text) > rule->max_chars)
        return err_set(e, ERR_DATA, 0, "%s: expected at most %zu characters, found %zu", path,
                       rule->max_chars, utf8_count(text));
    if (rule->words != NULL && word_index(rule->words, text) < 0)
        return refuse_word(rule, path, e);
    if (rule->fits != NULL && !rule->fits(text))
        return err_set(e, ERR_DATA, 0, "%s: expected %s", path, rule->expected);
    return 0;
}

static int refuse_kind(const struct walk *w, const char *expected, const struct json_node *n)
{
    return err_set(w->e, ERR_DATA, 0, "%s: expected %s, found %s", w->path, expected,
                   json_kind_name(json_kind_of(n)));
}

static int check_value(struct walk *w, const struct shape *s, const struct json_node *n);

static size_t enter_member(struct walk *w, const char *key)
{
    size_t before = w->len;
    w->len += (size_t)snprintf(w->path + w->len, sizeof w->path - w->len, ".%s", key);
    return before;
}

static size_t enter_item(struct walk *w, size_t index)
{
    size_t before = w->len;
    w->len += (size_t)snprintf(w->path + w->len, sizeof w->path - w->len, "[%zu]", index);
    return before;
}

static void leave(struct walk *w, size_t before)
{
    w->len = before;
    w->path[before] = '\0';
}

/* NOLINTBEGIN(misc-no-recursion): the walk follows the tables, never the input */
static int check_member(struct walk *w, const struct shape *s, const struct json_node *n)
{
    enum json_kind kind = json_kind_of(n);
    if (kind != JSON_ABSENT && kind != JSON_NULL)
        return check_value(w, s, n);
    if (!s->required)
        return 0;
    return err_set(w->e, ERR_DATA, 0, "%s: %s", w->path,
                   kind == JSON_NULL ? "must not be null" : "is missing");
}

static int check_object(struct walk *w, const struct shape *s, const struct json_node *n)
{
    if (s->or_text != NULL && json_str(n) != NULL)
        return text_rule_check(s->or_text, w->path, json_str(n), w->e);
    if (json_kind_of(n) != JSON_OBJECT)
        return refuse_kind(w, s->or_text == NULL ? "object" : "object or string", n);
    for (size_t i = 0; i < s->member_count; i++) {
        const struct shape *member = &s->members[i];
        size_t before = enter_member(w, member->key);
        if (check_member(w, member, json_member(n, member->key)) != 0)
            return -1;
        leave(w, before);
    }
    return 0;
}

static int check_list(struct walk *w, const struct shape *s, const struct json_node *n)
{
    if (json_kind_of(n) != JSON_ARRAY)
        return refuse_kind(w, "array", n);
    if (s->max > 0 && json_count(n) > (size_t)s->max)
        return err_set(w->e, ERR_DATA, 0, "%s: expected at most %" PRId64 " items, found %zu", w->path,
                       s->max, json_count(n));
    size_t index = 0;
    for (const struct json_node *item = json_first(n); item != NULL; item = json_next(item)) {
        size_t before = enter_item(w, index++);
        if (check_value(w, s->item, item) != 0)
            return -1;
        leave(w, before);
    }
    return 0;
}

static int check_number(const struct walk *w, const struct shape *s, const struct json_node *n)
{
    int64_t whole;
    double real;
    if (!json_real(n, &real))
        return refuse_kind(w, "number", n);
    if (s->kind == SHAPE_REAL && real < (double)s->min)
        return err_set(w->e, ERR_DATA, 0, "%s: expected at least %" PRId64, w->path, s->min);
    if (s->kind == SHAPE_INTEGER && (!json_int(n, &whole) || whole < s->min || whole > s->max))
        return err_set(w->e, ERR_DATA, 0, "%s: expected an integer from %" PRId64 " to %" PRId64, w->path,
                       s->min, s->max);
    return 0;
}

static int check_value(struct walk *w, const struct shape *s, const struct json_node *n)
{
    switch (s->kind) {
    case SHAPE_TEXT:
        if (json_str(n) == NULL)
            return refuse_kind(w, "string", n);
        return text_rule_check(s->rule, w->path, json_str(n), w->e);
    case SHAPE_INTEGER:
    case SHAPE_REAL:
        return check_number(w, s, n);
    case SHAPE_LIST:
        return check_list(w, s, n);
    case SHAPE_OBJECT:
        return check_object(w, s, n);
    }
    return err_set(w->e, ERR_BUG, 0, "%s: unknown shape", w->path);
}
/* NOLINTEND(misc-no-recursion) */

int shape_check(const struct shape *root, const struct json_node *n, struct err *e)
{
    struct walk w = {.path = "$", .len = 1, .e = e};
    return check_value(&w, root, n);
}
