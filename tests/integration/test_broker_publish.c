/* Publishing through a real broker: what each confirm means, and that every accepted publish is answered
 * exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "broker_probe.h"

static const struct topology_arg quorum = {.name = "x-queue-type", .kind = TOPOLOGY_ARG_STR, .str = "quorum"};

static struct probe *new_publisher(void)
{
    struct probe *p = probe_new();
    p->settings.confirms = true;
    return p;
}

static void test_broker_publish_confirms_2000(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("confirm", queue), &quorum, 1);
    struct probe *p = new_publisher();
    probe_start_up(p);
    probe_publish_many(p, queue, 2000);
    assert_int_equal(p->results[BROKER_CONFIRMED], 2000);
    assert_int_equal(p->twice, 0);
    assert_int_equal(broker_unconfirmed(p->broker), 0);
    assert_int_equal(broker_reconnects(p->broker), 0);
    assert_int_equal(p->downs, 0);
    probe_free(&p);
    assert_int_equal(probe_count(queue), 2000);
}

static void test_broker_publish_to_missing_queue_is_returned(void **state)
{
    (void)state;
    char queue[64], missing[64];
    probe_declare(probe_queue_name("returned", queue), NULL, 0);
    probe_queue_name("returned_missing", missing);
    struct probe *p = new_publisher();
    probe_start_up(p);
    for (uint64_t i = 0; i < 30; i++)
        probe_publish(p, i % 3 == 1 ? missing : queue, "x", i);
    probe_wait(p, &p->answers, 30);
    assert_int_equal(p->results[BROKER_CONFIRMED], 20);
    assert_int_equal(p->results[BROKER_RETURNED], 10);
    assert_int_equal(p->twice, 0);
    probe_free(&p);
    assert_int_equal(probe_count(queue), 20);
}

/* Two publishes with one id: the return belongs to one of them, the other's fate is its own. */
static void test_broker_publish_same_id_twice(void **state)
{
    (void)state;
    char missing[64];
    probe_queue_name("same_id", missing);
    struct probe *p = new_publisher();
    probe_start_up(p);
    struct broker_message m = {
        .exchange = "", .routing_key = missing, .body = "x", .body_len = 1, .expiration_ms = -1};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 0, &e), 0);
    assert_int_equal(broker_publish(p->broker, &m, 1, &e), 0); /* without any id */
    m.message_id = "same";
    assert_int_equal(broker_publish(p->broker, &m, 2, &e), 0);
    assert_int_equal(broker_publish(p->broker, &m, 3, &e), 0);
    probe_wait(p, &p->answers, 4);
    assert_int_equal(p->results[BROKER_RETURNED], 4);
    probe_free(&p);
}

static void test_broker_publish_to_full_queue_is_nacked(void **state)
{
    (void)state;
    char queue[64];
    struct topology_arg args[] = {quorum,
                                  {.name = "x-max-length", .kind = TOPOLOGY_ARG_INT, .i = 2},
                                  {.name = "x-overflow", .kind = TOPOLOGY_ARG_STR, .str = "reject-publish"}};
    probe_declare(probe_queue_name("nacked", queue), args, 3);
    struct probe *p = new_publisher();
    probe_start_up(p);
    for (uint64_t i = 0; i < 20; i++) { /* one by one: the limit is soft for a burst */
        probe_publish(p, queue, "x", i);
        probe_wait(p, &p->answers, i + 1);
    }
    assert_true(p->results[BROKER_NACKED] > 0);
    assert_int_equal(p->results[BROKER_NACKED] + p->results[BROKER_CONFIRMED], 20);
    assert_int_equal(probe_count(queue), p->results[BROKER_CONFIRMED]);
    probe_free(&p);
}

