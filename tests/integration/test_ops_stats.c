/* stats of both programs, the view and the function behind it: each figure counts what it says. */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct buf output; /* of the latest command */

static const char *said(void)
{
    return buf_str(&output) != NULL ? buf_str(&output) : "";
}

static int run_stats(struct pair *p, const char *program, const char *option)
{
    buf_fini(&output);
    return pair_command(p, program, (const char *const[]){"stats", option, NULL}, &output);
}

/* A figure of the first row of queue and kind; -1 when there is none. */
static int64_t figure(const struct json *json, const char *list, const char *key, const char *name,
                      const char *figure)
{
    const struct json_node *rows = json_member(json_root(json), list);
    int64_t value;

    for (const struct json_node *n = json_first(rows); n != NULL; n = json_next(n)) {
        if (json_str(json_member(n, key)) != NULL && strcmp(json_str(json_member(n, key)), name) == 0)
            return json_int(json_member(n, figure), &value) ? value : -1;
    }
    return -1;
}

static struct json *stats_json(struct pair *p, const char *program)
{
    struct err e;

    assert_int_equal(run_stats(p, program, "--json"), 0);
    struct json *json = json_parse(output.data, output.len, &e);
    if (json == NULL)
        fail_msg("%s in %s", e.text, said());
    return json;
}

static void add_jobs(struct pair *p, int n, const char *columns, const char *values)
{
    sql_run(p, "insert into ai_response_queue (%s) select %s from generate_series(1, %d)", columns, values,
            n);
}

/* Each state once with a number of its own. */
static void fill(struct pair *p)
{
    add_jobs(p, 2, "status, created_at", "'pending', now() - interval '90 seconds'");
    add_jobs(p, 3, "status, next_attempt_at", "'pending', now() + interval '1 hour'");
    add_jobs(p, 4, "status, lease_until", "'processing', now() + interval '1 hour'");
    add_jobs(p, 5, "status, published_at", "'processing', now()");
    add_jobs(p, 6, "status, next_attempt_at", "'error', now() + interval '1 hour'");
    add_jobs(p, 7, "status, processed_at, response_time_ms", "'complete', now(), 1000");
    add_jobs(p, 1, "status, processed_at, response_time_ms", "'complete', now() - interval '2 hours', 9000");
    add_jobs(p, 8, "status, processed_at", "'failed', now()");
    add_jobs(p, 1, "status, processed_at", "'failed', now() - interval '25 hours'");
    sql_run(
        p,
        "insert into agwb.deliveries (message_id, state, account, lane, body_sha256, payload, "
        "next_attempt_at, settled_at, accepted_at) "
        "select s || n, s, 'cloud', 'cloud ' || s || n, '', '{}', case when n > 10 then now() + interval '1 "
        "hour' "
        "end, case when s in ('sent', 'parked') then now() end, now() - interval '30 seconds' "
        "from (values ('ready', 12), ('sending', 3), ('uncertain', 4), ('sent', 5), ('parked', 6)) x (s, m), "
        "generate_series(1, m) n");
    sql_run(p, "insert into webhook_inbox (provider, account, headers, body, status) select 'waha', 'wa', "
               "'{}', '{}', s "
               "from (values ('pending', 1), ('done', 2), ('ignored', 3), ('failed', 4)) x (s, m), "
               "generate_series(1, m)");
}

static void test_stats_counts_each_state(struct pair *p)
{
    static const struct {
        const char *queue, *figure;
        int64_t value;
    } CASES[] = {
        {"incoming-messages", "waiting", 1},    {"incoming-messages", "completed", 5},
        {"incoming-messages", "failed", 4},     {"ai-processing", "waiting", 2},
        {"ai-processing", "active", 9},         {"ai-processing", "delayed", 9},
        {"ai-processing", "completed", 7},      {"ai-processing", "failed", 8},
        {"whatsapp-cloud-send", "waiting", 10}, {"whatsapp-cloud-send", "active", 3},
        {"whatsapp-cloud-send", "delayed", 6},  {"whatsapp-cloud-send", "completed", 5},
        {"whatsapp-cloud-send", "failed", 6},
    };
    static const char *const PROGRAMS[] = {"agwb-consumer", "agwb-publisher"};

    pair_account(p, "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"x\"; "
                    "options = { phone_number_id = \"1234567\"; };");
    pair_start_consumer_ready(p); /* declares the queues */
    assert_int_equal(process_end(&p->consumer), 0);
    fill(p);
    wire_publish(p, "ag_queue", "a", "{}");
    for (size_t i = 0; i < 2; i++) {
        struct json *json = stats_json(p, PROGRAMS[i]);
        for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
            int64_t value = figure(json, "queues", "queue", CASES[c].queue, CASES[c].figure);
            if (value != CASES[c].value)
                fail_msg("%s %s: %d, expected %d", CASES[c].queue, CASES[c].figure, (int)value,
                         (int)CASES[c].value);
        }
        int64_t age = figure(json, "queues", "queue", "ai-processing", "oldestSeconds");
        assert_in_range(age, 90, 200);
        assert_int_equal(figure(json, "broker", "queue", "ag_queue", "messages"), 1);
        assert_int_equal(figure(json, "broker", "queue", "ag_queue", "consumers"), 0);
        assert_int_equal(figure(json, "broker", "queue", "wb_parked", "messages"), 0);
        json_free(&json);
    }
    assert_int_equal(run_stats(p, "agwb-publisher", NULL), 0);
    assert_non_null(strstr(said(), "whatsapp-cloud-send  reply         cloud"));
    assert_non_null(strstr(said(), "\nag_queue                     1         0\n"));
}

