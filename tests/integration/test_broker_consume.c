/* Consuming from a real broker: what a delivery carries, what acks do, and what a lost connection leaves
 * behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "broker_probe.h"

static const struct topology_arg quorum = {.name = "x-queue-type", .kind = TOPOLOGY_ARG_STR, .str = "quorum"};

/* One connection that publishes to the queue and consumes from it. */
static struct probe *new_pair(struct broker_consume *c)
{
    struct probe *p = probe_new();
    p->settings.confirms = true;
    p->settings.consumes = c;
    p->settings.consume_count = 1;
    return p;
}

/* Acks are not answered: what they did is certain once the connection is closed in good order. On a quorum
 * queue even then only for a few of them: with 32 of them under way RabbitMQ keeps the next ones back, and
 * forgets them with the channel. */
static void expect_left(struct probe **p, const char *queue, uint32_t messages)
{
    probe_free(p);
    assert_int_equal(probe_count(queue), messages);
}

static void test_broker_consume_ack_one_and_multiple(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("ack", queue), &quorum, 1);
    struct broker_consume c = {queue, 100};
    struct probe *p = new_pair(&c);
    probe_start_up(p);
    probe_publish_many(p, queue, 10);
    probe_wait(p, &p->seen_count, 10);
    for (size_t i = 0; i < 10; i++) {
        char body[8];
        snprintf(body, sizeof body, "%zu", i);
        assert_string_equal(p->seen[i].body, body);
        assert_int_equal(p->seen[i].epoch, 1);
        assert_ptr_equal(p->seen[i].queue, queue);
        assert_false(p->seen[i].redelivered);
    }
    assert_true(broker_ack(p->broker, 1, p->seen[9].tag, false));
    assert_true(broker_ack(p->broker, 1, p->seen[4].tag, true));
    assert_false(broker_ack(p->broker, 2, p->seen[5].tag, false));
    expect_left(&p, queue, 4); /* 5, 6, 7, 8 */
}

static void test_broker_consume_prefetch_bounds_deliveries(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("prefetch", queue), &quorum, 1);
    struct broker_consume c = {queue, 3};
    struct probe *p = new_pair(&c);
    probe_start_up(p);
    probe_publish_many(p, queue, 10);
    probe_wait(p, &p->seen_count, 3);
    probe_idle(p, 300);
    assert_int_equal(p->seen_count, 3);
    assert_true(broker_ack(p->broker, 1, p->seen[0].tag, false));
    probe_wait(p, &p->seen_count, 4);
    expect_left(&p, queue, 9);
}

static struct broker_delivery death;
static char death_queue[64], death_reason[64];

static void keep_death(const struct broker_delivery *d)
{
    death = *d;
    snprintf(death_queue, sizeof death_queue, "%s", d->death.queue ? d->death.queue : "");
    snprintf(death_reason, sizeof death_reason, "%s", d->death.reason ? d->death.reason : "");
}

static void test_broker_consume_reject_dead_letters_or_requeues(void **state)
{
    (void)state;
    char queue[64], dead[64];
    probe_declare(probe_queue_name("dead", dead), &quorum, 1);
    struct topology_arg args[] = {
        quorum,
        {.name = "x-dead-letter-exchange", .kind = TOPOLOGY_ARG_STR, .str = ""},
        {.name = "x-dead-letter-routing-key", .kind = TOPOLOGY_ARG_STR, .str = dead}};
    probe_declare(probe_queue_name("reject", queue), args, 3);
    struct broker_consume c[] = {{queue, 5}, {dead, 5}};
    struct probe *p = new_pair(c);
    p->settings.consume_count = 2;
    p->inspect = keep_death;
    probe_start_up(p);
    probe_publish(p, queue, "x", 0);
    probe_wait(p, &p->seen_count, 1);
    assert_null(death.death.queue);
    assert_true(broker_reject(p->broker, 1, p->seen[0].tag, true));
    probe_wait(p, &p->seen_count, 2);
    assert_ptr_equal(p->seen[1].queue, queue);
    assert_true(p->seen[1].redelivered);
    assert_true(broker_reject(p->broker, 1, p->seen[1].tag, false));
    probe_wait(p, &p->seen_count, 3);
    assert_ptr_equal(p->seen[2].queue, dead);
    assert_string_equal(death_queue, queue);
    assert_string_equal(death_reason, "rejected");
    assert_int_equal(death.death.count, 1);
    assert_false(broker_reject(p->broker, 7, p->seen[2].tag, false));
    probe_free(&p);
}

