/* HTTP requests by libcurl's multi interface on the loop. The only module that includes curl.h. What it
 * must get right: a request is sent at most once (bodies go through a read callback that cannot rewind),
 * and the result says whether it may have left us. TLS is verified, redirects are not followed,
 * environment proxies are ignored, answers are limited in size. */
#ifndef AGWB_IO_HTTP_H
#define AGWB_IO_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"

struct http;

/* What became of the request as far as the transport can tell. */
enum http_fate {
    HTTP_ANSWERED, /* a status line came; status and body are valid (body may be cut: see body_cut) */
    HTTP_NOT_SENT, /* resolve, connect or TLS handshake failed, or timed out before the request was written */
    HTTP_UNCERTAIN, /* (part of) the request left us and no whole answer came: timeout, reset, empty or broken
                       answer, rc 65 */
    HTTP_TLS_REFUSED, /* certificate or TLS set-up refused (not sent); an operator must look */
    HTTP_BAD_REQUEST, /* URL or protocol unusable (not sent); our configuration or data is wrong */
};
const char *http_fate_name(enum http_fate fate); /* "answered", ...: static */

struct http_request {           /* everything is copied by http_send */
    const char *method;         /* "POST", "GET" */
    const char *url;            /* http:// or https:// only */
    const char *const *headers; /* "Name: value"; a CR, LF or NUL makes http_send fail */
    size_t header_count;
    const char *user, *password; /* Basic auth, or NULL */
    const char *body;
    size_t body_len;
    int64_t timeout_ms;         /* whole request */
    int64_t connect_timeout_ms; /* part of it; 0 = 3000 or timeout_ms, whichever is less */
    size_t max_response_bytes;  /* 0 = 256 KiB */
};

struct http_timing { /* milliseconds from http_send; -1 = not reached */
    double name_ms, connect_ms, tls_ms, sent_ms, first_byte_ms, total_ms;
};

struct http_result { /* borrowed until the callback returns */
    enum http_fate fate;
    int transport_code; /* the library's own number, for logs */
    const char *text;   /* the library's words, "" when answered; no URL, no secret */
    int status;         /* 0 unless answered */
    const char *body;   /* NUL-terminated beyond body_len; "" when none */
    size_t body_len;
    bool body_cut;          /* answer was larger than the limit */
    int64_t retry_after_ms; /* Retry-After in either form; -1 = none; not capped */
    struct http_timing timing;
    bool connection_reused;
    const void *opaque; /* for http_result_header */
};

typedef void http_done_fn(void *arg, const struct http_result *r);

struct http *http_new(struct loop *l, const char *user_agent);
void http_free(struct http **h); /* requests in flight are dropped without a callback */

/* Starts one request; done is called once, in a later turn. -1 and err (ERR_DATA): nothing was started. */
int http_send(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
              struct err *e) MUST_CHECK;
size_t http_in_flight(const struct http *h);

/* The answer's header by name (case-insensitive) while the callback runs; NULL when absent. */
const char *http_result_header(const struct http_result *r, const char *name);

#endif
