/* From a request to libcurl's options, and libcurl's callbacks about it.
 *
 * At most once: libcurl repeats a request by itself when a kept-alive connection dies under it. Bodies
 * therefore come from a callback that cannot rewind, and a second attempt is stopped when anything of the
 * first one has left (on_attempt). */
#include "io/http_private.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/clock.h"
#include "io/address.h"

enum {
    DEFAULT_CONNECT_MS = 3000,
    /* Common servers close after 5 s of idleness (Node, Apache). A request that meets the closing is lost
     * without a trace of whether it was read, so a connection is not used again from 4 s on; libcurl compares
     * whole seconds with "more than". */
    REUSE_WITHIN_S = 3,
    /* libcurl's own are 16 and 64 KiB a request, and hundreds are under way. */
    READ_BUFFER_BYTES = 4096,
    SEND_BUFFER_BYTES = 16384, /* the least it takes */
};

/* --- libcurl's callbacks about one request --- */
bool http_has_left(const struct transfer *t)
{
    long bytes = 0;
    curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &bytes);
    return bytes > 0 || t->body_sent > 0;
}

/* libcurl writes head and body apart, which would be two segments and wake the server twice. So a plain
 * connection is corked, and what stands in it pushed when libcurl begins to wait for the answer. Not so with
 * TLS, whose handshake also waits for answers while no such change is seen. */
static void set_cork(int fd, int on)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on); /* uncorked it is slower, no more */
}

void http_request_push(CURL *easy, int fd)
{
    struct transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    if (!t->is_plain)
        return;
    set_cork(fd, 0);
    set_cork(fd, 1);
}

/* Each address that the name has, in turn; a host may have several, of which one is ours. */
static curl_socket_t on_socket_opened(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    struct transfer *t = arg;
    if (t->public_only && !address_is_public(&a->addr)) {
        t->blocked = true;
        return CURL_SOCKET_BAD;
    }
    curl_socket_t fd = driver_open(&t->shard->driver, a);
    if (fd != CURL_SOCKET_BAD && t->is_plain)
        set_cork(fd, 1);
    return fd;
}

/* Before each attempt's first byte, when the connection stands; it may be an old one that was dialled for
 * another request. After a sleep the sockets are ready before the deadline's timer has fired: what has not
 * begun by then must not leave any more, whoever waits for it has given it up. The type is libcurl's:
 * NOLINTNEXTLINE(readability-non-const-parameter) */
static int on_attempt(void *arg, char *peer_ip, char *local_ip, int peer_port, int local_port)
{
    (void)local_ip, (void)peer_port, (void)local_port;
    struct transfer *t = arg;
    struct sockaddr_storage peer;
    bool again = t->was_attempted;
    t->was_attempted = true;
    if (t->public_only && !(address_parse(peer_ip, &peer) && address_is_public((struct sockaddr *)&peer))) {
        t->blocked = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (clock_boot_ms() >= t->leaves_before_ms)
        return CURL_PREREQFUNC_ABORT;
    return again && http_has_left(t) ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
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

/* --- checks --- */
bool http_has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return true;
    return false;
}

int http_request_check(const struct http_request *r, struct err *e)
{
    size_t method_len = strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    if (method_len == 0 || r->method[method_len] != '\0')
        return err_set(e, ERR_DATA, 0, "not an HTTP method");
    if (strncasecmp(r->url, "http://", 7) != 0 && strncasecmp(r->url, "https://", 8) != 0)
        return err_set(e, ERR_DATA, 0, "the URL is neither http:// nor https://");
    if (http_has_control(r->url) || strpbrk(r->url, " \t") != NULL)
        return err_set(e, ERR_DATA, 0, "the URL contains a blank or a control character");
    for (size_t i = 0; i < r->header_count; i++) {
        const char *header = r->headers[i];
        if (http_has_control(header) || header[0] == ':' || strchr(header, ':') == NULL)
            return err_set(e, ERR_DATA, 0, "header %zu is not \"Name: value\" in one line", i + 1);
    }
    if (r->body_len > BODY_LIMIT_BYTES)
        return err_set(e, ERR_DATA, 0, "the body is larger than 64 MiB");
    return 0;
}

/* --- options --- */
void http_set_or_end(CURLcode rc)
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
        http_set_or_end(curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, r->method));
}

int64_t http_leaves_before_ms(const struct http_request *r)
{
    return r->leaves_before_ms > 0 ? r->leaves_before_ms : clock_boot_ms() + r->timeout_ms;
}

void http_set_policy(CURL *easy, const struct http_request *r)
{
    int64_t connect_ms = r->connect_timeout_ms > 0 ? r->connect_timeout_ms : DEFAULT_CONNECT_MS;
    if (connect_ms > r->timeout_ms)
        connect_ms = r->timeout_ms;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    http_set_or_end(curl_easy_setopt(easy, CURLOPT_URL, r->url));
    http_set_or_end(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, r->mail ? "smtp,smtps" : "http,https"));
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    http_set_or_end(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (r->ca_file != NULL)
        http_set_or_end(curl_easy_setopt(easy, CURLOPT_CAINFO, r->ca_file));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    /* A request that ends while its name is being resolved would otherwise block the loop until the
     * resolver's thread has ended. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    if (r->user != NULL) {
        http_set_or_end(curl_easy_setopt(easy, CURLOPT_USERNAME, r->user));
        http_set_or_end(curl_easy_setopt(easy, CURLOPT_PASSWORD, r->password == NULL ? "" : r->password));
    }
}

static void set_callbacks(struct transfer *t)
{
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_attempt);
    curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, on_socket_opened);
    curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_CLOSESOCKETFUNCTION, driver_close);
    curl_easy_setopt(t->easy, CURLOPT_CLOSESOCKETDATA, &t->shard->driver);
}

void http_request_set(struct transfer *t, const struct http_request *r)
{
    t->answer.limit = r->max_response_bytes > 0 ? r->max_response_bytes : DEFAULT_ANSWER_BYTES;
    t->public_only = r->public_only;
    t->is_plain = strncasecmp(r->url, "http:", 5) == 0;
    http_set_policy(t->easy, r);
    curl_easy_setopt(t->easy, CURLOPT_BUFFERSIZE, (long)READ_BUFFER_BYTES);
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER_BYTES);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->text);
    curl_easy_setopt(t->easy, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(t->easy, CURLOPT_MAXAGE_CONN, (long)REUSE_WITHIN_S);
    curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    http_set_or_end(curl_easy_setopt(t->easy, CURLOPT_USERAGENT, t->http->user_agent));
    set_callbacks(t);
    set_headers(t, r);
    set_method(t, r);
}
