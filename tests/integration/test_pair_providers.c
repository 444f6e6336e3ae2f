/* Each provider the whole way: its webhook with a person's message, the job, the agent, the reply in its
 * journal, and its receipts for it. Every webhook must be signed here. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

#define SECRET " webhook_secret = \"" PAIR_HOOK_SECRET "\"; "
#define SID    "AC00000000000000000000000000000000"

struct way {
    const char *provider, *account, *verify; /* verify: an option */
    const char *channel;
    const char *from, *column; /* where customer_profiles has the person */
    const char *last;          /* the last receipt there is */
};

static const struct way CLOUD = {
    "whatsapp_cloud",
    "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; "
    "token = \"test-token\"; options = { phone_number_id = \"106540352242922\"; };" SECRET,
    "webhooks.whatsapp_cloud.verify=required",
    "whatsapp",
    "+12025550171",
    "phone_number",
    "READ"};
static const struct way WASENDER = {
    "wasender",
    "name = \"main\"; provider = \"wasender\"; channel = \"whatsapp\"; default = true; "
    "token = \"test-token\";" SECRET,
    "webhooks.wasender.verify=required",
    "whatsapp",
    "+12025550172",
    "phone_number",
    "READ"};
static const struct way EVOLUTION = {"evolution",
                                     "name = \"qr\"; provider = \"whatsapp_qr\"; channel = \"whatsapp\"; "
                                     "default = true; token = \"test-token\"; "
                                     "options = { preset = \"evolution\"; instance = \"shop\"; };" SECRET,
                                     "webhooks.evolution.verify=required",
                                     "whatsapp",
                                     "+12025550173",
                                     "phone_number",
                                     "READ"};
static const struct way WAHA = {"waha",
                                "name = \"qr\"; provider = \"whatsapp_qr\"; channel = \"whatsapp\"; default "
                                "= true; token = \"test-token\"; "
                                "options = { preset = \"waha\"; };" SECRET,
                                "webhooks.waha.verify=required",
                                "whatsapp",
                                "+12025550174",
                                "phone_number",
                                "READ"};
/* Nobody knows when an SMS is read. */
static const struct way TWILIO = {
    "twilio",
    "name = \"twilio\"; provider = \"twilio\"; channel = \"sms\"; default = true; user = \"" SID
    "\"; password = \"test-token\"; from = \"+15005550006\";" SECRET,
    "webhooks.twilio.verify=required",
    "sms",
    "+12025550175",
    "phone_number",
    "DELIVERED"};
static const struct way TWILIO_WHATSAPP = {
    "twilio-whatsapp",
    "name = \"twilio\"; provider = \"twilio\"; channel = \"whatsapp\"; default = true; user = \"" SID
    "\"; password = \"test-token\"; from = \"+15005550006\";" SECRET,
    "webhooks.twilio.verify=required",
    "whatsapp",
    "+12025550176",
    "phone_number",
    "READ"};

static void start(struct pair *p, const struct way *w)
{
    pair_account(p, w->account);
    pair_set(p, w->verify);
    pair_set(p, "webhooks.twilio.url=https://example.com/webhooks/twilio");
    pair_start_provider(p);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_agent(p, (const char *const[]){NULL});
}

static bool is_message(struct pair *p, const char *status)
{
    return strcmp(sql_text(p, "select delivery_status from messages where sender_type = 'ai'"), status) == 0;
}

static void assert_inbound(struct pair *p, const struct way *w)
{
    assert_int_equal(
        sql_int(p,
                "select count(*) from messages m join conversations v on v.id = m.conversation_id join "
                "customer_profiles c on c.id = v.customer_id where m.sender_type = 'user' and m.content = "
                "'Do you have it in blue?' and m.external_id <> '' and v.channel_type = '%s' and c.%s = '%s'",
                w->channel, w->column, w->from),
        1);
}

static void assert_all_webhooks_done(struct pair *p)
{
    WAIT_UNTIL(sql_int(p, "select count(*) from webhook_inbox where status = 'pending'") == 0);
    const char *bad =
        sql_text(p, "select status || ': ' || coalesce(error, '') from webhook_inbox where status <> 'done'");
    if (*bad != '\0')
        fail_msg("a webhook is %s", bad);
}

