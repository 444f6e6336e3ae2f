/* Replies to values, values to requests, and the small words of the wire. Which messages are valid:
 * tests/corpus (test_corpus.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "domain/message.h"

#define UUID_A "8f14e45f-ceea-467f-a8f5-1a0f2d3c4b5a"
#define UUID_B "c9f0f895-fb98-4b91-99f5-1a0f2d3c4b5a"
#define UUID_C "45C48CCE-2E2D-4FBD-AA1F-1A0F2D3C4B5A"

/* --- replies ------------------------------------------------------------------------------------------- */

static struct arena *arena;

static int make_arena(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int drop_arena(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

/* The text is gone when this returns: what the reply holds must be the arena's. */
static struct reply parse(const char *text)
{
    struct reply r;
    struct err e = {0};
    char *copy = strdup(text);
    assert_non_null(copy);
    if (message_parse_reply(copy, strlen(copy), arena, &r, &e) != 0)
        fail_msg("%s", e.text);
    memset(copy, 'x', strlen(copy));
    free(copy);
    return r;
}

static void test_message_reply_every_member(void **state)
{
    (void)state;
    struct reply r =
        parse("{\"messageId\":\"r-1\",\"originalMessageId\":\"q-1\",\"timestamp\":1795206465,\"status\":"
              "\"partial\","
              "\"contact\":{\"remoteJid\":\"12025550143:2@s.whatsapp.net\",\"phoneNumber\":\"+1 (202) "
              "555-0143\",\"name\":\"Ann\"},"
              "\"response\":{\"text\":\" "
              "Hi\\n\",\"type\":\"document\",\"attachments\":[\"https://files.example.com/1\",{\"url\":"
              "\"https://files.example.com/2\",\"mimeType\":\"image/"
              "png\",\"fileName\":\"a.png\",\"caption\":\"A\"}]},"
              "\"agentMetadata\":{\"toolsUsed\":[\"a\",\"b\"],\"processingTime\":2.5,\"tokensUsed\":150},"
              "\"error\":{\"code\":\"E\",\"message\":\"m\"},\"workspaceId\":\"" UUID_A
              "\",\"conversationId\":\"" UUID_B "\",\"contactId\":\"" UUID_C
              "\",\"channel\":\"sms\",\"metadata\":{\"deadline\":1795206525}}");
    assert_string_equal(r.message_id, "r-1");
    assert_string_equal(r.original_message_id, "q-1");
    assert_int_equal(r.timestamp_ms, 1795206465000);
    assert_int_equal(r.status, REPLY_PARTIAL);
    assert_string_equal(r.contact.remote_jid, "12025550143:2@s.whatsapp.net");
    assert_string_equal(r.contact.phone_number, "+12025550143");
    assert_string_equal(r.contact.name, "Ann");
    assert_string_equal(r.text, " Hi\n");
    assert_int_equal(r.type, REPLY_DOCUMENT);
    assert_int_equal(r.attachment_count, 2);
    assert_string_equal(r.attachments[0].url, "https://files.example.com/1");
    assert_null(r.attachments[0].mime_type);
    assert_string_equal(r.attachments[1].url, "https://files.example.com/2");
    assert_string_equal(r.attachments[1].mime_type, "image/png");
    assert_string_equal(r.attachments[1].file_name, "a.png");
    assert_string_equal(r.attachments[1].caption, "A");
    assert_string_equal(r.error.code, "E");
    assert_string_equal(r.error.message, "m");
    assert_true(r.agent.processing_time_s > 2.4 && r.agent.processing_time_s < 2.6);
    assert_int_equal(r.agent.tokens_used, 150);
    assert_int_equal(r.agent.tool_count, 2);
    assert_string_equal(r.agent.tools_used[0], "a");
    assert_string_equal(r.agent.tools_used[1], "b");
    assert_string_equal(r.workspace_id, UUID_A);
    assert_string_equal(r.conversation_id, UUID_B);
    assert_string_equal(r.contact_id, UUID_C);
    assert_int_equal(r.channel, CHANNEL_SMS);
    assert_int_equal(r.deadline_ms, 1795206525000);
}

static void assert_nothing_but_ids(const struct reply *r)
{
    assert_int_equal(r->timestamp_ms, 0);
    assert_null(r->contact.remote_jid);
    assert_null(r->contact.phone_number);
    assert_null(r->contact.name);
    assert_null(r->text);
    assert_int_equal(r->type, REPLY_TEXT);
    assert_int_equal(r->attachment_count, 0);
    assert_null(r->error.code);
    assert_null(r->error.message);
    assert_true(r->agent.processing_time_s < 0);
    assert_true(r->agent.tokens_used < 0);
    assert_int_equal(r->agent.tool_count, 0);
    assert_null(r->workspace_id);
    assert_null(r->conversation_id);
    assert_null(r->contact_id);
    assert_int_equal(r->channel, CHANNEL_NONE);
    assert_int_equal(r->deadline_ms, 0);
}

/* Absent, null and, where the header says so, "" are one. */
static void test_message_reply_absent_members(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"messageId\":\"r-1\",\"originalMessageId\":\"q-1\",\"status\":\"error\"}",
        "{\"messageId\":\"r-1\",\"originalMessageId\":\"q-1\",\"status\":\"error\",\"timestamp\":null,"
        "\"contact\":null,\"response\":null,"
        "\"agentMetadata\":null,\"error\":null,\"workspaceId\":null,\"conversationId\":null,\"contactId\":"
        "null,\"channel\":null,\"metadata\":null}",
        "{\"messageId\":\"r-1\",\"originalMessageId\":\"q-1\",\"status\":\"error\",\"contact\":{"
        "\"remoteJid\":null,\"phoneNumber\":null,"
        "\"name\":null},\"response\":{\"text\":null,\"type\":null,\"attachments\":null},\"agentMetadata\":{"
        "\"toolsUsed\":null,"
        "\"processingTime\":null,\"tokensUsed\":null},\"error\":{\"code\":null,\"message\":null},"
        "\"metadata\":{\"deadline\":null}}",
        "{\"messageId\":\"r-1\",\"originalMessageId\":\"q-1\",\"status\":\"error\",\"contact\":{"
        "\"remoteJid\":\"\",\"phoneNumber\":\"\","
        "\"name\":\"\"},\"response\":{\"text\":\" "
        "\\u00a0\\n\",\"attachments\":[]},\"agentMetadata\":{\"toolsUsed\":[]},"
        "\"error\":{\"code\":\"\",\"message\":\"\"},\"metadata\":{}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct reply r = parse(texts[i]);
        assert_string_equal(r.message_id, "r-1");
        assert_string_equal(r.original_message_id, "q-1");
        assert_int_equal(r.status, REPLY_ERROR);
        assert_nothing_but_ids(&r);
    }
}

static void test_message_reply_seconds_or_milliseconds(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"1", 1000},
        {"99999999999", 99999999999000},
        {"100000000000", 100000000000},
        {"1795206465123", 1795206465123},
        {"9007199254740991", 9007199254740991},
        {"1.795206465e9", 1795206465000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"messageId\":\"r\",\"originalMessageId\":\"q\",\"status\":\"error\",\"timestamp\":%s,"
                 "\"metadata\":{\"deadline\":%s}}",
                 cases[i].wire, cases[i].wire);
        struct reply r = parse(text);
        assert_int_equal(r.timestamp_ms, cases[i].ms);
        assert_int_equal(r.deadline_ms, cases[i].ms);
    }
}

