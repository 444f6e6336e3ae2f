/* See bench.h: HTTP alone, by the module that the consumer uses. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "io/http.h"
#include "io/loop.h"

struct web {
    struct loop *loop;
    struct http *http;
    char url[64];
    int64_t begun, ended, count, in_flight, failed;
    struct err *err;
};

static const char BODY[] =
    "{\"to\":\"+12025550143\",\"text\":\"An answer of the usual length. An answer of the usual length. An "
    "answer of "
    "the usual length. An answer of the usual length. An answer of the usual length.\"}";

static void on_answer(void *arg, const struct http_result *r)
{
    struct web *w = arg;

    w->failed += r->fate != HTTP_ANSWERED || r->status != 200;
    if (++w->ended == w->count)
        loop_stop(w->loop);
}

static void send_some(void *arg)
{
    static const char *const HEADERS[] = {"Content-Type: application/json",
                                          "Authorization: Bearer test-token"};
    struct web *w = arg;
    const struct http_request request = {.method = "POST",
                                         .url = w->url,
                                         .headers = HEADERS,
                                         .header_count = 2,
                                         .body = BODY,
                                         .body_len = sizeof BODY - 1,
                                         .timeout_ms = 30000};

    while (w->begun < w->count && (int64_t)http_in_flight(w->http) < w->in_flight) {
        if (http_send(w->http, &request, on_answer, w, w->err) != 0) {
            loop_stop(w->loop);
            return;
        }
        w->begun++;
    }
}

int web_run(int port, int64_t count, int64_t in_flight, struct err *e)
{
    struct web w = {.count = count, .in_flight = in_flight, .err = e};
    int64_t begun_us = clock_mono_us();

    snprintf(w.url, sizeof w.url, "http://127.0.0.1:%d/api/send-message", port);
    w.loop = loop_new();
    w.http = http_new(w.loop, "bench");
    loop_on_turn(w.loop, send_some, &w);
    loop_again(w.loop);
    loop_run(w.loop);
    double seconds = (double)(clock_mono_us() - begun_us) / 1e6;
    http_free(&w.http);
    loop_free(&w.loop);
    if (w.ended < count || w.failed > 0)
        return e->text[0] ? -1 : err_set(e, ERR_DATA, 0, "%" PRId64 " requests failed", w.failed);
    printf("{\"rate\":%.0f,\"seconds\":%.4f,\"cpu_ms\":%.1f}\n", (double)count / seconds, seconds, cpu_ms());
    return 0;
}
