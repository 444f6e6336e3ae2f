/* Each provider from a reply on wb_queue to its request, its id in the ledger, and what its error codes do to
 * a delivery. What the stand-in takes is checked as the real ones check it. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

#define CLOUD                                                                                                \
    "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; "              \
    "token = \"test-token\"; options = { phone_number_id = \"106540352242922\"; };"
#define CLOUD_PATH "/v25.0/106540352242922/messages"

#define SID "AC00000000000000000000000000000000"
#define TWILIO_SMS                                                                                           \
    "name = \"twilio\"; provider = \"twilio\"; channel = \"sms\"; default = true; user = \"" SID "\"; "      \
    "password = \"test-token\"; from = \"+15005550006\"; options = { validity_s = 600; "                     \
    "status_callback = \"https://example.com/twilio?a=1&b=2\"; };"
#define TWILIO_WHATSAPP                                                                                      \
    "name = \"twilio\"; provider = \"twilio\"; channel = \"whatsapp\"; default = true; user = \"" SID "\"; " \
    "password = \"test-token\"; from = \"+15005550006\";"
#define TWILIO_PATH "/2010-04-01/Accounts/" SID "/Messages.json"

#define QR(options)                                                                                          \
    "name = \"qr\"; provider = \"whatsapp_qr\"; channel = \"whatsapp\"; default = true; token = "            \
    "\"test-token\"; options = { " options " };"

/* As it stands in a reply, in a request's JSON, and in a form. */
#define TEXT      "Hi \\\"you\\\" & a=b+1% \\n\xf0\x9f\x98\x80"
#define TEXT_FORM "Hi%20%22you%22%20%26%20a%3Db%2B1%25%20%0A%F0%9F%98%80"

static void start(struct pair *p, const char *account)
{
    pair_account(p, account);
    pair_start_consumer_ready(p);
}

static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(p,
                    "select string_agg(outcome || ' ' || disposition || ' ' || provider_code, ', ' order by "
                    "id) from agwb.delivery_attempts where message_id = '%s'",
                    id);
}

static bool has_attempts(struct pair *p, const char *id, const char *attempts)
{
    return strcmp(attempts_of(p, id), attempts) == 0;
}

/* How long the delivery waits after its last attempt. */
static int64_t wait_ms(struct pair *p, const char *id)
{
    return sql_int(
        p,
        "select floor(extract(epoch from d.next_attempt_at - max(a.ended_at)) * 1000)::bigint from "
        "agwb.deliveries d join agwb.delivery_attempts a using (message_id) where message_id = "
        "'%s' group by d.next_attempt_at",
        id);
}

/* A form's body is a string in the journal. */
static void assert_request(struct pair *p, size_t n, const char *path, const char *body)
{
    struct buf line;
    struct err e;

    pair_journal_line(p, n, &line);
    struct json *entry = json_parse(line.data, line.len, &e);
    assert_non_null(entry);
    const struct json_node *root = json_root(entry);
    assert_string_equal(json_str(json_member(root, "path")), path);
    assert_true(json_true(json_member(root, "auth")));
    if (json_str(json_member(root, "body")) != NULL) {
        assert_string_equal(json_str(json_member(root, "body")), body);
    } else {
        const char *at = strstr(buf_str(&line), ",\"body\":") + strlen(",\"body\":");
        if (strncmp(at, body, strlen(body)) != 0 || strcmp(at + strlen(body), "}") != 0)
            fail_msg("sent: %s\nexpected: %s", at, body);
    }
    json_free(&entry);
    buf_fini(&line);
}

/* Sent, and the id that the provider gave is in the ledger and with the message. */
static void assert_sent_with_id(struct pair *p, const char *id, const char *provider_id)
{
    WAIT_UNTIL(delivery_is(p, id, "sent"));
    assert_string_equal(
        sql_text(p, "select provider_message_id from agwb.deliveries where message_id = '%s'", id),
        provider_id);
    assert_int_equal(sql_int(p,
                             "select count(*) from messages where external_id = '%s' and delivery_status = "
                             "'SENT' and sender_type = 'ai'",
                             provider_id),
                     1);
}

static void assert_parked(struct pair *p, const char *id, const char *reason, const char *error)
{
    struct wire_message m;

    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(m.reason, reason);
    if (strstr(m.error, error) == NULL)
        fail_msg("agwb-error is \"%s\", expected \"%s\" in it", m.error, error);
    wire_free(&m);
}

