/* The scan's places and limits, and the tree's accessors. What is JSON and what is not: tests/corpus/bytes
 * (test_corpus.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

/* From memory of exactly this size, so that the sanitizers see a read beyond it. */
static int scan(const char *bytes, size_t len, struct err *e)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    *e = (struct err){0};
    int rc = json_scan(copy, len, e);
    free(copy);
    return rc;
}

static void test_json_scan_names_path_and_offset(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *error;
    } cases[] = {
        {"", "$ at byte 0: expected a value, but the text ends"},
        {"x", "$ at byte 0: expected a value, found 'x'"},
        {"{\"contact\":{\"a\":1,}}", "$.contact at byte 18: expected a key, found '}'"},
        {"{\"contact\":{\"name\":\"A\xff\"}}", "$.contact.name at byte 21: not UTF-8"},
        {"{\"a\":[0,{\"b\":tru}]}", "$.a[1].b at byte 13: expected a value, found 't'"},
        {"[[],[[1,2,-]]]", "$[1][0][2] at byte 11: expected a digit, found ']'"},
        {"{\"a\":1 \"b\":2}", "$ at byte 7: expected ',' or '}', found '\"'"},
        {"{\"a b\":{\"\":?}}", "$[\"a b\"][\"\"] at byte 11: expected a value, found '?'"},
        {"{\"a.b\":?}", "$[\"a.b\"] at byte 7: expected a value, found '?'"},
        {"{\"9\":?}", "$[\"9\"] at byte 5: expected a value, found '?'"},
        {"{\"_9\":?}", "$._9 at byte 6: expected a value, found '?'"},
        {"{\"a\":{\"b\":1},\"a\":2}", "$.a at byte 13: duplicate key"},
        {"[1e400]", "$[0] at byte 1: a number too large for a double"},
        {"[\"ab\\ud800\"]", "$[0] at byte 4: half a surrogate pair"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;
        assert_int_equal(scan(cases[i].bytes, strlen(cases[i].bytes), &e), -1);
        assert_int_equal(e.class, ERR_DATA);
        assert_string_equal(e.text, cases[i].error);
    }
}

static void test_json_scan_cuts_long_keys_in_paths(void **state)
{
    (void)state;
    char text[2000];
    size_t len = 0;
    for (int level = 0; level < 12; level++) {
        text[len++] = '{';
        text[len++] = '"';
        for (int i = 0; i < 25; i++, len += 2)
            memcpy(text + len, "\xc3\xa9", 2);
        memcpy(text + len, "\":", 2);
        len += 2;
    }
    struct err e;
    assert_int_equal(scan(text, len, &e), -1);
    assert_true(strlen(e.text) < 400);
    assert_non_null(strstr(e.text, "\xc3\xa9...\"]"));
    assert_non_null(strstr(e.text, "... at byte 648: expected a value"));
}

static void test_json_scan_takes_no_error(void **state)
{
    (void)state;
    assert_int_equal(json_scan("[", 1, NULL), -1);
    assert_int_equal(json_scan(NULL, 0, NULL), -1);
    assert_null(json_parse("{", 1, NULL));
}

/* Every way to cut a text short, and every single byte in place of another, is survived; what the scan lets
 * through has a tree. */
static void test_json_scan_survives_damage(void **state)
{
    (void)state;
    static const char whole[] = "{\"a\\u00e9\":[1,-2.5e+3,true,null],\"\xe2\x82\xac\":{\"b\":"
                                "\"\\ud83d\\ude00\xf0\x9f\x98\x80\\n\"},\"c\":[]} ";
    size_t len = sizeof whole - 1;
    struct err e;
    assert_int_equal(scan(whole, len, &e), 0);
    for (size_t cut = 0; cut + 1 < len; cut++)
        assert_int_equal(scan(whole, cut, &e), -1);
    for (size_t at = 0; at < len; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char damaged[sizeof whole];
            memcpy(damaged, whole, sizeof whole);
            damaged[at] = (char)byte;
            if (scan(damaged, len, &e) != 0)
                continue;
            struct json *j = json_parse(damaged, len, &e);
            if (j == NULL)
                fail_msg("scanned, but not parsed: %s", damaged);
            json_free(&j);
        }
    }
}

