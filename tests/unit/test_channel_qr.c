/* The self-hosted WhatsApp services: every answer of the three presets, their bodies, paths and addresses,
 * what an account must have. */
#include "tests/unit/channel_rig.h"

#define P    (&CHANNEL_WHATSAPP_QR)
#define BASE "http://qr.example.test:8080"

/* preset NULL: the default, evolution */
static struct config_account account(const char *preset)
{
    struct config_account a = {.name = "main",
                               .provider = "whatsapp_qr",
                               .channel = CHANNEL_WHATSAPP,
                               .base_url = BASE "/",
                               .token = "key"};
    a = preset ? rig_with(a, "preset", preset) : a;
    return preset ? a : rig_with(a, "instance", "shop");
}

/* --- answers --- */

static void test_qr_taken(void **state)
{
    static const struct rig_row ROWS[] = {
        {201,
         "{\"key\":{\"remoteJid\":\"12025550143@s.whatsapp.net\",\"fromMe\":true,\"id\":\"BAE594145F4C59B4\"}"
         ","
         "\"message\":{\"conversation\":\"x\"},\"messageTimestamp\":\"1717689097\",\"status\":\"PENDING\"}",
         OUTCOME_DELIVERED, 0, "201", "BAE594145F4C59B4"},
        {200, "{\"key\":{\"id\":\"BAE5\"}}", OUTCOME_DELIVERED, 0, "200", "BAE5"},
        {201, "{\"id\":\"true_12025550143@c.us_AAAA\",\"fromMe\":true,\"ack\":1}", OUTCOME_DELIVERED, 0,
         "201", "true_12025550143@c.us_AAAA"},
        {201, "{\"id\":{\"fromMe\":true,\"_serialized\":\"true_12025550143@c.us_AAAA\"}}", OUTCOME_DELIVERED,
         0, "201", "true_12025550143@c.us_AAAA"},
        {200, "{\"success\":true,\"response\":\"true_12025550143@c.us_3EB0\"}", OUTCOME_DELIVERED, 0, "200",
         "true_12025550143@c.us_3EB0"},
        {201, "{}", OUTCOME_DELIVERED, 0, "201", ""},
        {201, "{\"id\":7,\"key\":\"x\"}", OUTCOME_DELIVERED, 0, "201", ""},
        {200, "<html>", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "", OUTCOME_UNCERTAIN, 0, "200", ""},
        {200, "[]", OUTCOME_UNCERTAIN, 0, "200", ""},
    };

    (void)state;
    rig_check_rows(P, ROWS, COUNT(ROWS));
}

