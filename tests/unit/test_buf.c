/* The bounded buffer: what fits, what does not, and that a failure stays. */
#include <math.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

static void expect(struct buf *b, const char *want)
{
    assert_false(b->failed);
    assert_int_equal(b->len, strlen(want));
    assert_string_equal(buf_str(b), want);
}

static void test_buf_appends(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    expect(&b, "");
    buf_add(&b, "abc", 2);
    buf_add_str(&b, "cd");
    buf_add_str(&b, NULL);
    buf_add_char(&b, 'e');
    buf_printf(&b, "%d-%s", 42, "x");
    buf_add(&b, NULL, 0);
    expect(&b, "abcde42-x");
    buf_fini(&b);
    assert_null(b.data);
}

static void test_buf_limit_is_exact(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 300; limit++) {
        struct buf b;
        buf_init(&b, limit);
        for (size_t i = 0; i < limit; i++)
            buf_add_char(&b, 'x');
        assert_false(b.failed);
        assert_int_equal(b.len, limit);
        assert_int_equal(strlen(buf_str(&b)), limit);
        buf_add_char(&b, 'y');
        assert_true(b.failed);
        assert_int_equal(b.len, limit);
        assert_null(buf_str(&b));
        buf_fini(&b);
    }
}

static void test_buf_failure_stays_until_clear(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    buf_add_str(&b, "ab");
    buf_add_str(&b, "cde");
    assert_true(b.failed);
    buf_add_char(&b, 'c'); /* would fit */
    assert_int_equal(b.len, 2);
    assert_true(b.failed);
    buf_clear(&b);
    buf_add_str(&b, "abcd");
    expect(&b, "abcd");
    buf_fini(&b);
}

static void test_buf_huge_length_does_not_wrap(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_add_str(&b, "ab");
    buf_add(&b, "x", SIZE_MAX - 1);
    assert_true(b.failed);
    assert_int_equal(b.len, 2);
    buf_fini(&b);
}

static void test_buf_printf_long(void **state)
{
    (void)state;
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (int len = 250; len < 260; len++) { /* around the size of its fast path */
        struct buf b;
        buf_init(&b, (size_t)len);
        buf_printf(&b, "%.*s", len, text);
        assert_int_equal(b.len, len);
        expect(&b, text + 1000 - len);
        buf_fini(&b);

        buf_init(&b, (size_t)len - 1);
        buf_printf(&b, "%.*s", len, text);
        assert_true(b.failed);
        assert_int_equal(b.len, 0);
        buf_fini(&b);
    }
}

static void test_buf_int(void **state)
{
    static const int64_t VALUES[] = {0, 7, -7, 10, 99, 100, INT64_MAX, INT64_MIN, INT64_MIN + 1};

    (void)state;
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        char wanted[32];
        struct buf b;
        buf_init(&b, sizeof wanted);
        snprintf(wanted, sizeof wanted, "%lld", (long long)VALUES[i]);
        buf_add_int(&b, VALUES[i]);
        expect(&b, wanted);
        buf_fini(&b);
    }
}

/* As "%.9g", whichever way a number takes. */
static void expect_real(double value)
{
    char wanted[32];
    struct buf b;
    buf_init(&b, sizeof wanted);
    snprintf(wanted, sizeof wanted, "%.9g", value);
    buf_add_real(&b, value);
    expect(&b, wanted);
    buf_fini(&b);
}

static void test_buf_real(void **state)
{
    static const double VALUES[] = {
        0.0,        -0.0,   0.1,  0.0004,      0.0005, 0.001,     0.9995, 0.9999, 1e-9,       1.2345678,
        12.3456789, 99.999, -1.5, 1e6 - 0.001, 1e6,    1234567.8, 1e15,   1e300,  0.30000001, 0.1 + 0.2};
    struct buf b;

    (void)state;
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++)
        expect_real(VALUES[i]);
    for (int64_t us = 0; us < 3000000; us += 37)
        expect_real((double)us / 1000);
    for (int64_t us = 999000000; us < 1000002000; us += 13)
        expect_real((double)us / 1000);
    for (int i = 1; i < 2000; i++) /* more than three decimals, as differences of times may have */
        expect_real((double)i * 1.00001 - (double)i);
    buf_init(&b, 100);
    buf_add_real(&b, INFINITY);
    buf_add_real(&b, -INFINITY);
    buf_add_real(&b, NAN);
    expect(&b, "nullnullnull");
    buf_fini(&b);
}

/* Every byte at every place of the eight that are looked at together, and behind them. */
static void test_buf_json_plain_prefix(void **state)
{
    char text[20];

    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, 'x', sizeof text);
            text[at] = (char)byte;
            assert_int_equal(json_plain_prefix(text, sizeof text), plain ? sizeof text : at);
            assert_int_equal(json_plain_prefix(text, at), at);
        }
    }
}

static void test_buf_json_str(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *want;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
        {"\n\r\t\b\f", 5, "\"\\n\\r\\t\\u0008\\u000c\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\x1f ", 2, "\"\\u001f \""},
        {"\xc3\xa4\x7f/", 4, "\"\xc3\xa4\x7f/\""},
        {"\"", 1, "\"\\\"\""},
        {"x\"", 2, "\"x\\\"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 100);
        buf_add_json_str(&b, cases[i].in, cases[i].len);
        expect(&b, cases[i].want);
        buf_fini(&b);
    }
}

static void test_buf_integers_are_big_endian(void **state)
{
    (void)state;
    static const unsigned char want[] = {0x12, 0x34, 0x89, 0xab, 0xcd, 0xef, 0xfe,
                                         0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    struct buf b;
    buf_init(&b, 100);
    buf_add_u16(&b, 0x1234);
    buf_add_u32(&b, 0x89abcdef);
    buf_add_u64(&b, 0xfedcba9876543210);
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_fini(&b);
}

static void test_str_copy(void **state)
{
    char to[4] = "xyz";

    (void)state;
    str_copy(to, sizeof to, "ab");
    assert_string_equal(to, "ab");
    str_copy(to, sizeof to, "abc");
    assert_string_equal(to, "abc");
    str_copy(to, sizeof to, "abcd");
    assert_string_equal(to, "abc");
    str_copy(to, sizeof to, "");
    assert_string_equal(to, "");
    assert_int_equal(str_hash("a-1"), str_hash("a-1"));
    assert_int_not_equal(str_hash("a-1"), str_hash("a-2"));
}

static void test_buf_consume(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_consume(&b, 0);
    buf_add_str(&b, "abcdef");
    buf_consume(&b, 2);
    expect(&b, "cdef");
    buf_add_char(&b, 'g');
    expect(&b, "cdefg");
    buf_consume(&b, 5);
    expect(&b, "");
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_appends),
        cmocka_unit_test(test_buf_limit_is_exact),
        cmocka_unit_test(test_buf_failure_stays_until_clear),
        cmocka_unit_test(test_buf_huge_length_does_not_wrap),
        cmocka_unit_test(test_buf_printf_long),
        cmocka_unit_test(test_buf_int),
        cmocka_unit_test(test_buf_real),
        cmocka_unit_test(test_buf_json_plain_prefix),
        cmocka_unit_test(test_buf_json_str),
        cmocka_unit_test(test_buf_integers_are_big_endian),
        cmocka_unit_test(test_buf_consume),
        cmocka_unit_test(test_str_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
