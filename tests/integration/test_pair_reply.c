/* From a reply on wb_queue to a message at the provider and the rows that say so; and the replies that never
 * get there. The test plays the agent. */
#include "rows.h"
#include "wire.h"

#include "base/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* A job of contact n that was published and waits for its reply. */
static const char *asked_job(struct pair *p, int contact, const char *text)
{
    const char *id = job_add(p, contact, text);
    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            id);
    return id;
}

/* What was sent to the provider: the path and the body, byte for byte. */
static void assert_request(struct pair *p, size_t n, const char *path, const char *body)
{
    struct buf line;
    struct err e;
    pair_journal_line(p, n, &line);
    const char *at = strstr(buf_str(&line), ",\"body\":");
    assert_non_null(at);
    at += strlen(",\"body\":");
    if (strncmp(at, body, strlen(body)) != 0 || strchr(",}", at[strlen(body)]) == NULL)
        fail_msg("sent: %s\nexpected: %s", at, body);
    struct json *entry = json_parse(line.data, line.len, &e);
    assert_non_null(entry);
    assert_string_equal(json_str(json_path(json_root(entry), "path")), path);
    json_free(&entry);
    buf_fini(&line);
}

/* --- delivered --- */

static void test_reply_by_wasender_settles_everything(struct pair *p)
{
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "hello?");
    wire_answer(p, "r-1", job, 1, "Hello \\\"you\\\" \\u00e9\\n2");
    WAIT_UNTIL(delivery_is(p, "r-1", "sent"));
    assert_request(p, 0, "/api/send-message",
                   "{\"to\":\"+12025550101\",\"text\":\"Hello \\\"you\\\" \xc3\xa9\\n2\"}");
    assert_int_equal(pair_requests(p), 1);

    assert_int_equal(
        sql_int(p,
                "select count(*) from agwb.deliveries where message_id = 'r-1' and kind = 'reply' and job_id "
                "= '%s' "
                "and account = 'wa' and channel = 'whatsapp' and attempts = 1 and settled_at is not null "
                "and provider_message_id = '100000' and lease_owner is null and contact_id = test.id(1, 1)",
                job),
        1);
    assert_int_equal(
        sql_int(
            p,
            "select count(*) from agwb.delivery_attempts where message_id = 'r-1' and outcome = 'DELIVERED' "
            "and disposition = 'done' and http_status = 200 and ended_at >= started_at and account = 'wa'"),
        1);
    assert_int_equal(
        sql_int(p,
                "select count(*) from messages where sender_type = 'ai' and conversation_id = test.id(2, 1) "
                "and content = E'Hello \"you\" \\u00e9\\n2' and external_id = '100000' and delivery_status = "
                "'SENT'"),
        1);
    assert_int_equal(
        sql_int(p, "select count(*) from usage_logs where kind = 'whatsapp_message' and quantity = 1 "
                   "and workspace_id = test.id(0, 1) and metadata ->> 'messageId' = 'r-1'"),
        1);
    assert_int_equal(sql_int(p,
                             "select count(*) from ai_response_queue where id = '%s' and status = 'complete' "
                             "and error is null "
                             "and processed_at is not null and response_time_ms >= 0 and ai_response = "
                             "E'Hello \"you\" \\u00e9\\n2'",
                             job),
                     1);
    assert_int_equal(wire_count(p, "wb_queue"), 0);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
    assert_true(pair_metric(p->consumer_port,
                            "agwb_delivery_attempts_total{channel=\"whatsapp\",outcome=\"DELIVERED\"}") == 1);
    assert_int_equal(log_count(&p->consumer, "delivery attempt", "messageId", "r-1"), 1);
}

static void test_reply_attachments_by_wasender(struct pair *p)
{
    pair_start_consumer_ready(p);
    wire_publish(p, "wb_queue", "image",
                 "{\"messageId\":\"image\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
                 "\"phoneNumber\":\"+12025550101\"},"
                 "\"response\":{\"text\":\"look\",\"type\":\"image\",\"attachments\":[\"https://example.com/"
                 "a.png\"]}}");
    WAIT_UNTIL(delivery_is(p, "image", "sent"));
    wire_publish(
        p, "wb_queue", "document",
        "{\"messageId\":\"document\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
        "\"phoneNumber\":\"+12025550101\"},"
        "\"response\":{\"type\":\"document\",\"attachments\":[{\"url\":\"https://example.com/b.pdf\","
        "\"mimeType\":\"application/pdf\",\"fileName\":\"b.pdf\",\"caption\":\"the bill\"}]}}");
    WAIT_UNTIL(delivery_is(p, "document", "sent"));
    assert_request(p, 0, "/api/send-message",
                   "{\"to\":\"+12025550101\",\"text\":\"look\",\"imageUrl\":\"https://example.com/a.png\"}");
    assert_request(p, 1, "/api/send-message",
                   "{\"to\":\"+12025550101\",\"text\":\"the "
                   "bill\",\"documentUrl\":\"https://example.com/b.pdf\",\"fileName\":\"b.pdf\"}");
}

