-- What the person on call asks, and retention. Nothing of this stands on a message's way: questions only read, and what retention deletes nobody
-- waits for.

-- --- retention -------------------------------------------------------------------------------------------------------------------------------
--
-- Each function deletes one batch, oldest first, by an index on the time it counts from, and passes over what someone holds. It returns a row a table
-- with what it deleted there, and none while another instance is at it. Jobs, deliveries and messages name each other by their ids without foreign keys: what is still
-- under way keeps what it needs, the rest goes by its own age. The functions run with their owner's rights: no daemon's role may delete such rows otherwise.

create index if not exists ai_response_queue_ended on ai_response_queue ((coalesce(processed_at, created_at)))
    where status not in ('pending', 'processing', 'error');
create index if not exists deliveries_settled on agwb.deliveries (settled_at) where settled_at is not null;
create index if not exists webhook_inbox_ended on webhook_inbox (status, received_at) where status <> 'pending';
create index if not exists usage_logs_created on usage_logs (created_at);
create index if not exists conversations_updated on conversations (updated_at);

-- True when this transaction is the one that purges.
create or replace function agwb.may_purge() returns boolean
language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended('agwb.purge', 0))
$$;

create or replace function agwb.purge_jobs(p_days integer, p_limit integer) returns table (purged text, rows bigint)
language plpgsql security definer
set search_path = public, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    if not agwb.may_purge() then
        return;
    end if;
    return query
    with old as materialized (
        select q.id from ai_response_queue q
        where q.status not in ('pending', 'processing', 'error')
          and coalesce(q.processed_at, q.created_at) < now() - make_interval(days => p_days)
          -- a scalar, and so one index probe a row: as an anti join the planner may read the whole ledger
          and (select d.job_id from agwb.deliveries d
               where d.job_id = q.id and (d.settled_at is null or (d.state = 'parked' and d.copied_at is null)) limit 1) is null
        order by coalesce(q.processed_at, q.created_at)
        limit p_limit for update of q skip locked
    ), gone as (
        delete from ai_response_queue q where q.id = any (array(select old.id from old)) returning 1)
    select 'ai_response_queue', count(*) from gone;
end
$$;

-- Of these lanes and limit keys those that nothing waits in and no send counts against: a row a contact would stay for ever, else. One is locked first, as by all
-- who change it, and what is in it read with a newer snapshot; make_lanes() relies on the rows that it finds, so where it is at work nothing goes.
create or replace function agwb.purge_lanes(p_lanes text[]) returns bigint
language plpgsql
set search_path = public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_idle text[];
    v_rows bigint;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('agwb.make_lanes', 0)) then
        return 0;
    end if;
    select array_agg(x.lane) into v_idle
    from (select l.lane from agwb.lanes l
          where l.lane = any (p_lanes) and l.due_at is null
            and not exists (select 1 from unnest(l.sends) s (at) where s.at > clock_timestamp() - interval '1 day') -- the longest limits.window_ms
          for update skip locked) x;
    delete from agwb.lanes l
    where l.lane = any (v_idle)
      and not exists (select 1 from agwb.deliveries d where d.lane = l.lane and d.state = 'ready')
      and not exists (select 1 from agwb.deliveries d where d.lane = l.lane and d.state = 'sending')
      and not exists (select 1 from agwb.deliveries d where d.lane = l.lane and d.state = 'uncertain');
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;

-- Finished deliveries with their attempts, receipts and lanes, and receipts that never found theirs.
create or replace function agwb.purge_deliveries(p_days integer, p_limit integer) returns table (purged text, rows bigint)
language plpgsql security definer
set search_path = public, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_before timestamptz := now() - make_interval(days => p_days);
    v_ids text[];
    v_lanes text[];
