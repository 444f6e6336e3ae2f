/* The circuit of a sender account: when it opens, how it is probed, when it closes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/circuit.h"
#include "domain/families.h"

struct scene {
    struct config config;
    struct metrics *metrics;
    struct circuits *circuits;
};

static int setup(void **state)
{
    static struct scene s;

    s = (struct scene){0};
    s.config.channels.account_count = 2;
    s.config.channels.accounts[0].name = "main";
    s.config.channels.accounts[1].name = "sms";
    s.metrics = metrics_new();
    families_register_consumer(s.metrics);
    s.circuits = circuits_new(&s.config, s.metrics, NULL);
    log_configure("test", LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    circuits_free(&s->circuits);
    metrics_free(&s->metrics);
    return 0;
}

static void record(struct scene *s, const char *account, enum outcome outcome, int times)
{
    for (int i = 0; i < times; i++)
        circuits_record(s->circuits, account, outcome, false, 1000);
}

static void test_circuit_opens_after_failures_in_a_row(void **state)
{
    struct scene *s = *state;

    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    assert_false(circuits_is_down(s->circuits, "main"));
    record(s, "main", OUTCOME_DELIVERED, 1); /* not in a row any more */
    record(s, "main", OUTCOME_UNCERTAIN, CIRCUIT_FAILURES - 1);
    assert_false(circuits_is_down(s->circuits, "main"));
    record(s, "main", OUTCOME_TEMPFAIL, 1);
    assert_true(circuits_is_down(s->circuits, "main"));
    assert_false(circuits_is_down(s->circuits, "sms"));
    assert_true(metric_value(s->metrics, &METRIC_CIRCUIT_OPEN, "main", NULL) == 1);
    assert_true(metric_value(s->metrics, &METRIC_CIRCUIT_OPEN, "sms", NULL) == 0);
}

static void test_circuit_opens_at_once_on_refused_credentials(void **state)
{
    struct scene *s = *state;

    record(s, "sms", OUTCOME_AUTH, 1);
    assert_true(circuits_is_down(s->circuits, "sms"));
}

/* What the provider says about a message says that the provider is there. */
static void test_circuit_stays_closed_on_the_messages_own_faults(void **state)
{
    struct scene *s = *state;

    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    record(s, "main", OUTCOME_PERMFAIL, 1);
    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    record(s, "main", OUTCOME_THROTTLED, 1);
    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    assert_false(circuits_is_down(s->circuits, "main"));
}

static void test_circuit_probes_one_at_a_time(void **state)
{
    struct scene *s = *state;
    const char *down[4];
    int64_t at;

    assert_true(circuits_next_probe_at(s->circuits) == -1);
    record(s, "main", OUTCOME_AUTH, 1);
    assert_int_equal(circuits_down(s->circuits, down, 4), 1);
    assert_string_equal(down[0], "main");
    at = circuits_next_probe_at(s->circuits);
    assert_in_range(at, 1000 + CIRCUIT_PROBE_MS * 8 / 10, 1000 + CIRCUIT_PROBE_MS * 12 / 10);
    assert_null(circuits_take_probe(s->circuits, at - 1));
    assert_string_equal(circuits_take_probe(s->circuits, at), "main");
    assert_null(circuits_take_probe(s->circuits, at + 1000000)); /* one is under way */
    assert_true(circuits_is_down(s->circuits, "main"));

    circuits_record(s->circuits, "main", OUTCOME_AUTH, false, at); /* it failed: the next one is later */
    assert_true(circuits_next_probe_at(s->circuits) - at > CIRCUIT_PROBE_MS * 12 / 10);
    at = circuits_next_probe_at(s->circuits);
    assert_string_equal(circuits_take_probe(s->circuits, at), "main");
    circuits_record(s->circuits, "main", OUTCOME_DELIVERED, false, at);
    assert_false(circuits_is_down(s->circuits, "main"));
    assert_true(circuits_next_probe_at(s->circuits) == -1);
}

static void test_circuit_probe_without_anything_to_send_comes_back_soon(void **state)
{
    struct scene *s = *state;
    int64_t at;

    record(s, "main", OUTCOME_AUTH, 1);
    at = circuits_next_probe_at(s->circuits);
    assert_non_null(circuits_take_probe(s->circuits, at));
    circuits_probe_missed(s->circuits, "main", at);
    assert_true(circuits_next_probe_at(s->circuits) == at + CIRCUIT_IDLE_PROBE_MS);
    circuits_probe_missed(s->circuits, "sms", at); /* not probing: nothing happens */
    assert_false(circuits_is_down(s->circuits, "sms"));
}

/* An attempt from before the opening that ends late neither closes it by failing nor moves the probe. */
static void test_circuit_late_failures_do_not_move_the_probe(void **state)
{
    struct scene *s = *state;
    int64_t at;

    record(s, "main", OUTCOME_AUTH, 1);
    at = circuits_next_probe_at(s->circuits);
    circuits_record(s->circuits, "main", OUTCOME_TEMPFAIL, false, at + 5000);
    assert_true(circuits_next_probe_at(s->circuits) == at);
    circuits_record(s->circuits, "main", OUTCOME_DELIVERED, false, at); /* but a success is one */
    assert_false(circuits_is_down(s->circuits, "main"));
}

static void test_circuit_probe_waits_are_bounded(void **state)
{
    struct scene *s = *state;
    int64_t now = 1000;

    record(s, "main", OUTCOME_AUTH, 1);
    for (int i = 0; i < 100; i++) {
        int64_t at = circuits_next_probe_at(s->circuits);
        assert_true(at - now <= CIRCUIT_PROBE_MAX_MS * 12 / 10);
        now = at;
        assert_non_null(circuits_take_probe(s->circuits, now));
        circuits_record(s->circuits, "main", OUTCOME_TEMPFAIL, false, now);
    }
}

/* "The handset is off" comes from a provider that works. */
static void test_circuit_failures_of_single_messages_do_not_count(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < 3 * CIRCUIT_FAILURES; i++)
        circuits_record(s->circuits, "main", OUTCOME_TEMPFAIL, true, 1000);
    assert_false(circuits_is_down(s->circuits, "main"));
    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    circuits_record(s->circuits, "main", OUTCOME_TEMPFAIL, true, 1000); /* it spoke to us: not in a row */
    record(s, "main", OUTCOME_TEMPFAIL, CIRCUIT_FAILURES - 1);
    assert_false(circuits_is_down(s->circuits, "main"));
    record(s, "main", OUTCOME_AUTH, 1);
    circuits_record(s->circuits, "main", OUTCOME_TEMPFAIL, true, 1000);
    assert_false(circuits_is_down(s->circuits, "main"));
}

static void test_circuit_of_an_unknown_account_is_closed(void **state)
{
    struct scene *s = *state;

    record(s, "gone", OUTCOME_AUTH, 9);
    assert_false(circuits_is_down(s->circuits, "gone"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_circuit_opens_after_failures_in_a_row),
        CASE(test_circuit_opens_at_once_on_refused_credentials),
        CASE(test_circuit_stays_closed_on_the_messages_own_faults),
        CASE(test_circuit_probes_one_at_a_time),
        CASE(test_circuit_probe_without_anything_to_send_comes_back_soon),
        CASE(test_circuit_late_failures_do_not_move_the_probe),
        CASE(test_circuit_probe_waits_are_bounded),
        CASE(test_circuit_failures_of_single_messages_do_not_count),
        CASE(test_circuit_of_an_unknown_account_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
