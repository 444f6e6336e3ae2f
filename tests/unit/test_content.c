/* Where a text is cut, and how a reply's text and files become messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/grapheme.h"
#include "base/utf8.h"
#include "consumer/content.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define SMILE "\xf0\x9f\x98\x80"
#define ACUTE "\xcc\x81"
#define NBSP  "\xc2\xa0"
#define FAMILY                                                                                               \
    "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7" /* 8 units, 18 bytes */
#define FLAG  "\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa"                               /* 4 units */
#define SALAM "\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85"                               /* 4 units */
#define NI    "\xe4\xbd\xa0"
#define STOP  "\xe3\x80\x82"

/* The plan of a reply as text: a part's text, then "[url,url]" of its files and '!' when they are images; '|'
 * between parts. */
static void describe(const struct channel_parts *parts, struct buf *out)
{
    for (size_t i = 0; i < parts->count; i++) {
        const struct channel_part *p = &parts->items[i];
        if (i > 0)
            buf_add_char(out, '|');
        buf_add_str(out, p->text);
        for (size_t n = 0; n < p->file_count; n++)
            buf_printf(out, "%s%s", n == 0 ? "[" : ",", p->files[n].url);
        if (p->file_count > 0)
            buf_add_str(out, p->is_image ? "!]" : "]");
    }
}

static void expect_plan(const struct content_rules *rules, const struct reply *reply, const char *expected)
{
    struct arena *arena = arena_new();
    struct channel_parts parts;
    struct err e;
    struct buf found;

    buf_init(&found, 1 << 20);
    if (content_plan(rules, reply, arena, &parts, &e) == 0)
        describe(&parts, &found);
    else
        buf_printf(&found, "refused: %s", e.text);
    assert_string_equal(buf_str(&found), expected);
    buf_fini(&found);
    arena_free(&arena);
}