begin
    if not agwb.may_purge() then
        return;
    end if;
    with old as materialized (
        select d.message_id from agwb.deliveries d
        where d.settled_at < v_before
          and (d.state in ('sent', 'cancelled') or (d.state = 'parked' and d.copied_at is not null))
        order by d.settled_at limit p_limit for update skip locked
    ), gone as (
        delete from agwb.deliveries d where d.message_id = any (array(select old.message_id from old))
        returning d.message_id, d.lane, (agwb.limit_keys(d))[3] as contact)
    select coalesce(array_agg(g.message_id), '{}'), array_agg(distinct g.lane) || array_agg(distinct g.contact)
    into v_ids, v_lanes from gone g;

    return query
    with attempts as (
        delete from agwb.delivery_attempts a where a.message_id = any (v_ids) returning 1
    ), matched as (
        delete from agwb.receipts r where r.message_id = any (v_ids) returning 1
    ), unmatched as (
        delete from agwb.receipts r
        where r.id = any (array(select x.id from agwb.receipts x where x.message_id is null and x.received_at < v_before
                                order by x.received_at limit p_limit for update skip locked))
        returning 1)
    select 'deliveries', cardinality(v_ids)::bigint
    union all select 'delivery_attempts', (select count(*) from attempts)
    union all select 'receipts', (select count(*) from matched) + (select count(*) from unmatched);
    return query select 'lanes', agwb.purge_lanes(v_lanes); -- last: nothing is waited for behind their locks
end
$$;

-- Webhook rows with one of these words.
create or replace function agwb.purge_inbox(p_statuses text[], p_days integer, p_limit integer)
returns table (purged text, rows bigint)
language plpgsql security definer
set search_path = public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    if not agwb.may_purge() then
        return;
    end if;
    return query
    with old as materialized (
        select i.id from webhook_inbox i
        where i.status = any (p_statuses) and i.status <> 'pending' and i.received_at < now() - make_interval(days => p_days)
        limit p_limit for update skip locked
    ), gone as (
        delete from webhook_inbox i using old where i.id = old.id returning 1)
    select 'webhook_inbox', count(*) from gone;
end
$$;

create or replace function agwb.purge_usage(p_days integer, p_limit integer) returns table (purged text, rows bigint)
language plpgsql security definer
set search_path = public, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    if not agwb.may_purge() then
        return;
    end if;
    return query
    with old as materialized (
        select u.id from usage_logs u where u.created_at < now() - make_interval(days => p_days)
        order by u.created_at limit p_limit for update skip locked
    ), gone as (
        delete from usage_logs u using old where u.id = old.id returning 1)
    select 'usage_logs', count(*) from gone;
end
$$;

-- Conversations in which nobody has written for so long and nothing is under way, with their messages: at most p_limit of each. One that a foreign key
-- of another program's table holds stays.
create or replace function agwb.purge_conversations(p_days integer, p_limit integer) returns table (purged text, rows bigint)
language plpgsql security definer
set search_path = public, pg_temp
as $$
declare
    v_before timestamptz := now() - make_interval(days => p_days);
    v_id uuid;
    v_rows bigint;
    v_messages bigint := 0;
    v_conversations bigint := 0;
begin
    if not agwb.may_purge() then
        return;
    end if;
    for v_id in
        select v.id from conversations v
        where v.updated_at < v_before
          and (select m.id from messages m where m.conversation_id = v.id and m.created_at >= v_before limit 1) is null
          and v.id not in (
              select d.conversation_id from agwb.deliveries d where d.state = 'ready' and d.conversation_id is not null
              union all
              select d.conversation_id from agwb.deliveries d where d.state = 'sending' and d.conversation_id is not null
              union all
              select d.conversation_id from agwb.deliveries d where d.state = 'uncertain' and d.conversation_id is not null
              union all
              select q.conversation_id from ai_response_queue q where q.status = 'pending' and q.conversation_id is not null
              union all
              select q.conversation_id from ai_response_queue q where q.status = 'error' and q.conversation_id is not null
              union all
              select q.conversation_id from ai_response_queue q
              where q.status = 'processing' and q.published_at is null and q.conversation_id is not null
              union all
              select q.conversation_id from ai_response_queue q
              where q.status = 'processing' and q.published_at is not null and q.conversation_id is not null)
        order by v.updated_at limit p_limit for update of v skip locked
    loop
        exit when v_messages >= p_limit;
        begin
            delete from messages m
            where m.id in (select x.id from messages x where x.conversation_id = v_id limit p_limit - v_messages);
            get diagnostics v_rows = row_count;
            v_messages := v_messages + v_rows;
            delete from conversations v
            where v.id = v_id and not exists (select 1 from messages m where m.conversation_id = v.id);
            get diagnostics v_rows = row_count;
            v_conversations := v_conversations + v_rows;
        exception when foreign_key_violation then
            null;
        end;
    end loop;
    return query select 'messages', v_messages union all select 'conversations', v_conversations;
