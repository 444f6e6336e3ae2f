/* From a stored webhook to its job. What a provider's payload says is its parser's test; here it is what
 * becomes of it in the database. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

/* Contact n writes `text` over WhatsApp. */
static void write_text(struct pair *p, const char *id, int contact, const char *text)
{
    hook_add(p, "generic",
             "{\"type\":\"message\",\"id\":\"%s\",\"channel\":\"whatsapp\",\"text\":\"%s\","
             "\"from\":{\"phone\":\"+120255501%02d\",\"name\":\"Contact %d\"}}",
             id, text, contact, contact);
}

static void write_sms(struct pair *p, const char *id, int contact, const char *text)
{
    hook_add(p, "generic",
             "{\"type\":\"message\",\"id\":\"%s\",\"channel\":\"sms\",\"text\":\"%s\","
             "\"from\":{\"phone\":\"+120255501%02d\"}}",
             id, text, contact);
}

static int64_t message_count(struct pair *p, const char *condition)
{
    return sql_int(p, "select count(*) from messages where sender_type = 'user' and %s", condition);
}

/* --- the way in --- */

static const char CLOUD_TEXT[] =
    "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"field\":\"messages\","
    "\"value\":{\"messaging_product\":\"whatsapp\",\"metadata\":{\"display_phone_number\":\"15550100\","
    "\"phone_number_id\":\"106540352242922\"},\"contacts\":[{\"profile\":{\"name\":\"Ann\"},"
    "\"wa_id\":\"12025550143\"}],\"messages\":[{\"from\":\"12025550143\",\"id\":\"wamid.A1\","
    "\"timestamp\":\"1772366412\",\"type\":\"image\",\"image\":{\"id\":\"media-1\",\"mime_type\":"
    "\"image/jpeg\",\"caption\":\"what is "
    "this?\"},\"context\":{\"from\":\"15550100\",\"id\":\"wamid.OURS\"}}]"
    "}}]}]}";

static void test_inbox_cloud_message_becomes_a_request(struct pair *p)
{
    struct wire_message m;

    pair_account(p, "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = "
                    "\"test-token\"; options = { phone_number_id = \"106540352242922\"; };");
    sql_run(p, "insert into workspaces (name) values ('only')");
    pair_start_publisher_ready(p);
    hook_add(p, "whatsapp_cloud", "%s", CLOUD_TEXT);
    wire_take(p, "ag_queue", &m);
    assert_string_equal(wire_text(&m, "message.text"), "what is this?");
    assert_string_equal(wire_text(&m, "message.messageId"), "wamid.A1");
    assert_string_equal(wire_text(&m, "contact.phoneNumber"), "+12025550143");
    assert_string_equal(wire_text(&m, "contact.name"), "Ann");
    assert_string_equal(wire_text(&m, "channel"), "whatsapp");
    assert_string_equal(wire_text(&m, "workspaceId"), sql_text(p, "select id from workspaces"));
    assert_string_equal(wire_text(&m, "conversationId"), sql_text(p, "select id from conversations"));
    wire_free(&m);
    assert_int_equal(hook_count(p, "status = 'done' and error is null and lease_owner is null"), 1);
    assert_int_equal(message_count(p, "content_type = 'image' and metadata #>> '{media,id}' = 'media-1' and "
                                      "metadata ->> 'quotedId' = 'wamid.OURS' and "
                                      "metadata ->> 'account' = 'cloud' and metadata ->> 'channel' = "
                                      "'whatsapp'"),
                     1);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs where kind = 'whatsapp_inbound'"), 1);
    assert_int_equal(sql_int(p, "select message_count from conversations"), 1);
    WAIT_UNTIL(pair_metric(p->publisher_port,
                           "agwb_inbox_rows_total{provider=\"whatsapp_cloud\",result=\"done\"}") == 1);
    assert_int_equal(log_count(&p->publisher, "webhook message", "contact", "*********143"), 1);
}

/* Without notifications the sweep finds it. */
static void test_inbox_sweeps_without_listen(struct pair *p)
{
    pair_set(p, "database.listen=false");
    pair_start_publisher_ready(p);
    write_text(p, "m1", 1, "hello");
    WAIT_UNTIL(job_count(p, "published_at is not null") == 1);
}

static void test_inbox_wakes_by_notify(struct pair *p)
{
    pair_set(p, "database.poll_interval_ms=3600000");
    pair_start_publisher_ready(p);
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%d", i);
        write_text(p, id, 1, "hello");
        WAIT_UNTIL(job_count(p, "published_at is not null") == i + 1);
    }
}

