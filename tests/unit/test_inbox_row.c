/* A row between the claim and the record: what ends it, and the JSON that the database gets of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "publisher/inbox_row.h"

#define ID "00000000-0000-4000-8000-000000000001"

struct scene {
    struct config *config;
    struct arena *arena;
    struct inbox_row row;
};

static int open_scene(void **state)
{
    static struct scene s;
    static const char *const no_environment[] = {NULL};
    struct config_source source = {.environment = (char *const *)(uintptr_t)no_environment};
    struct err e;

    s.config = config_load(&source, &e);
    s.arena = arena_new();
    *state = &s;
    return s.config != NULL ? 0 : -1;
}

static int close_scene(void **state)
{
    struct scene *s = *state;

    arena_free(&s->arena);
    config_free(&s->config);
    return 0;
}

static void read_row(struct scene *s, const char *provider, const char *headers, const char *body,
                     const char *fault)
{
    struct inbox_claim claim = {.id = ID,
                                .provider = provider,
                                .headers = headers,
                                .body = body,
                                .body_len = body != NULL ? strlen(body) : 0,
                                .fault = fault};
    inbox_row_read(s->config, &claim, s->arena, &s->row);
}

static void assert_messages(const struct scene *s, const char *expected)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    inbox_row_write_messages(&s->row, &b);
    assert_string_equal(buf_str(&b), expected);
    buf_fini(&b);
}

static void assert_receipts(const struct scene *s, const char *expected)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    inbox_row_write_receipts(&s->row, &b);
    assert_string_equal(buf_str(&b), expected);
    buf_fini(&b);
}

/* --- what ends a row --- */

static void test_inbox_row_failures(void **state)
{
    struct scene *s = *state;
    static const struct {
        const char *provider, *headers, *body, *fault, *reason;
    } ROWS[] = {
        {"generic", NULL, NULL, "too often", "too often"},
        {"pigeon", NULL, "{}", NULL, "unknown provider 'pigeon'"},
        {"", NULL, "{}", NULL, "unknown provider ''"},
        {"generic", NULL, NULL, NULL, "the body is empty"},
        {"generic", NULL, "", NULL, "the body is empty"},
        {"generic", "{", "{}", NULL, "headers: "},
        {"generic", "{}", "{", NULL, ""},
        {"generic", "{}", "{\"type\":\"message\"}", NULL, "$.id"},
    };

    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        read_row(s, ROWS[i].provider, ROWS[i].headers, ROWS[i].body, ROWS[i].fault);
        assert_int_equal(s->row.result, INBOX_FAILED);
        assert_false(s->row.is_forged);
        if (strncmp(s->row.error, ROWS[i].reason, strlen(ROWS[i].reason)) != 0)
            fail_msg("row %zu: %s", i, s->row.error);
        assert_messages(s, "");
    }
    assert_string_equal(s->row.provider, "generic");
    assert_string_equal(inbox_result_name(s->row.result), "failed");
}

/* A provider's name from outside must not become a label. */
static void test_inbox_row_unknown_provider_has_no_label(void **state)
{
    struct scene *s = *state;

    read_row(s, "x{y=\"z\"}", NULL, "{}", NULL);
    assert_string_equal(s->row.provider, "other");
}

static void test_inbox_row_is_ignored_with_a_reason(void **state)
{
    struct scene *s = *state;

    read_row(s, "wasender", NULL, "{\"event\":\"call.received\",\"data\":{}}", NULL);
    assert_int_equal(s->row.result, INBOX_IGNORED);
    assert_true(s->row.error[0] != '\0');
}

/* --- what the database gets --- */

static void test_inbox_row_message(void **state)
{
    struct scene *s = *state;

    read_row(
        s, "generic", "{}",
        "{\"type\":\"message\",\"id\":\"m1\",\"channel\":\"sms\",\"text\":\"a \\\"b\\\"\\n\",\"timestamp\":"
        "1772366412,\"from\":{\"phone\":\"+1 202-555-0143\",\"name\":\"Ann\"}}",
        NULL);
    assert_int_equal(s->row.result, INBOX_DONE);
    assert_null(s->row.error);
    assert_messages(s, "{\"row\":\"" ID "\",\"provider\":\"generic\",\"workspaces\":[],\"externalId\":\"m1\","
                       "\"channel\":\"sms\",\"number\":\"+12025550143\",\"name\":\"Ann\",\"text\":\"a "
                       "\\\"b\\\"\\n\",\"contentType\":\"text\",\"sentMs\":1772366412000}");
    assert_receipts(s, "");
}