static void test_broker_consume_redelivers_after_lost_connection(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("redeliver", queue), &quorum, 1);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    probe_start_up(p);
    probe_publish_many(p, queue, 4);
    probe_wait(p, &p->seen_count, 4);
    assert_true(broker_ack(p->broker, 1, p->seen[0].tag, false));
    probe_ctl("close_all_connections", "maintenance");
    probe_wait(p, &p->downs, 1);
    assert_false(broker_is_up(p->broker));
    assert_false(broker_ack(p->broker, 1, p->seen[1].tag, false)); /* while down */
    probe_wait(p, &p->seen_count, 7);
    assert_int_equal(p->ups, 2);
    assert_int_equal(broker_reconnects(p->broker), 1);
    for (size_t i = 4; i < 7; i++) {
        assert_true(p->seen[i].redelivered);
        assert_int_equal(p->seen[i].epoch, 2);
    }
    assert_false(
        broker_ack(p->broker, 1, p->seen[1].tag, false)); /* an old tag must not ack a new delivery */
    assert_true(broker_ack(p->broker, 2, p->seen[6].tag, true));
    expect_left(&p, queue, 0);
}

static void test_broker_consume_pause_and_resume(void **state)
{
    (void)state;
    char queue[64];
    struct topology_arg args[] = {quorum,
                                  {.name = "x-single-active-consumer", .kind = TOPOLOGY_ARG_BOOL, .i = 1}};
    probe_declare(probe_queue_name("pause", queue), args, 2);
    struct broker_consume c = {queue, 2};
    struct probe *p = new_pair(&c);
    probe_start_up(p);
    probe_publish_many(p, queue, 5);
    probe_wait(p, &p->seen_count, 2);
    broker_pause(p->broker);
    assert_true(broker_is_paused(p->broker));
    assert_true(broker_ack(p->broker, 1, p->seen[0].tag, false)); /* would make room for a third */
    probe_idle(p, 500);
    assert_int_equal(p->seen_count, 2);
    broker_resume(p->broker);
    probe_wait(p, &p->seen_count, 4); /* a new prefetch, besides the one still unacked */
    for (int i = 0; i < 20; i++) {    /* the consumer tags must not collide */
        broker_pause(p->broker);
        broker_resume(p->broker);
    }
    p->ack_all = true;
    for (size_t i = 1; i < 4; i++)
        assert_true(broker_ack(p->broker, 1, p->seen[i].tag, false));
    probe_wait(p, &p->seen_count, 5);
    assert_int_equal(p->downs, 0);
    expect_left(&p, queue, 0);
}

static void test_broker_consume_pause_is_kept_across_reconnects(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("pause_kept", queue), &quorum, 1);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    probe_start(p);
    broker_pause(p->broker); /* while connecting with consumers */
    probe_wait(p, &p->ups, 1);
    probe_publish_many(p, queue, 1);
    probe_ctl("close_all_connections", "maintenance");
    probe_wait(p, &p->ups, 2);
    probe_idle(p, 500);
    assert_int_equal(p->seen_count, 0);
    broker_resume(p->broker);
    probe_wait(p, &p->seen_count, 1);
    assert_int_equal(p->downs, 1);
    probe_free(&p);
}

static void test_broker_consume_oversized_body(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("oversized", queue), &quorum, 1);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    p->settings.max_body_bytes = 300000; /* more than two frames */
    probe_start_up(p);
    char *body = xcalloc(1, 300001);
    memset(body, 'b', 300001);
    struct broker_message m = {
        .exchange = "", .routing_key = queue, .body = body, .body_len = 300001, .expiration_ms = -1};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 0, &e), 0);
    m.body_len = 300000;
    assert_int_equal(broker_publish(p->broker, &m, 1, &e), 0);
    m.body_len = 0;
    assert_int_equal(broker_publish(p->broker, &m, 2, &e), 0);
    probe_wait(p, &p->seen_count, 3);
    assert_false(p->seen[0].has_body);
    assert_int_equal(p->seen[0].body_len, 300001);
    assert_true(p->seen[1].has_body);
    assert_int_equal(p->seen[1].body_len, 300000);
    assert_int_equal(p->seen[1].body[62], 'b');
    assert_true(p->seen[2].has_body);
    assert_int_equal(p->seen[2].body_len, 0);
    free(body);
    probe_free(&p);
}

static size_t checked;

static void check_round_trip(const struct broker_delivery *d)
{
    assert_string_equal(d->message_id, "id-1");
    assert_string_equal(d->correlation_id, "corr-1");
    assert_string_equal(d->content_type, "application/json");
    assert_string_equal(d->type, "request");
    assert_string_equal(d->app_id, "agwb");
    assert_int_equal(d->timestamp, 1795206465);
    size_t found = 0;
    for (size_t i = 0; i < d->header_count; i++) {
        const struct broker_header *h = &d->headers[i];
        if (strcmp(h->name, "traceparent") == 0)
            found += h->str && strcmp(h->str, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") == 0;
        else if (strcmp(h->name, "agwb-replay") == 0)
            found += h->str == NULL && h->i == -9007199254740993;
        else if (strcmp(h->name, "empty") == 0)
            found += h->str && h->str[0] == '\0';
    }
    assert_int_equal(found, 3);
    assert_null(d->death.queue);
    checked++;
}

static void test_broker_consume_properties_and_headers_round_trip(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("headers", queue), &quorum, 1);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    p->inspect = check_round_trip;
    probe_start_up(p);
    struct broker_header headers[] = {
        {.name = "traceparent", .str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {.name = "agwb-replay", .i = -9007199254740993},
        {.name = "empty", .str = ""}};
    struct broker_message m = {.exchange = "",
                               .routing_key = queue,
                               .body = "{}",
                               .body_len = 2,
                               .message_id = "id-1",
                               .correlation_id = "corr-1",
                               .content_type = "application/json",
                               .type = "request",
                               .app_id = "agwb",
                               .timestamp_s = 1795206465,
                               .expiration_ms = 60000,
                               .headers = headers,
                               .header_count = 3};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 0, &e), 0);
    probe_wait(p, &checked, 1);
    probe_free(&p);
}

