/* When waiting without a move is a standstill, and when it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "domain/standstill.h"

static void test_standstill_looks(void **state)
{
    static const struct {
        int64_t at_ms;
        bool is_waiting;
        uint64_t done;
        bool stands;
    } LOOKS[] = {
        {0, false, 0, false},    {15000, true, 0, false}, /* the first look says nothing */
        {18000, true, 0, false}, {25000, true, 0, true},  {26000, true, 1, false},  /* it moves */
        {35999, true, 1, false}, {36000, true, 1, true},  {37000, false, 1, false}, /* nothing waits */
        {60000, true, 1, false}, {69999, true, 1, false}, {70000, true, 1, true},
    };
    struct standstill s = {0};

    (void)state;
    for (size_t i = 0; i < sizeof LOOKS / sizeof LOOKS[0]; i++) {
        if (standstill_look(&s, LOOKS[i].is_waiting, LOOKS[i].done, LOOKS[i].at_ms) != LOOKS[i].stands)
            fail_msg("look %zu", i);
        assert_int_equal(s.is_reached, LOOKS[i].stands);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_standstill_looks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
