/* Scripts from JSON. Unknown members are refused: a misspelt rule must not pass for a provider without
 * faults. */
#include "tests/provider/script.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

struct rule {
    const char *path, *to, *text; /* NULL = any */
    int64_t left;                 /* < 0 = always */
    uint64_t hits;
    struct action action;
};

struct script {
    struct json *doc;
    struct rule *rules;
    size_t count;
};

static const char *const FAULT_NAMES[FAULT_COUNT] = {
    [FAULT_HANG] = "hang",
    [FAULT_RESET_AFTER_REQUEST] = "reset_after_request",
    [FAULT_RESET_BEFORE] = "reset_before",
    [FAULT_CLOSE_WITHOUT_ANSWER] = "close_without_answer",
    [FAULT_GARBAGE] = "garbage",
    [FAULT_MALFORMED_JSON] = "malformed_json",
    [FAULT_HUGE_BODY] = "huge_body",
    [FAULT_DRIP] = "drip",
    [FAULT_SUCCESS_FALSE] = "success_false",
    [FAULT_RAW] = "raw",
};

const char *fault_name(enum fault f)
{
    return FAULT_NAMES[f];
}

static int parse_fault(const char *name, enum fault *f)
{
    for (int i = FAULT_NONE + 1; name != NULL && i < FAULT_COUNT; i++) {
        if (strcmp(FAULT_NAMES[i], name) == 0) {
            *f = (enum fault)i;
            return 0;
        }
    }
    return -1;
}

/* --- members --- */

/* Where one member of an object goes; the kinds beside JSON's own are told by `target`. */
struct member {
    const char *name;
    enum { TO_STRING, TO_INT, TO_STATUS, TO_BOOL, TO_FAULT, TO_OBJECT } target;
    void *value;
};

static int read_member(const struct json_node *n, const struct member *m)
{
    int64_t i = 0;

    switch (m->target) {
    case TO_STRING:
        return (*(const char **)m->value = json_str(n)) != NULL ? 0 : -1;
    case TO_INT:
        return json_int(n, m->value) ? 0 : -1;
    case TO_STATUS:
        if (!json_int(n, &i) || i < 200 || i > 599)
            return -1;
        *(int *)m->value = (int)i;
        return 0;
    case TO_BOOL:
        *(bool *)m->value = json_true(n);
        return json_kind_of(n) == JSON_BOOL ? 0 : -1;
    case TO_FAULT:
        return parse_fault(json_str(n), m->value);
    case TO_OBJECT:
        *(const struct json_node **)m->value = n;
        return json_kind_of(n) == JSON_OBJECT ? 0 : -1;
    }
    return -1;
}

static int read_object(const struct json_node *object, const struct member *members, size_t count,
                       struct err *e)
{
    for (const struct json_node *n = json_first(object); n != NULL; n = json_next(n)) {
        size_t i = 0;

        while (i < count && strcmp(members[i].name, json_key(n)) != 0)
            i++;
        if (i == count)
            return err_set(e, ERR_DATA, 0, "unknown member %s", json_key(n));
        if (read_member(n, &members[i]) != 0)
            return err_set(e, ERR_DATA, 0, "member %s has a wrong type or value", json_key(n));
    }
    return 0;
}
#define READ_OBJECT(object, members, e)                                                                      \
    read_object((object), (members), sizeof(members) / sizeof(members)[0], (e))

/* --- rules --- */

static int read_action(const struct json_node *object, struct action *a, struct err *e)
{
    *a =
        (struct action){.retry_after_s = -1, .retry_after_date_s = -1, .ms_per_byte = 100, .bytes = 10000000};
    const struct member members[] = {
        {"status", TO_STATUS, &a->status},
        {"code", TO_INT, &a->code},
        {"body", TO_STRING, &a->body},
        {"headers", TO_OBJECT, &a->headers},
        {"retry_after_s", TO_INT, &a->retry_after_s},
        {"retry_after_date_s", TO_INT, &a->retry_after_date_s},
        {"delay_ms", TO_INT, &a->delay_ms},
        {"fault", TO_FAULT, &a->fault},
        {"ms_per_byte", TO_INT, &a->ms_per_byte},
        {"bytes", TO_INT, &a->bytes},
        {"raw", TO_STRING, &a->raw},
        {"accepted", TO_BOOL, &a->accepted},
    };
    if (READ_OBJECT(object, members, e) != 0)
        return -1;
    a->has_accepted = json_member(object, "accepted") != NULL;
    a->has_code = json_member(object, "code") != NULL;
    if ((a->fault == FAULT_RAW) != (a->raw != NULL))
        return err_set(e, ERR_DATA, 0, "fault raw and member raw belong together");
    if (a->delay_ms < 0 || a->ms_per_byte < 0 || a->bytes < 0)
        return err_set(e, ERR_DATA, 0, "a number is negative");
    for (const struct json_node *n = json_first(a->headers); n != NULL; n = json_next(n)) {
        if (json_str(n) == NULL)
            return err_set(e, ERR_DATA, 0, "header %s is not a string", json_key(n));
    }
    return 0;
}

