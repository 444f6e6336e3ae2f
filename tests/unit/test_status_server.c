/* The status server on a real loop and real sockets: the client runs on the loop's pool, and the loop stops
 * when it is done. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/status_server.h"

enum { LARGE = 3 * 1024 * 1024 };

struct world {
    struct loop *loop;
    struct status_server *server;
    bool is_ready;
    size_t metrics_bytes; /* 0: a short text */
    int scrapes;
};

static void write_metrics(void *arg, struct buf *out)
{
    struct world *w = arg;
    w->scrapes++;
    if (w->metrics_bytes == 0)
        buf_add_str(out, "agwb_test 1\n");
    for (size_t i = 0; i < w->metrics_bytes; i++)
        buf_add_char(out, 'm');
}

static bool ask_ready(void *arg, struct buf *why)
{
    struct world *w = arg;
    buf_add_str(why, w->is_ready ? "not to be seen" : "broker: down; database: down");
    return w->is_ready;
}

static const struct status_handlers handlers = {.metrics = write_metrics, .ready = ask_ready};

static void world_begin(struct world *w, const char *listen)
{
    struct err e = {0};
    *w = (struct world){.loop = loop_new(), .is_ready = true};
    w->server = status_server_new(w->loop, listen, &handlers, w, &e);
    if (!w->server)
        fail_msg("%s", e.text);
}

static void world_end(struct world *w)
{
    status_server_free(&w->server);
    assert_null(w->server);
    status_server_free(&w->server);
    loop_free(&w->loop);
}

/* --- clients --- */
struct client {
    struct loop *loop;
    int port;
    const char *request; /* raw bytes; NULL: status_server_probe */
    const char *listen, *path;
    int rc;
    struct err err;
    size_t len;
    char *answer; /* owned */
};

static int connect_to(int port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 10};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void talk(struct client *c)
{
    enum { ROOM = LARGE + 4096 };
    int fd = connect_to(c->port);
    c->answer = calloc(1, ROOM);
    c->rc = -1;
    if (fd < 0 || send(fd, c->request, strlen(c->request), MSG_NOSIGNAL) < 0)
        return;
    ssize_t n = 0;
    while (c->len < ROOM - 1 && (n = recv(fd, c->answer + c->len, ROOM - 1 - c->len, 0)) > 0)
        c->len += (size_t)n;
    c->rc = n == 0 ? 0 : -1;
    close(fd);
}

static void client_work(void *arg)
{
    struct client *c = arg;
    if (c->request)
        talk(c);
    else
        c->rc = status_server_probe(c->listen, c->path, 10000, &c->err);
}

static void client_done(void *arg)
{
    struct client *c = arg;
    loop_stop(c->loop);
}

/* Sends raw bytes, returns all of the answer until the server closes; freed by the caller. */
static char *ask(struct world *w, const char *request)
{
    struct client c = {.loop = w->loop, .port = status_server_port(w->server), .request = request};
    loop_work(w->loop, client_work, client_done, &c);
    loop_run(w->loop);
    assert_int_equal(c.rc, 0);
    return c.answer;
}

static int probe(struct world *w, const char *listen, const char *path, struct err *e)
{
    struct client c = {.loop = w->loop, .listen = listen, .path = path};
    loop_work(w->loop, client_work, client_done, &c);
    loop_run(w->loop);
    *e = c.err;
    return c.rc;
}

