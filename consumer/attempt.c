/* The attempt: build, send, judge, decide. What the provider's answer means is channels/; what to do about
 * it is disposition. */
#include "consumer/attempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "consumer/channels/channel.h"
#include "domain/contact.h"
#include "domain/families.h"

struct attempt {
    LIST_ENTRY(attempt) entry;
    struct attempt_deps deps;
    const struct channel_provider *provider; /* NULL only when the account is gone */
    struct settlement settlement;
    int attempts; /* counted tries, this one included */
    char account[64], channel[16], contact[CONTACT_MASK_SIZE];
    char traceparent[56];
    int64_t accepted_ms, due_ms, published_ms; /* wall */
    double claim_ms;
};

static struct attempt *attempt_new(const struct attempt_deps *deps, const struct ledger_claim *claim,
                                   double claim_ms)
{
    struct attempt *a = xcalloc(1, sizeof *a);

    a->deps = *deps;
    snprintf(a->settlement.message_id, sizeof a->settlement.message_id, "%s", claim->message_id);
    a->settlement.fence = claim->fence;
    a->settlement.started_ms = clock_wall_ms();
    a->attempts = claim->attempts;
    snprintf(a->account, sizeof a->account, "%s", claim->account);
    snprintf(a->channel, sizeof a->channel, "%s", claim->channel);
    contact_mask(claim->address, a->contact);
    a->accepted_ms = claim->accepted_ms;
    a->due_ms = claim->due_ms;
    a->published_ms = claim->published_ms;
    a->claim_ms = claim_ms;
    LIST_INSERT_HEAD(deps->running, a, entry);
    return a;
}

static void attempt_free(struct attempt *a)
{
    LIST_REMOVE(a, entry);
    free(a);
}

void attempts_free(struct attempt_list *running)
{
    struct attempt *a;

    /* NOLINTBEGIN(clang-analyzer-unix.Malloc): each takes itself off the list */
    while ((a = LIST_FIRST(running)))
        attempt_free(a);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
}

/* Stages nobody reached are left out. */
static double span(double from, double to)
{
    return from >= 0 && to >= from ? to - from : -1;
}

static void add_stage(char *out, size_t size, const char *name, double ms)
{
    size_t used = strlen(out);

    if (ms >= 0 && used < size)
        snprintf(out + used, size - used, "%s\"%s\":%.3f", used > 1 ? "," : "", name, ms);
}

/* The delay by stage: where the time of a late reply was lost. */
static void write_timings(struct attempt *a, const struct http_timing *t)
{
    char *out = a->settlement.timings;
    size_t size = sizeof a->settlement.timings - 1; /* one for the closing brace */
    double queue_ms = a->published_ms > 0 ? (double)(a->accepted_ms - a->published_ms) : -1;

    snprintf(out, size, "{");
    add_stage(out, size, "queue", queue_ms);
    add_stage(out, size, "lane", span((double)a->due_ms, (double)a->settlement.started_ms));
    add_stage(out, size, "database", a->claim_ms);
    if (t) {
        add_stage(out, size, "connect", t->tls_ms > 0 ? t->tls_ms : t->connect_ms);
        add_stage(out, size, "answer", span(t->sent_ms, t->first_byte_ms));
        add_stage(out, size, "total", t->total_ms);
    }
    out[strlen(out) + 1] = '\0';
    out[strlen(out)] = '}';
}

static struct log_field stage(const char *name, double ms)
{
    return ms >= 0 ? log_real(name, ms) : log_str(name, NULL);
}

static void log_attempt(const struct attempt *a, const struct http_timing *t)
{
    const struct settlement *s = &a->settlement;
    static const struct http_timing NOT_SENT = {-1, -1, -1, -1, -1, -1};
    const struct http_timing *timing = t ? t : &NOT_SENT;
    bool waits = s->disposition.kind == DISPOSITION_RETRY || s->disposition.kind == DISPOSITION_HOLD ||
                 s->disposition.kind == DISPOSITION_RECONCILE;

    log_info(
        "delivery attempt", log_str("messageId", s->message_id), log_str("contact", a->contact),
        log_str("channel", a->channel), log_str("account", a->account), log_int("attempt", a->attempts),
        log_str("outcome", outcome_name(s->outcome)),
        log_str("disposition", disposition_name(s->disposition.kind)),
        log_str("providerId", s->provider_id[0] ? s->provider_id : NULL), log_str("code", s->provider_code),
        log_str("detail", s->detail[0] ? s->detail : NULL),
        waits ? log_int("wait_ms", s->disposition.wait_ms) : log_str("wait_ms", NULL),
        stage("queue_ms", a->published_ms > 0 ? (double)(a->accepted_ms - a->published_ms) : -1),
        stage("lane_ms", span((double)a->due_ms, (double)s->started_ms)), stage("database_ms", a->claim_ms),
        stage("connect_ms", timing->tls_ms > 0 ? timing->tls_ms : timing->connect_ms),
        stage("answer_ms", span(timing->sent_ms, timing->first_byte_ms)), stage("total_ms", timing->total_ms),
        log_str("traceparent", a->traceparent[0] ? a->traceparent : NULL));
}

/* Before the disposition: the failure that opens the circuit is the account's already. */
static void record_circuit(const struct attempt *a, const struct channel_verdict *v,
                           const struct http_result *r)
{
    int64_t now = loop_now_ms(a->deps.loop);

    if (r)
        circuits_record(a->deps.circuits, a->account, v->outcome, now);
    else /* nothing was asked of the provider */
        circuits_probe_missed(a->deps.circuits, a->account, now);
}

