/* Old rows go, batch by batch; what is young, under way or held by someone stays, and nobody waits for it. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>

static void start(struct pair *p)
{
    pair_set(p, "retention.interval_ms=1000");
    pair_start_publisher_ready(p);
}

static int64_t count(struct pair *p, const char *table, const char *condition)
{
    return sql_int(p, "select count(*) from %s where %s", table, condition);
}

/* n jobs that ended `days` days ago. */
static void add_jobs(struct pair *p, int n, const char *status, int days)
{
    sql_run(p,
            "insert into ai_response_queue (status, created_at, processed_at) "
            "select '%s', now() - interval '%d days', now() - interval '%d days' from generate_series(1, %d)",
            status, days, days, n);
}

/* One delivery that was settled `days` days ago, with two attempts and a receipt. */
static void add_delivery(struct pair *p, const char *id, const char *state, int days)
{
    sql_run(
        p,
        "insert into agwb.deliveries (message_id, state, account, lane, body_sha256, payload, settled_at, "
        "copied_at) values ('%s', '%s', 'wa', 'wa %s', '', '{}', now() - interval '%d days', "
        "case when '%s' = 'parked' then now() end)",
        id, state, id, days, state);
    sql_run(p,
            "insert into agwb.delivery_attempts (message_id, fence, started_at, ended_at, outcome, "
            "disposition) select '%s', n, now(), now(), 'TEMPFAIL', 'retry' from generate_series(1, 2) n",
            id);
    sql_run(p,
            "insert into agwb.receipts (provider, message_id, status, at) values ('wasender', '%s', "
            "'SENT', now())",
            id);
}

static void test_retention_jobs(struct pair *p)
{
    add_jobs(p, 3, "complete", 8);
    add_jobs(p, 1, "failed", 8);
    add_jobs(p, 1, "cancelled", 8);
    add_jobs(p, 2, "complete", 6);
    sql_run(p, "insert into ai_response_queue (id, status, created_at, processed_at) values "
               "(test.id(3, 1), 'complete', now() - interval '9 days', now() - interval '9 days')");
    sql_run(p, "insert into agwb.deliveries (message_id, job_id, state, account, lane, body_sha256, payload, "
               "next_attempt_at) values ('waits', test.id(3, 1), 'ready', 'wa', 'wa 1', '', '{}', "
               "now() + interval '1 day')");
    start(p);
    WAIT_UNTIL(count(p, "ai_response_queue", "true") == 3);
    assert_int_equal(count(p, "ai_response_queue", "processed_at > now() - interval '7 days'"), 2);
    assert_int_equal(count(p, "ai_response_queue", "id = test.id(3, 1)"), 1); /* its reply is under way */
    WAIT_UNTIL(pair_metric(p->publisher_port, "agwb_purged_total{table=\"ai_response_queue\"}") == 5);
}

static void test_retention_deliveries_with_all_that_is_theirs(struct pair *p)
{
    add_delivery(p, "old-sent", "sent", 31);
    add_delivery(p, "old-parked", "parked", 31);
    add_delivery(p, "old-cancelled", "cancelled", 31);
    add_delivery(p, "young", "sent", 29);
    sql_run(p,
            "insert into agwb.deliveries (message_id, state, account, lane, body_sha256, payload, "
            "settled_at) values ('uncopied', 'parked', 'wa', 'wa 9', '', '{}', now() - interval '31 days')");
    sql_run(p, "insert into agwb.receipts (provider, status, at, received_at) select 'wasender', 'READ', "
               "now(), now() - n * interval '29 days' from generate_series(1, 2) n");
    start(p);
    WAIT_UNTIL(count(p, "agwb.deliveries", "true") == 2);
    assert_int_equal(count(p, "agwb.deliveries", "message_id in ('young', 'uncopied')"), 2);
    assert_int_equal(count(p, "agwb.delivery_attempts", "message_id <> 'young'"), 0);
    assert_int_equal(count(p, "agwb.delivery_attempts", "true"), 2);
    assert_int_equal(count(p, "agwb.receipts", "message_id = 'young'"), 1);
    assert_int_equal(count(p, "agwb.receipts", "message_id is null"), 1);
}

