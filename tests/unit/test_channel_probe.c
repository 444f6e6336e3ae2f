/* The harmless question of each provider, and what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/channels/channel_probe.h"

#define SID "AC00000000000000000000000000000000"

static const struct {
    const char *what;
    struct config_account account;
    const char *url, *header; /* header: NULL = none at all */
    bool is_question;
} CASES[] = {
    {"wasender",
     {.provider = "wasender", .channel = CHANNEL_WHATSAPP, .token = "secret"},
     "https://www.wasenderapi.com/api/status",
     "Authorization: Bearer secret",
     true},
    {"a base URL of one's own",
     {.provider = "wasender",
      .channel = CHANNEL_WHATSAPP,
      .token = "secret",
      .base_url = "http://wa.test/x/api/"},
     "http://wa.test/x/api/status",
     "Authorization: Bearer secret",
     true},
    {"cloud",
     {.provider = "whatsapp_cloud",
      .channel = CHANNEL_WHATSAPP,
      .token = "secret",
      .option_count = 1,
      .options = {{"phone_number_id", "1234567"}}},
     "https://graph.facebook.com/v25.0/1234567?fields=id",
     "Authorization: Bearer secret",
     true},
    {"twilio",
     {.provider = "twilio",
      .channel = CHANNEL_SMS,
      .user = SID,
      .password = "secret",
      .from = "+12025550100"},
     "https://api.twilio.com/2010-04-01/Accounts/" SID ".json",
     NULL,
     true},
    {"evolution",
     {.provider = "whatsapp_qr",
      .channel = CHANNEL_WHATSAPP,
      .token = "secret",
      .base_url = "http://qr.test:8080",
      .option_count = 1,
      .options = {{"instance", "my phone"}}},
     "http://qr.test:8080/instance/connectionState/my%20phone",
     "apikey: secret",
     true},
    {"waha",
     {.provider = "whatsapp_qr",
      .channel = CHANNEL_WHATSAPP,
      .token = "secret",
      .base_url = "http://qr.test",
      .option_count = 1,
      .options = {{"preset", "waha"}}},
     "http://qr.test/api/sessions/default",
     "X-Api-Key: secret",
     true},
    {"openwa has no question",
     {.provider = "whatsapp_qr",
      .channel = CHANNEL_WHATSAPP,
      .token = "secret",
      .base_url = "http://qr.test/api",
      .option_count = 1,
      .options = {{"preset", "openwa"}}},
     "http://qr.test/",
     NULL,
     false},
    {"nor has a gateway, and it gets no credentials",
     {.provider = "sms_gateway",
      .channel = CHANNEL_SMS,
      .token = "secret",
      .base_url = "https://cc.example.com/x"},
     "https://cc.example.com/",
     NULL,
     false},
};

static bool has_header(struct channel_request *r, const char *header)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (strcmp(buf_str(&r->headers[i]), header) == 0)
            return true;
    }
    return false;
}

static void test_channel_probe_questions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct channel_probe p;
        struct err e;

        if (channel_probe_build(&CASES[i].account, &p, &e) != 0)
            fail_msg("%s: %s", CASES[i].what, e.text);
        if (strcmp(buf_str(&p.request.url), CASES[i].url) != 0)
            fail_msg("%s: %s", CASES[i].what, buf_str(&p.request.url));
        assert_string_equal(p.request.method, "GET");
        assert_int_equal(p.request.body.len, 0);
        assert_int_equal(p.is_question, CASES[i].is_question);
        if (CASES[i].header && !has_header(&p.request, CASES[i].header))
            fail_msg("%s: no '%s'", CASES[i].what, CASES[i].header);
        if (!p.is_question) {
            assert_int_equal(p.request.header_count, 0);
            assert_null(p.request.password);
        }
        channel_request_fini(&p.request);
    }
}

static void test_channel_probe_answers(void **state)
{
    static const struct {
        bool is_question;
        enum http_fate fate;
        int status;
        const char *body;
        enum channel_health health;
        const char *text;
    } ANSWERS[] = {
        {true, HTTP_ANSWERED, 200, "{\"status\":\"WORKING\"}", CHANNEL_HEALTHY, "answers: WORKING"},
        {true, HTTP_ANSWERED, 200, "{\"status\":\"SCAN_QR_CODE\"}", CHANNEL_UNWELL, "answers: SCAN_QR_CODE"},
        {true, HTTP_ANSWERED, 200, "not json", CHANNEL_HEALTHY, "answers (HTTP 200)"},
        {true, HTTP_ANSWERED, 401, "{}", CHANNEL_REFUSED, "answers HTTP 401"},
        {true, HTTP_ANSWERED, 404, "{}", CHANNEL_REFUSED, "answers HTTP 404"},
        {true, HTTP_ANSWERED, 429, "{}", CHANNEL_UNWELL, "answers HTTP 429"},
        {true, HTTP_ANSWERED, 500, "{}", CHANNEL_UNWELL, "answers HTTP 500"},
        {false, HTTP_ANSWERED, 404, "", CHANNEL_HEALTHY, "reachable"},
        {true, HTTP_NOT_SENT, 0, "", CHANNEL_UNREACHABLE, "refused"},
        {false, HTTP_TLS_REFUSED, 0, "", CHANNEL_UNREACHABLE, "refused"},
    };
    char text[CHANNEL_HEALTH_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++) {
        struct channel_probe p = {.is_question = ANSWERS[i].is_question, .path = "status", .good = "WORKING"};
        struct http_result r = {.fate = ANSWERS[i].fate,
                                .status = ANSWERS[i].status,
                                .body = ANSWERS[i].body,
                                .body_len = strlen(ANSWERS[i].body),
                                .text = "connection refused"};
        assert_int_equal(channel_probe_judge(&p, &r, text), ANSWERS[i].health);
        if (!strstr(text, ANSWERS[i].text))
            fail_msg("'%s', expected '%s'", text, ANSWERS[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_probe_questions),
        cmocka_unit_test(test_channel_probe_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