static void test_stats_metrics_function(struct pair *p)
{
    fill(p);
    assert_int_equal(sql_int(p, "select jobs from get_realtime_messaging_metrics(60)"), 15);
    assert_int_equal(sql_int(p, "select completed from get_realtime_messaging_metrics(180)"), 8);
    assert_string_equal(sql_text(p, "select success_percent from get_realtime_messaging_metrics(60)"),
                        "46.7");
    assert_int_equal(sql_int(p, "select average_response_ms from get_realtime_messaging_metrics(60)"), 1000);
    assert_int_equal(sql_int(p, "select average_response_ms from get_realtime_messaging_metrics(180)"), 2000);
    assert_string_equal(sql_text(p, "select within_6s_percent from get_realtime_messaging_metrics(180)"),
                        "87.5");
    assert_int_equal(sql_int(p, "select undeliverable from get_realtime_messaging_metrics()"), 6);
}

/* The figures are asked for with a deep history in the tables: by index. */
static void test_stats_reads_no_finished_work(struct pair *p)
{
    sql_run(p, "insert into ai_response_queue (status, created_at, processed_at) select 'complete', now() - "
               "interval "
               "'3 days', now() - interval '3 days' from generate_series(1, 20000)");
    sql_run(
        p, "insert into agwb.deliveries (message_id, state, account, lane, body_sha256, payload, settled_at) "
           "select n, 'sent', 'wa', 'wa ' || n, '', '{}', now() - interval '3 days' from generate_series(1, "
           "20000) n");
    sql_run(p, "analyze");
    sql_run(p,
            "create function test.plan(q text) returns setof text language plpgsql as $$ begin return query "
            "execute 'explain ' || q; end $$");
    assert_int_equal(sql_int(p, "select count(*) from test.plan('select * from agwb.queue_stats') l where "
                                "l ~ 'Seq Scan on (ai_response_queue|deliveries)'"),
                     0);
}

static void test_stats_watch(struct pair *p)
{
    pair_start_publisher_ready(p);
    struct process *watch = &p->more[1];
    char relative[PATH_SIZE], program[PATH_MAX];
    struct buf out;
    snprintf(relative, sizeof relative, "%s/agwb-publisher", sandbox_value("BUILD"));
    assert_non_null(realpath(relative, program)); /* it is started in another folder */
    process_start(watch, p->dir, "watch",
                  (const char *const[]){program, "-c", p->config, "stats", "--json", "--watch", "1", NULL});
    size_t lines = 0;
    WAIT_UNTIL(lines >= 2)
    {
        file_read(watch->out, &out);
        lines = 0;
        for (size_t i = 0; i < out.len; i++)
            lines += out.data[i] == '\n';
        buf_fini(&out);
    }
    process_signal(watch, SIGTERM);
    assert_int_equal(process_wait(watch), 0);
}

static void test_stats_refuses(struct pair *p)
{
    assert_int_equal(run_stats(p, "agwb-consumer", "--watch=x"), 64);
    assert_int_equal(run_stats(p, "agwb-consumer", "x"), 64);
    assert_int_equal(run_stats(p, "agwb-consumer", "--help"), 0);
    pair_set(p, "rabbitmq.vhost=nowhere");
    assert_int_equal(run_stats(p, "agwb-consumer", NULL), 69);
    assert_non_null(strstr(said(), "last hour:")); /* what the database says is shown */
    assert_non_null(strstr(said(), "unavailable: "));
    pair_set(p, "database.url=host=127.0.0.1 port=1");
    assert_int_equal(run_stats(p, "agwb-publisher", "--json"), 69);
    assert_string_equal(said(), "");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_stats_counts_each_state),
        PAIR_TEST(test_stats_metrics_function),
        PAIR_TEST(test_stats_reads_no_finished_work),
        PAIR_TEST(test_stats_watch),
        PAIR_TEST(test_stats_refuses),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
