/* The whole way, with agents that are programs of their own: from the row to the provider and back into the
 * rows. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

static void assert_answered(struct pair *p, int64_t jobs)
{
    WAIT_UNTIL(job_count(p, "status = 'complete'") == jobs);
    assert_int_equal(job_count(p, "status = 'complete' and ai_response like 'Re: question % #' || id"), jobs);
    assert_int_equal(pair_sent(p, NULL), jobs);
    assert_int_equal(pair_requests(p), jobs);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'"), jobs);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'SENT'"),
        jobs);
    WAIT_UNTIL(wire_count(p, "ag_queue") == 0 && wire_count(p, "wb_queue") == 0);
    assert_int_equal(wire_count(p, "dlx_agent") + wire_count(p, "ag_parked") + wire_count(p, "dlx_webhook") +
                         wire_count(p, "wb_parked"),
                     0);
}

static void test_agent_stand_in(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_agent(p, (const char *const[]){"--prefetch", "10", "--echo-ids", NULL});
    job_add_many(p, 1, 200);
    assert_answered(p, 200);
    assert_true(pair_metric(p->consumer_port, "agwb_agent_tool_uses_total") == 200);
    assert_int_equal(process_end(&p->agent), 0);
}

/* An agent in another language, which declares nothing but looks. */
static void test_agent_pika_passive(struct pair *p)
{
    pair_set(p, "topology.queue_type=quorum");
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_python_agent(p, (const char *const[]){"--declare", "passive", NULL});
    job_add_many(p, 1, 60);
    assert_answered(p, 60);
}

/* One that declares both queues itself, exactly as the specification has them: before us or after us. */
static void run_classic(struct pair *p, bool agent_first)
{
    static const char *const DECLARES[] = {"--declare", "classic", NULL};
    pair_set(p, "topology.queue_type=classic");
    if (agent_first)
        pair_start_python_agent(p, DECLARES);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    if (!agent_first)
        pair_start_python_agent(p, DECLARES);
    job_add_many(p, 1, 60);
    assert_answered(p, 60);
}

static void test_agent_pika_declares_first(struct pair *p)
{
    run_classic(p, true);
}

static void test_agent_pika_declares_second(struct pair *p)
{
    run_classic(p, false);
}

/* What agents do wrong: each kind ends where it must, and the good ones in between are answered. */
static void test_agent_misbehaves(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_agent(p, (const char *const[]){NULL});
    job_add(p, 1, "same twice [duplicate]");
    const char *conflict = job_add(p, 2, "two faces [conflict]");
    job_add(p, 3, "half a reply [malformed]");
    job_add(p, 4, "hardly a reply [incomplete]");
    const char *error = job_add(p, 5, "cannot [error NO_MODEL]");
    job_add(p, 6, "three replies [replies 3]");
    const char *good = job_add(p, 7, "just answer");
    WAIT_UNTIL(sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'complete'",
                       good) == 1);
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"duplicate\"}") == 1);
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"conflict\"}") == 1);
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"invalid\"}") == 2);
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from ai_response_queue where id = '%s' and status = 'failed' and "
                       "error like '%%NO_MODEL%%'",
                       error) == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where kind = 'reply' and state = 'sent'") ==
               1 + 1 + 3 + 1);
    assert_int_equal(wire_count(p, "wb_parked"), 3);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where job_id = '%s'", conflict), 1);
    assert_true(pair_sent_once_each(p));
}

/* Two of each daemon and two agents: every row once, every reply once. */
static void test_agent_two_of_everything(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[0], "publisher2", "agwb-publisher", "publisher.metrics_listen=off");
    pair_start_program(p, &p->more[1], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    for (int i = 0; i < PAIR_MORE; i++)
        WAIT_UNTIL(log_count(&p->more[i], "broker connected", NULL, NULL) > 0 &&
                   log_count(&p->more[i], "database connected", NULL, NULL) > 0);
    pair_start_agent(p, (const char *const[]){"--prefetch", "20", NULL});
    for (int i = 0; i < 10; i++)
        job_add_many(p, 1 + 30 * i, 30);
    assert_answered(p, 300);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_agent_stand_in),
        PAIR_TEST(test_agent_pika_passive),
        PAIR_TEST(test_agent_pika_declares_first),
        PAIR_TEST(test_agent_pika_declares_second),
        PAIR_TEST(test_agent_misbehaves),
        PAIR_TEST(test_agent_two_of_everything),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
