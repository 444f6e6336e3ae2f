#include "consumer/content.h"

#include <string.h>

#include "base/grapheme.h"
#include "base/utf8.h"
#include "consumer/sms.h"

enum { SEGMENT_BYTES_MIN = 67 };

/* --- what fits --- */

struct meter {
    size_t units, bytes;
    struct sms_meter sms;
};

static void meter_add(struct meter *m, const char *text, size_t len)
{
    const char *end = text + len;

    m->bytes += len;
    while (text < end) {
        size_t plain = sms_plain_prefix(text, (size_t)(end - text));
        m->units += plain;
        sms_meter_add_plain(&m->sms, plain);
        text += plain;
        if (text == end)
            break;
        uint32_t c = utf8_next(&text);
        m->units += c > 0xffff ? 2 : 1;
        sms_meter_add(&m->sms, c);
    }
}

static bool meter_fits(const struct meter *m, const struct content_limit *limit)
{
    return (limit->units == 0 || m->units <= limit->units) &&
           (limit->bytes == 0 || m->bytes <= limit->bytes) &&
           (limit->segments == 0 || sms_meter_segments(&m->sms) <= limit->segments);
}

bool content_fits(const char *text, const struct content_limit *limit)
{
    struct meter m = {0};
    size_t len = strlen(text);

    /* nearly every text has fewer bytes than it may have units; a segment holds this many at the worst */
    if ((limit->segments == 0 || len <= limit->segments * SEGMENT_BYTES_MIN) &&
        (limit->units == 0 || len <= limit->units) && (limit->bytes == 0 || len <= limit->bytes))
        return true;
    meter_add(&m, text, len);
    return meter_fits(&m, limit);
}

/* --- where a text may be cut --- */

/* The better ones last. */
enum cut { CUT_NONE = 0, CUT_CHARACTER, CUT_WORD, CUT_SENTENCE, CUT_LINE, CUT_PARAGRAPH, CUT_COUNT };

static bool is_no_break_space(uint32_t c)
{
    return c == 0xa0 || c == 0x2007 || c == 0x202f || c == 0xfeff;
}

static bool is_line_end(uint32_t c)
{
    return (c >= '\n' && c <= '\r') || c == 0x2028 || c == 0x2029;
}

/* The white space that begins a text, and what it parts. A blank that carries a combining mark is none. */
static size_t take_blanks(const char *text, enum cut *cut)
{
    size_t len = 0, lines = 0, n;

    *cut = CUT_NONE;
    for (; (n = grapheme_length(text + len)) > 0; len += n) {
        const char *at = text + len;
        uint32_t c = utf8_next(&at);
        bool is_crlf = c == '\r' && *at == '\n';
        if (!utf8_is_space(c) || (at != text + len + n && !is_crlf))
            break;
        if (is_line_end(c))
            lines += c == 0x2029 ? 2 : 1;
        if (*cut == CUT_NONE && !is_no_break_space(c))
            *cut = CUT_WORD;
    }
    if (lines > 0)
        *cut = lines > 1 ? CUT_PARAGRAPH : CUT_LINE;
    return len;
}

/* What ends a sentence: of Latin, Arabic, Urdu, Devanagari, Ethiopic, Khmer and Armenian writing. */
static const uint16_t ENDS[] = {'.',   '!',   '?',   0x2026, 0x203d, 0x589,
                                0x61f, 0x6d4, 0x964, 0x965,  0x1362, 0x17d4};
/* The same where no space follows, in Chinese and Japanese. */
static const uint16_t WIDE_ENDS[] = {0x3002, 0xff01, 0xff1f};
/* Quotation marks, brackets and markup that still belong to the sentence that ends before them. */
static const uint16_t CLOSES[] = {'"',    '\'',   ')',    ']',    '}',    '*',    '_',    0xbb,
                                  0x2019, 0x201d, 0x203a, 0x300d, 0x300f, 0xff09, 0x3011, 0x300b};

#define IS_IN(table, c) is_in(table, sizeof(table) / sizeof(table)[0], c)

static bool is_in(const uint16_t *table, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i] == c)
            return true;
    }
    return false;
}

/* Chinese and Japanese characters: between two of them any line may end. */
static bool is_ideographic(uint32_t c)
{
    return (c >= 0x3041 && c <= 0x30fa) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x4e00 && c <= 0x9fff) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x20000 && c <= 0x3fffd);
}

/* What was read, as far as the next cut depends on it. */
struct reader {
    uint32_t last;
    bool has_ended, has_wide_ended; /* a sentence */
};

/* The number of a list's item, "2.", ends none. */
static void reader_take(struct reader *r, uint32_t c)
{
    bool was_digit = r->last >= '0' && r->last <= '9';

    if (!IS_IN(CLOSES, c)) {
        r->has_wide_ended = IS_IN(WIDE_ENDS, c);
        r->has_ended = r->has_wide_ended || (IS_IN(ENDS, c) && !(c == '.' && was_digit));
    }
    r->last = c;
}