static void test_message_reply_says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[]", "$: expected object, found array"},
        {"{}", "$.messageId: is missing"},
        {"{\"messageId\":null}", "$.messageId: must not be null"},
        {"{\"messageId\":7}", "$.messageId: expected string, found number"},
        {"{\"messageId\":\"\"}", "$.messageId: expected 1 to 128 printable ASCII characters"},
        {"{\"messageId\":\"r\",\"status\":\"done\"}", "$.status: expected one of success, error, partial"},
        {"{\"messageId\":\"r\",\"timestamp\":0.5}",
         "$.timestamp: expected an integer from 0 to 9007199254740991"},
        {"{\"messageId\":\"r\",\"status\":\"error\"}",
         "$.contact: expected remoteJid or phoneNumber, since originalMessageId is missing"},
        {"{\"messageId\":\"r\",\"status\":\"success\",\"originalMessageId\":\"q\"}",
         "$.response: expected a text or an attachment, since status is success"},
        {"{\"messageId\":\"r\",\"status\":\"error\",\"contact\":{\"phoneNumber\":\"555\"}}",
         "$.contact.phoneNumber: expected an E.164 number such as +12025550143"},
        {"{\"messageId\":\"r\",\"status\":\"error\",\"response\":{\"attachments\":[\"a\",{\"url\":\"b "
         "c\"}]}}",
         "$.response.attachments[1].url: expected a URL: no white space, no control characters, not empty"},
        {"{\"messageId\":\"r\",\"status\":\"error\",\"response\":{\"attachments\":[17]}}",
         "$.response.attachments[0]: expected object or string, found number"},
        {"{\"messageId\":\"r\",\"status\":\"error\",\"agentMetadata\":{\"processingTime\":-1}}",
         "$.agentMetadata.processingTime: expected at least 0"},
        {"{\"messageId\":\"r\",\"status\":\"error\",\"contact\":{\"remoteJid\":\"\\u0000\"}}",
         "$.contact.remoteJid at byte 58: \\u0000 is not accepted"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct reply r;
        struct err e = {0};
        assert_int_equal(message_parse_reply(cases[i].text, strlen(cases[i].text), arena, &r, &e), -1);
        assert_int_equal(e.class, ERR_DATA);
        assert_string_equal(e.text, cases[i].error);
        assert_int_equal(message_parse_reply(cases[i].text, strlen(cases[i].text), arena, &r, NULL), -1);
    }
}

