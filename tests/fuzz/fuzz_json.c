/* The scan and the tree agree, and what the tree holds can be written and read again. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "base/json.h"

enum { WRITTEN_MAX = 4 * JSON_MAX_BYTES };

static void write_node(const struct json_node *n, struct buf *out);

static void write_items(const struct json_node *n, bool is_object, struct buf *out)
{
    size_t count = 0;
    buf_add_char(out, is_object ? '{' : '[');
    for (const struct json_node *item = json_first(n); item != NULL; item = json_next(item)) {
        if (count++ > 0)
            buf_add_char(out, ',');
        if (is_object) {
            buf_add_json_str(out, json_key(item), strlen(json_key(item)));
            buf_add_char(out, ':');
            fuzz_require(json_member(n, json_key(item)) == item, "a member is found by its key");
        }
        write_node(item, out);
    }
    buf_add_char(out, is_object ? '}' : ']');
    fuzz_require(count == json_count(n), "the count is the number of items");
}

/* Recursion is bounded: the scan lets JSON_MAX_DEPTH levels through. */
static void write_node(const struct json_node *n, struct buf *out)
{
    double number = 0;
    switch (json_kind_of(n)) {
    case JSON_ABSENT:
        fuzz_require(false, "an item is not absent");
        return;
    case JSON_NULL:
        buf_add_str(out, "null");
        return;
    case JSON_BOOL:
        buf_add_str(out, json_true(n) ? "true" : "false");
        return;
    case JSON_NUMBER:
        fuzz_require(json_real(n, &number), "a number is finite");
        buf_printf(out, "%.17g", number);
        return;
    case JSON_STRING:
        buf_add_json_str(out, json_str(n), strlen(json_str(n)));
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        write_items(n, json_kind_of(n) == JSON_OBJECT, out);
        return;
    }
}

static void check_again(const struct buf *first)
{
    struct err e = {0};
    struct buf second;
    struct json *again = json_parse(first->data, first->len, &e);
    fuzz_require(again != NULL, "what was written from a tree is JSON");
    buf_init(&second, WRITTEN_MAX);
    write_node(json_root(again), &second);
    fuzz_require(first->len == second.len && memcmp(first->data, second.data, first->len) == 0,
                 "what was written and read is written the same way again");
    buf_fini(&second);
    json_free(&again);
}

static void check_refusal(const char *bytes, size_t len, const struct err *e)
{
    struct err nested = {0};
    fuzz_require(e->class == ERR_DATA && e->text[0] == '$', "a refusal names the JSON path");
    fuzz_require(json_scan_nested(bytes, len, len % (JSON_MAX_DEPTH + 1), &nested) != 0,
                 "what is no JSON text is none inside another");
}

void fuzz_json(const char *bytes, size_t len)
{
    struct err e = {0}, again = {0};
    struct buf written;
    int rc = json_scan(bytes, len, &e);
    struct json *j = json_parse(bytes, len, &again);

    fuzz_require((j != NULL) == (rc == 0), "the tree is built from what the scan accepts");
    if (j == NULL) {
        check_refusal(bytes, len, &e);
        return;
    }
    buf_init(&written, WRITTEN_MAX);
    write_node(json_root(j), &written);
    if (written.len <= JSON_MAX_BYTES) /* 1e9 is written longer than it was */
        check_again(&written);
    buf_fini(&written);
    json_free(&j);
}