static void test_broker_consume_absent_properties_are_null(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("absent", queue), NULL, 0);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    p->inspect = keep_death;
    probe_start_up(p);
    struct broker_message m = {.exchange = "", .routing_key = queue, .body = "", .expiration_ms = -1};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 0, &e), 0);
    probe_wait(p, &p->seen_count, 1);
    assert_null(death.message_id);
    assert_null(death.correlation_id);
    assert_null(death.content_type);
    assert_null(death.type);
    assert_null(death.app_id);
    assert_int_equal(death.timestamp, 0);
    assert_int_equal(death.header_count, 0);
    probe_free(&p);
}

static void test_broker_consume_expired_message_names_its_death(void **state)
{
    (void)state;
    char queue[64], dead[64];
    probe_declare(probe_queue_name("expired_dead", dead), &quorum, 1);
    struct topology_arg args[] = {
        quorum,
        {.name = "x-dead-letter-exchange", .kind = TOPOLOGY_ARG_STR, .str = ""},
        {.name = "x-dead-letter-routing-key", .kind = TOPOLOGY_ARG_STR, .str = dead}};
    probe_declare(probe_queue_name("expired", queue), args, 3);
    struct broker_consume c = {dead, 10};
    struct probe *p = new_pair(&c);
    p->inspect = keep_death;
    probe_start_up(p);
    struct broker_message m = {.exchange = "",
                               .routing_key = queue,
                               .body = "x",
                               .body_len = 1,
                               .message_id = "id",
                               .expiration_ms = 50};
    struct err e;
    assert_int_equal(broker_publish(p->broker, &m, 0, &e), 0);
    probe_wait(p, &p->seen_count, 1);
    assert_string_equal(death_queue, queue);
    assert_string_equal(death_reason, "expired");
    probe_free(&p);
}

/* More than a turn's share of frames, and acks written between reads. */
static void test_broker_consume_a_large_backlog(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("backlog", queue), NULL, 0); /* classic, for the sake of expect_left */
    struct broker_consume c = {queue, 1500};
    struct probe *p = new_pair(&c);
    probe_start(p);
    broker_pause(p->broker);
    probe_wait(p, &p->ups, 1);
    probe_publish_many(p, queue, 3000);
    p->ack_all = true;
    broker_resume(p->broker);
    probe_wait(p, &p->seen_count, 3000);
    assert_string_equal(p->seen[2999].body, "2999");
    expect_left(&p, queue, 0);
}

static void test_broker_consume_deleted_queue_cancels(void **state)
{
    (void)state;
    char queue[64];
    probe_declare(probe_queue_name("deleted", queue), NULL, 0);
    struct broker_consume c = {queue, 10};
    struct probe *p = new_pair(&c);
    probe_start_up(p);
    probe_ctl("delete_queue", queue);
    probe_wait(p, &p->downs, 1);
    assert_non_null(strstr(p->why_down.text, queue));
    probe_wait(p, &p->refusals, 1); /* nobody declares it here */
    assert_int_equal(p->why_refused.class, ERR_CONFIG);
    assert_int_equal(p->why_refused.code, 404);
    assert_non_null(strstr(p->why_refused.text, queue));
    probe_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_consume_ack_one_and_multiple),
        cmocka_unit_test(test_broker_consume_prefetch_bounds_deliveries),
        cmocka_unit_test(test_broker_consume_reject_dead_letters_or_requeues),
        cmocka_unit_test(test_broker_consume_redelivers_after_lost_connection),
        cmocka_unit_test(test_broker_consume_pause_and_resume),
        cmocka_unit_test(test_broker_consume_pause_is_kept_across_reconnects),
        cmocka_unit_test(test_broker_consume_oversized_body),
        cmocka_unit_test(test_broker_consume_properties_and_headers_round_trip),
        cmocka_unit_test(test_broker_consume_absent_properties_are_null),
        cmocka_unit_test(test_broker_consume_expired_message_names_its_death),
        cmocka_unit_test(test_broker_consume_a_large_backlog),
        cmocka_unit_test(test_broker_consume_deleted_queue_cancels),
    };
    return cmocka_run_group_tests_name("broker_consume", tests, NULL, NULL);
}