/* --- requests ------------------------------------------------------------------------------------------ */

static struct request full_request(void)
{
    return (struct request){
        .message_id = UUID_A,
        .timestamp_s = 1795206460,
        .task_type = "conversation",
        .contact = {"12025550143@s.whatsapp.net", "+12025550143", "Ann \"A\" Example", "1"},
        .message = {"Where is\nmy order?", "3EB0C767D26A1D8F5A21", 1795206459},
        .history_json = "[{\"role\": \"user\", \"content\": \"Hello\"}]",
        .user_notes = "VIP",
        .session_data_json = " {\"step\": 2}",
        .priority = "high",
        .retry_count = 1,
        .max_retries = 3,
        .workspace_id = UUID_A,
        .conversation_id = UUID_B,
        .contact_id = UUID_C,
        .channel = CHANNEL_WHATSAPP,
        .deadline_s = 1795206760,
    };
}

static struct request least_request(void)
{
    return (struct request){.message_id = "q-1",
                            .task_type = "order",
                            .contact = {.phone_number = "+12025550143"},
                            .priority = "normal"};
}

static void test_message_request_text(void **state)
{
    (void)state;
    struct buf out;
    struct err e = {0};
    struct request q = full_request();
    buf_init(&out, MESSAGE_MAX_BYTES);
    buf_add_str(&out, "before");
    assert_int_equal(message_write_request(&q, &out, &e), 0);
    assert_string_equal(
        buf_str(&out),
        "before{\"messageId\":\"" UUID_A "\",\"timestamp\":1795206460,\"taskType\":\"conversation\","
        "\"contact\":{\"remoteJid\":\"12025550143@s.whatsapp.net\",\"phoneNumber\":\"+12025550143\","
        "\"name\":\"Ann \\\"A\\\" Example\",\"countryCode\":\"1\"},"
        "\"message\":{\"text\":\"Where is\\nmy "
        "order?\",\"messageId\":\"3EB0C767D26A1D8F5A21\",\"timestamp\":1795206459},"
        "\"context\":{\"conversationHistory\":[{\"role\": \"user\", \"content\": "
        "\"Hello\"}],\"userNotes\":\"VIP\","
        "\"sessionData\": {\"step\": 2}},"
        "\"metadata\":{\"priority\":\"high\",\"retryCount\":1,\"maxRetries\":3,\"deadline\":1795206760},"
        "\"workspaceId\":\"" UUID_A "\",\"conversationId\":\"" UUID_B "\",\"contactId\":\"" UUID_C
        "\",\"channel\":\"whatsapp\"}");
    assert_int_equal(message_check_request(out.data + 6, out.len - 6, &e), 0);
    buf_clear(&out);
    q = least_request();
    assert_int_equal(message_write_request(&q, &out, &e), 0);
    assert_string_equal(
        buf_str(&out),
        "{\"messageId\":\"q-1\",\"timestamp\":0,\"taskType\":\"order\",\"contact\":{\"remoteJid\":\"\","
        "\"phoneNumber\":\"+12025550143\",\"name\":\"\",\"countryCode\":\"\"},\"message\":{\"text\":\"\","
        "\"messageId\":\"\","
        "\"timestamp\":0},\"context\":{\"conversationHistory\":[],\"userNotes\":\"\",\"sessionData\":{}},"
        "\"metadata\":{\"priority\":\"normal\",\"retryCount\":0,\"maxRetries\":0}}");
    assert_int_equal(message_check_request(out.data, out.len, &e), 0);
    buf_fini(&out);
}

