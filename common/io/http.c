/* HTTP requests by libcurl's multi interface, socket by socket, on the loop. Knows nothing of providers and
 * retries.
 *
 * At most once: libcurl repeats a request by itself when a kept-alive connection dies under it. Bodies
 * therefore come from a callback that cannot rewind, and a second attempt is stopped when anything of the
 * first one has left (on_attempt). */
#include "io/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    DEFAULT_CONNECT_MS = 3000,
    DEFAULT_ANSWER_BYTES = 256 * 1024,
    BODY_LIMIT_BYTES = 64 * 1024 * 1024,
    IDLE_TRANSFERS = 256,      /* kept for reuse */
    IDLE_BUFFER_BYTES = 16384, /* what a kept one may hold on to */
    CACHED_CONNECTIONS = 512,
    READY_SOCKETS = 1024, /* read in one turn; more wait for the next */
    /* Common servers close after 5 s of idleness (Node, Apache). A request that meets the closing is lost
     * without a trace of whether it was read, so a connection is not used again from 4 s on; libcurl compares
     * whole seconds with "more than". */
    REUSE_WITHIN_S = 3,
};

struct transfer {
    LIST_ENTRY(transfer) link; /* of http.active or http.idle */
    struct http *http;
    CURL *easy;
    struct loop_timer *deadline;
    struct curl_slist *headers;
    struct buf body;
    size_t body_sent; /* handed to libcurl */
    struct buf answer;
    bool answer_cut;
    bool was_attempted;
    int64_t started_us, first_byte_us; /* monotonic; 0 = not yet */
    char text[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *arg;
};
LIST_HEAD(transfers, transfer);

struct http {
    struct loop *loop;
    CURLM *multi;
    char *user_agent;
    struct loop_timer *timer; /* libcurl's next one */
    int sockets;              /* an epoll set: see on_sockets */
    struct loop_watch *watch; /* of that set */
    struct transfers active, idle;
    size_t active_count, idle_count;
    bool busy;   /* an owner's callback is running, and may call http_free */
    bool doomed; /* http_free was called in it */
};

const char *http_fate_name(enum http_fate fate)
{
    switch (fate) {
    case HTTP_ANSWERED:
        return "answered";
    case HTTP_NOT_SENT:
        return "not_sent";
    case HTTP_UNCERTAIN:
        return "uncertain";
    case HTTP_TLS_REFUSED:
        return "tls_refused";
    case HTTP_BAD_REQUEST:
        return "bad_request";
    }
    return "";
}

/* --- libcurl's callbacks about one request --- */
static bool has_left(const struct transfer *t)
{
    long bytes = 0;
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes > 0 || t->body_sent > 0;
}

/* Before each attempt's first byte, when the connection stands. The type is libcurl's:
 * NOLINTNEXTLINE(readability-non-const-parameter) */
static int on_attempt(void *arg, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)peer_ip, (void)local_ip, (void)peer_port, (void)local_port;
    struct transfer *t = arg;
    bool again = t->was_attempted;
    t->was_attempted = true;
    return again && has_left(t) ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static size_t on_body_wanted(char *to, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t len = t->body.len - t->body_sent;
    if (len > size * count)
        len = size * count;
    if (len > 0)
        memcpy(to, t->body.data + t->body_sent, len);
    t->body_sent += len;
    return len;
}

/* Keeps what fits; the first byte beyond ends the transfer (CURLE_WRITE_ERROR). */
static size_t on_answer(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * count, room = t->answer.limit - t->answer.len;
    t->answer_cut = len > room;
    buf_add(&t->answer, bytes, len < room ? len : room);
    return t->answer_cut ? 0 : len;
}

/* The library's own "first byte" is the moment the request began to leave. */
static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    (void)line;
    if (t->first_byte_us == 0)
        t->first_byte_us = clock_mono_us();
    return size * count;
}

/* --- transfers --- */
static void on_deadline(void *arg);

