/* HTTP requests against a server that misbehaves at will (http_rig.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/log.h"
#include "http_rig.h"

/* --- tests --- */
static void test_http_answer(void **state)
{
    (void)state;
    struct outcome o = post("/echo?x=1");
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 201);
    assert_int_equal(o.code, 0);
    assert_string_equal(o.text, "");
    assert_string_equal(o.body, "{\"a\":1}");
    assert_int_equal(o.body_len, 7);
    assert_false(o.cut);
    assert_string_equal(o.one, "first");
    assert_string_equal(o.two, "second");
    assert_int_equal(o.retry_after_ms, -1);
    assert_true(o.timing.total_ms > 0 && o.timing.total_ms >= o.timing.first_byte_ms);
    assert_true(o.timing.first_byte_ms >= o.timing.sent_ms && o.timing.tls_ms < 0);
}

static void test_http_request_as_sent(void **state)
{
    (void)state;
    static const char *const HEADERS[] = {"Content-Type: application/json", "X-Key: k\xc3\xa4 y"};
    struct http_request r = request_to(url_of("/ok"));
    r.headers = HEADERS;
    r.header_count = 2;
    r.user = "me";
    r.password = "open sesame";
    struct outcome o = get(&r);
    assert_int_equal(o.status, 200);
    static const char *const WANTED[] = {
        "POST /ok HTTP/1.1\r\n",
        "\r\nContent-Type: application/json\r\n",
        "\r\nX-Key: k\xc3\xa4 y\r\n",
        "\r\nContent-Length: 7\r\n",
        "\r\nUser-Agent: agwb-test/1\r\n",
        "\r\nAuthorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n",
        "\r\n\r\n{\"a\":1}",
    };
    for (size_t i = 0; i < sizeof WANTED / sizeof WANTED[0]; i++)
        assert_non_null(strstr(server.last, WANTED[i]));
    assert_null(strcasestr(server.last, "Expect:"));
    assert_null(strcasestr(server.last, "Accept-Encoding:"));

    o = post("/ok"); /* the handle is used again: nothing of the request before may stick to it */
    assert_true(o.reused);
    assert_null(strstr(server.last, "Authorization"));
    assert_null(strstr(server.last, "X-Key"));
}

static void test_http_methods(void **state)
{
    (void)state;
    static const char *const METHODS[] = {"GET", "DELETE", "PUT", "PATCH"};
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++) {
        struct http_request r = request_to(url_of("/echo"));
        r.method = METHODS[i];
        if (i < 2)
            r.body_len = 0;
        struct outcome o = get(&r);
        assert_int_equal(o.status, 201);
        assert_string_equal(o.body, i < 2 ? "" : "{\"a\":1}");
        assert_memory_equal(server.last, METHODS[i], strlen(METHODS[i]));
    }
    struct http_request r = request_to(url_of("/echo"));
    r.body_len = 0;
    assert_int_equal(get(&r).status, 201);
    assert_non_null(strstr(server.last, "\r\nContent-Length: 0\r\n"));
}

static void test_http_large_body_is_whole(void **state)
{
    (void)state;
    char *body = calloc(1, 3000);
    memset(body, 'b', 3000);
    struct http_request r = request_to(url_of("/echo"));
    r.body = body;
    r.body_len = 3000;
    struct err e;
    struct outcome o = {.calls = 0};
    pending++;
    assert_int_equal(http_send(http, &r, on_done, &o, &e), 0);
    free(body); /* everything was copied */
    run();
    assert_int_equal(o.body_len, 3000);
}

/* Head and body wake a server once, on a new connection and on one that was used before. */
static void test_http_leaves_in_one_piece(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct http_request r = request_to(url_of("/echo"));
        r.body_len = strlen(r.body);
        assert_int_equal(get(&r).fate, HTTP_ANSWERED);
        assert_int_equal(server.last_reads, 1);
    }
}

