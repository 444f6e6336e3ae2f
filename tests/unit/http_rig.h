/* The two ends of test_http.c. The server: raw sockets in this process, a thread a connection, so that it can
 * misbehave at will; what it does is chosen by the request's path. The client: an http on a loop of its own,
 * made anew for each test. */
#ifndef AGWB_TESTS_HTTP_RIG_H
#define AGWB_TESTS_HTTP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/http.h"

enum { MAX_CONNECTIONS = 256 };

static struct {
    int listener;
    int port;
    pthread_t acceptor;
    pthread_t threads[MAX_CONNECTIONS];
    int fds[MAX_CONNECTIONS];
    int connections;
    atomic_int requests; /* whole ones, body included */
    atomic_int answers;
    pthread_mutex_t lock;
    char last[4096]; /* the last request */
    int last_reads;  /* in how many pieces it came */
} server;

struct peer {
    int fd;
    char bytes[4096];
    size_t len;
    size_t body_at; /* of the request in `bytes` */
    int served;
};

static void say(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        bytes += n;
        len -= (size_t)n;
    }
}

static void answer(int fd, const char *text)
{
    atomic_fetch_add(&server.answers, 1);
    say(fd, text, strlen(text));
}

/* Reads one whole request; false at the connection's end. */
static bool hear(struct peer *p)
{
    size_t need = 0;
    int reads = 0;
    p->len = 0;
    for (;; reads++) {
        ssize_t n = recv(p->fd, p->bytes + p->len, sizeof p->bytes - 1 - p->len, 0);
        if (n <= 0)
            return false;
        p->len += (size_t)n;
        p->bytes[p->len] = '\0';
        const char *end = strstr(p->bytes, "\r\n\r\n");
        if (need == 0 && end != NULL) {
            const char *length = strcasestr(p->bytes, "content-length: ");
            p->body_at = (size_t)(end + 4 - p->bytes);
            need = p->body_at + (length == NULL ? 0 : strtoul(length + 16, NULL, 10));
        }
        if (need > 0 && p->len >= need)
            break;
    }
    pthread_mutex_lock(&server.lock);
    memcpy(server.last, p->bytes, p->len + 1);
    server.last_reads = reads + 1;
    pthread_mutex_unlock(&server.lock);
    atomic_fetch_add(&server.requests, 1);
    p->served++;
    return true;
}

static void wait_for_end(int fd)
{
    char c[256];
    while (recv(fd, c, sizeof c, 0) > 0)
        continue;
}

