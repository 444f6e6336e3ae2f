/* From a committed row to its request on ag_queue. The test plays the agent's side of the queue. */
#include "rows.h"
#include "wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/message.h"

/* --- wake-up --- */

enum { PROBES = 21, WAKE_UP_MS = 50 };

/* Milliseconds from the row's commit to its request in the test's hands. */
static double probe(struct pair *p, int i)
{
    struct wire_message m;
    char text[32];
    snprintf(text, sizeof text, "probe %d", i);
    const char *id = job_add(p, i, text);
    int64_t committed_us = clock_mono_us(), deadline_at = clock_mono_ms() + PATIENCE_MS;
    while (!wire_try_take(p, "ag_queue", &m)) {
        if (clock_mono_ms() > deadline_at)
            fail_msg("job %d was not published", i);
    }
    double took_ms = (double)(clock_mono_us() - committed_us) / 1000.0;
    assert_string_equal(m.id, id);
    wire_free(&m);
    return took_ms;
}

static int compare_real(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The sweep is off, so that nothing but the notification can have woken the publisher. The median, since one
 * slow moment of the machine says nothing about the wake-up. */
static void test_intake_wakes_by_notify(struct pair *p)
{
    double took_ms[PROBES];
    pair_set(p, "database.poll_interval_ms=3600000");
    pair_start_publisher_ready(p);
    for (int i = 0; i < 5; i++)
        probe(p, i);
    for (int i = 0; i < PROBES; i++)
        took_ms[i] = probe(p, i);
    qsort(took_ms, PROBES, sizeof took_ms[0], compare_real);
    print_message("row committed to request taken: fastest %.2f ms, median %.2f ms\n", took_ms[0],
                  took_ms[PROBES / 2]);
    assert_true(took_ms[PROBES / 2] < WAKE_UP_MS);
}

static void test_intake_sweeps_without_listen(struct pair *p)
{
    struct wire_message m;
    pair_set(p, "database.listen=false");
    pair_start_publisher_ready(p);
    for (int i = 0; i < 3; i++) {
        const char *id = job_add(p, i, "found by the sweep");
        wire_take(p, "ag_queue", &m);
        assert_string_equal(m.id, id);
        wire_free(&m);
    }
}

static void test_intake_takes_what_was_there_before(struct pair *p)
{
    pair_set(p, "database.poll_interval_ms=3600000");
    job_add_many(p, 1, 250); /* more than two batches */
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 250);
    assert_int_equal(wire_count(p, "ag_queue"), 250);
    assert_int_equal(job_count(p, "status = 'processing' and attempts = 1 and lease_owner is null"), 250);
}

/* --- content --- */

/* Twelve messages of one conversation, a second apart; the last is the one that is asked about. */
static void add_conversation(struct pair *p)
{
    sql_run(p, "select test.contact(1)");
    sql_run(p, "update customer_profiles set notes = 'VIP \"gold\"' where id = test.id(1, 1)");
    sql_run(p, "update conversations set session_data = '{\"cart\": [1, 2]}' where id = test.id(2, 1)");
    sql_run(
        p,
        "insert into messages (conversation_id, sender_type, content, external_id, created_at) "
        "select test.id(2, 1), (array['user', 'ai', 'agent'])[i %% 3 + 1], 'turn ' || i, 'wamid.' || i, "
        "       '2026-03-01 12:00:00Z'::timestamptz + i * interval '1 second' from generate_series(1, 12) i");
    sql_run(p, "insert into ai_response_queue (workspace_id, contact_id, conversation_id, message_id, "
               "task_type, priority) "
               "select test.id(0, 1), test.id(1, 1), test.id(2, 1), id, 'order', 1 from messages where "
               "external_id = 'wamid.12'");
}

