/* The clocks and their text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static void test_clock_iso8601(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {1795210260123, "2026-11-20T21:31:00.123Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MIN, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[25];
        clock_iso8601(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_clock_fake_stands(void **state)
{
    (void)state;
    clock_fake(5000, 1795210260123);
    assert_int_equal(clock_mono_ms(), 5000);
    assert_int_equal(clock_mono_us(), 5000000);
    assert_int_equal(clock_boot_ms(), 5000);
    assert_int_equal(clock_wall_ms(), 1795210260123);
    clock_fake(5001, 1795210260124);
    assert_int_equal(clock_mono_ms(), 5001);
    clock_real();
    assert_true(clock_wall_ms() != 1795210260124);
}

static void test_clock_real_moves_on(void **state)
{
    (void)state;
    int64_t start_us = clock_mono_us(), boot_ms = clock_boot_ms();
    while (clock_mono_us() < start_us + 2000)
        ;
    assert_true(clock_mono_ms() >= start_us / 1000 + 2);
    assert_true(clock_boot_ms() > boot_ms);
    assert_true(clock_wall_ms() > 1700000000000); /* milliseconds, not seconds */
    assert_true(clock_wall_ms() < 10000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_iso8601),
        cmocka_unit_test(test_clock_fake_stands),
        cmocka_unit_test(test_clock_real_moves_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
