/* /readyz of daemons whose connections are all there, and where nothing moves all the same: and back. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

static void assert_not_ready(int port, const char *why)
{
    struct buf body;

    buf_init(&body, 4096);
    WAIT_UNTIL((buf_clear(&body), web_ask(port, "/readyz", NULL, &body) == 503));
    if (strstr(buf_str(&body), why) == NULL)
        fail_msg("/readyz says \"%s\", expected \"%s\" in it", buf_str(&body), why);
    buf_fini(&body);
    assert_int_equal(web_ask(port, "/healthz", NULL, NULL), 200);
}

/* The queues as the daemons declare them. */
static void declare(struct pair *p)
{
    pair_start_publisher_ready(p);
    assert_int_equal(process_end(&p->publisher), 0);
}

static void test_ready_publisher_without_an_agent(struct pair *p)
{
    struct wire_message m;

    declare(p);
    wire_publish(p, "ag_queue", "a", "{}");
    pair_start_publisher_ready(p);
    assert_not_ready(p->publisher_port, "agent: requests wait and nobody reads the agent queue");
    wire_take(p, "ag_queue", &m);
    wire_free(&m);
    WAIT_UNTIL(pair_is_ready(&p->publisher, p->publisher_port));
}

/* Deleted under a running publisher: it says so. A connection made anew, its own or a consumer's, declares it
 * again. */
static void test_ready_publisher_without_its_queue(struct pair *p)
{
    pair_start_publisher_ready(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"delete_queue", "-p", p->vhost, "ag_queue", NULL});
    assert_not_ready(p->publisher_port, "broker: the agent queue is missing");
    pair_start_consumer_ready(p);
    WAIT_UNTIL(pair_is_ready(&p->publisher, p->publisher_port));
}

/* The broker tells a consumer at once: it connects anew, declares what is missing and goes on. */
static void test_ready_consumer_whose_queue_is_deleted(struct pair *p)
{
    pair_start_consumer_ready(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"delete_queue", "-p", p->vhost, "wb_queue", NULL});
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_reconnects_total{peer=\"broker\"}") == 1);
    WAIT_UNTIL(pair_is_ready(&p->consumer, p->consumer_port));
    wire_answer(p, "after-that", "none", 1, "hello");
    WAIT_UNTIL(pair_sent(p, "hello") == 1);
}

/* Every account is down: not ready. One of them is back: ready. */
static void test_ready_consumer_without_an_account(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":401}}]}");
    wire_answer(p, "over-wa", "none", 1, "one");
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"wa\"}") == 1);
    assert_true(pair_is_ready(&p->consumer, p->consumer_port)); /* the other one works */
    wire_publish(
        p, "wb_queue", "over-sms",
        "{\"messageId\":\"over-sms\",\"originalMessageId\":\"none\",\"timestamp\":1750000000,\"status\":"
        "\"success\",\"channel\":\"sms\",\"workspaceId\":\"00000000-0000-4000-8000-000000000001\","
        "\"contactId\":\"00000000-0000-4000-8001-000000000002\",\"contact\":{\"phoneNumber\":\"+"
        "12025550102\"},\"response\":{"
        "\"text\":\"two\",\"type\":\"text\"}}");
    assert_not_ready(p->consumer_port, "channels: every sender account is down");
    pair_script(p, "{\"rules\":[]}");
    WAIT_UNTIL(pair_is_ready(&p->consumer, p->consumer_port));
}

/* Replies wait, the ledger takes none. */
static void test_ready_consumer_that_acks_nothing(struct pair *p)
{
    struct db_session *other = sql_session(p);

    declare(p);
    pair_set(p, "consumer.prefetch=1");
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "m-%d", i);
        wire_answer(p, id, "none", i, "hello");
    }
    sql_session_run(other, "begin; lock table agwb.deliveries in access exclusive mode");
    pair_start_consumer_ready(p);
    assert_not_ready(p->consumer_port, "broker: replies wait and none is acked");
    sql_session_run(other, "rollback");
    WAIT_UNTIL(pair_is_ready(&p->consumer, p->consumer_port));
    WAIT_UNTIL(pair_sent(p, "hello") == 5);
    db_session_close(&other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_ready_publisher_without_an_agent),
        PAIR_TEST(test_ready_publisher_without_its_queue),
        PAIR_TEST(test_ready_consumer_whose_queue_is_deleted),
        PAIR_TEST(test_ready_consumer_without_an_account),
        PAIR_TEST(test_ready_consumer_that_acks_nothing),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
