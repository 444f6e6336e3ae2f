/* What the parsers share: texts, words that wish something, numbers, times, limits, forms. */
#include "tests/unit/webhook_rig.h"

#include "publisher/webhooks/form.h"
#include "publisher/webhooks/payload.h"

static struct arena *arena;

static int begin(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

/* --- wishes --- */

static void test_webhook_wish_words(void **state)
{
    static const struct {
        const char *text;
        enum webhook_wish sms, chat;
    } rows[] = {
        {"STOP", WISH_STOP, WISH_STOP},
        {"STOPALL", WISH_STOP, WISH_STOP},
        {"UNSUBSCRIBE", WISH_STOP, WISH_STOP},
        {"OPTOUT", WISH_STOP, WISH_STOP},
        {"CANCEL", WISH_STOP, WISH_NONE},
        {"END", WISH_STOP, WISH_NONE},
        {"QUIT", WISH_STOP, WISH_NONE},
        {"REVOKE", WISH_STOP, WISH_NONE},
        {"START", WISH_START, WISH_START},
        {"UNSTOP", WISH_START, WISH_START},
        {"YES", WISH_START, WISH_NONE},
        {"HELP", WISH_HELP, WISH_NONE},
        {"INFO", WISH_HELP, WISH_NONE},
        {"stop", WISH_STOP, WISH_STOP},
        {"StOp", WISH_STOP, WISH_STOP},
        {"  Stop \n", WISH_STOP, WISH_STOP},
        {"\xe2\x80\x83Stop\xc2\xa0", WISH_STOP, WISH_STOP},
        {"\xe2\x80\x8eStop\xe2\x80\xac\xef\xbb\xbf", WISH_STOP, WISH_STOP},
        {"opt out", WISH_STOP, WISH_STOP},
        {"Opt-Out.", WISH_STOP, WISH_STOP},
        {"stop all", WISH_STOP, WISH_STOP},
        {"opt  out", WISH_NONE, WISH_NONE},
        {"stop all of it", WISH_NONE, WISH_NONE},
        {"Stop !", WISH_STOP, WISH_STOP},
        {"Stop.", WISH_STOP, WISH_STOP},
        {"Stop!!", WISH_STOP, WISH_STOP},
        {"Stop. ", WISH_STOP, WISH_STOP},
        {"Stop?", WISH_NONE, WISH_NONE},
        {"STOP PLEASE", WISH_NONE, WISH_NONE},
        {"please stop", WISH_NONE, WISH_NONE},
        {"STOPP", WISH_NONE, WISH_NONE},
        {"STO", WISH_NONE, WISH_NONE},
        {"STOP1", WISH_NONE, WISH_NONE},
        {"\"STOP\"", WISH_NONE, WISH_NONE},
        {"!", WISH_NONE, WISH_NONE},
        {"", WISH_NONE, WISH_NONE},
        {" ", WISH_NONE, WISH_NONE},
        {"st\xc3\xb6p", WISH_NONE, WISH_NONE},
    };
    static const enum channel chats[] = {CHANNEL_WHATSAPP, CHANNEL_EMAIL, CHANNEL_WEBSITE, CHANNEL_INSTAGRAM};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (webhook_wish_of(CHANNEL_SMS, rows[i].text) != rows[i].sms)
            fail_msg("sms \"%s\"", rows[i].text);
        for (size_t j = 0; j < COUNT(chats); j++) {
            if (webhook_wish_of(chats[j], rows[i].text) != rows[i].chat)
                fail_msg("%s \"%s\"", channel_name(chats[j]), rows[i].text);
        }
    }
}

/* --- texts --- */

