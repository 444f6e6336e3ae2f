-- What agwb-publisher calls. An operator whose tables look different replaces these functions, not the program.
--
-- Every one of these statements touches some hundred rows of large tables, by index. The planner does not know that on tables that just filled up or
-- emptied; hence the settings on the functions: nested loops over indexes are always right here, and never worse than a little.
--
-- Planning the two statements that every row passes (claim_jobs, record_published) costs as much as running them, so a session plans each once and
-- keeps it, whatever the tables hold by then. That is sound as long as they can be planned in one way only: an index for every order and lookup
-- (no sort, no bitmap), lookups fenced by `offset 0` so that they are neither reordered nor turned round, ids as an array and not as a join.

-- Claims up to p_limit pending jobs for p_owner that wait for no further message (next_attempt_at), and returns what a request is built from. A row with `refused` or `fault` is claimed
-- like the others and wants record_jobs() with that reason. p_jobs_in_flight and p_jobs_per_window are limits, 0 = off; in_flight counts
-- published, unanswered jobs younger than p_ttl_ms.
create or replace function agwb.claim_jobs(
    p_owner text, p_limit integer, p_lease_ms bigint, p_history integer,
    p_jobs_in_flight integer, p_jobs_per_window integer, p_window_ms bigint, p_ttl_ms bigint)
returns table (
    id uuid, task_type text, priority integer, attempts integer, created_ms bigint,
    workspace_id uuid, contact_id uuid, conversation_id uuid, channel text,
    remote_jid text, phone_number text, name text, country_code text, notes text, session_data text,
    message_text text, message_id text, message_at bigint, history text,
    refused text, fault text)
language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    v_limit integer := p_limit;
    v_until timestamptz := clock_timestamp() + p_lease_ms * interval '1 millisecond';
