/* The dead-letter workbench on real servers: what it moves, what it leaves, what it says, and that killing it
 * at any point neither loses nor doubles a message. What was only looked at comes back when the broker
 * has seen the connection close, so its count is waited for. */
#include "rows.h"
#include "wire.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"

#define ARGS(...)                                                                                            \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        "dlq", __VA_ARGS__, NULL                                                                             \
    }
#define REFUSE_ALL                                                                                           \
    "{\"rules\":[{\"times\":-1,\"action\":{\"status\":422,\"body\":\"{\\\"success\\\":false,"                \
    "\\\"message\\\":\\\"no account +12025550199\\\"}\"}}]}"

static struct buf output; /* of the latest command */

static int run_dlq(struct pair *p, const char *const *args)
{
    buf_fini(&output);
    return pair_command(p, "agwb-consumer", args, &output);
}

static const char *said(void)
{
    return buf_str(&output) != NULL ? buf_str(&output) : "";
}

/* The command's status is 0 and its output has this text. */
static void dlq_says(struct pair *p, const char *const *args, const char *text)
{
    int status = run_dlq(p, args);

    if (status != 0)
        file_show_end(p->more[0].log);
    assert_int_equal(status, 0);
    if (strstr(said(), text) == NULL)
        fail_msg("expected '%s' in:\n%s", text, said());
}

/* The command fails with this status, and its complaint has this text. */
static void dlq_refuses(struct pair *p, const char *const *args, int status, const char *text)
{
    struct buf log;

    assert_int_equal(run_dlq(p, args), status);
    file_read(p->more[0].log, &log);
    if (strstr(buf_str(&log), text) == NULL)
        fail_msg("expected '%s' in:\n%s", text, buf_str(&log));
    buf_fini(&log);
}

static int64_t audit_count(struct pair *p, const char *condition)
{
    return sql_int(p, "select count(*) from agwb.audit where %s", condition);
}

/* A reply to contact n right into a queue, without a ledger row. */
static void put_reply(struct pair *p, const char *queue, const char *id, int contact)
{
    char number[32];

    snprintf(number, sizeof number, "+1202555%04d", 100 + contact);
    wire_publish(p, queue, id, wire_reply(id, "none", number, id));
}

/* Replies that the provider has refused for good, each with its copy in wb_parked. */
static void park_replies(struct pair *p, int replies)
{
    char id[32];

    pair_start_consumer_ready(p);
    pair_script(p, REFUSE_ALL);
    for (int i = 0; i < replies; i++) {
        snprintf(id, sizeof id, "reply-%d", i);
        wire_answer(p, id, "none", i % 50, id);
    }
    WAIT_UNTIL(wire_count(p, "wb_parked") == (uint32_t)replies);
    WAIT_UNTIL(
        sql_int(p, "select count(*) from agwb.deliveries where state = 'parked' and copied_at is not null") ==
        replies);
    pair_script(p, "{\"rules\":[]}");
}

/* --- looking --- */

static void test_dlq_list_counts_the_queues(struct pair *p)
{
    pair_start_publisher_ready(p);
    put_reply(p, "wb_parked", "a", 1);
    put_reply(p, "wb_parked", "b", 2);
    put_reply(p, "dlx_webhook", "c", 3);
    dlq_says(p, ARGS("list"), "wb_parked      2\n");
    assert_non_null(strstr(said(), "dlx_webhook    1\n"));
    assert_non_null(strstr(said(), "ag_parked      0\n"));
    dlq_says(p, ARGS("list", "--json"), "{\"type\":\"queue\",\"queue\":\"wb_parked\",\"messages\":2}\n");
    assert_non_null(strstr(said(), "{\"type\":\"summary\",\"verb\":\"list\",\"queues\":4,\"messages\":3}\n"));
    dlq_says(p, ARGS("list", "wb_parked"), "listed 2 of 2 in wb_parked\n");
    assert_non_null(strstr(said(), "*********102"));
    assert_null(strstr(said(), "2025550102"));
    WAIT_UNTIL(wire_count(p, "wb_parked") == 2);
}

