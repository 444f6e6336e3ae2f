/* What the provider's answers do to a delivery: tried again, held, parked, uncertain; and that its contact
 * gets it once. */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *state_of(struct pair *p, const char *id)
{
    return sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id);
}

static bool is_state(struct pair *p, const char *id, const char *state)
{
    return strcmp(state_of(p, id), state) == 0;
}

/* "TEMPFAIL retry, DELIVERED done": the attempts in their order. */
static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(p,
                    "select string_agg(outcome || ' ' || disposition, ', ' order by id) from "
                    "agwb.delivery_attempts where message_id = '%s'",
                    id);
}

static int64_t counted_attempts(struct pair *p, const char *id)
{
    return sql_int(p, "select attempts from agwb.deliveries where message_id = '%s'", id);
}

/* The least time between one attempt's end and the next one's beginning. */
static int64_t least_wait_ms(struct pair *p, const char *id)
{
    return sql_int(p,
                   "select floor(extract(epoch from min(wait)) * 1000)::bigint from (select started_at - "
                   "lag(ended_at) over (order by id) as wait "
                   "from agwb.delivery_attempts where message_id = '%s') w",
                   id);
}

static void assert_parked(struct pair *p, const char *id, const char *job, const char *reason,
                          const char *error)
{
    struct wire_message m;
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(m.reason, reason);
    if (strstr(m.error, error) == NULL)
        fail_msg("agwb-error is \"%s\", expected \"%s\" in it", m.error, error);
    wire_free(&m);
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from agwb.deliveries where message_id = '%s' and state = 'parked' "
                       "and copied_at is not null",
                       id) == 1);
    assert_int_equal(sql_int(p,
                             "select count(*) from ai_response_queue where id = '%s' and status = 'failed' "
                             "and position('%s' in error) > 0",
                             job, error),
                     1);
    assert_int_equal(sql_int(p,
                             "select count(*) from messages where metadata ->> 'messageId' = '%s' and "
                             "delivery_status = 'FAILED'",
                             id),
                     1);
}

static void start_with_short_ladder(struct pair *p)
{
    pair_set(p, "retry.delivery.tries=3");
    pair_set(p, "retry.delivery.delay_ms=150");
    pair_set(p, "retry.delivery.multiplier=1");
    pair_set(p, "retry.delivery.jitter=0");
    pair_start_consumer_ready(p);
}

/* --- not taken --- */

static void test_retry_ladder_ends_in_parked(struct pair *p)
{
    start_with_short_ladder(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":503}}]}");
    const char *job = wire_answer_job(p, "t-1", 1, "never");
    assert_parked(p, "t-1", job, "exhausted", "TEMPFAIL 503");
    assert_string_equal(attempts_of(p, "t-1"), "TEMPFAIL retry, TEMPFAIL retry, TEMPFAIL park");
    assert_true(least_wait_ms(p, "t-1") >= 149);
    assert_int_equal(pair_requests(p), 3);
    assert_int_equal(pair_sent(p, NULL), 0);
    assert_int_equal(counted_attempts(p, "t-1"), 3);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs"), 0);
}

