#include "consumer/sms.h"

#include "base/utf8.h"

enum { GSM_SINGLE = 160, GSM_SEGMENT = 153, UCS2_SINGLE = 70, UCS2_SEGMENT = 67 };

/* Those of the basic table beyond ASCII; it has the capital c-cedilla but not the small one. */
static const uint16_t BASIC[] = {0xa1,  0xa3,  0xa4,  0xa5,  0xa7,  0xbf,  0xc4,  0xc5,  0xc6, 0xc7,
                                 0xc9,  0xd1,  0xd6,  0xd8,  0xdc,  0xdf,  0xe0,  0xe4,  0xe5, 0xe6,
                                 0xe8,  0xe9,  0xec,  0xf1,  0xf2,  0xf6,  0xf8,  0xf9,  0xfc, 0x393,
                                 0x394, 0x398, 0x39b, 0x39e, 0x3a0, 0x3a3, 0x3a6, 0x3a8, 0x3a9};

/* clang-format off */
static const unsigned char ASCII_SEPTETS[128] = {
    ['\n'] = 1, ['\r'] = 1, [' ' ... 'Z'] = 1, ['_'] = 1, ['a' ... 'z'] = 1,
    ['\f'] = 2, ['^'] = 2, ['{'] = 2, ['}'] = 2, ['\\'] = 2, ['['] = 2, ['~'] = 2, [']'] = 2, ['|'] = 2,
};
/* clang-format on */

size_t sms_septets(uint32_t c)
{
    enum { EURO = 0x20ac };

    if (c < 0x80)
        return ASCII_SEPTETS[c];
    for (size_t i = 0; i < sizeof BASIC / sizeof BASIC[0]; i++) {
        if (BASIC[i] == c)
            return 1;
    }
    return c == EURO ? 2 : 0;
}

size_t sms_plain_prefix(const char *text, size_t len)
{
    size_t at = 0;

    while (at < len && (unsigned char)text[at] < 0x80 && ASCII_SEPTETS[(unsigned char)text[at]] == 1)
        at++;
    return at;
}

/* An escaped character or a surrogate pair is not divided between segments. */
static void count_add(struct sms_count *n, size_t size, size_t segment)
{
    if (n->segments == 0 || n->fill + size > segment) {
        n->segments++;
        n->fill = 0;
    }
    n->fill += size;
    n->total += size;
}

void sms_meter_add(struct sms_meter *m, uint32_t c)
{
    size_t septets = sms_septets(c);

    m->is_ucs2 = m->is_ucs2 || septets == 0;
    count_add(&m->gsm, septets, GSM_SEGMENT);
    count_add(&m->ucs2, c > 0xffff ? 2 : 1, UCS2_SEGMENT);
}

/* `count` of the smallest size. */
static void count_add_ones(struct sms_count *n, size_t count, size_t segment)
{
    size_t room = n->segments > 0 ? segment - n->fill : 0;

    if (count <= room) {
        n->fill += count;
    } else {
        n->segments += (count - room + segment - 1) / segment;
        n->fill = (count - room - 1) % segment + 1;
    }
    n->total += count;
}

void sms_meter_add_plain(struct sms_meter *m, size_t count)
{
    count_add_ones(&m->gsm, count, GSM_SEGMENT);
    count_add_ones(&m->ucs2, count, UCS2_SEGMENT);
}

static size_t segments_of(const struct sms_count *n, size_t single)
{
    return n->total > 0 && n->total <= single ? 1 : n->segments;
}

size_t sms_meter_segments(const struct sms_meter *m)
{
    return m->is_ucs2 ? segments_of(&m->ucs2, UCS2_SINGLE) : segments_of(&m->gsm, GSM_SINGLE);
}

size_t sms_segments(const char *text)
{
    struct sms_meter m = {0};

    for (uint32_t c = utf8_next(&text); c; c = utf8_next(&text))
        sms_meter_add(&m, c);
    return sms_meter_segments(&m);
}

static const struct {
    uint16_t first, last;
    const char *plain;
} PLAIN[] = {
    {'\t', '\t', " "},      {'`', '`', "'"},        {0xa0, 0xa0, " "},       {0xab, 0xab, "\""},
    {0xbb, 0xbb, "\""},     {0x2000, 0x200a, " "},  {0x2010, 0x2015, "-"},   {0x2018, 0x201b, "'"},
    {0x201c, 0x201f, "\""}, {0x2022, 0x2022, "-"},  {0x2026, 0x2026, "..."}, {0x202f, 0x202f, " "},
    {0x2032, 0x2032, "'"},  {0x2033, 0x2033, "\""}, {0x2039, 0x203a, "'"},
};

static const char *plain_of(uint32_t c)
{
    for (size_t i = 0; i < sizeof PLAIN / sizeof PLAIN[0]; i++) {
        if (PLAIN[i].first <= c && c <= PLAIN[i].last)
            return PLAIN[i].plain;
    }
    return NULL;
}

void sms_add_plain(struct buf *out, const char *text)
{
    const char *at = text;

    for (uint32_t c = utf8_next(&text); c; c = utf8_next(&text)) {
        const char *plain = plain_of(c);
        if (plain)
            buf_add_str(out, plain);
        else
            buf_add(out, at, (size_t)(text - at));
        at = text;
    }
}