static void test_dlq_show_tells_all_but_the_text(struct pair *p)
{
    park_replies(p, 1);
    dlq_says(p, ARGS("show", "wb_parked"), "ledger state       parked\n");
    assert_non_null(strstr(said(), "outcome          PERMFAIL\n"));
    assert_non_null(strstr(said(), "reason             permanent\n"));
    assert_non_null(strstr(said(), "\nshown 1 of 1 in wb_parked\n"));
    assert_null(strstr(said(), "2025550"));
    assert_null(strstr(said(), "\"text\""));

    dlq_says(p, ARGS("show", "wb_parked", "--json"), "\"state\":\"parked\"");
    assert_null(strstr(said(), "2025550"));
    assert_null(strstr(said(), "\"body\""));
    dlq_says(p, ARGS("show", "wb_parked", "--json", "--body"), "\"body\":{\"messageId\":\"reply-0\"");
    dlq_says(p, ARGS("show", "wb_parked", "--body"), "{\"messageId\":\"reply-0\"");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
}

static size_t lines_of_type(const char *type)
{
    struct err e;
    size_t count = 0;
    const char *line = said();

    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        struct json *json = json_parse(line, (size_t)(end - line), &e);

        assert_non_null(json);
        count += strcmp(json_str(json_member(json_root(json), "type")), type) == 0;
        json_free(&json);
    }
    return count;
}

static void test_dlq_filters(struct pair *p)
{
    static const struct {
        const char *option, *value;
        size_t matches;
    } CASES[] = {
        {"--message-id", "a", 1},
        {"--message-id", "nobody", 0},
        {"--contact", "+12025550102", 1},
        {"--contact", "12025550102@s.whatsapp.net", 1},
        {"--contact", "12025550102", 1},
        {"--contact", "+12025550199", 0},
        {"--min-age", "1h", 3},
        {"--max-age", "1h", 0},
        {"--reason", "expired", 0},
        {"--workspace", "00000000-0000-4000-8000-000000000001", 1},
        {"--limit", "2", 2},
    };
    pair_start_publisher_ready(p);
    const char *job = job_add(p, 3, "hello");
    put_reply(p, "wb_parked", "a", 1);
    put_reply(p, "wb_parked", "b", 2);
    wire_publish(p, "wb_parked", "c",
                 wire_reply("c", job, "+12025550103", "c")); /* the workspace by its request */
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        dlq_says(p, ARGS("list", "wb_parked", "--json", CASES[i].option, CASES[i].value), "\"summary\"");
        if (lines_of_type("message") != CASES[i].matches)
            fail_msg("%s %s: %s", CASES[i].option, CASES[i].value, said());
    }
    WAIT_UNTIL(wire_count(p, "wb_parked") == 3);
}

/* --- asking first --- */

static void test_dlq_dry_run_is_the_default(struct pair *p)
{
    pair_start_publisher_ready(p);
    put_reply(p, "wb_parked", "a", 1);
    put_reply(p, "dlx_webhook", "b", 1);
    dlq_says(p, ARGS("replay", "wb_parked"), "would be replayed 1 of 1 in wb_parked to wb_queue (dry run");
    dlq_says(p, ARGS("purge", "wb_parked", "--dry-run"), "would be purged 1 of 1 in wb_parked (dry run");
    dlq_says(p, ARGS("park", "dlx_webhook"), "would be parked 1 of 1 in dlx_webhook to wb_parked (dry run");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    WAIT_UNTIL(wire_count(p, "dlx_webhook") == 1);
    assert_int_equal(wire_count(p, "wb_queue"), 0);
    assert_int_equal(audit_count(p, "true"), 0);
}

static void test_dlq_execute_needs_a_terminal_or_yes(struct pair *p)
{
    pair_start_publisher_ready(p);
    put_reply(p, "wb_parked", "a", 1);
    dlq_refuses(p, ARGS("replay", "wb_parked", "--execute"), 64, "add --yes");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
}

static void test_dlq_one_run_a_queue(struct pair *p)
{
    struct db_session *other;

    pair_start_publisher_ready(p);
    put_reply(p, "wb_parked", "a", 1);
    other = sql_session(p);
    sql_session_run(other, "begin; select agwb.hold_queue('wb_parked')");
    dlq_refuses(p, ARGS("replay", "wb_parked", "--execute", "--yes"), 75, "another run has wb_parked: test");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    dlq_says(p, ARGS("replay", "dlx_webhook"), "0 of 0");
    db_session_close(&other);
    WAIT_UNTIL(run_dlq(p, ARGS("purge", "wb_parked", "--execute", "--yes")) == 0);
}

