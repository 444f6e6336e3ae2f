/* Each check is a function that names what is wrong; one that names nothing has passed. */
#include "tests/demo/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "tests/demo/facts.h"

enum { EXAMPLES = 3 };

struct checks {
    const struct scene *scene;
    struct facts facts;
    int publisher_status, consumer_status;
    size_t faults; /* of the check that runs */
    char examples[EXAMPLES][400];
};

static void PRINTF_LIKE(2, 3) fault(struct checks *c, const char *fmt, ...)
{
    va_list args;

    if (c->faults < EXAMPLES) {
        va_start(args, fmt);
        vsnprintf(c->examples[c->faults], sizeof c->examples[0], fmt, args);
        va_end(args);
    }
    c->faults++;
}

static void PRINTF_LIKE(3, 4) fault_of(struct checks *c, const struct plan_inbound *m, const char *fmt, ...)
{
    char what[200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    fault(c, "\"%s\" (job %s): %s", m->text, m->job_id, what);
}

/* --- the checks --- */

static void check_rows(struct checks *c)
{
    static const char *const STATUSES[] = {
        [PLAN_REPLIED] = "complete", [PLAN_REFUSED] = "cancelled", [PLAN_FAILED] = "failed"};
    struct plan_inbound m;

    for (size_t n = 0; n < c->scene->plan->inbound_count; n++) {
        const struct fact *f = &c->facts.of[n];
        plan_inbound(c->scene->plan, n, &m);
        if (f->status[0] == '\0')
            fault_of(c, &m, "has no row");
        else if (strcmp(f->status, STATUSES[m.fate]) != 0)
            fault_of(c, &m, "is '%s' instead of '%s'%s%s", f->status, STATUSES[m.fate],
                     f->error[0] ? ": " : "", f->error);
    }
    if (c->facts.foreign_jobs > 0)
        fault(c, "jobs that nobody inserted: %zu", c->facts.foreign_jobs);
}

static void check_requests(struct checks *c)
{
    struct plan_inbound m;

    for (size_t n = 0; n < c->scene->plan->inbound_count; n++) {
        const struct fact *f = &c->facts.of[n];
        plan_inbound(c->scene->plan, n, &m);
        size_t wanted = m.fate == PLAN_REFUSED ? 0 : 1;
        if (f->asked != wanted)
            fault_of(c, &m, "the agent was asked %zu times instead of %zu", f->asked, wanted);
        if ((f->published_ms > 0) != (wanted == 1))
            fault_of(c, &m, "published_at is %s", f->published_ms > 0 ? "set" : "not set");
        if (f->asked == 1 && f->replies != (m.answered_twice ? 2u : 1u))
            fault_of(c, &m, "the agent replied %zu times", f->replies);
    }
}

static void check_replies(struct checks *c)
{
    struct plan_inbound m;

    for (size_t n = 0; n < c->scene->plan->inbound_count; n++) {
        const struct fact *f = &c->facts.of[n];
        plan_inbound(c->scene->plan, n, &m);
        size_t wanted = m.fate == PLAN_REFUSED ? 0 : 1;
        if (f->taken != wanted)
            fault_of(c, &m, "the provider has %zu replies instead of %zu", f->taken, wanted);
        if (f->is_wrong_person)
            fault_of(c, &m, "the reply went to someone else");
        if (f->is_wrong_text)
            fault_of(c, &m, "the reply's text has changed on its way");
        if (f->is_wrong_way)
            fault_of(c, &m, "the reply went over the wrong provider");
    }
    if (c->facts.foreign_requests > 0)
        fault(c, "messages at the provider that nobody has asked for: %zu", c->facts.foreign_requests);
    if (c->facts.not_taken > 0)
        fault(c, "requests that the provider did not take: %zu", c->facts.not_taken);
}

static void check_ledger(struct checks *c)
{
    struct plan_inbound m;
    size_t taken = 0;

    for (size_t n = 0; n < c->scene->plan->inbound_count; n++) {
        const struct fact *f = &c->facts.of[n];
        plan_inbound(c->scene->plan, n, &m);
        taken += f->taken;
        if (f->deliveries != f->taken)
            fault_of(c, &m, "in the ledger %zu times, at the provider %zu times", f->deliveries, f->taken);
        else if (f->taken == 1 && (strcmp(f->state, "sent") != 0 || strcmp(f->provider_id, f->taken_id) != 0))
            fault_of(c, &m, "the ledger says %s as '%s', the provider took it as '%s'", f->state,
                     f->provider_id, f->taken_id);
        else if (f->taken == 1 && strcmp(f->row_external_id, f->taken_id) != 0)
            fault_of(c, &m, "its row in messages says '%s', the provider took it as '%s'", f->row_external_id,
                     f->taken_id);
    }
    if (c->facts.usage_logs != taken)
        fault(c, "usage logs: %zu, messages at the provider: %zu", c->facts.usage_logs, taken);
}

/* Nobody knows when an SMS is read. */
static const char *last_receipt(const struct plan_inbound *m)
{
    struct plan_customer c;

    plan_customer(m->customer, &c);
    return c.channel == CHANNEL_SMS ? "DELIVERED" : "READ";
}

static void check_webhooks(struct checks *c)
{
    struct plan_inbound m;

    for (size_t n = 0; n < c->scene->plan->inbound_count; n++) {
        const struct fact *f = &c->facts.of[n];
        plan_inbound(c->scene->plan, n, &m);
        if (strcmp(f->inbox, m.door == PLAN_WEBHOOK ? "done" : "") != 0)
            fault_of(c, &m, "its row in webhook_inbox is '%s'", f->inbox);
        if (f->taken == 1 && strcmp(f->row_status, last_receipt(&m)) != 0)
            fault_of(c, &m, "its reply is '%s' instead of '%s'", f->row_status, last_receipt(&m));
    }
    if (c->facts.receipts_failed > 0)
        fault(c, "webhooks that are not done: %zu", c->facts.receipts_failed);
}

static void check_queue(struct checks *c, const char *queue, uint32_t wanted)
{
    struct err e = {0};
    uint32_t messages = 0;

    if (broker_session_count(c->scene->broker, queue, &messages, &e) != 0)
        fault(c, "%s: %s", queue, e.text);
    else if (messages != wanted)
        fault(c, "%s: %u messages instead of %u", queue, messages, wanted);
}

static void check_queues(struct checks *c)
{
    static const char *const EMPTY[] = {"ag_queue", "wb_queue", "dlx_agent", "dlx_webhook", "ag_parked"};
    struct broker_delivery d;
    struct err e = {0};

    for (size_t i = 0; i < sizeof EMPTY / sizeof EMPTY[0]; i++)
        check_queue(c, EMPTY[i], 0);
    check_queue(c, "wb_parked", 1);
    if (broker_session_get(c->scene->broker, "wb_parked", &d, &e) != 1)
        fault(c, "wb_parked: the malformed reply is not there");
    else if (d.body_len != strlen(PLAN_MALFORMED) || memcmp(d.body, PLAN_MALFORMED, d.body_len) != 0)
        fault(c, "wb_parked: something else than the malformed reply, or changed");
}

static void check_daemons(struct checks *c)
{
    if (c->publisher_status != 0)
        fault(c, "agwb-publisher ended with %d", c->publisher_status);
    if (c->consumer_status != 0)
        fault(c, "agwb-consumer ended with %d", c->consumer_status);
}

static const struct {
    const char *sentence;
    void (*run)(struct checks *c);
} CHECKS[] = {
    {"every inbound row has its end: complete, refused or failed", check_rows},
    {"the agent got each request once, and none of a customer whose AI is off", check_requests},
    {"the provider has each reply once, unchanged, for the right person", check_replies},
    {"ledger, messages and usage in PostgreSQL agree with the provider", check_ledger},
    {"each webhook was taken in, and each reply's receipts came back: read, an SMS delivered",
     check_webhooks},
    {"the queues are empty; wb_parked holds the malformed reply only", check_queues},
    {"both daemons drained on SIGTERM and ended with 0", check_daemons},
};

/* --- the table --- */

struct sums {
    size_t whatsapp, sms;               /* inbound */
    size_t by_webhook, delivered, read; /* webhooks; the last receipt of each reply */
    size_t published, sent_whatsapp, sent_sms, fallbacks, refused, failed, duplicates;
    const char *error;            /* of a job that failed */
    double *to_queue, *to_person; /* owned; milliseconds, ascending */
    size_t to_queue_count, to_person_count;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void add_message(struct sums *s, const struct plan *plan, size_t n, const struct fact *f)
{
    struct plan_inbound m;
    struct plan_customer c;

    plan_inbound(plan, n, &m);
    plan_customer(m.customer, &c);
    *(c.channel == CHANNEL_SMS ? &s->sms : &s->whatsapp) += f->status[0] != '\0';
    s->by_webhook += f->inbox[0] != '\0';
    s->delivered += strcmp(f->row_status, "DELIVERED") == 0;
    s->read += strcmp(f->row_status, "READ") == 0;
    if (m.fate == PLAN_FAILED)
        s->fallbacks += f->taken;
    else
        *(c.channel == CHANNEL_SMS ? &s->sent_sms : &s->sent_whatsapp) += f->taken;
    s->refused += strcmp(f->status, "cancelled") == 0;
    s->duplicates += f->replies - f->asked;
    if (strcmp(f->status, "failed") == 0) {
        s->failed++;
        s->error = f->error;
    }
    if (f->published_ms > 0) {
        s->published++;
        s->to_queue[s->to_queue_count++] = f->published_ms - f->created_ms;
    }
    if (f->taken > 0 && m.fate == PLAN_REPLIED)
        s->to_person[s->to_person_count++] = (double)f->taken_ms - f->created_ms;
}

static void sum_up(struct sums *s, const struct checks *c)
{
    size_t count = c->scene->plan->inbound_count;

    *s = (struct sums){.to_queue = xcalloc(count, sizeof *s->to_queue),
                       .to_person = xcalloc(count, sizeof *s->to_person)};
    for (size_t n = 0; n < count; n++)
        add_message(s, c->scene->plan, n, &c->facts.of[n]);
    qsort(s->to_queue, s->to_queue_count, sizeof *s->to_queue, compare);
    qsort(s->to_person, s->to_person_count, sizeof *s->to_person, compare);
}

static void row(struct screen *s, const char *label, size_t count, const char *remark)
{
    char value[24];

    snprintf(value, sizeof value, "%zu", count);
    screen_row(s, label, value, NULL, remark);
}

static void write_ms(const double *ascending, size_t count, double share, char text[24])
{
    size_t at = (size_t)(share * (double)count);
    double ms = count > 0 ? ascending[at < count ? at : count - 1] : 0;

    snprintf(text, 24, ms < 10 ? "%.1f ms" : "%.0f ms", ms < 0 ? 0 : ms);
}

static void times_row(struct screen *s, const char *label, const double *ascending, size_t count)
{
    char p50[24], p99[24];

    write_ms(ascending, count, 0.50, p50);
    write_ms(ascending, count, 0.99, p99);
    screen_row(s, label, p50, p99, NULL);
}

static void print_table(const struct checks *c)
{
    struct screen *screen = c->scene->screen;
    uint32_t parked = 0;
    struct err ignored;
    struct sums s;
    char remark[300];

    sum_up(&s, c);
    screen_say(screen, SCREEN_PLAIN, "%s", "");
    snprintf(remark, sizeof remark, "WhatsApp %zu, SMS %zu, from %zu customers of %d workspaces", s.whatsapp,
             s.sms, c->scene->plan->customer_count, PLAN_WORKSPACES);
    row(screen, "inbound messages", s.whatsapp + s.sms, remark);
    row(screen, "by webhook", s.by_webhook,
        "of Wasender, Cloud API, Evolution, Twilio; the others by a backend's rows");
    row(screen, "requests published", s.published, NULL);
    snprintf(remark, sizeof remark, "WhatsApp %zu, SMS %zu", s.sent_whatsapp, s.sent_sms);
    row(screen, "replies delivered", s.sent_whatsapp + s.sent_sms, remark);
    snprintf(remark, sizeof remark, "read %zu, delivered %zu, from %zu webhooks", s.read, s.delivered,
             c->facts.receipts);
    row(screen, "receipts came back", s.read + s.delivered, remark);
    row(screen, "refused", s.refused, "AI is switched off for the customer");
    row(screen, "failed", s.failed, s.error);
    row(screen, "fallback replies", s.fallbacks, "to whom the agent failed");
    if (broker_session_count(c->scene->broker, "wb_parked", &parked, &ignored) == 0)
        row(screen, "parked", parked, "the malformed reply, kept in wb_parked for a person");
    row(screen, "duplicates ignored", s.duplicates, "the agent sent that reply twice");
    screen_say(screen, SCREEN_PLAIN, "%s", "");
    screen_row(screen, "", "p50", "p99", NULL);
    times_row(screen, "row to ag_queue", s.to_queue, s.to_queue_count);
    times_row(screen, "row to delivered", s.to_person, s.to_person_count);
    screen_say(screen, SCREEN_PLAIN, "%s", "");
    free(s.to_queue);
    free(s.to_person);
}

/* --- the verdict --- */

static bool run_check(struct checks *c, size_t i)
{
    struct screen *screen = c->scene->screen;

    c->faults = 0;
    CHECKS[i].run(c);
    screen_check(screen, c->faults == 0, CHECKS[i].sentence);
    for (size_t n = 0; n < c->faults && n < EXAMPLES; n++)
        screen_say(screen, SCREEN_BAD, "      %s", c->examples[n]);
    if (c->faults > EXAMPLES)
        screen_say(screen, SCREEN_BAD, "      and %zu more", c->faults - EXAMPLES);
    return c->faults == 0;
}

int check(const struct scene *scene, int publisher_status, int consumer_status, bool *good, struct err *e)
{
    struct checks c = {
        .scene = scene, .publisher_status = publisher_status, .consumer_status = consumer_status};

    if (facts_gather(&c.facts, scene, e) != 0)
        return -1;
    print_table(&c);
    *good = true;
    for (size_t i = 0; i < sizeof CHECKS / sizeof CHECKS[0]; i++)
        *good = run_check(&c, i) && *good;
    facts_fini(&c.facts);
    return 0;
}