static void test_inbox_duplicates_are_stored_once(struct pair *p)
{
    for (int i = 0; i < 3; i++)
        write_text(p, "same", 1, "hello"); /* one batch */
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 3);
    write_text(p, "same", 1, "hello");
    write_text(p, "other", 1, "hello");
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 5);
    assert_int_equal(message_count(p, "true"), 2);
    assert_int_equal(job_count(p, "true"), 2);
    assert_int_equal(sql_int(p, "select message_count from conversations"), 2);
    WAIT_UNTIL(pair_metric(p->publisher_port,
                           "agwb_inbox_rows_total{provider=\"generic\",result=\"duplicate\"}") == 3);
}

enum { PEOPLE = 20, ROUNDS = 30 };

/* Each message of each contact comes to both, in one statement so that both wake at once. */
static void test_inbox_two_publishers_make_nothing_twice(struct pair *p)
{
    pair_set(p, "publisher.batch=7");
    pair_start_publisher_ready(p);
    pair_start_program(p, &p->more[1], "second", "agwb-publisher", "publisher.metrics_listen=");
    for (int round = 0; round < ROUNDS; round++) {
        sql_run(p,
                "insert into webhook_inbox (provider, body) select 'generic', json_build_object("
                "'type', 'message', 'id', 'm' || %d || '-' || i, 'channel', 'whatsapp', 'text', 'hello', "
                "'from', json_build_object('phone', '+12025550' || 100 + i))::text "
                "from generate_series(1, %d) i, generate_series(1, 2) copy order by random()",
                round, PEOPLE);
    }
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 2 * PEOPLE * ROUNDS);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles"), PEOPLE);
    assert_int_equal(sql_int(p, "select count(*) from conversations"), PEOPLE);
    assert_int_equal(message_count(p, "true"), PEOPLE * ROUNDS);
    assert_int_equal(job_count(p, "true"), PEOPLE * ROUNDS);
    assert_int_equal(sql_int(p, "select sum(message_count) from conversations"), PEOPLE * ROUNDS);
}

/* --- people and conversations --- */

static void test_inbox_known_contact_is_found(struct pair *p)
{
    sql_run(p, "select test.contact(1), test.contact(2)");
    sql_run(p, "update customer_profiles set phone_number = null, name = '' where id = test.id(1, 2)");
    sql_run(p, "alter table customer_profiles add column theirs json default '{}'"); /* has no equality */
    pair_start_publisher_ready(p);
    write_text(p, "by-number", 1, "hello");
    write_text(p, "by-jid", 2, "hello"); /* the profile has the JID of this number only */
    WAIT_UNTIL(job_count(p, "true") == 2);
    assert_int_equal(job_count(p, "contact_id = test.id(1, 1) and conversation_id = test.id(2, 1) and "
                                  "workspace_id = test.id(0, 1)"),
                     1);
    assert_int_equal(job_count(p, "contact_id = test.id(1, 2) and conversation_id = test.id(2, 2)"), 1);
    /* what was not known is known now, what was stays */
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where id = test.id(1, 2) and "
                                "phone_number = '+12025550102' and name = 'Contact 2' and "
                                "remote_jid = '12025550102@s.whatsapp.net'"),
                     1);
    sql_run(p, "update conversations set status = 'closed' where id = test.id(2, 1)");
    write_text(p, "again", 1, "hello");
    write_sms(p, "over-sms", 1, "hello");
    WAIT_UNTIL(job_count(p, "true") == 4);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles"), 2);
    assert_int_equal(sql_int(p, "select count(*) from conversations where customer_id = test.id(1, 1)"), 3);
}

/* As other programs write it; it is E.164 then, and an exact one comes first. */
static void test_inbox_contact_is_found_however_its_number_is_written(struct pair *p)
{
    static const char *const NUMBERS[] = {"12025550100", "+1 202 555 0101", "+1 (202) 555-0102",
                                          "+12025550103"};
    enum { COUNT = sizeof NUMBERS / sizeof NUMBERS[0] };
    char id[16];

    for (int i = 0; i < COUNT; i++) {
        sql_run(p, "select test.contact(%d)", i);
        sql_run(
            p,
            "update customer_profiles set phone_number = '%s', remote_jid = null where id = test.id(1, %d)",
            NUMBERS[i], i);
    }
    sql_run(p,
            "insert into customer_profiles (workspace_id, phone_number, created_at) values (test.id(0, 1), "
            "'12025550103', now() - interval '1 day')");
    sql_run(p, "update customer_profiles set opted_out_at = now() where id = test.id(1, 0)");
    pair_start_publisher_ready(p);
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "m%d", i);
        write_text(p, id, i, "hello");
    }
    WAIT_UNTIL(job_count(p, "published_at is not null") == COUNT - 1); /* one has opted out */
    assert_int_equal(hook_count(p, "status = 'done'"), COUNT);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles"), COUNT + 1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(sql_int(p,
                                 "select count(*) from customer_profiles where id = test.id(1, %d) and "
                                 "phone_number = '+1202555010%d'",
                                 i, i),
                         1);
}

