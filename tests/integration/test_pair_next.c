/* When the account cannot write to a contact: the chain of `next`, step by step, in the ledger, the attempts
 * and the log; and what an agent's incomplete reply becomes. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

/* The default WhatsApp account with this chain and these further options. */
#define CLOUD(next, options)                                                                                 \
    "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; token = "      \
    "\"test-token\"; next = [" next "]; options = { phone_number_id = \"106540352242922\"; " options "};"
#define TEMPLATE "template = \"we_answered\"; template_language = \"en_GB\"; template_text = true; "

#define ONLY_CLOUD "\"match\":{\"path\":\"/v25.0/106540352242922/messages\"}"

/* "cloud PERMFAIL next, sms DELIVERED done": the attempts in their order. */
static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(
        p,
        "select string_agg(account || ' ' || outcome || ' ' || disposition, ', ' order by id) from "
        "agwb.delivery_attempts where message_id = '%s'",
        id);
}

/* A Graph answer with this code. */
#define REFUSAL(code)                                                                                        \
    "\"action\":{\"status\":400,\"body\":\"{\\\"error\\\":{\\\"code\\\":" code                               \
    ",\\\"message\\\":\\\"no\\\"}}\"}"

#define start(p, account, code)                                                                              \
    start_with(p, account, "{\"rules\":[{" ONLY_CLOUD ",\"times\":1," REFUSAL(code) "}]}")

static void start_with(struct pair *p, const char *account, const char *script)
{
    pair_account(p, account);
    pair_start_consumer_ready(p);
    pair_script(p, script);
}

static void assert_parked(struct pair *p, const char *id, const char *error)
{
    struct wire_message m;

    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, id);
    if (strstr(m.error, error) == NULL)
        fail_msg("agwb-error is \"%s\", expected \"%s\" in it", m.error, error);
    wire_free(&m);
}

/* --- the chain --- */

static void test_next_unreachable_goes_by_sms(struct pair *p)
{
    start(p, CLOUD("\"window:template\", \"sms\"", TEMPLATE), "131026");
    wire_answer_job(p, "n-1", 1, "by another way");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms DELIVERED done");
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.deliveries where account = 'sms' and channel = 'sms' and "
                   "lane = 'sms +12025550101' and step = 2 and chain = 'cloud' and not as_template "
                   "and attempts = 1 and reason is null"),
        1);
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.delivery_attempts where disposition = 'next' and detail "
                   "like '%%(next: sms)'"),
        1);
    assert_int_equal(log_count(&p->consumer, "delivery attempt", "next", "sms"), 1);
    assert_int_equal(pair_requests(p), 2);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs where kind = 'sms_message'"), 1);
    assert_int_equal(job_count(p, "status = 'complete'"), 1);
    wire_answer_job(p, "n-2", 1, "the first way is tried again");
    WAIT_UNTIL(delivery_is(p, "n-2", "sent"));
    assert_string_equal(attempts_of(p, "n-2"), "cloud DELIVERED done");
}

/* Outside the window: the template, with the reply's text on one line. */
static void test_next_closed_window_sends_the_template(struct pair *p)
{
    struct buf line;

    start(p, CLOUD("\"window:template\", \"sms\"", TEMPLATE), "131047");
    wire_answer_job(p, "n-1", 1, "first\\n\\n\\tsecond");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, cloud DELIVERED done");
    assert_int_equal(log_count(&p->consumer, "delivery attempt", "next", "template"), 1);
    pair_journal_line(p, 1, &line);
    if (strstr(buf_str(&line),
               "\"type\":\"template\",\"template\":{\"name\":\"we_answered\",\"language\":{\"code\":"
               "\"en_GB\"},\"components\":[{\"type\":\"body\",\"parameters\":[{\"type\":\"text\","
               "\"text\":\"first second\"}]}]}") == NULL)
        fail_msg("sent: %s", buf_str(&line));
    buf_fini(&line);
}

/* The template is refused, so the window stays closed: on to the SMS. */
static void test_next_refused_template_goes_on(struct pair *p)
{
    start_with(p, CLOUD("\"window:template\", \"sms\"", TEMPLATE),
               "{\"rules\":[{" ONLY_CLOUD
               ",\"times\":1," REFUSAL("131047") "},"
                                                 "{" ONLY_CLOUD ",\"times\":1," REFUSAL("132015") "}]}");
    wire_answer_job(p, "n-1", 1, "in the end");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"),
                        "cloud PERMFAIL next, cloud PERMFAIL next, sms DELIVERED done");
    assert_int_equal(log_count(&p->consumer,
                               "alert: a message failed for a reason that an operator must look at", "code",
                               "132015"),
                     1);
    assert_int_equal(pair_sent(p, "in the end"), 1);
}

static void test_next_end_of_the_chain_is_parked(struct pair *p)
{
    start(p, CLOUD("\"window:sms\"", ""), "131026");
    wire_answer_job(p, "n-1", 1, "nobody there");
    assert_parked(p, "n-1", "PERMFAIL 131026");
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL park");
    WAIT_UNTIL(job_count(p, "status = 'failed'") == 1);
}

