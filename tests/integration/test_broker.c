/* The connection itself: topology, refusals, reconnecting, queue queries, and the blocking session of
 * commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker_probe.h"

static const struct topology_arg quorum = {.name = "x-queue-type", .kind = TOPOLOGY_ARG_STR, .str = "quorum"};

/* --- topology --- */

static void build(struct topology *t, enum topology_mode mode, const char *agent_queue,
                  const char *webhook_queue)
{
    struct topology_settings s = {.mode = mode,
                                  .agent_queue = agent_queue,
                                  .webhook_queue = webhook_queue,
                                  .agent_ttl_ms = 300000,
                                  .webhook_ttl_ms = 60000};
    topology_build(&s, t);
}

static void test_broker_declares_and_redeclares(void **state)
{
    (void)state;
    char agent[64], webhook[64];
    struct topology t;
    build(&t, TOPOLOGY_DECLARE, probe_queue_name("declare_ag", agent),
          probe_queue_name("declare_wb", webhook));
    for (int round = 0; round < 2; round++) {
        struct probe *p = probe_new();
        p->settings.topology = &t;
        probe_start_up(p);
        probe_free(&p);
    }
    t.mode = TOPOLOGY_PASSIVE;
    struct probe *p = probe_new();
    p->settings.topology = &t;
    probe_start_up(p);
    probe_free(&p);
    assert_int_equal(probe_count(agent), 0);
}

static void test_broker_classic_redeclares_over_what_an_agent_declared(void **state)
{
    (void)state;
    char agent[64], webhook[64];
    struct topology_settings s = {.queue_type = TOPOLOGY_CLASSIC,
                                  .agent_queue = probe_queue_name("classic_ag", agent),
                                  .webhook_queue = probe_queue_name("classic_wb", webhook),
                                  .agent_ttl_ms = 300000,
                                  .webhook_ttl_ms = 60000};
    const struct topology_arg as_in_spec_004[] = {
        {.name = "x-message-ttl", .kind = TOPOLOGY_ARG_INT, .i = 300000},
        {.name = "x-dead-letter-exchange", .kind = TOPOLOGY_ARG_STR, .str = "dlx_agent"}};
    probe_declare(agent, as_in_spec_004, 2);
    struct topology t;
    topology_build(&s, &t);
    struct probe *p = probe_new();
    p->settings.topology = &t;
    probe_start_up(p);
    probe_free(&p);
}

static void test_broker_refused_on_foreign_queue(void **state)
{
    (void)state;
    char agent[64], webhook[64];
    struct topology t;
    build(&t, TOPOLOGY_DECLARE, probe_queue_name("foreign_ag", agent),
          probe_queue_name("foreign_wb", webhook));
    struct topology_queue *q = &t.queues[t.queue_count - 2];
    struct topology_arg *ttl = &q->args[0];
    assert_string_equal(q->name, agent);
    assert_string_equal(ttl->name, "x-message-ttl");
    ttl->i = 1500;
    probe_declare(agent, q->args, q->arg_count);
    ttl->i = 300000;
    struct probe *p = probe_new();
    p->settings.topology = &t;
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    assert_int_equal(p->why_refused.code, 406);
    char want[256];
    snprintf(want, sizeof want,
             "queue '%s' exists with x-message-ttl = 1500, but 300000 is wanted; nothing was changed: set "
             "topology.",
             agent);
    assert_non_null(strstr(p->why_refused.text, want));
    assert_int_equal(p->ups, 0);
    assert_int_equal(p->downs, 0);
    probe_free(&p);
}

static void test_broker_refused_on_missing_queue_in_passive_mode(void **state)
{
    (void)state;
    struct topology t = {
        .mode = TOPOLOGY_PASSIVE, .queue_count = 1, .queues = {{.name = "test_no_such_queue"}}};
    struct probe *p = probe_new();
    p->settings.topology = &t;
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    assert_int_equal(p->why_refused.code, 404);
    assert_non_null(strstr(p->why_refused.text, "test_no_such_queue"));
    probe_free(&p);
}

