/* The WhatsApp Cloud API: every error code, every body, what an account must have. */
#include "tests/unit/channel_rig.h"

#define P    (&CHANNEL_WHATSAPP_CLOUD)
#define URL  "https://graph.facebook.com/v25.0/106540352242922/messages"
#define HEAD "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"12025550143\","
#define TAIL ",\"biz_opaque_callback_data\":\"m-1\"}"

static struct config_account account(void)
{
    struct config_account a = {.name = "main",
                               .provider = "whatsapp_cloud",
                               .channel = CHANNEL_WHATSAPP,
                               .token = "EAAG",
                               .base_url = ""};
    return rig_with(a, "phone_number_id", "106540352242922");
}

/* --- answers --- */

/* By code, with the status that Meta documents and with others: the code decides. */
static void test_cloud_codes(void **state)
{
    static const struct {
        int code, status;
        enum outcome outcome;
        int wait_s;
    } ROWS[] = {
        {0, 401, OUTCOME_AUTH, 0},
        {190, 401, OUTCOME_AUTH, 0},
        {3, 500, OUTCOME_AUTH, 0},
        {10, 403, OUTCOME_AUTH, 0},
        {200, 403, OUTCOME_AUTH, 0},
        {250, 403, OUTCOME_AUTH, 0},
        {299, 403, OUTCOME_AUTH, 0},
        {131005, 403, OUTCOME_AUTH, 0},
        {368, 403, OUTCOME_AUTH, 0},
        {131031, 403, OUTCOME_AUTH, 0},
        {130497, 403, OUTCOME_PERMFAIL, 0},
        {131042, 400, OUTCOME_AUTH, 0},
        {131045, 500, OUTCOME_AUTH, 0},
        {133010, 400, OUTCOME_AUTH, 0},
        {133000, 500, OUTCOME_AUTH, 0},
        {133005, 400, OUTCOME_AUTH, 0},
        {133006, 400, OUTCOME_AUTH, 0},
        {133008, 400, OUTCOME_AUTH, 0},
        {133009, 400, OUTCOME_AUTH, 0},
        {133015, 400, OUTCOME_AUTH, 0},
        {133016, 400, OUTCOME_AUTH, 0},
        {33, 400, OUTCOME_AUTH, 0},
        {4, 429, OUTCOME_THROTTLED, 60},
        {4, 400, OUTCOME_THROTTLED, 60},
        {80007, 400, OUTCOME_THROTTLED, 60},
        {130429, 429, OUTCOME_THROTTLED, 2},
        {130429, 400, OUTCOME_THROTTLED, 2},
        {131048, 400, OUTCOME_THROTTLED, 900},
        {131056, 400, OUTCOME_THROTTLED, 4},
        {131056, 403, OUTCOME_THROTTLED, 4},
        {131056, 429, OUTCOME_THROTTLED, 4},
        {131057, 500, OUTCOME_TEMPFAIL, 60},
        {1, 400, OUTCOME_TEMPFAIL, 5},
        {2, 503, OUTCOME_TEMPFAIL, 5},
        {131000, 500, OUTCOME_TEMPFAIL, 5},
        {131016, 500, OUTCOME_TEMPFAIL, 5},
        {133004, 503, OUTCOME_TEMPFAIL, 10},
        {135000, 400, OUTCOME_PERMFAIL, 0},
        {100, 400, OUTCOME_PERMFAIL, 0},
        {131008, 400, OUTCOME_PERMFAIL, 0},
        {131009, 400, OUTCOME_PERMFAIL, 0},
        {131021, 400, OUTCOME_PERMFAIL, 0},
        {131026, 400, OUTCOME_PERMFAIL, 0},
        {131030, 400, OUTCOME_PERMFAIL, 0},
        {131047, 400, OUTCOME_PERMFAIL, 0},
        {131049, 400, OUTCOME_PERMFAIL, 0},
        {131050, 400, OUTCOME_PERMFAIL, 0},
        {130472, 400, OUTCOME_PERMFAIL, 0},
        {131051, 400, OUTCOME_PERMFAIL, 0},
        {131052, 400, OUTCOME_TEMPFAIL, 30},
        {131053, 400, OUTCOME_PERMFAIL, 0},
        {132000, 400, OUTCOME_PERMFAIL, 0},
        {132001, 404, OUTCOME_PERMFAIL, 0},
        {132005, 400, OUTCOME_PERMFAIL, 0},
        {132007, 400, OUTCOME_PERMFAIL, 0},
        {132012, 400, OUTCOME_PERMFAIL, 0},
        {132015, 400, OUTCOME_PERMFAIL, 0},
        {132016, 400, OUTCOME_PERMFAIL, 0},
        {132068, 400, OUTCOME_PERMFAIL, 0},
        {132069, 400, OUTCOME_THROTTLED, 300},
        {131047, 200, OUTCOME_PERMFAIL, 0}, /* an error is one whatever the status says */
        /* not in the table */
        {999999, 500, OUTCOME_TEMPFAIL, 5},
        {999999, 503, OUTCOME_TEMPFAIL, 5},
        {999999, 429, OUTCOME_THROTTLED, 30},
        {999999, 400, OUTCOME_PERMFAIL, 0},
        {999999, 403, OUTCOME_PERMFAIL, 0},
        {999999, 404, OUTCOME_PERMFAIL, 0},
        {999999, 401, OUTCOME_AUTH, 0},
        {999999, 200, OUTCOME_PERMFAIL, 0},
        {199, 400, OUTCOME_PERMFAIL, 0},
        {300, 400, OUTCOME_PERMFAIL, 0},
        {-1, 400, OUTCOME_PERMFAIL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        char number[16], text[16], body[256];
        const char *const spellings[] = {number, text};
        snprintf(number, sizeof number, "%d", ROWS[i].code);
        snprintf(text, sizeof text, "\"%d\"", ROWS[i].code);
        for (size_t j = 0; j < (ROWS[i].code < 0 ? 1 : COUNT(spellings)); j++) {
            snprintf(body, sizeof body,
                     "{\"error\":{\"message\":\"(#%d) words\",\"type\":\"OAuthException\",\"code\":%s,"
                     "\"fbtrace_id\":\"A\"}}",
                     ROWS[i].code, spellings[j]);
            rig_check_row(
                P, &(struct rig_row){ROWS[i].status, body, ROWS[i].outcome, ROWS[i].wait_s, number, ""});
        }
    }
}

static void test_cloud_answers(void **state)
{
    static const struct rig_row ROWS[] = {
        {200,
         "{\"messaging_product\":\"whatsapp\",\"contacts\":[{\"input\":\"+12025550143\",\"wa_id\":"
         "\"12025550143\"}],"
         "\"messages\":[{\"id\":\"wamid.HBgL\",\"message_status\":\"accepted\"}]}",
         OUTCOME_DELIVERED, 0, "200", "wamid.HBgL"},
        {200, "{\"messages\":[]}", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "{\"messages\":[{\"id\":5}]}", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "<html>", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "{\"error\":{}}", OUTCOME_UNCERTAIN, 0, "200", ""},
        {500, "{\"messages\":[{\"id\":\"wamid.HBgL\"}]}", OUTCOME_TEMPFAIL, 0, "500", ""},
        /* transient whatever the status; a code that is known keeps its line */
        {400, "{\"error\":{\"code\":777,\"is_transient\":true}}", OUTCOME_TEMPFAIL, 5, "777", ""},
        {400, "{\"error\":{\"code\":100,\"is_transient\":true}}", OUTCOME_PERMFAIL, 0, "100", ""},
        /* a phone number id that does not exist */
        {400, "{\"error\":{\"code\":100,\"error_subcode\":33}}", OUTCOME_AUTH, 0, "100", ""},
        {400, "{\"error\":{\"code\":100,\"error_subcode\":2494055}}", OUTCOME_PERMFAIL, 0, "100", ""},
        /* no body that could be read */
        {401, "", OUTCOME_AUTH, 0, "401", ""},
        {403, "<html>", OUTCOME_AUTH, 0, "403", ""},
        {404, "", OUTCOME_AUTH, 0, "404", ""},
        {408, "", OUTCOME_TEMPFAIL, 0, "408", ""},
        {425, "", OUTCOME_TEMPFAIL, 0, "425", ""},
        {429, "", OUTCOME_THROTTLED, 30, "429", ""},
        {500, "{\"error\":\"words\"}", OUTCOME_TEMPFAIL, 0, "500", ""},
        {502, "<html>", OUTCOME_TEMPFAIL, 0, "502", ""},
        {503, "", OUTCOME_TEMPFAIL, 0, "503", ""},
        {504, "{\"error\":{\"message\":\"no code\"}}", OUTCOME_TEMPFAIL, 0, "504", ""},
        {413, "", OUTCOME_PERMFAIL, 0, "413", ""},
        {400, "[1]", OUTCOME_PERMFAIL, 0, "400", ""},
    };

    (void)state;
    rig_check_rows(P, ROWS, COUNT(ROWS));
}

static void test_cloud_retry_after_comes_first(void **state)
{
    (void)state;
    struct channel_verdict v = rig_judge(P, (struct rig_answer){429, "{\"error\":{\"code\":130429}}", 7000});
    assert_int_equal(v.outcome, OUTCOME_THROTTLED);
    assert_int_equal(v.retry_after_ms, 7000);
    v = rig_judge(P, (struct rig_answer){503, "", 0});
    assert_int_equal(v.retry_after_ms, 0);
}

static void test_cloud_detail(void **state)
{
    (void)state;
    struct channel_verdict v = rig_judge(
        P, (struct rig_answer){400,
                               "{\"error\":{\"code\":131056,\"message\":\"(#131056) pair rate limit hit\","
                               "\"error_data\":{\"details\":\"too many to 12025550143\"}}}",
                               -1});
    assert_string_equal(v.detail, "too many to ********143");
    v = rig_judge(P,
                  (struct rig_answer){400, "{\"error\":{\"code\":131056,\"message\":\"pair rate\\n\"}}", -1});
    assert_string_equal(v.detail, "pair rate ");
    v = rig_judge(P, (struct rig_answer){400, "{\"error\":{\"code\":131056}}", -1});
    assert_string_equal(v.detail, "too many messages to this user");
    v = rig_judge(P, (struct rig_answer){502, "<html>", -1});
    assert_string_equal(v.detail, "no readable answer");
}

static void test_cloud_id_of_any_length(void **state)
{
    char body[512], id[CHANNEL_ID_SIZE + 1];

    (void)state;
    for (size_t len = CHANNEL_ID_SIZE - 1; len <= CHANNEL_ID_SIZE; len++) {
        memset(id, 'x', len);
        id[len] = '\0';
        snprintf(body, sizeof body, "{\"messages\":[{\"id\":\"%s\"}]}", id);
        struct channel_verdict v = rig_judge(P, (struct rig_answer){200, body, -1});
        assert_int_equal(v.outcome, OUTCOME_DELIVERED);
        assert_string_equal(v.provider_id, len < CHANNEL_ID_SIZE ? id : "");
    }
}

/* --- requests --- */

static void test_cloud_bodies(void **state)
{
    struct config_account a = account();
    struct reply text = {.text = "Hello"};
    struct reply hostile = {.text = HOSTILE};
    struct reply image = {.text = "look",
                          .type = REPLY_IMAGE,
                          .attachments = {{.url = "https://example.com/a.jpg", .file_name = "a.jpg"}},
                          .attachment_count = 1};
    struct reply document = {.attachments = {{.url = "https://example.com/a.pdf",
                                              .file_name = HOSTILE,
                                              .caption = "invoice",
                                              .mime_type = "application/pdf"}},
                             .attachment_count = 1};
    struct reply bare = {.attachments = {{.url = "https://example.com/a?b=\"c\"", .mime_type = "image/png"}},
                         .attachment_count = 1};

    (void)state;
    rig_expect(P, &a, &text, "+12025550143", URL,
               HEAD "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"Hello\"}" TAIL);
    rig_expect(P, &a, &hostile, "+12025550143", URL,
               HEAD "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":" HOSTILE_JSON "}" TAIL);
    rig_expect(
        P, &a, &image, "+12025550143", URL,
        HEAD
        "\"type\":\"image\",\"image\":{\"link\":\"https://example.com/a.jpg\",\"caption\":\"look\"}" TAIL);
    rig_expect(
        P, &a, &document, "+12025550143", URL,
        HEAD
        "\"type\":\"document\",\"document\":{\"link\":\"https://example.com/a.pdf\",\"caption\":\"invoice\","
        "\"filename\":" HOSTILE_JSON "}" TAIL);
    rig_expect(P, &a, &bare, "+12025550143", URL,
               HEAD "\"type\":\"image\",\"image\":{\"link\":\"https://example.com/a?b=\\\"c\\\"\"}" TAIL);
}

static void test_cloud_quotes(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = "yes"};
    struct channel_send s = {.account = &a,
                             .reply = &reply,
                             .address = "+12025550143",
                             .message_id = "m-1",
                             .quoted_id = "wamid.\"x"};
    struct channel_request r;
    size_t count;

    (void)state;
    assert_int_equal(rig_build_part(P, &s, 0, &r, &count), 0);
    assert_string_equal(buf_str(&r.body),
                        HEAD "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"yes\"},"
                             "\"context\":{\"message_id\":\"wamid.\\\"x\"}" TAIL);
    channel_request_fini(&r);
}

