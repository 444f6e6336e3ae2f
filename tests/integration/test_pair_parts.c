/* A reply of several messages: in order, none twice, none lost, whatever happens between two of them; and
 * what a receipt proves. */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *state_of(struct pair *p, const char *id)
{
    return sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id);
}

static bool is_state(struct pair *p, const char *id, const char *state)
{
    return strcmp(state_of(p, id), state) == 0;
}

/* "0 DELIVERED continue, 1 DELIVERED done": the attempts in their order. */
static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(p,
                    "select string_agg(part || ' ' || outcome || ' ' || disposition, ', ' order by id) from "
                    "agwb.delivery_attempts where message_id = '%s'",
                    id);
}

/* A job of contact n, and its reply: three pictures with the captions "ID-a", "ID-b" and "ID-c". */
static const char *answer_with_three(struct pair *p, const char *id, int contact)
{
    char body[1024], pictures[512] = "";
    size_t used = 0;
    const char *job = job_add(p, contact, "pictures, please");

    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            job);
    for (char c = 'a'; c <= 'c'; c++)
        used += (size_t)snprintf(pictures + used, sizeof pictures - used,
                                 "%s{\"url\":\"https://example.com/%c.jpg\",\"mimeType\":\"image/jpeg\","
                                 "\"caption\":\"%s-%c\"}",
                                 c == 'a' ? "" : ",", c, id, c);
    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"contact\":{"
             "\"phoneNumber\":\"+1202555%04d\"},\"response\":{\"type\":\"image\",\"attachments\":[%s]}}",
             id, job, 100 + contact, pictures);
    wire_publish(p, "wb_queue", id, body);
    return job;
}

struct texts {
    char all[512];
};

static void add_text(void *arg, const struct json_node *line, const char *text)
{
    struct texts *t = arg;
    const char *word = json_str(json_member(line, "text"));

    (void)text;
    if (word && json_true(json_member(line, "accepted")))
        snprintf(t->all + strlen(t->all), sizeof t->all - strlen(t->all), "%s%s", t->all[0] ? " " : "", word);
}

/* What the provider took, in order. */
static void assert_taken(struct pair *p, const char *texts)
{
    struct texts t = {""};
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/journal", p->dir);
    file_each_json(path, add_text, &t);
    assert_string_equal(t.all, texts);
}

static void test_parts_go_in_order(struct pair *p)
{
    pair_start_consumer_ready(p);
    const char *job = answer_with_three(p, "t", 1);
    wire_answer(p, "after", "none", 1, "after");
    WAIT_UNTIL(is_state(p, "after", "sent"));
    assert_taken(p, "t-a t-b t-c after");
    assert_string_equal(attempts_of(p, "t"), "0 DELIVERED continue, 1 DELIVERED continue, 2 DELIVERED done");
    assert_int_equal(sql_int(p,
                             "select count(distinct provider_message_id) from agwb.delivery_attempts where "
                             "message_id = 't'"),
                     3);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries d join agwb.delivery_attempts a using "
                                "(message_id, provider_message_id) where message_id = 't' and a.part = 2 and "
                                "d.parts_sent = 3 and d.attempts = 1 and d.reason is null"),
                     1);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs where metadata ->> 'messageId' = 't'"), 1);
    assert_int_equal(sql_int(p, "select count(*) from messages where metadata ->> 'messageId' = 't' and "
                                "delivery_status = 'SENT'"),
                     1);
    assert_int_equal(
        sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'complete'", job), 1);
}

/* Each part is a message of its own for the limits too. */
static void test_parts_count_against_the_limits(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=2");
    pair_set(p, "limits.window_ms=1500");
    pair_start_consumer_ready(p);
    answer_with_three(p, "t", 1);
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_taken(p, "t-a t-b t-c");
    assert_int_equal(sql_int(p,
                             "select count(*) from agwb.delivery_attempts a, agwb.delivery_attempts b where "
                             "a.part = 0 and b.part = 2 and b.ended_at - a.ended_at >= interval '1.4 s'"),
                     1);
}

