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
    char id[48]; /* the message id that the answer gives out; "" = none */
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
};

extern const struct provider PROVIDER_WASENDER;
extern const struct provider PROVIDER_SMS_GATEWAY;

/* The one that owns the path; NULL when nobody does. */
const struct provider *provider_for_path(const char *path);

/* "Bearer x" with the right x. */
bool provider_bearer_ok(const struct provider_request *q);
/* application/json, with parameters or without. */
bool provider_is_json(const struct provider_request *q);
/* ^\+[1-9][0-9]{7,14}$ */
bool provider_is_e164(const char *s);
bool provider_is_url(const char *s);
/* Copies the string members `to_key` and `text_key` of a JSON body for the journal. */
void provider_note_strings(const struct provider_request *q, const char *to_key, const char *text_key,
                           struct provider_answer *a);

#endif
