/* Markers and scripts. */
#include "tests/agent/behaviour.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"

/* --- markers --- */

enum argument { NO_ARGUMENT, DELAY, REPLIES, CODE, IMAGE, DOCUMENT, PICTURES };

struct marker {
    const char *word;
    enum argument argument;
    enum behaviour_kind kind; /* BEHAVIOUR_ANSWER leaves it as it is */
    const char *status;       /* NULL leaves it as it is */
    bool drops_text;
};

static const struct marker MARKERS[] = {
    {"delay", DELAY, BEHAVIOUR_ANSWER, NULL, false},
    {"error", CODE, BEHAVIOUR_ANSWER, "error", true},
    {"error-text", CODE, BEHAVIOUR_ANSWER, "error", false},
    {"partial", NO_ARGUMENT, BEHAVIOUR_ANSWER, "partial", false},
    {"image", IMAGE, BEHAVIOUR_ANSWER, NULL, false},
    {"document", DOCUMENT, BEHAVIOUR_ANSWER, NULL, false},
    {"pictures", PICTURES, BEHAVIOUR_ANSWER, NULL, false},
    {"replies", REPLIES, BEHAVIOUR_ANSWER, NULL, false},
    {"duplicate", NO_ARGUMENT, BEHAVIOUR_DUPLICATE, NULL, false},
    {"conflict", NO_ARGUMENT, BEHAVIOUR_CONFLICT, NULL, false},
    {"malformed", NO_ARGUMENT, BEHAVIOUR_MALFORMED, NULL, false},
    {"incomplete", NO_ARGUMENT, BEHAVIOUR_INCOMPLETE, NULL, false},
    {"silent", NO_ARGUMENT, BEHAVIOUR_SILENT, NULL, false},
    {"reject", NO_ARGUMENT, BEHAVIOUR_REJECT, NULL, false},
    {"crash", NO_ARGUMENT, BEHAVIOUR_CRASH, NULL, false},
    {"crash-after", NO_ARGUMENT, BEHAVIOUR_CRASH_AFTER, NULL, false},
};

const char *behaviour_name(enum behaviour_kind kind)
{
    static const char *const names[] = {
        [BEHAVIOUR_ANSWER] = "answer",           [BEHAVIOUR_DUPLICATE] = "duplicate",
        [BEHAVIOUR_CONFLICT] = "conflict",       [BEHAVIOUR_MALFORMED] = "malformed",
        [BEHAVIOUR_INCOMPLETE] = "incomplete",   [BEHAVIOUR_SILENT] = "silent",
        [BEHAVIOUR_REJECT] = "reject",           [BEHAVIOUR_CRASH] = "crash",
        [BEHAVIOUR_CRASH_AFTER] = "crash-after",
    };
    return names[kind];
}

static int parse_count(const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end = NULL;
    long long n = strtoll(text, &end, 10);

    if (*text == '\0' || *end != '\0' || n < min || n > max)
        return -1;
    *value = n;
    return 0;
}

static int set_argument(struct behaviour *b, enum argument kind, const char *text)
{
    switch (kind) {
    case NO_ARGUMENT:
        return *text == '\0' ? 0 : -1;
    case DELAY:
        return parse_count(text, 0, 3600 * 1000, &b->delay_ms);
    case REPLIES:
        return parse_count(text, 1, BEHAVIOUR_MAX_REPLIES, &b->replies);
    case CODE:
        snprintf(b->error_code, sizeof b->error_code, "%s", *text != '\0' ? text : "AGENT_ERROR");
        return 0;
    case IMAGE:
    case DOCUMENT:
        b->type = kind == IMAGE ? "image" : "document";
        snprintf(b->attachment, sizeof b->attachment, "%s", text);
        return *text != '\0' ? 0 : -1;
    case PICTURES:
        b->type = "image";
        return parse_count(text, 1, BEHAVIOUR_MAX_REPLIES, &b->pictures);
    }
    return -1;
}