static struct transfer *transfer_new(struct http *h)
{
    struct transfer *t = xcalloc(1, sizeof *t);
    t->http = h;
    t->deadline = loop_timer_new(h->loop, on_deadline, t);
    buf_init(&t->body, BODY_LIMIT_BYTES);
    buf_init(&t->answer, DEFAULT_ANSWER_BYTES);
    return t;
}

/* The easy handle is new each time. A used one, reset or not, remembers the last header of the answer before,
 * which is freed by then: an answer whose first header line begins with a blank writes there (libcurl 7.84
 * to 8.1.0, curl issue 11101). */
static struct transfer *transfer_get(struct http *h)
{
    struct transfer *t = LIST_FIRST(&h->idle);
    if (t != NULL) {
        LIST_REMOVE(t, link);
        h->idle_count--;
    } else {
        t = transfer_new(h);
    }
    t->easy = curl_easy_init();
    if (t->easy == NULL)
        abort_oom(0);
    return t;
}

static void transfer_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    loop_timer_free(&t->deadline);
    buf_fini(&t->body);
    buf_fini(&t->answer);
    free(t);
}

static void buffer_reset(struct buf *b)
{
    size_t limit = b->limit;
    buf_clear(b);
    if (b->cap > IDLE_BUFFER_BYTES) {
        buf_fini(b);
        buf_init(b, limit);
    }
}

/* Back to the idle ones. It is on no list and its easy handle is not in the multi handle. */
static void transfer_put(struct transfer *t)
{
    struct http *h = t->http;
    if (h->doomed || h->idle_count >= IDLE_TRANSFERS) {
        transfer_free(t);
        return;
    }
    curl_easy_cleanup(t->easy);
    t->easy = NULL;
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    buffer_reset(&t->body);
    buffer_reset(&t->answer);
    t->body_sent = 0;
    t->answer_cut = false;
    t->was_attempted = false;
    t->text[0] = '\0';
    LIST_INSERT_HEAD(&h->idle, t, link);
    h->idle_count++;
}

/* --- what became of it --- */
static enum http_fate fate_unsent(CURLcode rc)
{
    static const struct {
        CURLcode rc;
        enum http_fate fate;
    } FATES[] = {
        {CURLE_UNSUPPORTED_PROTOCOL, HTTP_BAD_REQUEST},     {CURLE_URL_MALFORMAT, HTTP_BAD_REQUEST},
        {CURLE_SSL_CERTPROBLEM, HTTP_TLS_REFUSED},          {CURLE_SSL_CIPHER, HTTP_TLS_REFUSED},
        {CURLE_PEER_FAILED_VERIFICATION, HTTP_TLS_REFUSED}, {CURLE_SSL_ENGINE_INITFAILED, HTTP_TLS_REFUSED},
        {CURLE_SSL_CACERT_BADFILE, HTTP_TLS_REFUSED},       {CURLE_SSL_ISSUER_ERROR, HTTP_TLS_REFUSED},
        {CURLE_SSL_PINNEDPUBKEYNOTMATCH, HTTP_TLS_REFUSED}, {CURLE_SSL_INVALIDCERTSTATUS, HTTP_TLS_REFUSED},
    };
    for (size_t i = 0; i < sizeof FATES / sizeof FATES[0]; i++)
        if (FATES[i].rc == rc)
            return FATES[i].fate;
    return HTTP_NOT_SENT;
}

/* Whether anything has left us decides before libcurl's number does: an answer that is no HTTP ends with the
 * same number as a bad URL, and a connect that fails may be the second attempt. */
static enum http_fate fate_of(const struct transfer *t, CURLcode rc)
{
    if (rc == CURLE_OK || (rc == CURLE_WRITE_ERROR && t->answer_cut))
        return HTTP_ANSWERED;
    return has_left(t) ? HTTP_UNCERTAIN : fate_unsent(rc);
}

static double stage_ms(const struct transfer *t, CURLINFO stage)
{
    curl_off_t us = 0;
    curl_easy_getinfo(t->easy, stage, &us);
    return us > 0 ? (double)us / 1000.0 : -1;
}