/* What the writer lets out passes the check, whatever it holds; what it refuses leaves the buffer alone. */
static bool write_and_check(const struct request *q)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, 2 * MESSAGE_MAX_BYTES);
    buf_add_str(&out, "kept");
    bool is_written = message_write_request(q, &out, &e) == 0;
    if (is_written && message_check_request(out.data + 4, out.len - 4, &e) != 0)
        fail_msg("%s: %s", e.text, buf_str(&out));
    if (!is_written)
        assert_string_equal(buf_str(&out), "kept");
    buf_fini(&out);
    return is_written;
}

static void test_message_request_takes_any_text(void **state)
{
    (void)state;
    char long_name[1025] = "", long_text[3 * MESSAGE_MAX_TEXT + 1] = "";
    for (size_t i = 0; i < 256; i++)
        memcpy(long_name + 4 * i, "\xf0\x9f\x98\x80", 5);
    for (size_t i = 0; i < MESSAGE_MAX_TEXT; i++)
        memcpy(long_text + 3 * i, "\xe2\x82\xac", 4);
    const char *texts[] = {"",
                           " ",
                           "\"",
                           "\\",
                           "\\u0000",
                           "\x01\x1f\x7f",
                           "\r\n\t\b\f\v",
                           "]}}",
                           "\",\"x\":\"",
                           "</script>",
                           "\xef\xbb\xbf",
                           "\xe2\x80\xa8",
                           "\xf0\x9f\x98\x80",
                           "%s%n",
                           "+12025550143",
                           "12",
                           "0",
                           long_name,
                           long_text};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct request q = least_request();
        q.message.text = q.user_notes = q.contact.name = q.contact.country_code = texts[i];
        if (i + 1 == sizeof texts / sizeof texts[0])
            q.user_notes = NULL; /* both together would be too large a body */
        if (!write_and_check(&q))
            fail_msg("text %zu", i);
    }
}

static void test_message_request_any_country_code(void **state)
{
    (void)state;
    static const struct {
        const char *number, *code, *written;
    } cases[] = {
        {"+12025550143", "1", "1"}, {"+12025550143", "120", "120"},
        {"+12025550143", "44", ""}, {"+12025550143", "1202", ""},
        {"+12025550143", "+1", ""}, {"+12025550143", "US", ""},
        {NULL, "44", "44"},         {NULL, "04", ""},
        {NULL, NULL, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request q = least_request();
        q.contact_id = UUID_C;
        q.contact.phone_number = cases[i].number;
        q.contact.country_code = cases[i].code;
        struct buf out;
        struct err e = {0};
        buf_init(&out, MESSAGE_MAX_BYTES);
        assert_int_equal(message_write_request(&q, &out, &e), 0);
        assert_int_equal(message_check_request(out.data, out.len, &e), 0);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "\"countryCode\":\"%s\"}", cases[i].written);
        assert_non_null(strstr(buf_str(&out), wanted));
        buf_fini(&out);
    }
}

static void test_message_request_cuts_the_name(void **state)
{
    (void)state;
    char name[2 * (MESSAGE_MAX_NAME + 1) + 1] = "", wanted[sizeof name + 16];
    for (size_t i = 0; i <= MESSAGE_MAX_NAME; i++)
        memcpy(name + 2 * i, "\xc3\xa9", 3);
    snprintf(wanted, sizeof wanted, "\"name\":\"%.*s\",", 2 * MESSAGE_MAX_NAME, name);
    struct request q = least_request();
    q.contact.name = name;
    struct buf out;
    struct err e = {0};
    buf_init(&out, MESSAGE_MAX_BYTES);
    assert_int_equal(message_write_request(&q, &out, &e), 0);
    assert_non_null(strstr(buf_str(&out), wanted));
    buf_fini(&out);
}

