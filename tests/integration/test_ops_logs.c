/* A full run of both daemons with secrets in every option that takes one: whatever happens, and at the
 * chattiest level, no log line and no command's output has a secret, a full number or a word of what was
 * said. */
#include "receiver.h"
#include "flow.h"
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every one of them is in the configuration below, or in what travels. */
static const char *const SECRETS[] = {
    "s3cret-amqp",     "s3cret-db",       "s3cret-alert-url", "s3cret-alert-key",
    "s3cret-cloud",    "s3cret-wasender", "s3cret-evo",       "s3cret-waha",
    "s3cret-twilio",   "s3cret-insta",    "s3cret-generic",   "s3cret-account-token",
    "s3cret-hook",     "test-token",      "s3cret-text",      "s3cret-reply",
    "s3cret-provider",
};

static const char *const OPTIONS[] = {
    "log.level=debug",
    "alerts.secret=s3cret-alert-key",
    "webhooks.whatsapp_cloud.secret=s3cret-cloud",
    "webhooks.wasender.secret=s3cret-wasender",
    "webhooks.evolution.secret=s3cret-evo",
    "webhooks.waha.secret=s3cret-waha",
    "webhooks.twilio.secret=s3cret-twilio",
    "webhooks.instagram.secret=s3cret-insta",
    "webhooks.generic.secret=s3cret-generic",
    "rabbitmq.user=logs",
    "rabbitmq.password=s3cret-amqp",
    "retry.delivery.tries=2",
    "retry.delivery.delay_ms=20",
    "publisher.answer_timeout_ms=1000",
};

static void configure(struct pair *p, const struct receiver *r)
{
    static char url[128], database[512];

    for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++)
        pair_set(p, OPTIONS[i]);
    snprintf(url, sizeof url, "alerts.webhook_url=http://user:s3cret-hook@127.0.0.1:%d/?k=s3cret-alert-url",
             r->port);
    snprintf(database, sizeof database, "database.url=%s&password=s3cret-db", p->url);
    pair_set(p, url);
    pair_set(p, database);
    pair_account(p, "name = \"extra\"; provider = \"wasender\"; channel = \"whatsapp\"; token = "
                    "\"s3cret-account-token\"; "
                    "webhook_secret = \"s3cret-hook\";");
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"add_user", "logs", "s3cret-amqp", NULL});
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"set_permissions", "-p", p->vhost, "logs", ".*", ".*", ".*", NULL});
}

/* What must not be there; true when it was looked for in something. */
static bool assert_clean(const char *path, const char *what)
{
    struct buf text;

    file_read(path, &text);
    const char *all = buf_str(&text);
    for (size_t i = 0; i < sizeof SECRETS / sizeof SECRETS[0]; i++) {
        const char *at = strstr(all, SECRETS[i]);
        if (at != NULL)
            fail_msg("%s has %s: %.300s", what, SECRETS[i], at > all + 150 ? at - 150 : all);
    }
    for (const char *at = all; (at = strstr(at, "202555010")) != NULL; at++)
        fail_msg("%s has a number: %.300s", what, at > all + 150 ? at - 150 : all);
    bool is_something = text.len > 0;
    buf_fini(&text);
    return is_something;
}

static void assert_logs_clean(struct pair *p)
{
    assert_true(assert_clean(p->publisher.log, "the publisher's log"));
    assert_true(assert_clean(p->consumer.log, "the consumer's log"));
}

static void assert_command_clean(struct pair *p, const char *program, const char *const *args)
{
    struct buf out;
    char path[PATH_SIZE];

    (void)pair_command(p, program, args, &out);
    snprintf(path, sizeof path, "%.400s/command.out", p->dir);
    file_write(path, buf_str(&out));
    buf_fini(&out);
    assert_true(assert_clean(path, args[0]) || assert_clean(p->more[0].log, args[0]));
    (void)assert_clean(p->more[0].log, args[0]);
}

