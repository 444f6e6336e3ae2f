/* What the engine knows about a provider: how to build its request and how to read its answer. One file a
 * provider; the registry is channel.c. Both functions are pure but for the arena and buffers they are
 * given. */
#ifndef AGWB_CONSUMER_CHANNELS_CHANNEL_H
#define AGWB_CONSUMER_CHANNELS_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "consumer/outcome.h"
#include "domain/config.h"
#include "domain/contact.h"
#include "domain/message.h"
#include "io/http.h"

/* What goes out as one message: a part of a reply. Borrowed. */
struct channel_part {
    const char *text;                     /* beside files: their caption; NULL = none */
    const struct reply_attachment *files; /* at most the provider's attachment_limit */
    size_t file_count;
    bool is_image; /* the files */
};

struct channel_parts { /* of a reply, in their order */
    struct channel_part *items;
    size_t count;
};

/* One message for one person, as a provider's builder sees it. Borrowed. */
struct channel_send {
    const struct config_account *account;
    const struct reply *reply;       /* text or attachments are there */
    const struct channel_part *part; /* of the reply: what this message carries */
    bool as_template;       /* the account's template, in place of the part: nothing else may be sent now */
    const char *address;    /* E.164 where the contact has a number, else a JID */
    const char *message_id; /* ours */
    const char *workspace_id, *contact_id, *job_id; /* NULL when unknown */
    const char *quoted_id; /* the provider's id of the message that this one answers; NULL when unknown */
};

enum {
    CHANNEL_MAX_HEADERS = 6,
    CHANNEL_URL_MAX = 2048,
    CHANNEL_BODY_MAX = 1 << 20,
    CHANNEL_HEADER_MAX = 4096
};

struct channel_request {
    const char *method; /* static */
    struct buf url, body;
    struct buf headers[CHANNEL_MAX_HEADERS];
    size_t header_count;
    const char *user, *password;   /* Basic auth, or a mail's log-in; borrowed from the account */
    const char *ca_file;           /* borrowed from the account; NULL = the system's authorities */
    struct buf mail_from, mail_to; /* with them it is a mail (http.h), method and headers do not count */
    bool is_mail, mail_allow_plain;
};
void channel_request_init(struct channel_request *r);
void channel_request_fini(struct channel_request *r);
/* Adds "name: value". */
void channel_request_header(struct channel_request *r, const char *name, const char *value);
/* Content-Type and Accept: application/json; Authorization: Bearer when the account has a token. */
void channel_request_bearer_json(struct channel_request *r, const struct config_account *a);
/* base_url (or fallback when the account has none) without trailing slashes, then path. */
void channel_request_url(struct channel_request *r, const struct config_account *a, const char *fallback,
                         const char *path);

/* What may follow a base_url: '/' and printable ASCII without blanks and '#'. */
bool channel_is_path(const char *text);
/* Everything but letters, digits and "-._~" as %XX: for a segment of a path or a form's value. */
void channel_add_encoded(struct buf *b, const char *text);
/* These add one more of what the buffer already holds, with the separator it needs; nothing for a NULL value.
 */
void channel_form_field(struct buf *b, const char *key, const char *value);  /* key=value, encoded */
void channel_json_member(struct buf *b, const char *key, const char *value); /* "key":"value" */
void channel_json_open(struct buf *b, const char *key);                      /* "key":{ */

enum { CHANNEL_CODE_SIZE = 48, CHANNEL_ID_SIZE = 257, CHANNEL_DETAIL_SIZE = 200 };

/* Why this person cannot be written to over this account; what the chain `next` is asked with. */
enum channel_block {
    BLOCK_NONE = 0,
    BLOCK_UNREACHABLE, /* not on WhatsApp, a landline, an unknown number */
    BLOCK_WINDOW,      /* the 24 hours since their last message are over: only a template may be sent */
    BLOCK_OPTED_OUT,   /* they do not want it */
};

struct channel_verdict {
    enum outcome outcome;
    enum channel_block block;          /* PERMFAIL, or TEMPFAIL after whose last try it counts */
    bool account_works;                /* a failure of this message alone: says nothing against the account */
    bool needs_operator;               /* worth an alert although only this message fails */
    int tries;                         /* tries in all for this kind of failure; 0 = as the ladder has */
    int64_t retry_after_ms;            /* -1 = none */
    char provider_id[CHANNEL_ID_SIZE]; /* "" = none */
    char provider_code[CHANNEL_CODE_SIZE]; /* the provider's own error code or the HTTP status */
    char detail[CHANNEL_DETAIL_SIZE]; /* the provider's words, cut, without control characters; "" = none */
};

/* What a provider's text_limit and caption_limit count; units of UTF-16 are the strictest usual reading of
 * "characters". */
enum channel_unit { CHANNEL_UTF16_UNITS = 0, CHANNEL_BYTES };

/* How a provider takes files; an account for SMS always gets links. */
enum channel_files {
    CHANNEL_FILES_WITH_CAPTION = 0,
    CHANNEL_FILES_BARE,  /* without a text: that goes before them, as a message of its own */
    CHANNEL_FILES_LINKS, /* not at all: their links follow the text, a line each */
};

