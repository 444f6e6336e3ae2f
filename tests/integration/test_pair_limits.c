/* Limits: never more than N in any sliding window as the provider counts them, with one instance and with
 * four; a limit holds back what it concerns and nothing else. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SENDS = 4096 };

/* What the provider saw: when, and for whom. */
struct sends {
    double at_ms[MAX_SENDS];
    char to[MAX_SENDS][24];
    size_t count;
};

static void take_line(void *arg, const struct json_node *line, const char *text)
{
    struct sends *s = arg;
    double us = 0;
    const char *to = json_str(json_member(line, "to"));

    (void)text;
    assert_true(json_real(json_member(line, "mono_us"), &us));
    assert_in_range(s->count, 0, MAX_SENDS - 1);
    s->at_ms[s->count] = us / 1000;
    snprintf(s->to[s->count], sizeof s->to[0], "%s", to ? to : "");
    s->count++;
}

static struct sends *read_sends(const struct pair *p)
{
    static struct sends s;
    char path[PATH_SIZE];

    s.count = 0;
    snprintf(path, sizeof path, "%s/journal", p->dir);
    file_each_json(path, take_line, &s);
    return &s;
}

/* The fullest window of window_ms that begins with a send to `to` (NULL: anyone). */
static size_t fullest_window(const struct sends *s, const char *to, double window_ms)
{
    size_t most = 0;

    for (size_t i = 0; i < s->count; i++) {
        size_t n = 0;
        for (size_t j = i; j < s->count && s->at_ms[j] - s->at_ms[i] < window_ms; j++)
            n += !to || strcmp(s->to[j], to) == 0;
        if ((!to || strcmp(s->to[i], to) == 0) && n > most)
            most = n;
    }
    return most;
}

static void answer_many(struct pair *p, int contacts, int each)
{
    char id[32], text[32];

    for (int n = 0; n < each; n++) {
        for (int c = 0; c < contacts; c++) {
            snprintf(id, sizeof id, "limit-%d-%d", c, n);
            snprintf(text, sizeof text, "text %d %d", c, n);
            wire_answer(p, id, "none", c, text);
        }
    }
}

static int64_t sent(struct pair *p)
{
    return sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'");
}

static void assert_contact_windows(struct pair *p, int contacts, size_t limit, double window_ms)
{
    const struct sends *s = read_sends(p);
    char to[24];

    for (int c = 0; c < contacts; c++) {
        snprintf(to, sizeof to, "+1202555%04d", 100 + c);
        assert_in_range(fullest_window(s, to, window_ms), 1, limit);
    }
}

static void test_limits_contact_window_is_exact(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=5");
    pair_set(p, "limits.window_ms=700");
    pair_start_consumer_ready(p);
    answer_many(p, 4, 18);
    WAIT_UNTIL(sent(p) == 72);
    assert_int_equal(pair_requests(p), 72);
    assert_true(pair_sent_once_each(p));
    assert_contact_windows(p, 4, 5, 700);
    assert_true(pair_metric(p->consumer_port, "agwb_throttled_total{limit=\"contact\"}") > 0);
}

/* Ten contacts with a long queue each; the eleventh's only reply does not wait for them. */
static void test_limits_crowd_does_not_hold_up_another(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=5");
    pair_set(p, "limits.window_ms=500");
    pair_set(p, "topology.webhook_ttl_ms=2000");
    pair_start_consumer_ready(p);
    answer_many(p, 10, 100);
    wire_answer(p, "the-other", "none", 40, "not throttled");
    WAIT_UNTIL(pair_sent(p, "not throttled") == 1);
    assert_true(sent(p) < 1000); /* the crowd is still waiting */
    WAIT_UNTIL(sent(p) == 1001);
    assert_int_equal(wire_count(p, "dlx_webhook"), 0); /* the ledger waits, not the queue */
    assert_int_equal(wire_count(p, "wb_parked"), 0);
    assert_contact_windows(p, 10, 5, 500);
    assert_true(pair_sent_once_each(p));
}

static void test_limits_all_and_account(struct pair *p)
{
    pair_set(p, "limits.sends_per_minute=20");
    pair_set(p, "limits.account_per_minute=15");
    pair_set(p, "limits.window_ms=600");
    pair_start_consumer_ready(p);
    answer_many(p, 30, 3);
    WAIT_UNTIL(sent(p) == 90);
    assert_in_range(fullest_window(read_sends(p), NULL, 600), 1, 15);
    assert_true(pair_metric(p->consumer_port, "agwb_throttled_total{limit=\"account\"}") > 0);
}