static void test_content_cuts(void **state)
{
    static const struct {
        const char *text, *parts;
        struct content_limit limit;
    } ROWS[] = {
        /* what fits goes as it is */
        {"  a whole text\n ", "  a whole text\n ", {0}},
        {"sixteen letters.", "sixteen letters.", {.units = 16}},
        /* paragraphs, lines, sentences, words, in the farther half */
        {"One two three.\n\nFour. Five six", "One two three.|Four. Five six", {.units = 22}},
        {"One two three.\r\n\r\nFour. Five six", "One two three.|Four. Five six", {.units = 24}},
        {"One two three.\n  \n Four.\nFive six", "One two three.|Four.\nFive six", {.units = 26}},
        {"One two three.\nFour. Five six", "One two three.|Four. Five six", {.units = 22}},
        {"One two three.\xe2\x80\xa9"
         "Four.\nFive six",
         "One two three.|Four.\nFive six",
         {.units = 22}},
        {"- first item\n- second item\n- third item",
         "- first item\n- second item|- third item",
         {.units = 30}},
        {"One.\n\nTwo three four five six", "One.\n\nTwo three|four five six", {.units = 16}},
        {"One two three. Four five six", "One two three.|Four five six", {.units = 20}},
        {"Is it so? \"Yes!\" He went home", "Is it so? \"Yes!\"|He went home", {.units = 20}},
        {"Look at e.g. these three words", "Look at e.g. these|three words", {.units = 18}},
        {"Do this: 1. Walk home at once", "Do this: 1. Walk|home at once", {.units = 16}},
        {"one two three four five", "one two three|four five", {.units = 16}},
        {"one two three     four five", "one two three|four five", {.units = 16}},
        {"a https://example.com/long", "a|https://example.co|m/long", {.units = 18}},
        {"see https://example.com/", "see|https://example.com/", {.units = 20}},
        /* blanks at the cuts and at the ends */
        {"0123456789abcdef   ", "0123456789abcdef", {.units = 16}},
        {"                    0123456789", "0123456789", {.units = 16}},
        {"0123456789abcdef\n\n\nx", "0123456789abcdef|x", {.units = 16}},
        {"about five" NBSP "kilograms", "about|five" NBSP "kilograms", {.units = 16}},
        /* no blanks: between characters */
        {"0123456789abcdefghi", "0123456789abcdef|ghi", {.units = 16}},
        {"0123456789abcde" SMILE, "0123456789abcde|" SMILE, {.units = 16}},
        {"0123456789abcd" SMILE SMILE, "0123456789abcd" SMILE "|" SMILE, {.units = 16}},
        {"0123456789" FAMILY FAMILY, "0123456789|" FAMILY FAMILY, {.units = 16}},
        {"0123456789abc" FLAG FLAG, "0123456789abc|" FLAG FLAG, {.units = 16}},
        {"0123456789abcde" ACUTE "f", "0123456789abcd|e" ACUTE "f", {.units = 15}},
        {"0123456789abcdef" ACUTE, "0123456789abcde|f" ACUTE, {.units = 16}},
        /* a character with more marks than fit */
        {"e" ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE,
         "e" ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE ACUTE "|" ACUTE ACUTE,
         {.bytes = 16}},
        /* from right to left */
        {SALAM "! " SALAM " " SALAM " " SALAM, SALAM "! " SALAM " " SALAM "|" SALAM, {.units = 16}},
        {SALAM " " SALAM "\xd8\x9f " SALAM " " SALAM,
         SALAM " " SALAM "\xd8\x9f|" SALAM " " SALAM,
         {.units = 16}},
        {"\xe2\x80\xab" SALAM "\xe2\x80\xac " SALAM " " SALAM " abc",
         "\xe2\x80\xab" SALAM "\xe2\x80\xac " SALAM " " SALAM "|abc",
         {.units = 16}},
        /* no blanks between words */
        {NI NI NI NI NI NI STOP NI NI NI NI, NI NI NI NI NI NI STOP "|" NI NI NI NI, {.bytes = 30}},
        {NI NI NI NI NI NI NI, NI NI NI NI NI "|" NI NI, {.bytes = 16}},
        {"ok " NI NI NI NI NI NI, "ok " NI NI NI NI "|" NI NI, {.bytes = 16}},
        {NI NI NI NI NI STOP "\xe3\x80\x8d" NI, NI NI NI NI NI STOP "\xe3\x80\x8d|" NI, {.bytes = 22}},
        /* bytes and units are not the same */
        {"caf\xc3\xa9 caf\xc3\xa9 caf\xc3\xa9", "caf\xc3\xa9 caf\xc3\xa9 caf\xc3\xa9", {.units = 16}},
        {"caf\xc3\xa9 caf\xc3\xa9 caf\xc3\xa9", "caf\xc3\xa9 caf\xc3\xa9|caf\xc3\xa9", {.bytes = 16}},
        {"caf\xc3\xa9 caf\xc3\xa9 caf\xc3\xa9",
         "caf\xc3\xa9 caf\xc3\xa9|caf\xc3\xa9",
         {.units = 99, .bytes = 16}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct content_rules rules = {.text = ROWS[i].limit};
        struct reply reply = {.text = ROWS[i].text};
        print_message("row %zu\n", i);
        expect_plan(&rules, &reply, ROWS[i].parts);
    }
}

static size_t count_parts(const char *text, const struct content_limit *limit)
{
    struct content_rules rules = {.text = *limit};
    struct reply reply = {.text = text};
    struct arena *arena = arena_new();
    struct channel_parts parts;
    struct err e;

    assert_int_equal(content_plan(&rules, &reply, arena, &parts, &e), 0);
    for (size_t i = 0; i < parts.count; i++)
        assert_true(content_fits(parts.items[i].text, limit));
    arena_free(&arena);
    return parts.count;
}

static const char *repeat(struct buf *b, const char *text, size_t times)
{
    buf_clear(b);
    for (size_t i = 0; i < times; i++)
        buf_add_str(b, text);
    return buf_str(b);
}

static void test_content_segments(void **state)
{
    static const struct {
        const char *text;
        size_t times, most, parts;
    } ROWS[] = {
        {"a", 160, 1, 1},    {"a", 161, 1, 2},    {"a", 306, 2, 1},           {"a", 307, 2, 2},
        {"a", 1530, 10, 1},  {"a", 1531, 10, 2},  {SMILE, 35, 1, 1},          {SMILE, 36, 1, 2},
        {SMILE, 330, 10, 1}, {SMILE, 331, 10, 2}, {"\xe2\x82\xac", 80, 1, 1}, {"\xe2\x82\xac", 81, 1, 2},
    };
    struct buf b;

    (void)state;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_int_equal(count_parts(repeat(&b, ROWS[i].text, ROWS[i].times),
                                     &(struct content_limit){.segments = ROWS[i].most}),
                         ROWS[i].parts);
    /* the one emoji makes its own part dear, not the others */
    repeat(&b, "word ", 31);
    buf_add_str(&b, "end. Bye " SMILE);
    assert_int_equal(count_parts(buf_str(&b), &(struct content_limit){.segments = 1}), 2);
    buf_fini(&b);
}

static void test_content_smart_encoding(void **state)
{
    struct content_rules rules = {.text = {.segments = 1}, .files = CHANNEL_FILES_LINKS, .plain_text = true};
    struct reply reply = {
        .text = "\xe2\x80\x9cHi\xe2\x80\x9d\xe2\x80\xa6",
        .attachments = {{.url = "https://example.com/\xe2\x80\x99", .caption = "it\xe2\x80\x99s"}},
        .attachment_count = 1};

    (void)state;
    expect_plan(&rules, &reply, "\"Hi\"...\nit's https://example.com/%E2%80%99"); /* the same link */
    rules.plain_text = false;
    expect_plan(&rules, &reply,
                "\xe2\x80\x9cHi\xe2\x80\x9d\xe2\x80\xa6\nit\xe2\x80\x99s https://example.com/%E2%80%99");
}

#define A    "https://example.com/a"
#define B    "https://example.com/b"
#define C    "https://example.com/c"
#define LONG "a caption too long to stand there" /* 33 */

static void test_content_files(void **state)
{
    static const struct content_rules USUAL = {.text = {.units = 40},
                                               .caption = {.units = 24},
                                               .file_limit = 1},
                                      BARE = {.text = {.units = 40},
                                              .file_limit = 1,
                                              .files = CHANNEL_FILES_BARE},
                                      LINKS = {.text = {.units = 40}, .files = CHANNEL_FILES_LINKS},
                                      PAIRS = {.caption = {.units = 24}, .file_limit = 2}, MAIL = {0};
    static const struct {
        const struct content_rules *rules;
        const char *text, *captions[3];
        const char *parts;
    } ROWS[] = {
        {&USUAL, NULL, {NULL}, "refused: neither text nor attachment: there is nothing to send"},
        {&USUAL, NULL, {""}, "[" A "]"},
        {&USUAL, NULL, {" \n"}, "[" A "]"},
        {&USUAL, "text", {""}, "text[" A "]"},
        {&USUAL, NULL, {"caption"}, "caption[" A "]"},
        {&USUAL, "text", {"text"}, "text[" A "]"},
        {&USUAL, "text", {"caption"}, "text\ncaption[" A "]"},
        {&USUAL, "a text that fits,", {"caption"}, "a text that fits,\ncaption|[" A "]"},
        {&USUAL, LONG, {""}, LONG "|[" A "]"},
        {&USUAL, LONG " and yet", {""}, LONG " and|yet|[" A "]"},
        {&USUAL, NULL, {LONG}, LONG "|[" A "]"},
        {&USUAL, "text", {"", ""}, "text[" A "]|[" B "]"},
        {&USUAL, "text", {"", "second", LONG}, "text[" A "]|second[" B "]|" LONG "|[" C "]"},
        {&BARE, "text", {"", "second"}, "text|[" A "]|second|[" B "]"},
        {&BARE, NULL, {""}, "[" A "]"},
        {&LINKS, "text", {""}, "text\n" A},
        {&LINKS, NULL, {""}, A},
        {&LINKS, "text", {"", "second"}, "text\n" A "|second " B},
        {&LINKS, NULL, {NULL}, "refused: neither text nor attachment: there is nothing to send"},
        {&PAIRS, "text", {"", "second", ""}, "text\nsecond[" A "," B "]|[" C "]"},
        {&MAIL, "text", {"", "", ""}, "text[" A "," B "," C "]"},
    };
    static const char *const URLS[] = {A, B, C};

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct reply reply = {.text = ROWS[i].text};
        for (; reply.attachment_count < 3 && ROWS[i].captions[reply.attachment_count];
             reply.attachment_count++) {
            const char *caption = ROWS[i].captions[reply.attachment_count];
            reply.attachments[reply.attachment_count].url = URLS[reply.attachment_count];
            reply.attachments[reply.attachment_count].caption = caption[0] ? caption : NULL;
        }
        print_message("row %zu\n", i);
        expect_plan(ROWS[i].rules, &reply, ROWS[i].parts);
    }
}