static void test_broker_publish_refuses_what_the_wire_cannot_carry(void **state)
{
    (void)state;
    char queue[64], text[70000];
    probe_declare(probe_queue_name("limits", queue), NULL, 0);
    struct probe *p = new_publisher();
    probe_start_up(p);
    memset(text, 'x', sizeof text);
    text[256] = '\0';
    struct broker_message good = {
        .exchange = "", .routing_key = queue, .body = "x", .body_len = 1, .expiration_ms = -1};
    struct broker_message bad[7];
    for (size_t i = 0; i < 7; i++)
        bad[i] = good;
    char *long_value = malloc(140000);
    memset(long_value, 'x', 139999);
    long_value[139999] = '\0';
    struct broker_header long_name = {.name = text, .i = 1}, large = {.name = "large", .str = long_value};
    struct broker_header many[BROKER_MAX_HEADERS + 1];
    for (size_t i = 0; i < BROKER_MAX_HEADERS + 1; i++)
        many[i] = (struct broker_header){.name = "n", .i = 1};
    bad[0].routing_key = text;
    bad[1].message_id = text;
    bad[2].type = text;
    bad[3].headers = &long_name, bad[3].header_count = 1;
    bad[4].headers = &large, bad[4].header_count = 1;
    bad[5].headers = many, bad[5].header_count = BROKER_MAX_HEADERS + 1;
    bad[6].expiration_ms = 4294967296;
    for (size_t i = 0; i < 7; i++) {
        struct err e = {0};
        assert_int_equal(broker_publish(p->broker, &bad[i], i, &e), -1);
        assert_int_equal(e.class, ERR_DATA);
    }
    text[255] = '\0'; /* the longest that goes */
    long_value[130000] = '\0';
    good.message_id = good.correlation_id = good.content_type = good.type = good.app_id = text;
    good.timestamp_s = INT64_MAX;
    good.expiration_ms = 4294967295;
    good.headers = many, good.header_count = BROKER_MAX_HEADERS;
    struct err e;
    assert_int_equal(broker_publish(p->broker, &good, 10, &e), 0);
    good.headers = &large, good.header_count = 1;
    good.message_id = good.correlation_id = good.content_type = good.type = good.app_id = NULL;
    assert_int_equal(broker_publish(p->broker, &good, 11, &e), 0);
    probe_wait(p, &p->answers, 2);
    assert_int_equal(p->results[BROKER_CONFIRMED], 2);
    assert_int_equal(p->downs, 0);
    free(long_value);
    probe_free(&p);
}

static void test_broker_publish_to_missing_exchange_is_unknown(void **state)
{
    (void)state;
    struct probe *p = new_publisher();
    probe_start_up(p);
    struct broker_message m = {
        .exchange = "no_such_exchange", .routing_key = "", .body = "x", .body_len = 1, .expiration_ms = -1};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 7, &e), 0);
    probe_wait(p, &p->downs, 1);
    assert_int_equal(p->results[BROKER_UNKNOWN], 1);
    assert_int_equal(p->why_down.class, ERR_TEMPORARY);
    assert_int_equal(p->why_down.code, 404);
    assert_non_null(strstr(p->why_down.text, "no_such_exchange"));
    probe_wait(p, &p->ups, 2);
    assert_int_equal(broker_reconnects(p->broker), 1);
    probe_free(&p);
}

/* The window ends by bytes long before the socket would. One message is always possible, whatever its size.
 */
static void test_broker_publish_window_is_bounded(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("window", queue), NULL, 0);
    struct probe *p = new_publisher();
    struct err e;
    enum { BIG = 3 * 1024 * 1024 };
    char *body = calloc(1, BIG);
    probe_start(p);
    assert_int_equal(broker_room(p->broker), 0); /* not up yet */
    probe_wait(p, &p->ups, 1);
    assert_true(broker_room(p->broker) > 1000);
    struct broker_message m = {
        .exchange = "", .routing_key = queue, .body = body, .body_len = 2048, .expiration_ms = -1};
    uint64_t taken = 0;
    while (taken < 4000 && broker_publish(p->broker, &m, taken, &e) == 0)
        taken++;
    assert_int_equal(e.class, ERR_TEMPORARY);
    assert_true(taken >= 400 && taken <= 512);
    assert_int_equal(broker_room(p->broker), 0);
    assert_int_equal(broker_unconfirmed(p->broker), taken);
    probe_wait(p, &p->answers, taken);
    m.body_len = BIG;
    assert_int_equal(broker_publish(p->broker, &m, taken, &e), 0);
    probe_wait(p, &p->answers, taken + 1);
    assert_int_equal(p->results[BROKER_CONFIRMED], taken + 1);
    free(body);
    probe_free(&p);
}

/* The memory watermark makes the broker hold confirms back, which also gives a sure moment with something
 * unconfirmed. It takes effect some time after the command, and the broker says "blocked" to the first
 * publish after that. Returns how many were published. */
static size_t publish_until_blocked(struct probe *p, const char *queue)
{
    probe_ctl("set_vm_memory_high_watermark", "0.000001");
    size_t published = 0;
    while (p->blocked == 0) {
        size_t events = p->events;
        for (int i = 0; i < 10; i++)
            probe_publish(p, queue, "x", published++);
        probe_wait(p, &p->events, events + 1);
        while (p->blocked == 0 && p->answers < published)
            probe_wait(p, &p->events, p->events + 1);
    }
    assert_true(p->answers < published);
    return published;
}