static void test_http_statuses_and_retry_after(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int status;
        int64_t least_ms, most_ms;
    } CASES[] = {
        {"/twohundredtwo", 202, -1, -1},
        {"/redirect", 302, -1, -1},
        {"/retry-seconds", 429, 120000, 120000},
        {"/retry-zero", 429, 0, 0},
        {"/retry-large", 429, INT64_MAX / 1000 * 1000, INT64_MAX},
        {"/retry-garbage", 429, -1, -1},
        {"/retry-date", 503, 97000, 100000},
        {"/retry-past", 503, 0, 0},
        {"/interim", 200, -1, -1},
        {"/until-close", 200, -1, -1},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome o = post(CASES[i].path);
        assert_int_equal(o.fate, HTTP_ANSWERED);
        assert_int_equal(o.status, CASES[i].status);
        if (o.retry_after_ms < CASES[i].least_ms || o.retry_after_ms > CASES[i].most_ms)
            fail_msg("%s: %lld ms", CASES[i].path, (long long)o.retry_after_ms);
    }
    assert_string_equal(post("/interim").one, "-"); /* the interim answer's headers are not the answer's */
}

static void test_http_lost_answers_are_uncertain(void **state)
{
    (void)state;
    static const char *const PATHS[] = {"/reset", "/empty",       "/garbage",
                                        "/half",  "/half-status", "/interim-only"};
    for (size_t i = 0; i < sizeof PATHS / sizeof PATHS[0]; i++) {
        int before = atomic_load(&server.requests);
        struct outcome o = post(PATHS[i]);
        if (o.fate != HTTP_UNCERTAIN || o.status != 0 || o.body_len != 0)
            fail_msg("%s: %s, status %d (%d %s)", PATHS[i], http_fate_name(o.fate), o.status, o.code, o.text);
        assert_true(o.text[0] != '\0');
        assert_int_equal(atomic_load(&server.requests), before + 1);
    }
}

static void test_http_timeout_after_send_is_uncertain(void **state)
{
    (void)state;
    struct http_request r = request_to(url_of("/slow"));
    r.timeout_ms = 150;
    struct outcome o = get(&r);
    assert_int_equal(o.fate, HTTP_UNCERTAIN);
    assert_int_equal(o.code, 28);
    assert_int_equal(atomic_load(&server.requests), 1);
}

static struct outcome get_from_port(int port, int64_t connect_timeout_ms, int64_t timeout_ms)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", port);
    struct http_request r = request_to(url);
    r.connect_timeout_ms = connect_timeout_ms;
    r.timeout_ms = timeout_ms;
    return get(&r);
}

static void test_http_refused_is_not_sent(void **state)
{
    (void)state;
    int port;
    close(listen_locally(&port, 1));
    struct outcome o = get_from_port(port, 0, 10000);
    assert_int_equal(o.fate, HTTP_NOT_SENT);
    assert_int_equal(o.code, 7);
    assert_int_equal(o.status, 0);
}

/* A listener whose backlog is full drops what comes. */
static void test_http_connect_timeout_is_not_sent(void **state)
{
    (void)state;
    int waiting[3], port, fd = listen_locally(&port, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
    for (int i = 0; i < 3; i++) {
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(waiting[i], (struct sockaddr *)&at, sizeof at);
    }
    struct outcome outcomes[] = {get_from_port(port, 150, 10000), get_from_port(port, 10000, 150)};
    for (int i = 0; i < 3; i++)
        close(waiting[i]);
    close(fd);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(outcomes[i].fate, HTTP_NOT_SENT);
        assert_int_equal(outcomes[i].code, 28);
    }
}

/* libcurl repeats a request whose kept-alive connection dies after it: it must not, with and without a body.
 */