struct channel_provider {
    const char *name;             /* config: provider = "..." */
    const enum channel *channels; /* what it can carry; CHANNEL_NONE ends the list */
    bool needs_token;
    const char *const *options; /* the accounts' options it knows; NULL ends the list, NULL = none */
    /* What it takes in one message; 0 = no limit is known. */
    size_t text_limit, caption_limit, attachment_limit;
    enum channel_unit unit; /* of the first two */
    enum channel_files files;
    /* What else an account must have, or NULL: -1 and ERR_CONFIG. The account's name is put before. */
    int (*check)(const struct config_account *a, struct err *e);
    /* -1 and ERR_DATA: this message cannot go over this provider (its address, a missing part). */
    int (*build)(const struct channel_send *s, struct channel_request *r, struct err *e);
    /* The outcome table: only called for fate HTTP_ANSWERED; fills *v, whose retry_after_ms is preset from
     * the Retry-After header. */
    void (*judge)(const struct http_result *r, struct channel_verdict *v);
    /* The same for a FAILED receipt that came after the provider had taken the message: by the code and words
     * of the receipt ("" = none); *v is preset to PERMFAIL with both. NULL: every such failure is final. */
    void (*judge_receipt)(const char *code, const char *detail, struct channel_verdict *v);
    bool has_template; /* build() knows as_template, where the account has the options for it */
};

/* NULL when there is no such provider. */
const struct channel_provider *channel_find(const char *name);
/* "sms_gateway, wasender": for messages. */
void channel_list(struct buf *out);
/* Every account names a provider we have, a channel it can carry, and its credentials. */
int channel_check_accounts(const struct config *c, struct err *e) MUST_CHECK;

/* The messages that carry the reply over this account: at least one, in the arena, borrowing from the reply.
 * Pure: the same reply and account give the same parts. -1 and ERR_DATA when there is nothing in it, or more
 * than is ever sent (content.h). */
int channel_plan(const struct channel_provider *p, const struct config_account *a, const struct reply *reply,
                 struct arena *arena, struct channel_parts *parts, struct err *e) MUST_CHECK;

/* The number of an address that is one, or a user's JID; false and "" for groups, hidden ids and the rest. */
bool channel_number(const char *address, char number[CONTACT_E164_MAX + 1]);

/* The verdict on any result: the transport's fate first, then the provider's table. */
void channel_judge(const struct channel_provider *p, const struct http_result *r, struct channel_verdict *v);
/* The verdict on a FAILED receipt, by its code and words (NULL or "" = none): never DELIVERED or UNCERTAIN,
 * PERMFAIL when the provider knows no more. Without a code the provider_code is "failed". */
void channel_judge_receipt(const struct channel_provider *p, const char *code, const char *detail,
                           struct channel_verdict *v);

/* --- for the providers' outcome tables --- */

/* What a line says beside its outcome; a PERMFAIL line says also that the account works. */
enum {
    LINE_UNREACHABLE = 1 << 0, /* the blocks, one at most */
    LINE_WINDOW = 1 << 1,
    LINE_OPTED_OUT = 1 << 2,
    LINE_WORKS = 1 << 3,    /* account_works */
    LINE_OPERATOR = 1 << 4, /* needs_operator */
    LINE_TWICE = 1 << 5,    /* tries in all */
    LINE_THRICE = 1 << 6,
};
/* A line of a table of error codes. */
struct channel_error {
    int first, last; /* codes */
    enum outcome outcome;
    int wait_s; /* when the answer itself names no wait; 0 = none */
    unsigned flags;
    const char *meaning;
};
/* The line of a code, or NULL. */
const struct channel_error *channel_error_find(const struct channel_error *table, size_t count, int64_t code);
/* The outcome, and the wait in seconds unless the answer named one; 0 = none. */
void channel_verdict_set(struct channel_verdict *v, enum outcome outcome, int wait_s);
/* Block, account, operator and tries by a line's flags. */
void channel_verdict_flags(struct channel_verdict *v, unsigned flags);
/* By the code's line, or by the HTTP status when there is none. The code becomes the provider_code, and the
 * line's meaning the detail where there is none yet. */
void channel_verdict_of_code(struct channel_verdict *v, const struct channel_error *line, int64_t code,
                             int status);
/* By the line of a receipt's code; false when it is no number or the table does not have it. */
bool channel_verdict_of_receipt(struct channel_verdict *v, const struct channel_error *table, size_t count,
                                const char *code);
/* By the status of an answer that the provider itself has hardly written: channel_outcome_of_status, but a
 * 2xx is UNCERTAIN, and a 404 AUTH: the URL of the account is wrong. */
void channel_verdict_of_bare_status(struct channel_verdict *v, int status);
/* A text longer than an id may be gives none: cut, it would match no receipt. Nor does NULL, or what is not
 * UTF-8. */
void channel_verdict_id(struct channel_verdict *v, const char *id);
/* The provider's words without control characters, with the digits of numbers masked; NULL = none. What is
 * not UTF-8 (mail servers write as they like) becomes '?', or PostgreSQL would refuse all that is settled
 * with it. */
void channel_verdict_detail(struct channel_verdict *v, const char *text);
/* What an HTTP status says where the provider says no more: 2xx DELIVERED, 401 402 403 AUTH, 429 THROTTLED,
 * 408 425 5xx TEMPFAIL, else PERMFAIL. A redirection is AUTH, too: it is never followed, and the account's
 * URL is wrong, not the message. */
enum outcome channel_outcome_of_status(int status);
/* A whole number, or a text that is one. */
bool channel_json_int(const struct json_node *n, int64_t *value);

extern const struct channel_provider CHANNEL_INSTAGRAM_GRAPH, CHANNEL_SMS_GATEWAY, CHANNEL_SMTP,
    CHANNEL_TWILIO, CHANNEL_WASENDER, CHANNEL_WEBSITE_WIDGET, CHANNEL_WHATSAPP_CLOUD, CHANNEL_WHATSAPP_QR;
/* All of them, by name; NULL ends the list. */
extern const struct channel_provider *const CHANNEL_PROVIDERS[];

#endif