static void test_inbox_row_person_and_wish(void **state)
{
    struct scene *s = *state;
    struct err e;

    read_row(
        s, "generic", NULL,
        "{\"type\":\"message\",\"id\":\"m1\",\"channel\":\"website\",\"text\":\"STOP\",\"quotedId\":\"q\","
        "\"attachments\":[{\"url\":\"https://example.com/a.pdf\",\"mimeType\":\"application/pdf\"}],"
        "\"from\":{\"id\":\"abc\"}}",
        NULL);
    assert_int_equal(s->row.result, INBOX_DONE);
    struct buf b;
    buf_init(&b, 1 << 20);
    inbox_row_write_messages(&s->row, &b);
    struct json *j = json_parse(b.data, b.len, &e);
    assert_non_null(j);
    assert_string_equal(json_str(json_path(json_root(j), "person")), "website:abc");
    assert_string_equal(json_str(json_path(json_root(j), "media.url")), "https://example.com/a.pdf");
    assert_string_equal(json_str(json_path(json_root(j), "media.mimeType")), "application/pdf");
    assert_string_equal(json_str(json_path(json_root(j), "quotedId")), "q");
    json_free(&j);
    buf_fini(&b);
}

/* One object behind the other, with commas between. */
static void test_inbox_row_receipts(void **state)
{
    struct scene *s = *state;

    read_row(
        s, "generic", NULL,
        "{\"type\":\"receipt\",\"status\":\"failed\",\"id\":\"p1\",\"messageId\":\"re-1\",\"code\":\"7\","
        "\"detail\":\"gone\",\"timestamp\":1772366412}",
        NULL);
    assert_int_equal(s->row.result, INBOX_DONE);
    assert_messages(s, "");
    assert_receipts(s,
                    "{\"row\":\"" ID "\",\"provider\":\"generic\",\"externalId\":\"p1\",\"ourId\":\"re-1\","
                    "\"status\":\"FAILED\",\"code\":\"7\",\"detail\":\"gone\",\"atMs\":1772366412000}");
}

/* --- what a parser might hand over --- */

static struct webhook_message *add_message(struct scene *s)
{
    struct webhook_message *m = arena_alloc(s->arena, sizeof *m);

    *m = (struct webhook_message){.external_id = "m1",
                                  .channel = CHANNEL_WHATSAPP,
                                  .number = "+12025550143",
                                  .text = "hello",
                                  .content_type = "text"};
    s->row =
        (struct inbox_row){.id = ID, .provider = "generic", .events = {.messages = m, .message_count = 1}};
    return m;
}

static void test_inbox_row_wishes(void **state)
{
    struct scene *s = *state;
    static const struct {
        enum webhook_wish wish;
        const char *word;
    } ROWS[] = {{WISH_NONE, NULL},
                {WISH_STOP, ",\"wish\":\"stop\"}"},
                {WISH_START, ",\"wish\":\"start\"}"},
                {WISH_HELP, ",\"wish\":\"help\"}"}};

    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct buf b;
        add_message(s)->wish = ROWS[i].wish;
        buf_init(&b, 1 << 20);
        inbox_row_write_messages(&s->row, &b);
        const char *at = strstr(buf_str(&b), ",\"wish\"");
        assert_int_equal(at != NULL, ROWS[i].word != NULL);
        if (at != NULL)
            assert_string_equal(at, ROWS[i].word);
        buf_fini(&b);
    }
}

/* Whatever a parser lets through, no text is longer than a request's may be. */
static void test_inbox_row_cuts_a_long_text(void **state)
{
    enum { CHARS = 400000 };
    struct scene *s = *state;
    char *text = arena_alloc(s->arena, 3 * CHARS + 1);
    struct buf b;
    struct err e;

    for (size_t i = 0; i < CHARS; i++)
        memcpy(text + 3 * i, "\xe2\x82\xac", 3);
    struct webhook_message *m = add_message(s);
    m->text = text;
    m->cut_from = CHARS;
    buf_init(&b, 8 << 20);
    inbox_row_write_messages(&s->row, &b);
    struct json *j = json_parse(b.data, b.len, &e);
    assert_non_null(j);
    int64_t cut_from = 0;
    assert_true(json_int(json_path(json_root(j), "cutFrom"), &cut_from));
    assert_int_equal(cut_from, CHARS);
    assert_int_equal(strlen(json_str(json_path(json_root(j), "text"))), 3 * MESSAGE_MAX_TEXT);
    json_free(&j);
    buf_fini(&b);
}

static void test_inbox_row_masks_its_sender(void **state)
{
    struct scene *s = *state;
    char masked[CONTACT_MASK_SIZE];
    struct webhook_message *m = add_message(s);

    assert_string_equal(inbox_mask_sender(m, masked), "*********143");
    m->number = NULL;
    m->email = "john@example.com";
    assert_string_equal(inbox_mask_sender(m, masked), "*ohn");
    m->email = NULL;
    m->user_id = "178414000";
    assert_string_equal(inbox_mask_sender(m, masked), "******000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_inbox_row_failures, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_unknown_provider_has_no_label, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_is_ignored_with_a_reason, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_message, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_person_and_wish, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_receipts, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_wishes, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_cuts_a_long_text, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(test_inbox_row_masks_its_sender, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