static void test_intake_request_is_exact(struct pair *p)
{
    struct wire_message m;
    char expected[4096];
    int64_t timestamp = 0, before = clock_wall_ms() / 1000;

    add_conversation(p);
    pair_start_publisher_ready(p);
    wire_take(p, "ag_queue", &m);
    assert_true(json_int(json_path(json_root(m.json), "timestamp"), &timestamp));
    assert_in_range(timestamp, before, clock_wall_ms() / 1000);
    snprintf(expected, sizeof expected,
             "{\"messageId\":\"%s\",\"timestamp\":%" PRId64 ",\"taskType\":\"order\",\"contact\":{"
             "\"remoteJid\":\"12025550101@s.whatsapp.net\",\"phoneNumber\":\"+12025550101\",\"name\":"
             "\"Contact 1\",\"countryCode\":\"1\"},"
             "\"message\":{\"text\":\"turn 12\",\"messageId\":\"wamid.12\",\"timestamp\":1772366412},"
             "\"context\":{\"conversationHistory\":["
             "{\"role\":\"assistant\",\"content\":\"turn 2\"},"
             "{\"role\":\"user\",\"content\":\"turn 3\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 4\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 5\"},"
             "{\"role\":\"user\",\"content\":\"turn 6\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 7\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 8\"},"
             "{\"role\":\"user\",\"content\":\"turn 9\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 10\"},"
             "{\"role\":\"assistant\",\"content\":\"turn 11\"}],"
             "\"userNotes\":\"VIP \\\"gold\\\"\",\"sessionData\":{\"cart\": [1, 2]}},"
             "\"metadata\":{\"priority\":\"urgent\",\"retryCount\":0,\"maxRetries\":3},"
             "\"workspaceId\":\"00000000-0000-4000-8000-000000000001\",\"conversationId\":\"00000000-0000-"
             "4000-8002-000000000001\","
             "\"contactId\":\"00000000-0000-4000-8001-000000000001\",\"channel\":\"whatsapp\"}",
             m.id, timestamp);
    assert_string_equal(buf_str(&m.body), expected);
    assert_string_equal(m.id, sql_text(p, "select id from ai_response_queue"));
    wire_free(&m);
}

static const char *member(const struct json *message, const char *path)
{
    const char *text = json_str(json_path(json_root(message), path));
    return text != NULL ? text : "";
}

/* Read by another AMQP library. */
static void test_intake_request_properties(struct pair *p)
{
    int64_t mode = 0, timestamp = 0;
    unsigned version = 0;
    pair_set(p, "topology.agent_ttl_ms=120000");
    pair_start_publisher_ready(p);
    const char *id = job_add(p, 1, "hello");
    WAIT_UNTIL(wire_count(p, "ag_queue") == 1);
    struct json *m = wire_python(p, (const char *const[]){"take", "ag_queue", NULL});
    assert_true(json_int(json_path(json_root(m), "delivery_mode"), &mode));
    assert_int_equal(mode, 2);
    assert_string_equal(member(m, "message_id"), id);
    assert_string_equal(member(m, "expiration"), "120000");
    assert_string_equal(member(m, "content_type"), "application/json");
    assert_string_equal(member(m, "type"), "agwb.request");
    assert_string_equal(member(m, "app_id"), "agwb-publisher");
    assert_true(json_int(json_path(json_root(m), "timestamp"), &timestamp));
    assert_in_range(timestamp, clock_wall_ms() / 1000 - 60, clock_wall_ms() / 1000);
    const char *traceparent = member(m, "headers.traceparent");
    assert_int_equal(strlen(traceparent), 55);
    assert_int_equal(sscanf(traceparent, "%2x-%*32[0-9a-f]-%*16[0-9a-f]-01", &version), 1);
    assert_int_equal(version, 0);
    json_free(&m);
}

/* Spec 000 writes no more than the workspace, the contact and the message. */
static void test_intake_minimal_job(struct pair *p)
{
    struct wire_message m;
    sql_run(p, "select test.contact(7)");
    sql_run(p, "with m as (insert into messages (conversation_id, sender_type, content, external_id) "
               "values (test.id(2, 7), 'user', 'only a message', 'wamid.min') returning id) "
               "insert into ai_response_queue (workspace_id, contact_id, message_id) "
               "select test.id(0, 1), test.id(1, 7), m.id from m");
    pair_start_publisher_ready(p);
    wire_take(p, "ag_queue", &m);
    assert_string_equal(wire_text(&m, "message.text"), "only a message");
    assert_string_equal(wire_text(&m, "message.messageId"), "wamid.min");
    assert_string_equal(wire_text(&m, "taskType"), "conversation");
    assert_string_equal(wire_text(&m, "metadata.priority"), "normal");
    assert_string_equal(wire_text(&m, "contact.phoneNumber"), "+12025550107");
    assert_string_equal(wire_text(&m, "conversationId"), sql_text(p, "select test.id(2, 7)"));
    assert_string_equal(wire_text(&m, "channel"), "whatsapp");
    wire_free(&m);
    WAIT_UNTIL(job_count(p, "status = 'processing' and published_at is not null") == 1);
}