static void test_retry_succeeds_on_the_ladder(struct pair *p)
{
    start_with_short_ladder(p);
    pair_script(p, "{\"rules\":[{\"times\":2,\"action\":{\"status\":500}}]}");
    wire_answer_job(p, "t-2", 1, "third time lucky");
    WAIT_UNTIL(is_state(p, "t-2", "sent"));
    assert_string_equal(attempts_of(p, "t-2"), "TEMPFAIL retry, TEMPFAIL retry, DELIVERED done");
    assert_int_equal(pair_requests(p), 3);
    assert_int_equal(pair_sent(p, "third time lucky"), 1);
    assert_int_equal(job_count(p, "status = 'complete' and error is null"), 1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'SENT'"), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

static void test_retry_throttled_uses_no_attempt(struct pair *p)
{
    pair_set(p, "retry.delivery.tries=1");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":429,\"retry_after_s\":1}}]}");
    wire_answer_job(p, "t-3", 1, "slowly");
    WAIT_UNTIL(is_state(p, "t-3", "sent"));
    assert_string_equal(attempts_of(p, "t-3"), "THROTTLED hold, DELIVERED done");
    assert_in_range(least_wait_ms(p, "t-3"), 1000, PATIENCE_MS);
    assert_int_equal(counted_attempts(p, "t-3"), 1);
    assert_int_equal(pair_sent(p, "slowly"), 1);
    assert_true(pair_metric(p->consumer_port, "agwb_throttled_total{limit=\"provider\"}") == 1);
}

static void test_retry_permanent_parks_at_once(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p,
                "{\"rules\":[{\"match\":{\"text\":\"invalid\"},\"times\":-1,\"action\":{\"status\":422}},"
                "{\"match\":{\"text\":\"refused\"},\"times\":-1,\"action\":{\"fault\":\"success_false\"}}]}");
    const char *invalid = wire_answer_job(p, "t-4", 1, "invalid");
    assert_parked(p, "t-4", invalid, "permanent", "PERMFAIL 422");
    const char *refused = wire_answer_job(p, "t-5", 2, "refused");
    assert_parked(p, "t-5", refused, "permanent", "PERMFAIL 200: The number is not on WhatsApp");
    assert_string_equal(attempts_of(p, "t-4"), "PERMFAIL park");
    assert_string_equal(attempts_of(p, "t-5"), "PERMFAIL park");
    assert_int_equal(pair_requests(p), 2);
    wire_answer_job(p, "t-6", 1, "the lane goes on");
    WAIT_UNTIL(is_state(p, "t-6", "sent"));
}

/* A refused account uses up no try; other accounts go on; a probe finds out when it is mended. */
static void test_retry_refused_account_holds(struct pair *p)
{
    pair_set(p, "retry.delivery.tries=1");
    pair_start_consumer_ready(p);
    sql_run(p, "select test.contact(9)");
    sql_run(p, "update conversations set channel_type = 'sms' where id = test.id(2, 9)");
    pair_script(
        p,
        "{\"rules\":[{\"match\":{\"path\":\"/api/send-message\"},\"times\":1,\"action\":{\"status\":401}}]}");
    wire_answer_job(p, "t-7", 1, "held");
    WAIT_UNTIL(pair_requests(p) == 1 && is_state(p, "t-7", "ready"));
    assert_int_equal(counted_attempts(p, "t-7"), 0);
    assert_true(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"wa\"}") == 1);
    wire_answer_job(p, "t-8", 2, "behind it");
    wire_answer_job(p, "t-9", 9, "another account");
    WAIT_UNTIL(is_state(p, "t-9", "sent"));
    assert_string_equal(state_of(p, "t-7"), "ready");
    assert_string_equal(state_of(p, "t-8"), "ready");
    WAIT_UNTIL(is_state(p, "t-8", "sent")); /* the probe */
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"wa\"}") == 0);
    /* the held one waits a minute by itself; an operator who has mended the account need not */
    sql_run(p, "update agwb.deliveries set next_attempt_at = now() where state = 'ready'");
    sql_run(p, "update agwb.lanes set due_at = now() where due_at is not null");
    WAIT_UNTIL(is_state(p, "t-7", "sent"));
    assert_int_equal(counted_attempts(p, "t-7"), 1);
    assert_int_equal(pair_requests(p), 4);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* Renamed while messages wait for it: they keep their tries, somebody is told, and it may come back. */
