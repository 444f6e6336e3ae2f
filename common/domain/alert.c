/* Topics (a kind about a thing) hold alerts back; letters are posts on their way. */
#include "domain/alert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"
#include "base/uuid.h"
#include "domain/webhook_signature.h"
#include "io/http.h"

enum {
    BODY_LIMIT = 16384,
    DETAIL_LIMIT = 512,
    TIMEOUT_MS = 10000,
    MAX_LETTERS = 32, /* a receiver that is down must not fill our memory */
    RETRY_AFTER_MAX_MS = 3600000,
    HTTP_GONE = 410,
};

/* One kind about one thing. */
struct topic {
    LIST_ENTRY(topic) link;
    struct alerts *alerts;
    enum alert_kind kind;
    char *about;              /* NULL = none */
    struct loop_timer *timer; /* runs while alerts are held back */
    int64_t held;             /* how many since the last post */
    bool has_latest;
    bool latest_is_over;
    struct buf latest; /* the newest held back: its body's "data" without the count */
};

/* One post, until it is taken or given up. */
struct letter {
    LIST_ENTRY(letter) link;
    struct alerts *alerts;
    struct loop_timer *timer; /* until the next try */
    int tries;
    char id[64];
    char type[32];
    struct buf body;
};

struct alerts {
    struct loop *loop;
    const struct config *config;
    const char *source;
    char host[64];
    struct http *http; /* NULL: there is nowhere to post to */
    LIST_HEAD(, topic) topics;
    LIST_HEAD(, letter) letters;
    size_t letter_count;
    struct log_gate full_gate;
};

const char *alert_type(enum alert_kind kind, bool is_over)
{
    static const struct {
        const char *begun, *over;
    } TYPES[] = {
        [ALERT_PARKED] = {"delivery.parked", "delivery.parked"},
        [ALERT_DEAD] = {"message.dead", "message.dead"},
        [ALERT_ACCOUNT] = {"account.down", "account.up"},
        [ALERT_ATTENTION] = {"provider.attention", "provider.attention"},
        [ALERT_BACKLOG] = {"backlog.high", "backlog.over"},
        [ALERT_ERRORS] = {"errors.high", "errors.over"},
    };

    return is_over ? TYPES[kind].over : TYPES[kind].begun;
}

struct alerts *alerts_new(struct loop *l, const struct config *c, const char *source)
{
    struct alerts *a = xcalloc(1, sizeof *a);

    a->loop = l;
    a->config = c;
    a->source = source;
    LIST_INIT(&a->topics);
    LIST_INIT(&a->letters);
    if (gethostname(a->host, sizeof a->host - 1) != 0)
        a->host[0] = '\0';
    if (c->alerts.webhook_url[0])
        a->http = http_new(l, "agwb/" AGWB_VERSION);
    return a;
}

static void letter_free(struct letter *l)
{
    LIST_REMOVE(l, link);
    l->alerts->letter_count--;
    loop_timer_free(&l->timer);
    buf_fini(&l->body);
    free(l);
}

static void topic_free(struct topic *t)
{
    LIST_REMOVE(t, link);
    loop_timer_free(&t->timer);
    buf_fini(&t->latest);
    free(t->about);
    free(t);
}

void alerts_free(struct alerts **a)
{
    if (!*a)
        return;
    http_free(&(*a)->http);
    for (struct letter *l = LIST_FIRST(&(*a)->letters), *next; l; l = next) {
        next = LIST_NEXT(l, link);
        letter_free(l);
    }
    for (struct topic *t = LIST_FIRST(&(*a)->topics), *next; t; t = next) {
        next = LIST_NEXT(t, link);
        topic_free(t);
    }
    free(*a);
    *a = NULL;
}

size_t alerts_pending(const struct alerts *a)
{
    return a->letter_count;
}

/* --- letters --- */

static void give_up(struct letter *l, const char *why)
{
    log_error("an alert could not be posted", log_str("type", l->type), log_str("id", l->id),
              log_int("tries", l->tries), log_str("reason", why));
    letter_free(l);
}