/* At blanks that part words at least: "e.g. this" goes on, for its small letter. */
static enum cut cut_at_blanks(const struct reader *r, enum cut cut, const char *behind)
{
    bool goes_on = *behind >= 'a' && *behind <= 'z';

    return cut == CUT_WORD && r->has_ended && !goes_on ? CUT_SENTENCE : cut;
}

/* Between two characters without a blank. */
static enum cut cut_inside(const struct reader *r, const char *behind)
{
    enum { ZERO_WIDTH_SPACE = 0x200b };
    uint32_t next = utf8_next(&behind);

    if (r->has_wide_ended && !IS_IN(CLOSES, next) && !IS_IN(WIDE_ENDS, next))
        return CUT_SENTENCE;
    if (r->last == ZERO_WIDTH_SPACE || (is_ideographic(r->last) && is_ideographic(next)))
        return CUT_WORD;
    return CUT_CHARACTER;
}

/* --- the next piece --- */

struct piece {
    size_t last[CUT_COUNT]; /* the farthest cut of its kind that fits; 0 = none */
    bool is_all;            /* the rest of the text fits */
};

/* Where blanks part two words, any lesser cut may be, too; a sentence that ends without a blank says nothing
 * of words. */
static void piece_note(struct piece *p, size_t at, enum cut cut, bool is_blank)
{
    p->last[cut] = at;
    p->last[CUT_CHARACTER] = at;
    for (size_t lesser = CUT_WORD; is_blank && lesser < cut; lesser++)
        p->last[lesser] = at;
}

/* Reads a text that begins with no blank as far as it fits. */
static struct piece read_piece(const char *text, const struct content_limit *limit)
{
    struct piece p = {0};
    struct meter m = {0};
    struct reader r = {0};
    enum cut cut;
    size_t at = 0, n;

    while (text[at]) {
        n = take_blanks(text + at, &cut);
        if (cut != CUT_NONE)
            piece_note(&p, at, cut_at_blanks(&r, cut, text + at + n), true);
        if (n == 0) {
            const char *character = text + at;
            n = grapheme_length(character);
            reader_take(&r, utf8_next(&character));
            cut = CUT_CHARACTER;
        }
        meter_add(&m, text + at, n);
        if (!meter_fits(&m, limit))
            return p;
        at += n;
        if (cut == CUT_CHARACTER)
            piece_note(&p, at, cut_inside(&r, text + at), false);
    }
    p.is_all = true;
    return p;
}

/* The best cut in the farther half, so that a short line does not go out alone; a word is never divided that
 * could stand in the next piece. */
static size_t choose_cut(const struct piece *p)
{
    size_t farthest = p->last[CUT_CHARACTER];

    if (p->is_all)
        return farthest;
    for (size_t cut = CUT_PARAGRAPH; cut > CUT_WORD; cut--) {
        if (p->last[cut] > farthest / 2)
            return p->last[cut];
    }
    return p->last[CUT_WORD] > 0 ? p->last[CUT_WORD] : farthest;
}

/* Of a character with more marks than fit: those that do. */
static size_t cut_character(const char *text, const struct content_limit *limit)
{
    struct meter m = {0};
    const char *at = text, *end = text;

    do {
        at = end;
        (void)utf8_next(&end);
        meter_add(&m, at, (size_t)(end - at));
    } while (meter_fits(&m, limit));
    return (size_t)((at > text ? at : end) - text);
}

static size_t next_piece(const char *text, const struct content_limit *limit)
{
    struct piece p = read_piece(text, limit);
    size_t len = choose_cut(&p);

    return len > 0 ? len : cut_character(text, limit);
}

/* --- the plan --- */

struct plan {
    const struct content_rules *rules;
    const struct reply *reply;
    struct arena *arena;
    struct channel_parts *parts;
};

static int add_part(struct plan *p, const struct channel_part *part, struct err *e)
{
    if (p->parts->count == CONTENT_MAX_PARTS)
        return err_set(e, ERR_DATA, 0, "the reply takes more than %d messages", CONTENT_MAX_PARTS);
    p->parts->items[p->parts->count++] = *part;
    return 0;
}

static int add_text(struct plan *p, const char *text, struct err *e)
{
    const struct content_limit *limit = &p->rules->text;
    enum cut ignored;
    size_t len;

    if (content_fits(text, limit))
        return add_part(p, &(struct channel_part){.text = text}, e);
    for (text += take_blanks(text, &ignored); *text; text += take_blanks(text, &ignored)) {
        len = next_piece(text, limit);
        if (add_part(p, &(struct channel_part){.text = arena_dup(p->arena, text, len)}, e) != 0)
            return -1;
        text += len;
    }
    return 0;
}