/* One delivery more in a lane of its own name, and the lane's and the contact's rows. */
static void add_lane(struct pair *p, const char *lane, const char *state, const char *due)
{
    sql_run(p,
            "insert into agwb.deliveries (message_id, state, account, lane, address, body_sha256, payload, "
            "settled_at) "
            "values ('old %s', 'sent', 'wa', '%s', '%s', '', '{}', now() - interval '31 days')",
            lane, lane, lane);
    if (state != NULL)
        sql_run(
            p,
            "insert into agwb.deliveries (message_id, state, account, lane, address, body_sha256, payload, "
            "next_attempt_at, lease_until) values ('new %s', '%s', 'wa', '%s', '%s', '', '{}', "
            "now() + interval '1 day', now() + interval '1 day')",
            lane, state, lane, lane);
    sql_run(p, "insert into agwb.lanes (lane, account, due_at) values ('%s', 'wa', %s)", lane, due);
    sql_run(p,
            "insert into agwb.lanes (lane, sends, counts) values ('limit:contact::%s', "
            "array[now() - interval '25 hours'], '{1}')",
            lane);
}

/* A lane and a contact's limit go with the last that is known of them: not while anything waits, is under way
 * or in doubt there, may still count, or is being changed. */
static void test_retention_lanes_without_work(struct pair *p)
{
    static const char *const KEPT[] = {"ready", "sending", "uncertain"};
    struct db_session *other = sql_session(p);

    add_lane(p, "idle", NULL, "null");
    add_lane(p, "due", NULL, "now() + interval '1 day'");
    add_lane(p, "held", NULL, "null");
    for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++)
        add_lane(p, KEPT[i], KEPT[i], "null");
    sql_run(
        p,
        "update agwb.lanes set sends = array[now() - interval '2 hours'] where lane = 'limit:contact::due'");
    sql_run(p, "insert into agwb.lanes (lane) values ('limit:all'), ('limit:jobs')");
    sql_session_run(other, "begin; select 1 from agwb.lanes where lane = 'held' for update");
    start(p);
    WAIT_UNTIL(count(p, "agwb.lanes", "lane = 'idle'") == 0);
    assert_int_equal(count(p, "agwb.deliveries", "message_id like 'old %%'"), 0);
    assert_int_equal(count(p, "agwb.lanes",
                           "lane in ('due', 'held', 'ready', 'sending', 'uncertain', 'limit:all', "
                           "'limit:jobs')"),
                     7);
    assert_string_equal(
        sql_text(p, "select string_agg(lane, ' ') from agwb.lanes where lane like 'limit:contact:%%'"),
        "limit:contact::due");
    sql_session_undo(&other);
}

/* Whoever moves a delivery into a lane has found its row and not changed it yet: it stays. */
static void test_retention_spares_the_lanes_of_a_move(struct pair *p)
{
    struct db_session *other = sql_session(p);

    add_lane(p, "idle", NULL, "null");
    sql_session_run(other,
                    "begin; update agwb.deliveries set state = 'ready', settled_at = null where message_id = "
                    "'old idle'; select agwb.make_lanes('{idle}', '{wa}')");
    sql_run(p, "select agwb.purge_lanes('{idle}')");
    sql_session_run(other, "select agwb.refresh_lanes('{idle}'); commit");
    assert_int_equal(count(p, "agwb.lanes", "lane = 'idle' and due_at is not null"), 1);
    sql_run(p, "select agwb.purge_lanes('{idle}')");
    assert_int_equal(count(p, "agwb.lanes", "lane = 'idle'"), 1);
    db_session_close(&other);
}

static void test_retention_inbox_and_usage(struct pair *p)
{
    sql_run(p, "insert into webhook_inbox (provider, account, headers, body, status, received_at) "
               "select 'generic', 'wa', '{}', '{}', s, now() - d * interval '1 hour' "
               "from unnest('{done,ignored,failed}'::text[]) s, unnest('{1,25,200}'::int[]) d");
    sql_run(p, "insert into usage_logs (kind, created_at) select 'x', now() - d * interval '1 day' "
               "from unnest('{1,29,31,90}'::int[]) d");
    start(p);
    WAIT_UNTIL(count(p, "webhook_inbox", "true") == 4 && count(p, "usage_logs", "true") == 2);
    assert_int_equal(count(p, "webhook_inbox", "status = 'failed'"), 2);
}

