/* The providers' request builders and outcome tables. */
#include "tests/unit/channel_rig.h"

static struct channel_verdict judge(const struct channel_provider *p, int status, const char *body)
{
    struct http_result r = {.fate = HTTP_ANSWERED,
                            .status = status,
                            .text = "",
                            .body = body,
                            .body_len = strlen(body),
                            .retry_after_ms = -1};
    struct channel_verdict v;

    channel_judge(p, &r, &v);
    return v;
}

struct row {
    int status;
    const char *body;
    enum outcome outcome;
    int64_t retry_after_ms;
    const char *provider_id;
};

static void check_rows(const struct channel_provider *p, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct channel_verdict v = judge(p, rows[i].status, rows[i].body);
        print_message("%s row %zu: %d %s\n", p->name, i, rows[i].status, rows[i].body);
        assert_string_equal(outcome_name(v.outcome), outcome_name(rows[i].outcome));
        assert_int_equal(v.retry_after_ms, rows[i].retry_after_ms);
        assert_string_equal(v.provider_id, rows[i].provider_id);
    }
}

static void test_channel_wasender_outcomes(void **state)
{
    static const struct row ROWS[] = {
        {200,
         "{\"success\":true,\"data\":{\"msgId\":100000,\"jid\":\"+12025550143\",\"status\":\"in_progress\"}}",
         OUTCOME_DELIVERED, -1, "100000"},
        {200, "{\"success\":true,\"message\":\"Message sent\"}", OUTCOME_DELIVERED, -1, ""},
        {201, "not json at all", OUTCOME_UNCERTAIN, -1, ""},
        {200, "", OUTCOME_UNCERTAIN, -1, ""},
        {200, "{}", OUTCOME_UNCERTAIN, -1, ""},
        {200, "{\"success\":\"true\"}", OUTCOME_UNCERTAIN, -1, ""},
        {200, "{\"success\":false,\"message\":\"Rate limit exceeded\",\"retry_after\":7}", OUTCOME_THROTTLED,
         7000, ""},
        {200, "{\"success\":false,\"message\":\"You have account protection enabled.\"}", OUTCOME_THROTTLED,
         6000, ""},
        {200, "{\"success\":false,\"message\":\"Invalid number\"}", OUTCOME_PERMFAIL, -1, ""},
        {401, "{\"success\":false,\"message\":\"Invalid API key\"}", OUTCOME_AUTH, -1, ""},
        {402, "{}", OUTCOME_AUTH, -1, ""},
        {403, "{}", OUTCOME_AUTH, -1, ""},
        {404, "<html>", OUTCOME_PERMFAIL, -1, ""},
        {400, "{\"message\":\"WhatsApp session is not connected\"}", OUTCOME_AUTH, -1, ""},
        {409, "{\"message\":\"Session not connected\"}", OUTCOME_AUTH, -1, ""},
        {400, "{\"message\":\"Bad request\"}", OUTCOME_PERMFAIL, -1, ""},
        {422,
         "{\"success\":false,\"message\":\"Validation failed\",\"errors\":{\"to\":[\"The to field is "
         "required.\"]}}",
         OUTCOME_PERMFAIL, -1, ""},
        {422, "{\"message\":\"No Active Subscription found\"}", OUTCOME_AUTH, -1, ""},
        {408, "", OUTCOME_TEMPFAIL, -1, ""},
        {413, "", OUTCOME_PERMFAIL, -1, ""},
        {429,
         "{\"message\":\"You have account protection enabled. You can only send 1 message every 5 seconds.\","
         "\"retry_after\":5}",
         OUTCOME_THROTTLED, 5000, ""},
        {429, "{\"message\":\"You are on a free trial.\",\"retry_after\":\"60\"}", OUTCOME_THROTTLED, 60000,
         ""},
        {429, "", OUTCOME_THROTTLED, 6000, ""},
        {500, "", OUTCOME_TEMPFAIL, -1, ""},
        {502, "<html>bad gateway</html>", OUTCOME_TEMPFAIL, -1, ""},
        {503, "{\"retry_after\":-5}", OUTCOME_TEMPFAIL, -1, ""},
        {504, "", OUTCOME_TEMPFAIL, -1, ""},
        {302, "", OUTCOME_AUTH, -1, ""},
    };

    (void)state;
    check_rows(&CHANNEL_WASENDER, ROWS, sizeof ROWS / sizeof ROWS[0]);
}

