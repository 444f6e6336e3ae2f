/* One loop without threads: insert what is due, look for what has happened, wait a moment. The times that are
 * shown come from the database and the provider's journal, so that the moment of looking does not matter. */
#include "tests/demo/play.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "tests/demo/backend.h"
#include "tests/demo/lines.h"

enum {
    TICK_MS = 10,
    LOOK_MS = 200,       /* between two looks at the servers */
    PATIENCE_MS = 60000, /* without any progress */
    BATCH_MAX = 500,
    SHOWN_REPLIES = 40, /* of all, evenly */
    SHOWN_ODD = 3,      /* of a kind */
    PUBLISH_TIMEOUT_MS = 10000,
};

static const char MALFORMED[] = PLAN_MALFORMED;

enum malformed { MALFORMED_NOT_SENT = 0, MALFORMED_SENT, MALFORMED_PARKED };

struct play {
    const struct scene *scene;
    struct lines *provider, *agent;
    double *created_ms;            /* when each message was handed in; 0 = not yet */
    bool *is_answered, *has_ended; /* at the provider; in the database, without a reply */
    size_t came, replied, refused, failed, fallbacks;
    size_t want_replied, want_refused, want_failed;
    size_t shown_every; /* replies */
    size_t shown[PLAN_FAILED + 1], strange, twice;
    enum malformed malformed;
    int64_t begun_at, look_at;
    size_t progress; /* a sum that grows with everything that happens */
    int64_t progressed_at;
};

/* --- the timeline --- */

static void write_who(const struct plan_customer *c, char who[80])
{
    snprintf(who, 80, "%s (***%s)", c->name, c->number + strlen(c->number) - 3);
}

static const char *provider_title(const char *provider)
{
    return strcmp(provider, "whatsapp_cloud") == 0 ? "Cloud"
           : strcmp(provider, "wasender") == 0     ? "Wasender"
           : strcmp(provider, "evolution") == 0    ? "Evolution"
                                                   : "Twilio";
}

static void show(struct play *p, size_t n, int64_t wall_ms, const char *became, double took_ms)
{
    struct plan_inbound m;
    struct plan_customer c;
    char who[80];

    plan_inbound(p->scene->plan, n, &m);
    plan_customer(m.customer, &c);
    write_who(&c, who);
    screen_event(p->scene->screen, &(struct screen_event){.wall_ms = wall_ms,
                                                          .where = provider_title(c.provider),
                                                          .who = who,
                                                          .said = m.text,
                                                          .became = became,
                                                          .took_ms = took_ms});
}

/* A request at the provider that should not be. */
static void show_strange(struct play *p, const char *said, const char *became)
{
    if (p->strange++ < SHOWN_ODD)
        screen_event(p->scene->screen, &(struct screen_event){.wall_ms = clock_wall_ms(),
                                                              .where = "provider",
                                                              .said = said,
                                                              .became = became,
                                                              .took_ms = -1});
}

/* --- traffic --- */

static int insert_due(struct play *p, struct err *e)
{
    const struct plan *plan = p->scene->plan;
    double now_s = (double)(clock_mono_ms() - p->begun_at) / 1000.0;
    size_t first = p->came, end = first;

    while (end < plan->inbound_count && end - first < BATCH_MAX && plan_due_s(plan, end) <= now_s)
        end++;
    if (end == first)
        return 0;
    for (size_t n = first; n < end; n++)
        p->created_ms[n] = (double)clock_wall_ms();
    if (backend_insert_inbound(p->scene->db, plan, first, end - first, e) != 0 ||
        backend_store_webhooks(p->scene->db, plan, first, end - first, e) != 0)
        return err_prefix(e, "inserting messages");
    p->came = end;
    return 0;
}

static int publish_malformed(struct play *p, struct err *e)
{
    const struct broker_message m = {.exchange = "",
                                     .routing_key = "wb_queue",
                                     .body = MALFORMED,
                                     .body_len = sizeof MALFORMED - 1,
                                     .message_id = "demo-malformed",
                                     .content_type = "application/json",
                                     .expiration_ms = -1};

    if (p->malformed != MALFORMED_NOT_SENT || p->came < p->scene->plan->inbound_count * 2 / 5)
        return 0;
    p->malformed = MALFORMED_SENT;
    return broker_session_publish(p->scene->broker, &m, PUBLISH_TIMEOUT_MS, e) == 0
               ? 0
               : err_prefix(e, "the malformed reply");
}

/* --- replies --- */