static int64_t retry_after_ms(const char *value)
{
    static const int64_t LONGEST_S = INT64_MAX / 1000;
    if (value == NULL)
        return -1;
    size_t digits = strspn(value, "0123456789");
    if (digits > 0 && value[digits] == '\0') {
        long long seconds = strtoll(value, NULL, 10); /* LLONG_MAX when too large */
        return (seconds < LONGEST_S ? seconds : LONGEST_S) * 1000;
    }
    time_t at = isalpha((unsigned char)value[0]) ? curl_getdate(value, NULL) : -1;
    if (at == -1)
        return -1;
    int64_t wait_ms = (int64_t)at * 1000 - clock_wall_ms();
    return wait_ms > 0 ? wait_ms : 0;
}

static struct http_result result_of(struct transfer *t, CURLcode rc)
{
    struct http_result r = {
        .fate = fate_of(t, rc),
        .transport_code = (int)rc,
        .text = "",
        .body = "",
        .retry_after_ms = -1,
        .opaque = t->easy,
        /* sent_ms is when the request began to leave: this libcurl knows no later moment */
        .timing = {.name_ms = stage_ms(t, CURLINFO_NAMELOOKUP_TIME_T),
                   .connect_ms = stage_ms(t, CURLINFO_CONNECT_TIME_T),
                   .tls_ms = stage_ms(t, CURLINFO_APPCONNECT_TIME_T),
                   .sent_ms = stage_ms(t, CURLINFO_PRETRANSFER_TIME_T),
                   .first_byte_ms =
                       t->first_byte_us > 0 ? (double)(t->first_byte_us - t->started_us) / 1000.0 : -1,
                   /* by the same clock as the first byte: libcurl's starts a little later */
                   .total_ms = (double)(clock_mono_us() - t->started_us) / 1000.0},
    };
    long status = 0, connects = 0;
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    r.connection_reused = connects == 0 && has_left(t);
    if (r.fate != HTTP_ANSWERED) {
        r.text = t->text[0] != '\0' ? t->text : curl_easy_strerror(rc);
        return r;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r.status = (int)status;
    r.body = buf_str(&t->answer);
    r.body_len = t->answer.len;
    r.body_cut = t->answer_cut;
    r.retry_after_ms = retry_after_ms(http_result_header(&r, "Retry-After"));
    return r;
}

const char *http_result_header(const struct http_result *r, const char *name)
{
    struct curl_header *header;
    CURL *easy = (CURL *)r->opaque; /* only read, but libcurl has no const */
    return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : NULL;
}

/* --- the end of requests --- */
static void destroy(struct http *h)
{
    struct transfer *t;
    while ((t = LIST_FIRST(&h->active)) != NULL) {
        LIST_REMOVE(t, link);
        curl_multi_remove_handle(h->multi, t->easy);
        transfer_free(t);
    }
    while ((t = LIST_FIRST(&h->idle)) != NULL) {
        LIST_REMOVE(t, link);
        transfer_free(t);
    }
    curl_multi_cleanup(h->multi); /* still calls on_socket_wanted and on_timer_wanted */
    loop_watch_free(&h->watch);
    close(h->sockets);
    loop_timer_free(&h->timer);
    free(h->user_agent);
    free(h);
    curl_global_cleanup();
}

/* Takes the request out of libcurl and calls its owner. Returns false when that freed everything. */
static bool finish(struct transfer *t, CURLcode rc)
{
    struct http *h = t->http;
    loop_timer_stop(t->deadline);
    LIST_REMOVE(t, link);
    h->active_count--;
    curl_multi_remove_handle(h->multi, t->easy);
    struct http_result r = result_of(t, rc);

    h->busy = true;
    t->done(t->arg, &r);
    h->busy = false;
    transfer_put(t);
    if (!h->doomed)
        return true;
    destroy(h);
    return false;
}

/* After each call that may have completed something; never within libcurl's own callbacks. */
static void collect(struct http *h)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left)) != NULL;) {
        struct transfer *t = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        if (!finish(t, m->data.result))
            return;
    }
}

