/* What the broker module makes of bytes from outside: message frames in every wrong order, forged headers,
 * host names, consumer tags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "io/broker_private.h"

enum { LIMIT = 10 };

static amqp_frame_t header_frame(uint64_t body_size, amqp_basic_properties_t *p)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_HEADER, .channel = 1};
    f.payload.properties.class_id = AMQP_BASIC_CLASS;
    f.payload.properties.body_size = body_size;
    f.payload.properties.decoded = p;
    return f;
}

static amqp_frame_t body_frame(const char *text)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_BODY, .channel = 1};
    f.payload.body_fragment = amqp_cstring_bytes(text);
    return f;
}

static void begin(struct broker_content *c, enum broker_content_kind kind)
{
    struct err e;
    assert_int_equal(broker_content_begin(c, kind, &e), 0);
}

static int feed(struct broker_content *c, amqp_frame_t f)
{
    struct err e;
    return broker_content_feed(c, &f, &e);
}

/* --- frames --- */

static void test_broker_decode_body_in_parts(void **state)
{
    (void)state;
    struct broker_content c;
    amqp_basic_properties_t none = {0};
    broker_content_init(&c, LIMIT);
    for (int round = 0; round < 2; round++) {
        begin(&c, CONTENT_DELIVERY);
        assert_int_equal(feed(&c, header_frame(LIMIT, &none)), 0);
        assert_int_equal(feed(&c, body_frame("abc")), 0);
        assert_int_equal(feed(&c, body_frame("")), 0);
        assert_int_equal(feed(&c, body_frame("defghij")), 1);
        assert_int_equal(c.delivery.body_len, LIMIT);
        assert_memory_equal(c.delivery.body, "abcdefghij", LIMIT);
    }
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, header_frame(0, &none)), 1);
    assert_int_equal(c.delivery.body_len, 0);
    assert_non_null(c.delivery.body);
    broker_content_fini(&c);
}

/* What is too large is skipped, not stored, and costs no memory however large it is said to be. */
static void test_broker_decode_oversized_body_is_not_kept(void **state)
{
    (void)state;
    struct broker_content c;
    amqp_basic_properties_t none = {0};
    broker_content_init(&c, LIMIT);
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, header_frame(LIMIT + 1, &none)), 0);
    assert_int_equal(feed(&c, body_frame("abcdefghijk")), 1);
    assert_null(c.delivery.body);
    assert_int_equal(c.delivery.body_len, LIMIT + 1);
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, header_frame(UINT64_MAX, &none)), 0);
    assert_int_equal(feed(&c, body_frame("abc")), 0);
    assert_int_equal(c.body.cap, 0);
    broker_content_fini(&c);
}

static void test_broker_decode_frames_out_of_order(void **state)
{
    (void)state;
    struct broker_content c;
    struct err e = {0};
    amqp_basic_properties_t none = {0};
    broker_content_init(&c, LIMIT);
    assert_int_equal(feed(&c, header_frame(1, &none)), -1); /* without a method */
    assert_int_equal(feed(&c, body_frame("a")), -1);
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, body_frame("a")), -1);                    /* before its header */
    assert_int_equal(broker_content_begin(&c, CONTENT_RETURN, &e), -1); /* within another */
    assert_int_equal(e.code, AMQP_UNEXPECTED_FRAME);
    assert_int_equal(feed(&c, header_frame(2, &none)), 0);
    assert_int_equal(feed(&c, header_frame(2, &none)), -1);
    assert_int_equal(feed(&c, body_frame("abc")), -1); /* longer than announced */
    assert_int_equal(feed(&c, body_frame("ab")), 1);
    assert_int_equal(feed(&c, body_frame("c")), -1); /* after the end */
    amqp_frame_t other = header_frame(1, &none);
    other.payload.properties.class_id = 10;
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, other), -1);
    broker_content_reset(&c); /* as after a lost connection */
    begin(&c, CONTENT_DELIVERY);
    broker_content_fini(&c);
}

