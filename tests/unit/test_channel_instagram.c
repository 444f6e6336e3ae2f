/* Instagram: the request, every error code, what an account must have. The website: nothing to build. */
#include "tests/unit/channel_rig.h"

#define P   (&CHANNEL_INSTAGRAM_GRAPH)
#define URL "https://graph.facebook.com/v25.0/17841400000000000/messages"

static struct config_account account(void)
{
    struct config_account a = {.name = "main",
                               .provider = "instagram",
                               .channel = CHANNEL_INSTAGRAM,
                               .token = "IGAA",
                               .base_url = ""};
    return rig_with(a, "account_id", "17841400000000000");
}

static void test_instagram_text(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = HOSTILE};

    (void)state;
    rig_expect(P, &a, &reply, "9876543210123456", URL,
               "{\"recipient\":{\"id\":\"9876543210123456\"},\"messaging_type\":\"RESPONSE\",\"message\":{"
               "\"text\":" HOSTILE_JSON "}}");
    a = rig_with(a, "api_version", "v26.0");
    a.base_url = "https://graph.example.test/";
    rig_expect(P, &a, &(struct reply){.text = "x"}, "1",
               "https://graph.example.test/v26.0/17841400000000000/messages",
               "{\"recipient\":{\"id\":\"1\"},\"messaging_type\":\"RESPONSE\",\"message\":{\"text\":\"x\"}}");
}

/* The text goes before the file, which has no caption. */
static void test_instagram_file(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = "look",
                          .type = REPLY_IMAGE,
                          .attachments = {{.url = "https://example.com/a.jpg", .mime_type = "image/jpeg"}},
                          .attachment_count = 1};
    struct channel_send s = {.account = &a, .reply = &reply, .address = "5", .message_id = "m-1"};
    struct channel_request r;
    size_t count;

    (void)state;
    assert_int_equal(rig_build_part(P, &s, 0, &r, &count), 0);
    assert_int_equal(count, 2);
    assert_string_equal(
        buf_str(&r.body),
        "{\"recipient\":{\"id\":\"5\"},\"messaging_type\":\"RESPONSE\",\"message\":{\"text\":\"look\"}}");
    channel_request_fini(&r);
    assert_int_equal(rig_build_part(P, &s, 1, &r, &count), 0);
    assert_string_equal(buf_str(&r.body), "{\"recipient\":{\"id\":\"5\"},\"messaging_type\":\"RESPONSE\","
                                          "\"message\":{\"attachment\":{\"type\":\"image\","
                                          "\"payload\":{\"url\":\"https://example.com/a.jpg\"}}}}");
    channel_request_fini(&r);
    reply.type = REPLY_DOCUMENT;
    reply.attachments[0].mime_type = "application/pdf";
    assert_int_equal(rig_build_part(P, &s, 1, &r, &count), 0);
    assert_non_null(strstr(buf_str(&r.body), "\"type\":\"file\""));
    channel_request_fini(&r);
}

/* The limit is in bytes. */
static void test_instagram_limit(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = rig_text(1000)};
    struct channel_send s = {.account = &a, .reply = &reply, .address = "5", .message_id = "m-1"};
    char wide[2 * 501 + 1] = "";
    struct channel_request r;
    size_t count;

    (void)state;
    assert_int_equal(rig_build_part(P, &s, 0, &r, &count), 0);
    assert_int_equal(count, 1);
    channel_request_fini(&r);
    for (size_t i = 0; i < 501; i++)
        memcpy(wide + 2 * i, "\xc3\xa9", 3);
    reply.text = wide;
    assert_int_equal(rig_build_part(P, &s, 0, &r, &count), 0);
    assert_int_equal(count, 2);
    channel_request_fini(&r);
}

static void test_instagram_addresses(void **state)
{
    static const char *const BAD[] = {"",       "+12025550143", "12025550143@s.whatsapp.net",
                                      "1/../2", "abc",          "1 2"};
    struct config_account a = account();
    struct reply reply = {.text = "x"};

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++)
        rig_expect_refusal(P, &a, &reply, BAD[i], "Instagram-scoped id");
}