static void try_later(struct letter *l, int64_t retry_after_ms, const char *why)
{
    const struct config_retry *ladder = &l->alerts->config->retry.webhook;
    int64_t wait_ms = backoff_jittered_ms(&ladder->backoff, l->tries, random_u64());

    if (l->tries >= ladder->tries) {
        give_up(l, why);
        return;
    }
    if (retry_after_ms > wait_ms)
        wait_ms = retry_after_ms < RETRY_AFTER_MAX_MS ? retry_after_ms : RETRY_AFTER_MAX_MS;
    loop_timer_start(l->timer, wait_ms);
}

static void on_answer(void *arg, const struct http_result *r)
{
    struct letter *l = arg;
    char why[160];

    if (r->fate == HTTP_ANSWERED && r->status >= 200 && r->status < 300) {
        letter_free(l);
        return;
    }
    if (r->fate == HTTP_ANSWERED)
        snprintf(why, sizeof why, "HTTP %d", r->status);
    else
        snprintf(why, sizeof why, "%s: %.100s", http_fate_name(r->fate), r->text);
    if (r->fate == HTTP_ANSWERED && r->status == HTTP_GONE)
        give_up(l, why);
    else
        try_later(l, r->retry_after_ms, why);
}

/* The id stays the same over all tries, so that the receiver knows them as one. */
static void on_try(void *arg)
{
    enum { HEADERS = 7, HEADER_SIZE = 192 };
    struct letter *l = arg;
    const struct config *c = l->alerts->config;
    char lines[HEADERS][HEADER_SIZE], signature[WEBHOOK_SIGNATURE_SIZE];
    const char *headers[HEADERS];
    int64_t now_s = clock_wall_ms() / 1000;
    size_t count = 0;
    struct err e;

    l->tries++;
    snprintf(lines[count++], HEADER_SIZE, "Content-Type: application/json");
    snprintf(lines[count++], HEADER_SIZE, "webhook-id: %s", l->id);
    snprintf(lines[count++], HEADER_SIZE, "webhook-timestamp: %" PRId64, now_s);
    snprintf(lines[count++], HEADER_SIZE, "X-Webhook-Event: %s", l->type);
    snprintf(lines[count++], HEADER_SIZE, "X-Webhook-ID: %s", l->id);
    snprintf(lines[count++], HEADER_SIZE, "X-Webhook-Attempt: %d", l->tries);
    if (c->alerts.secret[0] &&
        webhook_sign(c->alerts.secret, l->id, now_s, l->body.data, l->body.len, signature))
        snprintf(lines[count++], HEADER_SIZE, "webhook-signature: %s", signature);
    for (size_t i = 0; i < count; i++)
        headers[i] = lines[i];
    struct http_request request = {.method = "POST",
                                   .url = c->alerts.webhook_url,
                                   .headers = headers,
                                   .header_count = count,
                                   .body = l->body.data,
                                   .body_len = l->body.len,
                                   .timeout_ms = TIMEOUT_MS};
    if (http_send(l->alerts->http, &request, on_answer, l, &e) != 0)
        give_up(l, e.text);
}

/* data: the body's object without its closing brace. */
static void post(struct alerts *a, const char *type, const struct buf *data, int64_t held)
{
    struct letter *l;
    char at[25], id[UUID_TEXT_LEN + 1];
    int64_t ignored;

    if (a->letter_count >= MAX_LETTERS) {
        if (log_gate_pass(&a->full_gate, TIMEOUT_MS, &ignored))
            log_error("too many alerts wait to be posted, one is dropped", log_str("type", type));
        return;
    }
    l = xcalloc(1, sizeof *l);
    l->alerts = a;
    l->timer = loop_timer_new(a->loop, on_try, l);
    uuid_v4(id);
    snprintf(l->id, sizeof l->id, "msg_%s", id);
    snprintf(l->type, sizeof l->type, "%s", type);
    buf_init(&l->body, BODY_LIMIT);
    clock_iso8601(clock_wall_ms(), at);
    buf_printf(&l->body, "{\"type\":\"%s\",\"timestamp\":\"%s\",\"data\":{", type, at);
    buf_add(&l->body, data->data, data->len);
    buf_printf(&l->body, ",\"heldBack\":%" PRId64 "}}", held);
    LIST_INSERT_HEAD(&a->letters, l, link);
    a->letter_count++;
    loop_timer_start(l->timer, 0);
}