/* A document for contact n. */
static void send_document(struct pair *p, const char *id, int contact)
{
    char reply[512];

    snprintf(
        reply, sizeof reply,
        "{\"messageId\":\"%s\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
        "\"phoneNumber\":\"+1202555%04d\"},\"response\":{\"type\":\"document\",\"attachments\":[{\"url\":"
        "\"https://example.com/b.pdf\",\"mimeType\":\"application/pdf\",\"caption\":\"the bill\"}]}}",
        id, 100 + contact);
    wire_publish(p, "wb_queue", id, reply);
}

/* --- the Cloud API --- */

static void test_channels_cloud(struct pair *p)
{
    start(p, CLOUD);
    wire_answer_job(p, "c-1", 1, TEXT);
    assert_sent_with_id(p, "c-1", "wamid.HBgLMTIwMjU1NTAxNDMVAgARGBI00000001AA==");
    assert_request(
        p, 0, CLOUD_PATH,
        "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"12025550101\","
        "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"" TEXT "\"},"
        "\"biz_opaque_callback_data\":\"c-1\"}");
    send_document(p, "c-2", 2);
    WAIT_UNTIL(delivery_is(p, "c-2", "sent"));
    assert_request(
        p, 1, CLOUD_PATH,
        "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"12025550102\","
        "\"type\":\"document\",\"document\":{\"link\":\"https://example.com/b.pdf\",\"caption\":\"the "
        "bill\"},\"biz_opaque_callback_data\":\"c-2\"}");
}

/* Who has a user name has no number, and nothing but an id that Meta gave. */
static void test_channels_cloud_user_id(struct pair *p)
{
    char reply[256];

    start(p,
          "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; default = true; token = "
          "\"test-token\"; options = { phone_number_id = \"106540352242922\"; send_by_user_id = true; };");
    const char *job = job_add(p, 1, "a question");
    sql_run(p, "update customer_profiles set phone_number = null, remote_jid = null, external_id = "
               "'whatsapp:US.13491208655302741918'");
    snprintf(reply, sizeof reply,
             "{\"messageId\":\"c-1\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"response\":{"
             "\"text\":\"hi\"}}",
             job);
    wire_publish(p, "wb_queue", "c-1", reply);
    WAIT_UNTIL(delivery_is(p, "c-1", "sent"));
    assert_request(p, 0, CLOUD_PATH,
                   "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"recipient\":"
                   "\"US.13491208655302741918\",\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":"
                   "\"hi\"},\"biz_opaque_callback_data\":\"c-1\"}");
}

static void test_channels_cloud_codes(struct pair *p)
{
    start(p, CLOUD);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"too late\"},\"action\":{\"code\":131047}},"
                   "{\"match\":{\"text\":\"too many\"},\"action\":{\"code\":131056}},"
                   "{\"match\":{\"text\":\"no token\"},\"action\":{\"code\":190}}]}");
    wire_answer_job(p, "c-3", 1, "too late");
    assert_parked(p, "c-3", "permanent", "PERMFAIL 131047: Re-engagement message");
    wire_answer_job(p, "c-4", 2, "too many");
    WAIT_UNTIL(has_attempts(p, "c-4", "THROTTLED hold 131056"));
    assert_in_range(wait_ms(p, "c-4"), 3900, 5000);
    wire_answer_job(p, "c-5", 3, "no token");
    WAIT_UNTIL(has_attempts(p, "c-5", "AUTH hold 190"));
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"cloud\"}") == 1);
    assert_int_equal(sql_int(p, "select sum(attempts) from agwb.deliveries where state = 'ready'"), 0);
}

/* Of what takes too many messages none is sent: it is parked as it came. 65,538 bytes in half as many
 * characters, which is the most that a reply may have. */
static void test_channels_cloud_too_long(struct pair *p)
{
    struct buf reply;

    start(p, CLOUD);
    sql_run(p, "select test.contact(1)");
    buf_init(&reply, 131072);
    buf_add_str(
        &reply,
        "{\"messageId\":\"c-6\",\"status\":\"success\",\"contact\":{\"phoneNumber\":\"+12025550101\"},"
        "\"channel\":\"whatsapp\",\"response\":{\"text\":\"");
    for (int i = 0; i < 32769; i++)
        buf_add_str(&reply, "\xc3\xa9");
    buf_add_str(&reply, "\"}}");
    wire_publish(p, "wb_queue", "c-6", buf_str(&reply));
    buf_fini(&reply);
    assert_parked(p, "c-6", "permanent", "PERMFAIL unsendable: text too long (more than 65536 bytes)");
    assert_int_equal(pair_requests(p), 0);
}

