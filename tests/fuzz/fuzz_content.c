/* Planning a reply: no part is over a limit, empty or cut within what a reader takes for a character, and all
 * that the reply says is said in the parts. Strings: "units bytes segments caption_units file_limit files
 * plain type", the text, then URL, caption and MIME type of each file; "~" for NULL. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

#include "base/grapheme.h"
#include "base/utf8.h"
#include "consumer/content.h"

static const char *next_text(struct fuzz_strings *in)
{
    const char *text = fuzz_next(in);

    return text == NULL || strcmp(text, "~") == 0 || !is_utf8(text, strlen(text)) ? NULL : text;
}

/* 0 is none; what no provider would have is made the least. */
static size_t limit_of(unsigned n, size_t least)
{
    return n > 0 && n < least ? least : n;
}

static void take_rules(struct fuzz_strings *in, struct content_rules *rules, struct reply *reply)
{
    const char *line = fuzz_next(in);
    unsigned n[8] = {0};

    if (line != NULL)
        (void)sscanf(line, "%5u %5u %2u %5u %2u %2u %1u %1u", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6],
                     &n[7]);
    *rules = (struct content_rules){.text = {.units = limit_of(n[0], CONTENT_LIMIT_MIN),
                                             .bytes = limit_of(n[1], CONTENT_LIMIT_MIN),
                                             .segments = n[2]},
                                    .caption = {.units = limit_of(n[3], CONTENT_LIMIT_MIN)},
                                    .file_limit = n[4],
                                    .files = (enum channel_files)(n[5] % (CHANNEL_FILES_LINKS + 1)),
                                    .plain_text = n[6] % 2};
    reply->type = (enum reply_type)(n[7] % (REPLY_DOCUMENT + 1));
}

static void take_reply(struct fuzz_strings *in, struct reply *reply)
{
    const char *text = next_text(in), *url;

    reply->text = text == NULL || utf8_is_blank(text) ? NULL : text;
    while (reply->attachment_count < MESSAGE_MAX_ATTACHMENTS && (url = next_text(in)) != NULL)
        reply->attachments[reply->attachment_count++] =
            (struct reply_attachment){.url = url, .caption = next_text(in), .mime_type = next_text(in)};
}

static void check_part(const struct content_rules *rules, const struct channel_part *p)
{
    const struct content_limit *limit = p->file_count > 0 ? &rules->caption : &rules->text;

    fuzz_require(p->text != NULL || p->file_count > 0, "a part has something");
    fuzz_require(p->text == NULL || (!utf8_is_blank(p->text) && is_utf8(p->text, strlen(p->text))),
                 "a part's text is one");
    fuzz_require(p->text == NULL || content_fits(p->text, limit), "a part is within the limits");
    fuzz_require(p->file_count == 0 || rules->files != CHANNEL_FILES_LINKS, "links are no files");
    fuzz_require(p->file_count == 0 || p->text == NULL || rules->files == CHANNEL_FILES_WITH_CAPTION,
                 "a file has a caption where it may");
    fuzz_require(rules->file_limit == 0 || p->file_count <= rules->file_limit, "files are within the limit");
}

/* The parts of a text alone, found in it: what they leave out is blank, and they end where a character does.
 */
static void check_cuts(const struct content_limit *limit, const char *text, const struct channel_parts *parts)
{
    struct arena *arena = arena_new();

    for (size_t i = 0; i < parts->count; i++) {
        const char *part = parts->items[i].text, *end;
        while (strncmp(text, part, strlen(part)) != 0)
            fuzz_require(utf8_is_space(utf8_next(&text)), "only blanks are lost");
        for (end = text + strlen(part); text < end;) {
            size_t left = (size_t)(end - text), n = grapheme_length(text);
            char *character = arena_dup(arena, text, n);
            fuzz_require(n <= left || !content_fits(character, limit), "a character stays whole");
            text += n < left ? n : left;
        }
    }
    fuzz_require(utf8_is_blank(text), "nothing is lost at the end");
    arena_free(&arena);
}

static void check_files(const struct reply *reply, const struct channel_parts *parts)
{
    size_t count = 0;

    for (size_t i = 0; i < parts->count; i++) {
        fuzz_require(parts->items[i].file_count == 0 || parts->items[i].files == reply->attachments + count,
                     "files go in their order");
        count += parts->items[i].file_count;
    }
    fuzz_require(count == reply->attachment_count, "every file goes");
}

static void check_plan(const struct content_rules *rules, const struct reply *reply,
                       const struct channel_parts *parts)
{
    fuzz_require(parts->count > 0 && parts->count <= CONTENT_MAX_PARTS, "a plan has parts, but not many");
    for (size_t i = 0; i < parts->count; i++)
        check_part(rules, &parts->items[i]);
    if (rules->files != CHANNEL_FILES_LINKS)
        check_files(reply, parts);
    if (reply->attachment_count == 0 && !rules->plain_text)
        check_cuts(&rules->text, reply->text, parts);
}

void fuzz_content(const char *bytes, size_t len)
{
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    struct content_rules rules;
    struct reply reply = {0};
    struct channel_parts parts;
    struct err e = {0};

    take_rules(&in, &rules, &reply);
    take_reply(&in, &reply);
    if (content_plan(&rules, &reply, in.arena, &parts, &e) == 0)
        check_plan(&rules, &reply, &parts);
    else
        fuzz_require(e.class == ERR_DATA, "a reply that cannot be planned is its own fault");
    arena_free(&in.arena);
}