begin
    if p_jobs_in_flight > 0 or p_jobs_per_window > 0 then
        v_limit := agwb.jobs_allowed(p_limit, v_until, p_jobs_in_flight, p_jobs_per_window,
                                     p_window_ms * interval '1 millisecond', p_ttl_ms * interval '1 millisecond');
        if v_limit <= 0 then
            return;
        end if;
    end if;
    return query
    with due as materialized (
        select q.id from ai_response_queue q
        where q.status = 'pending' and (q.next_attempt_at is null or q.next_attempt_at <= clock_timestamp())
        order by q.priority, q.created_at
        limit v_limit
        for update skip locked
    ), claimed as materialized (
        update ai_response_queue q
        set status = 'processing', attempts = coalesce(q.attempts, 0) + 1, lease_owner = p_owner,
            lease_until = v_until,
            published_at = null, next_attempt_at = null, error = null
        where q.id = any (array(select d.id from due d))
        returning q.*
    )
    select q.id, coalesce(nullif(q.task_type, ''), 'conversation'), coalesce(q.priority, 5), q.attempts,
           (extract(epoch from q.created_at) * 1000)::bigint,
           coalesce(q.workspace_id, c.workspace_id, v.workspace_id), c.id, v.id, v.channel_type,
           nullif(c.remote_jid, ''), nullif(c.phone_number, ''), c.name, nullif(c.country_code, ''), c.notes,
           case when jsonb_typeof(v.session_data) = 'object' then v.session_data::text end,
           coalesce(nullif(q.user_message, ''), m.content),
           coalesce(nullif(m.external_id, ''), m.id::text, q.id::text),
           extract(epoch from coalesce(m.created_at, q.created_at))::bigint,
           h.history,
           case
               when w.ai_enabled is false then 'AI is switched off for the workspace'
               when c.ai_enabled is false then 'AI is switched off for the customer'
               when c.opted_out_at is not null then 'the customer has opted out'
           end,
           case
               when c.id is null and coalesce(q.contact_id, v.customer_id) is null then 'job names no contact'
               when c.id is null then 'contact ' || coalesce(q.contact_id, v.customer_id) || ' not found in customer_profiles'
               when q.message_id is not null and m.id is null and coalesce(q.user_message, '') = ''
                   then 'message ' || q.message_id || ' not found in messages'
               when coalesce(q.user_message, m.content, '') !~ '\S' then 'job has no text: user_message and messages.content are empty'
               when coalesce(c.remote_jid, '') = '' and coalesce(c.phone_number, '') = '' and coalesce(c.external_id, '') = ''
                    and coalesce(v.channel_type, 'whatsapp') in ('whatsapp', 'sms')
                   then 'contact ' || c.id || ' has neither phone_number nor remote_jid'
           end
    from claimed q
    left join lateral (
        select p.id, p.conversation_id, p.content, p.external_id, p.created_at from messages p
        where p.id = q.message_id offset 0
    ) m on true
    left join lateral (
        select p.id, p.workspace_id, p.customer_id, p.channel_type, p.session_data from conversations p
        where p.id = coalesce(q.conversation_id, m.conversation_id) offset 0
    ) v on true
    left join lateral (
        select p.id, p.workspace_id, p.remote_jid, p.phone_number, p.external_id, p.name, p.country_code, p.notes, p.ai_enabled, p.opted_out_at
        from customer_profiles p where p.id = coalesce(q.contact_id, v.customer_id) offset 0
    ) c on true
    left join lateral (
        select p.ai_enabled from workspaces p where p.id = coalesce(q.workspace_id, c.workspace_id, v.workspace_id) offset 0
    ) w on true
    left join lateral (
        -- the last messages before the one asked about, oldest first; together never too long for a request. left() counts characters one by
        -- one, json_build_object() looks up its arguments' types for every row: this runs ten times a job
        select '[' || string_agg(
                   case when x.sender_type = 'user' then '{"role":"user","content":' else '{"role":"assistant","content":' end
                   || case when octet_length(x.content) <= 50000 / greatest(p_history, 1) then to_json(x.content)::text
                           else to_json(coalesce(left(x.content, 50000 / greatest(p_history, 1)), ''))::text end || '}',
                   ',' order by x.created_at, x.sender_type desc) || ']' as history
        from (select p.sender_type, p.content, p.created_at
              from messages p
              where p.conversation_id = v.id and p.id is distinct from q.message_id
                and (m.created_at is null or p.created_at <= m.created_at)
              order by p.created_at desc
              limit p_history) x
    ) h on true
    order by coalesce(q.priority, 5), q.created_at;
end
$$;

-- How many of p_wanted jobs the limits allow now; takes their places until p_until. Serialised by the limit's row.
create or replace function agwb.jobs_allowed(
    p_wanted integer, p_until timestamptz, p_in_flight integer, p_per_window integer, p_window interval, p_ttl interval)
returns integer
language plpgsql
set plan_cache_mode = auto set enable_bitmapscan = on set enable_sort = on -- not claim_jobs()'s: what counts here joins a ledger of any size
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_allowed integer := p_wanted;
    v_now timestamptz;
begin
    insert into agwb.lanes (lane) values ('limit:jobs') on conflict do nothing;
    perform 1 from agwb.lanes where lane = 'limit:jobs' for update;
    v_now := clock_timestamp();
    if p_in_flight > 0 then
        v_allowed := least(v_allowed, p_in_flight - (
            select count(*) from ai_response_queue q
            where q.status = 'processing' and q.published_at is not null and q.published_at > v_now - p_ttl
              and not exists (select 1 from agwb.deliveries d where d.job_id = q.id)
        )::integer - (
            select count(*) from ai_response_queue q
            where q.status = 'processing' and q.published_at is null and q.lease_until > v_now
        )::integer);
    end if;
    -- not more than there are, so that the window counts jobs and not wishes
    v_allowed := least(v_allowed, (select count(*) from
        (select 1 from ai_response_queue q
         where q.status = 'pending' and (q.next_attempt_at is null or q.next_attempt_at <= v_now)
         limit greatest(v_allowed, 0)) x)::integer);
    if p_per_window > 0 then
        v_allowed := least(v_allowed, p_per_window - coalesce((
            select sum(s.n) from agwb.lanes l, unnest(l.sends, l.counts) s (at, n)
            where l.lane = 'limit:jobs' and s.at > v_now - p_window), 0)::integer);
        if v_allowed > 0 then
            perform agwb.limit_take('limit:jobs', v_allowed, p_until, p_window);
        end if;
    end if;
    return greatest(v_allowed, 0);