static void test_inbox_people_without_a_number(struct pair *p)
{
    pair_start_publisher_ready(p);
    for (int i = 0; i < 2; i++) {
        hook_add(p, "generic",
                 "{\"type\":\"message\",\"id\":\"w%d\",\"channel\":\"website\",\"text\":\"hi\","
                 "\"from\":{\"id\":\"abc\"}}",
                 i);
        hook_add(p, "generic",
                 "{\"type\":\"message\",\"id\":\"e%d\",\"channel\":\"email\",\"text\":\"hi\","
                 "\"from\":{\"email\":\"%s@example.com\"}}",
                 i, i == 0 ? "ann" : "Ann");
    }
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 4);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles"), 2);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where external_id = 'website:abc'"),
                     1);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where email = 'ann@example.com'"), 1);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 4);
}

#define CLOUD_CHANGE(number, id)                                                                             \
    "{\"field\":\"messages\",\"value\":{\"metadata\":{\"phone_number_id\":\"" number                         \
    "\"},\"messages\":[{\"from\":"                                                                           \
    "\"12025550143\",\"id\":\"" id "\",\"type\":\"text\",\"text\":{\"body\":\"hi\"}}]}}"

/* Each part of a batch is its own number's, and so in its own workspace. */
static void test_inbox_batch_for_two_accounts(struct pair *p)
{
    pair_account(
        p,
        "name = \"one\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"t\"; options = { "
        "phone_number_id = \"111\"; }; workspaces = [\"00000000-0000-4000-8000-000000000001\"];");
    pair_account(
        p,
        "name = \"two\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"t\"; options = { "
        "phone_number_id = \"222\"; }; workspaces = [\"00000000-0000-4000-8000-000000000002\"];");
    sql_run(p,
            "insert into workspaces (id, name) values (test.id(0, 1), 'first'), (test.id(0, 2), 'second')");
    pair_start_publisher_ready(p);
    hook_add(p, "whatsapp_cloud",
             "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"changes\":[%s,%s,%s]}]}",
             CLOUD_CHANGE("111", "wamid.1"), CLOUD_CHANGE("222", "wamid.2"), CLOUD_CHANGE("999", "wamid.3"));
    WAIT_UNTIL(hook_count(p, "status = 'done' and error like 'what is for another account%'") == 1);
    assert_string_equal(
        sql_text(
            p, "select string_agg(m.external_id || ' ' || (m.metadata ->> 'account') || ' ' || w.name, ', ' "
               "order by m.external_id) from messages m join conversations v on v.id = "
               "m.conversation_id join workspaces w on w.id = v.workspace_id"),
        "wamid.1 one first, wamid.2 two second");
}

static void write_hidden(struct pair *p, const char *id, int lid, int number)
{
    char known[80] = "";

    if (number > 0)
        snprintf(known, sizeof known, ",\"senderPn\":\"1202555%04d@s.whatsapp.net\"", number);
    hook_add(p, "wasender",
             "{\"event\":\"messages.received\",\"data\":{\"messages\":{\"key\":{\"id\":\"%s\",\"remoteJid\":"
             "\"98711384416%d@lid\"%s},\"message\":{\"conversation\":\"hi\"}}}}",
             id, lid, known);
    WAIT_UNTIL(hook_count(p, "status = 'pending'") == 0);
}

/* By a hidden id, with the number, by either of them: one person. Another number is another one. */
static void test_inbox_hidden_id_and_number_are_one_person(struct pair *p)
{
    pair_start_publisher_ready(p);
    write_hidden(p, "a1", 1, 0);
    write_hidden(p, "a2", 1, 101);
    write_text(p, "a3", 1, "hello");
    write_hidden(p, "b1", 2, 102);
    write_hidden(p, "b2", 2, 0);
    write_text(p, "c1", 3, "hello");
    write_hidden(p, "c2", 3, 103);
    write_hidden(p, "c3", 3, 0);
    write_hidden(p, "d1", 3, 104);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 9);
    assert_string_equal(
        sql_text(p, "select string_agg(n, ' ' order by n) from (select string_agg(m.external_id, ',' "
                    "order by m.external_id) || ' ' || c.phone_number as n from messages m join "
                    "conversations v on v.id = m.conversation_id join customer_profiles c on c.id = "
                    "v.customer_id group by c.id) x"),
        "a1,a2,a3 +12025550101 b1,b2 +12025550102 c1,c2,c3 +12025550103 d1 +12025550104");
}

