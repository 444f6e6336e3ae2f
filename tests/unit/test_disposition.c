/* The retry policy, row by row: every outcome with every number of attempts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/delivery.h"
#include "consumer/disposition.h"

static const struct config_retry LADDER = {
    .tries = 4, .backoff = {.delay_ms = 30000, .multiplier = 2, .max_delay_ms = 3600000, .jitter = 0}};

static struct disposition decide(enum outcome outcome, int attempts, int64_t retry_after_ms)
{
    struct disposition_input in = {.outcome = outcome,
                                   .attempts = attempts,
                                   .retry_after_ms = retry_after_ms,
                                   .ladder = &LADDER,
                                   .uncertain_wait_ms = 120000,
                                   .random = 12345};

    return disposition_decide(&in);
}

static void test_disposition_table(void **state)
{
    static const struct {
        enum outcome outcome;
        int attempts;
        int64_t retry_after_ms;
        enum disposition_kind kind;
        int64_t wait_ms;
        bool counted;
    } ROWS[] = {
        {OUTCOME_DELIVERED, 1, -1, DISPOSITION_DONE, 0, true},
        {OUTCOME_DELIVERED, 9, 5000, DISPOSITION_DONE, 0, true},
        {OUTCOME_TEMPFAIL, 1, -1, DISPOSITION_RETRY, 30000, true},
        {OUTCOME_TEMPFAIL, 2, -1, DISPOSITION_RETRY, 60000, true},
        {OUTCOME_TEMPFAIL, 3, -1, DISPOSITION_RETRY, 120000, true},
        {OUTCOME_TEMPFAIL, 4, -1, DISPOSITION_PARK, 0, true},
        {OUTCOME_TEMPFAIL, 400, -1, DISPOSITION_PARK, 0, true},
        {OUTCOME_TEMPFAIL, 1, 45000, DISPOSITION_RETRY, 45000, true},     /* the provider asks for longer */
        {OUTCOME_TEMPFAIL, 2, 1000, DISPOSITION_RETRY, 60000, true},      /* never sooner than the ladder */
        {OUTCOME_TEMPFAIL, 1, 7200000, DISPOSITION_RETRY, 3600000, true}, /* an hour at most */
        {OUTCOME_THROTTLED, 1, -1, DISPOSITION_HOLD, DISPOSITION_THROTTLE_MS, false},
        {OUTCOME_THROTTLED, 4, 2000, DISPOSITION_HOLD, 2000, false},
        {OUTCOME_THROTTLED, 99, 0, DISPOSITION_HOLD, 0, false},
        {OUTCOME_THROTTLED, 1, INT64_MAX, DISPOSITION_HOLD, 3600000, false},
        {OUTCOME_PERMFAIL, 1, -1, DISPOSITION_PARK, 0, true},
        {OUTCOME_PERMFAIL, 1, 60000, DISPOSITION_PARK, 0, true},
        {OUTCOME_UNCERTAIN, 1, -1, DISPOSITION_RECONCILE, 120000, true},
        {OUTCOME_UNCERTAIN, 4, -1, DISPOSITION_RECONCILE, 120000, true},
        {OUTCOME_AUTH, 1, -1, DISPOSITION_HOLD, DISPOSITION_ACCOUNT_MS, false},
        {OUTCOME_AUTH, 50, 1000, DISPOSITION_HOLD, DISPOSITION_ACCOUNT_MS, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct disposition d = decide(ROWS[i].outcome, ROWS[i].attempts, ROWS[i].retry_after_ms);
        print_message("row %zu: %s attempt %d\n", i, outcome_name(ROWS[i].outcome), ROWS[i].attempts);
        assert_int_equal(d.kind, ROWS[i].kind);
        assert_int_equal(d.wait_ms, ROWS[i].wait_ms);
        assert_int_equal(d.counted, ROWS[i].counted);
    }
}

static void check_any(const struct disposition_input *in)
{
    struct disposition d = disposition_decide(in);
    bool is_sent = d.kind == DISPOSITION_DONE || d.kind == DISPOSITION_CONTINUE;

    assert_true(d.wait_ms >= 0 && d.wait_ms <= 3600000);
    assert_int_equal(is_sent, in->outcome == OUTCOME_DELIVERED);
    assert_int_equal(d.kind == DISPOSITION_CONTINUE, is_sent && in->has_more);
    assert_true(delivery_may_move(DELIVERY_SENDING, delivery_state_after(d.kind)));
    if (d.kind == DISPOSITION_HOLD)
        assert_false(d.counted);
    if (d.kind == DISPOSITION_NEXT)
        assert_true(in->has_next);
    if (d.kind == DISPOSITION_PARK)
        assert_false(in->has_next);
    if (d.kind == DISPOSITION_RETRY)
        assert_true(in->attempts < LADDER.tries && (in->tries == 0 || in->attempts < in->tries));
}

/* Whatever comes in, a message that is not sent is tried again, reconciled, sent another way or parked: there
 * is no fifth way. */
static void test_disposition_sweep(void **state)
{
    static const int64_t AFTERS[] = {-1, 0, 1, 3600000, INT64_MAX};
    enum { ATTEMPTS = 9, TRIES = 7, FLAGS = 8, COUNT = OUTCOME_COUNT * ATTEMPTS * TRIES * FLAGS * 5 };

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        int rest = i / OUTCOME_COUNT, flags = rest / ATTEMPTS / TRIES;
        check_any(&(struct disposition_input){.outcome = (enum outcome)(i % OUTCOME_COUNT),
                                              .attempts = 1 + rest % ATTEMPTS,
                                              .tries = rest / ATTEMPTS % TRIES,
                                              .has_more = flags % 2 != 0,
                                              .has_next = flags / 2 % 2 != 0,
                                              .account_down = flags / 4 % 2 != 0,
                                              .retry_after_ms = AFTERS[flags / FLAGS],
                                              .ladder = &LADDER,
                                              .uncertain_wait_ms = 120000,
                                              .random = 12345});
    }
}