/* From the verdict to the settlement. */
static void decide(struct attempt *a, const struct channel_verdict *v, const struct http_result *r)
{
    struct settlement *s = &a->settlement;
    const struct config *c = a->deps.config;
    struct disposition_input in;

    record_circuit(a, v, r);
    in = (struct disposition_input){.outcome = v->outcome,
                                    .attempts = a->attempts,
                                    .retry_after_ms = v->retry_after_ms,
                                    .account_down = circuits_is_down(a->deps.circuits, a->account),
                                    .ladder = &c->retry.delivery,
                                    .uncertain_wait_ms = c->consumer.uncertain_wait_ms,
                                    .random = random_u64()};

    s->outcome = v->outcome;
    s->disposition = disposition_decide(&in);
    s->ended_ms = clock_wall_ms();
    s->http_status = r ? r->status : 0;
    snprintf(s->provider_id, sizeof s->provider_id, "%s", v->provider_id);
    snprintf(s->provider_code, sizeof s->provider_code, "%s", v->provider_code);
    snprintf(s->detail, sizeof s->detail, "%s", v->detail);
    if (s->disposition.kind != DISPOSITION_DONE)
        snprintf(s->reason, sizeof s->reason, "%s %s%s%s", outcome_name(s->outcome), s->provider_code,
                 s->detail[0] ? ": " : "", s->detail);
    write_timings(a, r ? &r->timing : NULL);
    log_attempt(a, r ? &r->timing : NULL);
    metric_add(a->deps.metrics, &METRIC_ATTEMPTS, 1, a->channel, outcome_name(s->outcome));
    if (s->outcome == OUTCOME_THROTTLED)
        metric_add(a->deps.metrics, &METRIC_THROTTLED, 1, "provider", NULL);
    if (s->outcome == OUTCOME_DELIVERED)
        metric_observe(a->deps.metrics, &METRIC_DELIVERY_SECONDS,
                       (double)(s->ended_ms - a->accepted_ms) / 1000.0, a->channel, NULL);
}

static void on_answer(void *arg, const struct http_result *r)
{
    struct attempt *a = arg;
    struct channel_verdict v;

    CRASH_POINT("consumer-answered");
    channel_judge(a->provider, r, &v);
    decide(a, &v, r);
    a->deps.on_end(a->deps.arg, &a->settlement);
    attempt_free(a);
}

static int send_request(struct attempt *a, const struct config_account *account,
                        struct channel_request *built, struct err *e)
{
    const char *headers[CHANNEL_MAX_HEADERS];
    const char *url = buf_str(&built->url), *body = buf_str(&built->body);
    struct http_request request = {.method = built->method,
                                   .url = url,
                                   .headers = headers,
                                   .header_count = built->header_count,
                                   .user = built->user,
                                   .password = built->password,
                                   .body = body,
                                   .body_len = built->body.len,
                                   .timeout_ms = account->timeout_ms};

    for (size_t i = 0; i < built->header_count; i++) {
        headers[i] = buf_str(&built->headers[i]);
        if (!headers[i])
            return err_set(e, ERR_DATA, 0, "a request header is too long");
    }
    if (!url || !body)
        return err_set(e, ERR_DATA, 0, "the request is too long for the provider");
    return http_send(a->deps.http, &request, on_answer, a, e);
}

static int build_and_send(struct attempt *a, const struct ledger_claim *claim,
                          const struct config_account *account, struct err *e)
{
    struct arena *arena = arena_new();
    struct channel_request built;
    struct reply reply;
    struct channel_send send = {.account = account,
                                .reply = &reply,
                                .address = claim->address,
                                .message_id = claim->message_id,
                                .workspace_id = claim->workspace_id,
                                .contact_id = claim->contact_id,
                                .job_id = claim->job_id};
    int rc;

    channel_request_init(&built);
    rc = message_parse_reply(claim->payload, claim->payload_len, arena, &reply, e);
    if (rc == 0)
        rc = a->provider->build(&send, &built, e);
    if (rc == 0)
        rc = send_request(a, account, &built, e);
    channel_request_fini(&built);
    arena_free(&arena);
    return rc;
}

static void take_traceparent(struct attempt *a, const char *headers_json)
{
    struct err ignored;
    struct json *doc = json_parse(headers_json, strlen(headers_json), &ignored);
    const char *value = doc ? json_str(json_member(json_root(doc), "traceparent")) : NULL;

    if (value && is_traceparent(value))
        snprintf(a->traceparent, sizeof a->traceparent, "%s", value);
    json_free(&doc);
}

int attempt_start(const struct attempt_deps *deps, const struct ledger_claim *claim, double claim_ms,
                  struct settlement *s)
{
    struct attempt *a = attempt_new(deps, claim, claim_ms);
    const struct config_account *account = config_account_find(deps->config, claim->account);
    struct channel_verdict v = {.outcome = OUTCOME_PERMFAIL, .retry_after_ms = -1};
    struct err e;

    take_traceparent(a, claim->headers_json);
    a->provider = account ? channel_find(account->provider) : NULL;
    if (!a->provider) {
        /* an account that was renamed or taken out: the operator may bring it back */
        v.outcome = OUTCOME_AUTH;
        snprintf(v.provider_code, sizeof v.provider_code, "no_account");
        channel_verdict_detail(&v, "the account is not in the configuration any more");
    } else if (build_and_send(a, claim, account, &e) == 0) {
        CRASH_POINT("consumer-sending");
        return 0;
    } else {
        snprintf(v.provider_code, sizeof v.provider_code, "unsendable");
        channel_verdict_detail(&v, e.text);
    }
    decide(a, &v, NULL);
    *s = a->settlement;
    attempt_free(a);
    return 1;
}
