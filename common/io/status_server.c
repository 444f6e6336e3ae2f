/* /metrics, /healthz and /readyz. libmicrohttpd is driven from outside: its epoll descriptor is one watch,
 * its next deadline one timer of the loop. Knows nothing of what is measured or ready. */
#include "io/status_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"

enum { MAX_CONNECTIONS = 32, IDLE_SECONDS = 10, CONNECTION_BYTES = 16 * 1024, BODY_LIMIT = 8 * 1024 * 1024 };

struct status_server {
    struct MHD_Daemon *http;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct status_handlers handlers;
    void *arg;
    struct buf body; /* of the answer in the making */
    int port;
};

/* --- addresses --- */
struct address {
    char host[256]; /* "" = every interface */
    char port[6];
};

/* "127.0.0.1:9464", "[::1]:9464", ":9464" */
static int parse_address(const char *text, struct address *a, struct err *e)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t host_len = colon ? (size_t)(colon - text) : 0;
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    size_t port_len = colon ? strlen(colon + 1) : 0;
    if (host_len >= sizeof a->host || port_len == 0 || port_len >= sizeof a->port ||
        strspn(colon + 1, "0123456789") != port_len || strtol(colon + 1, NULL, 10) > 65535)
        return err_set(e, ERR_CONFIG, 0, "expected host:port, found \"%.100s\"", text);
    memcpy(a->host, host, host_len);
    a->host[host_len] = '\0';
    memcpy(a->port, colon + 1, port_len + 1);
    return 0;
}

/* The host's addresses; freed with freeaddrinfo. An empty host stands for every interface. */
static struct addrinfo *resolve(const struct address *a, int family, struct err *e)
{
    struct addrinfo hints = {.ai_family = family,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (*a->host ? 0 : AI_PASSIVE)};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints, &list);
    if (rc != 0)
        (void)err_set(e, ERR_UNAVAILABLE, rc, "%s: %s", a->host, gai_strerror(rc));
    return list;
}

static int listen_on(const struct addrinfo *ai)
{
    static const int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, MAX_CONNECTIONS) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

/* A listening socket on the first of the host's addresses that can be had; IPv6 first, since [::] takes IPv4
 * as well. */
static int open_listener(const struct address *a, struct err *e)
{
    static const int families[] = {AF_INET6, AF_INET};
    int fd = -1, saved = EADDRNOTAVAIL;
    for (size_t i = 0; i < 2 && fd < 0; i++) {
        struct addrinfo *list = resolve(a, families[i], e);
        for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
            fd = listen_on(ai);
            saved = errno;
        }
        if (list)
            freeaddrinfo(list);
        if (fd < 0 && saved == EADDRINUSE)
            break;
    }
    if (fd < 0)
        (void)err_set(e, ERR_UNAVAILABLE, saved, "cannot listen on %s:%s: %s", a->host, a->port,
                      strerror(saved));
    return fd;
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {.v6 = {0}};
    socklen_t len = sizeof at;
    if (getsockname(fd, &at.any, &len) < 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
}

/* --- answers --- */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct buf *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    enum MHD_Result rc = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (rc == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED)
        rc = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (rc == MHD_YES)
        rc = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static unsigned write_readiness(struct status_server *s)
{
    if (s->handlers.ready(s->arg, &s->body)) {
        buf_clear(&s->body);
        buf_add_str(&s->body, "ready\n");
        return MHD_HTTP_OK;
    }
    buf_add_char(&s->body, '\n');
    return MHD_HTTP_SERVICE_UNAVAILABLE;
}

/* Called with the header and again with the request's end. The first call is for refusals: an answer given
 * there closes the connection, so that no body need be read. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    static const char plain[] = "text/plain; charset=utf-8";
    struct status_server *s = arg;
    (void)version, (void)upload;
    buf_clear(&s->body);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        buf_add_str(&s->body, "only GET and HEAD\n");
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, plain, &s->body);
    }
    if (!*state || *upload_size > 0) {
        *state = s;
        *upload_size = 0; /* a body is read past */
        return MHD_YES;
    }
    if (strcmp(path, "/metrics") == 0) {
        s->handlers.metrics(s->arg, &s->body);
        if (s->body.failed)
            return answer(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, plain, &s->body);
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &s->body);
    }
    if (strcmp(path, "/readyz") == 0) {
        unsigned status = write_readiness(s);
        return answer(connection, status, plain, &s->body);
    }
    bool is_health = strcmp(path, "/healthz") == 0;
    buf_add_str(&s->body, is_health ? "ok\n" : "try /metrics, /healthz or /readyz\n");
    return answer(connection, is_health ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND, plain, &s->body);
}

/* --- driving it --- */
static void run_http(struct status_server *s)
{
    MHD_UNSIGNED_LONG_LONG delay_ms;
    (void)MHD_run(s->http);
    if (MHD_get_timeout(s->http, &delay_ms) == MHD_YES)
        loop_timer_start(s->timer, (int64_t)delay_ms);
    else
        loop_timer_stop(s->timer);
}

static void on_timer(void *arg)
{
    run_http(arg);
}

static void on_readable(void *arg, int events)
{
    (void)events;
    run_http(arg);
}

