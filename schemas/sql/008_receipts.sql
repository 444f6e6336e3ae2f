-- What providers report of our messages: SENT, DELIVERED, READ, FAILED. A receipt is kept as it came (record_inbox) and then finds its delivery: by the
-- provider's id, by ours where the provider carries it back, else, for the echo of a sent text, by account, address, text and time. One that comes
-- before its delivery is recorded, or before that is finished, stays due for some minutes; settle_deliveries() asks for those of its own ids.

create table if not exists agwb.receipts (
    id                  bigint generated always as identity primary key,
    provider            text not null,
    account             text,
    provider_message_id text,
    our_id              text,                   -- the delivery's message_id, as the provider carried it back
    recipient           text,                   -- E.164, or a JID that hides its number
    body_text           text,                   -- of an echo
    status              text not null check (status in ('SENT', 'DELIVERED', 'READ', 'FAILED')),
    code                text,                   -- FAILED: the provider's
    detail              text,
    at                  timestamptz,            -- the provider's time
    received_at         timestamptz not null default clock_timestamp(),
    message_id          text,                   -- the delivery, once it is found
    part                integer,
    due_at              timestamptz default clock_timestamp(), -- looked at again then; null: done with, or too old
    judged_at           timestamptz             -- FAILED: it is decided what becomes of the delivery
);
create index if not exists receipts_provider on agwb.receipts (provider_message_id) where provider_message_id is not null;
create index if not exists receipts_message on agwb.receipts (message_id) where message_id is not null;
create index if not exists receipts_due on agwb.receipts (due_at) where due_at is not null;
create index if not exists receipts_unjudged on agwb.receipts (id) where status = 'FAILED' and judged_at is null and message_id is not null;
create index if not exists receipts_unmatched on agwb.receipts (received_at) where message_id is null; -- what purge_deliveries() finds by its age
drop index if exists agwb.receipts_received;

-- Where an echo looks among what was sent or given up; the states in doubt have indexes of their own.
create index if not exists deliveries_echo on agwb.deliveries (lane, settled_at) where state in ('sent', 'parked');

-- Keeps receipts, in order: [{provider, account, externalId, ourId, recipient, text, status, code, detail, atMs}, ...]. The same news a second time adds
-- nothing.
create or replace function agwb.add_receipts(p_receipts jsonb) returns integer
language plpgsql as $$
declare
    v_count integer;
begin
    insert into agwb.receipts (provider, account, provider_message_id, our_id, recipient, body_text, status, code, detail, at)
    select f.r ->> 'provider', f.r ->> 'account', f.r ->> 'externalId', f.r ->> 'ourId', f.r ->> 'recipient', f.r ->> 'text',
           f.r ->> 'status', f.r ->> 'code', f.r ->> 'detail', to_timestamp((f.r ->> 'atMs')::bigint / 1000.0)
    from (select distinct on (x.value ->> 'provider', x.value ->> 'account', coalesce(x.value ->> 'externalId', x.position::text), x.value ->> 'status')
                 x.value as r, x.position
          from jsonb_array_elements(p_receipts) with ordinality x (value, position)
          order by x.value ->> 'provider', x.value ->> 'account', coalesce(x.value ->> 'externalId', x.position::text), x.value ->> 'status', x.position) f
    where not exists (
        select 1 from agwb.receipts k
        where k.provider_message_id = f.r ->> 'externalId' and k.status = f.r ->> 'status' and k.provider = f.r ->> 'provider'
          and k.account is not distinct from f.r ->> 'account')
    order by f.position;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Whether a reply's text, or a part of it, is what was echoed.
create or replace function agwb.is_text_of(p_payload bytea, p_text text) returns boolean
language sql immutable as $$
    select coalesce(btrim(agwb.reply_text(p_payload), E' \t\r\n') = p.text
                    or length(p.text) >= 20 and position(p.text in agwb.reply_text(p_payload)) > 0, false)
    from (select btrim(p_text, E' \t\r\n') as text) p
$$;

-- The send whose echo a receipt is, among those in its lane with this text that were accepted before it came. One echo stands for one send, and the same
-- words may have been sent twice. So the sends are asked in this order, and of equal ones the nearest in time:
--   1. what certainly was sent, as long as no echo was found to be its own, and some minutes long: people write the same words too;
--   2. what was in doubt and was settled otherwise since: nobody waits for its echo, but it may be this one;
--   3. what is under way, or may go once more: nothing is found until its end is known;
--   4. what is in doubt, which then is proven. Where there are several, no echo says which of them it is: they are proven when there is one for each.
-- A failure of which nothing but the address is said is that of the only send there is.
create or replace function agwb.find_echo(
    r agwb.receipts, out message_id text, out state text, out attempt_id bigint, out part integer)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_lane text := r.account || ' ' || r.recipient;
    v_at timestamptz := coalesce(r.at, r.received_at);
    v_since timestamptz := least(r.at, r.received_at);
    v_turn integer;
    v_doubtful integer;