end
$$;

-- --- stats -----------------------------------------------------------------------------------------------------------------------------------

-- A row for each kind of work. Finished work counts for as long as spec 001's queues kept it: completed for an hour, failed for a day. outgoing-messages
-- stands for the sending queues, too: its rows are by account.
drop view if exists agwb.queue_stats;
create view agwb.queue_stats as
with inbox as (
    select i.provider, i.account, i.status, i.received_at, i.lease_until from webhook_inbox i where i.status = 'pending'
    union all
    select i.provider, i.account, i.status, i.received_at, null from webhook_inbox i
    where i.status in ('done', 'ignored', 'failed') and i.received_at > now() - interval '1 day'
), jobs as (
    select q.task_type, q.status, q.created_at, q.next_attempt_at, null::timestamptz as ended_at
    from ai_response_queue q where q.status = 'pending'
    union all
    select q.task_type, q.status, q.created_at, q.next_attempt_at, null from ai_response_queue q where q.status = 'error'
    union all
    select q.task_type, q.status, q.created_at, null, null from ai_response_queue q
    where q.status = 'processing' and q.published_at is null
    union all
    select q.task_type, q.status, q.created_at, null, null from ai_response_queue q
    where q.status = 'processing' and q.published_at is not null
    union all
    select q.task_type, q.status, q.created_at, null, coalesce(q.processed_at, q.created_at) from ai_response_queue q
    where q.status not in ('pending', 'processing', 'error') and coalesce(q.processed_at, q.created_at) > now() - interval '1 day'
), deliveries as (
    select d.kind, d.account, d.state, d.accepted_at, d.next_attempt_at, null::timestamptz as settled_at
    from agwb.deliveries d where d.state = 'ready'
    union all
    select d.kind, d.account, d.state, d.accepted_at, null, null from agwb.deliveries d where d.state = 'sending'
    union all
    select d.kind, d.account, d.state, d.accepted_at, null, null from agwb.deliveries d where d.state = 'uncertain'
    union all
    select d.kind, d.account, d.state, d.accepted_at, null, d.settled_at
    from agwb.deliveries d where d.settled_at > now() - interval '1 day' and d.state in ('sent', 'parked', 'cancelled')
)
select 'incoming-messages' as queue, i.provider as kind, i.account,
       count(*) filter (where i.status = 'pending' and (i.lease_until is null or i.lease_until <= now())) as waiting,
       count(*) filter (where i.status = 'pending' and i.lease_until > now()) as active,
       0::bigint as delayed,
       count(*) filter (where i.status in ('done', 'ignored') and i.received_at > now() - interval '1 hour') as completed,
       count(*) filter (where i.status = 'failed') as failed,
       count(*) filter (where i.status in ('done', 'ignored') and i.received_at > now() - interval '5 minutes') / 5.0 as per_minute,
       extract(epoch from now() - min(i.received_at) filter (where i.status = 'pending'))::double precision as oldest_seconds
from inbox i group by i.provider, i.account
union all
select 'ai-processing', coalesce(j.task_type, 'conversation'), null,
       count(*) filter (where j.status = 'pending' and (j.next_attempt_at is null or j.next_attempt_at <= now())),
       count(*) filter (where j.status = 'processing'),
       count(*) filter (where j.status = 'error' or (j.status = 'pending' and j.next_attempt_at > now())),
       count(*) filter (where j.status = agwb.complete_status() and j.ended_at > now() - interval '1 hour'),
       count(*) filter (where j.status = 'failed'),
       count(*) filter (where j.status = agwb.complete_status() and j.ended_at > now() - interval '5 minutes') / 5.0,
       extract(epoch from now() - min(j.created_at) filter (where j.status in ('pending', 'error')))