/* One statement's rows: one claim, the most urgent first. */
static void test_intake_order_and_priority_words(struct pair *p)
{
    static const struct {
        int priority;
        const char *word;
    } EXPECTED[] = {{1, "urgent"}, {2, "high"}, {3, "high"}, {4, "normal"}, {5, "normal"}};
    struct wire_message m;
    char text[32];

    sql_run(p, "select test.contact(1)");
    sql_run(
        p,
        "insert into ai_response_queue (workspace_id, contact_id, conversation_id, user_message, priority) "
        "select test.id(0, 1), test.id(1, 1), test.id(2, 1), 'priority ' || i, i from generate_series(5, 1, "
        "-1) i");
    pair_start_publisher_ready(p);
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        snprintf(text, sizeof text, "priority %d", EXPECTED[i].priority);
        wire_take(p, "ag_queue", &m);
        assert_string_equal(wire_text(&m, "message.text"), text);
        assert_string_equal(wire_text(&m, "metadata.priority"), EXPECTED[i].word);
        wire_free(&m);
    }
}

/* --- rows that are not published --- */

static void test_intake_refused_rows_are_cancelled(struct pair *p)
{
    static const struct {
        int contact;
        const char *sql, *reason;
    } ROWS[] = {
        {1, "update customer_profiles set ai_enabled = false where id = test.id(1, 1)",
         "AI is switched off for the customer"},
        {2, "update customer_profiles set opted_out_at = now() where id = test.id(1, 2)",
         "the customer has opted out"},
        {3,
         "with w as (insert into workspaces (name, ai_enabled) values ('off', false) returning id) "
         "update ai_response_queue q set workspace_id = w.id from w where q.contact_id = test.id(1, 3)",
         "AI is switched off for the workspace"},
    };
    const char *ids[3];

    for (size_t i = 0; i < 3; i++) {
        ids[i] = job_add(p, ROWS[i].contact, "refused");
        sql_run(p, "%s", ROWS[i].sql);
    }
    job_add(p, 4, "welcome");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "status = 'cancelled'") == 3 && wire_count(p, "ag_queue") == 1);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(sql_text(p, "select error from ai_response_queue where id = '%s'", ids[i]),
                            ROWS[i].reason);
        assert_int_equal(job_count(p, "published_at is not null and status = 'cancelled'"), 0);
    }
    WAIT_UNTIL(pair_metric(p->publisher_port, "agwb_intake_rows_total{result=\"refused\"}") == 3);
}

/* Each row's own fault: the ladder, then failed with the words that say what is wrong; nobody else is held
 * up. */
