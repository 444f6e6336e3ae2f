/* Webhooks when things go wrong: rows that nobody can use, publishers that die, people who write in bursts.
 */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Contact n writes `text` over WhatsApp. */
static void write_text(struct pair *p, const char *id, int contact, const char *text)
{
    hook_add(p, "generic",
             "{\"type\":\"message\",\"id\":\"%s\",\"channel\":\"whatsapp\",\"text\":\"%s\","
             "\"from\":{\"phone\":\"+120255501%02d\"}}",
             id, text, contact);
}

/* --- bursts --- */

static void test_burst_joins_no_messages_by_default(struct pair *p)
{
    for (int i = 0; i < 3; i++)
        write_text(p, (const char *const[]){"a", "b", "c"}[i], 1, "hello");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 3);
}

static void test_burst_is_joined(struct pair *p)
{
    struct wire_message m;

    pair_set(p, "publisher.debounce_ms=1000");
    pair_set(p,
             "database.poll_interval_ms=3600000"); /* the job is published when it is due, not by a sweep */
    pair_start_publisher_ready(p);
    write_text(p, "a", 1, "one");
    WAIT_UNTIL(job_count(p, "status = 'pending' and next_attempt_at > created_at") == 1);
    write_text(p, "b", 1, "two");
    write_text(p, "elsewhere", 2, "another");
    write_text(p, "c", 1, "three");
    wire_take(p, "ag_queue", &m);
    if (strcmp(wire_text(&m, "message.text"), "another") == 0) {
        wire_free(&m);
        wire_take(p, "ag_queue", &m);
    }
    assert_string_equal(wire_text(&m, "message.text"), "one\ntwo\nthree");
    assert_string_equal(wire_text(&m, "message.messageId"), "a");
    assert_int_equal(json_count(json_path(json_root(m.json), "context.conversationHistory")), 0);
    wire_free(&m);
    assert_int_equal(job_count(p, "true"), 2);
    assert_int_equal(
        job_count(p, "last_message_at = (select created_at from messages where external_id = 'c')"), 1);
    /* it is published: what comes now is the next burst */
    write_text(p, "d", 1, "four");
    wire_take(p, "ag_queue", &m);
    while (strcmp(wire_text(&m, "message.text"), "four") != 0) {
        wire_free(&m);
        wire_take(p, "ag_queue", &m);
    }
    wire_free(&m);
}

/* Somebody who never stops writing is answered all the same. */
static void test_burst_ends_at_its_maximum(struct pair *p)
{
    char id[16];
    int n = 0;

    pair_set(p, "publisher.debounce_ms=2000");
    pair_set(p, "publisher.debounce_max_ms=3000");
    pair_start_publisher_ready(p);
    do {
        snprintf(id, sizeof id, "m%d", n++);
        write_text(p, id, 1, "more");
        WAIT_UNTIL(hook_count(p, "status = 'done'") == n);
    } while (job_count(p, "published_at is not null") == 0 && n < 10000);
    assert_int_equal(sql_int(p, "select (min(published_at) - min(created_at) between interval '2.9 s' and "
                                "interval '10 s')::int from ai_response_queue"),
                     1);
}

static void test_burst_outlives_the_publisher(struct pair *p)
{
    struct wire_message m;

    pair_set(p, "publisher.debounce_ms=3000");
    pair_start_publisher_ready(p);
    write_text(p, "a", 1, "one");
    WAIT_UNTIL(job_count(p, "status = 'pending'") == 1);
    process_kill(&p->publisher);
    WAIT_UNTIL(sql_int(p, "select count(*) from pg_stat_activity where datname = current_database() and "
                          "application_name like 'agwb-publisher%%'") ==
               0); /* no claim of the dead takes the next */
    write_text(p, "b", 1, "two");
    pair_start_publisher_ready(p);
    wire_take(p, "ag_queue", &m);
    assert_string_equal(wire_text(&m, "message.text"), "one\ntwo");
    wire_free(&m);
    assert_int_equal(job_count(p, "true"), 1);
}

/* The option counts from the moment it is changed. */
static void test_burst_option_is_reloadable(struct pair *p)
{
    static const char mark[] = "publisher: { ";
    struct buf config, changed;

    pair_start_publisher_ready(p);
    file_read(p->config, &config);
    const char *at = strstr(buf_str(&config), mark);
    assert_non_null(at);
    buf_init(&changed, 65536);
    buf_printf(&changed, "%.*s%sdebounce_ms = 600000; debounce_max_ms = 600000; %s", (int)(at - config.data),
               config.data, mark, at + strlen(mark));
    file_write(p->config, buf_str(&changed));
    process_signal(&p->publisher, SIGHUP);
    WAIT_UNTIL(log_count(&p->publisher, "configuration reloaded", NULL, NULL) == 1);
    write_text(p, "a", 1, "one");
    write_text(p, "b", 1, "two");
    WAIT_UNTIL(job_count(p, "status = 'pending' and last_message_at is not null") == 1);
    buf_fini(&config);
    buf_fini(&changed);
}