/* Only the specification's members, and of these only what must be: who and where is looked up by the
 * request. */
static void test_reply_by_sms_gateway(struct pair *p)
{
    char reply[512], body[1024];
    pair_start_consumer_ready(p);
    sql_run(p, "select test.contact(2)");
    sql_run(p, "update customer_profiles set remote_jid = null where id = test.id(1, 2)");
    sql_run(p, "update conversations set channel_type = 'sms' where id = test.id(2, 2)");
    const char *job = asked_job(p, 2, "by sms?");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"sms-1\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"response\":{"
             "\"text\":\"by sms\"}}",
             job);
    wire_publish(p, "wb_queue", NULL, reply);
    WAIT_UNTIL(delivery_is(p, "sms-1", "sent"));
    snprintf(body, sizeof body,
             "{\"to\":\"+12025550102\",\"message\":\"by "
             "sms\",\"workspaceId\":\"00000000-0000-4000-8000-000000000001\","
             "\"contactId\":\"00000000-0000-4000-8001-000000000002\",\"metadata\":{\"contactId\":\"00000000-"
             "0000-4000-8001-000000000002\","
             "\"messageId\":\"sms-1\",\"aiLogId\":\"%s\",\"isAiGenerated\":true}}",
             job);
    assert_request(p, 0, "/send-sms", body);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs where kind = 'sms_message'"), 1);
    assert_int_equal(job_count(p, "status = 'complete' and ai_response = 'by sms'"), 1);
    assert_int_equal(
        sql_int(
            p, "select count(*) from messages where delivery_status = 'SENT' and external_id = 'sms-000001'"),
        1);
}

static void test_reply_orphan_is_delivered(struct pair *p)
{
    pair_start_consumer_ready(p);
    wire_answer(p, "orphan-1", "5f0c7f0e-0000-4000-8000-00000000beef", 1, "nobody asked");
    wire_answer(p, "orphan-2", "not-a-uuid", 2, "nobody asked either");
    WAIT_UNTIL(delivery_is(p, "orphan-1", "sent") && delivery_is(p, "orphan-2", "sent"));
    assert_int_equal(pair_sent(p, "nobody asked"), 1);
    assert_int_equal(pair_sent(p, "nobody asked either"), 1);
    assert_true(pair_metric(p->consumer_port, "agwb_orphan_replies_total") >= 1);
}

static void test_reply_several_to_one_request(struct pair *p)
{
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "tell me three things");
    wire_answer(p, "s-1", job, 1, "one");
    wire_answer(p, "s-2", job, 1, "two");
    wire_answer(p, "s-3", job, 1, "three");
    WAIT_UNTIL(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and job_id = '%s'", job) == 3);
    assert_int_equal(pair_requests(p), 3);
    assert_true(pair_sent_once_each(p));
}

/* --- not delivered, and rightly so --- */

static void test_reply_error_fails_the_job(struct pair *p)
{
    char reply[512];
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "can you?");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"e-1\",\"originalMessageId\":\"%s\",\"status\":\"error\","
             "\"error\":{\"code\":\"NO_MODEL\",\"message\":\"the model is away\"}}",
             job);
    wire_publish(p, "wb_queue", "e-1", reply);
    WAIT_UNTIL(job_count(p, "status = 'failed'") == 1);
    const char *error = sql_text(p, "select error from ai_response_queue where id = '%s'", job);
    assert_non_null(strstr(error, "NO_MODEL"));
    assert_non_null(strstr(error, "the model is away"));
    assert_int_equal(job_count(p, "processed_at is not null"), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
    assert_int_equal(wire_count(p, "wb_queue"), 0);
    assert_true(pair_metric(p->consumer_port, "agwb_agent_errors_total") == 1);
}