/* Strings are read eight bytes at once where that is possible: every byte at every place of them. */
static void test_json_scan_every_byte_in_a_string(void **state)
{
    (void)state;
    struct err e;
    for (size_t at = 1; at <= 24; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[] = "\"aaaaaaaaaaaaaaaaaaaaaaaa\"";
            text[at] = (char)byte;
            bool is_plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
            if ((scan(text, sizeof text - 1, &e) == 0) != is_plain)
                fail_msg("byte 0x%02x at %zu: %s", (unsigned)byte, at, e.text);
        }
    }
}

static void test_json_scan_depth(void **state)
{
    (void)state;
    struct err e;
    char text[2 * (JSON_MAX_DEPTH + 1)];
    for (size_t depth = 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(scan(text, 2 * depth, &e), depth <= JSON_MAX_DEPTH ? 0 : -1);
    }
    assert_non_null(strstr(e.text, "[0] at byte 32: more than 32 levels"));
    for (size_t levels = 0; levels <= JSON_MAX_DEPTH; levels++) {
        assert_int_equal(json_scan_nested("[[]]", 4, levels, &e), levels <= JSON_MAX_DEPTH - 2 ? 0 : -1);
        assert_int_equal(json_scan_nested("1", 1, levels, &e), 0);
    }
}

/* An object of `count` different keys, all of them repeated `levels` deep under the key "x". */
static size_t write_wide(char *out, size_t size, int levels, int count)
{
    size_t len = 0;
    for (int level = 0; level < levels; level++) {
        len += (size_t)snprintf(out + len, size - len, "{");
        for (int i = 0; i < count - 1; i++)
            len += (size_t)snprintf(out + len, size - len, "\"%d\":0,", i);
        len += (size_t)snprintf(out + len, size - len, "\"x\":");
    }
    len += (size_t)snprintf(out + len, size - len, "0");
    for (int level = 0; level < levels; level++)
        len += (size_t)snprintf(out + len, size - len, "}");
    return len;
}

static void test_json_scan_keys_of_every_level(void **state)
{
    (void)state;
    static char text[JSON_MAX_BYTES];
    struct err e;
    size_t len = write_wide(text, sizeof text, JSON_MAX_DEPTH, JSON_MAX_MEMBERS);
    assert_int_equal(scan(text, len, &e), 0);
    len = write_wide(text, sizeof text, 2, JSON_MAX_MEMBERS + 1);
    assert_int_equal(scan(text, len, &e), -1);
    assert_non_null(strstr(e.text, "more than 256 members in one object"));
}

/* Keys of one FNV-1a hash are still told apart. */
static void test_json_scan_keys_of_one_hash(void **state)
{
    (void)state;
    struct err e;
    const char *differ = "{\"costarring\":1,\"liquid\":2}";
    const char *same = "{\"costarring\":1,\"liquid\":2,\"costarring\":3}";
    assert_int_equal(scan(differ, strlen(differ), &e), 0);
    assert_int_equal(scan(same, strlen(same), &e), -1);
    assert_string_equal(e.text, "$.costarring at byte 27: duplicate key");
}

static const char document[] =
    "{\"text\":\"caf\\u00e9 "
    "\\\"x\\\"\",\"Text\":\"other\",\"int\":1795206465123,\"real\":2.5,\"yes\":true,\"no\":false,"
    "\"nil\":null,\"list\":[10,\"b\",[]],\"empty\":{},\"a\":{\"b\":{\"c\":\"deep\"}}}";

static struct json *parse(const char *text)
{
    struct err e = {0};
    struct json *j = json_parse(text, strlen(text), &e);
    if (j == NULL)
        fail_msg("%s", e.text);
    return j;
}

