/* Twilio: every error code, the forms for SMS and WhatsApp, what an account must have. */
#include "tests/unit/channel_rig.h"

#define P   (&CHANNEL_TWILIO)
#define SID "AC00000000000000000000000000000000"
#define MG  "MG0123456789abcdef0123456789ABCDEF"
#define URL "https://api.twilio.com/2010-04-01/Accounts/" SID "/Messages.json"
#define SMS "To=%2B12025550143&From=%2B15005550006&"
#define SEGMENT                                                                                              \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaa"                                                                                                   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 160 of them */
#define WA "To=whatsapp%3A%2B12025550143&From=whatsapp%3A%2B15005550006&"

static struct config_account account(enum channel channel)
{
    return (struct config_account){.name = "main",
                                   .provider = "twilio",
                                   .channel = channel,
                                   .base_url = "",
                                   .user = SID,
                                   .password = "auth-token",
                                   .from = "+15005550006"};
}

/* --- answers --- */

static void test_twilio_codes(void **state)
{
    static const struct {
        int code, status;
        enum outcome outcome;
        int wait_s;
    } ROWS[] = {
        {20003, 401, OUTCOME_AUTH, 0},
        {20005, 403, OUTCOME_AUTH, 0},
        {20006, 403, OUTCOME_AUTH, 0},
        {20404, 404, OUTCOME_AUTH, 0},
        {20429, 429, OUTCOME_THROTTLED, 1},
        {20500, 500, OUTCOME_TEMPFAIL, 5},
        {20503, 503, OUTCOME_TEMPFAIL, 5},
        {21211, 400, OUTCOME_PERMFAIL, 0},
        {21212, 400, OUTCOME_AUTH, 0},
        {21606, 400, OUTCOME_AUTH, 0},
        {21603, 400, OUTCOME_AUTH, 0},
        {21659, 400, OUTCOME_AUTH, 0},
        {21660, 400, OUTCOME_AUTH, 0},
        {21661, 400, OUTCOME_AUTH, 0},
        {21408, 400, OUTCOME_PERMFAIL, 0},
        {21408, 403, OUTCOME_PERMFAIL, 0},
        {21604, 400, OUTCOME_PERMFAIL, 0},
        {21602, 400, OUTCOME_PERMFAIL, 0},
        {21619, 400, OUTCOME_PERMFAIL, 0},
        {21608, 400, OUTCOME_PERMFAIL, 0},
        {21610, 400, OUTCOME_PERMFAIL, 0},
        {21611, 400, OUTCOME_THROTTLED, 300},
        {21611, 429, OUTCOME_THROTTLED, 300},
        {21612, 400, OUTCOME_PERMFAIL, 0},
        {21614, 400, OUTCOME_PERMFAIL, 0},
        {21617, 400, OUTCOME_PERMFAIL, 0},
        {21620, 400, OUTCOME_PERMFAIL, 0},
        {21623, 400, OUTCOME_PERMFAIL, 0},
        {21635, 400, OUTCOME_PERMFAIL, 0},
        {21656, 400, OUTCOME_PERMFAIL, 0},
        {63027, 400, OUTCOME_PERMFAIL, 0},
        {63028, 400, OUTCOME_PERMFAIL, 0},
        {21701, 400, OUTCOME_AUTH, 0},
        {21703, 400, OUTCOME_AUTH, 0},
        {21704, 400, OUTCOME_AUTH, 0},
        {21705, 400, OUTCOME_AUTH, 0},
        {21730, 503, OUTCOME_TEMPFAIL, 60},
        {63007, 400, OUTCOME_AUTH, 0},
        {63017, 429, OUTCOME_THROTTLED, 5},
        {63018, 429, OUTCOME_THROTTLED, 60},
        {63038, 429, OUTCOME_THROTTLED, 3600},
        /* those of callbacks */
        {30001, 400, OUTCOME_TEMPFAIL, 600},
        {30002, 400, OUTCOME_AUTH, 0},
        {30003, 400, OUTCOME_TEMPFAIL, 1800},
        {30004, 400, OUTCOME_PERMFAIL, 0},
        {30005, 400, OUTCOME_PERMFAIL, 0},
        {30006, 400, OUTCOME_PERMFAIL, 0},
        {30007, 400, OUTCOME_PERMFAIL, 0},
        {30008, 400, OUTCOME_TEMPFAIL, 300},
        {30034, 400, OUTCOME_AUTH, 0},
        {30036, 400, OUTCOME_PERMFAIL, 0},
        {63003, 400, OUTCOME_PERMFAIL, 0},
        {63015, 400, OUTCOME_PERMFAIL, 0},
        {63016, 400, OUTCOME_PERMFAIL, 0},
        {63024, 400, OUTCOME_PERMFAIL, 0},
        {63049, 400, OUTCOME_PERMFAIL, 0},
        /* not in the table */
        {29999, 400, OUTCOME_PERMFAIL, 0},
        {29999, 401, OUTCOME_AUTH, 0},
        {29999, 403, OUTCOME_PERMFAIL, 0},
        {29999, 408, OUTCOME_TEMPFAIL, 0},
        {29999, 429, OUTCOME_THROTTLED, 0},
        {29999, 500, OUTCOME_TEMPFAIL, 0},
        {29999, 503, OUTCOME_TEMPFAIL, 0},
        {21662, 400, OUTCOME_PERMFAIL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        char code[16], body[256];
        snprintf(code, sizeof code, "%d", ROWS[i].code);
        snprintf(body, sizeof body,
                 "{\"code\":%d,\"message\":\"words\",\"more_info\":\"https://www.twilio.com/docs/errors/%d\","
                 "\"status\":%d}",
                 ROWS[i].code, ROWS[i].code, ROWS[i].status);
        rig_check_row(P, &(struct rig_row){ROWS[i].status, body, ROWS[i].outcome, ROWS[i].wait_s, code, ""});
    }
}

static void test_twilio_answers(void **state)
{
    static const struct rig_row ROWS[] = {
        {201,
         "{\"account_sid\":\"" SID "\",\"body\":\"Hello\",\"error_code\":null,\"error_message\":null,"
         "\"num_segments\":\"1\",\"sid\":\"SM00000000000000000000000000000000\",\"status\":\"queued\"}",
         OUTCOME_DELIVERED, 0, "201", "SM00000000000000000000000000000000"},
        {200, "{\"sid\":\"MM1\"}", OUTCOME_DELIVERED, 0, "200", "MM1"},
        {201, "{}", OUTCOME_UNCERTAIN, 0, "201", ""},
        {201, "{\"sid\":null}", OUTCOME_UNCERTAIN, 0, "201", ""},
        {201, "<html>", OUTCOME_UNCERTAIN, 0, "201", ""},
        {201, "", OUTCOME_UNCERTAIN, 0, "201", ""},
        {400, "{\"sid\":\"SM1\"}", OUTCOME_PERMFAIL, 0, "400", ""},
        {401, "", OUTCOME_AUTH, 0, "401", ""},
        {403, "", OUTCOME_AUTH, 0, "403", ""},
        {404, "<html>", OUTCOME_AUTH, 0, "404", ""},
        {408, "", OUTCOME_TEMPFAIL, 0, "408", ""},
        {429, "", OUTCOME_THROTTLED, 0, "429", ""},
        {500, "", OUTCOME_TEMPFAIL, 0, "500", ""},
        {502, "<html>", OUTCOME_TEMPFAIL, 0, "502", ""},
        {503, "[]", OUTCOME_TEMPFAIL, 0, "503", ""},
        {400, "", OUTCOME_PERMFAIL, 0, "400", ""},
        {413, "", OUTCOME_PERMFAIL, 0, "413", ""},
    };

    (void)state;
    rig_check_rows(P, ROWS, COUNT(ROWS));
}

static void test_twilio_retry_after_comes_first(void **state)
{
    (void)state;
    struct channel_verdict v = rig_judge(P, (struct rig_answer){429, "{\"code\":20429}", 9000});
    assert_int_equal(v.outcome, OUTCOME_THROTTLED);
    assert_int_equal(v.retry_after_ms, 9000);
}

static void test_twilio_detail_hides_the_number(void **state)
{
    static const char *const BODY = "{\"code\":21211,\"message\":\"The 'To' number +12025550143 is not a "
                                    "valid phone number.\",\"status\":"
                                    "400}";

    (void)state;
    struct channel_verdict v = rig_judge(P, (struct rig_answer){400, BODY, -1});
    assert_string_equal(v.detail, "The 'To' number +********143 is not a valid phone number.");
    v = rig_judge(P, (struct rig_answer){400, "{\"code\":21610}", -1});
    assert_string_equal(v.detail, "the recipient has opted out");
}

/* --- requests --- */

static void test_twilio_sms_forms(void **state)
{
    struct config_account a = account(CHANNEL_SMS);
    struct reply text = {.text = "Hello"};
    struct reply hostile = {.text = HOSTILE};
    struct reply files = {
        .text = "See",
        .attachments = {{.url = "https://example.com/a?b=1&c=2"}, {.url = "https://example.com/d"}},
        .attachment_count = 2};

    (void)state;
    rig_expect(P, &a, &text, "+12025550143", URL, SMS "Body=Hello");
    rig_expect(P, &a, &hostile, "+12025550143", URL, SMS "Body=" HOSTILE_FORM);
    rig_expect(P, &a, &files, "+12025550143", URL,
               SMS
               "Body=See%0Ahttps%3A%2F%2Fexample.com%2Fa%3Fb%3D1%26c%3D2%0Ahttps%3A%2F%2Fexample.com%2Fd");
    a.from = "Caf\xc3\xa9 & Co";
    rig_expect(P, &a, &text, "+12025550143", URL, "To=%2B12025550143&From=Caf%C3%A9%20%26%20Co&Body=Hello");
}

static void test_twilio_whatsapp_forms(void **state)
{
    struct config_account a = account(CHANNEL_WHATSAPP);
    struct reply text = {.text = HOSTILE};
    struct reply file = {.attachments = {{.url = "https://example.com/a.pdf?x=1&y=2", .caption = "invoice"}},
                         .attachment_count = 1};
    struct reply bare = {.attachments = {{.url = "https://example.com/a.jpg"}}, .attachment_count = 1};

    (void)state;
    rig_expect(P, &a, &text, "+12025550143", URL, WA "Body=" HOSTILE_FORM);
    a.from = "whatsapp:+15005550006";
    rig_expect(P, &a, &text, "12025550143@s.whatsapp.net", URL, WA "Body=" HOSTILE_FORM);
    rig_expect(P, &a, &file, "+12025550143", URL,
               WA "Body=invoice&MediaUrl=https%3A%2F%2Fexample.com%2Fa.pdf%3Fx%3D1%26y%3D2");
    rig_expect(P, &a, &bare, "+12025550143", URL, WA "MediaUrl=https%3A%2F%2Fexample.com%2Fa.jpg");
}

static void test_twilio_options(void **state)
{
    struct config_account a = account(CHANNEL_SMS);
    struct reply text = {.text = "Hello"};
    struct channel_request r;

    (void)state;
    a.from = NULL;
    a.user = "SK00000000000000000000000000000001";
    a.base_url = "http://127.0.0.1:8080/";
    a = rig_with(a, "account_sid", SID);
    a = rig_with(a, "messaging_service_sid", MG);
    a = rig_with(a, "status_callback", "https://example.com/twilio?a=1&b=2");
    a = rig_with(a, "validity_s", "600");
    rig_check_account(&a, NULL);
    rig_expect(
        P, &a, &text, "+12025550143", "http://127.0.0.1:8080/2010-04-01/Accounts/" SID "/Messages.json",
        "To=%2B12025550143&MessagingServiceSid=" MG
        "&StatusCallback=https%3A%2F%2Fexample.com%2Ftwilio%3Fa%3D1%26b%3D2&ValidityPeriod=600&Body=Hello");
    assert_int_equal(rig_build(P, &a, &text, "+12025550143", &r), 0);
    assert_string_equal(r.user, "SK00000000000000000000000000000001");
    assert_string_equal(r.password, "auth-token");
    channel_request_fini(&r);
}

static void test_twilio_headers(void **state)
{
    static const char *const HEADERS[] = {"Content-Type: application/x-www-form-urlencoded",
                                          "Accept: application/json"};
    struct config_account a = account(CHANNEL_SMS);

    (void)state;
    rig_expect_headers(P, &a, HEADERS, COUNT(HEADERS));
}

static void test_twilio_addresses(void **state)
{
    static const char *const ADDRESSES[] = {"98711384416410@lid", "120363000000000000@g.us",
                                            "status@broadcast",   "12025550143",
                                            "+1202555014&To=x",   ""};
    struct config_account a = account(CHANNEL_WHATSAPP);
    struct reply reply = {.text = "x"};

    (void)state;
    for (size_t i = 0; i < COUNT(ADDRESSES); i++)
        rig_expect_refusal(P, &a, &reply, ADDRESSES[i], "no phone number");
}

static void test_twilio_limits(void **state)
{
    struct config_account sms = account(CHANNEL_SMS), wa = account(CHANNEL_WHATSAPP);
    struct reply reply = {.text = rig_text(1530)};

    (void)state;
    assert_int_equal(rig_count_parts(P, &sms, &reply), 1); /* ten segments */
    reply.text = rig_text(1531);
    assert_int_equal(rig_count_parts(P, &sms, &reply), 2);
    reply.text = rig_text(1600);
    assert_int_equal(rig_count_parts(P, &wa, &reply), 1);
    reply.text = rig_text(1601);
    assert_int_equal(rig_count_parts(P, &wa, &reply), 2);
    /* the link counts in an SMS */
    reply = (struct reply){
        .text = rig_text(1520), .attachments = {{.url = "https://example.com/a"}}, .attachment_count = 1};
    assert_int_equal(rig_count_parts(P, &sms, &reply), 2);
    assert_int_equal(rig_count_parts(P, &wa, &reply), 1);
    reply = (struct reply){.status = REPLY_PARTIAL};
    rig_expect_refusal(P, &sms, &reply, "+12025550143", "nothing to send");
}

static void test_twilio_parts(void **state)
{
    static const char *const FILES[] = {WA "Body=two&MediaUrl=https%3A%2F%2Fexample.com%2Fa",
                                        WA "MediaUrl=https%3A%2F%2Fexample.com%2Fb"};
    static const char *const SEGMENTS[] = {SMS "Body=He%20said%20%22no%22...%20It%27s%20ok%20-%20fine%21",
                                           SMS "Body=" SEGMENT};
    char text[2 * 160];
    struct config_account a = account(CHANNEL_WHATSAPP);
    struct reply reply = {.text = "two",
                          .attachments = {{.url = "https://example.com/a"}, {.url = "https://example.com/b"}},
                          .attachment_count = 2};

    (void)state;
    rig_expect_parts(P, &a, &reply, FILES, COUNT(FILES));
    a = rig_with(account(CHANNEL_SMS), "max_segments", "1");
    a = rig_with(a, "smart_encoding", "true");
    snprintf(text, sizeof text,
             "He said \xe2\x80\x9cno\xe2\x80\x9d\xe2\x80\xa6 It\xe2\x80\x99s ok \xe2\x80\x93 fine!\n\n%s",
             SEGMENT);
    reply = (struct reply){.text = text};
    rig_expect_parts(P, &a, &reply, SEGMENTS, COUNT(SEGMENTS));
}

/* --- accounts --- */

static void test_twilio_accounts(void **state)
{
    static const struct {
        const char *key, *value, *words;
    } OPTIONS[] = {
        {"messaging_service_sid", MG, NULL},
        {"messaging_service_sid", "MG12", "options.messaging_service_sid"},
        {"messaging_service_sid", SID, "options.messaging_service_sid"},
        {"account_sid", "AC123", "options.account_sid"},
        {"account_sid", SID "0", "options.account_sid"},
        {"account_sid", "ACzz000000000000000000000000000000", "options.account_sid"},
        {"status_callback", "http://example.com/x", NULL},
        {"status_callback", "example.com/x", "options.status_callback"},
        {"validity_s", "1", NULL},
        {"validity_s", "36000", NULL},
        {"validity_s", "36001", "options.validity_s"},
        {"validity_s", "0", "options.validity_s"},
        {"validity_s", "", "options.validity_s"},
        {"validity_s", "-5", "options.validity_s"},
        {"validity_s", "5m", "options.validity_s"},
        {"validity_s", "99999999999999999999", "options.validity_s"},
        {"max_segments", "1", NULL},
        {"max_segments", "10", NULL},
        {"max_segments", "0", "options.max_segments: expected 1 to 10"},
        {"max_segments", "11", "options.max_segments"},
        {"max_segments", "010", "options.max_segments"},
        {"max_segments", "", "options.max_segments"},
        {"max_segments", "-1", "options.max_segments"},
        {"max_segments", "2x", "options.max_segments"},
        {"smart_encoding", "true", NULL},
        {"smart_encoding", "false", NULL},
        {"smart_encoding", "1", "options.smart_encoding: expected true or false"},
        {"service", MG, "has no option 'service'"},
    };
    struct config_account a = account(CHANNEL_SMS);

    (void)state;
    rig_check_account(&a, NULL);
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        a = rig_with(account(CHANNEL_SMS), OPTIONS[i].key, OPTIONS[i].value);
        rig_check_account(&a, OPTIONS[i].words);
    }
}

