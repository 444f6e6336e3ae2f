/* What an operator sees and does: health, readiness, metrics, logs, reload, drain. */
#include "flow.h"
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* --- readiness --- */

static void assert_not_ready(int port, const char *why)
{
    struct buf body;
    buf_init(&body, 4096);
    WAIT_UNTIL(web_ask(port, "/readyz", NULL, &body) == 503);
    if (strstr(buf_str(&body), why) == NULL)
        fail_msg("/readyz says \"%s\", expected \"%s\" in it", buf_str(&body), why);
    buf_fini(&body);
}

static void broker_listens(const char *verb)
{
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){verb, NULL});
}

/* The broker refuses connections and has closed those there were: not ready, but healthy; then it is back. */
static void test_ops_readyz_follows_the_broker(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    broker_listens("suspend_listeners");
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"close_all_connections", "-p", p->vhost, "test", NULL});
    assert_not_ready(p->publisher_port, "broker: not connected");
    assert_not_ready(p->consumer_port, "broker: not connected");
    assert_int_equal(web_ask(p->publisher_port, "/healthz", NULL, NULL), 200);
    assert_int_equal(web_ask(p->consumer_port, "/healthz", NULL, NULL), 200);
    const char *job = job_add(p, 1, "meanwhile");
    broker_listens("resume_listeners");
    WAIT_UNTIL(flow_is_ready(p));
    WAIT_UNTIL(job_count(p, "published_at is not null and attempts = 1") == 1);
    wire_answer(p, "back", job, 1, "here again");
    WAIT_UNTIL(pair_sent(p, "here again") == 1);
    assert_true(pair_metric(p->publisher_port, "agwb_reconnects_total{peer=\"broker\"}") >= 1);
    assert_true(pair_metric(p->consumer_port, "agwb_reconnects_total{peer=\"broker\"}") >= 1);
}

static void test_ops_healthcheck_command(struct pair *p)
{
    struct buf out;
    assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"healthcheck", NULL}, &out), 69);
    buf_fini(&out);
    pair_start_publisher_ready(p);
    assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"healthcheck", NULL}, &out), 0);
    buf_fini(&out);
}

/* --- metrics and logs --- */

/* Every name is there from the start, with HELP and TYPE; what has happened is counted. */
static void assert_metrics(int port, const char *const *names)
{
    struct buf body;
    char line[160];
    buf_init(&body, 1 << 20);
    assert_int_equal(web_ask(port, "/metrics", NULL, &body), 200);
    for (; *names != NULL; names++) {
        if (strpbrk(*names, "{ ") != NULL) { /* a sample, with all its labels */
            snprintf(line, sizeof line, "\n%s", *names);
            if (strstr(buf_str(&body), line) == NULL)
                fail_msg("no sample %s in:\n%s", *names, buf_str(&body));
            continue;
        }
        snprintf(line, sizeof line, "# HELP %s ", *names);
        if (strstr(buf_str(&body), line) == NULL)
            fail_msg("no metric %s", *names);
        snprintf(line, sizeof line, "# TYPE %s ", *names);
        assert_non_null(strstr(buf_str(&body), line));
    }
    assert_null(strstr(buf_str(&body), "2025550")); /* no number in any label */
    buf_fini(&body);
}