static void test_json_kinds(void **state)
{
    (void)state;
    struct json *j = parse(document);
    const struct json_node *root = json_root(j);
    static const struct {
        const char *key;
        enum json_kind kind;
        const char *name;
    } cases[] = {
        {"text", JSON_STRING, "string"},  {"int", JSON_NUMBER, "number"},   {"real", JSON_NUMBER, "number"},
        {"yes", JSON_BOOL, "boolean"},    {"no", JSON_BOOL, "boolean"},     {"nil", JSON_NULL, "null"},
        {"list", JSON_ARRAY, "array"},    {"empty", JSON_OBJECT, "object"}, {"none", JSON_ABSENT, "nothing"},
        {"TEXT", JSON_ABSENT, "nothing"}, {"tex", JSON_ABSENT, "nothing"},  {"textt", JSON_ABSENT, "nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum json_kind kind = json_kind_of(json_member(root, cases[i].key));
        assert_int_equal(kind, cases[i].kind);
        assert_string_equal(json_kind_name(kind), cases[i].name);
    }
    assert_int_equal(json_kind_of(NULL), JSON_ABSENT);
    json_free(&j);
    assert_null(j);
    json_free(&j);
}

static void test_json_values(void **state)
{
    (void)state;
    struct json *j = parse(document);
    const struct json_node *root = json_root(j);
    int64_t i = -7;
    double d = -7;
    assert_string_equal(json_str(json_member(root, "text")), "caf\xc3\xa9 \"x\"");
    assert_string_equal(json_str(json_member(root, "Text")), "other");
    assert_null(json_str(json_member(root, "int")));
    assert_null(json_str(NULL));
    assert_true(json_int(json_member(root, "int"), &i));
    assert_int_equal(i, 1795206465123);
    assert_false(json_int(json_member(root, "real"), &i));
    assert_false(json_int(json_member(root, "text"), &i));
    assert_false(json_int(NULL, &i));
    assert_int_equal(i, 1795206465123);
    assert_true(json_real(json_member(root, "real"), &d));
    assert_true(d > 2.4 && d < 2.6);
    assert_false(json_real(json_member(root, "yes"), &d));
    assert_true(json_true(json_member(root, "yes")));
    assert_false(json_true(json_member(root, "no")));
    assert_false(json_true(json_member(root, "int")));
    assert_false(json_true(NULL));
    json_free(&j);
}

static void test_json_walks(void **state)
{
    (void)state;
    struct json *j = parse(document);
    const struct json_node *root = json_root(j), *list = json_member(root, "list");
    int64_t i;
    assert_int_equal(json_count(root), 10);
    assert_int_equal(json_count(list), 3);
    assert_int_equal(json_count(json_member(root, "text")), 0);
    assert_int_equal(json_count(NULL), 0);
    assert_true(json_int(json_item(list, 0), &i));
    assert_int_equal(i, 10);
    assert_int_equal(json_kind_of(json_item(list, 2)), JSON_ARRAY);
    assert_null(json_item(list, 3));
    assert_null(json_item(root, 0));
    assert_string_equal(json_key(json_first(root)), "text");
    assert_string_equal(json_key(json_next(json_first(root))), "Text");
    assert_string_equal(json_key(json_first(list)), "");
    assert_string_equal(json_key(NULL), "");
    assert_null(json_first(json_member(root, "empty")));
    assert_null(json_first(json_member(root, "text")));
    assert_null(json_next(json_item(list, 2)));
    assert_null(json_next(NULL));
    assert_string_equal(json_str(json_path(root, "a.b.c")), "deep");
    assert_string_equal(json_str(json_path(root, "Text")), "other");
    assert_null(json_path(root, "a.b.c.d"));
    assert_null(json_path(root, "a..c"));
    assert_null(json_path(root, "list.0"));
    assert_null(json_path(NULL, "a"));
    json_free(&j);
}

static void test_json_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"1.0", true, 1},
        {"1e3", true, 1000},
        {"-2147483649", true, -2147483649},
        {"9007199254740991", true, 9007199254740991},
        {"-9007199254740991", true, -9007199254740991},
        {"9007199254740992", false, 0},
        {"-9007199254740993", false, 0},
        {"0.5", false, 0},
        {"-0.5", false, 0},
        {"1e300", false, 0},
        {"-1e300", false, 0},
        {"1e-400", true, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json *j = parse(cases[i].text);
        int64_t value = 0;
        if (json_int(json_root(j), &value) != cases[i].is_int || value != cases[i].value)
            fail_msg("%s", cases[i].text);
        json_free(&j);
    }
}

/* --- foreign texts ---------------------------------------------------------------------------------------
 */

static struct json *parse_foreign(const char *bytes, size_t len, struct err *e)
{
    char *copy = malloc(len > 0 ? len : 1); /* of exactly this size, as in scan */
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    *e = (struct err){0};
    struct json *j = json_parse_foreign(copy, len, e);
    free(copy);
    return j;
}