/* --- rows that nobody can use --- */

/* Each ends with its reason; the good ones among them go through. */
static void test_inbox_bad_rows_end_with_a_reason(struct pair *p)
{
    static const struct {
        const char *provider, *account, *body, *status, *reason;
    } ROWS[] = {
        {"carrier-pigeon", "", "{}", "failed", "unknown provider 'carrier-pigeon'"},
        {"", "", "{}", "failed", "unknown provider ''"},
        {"generic", "", "", "failed", "the body is empty"},
        {"generic", "", "not json", "failed", "byte 0"},
        {"generic", "", "[]", "failed", "$"},
        {"generic", "nobody", "{\"type\":\"message\"}", "failed", "nobody"},
        {"whatsapp_cloud", "wa", "{\"object\":\"whatsapp_business_account\",\"entry\":[]}", "failed", "wa"},
        {"wasender", "", "{\"event\":\"session.status\",\"data\":{\"status\":\"connected\"}}", "ignored", ""},
        {"generic", "",
         "{\"type\":\"message\",\"id\":\"x\",\"channel\":\"whatsapp\",\"text\":\"hi\",\"from\":{\"phone\":"
         "\"12\"}}",
         "failed", "$.from.phone"},
    };
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };

    for (size_t i = 0; i < COUNT; i++) {
        sql_run(p,
                "insert into webhook_inbox (provider, account, body, headers) values ('%s', nullif('%s', "
                "''), '%s', '{}')",
                ROWS[i].provider, ROWS[i].account, ROWS[i].body);
        write_text(p, sql_text(p, "select 'good-%zu'", i), (int)i, "hello");
    }
    sql_run(p, "insert into webhook_inbox default values"); /* no provider, no body, no headers */
    sql_run(p, "insert into webhook_inbox (provider, body) values ('generic', repeat('x', 3145729))");
    sql_run(p, "insert into webhook_inbox (provider, body, headers) values ('generic', '{}', '[1]')");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'pending'") == 0);
    assert_int_equal(hook_count(p, "status = 'done'"), COUNT);
    assert_int_equal(job_count(p, "true"), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        if (hook_count(p, sql_text(p,
                                   "select format('provider = %%L and body = %%L and status = %%L and "
                                   "position(%%L in error) > 0', "
                                   "$q$%s$q$, '%s', '%s', $q$%s$q$)",
                                   ROWS[i].provider, ROWS[i].body, ROWS[i].status, ROWS[i].reason)) != 1)
            fail_msg("not %s with \"%s\": %s", ROWS[i].status, ROWS[i].reason, ROWS[i].body);
    }
    assert_int_equal(
        hook_count(p, "status = 'failed' and error = 'the body has 3145729 bytes, at most 3145728 are read'"),
        1);
    assert_int_equal(hook_count(p, "status = 'failed' and provider is null"), 1);
    assert_int_equal(hook_count(p, "lease_owner is not null or error is null and status <> 'done'"), 0);
    WAIT_UNTIL(
        pair_metric(p->publisher_port, "agwb_inbox_rows_total{provider=\"other\",result=\"failed\"}") == 3);
    WAIT_UNTIL(pair_metric(p->publisher_port,
                           "agwb_inbox_rows_total{provider=\"wasender\",result=\"ignored\"}") == 1);
}

static void test_inbox_bad_signature_goes_no_further(struct pair *p)
{
    pair_set(p, "webhooks.generic.verify=required");
    pair_set(p, "webhooks.generic.secret=hook-secret");
    pair_start_publisher_ready(p);
    write_text(p, "unsigned", 1, "hello");
    sql_run(
        p,
        "insert into webhook_inbox (provider, headers, body) values ('generic', '{\"X-Webhook-Signature\": "
        "\"sha256=%064d\"}', '{}')",
        0);
    WAIT_UNTIL(hook_count(p, "status = 'failed'") == 2);
    assert_int_equal(job_count(p, "true"), 0);
    assert_int_equal(sql_int(p, "select count(*) from messages"), 0);
    WAIT_UNTIL(pair_metric(p->publisher_port, "agwb_signature_failures_total{provider=\"generic\"}") == 2);
    assert_int_equal(hook_count(p, "error like '%%hook-secret%%'"), 0);
}