static void test_ops_metric_names(struct pair *p)
{
    static const char *const PUBLISHER[] = {"agwb_published_total",
                                            "agwb_publish_confirm_seconds",
                                            "agwb_intake_rows_total",
                                            "agwb_oldest_pending_seconds",
                                            "agwb_queue_messages",
                                            "agwb_queue_consumers",
                                            "agwb_reconnects_total",
                                            "agwb_in_flight",
                                            "agwb_build_info",
                                            "agwb_published_total{result=\"returned\"} 0\n",
                                            "agwb_published_total{result=\"nacked\"} 0\n",
                                            "agwb_intake_rows_total{result=\"refused\"} 0\n",
                                            "agwb_intake_rows_total{result=\"retried\"} 0\n",
                                            "agwb_intake_rows_total{result=\"failed\"} 0\n",
                                            "agwb_oldest_pending_seconds 0\n",
                                            "agwb_queue_messages{queue=\"ag_queue\"} ",
                                            "agwb_queue_consumers{queue=\"ag_queue\"} ",
                                            "agwb_reconnects_total{peer=\"broker\"} 0\n",
                                            "agwb_reconnects_total{peer=\"database\"} 0\n",
                                            "agwb_in_flight 0\n",
                                            "agwb_broker_blocked 0\n",
                                            "agwb_ready 1\n",
                                            NULL};
    static const char *const CONSUMER[] = {
        "agwb_consumed_total",
        "agwb_queue_seconds",
        "agwb_delivery_attempts_total",
        "agwb_delivery_seconds",
        "agwb_deliveries",
        "agwb_dead_letters_total",
        "agwb_answer_seconds",
        "agwb_job_seconds",
        "agwb_throttled_total",
        "agwb_agent_seconds",
        "agwb_agent_tokens_total",
        "agwb_agent_errors_total",
        "agwb_agent_tool_uses_total",
        "agwb_queue_messages",
        "agwb_queue_consumers",
        "agwb_reconnects_total",
        "agwb_in_flight",
        "agwb_build_info",
        "agwb_fallback_replies_total 0\n",
        "agwb_circuit_open{account=\"wa\"} 0\n",
        "agwb_circuit_open{account=\"sms\"} 0\n",
        "agwb_consumed_total{result=\"duplicate\"} 0\n",
        "agwb_consumed_total{result=\"conflict\"} 0\n",
        "agwb_consumed_total{result=\"late\"} 0\n",
        "agwb_queue_seconds_count 1\n",
        "agwb_delivery_attempts_total{channel=\"whatsapp\",outcome=\"DELIVERED\"} 1\n",
        "agwb_delivery_seconds_bucket{channel=\"whatsapp\",le=\"+Inf\"} 1\n",
        "agwb_deliveries{state=\"ready\"} 0\n",
        "agwb_deliveries{state=\"sending\"} ",
        "agwb_deliveries{state=\"uncertain\"} 0\n",
        "agwb_deliveries{state=\"parked\"} 0\n",
        "agwb_dead_letters_total{queue=\"wb_parked\",reason=\"invalid\"} 1\n",
        "agwb_agent_errors_total 0\n",
        "agwb_queue_messages{queue=\"wb_parked\"} ",
        "agwb_queue_consumers{queue=\"dlx_agent\"} 1\n",
        NULL};
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    job_add(p, 1, "count me");
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    wire_publish(p, "wb_queue", NULL, "{}");
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"invalid\"}") == 1 &&
               wire_count(p, "wb_parked") == 1);
    assert_metrics(p->publisher_port, PUBLISHER);
    assert_metrics(p->consumer_port, CONSUMER);
    assert_true(pair_metric(p->publisher_port, "agwb_published_total{result=\"confirmed\"}") == 1);
    assert_true(pair_metric(p->publisher_port, "agwb_intake_rows_total{result=\"published\"}") == 1);
    assert_true(pair_metric(p->publisher_port, "agwb_publish_confirm_seconds_count") == 1);
    assert_true(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"accepted\"}") == 1);
    assert_true(pair_metric(p->consumer_port, "agwb_agent_tokens_total") == 150);
    assert_true(pair_metric(p->consumer_port, "agwb_delivery_seconds_count{channel=\"whatsapp\"}") == 1);
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_answer_seconds_count") == 1);
    assert_true(pair_metric(p->consumer_port, "agwb_job_seconds_count") == 1);
}

/* A published, a consumed and an attempt line for each message; no token, no number, no text in any line. */
static void test_ops_logs_tell_enough_and_no_more(struct pair *p)
{
    struct buf log;
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    const char *job = job_add(p, 1, "my private wish");
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    assert_int_equal(log_count(&p->publisher, "published", "messageId", job), 1);
    assert_int_equal(log_count(&p->publisher, "published", "contact", "*********101"), 1);
    assert_int_equal(log_count(&p->consumer, "consumed", "originalMessageId", job), 1);
    assert_int_equal(log_count(&p->consumer, "delivery attempt", "outcome", "DELIVERED"), 1);
    assert_int_equal(strlen(log_last(&p->publisher, "published", "traceparent")), 55);
    for (int i = 0; i < 2; i++) {
        file_read(i == 0 ? p->publisher.log : p->consumer.log, &log);
        assert_null(strstr(buf_str(&log), "2025550101"));
        assert_null(strstr(buf_str(&log), "private"));
        assert_null(strstr(buf_str(&log), "test-token"));
        buf_fini(&log);
    }
}

/* What the agent passes on is in the line of each attempt, and in the copy of what is given up. */
static void test_ops_traceparent_is_taken_through(struct pair *p)
{
    static const char TRACE[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    char headers[80];

    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":422}}]}");
    snprintf(headers, sizeof headers, "{\"traceparent\":\"%s\"}", TRACE);
    const char *reply = wire_reply("traced", "none", "+12025550101", "hello");
    struct json *json = wire_python(p, (const char *const[]){"publish", "wb_queue", headers, reply, NULL});
    json_free(&json);
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    assert_string_equal(log_last(&p->consumer, "delivery attempt", "traceparent"), TRACE);
    json = wire_python(p, (const char *const[]){"take", "wb_parked", NULL});
    assert_string_equal(json_str(json_path(json_root(json), "headers.traceparent")), TRACE);
    json_free(&json);
}

/* --- signals --- */

static size_t history_length(struct pair *p, const char *text)
{
    struct wire_message m;
    job_add(p, 1, text);
    wire_take(p, "ag_queue", &m);
    size_t count = json_count(json_path(json_root(m.json), "context.conversationHistory"));
    wire_free(&m);
    return count;
}