static void test_reply_partial_without_text_after_the_answer_changes_nothing(struct pair *p)
{
    char reply[512];
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "go on");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"p-1\",\"originalMessageId\":\"%s\",\"status\":\"partial\"}", job);
    wire_answer(p, "p-2", job, 1, "done");
    wire_publish(p, "wb_queue", "p-1", reply);
    WAIT_UNTIL(delivery_is(p, "p-2", "sent"));
    WAIT_UNTIL(log_count(&p->consumer, "consumed", "result", "empty") == 1);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries"), 1);
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* --- parked --- */

static void take_parked(struct pair *p, const char *id, const char *reason, const char *error,
                        const char *body)
{
    struct wire_message m;
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(m.reason, reason);
    if (strncmp(m.error, error, strlen(error)) != 0)
        fail_msg("agwb-error is \"%s\", expected \"%s...\"", m.error, error);
    if (body != NULL)
        assert_string_equal(buf_str(&m.body), body);
    wire_free(&m);
}

static void test_reply_invalid_is_parked_with_its_path(struct pair *p)
{
    static const struct {
        const char *body, *error;
    } ROWS[] = {
        {"not json", "$"},
        {"{\"messageId\":\"x\",", "$"},
        {"[]", "$: "},
        {"{\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+12025550101\"},\"response\":{\"text\":"
         "\"t\"}}",
         "$.messageId: "},
        {"{\"messageId\":\"with "
         "space\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+12025550101\"},\"response\":{"
         "\"text\":\"t\"}}",
         "$.messageId: "},
        {"{\"messageId\":\"x\",\"status\":\"great\",\"contact\":{\"phoneNumber\":\"+12025550101\"},"
         "\"response\":{\"text\":\"t\"}}",
         "$.status: "},
        {"{\"messageId\":\"x\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"12\"},\"response\":{"
         "\"text\":\"t\"}}",
         "$.contact.phoneNumber: "},
        {"{\"messageId\":\"x\",\"status\":\"success\",\"response\":{\"text\":\"t\"}}", "$.contact: "},
        {"{\"messageId\":\"x\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+12025550101\"},"
         "\"response\":{\"text\":\" \"}}",
         "$.response: "},
        {"{\"messageId\":\"x\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+12025550101\"},"
         "\"response\":{\"text\":\"t\",\"attachments\":[{\"caption\":\"c\"}]}}",
         "$.response.attachments[0].url: "},
    };
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };

    pair_start_consumer_ready(p);
    for (size_t i = 0; i < COUNT; i++)
        wire_publish(p, "wb_queue", NULL, ROWS[i].body);
    wire_answer(p, "good", "none", 1, "this one passes");
    WAIT_UNTIL(delivery_is(p, "good", "sent"));
    for (size_t i = 0; i < COUNT; i++)
        take_parked(p, "", "invalid", ROWS[i].error, ROWS[i].body);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
    assert_int_equal(pair_requests(p), 1);
    assert_true(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"invalid\"}") == COUNT);
    assert_true(pair_metric(p->consumer_port,
                            "agwb_dead_letters_total{queue=\"wb_parked\",reason=\"invalid\"}") == COUNT);
}

static void test_reply_too_large_is_parked_whole(struct pair *p)
{
    enum { BYTES = 300 * 1024 };
    struct wire_message m;
    struct buf body;
    pair_start_consumer_ready(p);
    buf_init(&body, BYTES + 1024);
    buf_add_str(&body, "{\"messageId\":\"large\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+"
                       "12025550101\"},\"response\":{\"text\":\"");
    while (body.len < BYTES)
        buf_add_str(&body, "0123456789abcdef");
    buf_add_str(&body, "\"}}");
    wire_publish(p, "wb_queue", "large", buf_str(&body));
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.reason, "invalid");
    assert_string_equal(buf_str(&m.body), buf_str(&body));
    assert_int_equal(pair_requests(p), 0);
    wire_free(&m);
    buf_fini(&body);
}

/* No account for the channel it names, and nobody to send it to. */
static void test_reply_unroutable_is_parked(struct pair *p)
{
    char reply[512];
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "by mail please");
    snprintf(
        reply, sizeof reply,
        "{\"messageId\":\"u-1\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"channel\":\"email\","
        "\"response\":{\"text\":\"no way\"}}",
        job);
    wire_publish(p, "wb_queue", "u-1", reply);
    take_parked(p, "u-1", "unroutable", "no account for channel email", reply);
    WAIT_UNTIL(job_count(p, "status = 'failed' and error = 'no account for channel email'") == 1);
    wire_publish(p, "wb_queue", "u-2",
                 "{\"messageId\":\"u-2\",\"originalMessageId\":\"5f0c7f0e-0000-4000-8000-00000000beef\","
                 "\"status\":\"success\",\"response\":{\"text\":\"to whom\"}}");
    take_parked(p, "u-2", "unroutable", "no address", NULL);
    assert_int_equal(pair_requests(p), 0);
}

