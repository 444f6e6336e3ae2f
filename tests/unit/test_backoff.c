/* Waits between tries: the ladders the design names, the ends of the ranges, and jitter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <math.h>
#include <cmocka.h>

#include "base/backoff.h"

static void test_backoff_ladders(void **state)
{
    (void)state;
    static const struct {
        struct backoff b;
        int n;
        int64_t want;
    } cases[] = {
        /* a delivery */
        {{30000, 2, 0, 0}, 1, 30000},
        {{30000, 2, 0, 0}, 2, 60000},
        {{30000, 2, 0, 0}, 3, 120000},
        /* a job */
        {{5000, 5, 0, 0}, 1, 5000},
        {{5000, 5, 0, 0}, 2, 25000},
        {{5000, 5, 0, 0}, 3, 125000},
        /* a customer webhook */
        {{1000, 2, 0, 0}, 3, 4000},
        /* capped */
        {{5000, 5, 60000, 0}, 2, 25000},
        {{5000, 5, 60000, 0}, 3, 60000},
        {{5000, 5, 3000, 0}, 1, 3000},
        /* constant, fractional */
        {{700, 1, 0, 0}, 1000000, 700},
        {{1000, 1.15, 0, 0}, 2, 1150},
        {{1000, 1.5, 0, 0}, 3, 2250},
        /* out of range */
        {{5000, 5, 0, 0}, 0, 5000},
        {{5000, 5, 0, 0}, -7, 5000},
        {{0, 2, 0, 0}, 5, 0},
        {{0, 2, 0, 0}, INT_MAX, 0},
        {{-5, 2, 0, 0}, 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(backoff_delay_ms(&cases[i].b, cases[i].n), cases[i].want);
}

static void test_backoff_never_overflows(void **state)
{
    (void)state;
    static const struct backoff cases[] = {
        {30000, 2, 0, 1},         {1, 1e300, 0, 1},    {INT64_MAX, 1, 0, 1},
        {INT64_MAX, 1e308, 0, 1}, {1, INFINITY, 0, 1}, {INT64_MAX, 2, INT64_MAX, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t last = 0;
        for (int n = 1; n > 0 && n < INT_MAX / 3; n = n * 3) {
            int64_t wait = backoff_delay_ms(&cases[i], n);
            assert_true(wait >= last);
            assert_true(backoff_jittered_ms(&cases[i], n, UINT64_MAX) >= 0);
            /* may be added to any clock without a thought */
            assert_true(backoff_jittered_ms(&cases[i], n, UINT64_MAX) < INT64_MAX / 1000);
            last = wait;
        }
        assert_true(backoff_delay_ms(&cases[i], INT_MAX) > 1000LL * 3600 * 24 * 365 * 50);
    }
    const struct backoff capped = {30000, 2, 3600000, 0};
    assert_int_equal(backoff_delay_ms(&capped, INT_MAX), 3600000);
}

static void test_backoff_jitter_bounds(void **state)
{
    (void)state;
    const struct backoff b = {30000, 2, 0, 0.2};
    assert_int_equal(backoff_jittered_ms(&b, 1, 0), 24000);
    assert_int_equal(backoff_jittered_ms(&b, 1, UINT64_MAX), 36000);
    assert_int_equal(backoff_jittered_ms(&b, 1, UINT64_MAX / 2 + 1), 30000);
    assert_int_equal(backoff_jittered_ms(&b, 2, UINT64_MAX / 4 * 3), 66000);

    const struct backoff none = {30000, 2, 0, 0};
    assert_int_equal(backoff_jittered_ms(&none, 2, 12345), 60000);
    const struct backoff wild = {30000, 2, 0, 7}; /* counts as 1 */
    assert_int_equal(backoff_jittered_ms(&wild, 1, 0), 0);
    assert_int_equal(backoff_jittered_ms(&wild, 1, UINT64_MAX), 60000);
    const struct backoff broken = {30000, 2, 0, NAN}; /* counts as 0 */
    assert_int_equal(backoff_jittered_ms(&broken, 1, 0), 30000);
}

/* The cap is put on before the jitter, so that capped waits are spread too. */
static void test_backoff_jitter_spreads_the_cap(void **state)
{
    (void)state;
    const struct backoff b = {30000, 2, 60000, 0.5};
    assert_int_equal(backoff_jittered_ms(&b, 10, UINT64_MAX), 90000);
    assert_int_equal(backoff_jittered_ms(&b, 10, 0), 30000);
}

static void test_backoff_jitter_is_even(void **state)
{
    (void)state;
    const struct backoff b = {10000, 2, 0, 0.2};
    int tenths[10] = {0};
    for (int i = 0; i < 20000; i++) {
        int64_t wait = backoff_jittered_ms(&b, 1, random_u64());
        assert_in_range(wait, 8000, 12000);
        tenths[wait == 12000 ? 9 : (wait - 8000) / 400]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(tenths[i], 1600,
                        2400); /* 2000 expected; the bounds are nine standard deviations away */
}

static void test_backoff_random_does_not_repeat(void **state)
{
    (void)state;
    uint64_t seen[200];
    for (size_t i = 0; i < 200; i++) { /* more than one refill */
        seen[i] = random_u64();
        for (size_t n = 0; n < i; n++)
            assert_true(seen[n] != seen[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_ladders),        cmocka_unit_test(test_backoff_never_overflows),
        cmocka_unit_test(test_backoff_jitter_bounds),  cmocka_unit_test(test_backoff_jitter_spreads_the_cap),
        cmocka_unit_test(test_backoff_jitter_is_even), cmocka_unit_test(test_backoff_random_does_not_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