static void test_retry_renamed_account_holds(struct pair *p)
{
    static const char *const WASENDER[] = {"name = \"old\"; provider = \"wasender\"; channel = \"whatsapp\"; "
                                           "token = \"test-token\"; default = true;",
                                           "name = \"new\"; provider = \"wasender\"; channel = \"whatsapp\"; "
                                           "token = \"test-token\"; default = true;"};

    pair_account(p, WASENDER[0]);
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":429,\"retry_after_s\":1}}]}");
    wire_answer_job(p, "t-r", 1, "waits");
    WAIT_UNTIL(pair_requests(p) == 1 && is_state(p, "t-r", "ready"));
    for (int renamed = 1; renamed >= 0; renamed--) {
        process_end(&p->consumer);
        p->accounts[p->account_count - 1] = WASENDER[renamed];
        pair_start_consumer_ready(p);
        if (renamed)
            WAIT_UNTIL(sql_int(p, "select count(*) from agwb.delivery_attempts where outcome = 'AUTH' and "
                                  "disposition = 'hold' and provider_code = 'no_account'") == 1);
    }
    assert_int_equal(log_count(&p->consumer,
                               "alert: a message failed for a reason that an operator must look at",
                               "account", "old"),
                     1);
    assert_int_equal(counted_attempts(p, "t-r"), 0);
    sql_run(p, "update agwb.deliveries set next_attempt_at = now() where state = 'ready'");
    sql_run(p, "update agwb.lanes set due_at = now() where due_at is not null");
    WAIT_UNTIL(is_state(p, "t-r", "sent"));
}

/* --- the answer was lost --- */

/* The request left us and nobody knows what became of it: not sent again, left to a person. */
static void test_retry_uncertain_is_parked_after_one_request(struct pair *p)
{
    static const char *const FAULTS[] = {"hang", "reset_after_request", "close_without_answer", "garbage",
                                         "malformed_json"};
    enum { COUNT = sizeof FAULTS / sizeof FAULTS[0] };
    char script[256], id[32];

    p->timeout_ms = 400;
    pair_set(p, "consumer.uncertain_wait_ms=300");
    pair_start_consumer_ready(p);
    for (int i = 0; i < COUNT; i++) {
        snprintf(script, sizeof script, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"%s\"}}]}",
                 FAULTS[i]);
        snprintf(id, sizeof id, "%s", FAULTS[i]);
        pair_script(p, script);
        const char *job = wire_answer_job(p, id, i, FAULTS[i]);
        assert_parked(p, id, job, "uncertain", "uncertain: UNCERTAIN");
        assert_string_equal(attempts_of(p, id), "UNCERTAIN reconcile");
        assert_int_equal(pair_requests(p), i + 1);
        assert_int_equal(sql_int(p,
                                 "select count(*) from agwb.deliveries where message_id = '%s' and "
                                 "settled_at - accepted_at > '300 ms'",
                                 id),
                         1);
    }
    assert_true(pair_sent_once_each(p));
}

static void test_retry_uncertain_is_resent_by_policy(struct pair *p)
{
    p->timeout_ms = 400;
    pair_set(p, "consumer.uncertain=resend");
    pair_set(p, "consumer.uncertain_wait_ms=300");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"reset_after_request\"}}]}");
    wire_answer_job(p, "again", 1, "may come twice");
    WAIT_UNTIL(is_state(p, "again", "sent"));
    assert_string_equal(attempts_of(p, "again"), "UNCERTAIN reconcile, DELIVERED done");
    assert_int_equal(pair_requests(p), 2);
    assert_int_equal(pair_sent(p, "may come twice"), 2); /* the price of this policy */
    assert_int_equal(job_count(p, "status = 'complete'"), 1);
}

/* The owner dies while its request is out: at the lease's end it is uncertain for whoever comes next. */
static void test_retry_owner_killed_in_its_attempt(struct pair *p)
{
    p->timeout_ms = 400;
    pair_set(p, "consumer.lease_ms=5500");
    pair_set(p, "consumer.uncertain_wait_ms=100");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"delay_ms\":5000}}]}");
    const char *job = wire_answer_job(p, "killed", 1, "did it leave");
    WAIT_UNTIL(pair_requests(p) == 1);
    process_kill(&p->consumer);
    assert_string_equal(state_of(p, "killed"), "sending");
    pair_start_consumer_ready(p);
    assert_parked(p, "killed", job, "uncertain", "the consumer ended during the attempt");
    assert_int_equal(pair_requests(p), 1);
}