/* --- tests --- */
static void test_status_server_answers(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        bool is_ready;
        const char *status, *header, *body;
    } cases[] = {
        {"GET /healthz HTTP/1.1", true, "HTTP/1.1 200 ", "text/plain", "\r\n\r\nok\n"},
        {"GET /healthz HTTP/1.1", false, "HTTP/1.1 200 ", "text/plain", "\r\n\r\nok\n"},
        {"GET /readyz HTTP/1.1", true, "HTTP/1.1 200 ", "text/plain", "\r\n\r\nready\n"},
        {"GET /readyz?verbose=1 HTTP/1.1", true, "HTTP/1.1 200 ", "text/plain", "\r\n\r\nready\n"},
        {"GET /readyz HTTP/1.1", false, "HTTP/1.1 503 ", "text/plain",
         "\r\n\r\nbroker: down; database: down\n"},
        {"GET /metrics HTTP/1.1", false, "HTTP/1.1 200 ", "text/plain; version=0.0.4; charset=utf-8",
         "\r\n\r\nagwb_test 1\n"},
        {"HEAD /metrics HTTP/1.1", true, "HTTP/1.1 200 ", "Content-Length: 12\r\n", "\r\n\r\n"},
        {"HEAD /readyz HTTP/1.1", false, "HTTP/1.1 503 ", "Content-Length: 29\r\n", "\r\n\r\n"},
        {"GET / HTTP/1.1", true, "HTTP/1.1 404 ", "text/plain",
         "\r\n\r\ntry /metrics, /healthz or /readyz\n"},
        {"GET /metrics/ HTTP/1.1", true, "HTTP/1.1 404 ", "text/plain", "\n"},
        {"PUT /metrics HTTP/1.1", true, "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n",
         "\r\n\r\nonly GET and HEAD\n"},
        {"DELETE /nowhere HTTP/1.1", true, "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n",
         "\r\n\r\nonly GET and HEAD\n"},
    };
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[256];
        w.is_ready = cases[i].is_ready;
        (void)snprintf(request, sizeof request, "%s\r\nHost: x\r\nConnection: close\r\n\r\n",
                       cases[i].request);
        char *answer = ask(&w, request);
        size_t tail = strlen(answer) - strlen(cases[i].body);
        assert_memory_equal(answer, cases[i].status, strlen(cases[i].status));
        assert_non_null(strstr(answer, cases[i].header));
        assert_string_equal(answer + tail, cases[i].body);
        free(answer);
    }
    world_end(&w);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = strstr(text, part); p; p = strstr(p + 1, part))
        n++;
    return n;
}