/* --- Twilio --- */

/* A contact with a number only. */
static void make_sms_contact(struct pair *p, int contact)
{
    sql_run(p, "select test.contact(%d)", contact);
    sql_run(p, "update customer_profiles set remote_jid = null where id = test.id(1, %d)", contact);
    sql_run(p, "update conversations set channel_type = 'sms' where id = test.id(2, %d)", contact);
}

static void test_channels_twilio_sms(struct pair *p)
{
    start(p, TWILIO_SMS);
    make_sms_contact(p, 1);
    wire_answer_job(p, "t-1", 1, TEXT);
    assert_sent_with_id(p, "t-1", "SM00000000000000000000000000000001");
    assert_request(
        p, 0, TWILIO_PATH,
        "To=%2B12025550101&From=%2B15005550006&StatusCallback=https%3A%2F%2Fexample.com%2Ftwilio%3Fa%"
        "3D1%26b%3D2&ValidityPeriod=600&Body=" TEXT_FORM);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs where kind = 'sms_message'"), 1);
}

static void test_channels_twilio_whatsapp(struct pair *p)
{
    start(p, TWILIO_WHATSAPP);
    wire_answer_job(p, "t-2", 1, TEXT);
    assert_sent_with_id(p, "t-2", "SM00000000000000000000000000000001");
    assert_request(p, 0, TWILIO_PATH,
                   "To=whatsapp%3A%2B12025550101&From=whatsapp%3A%2B15005550006&Body=" TEXT_FORM);
    send_document(p, "t-3", 2);
    WAIT_UNTIL(delivery_is(p, "t-3", "sent"));
    assert_request(
        p, 1, TWILIO_PATH,
        "To=whatsapp%3A%2B12025550102&From=whatsapp%3A%2B15005550006&Body=the%20bill&MediaUrl=https%3A%"
        "2F%2Fexample.com%2Fb.pdf");
}

static void test_channels_twilio_codes(struct pair *p)
{
    start(p, TWILIO_WHATSAPP);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"opted out\"},\"action\":{\"code\":21610}},"
                   "{\"match\":{\"text\":\"bad number\"},\"action\":{\"code\":21211}}]}");
    wire_answer_job(p, "t-4", 1, "opted out");
    assert_parked(p, "t-4", "permanent", "PERMFAIL 21610: Attempt to send to unsubscribed recipient");
    wire_answer_job(p, "t-5", 2, "bad number");
    assert_parked(p, "t-5", "permanent", "PERMFAIL 21211: The 'To' number +********143 is not a valid");
}

static void test_channels_twilio_throttled(struct pair *p)
{
    start(p, TWILIO_WHATSAPP);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"slowly\"},\"action\":{\"code\":20429}},"
                   "{\"match\":{\"text\":\"queue full\"},\"action\":{\"code\":21611}}]}");
    wire_answer_job(p, "t-6", 1, "slowly");
    wire_answer_job(p, "t-7", 2, "queue full");
    WAIT_UNTIL(has_attempts(p, "t-6", "THROTTLED hold 20429, DELIVERED done 201"));
    WAIT_UNTIL(has_attempts(p, "t-7", "THROTTLED hold 21611"));
    assert_in_range(wait_ms(p, "t-7"), 299000, 301000);
}

/* --- services with a linked phone --- */

static void test_channels_evolution(struct pair *p)
{
    start(p, QR("instance = \"my shop\";"));
    wire_answer_job(p, "e-1", 1, TEXT);
    assert_sent_with_id(p, "e-1", "BAE5000000000001");
    assert_request(p, 0, "/message/sendText/my shop", "{\"number\":\"12025550101\",\"text\":\"" TEXT "\"}");
    send_document(p, "e-2", 2);
    WAIT_UNTIL(delivery_is(p, "e-2", "sent"));
    assert_request(
        p, 1, "/message/sendMedia/my shop",
        "{\"number\":\"12025550102\",\"mediatype\":\"document\",\"mimetype\":\"application/pdf\","
        "\"caption\":\"the bill\",\"media\":\"https://example.com/b.pdf\",\"fileName\":\"b.pdf\"}");
    /* "not on WhatsApp" may be wrong: tried again later */
    wire_publish(p, "wb_queue", "e-3", wire_reply("e-3", "unknown-request", "+12024040101", "anybody?"));
    WAIT_UNTIL(has_attempts(p, "e-3", "TEMPFAIL retry 400"));
    assert_in_range(wait_ms(p, "e-3"), 59000, 61000);
    assert_string_equal(sql_text(p, "select detail from agwb.delivery_attempts where message_id = 'e-3'"),
                        "the number is not on WhatsApp");
}

