/* The attempt: plan, build, send, judge. What the provider's answer means is channels/; what to do about it
 * is judgement. */
#include "consumer/attempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "consumer/channels/channel.h"
#include "consumer/judgement.h"
#include "domain/contact.h"
#include "domain/families.h"
#include "domain/link.h"

enum { SETTLE_MS = 1000 }; /* what a lease must have left behind the request */

struct attempt {
    LIST_ENTRY(attempt) entry;
    struct attempt_deps deps;
    const struct channel_provider *provider; /* NULL only when the account is gone */
    struct channel_request built;            /* until it is sent */
    struct probe probe;                      /* of its links, before that */
    struct settlement settlement;
    int attempts; /* counted tries, this one included */
    struct delivery_way way;
    char number[CONTACT_E164_MAX + 1], email[256]; /* the contact's; "" = unknown */
    int part;
    bool has_more; /* parts behind this one */
    char contact[CONTACT_MASK_SIZE];
    char traceparent[56];
    int64_t accepted_ms, due_ms, published_ms; /* wall */
    int64_t ends_before_ms;                    /* boottime */
    double claim_ms;
};

static struct delivery_way way_of(const struct ledger_claim *claim)
{
    struct delivery_way way = {.step = claim->step, .as_template = claim->as_template};

    str_copy(way.account, sizeof way.account, claim->account);
    str_copy(way.channel, sizeof way.channel, claim->channel);
    str_copy(way.address, sizeof way.address, claim->address);
    str_copy(way.chain, sizeof way.chain, claim->chain);
    return way;
}

static struct attempt *attempt_new(const struct attempt_deps *deps, const struct ledger_claim *claim,
                                   int64_t lease_ends_ms, double claim_ms)
{
    struct attempt *a = xcalloc(1, sizeof *a);

    a->deps = *deps;
    channel_request_init(&a->built);
    str_copy(a->settlement.message_id, sizeof a->settlement.message_id, claim->message_id);
    a->settlement.fence = claim->fence;
    a->settlement.started_ms = clock_wall_ms();
    a->attempts = claim->attempts;
    a->way = way_of(claim);
    str_copy(a->number, sizeof a->number, claim->number);
    str_copy(a->email, sizeof a->email, claim->email);
    a->part = claim->parts_sent;
    contact_mask(claim->address, a->contact);
    a->accepted_ms = claim->accepted_ms;
    a->due_ms = claim->due_ms;
    a->published_ms = claim->published_ms;
    a->ends_before_ms = lease_ends_ms - SETTLE_MS;
    a->claim_ms = claim_ms;
    LIST_INSERT_HEAD(deps->running, a, entry);
    return a;
}