/* Above a hundred a window the times are kept coarsely; the bound stays. */
static void test_limits_many_in_a_window(struct pair *p)
{
    pair_set(p, "limits.sends_per_minute=150");
    pair_set(p, "limits.window_ms=1000");
    pair_set(p, "consumer.max_in_flight=60");
    pair_start_consumer_ready(p);
    answer_many(p, 50, 10);
    WAIT_UNTIL(sent(p) == 500);
    assert_in_range(fullest_window(read_sends(p), NULL, 1000), 1, 150);
}

static void test_limits_four_instances_share_them(struct pair *p)
{
    struct process fourth = {0};

    pair_set(p, "limits.contact_per_minute=3");
    pair_set(p, "limits.sends_per_minute=40");
    pair_set(p, "limits.window_ms=800");
    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[0], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    pair_start_program(p, &p->more[1], "consumer3", "agwb-consumer", "consumer.metrics_listen=off");
    pair_start_program(p, &fourth, "consumer4", "agwb-consumer", "consumer.metrics_listen=off");
    answer_many(p, 12, 10);
    WAIT_UNTIL(sent(p) == 120);
    process_kill(&fourth);
    assert_int_equal(pair_requests(p), 120);
    assert_true(pair_sent_once_each(p));
    assert_contact_windows(p, 12, 3, 800);
    assert_in_range(fullest_window(read_sends(p), NULL, 800), 1, 40);
}

/* An attempt whose answer is slow arrives at the provider late: the window counts from there. */
static void test_limits_count_slow_answers(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=2");
    pair_set(p, "limits.window_ms=600");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":4,\"action\":{\"delay_ms\":250}}]}");
    answer_many(p, 1, 8);
    WAIT_UNTIL(sent(p) == 8);
    assert_contact_windows(p, 1, 2, 600);
}

static void test_limits_jobs_per_window(struct pair *p)
{
    pair_set(p, "limits.jobs_per_minute=7");
    pair_set(p, "limits.window_ms=500");
    pair_start_publisher_ready(p);
    job_add_many(p, 0, 40);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 40);
    assert_int_equal(sql_int(p, "select max(n) from (select (select count(*) from ai_response_queue b where "
                                "b.published_at >= a.published_at and b.published_at < a.published_at + "
                                "interval '500 ms') as n from ai_response_queue a) x"),
                     7);
}

/* Off is off: no limit has a row. */
/* Claims what is due within limits of one send each; how many there were. */
static int64_t claim_one(struct pair *p)
{
    return sql_int(
        p, "select count(*) from agwb.claim_deliveries('test', 5, 60000, false, false, '{}', null, '{}', 1, "
           "1, 1, 60000) where message_id is not null");
}

/* What was claimed and never left does not count. */
static void test_limits_released_claim_gives_its_places_back(struct pair *p)
{
    sql_run(p,
            "select agwb.accept_replies('{m}', '{null}', '{success}', '{true}', '{null}', '{+12025550101}', "
            "'{whatsapp}', '{null}', '{null}', '{null}', '{null}', array['{}'::bytea], '{null}', '{0}', "
            "'[{\"name\":\"wa\",\"channel\":\"whatsapp\"}]', '', 0, 60000, false, false, '{}', '{}', 0, 0, "
            "0, 60000)");
    assert_int_equal(claim_one(p), 1);
    assert_int_equal(sql_int(p, "select sum(cardinality(sends)) from agwb.lanes"), 3);
    assert_int_equal(sql_int(p, "select agwb.release_deliveries('{m}', '{1}')"), 1);
    assert_int_equal(sql_int(p, "select sum(cardinality(sends)) from agwb.lanes"), 0);
    assert_int_equal(claim_one(p), 1);
}

static void test_limits_off_leave_no_trace(struct pair *p)
{
    pair_start_consumer_ready(p);
    answer_many(p, 3, 3);
    WAIT_UNTIL(sent(p) == 9);
    assert_int_equal(sql_int(p, "select count(*) from agwb.lanes where lane like 'limit:%%'"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_limits_contact_window_is_exact),
        PAIR_TEST(test_limits_crowd_does_not_hold_up_another),
        PAIR_TEST(test_limits_all_and_account),
        PAIR_TEST(test_limits_many_in_a_window),
        PAIR_TEST(test_limits_four_instances_share_them),
        PAIR_TEST(test_limits_count_slow_answers),
        PAIR_TEST(test_limits_jobs_per_window),
        PAIR_TEST(test_limits_released_claim_gives_its_places_back),
        PAIR_TEST(test_limits_off_leave_no_trace),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