static void test_status_server_keeps_connections(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    char *answer = ask(&w, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
                           "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(count(answer, "HTTP/1.1 200 "), 3);
    assert_int_equal(w.scrapes, 2);
    free(answer);
    world_end(&w);
}

/* A body is refused unread; whatever follows on that connection is not taken for a request. */
static void test_status_server_refuses_bodies(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    char *answer = ask(&w, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
                           "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_memory_equal(answer, "HTTP/1.1 405 ", 13);
    assert_int_equal(count(answer, "HTTP/1.1 "), 1);
    assert_int_equal(w.scrapes, 0);
    free(answer);
    answer = ask(&w, "nonsense\r\n\r\n");
    free(answer);
    world_end(&w);
}

/* More than a socket buffer holds: the rest goes out as the loop says that there is room. */
static void test_status_server_large_answer(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    w.metrics_bytes = LARGE;
    char *answer = ask(&w, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strspn(body + 4, "m"), LARGE);
    free(answer);

    w.metrics_bytes = 9 * 1024 * 1024; /* beyond the limit: an error is better than half of it */
    answer = ask(&w, "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_memory_equal(answer, "HTTP/1.1 500 ", 13);
    free(answer);
    world_end(&w);
}

/* Clients that connect and say nothing, or half of it, do not keep others from an answer. */
static void test_status_server_silent_clients(void **state)
{
    (void)state;
    enum { SILENT = 40 };
    int silent[SILENT];
    struct err e;
    char listen[64];
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", status_server_port(w.server));
    for (int i = 0; i < 20; i++) {
        silent[i] = connect_to(status_server_port(w.server));
        assert_true(silent[i] >= 0);
        assert_int_equal(send(silent[i], "GET /he", 7, MSG_NOSIGNAL), 7);
    }
    assert_int_equal(probe(&w, listen, "/healthz", &e), 0);

    /* More than are served at a time: those that wait get their turn when others leave. */
    for (int i = 20; i < SILENT; i++) {
        silent[i] = connect_to(status_server_port(w.server));
        assert_true(silent[i] >= 0);
    }
    for (int i = 0; i < SILENT - 1; i++)
        close(silent[i]);
    assert_int_equal(probe(&w, listen, "/healthz", &e), 0);
    world_end(&w);
    close(silent[SILENT - 1]);
}

static void test_status_server_probe(void **state)
{
    (void)state;
    static const char *const binds[] = {"127.0.0.1:0", "[::1]:0", ":0", "localhost:0", "0.0.0.0:0", "[::]:0"};
    for (size_t i = 0; i < sizeof binds / sizeof *binds; i++) {
        struct err e;
        char listen[64];
        struct world w;
        world_begin(&w, binds[i]);
        (void)snprintf(listen, sizeof listen, "%.*s:%d", (int)strlen(binds[i]) - 2, binds[i],
                       status_server_port(w.server));
        assert_int_equal(probe(&w, listen, "/readyz", &e), 0);
        w.is_ready = false;
        assert_int_equal(probe(&w, listen, "/readyz", &e), -1);
        assert_int_equal(e.class, ERR_UNAVAILABLE);
        assert_int_equal(e.code, 503);
        assert_non_null(strstr(e.text, "/readyz: 503 broker: down; database: down"));
        world_end(&w);
    }
}

static void test_status_server_probe_without_server(void **state)
{
    (void)state;
    struct err e = {0};
    char address[64];
    assert_int_equal(status_server_probe("off", "/readyz", 1000, &e), -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    assert_int_equal(status_server_probe("", "/readyz", 1000, &e), -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE);

    /* A listener that never answers, and the same port when it is gone. */
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(status_server_probe(address, "/readyz", 50, &e), -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    assert_non_null(strstr(e.text, "timed out"));
    close(fd);
    assert_int_equal(status_server_probe(address, "/readyz", 1000, &e), -1);
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    assert_non_null(strstr(e.text, "refused"));
}

static void test_status_server_off(void **state)
{
    (void)state;
    struct err e = {0};
    struct loop *l = loop_new();
    assert_null(status_server_new(l, "off", &handlers, NULL, &e));
    assert_null(status_server_new(l, "", &handlers, NULL, &e));
    assert_int_equal(e.class, ERR_NONE);
    loop_free(&l);
}

static void test_status_server_unusable_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *listen;
        enum err_class class;
    } cases[] = {
        {"9464", ERR_CONFIG},
        {"a:", ERR_CONFIG},
        {"a:b", ERR_CONFIG},
        {"127.0.0.1:65536", ERR_CONFIG},
        {"127.0.0.1:-1", ERR_CONFIG},
        {"127.0.0.1:123456", ERR_CONFIG},
        {"192.0.2.1:0", ERR_UNAVAILABLE}, /* TEST-NET-1: nobody's address */
    };
    struct err e;
    char taken[64];
    struct world w;
    world_begin(&w, "127.0.0.1:0");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        e = (struct err){0};
        assert_null(status_server_new(w.loop, cases[i].listen, &handlers, NULL, &e));
        assert_int_equal(e.class, cases[i].class);
    }
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", status_server_port(w.server));
    assert_null(status_server_new(w.loop, taken, &handlers, NULL, &e));
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    assert_non_null(strstr(e.text, "Address already in use"));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_server_answers),
        cmocka_unit_test(test_status_server_keeps_connections),
        cmocka_unit_test(test_status_server_refuses_bodies),
        cmocka_unit_test(test_status_server_large_answer),
        cmocka_unit_test(test_status_server_silent_clients),
        cmocka_unit_test(test_status_server_probe),
        cmocka_unit_test(test_status_server_probe_without_server),
        cmocka_unit_test(test_status_server_off),
        cmocka_unit_test(test_status_server_unusable_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
