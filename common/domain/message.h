/* The two wire messages of spec 004 as DESIGN 3 settles them: the reply (wb_queue) from bytes to a checked
 * value, the request (ag_queue) from values to bytes. Strict on what we rely on, tolerant of unknown
 * members. schemas/ states the same contract; tests hold both to one corpus. */
#ifndef AGWB_DOMAIN_MESSAGE_H
#define AGWB_DOMAIN_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum { MESSAGE_MAX_BYTES = JSON_MAX_BYTES, MESSAGE_ID_MAX = 128, MESSAGE_MAX_ATTACHMENTS = 16 };

/* Characters (Unicode code points, as JSON Schema counts them); the schemas repeat these numbers. */
enum {
    MESSAGE_MAX_TEXT = 65536, /* a message's text, an error's message */
    MESSAGE_MAX_NAME = 256,   /* a contact's or a file's name */
    MESSAGE_MAX_NUMBER = 64,  /* a phone number as sent, before it is normalised */
    MESSAGE_MAX_WORD = 128,   /* an error code, a tool's name, a MIME type */
    MESSAGE_MAX_URL = 2048,
    MESSAGE_MAX_CAPTION = 4096,
    MESSAGE_MAX_EXTERNAL_ID = 256, /* the provider's id of an inbound message */
    MESSAGE_MAX_TOOLS = 256,       /* elements, not characters */
};

enum reply_status { REPLY_SUCCESS = 0, REPLY_ERROR, REPLY_PARTIAL };
enum reply_type { REPLY_TEXT = 0, REPLY_IMAGE, REPLY_DOCUMENT };
/* Spelled as in SQL and on the wire: whatsapp, sms, email, website, instagram. */
enum channel {
    CHANNEL_NONE = 0,
    CHANNEL_WHATSAPP,
    CHANNEL_SMS,
    CHANNEL_EMAIL,
    CHANNEL_WEBSITE,
    CHANNEL_INSTAGRAM
};
const char *channel_name(enum channel c); /* "" for NONE */
bool channel_parse(const char *word, enum channel *c);
const char *reply_status_name(enum reply_status s);

struct reply_attachment {
    const char *url;                             /* never NULL */
    const char *mime_type, *file_name, *caption; /* NULL when absent or "" */
};

struct reply { /* strings live in the arena given to message_parse_reply; NULL when absent or null */
    const char *message_id;          /* 1..128 printable ASCII characters (0x21..0x7e), never NULL */
    const char *original_message_id; /* as sent, same rule; NULL when absent */
    int64_t timestamp_ms; /* Unix milliseconds; 0 when absent. On the wire seconds, or milliseconds from 1e11
                             on */
    enum reply_status status;
    struct {
        /* "" counts as absent. remote_jid is of a kind that contact.h knows; phone_number is normalised to
         * E.164. Should the two disagree, phone_number is the one to use. */
        const char *remote_jid, *phone_number, *name;
    } contact;
    const char *text; /* NULL when absent or only white space */
    enum reply_type type;
    struct reply_attachment attachments[MESSAGE_MAX_ATTACHMENTS];
    size_t attachment_count;
    struct {
        const char *code, *message; /* NULL when absent or "" */
    } error;
    struct {
        double processing_time_s; /* < 0 when absent */
        int64_t tokens_used;      /* < 0 when absent */
        const char *const *tools_used;
        size_t tool_count;
    } agent;
    const char *workspace_id, *conversation_id, *contact_id; /* uuid texts or NULL */
    enum channel channel;                                    /* NONE when absent */
    int64_t deadline_ms; /* metadata.deadline, Unix milliseconds; 0 when absent */
};

/* 0 and *r, or -1 and ERR_DATA whose text starts with the failing JSON path: "$.contact.phoneNumber: ...".
 * Members of optional kind that are null count as absent. Whether original_message_id is known is not this
 * function's business, so a reply that names only that is valid. `success` needs a text or an attachment;
 * `error` and `partial` may lack both (what then goes out is policy). */
int message_parse_reply(const char *bytes, size_t len, struct arena *a, struct reply *r,
                        struct err *e) MUST_CHECK;

struct request {            /* strings borrowed; NULL = written as "" (the spec's members) or left out (ours:
                               workspace_id and below, "" too) */
    const char *message_id; /* ai_response_queue.id */
    int64_t timestamp_s;
    const char *task_type; /* conversation, appointment, order, search */
    struct {
        /* At least one of remote_jid, phone_number (E.164) and contact_id below. A longer name is cut to
         * MESSAGE_MAX_NAME; a country_code that is not the beginning of phone_number is written as "". */
        const char *remote_jid, *phone_number, *name, *country_code;
    } contact;
    struct {
        const char *text, *message_id;
        int64_t timestamp_s;
    } message;
    const char *history_json; /* a JSON array, oldest first; spliced as it is; NULL = [] */
    const char *user_notes;
    const char *session_data_json; /* a JSON object; spliced; NULL = {} */
    const char *priority;          /* normal, high, urgent */
    int retry_count, max_retries;
    const char *workspace_id, *conversation_id, *contact_id;
    enum channel channel;
    int64_t deadline_s; /* 0 = left out */
};

/* Appends the request's JSON to out, members in the spec's order. What it writes passes
 * message_check_request, given that the elements of history_json have their shape. -1 and ERR_DATA with
 * the failing path when the values do not allow that, e.g. an unknown task type or a text too large: the
 * row is at fault, out is then as before. */
int message_write_request(const struct request *q, struct buf *out, struct err *e) MUST_CHECK;

/* Checks a request's bytes as an agent may rely on them (tests, doctor, the stand-in agent). Same errors
 * as message_parse_reply. */
int message_check_request(const char *bytes, size_t len, struct err *e) MUST_CHECK;

/* The wire word for a job priority 1..5: urgent, high, high, normal, normal; out of range gives normal. */
const char *message_priority_word(int priority);

/* A W3C traceparent: is it well formed (version 00, non-zero ids)? And a fresh one, 55 characters. */
bool is_traceparent(const char *s);
void traceparent_new(char out[56]);

#endif