static void test_dlq_server_away(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_set(p, "rabbitmq.hosts=127.0.0.1:1");
    dlq_refuses(p, ARGS("list"), 69, "127.0.0.1");
    pair_set(p, "database.url=postgresql://postgres@127.0.0.1:1/x");
    dlq_refuses(p, ARGS("replay", "wb_parked"), 69, "127.0.0.1");
}

/* --- replies --- */

static void test_dlq_replay_sends_once_unless_again(struct pair *p)
{
    park_replies(p, 1);
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"),
             "replayed 1 of 1 in wb_parked to wb_queue\n");
    WAIT_UNTIL(pair_sent(p, "reply-0") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and replay = 1") == 1);
    assert_int_equal(
        audit_count(p, "action = 'replay' and queue = 'wb_parked' and message_id = 'reply-0' and n = 1 "
                       "and result = 'replayed' and who like '%(uid %) at %'"),
        1);

    put_reply(p, "wb_parked", "reply-0", 0); /* a second copy of what was sent */
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"), "sent already: --again sends it again");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    assert_int_equal(audit_count(p, "true"), 1);

    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes", "--again"), "replayed 1 of 1");
    WAIT_UNTIL(pair_sent(p, "reply-0") == 2);
    assert_int_equal(audit_count(p, "again and n = 2"), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* agwb.accept_replies() for the ledger's row 'one', as if it came again with this generation. */
static const char *accept_again(struct pair *p, int generation)
{
    return sql_text(p,
                    "select result from agwb.accept_replies("
                    "array['one'], array[null]::uuid[], array['success'], array[true], array[null], "
                    "array['+12025550101'], array['whatsapp'], array[null]::uuid[], array[null]::uuid[], "
                    "array[null]::uuid[], array[0]::bigint[], (select array[payload] from agwb.deliveries), "
                    "array['{}'], array[%d], '[]', '', 0, 60000, false, false, '{}', '{}', "
                    "0, 0, 0, 60000)",
                    generation);
}

/* Whoever can publish to wb_queue can write the header; only the audit row makes it a replay. */
static void test_dlq_header_alone_revives_nothing(struct pair *p)
{
    park_replies(p, 1);
    process_kill(&p->consumer); /* nobody delivers what is revived */
    sql_run(p, "update agwb.deliveries set message_id = 'one'");
    assert_string_equal(accept_again(p, 1), "duplicate");
    sql_run(
        p,
        "insert into agwb.audit (who, action, queue, message_id, n) values ('x', 'replay', 'q', 'one', 1)");
    assert_string_equal(accept_again(p, 2), "duplicate");
    assert_string_equal(accept_again(p, 1), "accepted");
    assert_string_equal(accept_again(p, 1), "duplicate");

    sql_run(p, "update agwb.deliveries set state = 'sent'");
    sql_run(
        p,
        "insert into agwb.audit (who, action, queue, message_id, n) values ('x', 'replay', 'q', 'one', 2)");
    assert_string_equal(accept_again(p, 2), "duplicate");
    sql_run(p, "update agwb.audit set again = true where n = 2");
    assert_string_equal(accept_again(p, 2), "accepted");
    assert_string_equal(accept_again(p, 2), "duplicate");
}

static void test_dlq_other_body_under_a_known_id_is_left(struct pair *p)
{
    pair_start_consumer_ready(p);
    wire_answer(p, "same", "none", 1, "first");
    WAIT_UNTIL(pair_sent(p, "first") == 1);
    wire_answer(p, "same", "none", 1, "second");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"),
             "the ledger has another message under its id");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
}

/* Refused again: it is back in wb_parked with another generation to come, and the run does not loop. */
static void test_dlq_replay_that_fails_again_is_not_looped(struct pair *p)
{
    park_replies(p, 5);
    pair_script(p, REFUSE_ALL);
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes", "--limit", "100"), "replayed 5 of 5");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 5);
    pair_script(p, "{\"rules\":[]}");
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"), "replayed 5 of 5");
    WAIT_UNTIL(pair_sent(p, NULL) == 5);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(audit_count(p, "n = 2 and result = 'replayed'"), 5);
}

/* The ledger never had it: it is looked at afresh each time. */
static void test_dlq_replay_of_what_is_still_invalid(struct pair *p)
{
    pair_start_consumer_ready(p);
    wire_publish(p, "wb_queue", "broken", "{\"messageId\":\"broken\"}");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    for (int i = 1; i <= 2; i++) {
        dlq_says(p, ARGS("replay", "wb_parked", "--reason", "invalid", "--execute", "--yes"),
                 "replayed 1 of 1");
        WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
        assert_int_equal(audit_count(p, "message_id = 'broken' and result = 'replayed'"), i);
    }
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries"), 0);
}

static void test_dlq_replay_leaves_out_what_expired_long_ago(struct pair *p)
{
    struct wire_message m;

    pair_set(p, "topology.webhook_ttl_ms=200");
    pair_start_publisher_ready(p);
    wire_answer(p, "old", "none", 1, "old news");
    WAIT_UNTIL(wire_count(p, "dlx_webhook") == 1);
    dlq_says(p, ARGS("replay", "dlx_webhook"), "1 expired more than an hour old left out");
    dlq_says(p, ARGS("list", "dlx_webhook", "--reason", "expired"), "listed 1 of 1");
    dlq_says(p, ARGS("replay", "dlx_webhook", "--max-age", "3650d", "--execute", "--yes"), "replayed 1 of 1");
    wire_take(p, "dlx_webhook", &m); /* nobody reads wb_queue: it expired again */
    assert_string_equal(m.id, "old");
    wire_free(&m);
}

/* No address when it came; there is one when it is replayed. */
static void test_dlq_replay_routes_anew(struct pair *p)
{
    char body[512];

    pair_start_consumer_ready(p);
    const char *job = job_add(p, 1, "hello");
    sql_run(p, "update customer_profiles set phone_number = null, remote_jid = null");
    snprintf(body, sizeof body,
             "{\"messageId\":\"lost\",\"originalMessageId\":\"%s\",\"timestamp\":1790000000,\"status\":"
             "\"success\","
             "\"contact\":{},\"response\":{\"text\":\"found\",\"type\":\"text\"}}",
             job);
    wire_publish(p, "wb_queue", "lost", body);
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where copied_at is not null") == 1);
    sql_run(p, "update customer_profiles set phone_number = '+12025550101'");
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"), "replayed 1 of 1");
    WAIT_UNTIL(pair_sent(p, "found") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and replay = 1") == 1);
}

/* What arrived is not sent again, unless asked for. */
static void test_dlq_replay_goes_on_with_the_failed_part(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"b\"},\"times\":1,\"action\":{\"status\":422}}]}");
    wire_publish(p, "wb_queue", "parts",
                 "{\"messageId\":\"parts\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
                 "\"phoneNumber\":\"+12025550101\"},\"response\":{\"type\":\"image\",\"attachments\":["
                 "{\"url\":\"https://example.com/a.jpg\",\"caption\":\"a\"},"
                 "{\"url\":\"https://example.com/b.jpg\",\"caption\":\"b\"},"
                 "{\"url\":\"https://example.com/c.jpg\",\"caption\":\"c\"}]}}");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where copied_at is not null") == 1);
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"), "replayed 1 of 1");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent' and parts_sent = 3") ==
               1);
    assert_int_equal(pair_sent(p, "a"), 1);
    assert_int_equal(pair_sent(p, "b"), 1);
    assert_int_equal(pair_sent(p, "c"), 1);
}