static void test_cloud_url_and_headers(void **state)
{
    static const char *const HEADERS[] = {"Authorization: Bearer EAAG", "Content-Type: application/json",
                                          "Accept: application/json"};
    struct config_account a = rig_with(account(), "api_version", "v26.0");
    struct reply reply = {.text = "x"};

    (void)state;
    a.base_url = "http://127.0.0.1:8080//";
    rig_expect_headers(P, &a, HEADERS, COUNT(HEADERS));
    rig_expect(P, &a, &reply, "12025550143:3@s.whatsapp.net",
               "http://127.0.0.1:8080/v26.0/106540352242922/messages",
               HEAD "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"x\"}" TAIL);
}

static void test_cloud_addresses(void **state)
{
    static const char *const ADDRESSES[] = {
        "98711384416410@lid", "120363000000000000@g.us", "status@broadcast",     "1203630@newsletter",
        "12025550143",        "01234567@s.whatsapp.net", "+12025550143\r\nX: y", ""};
    struct config_account a = account();
    struct reply reply = {.text = "x"};

    (void)state;
    for (size_t i = 0; i < COUNT(ADDRESSES); i++)
        rig_expect_refusal(P, &a, &reply, ADDRESSES[i], "no phone number");
}

static void test_cloud_user_ids(void **state)
{
    static const char *const BAD[] = {"us.1", "USA.1", "US.", "US.1\r\nX: y", "US.1/2", "98711384416410@lid"};
    struct config_account off = account(), on = rig_with(account(), "send_by_user_id", "true");
    struct reply reply = {.text = "x"};

    (void)state;
    rig_expect_refusal(P, &off, &reply, "US.13491208655302741918", "no phone number");
    rig_expect(P, &on, &reply, "US.ENT.118aB", URL,
               "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"recipient\":"
               "\"US.ENT.118aB\",\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"x\"}" TAIL);
    rig_expect(P, &on, &reply, "+12025550143", URL,
               HEAD "\"type\":\"text\",\"text\":{\"preview_url\":false,\"body\":\"x\"}" TAIL);
    for (size_t i = 0; i < COUNT(BAD); i++)
        rig_expect_refusal(P, &on, &reply, BAD[i], "no phone number");
    on = rig_with(account(), "send_by_user_id", "yes");
    rig_check_account(&on, "options.send_by_user_id: expected true or false");
}

