/* A row is published when the broker has confirmed its request, and in no other case. The broker says no, is
 * blocked or loses the publisher; nothing is lost, and nothing counts against the row. */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <string.h>

static void delete_queue(struct pair *p, const char *queue)
{
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"delete_queue", "-p", p->vhost, queue, NULL});
}

/* Empties ag_queue into the table test.taken: each id with how often it came. */
static void drain_requests(struct pair *p)
{
    struct wire_message m;
    sql_run(p, "create table if not exists test.taken (id uuid primary key, times int)");
    while (wire_try_take(p, "ag_queue", &m)) {
        sql_run(p,
                "insert into test.taken values ('%s', 1) on conflict (id) do update set times = "
                "test.taken.times + 1",
                m.id);
        wire_free(&m);
    }
}

static void test_custody_unroutable_rows_stay_pending(struct pair *p)
{
    pair_start_publisher_ready(p);
    delete_queue(p, "ag_queue");
    job_add_many(p, 1, 5);
    WAIT_UNTIL(pair_metric(p->publisher_port, "agwb_published_total{result=\"returned\"}") >= 5);
    WAIT_UNTIL(job_count(p, "status = 'pending' and attempts = 0 and error like 'returned:%'") == 5);
    assert_int_equal(job_count(p, "published_at is not null"), 0);
    assert_true(pair_metric(p->publisher_port, "agwb_published_total{result=\"confirmed\"}") == 0);
    assert_true(log_count(&p->publisher, "request not taken by the broker, job is pending again", "queue",
                          "ag_queue") >= 1);

    assert_int_equal(process_end(&p->publisher), 0);
    pair_start_publisher_ready(p); /* declares the queue anew */
    WAIT_UNTIL(job_count(p, "published_at is not null and attempts = 1 and error is null") == 5);
    drain_requests(p);
    assert_int_equal(sql_int(p, "select count(*) from test.taken where times = 1"), 5);
}

static void cap_agent_queue(struct pair *p, const char *definition)
{
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"set_policy", "-p", p->vhost, "cap", "^ag_queue$", definition,
                                      "--apply-to", "queues", NULL});
}

/* A quorum queue takes some more than its cap, then refuses. */
static void test_custody_nacked_rows_stay_pending(struct pair *p)
{
    enum { JOBS = 40 };
    pair_start_publisher_ready(p);
    cap_agent_queue(p, "{\"max-length\":3}");
    WAIT_UNTIL((job_add_many(p, 1, 1),
                pair_metric(p->publisher_port, "agwb_published_total{result=\"nacked\"}") > 0));
    job_add_many(p, 2, JOBS);
    WAIT_UNTIL(job_count(p, "status = 'pending' and attempts = 0 and error like 'nacked:%'") > 0 &&
               job_count(p, "published_at is not null") == wire_count(p, "ag_queue"));
    assert_int_equal(job_count(p, "status = 'pending' and (attempts <> 0 or published_at is not null)"), 0);

    /* raised, not cleared: without any cap RabbitMQ 3.10 never tells its channels that it takes messages
     * again */
    cap_agent_queue(p, "{\"max-length\":100000}");
    WAIT_UNTIL((drain_requests(p), job_count(p, "published_at is null") == 0));
    WAIT_UNTIL((drain_requests(p),
                sql_int(p, "select count(*) from test.taken where times = 1") == job_count(p, "true")));
    assert_int_equal(job_count(p, "attempts = 1"), job_count(p, "true"));
}

/* A resource alarm: what was sent waits for its confirm, no more is taken in, and the daemon says so. */
static void test_custody_blocked_broker(struct pair *p)
{
    struct buf why;
    pair_start_publisher_ready(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"set_vm_memory_high_watermark", "0.0001", NULL});
    job_add_many(p, 1, 3);
    WAIT_UNTIL(!pair_is_ready(&p->publisher, p->publisher_port));
    buf_init(&why, 4096);
    assert_int_equal(web_ask(p->publisher_port, "/readyz", NULL, &why), 503);
    assert_non_null(strstr(buf_str(&why), "blocked by a resource alarm"));
    assert_int_equal(web_ask(p->publisher_port, "/healthz", NULL, NULL), 200);
    buf_fini(&why);
    job_add_many(p, 4, 3);
    assert_int_equal(job_count(p, "published_at is not null"), 0);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"set_vm_memory_high_watermark", "0.4", NULL});
    WAIT_UNTIL(pair_is_ready(&p->publisher, p->publisher_port));
    WAIT_UNTIL(job_count(p, "published_at is not null and attempts = 1") == 6);
    drain_requests(p);
    assert_int_equal(sql_int(p, "select count(*) from test.taken where times = 1"), 6);
}

