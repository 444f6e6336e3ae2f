/* See probe.h. Waits for: each link's answer, which http's deadline bounds. */
#include "consumer/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum {
    REMEMBERED = 64,
    REMEMBERED_MS = 60000,
    ANSWER_BYTES = 4096, /* of a HEAD there is no body */
};

struct probes {
    struct {
        char *url; /* owned; NULL = free */
        struct probe_answer answer;
        int64_t until_at;
    } known[REMEMBERED];
    size_t oldest;
};

struct probes *probes_new(void)
{
    return xcalloc(1, sizeof(struct probes));
}

void probes_free(struct probes **p)
{
    if (!*p)
        return;
    for (size_t i = 0; i < REMEMBERED; i++)
        free((*p)->known[i].url);
    free(*p);
    *p = NULL;
}

static const struct probe_answer *recall(const struct probes *p, const char *url, int64_t now)
{
    for (size_t i = 0; i < REMEMBERED; i++) {
        if (p->known[i].url && p->known[i].until_at > now && strcmp(p->known[i].url, url) == 0)
            return &p->known[i].answer;
    }
    return NULL;
}

static void remember(struct probes *p, const char *url, const struct probe_answer *a, int64_t now)
{
    size_t i = p->oldest;

    p->oldest = (i + 1) % REMEMBERED;
    free(p->known[i].url);
    p->known[i].url = xstrdup(url);
    p->known[i].answer = *a;
    p->known[i].until_at = now + REMEMBERED_MS;
}

/* --- the verdict --- */

static void PRINTF_LIKE(3, 4)
    answer(struct probe_answer *a, enum probe_verdict verdict, const char *format, ...)
{
    va_list args;

    a->verdict = verdict;
    va_start(args, format);
    vsnprintf(a->reason, sizeof a->reason, format, args);
    va_end(args);
}

static void judge_size(const struct http_result *r, int64_t max_bytes, struct probe_answer *a)
{
    const char *length = http_result_header(r, "Content-Length");
    long long bytes = length ? strtoll(length, NULL, 10) : 0;

    if (max_bytes > 0 && bytes > max_bytes)
        answer(a, PROBE_REFUSED, "the attachment is too large (%lld bytes)", bytes);
}

/* Not every server answers HEAD where it would answer GET. */
static void judge_status(const struct http_result *r, int64_t max_bytes, struct probe_answer *a)
{
    int status = r->status;

    if (status >= 200 && status < 300)
        judge_size(r, max_bytes, a);
    else if (status == 403 || status == 405 || status == 501)
        answer(a, PROBE_GOOD, "%s", "");
    else if (status >= 300 && status < 400)
        answer(a, PROBE_REFUSED, "the attachment's link redirects (%d)", status);
    else if (status >= 500 || status == 408 || status == 425 || status == 429)
        answer(a, PROBE_LATER, "the attachment's server answers %d", status);
    else
        answer(a, PROBE_REFUSED, "the attachment's server answers %d", status);
}

void probe_judge(const struct http_result *r, int64_t max_bytes, struct probe_answer *a)
{
    *a = (struct probe_answer){.verdict = PROBE_GOOD};
    switch (r->fate) {
    case HTTP_ANSWERED:
        judge_status(r, max_bytes, a);
        break;
    case HTTP_NOT_SENT:
        if (r->blocked)
            answer(a, PROBE_REFUSED, "the attachment's link leads to a private or local address");
        else
            answer(a, PROBE_LATER, "the attachment's server cannot be reached: %.100s", r->text);
        break;
    case HTTP_UNCERTAIN:
        answer(a, PROBE_LATER, "the attachment's server does not answer: %.100s", r->text);
        break;
    case HTTP_TLS_REFUSED:
        answer(a, PROBE_REFUSED, "the attachment's server has no valid certificate: %.80s", r->text);
        break;
    case HTTP_BAD_REQUEST:
        answer(a, PROBE_REFUSED, "the attachment's link is not usable: %.100s", r->text);
        break;
    }
}

/* --- the questions --- */

static int ask(struct probe *p, struct probe_answer *a);

static void on_answer(void *arg, const struct http_result *r)
{
    struct probe *p = arg;
    struct probe_answer a;

    probe_judge(r, p->deps.config->attachments.max_bytes, &a);
    if (a.verdict != PROBE_LATER)
        remember(p->deps.probes, p->urls[p->next], &a, loop_now_ms(p->deps.loop));
    if (a.verdict == PROBE_GOOD) {
        p->next++;
        if (ask(p, &a) == 0)
            return;
    }
    p->done(p->arg, &a);
}

static int send_head(struct probe *p, int64_t left_ms, struct probe_answer *a)
{
    struct http_request r = {.method = "HEAD",
                             .url = p->urls[p->next],
                             .timeout_ms = left_ms,
                             .max_response_bytes = ANSWER_BYTES,
                             .public_only = !p->deps.config->attachments.allow_private};
    struct err e;

    if (http_send(p->deps.http, &r, on_answer, p, &e) == 0)
        return 0;
    answer(a, PROBE_REFUSED, "%.150s", e.text);
    return 1;
}

/* The next link that nothing is known of: 0 when its answer is awaited, 1 when *a is the end. */
static int ask(struct probe *p, struct probe_answer *a)
{
    int64_t now = loop_now_ms(p->deps.loop);
    const struct probe_answer *known;

    *a = (struct probe_answer){.verdict = PROBE_GOOD};
    for (; p->next < p->count; p->next++) {
        known = recall(p->deps.probes, p->urls[p->next], now);
        if (!known && now >= p->until_at) {
            answer(a, PROBE_LATER, "the attachments' servers are too slow");
            return 1;
        }
        if (!known)
            return send_head(p, p->until_at - now, a);
        if (known->verdict != PROBE_GOOD) {
            *a = *known;
            return 1;
        }
    }
    return 1;
}

int probe_start(struct probe *p, const struct probe_deps *deps, const char *const *urls, size_t count,
                struct probe_answer *a)
{
    p->deps = *deps;
    p->until_at = loop_now_ms(deps->loop) + PROBE_BUDGET_MS;
    p->urls = xcalloc(count, sizeof *p->urls);
    p->count = count;
    for (size_t i = 0; i < count; i++)
        p->urls[i] = xstrdup(urls[i]);
    return ask(p, a);
}

void probe_fini(struct probe *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->urls[i]);
    free(p->urls);
    *p = (struct probe){.count = 0};
}