static void test_cloud_limits(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = rig_text(4096)};

    (void)state;
    assert_int_equal(rig_count_parts(P, &a, &reply), 1);
    reply.text = rig_text(4097);
    assert_int_equal(rig_count_parts(P, &a, &reply), 2);
    /* an emoji is two units */
    char text[4095 + 4 + 1];
    memcpy(text, rig_text(4095), 4095);
    memcpy(text + 4095, "\xf0\x9f\x98\x80", 5);
    reply.text = text;
    assert_int_equal(rig_count_parts(P, &a, &reply), 2);
    reply.text = text + 1;
    assert_int_equal(rig_count_parts(P, &a, &reply), 1);

    reply = (struct reply){
        .text = rig_text(1024), .attachments = {{.url = "https://example.com/a.pdf"}}, .attachment_count = 1};
    assert_int_equal(rig_count_parts(P, &a, &reply), 1);
    reply.text = rig_text(1025);
    assert_int_equal(rig_count_parts(P, &a, &reply), 2);
    reply.text = NULL;
    reply.attachments[0].caption = rig_text(1025);
    assert_int_equal(rig_count_parts(P, &a, &reply), 2);
    reply = (struct reply){.status = REPLY_PARTIAL};
    rig_expect_refusal(P, &a, &reply, "+12025550143", "nothing to send");
}

