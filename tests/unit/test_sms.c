/* What a text costs as SMS, and what makes it cheaper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "consumer/sms.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define EURO  "\xe2\x82\xac"
#define ZHE   "\xd0\x96"
#define SMILE "\xf0\x9f\x98\x80"

static void test_sms_segments(void **state)
{
    static const struct {
        struct {
            const char *text;
            size_t times;
        } runs[3];
        size_t segments;
    } ROWS[] = {
        {{{"a", 160}}, 1},
        {{{"a", 161}}, 2},
        {{{"a", 306}}, 2},
        {{{"a", 307}}, 3},
        {{{EURO, 80}}, 1},
        {{{EURO, 81}}, 2},
        {{{EURO, 152}}, 2},
        {{{EURO, 153}}, 3}, /* 76 of them fit a segment of 153 septets */
        {{{"a", 152}, {EURO, 1}, {"a", 151}}, 2},
        {{{"a", 152}, {EURO, 1}, {"a", 152}}, 3}, /* 306 septets, but the pair is not divided */
        {{{ZHE, 70}}, 1},
        {{{ZHE, 71}}, 2},
        {{{ZHE, 134}}, 2},
        {{{ZHE, 135}}, 3},
        {{{SMILE, 35}}, 1},
        {{{SMILE, 36}}, 2},
        {{{SMILE, 66}}, 2}, /* 33 of them fit a segment of 67 units */
        {{{SMILE, 67}}, 3},
        {{{"a`b", 1}}, 1},
        {{{"`", 70}}, 1},
        {{{"`", 71}}, 2},
        {{{"", 1}}, 0},
        {{{"a", 160}, {SMILE, 1}}, 3}, /* 162 units: one emoji makes all of it UCS-2 */
        {{{"\xc3\x87", 160}}, 1},      /* only the capital c-cedilla is in GSM-7 */
        {{{"\xc3\xa7", 71}}, 2},
        {{{"a", 1}, {"\t", 70}}, 2},
        {{{"\r\n", 80}}, 1},
        {{{"\f", 80}}, 1},
        {{{"\f", 81}}, 2},
        {{{"[]{}\\^~|", 10}}, 1},
        {{{"[]{}\\^~|", 10}, {"a", 1}}, 2},
    };
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        buf_clear(&b);
        for (size_t run = 0; run < COUNT(ROWS[i].runs); run++) {
            for (size_t n = 0; n < ROWS[i].runs[run].times; n++)
                buf_add_str(&b, ROWS[i].runs[run].text);
        }
        if (sms_segments(buf_str(&b)) != ROWS[i].segments)
            fail_msg("row %zu: %zu segments, expected %zu", i, sms_segments(buf_str(&b)), ROWS[i].segments);
    }
    buf_fini(&b);
}

static void add_each(struct sms_meter *m, uint32_t c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sms_meter_add(m, c);
}

static void expect_alike(uint32_t before, size_t prefix, size_t count)
{
    struct sms_meter one = {0}, many = {0};

    add_each(&one, before, prefix);
    add_each(&many, before, prefix);
    add_each(&one, 'x', count);
    sms_meter_add_plain(&many, count);
    assert_memory_equal(&one.gsm, &many.gsm, sizeof one.gsm);
    assert_memory_equal(&one.ucs2, &many.ucs2, sizeof one.ucs2);
}

/* Many at once count as each by itself, behind whatever came before. */
static void test_sms_meter_many_at_once(void **state)
{
    static const uint32_t BEFORE[] = {'a', 0x20ac, 0x1f600, 0x416};
    enum { PREFIXES = 160, COUNTS = 700 };

    (void)state;
    for (size_t i = 0; i < COUNT(BEFORE); i++) {
        for (size_t n = 0; n < PREFIXES / 10 * COUNTS; n++)
            expect_alike(BEFORE[i], n / COUNTS * 13, n % COUNTS);
    }
}