static void test_qr_refused(void **state)
{
    static const struct rig_row ROWS[] = {
        /* evolution */
        {400,
         "{\"status\":400,\"error\":\"Bad Request\",\"response\":{\"message\":[{\"jid\":"
         "\"12025550143@s.whatsapp.net\",\"exists\":false,\"number\":\"12025550143\"}]}}",
         OUTCOME_TEMPFAIL, 60, "400", ""},
        {400, "{\"response\":{\"message\":[{\"exists\":true}]}}", OUTCOME_PERMFAIL, 0, "400", ""},
        {400, "{\"response\":{\"message\":[\"The \\\"shop\\\" instance is not connected\"]}}", OUTCOME_AUTH,
         30, "400", ""},
        {400, "{\"response\":{\"message\":\"Instance IS NOT CONNECTED\"}}", OUTCOME_AUTH, 30, "400", ""},
        {500,
         "{\"status\":500,\"error\":\"Internal Server Error\",\"response\":{\"message\":\"Connection "
         "Closed\"}}",
         OUTCOME_AUTH, 30, "500", ""},
        {500, "{\"status\":500,\"error\":\"Internal Server Error\",\"response\":{\"message\":[]}}",
         OUTCOME_TEMPFAIL, 0, "500", ""},
        {400, "{\"response\":{\"message\":[[\"instance requires property \\\"text\\\"\"]]}}",
         OUTCOME_PERMFAIL, 0, "400", ""},
        {401, "{\"status\":401,\"error\":\"Unauthorized\"}", OUTCOME_AUTH, 0, "401", ""},
        {403, "", OUTCOME_AUTH, 0, "403", ""},
        {404, "{\"response\":{\"message\":[\"The \\\"shop\\\" instance does not exist\"]}}", OUTCOME_AUTH, 0,
         "404", ""},
        /* waha; it repeats our request, which is not to be believed */
        {422,
         "{\"error\":\"Session status is not as expected. Try again later or restart the "
         "session\",\"session\":"
         "\"default\",\"status\":\"STARTING\",\"expected\":[\"WORKING\"]}",
         OUTCOME_AUTH, 30, "422", ""},
        {422, "{\"error\":\"chatId must be a string\"}", OUTCOME_PERMFAIL, 0, "422", ""},
        {500,
         "{\"statusCode\":500,\"exception\":{\"message\":\"Evaluation failed: server returned error 463\"}}",
         OUTCOME_AUTH, 3600, "500", ""},
        {500, "{\"statusCode\":500,\"request\":{\"body\":{\"text\":\"error 463, Connection Closed\"}}}",
         OUTCOME_TEMPFAIL, 0, "500", ""},
        {500, "{\"statusCode\":500,\"exception\":{\"message\":\"other\"}}", OUTCOME_TEMPFAIL, 0, "500", ""},
        {400, "{\"message\":[\"text must be a string\"],\"statusCode\":400}", OUTCOME_PERMFAIL, 0, "400", ""},
        /* openwa */
        {401, "{\"error\":\"unauthorised\"}", OUTCOME_AUTH, 0, "401", ""},
        {500, "{\"success\":false,\"error\":{\"name\":\"E\",\"message\":\"no chat\"}}", OUTCOME_TEMPFAIL, 0,
         "500", ""},
        {200, "{\"success\":false,\"error\":{\"name\":\"E\",\"message\":\"no chat\"}}", OUTCOME_TEMPFAIL, 0,
         "200", ""},
        {200, "{\"success\":false,\"error\":{\"message\":\"Phone is not connected\"}}", OUTCOME_AUTH, 30,
         "200", ""},
        /* all */
        {400, "", OUTCOME_PERMFAIL, 0, "400", ""},
        {402, "", OUTCOME_AUTH, 0, "402", ""},
        {408, "", OUTCOME_TEMPFAIL, 0, "408", ""},
        {413, "", OUTCOME_PERMFAIL, 0, "413", ""},
        {415, "", OUTCOME_PERMFAIL, 0, "415", ""},
        {425, "", OUTCOME_TEMPFAIL, 0, "425", ""},
        {429, "", OUTCOME_THROTTLED, 10, "429", ""},
        {502, "<html>Connection Closed</html>", OUTCOME_TEMPFAIL, 0, "502", ""},
        {503, "", OUTCOME_TEMPFAIL, 0, "503", ""},
        {504, "", OUTCOME_TEMPFAIL, 0, "504", ""},
        {302, "", OUTCOME_AUTH, 0, "302", ""},
    };

    (void)state;
    rig_check_rows(P, ROWS, COUNT(ROWS));
}

