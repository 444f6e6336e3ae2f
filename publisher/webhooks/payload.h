/* What the providers' parsers share: a foreign JSON body, and its texts, numbers, times and addresses in our
 * form. What is returned lies in the arena. */
#ifndef AGWB_PUBLISHER_WEBHOOKS_PAYLOAD_H
#define AGWB_PUBLISHER_WEBHOOKS_PAYLOAD_H

#include "publisher/webhooks/webhook.h"

enum { PAYLOAD_TEXT_MAX = 64 * 1024 }; /* bytes; a longer text is cut, and that is noted */

/* The body, which is an object; NULL and ERR_DATA. */
struct json *payload_read(const struct webhook_row *row, struct err *e);
/* 0, or -1 and ERR_DATA when there were more events than a row may hold. */
int payload_end(const struct webhook_events *ev, struct err *e);

/* The elements of an array, or the one that stands there without: next = NULL begins, NULL ends. */
const struct json_node *payload_each(const struct json_node *array_or_one, const struct json_node *last);

/* A string, or the digits of a whole number: 1 to MESSAGE_MAX_EXTERNAL_ID printable ASCII characters, else
 * NULL. */
const char *payload_id(const struct json_node *n, struct arena *a);
/* The same of a string from elsewhere; NULL gives NULL. */
const char *payload_id_text(const char *text, struct arena *a);
/* One line (a name, a code, a file's name): without control characters and overrides of the direction of
 * writing, trimmed, cut to `most` characters; NULL when nothing is left. */
const char *payload_line(const struct json_node *n, size_t most, struct arena *a);
const char *payload_line_text(const char *text, size_t most, struct arena *a);
/* http:// or https://, printable ASCII, at most MESSAGE_MAX_URL characters, else NULL. Whether it may be
 * fetched is not asked here. */
const char *payload_url(const char *text, struct arena *a);
/* Unix seconds, or milliseconds from 1e11 on, as a number or its digits; 0 for anything else. */
int64_t payload_time_ms(const struct json_node *n);
int64_t payload_time_text_ms(const char *digits);
/* E.164 of a number with or without '+', or of a user's JID; NULL for anything else (a hidden id's digits are
 * no number). */
const char *payload_number(const char *number_or_jid, struct arena *a);

/* "[location: 37.48,-122.15, Main Street]": a kind and what is there of the parts, of which there are few. */
const char *payload_note(const char *kind, const char *const *parts, size_t count, struct arena *a);
/* The same of a place. */
const char *payload_place(double latitude, double longitude, const char *name, const char *address,
                          struct arena *a);

/* The files of one message: the first is its media, links to the others follow its text, a line each. */
struct payload_files {
    const char *urls[MESSAGE_MAX_ATTACHMENTS];
    size_t count;
};

/* Sets number and jid of a WhatsApp user: from the first of `known` that is a number, else from jid, which
 * may hide it; a hidden one (@lid), wherever it stands, is the user_id too, where there is no other, so that
 * the person is known again when only one of the two comes. NULLs in `known` are passed over. False, with the
 * reason noted, when the jid is a group's, a broadcast's, a channel's or nobody's. */
bool payload_set_person(struct webhook_events *ev, struct webhook_message *m, const char *jid,
                        const char *const *known, size_t known_count);
/* The same for the recipient of what we sent: E.164, a JID that hides the number, or NULL. */
const char *payload_recipient(const char *jid, const char *const *known, size_t known_count, struct arena *a);

/* Adds a message whose members are set but for the text, which is given as it came (NULL = none): cleaned,
 * cut, replaced by "[image]" or the like, its wish told. Without an id, a sender or any content it is passed
 * over, and the reason noted. content_type NULL = "text". files: NULL = none. */
void payload_add_message(struct webhook_events *ev, const struct webhook_message *given, const char *text,
                         const struct payload_files *files);
void payload_add_receipt(struct webhook_events *ev, const struct webhook_receipt *r);

/* A text as people write it: UTF-8 (what is none becomes U+FFFD) with '\n' and '\t' as the only control
 * characters; direction marks stay. What is longer than PAYLOAD_TEXT_MAX is cut, and `cut_from` takes the
 * characters that there were, else 0. NULL when nothing but white space is left. */
const char *payload_text(const char *text, size_t len, struct arena *a, size_t *cut_from);

#endif