/* Killed between publish and record: a request may come twice, always with its job's id, and none is missing.
 */
static void test_custody_publisher_killed(struct pair *p)
{
    enum { JOBS = 400 };
    pair_set(p, "publisher.lease_ms=1000");
    pair_start_publisher_ready(p);
    for (int i = 0; i < 8; i++)
        job_add_many(p, i * JOBS / 8, JOBS / 8);
    WAIT_UNTIL(job_count(p, "published_at is not null") > JOBS / 10);
    process_kill(&p->publisher);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == JOBS);
    drain_requests(p);
    assert_int_equal(sql_int(p, "select count(*) from test.taken t join ai_response_queue q using (id)"),
                     JOBS);
    assert_int_equal(sql_int(p, "select count(*) from test.taken"), JOBS);
    assert_int_equal(job_count(p, "attempts = 1 and status = 'processing'"), JOBS);
}

static void test_custody_two_publishers_publish_once(struct pair *p)
{
    enum { JOBS = 400 };
    pair_start_publisher_ready(p);
    pair_start_program(p, &p->more[0], "publisher2", "agwb-publisher", "publisher.metrics_listen=off");
    WAIT_UNTIL(log_count(&p->more[0], "broker connected", NULL, NULL) > 0 &&
               log_count(&p->more[0], "database connected", NULL, NULL) > 0);
    for (int i = 0; i < 20; i++)
        job_add_many(p, i * JOBS / 20, JOBS / 20);
    WAIT_UNTIL(job_count(p, "published_at is not null") == JOBS);
    drain_requests(p);
    assert_int_equal(sql_int(p, "select count(*) from test.taken where times = 1"), JOBS);
    assert_int_equal(sql_int(p, "select count(*) from test.taken"), JOBS);
    assert_int_equal(log_count(&p->publisher, "published", NULL, NULL) +
                         log_count(&p->more[0], "published", NULL, NULL),
                     JOBS);
}

/* --- dead letters --- */

static void test_custody_unread_request_expires_into_dlx_agent(struct pair *p)
{
    struct wire_message m;
    pair_set(p, "topology.agent_ttl_ms=300");
    pair_start_publisher_ready(p);
    const char *id = job_add(p, 1, "nobody reads this");
    wire_take(p, "dlx_agent", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(wire_text(&m, "message.text"), "nobody reads this");
    assert_string_equal(m.dead_queue, "ag_queue");
    assert_string_equal(m.dead_reason, "expired");
    assert_int_equal(wire_count(p, "ag_queue"), 0);
    assert_int_equal(job_count(p, "published_at is not null"), 1);
    wire_free(&m);
}

static void test_custody_unread_reply_expires_into_dlx_webhook(struct pair *p)
{
    struct wire_message m;
    pair_set(p, "topology.webhook_ttl_ms=300");
    pair_start_publisher_ready(p); /* either daemon declares everything; no consumer runs */
    wire_answer(p, "late", "none", 1, "too late");
    wire_take(p, "dlx_webhook", &m);
    assert_string_equal(m.id, "late");
    assert_string_equal(buf_str(&m.body), wire_reply("late", "none", "+12025550101", "too late"));
    assert_string_equal(m.dead_queue, "wb_queue");
    assert_string_equal(m.dead_reason, "expired");
    wire_free(&m);
}

static void test_custody_rejected_request_goes_to_dlx_agent(struct pair *p)
{
    struct wire_message m;
    pair_start_publisher_ready(p);
    pair_start_agent(p, (const char *const[]){NULL});
    const char *id = job_add(p, 1, "please [reject]");
    wire_take(p, "dlx_agent", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(m.dead_reason, "rejected");
    wire_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_custody_unroutable_rows_stay_pending),
        PAIR_TEST(test_custody_nacked_rows_stay_pending),
        PAIR_TEST(test_custody_blocked_broker),
        PAIR_TEST(test_custody_publisher_killed),
        PAIR_TEST(test_custody_two_publishers_publish_once),
        PAIR_TEST(test_custody_unread_request_expires_into_dlx_agent),
        PAIR_TEST(test_custody_unread_reply_expires_into_dlx_webhook),
        PAIR_TEST(test_custody_rejected_request_goes_to_dlx_agent),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