static void test_qr_details(void **state)
{
    static const struct {
        const char *body, *detail;
    } ROWS[] = {
        {"{\"response\":{\"message\":[{\"jid\":\"12025550143@s.whatsapp.net\",\"exists\":false}]}}",
         "the number is not on WhatsApp"},
        {"{\"error\":\"Bad Request\",\"response\":{\"message\":[\"said first\"]}}", "said first"},
        {"{\"error\":\"Bad Request\",\"response\":{\"message\":\"said\"}}", "said"},
        {"{\"error\":\"Bad Request\"}", "Bad Request"},
        {"{\"error\":{\"message\":\"no chat with 12025550143@c.us\"}}", "no chat with ********143@c.us"},
        {"{\"exception\":{\"message\":\"deep\"},\"message\":\"shallow\"}", "deep"},
        {"nothing", "no readable answer"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct channel_verdict v = rig_judge(P, (struct rig_answer){400, ROWS[i].body, -1});
        assert_string_equal(v.detail, ROWS[i].detail);
    }
    struct channel_verdict v = rig_judge(P, (struct rig_answer){429, "", 4000});
    assert_int_equal(v.retry_after_ms, 4000);
}

/* --- requests --- */

static const struct reply TEXT = {.text = HOSTILE};
static const struct reply IMAGE = {
    .text = "look",
    .type = REPLY_IMAGE,
    .attachments = {{.url = "https://example.com/a.jpg", .mime_type = "image/jpeg", .file_name = "b.jpg"}},
    .attachment_count = 1};
static const struct reply DOCUMENT = {.type = REPLY_DOCUMENT,
                                      .attachments = {{.url = "https://example.com/x/a.pdf?v=1#p"}},
                                      .attachment_count = 1};

static void test_qr_evolution_bodies(void **state)
{
    struct config_account a = account(NULL);

    (void)state;
    rig_expect(P, &a, &TEXT, "+12025550143", BASE "/message/sendText/shop",
               "{\"number\":\"12025550143\",\"text\":" HOSTILE_JSON "}");
    rig_expect(P, &a, &IMAGE, "+12025550143", BASE "/message/sendMedia/shop",
               "{\"number\":\"12025550143\",\"mediatype\":\"image\",\"mimetype\":\"image/"
               "jpeg\",\"caption\":\"look\","
               "\"media\":\"https://example.com/a.jpg\",\"fileName\":\"b.jpg\"}");
    rig_expect(P, &a, &DOCUMENT, "+12025550143", BASE "/message/sendMedia/shop",
               "{\"number\":\"12025550143\",\"mediatype\":\"document\",\"caption\":\"\","
               "\"media\":\"https://example.com/x/a.pdf?v=1#p\",\"fileName\":\"a.pdf\"}");
}

static void test_qr_waha_bodies(void **state)
{
    struct config_account a = account("waha");

    (void)state;
    rig_expect(P, &a, &TEXT, "+12025550143", BASE "/api/sendText",
               "{\"session\":\"default\",\"chatId\":\"12025550143@c.us\",\"text\":" HOSTILE_JSON "}");
    rig_expect(P, &a, &IMAGE, "+12025550143", BASE "/api/sendImage",
               "{\"session\":\"default\",\"chatId\":\"12025550143@c.us\",\"caption\":\"look\",\"file\":{"
               "\"mimetype\":"
               "\"image/jpeg\",\"filename\":\"b.jpg\",\"url\":\"https://example.com/a.jpg\"}}");
    a = rig_with(a, "instance", "shop \"2\"");
    rig_expect(P, &a, &DOCUMENT, "+12025550143", BASE "/api/sendFile",
               "{\"session\":\"shop \\\"2\\\"\",\"chatId\":\"12025550143@c.us\",\"file\":{\"mimetype\":"
               "\"application/octet-stream\",\"filename\":\"a.pdf\",\"url\":\"https://example.com/x/"
               "a.pdf?v=1#p\"}}");
}

static void test_qr_openwa_bodies(void **state)
{
    struct config_account a = account("openwa");

    (void)state;
    rig_expect(P, &a, &TEXT, "+12025550143", BASE "/sendText",
               "{\"args\":{\"to\":\"12025550143@c.us\",\"content\":" HOSTILE_JSON "}}");
    rig_expect(P, &a, &IMAGE, "+12025550143", BASE "/sendFile",
               "{\"args\":{\"to\":\"12025550143@c.us\",\"file\":\"https://example.com/"
               "a.jpg\",\"filename\":\"b.jpg\","
               "\"caption\":\"look\"}}");
    rig_expect(
        P, &a, &DOCUMENT, "+12025550143", BASE "/sendFile",
        "{\"args\":{\"to\":\"12025550143@c.us\",\"file\":\"https://example.com/x/a.pdf?v=1#p\",\"filename\":"
        "\"a.pdf\",\"caption\":\"\"}}");
}

static void test_qr_file_names(void **state)
{
    static const struct {
        const char *url, *name;
    } ROWS[] = {
        {"https://example.com/dir.d/report.v2.pdf", "report.v2.pdf"},
        {"https://example.com/report", "document"},
        {"https://example.com/", "document"},
        {"https://example.com", "document"},
        {"https://example.com?f=/a.pdf", "document"},
        {"https://example.com/get?f=/a.pdf", "document"},
        {"https://example.com/a.pdf/", "document"},
        {"no link at all.pdf", "document"},
        {"https://example.com/caf\xc3\xa9.pdf", "caf\xc3\xa9.pdf"},
    };
    struct config_account a = account("openwa");

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct reply reply = {.attachments = {{.url = ROWS[i].url}}, .attachment_count = 1};
        char body[512];
        snprintf(
            body, sizeof body,
            "{\"args\":{\"to\":\"12025550143@c.us\",\"file\":\"%s\",\"filename\":\"%s\",\"caption\":\"\"}}",
            ROWS[i].url, ROWS[i].name);
        rig_expect(P, &a, &reply, "+12025550143", BASE "/sendFile", body);
    }
}

