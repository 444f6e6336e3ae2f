/* What a provider took and could not deliver after all: its FAILED receipt sends the message again, another
 * way, or to a person; once, whoever hears of it how often. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

#define CLOUD(next)                                                                                          \
    "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; token = "      \
    "\"test-token\"; next = [" next "]; options = { phone_number_id = \"106540352242922\"; };"

static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(p,
                    "select string_agg(part || ' ' || outcome || ' ' || disposition, ', ' order by id) from "
                    "agwb.delivery_attempts where message_id = '%s'",
                    id);
}

/* The status webhook of the attempt that sent this part, as the publisher stores it. */
static void fail_part(struct pair *p, const char *id, int part, const char *code)
{
    sql_run(p,
            "select agwb.add_receipts(jsonb_build_array(jsonb_build_object('provider', 'whatsapp_cloud', "
            "'account', "
            "a.account, 'externalId', a.provider_message_id, 'status', 'FAILED', 'code', '%s', 'detail', "
            "'the provider''s words'))) from agwb.delivery_attempts a where a.message_id = '%s' and a.part = "
            "%d and "
            "a.outcome = 'DELIVERED' and a.provider_message_id is not null order by a.id desc limit 1",
            code, id, part);
    sql_run(p, "select agwb.apply_receipts(100)");
}

static void send_one(struct pair *p, const char *account, const char *id)
{
    pair_account(p, account);
    pair_start_consumer_ready(p);
    wire_answer_job(p, id, 1, "taken");
    WAIT_UNTIL(delivery_is(p, id, "sent"));
}

static bool all_judged(struct pair *p)
{
    return sql_int(p, "select count(*) from agwb.receipts where judged_at is null") == 0;
}

/* The ladder's wait is over. */
static void let_it_go(struct pair *p)
{
    sql_run(p, "update agwb.deliveries set next_attempt_at = now() where state = 'ready'");
    sql_run(p, "update agwb.lanes set due_at = now() where due_at is not null");
}

static void test_bounce_for_good_is_parked(struct pair *p)
{
    struct wire_message m;

    send_one(p, CLOUD(""), "b-1");
    fail_part(p, "b-1", 0, "131051");
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, "b-1");
    assert_string_equal(m.reason, "permanent");
    assert_non_null(strstr(m.error, "PERMFAIL 131051: the provider's words"));
    wire_free(&m);
    WAIT_UNTIL(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'parked' and copied_at is not null") ==
        1);
    assert_string_equal(attempts_of(p, "b-1"), "0 DELIVERED done, 0 PERMFAIL park");
    assert_int_equal(job_count(p, "status = 'failed' and error like 'PERMFAIL 131051%'"), 1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'FAILED'"),
        1);
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(log_count(&p->consumer, "delivery failed after it was sent", "disposition", "park"), 1);
    assert_true(
        pair_metric(p->consumer_port, "agwb_bounces_total{channel=\"whatsapp\",disposition=\"park\"}") == 1);
}

/* 131052 is worth two tries in all. */
static void test_bounce_for_now_is_tried_again(struct pair *p)
{
    send_one(p, CLOUD(""), "b-1");
    fail_part(p, "b-1", 0, "131052");
    WAIT_UNTIL(all_judged(p));
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'ready' and attempts = 1 and "
                   "next_attempt_at > now() + interval '20 s' and settled_at is null"),
        1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'PENDING'"),
        1);
    let_it_go(p);
    WAIT_UNTIL(delivery_is(p, "b-1", "sent"));
    assert_string_equal(attempts_of(p, "b-1"), "0 DELIVERED done, 0 TEMPFAIL retry, 0 DELIVERED done");
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'SENT'"), 1);
    fail_part(p, "b-1", 0, "131052");
    WAIT_UNTIL(delivery_is(p, "b-1", "parked"));
    assert_int_equal(pair_requests(p), 2);
}

static void test_bounce_goes_another_way(struct pair *p)
{
    send_one(p, CLOUD("\"sms\""), "b-1");
    fail_part(p, "b-1", 0, "131026");
    WAIT_UNTIL(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and account = 'sms' and lane = "
                   "'sms +12025550101' and step = 1 and chain = 'cloud'") == 1);
    assert_string_equal(attempts_of(p, "b-1"), "0 DELIVERED done, 0 PERMFAIL next, 0 DELIVERED done");
    assert_int_equal(pair_sent(p, "taken"), 2);
    assert_int_equal(log_count(&p->consumer, "delivery failed after it was sent", "next", "sms"), 1);
}

