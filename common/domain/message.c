/* What both messages share: the wire's words, the rules of their common members, the trace header. */
#include "domain/message.h"

#include <string.h>

#include "base/backoff.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "domain/contact.h"
#include "domain/message_shape.h"

/* In the enum's order, without NONE. */
static const char *const channel_words[] = {"whatsapp", "sms", "email", "website", "instagram", NULL};

const char *channel_name(enum channel c)
{
    return c == CHANNEL_NONE ? "" : channel_words[c - 1];
}

bool channel_parse(const char *word, enum channel *c)
{
    int i = word_index(channel_words, word);
    if (i < 0)
        return false;
    *c = (enum channel)(i + 1);
    return true;
}

const char *message_priority_word(int priority)
{
    switch (priority) {
    case 1:
        return "urgent";
    case 2:
    case 3:
        return "high";
    default:
        return "normal";
    }
}

/* --- rules --------------------------------------------------------------------------------------------- */

static bool is_message_id(const char *text)
{
    size_t len = 0;
    for (; text[len] != '\0'; len++)
        if (text[len] < 0x21 || text[len] > 0x7e || len == MESSAGE_ID_MAX)
            return false;
    return len > 0;
}

static bool is_jid_or_empty(const char *text)
{
    return text[0] == '\0' || contact_jid_kind_of(text) != CONTACT_JID_NONE;
}

const struct text_rule rule_message_id = {.fits = is_message_id,
                                          .expected = "1 to 128 printable ASCII characters"};
const struct text_rule rule_jid = {.fits = is_jid_or_empty, .expected = "a WhatsApp JID"};
const struct text_rule rule_name = {.max_chars = MESSAGE_MAX_NAME};
const struct text_rule rule_text = {.max_chars = MESSAGE_MAX_TEXT};
const struct text_rule rule_uuid = {.fits = is_uuid, .expected = "a uuid"};
const struct text_rule rule_channel = {.words = channel_words};

/* --- W3C trace context --------------------------------------------------------------------------------- */

/* `len` lower-case hexadecimal digits, not all of them zero unless zero is fine. */
static bool is_hex(const char *s, size_t len, bool zero_is_fine)
{
    return strspn(s, "0123456789abcdef") >= len && (zero_is_fine || strspn(s, "0") < len);
}

bool is_traceparent(const char *s)
{
    return s != NULL && strlen(s) == 55 && memcmp(s, "00-", 3) == 0 && is_hex(s + 3, 32, false) &&
           s[35] == '-' && is_hex(s + 36, 16, false) && s[52] == '-' && is_hex(s + 53, 2, true);
}

static uint64_t random_not_zero(void)
{
    uint64_t r = 0;
    while (r == 0)
        r = random_u64();
    return r;
}

static char *put_hex(char *at, uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

/* By hand: each request has one, and snprintf takes ten times as long. */
void traceparent_new(char out[56])
{
    str_copy(out, 56, "00-");
    char *at = put_hex(out + 3, random_not_zero());
    at = put_hex(at, random_not_zero());
    *at++ = '-';
    at = put_hex(at, random_not_zero());
    str_copy(at, (size_t)(out + 56 - at), "-01");
}