/* What a front end leaves out must not lie there for ever. */
static void test_inbox_row_has_a_status(struct pair *p)
{
    assert_int_equal(
        sql_int(p, "select attnotnull::int from pg_attribute where attrelid = 'webhook_inbox'::regclass "
                   "and attname = 'status'"),
        1);
}

/* An account of one workspace keeps to its people. */
static void test_inbox_account_names_the_workspace(struct pair *p)
{
    pair_account(p, "name = \"b\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = "
                    "\"test-token\"; options = { phone_number_id = \"106540352242922\"; }; workspaces = "
                    "[\"00000000-0000-4000-8000-000000000002\"];");
    sql_run(p, "insert into workspaces (id, name) values (test.id(0, 2), 'second')");
    sql_run(p, "select test.contact(43)");
    sql_run(p, "update customer_profiles set phone_number = '+12025550143' where id = test.id(1, 43)");
    pair_start_publisher_ready(p);
    hook_add(p, "whatsapp_cloud", "%s", CLOUD_TEXT);
    WAIT_UNTIL(job_count(p, "workspace_id = test.id(0, 2)") == 1);
    assert_int_equal(job_count(p, "contact_id = test.id(1, 43)"), 0);
    assert_int_equal(sql_int(p, "select count(*) from customer_profiles where phone_number = '+12025550143'"),
                     2);
}

/* --- whether there is a job --- */

static void test_inbox_stores_without_a_job(struct pair *p)
{
    static const struct {
        int contact;
        const char *sql, *reason;
    } ROWS[] = {
        {1, "update customer_profiles set ai_enabled = false where id = test.id(1, 1)",
         "AI is switched off for the customer"},
        {2, "update customer_profiles set opted_out_at = now() where id = test.id(1, 2)",
         "the customer has opted out"},
        {3, "update conversations set requires_human = true where id = test.id(2, 3)",
         "a human has taken the conversation over"},
        {4,
         "with w as (insert into workspaces (name, ai_enabled) values ('off', false) returning id) "
         "update customer_profiles c set workspace_id = w.id from w where c.id = test.id(1, 4)",
         "AI is switched off for the workspace"},
    };
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };
    char id[16];

    for (size_t i = 0; i < COUNT; i++) {
        sql_run(p, "select test.contact(%d)", ROWS[i].contact);
        sql_run(p, "%s", ROWS[i].sql);
        snprintf(id, sizeof id, "m%zu", i);
        write_text(p, id, ROWS[i].contact, "hello");
    }
    write_text(p, "welcome", 5, "hello");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == COUNT + 1);
    assert_int_equal(job_count(p, "true"), 1);
    assert_int_equal(message_count(p, "true"), COUNT + 1);
    for (size_t i = 0; i < COUNT; i++)
        assert_string_equal(
            sql_text(p, "select metadata ->> 'noJob' from messages where external_id = 'm%zu'", i),
            ROWS[i].reason);
}

/* One after the other, since each acts on what the last one left. */
static void test_inbox_keywords(struct pair *p)
{
    static const struct {
        const char *text;
        bool opted_out;
        int jobs;
    } STEPS[] = {{"hello", false, 1}, {"STOP", true, 1},           {"hello?", true, 1}, {"yes", false, 1},
                 {"YES", false, 2},   {"help", false, 2},          {"stop.", true, 2},  {"Start", false, 2},
                 {"start", false, 2}, {"stop it please", false, 3}};
    char id[16];

    pair_start_publisher_ready(p);
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        snprintf(id, sizeof id, "m%zu", i);
        write_sms(p, id, 1, STEPS[i].text);
        WAIT_UNTIL(hook_count(p, "status = 'done'") == (int64_t)i + 1);
        if (job_count(p, "true") != STEPS[i].jobs ||
            sql_int(p, "select (opted_out_at is not null)::int from customer_profiles") != STEPS[i].opted_out)
            fail_msg("after \"%s\"", STEPS[i].text);
    }
}