static void test_channels_evolution_lost_phone(struct pair *p)
{
    start(p, QR("instance = \"closed\";"));
    wire_answer_job(p, "e-4", 1, "hello?");
    WAIT_UNTIL(has_attempts(p, "e-4", "AUTH hold 500"));
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"qr\"}") == 1);
    assert_int_equal(wire_count(p, "wb_parked"), 0);
}

static void test_channels_waha(struct pair *p)
{
    start(p, QR("preset = \"waha\";"));
    wire_answer_job(p, "w-1", 1, TEXT);
    assert_sent_with_id(p, "w-1", "true_12025550101@c.us_3EB000000001");
    assert_request(p, 0, "/api/sendText",
                   "{\"session\":\"default\",\"chatId\":\"12025550101@c.us\",\"text\":\"" TEXT "\"}");
    send_document(p, "w-2", 2);
    WAIT_UNTIL(delivery_is(p, "w-2", "sent"));
    assert_request(
        p, 1, "/api/sendFile",
        "{\"session\":\"default\",\"chatId\":\"12025550102@c.us\",\"caption\":\"the bill\",\"file\":{"
        "\"mimetype\":\"application/pdf\",\"filename\":\"b.pdf\",\"url\":\"https://example.com/b.pdf\"}}");
    pair_script(p, "{\"rules\":[{\"action\":{\"status\":400}},{\"action\":{\"status\":422}}]}");
    wire_answer_job(p, "w-3", 3, "bad");
    assert_parked(p, "w-3", "permanent", "PERMFAIL 400: Bad Request");
    wire_answer_job(p, "w-4", 4, "starting");
    WAIT_UNTIL(has_attempts(p, "w-4", "AUTH hold 422"));
}

static void test_channels_openwa(struct pair *p)
{
    start(p, QR("preset = \"openwa\"; instance = \"s1\"; text_path = \"/{instance}/sendText\";"));
    wire_answer_job(p, "o-1", 1, TEXT);
    assert_sent_with_id(p, "o-1", "true_12025550101@c.us_3EB000000001");
    assert_request(p, 0, "/s1/sendText", "{\"args\":{\"to\":\"12025550101@c.us\",\"content\":\"" TEXT "\"}}");
    send_document(p, "o-2", 2);
    WAIT_UNTIL(delivery_is(p, "o-2", "sent"));
    assert_request(p, 1, "/sendFile",
                   "{\"args\":{\"to\":\"12025550102@c.us\",\"file\":\"https://example.com/"
                   "b.pdf\",\"filename\":\"b.pdf\","
                   "\"caption\":\"the bill\"}}");
    pair_script(p, "{\"rules\":[{\"action\":{\"status\":500}},{\"action\":{\"status\":401}}]}");
    wire_answer_job(p, "o-3", 3, "broken");
    WAIT_UNTIL(has_attempts(p, "o-3", "TEMPFAIL retry 500"));
    wire_answer_job(p, "o-4", 4, "no key");
    WAIT_UNTIL(has_attempts(p, "o-4", "AUTH hold 401"));
}

/* --- an account that cannot be --- */

static void test_channels_bad_account_ends_the_start(struct pair *p)
{
    struct buf out;

    pair_account(p, "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"t\"; "
                    "options = { phone_number_id = \"1/../x\"; };");
    pair_write_config(p);
    assert_int_equal(pair_command(p, "agwb-consumer", (const char *const[]){"check", NULL}, &out), 78);
    buf_fini(&out);
    file_read(p->more[0].log, &out);
    assert_non_null(strstr(buf_str(&out), "channels.accounts: account 'cloud': options.phone_number_id"));
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_channels_cloud),
        PAIR_TEST(test_channels_cloud_user_id),
        PAIR_TEST(test_channels_cloud_codes),
        PAIR_TEST(test_channels_cloud_too_long),
        PAIR_TEST(test_channels_twilio_sms),
        PAIR_TEST(test_channels_twilio_whatsapp),
        PAIR_TEST(test_channels_twilio_codes),
        PAIR_TEST(test_channels_twilio_throttled),
        PAIR_TEST(test_channels_evolution),
        PAIR_TEST(test_channels_evolution_lost_phone),
        PAIR_TEST(test_channels_waha),
        PAIR_TEST(test_channels_openwa),
        PAIR_TEST(test_channels_bad_account_ends_the_start),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
