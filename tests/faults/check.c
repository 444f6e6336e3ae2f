/* The end of a case: everything comes to rest, the daemons end, what the provider and the queues hold is put
 * beside the ledger, and verdict.sql judges. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/clock.h"
#include "faults.h"

enum { ROWS_AT_ONCE = 500, BODY_MAX = 1 << 20, COLUMNS_MAX = 9 };

static const char *const WORK_QUEUES[] = {"ag_queue", "wb_queue", "dlx_agent", "dlx_webhook"};
static const char *const PARKED_QUEUES[] = {"ag_parked", "wb_parked"};
enum { WORK_QUEUE_COUNT = 4, PARKED_QUEUE_COUNT = 2 };

static struct tally tally;

const struct tally *judged_so_far(void)
{
    return &tally;
}

/* --- rows on their way into a table --- */

struct table {
    struct db_session *db;
    const char *insert; /* $1.. are arrays of text */
    int columns;
    char *values[COLUMNS_MAX][ROWS_AT_ONCE]; /* owned */
    size_t count;
};

static void table_flush(struct table *t)
{
    struct db_params p;
    struct err e = {.class = ERR_NONE};

    if (t->count == 0)
        return;
    db_params_init(&p);
    for (int c = 0; c < t->columns; c++) {
        db_array_begin(&p, DB_TEXT);
        for (size_t i = 0; i < t->count; i++) {
            db_item_text(&p, t->values[c][i], t->values[c][i] ? strlen(t->values[c][i]) : 0);
            free(t->values[c][i]);
        }
        db_array_end(&p);
    }
    struct db_result *r = db_session_query(t->db, t->insert, &p, &e);
    if (r == NULL)
        fail_msg("%s: %s", t->insert, e.text);
    db_result_free(&r);
    db_params_fini(&p);
    t->count = 0;
}

static void table_add(struct table *t, const char *const *values)
{
    for (int c = 0; c < t->columns; c++)
        t->values[c][t->count] = xstrdup(values[c]);
    if (++t->count == ROWS_AT_ONCE)
        table_flush(t);
}

/* --- the provider's journal --- */

static const char *text_of_int(const struct json_node *n, char out[24])
{
    int64_t value = 0;

    json_int(n, &value);
    snprintf(out, 24, "%" PRId64, value);
    return out;
}

static void add_entry(struct table *t, const struct json_node *n)
{
    char seq[24], mono[24], status[24];
    const char *values[] = {text_of_int(json_member(n, "seq"), seq),
                            text_of_int(json_member(n, "mono_us"), mono),
                            json_str(json_member(n, "to")),
                            json_str(json_member(n, "text")),
                            text_of_int(json_member(n, "status"), status),
                            json_str(json_member(n, "fault")),
                            json_true(json_member(n, "accepted")) ? "t" : "f",
                            json_str(json_member(n, "provider")),
                            json_str(json_member(n, "id"))};

    table_add(t, values);
}

/* Line by line: the file of a long run is larger than any buffer of ours. */
static void load_journal(struct world *w)
{
    static struct table t;
    static char line[512 * 1024];
    FILE *f = fopen(w->journal, "re");

    t = (struct table){
        .db = w->db,
        .columns = 9,
        .insert =
            "insert into faults.journal (seq, mono_us, recipient, text, status, fault, accepted, "
            "provider, id) select u.seq, u.mono, faults.digits(u.recipient), u.text, u.status, u.fault, "
            "u.accepted, u.provider, u.id from unnest($1::text[]::bigint[], $2::text[]::bigint[], "
            "$3::text[], $4::text[], $5::text[]::integer[], $6::text[], $7::text[]::boolean[], $8::text[], "
            "$9::text[]) u (seq, mono, recipient, text, status, fault, accepted, provider, id)"};
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        struct err e;
        struct json *doc = json_parse(line, strcspn(line, "\n"), &e);
        if (doc == NULL)
            fail_msg("the provider's journal: %s", e.text);
        add_entry(&t, json_root(doc));
        json_free(&doc);
    }
    if (f != NULL)
        fclose(f);
    table_flush(&t);
}

/* --- the queues --- */

static struct broker_session *broker_open(const struct world *w)
{
    const char *host = sandbox_value("AGWB_TEST_AMQP");
    struct err e = {.class = ERR_NONE};
    struct broker_settings settings = {.hosts = &host,
                                       .host_count = 1,
                                       .user = "guest",
                                       .password = "guest",
                                       .vhost = w->vhost,
                                       .connect_timeout_ms = 10000,
                                       .connection_name = "faults",
                                       .max_body_bytes = BODY_MAX};
    struct broker_session *s = broker_session_open(&settings, &e);
    if (s == NULL)
        fail_msg("%s", e.text);
    return s;
}

