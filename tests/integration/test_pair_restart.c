/* The servers die in the middle of the work, or are not there yet when the daemons start. Every row is
 * published in the end and every reply delivered exactly once. */
#include "flow.h"
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

enum { JOBS = 300 };

/* RabbitMQ 3.10 loses a quorum queue for good that was declared less than about three seconds before it is
 * killed: its own directory of queues is written lazily. That is no fault of ours, so a kill waits for the
 * queues to be old enough. */
enum { QUEUE_AGE_MS = 4000 };

static void broker(const char *verb)
{
    sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){verb, NULL});
}

static void database(struct pair *p, const char *verb)
{
    sandbox_run("AGWB_TEST_PG_CTL", (const char *const[]){verb, NULL});
    sql_forget(p);
}

static bool says_not_ready(int port, const char *why)
{
    struct buf body;
    buf_init(&body, 4096);
    bool yes = web_ask(port, "/readyz", NULL, &body) == 503 && strstr(buf_str(&body), why) != NULL;
    buf_fini(&body);
    return yes;
}

static void assert_all_done(struct pair *p, int64_t jobs)
{
    flow_finish(p, jobs);
    assert_int_equal(job_count(p, "attempts <> 1"), 0);
}

static void test_restart_broker_killed_in_mid_flow(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    int64_t old_enough_at = clock_mono_ms() + QUEUE_AGE_MS;
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"delay_ms\":20}}]}");
    WAIT_UNTIL(clock_mono_ms() >= old_enough_at);

    job_add_many(p, 1, JOBS / 2);
    WAIT_UNTIL((wire_agent_step(p), pair_sent(p, NULL) >= JOBS / 10));
    broker("kill");
    wire_forget(p);
    job_add_many(p, JOBS / 2 + 1, JOBS - JOBS / 2);
    WAIT_UNTIL(says_not_ready(p->publisher_port, "broker: not connected") &&
               says_not_ready(p->consumer_port, "broker: not connected"));
    assert_int_equal(web_ask(p->publisher_port, "/healthz", NULL, NULL), 200);
    broker("start");
    WAIT_UNTIL(flow_is_ready(p));
    assert_all_done(p, JOBS);
    assert_true(pair_metric(p->publisher_port, "agwb_reconnects_total{peer=\"broker\"}") >= 1);
}

static void test_restart_database_killed_in_mid_flow(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"delay_ms\":20}}]}");
    job_add_many(p, 1, JOBS);
    WAIT_UNTIL((wire_agent_step(p), pair_sent(p, NULL) >= JOBS / 10));
    database(p, "stop-immediate");
    WAIT_UNTIL(says_not_ready(p->publisher_port, "database: not connected") &&
               says_not_ready(p->consumer_port, "database: not connected"));
    wire_agent_all(p); /* the agent goes on meanwhile */
    database(p, "start");
    WAIT_UNTIL(flow_is_ready(p));
    assert_all_done(p, JOBS);
}

/* Started before the broker and the database are there: they wait, are healthy, say what is missing, and then
 * work. */
static void test_restart_daemons_before_their_servers(struct pair *p)
{
    job_add_many(p, 1, 20);
    broker("kill");
    database(p, "stop-fast");
    pair_start_publisher(p);
    pair_start_consumer(p);
    WAIT_UNTIL(says_not_ready(p->publisher_port, "broker: not connected; database: not connected"));
    WAIT_UNTIL(says_not_ready(p->consumer_port, "broker: not connected"));
    WAIT_UNTIL(
        log_count(&p->publisher, "connection lost or not reached, reconnecting", "peer", "broker") > 0 &&
        log_count(&p->publisher, "connection lost or not reached, reconnecting", "peer", "database") > 0);
    assert_int_equal(web_ask(p->consumer_port, "/healthz", NULL, NULL), 200);
    database(p, "start");
    WAIT_UNTIL(log_count(&p->publisher, "database connected", NULL, NULL) == 1);
    assert_false(flow_is_ready(p));
    assert_int_equal(job_count(p, "status <> 'pending' or attempts > 0"), 0); /* no claim without a broker */
    broker("start");
    WAIT_UNTIL(flow_is_ready(p));
    assert_all_done(p, 20);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_restart_broker_killed_in_mid_flow),
        PAIR_TEST(test_restart_database_killed_in_mid_flow),
        PAIR_TEST(test_restart_daemons_before_their_servers),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