end
$$;

-- The claims that were counted until p_until have ended: those published count from now on, the others not at all.
create or replace function agwb.end_jobs(p_untils timestamptz[], p_published boolean, p_per_window integer, p_window interval) returns void
language sql as $$
    select agwb.limit_end('limit:jobs', x.n, x.until, case when p_published then clock_timestamp() end, p_per_window, p_window)
    from (select u.until, count(*)::integer as n from unnest(p_untils) u (until) where p_per_window > 0 group by u.until order by 1) x
$$;

-- The publisher still holds these claims: a blocked broker answers late, and an expired lease would ask the agent twice.
create or replace function agwb.renew_jobs(p_owner text, p_ids uuid[], p_lease_ms bigint) returns integer
language sql as $$
    with locked as materialized (
        select q.id from ai_response_queue q where q.id = any (p_ids) and q.lease_owner = p_owner order by q.id for update
    ), renewed as (
        update ai_response_queue q set lease_until = greatest(q.lease_until, clock_timestamp() + p_lease_ms * interval '1 millisecond')
        from locked r where q.id = r.id
        returning 1)
    select count(*)::integer from renewed
$$;

-- The broker confirmed these requests. The status stays: a fast agent's reply may have ended the job already. A row whose lease was lost meanwhile and
-- that nobody has claimed since is taken back: it was published. Rows are locked in the order of their ids, as accept_replies() does, or a fast agent's
-- replies would deadlock with this: the update has that order from the index that it alone can use.
create or replace function agwb.record_published(p_owner text, p_ids uuid[], p_jobs_per_window integer, p_window_ms bigint)
returns integer
language plpgsql
set plan_cache_mode = force_generic_plan set jit = off
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_untils timestamptz[];
    v_count integer;
begin
    if p_jobs_per_window > 0 then -- the update forgets the leases
        select array_agg(x.lease_until) into v_untils
        from (select q.lease_until from ai_response_queue q
              where q.id = any (p_ids)
                and (q.lease_owner = p_owner or (q.status = 'pending' and q.lease_owner is null and coalesce(q.rescues, 0) > 0))
              order by q.id for update) x;
    end if;
    update ai_response_queue q
    set published_at = clock_timestamp(), lease_owner = null, lease_until = null,
        status = case q.status when 'pending' then 'processing' else q.status end,
        attempts = q.attempts + case q.status when 'pending' then 1 else 0 end
    where q.id = any (p_ids)
      and (q.lease_owner = p_owner or (q.status = 'pending' and q.lease_owner is null and coalesce(q.rescues, 0) > 0));
    get diagnostics v_count = row_count;
    if p_jobs_per_window > 0 then
        perform agwb.end_jobs(v_untils, true, p_jobs_per_window, p_window_ms * interval '1 millisecond');
    end if;
    return v_count;
end
$$;