static const char *reason_of(const struct broker_delivery *d)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, "agwb-reason") == 0)
            return d->headers[i].str;
    }
    return NULL;
}

static void drain(struct broker_session *s, struct table *t, const char *queue)
{
    struct err e = {.class = ERR_NONE};
    struct broker_delivery d;
    int got;

    while ((got = broker_session_get(s, queue, &d, &e)) == 1) {
        char *body = xcalloc(1, d.body_len + 1);
        memcpy(body, d.body, d.body_len);
        table_add(t, (const char *const[]){queue, d.message_id, reason_of(&d), body});
        free(body);
        if (broker_session_ack(s, d.delivery_tag, &e) != 0)
            break;
    }
    if (got != 0)
        fail_msg("%s: %s", queue, e.text);
}

/* wb_queue has a single active consumer: such a queue can be counted, not read. */
static void count_left(struct broker_session *s, struct table *t, const char *queue)
{
    struct err e = {.class = ERR_NONE};
    uint32_t count = 0;

    if (broker_session_count(s, queue, &count, &e) != 0)
        fail_msg("%s", e.text);
    while (count-- > 0)
        table_add(t, (const char *const[]){queue, NULL, NULL, NULL});
}

static void load_queues(struct world *w)
{
    static struct table t;
    struct broker_session *s = broker_open(w);

    t = (struct table){
        .db = w->db,
        .columns = 4,
        .insert = "insert into faults.queued select * from unnest($1::text[], $2::text[], $3::text[], "
                  "$4::text[])"};
    for (size_t i = 0; i < WORK_QUEUE_COUNT; i++)
        count_left(s, &t, WORK_QUEUES[i]);
    for (size_t i = 0; i < PARKED_QUEUE_COUNT; i++)
        drain(s, &t, PARKED_QUEUES[i]);
    table_flush(&t);
    broker_session_close(&s);
}

/* --- at rest --- */

static uint32_t queued(const struct world *w)
{
    struct broker_session *s = broker_open(w);
    uint32_t all = 0;

    for (size_t i = 0; i < WORK_QUEUE_COUNT; i++) {
        struct err e = {.class = ERR_NONE};
        uint32_t count = 0;
        if (broker_session_count(s, WORK_QUEUES[i], &count, &e) != 0)
            fail_msg("%s", e.text);
        all += count;
    }
    broker_session_close(&s);
    return all;
}

static void show_unsettled(struct world *w)
{
    struct err e = {.class = ERR_NONE};
    struct db_result *r = db_session_query(
        w->db, "select what, count(*), min(id) from faults.unsettled group by what order by what", NULL, &e);

    for (size_t i = 0; r != NULL && i < db_rows(r); i++)
        print_message("  fault: %s: %s, for example %s\n", db_text(r, i, 0), db_text(r, i, 1),
                      db_text(r, i, 2));
    db_result_free(&r);
}

/* The providers have reported on all that they took. */
static bool is_reported(struct world *w)
{
    struct stat journal;

    return !w->settings.both_ways || stat(w->journal, &journal) != 0 ||
           world_int(w, "select position from faults.followed") == journal.st_size;
}

void world_settle(struct world *w, int patience_s)
{
    int64_t begun = clock_mono_ms();

    for (;;) {
        world_tend(w);
        if (world_int(w, "select count(*) from (select 1 from faults.unsettled limit 1) x") == 0 &&
            queued(w) == 0 && is_reported(w))
            return;
        if (clock_mono_ms() - begun > patience_s * INT64_C(1000)) {
            print_message("  fault: it does not come to rest within %d s\n", patience_s);
            show_unsettled(w);
            w->faults++;
            return;
        }
        world_pause(w, 100);
    }
}

/* --- judging --- */

static void show_rows(struct world *w, const char *what, const char *sql)
{
    struct err e = {.class = ERR_NONE};
    struct db_result *r = db_session_query(w->db, sql, NULL, &e);

    if (r == NULL)
        fail_msg("%s: %s", sql, e.text);
    for (size_t i = 0; i < db_rows(r); i++)
        print_message("  %s%s: %s\n", what, db_text(r, i, 0), db_text(r, i, 1));
    db_result_free(&r);
}