/* --- refusals and reconnecting --- */

static void test_broker_refused_on_wrong_password(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->settings.password = "not-the-password";
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    assert_int_equal(p->why_refused.code, 403);
    assert_null(strstr(p->why_refused.text, "not-the-password"));
    assert_int_equal(p->downs, 0);
    probe_free(&p);
}

static void test_broker_refused_on_unknown_vhost(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->settings.vhost = "/no/such/vhost";
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    assert_int_equal(p->why_refused.code, 530);
    probe_free(&p);
}

static void test_broker_refused_on_malformed_host(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->host = "localhost:amqp";
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    probe_free(&p);
}

static void test_broker_keeps_trying_when_nobody_listens(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->host = "127.0.0.1:1";
    probe_start(p);
    probe_wait(p, &p->downs, 3);
    assert_int_equal(p->why_down.class, ERR_TEMPORARY);
    assert_non_null(strstr(p->why_down.text, "127.0.0.1:1"));
    assert_int_equal(p->refusals, 0);
    assert_int_equal(p->ups, 0);
    assert_int_equal(broker_reconnects(p->broker), 0);
    assert_int_equal(broker_room(p->broker), 0);
    probe_free(&p);
}

static void test_broker_takes_the_next_host(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) { /* it starts at a random one */
        struct probe *p = probe_new();
        const char *hosts[] = {"127.0.0.1:1", p->host};
        p->settings.hosts = hosts;
        p->settings.host_count = 2;
        probe_start_up(p);
        assert_true(p->downs <= 1);
        probe_free(&p);
    }
}

static void test_broker_reconnects_again_and_again(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->settings.confirms = true;
    probe_start_up(p);
    for (size_t round = 1; round <= 3; round++) {
        probe_ctl("close_all_connections", "maintenance");
        probe_wait(p, &p->ups, round + 1);
        assert_int_equal(p->downs, round);
    }
    assert_int_equal(broker_reconnects(p->broker), 3);
    probe_free(&p);
}

static void never_called(void *arg, const struct broker_queue_info *infos, size_t count, const struct err *e)
{
    (void)arg, (void)infos, (void)count, (void)e;
    fail();
}

/* What runs on the pool outlives the broker, its settings and the names. */
static void test_broker_freed_while_connecting(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    char host[64], name[] = "some_queue";
    const char *names[] = {name};
    snprintf(host, sizeof host, "%s", p->host);
    p->host = host;
    probe_start(p);
    broker_query_queues(p->broker, names, 1, never_called, NULL);
    probe_stop(p);
    memset(host, '#', sizeof host - 1);
    memset(name, '#', sizeof name - 1);
    probe_idle(p, 200);
    assert_int_equal(p->ups + p->downs + p->refusals, 0);
    probe_free(&p);
}

/* --- TLS --- */

/* "localhost:PORT" of a TLS listener whose certificate is for localhost, and the CA file that signed it. */
static struct probe *new_tls_probe(const char *ca_file)
{
    const char *host = getenv("AGWB_TEST_AMQPS");
    if (host == NULL || getenv("AGWB_TEST_AMQPS_CA") == NULL) {
        print_message("AGWB_TEST_AMQPS and AGWB_TEST_AMQPS_CA are not set\n");
        skip();
    }
    struct probe *p = probe_new();
    p->host = host;
    p->settings.tls = true;
    p->settings.ca_file = ca_file;
    p->settings.confirms = true;
    return p;
}

static void test_broker_tls(void **state)
{
    (void)state;
    char queue[64];
    struct probe *p = new_tls_probe(getenv("AGWB_TEST_AMQPS_CA"));
    probe_declare(probe_queue_name("tls", queue), NULL, 0);
    struct broker_consume c = {queue, 500};
    p->settings.consumes = &c;
    p->settings.consume_count = 1;
    p->ack_all = true;
    probe_start_up(p);
    probe_publish_many(p, queue, 1000);
    probe_wait(p, &p->seen_count, 1000);
    assert_int_equal(p->results[BROKER_CONFIRMED], 1000);
    probe_free(&p);
}