begin
    if exists (select 1 from agwb.receipts k
               where k.provider_message_id = r.provider_message_id and k.message_id is not null and k.account is not distinct from r.account) then
        return; -- other news of the same send, which has been found since: this will be found by its id
    end if;
    with in_lane as materialized ( -- state by state, each has an index of its own; lane and time as a pair, or an index of the time alone would look as good
        select d.message_id, d.state, d.parts_sent, d.fence, d.payload, d.reason, d.accepted_at, d.settled_at
        from agwb.deliveries d where d.lane = v_lane and d.state = 'sending' and d.accepted_at <= r.received_at
        union all
        select d.message_id, d.state, d.parts_sent, d.fence, d.payload, d.reason, d.accepted_at, d.settled_at
        from agwb.deliveries d where d.lane = v_lane and d.state = 'uncertain' and d.accepted_at <= r.received_at
        union all
        select d.message_id, d.state, d.parts_sent, d.fence, d.payload, d.reason, d.accepted_at, d.settled_at
        from agwb.deliveries d where d.lane = v_lane and d.state = 'ready' and d.accepted_at <= r.received_at
        union all
        select d.message_id, d.state, d.parts_sent, d.fence, d.payload, d.reason, d.accepted_at, d.settled_at
        from agwb.deliveries d
        where d.lane = v_lane and d.state = 'sent' and (d.lane, d.settled_at) > (v_lane, v_since - interval '1 hour') and d.accepted_at <= r.received_at
        union all
        select d.message_id, d.state, d.parts_sent, d.fence, d.payload, d.reason, d.accepted_at, d.settled_at
        from agwb.deliveries d
        where d.lane = v_lane and d.state = 'parked' and (d.lane, d.settled_at) > (v_lane, v_since - interval '6 hours') and d.accepted_at <= r.received_at
          and (d.reason like 'overtaken%') is not true -- which never left
    ), said as materialized (
        select * from in_lane l where r.body_text is null or agwb.is_text_of(l.payload, r.body_text)
    ), tried as materialized (
        select l.message_id, a.*,
               a.receipt_id is null and a.outcome = 'DELIVERED' and a.provider_code is distinct from 'nothing_left' as is_sent,
               a.receipt_id is null and a.outcome = 'UNCERTAIN'
               and not bool_or(a.outcome = 'DELIVERED') over (partition by l.message_id, a.fence) as is_doubtful
        from said l
        cross join lateral (select t.id, t.fence, t.part, t.account, t.started_at, t.outcome, t.provider_code, t.receipt_id
                            from agwb.delivery_attempts t where t.message_id = l.message_id offset 0) a
    ), standing as materialized (
        select l.*,
               case when l.state = 'sending'
                        or l.state = 'ready' and (l.reason like 'uncertain%' or exists (
                            select 1 from tried t where t.message_id = l.message_id and t.is_doubtful and t.part = l.parts_sent))
                        then 3
                    when l.state = 'uncertain'
                        or l.state = 'parked' and l.fence > 0 and not exists (
                            select 1 from tried t where t.message_id = l.message_id and t.fence = l.fence and t.outcome <> 'UNCERTAIN')
                        then 4 end as turn
        from said l
    ), sends as (
        select l.message_id, l.state, t.id as attempt_id, t.part, t.started_at as at, case when t.is_sent then 1 else 2 end as turn
        from standing l join tried t using (message_id)
        where (t.is_sent or t.is_doubtful and (l.turn is null or t.part <> l.parts_sent)) and coalesce(t.account = r.account, true)
          -- by the program's clock, or by ours: one of them may be wrong
          and (t.started_at between v_at - interval '10 minutes' and v_at + interval '10 minutes'
               or l.settled_at between r.received_at - interval '10 minutes' and r.received_at + interval '10 minutes')
        union all
        -- a part that was sent and has no echo, however long ago, comes before the one in doubt
        select l.message_id, l.state, null, l.parts_sent, coalesce(l.settled_at, l.accepted_at), l.turn
        from standing l
        where l.turn = 3 or l.turn = 4 and not exists (select 1 from tried t where t.message_id = l.message_id and t.is_sent)
    )
    select s.message_id, s.state, s.attempt_id, s.part, s.turn, s.doubtful into message_id, state, attempt_id, part, v_turn, v_doubtful
    from (select x.*, count(*) over () as candidates, count(*) filter (where x.turn = 4) over () as doubtful from sends x) s
    where r.body_text is not null or s.candidates = 1
    order by s.turn, abs(extract(epoch from s.at - v_at)) limit 1;

    if v_turn = 3 or v_turn = 4 and v_doubtful > 1 and v_doubtful > (
           select count(distinct coalesce(k.provider_message_id, k.id::text)) from agwb.receipts k
           where k.message_id is null and k.received_at between r.received_at - interval '15 minutes' and r.received_at and k.id <= r.id
             and k.account = r.account and k.recipient = r.recipient
             and btrim(k.body_text, E' \t\r\n') = btrim(r.body_text, E' \t\r\n')) then
        message_id := null;
    end if;