/* What the tables refuse is the row's own fault, found among fifty. */
static void test_inbox_poison_row_fails_alone(struct pair *p)
{
    enum { ROWS = 50 };

    sql_run(p, "alter table messages add constraint no_poison check (content <> 'poison')");
    sql_run(
        p,
        "insert into webhook_inbox (provider, body) select 'generic', json_build_object('type', 'message', "
        "'id', 'm' || i, 'channel', 'whatsapp', 'text', case when i in (17, 31) then 'poison' else 'hello' "
        "end, "
        "'from', json_build_object('phone', '+12025550' || 100 + i))::text from generate_series(1, %d) i",
        ROWS);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == ROWS - 2);
    WAIT_UNTIL(hook_count(p, "status = 'failed' and error like '%%no_poison%%'") == 2);
    assert_int_equal(hook_count(p, "status = 'done'"), ROWS - 2);
}

/* --- publishers that die --- */

/* Dies with the batch in hand: nothing of it is stored, its lease ends, the next one stores it once. */
static void test_inbox_outlives_the_publisher(struct pair *p)
{
    enum { ROWS = 30 };
    struct db_session *locker = sql_session(p);

    pair_set(p, "publisher.lease_ms=1500");
    pair_start_publisher_ready(p);
    sql_session_run(locker, "begin; lock table messages in exclusive mode");
    for (int i = 0; i < ROWS; i++)
        write_text(p, sql_text(p, "select 'm%d'", i), i, "hello");
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like "
                       "'%%record_inbox%%' and pid <> pg_backend_pid()") == 1);
    process_kill(&p->publisher);
    sql_run(p, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%%record_inbox%%' "
               "and pid <> pg_backend_pid()");
    sql_session_run(locker, "commit");
    db_session_close(&locker);
    assert_int_equal(job_count(p, "true"), 0);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == ROWS);
    assert_int_equal(job_count(p, "true"), ROWS);
    assert_int_equal(sql_int(p, "select count(*) from messages"), ROWS);
}

/* The database goes away while a batch is in hand: it comes back, and the batch is stored once. */
static void test_inbox_outlives_the_connection(struct pair *p)
{
    struct db_session *locker = sql_session(p);

    pair_start_publisher_ready(p);
    sql_session_run(locker, "begin; lock table messages in exclusive mode");
    for (int i = 0; i < 5; i++)
        write_text(p, sql_text(p, "select 'm%d'", i), i, "hello");
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like "
                       "'%%record_inbox%%' and pid <> pg_backend_pid()") == 1);
    sql_run(p, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%%record_inbox%%' "
               "and pid <> pg_backend_pid()");
    sql_session_run(locker, "commit");
    db_session_close(&locker);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 5);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 5);
    assert_int_equal(sql_int(p, "select count(*) from messages"), 5);
}

/* A row that has been claimed again and again without an end is suspected of killing its reader. */
static void test_inbox_gives_up_a_row_that_kills(struct pair *p)
{
    write_text(p, "suspect", 1, "hello");
    write_text(p, "convict", 2, "hello");
    write_text(p, "fresh", 3, "hello");
    sql_run(p, "update webhook_inbox set attempts = 6, lease_owner = 'dead', lease_until = now() where body "
               "like '%%convict%%'");
    sql_run(p, "update webhook_inbox set attempts = 5, lease_owner = 'dead', lease_until = now() where body "
               "like '%%suspect%%'");
    /* alone, whatever the limit */
    assert_int_equal(sql_int(p, "select count(*) from agwb.claim_inbox('someone', 100, 0, 1000, 1000)"), 1);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'pending'") == 0);
    assert_int_equal(
        hook_count(p, "status = 'failed' and error like 'nobody could finish it in 6 attempts%%'"), 2);
    assert_int_equal(hook_count(p, "status = 'done'"), 1);
}

/* Somebody else has the row by now: what we know of it counts for nothing. */
static void test_inbox_record_is_fenced(struct pair *p)
{
    write_text(p, "m1", 1, "hello");
    sql_run(p, "select * from agwb.claim_inbox('slow', 10, 0, 1000, 1000)");
    sql_run(p, "select * from agwb.claim_inbox('quick', 10, 60000, 1000, 1000)");
    assert_string_equal(sql_text(p, "select result from agwb.record_inbox('slow', (select array_agg(id) from "
                                    "webhook_inbox), '{done}', "
                                    "array[null], (select json_build_array(json_build_object('row', "
                                    "id))::text from webhook_inbox), '[]', "
                                    "0, 0)"),
                        "lost");
    assert_int_equal(hook_count(p, "status = 'pending' and lease_owner = 'quick'"), 1);
}

/* --- two publishers and one contact --- */

static int64_t claim(struct pair *p, const char *owner, int limit)
{
    return sql_int(p, "select count(*) from agwb.claim_inbox('%s', %d, 60000, 1000, 100000)", owner, limit);
}