static void test_broker_decode_return_keeps_only_the_id(void **state)
{
    (void)state;
    struct broker_content c;
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG,
                                 .message_id = amqp_cstring_bytes("id"),
                                 .type = amqp_cstring_bytes("t")};
    broker_content_init(&c, LIMIT);
    begin(&c, CONTENT_RETURN);
    assert_int_equal(feed(&c, header_frame(3, &p)), 0);
    assert_int_equal(feed(&c, body_frame("abc")), 1);
    assert_string_equal(c.delivery.message_id, "id");
    assert_null(c.delivery.type);
    assert_null(c.delivery.body);
    broker_content_fini(&c);
}

/* --- properties and headers --- */

static void decode(struct broker_content *c, const amqp_table_entry_t *entries, size_t count)
{
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG,
                                 .headers = {(int)count, (amqp_table_entry_t *)(uintptr_t)entries}};
    begin(c, CONTENT_DELIVERY);
    assert_int_equal(feed(c, header_frame(0, &p)), 1);
}

static amqp_field_value_t text_value(const char *s)
{
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(s)}};
}

static amqp_field_value_t int_value(int64_t i)
{
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = i}};
}

static void test_broker_decode_properties(void **state)
{
    (void)state;
    struct broker_content c;
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
                                           AMQP_BASIC_APP_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG,
                                 .message_id = amqp_cstring_bytes("id-1"),
                                 .correlation_id = amqp_empty_bytes,
                                 .content_type = amqp_cstring_bytes("not flagged"),
                                 .app_id = {3, "a\0b"},
                                 .timestamp = UINT64_MAX};
    broker_content_init(&c, LIMIT);
    begin(&c, CONTENT_DELIVERY);
    assert_int_equal(feed(&c, header_frame(0, &p)), 1);
    assert_string_equal(c.delivery.message_id, "id-1");
    assert_string_equal(c.delivery.correlation_id, "");
    assert_null(c.delivery.content_type);
    assert_null(c.delivery.app_id); /* a NUL inside: not a string */
    assert_true(c.delivery.timestamp == INT64_MAX);
    begin(&c, CONTENT_DELIVERY);
    assert_null(c.delivery.message_id); /* nothing stays of the one before */
    broker_content_fini(&c);
}

static void test_broker_decode_integer_kinds(void **state)
{
    (void)state;
    static const struct {
        amqp_field_value_t value;
        int64_t want;
    } cases[] = {
        {{.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}, 1},
        {{.kind = AMQP_FIELD_KIND_I8, .value = {.i8 = -128}}, -128},
        {{.kind = AMQP_FIELD_KIND_U8, .value = {.u8 = 255}}, 255},
        {{.kind = AMQP_FIELD_KIND_I16, .value = {.i16 = -32768}}, -32768},
        {{.kind = AMQP_FIELD_KIND_U16, .value = {.u16 = 65535}}, 65535},
        {{.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = INT32_MIN}}, INT32_MIN},
        {{.kind = AMQP_FIELD_KIND_U32, .value = {.u32 = UINT32_MAX}}, UINT32_MAX},
        {{.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = INT64_MIN}}, INT64_MIN},
        {{.kind = AMQP_FIELD_KIND_U64, .value = {.u64 = UINT64_MAX}}, INT64_MAX},
        {{.kind = AMQP_FIELD_KIND_TIMESTAMP, .value = {.u64 = 1795206465}}, 1795206465},
    };
    struct broker_content c;
    broker_content_init(&c, LIMIT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amqp_table_entry_t entry = {amqp_cstring_bytes("n"), cases[i].value};
        decode(&c, &entry, 1);
        assert_int_equal(c.delivery.header_count, 1);
        assert_null(c.delivery.headers[0].str);
        assert_true(c.delivery.headers[0].i == cases[i].want);
    }
    broker_content_fini(&c);
}

