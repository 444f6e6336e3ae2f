/* What the files of the http module share. */
#ifndef AGWB_IO_HTTP_PRIVATE_H
#define AGWB_IO_HTTP_PRIVATE_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "io/http.h"
#include "io/loop.h"

enum { DEFAULT_ANSWER_BYTES = 256 * 1024, BODY_LIMIT_BYTES = 64 * 1024 * 1024 };

/* --- http_driver.c: a multi handle on the loop --- */
struct socket_watch {     /* of one descriptor */
    bool is_kept;         /* driver_open() made it: it stays in the set while nobody waits for it */
    uint32_t set, wanted; /* epoll's events: those in the set, and those that libcurl asked for */
};

struct driver {
    CURLM *multi;
    struct loop_timer *timer;     /* libcurl's next one */
    int sockets;                  /* an epoll set: see on_sockets */
    struct socket_watch *watches; /* by descriptor */
    size_t watch_count;
    struct loop_watch *watch;    /* of that set */
    void (*progress)(void *arg); /* something may have completed; never within libcurl's own callbacks */
    void *arg;
    void (*written)(CURL *easy, int fd); /* all that was to be written has been; or NULL */
};
void driver_init(struct driver *d, struct loop *l, void (*progress)(void *arg), void *arg);
/* Connections that last: the kernel is told of them once, not twice a request. What is opened here must be
 * closed here; both are libcurl's to call. */
curl_socket_t driver_open(struct driver *d, const struct curl_sockaddr *a);
int driver_close(void *driver, curl_socket_t fd);
/* The easy handles must be out of it. */
void driver_fini(struct driver *d);

/* --- http.c --- */
enum { HTTP_SHARDS = 8 };

/* For each request libcurl looks through all connections of a multi handle to the same server. So there are
 * several, and each takes its share of what is under way. */
struct shard {
    struct http *http;
    struct driver driver;
    size_t active; /* transfers */
    struct loop_timer *idle;
};

struct transfer {              /* an HTTP request */
    LIST_ENTRY(transfer) link; /* of http.active or http.idle */
    struct http *http;
    struct shard *shard; /* while active */
    CURL *easy;
    struct loop_timer *deadline;
    struct curl_slist *headers;
    struct buf body;
    size_t body_sent; /* handed to libcurl */
    struct buf answer;
    bool answer_cut;
    bool was_attempted;
    bool public_only, blocked;
    bool is_plain;                     /* no TLS */
    int64_t started_us, first_byte_us; /* monotonic; 0 = not yet */
    int64_t leaves_before_ms;          /* boottime */
    char text[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *arg;
};
LIST_HEAD(transfers, transfer);
LIST_HEAD(mails, mail);

struct http {
    struct loop *loop;
    struct shard shards[HTTP_SHARDS];
    char *user_agent;
    struct transfers active, idle;
    struct mails mails;
    size_t active_count, idle_count; /* active: mails, too */
    bool busy;                       /* an owner's callback is running, and may call http_free */
    bool doomed;                     /* http_free was called in it */
};

/* Calls the owner. The request is on no list any more; its memory is freed afterwards, and then
 * http_still_stands is asked, which is false when all has been freed. */
void http_report(struct http *h, http_done_fn *done, void *arg, const struct http_result *r);
bool http_still_stands(struct http *h);

/* --- http_request.c: from a request to libcurl's options --- */
bool http_has_control(const char *s);
int http_request_check(const struct http_request *r, struct err *e) MUST_CHECK;
void http_request_set(struct transfer *t, const struct http_request *r);
bool http_has_left(const struct transfer *t);
void http_request_push(CURL *easy, int fd); /* driver.written */
/* A request that misses an option for want of memory must not leave. */
void http_set_or_end(CURLcode rc);
/* By which nothing leaves any more: boottime. */
int64_t http_leaves_before_ms(const struct http_request *r);
/* What holds for requests and mails: TLS is verified, no proxy, no redirects; and the time to connect. */
void http_set_policy(CURL *easy, const struct http_request *r);

/* --- http_result.c: from libcurl's end to a result --- */
enum http_fate http_fate_unsent(CURLcode rc);
double http_stage_ms(CURL *easy, CURLINFO stage); /* -1 = not reached */
struct http_result http_result_of(struct transfer *t, CURLcode rc);

/* --- http_mail.c --- */
int http_mail_start(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
                    struct err *e) MUST_CHECK;
void http_mails_drop(struct http *h); /* without a callback */

#endif