static void run(struct pair *p, const struct way *w, const char *const *hooks)
{
    start(p, w);
    pair_start_hooks(p, hooks);
    pair_hook_message(p, w->provider, w->from, "Do you have it in blue?");
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    WAIT_UNTIL(is_message(p, w->last));
    assert_inbound(p, w);
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(pair_sent(p, NULL), 1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'"), 1);
    assert_all_webhooks_done(p);
    assert_true(is_message(p, w->last)); /* nothing of what came later took it back */
}

static const char *const IN_ORDER[] = {NULL};

static void test_providers_cloud(struct pair *p)
{
    run(p, &CLOUD, IN_ORDER);
}
static void test_providers_wasender(struct pair *p)
{
    run(p, &WASENDER, IN_ORDER);
}
static void test_providers_evolution(struct pair *p)
{
    run(p, &EVOLUTION, IN_ORDER);
}
static void test_providers_waha(struct pair *p)
{
    run(p, &WAHA, IN_ORDER);
}
static void test_providers_twilio_sms(struct pair *p)
{
    run(p, &TWILIO, IN_ORDER);
}
static void test_providers_twilio_whatsapp(struct pair *p)
{
    run(p, &TWILIO_WHATSAPP, IN_ORDER);
}

/* Receipts come twice and the last one first. */
static void test_providers_receipts_in_disorder(struct pair *p)
{
    run(p, &CLOUD, (const char *const[]){"--disorder", NULL});
}

/* The provider takes it, and finds out later that nobody is there: the message is FAILED with its reason. */
static void test_providers_late_failure(struct pair *p)
{
    start(p, &CLOUD);
    pair_start_hooks(p, (const char *const[]){"--fail", "blue=131026", NULL});
    pair_hook_message(p, CLOUD.provider, CLOUD.from, "Do you have it in blue?");
    WAIT_UNTIL(is_message(p, "FAILED"));
    WAIT_UNTIL(
        sql_int(
            p,
            "select count(*) from messages where sender_type = 'ai' and metadata::text like '%%131026%%'") ==
        1);
    WAIT_UNTIL(
        sql_int(p,
                "select count(*) from agwb.deliveries where state = 'parked' and reason like '%%131026%%'") ==
        1);
    WAIT_UNTIL(job_count(p, "status = 'failed'") == 1);
    assert_int_equal(pair_requests(p), 1);
    assert_all_webhooks_done(p);
}

/* The answer to the request is lost, the receipt is not: sent, once, and nobody has to look at it. */
static void run_uncertain(struct pair *p, const struct way *w)
{
    pair_set(p, "consumer.uncertain_wait_ms=600000");
    start(p, w);
    pair_script(p, "{\"rules\":[{\"match\":{},\"times\":1,\"action\":{\"fault\":\"close_without_answer\","
                   "\"accepted\":true}}]}");
    pair_hook_message(p, w->provider, w->from, "Do you have it in blue?");
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'uncertain'") == 1);
    pair_start_hooks(p, IN_ORDER);
    WAIT_UNTIL(is_message(p, w->last));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'"), 1);
    assert_int_equal(pair_requests(p), 1);
}

static void test_providers_uncertain_by_our_id(struct pair *p)
{
    run_uncertain(p, &CLOUD);
}
static void test_providers_uncertain_by_text(struct pair *p)
{
    run_uncertain(p, &WASENDER);
}

static void test_providers_forged(struct pair *p)
{
    pair_account(p, CLOUD.account);
    pair_set(p, "webhooks.whatsapp_cloud.secret=another-secret");
    pair_start_publisher_ready(p);
    sql_run(
        p,
        "select agwb.receive_webhook('whatsapp_cloud', 'cloud', '{\"X-Hub-Signature-256\": \"sha256=00\"}', "
        "'{\"object\":\"whatsapp_business_account\",\"entry\":[]}')");
    sql_run(p, "select agwb.receive_webhook('whatsapp_cloud', null, '{}', "
               "'{\"object\":\"whatsapp_business_account\",\"entry\":[]}')");
    WAIT_UNTIL(sql_int(p, "select count(*) from webhook_inbox where status = 'failed' and error <> ''") == 2);
    assert_int_equal(job_count(p, "true"), 0);
    WAIT_UNTIL(pair_metric(p->publisher_port, "agwb_signature_failures_total{provider=\"whatsapp_cloud\"}") ==
               2);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_providers_cloud),
        PAIR_TEST(test_providers_wasender),
        PAIR_TEST(test_providers_evolution),
        PAIR_TEST(test_providers_waha),
        PAIR_TEST(test_providers_twilio_sms),
        PAIR_TEST(test_providers_twilio_whatsapp),
        PAIR_TEST(test_providers_receipts_in_disorder),
        PAIR_TEST(test_providers_late_failure),
        PAIR_TEST(test_providers_uncertain_by_our_id),
        PAIR_TEST(test_providers_uncertain_by_text),
        PAIR_TEST(test_providers_forged),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