/* A visitor without a conversation: nobody could show them the reply. */
static void test_reply_to_no_page_is_parked(struct pair *p)
{
    char reply[512];

    pair_account(p, "name = \"site\"; provider = \"website\"; channel = \"website\";");
    pair_start_consumer_ready(p);
    sql_run(p, "select test.contact(1)");
    sql_run(p, "update customer_profiles set external_id = 'website:v-77'");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"w-2\",\"status\":\"success\",\"channel\":\"website\",\"contactId\":\"%s\","
             "\"contact\":{\"phoneNumber\":\"+12025550101\"},\"response\":{\"text\":\"where to\"}}",
             sql_text(p, "select test.id(1, 1)"));
    wire_publish(p, "wb_queue", "w-2", reply);
    take_parked(p, "w-2", "unroutable", "no conversation", reply);
}

/* The agent repeats the hidden id of a contact whose number is known. */
static void test_reply_to_a_hidden_id_goes_to_its_number(struct pair *p)
{
    char reply[512];

    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "who am I");
    sql_run(p, "update customer_profiles set remote_jid = '98711384416410@lid'");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"h-1\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"contact\":{"
             "\"remoteJid\":\"98711384416410@lid\"},\"response\":{\"text\":\"you\"}}",
             job);
    wire_publish(p, "wb_queue", "h-1", reply);
    WAIT_UNTIL(delivery_is(p, "h-1", "sent"));
    assert_string_equal(sql_text(p, "select lane from agwb.deliveries"), "wa +12025550101");
}

/* --- the same id again --- */

static void test_reply_duplicates_and_conflicts(struct pair *p)
{
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "once?");
    for (int i = 0; i < 3; i++)
        wire_answer(p, "d-1", job, 1, "only once");
    WAIT_UNTIL(delivery_is(p, "d-1", "sent"));
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"duplicate\"}") == 2);
    wire_answer(p, "d-1", job, 1, "something else");
    take_parked(p, "d-1", "id_conflict", "$.messageId",
                wire_reply("d-1", job, "+12025550101", "something else"));
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(pair_sent(p, "only once"), 1);
    assert_true(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"conflict\"}") == 1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries"), 1);
}

/* While this session holds the table nothing is accepted, so that the consumer sits on unacked messages. */
static struct db_session *hold_ledger(struct pair *p)
{
    struct db_session *s = sql_session(p);
    sql_session_run(s, "begin; lock table agwb.deliveries in share mode");
    return s;
}

static void test_reply_redelivered_after_lost_connection(struct pair *p)
{
    pair_start_consumer_ready(p);
    struct db_session *lock = hold_ledger(p);
    wire_answer(p, "again-1", "none", 1, "first");
    wire_answer(p, "again-2", "none", 2, "second");
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    wire_forget(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"close_all_connections", "-p", p->vhost, "test", NULL});
    WAIT_UNTIL(log_count(&p->consumer, "connection lost or not reached, reconnecting", "peer", "broker") > 0);
    sql_session_undo(&lock);
    WAIT_UNTIL(delivery_is(p, "again-1", "sent") && delivery_is(p, "again-2", "sent"));
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"duplicate\"}") >= 1);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(pair_requests(p), 2);
    assert_true(pair_sent_once_each(p));
}

/* With limits a reply waits for a claim of its own: what the dead consumer's statement stored is ready. */
static void test_reply_consumer_killed_before_the_ack(struct pair *p)
{
    pair_set(p, "limits.sends_per_minute=1"); /* taken, so that nothing is claimed with its acceptance */
    pair_start_consumer_ready(p);
    wire_answer(p, "before", "none", 3, "the one");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == 1);
    struct db_session *lock = hold_ledger(p);
    wire_answer(p, "killed-1", "none", 1, "first");
    wire_answer(p, "killed-2", "none", 2, "second");
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    process_kill(&p->consumer);
    sql_session_undo(&lock);
    pair_set(p, "limits.sends_per_minute=0");
    pair_start_consumer_ready(p);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == 3);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(pair_requests(p), 3);
    assert_true(pair_sent_once_each(p));
}

/* --- claimed with the acceptance --- */

