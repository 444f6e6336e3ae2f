#include "domain/message_shape.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* The tables are a few levels deep and their keys are ours, so that steps and path always fit. */
enum { WALK_DEPTH = 8, PATH_SIZE = 160 };

/* A member, or without a key an item of a list. */
struct step {
    const char *key;
    size_t index;
};

/* Where the walk stands. The path is written out for a fault only. */
struct walk {
    struct step steps[WALK_DEPTH];
    size_t depth;
    char path[PATH_SIZE];
    struct err *e;
};

static const char *path_of(struct walk *w)
{
    size_t len = 1;

    w->path[0] = '$';
    w->path[1] = '\0';
    for (size_t i = 0; i < w->depth && len < sizeof w->path; i++) {
        const struct step *s = &w->steps[i];
        char *at = w->path + len;
        size_t left = sizeof w->path - len;
        len += (size_t)(s->key ? snprintf(at, left, ".%s", s->key) : snprintf(at, left, "[%zu]", s->index));
    }
    return w->path;
}

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

/* No text has more characters than bytes, so nearly none must be counted. */
static bool is_too_long(const struct text_rule *rule, const char *text)
{
    return rule->max_chars > 0 && strlen(text) > rule->max_chars && utf8_count(text) > rule->max_chars;
}

static bool text_rule_holds(const struct text_rule *rule, const char *text)
{
    return !is_too_long(rule, text) && (rule->words == NULL || word_index(rule->words, text) >= 0) &&
           (rule->fits == NULL || rule->fits(text));
}

static int refuse_text(const struct text_rule *rule, const char *path, const char *text, struct err *e)
{
    if (is_too_long(rule, text))
        return err_set(e, ERR_DATA, 0, "%s: expected at most %zu characters, found %zu", path,
                       rule->max_chars, utf8_count(text));
    if (rule->words != NULL && word_index(rule->words, text) < 0)
        return refuse_word(rule, path, e);
    return err_set(e, ERR_DATA, 0, "%s: expected %s", path, rule->expected);
}

int text_rule_check(const struct text_rule *rule, const char *path, const char *text, struct err *e)
{
    return text_rule_holds(rule, text) ? 0 : refuse_text(rule, path, text, e);
}

static int refuse_kind(struct walk *w, const char *expected, const struct json_node *n)
{
    return err_set(w->e, ERR_DATA, 0, "%s: expected %s, found %s", path_of(w), expected,
                   json_kind_name(json_kind_of(n)));
}

static int check_text(struct walk *w, const struct text_rule *rule, const char *text)
{
    return text_rule_holds(rule, text) ? 0 : refuse_text(rule, path_of(w), text, w->e);
}

static int check_value(struct walk *w, const struct shape *s, const struct json_node *n);

/* NOLINTBEGIN(misc-no-recursion): the walk follows the tables, never the input */
static int check_member(struct walk *w, const struct shape *s, const struct json_node *n)
{
    enum json_kind kind = json_kind_of(n);
    if (kind != JSON_ABSENT && kind != JSON_NULL)
        return check_value(w, s, n);
    if (!s->required)
        return 0;
    return err_set(w->e, ERR_DATA, 0, "%s: %s", path_of(w),
                   kind == JSON_NULL ? "must not be null" : "is missing");
}

static int check_object(struct walk *w, const struct shape *s, const struct json_node *n)
{
    if (s->or_text != NULL && json_str(n) != NULL)
        return check_text(w, s->or_text, json_str(n));
    if (json_kind_of(n) != JSON_OBJECT)
        return refuse_kind(w, s->or_text == NULL ? "object" : "object or string", n);
    struct step *step = &w->steps[w->depth++];
    for (size_t i = 0; i < s->member_count; i++) {
        const struct shape *member = &s->members[i];
        *step = (struct step){.key = member->key};
        if (check_member(w, member, json_member(n, member->key)) != 0)
            return -1;
    }
    w->depth--;
    return 0;
}

static int check_list(struct walk *w, const struct shape *s, const struct json_node *n)
{
    if (json_kind_of(n) != JSON_ARRAY)
        return refuse_kind(w, "array", n);
    if (s->max > 0 && json_count(n) > (size_t)s->max)
        return err_set(w->e, ERR_DATA, 0, "%s: expected at most %" PRId64 " items, found %zu", path_of(w),
                       s->max, json_count(n));
    struct step *step = &w->steps[w->depth++];
    *step = (struct step){.index = 0};
    for (const struct json_node *item = json_first(n); item != NULL; item = json_next(item)) {
        if (check_value(w, s->item, item) != 0)
            return -1;
        step->index++;
    }
    w->depth--;
    return 0;
}

static int check_number(struct walk *w, const struct shape *s, const struct json_node *n)
{
    int64_t whole;
    double real;
    if (!json_real(n, &real))
        return refuse_kind(w, "number", n);
    if (s->kind == SHAPE_REAL && real < (double)s->min)
        return err_set(w->e, ERR_DATA, 0, "%s: expected at least %" PRId64, path_of(w), s->min);
    if (s->kind == SHAPE_INTEGER && (!json_int(n, &whole) || whole < s->min || whole > s->max))
        return err_set(w->e, ERR_DATA, 0, "%s: expected an integer from %" PRId64 " to %" PRId64, path_of(w),
                       s->min, s->max);
    return 0;
}

static int check_value(struct walk *w, const struct shape *s, const struct json_node *n)
{
    switch (s->kind) {
    case SHAPE_TEXT:
        if (json_str(n) == NULL)
            return refuse_kind(w, "string", n);
        return check_text(w, s->rule, json_str(n));
    case SHAPE_INTEGER:
    case SHAPE_REAL:
        return check_number(w, s, n);
    case SHAPE_LIST:
        return check_list(w, s, n);
    case SHAPE_OBJECT:
        return check_object(w, s, n);
    }
    return err_set(w->e, ERR_BUG, 0, "%s: unknown shape", path_of(w));
}
/* NOLINTEND(misc-no-recursion) */

int shape_check(const struct shape *root, const struct json_node *n, struct err *e)
{
    struct walk w = {.depth = 0, .e = e};
    return check_value(&w, root, n);
}
