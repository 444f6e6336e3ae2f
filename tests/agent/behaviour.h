/* How the stand-in agent treats one request. By default it answers at once; markers in the user's text, or in
 * the first matching rule of a script, ask for something else. Several may stand together,
 * as in "[delay 500] [error BUSY]".
 *
 *   [delay MS]          thinks that long first
 *   [error CODE]        a reply with status error, without text
 *   [error-text CODE]   the same with a text
 *   [partial]           a reply with status partial
 *   [image URL]         the reply carries an attachment
 *   [document URL]      the same
 *   [pictures N]        N pictures beside the text, with captions from the second on: "<first word>.2", ...
 *   [replies N]         N replies, each with an id of its own (at most 16)
 *   [duplicate]         the same reply twice, byte for byte
 *   [conflict]          two replies with the same id and different texts
 *   [malformed]         a reply that is not JSON
 *   [incomplete]        a reply without status and contact
 *   [silent]            the request is acked, no reply comes
 *   [reject]            the request is rejected, as an agent's bug would
 *   [crash]             the process ends before the reply
 *   [crash-after]       the process ends after the reply, before the ack
 *
 * A script: {"rules": [{"text": "a part of the user's text", "times": 2, "markers": "[error BUSY]"}]}
 * times -1 = always, 1 when absent; without text a rule matches everything. A matching rule replaces the
 * text's own markers. */
#ifndef AGWB_TESTS_AGENT_BEHAVIOUR_H
#define AGWB_TESTS_AGENT_BEHAVIOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { BEHAVIOUR_MAX_REPLIES = 16 };

enum behaviour_kind {
    BEHAVIOUR_ANSWER = 0,
    BEHAVIOUR_DUPLICATE,
    BEHAVIOUR_CONFLICT,
    BEHAVIOUR_MALFORMED,
    BEHAVIOUR_INCOMPLETE,
    BEHAVIOUR_SILENT,
    BEHAVIOUR_REJECT,
    BEHAVIOUR_CRASH,
    BEHAVIOUR_CRASH_AFTER,
};

struct behaviour {
    enum behaviour_kind kind;
    int64_t delay_ms;
    int64_t replies;    /* 1..BEHAVIOUR_MAX_REPLIES */
    const char *status; /* "success", "error", "partial": static */
    bool has_text;
    char error_code[64];
    int64_t pictures;
    const char *type;     /* "text", "image", "document": static */
    char attachment[512]; /* URL, "" = none */
};

struct behaviour_script;
/* NULL and err when the JSON is not a script or has a marker that is unknown. */
struct behaviour_script *behaviour_script_parse(const char *json, size_t len, struct err *e);
void behaviour_script_free(struct behaviour_script **s);

/* What to do with this user's text; a NULL script has no rules. Counts a matching rule down. */
void behaviour_choose(struct behaviour_script *s, const char *text, struct behaviour *b);
/* What a behaviour does, in one word for the journal: static. */
const char *behaviour_name(enum behaviour_kind kind);

#endif
