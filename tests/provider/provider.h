/* What one provider's file of the stand-in is: the paths it owns, and the answer that the real provider would
 * give to a request. It knows nothing of connections, faults or the journal. It shares no validation code
 * with the programs under test, on purpose. */
#ifndef AGWB_TESTS_PROVIDER_PROVIDER_H
#define AGWB_TESTS_PROVIDER_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

enum {
    PROVIDER_MAX_BODY = JSON_MAX_BYTES,
    PROVIDER_MAX_ANSWER = 64 * 1024 * 1024,
    PROVIDER_MAX_HEADERS = 16
};

struct provider_request { /* borrowed for the call */
    const char *method, *path;
    const char *authorization, *content_type; /* header values; NULL when absent */
    const char *body;                         /* NUL-terminated beyond body_len */
    size_t body_len;
    const struct json_node *json; /* the body's root; NULL when it is not sent as JSON or is none */
    const char *token;            /* the only right one; NULL: any that is not empty */
    const char *(*header)(void *connection, const char *name); /* see provider_header; NULL = there is none */
    void *connection;
};

struct provider_header {
    char name[64], value[256];
};

struct provider_answer {
    int status;
    struct provider_header headers[PROVIDER_MAX_HEADERS]; /* beside Content-Type: application/json */
    size_t header_count;
    struct buf body;
    bool auth_ok;  /* for the journal */
    struct buf to; /* the recipient and the text as the request has them; empty when it has none */
    struct buf text;
    char id[128]; /* the message id that the answer gives out; "" = none */
};

void provider_answer_init(struct provider_answer *a);
void provider_answer_fini(struct provider_answer *a);
/* Replaces a header of that name (case-insensitive) or adds one; what does not fit is left out. */
void provider_answer_header(struct provider_answer *a, const char *name, const char *value);

struct provider {
    const char *name;
    bool (*owns)(const char *path);
    /* The answer to a request, `number` counts the provider's requests from 1 and makes ids unique. */
    void (*answer)(const struct provider_request *q, uint64_t number, struct provider_answer *a);
    /* The body that this provider sends with an error status; retry_after_s < 0 = none. */
    void (*write_error)(int status, int64_t retry_after_s, struct buf *out);
    /* The body of a 200 that is a refusal all the same. */
    void (*write_refusal)(struct buf *out);
    /* The body of one of the provider's own error codes; the HTTP status it comes with, 0 = there is no such
     * code. NULL: it has no codes. */
    int (*write_code)(int64_t code, struct buf *out);
};

extern const struct provider PROVIDER_CLOUD, PROVIDER_EVOLUTION, PROVIDER_INSTAGRAM, PROVIDER_OPENWA,
    PROVIDER_SMS_GATEWAY, PROVIDER_TWILIO, PROVIDER_WAHA, PROVIDER_WASENDER;

/* The one that owns the path; NULL when nobody does. */
const struct provider *provider_for_path(const char *path);

/* A request's header; NULL when absent. */
const char *provider_header(const struct provider_request *q, const char *name);
/* An API key in a header of its own: the right one, or any when none is. */
bool provider_key_ok(const struct provider_request *q, const char *header);
/* "Bearer x" with the right x. */
bool provider_bearer_ok(const struct provider_request *q);
/* application/json, with parameters or without. */
bool provider_is_json(const struct provider_request *q);
/* ^\+[1-9][0-9]{7,14}$ */
bool provider_is_e164(const char *s);
bool provider_is_url(const char *s);
/* UTF-16 code units. */
size_t provider_units(const char *text);
/* The member is a string with something in it. */
bool provider_has_text(const struct json_node *object, const char *key);
/* Copies the strings at these paths of a JSON body ("args.to") for the journal. */
void provider_note_strings(const struct provider_request *q, const char *to_path, const char *text_path,
                           struct provider_answer *a);

#endif