static void test_content_images(void **state)
{
    static const struct {
        enum reply_type type;
        const char *mime_type;
        bool is_image;
    } ROWS[] = {
        {REPLY_IMAGE, NULL, true},
        {REPLY_IMAGE, "image/png", true},
        {REPLY_IMAGE, "application/octet-stream", true},
        {REPLY_IMAGE, "application/pdf", false},
        {REPLY_TEXT, NULL, false},
        {REPLY_TEXT, "image/jpeg", true},
        {REPLY_DOCUMENT, "image/jpeg", true},
        {REPLY_DOCUMENT, "application/octet-stream", false},
    };
    static const struct content_rules RULES = {.file_limit = 1};

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct reply reply = {.type = ROWS[i].type,
                              .attachments = {{.url = A, .mime_type = ROWS[i].mime_type}},
                              .attachment_count = 1};
        expect_plan(&RULES, &reply, ROWS[i].is_image ? "[" A "!]" : "[" A "]");
    }
}

static void test_content_is_not_endless(void **state)
{
    struct content_rules rules = {.text = {.units = 16}, .file_limit = 1};
    struct reply reply = {0};
    struct buf b;

    (void)state;
    buf_init(&b, 2 << 20);
    reply.text = repeat(&b, "0123456789abcdef", CONTENT_MAX_PARTS);
    assert_int_equal(count_parts(reply.text, &rules.text), CONTENT_MAX_PARTS);
    reply.text = repeat(&b, "0123456789abcdef", CONTENT_MAX_PARTS + 1);
    expect_plan(&rules, &reply, "refused: the reply takes more than 20 messages");
    /* text and files together */
    reply.text = repeat(&b, "0123456789abcdef", CONTENT_MAX_PARTS - 1);
    rules.caption.units = 16;
    for (; reply.attachment_count < 2; reply.attachment_count++)
        reply.attachments[reply.attachment_count].url = A;
    expect_plan(&rules, &reply, "refused: the reply takes more than 20 messages");
    rules.text.units = 0;
    reply.attachment_count = 0;
    reply.text = repeat(&b, "a", CONTENT_MAX_BYTES);
    expect_plan(&rules, &reply, reply.text);
    reply.text = repeat(&b, "a", CONTENT_MAX_BYTES + 1);
    expect_plan(&rules, &reply, "refused: text too long (more than 65536 bytes)");
    reply.text = repeat(&b, "a", 1 << 20);
    expect_plan(&rules, &reply, "refused: text too long (more than 65536 bytes)");
    buf_fini(&b);
}