/* --- killed --- */

/* The command in a process of its own. */
static void start_dlq(struct pair *p, struct process *run, const char *const *args)
{
    const char *build = getenv("BUILD");
    char program[PATH_MAX + 32];
    const char *argv[PROCESS_MAX_ARGS] = {program, "-c", p->config};

    if (realpath(build != NULL ? build : "build", program) == NULL)
        fail_msg("run this in the project's folder");
    memcpy(program + strlen(program), "/agwb-consumer", sizeof "/agwb-consumer");
    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 3] = args[i];
    process_start(run, p->dir, "run", argv);
}

static bool has_gone_on(struct pair *p, struct process *run, int64_t wanted)
{
    return process_has_ended(run) || audit_count(p, "true") >= wanted;
}

/* Each run is killed a random number of messages after its start, at whatever point of a message it is. */
static void test_dlq_replay_killed_twenty_times(struct pair *p)
{
    enum { REPLIES = 100, KILLS = 20 };
    const char *const *args = ARGS("replay", "wb_parked", "--limit", "1000", "--execute", "--yes");
    struct process *run = &p->more[1];
    int killed = 0;

    park_replies(p, REPLIES);
    for (int i = 0; i < KILLS; i++) {
        int64_t wanted = audit_count(p, "true") + (int64_t)(random_u64() % 8);

        start_dlq(p, run, args);
        WAIT_UNTIL(has_gone_on(p, run, wanted));
        killed += !process_has_ended(run);
        process_kill(run);
    }
    assert_true(killed == KILLS);
    WAIT_UNTIL(run_dlq(p, args) == 0 && wire_count(p, "wb_parked") == 0);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0);
    assert_int_equal(pair_sent(p, NULL), REPLIES);
    assert_true(pair_sent_once_each(p));
}