static void show_table(struct world *w)
{
    show_rows(w, "", "select verdict, count(*) from faults.verdicts group by 1 order by 1");
    show_rows(
        w, "  ",
        "select verdict || ': ' || coalesce(reason, error, '-'), count(*) || ', of these ' || sum(sends) || "
        "' at "
        "the provider' from faults.verdicts where verdict in ('parked with reason', 'failed with reason', "
        "'cancelled with reason') group by 1 order by 1 limit 12");
    show_rows(w, "  ",
              "select 'copies twice in ' || queue, count(*) from (select queue from faults.queued where "
              "message_id is "
              "not null group by queue, message_id having count(*) > 1) x group by 1 order by 1");
    show_rows(
        w, "unexpected: ",
        "select what, count(*) || ', for example ' || min(id) from faults.strays group by 1 order by 1");
    show_rows(
        w, "  ",
        "select verdict, id || ' ' || concat_ws(', ', kind, 'job ' || status, error, 'delivery ' || state, "
        "reason, "
        "sends || ' sends', copies || ' copies') from faults.verdicts "
        "where verdict in ('delivered twice', 'lost', 'unexpected', 'no verdict') order by 1, 2 limit 10");
    show_rows(w, "unexpected: ",
              "select what, count(*) || ', for example ' || min(id) from faults.disagreements group by 1 "
              "order by 1");
    show_rows(w, "out of order: ",
              "select lane, concat_ws(' ', message_id, 'number', seq, 'after', highest_before, 'attempts', "
              "attempts, 'claims', "
              "fence, accepted_at, settled_at) from faults.disorder limit 5");
}

static int64_t count_verdict(struct world *w, const char *pattern)
{
    return world_int(w, "select count(*) from faults.verdicts where verdict like '%s'", pattern);
}

static int64_t check_limits(struct world *w, const struct expected *e)
{
    int64_t bad = 0;
    const struct {
        const char *key;
        int64_t limit;
    } limits[] = {{"all", e->limit_all}, {"contact", e->limit_contact}};

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].limit == 0)
            continue;
        int64_t most =
            world_int(w, "select faults.fullest_window('%s', %" PRId64 ")", limits[i].key, e->window_ms);
        print_message("  fullest window of %" PRId64 " ms, limit %-8s %3" PRId64 " of %" PRId64 "\n",
                      e->window_ms, limits[i].key, most, limits[i].limit);
        bad += most > limits[i].limit;
    }
    return bad;
}

/* What the case did not allow for. */
static int64_t count_surprises(struct world *w, const struct expected *e)
{
    int64_t surprises = 0, parked = count_verdict(w, "parked%");

    if (parked > 0 && !e->parked) {
        print_message("  unexpected: %" PRId64 " deliveries parked, where no answer can have been lost\n",
                      parked);
        surprises += parked;
    } else if (parked > 0) {
        int64_t other = world_int(
            w,
            "select count(*) from faults.verdicts where verdict like 'parked%%' and reason not similar to "
            "'%s'",
            e->reasons ? e->reasons : "(uncertain|overtaken):%");
        if (other > 0)
            print_message("  unexpected: %" PRId64 " deliveries parked for another reason\n", other);
        surprises += other;
    }
    int64_t cancelled = count_verdict(w, "cancelled%");
    if (cancelled > 0)
        print_message("  unexpected: %" PRId64 " deliveries cancelled\n", cancelled);
    return surprises + cancelled;
}

bool world_judge(struct world *w, const struct expected *e)
{
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            daemon_stop(w, kind, i);
    }
    process_end(&w->agent);
    if (w->settings.both_ways && (process_end(&w->reporter) != 0))
        fail_msg("the reporter of receipts has failed");
    world_int(w, "select 1");
    load_journal(w);
    load_queues(w);
    world_int(w, "select 1 from faults.conclude()");
    show_table(w);

    int64_t messages = world_int(w, "select count(*) from ai_response_queue");
    int64_t delivered = count_verdict(w, "delivered once"), twice = count_verdict(w, "delivered twice");
    int64_t lost = count_verdict(w, "lost") + count_verdict(w, "no verdict");
    int64_t unexpected = count_verdict(w, "unexpected") + world_int(w, "select count(*) from faults.strays") +
                         world_int(w, "select count(*) from faults.disagreements") +
                         (e->twice ? 0 : world_int(w, "select count(*) from faults.disorder")) +
                         check_limits(w, e) + count_surprises(w, e) + w->faults;
    bool good = messages > 0 && (twice == 0 || e->twice) && lost == 0 && unexpected == 0;

    tally.messages += messages;
    tally.delivered += delivered;
    tally.parked += count_verdict(w, "parked%");
    tally.failed += count_verdict(w, "failed%");
    tally.twice += twice;
    tally.lost += lost;
    tally.unexpected += unexpected;
    tally.kills += w->kills;
    print_message("%-8s %s: %" PRId64 " messages, %ld kills, %.0f s\n", good ? "ok" : "FAILED", w->name,
                  messages, w->kills, (double)(clock_mono_ms() - w->opened_at) / 1000.0);
    return good;
}
