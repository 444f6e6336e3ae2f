/* The share of failed attempts: when it is too much, when it is over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "consumer/error_rate.h"

/* Alerts without a place to post to are log lines: those are what the test counts. */
struct scene {
    struct config config;
    struct error_rates *rates;
    int old_stderr;
    FILE *log;
};

static int setup(void **state)
{
    static struct scene s;

    s = (struct scene){.log = tmpfile()};
    s.config.channels.account_count = 2;
    s.config.channels.accounts[0].name = "main";
    s.config.channels.accounts[1].name = "sms";
    s.config.alerts.error_percent = 50;
    s.config.alerts.error_attempts = 10;
    s.config.alerts.error_window_ms = 20000;
    s.rates = error_rates_new(&s.config, NULL);
    log_configure("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    fflush(stderr);
    s.old_stderr = dup(STDERR_FILENO);
    dup2(fileno(s.log), STDERR_FILENO);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    log_flush();
    dup2(s->old_stderr, STDERR_FILENO);
    close(s->old_stderr);
    fclose(s->log);
    error_rates_free(&s->rates);
    return 0;
}

static size_t alerts_with(struct scene *s, const char *text)
{
    char line[1024];
    size_t count = 0;

    log_flush();
    rewind(s->log);
    while (fgets(line, sizeof line, s->log))
        count += strstr(line, "\"alert: ") && strstr(line, text);
    fseek(s->log, 0, SEEK_END);
    return count;
}

static void record(struct scene *s, enum outcome o, int times, int64_t at)
{
    for (int i = 0; i < times; i++)
        error_rates_record(s->rates, "main", o, at);
}

static void test_error_rate_begins_and_ends_once(void **state)
{
    struct scene *s = *state;

    record(s, OUTCOME_DELIVERED, 5, 1000);
    record(s, OUTCOME_TEMPFAIL, 5, 2000);
    assert_int_equal(alerts_with(s, "too many attempts fail"), 0); /* half is not more than half */
    record(s, OUTCOME_PERMFAIL, 5, 3000);
    assert_int_equal(alerts_with(s, "too many attempts fail"), 1);
    assert_int_equal(alerts_with(s, "\"account\":\"main\""), 1);
    record(s, OUTCOME_DELIVERED, 20, 4000);
    assert_int_equal(alerts_with(s, "attempts succeed again"), 1);
}

static void test_error_rate_needs_enough_attempts(void **state)
{
    struct scene *s = *state;

    record(s, OUTCOME_UNCERTAIN, 9, 1000);
    assert_int_equal(alerts_with(s, ""), 0);
    record(s, OUTCOME_AUTH, 1, 1000);
    assert_int_equal(alerts_with(s, ""), 1);
}

/* Only the window counts, and time alone ends it. */
static void test_error_rate_forgets(void **state)
{
    struct scene *s = *state;

    record(s, OUTCOME_TEMPFAIL, 9, 1000);
    record(s, OUTCOME_TEMPFAIL, 9, 22000);
    assert_int_equal(alerts_with(s, ""), 0);
    record(s, OUTCOME_TEMPFAIL, 1, 23000);
    assert_int_equal(alerts_with(s, "too many"), 1);
    error_rates_look(s->rates, 40000);
    assert_int_equal(alerts_with(s, "again"), 0);
    error_rates_look(s->rates, 60000);
    assert_int_equal(alerts_with(s, "again"), 1);
}

static void test_error_rate_throttling_is_no_failure(void **state)
{
    struct scene *s = *state;

    record(s, OUTCOME_THROTTLED, 100, 1000);
    assert_int_equal(alerts_with(s, ""), 0);
    s->config.alerts.error_percent = 0;
    record(s, OUTCOME_TEMPFAIL, 1000, 1000);
    assert_int_equal(alerts_with(s, ""), 0); /* off */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_error_rate_begins_and_ends_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_rate_needs_enough_attempts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_rate_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_error_rate_throttling_is_no_failure, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