/* Free lanes, no limits: accepted as `sending` at once, and no lane has to be waited in. */
static void test_reply_is_claimed_with_its_acceptance(struct pair *p)
{
    pair_start_consumer_ready(p);
    for (int i = 0; i < 3; i++) {
        char id[32];
        snprintf(id, sizeof id, "free-%d", i);
        wire_answer(p, id, "none", i, id);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and fence = 1") == 3);
    assert_int_equal(sql_int(p, "select count(*) from agwb.lanes"), 0);
    assert_true(pair_sent_once_each(p));
}

/* So with limits that have a place: it is taken, and the second one to the contact waits for the next. */
static void test_reply_is_claimed_within_limits(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=1");
    pair_start_consumer_ready(p);
    wire_answer(p, "free", "none", 1, "free");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and fence = 1") == 1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.lanes where lane not like 'limit:%%'"), 0);
    assert_int_equal(sql_int(p, "select sum(cardinality(sends)) from agwb.lanes"), 1);
    wire_answer(p, "held", "none", 1, "held");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.lanes where due_at > now() + interval '10 seconds'") ==
               1);
    assert_int_equal(pair_requests(p), 1);
}

/* The second to a contact, in the same batch or a later one, waits for the first. */
static void test_reply_waits_behind_the_one_claimed(struct pair *p)
{
    enum { REPLIES = 12 };
    pair_set(p, "consumer.prefetch=5");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"action\":{\"delay_ms\":50}}]}");
    for (int i = 0; i < REPLIES; i++) {
        char id[32];
        snprintf(id, sizeof id, "in-order-%02d", i);
        wire_answer(p, id, "none", i % 2, id);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.delivery_attempts a join agwb.delivery_attempts b on "
                   "b.started_at < a.ended_at "
                   "and b.started_at > a.started_at join agwb.deliveries x on x.message_id = a.message_id "
                   "join agwb.deliveries y on y.message_id = b.message_id where x.lane = y.lane"),
        0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries x join agwb.deliveries y on x.lane = "
                                "y.lane and x.seq < y.seq "
                                "where x.settled_at > y.settled_at"),
                     0);
    assert_true(pair_sent_once_each(p));
}

/* The statement outlives the consumer that asked for it: nobody knows that nothing was sent, so it is
 * uncertain at the lease's end. */
static void test_reply_claimer_killed_before_the_answer(struct pair *p)
{
    p->timeout_ms = 400;
    pair_set(p, "consumer.lease_ms=5500");
    pair_set(p, "consumer.uncertain_wait_ms=100");
    pair_set(p, "consumer.uncertain=resend");
    pair_start_consumer_ready(p);
    const char *job = job_add(p, 1, "a question");
    struct db_session *lock = job_hold(p, job);
    wire_answer(p, "killed", job, 1, "never left");
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    process_kill(&p->consumer);
    sql_session_undo(&lock);
    WAIT_UNTIL(delivery_is(p, "killed", "sending"));
    pair_start_consumer_ready(p);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and fence = 2") == 1);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(pair_requests(p), 1);
}

/* The answer is lost and the consumer lives: it gives back what it cannot have started. */
static void test_reply_claimed_for_an_answer_that_was_lost(struct pair *p)
{
    pair_start_consumer_ready(p);
    const char *job = job_add(p, 1, "a question");
    struct db_session *lock = job_hold(p, job);
    wire_answer(p, "unheard", job, 1, "sent once");
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    sql_run(p, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%%accept_replies%%' "
               "and datname = current_database() and pid <> pg_backend_pid()");
    sql_session_undo(&lock);
    WAIT_UNTIL(delivery_is(p, "unheard", "sent"));
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(pair_requests(p), 1);
}

/* --- poison --- */

/* The database refuses two of forty that come in one batch: these two are parked, all others go out. */
static void test_reply_poison_is_singled_out(struct pair *p)
{
    enum { REPLIES = 40 };
    char id[32], text[32];
    pair_set(p, "consumer.prefetch=100");
    pair_start_consumer_ready(p);
    sql_run(p, "create function test.refuse() returns trigger language plpgsql as $$ begin "
               "if new.message_id in ('m-7', 'm-23') then raise exception 'the ledger cannot hold %%', "
               "new.message_id; end if; "
               "return new; end $$");
    sql_run(
        p,
        "create trigger refuse before insert on agwb.deliveries for each row execute function test.refuse()");
    struct db_session *lock = hold_ledger(p);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(id, sizeof id, "m-%d", i);
        snprintf(text, sizeof text, "text %d", i);
        wire_answer(p, id, "none", i, text);
    }
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies") && wire_count(p, "wb_queue") == 0);
    sql_session_undo(&lock);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES - 2);
    take_parked(p, "m-7", "poison", "the ledger cannot hold m-7", NULL);
    take_parked(p, "m-23", "poison", "the ledger cannot hold m-23", NULL);
    assert_int_equal(pair_requests(p), REPLIES - 2);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(wire_count(p, "wb_queue"), 0);
}

