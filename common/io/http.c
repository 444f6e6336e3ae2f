/* HTTP requests on the loop: their life from http_send to the owner's callback. Knows nothing of providers
 * and retries. */
#include "io/http.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "io/http_private.h"

enum {
    IDLE_TRANSFERS = 256,      /* kept for reuse */
    IDLE_BUFFER_BYTES = 16384, /* what a kept one may hold on to */
    SHARD_TRANSFERS = 64,      /* before the next shard is used */
    SHARD_IDLE_MS = 5000,      /* by then none of its connections is used again: REUSE_WITHIN_S */
};

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
    t->blocked = false;
    t->text[0] = '\0';
    LIST_INSERT_HEAD(&h->idle, t, link);
    h->idle_count++;
}

/* --- the end of requests --- */
static void destroy(struct http *h)
{
    struct transfer *t;
    http_mails_drop(h);
    while ((t = LIST_FIRST(&h->active)) != NULL) {
        LIST_REMOVE(t, link);
        curl_multi_remove_handle(t->shard->driver.multi, t->easy);
        transfer_free(t);
    }
    while ((t = LIST_FIRST(&h->idle)) != NULL) {
        LIST_REMOVE(t, link);
        transfer_free(t);
    }
    for (size_t i = 0; i < HTTP_SHARDS; i++) {
        driver_fini(&h->shards[i].driver);
        loop_timer_free(&h->shards[i].idle);
    }
    free(h->user_agent);
    free(h);
    curl_global_cleanup();
}

void http_report(struct http *h, http_done_fn *done, void *arg, const struct http_result *r)
{
    h->active_count--;
    h->busy = true;
    done(arg, r);
    h->busy = false;
}

bool http_still_stands(struct http *h)
{
    if (!h->doomed)
        return true;
    destroy(h);
    return false;
}

/* libcurl looks after the connections of a multi handle only when it gets a request, and that may be at the
 * next such load. The first one always gets some, and keeps what it knows of names and TLS sessions. */
static void shard_leave(struct shard *s)
{
    if (--s->active == 0 && s != &s->http->shards[0])
        loop_timer_start(s->idle, SHARD_IDLE_MS);
}

/* Takes the request out of libcurl and calls its owner. Returns false when that freed everything. */
static bool finish(struct transfer *t, CURLcode rc)
{
    struct http *h = t->http;
    loop_timer_stop(t->deadline);
    LIST_REMOVE(t, link);
    curl_multi_remove_handle(t->shard->driver.multi, t->easy);
    shard_leave(t->shard);
    struct http_result r = http_result_of(t, rc);
    http_report(h, t->done, t->arg, &r);
    transfer_put(t);
    return http_still_stands(h);
}

static void on_progress(void *arg)
{
    struct shard *shard = arg;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(shard->driver.multi, &left)) != NULL;) {
        struct transfer *t = NULL;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        if (!finish(t, m->data.result))
            return;
    }
}

static void shard_open(struct shard *s)
{
    driver_init(&s->driver, s->http->loop, on_progress, s);
    s->driver.written = http_request_push;
}

static void on_idle(void *arg)
{
    struct shard *s = arg;
    driver_fini(&s->driver); /* closes them */
    shard_open(s);
}

/* Our own deadline and not CURLOPT_TIMEOUT_MS: libcurl looks at its clock before the socket, so that a
 * process that was stopped for a while would take every answer that waits in a socket for a timeout. The
 * loop's timers fire after the sockets were read. */
static void on_deadline(void *arg)
{
    finish(arg, CURLE_OPERATION_TIMEDOUT);
}

/* --- starting --- */
struct http *http_new(struct loop *l, const char *user_agent)
{
    struct http *h = xcalloc(1, sizeof *h);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort_oom(0);
    h->loop = l;
    h->user_agent = xstrdup(user_agent);
    LIST_INIT(&h->active);
    LIST_INIT(&h->idle);
    LIST_INIT(&h->mails);
    for (size_t i = 0; i < HTTP_SHARDS; i++) {
        struct shard *s = &h->shards[i];
        s->http = h;
        s->idle = loop_timer_new(l, on_idle, s);
        shard_open(s);
    }
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

/* The first that has room, so that connections are used again as soon as they are free; else the emptiest. */
static struct shard *shard_for(struct http *h)
{
    struct shard *best = &h->shards[0];
    for (size_t i = 0; i < HTTP_SHARDS && best->active >= SHARD_TRANSFERS; i++)
        if (h->shards[i].active < best->active)
            best = &h->shards[i];
    return best;
}

int http_send(struct http *h, const struct http_request *r, http_done_fn *done, void *arg, struct err *e)
{
    if (r->mail != NULL)
        return http_mail_start(h, r, done, arg, e);
    if (http_request_check(r, e) != 0)
        return -1;
    struct transfer *t = transfer_get(h);
    t->shard = shard_for(h);
    t->done = done;
    t->arg = arg;
    t->started_us = clock_mono_us();
    t->first_byte_us = 0;
    t->leaves_before_ms = http_leaves_before_ms(r);
    http_request_set(t, r);
    CURLMcode rc = curl_multi_add_handle(t->shard->driver.multi, t->easy);
    if (rc == CURLM_OUT_OF_MEMORY)
        abort_oom(0);
    if (rc != CURLM_OK) {
        transfer_put(t);
        return err_set(e, ERR_BUG, (int)rc, "libcurl refused the request: %s", curl_multi_strerror(rc));
    }
    loop_timer_start(t->deadline, r->timeout_ms);
    LIST_INSERT_HEAD(&h->active, t, link);
    h->active_count++;
    t->shard->active++;
    loop_timer_stop(t->shard->idle);
    return 0;
}