static void test_message_request_leaves_empty_ids_out(void **state)
{
    (void)state;
    struct request q = least_request();
    q.workspace_id = q.conversation_id = q.contact_id = "";
    struct buf out;
    struct err e = {0};
    buf_init(&out, MESSAGE_MAX_BYTES);
    assert_int_equal(message_write_request(&q, &out, &e), 0);
    assert_null(strstr(buf_str(&out), "workspaceId"));
    buf_fini(&out);
}

static void expect_refusal(const struct request *q, const char *place)
{
    struct buf out;
    struct err e = {0};
    buf_init(&out, 2 * MESSAGE_MAX_BYTES);
    assert_int_equal(message_write_request(q, &out, &e), -1);
    assert_int_equal(e.class, ERR_DATA);
    if (strncmp(e.text, place, strlen(place)) != 0)
        fail_msg("expected a fault at %s, got %s", place, e.text);
    assert_false(write_and_check(q));
    buf_fini(&out);
}

/* A full request with one member spoilt. */
#define REFUSES(place, member, value)                                                                        \
    do {                                                                                                     \
        struct request q = full_request();                                                                   \
        q.member = value;                                                                                    \
        expect_refusal(&q, place);                                                                           \
    } while (0)

static void test_message_request_refuses_values(void **state)
{
    (void)state;
    REFUSES("$.messageId:", message_id, NULL);
    REFUSES("$.messageId:", message_id, "a b");
    REFUSES("$.taskType:", task_type, NULL);
    REFUSES("$.taskType:", task_type, "chat");
    REFUSES("$.contact.remoteJid:", contact.remote_jid, "ann@example.com");
    REFUSES("$.contact.phoneNumber:", contact.phone_number, "12025550143");
    REFUSES("$.metadata.priority:", priority, "low");
    REFUSES("$.timestamp:", timestamp_s, -1);
    REFUSES("$.timestamp:", timestamp_s, 1795206460000);
    REFUSES("$.message.timestamp:", message.timestamp_s, INT64_MAX);
    REFUSES("$.metadata.retryCount:", retry_count, -1);
    REFUSES("$.metadata.maxRetries:", max_retries, INT_MIN);
    REFUSES("$.metadata.deadline:", deadline_s, INT64_MIN);
    REFUSES("$.workspaceId:", workspace_id, "17");
    REFUSES("$.conversationId:", conversation_id, "17");
    REFUSES("$.contactId:", contact_id, "17");
    struct request nobody = least_request();
    nobody.contact.phone_number = "";
    expect_refusal(&nobody, "$.contact:");
}

static void test_message_request_refuses_splices(void **state)
{
    (void)state;
    char deep[63] = ""; /* 31 levels, below two of ours */
    memset(deep, '[', 31);
    memset(deep + 31, ']', 31);
    struct request deepest = full_request();
    deepest.session_data_json =
        "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"; /* 30 levels */
    assert_true(write_and_check(&deepest));
    REFUSES("$.context.conversationHistory:", history_json, "{}");
    REFUSES("$.context.conversationHistory:", history_json, "");
    REFUSES("$.context.conversationHistory: $ at byte 2:", history_json, "[],\"sessionData\":[]");
    REFUSES("$.context.conversationHistory: $[0] at byte 2:", history_json, "[\"");
    REFUSES("$.context.sessionData:", session_data_json, "[]");
    REFUSES("$.context.sessionData: $.a at byte 7:", session_data_json, "{\"a\":1,\"a\":2}");
    REFUSES("$.context.conversationHistory: $[0][0]", history_json, deep);
}

static void test_message_request_refuses_other_encodings(void **state)
{
    (void)state;
    REFUSES("$.contact.name:", contact.name, "M\xfcller");
    REFUSES("$.message.text:", message.text, "\xed\xa0\x80");
    REFUSES("$.message.messageId:", message.message_id, "\xc3");
    REFUSES("$.context.userNotes:", user_notes, "a\xff");
    REFUSES("$.messageId:", message_id, "\xc3\xa9");
    REFUSES("$.context.conversationHistory: $[0].content at byte", history_json,
            "[{\"role\":\"user\",\"content\":\"\xff\"}]");
    REFUSES("$.context.sessionData: $ at byte", session_data_json, "{\"\xff\":1}");
}

