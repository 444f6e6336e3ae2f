/* What the engine knows about a provider: how to build its request and how to read its answer. One file a
 * provider; the registry is channel.c. Both functions are pure but for the arena and buffers they are
 * given. */
#ifndef AGWB_CONSUMER_CHANNELS_CHANNEL_H
#define AGWB_CONSUMER_CHANNELS_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "consumer/outcome.h"
#include "domain/config.h"
#include "domain/message.h"
#include "io/http.h"

/* One message for one person, as a provider's builder sees it. Borrowed. */
struct channel_send {
    const struct config_account *account;
    const struct reply *reply;                      /* text or attachments are there */
    const char *address;                            /* E.164 where the contact has a number, else a JID */
    const char *message_id;                         /* ours */
    const char *workspace_id, *contact_id, *job_id; /* NULL when unknown */
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
    const char *user, *password; /* Basic auth; borrowed from the account */
};
void channel_request_init(struct channel_request *r);
void channel_request_fini(struct channel_request *r);
/* Adds "name: value". */
void channel_request_header(struct channel_request *r, const char *name, const char *value);
/* base_url (or fallback when the account has none) without trailing slashes, then path. */
void channel_request_url(struct channel_request *r, const struct config_account *a, const char *fallback,
                         const char *path);

enum { CHANNEL_CODE_SIZE = 48, CHANNEL_ID_SIZE = 257, CHANNEL_DETAIL_SIZE = 200 };

struct channel_verdict {
    enum outcome outcome;
    int64_t retry_after_ms;                /* -1 = none */
    char provider_id[CHANNEL_ID_SIZE];     /* "" = none */
    char provider_code[CHANNEL_CODE_SIZE]; /* the provider's own error code or the HTTP status */
    char detail[CHANNEL_DETAIL_SIZE]; /* the provider's words, cut, without control characters; "" = none */
};

struct channel_provider {
    const char *name;             /* config: provider = "..." */
    const enum channel *channels; /* what it can carry; CHANNEL_NONE ends the list */
    bool needs_token;
    /* -1 and ERR_DATA: this message cannot go over this provider (its address, a missing part). */
    int (*build)(const struct channel_send *s, struct channel_request *r, struct err *e);
    /* The outcome table: only called for fate HTTP_ANSWERED; fills *v, whose retry_after_ms is preset from
     * the Retry-After header. */
    void (*judge)(const struct http_result *r, struct channel_verdict *v);
};

/* NULL when there is no such provider. */
const struct channel_provider *channel_find(const char *name);
/* "sms_gateway, wasender": for messages. */
void channel_list(struct buf *out);
/* Every account names a provider we have, a channel it can carry, and its credentials. */
int channel_check_accounts(const struct config *c, struct err *e) MUST_CHECK;

/* The verdict on any result: the transport's fate first, then the provider's table. */
void channel_judge(const struct channel_provider *p, const struct http_result *r, struct channel_verdict *v);

/* Helpers for tables. */
void channel_verdict_detail(struct channel_verdict *v, const char *text); /* NULL = none */
/* What an HTTP status says where the provider says no more: 2xx DELIVERED, 401 403 AUTH, 429 THROTTLED,
 * 408 425 5xx TEMPFAIL, else PERMFAIL. */
enum outcome channel_outcome_of_status(int status);

extern const struct channel_provider CHANNEL_WASENDER, CHANNEL_SMS_GATEWAY;

#endif