/* --- topics --- */

static void release(struct topic *t)
{
    /* the latest is not among those held back: it is the one that goes */
    post(t->alerts, alert_type(t->kind, t->latest_is_over), &t->latest, t->held - 1);
    t->held = 0;
    t->has_latest = false;
    loop_timer_start(t->timer, t->alerts->config->alerts.min_interval_ms);
}

static void on_interval(void *arg)
{
    struct topic *t = arg;

    if (t->has_latest)
        release(t);
    else
        topic_free(t);
}

static struct topic *topic_of(struct alerts *a, const struct alert *alert, bool *is_new)
{
    const char *about = alert->about ? alert->about : "";
    struct topic *t;

    *is_new = false;
    LIST_FOREACH(t, &a->topics, link)
    {
        if (t->kind == alert->kind && strcmp(t->about, about) == 0)
            return t;
    }
    t = xcalloc(1, sizeof *t);
    t->alerts = a;
    t->kind = alert->kind;
    t->about = xstrdup(about);
    t->timer = loop_timer_new(a->loop, on_interval, t);
    buf_init(&t->latest, BODY_LIMIT);
    LIST_INSERT_HEAD(&a->topics, t, link);
    *is_new = true;
    return t;
}

static void write_data(const struct alerts *a, const struct alert *alert, struct buf *out)
{
    struct record r = {.out = out, .json = true};

    record_id(&r, "source", a->source);
    record_id(&r, "host", a->host);
    record_id(&r, "about", alert->about);
    record_id(&r, "message", alert->text);
    record_open_member(&r, "details", '{');
    for (size_t i = 0; i < ALERT_DETAILS; i++) {
        if (alert->details[i].value)
            record_id(&r, alert->details[i].key, alert->details[i].value);
    }
    record_close(&r, true);
}

/* --- raising --- */

/* Where an alert's own thing is named in the log. */
static const char *about_key(enum alert_kind kind)
{
    switch (kind) {
    case ALERT_ACCOUNT:
    case ALERT_ATTENTION:
    case ALERT_ERRORS:
        return "account";
    case ALERT_PARKED:
    case ALERT_DEAD:
    case ALERT_BACKLOG:
        return "queue";
    }
    return "about";
}

static void log_alert(const struct alert *a)
{
    char event[160];
    struct log_field fields[ALERT_DETAILS + 2] = {log_str(about_key(a->kind), a->about)};

    snprintf(event, sizeof event, "alert: %s", a->text);
    for (size_t i = 0; i < ALERT_DETAILS; i++)
        fields[i + 1] = log_str(a->details[i].key ? a->details[i].key : "detail", a->details[i].value);
    log_write(a->is_over ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, event, fields);
}

/* The same alert with its foreign texts cleaned. They live in `texts`. */
static struct alert clean(const struct alert *alert, struct buf texts[ALERT_DETAILS])
{
    struct alert a = *alert;

    for (size_t i = 0; i < ALERT_DETAILS; i++) {
        buf_init(&texts[i], DETAIL_LIMIT); /* a longer one is cut: what fitted is kept */
        if (!a.details[i].value)
            continue;
        record_add_clean(&texts[i], a.details[i].value);
        texts[i].failed = false;
        a.details[i].value = buf_str(&texts[i]);
    }
    return a;
}

static void hold_or_post(struct alerts *a, const struct alert *alert)
{
    bool is_new;
    struct topic *t = topic_of(a, alert, &is_new);

    buf_clear(&t->latest);
    write_data(a, alert, &t->latest);
    t->has_latest = true;
    t->latest_is_over = alert->is_over;
    t->held++;
    if (is_new)
        release(t);
}

void alerts_raise(struct alerts *a, const struct alert *alert)
{
    struct buf texts[ALERT_DETAILS];
    struct alert cleaned = clean(alert, texts);

    log_alert(&cleaned);
    if (a && a->http)
        hold_or_post(a, &cleaned);
    for (size_t i = 0; i < ALERT_DETAILS; i++)
        buf_fini(&texts[i]);
}