static void test_qr_paths(void **state)
{
    struct config_account a = account(NULL);
    struct reply reply = {.text = "x"};

    (void)state;
    a.options[0].value = "my shop/..?a=1&b#\xc3\xa9";
    rig_check_account(&a, NULL);
    rig_expect(P, &a, &reply, "+12025550143", BASE "/message/sendText/my%20shop%2F..%3Fa%3D1%26b%23%C3%A9",
               "{\"number\":\"12025550143\",\"text\":\"x\"}");
    a = rig_with(account("openwa"), "instance", "s1");
    a = rig_with(a, "text_path", "/{instance}/x/{instance}?y");
    a = rig_with(a, "image_path", "/image");
    a = rig_with(a, "file_path", "/file/{instance}");
    rig_check_account(&a, NULL);
    rig_expect(P, &a, &reply, "+12025550143", BASE "/s1/x/s1?y",
               "{\"args\":{\"to\":\"12025550143@c.us\",\"content\":\"x\"}}");
    rig_expect(P, &a, &IMAGE, "+12025550143", BASE "/image",
               "{\"args\":{\"to\":\"12025550143@c.us\",\"file\":\"https://example.com/"
               "a.jpg\",\"filename\":\"b.jpg\","
               "\"caption\":\"look\"}}");
    rig_expect(
        P, &a, &DOCUMENT, "+12025550143", BASE "/file/s1",
        "{\"args\":{\"to\":\"12025550143@c.us\",\"file\":\"https://example.com/x/a.pdf?v=1#p\",\"filename\":"
        "\"a.pdf\",\"caption\":\"\"}}");
}

static void test_qr_headers(void **state)
{
    static const char *const KEYS[][2] = {
        {NULL, "apikey: key"}, {"waha", "X-Api-Key: key"}, {"openwa", "api_key: key"}};

    (void)state;
    for (size_t i = 0; i < COUNT(KEYS); i++) {
        struct config_account a = account(KEYS[i][0]);
        const char *const headers[] = {KEYS[i][1], "Content-Type: application/json",
                                       "Accept: application/json"};
        rig_expect_headers(P, &a, headers, COUNT(headers));
    }
    struct config_account open = account("waha");
    const char *const headers[] = {"Content-Type: application/json", "Accept: application/json"};
    open.token = NULL;
    rig_expect_headers(P, &open, headers, COUNT(headers));
}

/* What an address becomes in evolution, WAHA and open-wa; NULL = it cannot be reached. */
static void test_qr_addresses(void **state)
{
    static const struct {
        const char *address, *to[3];
    } ROWS[] = {
        {"+12025550143", {"12025550143", "12025550143@c.us", "12025550143@c.us"}},
        {"12025550143@s.whatsapp.net", {"12025550143", "12025550143@c.us", "12025550143@c.us"}},
        {"12025550143:12@s.whatsapp.net", {"12025550143", "12025550143@c.us", "12025550143@c.us"}},
        {"12025550143@c.us", {"12025550143", "12025550143@c.us", "12025550143@c.us"}},
        {"120363000000000000@g.us",
         {"120363000000000000@g.us", "120363000000000000@g.us", "120363000000000000@g.us"}},
        {"123456789-987654321@g.us",
         {"123456789-987654321@g.us", "123456789-987654321@g.us", "123456789-987654321@g.us"}},
        {"98711384416410@lid", {"98711384416410@lid", "98711384416410@lid", NULL}},
        {"98711384416410:2@lid", {"98711384416410@lid", "98711384416410@lid", NULL}},
        {"1203630@newsletter", {NULL}},
        {"status@broadcast", {NULL}},
        {"12025550143", {NULL}},
        {"01234567@s.whatsapp.net", {NULL}},
        {"", {NULL}},
    };
    static const char *const PRESETS[] = {NULL, "waha", "openwa"};
    static const char *const FORMS[] = {"{\"number\":\"%s\",\"text\":\"x\"}",
                                        "{\"session\":\"default\",\"chatId\":\"%s\",\"text\":\"x\"}",
                                        "{\"args\":{\"to\":\"%s\",\"content\":\"x\"}}"};
    struct reply reply = {.text = "x"};
    struct channel_request r;

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        for (size_t j = 0; j < COUNT(PRESETS); j++) {
            struct config_account a = account(PRESETS[j]);
            const char *to = ROWS[i].to[j], *percent = strchr(FORMS[j], '%');
            char body[256];
            if (!to) {
                rig_expect_refusal(P, &a, &reply, ROWS[i].address, "neither a number nor a group");
                continue;
            }
            snprintf(body, sizeof body, "%.*s%s%s", (int)(percent - FORMS[j]), FORMS[j], to, percent + 2);
            assert_int_equal(rig_build(P, &a, &reply, ROWS[i].address, &r), 0);
            assert_string_equal(buf_str(&r.body), body);
            channel_request_fini(&r);
        }
    }
}