/* A part has the whole ladder for itself, and the ones before it are not sent again. */
static void test_parts_failed_one_alone_is_tried_again(struct pair *p)
{
    pair_set(p, "retry.delivery.tries=3");
    pair_set(p, "retry.delivery.delay_ms=100");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":2,\"action\":{\"status\":503}},"
                   "{\"match\":{\"text\":\"t-c\"},\"times\":2,\"action\":{\"status\":503}}]}");
    answer_with_three(p, "t", 1);
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_taken(p, "t-a t-b t-c");
    assert_string_equal(attempts_of(p, "t"),
                        "0 DELIVERED continue, 1 TEMPFAIL retry, 1 TEMPFAIL retry, 1 DELIVERED continue, "
                        "2 TEMPFAIL retry, 2 TEMPFAIL retry, 2 DELIVERED done");
}

static void test_parts_permanent_failure_parks_the_rest(struct pair *p)
{
    struct wire_message m;

    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":-1,\"action\":{\"status\":422}}]}");
    const char *job = answer_with_three(p, "t", 1);
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, "t");
    wire_free(&m);
    assert_taken(p, "t-a");
    WAIT_UNTIL(
        sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'failed'", job) == 1);
    assert_int_equal(sql_int(p, "select parts_sent from agwb.deliveries"), 1);
}

/* They do not want the rest: it is not sent, and the history does not wait for it. */
static void test_parts_opted_out_between_two(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":1,\"action\":{\"status\":429,"
                   "\"retry_after_s\":2}}]}");
    const char *job = answer_with_three(p, "t", 1);
    WAIT_UNTIL(strcmp(attempts_of(p, "t"), "0 DELIVERED continue, 1 THROTTLED hold") == 0);
    sql_run(p, "update customer_profiles set opted_out_at = now()");
    WAIT_UNTIL(is_state(p, "t", "cancelled"));
    assert_taken(p, "t-a");
    assert_int_equal(
        sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'cancelled'", job),
        1);
    assert_string_equal(sql_text(p, "select delivery_status || ': ' || (metadata ->> 'reason') from messages "
                                    "where metadata ->> 'messageId' = 't'"),
                        "FAILED: the contact has opted out");
}

/* --- custody --- */

/* Killed between two parts: the next instance goes on with the next one. */
static void test_parts_owner_killed_between_two(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":1,\"action\":{\"status\":429,"
                   "\"retry_after_s\":2}}]}");
    answer_with_three(p, "t", 1);
    WAIT_UNTIL(strcmp(attempts_of(p, "t"), "0 DELIVERED continue, 1 THROTTLED hold") == 0);
    process_kill(&p->consumer);
    pair_start_consumer_ready(p);
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_taken(p, "t-a t-b t-c");
}

/* Killed while a part is on its way: that one is uncertain, and no other. Its receipt proves it. */
static void test_parts_owner_killed_in_one(struct pair *p)
{
    p->timeout_ms = 1000;
    pair_set(p, "consumer.lease_ms=6500");
    pair_start_consumer_ready(p);
    pair_script(p,
                "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":1,\"action\":{\"fault\":\"hang\"}}]}");
    answer_with_three(p, "t", 1);
    WAIT_UNTIL(pair_requests(p) == 2);
    process_kill(&p->consumer);
    pair_start_consumer_ready(p);
    WAIT_UNTIL(is_state(p, "t", "uncertain"));
    assert_int_equal(sql_int(p, "select parts_sent from agwb.deliveries"), 1);
    assert_int_equal(sql_int(p, "select agwb.confirm_deliveries(array['t'], array['receipt-b'])"), 1);
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_taken(p, "t-a t-b t-c");
    assert_string_equal(attempts_of(p, "t"), "0 DELIVERED continue, 1 DELIVERED continue, 2 DELIVERED done");
}

/* The answer to a settlement was lost, so it comes again: its part counts once, and the next one is not left
 * out. */