/* Answers well, refuses with the number and the words in its own, lets one hang, refuses the account. */
static void deliver_in_every_way(struct pair *p)
{
    const char *job = job_add(p, 1, "s3cret-text +12025550101");

    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(sql_int(p, "select count(*) from ai_response_queue where id = '%s' and status = 'complete'",
                       job) == 1);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":422,\"body\":\"{\\\"success\\\":false,"
                   "\\\"message\\\":"
                   "\\\"s3cret number +12025550102 is not on WhatsApp\\\"}\"}}]}");
    wire_answer(p, "refused", "none", 2, "s3cret-reply");
    WAIT_UNTIL(
        sql_int(p,
                "select count(*) from agwb.deliveries where message_id = 'refused' and state = 'parked'") ==
        1);
    pair_script(p, "{\"rules\":[{\"times\":2,\"action\":{\"status\":503,\"body\":\"+12025550103\"}}]}");
    wire_answer(p, "exhausted", "none", 3, "s3cret-reply");
    WAIT_UNTIL(
        sql_int(p,
                "select count(*) from agwb.deliveries where message_id = 'exhausted' and state = 'parked'") ==
        1);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"close_without_answer\"}}]}");
    wire_answer(p, "uncertain", "none", 4, "s3cret-reply");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.delivery_attempts where message_id = 'uncertain'") == 1);
    pair_script(
        p,
        "{\"rules\":[{\"times\":1,\"action\":{\"status\":401,\"body\":\"{\\\"message\\\":\\\"test-token is "
        "wrong\\\"}\"}}]}");
    wire_answer(p, "auth", "none", 5, "s3cret-reply");
    WAIT_UNTIL(
        sql_int(p, "select count(*) from agwb.deliveries where message_id = 'auth' and state = 'sent'") == 1);
}

/* Broken ones of every kind, in both queues and in the inbox. */
static void send_what_is_wrong(struct pair *p)
{
    wire_publish(p, "wb_queue", "broken", "{\"s3cret-text\":\"+12025550101\"}");
    wire_publish(p, "wb_queue", "no-json", "s3cret-text +12025550101");
    wire_publish(p, "wb_queue", "no-number", wire_reply("no-number", "none", "12025550101", "s3cret-reply"));
    wire_publish(p, "dlx_agent", "dead",
                 "{\"messageId\":\"dead\",\"contact\":{\"phoneNumber\":\"+12025550101\"}}");
    WAIT_UNTIL(wire_count(p, "wb_parked") + wire_count(p, "ag_parked") >= 5);
    sql_run(p,
            "insert into ai_response_queue (contact_id, user_message) values (test.id(1, 7), 's3cret-text')");
    sql_run(
        p,
        "insert into webhook_inbox (provider, account, headers, body) values "
        "('generic', 'wa', '{\"x-webhook-signature\":\"sha256=00\"}', '{\"from\":\"+12025550101\"}'), "
        "('wasender', 'wa', '{\"x-webhook-signature\":\"s3cret-wasender\"}', 's3cret-text 12025550101'), "
        "('wasender', 'wa', '{\"x-webhook-signature\":\"s3cret-hook\"}', '{\"event\":\"x\",\"data\":{}}')");
    WAIT_UNTIL(sql_int(p, "select count(*) from webhook_inbox where status = 'pending'") == 0);
    WAIT_UNTIL(
        sql_int(p, "select count(*) from ai_response_queue where user_message = 's3cret-text' and status = "
                   "'pending'") == 0);
}

static void test_logs_have_no_secret(struct pair *p)
{
    struct receiver r;
    struct buf good, bad;

    receiver_start(&r, p->dir, 500);
    configure(p, &r);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    deliver_in_every_way(p);
    send_what_is_wrong(p);

    file_read(p->config, &good);
    file_read(p->config, &bad);
    buf_add_str(&bad, "rabbitmq: { password = 5; pasword = \"s3cret-amqp\"; };\n");
    file_write(p->config, buf_str(&bad));
    process_signal(&p->consumer, SIGHUP);
    WAIT_UNTIL(log_count(&p->consumer, "reload refused, the old configuration stays", NULL, NULL) == 1);
    file_write(p->config, buf_str(&good));
    buf_fini(&good);
    buf_fini(&bad);
    sql_run(p, "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^agwb'");
    WAIT_UNTIL(flow_is_ready(p));
    WAIT_UNTIL(receiver_count(&r, NULL) >= 1);

    assert_command_clean(p, "agwb-publisher", (const char *const[]){"check", "-v", NULL});
    assert_command_clean(p, "agwb-consumer", (const char *const[]){"doctor", NULL});
    assert_command_clean(p, "agwb-consumer", (const char *const[]){"stats", "--json", NULL});
    assert_command_clean(p, "agwb-publisher", (const char *const[]){"trace", "refused", NULL});
    assert_command_clean(p, "agwb-publisher", (const char *const[]){"trace", "exhausted", "--json", NULL});
    assert_command_clean(p, "agwb-consumer",
                         (const char *const[]){"dlq", "show", "wb_parked", "--limit", "50", NULL});
    assert_int_equal(process_end(&p->publisher), 0);
    assert_int_equal(process_end(&p->consumer), 0);
    assert_logs_clean(p);
    assert_true(assert_clean(r.bodies, "the alerts"));
    receiver_end(&r);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"delete_user", "logs", NULL});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {PAIR_TEST(test_logs_have_no_secret)};
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