static void test_qr_limits(void **state)
{
    static const char *const BODIES[] = {
        "{\"number\":\"12025550143\",\"mediatype\":\"document\",\"caption\":\"\","
        "\"media\":\"https://example.com/a\",\"fileName\":\"document\"}",
        "{\"number\":\"12025550143\",\"mediatype\":\"document\",\"caption\":\"\","
        "\"media\":\"https://example.com/b\",\"fileName\":\"document\"}"};
    struct config_account a = account(NULL);
    struct reply reply = {.attachments = {{.url = "https://example.com/a"}, {.url = "https://example.com/b"}},
                          .attachment_count = 2};

    (void)state;
    rig_expect_parts(P, &a, &reply, BODIES, COUNT(BODIES));
    reply = (struct reply){.status = REPLY_PARTIAL};
    rig_expect_refusal(P, &a, &reply, "+12025550143", "nothing to send");
}

/* --- accounts --- */

static void test_qr_accounts(void **state)
{
    static const struct {
        const char *key, *value, *words;
    } OPTIONS[] = {
        {"preset", "baileys", "options.preset: expected evolution, waha or openwa"},
        {"preset", "waha", NULL},
        {"text_path", "/x/{instance}", NULL},
        {"text_path", "x", "options.text_path"},
        {"text_path", "", "options.text_path"},
        {"image_path", "/x y", "options.image_path"},
        {"file_path", "/x\r\nHost: y", "options.file_path"},
        {"file_path", "/x#y", "options.file_path"},
        {"file_path", "/{session}", "options.file_path"},
        {"path", "/x", "has no option 'path'"},
    };
    static const char *const BAD_INSTANCES[] = {".", ".."};
    struct config_account a = account(NULL);

    (void)state;
    rig_check_account(&a, NULL);
    for (size_t i = 0; i < COUNT(OPTIONS); i++) {
        a = rig_with(account(NULL), OPTIONS[i].key, OPTIONS[i].value);
        rig_check_account(&a, OPTIONS[i].words);
    }
    for (size_t i = 0; i < COUNT(BAD_INSTANCES); i++) {
        a = account(NULL);
        a.options[0].value = BAD_INSTANCES[i];
        rig_check_account(&a, "options.instance");
    }
    a = account(NULL);
    a.option_count = 0;
    rig_check_account(&a, "options.instance");
    a = account(NULL);
    a.base_url = "";
    rig_check_account(&a, "needs a base_url");
    a = account(NULL);
    a.token = NULL;
    rig_check_account(&a, "preset evolution needs a token");
    a = account("waha");
    a.token = NULL;
    rig_check_account(&a, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qr_taken),       cmocka_unit_test(test_qr_refused),
        cmocka_unit_test(test_qr_details),     cmocka_unit_test(test_qr_evolution_bodies),
        cmocka_unit_test(test_qr_waha_bodies), cmocka_unit_test(test_qr_openwa_bodies),
        cmocka_unit_test(test_qr_file_names),  cmocka_unit_test(test_qr_paths),
        cmocka_unit_test(test_qr_headers),     cmocka_unit_test(test_qr_addresses),
        cmocka_unit_test(test_qr_limits),      cmocka_unit_test(test_qr_accounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