static void test_message_request_refuses_sizes(void **state)
{
    (void)state;
    static char too_long[MESSAGE_MAX_TEXT + 2], huge[MESSAGE_MAX_BYTES + 1];
    memset(too_long, 'a', sizeof too_long - 1);
    memset(huge, 'a', sizeof huge - 1);
    REFUSES("$.message.text:", message.text, too_long);
    REFUSES("$.message.messageId:", message.message_id, too_long);
    REFUSES("$: more than 262144 bytes", user_notes, huge);
}

static void test_message_request_does_not_fit(void **state)
{
    (void)state;
    struct request q = full_request();
    for (size_t limit = 4; limit < 700; limit++) {
        struct buf out;
        struct err e = {0};
        buf_init(&out, limit);
        buf_add_str(&out, "kept");
        if (message_write_request(&q, &out, &e) != 0) {
            assert_int_equal(e.class, ERR_DATA);
            assert_string_equal(buf_str(&out), "kept");
        } else {
            assert_true(limit > 600);
        }
        buf_fini(&out);
    }
}

/* --- words --------------------------------------------------------------------------------------------- */

static void test_message_channels(void **state)
{
    (void)state;
    static const char *const words[] = {"", "whatsapp", "sms", "email", "website", "instagram"};
    for (int i = CHANNEL_WHATSAPP; i <= CHANNEL_INSTAGRAM; i++) {
        enum channel c = CHANNEL_NONE;
        assert_string_equal(channel_name((enum channel)i), words[i]);
        assert_true(channel_parse(words[i], &c));
        assert_int_equal(c, i);
    }
    enum channel untouched = CHANNEL_EMAIL;
    assert_string_equal(channel_name(CHANNEL_NONE), "");
    assert_false(channel_parse("", &untouched));
    assert_false(channel_parse("SMS", &untouched));
    assert_int_equal(untouched, CHANNEL_EMAIL);
}

static void test_message_status_and_priority(void **state)
{
    (void)state;
    assert_string_equal(reply_status_name(REPLY_SUCCESS), "success");
    assert_string_equal(reply_status_name(REPLY_ERROR), "error");
    assert_string_equal(reply_status_name(REPLY_PARTIAL), "partial");
    static const char *const words[] = {"normal", "urgent", "high", "high", "normal", "normal", "normal"};
    for (int p = 0; p <= 6; p++)
        assert_string_equal(message_priority_word(p), words[p]);
    assert_string_equal(message_priority_word(-1), "normal");
    assert_string_equal(message_priority_word(INT_MAX), "normal");
}

static void test_message_traceparent(void **state)
{
    (void)state;
    static const char good[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_true(is_traceparent(good));
    for (size_t i = 0; i < sizeof good - 1; i++) {
        char bad[sizeof good];
        memcpy(bad, good, sizeof good);
        bad[i] = good[i] == '-' ? '0' : 'G';
        assert_false(is_traceparent(bad));
        memcpy(bad, good, sizeof good);
        bad[i] = '\0';
        assert_false(is_traceparent(bad));
    }
    static const char *const bad[] = {
        "",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-000",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_traceparent(bad[i]));
    assert_false(is_traceparent(NULL));
    char one[56], two[56];
    traceparent_new(one);
    traceparent_new(two);
    assert_true(is_traceparent(one));
    assert_true(is_traceparent(two));
    assert_string_not_equal(one, two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message_reply_every_member, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_message_reply_absent_members, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_message_reply_seconds_or_milliseconds, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_message_reply_says_what_is_wrong, make_arena, drop_arena),
        cmocka_unit_test(test_message_request_text),
        cmocka_unit_test(test_message_request_takes_any_text),
        cmocka_unit_test(test_message_request_any_country_code),
        cmocka_unit_test(test_message_request_cuts_the_name),
        cmocka_unit_test(test_message_request_leaves_empty_ids_out),
        cmocka_unit_test(test_message_request_refuses_values),
        cmocka_unit_test(test_message_request_refuses_splices),
        cmocka_unit_test(test_message_request_refuses_other_encodings),
        cmocka_unit_test(test_message_request_refuses_sizes),
        cmocka_unit_test(test_message_request_does_not_fit),
        cmocka_unit_test(test_message_channels),
        cmocka_unit_test(test_message_status_and_priority),
        cmocka_unit_test(test_message_traceparent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
