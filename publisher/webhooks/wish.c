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
    {"STOP", WISH_STOP, true},    {"STOPALL", WISH_STOP, true}, {"UNSUBSCRIBE", WISH_STOP, true},
    {"OPTOUT", WISH_STOP, true},  {"CANCEL", WISH_STOP, false}, {"END", WISH_STOP, false},
    {"QUIT", WISH_STOP, false},   {"REVOKE", WISH_STOP, false}, {"START", WISH_START, true},
    {"UNSTOP", WISH_START, true}, {"YES", WISH_START, false},   {"HELP", WISH_HELP, false},
    {"INFO", WISH_HELP, false},
};
enum { WORD_COUNT = sizeof WORDS / sizeof WORDS[0] };

static const char *skip_space(const char *text)
{
    const char *next = text;

    while (utf8_is_space(utf8_next(&next)))
        text = next;
    return text;
}

enum webhook_wish webhook_wish_of(enum channel channel, const char *text)
{
    const char *word = skip_space(text);
    size_t len = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    const char *rest = word + len;

    if (*skip_space(rest + strspn(rest, ".!")) != '\0')
        return WISH_NONE;
    for (size_t i = 0; i < WORD_COUNT; i++) {
        if (strlen(WORDS[i].word) == len && strncasecmp(WORDS[i].word, word, len) == 0)
            return channel == CHANNEL_SMS || WORDS[i].in_chats ? WORDS[i].wish : WISH_NONE;
    }
    return WISH_NONE;
}
