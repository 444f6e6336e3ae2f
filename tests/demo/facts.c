/* Gathers only; what is right and what is wrong about it is check.c's. */
#include "tests/demo/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "tests/demo/lines.h"
#include "tests/hooks/payload.h"

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

/* --- the database --- */

enum job_column {
    ID,
    TEXT,
    STATUS,
    ERROR,
    CREATED,
    PUBLISHED,
    STATE,
    PROVIDER_ID,
    ROW_STATUS,
    ROW_EXTERNAL_ID
};

static const char SELECT_JOBS[] =
    "select q.id, coalesce(q.user_message, i.content), q.status, q.error, (extract(epoch from q.created_at) "
    "* 1000)::float8, "
    "  (extract(epoch from q.published_at) * 1000)::float8, d.state, d.provider_message_id, "
    "m.delivery_status, m.external_id "
    "from ai_response_queue q "
    "left join messages i on i.id = q.message_id "
    "left join agwb.deliveries d on d.job_id = q.id "
    "left join messages m on m.id = d.message_row_id";

static void take_job(struct fact *f, const struct db_result *r, size_t row)
{
    copy(f->job_id, sizeof f->job_id, db_text(r, row, ID));
    copy(f->status, sizeof f->status, db_text(r, row, STATUS));
    copy(f->error, sizeof f->error, db_text(r, row, ERROR));
    f->created_ms = db_real(r, row, CREATED);
    f->published_ms = db_real(r, row, PUBLISHED);
    if (db_is_null(r, row, STATE))
        return;
    f->deliveries++;
    copy(f->state, sizeof f->state, db_text(r, row, STATE));
    copy(f->provider_id, sizeof f->provider_id, db_text(r, row, PROVIDER_ID));
    copy(f->row_status, sizeof f->row_status, db_text(r, row, ROW_STATUS));
    copy(f->row_external_id, sizeof f->row_external_id, db_text(r, row, ROW_EXTERNAL_ID));
}

static int compare_jobs(const void *a, const void *b)
{
    const struct fact_ref *x = a, *y = b;
    return strcmp(x->fact->job_id, y->fact->job_id);
}

/* The database has been read: it knows the jobs' ids. */
static void sort_jobs(struct facts *f, size_t count)
{
    f->by_job = xcalloc(count, sizeof *f->by_job);
    for (size_t n = 0; n < count; n++)
        f->by_job[n].fact = &f->of[n];
    qsort(f->by_job, count, sizeof *f->by_job, compare_jobs);
}

static int read_jobs(struct facts *f, const struct scene *scene, struct err *e)
{
    struct db_result *r = db_session_query(scene->db, SELECT_JOBS, NULL, e);
    size_t n;

    if (r == NULL)
        return -1;
    for (size_t row = 0; row < db_rows(r); row++) {
        if (plan_find_text(scene->plan, db_text(r, row, TEXT), &n))
            take_job(&f->of[n], r, row);
        else
            f->foreign_jobs++;
    }
    db_result_free(&r);
    sort_jobs(f, scene->plan->inbound_count);
    return 0;
}

/* Of people's messages by their text, of receipts how many there are. */
static int read_inbox(struct facts *f, const struct scene *scene, struct err *e)
{
    struct db_result *r = db_session_query(scene->db, "select status, body from webhook_inbox", NULL, e);
    size_t n;

    if (r == NULL)
        return -1;
    for (size_t row = 0; row < db_rows(r); row++) {
        bool is_message = plan_find_text(scene->plan, db_text(r, row, 1), &n);
        if (is_message && strstr(db_text(r, row, 1), "Re%3A") == NULL &&
            strstr(db_text(r, row, 1), "\"Re: ") == NULL)
            copy(f->of[n].inbox, sizeof f->of[n].inbox, db_text(r, row, 0));
        else
            f->receipts++;
        f->receipts_failed += strcmp(db_text(r, row, 0), "done") != 0;
    }
    db_result_free(&r);
    return 0;
}