static void test_broker_decode_skips_what_it_does_not_understand(void **state)
{
    (void)state;
    const amqp_table_entry_t entries[] = {
        {amqp_cstring_bytes("f64"), {.kind = AMQP_FIELD_KIND_F64}},
        {amqp_cstring_bytes("void"), {.kind = AMQP_FIELD_KIND_VOID}},
        {amqp_cstring_bytes("table"), {.kind = AMQP_FIELD_KIND_TABLE}},
        {amqp_cstring_bytes("array"), {.kind = AMQP_FIELD_KIND_ARRAY}},
        {amqp_cstring_bytes("decimal"), {.kind = AMQP_FIELD_KIND_DECIMAL}},
        {amqp_cstring_bytes("unheard of"), {.kind = 'z'}},
        {{3, "a\0b"}, {.kind = AMQP_FIELD_KIND_I64}},
        {amqp_cstring_bytes("nul"), {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = {2, "x\0"}}}},
        {amqp_cstring_bytes("kept"), {.kind = AMQP_FIELD_KIND_BYTES, .value = {.bytes = {1, "y"}}}},
    };
    struct broker_content c;
    broker_content_init(&c, LIMIT);
    decode(&c, entries, sizeof entries / sizeof *entries);
    assert_int_equal(c.delivery.header_count, 1);
    assert_string_equal(c.delivery.headers[0].name, "kept");
    assert_string_equal(c.delivery.headers[0].str, "y");

    amqp_table_entry_t many[BROKER_MAX_HEADERS + 5];
    for (size_t i = 0; i < BROKER_MAX_HEADERS + 5; i++)
        many[i] = (amqp_table_entry_t){amqp_cstring_bytes("n"), int_value((int64_t)i)};
    decode(&c, many, BROKER_MAX_HEADERS + 5);
    assert_int_equal(c.delivery.header_count, BROKER_MAX_HEADERS);
    broker_content_fini(&c);
}

static amqp_field_value_t array_of(amqp_field_value_t *values, int count)
{
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_ARRAY, .value = {.array = {count, values}}};
}

static amqp_field_value_t table_of(amqp_table_entry_t *entries, int count)
{
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_TABLE, .value = {.table = {count, entries}}};
}

static void decode_death(struct broker_content *c, amqp_field_value_t value)
{
    amqp_table_entry_t entry = {amqp_cstring_bytes("x-death"), value};
    decode(c, &entry, 1);
    assert_int_equal(c->delivery.header_count, 0);
}

static void test_broker_decode_newest_death(void **state)
{
    (void)state;
    amqp_table_entry_t newest[] = {{amqp_cstring_bytes("count"), int_value(3)},
                                   {amqp_cstring_bytes("reason"), text_value("expired")},
                                   {amqp_cstring_bytes("queue"), text_value("ag_queue")}};
    amqp_table_entry_t older[] = {{amqp_cstring_bytes("reason"), text_value("rejected")}};
    amqp_field_value_t deaths[] = {table_of(newest, 3), table_of(older, 1)};
    struct broker_content c;
    broker_content_init(&c, LIMIT);
    decode_death(&c, array_of(deaths, 2));
    assert_string_equal(c.delivery.death.queue, "ag_queue");
    assert_string_equal(c.delivery.death.reason, "expired");
    assert_int_equal(c.delivery.death.count, 3);
    broker_content_fini(&c);
}

static void test_broker_decode_forged_death(void **state)
{
    (void)state;
    struct broker_content c;
    broker_content_init(&c, LIMIT);
    amqp_table_entry_t wrong_kinds[] = {
        {amqp_cstring_bytes("count"), text_value("3")},
        {amqp_cstring_bytes("reason"), int_value(1)},
        {amqp_cstring_bytes("queue"), {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = {2, "\0x"}}}},
        {{0, NULL}, int_value(1)}};
    amqp_field_value_t texts[] = {text_value("x")}, tables[] = {table_of(wrong_kinds, 4)},
                       empty[] = {table_of(NULL, 0)};
    amqp_field_value_t nested[] = {array_of(tables, 1)};
    const amqp_field_value_t forged[] = {text_value("x"),    int_value(1),        array_of(NULL, 0),
                                         array_of(texts, 1), array_of(tables, 1), table_of(wrong_kinds, 4),
                                         array_of(empty, 1), array_of(nested, 1)};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        decode_death(&c, forged[i]);
        assert_null(c.delivery.death.queue);
        assert_null(c.delivery.death.reason);
        assert_int_equal(c.delivery.death.count, 0);
    }
    broker_content_fini(&c);
}