/* A polite end: the run finishes its message and says how far it came. */
static void test_dlq_replay_stopped_by_a_signal(struct pair *p)
{
    struct process *run = &p->more[1];
    struct buf out;

    park_replies(p, 20);
    start_dlq(p, run, ARGS("replay", "wb_parked", "--limit", "100", "--rate", "10", "--execute", "--yes"));
    WAIT_UNTIL(audit_count(p, "result = 'replayed'") >= 2);
    process_signal(run, SIGTERM);
    assert_int_equal(process_wait(run), 75);
    file_read(run->out, &out);
    assert_non_null(strstr(buf_str(&out), "; stopped\n"));
    buf_fini(&out);
    assert_int_equal(audit_count(p, "result is null"), 0);
    assert_true(wire_count(p, "wb_parked") > 0);
    dlq_says(p, ARGS("replay", "wb_parked", "--limit", "100", "--execute", "--yes"), "replayed ");
    WAIT_UNTIL(pair_sent(p, NULL) == 20);
    assert_true(pair_sent_once_each(p));
}

/* What a run that was killed at each of its steps leaves behind, and what the next one makes of it. */
static void test_dlq_replay_takes_up_what_a_dead_run_began(struct pair *p)
{
    park_replies(p, 2);
    /* reply-0: begun, not published */
    sql_run(p,
            "select agwb.begin_replay(message_id, false, array[payload], 'wb_parked', 'test', false, false) "
            "from agwb.deliveries where message_id = 'reply-0'");
    /* reply-1: published and delivered, its old copy not acked */
    sql_run(p,
            "select agwb.begin_replay(message_id, false, array[payload], 'wb_parked', 'test', false, false) "
            "from agwb.deliveries where message_id = 'reply-1'");
    sql_run(p, "update agwb.deliveries set state = 'sent', replay = 1 where message_id = 'reply-1'");
    dlq_says(p, ARGS("replay", "wb_parked"), "would be replayed 2 of 2");
    dlq_says(p, ARGS("replay", "wb_parked", "--execute", "--yes"),
             "replayed 1 of 2 in wb_parked to wb_queue; 1 leftovers of an earlier run removed\n");
    WAIT_UNTIL(pair_sent(p, "reply-0") == 1);
    assert_int_equal(pair_sent(p, "reply-1"), 0);
    assert_int_equal(audit_count(p, "n = 1 and result = 'replayed'"), 2);
    assert_int_equal(audit_count(p, "true"), 2);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

/* --- requests --- */

/* A request that the agent rejected, in ag_parked; its job has failed and the contact has its apology. */
static const char *park_request(struct pair *p)
{
    pair_start_consumer_ready(p);
    pair_start_publisher_ready(p);
    pair_start_agent(p, (const char *const[]){NULL});
    const char *job = job_add(p, 1, "please [reject]");
    WAIT_UNTIL(wire_count(p, "ag_parked") == 1);
    WAIT_UNTIL(pair_sent(p, NULL) == 1);
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
    process_kill(&p->agent);
    return job;
}

static void test_dlq_replay_of_a_request_resets_its_job(struct pair *p)
{
    const char *job = park_request(p);

    dlq_says(p, ARGS("list", "ag_parked", "--message-id", job), "listed 1 of 1");
    dlq_says(p, ARGS("replay", "ag_parked", "--execute", "--yes"),
             "replayed 1 of 1 in ag_parked to ag_queue\n");
    assert_int_equal(job_count(p, "status = 'processing' and error is null and processed_at is null and "
                                  "published_at > now() - interval '1 minute' and attempts = 1"),
                     1);
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    assert_int_equal(pair_sent(p, "answer to please [reject]"), 1);
    assert_int_equal(audit_count(p, "result = 'replayed' and queue = 'ag_parked'"), 1);
}

static void test_dlq_replay_of_an_answered_request_needs_again(struct pair *p)
{
    const char *job = park_request(p);

    wire_answer(p, "late-answer", job, 1, "here it is");
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    dlq_says(p, ARGS("replay", "ag_parked", "--execute", "--yes"), "answered already: --again asks again");
    assert_int_equal(wire_count(p, "ag_queue"), 0);
    dlq_says(p, ARGS("replay", "ag_parked", "--execute", "--yes", "--again"), "replayed 1 of 1");
    assert_int_equal(job_count(p, "status = 'complete'"), 1);
    WAIT_UNTIL(wire_count(p, "ag_queue") == 1);
}

/* --- park, purge --- */

static void test_dlq_park_moves_to_the_parked_queue(struct pair *p)
{
    struct wire_message m;

    pair_start_publisher_ready(p);
    put_reply(p, "dlx_webhook", "a", 1);
    put_reply(p, "dlx_webhook", "b", 2);
    dlq_says(p, ARGS("park", "dlx_webhook", "--message-id", "a", "--execute", "--yes"),
             "parked 1 of 2 in dlx_webhook to wb_parked\n");
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, "a");
    assert_string_equal(m.reason, "dead");
    assert_string_equal(buf_str(&m.body), wire_reply("a", "none", "+12025550101", "a"));
    wire_free(&m);
    WAIT_UNTIL(wire_count(p, "dlx_webhook") == 1);
    assert_int_equal(audit_count(p, "action = 'park' and message_id = 'a' and result = 'parked'"), 1);
    assert_int_equal(audit_count(p, "true"), 1);
}