/* Both ways fail: a person gets it, with the last reason; a replay goes over the last account. */
static void test_next_last_step_fails(struct pair *p)
{
    struct buf out;

    pair_set(p, "retry.delivery.tries=1");
    pair_account(p, CLOUD("\"sms\"", ""));
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{" ONLY_CLOUD ",\"times\":1,\"action\":{\"code\":131026}},"
                   "{\"times\":1,\"action\":{\"status\":400}}]}");
    wire_answer_job(p, "n-1", 1, "not today");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where copied_at is not null") == 1);
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms PERMFAIL park");
    assert_int_equal(
        pair_command(p, "agwb-consumer",
                     (const char *const[]){"dlq", "replay", "wb_parked", "--execute", "--yes", NULL}, &out),
        0);
    buf_fini(&out);
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms PERMFAIL park, sms DELIVERED done");
}

/* What waits behind it in the old lane goes on at once, and by its own way. */
static void test_next_frees_the_lane(struct pair *p)
{
    pair_account(p, CLOUD("\"sms\"", ""));
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"path\":\"/v25.0/106540352242922/messages\",\"text\":\"first\"},"
                   "\"times\":1,\"action\":{\"code\":131026,\"delay_ms\":300}}]}");
    wire_answer_job(p, "n-1", 1, "first");
    wire_answer_job(p, "n-2", 1, "second");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent") && delivery_is(p, "n-2", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms DELIVERED done");
    assert_string_equal(attempts_of(p, "n-2"), "cloud DELIVERED done");
}

/* A contact known by a hidden id only: the SMS has no number, unless the contact's row has one. */
static void test_next_needs_an_address(struct pair *p)
{
    static const char REPLY[] =
        "{\"messageId\":\"%s\",\"status\":\"success\",\"contactId\":\"%s\",\"contact\":{\"remoteJid\":"
        "\"123456789012345@lid\"},\"response\":{\"text\":\"hidden\"}}";
    char body[512];

    pair_account(p, CLOUD("\"sms\"", ""));
    pair_start_consumer_ready(p);
    const char *contact = sql_text(p, "select id from customer_profiles where id = (select test.contact(3))");
    contact = contact[0] ? contact : sql_text(p, "select test.id(1, 3)");
    snprintf(body, sizeof body, REPLY, "n-1", contact);
    wire_publish(p, "wb_queue", "n-1", body);
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms DELIVERED done");
    assert_string_equal(sql_text(p, "select address from agwb.deliveries where message_id = 'n-1'"),
                        "+12025550103");
    sql_run(p, "update customer_profiles set phone_number = null where id = '%s'", contact);
    snprintf(body, sizeof body, REPLY, "n-2", contact);
    wire_publish(p, "wb_queue", "n-2", body);
    assert_parked(p, "n-2", "PERMFAIL unsendable");
}

/* --- opted out --- */

static void test_next_opted_out_is_remembered(struct pair *p)
{
    start(p, CLOUD("\"sms\"", ""), "131050");
    wire_answer_job(p, "n-1", 1, "buy this");
    assert_parked(p, "n-1", "PERMFAIL 131050");
    assert_int_equal(sql_int(p,
                             "select count(*) from customer_profiles where opted_out_at is not null and id = "
                             "test.id(1, 1)"),
                     1);
    wire_answer_job(p, "n-2", 1, "and this");
    WAIT_UNTIL(delivery_is(p, "n-2", "cancelled"));
    assert_int_equal(pair_requests(p), 1);
}

static void test_next_opted_out_by_an_explicit_step(struct pair *p)
{
    start(p, CLOUD("\"opted-out:sms\"", ""), "131050");
    wire_answer_job(p, "n-1", 1, "by sms then");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    assert_string_equal(attempts_of(p, "n-1"), "cloud PERMFAIL next, sms DELIVERED done");
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where opted_out_at is not null"), 0);
}

/* --- quoting --- */

static void test_next_reply_quotes_the_question(struct pair *p)
{
    struct buf line;

    pair_account(p, CLOUD("\"sms\"", ""));
    pair_start_consumer_ready(p);
    const char *job = job_add(p, 1, "which one?");
    sql_run(p, "update messages set external_id = 'wamid.question' where sender_type = 'user'");
    wire_answer(p, "n-1", job, 1, "this one");
    WAIT_UNTIL(delivery_is(p, "n-1", "sent"));
    pair_journal_line(p, 0, &line);
    assert_non_null(strstr(buf_str(&line), "\"context\":{\"message_id\":\"wamid.question\"}"));
    buf_fini(&line);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_next_unreachable_goes_by_sms),
        PAIR_TEST(test_next_closed_window_sends_the_template),
        PAIR_TEST(test_next_refused_template_goes_on),
        PAIR_TEST(test_next_end_of_the_chain_is_parked),
        PAIR_TEST(test_next_last_step_fails),
        PAIR_TEST(test_next_frees_the_lane),
        PAIR_TEST(test_next_needs_an_address),
        PAIR_TEST(test_next_opted_out_is_remembered),
        PAIR_TEST(test_next_opted_out_by_an_explicit_step),
        PAIR_TEST(test_next_reply_quotes_the_question),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
