/* agwb-publisher trace: every hop of a message is there, in its order, and nothing that should not be. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

static struct buf output; /* of the latest command */

static int run_trace(struct pair *p, const char *id, const char *option)
{
    buf_fini(&output);
    return pair_command(p, "agwb-publisher", (const char *const[]){"trace", id, option, NULL}, &output);
}

static const char *said(void)
{
    return buf_str(&output) != NULL ? buf_str(&output) : "";
}

/* The texts stand in the output, one behind the other. */
static void assert_in_order(const char *const *texts)
{
    const char *at = said();

    for (; *texts != NULL; texts++) {
        const char *found = strstr(at, *texts);
        if (found == NULL) {
            fail_msg("expected '%s' after '%.40s' in:\n%s", *texts, at, said());
            return;
        }
        at = found + strlen(*texts);
    }
}

static void answer_one(struct pair *p, const char **job)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    *job = job_add(p, 1, "my secret wish");
    WAIT_UNTIL(job_count(p, "published_at is not null") ==
               1); /* or a fast agent's reply is accepted before that */
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
}

static void test_trace_by_every_id(struct pair *p)
{
    static const char *const HOPS[] = {
        "message stored",       "job created", "published and confirmed", "reply accepted",
        "contact=*********101", "attempt",     "outcome=DELIVERED",       "disposition=done",
        "httpStatus=200",       NULL};
    const char *job;

    answer_one(p, &job);
    sql_run(p, "update messages set external_id = 'wamid.inbound' where sender_type = 'user'");
    const char *ids[] = {job,
                         sql_text(p, "select message_id from agwb.deliveries"),
                         sql_text(p, "select provider_message_id from agwb.deliveries"),
                         sql_text(p, "select id from messages where sender_type = 'user'"),
                         sql_text(p, "select id from messages where sender_type = 'ai'"),
                         "wamid.inbound"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        assert_string_not_equal(ids[i], "");
        if (run_trace(p, ids[i], NULL) != 0)
            fail_msg("trace %s (%zu)", ids[i], i);
        assert_in_order(HOPS);
        assert_non_null(strstr(said(), "reply sent"));
        assert_non_null(strstr(said(), "job complete"));
        assert_null(strstr(said(), "2025550"));
        assert_null(strstr(said(), "secret"));
    }
}

static void test_trace_webhook_and_receipts(struct pair *p)
{
    static const char *const HOPS[] = {"webhook received",
                                       "provider=wasender  account=wa  status=done",
                                       "message stored",
                                       "externalId=wamid.inbound",
                                       "reply sent",
                                       "status=SENT  providerSaysAt=",
                                       "status=DELIVERED  providerSaysAt=",
                                       NULL};
    const char *job;

    answer_one(p, &job);
    sql_run(p, "update messages set external_id = 'wamid.inbound' where sender_type = 'user'");
    sql_run(
        p,
        "with i as (insert into webhook_inbox (provider, account, headers, body, status, received_at) select "
        "'wasender', 'wa', '{}', '{}', 'done', created_at - interval '5 ms' "
        "from messages where sender_type = 'user' returning id) "
        "update messages set metadata = jsonb_build_object('inboxId', i.id) from i where sender_type = "
        "'user'");
    /* the provider's time is in whole seconds, and may be before the message's */
    sql_run(p, "insert into agwb.receipts (provider, account, status, at, message_id, recipient) select "
               "'wasender', 'wa', s, now() - interval '1 min', message_id, '+12025550101' from "
               "agwb.deliveries, unnest('{SENT,DELIVERED}'::text[]) s");
    assert_int_equal(run_trace(p, job, NULL), 0);
    assert_in_order(HOPS);
    assert_null(strstr(said(), "2025550"));
}