-- Ends or gives back claimed jobs. p_results: 'returned' (not the row's fault: pending again, attempt given back), 'refused' (cancelled with the
-- reason), 'fault' (the row's own: again after p_waits_ms, or failed for good when that is negative).
create or replace function agwb.record_jobs(
    p_owner text, p_ids uuid[], p_results text[], p_reasons text[], p_waits_ms bigint[],
    p_jobs_per_window integer, p_window_ms bigint)
returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_untils timestamptz[];
begin
    with locked as materialized (
        select q.id, q.lease_until from ai_response_queue q
        where q.id = any (p_ids) and q.lease_owner = p_owner and q.status = 'processing' order by q.id for update
    ), done as (
        update ai_response_queue q
        set status = case r.result when 'returned' then 'pending' when 'refused' then 'cancelled'
                     else case when r.wait_ms < 0 then 'failed' else 'error' end end,
            attempts = q.attempts - case r.result when 'returned' then 1 else 0 end,
            error = r.reason,
            next_attempt_at = case when r.result = 'fault' and r.wait_ms >= 0
                              then clock_timestamp() + r.wait_ms * interval '1 millisecond' end,
            processed_at = case when r.result = 'refused' or (r.result = 'fault' and r.wait_ms < 0) then clock_timestamp() end,
            lease_owner = null, lease_until = null
        from locked join unnest(p_ids, p_results, p_reasons, p_waits_ms) r (id, result, reason, wait_ms) using (id)
        where q.id = r.id
        returning locked.lease_until)
    select array_agg(d.lease_until) into v_untils from done d;
    if p_jobs_per_window > 0 then
        perform agwb.end_jobs(v_untils, false, p_jobs_per_window, p_window_ms * interval '1 millisecond');
    end if;
    return coalesce(cardinality(v_untils), 0);
end
$$;

-- The chores between claims: due retries become pending, expired leases are rescued. A job whose reply is in the ledger was evidently published and is
-- never asked again. next_due_ms: when to come back for the next retry or lease; null = nothing waits.
create or replace function agwb.sweep_jobs(p_limit integer)
returns table (retried integer, rescued integer, given_up integer, next_due_ms bigint, oldest_pending_ms bigint)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    with due as (
        select q.id from ai_response_queue q
        where q.status = 'error' and q.next_attempt_at <= v_now
        order by q.next_attempt_at limit p_limit for update skip locked)
    update ai_response_queue q set status = 'pending', next_attempt_at = null from due where q.id = due.id;
    get diagnostics retried = row_count;

    with expired as (
        select q.id, exists (select 1 from agwb.deliveries d where d.job_id = q.id) as answered
        from ai_response_queue q
        where q.status = 'processing' and q.published_at is null and q.lease_until <= v_now
        order by q.lease_until limit p_limit for update skip locked
    ), saved as (
        update ai_response_queue q
        set status = case when e.answered then q.status when coalesce(q.rescues, 0) >= 20 then 'failed' else 'pending' end,
            published_at = case when e.answered then v_now end,
            attempts = case when e.answered then q.attempts else greatest(q.attempts - 1, 0) end,
            rescues = coalesce(q.rescues, 0) + case when e.answered then 0 else 1 end,
            error = case when not e.answered and coalesce(q.rescues, 0) >= 20
                    then 'lease expired more than 20 times: the publisher dies or stalls on this job' end,
            processed_at = case when not e.answered and coalesce(q.rescues, 0) >= 20 then v_now end,
            lease_owner = null, lease_until = null
        from expired e where q.id = e.id
        returning q.status)
    select count(*) filter (where s.status = 'pending'), count(*) filter (where s.status = 'failed')
    into rescued, given_up from saved s;

    select case when min(x.at) > v_now then (extract(epoch from min(x.at) - v_now) * 1000)::bigint
                when min(x.at) is not null then 0 end into next_due_ms
    from (select min(q.next_attempt_at) as at from ai_response_queue q where q.status = 'error'
          union all
          select min(q.next_attempt_at) from ai_response_queue q where q.status = 'pending' and q.next_attempt_at > v_now
          union all
          select min(q.lease_until) from ai_response_queue q where q.status = 'processing' and q.published_at is null) x;
    -- one index probe a priority: a deep backlog is not scanned
    select (extract(epoch from v_now - min(x.created_at)) * 1000)::bigint into oldest_pending_ms
    from generate_series(1, 5) p (priority),
         lateral (select q.created_at from ai_response_queue q
                  where q.status = 'pending' and q.priority = p.priority order by q.created_at limit 1) x;
    return next;
end
$$;