static void test_broker_tls_refuses_unknown_ca(void **state)
{
    (void)state;
    struct probe *p = new_tls_probe(NULL);
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_non_null(strstr(p->why_refused.text, "ca_file"));
    probe_free(&p);
}

static void test_broker_tls_refuses_other_host_name(void **state)
{
    (void)state;
    struct probe *p = new_tls_probe(getenv("AGWB_TEST_AMQPS_CA"));
    char host[64];
    snprintf(host, sizeof host, "127.0.0.1%s", strchr(p->host, ':'));
    p->host = host;
    probe_start(p);
    probe_wait(p, &p->refusals, 1);
    assert_non_null(strstr(p->why_refused.text, "another host name"));
    probe_free(&p);
}

/* --- queue queries --- */

struct answer {
    size_t calls, count;
    struct broker_queue_info infos[TOPOLOGY_MAX_QUEUES];
    struct err err;
};

static void on_queues(void *arg, const struct broker_queue_info *infos, size_t count, const struct err *e)
{
    struct answer *a = arg;
    a->calls++;
    a->count = count;
    for (size_t i = 0; i < count; i++)
        a->infos[i] = infos[i];
    if (e)
        a->err = *e;
}

static void test_broker_query_queues(void **state)
{
    (void)state;
    char queue[64], missing[64];
    probe_declare(probe_queue_name("query", queue), &quorum, 1);
    probe_queue_name("query_missing", missing);
    struct probe *p = probe_new();
    struct broker_consume c = {queue, 2};
    p->settings.confirms = true;
    p->settings.consumes = &c;
    p->settings.consume_count = 1;
    probe_start_up(p);
    probe_publish_many(p, queue, 5);
    probe_wait(p, &p->seen_count, 2);
    const char *names[] = {missing, queue, missing};
    struct answer a = {0};
    broker_query_queues(p->broker, names, 3, on_queues, &a);
    assert_int_equal(a.calls, 0);
    probe_wait(p, &a.calls, 1);
    assert_int_equal(a.count, 3);
    assert_ptr_equal(a.infos[1].queue, queue);
    assert_false(a.infos[0].exists);
    assert_true(a.infos[1].exists);
    assert_int_equal(a.infos[1].messages, 3);
    assert_int_equal(a.infos[1].consumers, 1);
    assert_false(a.infos[2].exists);
    assert_int_equal(p->downs, 0);
    probe_free(&p);
}

static void test_broker_query_queues_fails_without_broker(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    p->host = "127.0.0.1:1";
    probe_start(p);
    const char *names[] = {"some_queue"};
    struct answer a = {0};
    broker_query_queues(p->broker, names, 1, on_queues, &a);
    probe_wait(p, &a.calls, 1);
    assert_int_equal(a.count, 0);
    assert_int_equal(a.err.class, ERR_TEMPORARY);
    probe_free(&p);
}

/* --- session --- */

