/* The registry of metrics: what each call does to the text a scrape sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/metrics.h"

static const double bounds[] = {0.1, 1, 10};

static const struct metric_family plain = {
    .name = "agwb_plain_total", .help = "Plain.", .kind = METRIC_COUNTER};
static const struct metric_family level = {.name = "agwb_level", .help = "A level.", .kind = METRIC_GAUGE};
static const struct metric_family pairs = {
    .name = "agwb_pairs_total", .help = "Pairs.", .kind = METRIC_COUNTER, .labels = {"channel", "outcome"}};
static const struct metric_family waits = {.name = "agwb_wait_seconds",
                                           .help = "Waits.",
                                           .kind = METRIC_HISTOGRAM,
                                           .buckets = bounds,
                                           .bucket_count = 3};
static const struct metric_family waits_by = {.name = "agwb_by_seconds",
                                              .help = "Waits.",
                                              .kind = METRIC_HISTOGRAM,
                                              .labels = {"channel"},
                                              .buckets = bounds,
                                              .bucket_count = 1};

static void expect(const struct metrics *m, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    assert_string_equal(buf_str(&out), want);
    buf_fini(&out);
}

static bool has_line(const struct metrics *m, const char *line)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    const char *at = strstr(buf_str(&out), line);
    bool found = at && (at == out.data || at[-1] == '\n') && at[strlen(line)] == '\n';
    buf_fini(&out);
    return found;
}

static void test_metrics_empty(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    expect(m, "");
    metrics_free(&m);
    assert_null(m);
    metrics_free(&m);
}

static void test_metrics_registered_series_start_at_zero(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_register(m, &plain);
    metrics_register(m, &pairs);
    metrics_register(m, &waits);
    metrics_register(m, &plain); /* once is enough */
    expect(m, "# HELP agwb_plain_total Plain.\n# TYPE agwb_plain_total counter\nagwb_plain_total 0\n"
              "# HELP agwb_pairs_total Pairs.\n# TYPE agwb_pairs_total counter\n"
              "# HELP agwb_wait_seconds Waits.\n# TYPE agwb_wait_seconds histogram\n"
              "agwb_wait_seconds_bucket{le=\"0.1\"} 0\nagwb_wait_seconds_bucket{le=\"1\"} 0\n"
              "agwb_wait_seconds_bucket{le=\"10\"} 0\nagwb_wait_seconds_bucket{le=\"+Inf\"} 0\n"
              "agwb_wait_seconds_sum 0\nagwb_wait_seconds_count 0\n");
    metrics_free(&m);
}

/* The order is that of registration and of label values, whatever the order of use. */
static void test_metrics_order_is_stable(void **state)
{
    (void)state;
    static const char *const channels[] = {"whatsapp", "email", "sms", "sms", "email"};
    static const char *const outcomes[] = {"sent", "tempfail", "sent", "auth", "sent"};
    static const int orders[2][5] = {{0, 1, 2, 3, 4}, {3, 4, 2, 0, 1}};
    for (size_t o = 0; o < 2; o++) {
        struct metrics *m = metrics_new();
        metrics_register(m, &pairs);
        metrics_register(m, &level);
        metric_set(m, &level, -2.5, NULL, NULL);
        for (size_t i = 0; i < 5; i++) {
            int n = orders[o][i];
            metric_add(m, &pairs, n + 1, channels[n], outcomes[n]);
        }
        expect(m, "# HELP agwb_pairs_total Pairs.\n# TYPE agwb_pairs_total counter\n"
                  "agwb_pairs_total{channel=\"email\",outcome=\"sent\"} 5\n"
                  "agwb_pairs_total{channel=\"email\",outcome=\"tempfail\"} 2\n"
                  "agwb_pairs_total{channel=\"sms\",outcome=\"auth\"} 4\n"
                  "agwb_pairs_total{channel=\"sms\",outcome=\"sent\"} 3\n"
                  "agwb_pairs_total{channel=\"whatsapp\",outcome=\"sent\"} 1\n"
                  "# HELP agwb_level A level.\n# TYPE agwb_level gauge\nagwb_level -2.5\n");
        metrics_free(&m);
    }
}

static void test_metrics_add_and_set(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metric_add(m, &plain, 1, NULL, NULL); /* registers by itself */
    metric_add(m, &plain, 2, NULL, NULL);
    metric_add(m, &plain, -5, NULL, NULL); /* a counter never falls */
    metric_add(m, &plain, NAN, NULL, NULL);
    assert_true(metric_value(m, &plain, NULL, NULL) == 3);
    metric_set(m, &level, 10, NULL, NULL);
    metric_add(m, &level, -4, NULL, NULL);
    assert_true(metric_value(m, &level, NULL, NULL) == 6);
    metric_touch(m, &pairs, "sms", "sent");
    assert_true(metric_value(m, &pairs, "sms", "sent") == 0);
    assert_true(has_line(m, "agwb_pairs_total{channel=\"sms\",outcome=\"sent\"} 0"));
    metric_add(m, &pairs, 7, "sms", "sent");
    assert_true(metric_value(m, &pairs, "sms", "sent") == 7);
    assert_true(metric_value(m, &pairs, "sms", "nothing") == 0);
    assert_true(metric_value(m, &waits, NULL, NULL) == 0); /* not registered */
    metrics_free(&m);
}

