/* What providers answer. fuzz_answer goes straight to the outcome tables; fuzz_http sends a request through
 * the real client to a socket of this process, which answers with the input's bytes, so that status line,
 * headers, Retry-After and body come the way they do in production. */
#include "tests/fuzz/fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/utf8.h"
#include "io/http.h"
#include "io/loop.h"

static void judge_by_all(const struct http_result *r)
{
    for (const struct channel_provider *const *p = fuzz_providers(); *p != NULL; p++) {
        struct channel_verdict v;
        if ((*p)->judge == NULL) /* nothing is asked of it */
            continue;
        channel_judge(*p, r, &v);
        fuzz_check_verdict(&v);
        if (!is_utf8(r->body, strlen(r->body)))
            continue;
        channel_judge_receipt(*p, r->body, r->body, &v);
        fuzz_check_verdict(&v);
        fuzz_require(v.outcome != OUTCOME_DELIVERED && v.outcome != OUTCOME_UNCERTAIN,
                     "a failed receipt is a failure");
    }
}

void fuzz_answer(const char *bytes, size_t len)
{
    const char *line_end = len == 0 ? NULL : memchr(bytes, '\n', len);
    size_t head_len = line_end == NULL ? len : (size_t)(line_end - bytes);
    size_t body_at = line_end == NULL ? len : head_len + 1;
    struct arena *a = arena_new();
    char *after_status;
    struct http_result r = {.fate = HTTP_ANSWERED, .text = ""};

    r.status = (int)(strtoul(arena_dup(a, bytes, head_len), &after_status, 10) % 1000);
    r.retry_after_ms = strtoll(after_status, NULL, 10);
    if (r.retry_after_ms < 0)
        r.retry_after_ms = -1;
    r.body = arena_dup(a, bytes + body_at, len - body_at);
    r.body_len = len - body_at;
    judge_by_all(&r);
    arena_free(&a);
}

/* --- through the client -------------------------------------------------------------------------------- */

enum { TIMEOUT_MS = 2000, ANSWER_MAX = 4096 };

/* Lives as long as the process: a loop and a client cost more than a request. */
static struct {
    struct loop *loop;
    struct http *http;
    struct loop_watch *listening, *talking;
    int listener, peer;
    char url[64];
    const char *answer;
    size_t answer_len;
    int calls;
} rig = {.peer = -1};

static void hang_up(void)
{
    loop_watch_free(&rig.talking);
    if (rig.peer >= 0)
        close(rig.peer);
    rig.peer = -1;
}

/* The request is answered as soon as any of it is here; what the client still sends is lost with the close.
 */
static void on_request(void *arg, int events)
{
    char request[4096];
    (void)arg, (void)events;
    if (recv(rig.peer, request, sizeof request, MSG_DONTWAIT) < 0)
        return;
    (void)!send(rig.peer, rig.answer, rig.answer_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(rig.peer, SHUT_WR);
    while (recv(rig.peer, request, sizeof request, MSG_DONTWAIT) > 0)
        continue;
    hang_up();
}

static void on_connection(void *arg, int events)
{
    (void)arg, (void)events;
    int fd = accept(rig.listener, NULL, NULL);
    if (fd < 0)
        return;
    hang_up();
    rig.peer = fd;
    rig.talking = loop_watch_new(rig.loop, fd, on_request, NULL);
    loop_watch_set(rig.talking, LOOP_READ);
}

static void on_done(void *arg, const struct http_result *r)
{
    (void)arg;
    rig.calls++;
    loop_stop(rig.loop);
    fuzz_require(r->retry_after_ms >= -1, "a wait is not negative");
    fuzz_require(r->fate == HTTP_ANSWERED || *r->text != '\0', "what went wrong has words");
    fuzz_require(is_utf8(r->text, strlen(r->text)), "what went wrong is told in UTF-8");
    fuzz_require(r->body[r->body_len] == '\0' && r->body_len <= ANSWER_MAX, "an answer is bounded");
    judge_by_all(r);
}

static void start_rig(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;

    (void)signal(SIGPIPE, SIG_IGN);
    rig.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(bind(rig.listener, (struct sockaddr *)&at, len) == 0 && listen(rig.listener, 16) == 0 &&
                     getsockname(rig.listener, (struct sockaddr *)&at, &len) == 0,
                 "this machine has a loopback port");
    snprintf(rig.url, sizeof rig.url, "http://127.0.0.1:%d/send", ntohs(at.sin_port));
    rig.loop = loop_new();
    rig.http = http_new(rig.loop, "agwb-fuzz/1");
    rig.listening = loop_watch_new(rig.loop, rig.listener, on_connection, NULL);
    loop_watch_set(rig.listening, LOOP_READ);
}

void fuzz_http(const char *bytes, size_t len)
{
    const struct http_request request = {.method = "POST",
                                         .url = NULL,
                                         .body = "{}",
                                         .body_len = 2,
                                         .timeout_ms = TIMEOUT_MS,
                                         .max_response_bytes = ANSWER_MAX};
    struct http_request own = request;
    struct err e = {0};

    if (rig.loop == NULL)
        start_rig();
    own.url = rig.url;
    rig.answer = bytes;
    rig.answer_len = len;
    rig.calls = 0;
    if (http_send(rig.http, &own, on_done, NULL, &e) != 0)
        return;
    loop_run(rig.loop);
    hang_up();
    fuzz_require(rig.calls == 1, "done is called once");
}