static void test_content_keeps_links_whole(void **state)
{
    struct content_rules rules = {.text = {.units = 20}, .files = CHANNEL_FILES_LINKS};
    struct reply reply = {.text = "text", .attachments = {{.url = A}}, .attachment_count = 1};

    (void)state;
    expect_plan(&rules, &reply, "refused: the link of an attachment is longer than a message may be");
    rules.text.units = strlen(A);
    expect_plan(&rules, &reply, "text|" A);
    /* between two of these characters a line might end, in a text */
    rules.text.units = 40;
    reply.attachments[0].url = "https://example.com/\xe6\x96\x87\xe4\xbb\xb6";
    expect_plan(&rules, &reply, "text|https://example.com/%E6%96%87%E4%BB%B6");
    rules.text.units = 37;
    expect_plan(&rules, &reply, "refused: the link of an attachment is longer than a message may be");
}

/* --- whatever the text --- */

static void add_without_blanks(struct buf *out, const char *text)
{
    for (const char *at = text; *text; at = text) {
        if (!utf8_is_space(utf8_next(&text)))
            buf_add(out, at, (size_t)(text - at));
    }
}

static void check_parts(const char *text, const struct content_limit *limit, struct buf *whole,
                        struct buf *joined)
{
    struct content_rules rules = {.text = *limit};
    struct reply reply = {.text = text};
    struct arena *arena = arena_new();
    struct channel_parts parts;
    struct err e;