static int read_usage(struct facts *f, const struct scene *scene, struct err *e)
{
    struct db_result *r = db_session_query(
        scene->db, "select count(*) from usage_logs where kind in ('whatsapp_message', 'sms_message')", NULL,
        e);

    if (r == NULL)
        return -1;
    f->usage_logs = (size_t)db_int(r, 0, 0);
    db_result_free(&r);
    return 0;
}

/* --- the provider --- */

static const char *member(const struct json_node *line, const char *name)
{
    const char *s = json_str(json_member(line, name));

    return s ? s : "";
}

/* The recipient as each provider writes it: "+1202...", "1202...", "1202...@c.us". */
static bool is_number(const char *to, const char *number)
{
    size_t digits = strlen(number + 1);

    to += *to == '+';
    return strlen(to) >= digits && memcmp(to, number + 1, digits) == 0 &&
           (to[digits] == '\0' || to[digits] == '@');
}

static void take_request(struct facts *f, const struct plan *plan, const struct json_node *line)
{
    char expected[PLAN_TEXT_SIZE + 64];
    struct plan_inbound m;
    struct plan_customer c;
    size_t n;

    if (!json_true(json_member(line, "accepted"))) {
        f->not_taken++;
        return;
    }
    if (!plan_find_reply(plan, member(line, "text"), &n)) {
        f->foreign_requests++;
        return;
    }
    struct fact *fact = &f->of[n];
    plan_inbound(plan, n, &m);
    plan_customer(m.customer, &c);
    plan_reply_text(&m, fact->job_id, expected);
    fact->is_wrong_person |= !is_number(member(line, "to"), c.number);
    fact->is_wrong_text |= strcmp(member(line, "text"), expected) != 0;
    fact->is_wrong_way |= strcmp(member(line, "provider"), hook_find(c.provider)->journal) != 0;
    if (fact->taken++ > 0)
        return;
    copy(fact->taken_id, sizeof fact->taken_id, member(line, "id"));
    (void)json_int(json_member(line, "wall_ms"), &fact->taken_ms);
}

/* --- the agent --- */

static struct fact *fact_of_job(const struct facts *f, size_t count, const char *job_id)
{
    struct fact wanted;
    struct fact_ref key = {.fact = &wanted}, *found;

    copy(wanted.job_id, sizeof wanted.job_id, job_id);
    found = bsearch(&key, f->by_job, count, sizeof *f->by_job, compare_jobs);
    return found != NULL && *job_id != '\0' ? found->fact : NULL;
}

static void take_answer(struct facts *f, const struct plan *plan, const struct json_node *line)
{
    const char *reply_id = member(line, "reply");
    struct fact *fact = fact_of_job(f, plan->inbound_count, member(line, "request"));

    if (fact == NULL || strcmp(member(line, "event"), "confirmed") != 0)
        return;
    fact->replies++;
    if (strcmp(fact->reply_id, reply_id) != 0)
        fact->asked++;
    copy(fact->reply_id, sizeof fact->reply_id, reply_id);
}

typedef void line_fn(struct facts *f, const struct plan *plan, const struct json_node *line);

static int read_journal(struct facts *f, const struct plan *plan, const char *path, line_fn *take,
                        struct err *e)
{
    struct lines *from = lines_open(path, e);
    struct json *line;
    int got = -1;

    while (from != NULL && (got = lines_next(from, &line, e)) > 0) {
        take(f, plan, json_root(line));
        json_free(&line);
    }
    lines_close(&from);
    return got;
}

int facts_gather(struct facts *f, const struct scene *scene, struct err *e)
{
    *f = (struct facts){.of = xcalloc(scene->plan->inbound_count, sizeof *f->of)};
    if (read_jobs(f, scene, e) == 0 && read_inbox(f, scene, e) == 0 && read_usage(f, scene, e) == 0 &&
        read_journal(f, scene->plan, scene->provider_journal, take_request, e) == 0 &&
        read_journal(f, scene->plan, scene->agent_journal, take_answer, e) == 0)
        return 0;
    facts_fini(f);
    return -1;
}

void facts_fini(struct facts *f)
{
    free(f->of);
    free(f->by_job);
    *f = (struct facts){0};
}