/* --- lanes --- */

/* The first message to a contact is tried again and again; the second waits for it, other contacts do not. */
static void test_retry_keeps_a_contacts_order(struct pair *p)
{
    start_with_short_ladder(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"first\"},\"times\":2,\"action\":{\"status\":500}}]}");
    wire_answer_job(p, "o-1", 1, "first");
    wire_answer_job(p, "o-2", 1, "second");
    wire_answer_job(p, "o-3", 2, "elsewhere");
    WAIT_UNTIL(is_state(p, "o-1", "sent") && is_state(p, "o-2", "sent") && is_state(p, "o-3", "sent"));
    assert_string_equal(sql_text(p, "select string_agg(message_id, ' ' order by settled_at) from "
                                    "agwb.deliveries where message_id <> 'o-3'"),
                        "o-1 o-2");
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.delivery_attempts a, agwb.delivery_attempts b where "
                   "a.message_id = 'o-1' "
                   "and a.outcome = 'DELIVERED' and b.message_id = 'o-2' and b.started_at >= a.ended_at"),
        1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries a, agwb.deliveries b where "
                                "a.message_id = 'o-3' and b.message_id = 'o-1' "
                                "and a.settled_at < b.settled_at"),
                     1);
    assert_true(pair_sent_once_each(p));
}

/* Twenty to one contact, from a batch: one after the other, in the order in which they were published. */
static void test_retry_sends_one_lane_in_order(struct pair *p)
{
    enum { REPLIES = 20 };
    char id[32], text[32];
    struct buf line;

    pair_start_consumer_ready(p);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(id, sizeof id, "lane-%02d", i);
        snprintf(text, sizeof text, "text %02d", i);
        wire_answer(p, id, "none", 1, text);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    assert_int_equal(pair_requests(p), REPLIES);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(text, sizeof text, "\"text\":\"text %02d\"", i);
        pair_journal_line(p, (size_t)i, &line);
        assert_non_null(strstr(buf_str(&line), text));
        buf_fini(&line);
    }
}

/* Two instances share the work; neither a message nor its order is lost. */
static void test_retry_two_consumers_send_once(struct pair *p)
{
    enum { REPLIES = 200 };
    char id[32], text[32];

    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[0], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    WAIT_UNTIL(log_count(&p->more[0], "broker connected", NULL, NULL) > 0 &&
               log_count(&p->more[0], "database connected", NULL, NULL) > 0);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(id, sizeof id, "two-%03d", i);
        snprintf(text, sizeof text, "text %03d", i);
        wire_answer(p, id, "none", i % 40, text);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    assert_int_equal(pair_requests(p), REPLIES);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(sql_int(p, "select count(*) from (select seq, lag(seq) over (partition by lane order by "
                                "settled_at, seq) as before "
                                "from agwb.deliveries) d where before > seq"),
                     0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_retry_ladder_ends_in_parked),
        PAIR_TEST(test_retry_succeeds_on_the_ladder),
        PAIR_TEST(test_retry_throttled_uses_no_attempt),
        PAIR_TEST(test_retry_permanent_parks_at_once),
        PAIR_TEST(test_retry_refused_account_holds),
        PAIR_TEST(test_retry_renamed_account_holds),
        PAIR_TEST(test_retry_uncertain_is_parked_after_one_request),
        PAIR_TEST(test_retry_uncertain_is_resent_by_policy),
        PAIR_TEST(test_retry_owner_killed_in_its_attempt),
        PAIR_TEST(test_retry_keeps_a_contacts_order),
        PAIR_TEST(test_retry_sends_one_lane_in_order),
        PAIR_TEST(test_retry_two_consumers_send_once),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