    assert_int_equal(content_plan(&rules, &reply, arena, &parts, &e), 0);
    buf_clear(whole);
    buf_clear(joined);
    add_without_blanks(whole, text);
    for (size_t i = 0; i < parts.count; i++) {
        const char *part = parts.items[i].text;
        assert_true(content_fits(part, limit));
        assert_false(utf8_is_blank(part));
        assert_true(is_utf8(part, strlen(part)));
        add_without_blanks(joined, part);
    }
    assert_string_equal(buf_str(joined), buf_str(whole));
    arena_free(&arena);
}

static void test_content_loses_nothing(void **state)
{
    static const char *const PIECES[] = {"a",
                                         "word",
                                         " ",
                                         "  ",
                                         "\n",
                                         "\n\n",
                                         ". ",
                                         "! ",
                                         ACUTE,
                                         SMILE,
                                         FAMILY,
                                         FLAG,
                                         SALAM,
                                         NI,
                                         STOP,
                                         NBSP,
                                         "\r\n",
                                         "\t",
                                         "...",
                                         "\xe2\x80\x8f",
                                         "\"",
                                         "(",
                                         "`",
                                         "\xe2\x82\xac",
                                         "\xe2\x80\x8b",
                                         "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab"};
    static const struct content_limit LIMITS[] = {{.units = 16},
                                                  {.bytes = 16},
                                                  {.segments = 1},
                                                  {.units = 33, .bytes = 40, .segments = 1},
                                                  {.units = 100}};
    struct buf text, whole, joined;
    unsigned random = 1;

    (void)state;
    buf_init(&text, 1 << 16);
    buf_init(&whole, 1 << 16);
    buf_init(&joined, 1 << 16);
    for (size_t round = 0; round < 4000; round++) {
        buf_clear(&text);
        for (size_t n = round % 40; n < 40; n++) {
            random = random * 1103515245 + 12345;
            buf_add_str(&text, PIECES[(random >> 16) % COUNT(PIECES)]);
        }
        if (!utf8_is_blank(buf_str(&text)))
            check_parts(buf_str(&text), &LIMITS[round % COUNT(LIMITS)], &whole, &joined);
    }
    buf_fini(&text);
    buf_fini(&whole);
    buf_fini(&joined);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_cuts),
        cmocka_unit_test(test_content_segments),
        cmocka_unit_test(test_content_smart_encoding),
        cmocka_unit_test(test_content_files),
        cmocka_unit_test(test_content_images),
        cmocka_unit_test(test_content_is_not_endless),
        cmocka_unit_test(test_content_keeps_links_whole),
        cmocka_unit_test(test_content_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