static void test_webhook_text_is_cleaned(void **state)
{
    static const struct {
        const char *text, *cleaned; /* NULL = nothing is left */
    } rows[] = {
        {"hello", "hello"},
        {" hello ", " hello "},
        {"a\tb\nc", "a\tb\nc"},
        {"a\r\nb\rc\r", "a\nb\nc\n"},
        {"a\x01\x07\x1b[31mb\x7f", "a[31mb"},
        {"a\xc2\x80\xc2\x9b"
         "b\xc2\x85",
         "ab"},
        {"a\xc2\xa0"
         "b",
         "a\xc2\xa0"
         "b"},
        /* direction marks belong to the text: who writes Arabic or Hebrew needs them */
        {"\xe2\x80\xae"
         "abc\xe2\x80\xac \xd8\xa7\xe2\x80\x8f",
         "\xe2\x80\xae"
         "abc\xe2\x80\xac \xd8\xa7\xe2\x80\x8f"},
        {"a\xff\xc3(", "a\xef\xbf\xbd\xef\xbf\xbd("},
        {"\xf0\x9f\x98", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"", NULL},
        {" \n\xe2\x80\x83", NULL},
        {"\x01\x02", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t cut;
        const char *found = payload_text(rows[i].text, strlen(rows[i].text), arena, &cut);
        assert_int_equal(cut, 0);
        if (rows[i].cleaned == NULL ? found != NULL : found == NULL || strcmp(found, rows[i].cleaned) != 0)
            fail_msg("row %zu: \"%s\"", i, found == NULL ? "nothing" : found);
    }
}

/* `unit` again and again, `len` bytes of it, then `tail`. */
static char *repeated(const char *unit, size_t len, const char *tail)
{
    char *text = arena_alloc(arena, len + strlen(tail) + 1);

    for (size_t i = 0; i < len; i++)
        text[i] = unit[i % strlen(unit)];
    memcpy(text + len, tail, strlen(tail));
    return text;
}

static void check_cut(const char *text, size_t kept)
{
    size_t cut, len = strlen(text);
    const char *found = payload_text(text, len, arena, &cut);

    assert_int_equal(strlen(found), kept);
    assert_int_equal(cut, len > kept ? utf8_count(text) : 0);
    assert_memory_equal(found, text, kept);
    assert_true(is_utf8(found, kept));
}

static void test_webhook_text_is_cut_between_characters(void **state)
{
    enum { MOST = PAYLOAD_TEXT_MAX };

    (void)state;
    check_cut(repeated("a", MOST, ""), MOST);
    check_cut(repeated("a", MOST + 1, ""), MOST);
    check_cut(repeated("a", 1000000, ""), MOST);
    check_cut(repeated("word ", 1000000, ""), MOST - 1); /* behind the space before */
    check_cut(repeated("a", MOST - 300, " tail that is not near"), MOST - 300 + 22);
    check_cut(repeated("\xc3\xa9", MOST + 2, ""), MOST);
    check_cut(repeated("\xe2\x82\xac", MOST + 2, ""), MOST - 1); /* 3 bytes: 65536 is no multiple */
    check_cut(repeated("\xf0\x9f\x98\x80", MOST + 4, ""), MOST);
    check_cut(repeated("a", MOST - 1, "\xf0\x9f\x98\x80"), MOST - 1); /* not within one */
    /* an accent, a skin tone, a joiner and what it joins stay with what is before them */
    check_cut(repeated("a", MOST, "\xcc\x81zzz"), MOST - 1);
    check_cut(repeated("a", MOST - 4, "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd"), MOST - 4);
    check_cut(repeated("a", MOST - 7, "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb"), MOST - 7);
}

static const char *cloud_text(const char *text)
{
    struct buf b;
    char *body;

    buf_init(&b, RIG_LINES_MAX);
    buf_add_str(
        &b,
        "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"changes\":[{\"field\":\"messages\","
        "\"value\":"
        "{\"messages\":[{\"from\":\"12025550143\",\"id\":\"wamid.1\",\"type\":\"text\",\"text\":{\"body\":");
    buf_add_json_str(&b, text, strlen(text));
    buf_add_str(&b, "}}]}}]}]}");
    body = arena_strdup(arena, buf_str(&b));
    buf_fini(&b);
    return body;
}

/* A megabyte of text is a message of 64 KiB, and it is said how much is missing. */
static void test_webhook_text_of_a_megabyte(void **state)
{
    const char *lines, *note = "ignored: a text is cut to 64 KiB\n";

    (void)state;
    lines = rig_parse(&WEBHOOK_WHATSAPP_CLOUD, cloud_text(repeated("a", 1024 * 1024, "")));
    assert_memory_equal(lines, "message whatsapp text id=\"wamid.1\"", 34);
    assert_non_null(strstr(lines, "aaa\" cut_from=1048576\n"));
    assert_non_null(strstr(lines, note));
    assert_in_range(strlen(lines), PAYLOAD_TEXT_MAX, PAYLOAD_TEXT_MAX + 300);
    lines = rig_parse(&WEBHOOK_WHATSAPP_CLOUD, cloud_text(repeated("a", 3 * 1024 * 1024, "")));
    assert_memory_equal(lines, "refused: $: more than 3145728 bytes\n", 36);
}

static void test_webhook_line(void **state)
{
    static const struct {
        const char *text, *line;
        size_t most;
    } rows[] = {
        {"Ann", "Ann", 10},
        {"  Ann \n Lee  ", "Ann   Lee", 10},
        {"Ann\r\nLee", "Ann Lee", 10},
        {"\xe2\x80\xae"
         "Ann\xe2\x80\xac\xe2\x81\xa6\xe2\x81\xa9",
         "Ann", 10},                                          /* overrides go, */
        {"\xd8\xa7\xe2\x80\x8f", "\xd8\xa7\xe2\x80\x8f", 10}, /* marks stay */
        {"\xc3\xa9\xc3\xa9\xc3\xa9", "\xc3\xa9\xc3\xa9", 2},
        {"a\xff", "a\xef\xbf\xbd", 10},
        {"\x01", NULL, 10},
        {" ", NULL, 10},
        {"", NULL, 10},
        {NULL, NULL, 10},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *found = payload_line_text(rows[i].text, rows[i].most, arena);
        if (rows[i].line == NULL ? found != NULL : found == NULL || strcmp(found, rows[i].line) != 0)
            fail_msg("row %zu: \"%s\"", i, found == NULL ? "nothing" : found);
    }
}

/* --- numbers, times, ids, URLs --- */

static void test_webhook_number(void **state)
{
    static const struct {
        const char *text, *number;
    } rows[] = {
        {"12025550143", "+12025550143"},
        {"+12025550143", "+12025550143"},
        {"+1 (202) 555-0143", "+12025550143"},
        {"12025550143@s.whatsapp.net", "+12025550143"},
        {"12025550143:12@s.whatsapp.net", "+12025550143"},
        {"12025550143@c.us", "+12025550143"},
        {"120363000000000000@g.us", NULL},
        {"123456789-987654321@g.us", NULL},
        {"98711384416410@lid", NULL},
        {"98711384416410:3@lid", NULL},
        {"120363000000000000@newsletter", NULL},
        {"status@broadcast", NULL},
        {"02025550143", NULL},
        {"2025550", NULL},
        {"1234567890123456", NULL},
        {"BANK", NULL},
        {"US.13491208655302741918", NULL},
        {"", NULL},
        {NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *found = payload_number(rows[i].text, arena);
        if (rows[i].number == NULL ? found != NULL : found == NULL || strcmp(found, rows[i].number) != 0)
            fail_msg("\"%s\": %s", rows[i].text, found == NULL ? "nothing" : found);
    }
}

static void test_webhook_time(void **state)
{
    static const struct {
        const char *json;
        int64_t ms;
    } rows[] = {
        {"1749416383", 1749416383000},
        {"1749416383123", 1749416383123},
        {"\"1749416383\"", 1749416383000},
        {"\"1749416383123\"", 1749416383123},
        {"1749416383.5", 1749416383500},
        {"99999999999", 99999999999000},
        {"100000000000", 100000000000},
        {"0", 0},
        {"-5", 0},
        {"1e300", 0},
        {"\"\"", 0},
        {"\"yesterday\"", 0},
        {"\"1749416383 \"", 0},
        {"\"17494163831234567\"", 0},
        {"true", 0},
        {"null", 0},
        {"{}", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct json *doc = json_parse(rows[i].json, strlen(rows[i].json), NULL);
        assert_non_null(doc);
        int64_t found = payload_time_ms(json_root(doc));
        json_free(&doc);
        if (found != rows[i].ms)
            fail_msg("%s: %" PRId64, rows[i].json, found);
    }
}

static void test_webhook_ids_and_urls(void **state)
{
    (void)state;
    assert_string_equal(payload_id_text("wamid.HBgL=", arena), "wamid.HBgL=");
    assert_non_null(payload_id_text(repeated("a", 256, ""), arena));
    assert_null(payload_id_text(repeated("a", 257, ""), arena));
    assert_null(payload_id_text("a b", arena));
    assert_null(payload_id_text("a\n", arena));
    assert_null(payload_id_text("\xc3\xa9", arena));
    assert_null(payload_id_text("", arena));
    assert_null(payload_id_text(NULL, arena));
    assert_non_null(payload_url("https://example.com/a?b=c", arena));
    assert_non_null(payload_url("http://example.com/", arena));
    assert_null(payload_url("file:///etc/passwd", arena));
    assert_null(payload_url("//example.com/", arena));
    assert_null(payload_url("https://example.com/\r\nX: y", arena));
    assert_null(payload_url(repeated("a", 3000, ""), arena));
    assert_null(payload_url(NULL, arena));
}

/* --- rows --- */

static void test_webhook_headers_in_any_case(void **state)
{
    static const char text[] =
        "{\"content-type\":\"a\",\"X-Number\":5,\"X-Two\":\"first\",\"x-two\":\"second\"}";
    struct json *doc = json_parse(text, strlen(text), NULL);
    struct webhook_row row = {.headers = json_root(doc)};

    (void)state;
    assert_string_equal(webhook_header(&row, "Content-Type"), "a");
    assert_string_equal(webhook_header(&row, "X-TWO"), "first");
    assert_null(webhook_header(&row, "X-Number"));
    assert_null(webhook_header(&row, "X-Three"));
    row.headers = NULL;
    assert_null(webhook_header(&row, "Content-Type"));
    json_free(&doc);
}

static void test_webhook_reasons_tell_no_numbers(void **state)
{
    struct webhook_events ev = {.arena = arena};

    (void)state;
    webhook_ignore(&ev, "number %s\n\xc3\xa9 and %d", "+12025550143", 123456);
    assert_string_equal(ev.ignored, "number +********143??? and 123456");
    webhook_ignore(&ev, "a second reason");
    assert_string_equal(ev.ignored, "number +********143??? and 123456");
}

static const char *many_statuses(size_t count)
{
    struct buf b;
    char *body;

    buf_init(&b, RIG_LINES_MAX);
    buf_add_str(&b, "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"changes\":[{\"field\":"
                    "\"messages\",\"value\":"
                    "{\"statuses\":[");
    for (size_t i = 0; i < count; i++)
        buf_printf(&b, "%s{\"id\":\"wamid.%zu\",\"status\":\"read\"}", i == 0 ? "" : ",", i);
    buf_add_str(&b, "]}}]}]}");
    body = arena_strdup(arena, buf_str(&b));
    buf_fini(&b);
    return body;
}

/* All of them or none: a row is never done by halves. */
static void test_webhook_too_many_events(void **state)
{
    const char *lines = rig_parse(&WEBHOOK_WHATSAPP_CLOUD, many_statuses(WEBHOOK_EVENTS_MAX));
    size_t count = 0;

    (void)state;
    for (; *lines != '\0'; lines++)
        count += *lines == '\n';
    assert_int_equal(count, WEBHOOK_EVENTS_MAX);
    rig_expect(&WEBHOOK_WHATSAPP_CLOUD, many_statuses(WEBHOOK_EVENTS_MAX + 1),
               "refused: more than 1000 messages or receipts in one row\n");
}

/* --- forms --- */

static void test_webhook_form(void **state)
{
    static const char text[] = "&a=1+2%203&b&=x&c=%00z&a=4&d=%&e=%4&f=%zz&g=%C3%A9&h==&";
    struct form f;
    struct err e = {0};

    (void)state;
    assert_int_equal(form_parse(text, strlen(text), arena, &f, &e), 0);
    assert_int_equal(f.count, 10);
    assert_string_equal(form_value(&f, "a"), "1 2 3");
    assert_null(form_value(&f, "b"));
    assert_non_null(form_find(&f, "b"));
    assert_null(form_value(&f, "c"));
    assert_int_equal(form_find(&f, "c")->value_len, 2);
    assert_memory_equal(form_find(&f, "c")->value, "\0z", 3);
    assert_string_equal(form_value(&f, "d"), "%");
    assert_string_equal(form_value(&f, "e"), "%4");
    assert_string_equal(form_value(&f, "f"), "%zz");
    assert_string_equal(form_value(&f, "g"), "\xc3\xa9");
    assert_string_equal(form_value(&f, "h"), "=");
    assert_string_equal(form_value(&f, ""), "x");
    assert_null(form_find(&f, "i"));
    assert_int_equal(form_parse("", 0, arena, &f, &e), 0);
    assert_int_equal(f.count, 0);
    assert_int_equal(
        form_parse(repeated("a&", 2 * FORM_MAX_FIELDS - 1, ""), 2 * FORM_MAX_FIELDS - 1, arena, &f, &e), 0);
    assert_int_equal(f.count, FORM_MAX_FIELDS);
    assert_int_equal(
        form_parse(repeated("a&", 2 * FORM_MAX_FIELDS, "a"), 2 * FORM_MAX_FIELDS + 1, arena, &f, &e), -1);
    assert_int_equal(e.class, ERR_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_webhook_wish_words),
        cmocka_unit_test(test_webhook_text_is_cleaned),
        cmocka_unit_test(test_webhook_text_is_cut_between_characters),
        cmocka_unit_test(test_webhook_text_of_a_megabyte),
        cmocka_unit_test(test_webhook_line),
        cmocka_unit_test(test_webhook_number),
        cmocka_unit_test(test_webhook_time),
        cmocka_unit_test(test_webhook_ids_and_urls),
        cmocka_unit_test(test_webhook_headers_in_any_case),
        cmocka_unit_test(test_webhook_reasons_tell_no_numbers),
        cmocka_unit_test(test_webhook_too_many_events),
        cmocka_unit_test(test_webhook_form),
    };
    return cmocka_run_group_tests_name("webhook text", tests, begin, end);
}