static void test_broker_publish_blocked_and_unblocked(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("blocked", queue), NULL, 0);
    struct probe *p = new_publisher();
    p->settings.confirm_timeout_ms = 1500;
    probe_start_up(p);
    size_t published = publish_until_blocked(p, queue);
    assert_true(broker_is_blocked(p->broker));
    assert_int_equal(broker_room(p->broker), 0);
    probe_idle(p, 2500); /* longer than the confirm timeout, which does not count now */
    assert_int_equal(p->downs, 0);
    assert_true(p->answers < published);
    probe_ctl("set_vm_memory_high_watermark", "0.4");
    probe_wait(p, &p->unblocked, 1);
    probe_wait(p, &p->answers, published);
    assert_int_equal(p->results[BROKER_CONFIRMED], published);
    assert_false(broker_is_blocked(p->broker));
    assert_true(broker_room(p->broker) > 0);
    assert_int_equal(p->downs, 0);
    probe_free(&p);
}

static void test_broker_publish_unconfirmed_become_unknown(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("unknown", queue), NULL, 0);
    struct probe *p = new_publisher();
    probe_start_up(p);
    size_t published = publish_until_blocked(p, queue);
    probe_ctl("close_all_connections", "maintenance");
    probe_wait(p, &p->downs, 1);
    size_t confirmed = p->results[BROKER_CONFIRMED];
    assert_true(p->results[BROKER_UNKNOWN] > 0);
    assert_int_equal(p->results[BROKER_UNKNOWN] + confirmed, published);
    assert_int_equal(p->unblocked, 1); /* a lost connection is not blocked any more */
    assert_int_equal(p->why_down.code, 320);
    assert_non_null(strstr(p->why_down.text, "maintenance"));
    probe_ctl("set_vm_memory_high_watermark", "0.4");
    probe_wait(p, &p->ups, 2);
    probe_publish(p, queue, "x", published);
    probe_wait(p, &p->answers, published + 1);
    assert_int_equal(p->results[BROKER_CONFIRMED], confirmed + 1); /* sequence numbers began anew */
    assert_int_equal(p->twice, 0);
    probe_free(&p);
}

/* The broker's process, or 0: not told, or restarted since, so that the number may be another's by now. */
static pid_t broker_pid(void)
{
    const char *text = getenv("AGWB_TEST_AMQP_PID");
    char path[64], name[16] = "";
    if (text == NULL)
        return 0;
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return 0;
    bool is_erlang = fgets(name, sizeof name, f) != NULL && strncmp(name, "beam", 4) == 0;
    fclose(f);
    return is_erlang ? pid : 0;
}

static void test_broker_publish_hung_broker(void **state)
{
    (void)state;
    pid_t pid = broker_pid();
    if (pid == 0) {
        print_message("AGWB_TEST_AMQP_PID names no broker process\n");
        skip();
    }
    char queue[64];
    probe_declare(probe_queue_name("hung", queue), NULL, 0);
    struct probe *by_confirm = new_publisher(), *by_heartbeat = new_publisher();
    by_confirm->settings.confirm_timeout_ms = 1000;
    by_heartbeat->settings.heartbeat_s = 1;
    probe_start_up(by_confirm);
    probe_start_up(by_heartbeat);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    probe_publish(by_confirm, queue, "x", 0);
    probe_publish(by_heartbeat, queue, "x", 0);
    probe_wait(by_confirm, &by_confirm->downs, 1);
    probe_wait(by_heartbeat, &by_heartbeat->downs, 1);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_non_null(strstr(by_confirm->why_down.text, "no confirm"));
    assert_non_null(strstr(by_heartbeat->why_down.text, "heartbeat"));
    assert_int_equal(by_confirm->results[BROKER_UNKNOWN], 1);
    assert_int_equal(by_heartbeat->results[BROKER_UNKNOWN], 1);
    probe_wait(by_confirm, &by_confirm->ups, 2);
    probe_wait(by_heartbeat, &by_heartbeat->ups, 2);
    probe_free(&by_confirm);
    probe_free(&by_heartbeat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_publish_confirms_2000),
        cmocka_unit_test(test_broker_publish_to_missing_queue_is_returned),
        cmocka_unit_test(test_broker_publish_same_id_twice),
        cmocka_unit_test(test_broker_publish_to_full_queue_is_nacked),
        cmocka_unit_test(test_broker_publish_refuses_what_the_wire_cannot_carry),
        cmocka_unit_test(test_broker_publish_to_missing_exchange_is_unknown),
        cmocka_unit_test(test_broker_publish_window_is_bounded),
        cmocka_unit_test(test_broker_publish_blocked_and_unblocked),
        cmocka_unit_test(test_broker_publish_unconfirmed_become_unknown),
        cmocka_unit_test(test_broker_publish_hung_broker),
    };
    return cmocka_run_group_tests_name("broker_publish", tests, NULL, NULL);
}