static int read_rule(const struct json_node *object, struct rule *r, struct err *e)
{
    const struct json_node *match = NULL, *action = NULL;

    *r = (struct rule){.left = 1};
    const struct member members[] = {
        {"match", TO_OBJECT, &match}, {"times", TO_INT, &r->left}, {"action", TO_OBJECT, &action}};
    const struct member matches[] = {
        {"path", TO_STRING, &r->path}, {"to", TO_STRING, &r->to}, {"text", TO_STRING, &r->text}};
    if (json_kind_of(object) != JSON_OBJECT)
        return err_set(e, ERR_DATA, 0, "not an object");
    if (READ_OBJECT(object, members, e) != 0 || READ_OBJECT(match, matches, e) != 0)
        return -1;
    if (action == NULL)
        return err_set(e, ERR_DATA, 0, "member action is missing");
    if (read_action(action, &r->action, e) != 0)
        return -1;
    if (r->action.fault == FAULT_RESET_BEFORE && (r->to != NULL || r->text != NULL))
        return err_set(e, ERR_DATA, 0, "reset_before matches by path only");
    return 0;
}

static int read_rules(struct script *s, struct err *e)
{
    const struct json_node *root = json_root(s->doc);
    const struct json_node *rules = json_member(root, "rules");

    if (json_kind_of(root) != JSON_OBJECT || json_kind_of(rules) != JSON_ARRAY || json_count(root) != 1)
        return err_set(e, ERR_DATA, 0, "a script is an object with one member, the array rules");
    s->rules = xcalloc(json_count(rules) + 1, sizeof s->rules[0]);
    for (const struct json_node *n = json_first(rules); n != NULL; n = json_next(n)) {
        if (read_rule(n, &s->rules[s->count], e) != 0)
            return err_prefix(e, "rule %zu", s->count + 1);
        s->count++;
    }
    return 0;
}

struct script *script_parse(const char *json, size_t len, struct err *e)
{
    struct json *doc = json_parse(json, len, e);
    if (doc == NULL)
        return NULL;
    struct script *s = xcalloc(1, sizeof *s);
    s->doc = doc;
    if (read_rules(s, e) != 0)
        script_free(&s);
    return s;
}

void script_free(struct script **s)
{
    if (*s == NULL)
        return;
    json_free(&(*s)->doc);
    free((*s)->rules);
    free(*s);
    *s = NULL;
}

/* --- matching --- */

static bool matches(const struct rule *r, const char *path, const char *to, const char *text)
{
    return (r->path == NULL || strcmp(r->path, path) == 0) &&
           (r->to == NULL || (to != NULL && strcmp(r->to, to) == 0)) &&
           (r->text == NULL || (text != NULL && strstr(text, r->text) != NULL));
}

const struct action *script_take(struct script *s, bool early, const char *path, const char *to,
                                 const char *text)
{
    for (size_t i = 0; s != NULL && i < s->count; i++) {
        struct rule *r = &s->rules[i];

        if (r->left == 0 || (r->action.fault == FAULT_RESET_BEFORE) != early || !matches(r, path, to, text))
            continue;
        if (r->left > 0)
            r->left--;
        r->hits++;
        return &r->action;
    }
    return NULL;
}

void script_write_state(const struct script *s, struct buf *out)
{
    buf_add_char(out, '[');
    for (size_t i = 0; s != NULL && i < s->count; i++)
        buf_printf(out, "%s{\"left\":%" PRId64 ",\"hits\":%" PRIu64 "}", i > 0 ? "," : "", s->rules[i].left,
                   s->rules[i].hits);
    buf_add_char(out, ']');
}