from jobs j group by coalesce(j.task_type, 'conversation')
union all
select 'outgoing-messages', d.kind, d.account,
       count(*) filter (where d.state = 'ready' and (d.next_attempt_at is null or d.next_attempt_at <= now())),
       count(*) filter (where d.state = 'sending'),
       count(*) filter (where d.state = 'uncertain' or (d.state = 'ready' and d.next_attempt_at > now())),
       count(*) filter (where d.state = 'sent' and d.settled_at > now() - interval '1 hour'),
       count(*) filter (where d.state = 'parked'),
       count(*) filter (where d.state = 'sent' and d.settled_at > now() - interval '5 minutes') / 5.0,
       extract(epoch from now() - min(d.accepted_at) filter (where d.state in ('ready', 'uncertain')))
from deliveries d group by d.kind, d.account;
comment on view agwb.queue_stats is 'waiting, active, delayed: now; completed: in the last hour; failed: in the last day; per_minute: over 5 minutes';

-- Spec 002's figures of the last minutes, in one row. resolved: answered without a person.
create or replace function get_realtime_messaging_metrics(minutes integer default 60)
returns table (
    jobs bigint, completed bigint, failed bigint, cancelled bigint, pending bigint, processing bigint, success_percent numeric,
    average_response_ms numeric, p50_response_ms numeric, p95_response_ms numeric, slowest_response_ms integer,
    within_6s_percent numeric, average_confidence numeric, resolved_percent numeric, fallbacks bigint, sent bigint, undeliverable bigint)
language sql stable
set enable_seqscan = off set jit = off
as $$
    with ended as (
        select q.status, q.response_time_ms, q.ai_confidence, coalesce(v.requires_human, false) as requires_human
        from ai_response_queue q left join conversations v on v.id = q.conversation_id
        where q.status not in ('pending', 'processing', 'error')
          and coalesce(q.processed_at, q.created_at) > now() - make_interval(mins => minutes)
    ), settled as (
        select d.kind, d.state from agwb.deliveries d where d.settled_at > now() - make_interval(mins => minutes)
    )
    select count(*),
           count(*) filter (where e.status = agwb.complete_status()),
           count(*) filter (where e.status = 'failed'),
           count(*) filter (where e.status = 'cancelled'),
           (select count(*) from ai_response_queue q where q.status = 'pending'),
           (select count(*) from ai_response_queue q where q.status = 'processing' and q.published_at is null)
               + (select count(*) from ai_response_queue q where q.status = 'processing' and q.published_at is not null),
           round(100.0 * count(*) filter (where e.status = agwb.complete_status())
                 / nullif(count(*) filter (where e.status <> 'cancelled'), 0), 1),
           round(avg(e.response_time_ms)),
           round(percentile_cont(0.5) within group (order by e.response_time_ms)::numeric),
           round(percentile_cont(0.95) within group (order by e.response_time_ms)::numeric),
           max(e.response_time_ms),
           round(100.0 * count(*) filter (where e.response_time_ms <= 6000) / nullif(count(e.response_time_ms), 0), 1),
           round(avg(e.ai_confidence), 3),
           round(100.0 * count(*) filter (where e.status = agwb.complete_status() and not e.requires_human)
                 / nullif(count(*) filter (where e.status <> 'cancelled'), 0), 1),
           (select count(*) from settled s where s.kind = 'fallback' and s.state = 'sent'),
           (select count(*) from settled s where s.state = 'sent'),
           (select count(*) from settled s where s.state = 'parked')
    from ended e
$$;

-- What waits too long, for the alerts. Not counted far beyond p_limit: a deep backlog costs no more than a shallow one.
create or replace function agwb.backlog(p_limit bigint)
returns table (jobs bigint, oldest_job_ms bigint, replies bigint, oldest_reply_ms bigint)
language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    select count(*) into jobs from (select 1 from ai_response_queue q where q.status = 'pending' limit p_limit + 1) x;
    select (extract(epoch from now() - min(x.created_at)) * 1000)::bigint into oldest_job_ms
    from generate_series(1, 5) p (priority),
         lateral (select q.created_at from ai_response_queue q
                  where q.status = 'pending' and q.priority = p.priority
                    and (q.next_attempt_at is null or q.next_attempt_at <= now()) order by q.created_at limit 1) x;
    select count(*), (extract(epoch from now() - min(x.accepted_at)) * 1000)::bigint into replies, oldest_reply_ms
    from (select d.accepted_at from agwb.deliveries d where d.state = 'ready' limit greatest(p_limit + 1, 10000)) x;
    return next;