static void test_dlq_purge_takes_only_what_matches(struct pair *p)
{
    pair_start_publisher_ready(p);
    put_reply(p, "wb_parked", "a", 1);
    put_reply(p, "wb_parked", "b", 2);
    put_reply(p, "wb_parked", "c", 1);
    wire_publish(p, "wb_parked", NULL, "no JSON at all");
    dlq_says(p, ARGS("purge", "wb_parked", "--contact", "+12025550101", "--execute", "--yes"),
             "purged 2 of 4");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 2);
    assert_int_equal(audit_count(p, "action = 'purge' and result = 'purged' and message_id in ('a', 'c')"),
                     2);
    dlq_says(p, ARGS("purge", "wb_parked", "--execute", "--yes"), "purged 2 of 2");
    assert_int_equal(audit_count(p, "action = 'purge' and message_id like 'body-%'"), 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_dlq_list_counts_the_queues),
        PAIR_TEST(test_dlq_show_tells_all_but_the_text),
        PAIR_TEST(test_dlq_filters),
        PAIR_TEST(test_dlq_dry_run_is_the_default),
        PAIR_TEST(test_dlq_execute_needs_a_terminal_or_yes),
        PAIR_TEST(test_dlq_one_run_a_queue),
        PAIR_TEST(test_dlq_server_away),
        PAIR_TEST(test_dlq_replay_sends_once_unless_again),
        PAIR_TEST(test_dlq_header_alone_revives_nothing),
        PAIR_TEST(test_dlq_other_body_under_a_known_id_is_left),
        PAIR_TEST(test_dlq_replay_that_fails_again_is_not_looped),
        PAIR_TEST(test_dlq_replay_of_what_is_still_invalid),
        PAIR_TEST(test_dlq_replay_leaves_out_what_expired_long_ago),
        PAIR_TEST(test_dlq_replay_routes_anew),
        PAIR_TEST(test_dlq_replay_goes_on_with_the_failed_part),
        PAIR_TEST(test_dlq_replay_killed_twenty_times),
        PAIR_TEST(test_dlq_replay_stopped_by_a_signal),
        PAIR_TEST(test_dlq_replay_takes_up_what_a_dead_run_began),
        PAIR_TEST(test_dlq_replay_of_a_request_resets_its_job),
        PAIR_TEST(test_dlq_replay_of_an_answered_request_needs_again),
        PAIR_TEST(test_dlq_park_moves_to_the_parked_queue),
        PAIR_TEST(test_dlq_purge_takes_only_what_matches),
    };
    int rc;

    pair_options(argc, argv);
    rc = cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
    buf_fini(&output);
    return rc;
}