/* --- the website's widget --- */

/* psql shows what was announced when a statement has ended. */
static void listen_until_sent(struct pair *p)
{
    static const char WAIT[] =
        "do $$ begin while not exists (select from agwb.deliveries where state = 'sent') "
        "loop perform pg_sleep(0.02); end loop; end $$";

    process_start(&p->more[0], p->dir, "listener",
                  (const char *const[]){"/usr/bin/psql", "-X", p->url, "-c", "listen agwb_website", "-c",
                                        "select 'listening'", "-c", WAIT, NULL});
    WAIT_UNTIL(sql_int(p, "select count(*) from pg_stat_activity where query like 'do $$ begin while%%'") ==
               1);
}

/* Nothing is sent: the message is in the table, and whoever shows it is told. */
static void test_reply_on_the_website(struct pair *p)
{
    char reply[512];
    struct buf told;

    pair_account(p, "name = \"site\"; provider = \"website\"; channel = \"website\";");
    pair_start_consumer_ready(p);
    const char *job = asked_job(p, 1, "from the page");
    sql_run(p, "update conversations set channel_type = 'website'");
    sql_run(
        p,
        "update customer_profiles set phone_number = null, remote_jid = null, external_id = 'website:v-77'");
    snprintf(
        reply, sizeof reply,
        "{\"messageId\":\"w-1\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"response\":{\"text\":"
        "\"on the page\",\"attachments\":[{\"url\":\"https://example.com/a.pdf\"}]}}",
        job);
    listen_until_sent(p);
    wire_publish(p, "wb_queue", "w-1", reply);
    WAIT_UNTIL(delivery_is(p, "w-1", "sent"));
    assert_int_equal(pair_requests(p), 0);
    assert_string_equal(sql_text(p, "select lane from agwb.deliveries"), "site v-77");
    assert_int_equal(job_count(p, "status = 'complete'"), 1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where content = 'on the page' and delivery_status = "
                   "'SENT' and metadata #>> '{attachments,0,url}' = 'https://example.com/a.pdf'"),
        1);
    assert_int_equal(process_wait(&p->more[0]), 0);
    file_read(p->more[0].out, &told);
    assert_non_null(
        strstr(buf_str(&told), sql_text(p, "select jsonb_build_object('conversationId', conversation_id, "
                                           "'messageId', message_row_id)::text from agwb.deliveries")));
    buf_fini(&told);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_reply_by_wasender_settles_everything),
        PAIR_TEST(test_reply_attachments_by_wasender),
        PAIR_TEST(test_reply_by_sms_gateway),
        PAIR_TEST(test_reply_orphan_is_delivered),
        PAIR_TEST(test_reply_several_to_one_request),
        PAIR_TEST(test_reply_error_fails_the_job),
        PAIR_TEST(test_reply_partial_without_text_after_the_answer_changes_nothing),
        PAIR_TEST(test_reply_invalid_is_parked_with_its_path),
        PAIR_TEST(test_reply_too_large_is_parked_whole),
        PAIR_TEST(test_reply_unroutable_is_parked),
        PAIR_TEST(test_reply_to_no_page_is_parked),
        PAIR_TEST(test_reply_to_a_hidden_id_goes_to_its_number),
        PAIR_TEST(test_reply_on_the_website),
        PAIR_TEST(test_reply_duplicates_and_conflicts),
        PAIR_TEST(test_reply_redelivered_after_lost_connection),
        PAIR_TEST(test_reply_consumer_killed_before_the_ack),
        PAIR_TEST(test_reply_is_claimed_with_its_acceptance),
        PAIR_TEST(test_reply_is_claimed_within_limits),
        PAIR_TEST(test_reply_waits_behind_the_one_claimed),
        PAIR_TEST(test_reply_claimer_killed_before_the_answer),
        PAIR_TEST(test_reply_claimed_for_an_answer_that_was_lost),
        PAIR_TEST(test_reply_poison_is_singled_out),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
