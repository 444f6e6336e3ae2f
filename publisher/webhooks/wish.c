/* The words by which people say whether they want to be written to. On SMS they are the carriers' and
 * Twilio's English ones. */
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "publisher/webhooks/webhook.h"

struct wish_word {
    const char *word;
    enum webhook_wish wish;
    bool in_chats; /* as well; the others people use in a conversation */
};

static const struct wish_word WORDS[] = {
    {"STOP", WISH_STOP, true},     {"STOPALL", WISH_STOP, true}, {"UNSUBSCRIBE", WISH_STOP, true},
    {"OPTOUT", WISH_STOP, true},   {"OPT OUT", WISH_STOP, true}, {"OPT-OUT", WISH_STOP, true},
    {"STOP ALL", WISH_STOP, true}, {"CANCEL", WISH_STOP, false}, {"END", WISH_STOP, false},
    {"QUIT", WISH_STOP, false},    {"REVOKE", WISH_STOP, false}, {"START", WISH_START, true},
    {"UNSTOP", WISH_START, true},  {"YES", WISH_START, false},   {"HELP", WISH_HELP, false},
    {"INFO", WISH_HELP, false},
};
enum { WORD_COUNT = sizeof WORDS / sizeof WORDS[0] };

/* White space, and what a keyboard or a phone puts in unseen: joiners, marks of direction. */
static bool is_invisible(uint32_t c)
{
    return utf8_is_space(c) || (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

static const char *skip_invisible(const char *text)
{
    const char *next = text;

    while (is_invisible(utf8_next(&next)))
        text = next;
    return text;
}

static bool is_alone(const char *rest)
{
    rest = skip_invisible(rest);
    return *skip_invisible(rest + strspn(rest, ".!")) == '\0';
}

enum webhook_wish webhook_wish_of(enum channel channel, const char *text)
{
    const char *word = skip_invisible(text);

    for (size_t i = 0; i < WORD_COUNT; i++) {
        size_t len = strlen(WORDS[i].word);
        if (strncasecmp(WORDS[i].word, word, len) == 0 && is_alone(word + len))
            return channel == CHANNEL_SMS || WORDS[i].in_chats ? WORDS[i].wish : WISH_NONE;
    }
    return WISH_NONE;
}
