/* The tree: cJSON behind read-only accessors. Everything that cJSON lets through and must not has been
 * refused by json_scan. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include <cjson/cJSON.h>

#include "base/arena.h"
#include "base/json_private.h"

/* The tree lives and dies in an arena: cJSON alone would take two pieces from the heap a member. */
struct json {
    struct arena *arena;
    cJSON *root;
};

/* cJSON's hooks have no argument: the arena of the tree that is being built. */
static thread_local struct arena *building;

static const cJSON *item_of(const struct json_node *n)
{
    return (const cJSON *)n;
}

static const struct json_node *node_of(const cJSON *item)
{
    return (const struct json_node *)item;
}

static void *allocate(size_t bytes)
{
    return arena_alloc(building, bytes);
}

static void leave_to_arena(void *piece)
{
    (void)piece;
}

/* With these cJSON ends the process when memory is out, as everything else does, in place of calling a good
 * text bad. */
static void use_our_allocator(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = allocate, .free_fn = leave_to_arena});
}

static struct json *build(const char *bytes, size_t len, struct err *e)
{
    static once_flag hooks_once = ONCE_FLAG_INIT;
    call_once(&hooks_once, use_our_allocator);
    struct json *j = xcalloc(1, sizeof *j);
    j->arena = building = arena_new();
    j->root = cJSON_ParseWithLengthOpts(bytes, len, NULL, false);
    building = NULL;
    if (j->root == NULL) {
        err_set(e, ERR_DATA, 0, "$: the scan accepts what the parser refuses");
        json_free(&j);
    }
    return j;
}

struct json *json_parse(const char *bytes, size_t len, struct err *e)
{
    return json_scan(bytes, len, e) == 0 ? build(bytes, len, e) : NULL;
}

/* The UTF-16 unit of "\uXXXX" at p, or -1. */
static long unit_at(const char *p, size_t left)
{
    char digits[5] = "";

    if (left < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    memcpy(digits, p + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* Copies an escape; \u0000 and what is half a pair become what json_parse_foreign says. Returns the bytes
 * that were read, and adds those that were written. */
static size_t mend_escape(const char *p, size_t left, char *out, size_t *written)
{
    long unit = unit_at(p, left);
    bool is_pair = unit >= 0xd800 && unit <= 0xdbff && unit_at(p + 6, left - 6) >= 0xdc00 &&
                   unit_at(p + 6, left - 6) <= 0xdfff;
    size_t read = is_pair ? 12 : unit >= 0 ? 6 : left < 2 ? left : 2;

    if (unit == 0)
        return read;
    if (!is_pair && unit >= 0xd800 && unit <= 0xdfff)
        p = "\\ufffd";
    memcpy(out + *written, p, read);
    *written += read;
    return read;
}

/* Into out, which has room for len bytes; returns how many were written. Escapes stand in strings only, so
 * that nothing else need be told apart. */
static size_t mend(const char *bytes, size_t len, char *out)
{
    size_t written = 0;

    for (size_t at = 0; at < len;) {
        if (bytes[at] == '\\')
            at += mend_escape(bytes + at, len - at, out, &written);
        else
            out[written++] = bytes[at++];
    }
    return written;
}

struct json *json_parse_foreign(const char *bytes, size_t len, struct err *e)
{
    struct json *j = NULL;

    if (len > JSON_FOREIGN_BYTES) {
        err_set(e, ERR_DATA, 0, "$: more than %d bytes", JSON_FOREIGN_BYTES);
        return NULL;
    }
    char *mended = xrealloc(NULL, 1, len + 1);
    len = mend(bytes, len, mended);
    if (json_scan_foreign(mended, len, e) == 0)
        j = build(mended, len, e);
    free(mended);
    return j;
}

void json_free(struct json **j)
{
    if (*j == NULL)
        return;
    arena_free(&(*j)->arena);
    free(*j);
    *j = NULL;
}

const struct json_node *json_root(const struct json *j)
{
    return node_of(j->root);
}

enum json_kind json_kind_of(const struct json_node *n)
{
    if (n == NULL)
        return JSON_ABSENT;
    switch (item_of(n)->type & 0xff) {
    case cJSON_NULL:
        return JSON_NULL;
    case cJSON_True:
    case cJSON_False:
        return JSON_BOOL;
    case cJSON_Number:
        return JSON_NUMBER;
    case cJSON_String:
        return JSON_STRING;
    case cJSON_Array:
        return JSON_ARRAY;
    case cJSON_Object:
        return JSON_OBJECT;
    default:
        return JSON_ABSENT;
    }
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_ABSENT] = "nothing", [JSON_NULL] = "null",   [JSON_BOOL] = "boolean",  [JSON_NUMBER] = "number",
        [JSON_STRING] = "string",  [JSON_ARRAY] = "array", [JSON_OBJECT] = "object",
    };
    return names[kind];
}

static const struct json_node *member_named(const struct json_node *object, const char *key, size_t len)
{
    if (json_kind_of(object) != JSON_OBJECT)
        return NULL;
    for (const cJSON *m = item_of(object)->child; m != NULL; m = m->next)
        if (m->string[0] == key[0] && strncmp(m->string, key, len) == 0 && m->string[len] == '\0')
            return node_of(m);
    return NULL;
}

const struct json_node *json_member(const struct json_node *object, const char *key)
{
    return member_named(object, key, strlen(key));
}

const struct json_node *json_path(const struct json_node *root, const char *dotted)
{
    const struct json_node *n = root;
    for (;;) {
        size_t len = strcspn(dotted, ".");
        n = member_named(n, dotted, len);
        if (n == NULL || dotted[len] == '\0')
            return n;
        dotted += len + 1;
    }
}

size_t json_count(const struct json_node *array_or_object)
{
    size_t count = 0;
    for (const struct json_node *n = json_first(array_or_object); n != NULL; n = json_next(n))
        count++;
    return count;
}

const struct json_node *json_item(const struct json_node *array, size_t index)
{
    if (json_kind_of(array) != JSON_ARRAY)
        return NULL;
    const struct json_node *n = json_first(array);
    while (n != NULL && index-- > 0)
        n = json_next(n);
    return n;
}

const struct json_node *json_first(const struct json_node *array_or_object)
{
    enum json_kind kind = json_kind_of(array_or_object);
    if (kind != JSON_ARRAY && kind != JSON_OBJECT)
        return NULL;
    return node_of(item_of(array_or_object)->child);
}

const struct json_node *json_next(const struct json_node *n)
{
    return n == NULL ? NULL : node_of(item_of(n)->next);
}

const char *json_key(const struct json_node *n)
{
    return n == NULL || item_of(n)->string == NULL ? "" : item_of(n)->string;
}

const char *json_str(const struct json_node *n)
{
    return json_kind_of(n) == JSON_STRING ? item_of(n)->valuestring : NULL;
}

bool json_int(const struct json_node *n, int64_t *value)
{
    const double max = 9007199254740991.0; /* 2^53 - 1; cJSON's own valueint stops at INT_MAX */
    double v;
    if (!json_real(n, &v) || v < -max || v > max || floor(v) < v)
        return false;
    *value = (int64_t)v;
    return true;
}

bool json_real(const struct json_node *n, double *value)
{
    if (json_kind_of(n) != JSON_NUMBER)
        return false;
    *value = item_of(n)->valuedouble;
    return true;
}

bool json_true(const struct json_node *n)
{
    return n != NULL && (item_of(n)->type & 0xff) == cJSON_True;
}
