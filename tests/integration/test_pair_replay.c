/* The dead-letter commands: list tells, a dry run changes nothing, --execute delivers once however often it
 * is run. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

static bool is_state(struct pair *p, const char *id, const char *state)
{
    return strcmp(sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id), state) == 0;
}

static bool is_copied(struct pair *p, const char *id)
{
    return sql_int(p,
                   "select count(*) from agwb.deliveries where message_id = '%s' and copied_at is not null",
                   id) == 1;
}

/* A reply that the provider has refused for good; its copy is in wb_parked. The provider would take it now.
 */
static const char *park_one(struct pair *p, const char *id, int contact, const char *text)
{
    const char *job = job_add(p, contact, "a question");
    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            job);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":422}}]}");
    wire_answer(p, id, job, contact, text);
    WAIT_UNTIL(is_copied(p, id));
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
    return job;
}

/* Runs `agwb-consumer dlq ...`; the test fails unless its status is 0 and its output has this text in it. */
static void dlq(struct pair *p, const char *const *args, const char *expected)
{
    const char *argv[8] = {"dlq"};
    struct buf out;
    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 1] = args[i];
    int status = pair_command(p, "agwb-consumer", argv, &out);
    if (status != 0 || strstr(buf_str(&out), expected) == NULL) {
        file_show_end(p->more[0].log);
        fail_msg("status %d, printed: %s\nexpected: %s", status, buf_str(&out), expected);
    }
    buf_fini(&out);
}

static void execute(struct pair *p, const char *expected)
{
    dlq(p, (const char *const[]){"replay", "wb_parked", "--execute", NULL}, expected);
}

static void test_replay_list_tells_what_is_there(struct pair *p)
{
    struct buf out;
    pair_start_consumer_ready(p);
    dlq(p, (const char *const[]){"list", NULL}, "wb_parked      0\n");
    park_one(p, "dead-1", 1, "secret words");
    dlq(p, (const char *const[]){"list", NULL}, "wb_parked      1\n");
    dlq(p, (const char *const[]){"list", "wb_parked", NULL}, "permanent");
    assert_int_equal(
        pair_command(p, "agwb-consumer", (const char *const[]){"dlq", "list", "wb_parked", NULL}, &out), 0);
    assert_non_null(strstr(buf_str(&out), "dead-1"));
    assert_non_null(strstr(buf_str(&out), "PERMFAIL 422"));
    assert_null(strstr(buf_str(&out), "secret"));
    assert_null(strstr(buf_str(&out), "2025550101"));
    buf_fini(&out);
    assert_int_equal(wire_count(p, "wb_parked"), 1);
}

static void test_replay_dry_run_changes_nothing(struct pair *p)
{
    pair_start_consumer_ready(p);
    park_one(p, "dead-1", 1, "once more");
    dlq(p, (const char *const[]){"replay", "wb_parked", NULL},
        "would replay 1 of 1 from wb_parked to wb_queue");
    assert_int_equal(wire_count(p, "wb_parked"), 1);
    assert_int_equal(wire_count(p, "wb_queue"), 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.audit"), 0);
    assert_true(is_state(p, "dead-1", "parked"));
    assert_int_equal(pair_requests(p), 1);
}

static void test_replay_execute_delivers_once(struct pair *p)
{
    struct buf out;
    pair_start_consumer_ready(p);
    const char *job = park_one(p, "dead-1", 1, "once more");
    execute(p, "replayed 1 of 1 from wb_parked to wb_queue");
    WAIT_UNTIL(is_state(p, "dead-1", "sent"));
    assert_int_equal(wire_count(p, "wb_parked"), 0);
    assert_int_equal(pair_requests(p), 2);
    assert_int_equal(pair_sent(p, "once more"), 1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where replay = 1 and attempts = 1"), 1);
    assert_int_equal(
        sql_int(p,
                "select count(*) from agwb.audit where action = 'replay' and message_id = 'dead-1' and n = 1 "
                "and queue = 'wb_parked' and result = 'published' and who <> ''"),
        1);
    assert_int_equal(
        sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'complete'", job), 1);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = 'SENT'"), 1);

    /* again: nothing is there; and the copy that a run left behind which died before its ack is a duplicate
     */
    execute(p, "replayed 0 of 0");
    wire_publish(p, "wb_parked", "dead-1", wire_reply("dead-1", job, "+12025550101", "once more"));
    pair_command(p, "agwb-consumer", (const char *const[]){"dlq", "replay", "wb_parked", "--execute", NULL},
                 &out);
    buf_fini(&out);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    wire_answer(p, "after", "none", 1, "behind it");
    WAIT_UNTIL(is_state(p, "after", "sent"));
    assert_int_equal(pair_sent(p, "once more"), 1);
    assert_true(is_state(p, "dead-1", "sent"));
}

/* What dies again is parked again, under the same id, and can be replayed again. */
static void test_replay_of_what_fails_again(struct pair *p)
{
    pair_start_consumer_ready(p);
    park_one(p, "dead-1", 1, "third time");
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":422}}]}");
    execute(p, "replayed 1 of 1");
    WAIT_UNTIL(pair_requests(p) == 2 && is_copied(p, "dead-1"));
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    assert_int_equal(sql_int(p, "select replay from agwb.deliveries"), 1);
    execute(p, "replayed 1 of 1");
    WAIT_UNTIL(is_state(p, "dead-1", "sent"));
    assert_int_equal(sql_int(p, "select replay from agwb.deliveries"), 2);
    assert_int_equal(pair_requests(p), 3);
    assert_int_equal(pair_sent(p, "third time"), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* One run takes at most --limit, and never the message that it has sent back itself. */
static void test_replay_limit_and_the_still_invalid(struct pair *p)
{
    pair_start_consumer_ready(p);
    for (int i = 0; i < 3; i++)
        wire_publish(p, "wb_queue", NULL, "{\"messageId\":\"x\"}");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 3);
    dlq(p, (const char *const[]){"replay", "wb_parked", "--limit", "2", "--execute", NULL},
        "replayed 2 of 3");
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"invalid\"}") == 5);
    WAIT_UNTIL(wire_count(p, "wb_parked") == 3);
    assert_int_equal(wire_count(p, "wb_queue"), 0);
    assert_int_equal(pair_requests(p), 0);
}

static void test_replay_usage(struct pair *p)
{
    static const char *const CALLS[][5] = {{"dlq"},
                                           {"dlq", "burn"},
                                           {"dlq", "replay"},
                                           {"dlq", "replay", "wb_queue"},
                                           {"dlq", "replay", "wb_parked", "--limit"},
                                           {"dlq", "list", "--frob"}};
    struct buf out;
    for (size_t i = 0; i < sizeof CALLS / sizeof CALLS[0]; i++) {
        assert_int_equal(pair_command(p, "agwb-consumer", CALLS[i], &out), 64);
        assert_int_equal(out.len, 0);
        buf_fini(&out);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_replay_list_tells_what_is_there),    PAIR_TEST(test_replay_dry_run_changes_nothing),
        PAIR_TEST(test_replay_execute_delivers_once),       PAIR_TEST(test_replay_of_what_fails_again),
        PAIR_TEST(test_replay_limit_and_the_still_invalid), PAIR_TEST(test_replay_usage),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