static void test_channel_sms_gateway_outcomes(void **state)
{
    static const struct row ROWS[] = {
        {200, "{\"success\":true,\"messageId\":\"sms-1\"}", OUTCOME_DELIVERED, -1, "sms-1"},
        {200, "{\"sid\":\"SM1\",\"id\":\"x\"}", OUTCOME_DELIVERED, -1, "SM1"},
        {202, "{\"data\":{\"id\":77}}", OUTCOME_DELIVERED, -1, "77"},
        {200, "", OUTCOME_DELIVERED, -1, ""},
        {200, "{\"success\":false,\"message\":\"no\"}", OUTCOME_PERMFAIL, -1, ""},
        {400, "{\"error\":\"to is required\"}", OUTCOME_PERMFAIL, -1, ""},
        {401, "", OUTCOME_AUTH, -1, ""},
        {403, "", OUTCOME_AUTH, -1, ""},
        {308, "<html>moved</html>", OUTCOME_AUTH, -1, ""},
        {429, "", OUTCOME_THROTTLED, -1, ""},
        {500, "", OUTCOME_TEMPFAIL, -1, ""},
        {503, "", OUTCOME_TEMPFAIL, -1, ""},
    };

    (void)state;
    check_rows(&CHANNEL_SMS_GATEWAY, ROWS, sizeof ROWS / sizeof ROWS[0]);
}

static void test_channel_transport_fates(void **state)
{
    static const struct {
        enum http_fate fate;
        enum outcome outcome;
    } ROWS[] = {
        {HTTP_NOT_SENT, OUTCOME_TEMPFAIL},
        {HTTP_UNCERTAIN, OUTCOME_UNCERTAIN},
        {HTTP_TLS_REFUSED, OUTCOME_AUTH},
        {HTTP_BAD_REQUEST, OUTCOME_PERMFAIL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct http_result r = {.fate = ROWS[i].fate, .text = "words", .body = "", .retry_after_ms = 9};
        struct channel_verdict v;
        channel_judge(&CHANNEL_WASENDER, &r, &v);
        assert_int_equal(v.outcome, ROWS[i].outcome);
        assert_int_equal(v.retry_after_ms, -1);
        assert_string_equal(v.detail, "words");
    }
}

static void test_channel_detail_is_clean(void **state)
{
    struct channel_verdict v = {0};
    char text[400];

    (void)state;
    channel_verdict_detail(&v, "line one\r\nline\ttwo\x7f");
    assert_string_equal(v.detail, "line one  line two ");
    /* cut on a character's border: the 199 bytes that fit end inside a two-byte character */
    memset(text, 'a', 198);
    memcpy(text + 198, "\xc3\xa9\xc3\xa9", 5);
    channel_verdict_detail(&v, text);
    assert_int_equal(strlen(v.detail), 198);
    channel_verdict_detail(&v, "Empf\xe4nger \xc3\xa9 \xc3");
    assert_string_equal(v.detail, "Empf?nger \xc3\xa9 ?");
    channel_verdict_detail(&v, NULL);
    assert_string_equal(v.detail, "");
}

static void test_channel_detail_hides_numbers(void **state)
{
    static const char *const ROWS[][2] = {
        {"to +12025550143.", "to +********143."},
        {"12025550143@s.whatsapp.net", "********143@s.whatsapp.net"},
        {"12345678", "*****678"},
        {"1234567", "1234567"},
        {"error 131056 (30003)", "error 131056 (30003)"},
        {"1234567 1234567", "1234567 1234567"},
        {"12025550143,12025550144", "********143,********144"},
    };
    struct channel_verdict v = {0};

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        channel_verdict_detail(&v, ROWS[i][0]);
        assert_string_equal(v.detail, ROWS[i][1]);
    }
}

static void test_channel_escapes(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1024);
    channel_add_encoded(&b, "aZ09-._~ /?#&=+%{}\"\n\x7f\xff");
    assert_string_equal(buf_str(&b), "aZ09-._~%20%2F%3F%23%26%3D%2B%25%7B%7D%22%0A%7F%FF");
    buf_clear(&b);
    channel_form_field(&b, "a b", "1");
    channel_form_field(&b, "none", NULL);
    channel_form_field(&b, "empty", "");
    assert_string_equal(buf_str(&b), "a%20b=1&empty=");
    buf_clear(&b);
    buf_add_char(&b, '{');
    channel_json_member(&b, "none", NULL);
    channel_json_member(&b, "a\"", "\\");
    channel_json_open(&b, "o");
    channel_json_member(&b, "b", "{");
    channel_json_member(&b, "c", "");
    buf_add_str(&b, "}}");
    assert_string_equal(buf_str(&b), "{\"a\\\"\":\"\\\\\",\"o\":{\"b\":\"{\",\"c\":\"\"}}");
    buf_fini(&b);
}