end
$$;

-- --- trace -----------------------------------------------------------------------------------------------------------------------------------

-- What an id stands for: a job's, a reply's (messageId), a row's of messages, a provider's id of what was received or sent. message: the contact's.
create or replace function agwb.trace_find(p_id text, out job uuid, out message uuid, out replies text[])
language plpgsql stable as $$
declare
    v_reply text;
begin
    select q.id into job from ai_response_queue q where q.id = agwb.job_of_message(p_id);
    if job is null then
        select d.message_id into v_reply from agwb.deliveries d where d.message_id = p_id;
    end if;
    if job is null and v_reply is null then
        select d.message_id into v_reply from agwb.deliveries d where d.provider_message_id = p_id order by d.seq desc limit 1;
    end if;
    if job is null and v_reply is null then -- of one part of it
        select a.message_id into v_reply from agwb.delivery_attempts a
        where a.provider_message_id = p_id or a.receipt_id = p_id order by a.id desc limit 1;
    end if;
    if job is null and v_reply is null then
        select r.message_id into v_reply from agwb.receipts r
        where r.provider_message_id = p_id and r.message_id is not null order by r.id desc limit 1;
    end if;
    if job is null and v_reply is null then
        select case when m.sender_type = 'user' then m.id end, m.metadata ->> 'messageId' into message, v_reply
        from messages m where m.id = agwb.job_of_message(p_id) or m.external_id = p_id order by m.created_at desc limit 1;
    end if;

    if v_reply is not null then
        select d.job_id into job from agwb.deliveries d where d.message_id = v_reply;
    elsif message is not null then
        select q.id into job from ai_response_queue q where q.message_id = trace_find.message order by q.created_at limit 1;
    end if;
    message := coalesce(message, (select q.message_id from ai_response_queue q where q.id = job));
    select coalesce(array_agg(d.message_id order by d.seq), '{}') into replies
    from agwb.deliveries d where d.message_id = v_reply or d.job_id = job;
end
$$;

-- The whole way of a message, a row an event, in the order of time. id: what it is known by there; facts: an object, its members in the order to be shown;
-- body: what was said. took_ms: how long the event itself took. The last rows say how it stands now, where it is not over.
create or replace function agwb.trace(p_id text)
returns table (at timestamptz, event text, id text, took_ms bigint, facts text, body text)
language plpgsql stable as $$
#variable_conflict use_column
declare
    f record;