static void attempt_free(struct attempt *a)
{
    LIST_REMOVE(a, entry);
    channel_request_fini(&a->built);
    probe_fini(&a->probe);
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

static void add_stage(struct buf *out, const char *name, double ms)
{
    if (ms < 0)
        return;
    buf_add_str(out, out->len > 1 ? ",\"" : "\"");
    buf_add_str(out, name);
    buf_add_str(out, "\":");
    buf_add_real(out, ms);
}

/* The delay by stage: where the time of a late reply was lost. */
static void write_timings(struct attempt *a, const struct http_timing *t)
{
    struct settlement *s = &a->settlement;
    /* in place, and one byte less: for the NUL */
    struct buf out = {.data = s->timings, .cap = sizeof s->timings, .limit = sizeof s->timings - 1};
    double queue_ms = a->published_ms > 0 ? (double)(a->accepted_ms - a->published_ms) : -1;

    buf_add_char(&out, '{');
    add_stage(&out, "queue", queue_ms);
    add_stage(&out, "lane", span((double)a->due_ms, (double)s->started_ms));
    add_stage(&out, "database", a->claim_ms);
    if (t) {
        add_stage(&out, "connect", t->tls_ms > 0 ? t->tls_ms : t->connect_ms);
        add_stage(&out, "answer", span(t->sent_ms, t->first_byte_ms));
        add_stage(&out, "total", t->total_ms);
    }
    buf_add_char(&out, '}');
    (void)buf_str(&out);
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
        log_str("channel", a->way.channel), log_str("account", a->way.account),
        log_int("attempt", a->attempts),
        a->part > 0 || a->has_more ? log_int("part", a->part) : log_str("part", NULL),
        log_str("outcome", outcome_name(s->outcome)),
        log_str("disposition", disposition_name(s->disposition.kind)),
        log_str("next", s->disposition.kind == DISPOSITION_NEXT ? chain_step_name(&s->next) : NULL),
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

    if (r) {
        circuits_record(a->deps.circuits, a->way.account, v->outcome, v->account_works, now);
        error_rates_record(a->deps.errors, a->way.account, v->outcome, now);
    } else /* nothing was asked of the provider */
        circuits_probe_missed(a->deps.circuits, a->way.account, now);
}

/* From the verdict to the settlement. */
static void decide(struct attempt *a, const struct channel_verdict *v, const struct http_result *r)
{
    struct settlement *s = &a->settlement;
    struct chain_contact contact = {.number = a->number, .email = a->email};

    record_circuit(a, v, r);
    judgement_pass(&(struct judgement){.config = a->deps.config,
                                       .alerts = a->deps.alerts,
                                       .verdict = v,
                                       .way = &a->way,
                                       .contact = &contact,
                                       .attempts = a->attempts,
                                       .account_down = circuits_is_down(a->deps.circuits, a->way.account),
                                       .has_more = a->has_more},
                   s);
    s->ended_ms = clock_wall_ms();
    s->http_status = r ? r->status : 0;
    write_timings(a, r ? &r->timing : NULL);
    log_attempt(a, r ? &r->timing : NULL);
    metric_add(a->deps.metrics, &METRIC_ATTEMPTS, 1, a->way.channel, outcome_name(s->outcome));
    if (s->outcome == OUTCOME_THROTTLED)
        metric_add(a->deps.metrics, &METRIC_THROTTLED, 1, "provider", NULL);
    if (s->disposition.kind == DISPOSITION_DONE)
        metric_observe(a->deps.metrics, &METRIC_DELIVERY_SECONDS,
                       (double)(s->ended_ms - a->accepted_ms) / 1000.0, a->way.channel, NULL);
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

static int take_headers(struct channel_request *built, const char **headers, struct err *e)
{
    for (size_t i = 0; i < built->header_count; i++) {
        headers[i] = buf_str(&built->headers[i]);
        if (!headers[i])
            return err_set(e, ERR_DATA, 0, "a request header is too long");
    }
    return 0;
}

enum begun {
    BEGUN_SENDING = 0,
    BEGUN_NOTHING_LEFT,
    BEGUN_NO_ACCOUNT,
    BEGUN_UNSENDABLE,
    BEGUN_LINK_REFUSED,
    BEGUN_LINK_LATER,
    BEGUN_LATE,
};

/* A request's whole time lies within the lease, and nothing leaves after it: by then the message may be
 * somebody else's. Boottime: a machine that slept over the claim, or over the links' answers, has slept over
 * the lease too. */
static enum begun send_request(struct attempt *a, struct err *e)
{
    const struct config_account *account = config_account_find(a->deps.config, a->way.account);
    int64_t ends_ms = clock_boot_ms() + account->timeout_ms;
    struct channel_request *built = &a->built;
    const char *headers[CHANNEL_MAX_HEADERS];
    const char *url = buf_str(&built->url), *body = buf_str(&built->body);
    struct http_mail mail = {.from = buf_str(&built->mail_from),
                             .to = buf_str(&built->mail_to),
                             .allow_plain = built->mail_allow_plain};
    struct http_request request = {.method = built->method,
                                   .url = url,
                                   .headers = headers,
                                   .header_count = built->header_count,
                                   .user = built->user,
                                   .password = built->password,
                                   .body = body,
                                   .body_len = built->body.len,
                                   .timeout_ms = account->timeout_ms,
                                   .leaves_before_ms = ends_ms,
                                   .ca_file = built->ca_file,
                                   .mail = built->is_mail ? &mail : NULL};

    if (ends_ms > a->ends_before_ms)
        return BEGUN_LATE;
    if (take_headers(built, headers, e) != 0)
        return BEGUN_UNSENDABLE;
    if (!url || !body || !mail.from || !mail.to) {
        (void)err_set(e, ERR_DATA, 0, "the request is too long for the provider");
        return BEGUN_UNSENDABLE;
    }
    if (http_send(a->deps.http, &request, on_answer, a, e) != 0)
        return BEGUN_UNSENDABLE;
    channel_request_fini(built); /* copied: hundreds may be under way */
    return BEGUN_SENDING;
}

/* Only the first part quotes, and only over the account that has the quoted message. */
static const char *quoted_id(const struct ledger_claim *claim, const struct config_account *account)
{
    bool wanted = strcmp(config_account_option(account, "quote", "true"), "true") == 0;

    return wanted && claim->parts_sent == 0 && !claim->chain[0] && !claim->as_template ? claim->quoted_id
                                                                                       : NULL;
}

static int build(struct attempt *a, const struct ledger_claim *claim, const struct channel_part *part,
                 const struct reply *reply, struct err *e)
{
    const struct config_account *account = config_account_find(a->deps.config, claim->account);
    struct channel_send send = {.account = account,
                                .reply = reply,
                                .part = part,
                                .as_template = claim->as_template,
                                .address = claim->address,
                                .message_id = claim->message_id,
                                .workspace_id = claim->workspace_id,
                                .contact_id = claim->contact_id,
                                .job_id = claim->job_id,
                                .quoted_id = quoted_id(claim, account)};

    return a->provider->build(&send, &a->built, e);
}

static enum begun begun_of(const struct probe_answer *p, struct err *e)
{
    if (p->verdict != PROBE_GOOD)
        (void)err_set(e, ERR_DATA, 0, "%s", p->reason);
    switch (p->verdict) {
    case PROBE_GOOD:
        return BEGUN_SENDING;
    case PROBE_REFUSED:
        return BEGUN_LINK_REFUSED;
    case PROBE_LATER:
        return BEGUN_LINK_LATER;
    }
    return BEGUN_LINK_LATER;
}

/* The verdict on what ends before any request. */
static void judge_unsent(enum begun begun, const struct err *e, struct channel_verdict *v)
{
    const char *code = "nothing_left";

    *v = (struct channel_verdict){.outcome = OUTCOME_DELIVERED, .retry_after_ms = -1};
    switch (begun) {
    case BEGUN_SENDING:
    case BEGUN_NOTHING_LEFT:
    case BEGUN_LATE:
        break;
    case BEGUN_NO_ACCOUNT: /* renamed or taken out: the operator may bring it back */
        v->outcome = OUTCOME_AUTH;
        v->needs_operator = true;
        code = "no_account";
        break;
    case BEGUN_UNSENDABLE:
        v->outcome = OUTCOME_PERMFAIL;
        v->block = BLOCK_UNREACHABLE;
        code = "unsendable";
        break;
    case BEGUN_LINK_REFUSED:
        v->outcome = OUTCOME_PERMFAIL;
        code = "link_refused";
        break;
    case BEGUN_LINK_LATER:
        v->outcome = OUTCOME_TEMPFAIL;
        code = "link_unreachable";
        break;
    }
    str_copy(v->provider_code, sizeof v->provider_code, code);
    if (begun != BEGUN_NOTHING_LEFT)
        channel_verdict_detail(v, e->text);
}

/* A claim that came too late is no attempt: there is nothing to decide. */
static void end_unsent(struct attempt *a, enum begun begun, const struct err *e)
{
    struct channel_verdict v;

    if (begun == BEGUN_LATE) {
        circuits_probe_missed(a->deps.circuits, a->way.account, loop_now_ms(a->deps.loop));
        return;
    }
    judge_unsent(begun, e, &v);
    decide(a, &v, NULL);
}

static void on_probed(void *arg, const struct probe_answer *p)
{
    struct attempt *a = arg;
    struct err e;
    enum begun begun = begun_of(p, &e);

    if (begun == BEGUN_SENDING)
        begun = send_request(a, &e);
    if (begun == BEGUN_SENDING)
        return;
    end_unsent(a, begun, &e);
    if (begun == BEGUN_LATE)
        a->deps.on_late(a->deps.arg, &a->settlement);
    else
        a->deps.on_end(a->deps.arg, &a->settlement);
    attempt_free(a);
}

/* Asks the links' servers first where the configuration wants it. */
static enum begun probe_and_send(struct attempt *a, const struct reply *reply, struct err *e)
{
    struct probe_deps deps = {
        .probes = a->deps.probes, .http = a->deps.http, .loop = a->deps.loop, .config = a->deps.config};
    const char *urls[MESSAGE_MAX_ATTACHMENTS];
    struct probe_answer answer = {.verdict = PROBE_GOOD};
    size_t count = a->deps.config->attachments.probe && !a->way.as_template ? reply->attachment_count : 0;
    enum begun begun;

    for (size_t i = 0; i < count; i++)
        urls[i] = reply->attachments[i].url;
    a->probe.done = on_probed;
    a->probe.arg = a;
    if (count > 0 && probe_start(&a->probe, &deps, urls, count, &answer) == 0)
        return BEGUN_SENDING;
    begun = begun_of(&answer, e);
    return begun == BEGUN_SENDING ? send_request(a, e) : begun;
}

/* Of all its files, whichever part carries them: a reply goes whole or not at all. */
static int check_links(const struct attempt *a, const struct reply *reply, struct err *e)
{
    for (size_t i = 0; i < reply->attachment_count && !a->way.as_template; i++) {
        if (link_check(reply->attachments[i].url, a->deps.config, e) != 0)
            return -1;
    }
    return 0;
}

/* How many messages the delivery takes from here: a template stands for the whole reply, and a part that was
 * sent in vain goes alone. */
static size_t parts_end(const struct ledger_claim *claim, const struct channel_parts *parts)
{
    if (claim->as_template)
        return 1;
    return claim->parts_end >= 0 && (size_t)claim->parts_end < parts->count ? (size_t)claim->parts_end
                                                                            : parts->count;
}

/* Where there is no request to build, the ledger is the delivery. */
static enum begun begin(struct attempt *a, const struct ledger_claim *claim, struct err *e)
{
    const struct config_account *account = config_account_find(a->deps.config, claim->account);
    struct arena *arena = arena_new();
    struct channel_parts parts;
    const struct reply *reply = claim->reply;
    struct reply parsed;
    enum begun begun = BEGUN_UNSENDABLE;
    size_t end, part = (size_t)claim->parts_sent;

    if (!reply && message_parse_reply(claim->payload, claim->payload_len, arena, &parsed, e) != 0)
        goto out;
    if (!reply)
        reply = &parsed;
    begun = check_links(a, reply, e) != 0 ? BEGUN_LINK_REFUSED : BEGUN_NOTHING_LEFT;
    if (begun == BEGUN_LINK_REFUSED || !a->provider->build)
        goto out;
    begun = BEGUN_UNSENDABLE;
    if (channel_plan(a->provider, account, reply, arena, &parts, e) != 0)
        goto out;
    end = parts_end(claim, &parts);
    a->has_more = part + 1 < end;
    if (part >= end)
        begun = BEGUN_NOTHING_LEFT; /* a receipt proved the last one, or the plan has become shorter */
    else if (build(a, claim, &parts.items[part], reply, e) == 0)
        begun = probe_and_send(a, reply, e);
out:
    arena_free(&arena);
    return begun;
}

static void take_traceparent(struct attempt *a, const char *headers_json)
{
    struct err ignored;

    if (!strstr(headers_json, "traceparent"))
        return;
    struct json *doc = json_parse(headers_json, strlen(headers_json), &ignored);
    const char *value = doc ? json_str(json_member(json_root(doc), "traceparent")) : NULL;

    if (value && is_traceparent(value))
        str_copy(a->traceparent, sizeof a->traceparent, value);
    json_free(&doc);
}

/* With the time that the links' servers may take. */
static bool has_lease_left(const struct attempt *a, const struct config_account *account)
{
    int64_t timeout_ms = account ? account->timeout_ms : 0;

    return clock_boot_ms() + PROBE_BUDGET_MS + timeout_ms <= a->ends_before_ms;
}

enum attempt_begun attempt_start(const struct attempt_deps *deps, const struct ledger_claim *claim,
                                 int64_t lease_ends_ms, double claim_ms, struct settlement *s)
{
    struct attempt *a = attempt_new(deps, claim, lease_ends_ms, claim_ms);
    const struct config_account *account = config_account_find(deps->config, claim->account);
    enum begun begun = BEGUN_NO_ACCOUNT;
    struct err e;

    take_traceparent(a, claim->headers_json);
    a->provider = account ? channel_find(account->provider) : NULL;
    if (!has_lease_left(a, account))
        begun = BEGUN_LATE;
    else if (a->provider)
        begun = begin(a, claim, &e);
    else
        (void)err_set(&e, ERR_CONFIG, 0, "the account is not in the configuration any more");
    if (begun == BEGUN_SENDING) {
        CRASH_POINT("consumer-sending");
        return ATTEMPT_RUNS;
    }
    end_unsent(a, begun, &e);
    *s = a->settlement;
    attempt_free(a);
    return begun == BEGUN_LATE ? ATTEMPT_LATE : ATTEMPT_ENDED;
}