static void test_intake_faulty_rows_fail_alone(struct pair *p)
{
    static const struct {
        const char *insert, *reason;
    } ROWS[] = {
        {"(workspace_id, user_message) values (test.id(0, 1), 'no contact')", "job names no contact"},
        {"(workspace_id, contact_id, user_message) values (test.id(0, 1), test.id(1, 77), 'who')",
         "contact %s not found in customer_profiles"},
        {"(workspace_id, contact_id, message_id) values (test.id(0, 1), test.id(1, 1), test.id(3, 1))",
         "message %s not found in messages"},
        {"(workspace_id, contact_id, user_message) values (test.id(0, 1), test.id(1, 1), '  ')",
         "job has no text"},
        {"(workspace_id, contact_id, user_message) values (test.id(0, 1), test.id(1, 2), 'bad number')",
         "phone_number is not E.164"},
        {"(workspace_id, contact_id, user_message) values (test.id(0, 1), test.id(1, 3), 'bad jid')",
         "remote_jid is not a JID"},
        {"(workspace_id, contact_id, user_message) values (test.id(0, 1), test.id(1, 4), 'nowhere')",
         "has neither phone_number nor remote_jid"},
        {"(workspace_id, contact_id, user_message, task_type) values (test.id(0, 1), test.id(1, 1), 'odd', "
         "'dance')",
         "taskType"},
    };
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };
    const char *names[COUNT] = {"", "00000000-0000-4000-8001-000000000077",
                                "00000000-0000-4000-8003-000000000001"};
    char reason[256];

    pair_set(p, "retry.job.tries=2");
    pair_set(p, "retry.job.delay_ms=300");
    sql_run(p, "select test.contact(i) from generate_series(1, 5) i");
    sql_run(p, "update customer_profiles set phone_number = '12' where id = test.id(1, 2)");
    sql_run(p, "update customer_profiles set remote_jid = 'nobody@example.com' where id = test.id(1, 3)");
    sql_run(p, "update customer_profiles set remote_jid = null, phone_number = '' where id = test.id(1, 4)");
    for (size_t i = 0; i < COUNT; i++)
        sql_run(p, "insert into ai_response_queue %s", ROWS[i].insert);
    job_add_many(p, 5, 10);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 10);
    WAIT_UNTIL(job_count(p, "status = 'failed'") == COUNT);
    assert_int_equal(wire_count(p, "ag_queue"), 10);
    assert_int_equal(
        job_count(
            p, "status = 'failed' and attempts = 2 and processed_at is not null and next_attempt_at is null"),
        COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const char *placeholder = strstr(ROWS[i].reason, "%s");
        snprintf(reason, sizeof reason, "%.*s%s%s", placeholder ? (int)(placeholder - ROWS[i].reason) : 200,
                 ROWS[i].reason, placeholder ? names[i] : "", placeholder ? placeholder + 2 : "");
        if (sql_int(p, "select count(*) from ai_response_queue where position('%s' in error) > 0", reason) !=
            1)
            fail_msg("no job failed with: %s", reason);
    }
    assert_true(pair_metric(p->publisher_port, "agwb_intake_rows_total{result=\"retried\"}") == COUNT);
    assert_true(pair_metric(p->publisher_port, "agwb_intake_rows_total{result=\"failed\"}") == COUNT);
}

/* A row that is mended while it waits for its next try goes through with the attempts it had. */
static void test_intake_mended_row_goes_through(struct pair *p)
{
    struct wire_message m;
    int64_t retries = -1;
    pair_set(p, "retry.job.delay_ms=500");
    job_add(p, 1, "hello");
    sql_run(p, "update customer_profiles set phone_number = '12' where id = test.id(1, 1)");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "status = 'error' and attempts = 1 and next_attempt_at is not null") == 1);
    sql_run(p, "update customer_profiles set phone_number = '+12025550101' where id = test.id(1, 1)");
    wire_take(p, "ag_queue", &m);
    assert_true(json_int(json_path(json_root(m.json), "metadata.retryCount"), &retries));
    assert_int_equal(retries, 1);
    wire_free(&m);
    WAIT_UNTIL(job_count(p, "status = 'processing' and published_at is not null and error is null") == 1);
}

/* --- limits --- */

static void test_intake_jobs_in_flight(struct pair *p)
{
    struct wire_message m;
    pair_set(p, "limits.jobs_in_flight=3");
    job_add_many(p, 1, 5);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 3);
    wire_take(p, "ag_queue", &m);
    sql_run(p, "update ai_response_queue set status = 'complete' where id = '%s'", m.id);
    wire_free(&m);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 4);
    assert_int_equal(job_count(p, "status = 'processing'"), 3);
    assert_int_equal(job_count(p, "status = 'pending'"), 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_intake_wakes_by_notify),
        PAIR_TEST(test_intake_sweeps_without_listen),
        PAIR_TEST(test_intake_takes_what_was_there_before),
        PAIR_TEST(test_intake_request_is_exact),
        PAIR_TEST(test_intake_request_properties),
        PAIR_TEST(test_intake_minimal_job),
        PAIR_TEST(test_intake_order_and_priority_words),
        PAIR_TEST(test_intake_refused_rows_are_cancelled),
        PAIR_TEST(test_intake_faulty_rows_fail_alone),
        PAIR_TEST(test_intake_mended_row_goes_through),
        PAIR_TEST(test_intake_jobs_in_flight),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