begin
    select * into f from agwb.trace_find(p_id);

    return query
    select x.at, x.event, x.id, x.took_ms, json_strip_nulls(x.facts)::text, x.body
    from (
        select i.received_at as at, 1 as step, 'webhook received' as event, i.id::text as id, null::bigint as took_ms,
               json_build_object('provider', i.provider, 'account', i.account, 'status', i.status, 'error', i.error) as facts, null as body
        from webhook_inbox i
        where i.id = (select agwb.job_of_message(m.metadata ->> 'inboxId') from messages m where m.id = f.message)
        union all
        select m.created_at, 2, 'message stored', m.id::text, null,
               json_build_object('externalId', m.external_id, 'contentType', m.content_type, 'noJob', m.metadata ->> 'noJob'), m.content
        from messages m where m.id = f.message
        union all
        select q.created_at, 3, 'job created', q.id::text, null,
               json_build_object('taskType', q.task_type, 'priority', q.priority), q.user_message
        from ai_response_queue q where q.id = f.job
        union all
        select q.published_at, 4, 'published and confirmed', q.id::text, null, json_build_object('attempts', q.attempts), null
        from ai_response_queue q where q.id = f.job and q.published_at is not null
        union all
        select d.accepted_at, 6, d.kind || ' accepted', d.message_id, null,
               json_build_object('account', d.account, 'channel', d.channel, 'contact', d.address, 'agentSaysAt', d.published_at, 'replay', nullif(d.replay, 0)),
               convert_from(d.payload, 'UTF8')
        from agwb.deliveries d where d.message_id = any (f.replies)
        union all
        select a.started_at, 7, 'attempt', a.message_id, (extract(epoch from a.ended_at - a.started_at) * 1000)::bigint,
               json_build_object('account', a.account, 'part', case when exists (select 1 from agwb.delivery_attempts o where o.message_id = a.message_id and o.part > 0) then a.part + 1 end, 'outcome', a.outcome,
                                 'disposition', a.disposition, 'httpStatus', a.http_status, 'providerCode', nullif(a.provider_code, ''),
                                 'detail', nullif(a.detail, ''), 'providerMessageId', a.provider_message_id), null
        from agwb.delivery_attempts a where a.message_id = any (f.replies)
        union all
        -- in the order of our own clock: many providers tell whole seconds, before the message itself
        select r.received_at, 8, 'receipt', r.message_id, null,
               json_build_object('status', r.status, 'providerSaysAt', r.at, 'code', nullif(r.code, ''), 'detail', nullif(r.detail, ''),
                                 'account', r.account, 'part', r.part, 'providerMessageId', r.provider_message_id), null
        from agwb.receipts r where r.message_id = any (f.replies)
        union all
        select d.settled_at, 9, d.kind || ' ' || d.state, d.message_id, null,
               json_build_object('reason', nullif(d.reason, ''), 'attempts', d.attempts, 'providerMessageId', d.provider_message_id), null
        from agwb.deliveries d where d.message_id = any (f.replies) and d.settled_at is not null
        union all
        select d.copied_at, 10, 'copied to wb_parked', d.message_id, null, json_build_object(), null
        from agwb.deliveries d where d.message_id = any (f.replies) and d.copied_at is not null
        union all
        select u.at, 11, u.action || ' by an operator', u.message_id, null,
               json_build_object('who', u.who, 'queue', u.queue, 'generation', u.n, 'result', coalesce(u.result, 'begun')), null
        from agwb.audit u where u.message_id = any (f.replies || f.job::text)
        union all
        select q.processed_at, 12, 'job ' || q.status, q.id::text, null, json_build_object('error', q.error), null
        from ai_response_queue q where q.id = f.job and q.processed_at is not null
        union all
        select now(), 13, 'now: job ' || q.status, q.id::text, null,
               json_build_object('error', q.error, 'nextAttemptAt', q.next_attempt_at, 'lease', q.lease_owner), null
        from ai_response_queue q where q.id = f.job and q.status in ('pending', 'processing', 'error')
        union all
        select now(), 14, 'now: ' || d.kind || ' ' || d.state, d.message_id, null,
               json_build_object('reason', nullif(d.reason, ''), 'attempts', d.attempts, 'nextAttemptAt', d.next_attempt_at,
                                 'lease', d.lease_owner, 'ahead', (
                   select nullif(count(*), 0) from agwb.deliveries o
                   where o.lane = d.lane and (o.state = 'sending' or (o.state = 'ready' and (o.rank, o.seq) < (d.rank, d.seq))))), null
        from agwb.deliveries d where d.message_id = any (f.replies) and d.state in ('ready', 'sending', 'uncertain')
    ) x (at, step, event, id, took_ms, facts, body)
    order by x.at, x.step, x.id;
end
$$;

-- The newest messages from or to a person, to choose from. p_number: E.164, or ''; p_jid: or ''.
create or replace function agwb.trace_contact(p_number text, p_jid text, p_limit integer)
returns table (at timestamptz, id text, what text, state text, channel text)
language sql stable as $$
    with who as materialized (
        select c.id from customer_profiles c
        where (p_number <> '' and c.phone_number = p_number) or (p_jid <> '' and c.remote_jid = p_jid)
           or (p_number <> '' and c.remote_jid in (substr(p_number, 2) || '@s.whatsapp.net', substr(p_number, 2) || '@c.us'))
    ), jobs as (
        select q.created_at as at, q.id::text as id, 'job' as what, q.status as state, null::text as channel
        from ai_response_queue q where q.contact_id in (select w.id from who w) order by q.created_at desc limit p_limit
    ), replies as (
        select d.accepted_at, d.message_id, d.kind, d.state, d.channel
        from agwb.deliveries d
        where d.contact_id in (select w.id from who w) or d.address = nullif(p_number, '') or d.address = nullif(p_jid, '')
        order by d.accepted_at desc limit p_limit
    )
    select x.* from (select * from jobs union all select * from replies) x order by x.at desc limit p_limit
$$;