static void test_cloud_parts(void **state)
{
    static const char *const BODIES[] = {
        HEAD "\"type\":\"image\",\"image\":{\"link\":\"https://example.com/a\",\"caption\":\"look\"}" TAIL,
        HEAD "\"type\":\"document\",\"document\":{\"link\":\"https://example.com/b\",\"caption\":\"and\","
             "\"filename\":\"b.pdf\"}" TAIL,
        HEAD "\"type\":\"image\",\"image\":{\"link\":\"https://example.com/c\"}" TAIL};
    struct config_account a = account();
    struct reply reply = {.text = "look",
                          .type = REPLY_IMAGE,
                          .attachments = {{.url = "https://example.com/a"},
                                          {.url = "https://example.com/b",
                                           .mime_type = "application/pdf",
                                           .file_name = "b.pdf",
                                           .caption = "and"},
                                          {.url = "https://example.com/c"}},
                          .attachment_count = 3};

    (void)state;
    rig_expect_parts(P, &a, &reply, BODIES, COUNT(BODIES));
}

/* --- accounts --- */

static void test_cloud_accounts(void **state)
{
    static const char *const BAD_VERSIONS[] = {"25.0", "v25",   "v25.",  "v25.00",     "v250.0",
                                               "v.0",  "V25.0", "v2 .0", "v25.0/../x", ""};
    static const char *const BAD_IDS[] = {"",   "+12025550143", "12 3",
                                          "me", "1/2",          "123456789012345678901234567890123"};
    struct config_account a = account(), plain = account();

    (void)state;
    rig_check_account(&a, NULL);
    a = rig_with(account(), "api_version", "v9.0");
    rig_check_account(&a, NULL);
    for (size_t i = 0; i < COUNT(BAD_VERSIONS); i++) {
        a = rig_with(account(), "api_version", BAD_VERSIONS[i]);
        rig_check_account(&a, "options.api_version");
    }
    plain.option_count = 0;
    rig_check_account(&plain, "options.phone_number_id");
    for (size_t i = 0; i < COUNT(BAD_IDS); i++) {
        a = rig_with(plain, "phone_number_id", BAD_IDS[i]);
        rig_check_account(&a, "options.phone_number_id");
    }
    a = account();
    a.token = NULL;
    rig_check_account(&a, "needs a token");
    a.token = "EA\r\nX-Other: 1";
    rig_check_account(&a, "token contains a control character");
    a = account();
    a.channel = CHANNEL_SMS;
    rig_check_account(&a, "does not carry channel 'sms'");
    a = rig_with(account(), "phone_number", "x");
    rig_check_account(&a, "has no option 'phone_number'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cloud_codes),
        cmocka_unit_test(test_cloud_answers),
        cmocka_unit_test(test_cloud_retry_after_comes_first),
        cmocka_unit_test(test_cloud_detail),
        cmocka_unit_test(test_cloud_id_of_any_length),
        cmocka_unit_test(test_cloud_bodies),
        cmocka_unit_test(test_cloud_quotes),
        cmocka_unit_test(test_cloud_url_and_headers),
        cmocka_unit_test(test_cloud_addresses),
        cmocka_unit_test(test_cloud_user_ids),
        cmocka_unit_test(test_cloud_limits),
        cmocka_unit_test(test_cloud_parts),
        cmocka_unit_test(test_cloud_accounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
