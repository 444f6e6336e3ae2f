/* HTTP requests, and mail by SMTP, by libcurl's multi interface on the loop. The only module that includes
 * curl.h. What it must get right: a request is sent at most once (bodies go through a read callback that
 * cannot rewind), and the result says whether it may have left us. TLS is verified, redirects are not
 * followed, environment proxies are ignored, answers are limited in size. */
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
    HTTP_TLS_REFUSED, /* no agreement on certificate, TLS or a way to log in (not sent); an operator must look
                       */
    HTTP_BAD_REQUEST, /* URL or protocol unusable (not sent); our configuration or data is wrong */
};
const char *http_fate_name(enum http_fate fate); /* "answered", ...: static */

/* Makes a request a mail: the URL is smtp:// (STARTTLS before anything else is said) or smtps://, its path
 * the name that we greet with (none: the host's); user and password log in; the body is the message, with
 * every line ended by CR LF. method and headers are not looked at. The one recipient makes the reply to the
 * message's end the whole answer. */
struct http_mail {
    const char *from, *to; /* of the envelope: ASCII, local@domain */
    bool allow_plain;      /* go on without TLS where the server has none */
};

struct http_request {           /* everything is copied by http_send */
    const char *method;         /* "POST", "GET" */
    const char *url;            /* http:// or https:// only */
    const char *const *headers; /* "Name: value"; a CR, LF or NUL makes http_send fail */
    size_t header_count;
    const char *user, *password; /* Basic auth, or NULL */
    const char *body;
    size_t body_len;
    int64_t timeout_ms;           /* whole request */
    int64_t leaves_before_ms;     /* boottime; later no request begins, no mail ends; 0 = after timeout_ms */
    int64_t connect_timeout_ms;   /* part of it; 0 = 3000 or timeout_ms, whichever is less */
    size_t max_response_bytes;    /* 0 = 256 KiB */
    bool public_only;             /* refuse every address that address.h does not call public, as dialled */
    const char *ca_file;          /* whom to trust in place of the system's authorities; NULL = those */
    const struct http_mail *mail; /* NULL = an HTTP request */
};

struct http_timing { /* milliseconds from http_send; -1 = not reached */
    double name_ms, connect_ms, tls_ms, sent_ms, first_byte_ms, total_ms;
};

/* What of a mail's dialogue the status answers. */
enum http_mail_step {
    HTTP_MAIL_CONNECT = 0, /* greeting, EHLO, STARTTLS, AUTH */
    HTTP_MAIL_FROM,
    HTTP_MAIL_RCPT,
    HTTP_MAIL_DATA,
    HTTP_MAIL_END, /* of the message */
};

struct http_result { /* borrowed until the callback returns */
    enum http_fate fate;
    int transport_code; /* the library's own number, for logs */
    const char *text;   /* the library's words, "" when answered; no URL, no secret */
    int status;         /* 0 unless answered; a mail's reply code, and its lines are the body */
    const char *body;   /* NUL-terminated beyond body_len; "" when none */
    size_t body_len;
    bool body_cut;          /* answer was larger than the limit */
    int64_t retry_after_ms; /* Retry-After in either form; -1 = none; not capped */
    struct http_timing timing;
    bool connection_reused;
    bool blocked; /* not sent because of public_only */
    enum http_mail_step step;
    const void *opaque; /* for http_result_header */
};

typedef void http_done_fn(void *arg, const struct http_result *r);

struct http *http_new(struct loop *l, const char *user_agent);
void http_free(struct http **h); /* requests in flight are dropped without a callback */

/* Starts one request; done is called once, in a later turn. -1 and err (ERR_DATA): nothing was started. A CR,
 * LF or NUL where it could end a line makes it fail; in a mail's message a bare CR or LF. */
int http_send(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
              struct err *e) MUST_CHECK;
size_t http_in_flight(const struct http *h);

/* The answer's header by name (case-insensitive) while the callback runs; NULL when absent, and in a mail. */
const char *http_result_header(const struct http_result *r, const char *name);

/* A URL as this client reads it, so that what is checked is what would be dialled. */
struct http_url {
    bool is_https, has_user;
    char host[256]; /* lower case, percent-decoded, without brackets and final dot; an IPv4 address in any
                       notation as four decimal numbers; "" when the URL has none */
    bool has_zone;  /* of an IPv6 address */
    long port;      /* the scheme's own unless it names another */
};
/* -1 and ERR_DATA when it is no http:// or https:// URL. */
int http_url_parse(const char *url, struct http_url *u, struct err *e) MUST_CHECK;

#endif