static void take_reply(struct play *p, size_t n, int64_t wall_ms, const char *text)
{
    struct plan_inbound m;
    size_t *count = &p->replied, every = p->shown_every;

    plan_inbound(p->scene->plan, n, &m);
    if (m.fate == PLAN_FAILED) {
        count = &p->fallbacks;
        every = 1;
    }
    if (p->is_answered[n]) {
        show_strange(p, text, "the provider has had this before");
        return;
    }
    p->is_answered[n] = true;
    if ((*count)++ % every == 0)
        show(p, n, wall_ms, text, (double)wall_ms - p->created_ms[n]);
}

static void read_provider_line(struct play *p, const struct json_node *line)
{
    const char *text = json_str(json_member(line, "text"));
    int64_t wall_ms = 0, status = 0;
    char became[64];
    size_t n;

    if (text == NULL || !json_int(json_member(line, "wall_ms"), &wall_ms) ||
        !json_int(json_member(line, "status"), &status))
        return;
    if (!json_true(json_member(line, "accepted"))) {
        snprintf(became, sizeof became, "not taken, answered with %" PRId64, status);
        show_strange(p, text, became);
    } else if (!plan_find_reply(p->scene->plan, text, &n) || p->created_ms[n] == 0) {
        show_strange(p, text, "nobody has asked for this");
    } else {
        take_reply(p, n, wall_ms, text);
    }
}

/* Two things of the plan that only the agent can tell of at once. */
static void read_agent_line(struct play *p, const struct json_node *line)
{
    const char *request = json_str(json_member(line, "request"));
    struct plan_inbound m;
    int64_t wall_ms = 0;
    size_t n;

    if (request == NULL || !plan_find_job(p->scene->plan, request, &n) ||
        !json_int(json_member(line, "wall_ms"), &wall_ms))
        return;
    plan_inbound(p->scene->plan, n, &m);
    if (m.fate == PLAN_FAILED)
        show(p, n, wall_ms, "the agent answers with an error", -1);
    if (m.answered_twice && ++p->twice == 2)
        show(p, n, wall_ms, "the agent sends its reply twice", -1);
}

static int read_lines(struct play *p, struct lines *from,
                      void (*take)(struct play *, const struct json_node *), struct err *e)
{
    struct json *line;
    int got;

    while ((got = lines_next(from, &line, e)) > 0) {
        take(p, json_root(line));
        json_free(&line);
    }
    return got;
}

/* --- what ends without a reply --- */

static int look_for_ended(struct play *p, struct err *e)
{
    struct db_result *r = backend_find_ended(p->scene->db, e);
    struct plan_inbound m;
    size_t n;

    if (r == NULL)
        return err_prefix(e, "looking at the jobs");
    for (size_t row = 0; row < db_rows(r); row++) {
        bool is_refused = strcmp(db_text(r, row, 1), "cancelled") == 0;
        size_t *shown = &p->shown[is_refused ? PLAN_REFUSED : PLAN_FAILED];
        if (!plan_find_job(p->scene->plan, db_text(r, row, 0), &n) || p->has_ended[n])
            continue;
        p->has_ended[n] = true;
        *(is_refused ? &p->refused : &p->failed) += 1;
        plan_inbound(p->scene->plan, n, &m);
        if (m.fate != PLAN_FAILED &&
            (*shown)++ < SHOWN_ODD) /* the agent's failure is on the screen already */
            show(p, n, clock_wall_ms(), db_text(r, row, 2), -1);
    }
    db_result_free(&r);
    return 0;
}

static const char *header(const struct broker_delivery *d, const char *name)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, name) == 0 && d->headers[i].str)
            return d->headers[i].str;
    }
    return "";
}

static int look_for_parked(struct play *p, struct err *e)
{
    struct broker_delivery d;
    char became[300];

    if (p->malformed != MALFORMED_SENT)
        return 0;
    int got = broker_session_get(p->scene->broker, "wb_parked", &d, e);
    if (got <= 0)
        return got;
    p->malformed = MALFORMED_PARKED;
    snprintf(became, sizeof became, "parked, %s: %s", header(&d, "agwb-reason"), header(&d, "agwb-error"));
    screen_event(p->scene->screen, &(struct screen_event){.wall_ms = clock_wall_ms(),
                                                          .where = "agent",
                                                          .who = "a malformed reply",
                                                          .said = MALFORMED,
                                                          .became = became,
                                                          .took_ms = -1});
    return broker_session_requeue(p->scene->broker, d.delivery_tag, e);
}

