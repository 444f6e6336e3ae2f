-- What test_plans.c measures with: each statement that the daemons run for a row or a batch, in a round that takes a few messages every way there is, under
-- EXPLAIN (ANALYZE, BUFFERS). Blocks go into test.cost by phase; the statements and their texts are the daemons', with values in place of parameters.

create table test.cost (step text, phase text, blocks bigint, primary key (step, phase));
create table test.taken (id uuid);                       -- jobs of this round
create table test.claimed (message_id text, fence integer);  -- deliveries of this claim
create sequence test.round;

create function test.run(p_step text, p_statement text) returns void language plpgsql as $$
declare
    v_plan json;
begin
    execute 'explain (analyze, buffers, format json) ' || p_statement into v_plan;
    insert into test.cost
    values (p_step, current_setting('test.phase'), (v_plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (v_plan->0->'Plan'->>'Shared Read Blocks')::bigint)
    on conflict (step, phase) do update set blocks = excluded.blocks;
end
$$;

-- A reply to p_job, or to nobody, from contact n.
create function test.accept(p_step text, p_id text, p_job uuid, n integer, p_slots integer, p_limit integer default 0) returns void language plpgsql as $$
begin
    perform test.run(p_step, format(
        $q$select * from agwb.accept_replies(array[%L], array[%L]::uuid[], '{success}', '{t}', '{NULL}', array[%L], '{whatsapp}', '{NULL}', '{NULL}', '{NULL}',
           '{1}', array[convert_to('{"response":{"text":"an answer to %s"}}', 'UTF8')], '{NULL}', '{0}',
           '[{"name":"wa","channel":"whatsapp","default":true,"workspaces":[]}]', 'c:1', %s, 60000, true, true, '{}', '{}',
           %s, %s, %s, 1000)$q$,
        p_id, p_job, '+1202555' || lpad((100 + n)::text, 4, '0'), p_id, p_slots, p_limit, p_limit, p_limit));
end
$$;

create function test.claim(p_step text, p_limit integer) returns void language plpgsql as $$
begin
    delete from test.claimed;
    perform test.run(p_step, format(
        $q$insert into test.claimed select message_id, fence
           from agwb.claim_deliveries('c:1', 10, 60000, true, true, '{}', null, '{}', %s, %s, %s, 1000) where message_id is not null$q$, p_limit, p_limit, p_limit));
end
$$;

create function test.settle(p_step text, p_state text, p_outcome text, p_disposition text) returns void language plpgsql as $$
begin
    perform test.run(p_step, format(
        $q$select * from agwb.settle_deliveries(array[%s]::text[], array[%s]::integer[], array[%s], array[%s], array[%s], array[%s], array[%s]::text[],
           array[%s]::bigint[], array[%s]::bigint[], array[%s], array[%s]::text[], array[%s], array[%s], array[%s]::text[], array[%s]::text[], array[%s]::text[],
           '{}', 1000, 1000, 1000, 1000, false)$q$,
        string_agg(quote_literal(c.message_id), ','), string_agg(c.fence::text, ','), string_agg(quote_literal(p_state), ','), string_agg('0', ','),
        string_agg('true', ','), string_agg(quote_literal('at-' || c.message_id), ','), string_agg('null', ','), string_agg('1', ','), string_agg('2', ','),
        string_agg('200', ','), string_agg('null', ','), string_agg(quote_literal(p_outcome), ','), string_agg(quote_literal(p_disposition), ','),
        string_agg('null', ','), string_agg('null', ','), string_agg('null', ',')))
    from test.claimed c having count(*) > 0;
end
$$;

create function test.publish(v_round bigint) returns void language plpgsql as $$
declare
    v_jobs uuid[];
    v_more uuid;
    v_all text;
begin
    v_jobs := array[test.job(1, 'question ' || v_round), test.job(2, 'question ' || v_round), test.job(3, 'question ' || v_round)];
    truncate test.taken;
    perform test.run('claim_jobs', $q$insert into test.taken select id from agwb.claim_jobs('p', 10, 60000, 10, 0, 0, 60000, 300000)$q$);
    v_more := test.job(4, 'question ' || v_round);
    perform test.run('claim_jobs, limits', $q$insert into test.taken select id from agwb.claim_jobs('p', 10, 60000, 10, 1000, 1000, 1000, 300000)$q$);
    perform test.run('renew_jobs', format($q$select agwb.renew_jobs('p', %L, 60000)$q$, array[v_more]));
    select array_agg(t.id)::text into v_all from test.taken t where t.id <> all (v_jobs); -- also what the last round's webhooks asked
    perform test.run('record_jobs', format(
        $q$select agwb.record_jobs('p', %1$L, array_fill('refused'::text, array[cardinality(%1$L::uuid[])]), array_fill('no'::text, array[cardinality(%1$L::uuid[])]),
           array_fill(0::bigint, array[cardinality(%1$L::uuid[])]), 1000, 1000)$q$, v_all));
    perform test.run('record_published', format($q$select agwb.record_published('p', %L, 1000, 1000)$q$, v_jobs));
    perform test.run('overdue_jobs', 'select * from agwb.overdue_jobs(0, 100)');
    perform test.accept('accept_replies', 'm-' || v_round || '-1', v_jobs[1], 1, 1);
    perform test.accept('accept_replies, limits', 'm-' || v_round || '-5', null, 7, 1, 1000);
    perform test.accept('accept_replies, waits', 'm-' || v_round || '-2', v_jobs[2], 2, 0);
    perform test.run('fail_requests', format(
        $q$select * from agwb.fail_requests(array[%L]::uuid[], array[%L], '{dead}', '{f}', '{}', 'Sorry', 0,
           '[{"name":"wa","channel":"whatsapp","default":true,"workspaces":[]}]')$q$, v_jobs[3], 'f-' || v_round));
    perform test.run('sweep_jobs', 'select * from agwb.sweep_jobs(500)');
    perform test.run('backlog', 'select * from agwb.backlog(1000)');
end
$$;

create function test.deliver(v_round bigint) returns void language plpgsql as $$
begin
    perform test.claim('claim_deliveries', 0);
    insert into test.claimed values ('m-' || v_round || '-1', 1), ('m-' || v_round || '-5', 1); -- claimed as they were accepted
    perform test.settle('settle_deliveries', 'sent', 'DELIVERED', 'done');
    perform test.accept('accept_replies, no job', 'm-' || v_round || '-3', null, 5, 0);
    perform test.accept('accept_replies, no job', 'm-' || v_round || '-4', null, 6, 0);
    perform test.claim('claim_deliveries, limits', 1000);
    perform test.run('release_deliveries', format($q$select agwb.release_deliveries(%L, %L)$q$, array_agg(c.message_id), array_agg(c.fence))) from test.claimed c;
    perform test.claim('claim_deliveries, limits', 1000);
    perform test.settle('settle_deliveries, again', 'ready', 'TEMPFAIL', 'retry');
    perform test.claim('claim_deliveries, limits', 1000);
    delete from test.claimed c where c.message_id like '%-4';
    perform test.settle('settle_deliveries, parked', 'parked', 'PERMFAIL', 'park');
    delete from test.claimed;
    insert into test.claimed select d.message_id, d.fence from agwb.deliveries d where d.message_id = 'm-' || v_round || '-4';
    perform test.settle('settle_deliveries, uncertain', 'uncertain', 'UNCERTAIN', 'reconcile');
    perform test.run('release_claim', $q$select agwb.release_claim('nobody')$q$);
    perform test.run('claim_parked', $q$select * from agwb.claim_parked('c:1', 100, 60000)$q$);
    perform test.run('mark_parked', format($q$select agwb.mark_parked(array[%L], false)$q$, 'm-' || v_round || '-3'));
    perform test.run('sweep_deliveries', 'select * from agwb.sweep_deliveries(500, 60000, false)');
end
$$;

-- A webhook that brings a question, one that reports on what was sent: delivered, failed, an echo, and the proof of what was uncertain.
create function test.hear(v_round bigint) returns void language plpgsql as $$
declare
    v_ids uuid[];
begin
    with made as (
        insert into webhook_inbox (provider, account, body) values ('wasender', 'wa', '{}'), ('wasender', 'wa', '{}') returning id)
    select array_agg(m.id) into v_ids from made m;
    perform test.run('claim_inbox', $q$select * from agwb.claim_inbox('p', 100, 60000, 1000000, 1000000)$q$);
    perform test.run('record_inbox', format(
        $q$select * from agwb.record_inbox('p', %L, '{done,done}', '{NULL,NULL}', %L, %L, 0, 0)$q$, v_ids,
        json_build_array(json_build_object('row', v_ids[1], 'externalId', 'in-' || v_round, 'provider', 'wasender', 'account', 'wa', 'workspaces', '[]'::json,
                                           'channel', 'whatsapp', 'number', '+12025550107', 'text', 'a question', 'contentType', 'text', 'sentMs', 1)),
        (select json_agg(json_build_object('row', v_ids[2], 'provider', 'wasender', 'account', 'wa', 'atMs', (extract(epoch from clock_timestamp()) * 1000)::bigint)::jsonb || r.news)
         from (values (jsonb_build_object('externalId', 'at-m-' || v_round || '-1', 'status', 'DELIVERED')),
                      (jsonb_build_object('externalId', 'at-m-' || v_round || '-2', 'status', 'FAILED', 'code', '1')),
                      (jsonb_build_object('externalId', 'echo-' || v_round, 'status', 'SENT', 'recipient', '+12025550101',
                                          'text', 'an answer to m-' || v_round || '-1')),
                      (jsonb_build_object('ourId', 'm-' || v_round || '-4', 'status', 'DELIVERED'))) r (news))));
    perform test.run('apply_receipts', 'select * from agwb.apply_receipts(100)');
    perform test.run('claim_bounces', $q$select * from agwb.claim_bounces(100, '{}')$q$);
    perform test.run('settle_bounces', format(
        $q$select agwb.settle_bounces(array[%s]::bigint[], array[%L], '{1}', '{0}', '{1}', '{NULL}', '{0}', '{NULL}', '{1}', '{PERMFAIL}', '{park}', '{NULL}',
           '{NULL}', '{}')$q$, b.receipt_id, b.message_id))
    from agwb.claim_bounces(1, '{}') b;
    perform test.claim('claim_deliveries', 0); -- what a receipt proved goes on
    perform test.settle('settle_deliveries', 'sent', 'DELIVERED', 'done');
end
$$;

-- Receipts of what is finished go with their deliveries, and are not walked over for those that found none.
create function test.purge() returns void language plpgsql as $$
declare
    v_days integer := case current_setting('test.phase') when 'small' then 0 else 1 end;
begin
    perform test.run('purge_jobs', 'select * from agwb.purge_jobs(0, 10)');
    perform test.run('purge_deliveries', format('select * from agwb.purge_deliveries(%s, 10)', v_days));
    perform test.run('purge_inbox', $q$select * from agwb.purge_inbox('{done,ignored}', 0, 10)$q$);
    perform test.run('purge_usage', 'select * from agwb.purge_usage(0, 10)');
    perform test.run('purge_conversations', 'select * from agwb.purge_conversations(1000, 10)');
end
$$;

create function test.go(p_phase text) returns void language plpgsql as $$
declare
    v_round bigint := nextval('test.round');
begin
    perform set_config('test.phase', p_phase, false);
    perform test.publish(v_round);
    perform test.deliver(v_round);
    perform test.hear(v_round);
    perform test.purge();
end
$$;