static struct config_account account(const char *base_url, const char *token)
{
    return (struct config_account){.name = "main", .base_url = base_url, .token = token, .timeout_ms = 1000};
}

static void test_channel_wasender_text(void **state)
{
    struct config_account a = account("https://wa.example.test/", "secret");
    struct reply reply = {.message_id = "m-1", .text = "Say \"hi\"\n", .type = REPLY_TEXT};
    struct channel_request r;

    (void)state;
    assert_int_equal(rig_build(&CHANNEL_WASENDER, &a, &reply, "+12025550143", &r), 0);
    assert_string_equal(buf_str(&r.url), "https://wa.example.test/api/send-message");
    assert_string_equal(buf_str(&r.headers[0]), "Authorization: Bearer secret");
    assert_string_equal(buf_str(&r.body), "{\"to\":\"+12025550143\",\"text\":\"Say \\\"hi\\\"\\n\"}");
    channel_request_fini(&r);

    a.base_url = "https://wa.example.test/api";
    assert_int_equal(rig_build(&CHANNEL_WASENDER, &a, &reply, "+12025550143", &r), 0);
    assert_string_equal(buf_str(&r.url), "https://wa.example.test/api/send-message");
    channel_request_fini(&r);
}

static void test_channel_wasender_document(void **state)
{
    struct config_account a = account("", "secret");
    struct reply reply = {.text = "Your invoice",
                          .type = REPLY_DOCUMENT,
                          .attachments = {{.url = "https://files.example.test/a.pdf", .file_name = "a.pdf"}},
                          .attachment_count = 1};
    struct channel_request r;

    (void)state;
    assert_int_equal(rig_build(&CHANNEL_WASENDER, &a, &reply, "+12025550143", &r), 0);
    assert_string_equal(buf_str(&r.body),
                        "{\"to\":\"+12025550143\",\"text\":\"Your invoice\","
                        "\"documentUrl\":\"https://files.example.test/a.pdf\",\"fileName\":\"a.pdf\"}");
    channel_request_fini(&r);
}

static void test_channel_wasender_files(void **state)
{
    static const char *const BODIES[] = {
        "{\"to\":\"+12025550143\",\"documentUrl\":\"https://example.com/a\"}",
        "{\"to\":\"+12025550143\",\"text\":\"second\",\"imageUrl\":"
        "\"https://example.com/b\"}"};
    struct config_account a = account("", "t");
    struct reply two = {
        .attachments = {{.url = "https://example.com/a"},
                        {.url = "https://example.com/b", .mime_type = "image/png", .caption = "second"}},
        .attachment_count = 2};
    struct reply nothing = {.status = REPLY_PARTIAL};

    (void)state;
    rig_expect_parts(&CHANNEL_WASENDER, &a, &two, BODIES, COUNT(BODIES));
    rig_expect_refusal(&CHANNEL_WASENDER, &a, &nothing, "+12025550143", "nothing to send");
    a.channel = CHANNEL_SMS;
    rig_expect_refusal(&CHANNEL_SMS_GATEWAY, &a, &nothing, "+12025550143", "nothing to send");
}

static void test_channel_addresses_that_cannot_be_reached(void **state)
{
    static const char *const ADDRESSES[] = {"98711384416410@lid", "status@broadcast", "1203630@newsletter",
                                            "12025550143", ""};
    struct config_account a = account("https://wa.example.test", "secret");
    struct reply reply = {.text = "x"};
    struct channel_request r;

    (void)state;
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof ADDRESSES[0]; i++) {
        assert_int_equal(rig_build(&CHANNEL_WASENDER, &a, &reply, ADDRESSES[i], &r), -1);
        channel_request_fini(&r);
        assert_int_equal(rig_build(&CHANNEL_SMS_GATEWAY, &a, &reply, ADDRESSES[i], &r), -1);
        channel_request_fini(&r);
    }
}