/* Off unless asked for; then only where nobody has written and nothing is under way. */
static void test_retention_conversations(struct pair *p)
{
    pair_set(p, "retention.conversations_days=100");
    sql_run(p, "select test.contact(n) from generate_series(1, 4) n");
    sql_run(p, "insert into messages (conversation_id, sender_type, content, created_at) "
               "select test.id(2, n), 'user', 'x', now() - interval '101 days' from generate_series(1, 4) n, "
               "generate_series(1, 3)");
    sql_run(p, "update conversations set updated_at = now() - interval '101 days'");
    sql_run(p, "insert into messages (conversation_id, sender_type, content) values (test.id(2, 2), 'agent', "
               "'young')");
    sql_run(p, "insert into ai_response_queue (status, conversation_id, next_attempt_at) values ('error', "
               "test.id(2, 3), now() + interval '1 day')");
    sql_run(p, "create table test.tickets (conversation uuid references conversations)");
    sql_run(p, "insert into test.tickets values (test.id(2, 4))");
    start(p);
    WAIT_UNTIL(count(p, "conversations", "id = test.id(2, 1)") == 0);
    assert_int_equal(count(p, "conversations", "true"), 3);
    assert_int_equal(count(p, "messages", "conversation_id = test.id(2, 1)"), 0);
    assert_int_equal(count(p, "messages", "conversation_id = test.id(2, 4)"), 3); /* whole, or not at all */
}

/* A full batch is followed by the next one at once; a row that someone holds is passed over. */
static void test_retention_goes_on_around_a_held_row(struct pair *p)
{
    struct db_session *other = sql_session(p);

    pair_set(p, "retention.batch=10");
    pair_set(p, "retention.interval_ms=60000");
    add_jobs(p, 100, "complete", 8);
    sql_session_run(other, "begin; select 1 from ai_response_queue order by id limit 1 for update");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(count(p, "ai_response_queue", "true") == 1);
    sql_session_undo(&other);
}

static void test_retention_zero_days_means_for_ever(struct pair *p)
{
    pair_set(p, "retention.jobs_days=0");
    add_jobs(p, 3, "complete", 3000);
    sql_run(p, "insert into usage_logs (kind, created_at) values ('x', now() - interval '3000 days')");
    start(p);
    WAIT_UNTIL(count(p, "usage_logs", "true") == 0);
    assert_int_equal(count(p, "ai_response_queue", "true"), 3);
}

/* While another instance is at it, we are not, and the work goes on. */
static void test_retention_is_one_instance_at_a_time(struct pair *p)
{
    struct db_session *other = sql_session(p);

    add_jobs(p, 3, "complete", 8);
    sql_session_run(other, "begin; select agwb.may_purge()");
    start(p);
    const char *job = job_add(p, 1, "meanwhile");
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from ai_response_queue where id = '%s' and published_at is not null",
                       job) == 1);
    assert_int_equal(count(p, "ai_response_queue", "status = 'complete'"), 3);
    sql_session_run(other, "rollback");
    WAIT_UNTIL(count(p, "ai_response_queue", "status = 'complete'") == 0);
    db_session_close(&other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_retention_jobs),
        PAIR_TEST(test_retention_deliveries_with_all_that_is_theirs),
        PAIR_TEST(test_retention_lanes_without_work),
        PAIR_TEST(test_retention_spares_the_lanes_of_a_move),
        PAIR_TEST(test_retention_inbox_and_usage),
        PAIR_TEST(test_retention_conversations),
        PAIR_TEST(test_retention_goes_on_around_a_held_row),
        PAIR_TEST(test_retention_zero_days_means_for_ever),
        PAIR_TEST(test_retention_is_one_instance_at_a_time),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