static void test_broker_session(void **state)
{
    (void)state;
    char queue[64], missing[64];
    struct topology_arg args[] = {quorum,
                                  {.name = "x-max-length", .kind = TOPOLOGY_ARG_INT, .i = 3},
                                  {.name = "x-overflow", .kind = TOPOLOGY_ARG_STR, .str = "reject-publish"}};
    probe_declare(probe_queue_name("session", queue), args, 3);
    probe_queue_name("session_missing", missing);
    struct probe *p = probe_new();
    struct err e;
    struct broker_session *bs = broker_session_open(&p->settings, &e);
    assert_non_null(bs);
    struct broker_delivery d;
    uint32_t messages;
    assert_int_equal(broker_session_get(bs, queue, &d, &e), 0);

    struct broker_header replay = {.name = "agwb-replay", .i = 3};
    struct broker_message m = {.exchange = "",
                               .routing_key = queue,
                               .body = "hello",
                               .body_len = 5,
                               .message_id = "id-1",
                               .expiration_ms = -1,
                               .headers = &replay,
                               .header_count = 1};
    assert_int_equal(broker_session_publish(bs, &m, 5000, &e), 0);
    assert_int_equal(broker_session_publish(bs, &m, 5000, &e), 0);
    assert_int_equal(broker_session_count(bs, queue, &messages, &e), 0);
    assert_int_equal(messages, 2);

    assert_int_equal(broker_session_get(bs, queue, &d, &e), 1);
    assert_int_equal(d.body_len, 5);
    assert_memory_equal(d.body, "hello", 5);
    assert_string_equal(d.message_id, "id-1");
    assert_string_equal(d.queue, queue);
    assert_false(d.redelivered);
    uint64_t first = d.delivery_tag;

    m.routing_key = missing; /* neither this nor the next may give back what was fetched */
    assert_int_equal(broker_session_publish(bs, &m, 5000, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, missing));
    assert_int_equal(broker_session_count(bs, missing, &messages, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_int_equal(broker_session_count(bs, queue, &messages, &e), 0);
    assert_int_equal(messages, 1);

    assert_int_equal(broker_session_requeue(bs, first, &e), 0);
    int redelivered = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(broker_session_get(bs, queue, &d, &e), 1);
        redelivered += d.redelivered;
        assert_int_equal(broker_session_ack(bs, d.delivery_tag, &e), 0);
    }
    assert_int_equal(redelivered, 1);
    assert_int_equal(broker_session_get(bs, queue, &d, &e), 0);
    m.routing_key = queue;
    int rc = 0;
    for (int i = 0; i < 10 && rc == 0; i++)
        rc = broker_session_publish(bs, &m, 5000, &e);
    assert_int_equal(rc, -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE); /* full */
    broker_session_close(&bs);
    assert_null(bs);
    assert_true(probe_count(queue) >= 3);
    probe_free(&p);
}

static void test_broker_session_fails_for_good_after_a_fault(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    struct err e;
    struct broker_session *bs = broker_session_open(&p->settings, &e);
    assert_non_null(bs);
    struct broker_delivery d;
    assert_int_equal(broker_session_get(bs, "test_no_such_queue", &d, &e), -1);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_int_equal(e.code, 404);
    assert_int_equal(broker_session_ack(bs, 1, &e), -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    broker_session_close(&bs);
    probe_free(&p);
}

static void test_broker_session_open_errors(void **state)
{
    (void)state;
    struct probe *p = probe_new();
    struct err e;
    p->settings.password = "wrong";
    assert_null(broker_session_open(&p->settings, &e));
    assert_int_equal(e.class, ERR_CONFIG);
    p->host = "127.0.0.1:1";
    assert_null(broker_session_open(&p->settings, &e));
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    probe_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_declares_and_redeclares),
        cmocka_unit_test(test_broker_classic_redeclares_over_what_an_agent_declared),
        cmocka_unit_test(test_broker_refused_on_foreign_queue),
        cmocka_unit_test(test_broker_refused_on_missing_queue_in_passive_mode),
        cmocka_unit_test(test_broker_refused_on_wrong_password),
        cmocka_unit_test(test_broker_refused_on_unknown_vhost),
        cmocka_unit_test(test_broker_refused_on_malformed_host),
        cmocka_unit_test(test_broker_keeps_trying_when_nobody_listens),
        cmocka_unit_test(test_broker_takes_the_next_host),
        cmocka_unit_test(test_broker_reconnects_again_and_again),
        cmocka_unit_test(test_broker_freed_while_connecting),
        cmocka_unit_test(test_broker_tls),
        cmocka_unit_test(test_broker_tls_refuses_unknown_ca),
        cmocka_unit_test(test_broker_tls_refuses_other_host_name),
        cmocka_unit_test(test_broker_query_queues),
        cmocka_unit_test(test_broker_query_queues_fails_without_broker),
        cmocka_unit_test(test_broker_session),
        cmocka_unit_test(test_broker_session_fails_for_good_after_a_fault),
        cmocka_unit_test(test_broker_session_open_errors),
    };
    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
