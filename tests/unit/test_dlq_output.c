/* What dlq prints: no number, no control character, the same members whatever is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "consumer/dlq_output.h"
#include "base/record.h"

static void test_dlq_output_cleans_foreign_texts(void **state)
{
    static const struct {
        const char *text, *clean;
    } CASES[] = {
        {"", ""},
        {"HTTP 422", "HTTP 422"},
        {"no account +12025550143.", "no account +********143."},
        {"12025550143@s.whatsapp.net", "********143@s.whatsapp.net"},
        {"1234567", "1234567"},
        {"12345678", "*****678"},
        {"\x1b[2Jgone\r\n\t\x7f", "?[2Jgone????"},
        {"\xc2\x9b"
         "31m",
         "?31m"}, /* CSI as one character */
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xff\xc3", "??"},
    };
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        buf_clear(&out);
        record_add_clean(&out, CASES[i].text);
        assert_string_equal(buf_str(&out), CASES[i].clean);
    }
    buf_fini(&out);
}

static void test_dlq_output_ages(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } CASES[] = {{-1, "-"},           {0, "0s"},          {119999, "119s"},    {120000, "2m"},
                 {7199999, "119m"},   {7200000, "2h 0m"}, {11100000, "3h 5m"}, {172800000, "2d 0h"},
                 {187200000, "2d 4h"}};
    char age[DLQ_AGE_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_string_equal(dlq_age_text(CASES[i].ms, age), CASES[i].text);
}

static void test_dlq_output_bar(void **state)
{
    static const struct {
        int64_t done, total;
        const char *bar;
    } CASES[] = {{0, 10, "[------------------------------] 0/10"},
                 {5, 10, "[###############---------------] 5/10"},
                 {10, 10, "[##############################] 10/10"},
                 {0, 0, "[------------------------------] 0/0"}};
    struct buf out;

    (void)state;
    buf_init(&out, 256);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        buf_clear(&out);
        dlq_write_bar(&out, CASES[i].done, CASES[i].total);
        assert_string_equal(buf_str(&out), CASES[i].bar);
    }
    buf_fini(&out);
}

/* Every message has the same keys, so that whoever reads the lines need not ask for them. */
static void test_dlq_output_json_keys_are_stable(void **state)
{
    static const char *const KEYS[] = {
        "type",    "queue",       "messageId", "originalMessageId", "reason", "death",  "error", "ageS",
        "contact", "workspaceId", "attempts",  "deliveryCount",     "bytes",  "result", "why"};
    const struct dlq_options o = {.verb = DLQ_REPLAY, .queue = &DLQ_QUEUES[3], .json = true};
    const struct broker_delivery d = {.body_len = 12};
    const struct dlq_message empty = {
        .queue = o.queue, .delivery = &d, .id = "a", .age_ms = -1, .attempts = -1};
    const struct dlq_message full = {.queue = o.queue,
                                     .delivery = &d,
                                     .id = "a\"\n",
                                     .original_id = "b",
                                     .reason = "c",
                                     .death = "d",
                                     .detail = "+12025550143",
                                     .workspace = "e",
                                     .age_ms = 5000,
                                     .attempts = 3,
                                     .number = "+12025550143"};
    const struct dlq_message *const messages[] = {&empty, &full};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct buf out;
        struct err e;
        buf_init(&out, 4096);
        dlq_write_message(&out, &o, messages[i], DLQ_LEFT, i ? "because" : NULL);
        assert_null(strstr(buf_str(&out), "2025550"));
        struct json *json = json_parse(out.data, out.len - 1, &e);
        assert_non_null(json);
        assert_int_equal(json_count(json_root(json)), sizeof KEYS / sizeof KEYS[0]);
        const struct json_node *n = json_first(json_root(json));
        for (size_t k = 0; k < sizeof KEYS / sizeof KEYS[0]; k++, n = json_next(n))
            assert_string_equal(json_key(n), KEYS[k]);
        assert_string_equal(json_str(json_member(json_root(json), "result")), "left");
        json_free(&json);
        buf_fini(&out);
    }
}

static void test_dlq_output_summary(void **state)
{
    static const struct dlq_tally TALLY = {
        .messages = 9, .examined = 8, .done = 3, .removed = 1, .left = 2, .stale = 2};
    struct dlq_options o = {.verb = DLQ_REPLAY, .queue = &DLQ_QUEUES[3], .execute = true};
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    dlq_write_summary(&out, &o, &TALLY, "wb_queue", true);
    assert_string_equal(buf_str(&out),
                        "replayed 3 of 9 in wb_parked to wb_queue; 1 leftovers of an earlier run removed; 2 "
                        "left; 2 expired more than an hour old left out (--max-age takes them); stopped\n");
    buf_clear(&out);
    o.execute = false;
    o.json = true;
    dlq_write_summary(&out, &o, &TALLY, "wb_queue", false);
    assert_string_equal(
        buf_str(&out),
        "{\"type\":\"summary\",\"verb\":\"replay\",\"queue\":\"wb_parked\",\"target\":\"wb_queue\","
        "\"dryRun\":true,\"stopped\":false,\"messages\":9,\"examined\":8,\"done\":3,\"removed\":1,\"left\":2,"
        "\"expiredLeft\":2}\n");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dlq_output_cleans_foreign_texts),
        cmocka_unit_test(test_dlq_output_ages),
        cmocka_unit_test(test_dlq_output_bar),
        cmocka_unit_test(test_dlq_output_json_keys_are_stable),
        cmocka_unit_test(test_dlq_output_summary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