static void test_http_reused_connection_dies(void **state)
{
    (void)state;
    static const struct {
        const char *path, *method;
        size_t body_len;
    } CASES[] = {
        {"/dies-reused", "POST", 7},      {"/dies-reused", "POST", 0},      {"/dies-reused", "GET", 0},
        {"/dies-reused-hard", "POST", 7}, {"/dies-reused-hard", "POST", 0}, {"/dies-reused-hard", "GET", 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int before = atomic_load(&server.requests);
        struct http_request r = request_to(url_of(CASES[i].path));
        r.method = CASES[i].method;
        r.body_len = CASES[i].body_len;
        assert_int_equal(get(&r).fate, HTTP_ANSWERED);
        struct outcome o = get(&r);
        if (o.fate != HTTP_UNCERTAIN)
            fail_msg("case %zu: %s (%d %s)", i, http_fate_name(o.fate), o.code, o.text);
        assert_int_equal(atomic_load(&server.requests), before + 2);
    }
}

static void test_http_answer_is_cut(void **state)
{
    (void)state;
    static const char *const PATHS[] = {"/huge", "/huge-chunked"};
    for (int i = 0; i < 2; i++) {
        struct outcome o = post(PATHS[i]);
        assert_int_equal(o.fate, HTTP_ANSWERED);
        assert_int_equal(o.status, 200);
        assert_true(o.cut);
        assert_int_equal(o.body_len, 256 * 1024);
    }
    struct http_request r = request_to(url_of("/ok"));
    r.max_response_bytes = 5;
    struct outcome o = get(&r);
    assert_string_equal(o.body, "hello");
    assert_false(o.cut);
    r.max_response_bytes = 4;
    o = get(&r);
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_string_equal(o.body, "hell");
    assert_true(o.cut);
}

static void test_http_refuses_unfit_requests(void **state)
{
    (void)state;
    static const char *const URLS[] = {
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "127.0.0.1/",
        "",
        "http://127.0.0.1/a\r\nX: y",
        "http://127.0.0.1/a\nHost: z",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\x7f",
    };
    static const char *const HEADERS[] = {"X-A: b\r\nX-C: d", "X-A: b\n",  "X-A\r: b",
                                          "no colon",         ": no name", ""};
    static const char *const METHODS[] = {"", "get", "GET /x HTTP/1.1\r\nHost: y"};
    struct err e;
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct http_request r = request_to(URLS[i]);
        assert_int_equal(http_send(http, &r, on_done, NULL, &e), -1);
        assert_int_equal(e.class, ERR_DATA);
    }
    for (size_t i = 0; i < sizeof HEADERS / sizeof HEADERS[0]; i++) {
        struct http_request r = request_to(url_of("/ok"));
        r.headers = &HEADERS[i];
        r.header_count = 1;
        assert_int_equal(http_send(http, &r, on_done, NULL, &e), -1);
        assert_int_equal(e.class, ERR_DATA);
    }
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++) {
        struct http_request r = request_to(url_of("/ok"));
        r.method = METHODS[i];
        assert_int_equal(http_send(http, &r, on_done, NULL, &e), -1);
        assert_int_equal(e.class, ERR_DATA);
    }
    assert_int_equal(http_in_flight(http), 0);
}

static void test_http_malformed_url_is_bad_request(void **state)
{
    (void)state;
    struct http_request r = request_to("http://127.0.0.1:99999/");
    struct outcome o = get(&r);
    assert_int_equal(o.fate, HTTP_BAD_REQUEST);
}

static void test_http_tls_to_plain_port_is_not_sent(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/ok", server.port);
    struct http_request r = request_to(url);
    r.timeout_ms = 2000;
    struct outcome o = get(&r);
    assert_int_equal(o.fate, HTTP_NOT_SENT);
    assert_int_equal(atomic_load(&server.requests), 0);
}

static void test_http_untrusted_certificate_is_tls_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/agwb-test-XXXXXX", script[1024], url[64];
    int port;
    close(listen_locally(&port, 1));
    assert_non_null(mkdtemp(dir));
    snprintf(script, sizeof script,
             "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout k "
             "-out c -days 1"
             " -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null &&"
             " exec openssl s_server -quiet -accept 127.0.0.1:%d -key k -cert c -www >/dev/null 2>&1",
             dir, port);
    char *argv[] = {"sh", "-c", script, NULL};
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, env), 0);

    snprintf(url, sizeof url, "https://127.0.0.1:%d/", port);
    struct http_request r = request_to(url);
    struct outcome o;
    int64_t until = clock_mono_ms() + 10000;
    do /* refused until the server stands */
        o = get(&r);
    while (o.fate == HTTP_NOT_SENT && clock_mono_ms() < until);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    snprintf(script, sizeof script, "%s/k", dir);
    unlink(script);
    snprintf(script, sizeof script, "%s/c", dir);
    unlink(script);
    rmdir(dir);
    assert_int_equal(o.fate, HTTP_TLS_REFUSED);
    assert_int_equal(o.code, 60);
}

static void test_http_two_hundred_at_once(void **state)
{
    (void)state;
    static struct outcome outcomes[200];
    struct http_request r = request_to(url_of("/echo"));
    memset(outcomes, 0, sizeof outcomes);
    for (int i = 0; i < 200; i++)
        start(&r, &outcomes[i]);
    assert_int_equal(http_in_flight(http), 200);
    run();
    for (int i = 0; i < 200; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].status, 201);
    }
    assert_int_equal(atomic_load(&server.requests), 200);
    assert_true(post("/ok").reused);
}