/* A bad file keeps the old settings and says so; a good one brings its change into force. */
static void test_ops_reload(struct pair *p)
{
    struct buf good, bad;
    pair_start_publisher_ready(p);
    sql_run(p, "select test.contact(1)");
    sql_run(p, "insert into messages (conversation_id, sender_type, content) select test.id(2, 1), 'user', "
               "'x' from generate_series(1, 5)");
    assert_int_equal(history_length(p, "before"), 5);
    file_read(p->config, &good);
    file_read(p->config, &bad);
    buf_add_str(&bad, "publisher: { history = \"all\"; };\n");
    file_write(p->config, buf_str(&bad));
    process_signal(&p->publisher, SIGHUP);
    WAIT_UNTIL(log_count(&p->publisher, "reload refused, the old configuration stays", NULL, NULL) == 1);
    assert_non_null(
        strstr(log_last(&p->publisher, "reload refused, the old configuration stays", "error"), "agwb.cfg:"));
    assert_int_equal(history_length(p, "still works"), 6);

    const char *at = strstr(buf_str(&good), "publisher: { ");
    assert_non_null(at);
    struct buf changed;
    buf_init(&changed, 65536);
    buf_printf(&changed, "%.*spublisher: { history = 2; %s", (int)(at - good.data), good.data,
               at + strlen("publisher: { "));
    file_write(p->config, buf_str(&changed));
    process_signal(&p->publisher, SIGHUP);
    WAIT_UNTIL(log_count(&p->publisher, "configuration reloaded", NULL, NULL) == 1);
    assert_int_equal(history_length(p, "reloaded"), 2);
    assert_true(pair_is_ready(&p->publisher, p->publisher_port));
    buf_fini(&good);
    buf_fini(&bad);
    buf_fini(&changed);
}

/* SIGTERM in the middle of everything: both drain and exit with 0, nothing is lost, nothing is sent twice,
 * nothing is left in doubt. */
static void test_ops_sigterm_under_load(struct pair *p)
{
    enum { JOBS = 200 };
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"delay_ms\":30}}]}");
    job_add_many(p, 1, JOBS);
    WAIT_UNTIL((wire_agent_step(p), pair_sent(p, NULL) >= JOBS / 10));
    process_signal(&p->publisher, SIGTERM);
    process_signal(&p->consumer, SIGTERM);
    job_add_many(p, JOBS + 1, JOBS);
    assert_int_equal(process_wait(&p->publisher), 0);
    assert_int_equal(process_wait(&p->consumer), 0);
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.deliveries where state in ('sending', 'uncertain')"), 0);
    assert_int_equal(job_count(p, "lease_owner is not null"), 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'"),
                     (int64_t)pair_sent(p, NULL));

    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    WAIT_UNTIL((wire_agent_all(p), job_count(p, "status = 'complete'") == 2 * JOBS));
    assert_int_equal(pair_sent(p, NULL), 2 * JOBS);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(job_count(p, "attempts <> 1"), 0);
    assert_int_equal(wire_count(p, "ag_queue") + wire_count(p, "wb_queue") + wire_count(p, "wb_parked"), 0);
}

/* The first signal waits for the request that is out; the second does not. */
static void test_ops_second_sigterm_ends_at_once(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"hang\"}}]}");
    wire_answer(p, "hangs", "none", 1, "no answer");
    WAIT_UNTIL(pair_requests(p) == 1);
    process_signal(&p->consumer, SIGTERM);
    WAIT_UNTIL(log_count(&p->consumer, "draining", NULL, NULL) == 1);
    assert_not_ready(p->consumer_port, "draining");
    assert_false(process_has_ended(&p->consumer));
    process_signal(&p->consumer, SIGTERM);
    assert_int_equal(process_wait(&p->consumer), 75);
    assert_string_equal(log_last(&p->consumer, "ended", "reason"), "second signal");
}

static void test_ops_drain_timeout(struct pair *p)
{
    pair_set(p, "daemon.drain_timeout_ms=300");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"hang\"}}]}");
    wire_answer(p, "hangs", "none", 1, "no answer");
    WAIT_UNTIL(pair_requests(p) == 1);
    assert_int_equal(process_end(&p->consumer), 75);
    assert_string_equal(log_last(&p->consumer, "ended", "reason"), "drain timeout");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_ops_readyz_follows_the_broker),
        PAIR_TEST(test_ops_healthcheck_command),
        PAIR_TEST(test_ops_metric_names),
        PAIR_TEST(test_ops_logs_tell_enough_and_no_more),
        PAIR_TEST(test_ops_traceparent_is_taken_through),
        PAIR_TEST(test_ops_reload),
        PAIR_TEST(test_ops_sigterm_under_load),
        PAIR_TEST(test_ops_second_sigterm_ends_at_once),
        PAIR_TEST(test_ops_drain_timeout),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