static void test_instagram_answers(void **state)
{
    static const struct {
        struct rig_row row;
        enum channel_block block;
    } ROWS[] = {
        {{200, "{\"recipient_id\":\"5\",\"message_id\":\"aWdfZAG1faXRlbT\"}", OUTCOME_DELIVERED, 0, "200",
          "aWdfZAG1faXRlbT"},
         BLOCK_NONE},
        {{200, "{\"recipient_id\":\"5\"}", OUTCOME_UNCERTAIN, 0, "200", ""}, BLOCK_NONE},
        {{200, "<html>", OUTCOME_UNCERTAIN, 0, "200", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":10,\"error_subcode\":2018278}}", OUTCOME_PERMFAIL, 0, "10", ""},
         BLOCK_WINDOW},
        {{403, "{\"error\":{\"code\":10}}", OUTCOME_AUTH, 0, "10", ""}, BLOCK_NONE},
        {{403, "{\"error\":{\"code\":10,\"error_subcode\":33}}", OUTCOME_AUTH, 0, "10", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":551,\"error_subcode\":1545041}}", OUTCOME_PERMFAIL, 0, "551", ""},
         BLOCK_UNREACHABLE},
        {{403, "{\"error\":{\"code\":200,\"error_subcode\":1545041}}", OUTCOME_PERMFAIL, 0, "200", ""},
         BLOCK_UNREACHABLE},
        {{403, "{\"error\":{\"code\":200,\"error_subcode\":2018108}}", OUTCOME_PERMFAIL, 0, "200", ""},
         BLOCK_UNREACHABLE},
        {{403, "{\"error\":{\"code\":200}}", OUTCOME_AUTH, 0, "200", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":100,\"error_subcode\":2018001}}", OUTCOME_PERMFAIL, 0, "100", ""},
         BLOCK_UNREACHABLE},
        {{400, "{\"error\":{\"code\":100,\"error_subcode\":33}}", OUTCOME_AUTH, 0, "100", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":100}}", OUTCOME_PERMFAIL, 0, "100", ""}, BLOCK_NONE},
        {{401, "{\"error\":{\"code\":190}}", OUTCOME_AUTH, 0, "190", ""}, BLOCK_NONE},
        {{401, "{\"error\":{\"code\":0}}", OUTCOME_AUTH, 0, "0", ""}, BLOCK_NONE},
        {{403, "{\"error\":{\"code\":368}}", OUTCOME_AUTH, 0, "368", ""}, BLOCK_NONE},
        {{500, "{\"error\":{\"code\":3}}", OUTCOME_AUTH, 0, "3", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":1}}", OUTCOME_TEMPFAIL, 5, "1", ""}, BLOCK_NONE},
        {{503, "{\"error\":{\"code\":2}}", OUTCOME_TEMPFAIL, 5, "2", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":1200}}", OUTCOME_TEMPFAIL, 5, "1200", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":4}}", OUTCOME_THROTTLED, 60, "4", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":17}}", OUTCOME_THROTTLED, 60, "17", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":32}}", OUTCOME_THROTTLED, 60, "32", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":613}}", OUTCOME_THROTTLED, 60, "613", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":80006}}", OUTCOME_THROTTLED, 60, "80006", ""}, BLOCK_NONE},
        {{429, "", OUTCOME_THROTTLED, 30, "429", ""}, BLOCK_NONE},
        {{400, "{\"error\":{\"code\":777,\"is_transient\":true}}", OUTCOME_TEMPFAIL, 5, "777", ""},
         BLOCK_NONE},
        {{400, "{\"error\":{\"code\":777}}", OUTCOME_PERMFAIL, 0, "777", ""}, BLOCK_NONE},
        {{502, "<html>", OUTCOME_TEMPFAIL, 0, "502", ""}, BLOCK_NONE},
        {{404, "", OUTCOME_AUTH, 0, "404", ""}, BLOCK_NONE},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        rig_check_row(P, &ROWS[i].row);
        struct channel_verdict v =
            rig_judge(P, (struct rig_answer){ROWS[i].row.status, ROWS[i].row.body, -1});
        if (v.block != ROWS[i].block)
            fail_msg("%s: block %d", ROWS[i].row.body, (int)v.block);
    }
}

static void test_instagram_accounts(void **state)
{
    struct config_account a = account();

    (void)state;
    rig_check_account(&a, NULL);
    a.token = NULL;
    rig_check_account(&a, "token");
    a = account();
    a.option_count = 0;
    rig_check_account(&a, "account_id");
    a = rig_with(account(), "api_version", "25");
    rig_check_account(&a, "api_version");
    a = account();
    a.channel = CHANNEL_WHATSAPP;
    rig_check_account(&a, "does not carry");
}

static void test_website_account(void **state)
{
    struct config_account a = {
        .name = "main", .provider = "website", .channel = CHANNEL_WEBSITE, .base_url = ""};

    (void)state;
    rig_check_account(&a, NULL);
    assert_null(CHANNEL_WEBSITE_WIDGET.build);
    a.channel = CHANNEL_SMS;
    rig_check_account(&a, "does not carry");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instagram_text),    cmocka_unit_test(test_instagram_file),
        cmocka_unit_test(test_instagram_limit),   cmocka_unit_test(test_instagram_addresses),
        cmocka_unit_test(test_instagram_answers), cmocka_unit_test(test_instagram_accounts),
        cmocka_unit_test(test_website_account),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