static void test_metrics_histogram(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    static const double values[] = {0.05, 0.1, 0.5, 1, 2, 10, 10.5, -1, NAN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        metric_observe(m, &waits, values[i], NULL, NULL);
    assert_true(metric_value(m, &waits, NULL, NULL) == 8);
    expect(m, "# HELP agwb_wait_seconds Waits.\n# TYPE agwb_wait_seconds histogram\n"
              "agwb_wait_seconds_bucket{le=\"0.1\"} 3\nagwb_wait_seconds_bucket{le=\"1\"} 5\n"
              "agwb_wait_seconds_bucket{le=\"10\"} 7\nagwb_wait_seconds_bucket{le=\"+Inf\"} 8\n"
              "agwb_wait_seconds_sum 23.15\nagwb_wait_seconds_count 8\n");
    metrics_free(&m);
}

static void test_metrics_histogram_with_label(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metric_observe(m, &waits_by, 5, "sms", NULL);
    expect(m, "# HELP agwb_by_seconds Waits.\n# TYPE agwb_by_seconds histogram\n"
              "agwb_by_seconds_bucket{channel=\"sms\",le=\"0.1\"} 0\n"
              "agwb_by_seconds_bucket{channel=\"sms\",le=\"+Inf\"} 1\n"
              "agwb_by_seconds_sum{channel=\"sms\"} 5\nagwb_by_seconds_count{channel=\"sms\"} 1\n");
    metrics_free(&m);
}

static void test_metrics_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *line;
    } cases[] = {
        {0, "agwb_level 0"},
        {1000000, "agwb_level 1000000"},
        {1795210260.123, "agwb_level 1795210260.123"},
        {0.1, "agwb_level 0.1"},
        {1.0 / 3, "agwb_level 0.33333333333333331"},
        {9007199254740991.0, "agwb_level 9007199254740991"},
        {INFINITY, "agwb_level +Inf"},
        {-INFINITY, "agwb_level -Inf"},
        {NAN, "agwb_level NaN"},
    };
    struct metrics *m = metrics_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        metric_set(m, &level, cases[i].value, NULL, NULL);
        assert_true(has_line(m, cases[i].line));
    }
    metrics_free(&m);
}

static void test_metrics_escapes(void **state)
{
    (void)state;
    static const struct metric_family odd = {
        .name = "agwb_odd", .help = "a \"b\" \\ c\nd", .kind = METRIC_GAUGE, .labels = {"account"}};
    struct metrics *m = metrics_new();
    metric_set(m, &odd, 1, "a\"b\\c\nd", NULL);
    metric_set(m, &odd, 2, NULL, "a value without a name");
    assert_true(metric_value(m, &odd, "", NULL) == 2);
    expect(m, "# HELP agwb_odd a \"b\" \\\\ c\\nd\n# TYPE agwb_odd gauge\n"
              "agwb_odd{account=\"\"} 2\nagwb_odd{account=\"a\\\"b\\\\c\\nd\"} 1\n");
    metrics_free(&m);
}

static void test_metrics_label_values_are_copied(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    char value[] = "sms";
    metric_add(m, &pairs, 1, value, "sent");
    memcpy(value, "xyz", 3);
    metric_add(m, &pairs, 1, value, "sent"); /* same address, another value */
    assert_true(metric_value(m, &pairs, "sms", "sent") == 1);
    assert_true(metric_value(m, &pairs, "xyz", "sent") == 1);
    metrics_free(&m);
}

static void test_metrics_too_many_series_become_other(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < METRIC_MAX_SERIES + 10; i++) {
            char value[16];
            snprintf(value, sizeof value, "v%d", i);
            metric_add(m, &pairs, 1, value, "sent");
        }
    }
    assert_true(metric_value(m, &pairs, "v0", "sent") == 2);
    assert_true(metric_value(m, &pairs, "v255", "sent") == 2);
    assert_true(metric_value(m, &pairs, "v256", "sent") == 0);
    assert_true(metric_value(m, &pairs, "other", "other") == 20);
    metrics_free(&m);
}

static void test_metrics_seconds_ascend_from_ms_to_hour(void **state)
{
    (void)state;
    assert_true(METRIC_SECONDS[0] == 0.001);
    assert_true(METRIC_SECONDS[METRIC_SECONDS_COUNT - 1] == 3600);
    for (size_t i = 1; i < METRIC_SECONDS_COUNT; i++)
        assert_true(METRIC_SECONDS[i] > METRIC_SECONDS[i - 1]);
}

static void test_metrics_output_respects_the_buffer(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_register(m, &waits);
    struct buf out;
    buf_init(&out, 100);
    metrics_write(m, &out);
    assert_true(out.failed);
    buf_fini(&out);
    metrics_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_empty),
        cmocka_unit_test(test_metrics_registered_series_start_at_zero),
        cmocka_unit_test(test_metrics_order_is_stable),
        cmocka_unit_test(test_metrics_add_and_set),
        cmocka_unit_test(test_metrics_histogram),
        cmocka_unit_test(test_metrics_histogram_with_label),
        cmocka_unit_test(test_metrics_numbers),
        cmocka_unit_test(test_metrics_escapes),
        cmocka_unit_test(test_metrics_label_values_are_copied),
        cmocka_unit_test(test_metrics_too_many_series_become_other),
        cmocka_unit_test(test_metrics_seconds_ascend_from_ms_to_hour),
        cmocka_unit_test(test_metrics_output_respects_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