static void add_line(struct buf *b, const char *text, bool plain)
{
    if (!text || utf8_is_blank(text))
        return;
    if (b->len > 0)
        buf_add_char(b, '\n');
    if (plain)
        sms_add_plain(b, text);
    else
        buf_add_str(b, text);
}

/* In ASCII alone: it is no word that may be divided, and counts as little as it can. */
static void add_link(struct buf *b, const char *url)
{
    for (; *url; url++)
        buf_printf(b, (unsigned char)*url < 0x80 ? "%c" : "%%%02X", (unsigned char)*url);
}

static bool link_fits(const char *url, const struct content_limit *limit)
{
    struct buf b;
    bool fits;

    buf_init(&b, CONTENT_MAX_BYTES);
    add_link(&b, url);
    fits = !b.failed && content_fits(buf_str(&b), limit);
    buf_fini(&b);
    return fits;
}

/* A line: the caption, unless it only repeats the reply's text, and the link where files go as such. */
static void add_file_line(const struct plan *p, const struct reply_attachment *file, struct buf *b)
{
    const char *text = p->reply->text;
    size_t before = b->len;

    if (file->caption && !(text && strcmp(file->caption, text) == 0))
        add_line(b, file->caption, p->rules->plain_text);
    if (p->rules->files != CHANNEL_FILES_LINKS)
        return;
    if (b->len > 0)
        buf_add_char(b, b->len > before ? ' ' : '\n');
    add_link(b, file->url);
}

/* What is said with `count` files, which may be none: with the first of all also the reply's text. *words is
 * NULL when that is nothing. */
static int take_words(const struct plan *p, const struct reply_attachment *files, size_t count,
                      const char **words, struct err *e)
{
    struct buf b;
    int rc = 0;

    buf_init(&b, CONTENT_MAX_BYTES);
    if (files == p->reply->attachments)
        add_line(&b, p->reply->text, p->rules->plain_text);
    for (size_t i = 0; i < count; i++)
        add_file_line(p, &files[i], &b);
    if (b.failed)
        rc = err_set(e, ERR_DATA, 0, "text too long (more than %d bytes)", CONTENT_MAX_BYTES);
    else
        *words = b.len > 0 ? arena_strdup(p->arena, buf_str(&b)) : NULL;
    buf_fini(&b);
    return rc;
}

static bool is_image(const struct reply *r, const struct reply_attachment *file)
{
    const char *type = file->mime_type;

    if (!type || strcasecmp(type, "application/octet-stream") == 0)
        return r->type == REPLY_IMAGE;
    return strncasecmp(type, "image/", 6) == 0;
}

static int add_files(struct plan *p, const struct reply_attachment *files, size_t count, struct err *e)
{
    struct channel_part part = {.files = files, .file_count = count, .is_image = true};
    const char *words = NULL;

    if (take_words(p, files, count, &words, e) != 0)
        return -1;
    if (words && p->rules->files == CHANNEL_FILES_WITH_CAPTION && content_fits(words, &p->rules->caption))
        part.text = words;
    else if (words && add_text(p, words, e) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        part.is_image = part.is_image && is_image(p->reply, &files[i]);
    return add_part(p, &part, e);
}

static int add_all_files(struct plan *p, struct err *e)
{
    const struct reply *r = p->reply;
    size_t most = p->rules->file_limit ? p->rules->file_limit : r->attachment_count;

    for (size_t i = 0; i < r->attachment_count; i += most) {
        size_t left = r->attachment_count - i;
        if (add_files(p, r->attachments + i, left < most ? left : most, e) != 0)
            return -1;
    }
    return 0;
}

/* The text, and the links of files. A link that is divided leads nowhere. */
static int add_words(struct plan *p, struct err *e)
{
    const struct reply *r = p->reply;
    const char *words = NULL;

    for (size_t i = 0; i < r->attachment_count; i++) {
        if (!link_fits(r->attachments[i].url, &p->rules->text))
            return err_set(e, ERR_DATA, 0, "the link of an attachment is longer than a message may be");
    }
    if (take_words(p, r->attachments, r->attachment_count, &words, e) != 0)
        return -1;
    if (!words)
        return err_set(e, ERR_DATA, 0, "neither text nor attachment: there is nothing to send");
    return add_text(p, words, e);
}

int content_plan(const struct content_rules *rules, const struct reply *reply, struct arena *arena,
                 struct channel_parts *parts, struct err *e)
{
    struct plan p = {.rules = rules, .reply = reply, .arena = arena, .parts = parts};

    parts->items = arena_alloc(arena, CONTENT_MAX_PARTS * sizeof *parts->items);
    parts->count = 0;
    return reply->attachment_count > 0 && rules->files != CHANNEL_FILES_LINKS ? add_all_files(&p, e)
                                                                              : add_words(&p, e);
}
