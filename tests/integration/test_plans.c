/* What each of the programs' statements reads, in blocks: with next to nothing in the tables; with 200,000
 * finished rows more, by plans that were made before there were any; and by new plans. It must not grow with
 * what is finished, and none of the large tables may be read from end to end. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"

enum { FINISHED = 200000, WARM = 8 }; /* rounds until a session keeps its plans */

/* A round takes two messages the whole way. Each statement's blocks go into test.cost. */
static const char *const TOOLS[] = {
    "create table test.cost (step text primary key, small bigint, grown bigint, fresh bigint)",
    "create table test.taken (id uuid, n integer)",
    "create sequence test.round",
    "create function test.run(p_step text, p_phase text, p_statement text) returns void language "
    "plpgsql as $$ declare v json; begin execute 'explain (analyze, buffers, format json) ' || "
    "p_statement into v; insert into test.cost (step) values (p_step) on conflict do nothing; execute "
    "format('update test.cost set %I = $1 where step = $2', p_phase) using (v->0->'Plan'->>'Shared "
    "Hit Blocks')::bigint + (v->0->'Plan'->>'Shared Read Blocks')::bigint, p_step; end $$",
    "create function test.go(p_phase text) returns void language plpgsql as $$ declare v_round bigint "
    ":= nextval('test.round'); v_ids text; v_jobs text; v_accounts text := "
    "'[{\"name\":\"wa\",\"channel\":\"whatsapp\",\"default\":true,\"workspaces\":[]}]'; v_limits text := "
    "case when v_round % 2 = 0 then '0, 0, 0' else '100, 100, 100' end; v_how text := case when v_round % 2 "
    "= 0 then '' else ' within limits' end; begin "
    "truncate test.taken; perform test.job(1, 'question ' || v_round), test.job(2, 'question ' || "
    "v_round); perform test.run('claim_jobs', p_phase, $q$insert into test.taken select id, "
    "row_number() over () from agwb.claim_jobs('p', 2, 60000, 10, 0, 0, 60000, 300000)$q$); select "
    "string_agg(quote_literal(t.id) || '::uuid', ',' order by t.n), string_agg(quote_literal('m-' || "
    "v_round || '-' || t.n), ',' order by t.n) into v_jobs, v_ids from test.taken t; perform "
    "test.run('record_published', p_phase, format( $q$select agwb.record_published('p', array[%s], "
    "0, 60000)$q$, v_jobs)); perform test.run('accept_replies' || v_how, p_phase, format( $q$select * from "
    "agwb.accept_replies(array[%s], array[%s], '{success,success}', '{t,t}', '{NULL,NULL}', "
    "'{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{NULL,NULL}', '{1,1}', "
    "array[convert_to('{\"response\":{\"text\":\"a\"}}', 'UTF8'), "
    "convert_to('{\"response\":{\"text\":\"b\"}}', 'UTF8')], '{NULL,NULL}', '{0,0}', '%s', 'c:1', 1, "
    "60000, true, true, '{}', '{}', %s, 60000)$q$, v_ids, v_jobs, v_accounts, v_limits)); perform "
    "test.run('claim_deliveries' || v_how, p_phase, format($q$select * from agwb.claim_deliveries('c:2', 10, "
    "60000, true, true, '{}', null, '{}', %s, 60000)$q$, v_limits)); perform test.run('settle_deliveries' || "
    "v_how, p_phase, format( $q$select * from agwb.settle_deliveries(array[%s], '{1,1}', '{sent,sent}', "
    "'{0,0}', '{t,t}', array['p-%s-1', 'p-%s-2'], '{NULL,NULL}', '{1,1}', '{2,2}', '{200,200}', "
    "'{NULL,NULL}', '{DELIVERED,DELIVERED}', '{done,done}', '{NULL,NULL}', '{NULL,NULL}', "
    "'{NULL,NULL}', '{}', %s, 60000, false)$q$, v_ids, v_round, v_round, v_limits)); perform "
    "test.run('sweep_jobs', p_phase, 'select * from agwb.sweep_jobs(500)'); perform "
    "test.run('sweep_deliveries', p_phase, 'select * from agwb.sweep_deliveries(500, 1000, false)'); "
    "perform test.run('claim_parked', p_phase, $q$select * from agwb.claim_parked('c', 100, "
    "60000)$q$); perform test.run('claim_bounces', p_phase, $q$select * from agwb.claim_bounces(100, "
    "'{}')$q$); perform test.run('overdue_jobs', p_phase, 'select * from agwb.overdue_jobs(600000, "
    "100)'); perform test.run('claim_inbox', p_phase, $q$select * from agwb.claim_inbox('p', 100, "
    "60000, 1000000, 1000000)$q$); perform test.run('apply_receipts', p_phase, 'select * from "
    "agwb.apply_receipts(100)'); end $$",
};

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
    "insert into agwb.receipts (provider, account, provider_message_id, status, message_id, due_at) select "
    "'wasender', 'wa', 'gone-' || i, 'DELIVERED', 'old-' || i, null",
    "insert into webhook_inbox (provider, account, body, status) select 'wasender', 'wa', '{}', "
    "'done'",
    "insert into messages (conversation_id, sender_type, content, external_id, created_at) select "
    "test.id(2, 1), 'user', 'old', 'ext-' || i, now() - interval '1 day'",
    "insert into usage_logs (workspace_id, kind, quantity) select test.id(0, 1), "
    "'whatsapp_message', 1",
};

static void go(struct pair *p, const char *phase)
{
    for (int i = 0; i < WARM; i++)
        sql_run(p, "select test.go('%s')", phase);
}

static int64_t whole_reads(struct pair *p)
{
    sql_run(p, "select pg_stat_force_next_flush()");
    return sql_int(p, "select sum(seq_scan)::bigint from pg_stat_user_tables where relname in "
                      "('ai_response_queue', 'deliveries', "
                      "'delivery_attempts', 'lanes', 'receipts', 'webhook_inbox', 'messages', 'usage_logs')");
}

static void test_plans_do_not_grow_with_what_is_finished(struct pair *p)
{
    sql_run(p, "select test.contact(1), test.contact(2)");
    for (size_t i = 0; i < sizeof TOOLS / sizeof TOOLS[0]; i++)
        sql_run(p, "%s", TOOLS[i]);
    go(p, "small");
    int64_t before = whole_reads(p);
    for (size_t i = 0; i < sizeof HISTORY / sizeof HISTORY[0]; i++)
        sql_run(p, "%s from generate_series(1, %d) i", HISTORY[i], FINISHED);
    for (int i = 0; i < 2; i++)                /* with limits and without */
        sql_run(p, "select test.go('grown')"); /* the session's old plans */
    sql_run(p, "analyze");
    sql_forget(p);
    go(p, "fresh");
    assert_int_equal(whole_reads(p), before);
    /* an index of 200,000 rows has more than 500 leaves; a path down is two blocks longer than in a small one
     */
    assert_string_equal(sql_text(p, "select coalesce(string_agg(format('%%s: %%s, %%s, %%s', step, small, "
                                    "grown, fresh), '; '), '') from test.cost "
                                    "where greatest(grown, fresh) > 3 * small + 100"),
                        "");
    assert_int_equal(
        sql_int(p, "select count(*) from test.cost where small is null or grown is null or fresh is null"),
        0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {PAIR_TEST(test_plans_do_not_grow_with_what_is_finished)};

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