static void test_inbox_stop_cancels_what_waits(struct pair *p)
{
    pair_set(p, "publisher.debounce_ms=600000");
    pair_set(p, "publisher.debounce_max_ms=600000");
    pair_start_publisher_ready(p);
    write_text(p, "m1", 1, "hello");
    write_text(p, "m2", 2, "hello");
    WAIT_UNTIL(job_count(p, "status = 'pending'") == 2);
    write_text(p, "m3", 1, "STOP");
    WAIT_UNTIL(job_count(p, "status = 'cancelled' and error = 'the customer has opted out'") == 1);
    assert_int_equal(job_count(p, "status = 'pending'"), 1);
}

static void test_inbox_priorities(struct pair *p)
{
    static const struct {
        const char *conversation, *plan;
        int priority;
    } ROWS[] = {{"null", "null", 5},     {"null", "49.99", 5},  {"null", "50", 3},    {"null", "100", 1},
                {"'urgent'", "null", 1}, {"'high'", "null", 2}, {"'high'", "100", 2}, {"'normal'", "100", 5},
                {"'Urgent'", "0", 1},    {"'low'", "100", 1}};
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };
    char id[16];

    for (int i = 0; i < COUNT; i++) {
        sql_run(p, "select test.contact(%d)", i);
        sql_run(p, "insert into workspaces (id, name, plan_price) values (test.id(0, %d), 'w', %s)", 100 + i,
                ROWS[i].plan);
        sql_run(p, "update customer_profiles set workspace_id = test.id(0, %d) where id = test.id(1, %d)",
                100 + i, i);
        sql_run(p, "update conversations set priority = %s where id = test.id(2, %d)", ROWS[i].conversation,
                i);
        snprintf(id, sizeof id, "m%d", i);
        write_text(p, id, i, "hello");
    }
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "true") == COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(
            sql_int(p, "select priority from ai_response_queue where contact_id = test.id(1, %d)", i),
            ROWS[i].priority);
}

/* --- the door --- */

/* What a front end may do that has no other right. */
static void test_inbox_front_end_needs_one_right_only(struct pair *p)
{
    char role[80];

    snprintf(role, sizeof role, "front_%s", p->database);
    sql_run(p, "create role %s", role);
    sql_run(p, "grant usage on schema agwb to %s", role);
    sql_run(p, "create function test.is_refused(p_role text, p_sql text) returns int language plpgsql as $$ "
               "begin execute 'set local role ' || p_role; execute p_sql; return 0; "
               "exception when insufficient_privilege then return 1; end $$");
    static const char call[] = "select agwb.receive_webhook(''generic'', null, ''{\"X-A\": \"b\"}'', "
                               "''{\"type\": \"message\", \"id\": \"m1\", \"channel\": \"sms\", "
                               "\"text\": \"hello\", \"from\": {\"phone\": \"+12025550101\"}}'')";
    assert_int_equal(sql_int(p, "select test.is_refused('%s', '%s')", role, call), 1);
    sql_run(p, "grant execute on function agwb.receive_webhook(text, text, jsonb, text) to %s", role);
    pair_start_publisher_ready(p);
    assert_int_equal(sql_int(p, "select test.is_refused('%s', '%s')", role, call), 0);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 1);
    assert_int_equal(hook_count(p, "headers = '{\"X-A\": \"b\"}' and status = 'done'"), 1);
    assert_int_equal(sql_int(p, "select test.is_refused('%s', 'select * from public.webhook_inbox')", role),
                     1);
    sql_run(p, "drop owned by %s", role);
    sql_run(p, "drop role %s", role);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_inbox_cloud_message_becomes_a_request),
        PAIR_TEST(test_inbox_sweeps_without_listen),
        PAIR_TEST(test_inbox_wakes_by_notify),
        PAIR_TEST(test_inbox_duplicates_are_stored_once),
        PAIR_TEST(test_inbox_two_publishers_make_nothing_twice),
        PAIR_TEST(test_inbox_known_contact_is_found),
        PAIR_TEST(test_inbox_contact_is_found_however_its_number_is_written),
        PAIR_TEST(test_inbox_people_without_a_number),
        PAIR_TEST(test_inbox_batch_for_two_accounts),
        PAIR_TEST(test_inbox_hidden_id_and_number_are_one_person),
        PAIR_TEST(test_inbox_row_has_a_status),
        PAIR_TEST(test_inbox_account_names_the_workspace),
        PAIR_TEST(test_inbox_stores_without_a_job),
        PAIR_TEST(test_inbox_keywords),
        PAIR_TEST(test_inbox_stop_cancels_what_waits),
        PAIR_TEST(test_inbox_priorities),
        PAIR_TEST(test_inbox_front_end_needs_one_right_only),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