static void test_parts_settled_again_counts_once(struct pair *p)
{
    sql_run(
        p,
        "insert into agwb.deliveries (message_id, account, lane, channel, address, state, attempts, fence, "
        "lease_owner, lease_until, body_sha256, payload) values ('t', 'wa', 'wa +12025550101', 'whatsapp', "
        "'+12025550101', 'sending', 1, 1, 'c:1', now(), '', '{}')");
    for (int i = 0; i < 2; i++)
        sql_run(
            p,
            "select agwb.settle_deliveries('{t}', '{1}', '{ready}', '{0}', '{t}', '{id-a}', '{NULL}', '{1}', "
            "'{2}', '{200}', '{NULL}', '{DELIVERED}', '{continue}', '{NULL}', '{NULL}', '{NULL}', '{}', 0, "
            "0, 0, "
            "60000, false)");
    assert_string_equal(attempts_of(p, "t"), "0 DELIVERED continue");
    assert_int_equal(sql_int(p, "select parts_sent from agwb.deliveries where state = 'ready'"), 1);
}

#ifdef AGWB_CRASH_POINTS

static bool was_taken(struct pair *p, const char *text)
{
    return pair_sent(p, text) > 0;
}

/* What is uncertain is proven when the provider has it, as its receipts would; else the policy sends it. */
static void settle_doubts(struct pair *p, const char *id)
{
    static const char LETTERS[] = "abc";
    char text[64];

    if (!is_state(p, id, "uncertain"))
        return;
    int64_t part = sql_int(p, "select parts_sent from agwb.deliveries where message_id = '%s'", id);
    snprintf(text, sizeof text, "%s-%c", id, LETTERS[part]);
    if (was_taken(p, text))
        sql_run(p, "select agwb.confirm_deliveries(array['%s'], array['receipt %s'])", id, text);
}

/* SIGKILL at every step of every part; the first one is claimed as it is accepted. */
static void test_parts_owner_dies_at_every_step(struct pair *p)
{
    static const char *const POINTS[] = {"consumer-accepted:1", "consumer-claimed:1",  "consumer-claimed:2",
                                         "consumer-sending:1",  "consumer-sending:2",  "consumer-sending:3",
                                         "consumer-answered:1", "consumer-answered:2", "consumer-answered:3",
                                         "consumer-settled:1",  "consumer-settled:2",  "consumer-settled:3"};
    char id[32], taken[1024] = "";

    p->timeout_ms = 1000;
    pair_set(p, "consumer.lease_ms=6100");
    pair_set(p, "consumer.uncertain=resend");
    pair_set(p, "consumer.uncertain_wait_ms=1000");
    for (int i = 0; i < (int)(sizeof POINTS / sizeof POINTS[0]); i++) {
        snprintf(id, sizeof id, "t%d", i);
        setenv("AGWB_TEST_CRASH", POINTS[i], 1);
        pair_start_consumer_ready(p);
        unsetenv("AGWB_TEST_CRASH");
        answer_with_three(p, id, i);
        assert_int_equal(process_wait(&p->consumer), 128 + SIGKILL);
        pair_start_consumer_ready(p);
        WAIT_UNTIL((settle_doubts(p, id), is_state(p, id, "sent")));
        assert_int_equal(process_end(&p->consumer), 0);
        snprintf(taken + strlen(taken), sizeof taken - strlen(taken), "%s%s-a %s-b %s-c", i ? " " : "", id,
                 id, id);
    }
    assert_taken(p, taken);
}

#endif

/* --- receipts --- */

static void start_with_lost_answer(struct pair *p, const char *text)
{
    char script[256];

    p->timeout_ms = 300;
    pair_start_consumer_ready(p);
    snprintf(script, sizeof script,
             "{\"rules\":[{\"match\":{\"text\":\"%s\"},\"times\":-1,\"action\":{\"fault\":\"hang\"}}]}",
             text);
    pair_script(p, script);
}

/* A receipt of another part proves nothing; that of the uncertain one lets the rest go on. */
static void test_parts_receipt_proves_only_its_part(struct pair *p)
{
    start_with_lost_answer(p, "t-b");
    answer_with_three(p, "t", 1);
    WAIT_UNTIL(is_state(p, "t", "uncertain"));
    assert_int_equal(
        sql_int(p, "select agwb.confirm_deliveries(array['t'], array_agg(provider_message_id)) from "
                   "agwb.delivery_attempts where part = 0"),
        0);
    assert_string_equal(state_of(p, "t"), "uncertain");
    assert_int_equal(
        sql_int(p, "select agwb.confirm_deliveries(array['t', 't', 'nobody'], array['x', 'x', 'y'])"), 1);
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_taken(p, "t-a t-b t-c");
    assert_int_equal(sql_int(p, "select agwb.confirm_deliveries(array['t'], array['x'])"), 0);
    assert_string_equal(attempts_of(p, "t"),
                        "0 DELIVERED continue, 1 UNCERTAIN reconcile, 1 DELIVERED continue, "
                        "2 DELIVERED done");
}

