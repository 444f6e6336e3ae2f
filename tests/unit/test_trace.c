/* What trace prints: masked, cleaned, in two forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "publisher/trace.h"

static const struct trace_event EVENT = {
    .at_ms = 1750000001234,
    .previous_ms = 1750000000000,
    .event = "attempt",
    .id = "m-1",
    .took_ms = 87,
    .facts = "{\"account\":\"wa\",\"httpStatus\":422,\"detail\":\"no account +12025550143\\n\","
             "\"contact\":\"12025550143@s.whatsapp.net\",\"providerMessageId\":\"123456789012\","
             "\"externalId\":\"true_12025550143@c.us_3EB0\"}"};

static void test_trace_line(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    trace_write_event(&out, false, &EVENT);
    assert_string_equal(
        buf_str(&out),
        "2025-06-15T15:06:41.234Z        1.2 s  attempt                 took=87 ms  account=wa  "
        "httpStatus=422  detail=no account +********143?  contact=********143  "
        "providerMessageId=123456789012  externalId=true_********143@c.us_3EB0  [m-1]\n");
    buf_fini(&out);
}

static void test_trace_object(void **state)
{
    struct trace_event e = EVENT;
    struct err why;
    struct buf out;
    int64_t n;

    (void)state;
    buf_init(&out, 4096);
    e.body = "line\nwith +12025550143"; /* asked for: as it is */
    trace_write_event(&out, true, &e);
    struct json *json = json_parse(out.data, out.len, &why);
    assert_non_null(json);
    const struct json_node *root = json_root(json);
    assert_string_equal(json_str(json_member(root, "at")), "2025-06-15T15:06:41.234Z");
    assert_true(json_int(json_member(root, "sinceMs"), &n) && n == 1234);
    assert_true(json_int(json_member(root, "tookMs"), &n) && n == 87);
    assert_true(json_int(json_path(root, "facts.httpStatus"), &n) && n == 422);
    assert_string_equal(json_str(json_path(root, "facts.contact")), "********143");
    assert_string_equal(json_str(json_path(root, "facts.detail")), "no account +********143?");
    assert_non_null(strstr(json_str(json_member(root, "body")), "+12025550143"));
    json_free(&json);

    buf_clear(&out);
    e = (struct trace_event){.at_ms = 1, .event = "first", .took_ms = -1, .facts = "{}"};
    trace_write_event(&out, true, &e);
    assert_string_equal(buf_str(&out),
                        "{\"at\":\"1970-01-01T00:00:00.001Z\",\"sinceMs\":null,\"event\":\"first\","
                        "\"id\":null,\"tookMs\":null,\"facts\":{}}");
    buf_fini(&out);
}

static void test_trace_spans(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } CASES[] = {{0, "0 ms"},          {999, "999 ms"},        {1000, "1.0 s"},       {59999, "59.9 s"},
                 {60000, "1 min 0 s"}, {3600000, "1 h 0 min"}, {90061000, "1 d 1 h"}, {-5, "-5 ms"}};
    char out[TRACE_SPAN_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_string_equal(trace_span(CASES[i].ms, out), CASES[i].text);
}

static void test_trace_options(void **state)
{
    static const struct {
        int argc;
        char *argv[3];
        bool is_good;
    } CASES[] = {{1, {"id"}, true},
                 {2, {"id", "--json"}, true},
                 {3, {"--body", "id", "--json"}, true},
                 {1, {"--help"}, true},
                 {0, {0}, false},
                 {2, {"a", "b"}, false},
                 {2, {"a", "--xml"}, false},
                 {1, {"--json"}, false}};
    struct trace_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int rc = trace_options_parse(CASES[i].argc, (char **)(uintptr_t)CASES[i].argv, &o, &e);
        assert_int_equal(rc == 0, CASES[i].is_good);
        if (rc != 0)
            assert_int_equal(e.class, ERR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace_line),
        cmocka_unit_test(test_trace_object),
        cmocka_unit_test(test_trace_spans),
        cmocka_unit_test(test_trace_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