/* What comes late of what was sent before says nothing of what was sent since. */
static void test_bounce_of_an_older_sending_is_ignored(struct pair *p)
{
    send_one(p, CLOUD("\"sms\""), "b-1");
    fail_part(p, "b-1", 0, "131026");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and account = 'sms'") ==
               1);
    sql_run(
        p,
        "insert into agwb.receipts (provider, account, provider_message_id, status, code, message_id, part) "
        "select provider, account, provider_message_id, status, '131051', message_id, part from "
        "agwb.receipts");
    WAIT_UNTIL(all_judged(p));
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and account = 'sms'"), 1);
    assert_string_equal(attempts_of(p, "b-1"), "0 DELIVERED done, 0 PERMFAIL next, 0 DELIVERED done");
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* Of several parts the one that did not arrive goes again, alone; a second one after it. */
static void test_bounce_of_parts_sends_only_them(struct pair *p)
{
    pair_account(p, CLOUD(""));
    pair_start_consumer_ready(p);
    wire_publish(p, "wb_queue", "b-1",
                 "{\"messageId\":\"b-1\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
                 "\"phoneNumber\":\"+12025550101\"},"
                 "\"response\":{\"type\":\"image\",\"attachments\":["
                 "{\"url\":\"https://example.com/a.jpg\",\"caption\":\"a\"},"
                 "{\"url\":\"https://example.com/b.jpg\",\"caption\":\"b\"},"
                 "{\"url\":\"https://example.com/c.jpg\",\"caption\":\"c\"}]}}");
    WAIT_UNTIL(delivery_is(p, "b-1", "sent"));
    fail_part(p, "b-1", 0, "131052");
    fail_part(p, "b-1", 2, "131052");
    for (size_t requests = 4; requests <= 5; requests++)
        WAIT_UNTIL((let_it_go(p), pair_requests(p) == requests));
    WAIT_UNTIL(delivery_is(p, "b-1", "sent") && all_judged(p));
    assert_int_equal(pair_sent(p, "a"), 2);
    assert_int_equal(pair_sent(p, "b"), 1);
    assert_int_equal(pair_sent(p, "c"), 2);
    assert_string_equal(attempts_of(p, "b-1"),
                        "0 DELIVERED continue, 1 DELIVERED continue, 2 DELIVERED done, 0 TEMPFAIL retry, "
                        "0 DELIVERED done, 2 TEMPFAIL retry, 2 DELIVERED done");
}

/* A closed window refuses each part by itself: the template goes once, and no further step is taken. */
static void test_bounce_of_all_parts_goes_one_other_way(struct pair *p)
{
    pair_account(p,
                 "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; "
                 "token = \"test-token\"; next = [\"template\", \"sms\"]; options = { phone_number_id = "
                 "\"106540352242922\"; template = \"order_update\"; };");
    pair_start_consumer_ready(p);
    wire_publish(
        p, "wb_queue", "b-1",
        "{\"messageId\":\"b-1\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
        "\"phoneNumber\":\"+12025550101\"},"
        "\"response\":{\"type\":\"image\",\"attachments\":["
        "\"https://example.com/a.jpg\",\"https://example.com/b.jpg\",\"https://example.com/c.jpg\"]}}");
    WAIT_UNTIL(delivery_is(p, "b-1", "sent"));
    for (int part = 0; part < 3; part++)
        fail_part(p, "b-1", part, "131047");
    WAIT_UNTIL(all_judged(p) && delivery_is(p, "b-1", "sent"));
    assert_string_equal(attempts_of(p, "b-1"),
                        "0 DELIVERED continue, 1 DELIVERED continue, 2 DELIVERED done, 0 PERMFAIL next, "
                        "0 DELIVERED done");
    assert_int_equal(pair_requests(p), 4);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

static void test_bounce_opts_out(struct pair *p)
{
    send_one(p, CLOUD(""), "b-1");
    fail_part(p, "b-1", 0, "131050");
    WAIT_UNTIL(delivery_is(p, "b-1", "parked"));
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where opted_out_at is not null"), 1);
}

/* The same news for two instances: one of them acts. */
static void test_bounce_is_settled_once(struct pair *p)
{
    enum { REPLIES = 40 };
    char id[32];

    pair_account(p, CLOUD("\"sms\""));
    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[0], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    WAIT_UNTIL(log_count(&p->more[0], "database connected", NULL, NULL) > 0);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(id, sizeof id, "b-%02d", i);
        wire_answer_job(p, id, i, id);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    sql_run(
        p,
        "insert into agwb.receipts (provider, account, provider_message_id, status, code, message_id, part) "
        "select 'whatsapp_cloud', account, provider_message_id, 'FAILED', '131026', message_id, 0 from "
        "agwb.delivery_attempts, generate_series(1, 2)");
    WAIT_UNTIL(all_judged(p) &&
               sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and account = 'sms'") ==
                   REPLIES);
    assert_int_equal(pair_requests(p), 2 * REPLIES);
    assert_int_equal(sql_int(p, "select count(*) from agwb.delivery_attempts where disposition = 'next'"),
                     REPLIES);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_bounce_for_good_is_parked),
        PAIR_TEST(test_bounce_for_now_is_tried_again),
        PAIR_TEST(test_bounce_goes_another_way),
        PAIR_TEST(test_bounce_of_an_older_sending_is_ignored),
        PAIR_TEST(test_bounce_of_parts_sends_only_them),
        PAIR_TEST(test_bounce_of_all_parts_goes_one_other_way),
        PAIR_TEST(test_bounce_opts_out),
        PAIR_TEST(test_bounce_is_settled_once),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