/* What the first one has in hand may be the same contact's, and is older. */
static void test_inbox_claims_one_after_the_other(struct pair *p)
{
    write_text(p, "a", 1, "one");
    write_text(p, "b", 1, "two");
    write_text(p, "c", 1, "three");
    assert_int_equal(claim(p, "first", 1), 1);
    /* just now, however long the test has taken to get here */
    sql_run(p, "do $$ begin "
               "update webhook_inbox set lease_until = clock_timestamp() + interval '60 s' where lease_owner "
               "= 'first'; "
               "assert not exists (select 1 from agwb.claim_inbox('second', 100, 60000, 1000, 100000)); "
               "end $$");
    assert_int_equal(claim(p, "first", 1), 1); /* beside a row that it could not even record */
    sql_run(
        p, "select agwb.record_inbox('first', array_agg(id), '{ignored,ignored}', '{x,x}', '[]', '[]', 0, 0) "
           "from webhook_inbox where lease_owner is not null");
    assert_int_equal(claim(p, "second", 100), 1);
}

/* The dead are waited for for 5 s, not to the end of their lease; nor until a clock that was set back has
 * come to where it was. */
static void test_inbox_claims_beside_a_dead_one(struct pair *p)
{
    write_text(p, "a", 1, "one");
    write_text(p, "b", 2, "two");
    assert_int_equal(claim(p, "dead", 1), 1);
    sql_run(p, "update webhook_inbox set lease_until = now() + interval '55 s' where lease_owner = 'dead'");
    assert_int_equal(claim(p, "alive", 100), 1);
    assert_int_equal(hook_count(p, "lease_owner = 'alive' and body like '%%two%%'"), 1);
    sql_run(p,
            "update webhook_inbox set lease_until = now() + interval '1 hour' where lease_owner = 'alive'");
    write_text(p, "c", 3, "three");
    assert_int_equal(claim(p, "third", 100), 1);
}

/* Nor for one that does not take the answer of its claim, and keeps the lock meanwhile. */
static void test_inbox_claims_beside_one_that_stands_still(struct pair *p)
{
    struct db_session *other = sql_session(p);

    write_text(p, "a", 1, "one");
    write_text(p, "b", 2, "two");
    sql_session_run(other, "begin; select agwb.claim_inbox('other', 1, 60000, 1000, 100000)");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'done' and body like '%%two%%'") == 1);
    sql_session_undo(&other);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 2);
}

/* The other publisher is just claiming the first row, and slow with it: the second one is stored and asked
 * behind it, by whoever it is. */
static void test_inbox_two_publishers_keep_the_order(struct pair *p)
{
    struct db_session *other = sql_session(p);
    struct wire_message m;

    write_text(p, "a", 1, "one");
    write_text(p, "b", 1, "two");
    sql_session_run(other, "begin; select agwb.claim_inbox('other', 1, 60000, 1000, 100000)");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(sql_is_waiting(p, "claim_inbox") || hook_count(p, "status = 'done'") > 0);
    sql_session_run(other, "update webhook_inbox set lease_until = clock_timestamp() + interval '60 s' where "
                           "lease_owner = 'other'; commit");
    sql_session_run(other,
                    "select agwb.record_inbox('other', array[i.id], '{done}', '{NULL}', "
                    "json_build_array(json_build_object("
                    "'row', i.id, 'externalId', 'a', 'provider', 'generic', 'workspaces', '[]'::json, "
                    "'channel', 'whatsapp', "
                    "'number', '+12025550101', 'text', 'one', 'contentType', 'text'))::text, '[]', 0, 0) "
                    "from webhook_inbox i where i.lease_owner = 'other'");
    db_session_close(&other);
    wire_take(p, "ag_queue", &m);
    assert_string_equal(wire_text(&m, "message.text"), "one");
    wire_free(&m);
    wire_take(p, "ag_queue", &m);
    assert_string_equal(wire_text(&m, "message.text"), "two");
    assert_int_equal(json_count(json_path(json_root(m.json), "context.conversationHistory")), 1);
    wire_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_burst_joins_no_messages_by_default),
        PAIR_TEST(test_burst_is_joined),
        PAIR_TEST(test_burst_ends_at_its_maximum),
        PAIR_TEST(test_burst_outlives_the_publisher),
        PAIR_TEST(test_burst_option_is_reloadable),
        PAIR_TEST(test_inbox_bad_rows_end_with_a_reason),
        PAIR_TEST(test_inbox_bad_signature_goes_no_further),
        PAIR_TEST(test_inbox_poison_row_fails_alone),
        PAIR_TEST(test_inbox_outlives_the_publisher),
        PAIR_TEST(test_inbox_outlives_the_connection),
        PAIR_TEST(test_inbox_gives_up_a_row_that_kills),
        PAIR_TEST(test_inbox_record_is_fenced),
        PAIR_TEST(test_inbox_claims_one_after_the_other),
        PAIR_TEST(test_inbox_claims_beside_a_dead_one),
        PAIR_TEST(test_inbox_claims_beside_one_that_stands_still),
        PAIR_TEST(test_inbox_two_publishers_keep_the_order),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