static void test_sms_plain_prefix(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x80; c++) {
        char text[] = {'a', (char)c, 'b'};
        assert_int_equal(sms_plain_prefix(text, sizeof text), sms_septets(c) == 1 ? 3 : 1);
    }
    assert_int_equal(sms_plain_prefix("a" EURO, 4), 1);
    assert_int_equal(sms_plain_prefix("abc", 2), 2);
    assert_int_equal(sms_plain_prefix("", 0), 0);
}

static void test_sms_alphabet(void **state)
{
    size_t basic = 0, beyond_ascii = 0, extended = 0;

    (void)state;
    for (uint32_t c = 1; c < 0x110000; c++) {
        basic += sms_septets(c) == 1;
        beyond_ascii += sms_septets(c) == 1 && c > 0x7f;
        extended += sms_septets(c) == 2;
    }
    assert_int_equal(basic, 127);
    assert_int_equal(beyond_ascii, 39);
    assert_int_equal(extended, 10);
}

static void test_sms_meter_never_falls(void **state)
{
    static const char *const TEXTS[] = {"a" EURO "b[c]", EURO EURO EURO SMILE, ZHE "a" SMILE};

    (void)state;
    for (size_t i = 0; i < COUNT(TEXTS); i++) {
        struct sms_meter m = {0};
        size_t before = 0;
        for (size_t n = 0; n < 400; n++) {
            const char *at = TEXTS[i];
            for (uint32_t c = utf8_next(&at); c; c = utf8_next(&at)) {
                sms_meter_add(&m, n < 80 * (i + 1) && c == 0x1f600 ? 'x' : c); /* GSM-7 first */
                assert_true(sms_meter_segments(&m) >= before);
                before = sms_meter_segments(&m);
            }
        }
        assert_true(before > 10);
    }
}

static void test_sms_plain(void **state)
{
    static const char *const ROWS[][2] = {
        {"plain [text] " EURO, "plain [text] " EURO},
        {"\xe2\x80\x98s\xe2\x80\x99 \xe2\x80\x9cq\xe2\x80\x9d", "'s' \"q\""},
        {"a\xe2\x80\x93"
         "b\xe2\x80\x94"
         "c\xe2\x80\xa6",
         "a-b-c..."},
        {"5\xc2\xa0kg\xe2\x80\xafnet", "5 kg net"},
        {"\xe2\x80\xa2\tone `two`", "- one 'two'" + 0},
        {"\xc2\xabla\xc2\xbb", "\"la\""},
        {"caf\xc3\xa9 " ZHE SMILE "\xe2\x80\x8d\xc3\xa7", "caf\xc3\xa9 " ZHE SMILE "\xe2\x80\x8d\xc3\xa7"},
        {"", ""},
    };
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        buf_clear(&b);
        sms_add_plain(&b, ROWS[i][0]);
        assert_string_equal(buf_str(&b), ROWS[i][1]);
    }
    buf_fini(&b);
}

/* All that is put in another's place is in GSM-7, and what is replaced was not. */
static void test_sms_plain_is_cheaper(void **state)
{
    char one[5];
    struct buf b;

    (void)state;
    buf_init(&b, 64);
    for (uint32_t c = 0x80; c < 0x3000; c++) {
        one[0] = (char)(c < 0x800 ? 0xc0 | c >> 6 : 0xe0 | c >> 12);
        one[1] = (char)(0x80 | (c < 0x800 ? c & 0x3f : c >> 6 & 0x3f));
        one[2] = (char)(c < 0x800 ? 0 : 0x80 | (c & 0x3f));
        one[3] = '\0';
        buf_clear(&b);
        sms_add_plain(&b, one);
        if (strcmp(buf_str(&b), one) == 0)
            continue;
        assert_int_equal(sms_septets(c), 0);
        for (size_t i = 0; i < b.len; i++)
            assert_int_equal(sms_septets((unsigned char)b.data[i]), 1);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sms_segments),          cmocka_unit_test(test_sms_alphabet),
        cmocka_unit_test(test_sms_meter_never_falls), cmocka_unit_test(test_sms_plain),
        cmocka_unit_test(test_sms_plain_is_cheaper),  cmocka_unit_test(test_sms_meter_many_at_once),
        cmocka_unit_test(test_sms_plain_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