static void hang_up_hard(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void answer_huge(int fd, bool chunked)
{
    static char block[8192];
    memset(block, 'x', sizeof block);
    answer(fd, chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                       : "HTTP/1.1 200 OK\r\nContent-Length: 8192000\r\n\r\n");
    for (int i = 0; i < 1000; i++) {
        if (chunked)
            say(fd, "2000\r\n", 6);
        say(fd, block, sizeof block);
        if (chunked)
            say(fd, "\r\n", 2);
    }
    if (chunked)
        say(fd, "0\r\n\r\n", 5);
}

static void answer_echo(const struct peer *p)
{
    char head[128];
    size_t len = p->len - p->body_at;
    snprintf(head, sizeof head,
             "HTTP/1.1 201 Created\r\nX-One: first\r\nx-two:  second \r\nContent-Length: %zu\r\n\r\n", len);
    answer(p->fd, head);
    say(p->fd, p->bytes + p->body_at, len);
}

/* "Retry-After: <seconds from now as an HTTP date>" */
static void answer_date(int fd, int seconds)
{
    char text[256], date[64];
    time_t at = time(NULL) + seconds;
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    snprintf(text, sizeof text, "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n", date);
    answer(fd, text);
}

static bool path_is(const struct peer *p, const char *path)
{
    const char *at = strchr(p->bytes, ' ');
    return at != NULL && strncmp(at + 1, path, strlen(path)) == 0 &&
           strchr(" ?", at[1 + strlen(path)]) != NULL;
}

static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
static const struct {
    const char *path;
    const char *text;
    bool close;
} ANSWERS[] = {
    {"/ok", OK, false},
    {"/twohundredtwo", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", false},
    {"/redirect", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", false},
    {"/retry-seconds", "HTTP/1.1 429 Slow\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", false},
    {"/retry-zero", "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", false},
    {"/retry-large", "HTTP/1.1 429 Slow\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n",
     false},
    {"/retry-garbage", "HTTP/1.1 429 Slow\r\nRetry-After: -5 soon\r\nContent-Length: 0\r\n\r\n", false},
    {"/interim",
     "HTTP/1.1 100 Continue\r\nX-One: interim\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
    {"/interim-only", "HTTP/1.1 103 Early Hints\r\n\r\n", true},
    {"/garbage", "this is not HTTP\r\n\r\n", true},
    {"/half", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", true},
    {"/half-status", "HTTP/1.1 2", true},
    {"/until-close", "HTTP/1.1 200 OK\r\n\r\nall of it", true},
    {"/empty", "", true},
};

/* Answers one request; false to close the connection. */
static bool serve(struct peer *p)
{
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++) {
        if (path_is(p, ANSWERS[i].path)) {
            answer(p->fd, ANSWERS[i].text);
            return !ANSWERS[i].close;
        }
    }
    if (path_is(p, "/echo")) {
        answer_echo(p);
    } else if (path_is(p, "/retry-date")) {
        answer_date(p->fd, 100);
    } else if (path_is(p, "/retry-past")) {
        answer_date(p->fd, -100);
    } else if (path_is(p, "/huge") || path_is(p, "/huge-chunked")) {
        answer_huge(p->fd, path_is(p, "/huge-chunked"));
    } else if (path_is(p, "/slow")) {
        wait_for_end(p->fd);
        return false;
    } else if (path_is(p, "/reset")) {
        hang_up_hard(p->fd);
        return false;
    } else if (path_is(p, "/dies-reused") || path_is(p, "/dies-reused-hard")) {
        if (p->served > 1) { /* read to its end, never answered */
            if (path_is(p, "/dies-reused-hard"))
                hang_up_hard(p->fd);
            return false;
        }
        answer(p->fd, OK);
    }
    return true;
}

static void *serve_connection(void *arg)
{
    struct peer p = {.fd = (int)(intptr_t)arg};
    while (hear(&p) && serve(&p))
        continue;
    shutdown(p.fd, SHUT_RDWR); /* closed by server_stop, so that the number is not taken again meanwhile */
    hang_up_hard(p.fd);
    return NULL;
}

static void *accept_connections(void *arg)
{
    (void)arg;
    int fd;
    while ((fd = accept(server.listener, NULL, NULL)) >= 0 && server.connections < MAX_CONNECTIONS) {
        server.fds[server.connections] = fd;
        pthread_create(&server.threads[server.connections++], NULL, serve_connection, (void *)(intptr_t)fd);
    }
    return NULL;
}

static int listen_locally(int *port, int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void server_start(void)
{
    memset(&server, 0, sizeof server);
    pthread_mutex_init(&server.lock, NULL);
    server.listener = listen_locally(&server.port, MAX_CONNECTIONS);
    assert_int_equal(pthread_create(&server.acceptor, NULL, accept_connections, NULL), 0);
}

static void server_stop(void)
{
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.acceptor, NULL);
    close(server.listener);
    for (int i = 0; i < server.connections; i++) {
        shutdown(server.fds[i], SHUT_RDWR);
        pthread_join(server.threads[i], NULL);
        close(server.fds[i]);
    }
    pthread_mutex_destroy(&server.lock);
}

/* --- the client --- */
static struct loop *loop;
static struct http *http;
static int pending;
static bool too_late;

struct outcome {
    int calls;
    enum http_fate fate;
    int code, status;
    char text[256], body[512], one[64], two[64];
    size_t body_len;
    bool cut, reused, blocked;
    int64_t retry_after_ms;
    struct http_timing timing;
};

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    server_start();
    loop = loop_new();
    http = http_new(loop, "agwb-test/1");
    pending = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_free(&http);
    loop_free(&loop);
    server_stop();
    return 0;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from == NULL ? "-" : from);
}

static void on_done(void *arg, const struct http_result *r)
{
    struct outcome *o = arg;
    o->calls++;
    o->fate = r->fate;
    o->code = r->transport_code;
    o->status = r->status;
    o->body_len = r->body_len;
    o->cut = r->body_cut;
    o->reused = r->connection_reused;
    o->blocked = r->blocked;
    o->retry_after_ms = r->retry_after_ms;
    o->timing = r->timing;
    copy(o->text, sizeof o->text, r->text);
    copy(o->body, sizeof o->body, r->body);
    copy(o->one, sizeof o->one, http_result_header(r, "X-ONE"));
    copy(o->two, sizeof o->two, http_result_header(r, "x-two"));
    if (--pending == 0)
        loop_stop(loop);
}

static void on_too_late(void *arg)
{
    (void)arg;
    too_late = true;
    loop_stop(loop);
}

/* Turns until every request has ended. */
static void run(void)
{
    struct loop_timer *guard = loop_timer_new(loop, on_too_late, NULL);
    loop_timer_start(guard, 20000);
    too_late = false;
    loop_run(loop);
    loop_timer_free(&guard);
    assert_false(too_late);
}

static const char *url_of(const char *path)
{
    static char url[256];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
    return url;
}

static inline struct http_request request_to(const char *url)
{
    return (struct http_request){
        .method = "POST", .url = url, .body = "{\"a\":1}", .body_len = 7, .timeout_ms = 10000};
}

static inline void start(const struct http_request *r, struct outcome *o)
{
    struct err e;
    pending++;
    assert_int_equal(http_send(http, r, on_done, o, &e), 0);
}

static inline struct outcome get(const struct http_request *r)
{
    struct outcome o = {.calls = 0};
    start(r, &o);
    assert_int_equal(o.calls, 0);
    run();
    assert_int_equal(o.calls, 1);
    assert_int_equal(http_in_flight(http), 0);
    return o;
}

static inline struct outcome post(const char *path)
{
    struct http_request r = request_to(url_of(path));
    return get(&r);
}

#endif