static void test_http_free_with_requests_in_flight(void **state)
{
    (void)state;
    struct outcome slow = {.calls = 0}, quick = {.calls = 0};
    struct http_request r = request_to(url_of("/slow"));
    start(&r, &slow);
    r = request_to(url_of("/ok"));
    pending = 0;
    start(&r, &quick);
    run(); /* ends with the quick one */
    http_free(&http);
    assert_null(http);
    assert_int_equal(quick.calls, 1);
    assert_int_equal(slow.calls, 0);
    http_free(&http);
}

static void free_all(void *arg, const struct http_result *r)
{
    http_free(&http);
    on_done(arg, r); /* the result is still there */
}

static void test_http_free_in_callback(void **state)
{
    (void)state;
    struct outcome o = {.calls = 0}, dropped = {.calls = 0};
    struct err e;
    struct http_request slow = request_to(url_of("/slow"));
    start(&slow, &dropped);
    struct http_request r = request_to(url_of("/echo"));
    pending = 1;
    assert_int_equal(http_send(http, &r, free_all, &o, &e), 0);
    run();
    assert_int_equal(o.calls, 1);
    assert_string_equal(o.body, "{\"a\":1}");
    assert_string_equal(o.one, "first");
    assert_int_equal(dropped.calls, 0);
}

static void send_another(void *arg, const struct http_result *r)
{
    struct outcome *o = arg;
    struct http_request again = request_to(url_of("/ok"));
    struct err e;
    o[0].status = r->status;
    assert_int_equal(http_send(http, &again, on_done, &o[1], &e), 0);
    o[0].calls = 1 + o[1].calls; /* not called within http_send */
}

static void test_http_send_in_callback(void **state)
{
    (void)state;
    struct outcome o[2] = {{.calls = 0}, {.calls = 0}};
    struct http_request r = request_to(url_of("/echo"));
    struct err e;
    pending = 1;
    assert_int_equal(http_send(http, &r, send_another, o, &e), 0);
    run();
    assert_int_equal(o[0].calls, 1);
    assert_int_equal(o[0].status, 201);
    assert_int_equal(o[1].status, 200);
}

/* A process that was stopped finds the answer in the socket and the deadline past: the answer counts. */
static bool stalls;

static void stop_when_answered(void *arg)
{
    (void)arg;
    if (!stalls)
        return;
    loop_again(loop);
    if (atomic_load(&server.answers) > 0)
        loop_stop(loop);
}

static void test_http_answer_before_deadline_after_stall(void **state)
{
    (void)state;
    struct outcome o = {.calls = 0};
    struct http_request r = request_to(url_of("/ok"));
    r.timeout_ms = 300;
    stalls = true;
    loop_on_turn(loop, stop_when_answered, NULL);
    int64_t end_at = clock_mono_ms() + r.timeout_ms;
    start(&r, &o);
    run();
    stalls = false;
    while (clock_mono_ms() <= end_at) /* the stall */
        sched_yield();
    if (o.calls == 0)
        run();
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.fate, HTTP_ANSWERED);
}

/* The process slept before the first byte: by now the message may be somebody else's. By a new connection and
 * by a kept one. */
static void test_http_nothing_leaves_after_the_deadline(void **state)
{
    (void)state;
    for (int kept = 0; kept <= 1; kept++) {
        struct outcome o = {.calls = 0};
        struct http_request r = request_to(url_of("/echo"));
        r.timeout_ms = 50;
        int64_t end_at = clock_mono_ms() + r.timeout_ms;
        start(&r, &o);
        while (clock_mono_ms() <= end_at) /* the sleep */
            sched_yield();
        run();
        assert_int_equal(o.calls, 1);
        assert_int_equal(o.fate, HTTP_NOT_SENT);
        assert_int_equal(post("/echo").fate, HTTP_ANSWERED); /* behind whatever has left */
        assert_int_equal(atomic_load(&server.requests), kept + 1);
    }
}

/* Its owner's time ends sooner than its own. */
static void test_http_leaves_before_its_owners_end(void **state)
{
    (void)state;
    struct http_request r = request_to(url_of("/echo"));
    r.leaves_before_ms = clock_boot_ms();
    assert_int_equal(get(&r).fate, HTTP_NOT_SENT);
    r.leaves_before_ms = clock_boot_ms() + r.timeout_ms;
    assert_int_equal(get(&r).fate, HTTP_ANSWERED);
    assert_int_equal(atomic_load(&server.requests), 1);
}

