/* Where a text may be cut so that a reader does not see it: '|' in a row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/grapheme.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define ZWJ    "\xe2\x80\x8d"
#define VS16   "\xef\xb8\x8f"
#define MAN    "\xf0\x9f\x91\xa8"
#define WOMAN  "\xf0\x9f\x91\xa9"
#define GIRL   "\xf0\x9f\x91\xa7"
#define THUMB  "\xf0\x9f\x91\x8d"
#define DARK   "\xf0\x9f\x8f\xbf"
#define HEART  "\xe2\x9d\xa4"
#define RI_D   "\xf0\x9f\x87\xa9"
#define RI_E   "\xf0\x9f\x87\xaa"
#define RI_F   "\xf0\x9f\x87\xab"
#define KEYCAP "\xe2\x83\xa3"
#define ACUTE  "\xcc\x81"
#define ALEF   "\xd7\x90"
#define SHIN   "\xd7\xa9"
#define DOT    "\xd7\x81"
#define RLM    "\xe2\x80\x8f"
#define RLE    "\xe2\x80\xab"
#define PDF    "\xe2\x80\xac"

static void test_grapheme_rows(void **state)
{
    static const char *const ROWS[] = {
        "a|b|c",
        "\r\n|\n|\r|a",
        "e" ACUTE "|e" ACUTE ACUTE "|x",
        "a|\n|" ACUTE "|b", /* nothing to stand on */
        MAN ZWJ WOMAN ZWJ GIRL "|" MAN,
        THUMB DARK "|" THUMB,
        HEART VS16 ZWJ "\xf0\x9f\x94\xa5|a",
        WOMAN DARK ZWJ HEART VS16 ZWJ MAN DARK "|.",
        RI_D RI_E "|" RI_F RI_F "|" RI_D "|a",
        "1" VS16 KEYCAP "|2",
        "\xf0\x9f\x8f\xb4\xf3\xa0\x81\xa7\xf3\xa0\x81\xa2\xf3\xa0\x81\xa5\xf3\xa0\x81\xae\xf3\xa0\x81\xa7"
        "\xf3\xa0\x81\xbf|a", /* the flag of England: tags */
        "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab|\xe1\x84\x80\xe1\x85\xb3\xe1\x86\xaf", /* Hangul jamo */
        "\xea\xb0\x80\xe1\x86\xa8|\xea\xb0\x81\xe1\x86\xa8|\xea\xb0\x81|\xe1\x84\x80",
        "\xe1\x84\x80\xe1\x84\x80|a|\xe1\x85\xa1|b",
        "\xe0\xa4\xa8\xe0\xa4\xbf|\xe0\xa4\xa8", /* a Devanagari vowel sign */
        "\xe0\xb8\x99\xe0\xb8\xb3|\xe0\xb8\x81", /* Thai sara am */
        SHIN DOT "|" ALEF,
        ALEF RLM "|" ALEF,
        ALEF "|" RLE ALEF PDF "|" ALEF,
        "\xd9\x86\xd9\x8e|\xd8\xb9\xd9\x8e|\xd9\x85", /* Arabic with vowel signs */
        "\xd8\x80\xd9\xa1|\xd9\xa2",                  /* the Arabic number sign and a digit */
        " " ACUTE "| |a",
        RLE "| |a",
        MAN ZWJ "| |a",
        MAN ZWJ "|\n",
    };
    struct buf joined, found;

    (void)state;
    buf_init(&joined, 1024);
    buf_init(&found, 1024);
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        const char *at;
        buf_clear(&joined);
        buf_clear(&found);
        for (at = ROWS[i]; *at; at++) {
            if (*at != '|')
                buf_add_char(&joined, *at);
        }
        at = buf_str(&joined);
        for (size_t n; (n = grapheme_length(at)) > 0; at += n) {
            buf_add(&found, found.len > 0 ? "|" : "", found.len > 0 ? 1 : 0);
            buf_add(&found, at, n);
        }
        assert_string_equal(buf_str(&found), ROWS[i]);
    }
    buf_fini(&joined);
    buf_fini(&found);
}

static void test_grapheme_end(void **state)
{
    (void)state;
    assert_int_equal(grapheme_length(""), 0);
    assert_int_equal(grapheme_length(RLE), 3);
    assert_int_equal(grapheme_length(ZWJ), 3);
    assert_int_equal(grapheme_length(RI_D), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grapheme_rows),
        cmocka_unit_test(test_grapheme_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
