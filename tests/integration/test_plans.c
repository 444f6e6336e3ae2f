/* What each of the programs' statements (plans.sql) reads, in blocks: with next to nothing in the tables;
 * with many finished rows more, by plans that were made before there were any; by plans for just these
 * values; and by new plans for any. It must not grow with what is finished, and none of the large tables may
 * be read from end to end. $AGWB_PLAN_ROWS says how many; `make bench` takes a million. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "rows.h"

/* Rounds until a session keeps its plans; before that each is made for its values, and the second one has
 * read the catalogs. */
enum { FINISHED = 200000, WARM = 8, CUSTOM = 2, SCRIPT_MAX_BYTES = 1 << 20 };

/* What has been: jobs that are complete, replies that were sent, their attempts, receipts, webhooks and lines
 * of the talk. */
static const char *const HISTORY[] = {
    "insert into ai_response_queue (id, workspace_id, contact_id, conversation_id, user_message, "
    "status, attempts, published_at, processed_at, created_at) select md5('job' || i)::uuid, "
    "test.id(0, 1), test.id(1, 1), test.id(2, 1), 'old', 'complete', "
    "1, now() - interval '1 day', now() - interval '1 day', now() - interval '1 day'",
    "insert into agwb.deliveries (message_id, job_id, contact_id, account, lane, channel, address, "
    "state, attempts, fence, body_sha256, payload, accepted_at, settled_at, provider_message_id) "
    "select 'old-' || i, md5('job' || i)::uuid, test.id(1, 1), 'wa', 'wa +1202555' || i, "
    "'whatsapp', '+1202555' || i, 'sent', 1, 1, '', '', now() - interval '1 day', now() - interval '1 "
    "day', 'gone-' || i",
    "insert into agwb.delivery_attempts (message_id, fence, account, started_at, ended_at, outcome, "
    "disposition, provider_message_id) select 'old-' || i, 1, 'wa', now(), now(), 'DELIVERED', "
    "'done', 'gone-' || i",
    "insert into agwb.lanes (lane, account) select 'wa +1202555' || i, 'wa'",
    "insert into agwb.receipts (provider, account, provider_message_id, status, message_id, due_at, "
    "received_at) "
    "select 'wasender', 'wa', 'gone-' || i, 'DELIVERED', 'old-' || i, null, now() - interval '1 day'",
    "insert into webhook_inbox (provider, account, body, status) select 'wasender', 'wa', '{}', "
    "'done'",
    "insert into messages (conversation_id, sender_type, content, external_id, created_at) select "
    "test.id(2, 1), 'user', 'old', 'ext-' || i, now() - interval '1 day'",
    "insert into usage_logs (workspace_id, kind, quantity) select test.id(0, 1), "
    "'whatsapp_message', 1",
};

static void go(struct pair *p, const char *phase, int rounds)
{
    for (int i = 0; i < rounds; i++)
        sql_run(p, "select test.go('%s')", phase);
}

#define TABLES                                                                                               \
    "('ai_response_queue', 'deliveries', 'delivery_attempts', 'lanes', 'receipts', 'webhook_inbox', "        \
    "'messages', 'usage_logs')"

/* Whether plans are old or new must not depend on when autovacuum comes by. */
static void rest(struct pair *p)
{
    sql_run(p, "do $$ declare t regclass; begin for t in select relid from pg_stat_user_tables where relname "
               "in " TABLES
               " loop execute format('alter table %%s set (autovacuum_enabled = off)', t); end loop; end $$");
}

/* From when on a table may not be read from end to end. */
static void begin_watch(struct pair *p)
{
    sql_run(p, "select pg_stat_force_next_flush()");
    sql_run(p, "create table test.scans as select relid, seq_scan from pg_stat_user_tables where relname "
               "in " TABLES);
}

static const char *list_whole_reads(struct pair *p)
{
    sql_run(p, "select pg_stat_force_next_flush()");
    return sql_text(
        p, "select coalesce(string_agg(format('plan: read from end to end: %%s, %%s times', t.relname, "
           "t.seq_scan - s.seq_scan), E'\n'), '') from test.scans s join pg_stat_user_tables t "
           "using (relid) where t.seq_scan > s.seq_scan");
}

static void prepare(struct pair *p)
{
    struct db_session *s = sql_session(p);
    struct buf script;

    buf_init(&script, SCRIPT_MAX_BYTES);
    file_read("tests/integration/plans.sql", &script);
    sql_session_run(s, buf_str(&script));
    buf_fini(&script);
    db_session_close(&s);
    sql_run(p, "select test.contact(n) from generate_series(1, 7) n");
}

static void finish_many(struct pair *p)
{
    const char *wanted =
        getenv("AGWB_PLAN_ROWS"); /* NOLINT(concurrency-mt-unsafe): nothing here changes it */
    int64_t count = wanted ? strtoll(wanted, NULL, 10) : FINISHED;

    sql_run(p, "set statement_timeout = 0");
    for (size_t i = 0; i < sizeof HISTORY / sizeof HISTORY[0]; i++)
        sql_run(p, "%s from generate_series(1, %" PRId64 ") i", HISTORY[i], count);
}

static const char *list_costs(struct pair *p, const char *format, const char *condition)
{
    return sql_text(
        p,
        "select coalesce(string_agg(format('%s', replace(replace(step, ', ', '_'), ' ', '_'), "
        "small, grown, custom, fresh), E'\n' order by step), '') "
        "from (select step, max(blocks) filter (where phase = 'small') as small, "
        "max(blocks) filter (where phase = 'grown') as grown, "
        "max(blocks) filter (where phase = 'custom') as custom, "
        "max(blocks) filter (where phase = 'fresh') as fresh from test.cost group by step) c where %s",
        format, condition);
}

static void test_plans_do_not_grow_with_what_is_finished(struct pair *p)
{
    prepare(p);
    rest(p);
    go(p, "small", WARM);
    finish_many(p);
    go(p, "grown", 1); /* the session's old plans */
    sql_run(p, "analyze");
    begin_watch(p);
    sql_forget(p);
    go(p, "custom", CUSTOM);
    go(p, "fresh", WARM - CUSTOM);

    /* an index of 200,000 rows has more than 500 leaves; a path down is two blocks longer than in a small one
     */
    printf("%s\n", list_costs(p, "plan: %s: blocks %s small, %s grown, %s custom, %s fresh", "true"));
    const char *growing =
        list_costs(p, "plan: grows: %s: %s, %s, %s, %s",
                   "(greatest(grown, custom, fresh) <= 3 * small + 100 and grown is not null) is not true");
    const char *scanned = list_whole_reads(p);
    printf("%s%s%s\n", growing, growing[0] ? "\n" : "", scanned);
    assert_string_equal(growing, "");
    assert_string_equal(scanned, "");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {PAIR_TEST(test_plans_do_not_grow_with_what_is_finished)};

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