/* Our own deadline and not CURLOPT_TIMEOUT_MS: libcurl looks at its clock before the socket, so that a
 * process that was stopped for a while would take every answer that waits in a socket for a timeout. The
 * loop's timers fire after the sockets were read. */
static void on_deadline(void *arg)
{
    finish(arg, CURLE_OPERATION_TIMEDOUT);
}

/* --- libcurl and the loop --- */
static void on_timer(void *arg)
{
    struct http *h = arg;
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect(h);
}

static int on_timer_wanted(CURLM *multi, long delay_ms, void *arg)
{
    (void)multi;
    struct http *h = arg;
    if (delay_ms < 0)
        loop_timer_stop(h->timer);
    else
        loop_timer_start(h->timer, delay_ms);
    return 0;
}

/* All of libcurl's sockets stand in one epoll set, which is the only descriptor that the loop sees: their
 * interests change with every request, and the loop's own watches are dearer to change. */
static void on_sockets(void *arg, int events)
{
    struct http *h = arg;
    struct epoll_event ready[READY_SOCKETS];
    (void)events;
    int running, count = epoll_wait(h->sockets, ready, READY_SOCKETS, 0);
    for (int i = 0; i < count; i++) {
        uint32_t is = ready[i].events;
        if (is & (EPOLLERR | EPOLLHUP))
            is |= EPOLLIN | EPOLLOUT; /* let it read what came before, and find out itself */
        int mask = (is & EPOLLIN ? CURL_CSELECT_IN : 0) | (is & EPOLLOUT ? CURL_CSELECT_OUT : 0);
        curl_multi_socket_action(h->multi, ready[i].data.fd, mask, &running);
    }
    collect(h);
}

static int on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct http *h = arg;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(h->sockets, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event wanted = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) |
                                           (what & CURL_POLL_OUT ? EPOLLOUT : 0u),
                                 .data.fd = fd};
    if (epoll_ctl(h->sockets, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &wanted) != 0)
        log_error("http socket not watched", log_int("errno", errno)); /* its request ends by its deadline */
    curl_multi_assign(h->multi, fd, h); /* anything but NULL: known from now on, until it is removed */
    return 0;
}

/* --- starting --- */
struct http *http_new(struct loop *l, const char *user_agent)
{
    struct http *h = xcalloc(1, sizeof *h);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort_oom(0);
    h->loop = l;
    h->user_agent = xstrdup(user_agent);
    h->timer = loop_timer_new(l, on_timer, h);
    h->sockets = epoll_create1(EPOLL_CLOEXEC);
    h->watch = loop_watch_new(l, h->sockets, on_sockets, h);
    loop_watch_set(h->watch, LOOP_READ);
    LIST_INIT(&h->active);
    LIST_INIT(&h->idle);
    h->multi = curl_multi_init();
    if (h->multi == NULL)
        abort_oom(0);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    /* No limit of connections: libcurl would queue, and the waiting counts as the request's time. */
    curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L);
    curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 0L);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)CACHED_CONNECTIONS);
    return h;
}

void http_free(struct http **h)
{
    if (*h == NULL)
        return;
    if ((*h)->busy)
        (*h)->doomed = true;
    else
        destroy(*h);
    *h = NULL;
}

size_t http_in_flight(const struct http *h)
{
    return h->active_count;
}

static bool has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return true;
    return false;
}