/* One object with stable members; what was said only with --body. */
static void test_trace_json(struct pair *p)
{
    const char *job;
    struct err e;

    answer_one(p, &job);
    assert_int_equal(run_trace(p, job, "--json"), 0);
    struct json *json = json_parse(output.data, output.len, &e);
    const struct json_node *events = json_member(json_root(json), "events"), *first = json_item(events, 0);
    int64_t total;
    assert_true(json_count(events) >= 7);
    assert_string_equal(json_str(json_member(first, "event")), "message stored");
    assert_int_equal(json_kind_of(json_member(first, "sinceMs")), JSON_NULL);
    assert_int_equal(json_kind_of(json_member(json_item(events, 1), "sinceMs")), JSON_NUMBER);
    assert_int_equal(json_kind_of(json_path(first, "facts.contentType")), JSON_STRING);
    assert_true(json_int(json_member(json_root(json), "totalMs"), &total));
    assert_null(strstr(said(), "secret"));
    json_free(&json);
    buf_fini(&output);
    assert_int_equal(pair_command(p, "agwb-publisher",
                                  (const char *const[]){"trace", job, "--json", "--body", NULL}, &output),
                     0);
    assert_non_null(strstr(said(), "\"body\":\"my secret wish\""));
}

/* Refused for good, parked, replayed by an operator: each is an event. */
static void test_trace_parked_and_replayed(struct pair *p)
{
    static const char *const PARKED[] = {"outcome=PERMFAIL", "disposition=park", "reply parked",
                                         "copied to wb_parked", NULL};
    static const char *const REPLAYED[] = {
        "reply accepted",  "replay=1",     "outcome=PERMFAIL",  "disposition=park", "replay by an operator",
        "queue=wb_parked", "generation=1", "outcome=DELIVERED", "reply sent",       NULL};
    struct buf ignored;

    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":422,\"body\":\"{\\\"success\\\":false,"
                   "\\\"message\\\":\\\"no account +12025550199\\\"}\"}}]}");
    wire_answer(p, "parked", "none", 1, "hello");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where copied_at is not null") == 1);
    assert_int_equal(run_trace(p, "parked", NULL), 0);
    assert_in_order(PARKED);
    assert_non_null(strstr(said(), "********199"));
    assert_null(strstr(said(), "2025550"));
    const char *const replay[] = {"dlq", "replay", "wb_parked", "--execute", "--yes", NULL};
    assert_int_equal(pair_command(p, "agwb-consumer", replay, &ignored), 0);
    buf_fini(&ignored);
    WAIT_UNTIL(pair_sent(p, "hello") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.delivery_attempts") == 2);
    assert_int_equal(run_trace(p, "parked", NULL), 0);
    assert_in_order(REPLAYED);
}

/* What is not over says how it stands. */
static void test_trace_of_what_waits(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":503}}]}");
    const char *job = job_add(p, 1, "hello");
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.delivery_attempts") == 1);
    assert_int_equal(run_trace(p, job, NULL), 0);
    assert_in_order((const char *const[]){"outcome=TEMPFAIL", "disposition=retry", "now: job processing",
                                          "now: reply ready", "attempts=1", "nextAttemptAt=", NULL});
}

static void test_trace_by_phone_lists_the_newest(struct pair *p)
{
    const char *job,
        *ways[] = {"+12025550101", "12025550101", "12025550101@s.whatsapp.net", "+1 (202) 555-0101"};

    answer_one(p, &job);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        assert_int_equal(run_trace(p, ways[i], NULL), 0);
        assert_in_order((const char *const[]){"reply", "sent", "job", "complete", job, NULL});
        assert_null(strstr(said(), "2025550"));
    }
    assert_int_equal(run_trace(p, "+12025550199", NULL), 1);
}

static void test_trace_refuses(struct pair *p)
{
    assert_int_equal(run_trace(p, "nobody-knows-me", NULL), 1);
    assert_int_equal(run_trace(p, "a", "b"), 64);
    assert_int_equal(run_trace(p, "a", "--jsno"), 64);
    assert_int_equal(run_trace(p, NULL, NULL), 64);
    assert_int_equal(run_trace(p, "--help", NULL), 0);
    sql_run(p, "drop function agwb.trace");
    assert_int_equal(run_trace(p, "x", NULL), 78);
    pair_set(p, "database.url=host=127.0.0.1 port=1");
    assert_int_equal(run_trace(p, "x", NULL), 69);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_trace_by_every_id),   PAIR_TEST(test_trace_webhook_and_receipts),
        PAIR_TEST(test_trace_json),          PAIR_TEST(test_trace_parked_and_replayed),
        PAIR_TEST(test_trace_of_what_waits), PAIR_TEST(test_trace_by_phone_lists_the_newest),
        PAIR_TEST(test_trace_refuses),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
