/* A reply as the messages that carry it: what is longer than a provider takes is divided between paragraphs,
 * lines, sentences, words or at least what a reader takes for characters (base/grapheme.h), and files go with
 * a caption, alone or as links. Nothing is lost but white space at the cuts, and nothing is added. Pure. */
#ifndef AGWB_CONSUMER_CONTENT_H
#define AGWB_CONSUMER_CONTENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "consumer/channels/channel.h"
#include "domain/message.h"

enum {
    CONTENT_MAX_PARTS = 20,    /* of a reply; one that takes more is refused */
    CONTENT_MAX_BYTES = 65536, /* of a reply's text with its links */
    CONTENT_LIMIT_MIN = 16     /* the least units or bytes of a limit */
};

/* What a text may take at most, in all of these at once; 0 = any. */
struct content_limit {
    size_t units, bytes, segments; /* of UTF-16, UTF-8, SMS */
};

bool content_fits(const char *text, const struct content_limit *limit);

struct content_rules {
    struct content_limit text, caption;
    size_t file_limit; /* files of one message; 0 = any */
    enum channel_files files;
    bool plain_text; /* sms_add_plain on text and captions */
};

/* The reply's parts, in the arena, borrowing from the reply. A caption of a file follows the reply's text on
 * a line of its own, and is followed there by the file's link if it goes as one; what is too long to stand
 * beside a file goes before it. -1 and ERR_DATA when there is nothing in the reply, or more than the above,
 * or a link that no message can hold whole. */
int content_plan(const struct content_rules *rules, const struct reply *reply, struct arena *arena,
                 struct channel_parts *parts, struct err *e) MUST_CHECK;

#endif