/* The strings of an array of one string each; NULL = refused with these words. */
static void test_json_foreign_strings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *string, *error;
    } cases[] = {
        {"[\"a\"]", "a", NULL},
        {"[\"a\\u0000b\"]", "ab", NULL},
        {"[\"\\u0000\"]", "", NULL},
        {"[\"a\\\\u0000\"]", "a\\u0000", NULL}, /* an escaped backslash, then text */
        {"[\"\\\\\\u0000\"]", "\\", NULL},
        {"[\"\\ud83d\\ude00\"]", "\xf0\x9f\x98\x80", NULL},
        {"[\"\\ud83d\"]", "\xef\xbf\xbd", NULL},
        {"[\"\\ude00\"]", "\xef\xbf\xbd", NULL},
        {"[\"\\ud83dx\"]", "\xef\xbf\xbdx", NULL},
        {"[\"\\ud83d\\u0041\"]",
         "\xef\xbf\xbd"
         "A",
         NULL},
        {"[\"\\ud83d\\ud83d\\ude00\"]", "\xef\xbf\xbd\xf0\x9f\x98\x80", NULL},
        {"[\"\\ude00\\ud83d\"]", "\xef\xbf\xbd\xef\xbf\xbd", NULL},
        {"[\"\\ud83d\\u0000\"]", "\xef\xbf\xbd", NULL},
        {"[\"\\n\"]", "\n", NULL},
        {"[\"\\u00\"]", NULL, "four hexadecimal"},
        {"[\"\\", NULL, "unknown escape"},
        {"[\"\\u", NULL, "four hexadecimal"},
        {"[\"\\ud83d\\u", NULL, "four hexadecimal"},
        {"[\"\xff\"]", NULL, "not UTF-8"},
        {"[\"a\nb\"]", NULL, "control character"},
        {"", NULL, "the text ends"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e;
        struct json *j = parse_foreign(cases[i].text, strlen(cases[i].text), &e);
        const char *string = j == NULL ? NULL : json_str(json_item(json_root(j), 0));
        if (cases[i].string == NULL ? j != NULL || strstr(e.text, cases[i].error) == NULL
                                    : string == NULL || strcmp(string, cases[i].string) != 0)
            fail_msg("%s: \"%s\" %s", cases[i].text, string == NULL ? "" : string, e.text);
        json_free(&j);
    }
}

static struct json *parse_repeated(const char *begin, const char *unit, size_t count, const char *end,
                                   struct err *e)
{
    struct buf b;
    buf_init(&b, (size_t)2 * JSON_FOREIGN_BYTES);
    buf_add_str(&b, begin);
    for (size_t i = 0; i < count; i++)
        buf_add_str(&b, unit);
    buf_add_str(&b, end);
    assert_false(b.failed);
    struct json *j = parse_foreign(b.data, b.len, e);
    buf_fini(&b);
    return j;
}

static void test_json_foreign_limits(void **state)
{
    (void)state;
    struct err e;
    struct json *j = parse_foreign("{\"a\":1,\"a\":2}", 13, &e);
    int64_t first = 0;
    assert_true(json_int(json_member(json_root(j), "a"), &first) && first == 1);
    json_free(&j);
    j = parse_repeated("{\"z\":1", ",\"a\":1", JSON_MAX_MEMBERS * 4, "}", &e);
    assert_non_null(j);
    json_free(&j);
    /* the array is a value as well */
    j = parse_repeated("[0", ",0", JSON_FOREIGN_VALUES - 2, "]", &e);
    assert_non_null(j);
    json_free(&j);
    assert_null(parse_repeated("[0", ",0", JSON_FOREIGN_VALUES - 1, "]", &e));
    assert_non_null(strstr(e.text, "more than 100000 values"));
    j = parse_repeated("\"", "a", JSON_FOREIGN_BYTES - 2, "\"", &e);
    assert_non_null(j);
    json_free(&j);
    assert_null(parse_repeated("\"", "a", JSON_FOREIGN_BYTES - 1, "\"", &e));
    assert_string_equal(e.text, "$: more than 3145728 bytes");
    assert_null(parse_repeated("", "[", JSON_MAX_DEPTH + 1, "", &e));
    assert_non_null(strstr(e.text, "more than 32 levels"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_scan_names_path_and_offset),
        cmocka_unit_test(test_json_scan_cuts_long_keys_in_paths),
        cmocka_unit_test(test_json_scan_takes_no_error),
        cmocka_unit_test(test_json_scan_survives_damage),
        cmocka_unit_test(test_json_scan_every_byte_in_a_string),
        cmocka_unit_test(test_json_scan_depth),
        cmocka_unit_test(test_json_scan_keys_of_every_level),
        cmocka_unit_test(test_json_scan_keys_of_one_hash),
        cmocka_unit_test(test_json_kinds),
        cmocka_unit_test(test_json_values),
        cmocka_unit_test(test_json_walks),
        cmocka_unit_test(test_json_integers),
        cmocka_unit_test(test_json_foreign_strings),
        cmocka_unit_test(test_json_foreign_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