static void on_http_log(void *arg, const char *fmt, va_list args)
{
    struct err text = {0};
    char line[256];
    (void)arg;
    (void)vsnprintf(line, sizeof line, fmt, args);
    (void)err_set(&text, ERR_DATA, 0, "%s", line); /* makes it one clean line */
    log_debug("status server", log_str("text", text.text));
}

static struct MHD_Daemon *start_http(struct status_server *s, int fd)
{
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s,
                            MHD_OPTION_EXTERNAL_LOGGER, on_http_log, NULL, MHD_OPTION_ARRAY, options,
                            MHD_OPTION_END);
}

struct status_server *status_server_new(struct loop *l, const char *listen, const struct status_handlers *h,
                                        void *arg, struct err *e)
{
    struct address address = {0};
    if (!*listen || strcmp(listen, "off") == 0 || parse_address(listen, &address, e) < 0)
        return NULL;
    int fd = open_listener(&address, e);
    if (fd < 0)
        return NULL;
    struct status_server *s = xcalloc(1, sizeof *s);
    s->handlers = *h;
    s->arg = arg;
    s->port = port_of(fd);
    s->http = start_http(s, fd); /* owns fd from here on */
    if (!s->http) {
        (void)err_set(e, ERR_UNAVAILABLE, 0, "cannot start the HTTP server on %s", listen);
        (void)close(fd);
        free(s);
        return NULL;
    }
    buf_init(&s->body, BODY_LIMIT);
    s->timer = loop_timer_new(l, on_timer, s);
    s->watch =
        loop_watch_new(l, MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, on_readable, s);
    loop_watch_set(s->watch, LOOP_READ);
    return s;
}

void status_server_free(struct status_server **server)
{
    struct status_server *s = *server;
    if (!s)
        return;
    loop_watch_free(&s->watch);
    loop_timer_free(&s->timer);
    MHD_stop_daemon(s->http);
    buf_fini(&s->body);
    free(s);
    *server = NULL;
}

int status_server_port(const struct status_server *s)
{
    return s->port;
}

/* --- the probe --- */
/* 0 when the socket is ready for the events before the deadline; else -1 and errno. */
static int wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        int rc = poll(&p, 1, left_ms > 0 ? (int)left_ms : 0);
        if (rc > 0)
            return 0;
        if (rc == 0)
            errno = ETIMEDOUT;
        if (rc == 0 || errno != EINTR)
            return -1;
    }
}

static int connect_to(const struct addrinfo *ai, int64_t deadline_ms)
{
    int fault = 0;
    socklen_t len = sizeof fault;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline_ms) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &len) == 0) {
        if (fault == 0)
            return fd;
        errno = fault;
    }
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

/* Sends the request and reads the answer until it ends or `size` is full; its length, or -1 and errno. */
static ssize_t exchange(int fd, const char *request, char *text, size_t size, int64_t deadline_ms)
{
    size_t len = 0;
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request))
        return -1;
    while (len < size - 1) {
        if (wait_for(fd, POLLIN, deadline_ms) < 0)
            return -1;
        ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n == 0)
            break;
        if (n < 0 && errno != EAGAIN)
            return -1;
        len += n > 0 ? (size_t)n : 0;
    }
    text[len] = '\0';
    return (ssize_t)len;
}

/* The answer as a result: its status, and for anything but 200 what it says. */
static int judge(const char *path, const char *text, struct err *e)
{
    int status = 0;
    if (sscanf(text, "HTTP/1.%*1d %3d", &status) != 1)
        return err_set(e, ERR_UNAVAILABLE, 0, "%s: no HTTP answer", path);
    if (status == 200)
        return 0;
    const char *body = strstr(text, "\r\n\r\n");
    return err_set(e, ERR_UNAVAILABLE, status, "%s: %d %.200s", path, status, body ? body + 4 : "");
}

/* A wildcard is no address to connect to. */
static void use_loopback(struct address *a)
{
    if (!*a->host || strcmp(a->host, "0.0.0.0") == 0)
        (void)snprintf(a->host, sizeof a->host, "127.0.0.1");
    else if (strcmp(a->host, "::") == 0)
        (void)snprintf(a->host, sizeof a->host, "::1");
}

int status_server_probe(const char *listen, const char *path, int timeout_ms, struct err *e)
{
    struct address address = {0};
    char request[256], text[1024];
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;
    if (!*listen || strcmp(listen, "off") == 0)
        return err_set(e, ERR_UNAVAILABLE, 0, "there is no status server: metrics_listen is off");
    if (parse_address(listen, &address, e) < 0)
        return -1;
    use_loopback(&address);
    struct addrinfo *list = resolve(&address, AF_UNSPEC, e);
    if (!list)
        return -1;
    int fd = -1;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = connect_to(ai, deadline_ms);
    int saved = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return err_set(e, ERR_UNAVAILABLE, saved, "%s: %s", listen, strerror(saved));
    (void)snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                   path);
    ssize_t len = exchange(fd, request, text, sizeof text, deadline_ms);
    saved = errno;
    (void)close(fd);
    if (len < 0)
        return err_set(e, ERR_UNAVAILABLE, saved, "%s: %s", listen, strerror(saved));
    return judge(path, text, e);
}