static int check_request(const struct http_request *r, struct err *e)
{
    size_t method_len = strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (method_len == 0 || r->method[method_len] != '\0')
        return err_set(e, ERR_DATA, 0, "not an HTTP method");
    if (strncasecmp(r->url, "http://", 7) != 0 && strncasecmp(r->url, "https://", 8) != 0)
        return err_set(e, ERR_DATA, 0, "the URL is neither http:// nor https://");
    if (has_control(r->url) || strpbrk(r->url, " \t") != NULL)
        return err_set(e, ERR_DATA, 0, "the URL contains a blank or a control character");
    for (size_t i = 0; i < r->header_count; i++) {
        const char *header = r->headers[i];
        if (has_control(header) || header[0] == ':' || strchr(header, ':') == NULL)
            return err_set(e, ERR_DATA, 0, "header %zu is not \"Name: value\" in one line", i + 1);
    }
    if (r->body_len > BODY_LIMIT_BYTES)
        return err_set(e, ERR_DATA, 0, "the body is larger than 64 MiB");
    return 0;
}

/* A request that misses an option for want of memory must not leave. */
static void set_or_end(CURLcode rc)
{
    if (rc == CURLE_OUT_OF_MEMORY)
        abort_oom(0);
}

static void add_header(struct transfer *t, const char *line)
{
    struct curl_slist *longer = curl_slist_append(t->headers, line);
    if (longer == NULL)
        abort_oom(strlen(line));
    t->headers = longer;
}

static void set_headers(struct transfer *t, const struct http_request *r)
{
    add_header(t, "Expect:"); /* or libcurl waits a second for a 100 before larger bodies */
    for (size_t i = 0; i < r->header_count; i++)
        add_header(t, r->headers[i]);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void set_method(struct transfer *t, const struct http_request *r)
{
    bool is_post = strcmp(r->method, "POST") == 0;
    if (is_post || r->body_len > 0) {
        buf_add(&t->body, r->body, r->body_len);
        curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        curl_easy_setopt(t->easy, CURLOPT_READFUNCTION,
                         on_body_wanted); /* no POSTFIELDS, no seek function: see above */
        curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    } else if (strcmp(r->method, "HEAD") == 0) {
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
    }
    if (!is_post)
        set_or_end(curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, r->method));
}

static void set_policy(CURL *easy)
{
    set_or_end(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set_or_end(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)REUSE_WITHIN_S);
    /* A request that ends while its name is being resolved would otherwise block the loop until the
     * resolver's thread has ended. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static void set_request(struct transfer *t, const struct http_request *r)
{
    int64_t connect_ms = r->connect_timeout_ms > 0 ? r->connect_timeout_ms : DEFAULT_CONNECT_MS;
    if (connect_ms > r->timeout_ms)
        connect_ms = r->timeout_ms;
    t->answer.limit = r->max_response_bytes > 0 ? r->max_response_bytes : DEFAULT_ANSWER_BYTES;
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->text);
    set_or_end(curl_easy_setopt(t->easy, CURLOPT_USERAGENT, t->http->user_agent));
    set_or_end(curl_easy_setopt(t->easy, CURLOPT_URL, r->url));
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_attempt);
    curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
    if (r->user != NULL) {
        curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        set_or_end(curl_easy_setopt(t->easy, CURLOPT_USERNAME, r->user));
        set_or_end(curl_easy_setopt(t->easy, CURLOPT_PASSWORD, r->password == NULL ? "" : r->password));
    }
}

int http_send(struct http *h, const struct http_request *r, http_done_fn *done, void *arg, struct err *e)
{
    if (check_request(r, e) != 0)
        return -1;
    struct transfer *t = transfer_get(h);
    t->done = done;
    t->arg = arg;
    t->started_us = clock_mono_us();
    t->first_byte_us = 0;
    set_policy(t->easy);
    set_request(t, r);
    set_headers(t, r);
    set_method(t, r);
    CURLMcode rc = curl_multi_add_handle(h->multi, t->easy);
    if (rc == CURLM_OUT_OF_MEMORY)
        abort_oom(0);
    if (rc != CURLM_OK) {
        transfer_put(t);
        return err_set(e, ERR_BUG, (int)rc, "libcurl refused the request: %s", curl_multi_strerror(rc));
    }
    loop_timer_start(t->deadline, r->timeout_ms);
    LIST_INSERT_HEAD(&h->active, t, link);
    h->active_count++;
    return 0;
}