static void test_channel_sms_gateway_body(void **state)
{
    struct config_account a = account("https://cc.example.test", NULL);
    struct reply reply = {
        .text = "Hello", .attachments = {{.url = "https://files.example.test/a.pdf"}}, .attachment_count = 1};
    struct channel_request r;
    struct err e;
    struct json *doc;

    (void)state;
    a.channel = CHANNEL_SMS;
    assert_int_equal(rig_build(&CHANNEL_SMS_GATEWAY, &a, &reply, "+12025550143", &r), 0);
    assert_string_equal(buf_str(&r.url), "https://cc.example.test/send-sms");
    doc = json_parse(r.body.data, r.body.len, &e);
    assert_non_null(doc);
    assert_string_equal(json_str(json_path(json_root(doc), "to")), "+12025550143");
    assert_string_equal(json_str(json_path(json_root(doc), "message")),
                        "Hello\nhttps://files.example.test/a.pdf");
    assert_string_equal(json_str(json_path(json_root(doc), "workspaceId")), "w-1");
    assert_string_equal(json_str(json_path(json_root(doc), "metadata.contactId")), "c-1");
    assert_true(json_true(json_path(json_root(doc), "metadata.isAiGenerated")));
    assert_string_equal(json_str(json_path(json_root(doc), "metadata.aiLogId")), "j-1");
    json_free(&doc);
    channel_request_fini(&r);
}

static void test_channel_accounts_are_checked(void **state)
{
    static const struct {
        const char *provider;
        enum channel channel;
        const char *token, *url, *path, *expected;
    } ROWS[] = {
        {"wasender", CHANNEL_WHATSAPP, "t", NULL, NULL, NULL},
        {"sms_gateway", CHANNEL_SMS, NULL, "https://sms.example.com", NULL, NULL},
        {"sms_gateway", CHANNEL_SMS, NULL, "https://sms.example.com", "/v2/send?a=b", NULL},
        {"carrier_pigeon", CHANNEL_SMS, NULL, NULL, NULL,
         "unknown provider 'carrier_pigeon' (this program has: "},
        {"wasender", CHANNEL_SMS, "t", NULL, NULL, "does not carry channel 'sms'"},
        {"wasender", CHANNEL_WHATSAPP, NULL, NULL, NULL, "needs a token"},
        {"wasender", CHANNEL_WHATSAPP, "", NULL, NULL, "needs a token"},
        {"sms_gateway", CHANNEL_SMS, NULL, NULL, NULL, "needs base_url"},
        {"sms_gateway", CHANNEL_SMS, NULL, "", NULL, "needs base_url"},
        {"sms_gateway", CHANNEL_SMS, NULL, "https://sms.example.com", ".example.net/",
         "options.path: expected"},
        {"sms_gateway", CHANNEL_SMS, NULL, "https://sms.example.com", "/send sms", "options.path: expected"},
        {"sms_gateway", CHANNEL_SMS, NULL, "https://sms.example.com", "/a#b", "options.path: expected"},
    };
    static struct config c;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        c.channels.account_count = 1;
        c.channels.accounts[0] = (struct config_account){.name = "main",
                                                         .provider = ROWS[i].provider,
                                                         .channel = ROWS[i].channel,
                                                         .token = ROWS[i].token,
                                                         .base_url = ROWS[i].url,
                                                         .option_count = ROWS[i].path != NULL};
        c.channels.accounts[0].options[0].key = "path";
        c.channels.accounts[0].options[0].value = ROWS[i].path;
        if (!ROWS[i].expected) {
            assert_int_equal(channel_check_accounts(&c, &e), 0);
            continue;
        }
        assert_int_equal(channel_check_accounts(&c, &e), -1);
        assert_int_equal(e.class, ERR_CONFIG);
        assert_non_null(strstr(e.text, ROWS[i].expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_wasender_outcomes),
        cmocka_unit_test(test_channel_sms_gateway_outcomes),
        cmocka_unit_test(test_channel_transport_fates),
        cmocka_unit_test(test_channel_detail_is_clean),
        cmocka_unit_test(test_channel_detail_hides_numbers),
        cmocka_unit_test(test_channel_escapes),
        cmocka_unit_test(test_channel_wasender_files),
        cmocka_unit_test(test_channel_wasender_text),
        cmocka_unit_test(test_channel_wasender_document),
        cmocka_unit_test(test_channel_addresses_that_cannot_be_reached),
        cmocka_unit_test(test_channel_sms_gateway_body),
        cmocka_unit_test(test_channel_accounts_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