/* --- names --- */

static void test_broker_decode_host(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool tls;
        const char *name; /* NULL: refused */
        int port;
    } cases[] = {
        {"localhost:5672", false, "localhost", 5672},
        {"rabbit.example.com", false, "rabbit.example.com", 5672},
        {"rabbit.example.com", true, "rabbit.example.com", 5671},
        {"rabbit.example.com:1", true, "rabbit.example.com", 1},
        {"[::1]:5673", false, "::1", 5673},
        {"[2001:db8::1]", true, "2001:db8::1", 5671},
        {"2001:db8::1", false, "2001:db8::1", 5672},
        {"127.0.0.1:65535", false, "127.0.0.1", 65535},
        {"", false, NULL, 0},
        {":5672", false, NULL, 0},
        {"[]:5672", false, NULL, 0},
        {"[::1", false, NULL, 0},
        {"[::1]5672", false, NULL, 0},
        {"host:", false, NULL, 0},
        {"host:0", false, NULL, 0},
        {"host:65536", false, NULL, 0},
        {"host:-1", false, NULL, 0},
        {"host:+1", false, NULL, 0},
        {"host: 1", false, NULL, 0},
        {"host:5672x", false, NULL, 0},
        {"host:99999999999999999999", false, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct broker_host h;
        struct err e = {0};
        int rc = broker_host_parse(cases[i].text, cases[i].tls, &h, &e);
        if (cases[i].name == NULL) {
            assert_int_equal(rc, -1);
            assert_int_equal(e.class, ERR_CONFIG);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(h.name, cases[i].name);
        assert_int_equal(h.port, cases[i].port);
    }
    char longest[300];
    struct broker_host h;
    struct err e;
    memset(longest, 'h', sizeof longest);
    longest[256] = '\0';
    assert_int_equal(broker_host_parse(longest, false, &h, &e), -1);
    longest[255] = '\0';
    assert_int_equal(broker_host_parse(longest, false, &h, &e), 0);
}

static void test_broker_decode_consumer_tag(void **state)
{
    (void)state;
    static const struct {
        const char *tag;
        int index;
    } cases[] = {
        {"agwb-0-1", 0}, {"agwb-1-4294967295", 1}, {"agwb-2-1", -1}, {"agwb-x-1", -1},    {"agwb-0", -1},
        {"agwb-", -1},   {"agwb-00-1", -1},        {"", -1},         {"amq.ctag-0-1", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(broker_consumer_index(amqp_cstring_bytes(cases[i].tag), 2), cases[i].index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broker_decode_body_in_parts),
        cmocka_unit_test(test_broker_decode_oversized_body_is_not_kept),
        cmocka_unit_test(test_broker_decode_frames_out_of_order),
        cmocka_unit_test(test_broker_decode_return_keeps_only_the_id),
        cmocka_unit_test(test_broker_decode_properties),
        cmocka_unit_test(test_broker_decode_integer_kinds),
        cmocka_unit_test(test_broker_decode_skips_what_it_does_not_understand),
        cmocka_unit_test(test_broker_decode_newest_death),
        cmocka_unit_test(test_broker_decode_forged_death),
        cmocka_unit_test(test_broker_decode_host),
        cmocka_unit_test(test_broker_decode_consumer_tag),
    };
    return cmocka_run_group_tests_name("broker_decode", tests, NULL, NULL);
}