/* A kind of failure that seldom passes is given up sooner, never later than the ladder ends. */
static void test_disposition_fewer_tries(void **state)
{
    struct disposition_input in = {
        .outcome = OUTCOME_TEMPFAIL, .retry_after_ms = -1, .ladder = &LADDER, .random = 1, .tries = 2};

    (void)state;
    in.attempts = 1;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_RETRY);
    in.attempts = 2;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_PARK);
    in.has_next = true;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_NEXT);
    in = (struct disposition_input){
        .outcome = OUTCOME_TEMPFAIL, .retry_after_ms = -1, .ladder = &LADDER, .tries = 9, .attempts = 4};
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_PARK);
}

/* While parts are left, one that is sent is not the end; what fails for good takes the chain's next step. */
static void test_disposition_goes_on(void **state)
{
    struct disposition_input in = {
        .attempts = 1, .retry_after_ms = -1, .ladder = &LADDER, .has_more = true, .has_next = true};

    (void)state;
    in.outcome = OUTCOME_DELIVERED;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_CONTINUE);
    in.outcome = OUTCOME_PERMFAIL;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_NEXT);
    assert_int_equal(disposition_decide(&in).wait_ms, 0);
    in.outcome = OUTCOME_UNCERTAIN; /* it may have arrived: no second way */
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_RECONCILE);
}

/* While the account's circuit is open a failure says nothing about the message: it keeps its tries. */
static void test_disposition_account_down_uses_up_no_try(void **state)
{
    static const enum outcome OUTCOMES[] = {OUTCOME_TEMPFAIL, OUTCOME_AUTH};
    struct disposition_input in = {
        .attempts = 4, .retry_after_ms = -1, .account_down = true, .ladder = &LADDER, .random = 1};

    (void)state;
    for (size_t i = 0; i < sizeof OUTCOMES / sizeof OUTCOMES[0]; i++) {
        in.outcome = OUTCOMES[i];
        struct disposition d = disposition_decide(&in);
        assert_int_equal(d.kind, DISPOSITION_HOLD);
        assert_int_equal(d.wait_ms, 0);
        assert_false(d.counted);
    }
    in.outcome = OUTCOME_PERMFAIL; /* that one is the message's */
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_PARK);
    in.outcome = OUTCOME_UNCERTAIN;
    assert_int_equal(disposition_decide(&in).kind, DISPOSITION_RECONCILE);
}

static void test_disposition_jitter_stays_in_bounds(void **state)
{
    struct config_retry ladder = LADDER;
    struct disposition_input in = {
        .outcome = OUTCOME_TEMPFAIL, .attempts = 1, .retry_after_ms = -1, .ladder = &ladder};

    (void)state;
    ladder.backoff.jitter = 0.2;
    for (uint64_t i = 0; i < 1000; i++) {
        in.random = i * (UINT64_MAX / 1000);
        assert_in_range(disposition_decide(&in).wait_ms, 24000, 36000);
    }
}

static void test_disposition_names_are_distinct(void **state)
{
    (void)state;
    for (int a = 0; a < DISPOSITION_COUNT; a++) {
        for (int b = 0; b < a; b++)
            assert_string_not_equal(disposition_name((enum disposition_kind)a),
                                    disposition_name((enum disposition_kind)b));
    }
    for (int a = 0; a < OUTCOME_COUNT; a++) {
        for (int b = 0; b < a; b++)
            assert_string_not_equal(outcome_name((enum outcome)a), outcome_name((enum outcome)b));
    }
}

/* What is sent stays sent unless a person asks, and nothing leaves `sending` for `cancelled`: it may have
 * gone. */
static void test_delivery_moves(void **state)
{
    (void)state;
    assert_true(delivery_may_move(DELIVERY_READY, DELIVERY_SENDING));
    assert_false(delivery_may_move(DELIVERY_READY, DELIVERY_SENT));
    assert_false(delivery_may_move(DELIVERY_READY, DELIVERY_UNCERTAIN));
    assert_false(delivery_may_move(DELIVERY_SENDING, DELIVERY_CANCELLED));
    assert_false(delivery_may_move(DELIVERY_UNCERTAIN, DELIVERY_SENDING));
    assert_true(delivery_may_move(DELIVERY_UNCERTAIN, DELIVERY_SENT));
    assert_false(delivery_may_move(DELIVERY_SENT, DELIVERY_SENDING));
    assert_true(delivery_may_move(DELIVERY_SENT, DELIVERY_PARKED)); /* it did not arrive, and nothing helps */
    assert_true(delivery_may_move(DELIVERY_PARKED, DELIVERY_READY));
    for (int s = 0; s < DELIVERY_STATE_COUNT; s++)
        assert_false(delivery_may_move((enum delivery_state)s, (enum delivery_state)s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disposition_table),
        cmocka_unit_test(test_disposition_sweep),
        cmocka_unit_test(test_disposition_fewer_tries),
        cmocka_unit_test(test_disposition_goes_on),
        cmocka_unit_test(test_disposition_account_down_uses_up_no_try),
        cmocka_unit_test(test_disposition_jitter_stays_in_bounds),
        cmocka_unit_test(test_disposition_names_are_distinct),
        cmocka_unit_test(test_delivery_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