/* `inside` is what stands between the brackets. */
static int apply_marker(struct behaviour *b, const char *inside)
{
    size_t word_len = strcspn(inside, " ");
    const char *argument = inside + word_len + strspn(inside + word_len, " ");

    for (size_t i = 0; i < sizeof MARKERS / sizeof MARKERS[0]; i++) {
        const struct marker *m = &MARKERS[i];

        if (strlen(m->word) != word_len || strncmp(m->word, inside, word_len) != 0)
            continue;
        if (m->kind != BEHAVIOUR_ANSWER)
            b->kind = m->kind;
        if (m->status != NULL)
            b->status = m->status;
        if (m->drops_text)
            b->has_text = false;
        return set_argument(b, m->argument, argument);
    }
    return -1;
}

/* The number of brackets that are no marker of ours: people write those, scripts must not. */
static size_t apply_markers(struct behaviour *b, const char *text)
{
    size_t unknown = 0;
    char inside[600];

    for (const char *open = strchr(text, '['); open != NULL; open = strchr(open + 1, '[')) {
        size_t len = strcspn(open + 1, "]");

        if (open[1 + len] == '\0' || len >= sizeof inside) {
            unknown++;
            continue;
        }
        memcpy(inside, open + 1, len);
        inside[len] = '\0';
        unknown += apply_marker(b, inside) != 0;
    }
    return unknown;
}

/* --- scripts --- */

struct rule {
    const char *text; /* NULL = any */
    const char *markers;
    int64_t left; /* < 0 = always */
};

struct behaviour_script {
    struct json *doc;
    struct rule *rules;
    size_t count;
};

static void set_default(struct behaviour *b)
{
    *b = (struct behaviour){.replies = 1, .status = "success", .has_text = true, .type = "text"};
}

static int read_rule(const struct json_node *n, struct rule *r, struct err *e)
{
    const struct json_node *times = json_member(n, "times"), *text = json_member(n, "text");
    size_t known = 1u + (times != NULL) + (text != NULL);
    struct behaviour b;

    *r = (struct rule){.text = json_str(text), .markers = json_str(json_member(n, "markers")), .left = 1};
    if (json_kind_of(n) != JSON_OBJECT || r->markers == NULL || json_count(n) != known)
        return err_set(e, ERR_DATA, 0, "expected markers, and text and times if need be");
    if ((text != NULL && r->text == NULL) || (times != NULL && !json_int(times, &r->left)))
        return err_set(e, ERR_DATA, 0, "text is a string, times an integer");
    set_default(&b);
    if (apply_markers(&b, r->markers) != 0)
        return err_set(e, ERR_DATA, 0, "unknown marker in \"%s\"", r->markers);
    return 0;
}

struct behaviour_script *behaviour_script_parse(const char *json, size_t len, struct err *e)
{
    struct json *doc = json_parse(json, len, e);
    if (doc == NULL)
        return NULL;
    struct behaviour_script *s = xcalloc(1, sizeof *s);
    const struct json_node *rules = json_member(json_root(doc), "rules");

    s->doc = doc;
    s->rules = xcalloc(json_count(rules) + 1, sizeof s->rules[0]);
    if (json_kind_of(rules) != JSON_ARRAY) {
        err_set(e, ERR_DATA, 0, "a script is an object with the array rules");
        goto refused;
    }
    for (const struct json_node *n = json_first(rules); n != NULL; n = json_next(n)) {
        if (read_rule(n, &s->rules[s->count++], e) != 0) {
            err_prefix(e, "rule %zu", s->count);
            goto refused;
        }
    }
    return s;
refused:
    behaviour_script_free(&s);
    return NULL;
}

void behaviour_script_free(struct behaviour_script **s)
{
    if (*s == NULL)
        return;
    json_free(&(*s)->doc);
    free((*s)->rules);
    free(*s);
    *s = NULL;
}

void behaviour_choose(struct behaviour_script *s, const char *text, struct behaviour *b)
{
    const char *markers = text;

    for (size_t i = 0; s != NULL && i < s->count; i++) {
        struct rule *r = &s->rules[i];

        if (r->left == 0 || (r->text != NULL && strstr(text, r->text) == NULL))
            continue;
        if (r->left > 0)
            r->left--;
        markers = r->markers;
        break;
    }
    set_default(b);
    apply_markers(b, markers);
}
