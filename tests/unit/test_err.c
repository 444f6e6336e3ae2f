/* The error value: one clean line, never longer than its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

static void test_err_set_fills_all(void **state)
{
    (void)state;
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_CONFIG, 406, "queue %s: %d", "ag_queue", 7), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_int_equal(e.code, 406);
    assert_string_equal(e.text, "queue ag_queue: 7");
}

static void test_err_set_without_place(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_DATA, 0, "x"), -1);
    assert_int_equal(err_prefix(NULL, "x"), -1);
}

static void test_err_text_is_one_line(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_DATA, 0, "a\nb\r\tc\x1b[31m\x7f.");
    assert_string_equal(e.text, "a b  c [31m .");
}

static void test_err_set_may_quote_itself(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_DATA, 1, "inner");
    err_set(&e, ERR_CONFIG, 2, "outer(%s)", e.text);
    assert_string_equal(e.text, "outer(inner)");
}

static void test_err_long_text_is_cut(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct err e = {0};
    err_set(&e, ERR_DATA, 0, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    err_prefix(&e, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

/* Whatever the alignment of the cut, what is left is UTF-8. */
static void test_err_cut_keeps_characters_whole(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 3; c++) {
        for (size_t shift = 0; shift < 5; shift++) {
            char text[900] = {0};
            size_t len = strlen(characters[c]);
            memset(text, 'x', shift);
            for (size_t at = shift; at + len < sizeof text; at += len)
                memcpy(text + at, characters[c], len);
            struct err e = {0};
            err_set(&e, ERR_DATA, 0, "%s", text);
            size_t at = 0;
            for (size_t n; (n = utf8_length(e.text + at, strlen(e.text) - at)) > 0; at += n)
                ;
            assert_int_equal(at, strlen(e.text));
            assert_true(at > sizeof e.text - 1 - len);
        }
    }
}

static void test_err_prefix(void **state)
{
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_TEMPORARY, 111, "connection refused");
    assert_int_equal(err_prefix(&e, "broker %s", "example.com"), -1);
    assert_string_equal(e.text, "broker example.com: connection refused");
    assert_int_equal(e.class, ERR_TEMPORARY);
    assert_int_equal(e.code, 111);
}

static void test_err_exit_status(void **state)
{
    (void)state;
    static const struct {
        enum err_class class;
        int status;
        const char *name;
    } cases[] = {
        {ERR_NONE, 0, "none"}, {ERR_USAGE, 64, "usage"},         {ERR_UNAVAILABLE, 69, "unavailable"},
        {ERR_BUG, 70, "bug"},  {ERR_TEMPORARY, 75, "temporary"}, {ERR_CONFIG, 78, "config"},
        {ERR_DATA, 1, "data"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {.class = cases[i].class};
        assert_int_equal(err_exit_status(&e), cases[i].status);
        assert_string_equal(err_class_name(cases[i].class), cases[i].name);
    }
    assert_int_equal(err_exit_status(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_set_fills_all),    cmocka_unit_test(test_err_set_without_place),
        cmocka_unit_test(test_err_text_is_one_line), cmocka_unit_test(test_err_set_may_quote_itself),
        cmocka_unit_test(test_err_long_text_is_cut), cmocka_unit_test(test_err_cut_keeps_characters_whole),
        cmocka_unit_test(test_err_prefix),           cmocka_unit_test(test_err_exit_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