static bool has_each_end(const struct play *p)
{
    return p->replied >= p->want_replied && p->refused >= p->want_refused && p->failed >= p->want_failed &&
           p->fallbacks >= p->want_failed && p->malformed == MALFORMED_PARKED;
}

/* 1 when nobody works on anything any more. */
static int is_at_rest(struct play *p, struct err *e)
{
    int64_t open = 0;
    uint32_t waiting = 0;

    if (!has_each_end(p))
        return 0;
    if (backend_count_open(p->scene->db, &open, e) != 0 ||
        broker_session_count(p->scene->broker, "wb_queue", &waiting, e) != 0)
        return -1;
    return open == 0 && waiting == 0;
}

/* --- the loop --- */

static int check_progress(struct play *p, struct err *e)
{
    size_t progress = p->came + p->replied + p->refused + p->failed + p->fallbacks + p->twice + p->malformed;

    if (progress != p->progress) {
        p->progress = progress;
        p->progressed_at = clock_mono_ms();
    }
    if (clock_mono_ms() - p->progressed_at < PATIENCE_MS)
        return 0;
    return err_set(e, ERR_UNAVAILABLE, 0,
                   "nothing has moved for %d s: %zu of %zu messages inserted, %zu of %zu replies at the "
                   "provider, %zu of %zu refused, "
                   "%zu of %zu failed and %zu of them with a fallback, the malformed reply is %sparked",
                   PATIENCE_MS / 1000, p->came, p->scene->plan->inbound_count, p->replied, p->want_replied,
                   p->refused, p->want_refused, p->failed, p->want_failed, p->fallbacks,
                   p->malformed == MALFORMED_PARKED ? "" : "not ");
}

/* 1 when it is over. */
static int look(struct play *p, struct err *e)
{
    if (clock_mono_ms() < p->look_at)
        return 0;
    p->look_at = clock_mono_ms() + LOOK_MS;
    if (look_for_ended(p, e) != 0 || look_for_parked(p, e) != 0 || check_progress(p, e) != 0)
        return -1;
    return is_at_rest(p, e);
}

static void announce(struct play *p)
{
    char shown[64] = "";

    p->shown_every = (p->want_replied + SHOWN_REPLIES - 1) / SHOWN_REPLIES;
    if (p->shown_every > 1)
        snprintf(shown, sizeof shown, "; one reply in %zu is shown", p->shown_every);
    screen_say(p->scene->screen, SCREEN_PLAIN, "  An hour of traffic in %.0f s%s.\n",
               plan_duration_s(p->scene->plan), shown);
}

static int run(struct play *p, struct err *e)
{
    int over = 0;

    announce(p);
    p->begun_at = p->progressed_at = clock_mono_ms();
    while (over == 0) {
        if (insert_due(p, e) != 0 || publish_malformed(p, e) != 0 ||
            read_lines(p, p->agent, read_agent_line, e) != 0 ||
            read_lines(p, p->provider, read_provider_line, e) != 0)
            return -1;
        over = look(p, e);
        screen_progress(p->scene->screen, p->came, p->replied + p->refused + p->failed,
                        p->scene->plan->inbound_count);
        poll(NULL, 0, TICK_MS);
    }
    return over > 0 ? 0 : -1;
}

int play(const struct scene *scene, struct err *e)
{
    const struct plan *plan = scene->plan;
    struct play p = {.scene = scene,
                     .created_ms = xcalloc(plan->inbound_count, sizeof *p.created_ms),
                     .is_answered = xcalloc(plan->inbound_count, sizeof *p.is_answered),
                     .has_ended = xcalloc(plan->inbound_count, sizeof *p.has_ended),
                     .want_replied = plan_expected(plan, PLAN_REPLIED),
                     .want_refused = plan_expected(plan, PLAN_REFUSED),
                     .want_failed = plan_expected(plan, PLAN_FAILED)};
    int rc = -1;

    p.provider = lines_open(scene->provider_journal, e);
    if (p.provider == NULL)
        goto out;
    p.agent = lines_open(scene->agent_journal, e);
    if (p.agent == NULL)
        goto out;
    if (backend_insert_people(scene->db, plan, e) != 0) {
        err_prefix(e, "inserting customers");
        goto out;
    }
    rc = run(&p, e);
out:
    lines_close(&p.provider);
    lines_close(&p.agent);
    free(p.created_ms);
    free(p.is_answered);
    free(p.has_ended);
    return rc;
}