end
$$;

-- Finds the deliveries of these receipts, which the caller has locked, among the attempts' ids and ours, or by their echo.
create or replace function agwb.match_receipts(p_ids bigint[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_receipt agwb.receipts;
    v_echo record;
begin
    with found as materialized (
        select x.row_place, coalesce(a.message_id, o.message_id) as message_id, a.part
        from unnest(p_ids) i (id)
        cross join lateral (select y.ctid as row_place, y.provider_message_id, y.our_id, y.account
                            from agwb.receipts y where y.id = i.id and y.message_id is null limit 1) x
        left join lateral (
            select y.message_id, y.part
            from (select t.message_id, t.part, t.account from agwb.delivery_attempts t where t.provider_message_id = x.provider_message_id
                  union all
                  select t.message_id, t.part, t.account from agwb.delivery_attempts t where t.receipt_id = x.provider_message_id) y
            where x.account is null or y.account is null or y.account = x.account
            limit 1) a on true
        left join lateral (select d.message_id from agwb.deliveries d
                           where a.message_id is null and d.message_id = x.our_id and d.state is distinct from 'sending' limit 1) o on true
    )
    update agwb.receipts r set message_id = f.message_id, part = f.part
    from found f where r.ctid = f.row_place and f.message_id is not null;

    -- one after the other: the same text twice is two messages
    for v_receipt in
        select r.* from agwb.receipts r
        where r.id = any (p_ids) and r.message_id is null and r.account is not null and r.recipient is not null
          and (r.body_text is not null or (r.status = 'FAILED' and r.provider_message_id is null and r.our_id is null))
        order by r.id
    loop
        v_echo := agwb.find_echo(v_receipt);
        continue when v_echo.message_id is null;
        update agwb.receipts r set message_id = v_echo.message_id, part = v_echo.part where r.id = v_receipt.id;
        update agwb.delivery_attempts a set receipt_id = v_receipt.provider_message_id where a.id = v_echo.attempt_id;
    end loop;
end
$$;

-- Lets receipts that have found their delivery act on the message's row, in whatever order they come: SENT, DELIVERED, READ only forwards; FAILED only
-- over what was not seen to arrive, and what arrived after all was no failure. Only once the delivery is sent as a whole; then a failure that was judged,
-- or of what has been sent once more since, is no news any more.
create or replace function agwb.show_receipts(p_ids bigint[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
    perform 1 from messages m
    where m.id = any (array(
        select d.message_row_id from unnest(p_ids) i (id)
        cross join lateral (select x.message_id from agwb.receipts x where x.id = i.id limit 1) r
        cross join lateral (select x.message_row_id from agwb.deliveries x
                            where x.message_id = r.message_id and x.state is not distinct from 'sent' limit 1) d))
    order by m.id for update;

    with news as materialized (
        select d.message_row_id as row_id, max(array_position('{SENT,DELIVERED,READ}', r.status)) as best,
               bool_or(r.status = 'FAILED' and r.judged_at is null and coalesce(r.account = d.account, true) and not exists (
                   select 1
                   from (select t.id, t.part, t.provider_message_id, t.receipt_id from agwb.delivery_attempts t
                         where t.message_id = r.message_id offset 0) a
                   join (select t.id, t.part from agwb.delivery_attempts t where t.message_id = r.message_id offset 0) later using (part)
                   where r.provider_message_id in (a.provider_message_id, a.receipt_id) and later.id > a.id)) as has_failed,
               (array_agg(r.code order by r.id desc) filter (where r.status = 'FAILED'))[1] as code,
               (array_agg(r.detail order by r.id desc) filter (where r.status = 'FAILED'))[1] as detail
        from unnest(p_ids) i (id)
        cross join lateral (select x.id, x.message_id, x.status, x.judged_at, x.account, x.provider_message_id, x.code, x.detail
                            from agwb.receipts x where x.id = i.id limit 1) r
        cross join lateral (select x.message_row_id, x.account from agwb.deliveries x
                            where x.message_id = r.message_id and x.state is not distinct from 'sent' limit 1) d
        group by d.message_row_id
    ), shown as materialized (
        select n.row_id, n.code, n.detail,
               case when n.best >= 2 and n.best > coalesce(array_position('{SENT,DELIVERED,READ}', o.delivery_status), 0)
                        then ('{SENT,DELIVERED,READ}'::text[])[n.best]
                    when n.has_failed and coalesce(o.delivery_status, 'PENDING') in ('PENDING', 'SENT') then 'FAILED'
                    when n.best = 1 and coalesce(o.delivery_status, 'PENDING') = 'PENDING' then 'SENT' end as status
        from news n
        cross join lateral (select m.delivery_status from messages m where m.id = n.row_id limit 1) o
    )
    update messages m
    set delivery_status = x.status,
        metadata = case when x.status = 'FAILED'
                   then coalesce(m.metadata, '{}') || jsonb_strip_nulls(jsonb_build_object('reason', x.detail, 'code', x.code))
                   else m.metadata - 'reason' - 'code' end
    from shown x
    where m.id = any (array(select y.row_id from shown y where y.status is not null)) and m.id = x.row_id and x.status is not null;
end
$$;

-- Matches and applies receipts that the caller has locked; proves deliveries whose outcome nobody knew. Returns how many have a delivery.
create or replace function agwb.settle_receipts(p_ids bigint[]) returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_messages text[];
    v_provider_ids text[];
    v_count integer;
begin
    perform agwb.match_receipts(p_ids);
    -- what was seen to arrive has not failed: to send it again, or another way, would be a second one
    update agwb.receipts r set judged_at = clock_timestamp()
    where r.id = any (p_ids) and r.status is not distinct from 'FAILED' and r.judged_at is null and (
        select k.id from agwb.receipts k
        where k.message_id = r.message_id and k.status in ('DELIVERED', 'READ')
          and (k.part = r.part or k.provider_message_id = r.provider_message_id) limit 1) is not null;

    -- what is not finished may be settled at this moment: jobs before deliveries and in one order, as settle_deliveries() does
    perform 1 from ai_response_queue q
    where q.id = any (array(
        select d.job_id from unnest(p_ids) i (id)
        cross join lateral (select x.message_id from agwb.receipts x where x.id = i.id limit 1) r
        cross join lateral (select x.job_id from agwb.deliveries x
                            where x.message_id = r.message_id and x.state is distinct from 'sent' limit 1) d))
    order by q.id for update;

    select array_agg(r.message_id order by r.id), array_agg(r.provider_message_id order by r.id) into v_messages, v_provider_ids
    from unnest(p_ids) i (id)
    cross join lateral (select x.id, x.message_id, x.provider_message_id from agwb.receipts x where x.id = i.id limit 1) r
    cross join lateral (select x.state from agwb.deliveries x where x.message_id = r.message_id limit 1) d
    where d.state in ('uncertain', 'parked');
    if v_messages is not null then
        perform agwb.confirm_deliveries(v_messages, v_provider_ids);
    end if;
    perform agwb.show_receipts(p_ids);

    -- what found nothing, or nothing finished, or what another receipt may still prove, is looked at again: soon at first, then ever later, a quarter of
    -- an hour long
    update agwb.receipts r
    set due_at = case when (select d.state from agwb.deliveries d where d.message_id = r.message_id) in ('sent', 'cancelled')
                      or clock_timestamp() - r.received_at > interval '15 minutes' then null
                 else clock_timestamp() + greatest(clock_timestamp() - r.received_at, interval '1 second') end
    where r.id = any (p_ids);
    select count(*) into v_count from agwb.receipts r where r.id = any (p_ids) and r.message_id is not null;
    return v_count;
end
$$;

-- Applies what is due. next_due_ms: when to come back; null = nothing waits.
create or replace function agwb.apply_receipts(p_limit integer) returns table (taken integer, matched integer, next_due_ms bigint)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
begin
    select array_agg(x.id) into v_ids
    from (select r.id from agwb.receipts r where r.due_at <= v_now order by r.due_at limit p_limit for update skip locked) x;
    taken := coalesce(cardinality(v_ids), 0);
    matched := case when taken > 0 then agwb.settle_receipts(v_ids) else 0 end;
    select case when min(r.due_at) is not null -- greatest() passes over null
           then greatest((extract(epoch from min(r.due_at) - clock_timestamp()) * 1000)::bigint, 0) end into next_due_ms
    from agwb.receipts r where r.due_at is not null;
    return next;
end
$$;

-- Called by settle_deliveries(): applies the receipts that came before these ids were recorded. What another transaction holds stays due.
create or replace function agwb.apply_receipts_of(p_provider_ids text[]) returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = auto
as $$
declare
    v_ids bigint[];
begin
    select array_agg(x.id) into v_ids
    from (select r.id from agwb.receipts r
          where r.provider_message_id = any (p_provider_ids) and (r.message_id is null or r.due_at is not null)
          for update skip locked) x;
    return case when v_ids is null then 0 else agwb.settle_receipts(v_ids) end;
end
$$;