/* What was parked because nobody knew is sent after all: without a further request, with everything that
 * belongs to it. */
static void test_parts_receipt_after_parking(struct pair *p)
{
    pair_set(p, "consumer.uncertain_wait_ms=100");
    start_with_lost_answer(p, "who knows");
    const char *job = job_add(p, 1, "a question");
    wire_answer(p, "t", job, 1, "who knows");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where copied_at is not null") == 1);
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
    sql_run(
        p,
        "select agwb.add_receipts('[{\"provider\":\"wasender\",\"account\":\"wa\",\"externalId\":\"late-1\","
        "\"ourId\":\"t\",\"status\":\"DELIVERED\"}]')");
    sql_run(p, "select agwb.apply_receipts(10)");
    WAIT_UNTIL(is_state(p, "t", "sent"));
    assert_int_equal(pair_requests(p), 1);
    assert_string_equal(attempts_of(p, "t"), "0 UNCERTAIN reconcile, 0 DELIVERED continue, 1 DELIVERED done");
    assert_int_equal(job_count(p, "status = 'complete' and error is null"), 1);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs"), 1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where external_id = 'late-1' and sender_type = 'ai' "
                   "and delivery_status = 'DELIVERED'"),
        1);
}

/* What was not uncertain is not for a receipt to say. */
static void test_parts_receipt_does_not_revive_what_was_refused(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":422}}]}");
    wire_answer(p, "t", "none", 1, "refused");
    WAIT_UNTIL(is_state(p, "t", "parked"));
    assert_int_equal(sql_int(p, "select agwb.confirm_deliveries(array['t'], array['x'])"), 0);
    assert_string_equal(state_of(p, "t"), "parked");
}

/* With the policy resend what is uncertain comes before what is behind it. */
static void test_parts_uncertain_one_holds_its_lane(struct pair *p)
{
    pair_set(p, "consumer.uncertain=resend");
    pair_set(p, "consumer.uncertain_wait_ms=1500");
    p->timeout_ms = 300;
    pair_start_consumer_ready(p);
    pair_script(
        p,
        "{\"rules\":[{\"match\":{\"text\":\"t-b\"},\"times\":1,\"action\":{\"fault\":\"hang\",\"accepted\":"
        "false}}]}");
    answer_with_three(p, "t", 1);
    wire_answer(p, "after", "none", 1, "after");
    wire_answer(p, "other", "none", 2, "other");
    WAIT_UNTIL(is_state(p, "t", "uncertain") && is_state(p, "other", "sent"));
    assert_string_equal(state_of(p, "after"), "ready");
    WAIT_UNTIL(is_state(p, "after", "sent"));
    assert_string_equal(state_of(p, "t"), "sent");
    assert_int_equal(pair_sent(p, "t-a") + pair_sent(p, "t-b") + pair_sent(p, "t-c"), 3);
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.deliveries t, agwb.deliveries a where t.message_id = 't' "
                   "and a.message_id = 'after' and a.settled_at >= t.settled_at"),
        1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_parts_go_in_order),
        PAIR_TEST(test_parts_count_against_the_limits),
        PAIR_TEST(test_parts_failed_one_alone_is_tried_again),
        PAIR_TEST(test_parts_permanent_failure_parks_the_rest),
        PAIR_TEST(test_parts_opted_out_between_two),
        PAIR_TEST(test_parts_owner_killed_between_two),
        PAIR_TEST(test_parts_owner_killed_in_one),
        PAIR_TEST(test_parts_settled_again_counts_once),
#ifdef AGWB_CRASH_POINTS
        PAIR_TEST(test_parts_owner_dies_at_every_step),
#endif
        PAIR_TEST(test_parts_receipt_proves_only_its_part),
        PAIR_TEST(test_parts_receipt_after_parking),
        PAIR_TEST(test_parts_receipt_does_not_revive_what_was_refused),
        PAIR_TEST(test_parts_uncertain_one_holds_its_lane),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
