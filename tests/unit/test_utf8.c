/* UTF-8: what is a character, how texts are counted and cut, what is white space. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/utf8.h"

/* The textbook encoding, for every number, to compare with. */
static size_t encode(uint32_t c, char out[5])
{
    int n = 0;
    if (c < 0x80) {
        out[n++] = (char)c;
    } else if (c < 0x800) {
        out[n++] = (char)(0xc0 | c >> 6);
        out[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out[n++] = (char)(0xe0 | c >> 12);
        out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        out[n++] = (char)(0xf0 | c >> 18);
        out[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        out[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        out[n++] = (char)(0x80 | (c & 0x3f));
    }
    out[n] = '\0';
    return (size_t)n;
}

static void test_utf8_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x110400; c++) {
        char text[5];
        size_t n = encode(c, text);
        bool is_character = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        if (utf8_length(text, n) != (is_character ? n : 0))
            fail_msg("U+%04X", c);
        if (!is_character)
            continue;
        const char *p = text;
        if (utf8_next(&p) != c || p != text + n || utf8_count(text) != 1 || !is_utf8(text, n))
            fail_msg("U+%04X", c);
        for (size_t left = 0; left < n; left++)
            if (utf8_length(text, left) != 0)
                fail_msg("U+%04X cut to %zu bytes", c, left);
    }
}

static void test_utf8_length_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc3(",
                                      "\xe0\x9f\xbf",
                                      "\xe2(\xa1",
                                      "\xe2\x82(",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf0\x9f\x98(",
                                      "\xfe",
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (utf8_length(bad[i], strlen(bad[i])) != 0 || is_utf8(bad[i], strlen(bad[i])))
            fail_msg("bad sequence %zu", i);
    assert_int_equal(utf8_length("\0", 1), 1);
    assert_true(is_utf8("", 0));
    assert_false(is_utf8("abc\xe2\x82", 5));
}

static void test_utf8_counts_and_cuts(void **state)
{
    (void)state;
    const char *text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    static const size_t bytes_of[] = {0, 1, 3, 6, 10, 11, 11};
    assert_int_equal(utf8_count(text), 5);
    assert_int_equal(utf8_count(""), 0);
    for (size_t n = 0; n < sizeof bytes_of / sizeof bytes_of[0]; n++)
        assert_int_equal(utf8_prefix(text, n), bytes_of[n]);
    assert_int_equal(utf8_prefix("", 3), 0);
}

static void test_utf8_next_stops_at_the_end(void **state)
{
    (void)state;
    const char *p = "";
    assert_int_equal(utf8_next(&p), 0);
    assert_int_equal(utf8_next(&p), 0);
}

static void test_utf8_white_space_is_ecmascripts(void **state)
{
    (void)state;
    static const uint32_t spaces[] = {0x09,   0x0a,   0x0b,   0x0c,   0x0d,   0x20,   0xa0,   0x1680, 0x2000,
                                      0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009,
                                      0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff};
    size_t next = 0, count = sizeof spaces / sizeof spaces[0];
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        bool wanted = next < count && spaces[next] == c;
        next += wanted;
        if (utf8_is_space(c) != wanted)
            fail_msg("U+%04X", c);
    }
    assert_int_equal(next, count);
}

static void test_utf8_blank(void **state)
{
    (void)state;
    assert_true(utf8_is_blank(""));
    assert_true(utf8_is_blank(" \t\r\n\v\f"));
    assert_true(utf8_is_blank("\xc2\xa0\xe3\x80\x80\xef\xbb\xbf"));
    assert_false(utf8_is_blank(" . "));
    assert_false(utf8_is_blank("\xe2\x80\x8b")); /* zero width space */
    assert_false(utf8_is_blank("\x1f"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_every_code_point),
        cmocka_unit_test(test_utf8_length_refuses),
        cmocka_unit_test(test_utf8_counts_and_cuts),
        cmocka_unit_test(test_utf8_next_stops_at_the_end),
        cmocka_unit_test(test_utf8_white_space_is_ecmascripts),
        cmocka_unit_test(test_utf8_blank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