/* This test's own resolver: "stuck.example.test" hangs until the test lets go, or for 10 s when the loop
 * hangs with it. */
static pthread_mutex_t stuck = PTHREAD_MUTEX_INITIALIZER;
static atomic_int lookups_ended;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    (void)service, (void)hints;
    *found = NULL;
    if (strcmp(name, "stuck.example.test") == 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        if (pthread_mutex_timedlock(&stuck, &until) == 0)
            pthread_mutex_unlock(&stuck);
        atomic_fetch_add(&lookups_ended, 1);
    }
    return EAI_NONAME;
}

static void test_http_unknown_host_is_not_sent(void **state)
{
    (void)state;
    struct http_request r = request_to("http://nowhere.example.test/");
    struct outcome o = get(&r);
    assert_int_equal(o.fate, HTTP_NOT_SENT);
    assert_int_equal(o.code, 6);
}

static void test_http_stuck_lookup_blocks_nobody(void **state)
{
    (void)state;
    struct http_request r = request_to("http://stuck.example.test/");
    r.timeout_ms = 100;
    atomic_store(&lookups_ended, 0);
    pthread_mutex_lock(&stuck);
    struct outcome o = get(&r);
    int ended = atomic_load(&lookups_ended);
    pthread_mutex_unlock(&stuck);
    assert_int_equal(o.fate, HTTP_NOT_SENT);
    assert_int_equal(o.code, 28);
    assert_int_equal(ended, 0);
    while (atomic_load(&lookups_ended) == 0) /* its thread must not outlive the test */
        sched_yield();
}

/* Loopback is not public: neither by a new connection nor by one that another request has opened. */
static void test_http_public_only(void **state)
{
    (void)state;
    struct http_request r = request_to(url_of("/ok"));
    r.public_only = true;
    for (int i = 0; i < 2; i++) {
        struct outcome o = get(&r);
        assert_int_equal(o.fate, HTTP_NOT_SENT);
        assert_true(o.blocked);
        assert_int_equal(o.code, i == 0 ? 7 : 42);
        assert_int_equal(atomic_load(&server.requests), i);
        if (i == 0)
            assert_false(post("/ok").blocked); /* leaves its connection behind */
    }
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/ok", server.port); /* every address of a name */
    r.url = url;
    assert_true(get(&r).blocked);
    assert_int_equal(atomic_load(&server.requests), 1);
}

static void test_http_fate_names(void **state)
{
    (void)state;
    assert_string_equal(http_fate_name(HTTP_ANSWERED), "answered");
    assert_string_equal(http_fate_name(HTTP_NOT_SENT), "not_sent");
    assert_string_equal(http_fate_name(HTTP_UNCERTAIN), "uncertain");
    assert_string_equal(http_fate_name(HTTP_TLS_REFUSED), "tls_refused");
    assert_string_equal(http_fate_name(HTTP_BAD_REQUEST), "bad_request");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_configure("test_http", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    const struct CMUnitTest tests[] = {
        TEST(test_http_answer),
        TEST(test_http_request_as_sent),
        TEST(test_http_methods),
        TEST(test_http_large_body_is_whole),
        TEST(test_http_leaves_in_one_piece),
        TEST(test_http_statuses_and_retry_after),
        TEST(test_http_lost_answers_are_uncertain),
        TEST(test_http_timeout_after_send_is_uncertain),
        TEST(test_http_refused_is_not_sent),
        TEST(test_http_connect_timeout_is_not_sent),
        TEST(test_http_reused_connection_dies),
        TEST(test_http_answer_is_cut),
        TEST(test_http_refuses_unfit_requests),
        TEST(test_http_malformed_url_is_bad_request),
        TEST(test_http_tls_to_plain_port_is_not_sent),
        TEST(test_http_untrusted_certificate_is_tls_refused),
        TEST(test_http_two_hundred_at_once),
        TEST(test_http_free_with_requests_in_flight),
        TEST(test_http_free_in_callback),
        TEST(test_http_send_in_callback),
        TEST(test_http_answer_before_deadline_after_stall),
        TEST(test_http_nothing_leaves_after_the_deadline),
        TEST(test_http_leaves_before_its_owners_end),
        TEST(test_http_unknown_host_is_not_sent),
        TEST(test_http_stuck_lookup_blocks_nobody),
        TEST(test_http_public_only),
        cmocka_unit_test(test_http_fate_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