static void test_twilio_credentials_and_sender(void **state)
{
    struct config_account a = account(CHANNEL_SMS);

    (void)state;
    a.user = NULL;
    rig_check_account(&a, "needs user");
    a = account(CHANNEL_SMS);
    a.password = NULL;
    rig_check_account(&a, "needs user");
    a.password = "a\nb";
    rig_check_account(&a, "password contains a control character");
    a = account(CHANNEL_SMS);
    a.user = "SK00000000000000000000000000000001";
    rig_check_account(&a, "options.account_sid");
    a = account(CHANNEL_SMS);
    a.from = NULL;
    rig_check_account(&a, "needs a sender");
    a = account(CHANNEL_SMS);
    a.from = "Shop";
    rig_check_account(&a, NULL);
    a.channel = CHANNEL_WHATSAPP;
    rig_check_account(&a, "WhatsApp sender's number");
    a.from = "whatsapp:+15005550006";
    rig_check_account(&a, NULL);
    a.channel = CHANNEL_EMAIL;
    rig_check_account(&a, "does not carry channel 'email'");
    a = rig_with(account(CHANNEL_WHATSAPP), "max_segments", "2");
    rig_check_account(&a, "for channel \"sms\" only");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twilio_codes),
        cmocka_unit_test(test_twilio_answers),
        cmocka_unit_test(test_twilio_retry_after_comes_first),
        cmocka_unit_test(test_twilio_detail_hides_the_number),
        cmocka_unit_test(test_twilio_sms_forms),
        cmocka_unit_test(test_twilio_whatsapp_forms),
        cmocka_unit_test(test_twilio_options),
        cmocka_unit_test(test_twilio_headers),
        cmocka_unit_test(test_twilio_addresses),
        cmocka_unit_test(test_twilio_limits),
        cmocka_unit_test(test_twilio_parts),
        cmocka_unit_test(test_twilio_accounts),
        cmocka_unit_test(test_twilio_credentials_and_sender),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
