-- What agwb-consumer calls: accept, claim, settle and the chores between them. These functions are the only place where a
-- delivery's durable state changes. (The planner settings on them: see 004_intake.sql.)
--
-- The statements of each reply are large: to plan one anew for the sake of a small batch costs more than to run it, hence the generic plans of some
-- functions. These plans may have been made when the tables were empty, where to read a whole index looks as good as to look one row up. So what they
-- update they find by "= any" or by the row's place, which a lateral with a limit looked up; a row whose place is used was locked by an earlier statement.

-- The text of a reply, for the conversation's history.
create or replace function agwb.reply_text(p_payload bytea) returns text
language sql immutable as $$
    select convert_from(p_payload, 'UTF8')::jsonb #>> '{response,text}'
$$;

drop function if exists agwb.agent_error(bytea);
-- What an agent says that went wrong; null unless the reply's status is error.
create or replace function agwb.agent_error(p_reply jsonb) returns text
language sql immutable as $$
    select case when p_reply ->> 'status' = 'error' then
        'agent: ' || coalesce(p_reply #>> '{error,code}', 'ERROR') || ': ' || coalesce(p_reply #>> '{error,message}', 'no message') end
$$;

-- "+12025550143" from a user JID; null for every other kind.
create or replace function agwb.number_of_jid(p_jid text) returns text
language sql immutable as $$
    select '+' || (regexp_match(p_jid, '^([1-9][0-9]{7,14})(:[0-9]+)?@(s\.whatsapp\.net|c\.us)$'))[1]
$$;

-- The sender account for a channel: one that names the workspace, else the channel's default, else its first. p_accounts is the configuration's
-- [{"name", "channel", "workspaces": [..], "default"}], in file order.
create or replace function agwb.pick_account(p_accounts jsonb, p_channel text, p_workspace uuid) returns text
language sql immutable as $$
    select a.value ->> 'name'
    from jsonb_array_elements(p_accounts) with ordinality a (value, position)
    where a.value ->> 'channel' = p_channel
      and (coalesce(jsonb_array_length(a.value -> 'workspaces'), 0) = 0
           or a.value -> 'workspaces' ? p_workspace::text)
    order by (a.value -> 'workspaces' ? p_workspace::text) is not true,
             (a.value -> 'default')::boolean is not true, a.position
    limit 1
$$;

-- Where a contact is written to over a channel; null: it cannot be. external_id is 'channel:id' for those that are known by neither number nor JID.
create or replace function agwb.contact_address(p_channel text, p_number text, p_jid text, p_email text, p_external_id text) returns text
language sql immutable as $$
    select case
        when p_channel = 'email' then nullif(p_email, '')
        when p_channel in ('instagram', 'website') then substring(p_external_id from '^' || p_channel || ':(.+)$')
        else coalesce(nullif(p_number, ''), agwb.number_of_jid(p_jid), nullif(p_jid, ''), substring(p_external_id from '^whatsapp:(.+)$'))
        end
$$;

-- Sets when the given lanes' heads may go, and gives those a row that wait for the first time. Two rules keep a lane from being forgotten: whoever changes
-- what waits in it holds its row first and then looks with a newer snapshot; and only a claim takes a busy or empty lane's due time away, while it holds
-- what keeps it busy (hold_lanes). Lanes are locked in one order. A head that may go at once is due from now on, behind the lanes that were due before:
-- lanes take turns.
create or replace function agwb.refresh_lanes(p_lanes text[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_waiting text[];
begin
    with waiting as (
        insert into agwb.lanes (lane, account)
        select distinct on (x.lane) x.lane, d.account
        from unnest(p_lanes) x (lane)
        cross join lateral (select r.account from agwb.deliveries r where r.lane = x.lane and r.state = 'ready' limit 1) d
        order by x.lane
        on conflict (lane) do update set account = excluded.account -- which holds it
        returning lane)
    select array_agg(w.lane) into v_waiting from waiting w;
    if v_waiting is null then
        return;
    end if;
    update agwb.lanes l
    set due_at = (select coalesce(d.next_attempt_at, clock_timestamp()) from agwb.deliveries d
                  where d.lane = l.lane and d.state = 'ready' order by d.rank, d.seq limit 1)
    where l.lane = any (v_waiting);
end
$$;

-- Gives lanes their rows before refresh_lanes() where something comes to them by another way than accept_replies().
create or replace function agwb.make_lanes(p_lanes text[], p_accounts text[]) returns void
language sql as $$
    select pg_advisory_xact_lock_shared(hashtextextended('agwb.make_lanes', 0)); -- purge_lanes() must not take what is found here
    insert into agwb.lanes (lane, account)
    select distinct on (x.lane) x.lane, x.account from unnest(p_lanes, p_accounts) x (lane, account) order by x.lane
    on conflict (lane) do nothing
$$;

-- The keys a delivery's sends count against: all, its account, its contact. A contact is known by its id, else by its address.
create or replace function agwb.limit_keys(p_account text, p_workspace uuid, p_contact uuid, p_address text) returns text[]
language sql immutable as $$
    select array['limit:all', 'limit:account:' || p_account,
                 'limit:contact:' || coalesce(p_workspace::text, '') || ':' || coalesce(p_contact::text, p_address)]
$$;
create or replace function agwb.limit_keys(d agwb.deliveries) returns text[]
language sql immutable as $$
    select agwb.limit_keys(d.account, d.workspace_id, d.contact_id, d.address)
$$;

-- Replays lift parked rows once a generation, and sent ones if their audit row says so; in every other state they are duplicates. The header alone
-- does nothing: anyone who may publish could write it. Returns the ids that were lifted.
create or replace function agwb.revive_deliveries(p_message_ids text[], p_payloads bytea[], p_replays integer[]) returns text[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = auto
as $$
declare
    v_revived text[];
begin
    with revived as (
        update agwb.deliveries d
        set state = 'ready', replay = r.replay, attempts = 0, next_attempt_at = null, reason = null, settled_at = null,
            copied_at = null, lease_owner = null, lease_until = null,
            -- what was parked goes on with the part it could not send; over another account than the first it stays there
            parts_sent = case when d.state = 'sent' then 0 else d.parts_sent end,
            parts_end = case when d.state = 'sent' then null else d.parts_end end,
            as_template = false, step = case when d.chain is null then 0 else d.step end
        from unnest(p_message_ids, p_payloads, p_replays) r (message_id, payload, replay)
        where d.message_id = any (p_message_ids) and d.message_id = r.message_id
          and d.state in ('parked', 'sent') and d.replay < r.replay and d.lane is not null
          and exists (select 1 from agwb.audit u
                      where u.action = 'replay' and u.message_id = r.message_id and u.n = r.replay
                        and (d.state = 'parked' or u.again))
          and d.body_sha256 = sha256(r.payload)
        returning d.message_id)
    select array_agg(x.message_id) into v_revived from revived x;
    return v_revived;
end
$$;

drop function if exists agwb.accept_replies(
    text[], uuid[], text[], boolean[], text[], text[], text[], uuid[], uuid[], uuid[], bigint[], bytea[], text[], integer[], jsonb);
drop function if exists agwb.accept_replies(
    text[], uuid[], text[], boolean[], text[], text[], text[], uuid[], uuid[], uuid[], bigint[], bytea[], text[], integer[], jsonb,
    text, integer, bigint, boolean, boolean, text[], text[]);
-- Accepts a batch of checked replies, in order. result: accepted, duplicate (same id and body: the ledger has it), conflict (same id, other body:
-- nothing stored), error and empty (the agent's error or partial reply has nothing to send: nothing stored, fail_requests() is next), unroutable (stored as parked, with the reason). `orphan` says
-- that the request it answers is unknown. message_ids are distinct within a batch.
-- Up to p_slots of them are claimed as `sending` at once, as claim_deliveries() would (p_owner to p_window_ms are its parameters; 0 slots = claim
-- nothing): those whose lane is free and for which the limits have a place, and only while nobody waits for a turn. The others are the next claim's, which
-- counts what a limit held back. They come back with a fence and what an attempt needs beside the reply.
create or replace function agwb.accept_replies(
    p_message_ids text[], p_originals uuid[], p_statuses text[], p_has_content boolean[],
    p_jids text[], p_addresses text[], p_channels text[],
    p_workspaces uuid[], p_conversations uuid[], p_contacts uuid[],
    p_published_ms bigint[], p_payloads bytea[], p_headers text[], p_replays integer[], p_accounts jsonb,
    p_owner text, p_slots integer, p_lease_ms bigint, p_drop_stale boolean, p_hold boolean, p_skip text[], p_chained text[],
    p_all integer, p_account integer, p_contact integer, p_window_ms bigint)
returns table (message_id text, result text, orphan boolean, reason text, fence integer, account text, channel text, address text,
               job_id uuid, workspace_id uuid, contact_id uuid, accepted_ms bigint, quoted_id text, number text, email text)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_limited boolean := p_all > 0 or p_account > 0 or p_contact > 0;
    v_window interval := p_window_ms * interval '1 millisecond';
    v_slots integer := 0;
    v_skip text[] := p_skip;
    v_now timestamptz;
    v_until timestamptz;
    v_revived text[];
begin
    if p_slots > 0 then
        perform pg_advisory_xact_lock(hashtextextended('agwb.claim_deliveries', 0)); -- as every claim, and before all else (see release_claim)
    end if;
    -- The jobs are locked in one order: a fallback for the same request waits for us and then sees our row.
    perform 1 from ai_response_queue q where q.id = any (p_originals) order by q.id for update;
    if p_slots > 0 then
        v_now := clock_timestamp();
        v_until := v_now + p_lease_ms * interval '1 millisecond';
        if not exists (select 1 from agwb.lanes l where l.due_at <= v_now) then
            v_slots := case when p_all > 0 then least(p_slots, agwb.limit_places('limit:all', p_all, v_window, v_now)) else p_slots end;
            if p_account > 0 then -- the one with the fewest places limits all that have some
                select p_skip || array_agg(x.name) filter (where x.places = 0), least(v_slots, min(x.places) filter (where x.places > 0))
                into v_skip, v_slots
                from (select a.name, agwb.limit_places('limit:account:' || a.name, p_account, v_window, v_now) as places
                      from jsonb_to_recordset(p_accounts) a (name text)) x;
            end if;
        end if;
    end if;
    if 0 < any (p_replays) then
        v_revived := agwb.revive_deliveries(p_message_ids, p_payloads, p_replays);
    end if;

    -- The laterals with a limit are looked up row by row, by index, whatever the planner believes of the tables' sizes. The payloads are not carried
    -- from step to step, and all steps have all rows: nothing is joined back.
    return query
    with accounts as materialized (
        select a.name, a.channel, a.workspaces, a."default" as is_default, row_number() over () as position
        from jsonb_to_recordset(p_accounts) a (name text, channel text, workspaces jsonb, "default" boolean)
    ), who as materialized (
        -- what the reply left out is looked up by the request it answers
        select r.position, r.message_id, r.original, r.status, r.has_content, r.published_ms, r.replay,
               k.body_sha256 as known_sha256, sha256(p_payloads[r.position::integer]) as body_sha256, q.id as job_id,
               r.has_content and k.body_sha256 is null as is_new,
               coalesce(r.workspace_id, q.workspace_id, c.workspace_id) as the_workspace,
               coalesce(c.id, r.contact_id) as the_contact, v.id as the_conversation,
               case when coalesce(r.channel, v.channel_type) in ('email', 'instagram', 'website') then null
                    else coalesce(r.address, agwb.number_of_jid(r.jid), -- a hidden id has a number where we know whose it is
                                  case when r.jid = c.remote_jid then nullif(c.phone_number, '') end, r.jid) end as said_address,
               c.phone_number, c.remote_jid, c.email, c.external_id, nullif(m.external_id, '') as quoted, m.metadata ->> 'account' as quoted_account,
               coalesce(r.channel, nullif(v.channel_type, '')) as said_channel,
               case when coalesce(r.jid, nullif(c.remote_jid, '')) is not null or c.external_id like 'whatsapp:%'
                    then 'whatsapp' else 'sms' end as likely_channel,
               -- as stale_reason(), which the claim asks for the reason
               c.opted_out_at is not null or v.requires_human is true or (p_drop_stale and q.id is not null) as may_be_stale
        from unnest(p_message_ids, p_originals, p_statuses, p_has_content, p_jids, p_addresses, p_channels, p_workspaces,
                    p_conversations, p_contacts, p_published_ms, p_replays) with ordinality
             r (message_id, original, status, has_content, jid, address, channel, workspace_id, conversation_id, contact_id,
                published_ms, replay, position)
        left join lateral (select x.body_sha256 from agwb.deliveries x where x.message_id = r.message_id limit 1) k on true
        left join lateral (select x.id, x.workspace_id, x.contact_id, x.conversation_id, x.message_id
                           from ai_response_queue x where x.id = r.original limit 1) q on true
        left join lateral (select x.external_id, x.metadata, x.conversation_id from messages x where x.id = q.message_id limit 1) m on true
        left join lateral (select x.id, x.customer_id, x.channel_type, x.requires_human from conversations x
                           where x.id = coalesce(r.conversation_id, q.conversation_id, m.conversation_id) limit 1) v on true
        left join lateral (select x.id, x.workspace_id, x.phone_number, x.remote_jid, x.email, x.external_id, x.opted_out_at
                           from customer_profiles x
                           where x.id = coalesce(r.contact_id, q.contact_id, v.customer_id) limit 1) c on true
    ), routed as materialized (
        select w.*, a.name as the_account, coalesce(a.channel, w.said_channel, w.likely_channel) as the_channel, b.address as the_address,
               a.name || ' ' || b.address as lane,
               case when v_slots > 0 and p_contact > 0 then (agwb.limit_keys(a.name, w.the_workspace, w.the_contact, b.address))[3] end as contact_key
        from who w
        left join lateral (
            -- pick_account(); a channel that nobody named is only a guess: another account's will do when there is none for it
            select x.name, x.channel from accounts x
            where w.is_new
              and x.channel = any (case when w.said_channel is null then array[w.likely_channel, 'whatsapp', 'sms'] else array[w.said_channel] end)
              and (coalesce(jsonb_array_length(x.workspaces), 0) = 0 or x.workspaces ? w.the_workspace::text)
            order by x.channel is distinct from coalesce(w.said_channel, w.likely_channel), x.channel is distinct from 'whatsapp',
                     (x.workspaces ? w.the_workspace::text) is not true, x.is_default is not true, x.position
            limit 1) a on true
        cross join lateral (
            select coalesce(w.said_address,
                            agwb.contact_address(w.said_channel, w.phone_number, w.remote_jid, w.email, w.external_id)) as address offset 0) b
    ), judged as materialized (
        select y.*, y.may_go and count(*) filter (where y.may_go) over (order by y.position) <= v_slots as goes,
               -- an account cannot quote what another one received
               case when coalesce(y.quoted_account, y.the_account) = y.the_account then y.quoted end as the_quoted
        from (select x.*,
                     case when not x.is_new then null
                          when x.the_account is null then 'no account for channel ' || x.the_channel
                          when x.the_address is null then 'no address: neither the reply nor the request''s contact has one for channel ' || x.the_channel
                          when x.the_channel = 'website' and x.the_conversation is null then 'no conversation: a reply on the website is shown in one'
                          end as fault,
                     v_slots > 0 and x.is_new and x.lane is not null and (x.the_channel <> 'website' or x.the_conversation is not null)
                     and not x.may_be_stale and x.the_account <> all (v_skip) and b.is_busy is null and f.is_full is null
                     and row_number() over (partition by x.lane collate "C" order by x.position) = 1
                     and (p_contact <= 0 or row_number() over (partition by x.contact_key collate "C" order by x.position) = 1) as may_go
              from routed x
              left join lateral (
                  select true as is_busy from agwb.deliveries d where d.lane = x.lane and d.state = 'ready'
                  union all select true from agwb.deliveries d where d.lane = x.lane and d.state = 'sending'
                  union all select true from agwb.deliveries d where p_hold and d.lane = x.lane and d.state = 'uncertain'
                  limit 1) b on v_slots > 0
              left join lateral (
                  select true as is_full from agwb.lanes l
                  where l.lane = x.contact_key
                    and (select sum(u.n) from unnest(l.sends, l.counts) u (at, n) where u.at > v_now - v_window) >= p_contact
                  limit 1) f on v_slots > 0 and p_contact > 0) y
    ), ledger as (
        insert into agwb.deliveries
            (message_id, job_id, workspace_id, contact_id, conversation_id, account, lane, channel, address, state, reason,
             body_sha256, payload, headers, published_at, settled_at, quoted_id, replay, fence, attempts, lease_owner, lease_until, limit_keys)
        select j.message_id, j.job_id, j.the_workspace, j.the_contact, j.the_conversation, j.the_account, j.lane, j.the_channel, j.the_address,
               case when j.fault is not null then 'parked' when j.goes then 'sending' else 'ready' end, j.fault,
               j.body_sha256, p_payloads[j.position::integer], coalesce(p_headers[j.position::integer], '{}')::jsonb,
               to_timestamp(j.published_ms / 1000.0), case when j.fault is not null then clock_timestamp() end, j.the_quoted,
               case when j.replay > 0 and exists (
                   select 1 from agwb.audit u where u.action = 'replay' and u.message_id = j.message_id and u.n = j.replay)
               then j.replay else 0 end,
               j.goes::integer, j.goes::integer, case when j.goes then p_owner end, case when j.goes then v_until end,
               case when j.goes and v_limited then agwb.limit_keys(j.the_account, j.the_workspace, j.the_contact, j.the_address) end
        from judged j
        where j.is_new
        order by j.position
        on conflict on constraint deliveries_pkey do nothing
        returning 1
    ), answered as (
        -- The real answer is here: an apology that has not left is not needed any more. One of which something has arrived, as a receipt may just have
        -- proven, goes on: whether anything of it is left is the attempt's to find out.
        update agwb.deliveries f
        set state = 'cancelled', reason = 'a real reply came first', settled_at = clock_timestamp()
        where f.message_id = any (array(
                select o.message_id
                from judged j
                -- not "=", or an index of all fallbacks, or of all that is ready, would be read
                cross join lateral (select d.message_id from agwb.deliveries d
                                    where d.job_id = j.job_id and d.kind is not distinct from 'fallback'
                                      and d.state is not distinct from 'ready' and d.parts_sent = 0 limit 1) o
                where j.is_new and j.fault is null and j.job_id is not null))
          and f.state is not distinct from 'ready' and f.parts_sent = 0
        returning f.lane
    ), waiting as (
        -- Due at once unless it already waits for its head's time, and that head was not just cancelled. A lane with one in flight is due in vain: the claim sees that.
        insert into agwb.lanes (lane, account, due_at)
        select distinct on (l.lane) l.lane, l.account, clock_timestamp()
        from (select j.lane, j.the_account as account from judged j where j.is_new and j.fault is null and not j.goes
              union all select d.lane, d.account from agwb.deliveries d where d.message_id = any (v_revived)) l
        order by l.lane
        on conflict (lane) do update
        set due_at = case when exists (select 1 from answered a where a.lane = excluded.lane) then excluded.due_at
                     else coalesce(agwb.lanes.due_at, excluded.due_at) end
        returning 1
    )
    select j.message_id,
           case when j.message_id = any (v_revived) then 'accepted'
                when j.known_sha256 is not null then case when j.known_sha256 = j.body_sha256 then 'duplicate' else 'conflict' end
                when not j.has_content then case when j.status = 'error' then 'error' else 'empty' end
                when j.fault is not null then 'unroutable'
                else 'accepted' end,
           j.original is not null and j.job_id is null, j.fault,
           case when j.goes then 1 end, j.the_account, j.the_channel, j.the_address, j.job_id, j.the_workspace, j.the_contact,
           (extract(epoch from now()) * 1000)::bigint, j.the_quoted,
           case when j.the_account = any (p_chained) then j.phone_number end,
           case when j.the_account = any (p_chained) then j.email end
    from judged j
    where (select count(*) from ledger) = (select count(*) from judged n where n.is_new)
    order by j.position;
    if not found then
        raise exception 'one of the replies is being accepted by somebody else' using errcode = 'serialization_failure';
    end if;
    if v_limited and v_slots > 0 then -- behind the lanes, as every place
        perform agwb.limit_take_all(array(
            select k.key from agwb.deliveries d
            cross join lateral unnest(d.limit_keys, array[p_all, p_account, p_contact]) k (key, size)
            where d.message_id = any (p_message_ids) and d.lease_owner = p_owner and k.size > 0), v_until, v_window);
    end if;
end
$$;

-- Why a delivery must not be sent any more, looked at in the moment of sending; null: it may go. p_drop_stale: also when the contact has written again
-- since, so that the reply would answer something old, unless a part of it is there already.
create or replace function agwb.stale_reason(d agwb.deliveries, p_drop_stale boolean) returns text
language sql stable as $$
    select case
        when exists (select 1 from customer_profiles c where c.id = d.contact_id and c.opted_out_at is not null)
            then 'the contact has opted out'
        when exists (select 1 from conversations v where v.id = d.conversation_id and v.requires_human)
            then 'a human has taken the conversation over'
        when p_drop_stale and d.parts_sent = 0 and exists (
            select 1 from ai_response_queue q
            cross join lateral ( -- with a limit, so that only what came later is read of the conversation
                select 1 from messages m
                where m.conversation_id = d.conversation_id and m.sender_type = 'user'
                  and m.created_at > coalesce(q.last_message_at, q.created_at) and m.id is distinct from q.message_id limit 1) later
            where q.id = d.job_id)
            then 'the contact has written again since'
        end
$$;

-- Ends deliveries that must not be sent any more; their jobs end with them, and so does what the history has of them. The caller holds lanes, accept_replies() takes jobs before lanes: a job that
-- someone else holds is not waited for, its delivery is looked at again by the next claim.
create or replace function agwb.cancel_deliveries(p_ids text[], p_reasons text[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = auto
as $$
declare
    v_busy uuid[];
begin
    select array_agg(x.job_id) into v_busy
    from (select d.job_id from agwb.deliveries d where d.message_id = any (p_ids) and d.job_id is not null
          except
          select q.id from (select j.id from ai_response_queue j
                            where j.id in (select d.job_id from agwb.deliveries d where d.message_id = any (p_ids))
                            order by j.id for update skip locked) q) x
    where exists (select 1 from ai_response_queue j where j.id = x.job_id);

    with gone as (
        update agwb.deliveries d
        set state = 'cancelled', reason = r.reason, settled_at = clock_timestamp(), next_attempt_at = null
        from unnest(p_ids, p_reasons) r (message_id, reason)
        where d.message_id = r.message_id and d.state = 'ready' and (d.job_id = any (v_busy)) is not true
        returning d.job_id, d.message_row_id, d.reason
    ), history as (
        update messages h
        set delivery_status = 'FAILED', metadata = coalesce(h.metadata, '{}') || jsonb_build_object('reason', g.reason)
        from gone g where h.id = g.message_row_id and h.delivery_status = 'PENDING'
    )
    update ai_response_queue q
    set status = 'cancelled', error = g.reason, processed_at = clock_timestamp()
    from gone g where q.id = g.job_id and q.status in ('processing', 'pending', 'error');
end
$$;

-- Whether a delivery that was claimed before has lost its place: a later one of its lane has gone, or may have. It is so only after its lease had ended:
-- then it is uncertain, which holds no lane unless it may be sent again, and its owner, which was not dead but stood still, says afterwards that it never
-- left. What somebody else wants behind the others goes all the same: a replay, a part that is sent once more, what came from another lane, and the rest
-- of a reply that has begun to arrive. Under the claims' lock, so that nothing goes meanwhile.
create or replace function agwb.is_overtaken(d agwb.deliveries) returns boolean
language sql stable as $$
    select d.fence > 0 and d.replay = 0 and d.chain is null and d.parts_sent = 0 and d.parts_end is null and (
        exists (select 1 from agwb.deliveries o
                where o.lane = d.lane and o.state = 'uncertain' and (o.rank, o.seq) > (d.rank, d.seq))
        or exists (select 1 from agwb.deliveries o
                   where o.lane = d.lane and o.state in ('sent', 'parked') and o.settled_at > d.accepted_at and (o.rank, o.seq) > (d.rank, d.seq)
                     and (o.state = 'sent' or o.parts_sent > 0 or o.reason like 'uncertain%'))
        or exists (select 1 from (select o.parts_sent from agwb.deliveries o
                                  where o.lane = d.lane and o.state = 'ready' and (o.rank, o.seq) > (d.rank, d.seq)
                                  order by o.rank, o.seq limit 1) next
                   where next.parts_sent > 0))
$$;

-- Parks them: order is promised, and whether an old answer is still wanted behind a newer one is a person's to say, who has its copy and may replay it.
create or replace function agwb.park_overtaken(p_ids text[]) returns void
language sql as $$
    update agwb.deliveries d
    set state = 'parked', settled_at = clock_timestamp(), next_attempt_at = null,
        reason = 'overtaken: not sent when its turn was, and a later one to this contact has gone' || coalesce('; ' || d.reason, '')
    where d.message_id = any (p_ids) and d.state = 'ready'
$$;

-- Takes the due time from lanes that these hold busy. Locked, so that whoever settles them meanwhile sees the lane's row; a lane whose holder is just being
-- settled stays due and comes next time.
create or replace function agwb.hold_lanes(p_holders text[]) returns void
language sql as $$
    with held as materialized (
        select d.lane from agwb.deliveries d
        where d.message_id = any (p_holders) and d.state in ('sending', 'uncertain') order by d.message_id for share skip locked)
    update agwb.lanes l set due_at = null from held h where l.lane = h.lane
$$;

drop function if exists agwb.pick_heads(integer, timestamptz, boolean, text[], text);
-- The heads of up to p_slots due lanes. p_hold: what is uncertain holds its lane, since it may be sent again. Lanes' rows are locked first and their heads read with a newer snapshot (see refresh_lanes); a lane that someone is
-- changing comes next time. cancelled: how many were taken out of their lanes instead, being out of date or overtaken.
create or replace function agwb.pick_heads(
    p_slots integer, p_now timestamptz, p_drop_stale boolean, p_hold boolean, p_skip text[], p_only text,
    out ids text[], out cancelled integer)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_lanes text[];
    v_stale text[];
    v_reasons text[];
    v_overtaken text[];
    v_holders text[];
begin
    select array_agg(x.lane) into v_lanes
    from (select l.lane from agwb.lanes l where l.due_at <= p_now and l.account <> all (p_skip) and (p_only is null or l.account = p_only)
          order by l.due_at limit p_slots for update skip locked) x;

    with heads as materialized (
        select k.row_place, h.message_id, h.next_attempt_at, h.stale, coalesce(h.stale is null and h.overtaken, false) as overtaken,
               (h.next_attempt_at is null or h.next_attempt_at <= p_now) as is_due,
               coalesce((select s.message_id from agwb.deliveries s where s.lane = due.lane and s.state = 'sending'),
                        case when p_hold then (select u.message_id from agwb.deliveries u
                                               where u.lane = due.lane and u.state = 'uncertain' limit 1) end) as holder
        from unnest(v_lanes) due (lane)
        cross join lateral (select l.ctid as row_place from agwb.lanes l where l.lane = due.lane limit 1) k
        left join lateral (select d.message_id, d.next_attempt_at, agwb.stale_reason(d, p_drop_stale) as stale,
                                  case when d.fence > 0 then agwb.is_overtaken(d) end as overtaken
                           from agwb.deliveries d
                           where d.lane = due.lane and d.state = 'ready' order by d.rank, d.seq limit 1) h on true
    ), held as (
        -- a lane whose head is taken out stays due: the next one's turn comes at once
        update agwb.lanes l
        set due_at = case when h.stale is not null or h.overtaken then l.due_at when not h.is_due then h.next_attempt_at end
        from heads h where l.ctid = h.row_place and h.holder is null
        returning 1
    )
    select coalesce(array_agg(h.message_id) filter (where h.stale is null and not h.overtaken and h.is_due and h.holder is null
                                                      and h.message_id is not null), '{}'),
           array_agg(h.message_id) filter (where h.stale is not null), array_agg(h.stale) filter (where h.stale is not null),
           array_agg(h.message_id) filter (where h.overtaken), array_agg(h.holder) filter (where h.holder is not null)
    into ids, v_stale, v_reasons, v_overtaken, v_holders from heads h;
    if v_holders is not null then
        perform agwb.hold_lanes(v_holders);
    end if;
    if v_stale is not null then
        perform agwb.cancel_deliveries(v_stale, v_reasons);
    end if;
    if v_overtaken is not null then
        perform agwb.park_overtaken(v_overtaken);
    end if;
    cancelled := coalesce(cardinality(v_stale), 0) + coalesce(cardinality(v_overtaken), 0);
end
$$;

drop function if exists agwb.pick_heads_within_limits(
    integer, timestamptz, timestamptz, boolean, text[], text, integer, integer, integer, interval);
-- What pick_heads() does, taking a place of each limit (0 = off). A contact without a place holds its own lane; an account without one is passed over;
-- without a place for all nobody goes. Due lanes are taken in order, as many at a time as there are slots and places left. What is passed over stays due, what
-- is held back has a later time. The places are taken last and all at once: end_sends() locks them in the same order. free_at: when the first of these places
-- is free again, or now where there is more to look at.
create or replace function agwb.pick_heads_within_limits(
    p_slots integer, p_now timestamptz, p_until timestamptz, p_drop_stale boolean, p_hold boolean, p_skip text[], p_only text,
    p_all integer, p_account integer, p_contact integer, p_window interval,
    out ids text[], out cancelled integer, out free_at timestamptz,
    out held_all integer, out held_account integer, out held_contact integer)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_slots integer := p_slots; -- or places for all, if they are fewer
    v_keys text[] := '{}';      -- of the places to be taken
    v_full text[] := '{}';      -- accounts without a place
    v_seen text[] := '{}';      -- lanes that were looked at and stay due
    v_accounts text[];
    v_places integer[];         -- of v_accounts
    v_lanes text[];
    v_lane_accounts text[];
    v_ids text[];
    v_new_keys text[];
    v_stale text[];
    v_reasons text[];
    v_overtaken text[];
    v_holders text[];
    v_still text[];
    v_count integer;
    v_again boolean;
begin
    ids := '{}';
    cancelled := 0;
    held_all := 0;
    held_contact := 0;
    if p_all > 0 then
        v_slots := least(p_slots, agwb.limit_places('limit:all', p_all, p_window, p_now));
    end if;
    while cardinality(ids) < p_slots loop
        select array_agg(x.lane), array_agg(x.account) into v_lanes, v_lane_accounts
        from (select l.lane, l.account from agwb.lanes l
              where l.due_at <= p_now and l.account <> all (p_skip) and (p_only is null or l.account = p_only)
                and l.account <> all (v_full) and l.lane <> all (v_seen)
              order by l.due_at limit greatest(v_slots - cardinality(ids), 1) for update skip locked) x;
        exit when v_lanes is null;
        if cardinality(ids) >= v_slots then
            held_all := 1;
            exit;
        end if;
        if held_contact + cancelled >= 200 + p_slots then
            free_at := p_now; -- a crowd: the next claim goes on from here
            exit;
        end if;
        if p_account > 0 then
            select array_agg(x.account), array_agg(x.places), v_full || array_agg(x.account) filter (where x.places <= 0)
            into v_accounts, v_places, v_full
            from (select u.account, agwb.limit_places('limit:account:' || u.account, p_account, p_window, p_now)
                                    - cardinality(array_positions(v_keys, 'limit:account:' || u.account)) as places
                  from (select distinct y.account from unnest(v_lane_accounts) y (account)) u) x;
            continue when 0 >= any (v_places);
        end if;

        -- locked first and read with a newer snapshot (see refresh_lanes)
        with heads as materialized (
            select due.lane, due.account, due.position, k.row_place, h.message_id, h.next_attempt_at, h.stale, h.contact_key,
                   coalesce(h.stale is null and h.overtaken, false) as overtaken,
                   (h.next_attempt_at is null or h.next_attempt_at <= p_now) as is_due,
                   coalesce((select s.message_id from agwb.deliveries s where s.lane = due.lane and s.state = 'sending'),
                            case when p_hold then (select u.message_id from agwb.deliveries u
                                                   where u.lane = due.lane and u.state = 'uncertain' limit 1) end) as holder
            from unnest(v_lanes, v_lane_accounts) with ordinality due (lane, account, position)
            cross join lateral (select l.ctid as row_place from agwb.lanes l where l.lane = due.lane limit 1) k
            left join lateral (select d.message_id, d.next_attempt_at,
                                      case when d.next_attempt_at is null or d.next_attempt_at <= p_now
                                           then agwb.stale_reason(d, p_drop_stale) end as stale,
                                      case when d.fence > 0 and (d.next_attempt_at is null or d.next_attempt_at <= p_now)
                                           then agwb.is_overtaken(d) end as overtaken,
                                      case when p_contact > 0
                                           then (agwb.limit_keys(d.account, d.workspace_id, d.contact_id, d.address))[3] end as contact_key
                               from agwb.deliveries d
                               where d.lane = due.lane and d.state = 'ready' order by d.rank, d.seq limit 1) h on true
        ), judged as materialized (
            select h.*, f.at as contact_free_at,
                   h.message_id is not null and h.holder is null and h.is_due and h.stale is null and not h.overtaken
                   and f.at is null
                   and h.contact_key = any (v_keys) is not true as may_go
            from heads h
            left join lateral (
                select max(x.at) + p_window as at
                from (select s.at, sum(s.n) over (order by s.at desc) as newer_or_same -- as limit_free_at()
                      from agwb.lanes l, unnest(l.sends, l.counts) s (at, n)
                      where l.lane = h.contact_key and s.at > p_now - p_window) x
                where x.newer_or_same >= p_contact) f
                on p_contact > 0 and h.holder is null and h.is_due and h.stale is null and not h.overtaken
        ), ranked as materialized (
            -- two lanes may be one contact's, and an account have fewer places than lanes: the first ones go
            select j.*,
                   j.may_go
                   and (p_contact <= 0 or row_number() over (partition by j.may_go, j.contact_key order by j.position) = 1)
                   and (p_account <= 0 or row_number() over (partition by j.may_go, j.account order by j.position)
                                          <= v_places[array_position(v_accounts, j.account)]) as goes
            from judged j
        ), held as (
            -- a send under way counts until its lease ends, but will have ended sooner
            update agwb.lanes l
            set due_at = case when h.goes or h.message_id is null then null
                              when not h.is_due then h.next_attempt_at else least(h.contact_free_at, p_now + p_window) end
            from ranked h
            where l.ctid = h.row_place and h.holder is null and h.stale is null and not h.overtaken
              and (h.goes or h.message_id is null or not h.is_due or h.contact_free_at is not null)
        )
        select array_agg(h.message_id order by h.position) filter (where h.goes),
               array_agg('limit:all'::text) filter (where h.goes and p_all > 0)
               || array_agg('limit:account:' || h.account) filter (where h.goes and p_account > 0)
               || array_agg(h.contact_key) filter (where h.goes and p_contact > 0),
               array_agg(h.message_id) filter (where h.stale is not null and h.holder is null),
               array_agg(h.stale) filter (where h.stale is not null and h.holder is null),
               array_agg(h.message_id) filter (where h.overtaken and h.holder is null),
               array_agg(h.holder) filter (where h.holder is not null),
               array_agg(h.lane) filter (where h.holder is not null or h.stale is not null or h.overtaken or h.contact_key = any (v_keys)),
               count(*) filter (where h.contact_free_at is not null), bool_or(h.contact_key = any (v_keys))
        into v_ids, v_new_keys, v_stale, v_reasons, v_overtaken, v_holders, v_still, v_count, v_again
        from ranked h;

        ids := ids || v_ids;
        v_keys := v_keys || v_new_keys;
        v_seen := v_seen || v_still;
        held_contact := held_contact + v_count;
        if v_again then
            free_at := p_now; -- the same contact's: when its place is counted
        end if;
        if v_holders is not null then
            perform agwb.hold_lanes(v_holders);
        end if;
        if v_stale is not null then -- the lanes stay due: their next heads' turn comes with the next claim
            perform agwb.cancel_deliveries(v_stale, v_reasons);
            cancelled := cancelled + cardinality(v_stale);
        end if;
        if v_overtaken is not null then
            perform agwb.park_overtaken(v_overtaken);
            cancelled := cancelled + cardinality(v_overtaken);
        end if;
    end loop;

    perform agwb.limit_take_all(v_keys, p_until, p_window);
    held_account := cardinality(v_full);
    free_at := least(free_at, case when held_all > 0 then agwb.limit_free_at('limit:all', p_all, p_window, p_now) end,
                     (select min(agwb.limit_free_at('limit:account:' || x.account, p_account, p_window, p_now))
                      from unnest(v_full) x (account)));
end
$$;

drop function if exists agwb.claim_deliveries(
    text, integer, bigint, boolean, text[], text, integer, integer, integer, bigint);
-- Claims up to p_slots lane heads as `sending`: only as many as start now, since the mark says that they may have left. Claims of all instances are
-- serialised: two of them never wait for each other's rows in opposite orders, and a limit is looked at and taken in one piece.
-- p_skip: accounts whose circuit is open; p_only: the one that is probed, or null; p_chained: those with a chain, whose steps may need the contact's number or
-- e-mail address. The last row has no message_id: wait_ms until the next head may be due (null: nothing waits), and how often a limit held something back.
create or replace function agwb.claim_deliveries(
    p_owner text, p_slots integer, p_lease_ms bigint, p_drop_stale boolean, p_hold boolean, p_skip text[], p_only text,
    p_chained text[], p_all integer, p_account integer, p_contact integer, p_window_ms bigint)
returns table (
    message_id text, fence integer, attempts integer, kind text, account text, channel text, address text, payload text,
    job_id uuid, workspace_id uuid, contact_id uuid, headers text, accepted_ms bigint, due_ms bigint, published_ms bigint,
    parts_sent integer, parts_end integer, quoted_id text, step integer, chain text, as_template boolean, number text, email text,
    wait_ms bigint, held_all integer, held_account integer, held_contact integer, cancelled integer)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_limited boolean := p_all > 0 or p_account > 0 or p_contact > 0;
    v_now timestamptz;
    v_until timestamptz;
    v_ids text[];
    v_free timestamptz;
    v_next timestamptz;
    v_held integer[] := array[0, 0, 0];
    v_cancelled integer;
begin
    perform pg_advisory_xact_lock(hashtextextended('agwb.claim_deliveries', 0));
    v_now := clock_timestamp();
    v_until := v_now + p_lease_ms * interval '1 millisecond';
    if v_limited then
        select x.ids, x.cancelled, x.free_at, array[x.held_all, x.held_account, x.held_contact]
        into v_ids, v_cancelled, v_free, v_held
        from agwb.pick_heads_within_limits(p_slots, v_now, v_until, p_drop_stale, p_hold, p_skip, p_only, p_all, p_account,
                                           p_contact, p_window_ms * interval '1 millisecond') x;
    else
        select x.ids, x.cancelled into v_ids, v_cancelled from agwb.pick_heads(p_slots, v_now, p_drop_stale, p_hold, p_skip, p_only) x;
    end if;

    return query
    with taken as (
        update agwb.deliveries d
        set state = 'sending', fence = d.fence + 1, attempts = d.attempts + 1, lease_owner = p_owner, lease_until = v_until,
            limit_keys = case when v_limited then agwb.limit_keys(d) end
        where d.message_id = any (v_ids) and d.state is not distinct from 'ready' -- not "=", or an index of all that is ready would be read
        returning d.*)
    select t.message_id, t.fence, t.attempts, t.kind, t.account, t.channel, t.address, convert_from(t.payload, 'UTF8'),
           t.job_id, t.workspace_id, t.contact_id, t.headers::text,
           (extract(epoch from t.accepted_at) * 1000)::bigint,
           (extract(epoch from coalesce(t.next_attempt_at, t.accepted_at)) * 1000)::bigint,
           (extract(epoch from t.published_at) * 1000)::bigint,
           t.parts_sent, t.parts_end, t.quoted_id, t.step, t.chain, t.as_template,
           case when coalesce(t.chain, t.account) = any (p_chained)
                then (select c.phone_number from customer_profiles c where c.id = t.contact_id) end,
           case when coalesce(t.chain, t.account) = any (p_chained)
                then (select c.email from customer_profiles c where c.id = t.contact_id) end,
           null::bigint, null::integer, null::integer, null::integer, null::integer
    from taken t
    order by t.seq;

    -- a lane that a limit held back is due and waits for a free place; of the others the first one's time counts
    select min(l.due_at) into v_next from agwb.lanes l
    where l.due_at > case when v_free is null then '-infinity' else v_now end and l.account <> all (p_skip);
    return query
    select null, null::integer, null::integer, null, null, null, null, null, null::uuid, null::uuid, null::uuid, null,
           null::bigint, null::bigint, null::bigint, null::integer, null::integer, null, null::integer, null, null::boolean, null, null,
           case when least(v_free, v_next) is not null
           then greatest((extract(epoch from least(v_free, v_next) - clock_timestamp()) * 1000)::bigint, 0) end,
           v_held[1], v_held[2], v_held[3], v_cancelled;
end
$$;

drop function if exists agwb.end_sends(jsonb, integer, integer, integer, interval);
drop function if exists agwb.end_sends(jsonb, boolean, integer, integer, integer, interval);
-- The sends that were counted until their lease's end have ended, or never left: p_keys are limit_keys() of each, p_untils their leases' ends. Their rows are
-- locked in one order, behind everything else of the transaction; a claim that has looked at them meanwhile has counted no fewer.
create or replace function agwb.end_sends(
    p_keys text[], p_untils timestamptz[], p_left boolean, p_all integer, p_account integer, p_contact integer, p_window interval) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_ended timestamptz;
    v_lanes text[];
    v_sends text[];
    v_of timestamptz[];
    v_counts integer[];
    v_turns integer[];
begin
    select array_agg(x.lane) into v_lanes
    from (select l.lane from agwb.lanes l where l.lane = any (p_keys) order by l.lane for update) x;
    if v_lanes is null then
        return;
    end if;
    v_ended := case when p_left then clock_timestamp() end;
    select array_agg(x.key), array_agg(x.until), array_agg(x.n), array_agg(x.turn) into v_sends, v_of, v_counts, v_turns
    from (select k.key, u.until, count(*)::integer as n, row_number() over (partition by k.key) as turn
          from unnest(p_untils) with ordinality u (until, i)
          cross join lateral unnest(p_keys[u.i::integer : u.i::integer]) k (key)
          group by k.key, u.until) x;
    -- sends of one key that began in several claims, one claim after the other
    for v_turn in 1 .. (select max(x) from unnest(v_turns) x) loop
        update agwb.lanes l
        set (sends, counts) = (
            select coalesce(array_agg(x.at order by x.at), '{}'), coalesce(array_agg(x.n order by x.at), '{}')
            from (select s.at, sum(s.n)::integer as n
                  from (select u.at, case when u.at = e.until then u.n - e.n else u.n end as n
                        from unnest(l.sends, l.counts) u (at, n)
                        where u.at > clock_timestamp() - p_window
                        union all
                        select case when e.size <= 100 then v_ended
                               else date_bin(p_window / 100, v_ended, timestamptz '2000-01-01') + p_window / 100 end, e.n
                        where v_ended is not null) s
                  where s.n > 0
                  group by s.at) x)
        from (select k.row_place, y.*, case when y.key = 'limit:all' then p_all when y.key like 'limit:account:%' then p_account else p_contact end as size
              from unnest(v_sends, v_of, v_counts, v_turns) y (key, until, n, turn)
              cross join lateral (select x.ctid as row_place from agwb.lanes x where x.lane = y.key limit 1) k
              where y.turn = v_turn) e
        where l.ctid = e.row_place;
    end loop;
end
$$;

-- The provider says that they do not want messages: from now on nobody sends them any.
create or replace function agwb.opt_out_contacts(p_message_ids text[]) returns void
language sql as $$
    update customer_profiles c set opted_out_at = clock_timestamp()
    from (select distinct d.contact_id from agwb.deliveries d where d.message_id = any (p_message_ids)) x
    where c.id = x.contact_id and c.opted_out_at is null
$$;

drop function if exists agwb.settle_deliveries(
    text[], integer[], text[], bigint[], boolean[], text[], text[], bigint[], bigint[], integer[], text[], text[], text[], text[], text[],
    text[], text[], integer, integer, integer, bigint, boolean);
drop function if exists agwb.settle_deliveries(
    text[], integer[], text[], bigint[], boolean[], text[], text[], bigint[], bigint[], integer[], text[], text[], text[], text[], text[],
    integer, integer, integer, bigint, boolean);
-- Settles attempts of p_owner's claims, each fenced by its claim: a row that meanwhile belongs to another claim is left alone. p_states: sent, ready
-- (again after p_waits_ms), uncertain (decided after p_waits_ms), parked. p_counted false gives the attempt back. p_next: for the disposition next, the
-- way it goes on as {"account", "channel", "address", "chain", "step", "template"}. p_opt_outs: messages whose contacts do not want any. p_bare: the delivery and its attempt
-- only, without history, usage and job: for one whose payload or whose neighbours' tables refuse those. Returns the ids that were settled; is_due, the same
-- in all rows: some lane's head may go.
create or replace function agwb.settle_deliveries(
    p_message_ids text[], p_fences integer[], p_states text[], p_waits_ms bigint[], p_counted boolean[],
    p_provider_ids text[], p_reasons text[],
    p_started_ms bigint[], p_ended_ms bigint[], p_http_statuses integer[], p_provider_codes text[],
    p_outcomes text[], p_dispositions text[], p_details text[], p_timings text[], p_next text[], p_opt_outs text[],
    p_all integer, p_account integer, p_contact integer, p_window_ms bigint, p_bare boolean)
returns table (message_id text, job_created_ms bigint, job_published_ms bigint, is_due boolean)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_lanes text[];
    v_settled text[];
    v_created bigint[];
    v_asked bigint[];
    v_counted text[];
    v_untils timestamptz[];
    v_moved text[];
    v_accounts text[];
    v_provider_ids text[];
    v_shown jsonb;
begin
    -- jobs before lanes and in one order, as accept_replies() does
    perform 1 from ai_response_queue q
    where q.id = any (array(select d.job_id from agwb.deliveries d where d.message_id = any (p_message_ids))) order by q.id for update;
    perform 1 from agwb.deliveries d where d.message_id = any (p_message_ids) order by d.message_id for update;

    with r as materialized (
        select * from unnest(p_message_ids, p_fences, p_states, p_waits_ms, p_counted, p_provider_ids, p_reasons, p_started_ms,
                             p_ended_ms, p_http_statuses, p_provider_codes, p_outcomes, p_dispositions, p_details, p_timings, p_next)
            r (message_id, fence, state, wait_ms, counted, provider_id, reason, started_ms, ended_ms, http_status, provider_code,
               outcome, disposition, detail, timings, next)
    ), settled as (
        update agwb.deliveries d
        set state = r.state, limit_keys = null,
            attempts = case when r.disposition in ('continue', 'next') then 0 when r.counted then d.attempts else d.attempts - 1 end,
            parts_sent = case when r.next is not null then 0 when r.outcome = 'DELIVERED' then d.parts_sent + 1 else d.parts_sent end,
            parts_end = case when r.next is null then d.parts_end end,
            account = case when r.next is null then d.account else n.account end,
            lane = case when r.next is null then d.lane else n.account || ' ' || n.address end,
            channel = case when r.next is null then d.channel else n.channel end,
            address = case when r.next is null then d.address else n.address end,
            chain = case when r.next is null then d.chain else n.chain end,
            step = case when r.next is null then d.step else n.step end,
            as_template = case when r.next is null then d.as_template else n.template end,
            next_attempt_at = case when r.state in ('ready', 'uncertain')
                              then clock_timestamp() + r.wait_ms * interval '1 millisecond' end,
            provider_message_id = coalesce(r.provider_id, d.provider_message_id),
            reason = r.reason, lease_owner = null, lease_until = null,
            settled_at = case when r.state in ('sent', 'parked') then clock_timestamp() end,
            copied_at = case when r.state <> 'ready' then d.copied_at end
        from r
        -- as it was before
        cross join lateral (select x.ctid as row_place, x.limit_keys, x.lease_until, x.lane, x.account, x.parts_sent
                            from agwb.deliveries x where x.message_id = r.message_id limit 1) c
        left join lateral (
            select x.* from jsonb_to_record(r.next::jsonb) x (account text, channel text, address text, chain text, step integer, template boolean)
            where r.next is not null limit 1) n on true
        where d.ctid = c.row_place and d.fence = r.fence
          and (d.state in ('sending', 'uncertain')
               or d.state in ('parked', 'ready') and r.outcome = 'DELIVERED' -- late, but definite; and not the same once more, whose answer was lost
                  and not exists (select 1 from agwb.delivery_attempts a where a.message_id = d.message_id and a.fence = d.fence))
        returning d.message_id, d.seq, d.kind, d.fence, d.state, d.channel, d.account, d.lane, d.job_id, d.workspace_id, d.contact_id,
                  d.conversation_id, d.message_row_id, d.provider_message_id,
                  -- where it is needed, and no further than to the next step
                  case when not p_bare and r.state <> 'parked' and (d.conversation_id is not null or d.job_id is not null) then d.payload end
                  as payload,
                  c.limit_keys as old_keys, c.lease_until as old_until, c.lane as old_lane, c.account as old_account, c.parts_sent as part,
                  r.provider_id, r.outcome, r.disposition, r.started_ms, r.ended_ms, r.http_status, r.provider_code, r.detail, r.timings
    ), said as materialized (
        -- the payload is parsed once; the job is locked, so it is what it was
        select s.message_id, s.seq, s.state, s.channel, s.account, s.lane, s.workspace_id, s.contact_id, s.conversation_id, s.message_row_id,
               s.provider_message_id, s.old_keys, s.old_until, s.old_lane, s.outcome, s.disposition,
               q.row_place, q.created_at, q.published_at, b.body #>> '{response,text}' as text,
               coalesce(b.body #>> '{response,type}', 'text') as type,
               case when s.channel = 'website' then b.body #> '{response,attachments}' end as attachments,
               case when q.row_place is not null then agwb.agent_error(b.body) end as error
        from settled s
        left join lateral (select x.ctid as row_place, x.created_at, x.published_at from ai_response_queue x
                           where x.id = s.job_id and s.state = 'sent' and s.kind = 'reply' and not p_bare limit 1) q on true
        left join lateral (select convert_from(s.payload, 'UTF8')::jsonb as body offset 0) b on true
    ), attempt as (
        insert into agwb.delivery_attempts
            (message_id, fence, account, part, started_at, ended_at, http_status, provider_code, outcome, disposition, detail, timings,
             provider_message_id)
        select s.message_id, s.fence, s.old_account, s.part, to_timestamp(s.started_ms / 1000.0), to_timestamp(s.ended_ms / 1000.0),
               s.http_status, s.provider_code, s.outcome, s.disposition, s.detail, s.timings::jsonb, s.provider_id
        from settled s
    ), history as (
        insert into messages (id, conversation_id, sender_type, content, content_type, external_id, delivery_status, metadata)
        select s.message_row_id, s.conversation_id, 'ai', s.text, s.type,
               s.provider_message_id, case when s.state = 'sent' then 'SENT' else 'PENDING' end,
               jsonb_build_object('messageId', s.message_id, 'channel', s.channel, 'account', s.account)
               || case when s.channel = 'website' -- whoever shows it has nothing else
                  then jsonb_build_object('attachments', s.attachments) else '{}' end
        from said s
        where s.conversation_id is not null and s.state <> 'parked' and not p_bare
        on conflict (id) do update
            set external_id = coalesce(excluded.external_id, messages.external_id),
                delivery_status = case when messages.delivery_status in ('DELIVERED', 'READ') then messages.delivery_status
                                  else excluded.delivery_status end
    ), usage as (
        insert into usage_logs (workspace_id, kind, quantity, metadata)
        select s.workspace_id, s.channel || '_message', 1,
               jsonb_build_object('messageId', s.message_id, 'account', s.account, 'contactId', s.contact_id)
        from said s where s.state = 'sent' and not p_bare
    ), answered as (
        update ai_response_queue q
        set status = case when s.error is null then (select agwb.complete_status()) else 'failed' end,
            error = s.error, processed_at = clock_timestamp(), ai_response = s.text,
            response_time_ms = least((extract(epoch from clock_timestamp() - q.created_at) * 1000)::bigint, 2147483647)::integer
        from said s
        where q.ctid = s.row_place -- row by row, at any size of the table
    )
    select array_agg(distinct s.old_lane), array_agg(s.message_id order by s.seq),
           array_agg((extract(epoch from s.created_at) * 1000)::bigint order by s.seq),
           array_agg((extract(epoch from s.published_at) * 1000)::bigint order by s.seq),
           array_agg(s.old_keys) filter (where s.old_keys is not null), array_agg(s.old_until) filter (where s.old_keys is not null),
           array_agg(s.lane) filter (where s.disposition = 'next'), array_agg(s.account) filter (where s.disposition = 'next'),
           array_agg(s.provider_message_id) filter (where s.outcome = 'DELIVERED' and s.provider_message_id is not null),
           jsonb_agg(jsonb_build_object('conversationId', s.conversation_id, 'messageId', s.message_row_id))
               filter (where s.channel = 'website' and s.state = 'sent')
    into v_lanes, v_settled, v_created, v_asked, v_counted, v_untils, v_moved, v_accounts, v_provider_ids, v_shown
    from said s;

    if v_provider_ids is not null and not p_bare then
        perform agwb.apply_receipts_of(v_provider_ids); -- some come before their send is recorded
    end if;
    if v_shown is not null then
        perform pg_notify('agwb_website', x::text) from jsonb_array_elements(v_shown) x;
    end if;
    if cardinality(p_opt_outs) > 0 then
        perform agwb.opt_out_contacts(p_opt_outs);
    end if;
    if v_moved is not null then
        perform agwb.make_lanes(v_moved, v_accounts);
    end if;
    perform agwb.refresh_lanes(v_lanes || v_moved);
    if v_counted is not null then
        perform agwb.end_sends(v_counted, v_untils, true, p_all, p_account, p_contact, p_window_ms * interval '1 millisecond');
    end if;
    return query
    select *, exists (select 1 from agwb.lanes l where l.due_at <= clock_timestamp()) from unnest(v_settled, v_created, v_asked);
end
$$;

-- Requests that will not be answered: dead-lettered, an agent's reply without anything to send, or no reply in time. With p_retries the
-- job's ladder comes first (p_ladder_ms: the wait before each further try); else the job ends failed, and then the contact gets one apology (p_text) a window. Nothing happens beside a real reply: the
-- job's row is locked, and accepting a reply locks it too. result: answered, again, fallback, quiet (one was sent just now, or nobody can be
-- reached), unknown (no such job).
create or replace function agwb.fail_requests(
    p_jobs uuid[], p_message_ids text[], p_reasons text[], p_retries boolean[], p_ladder_ms bigint[],
    p_text text, p_window_ms bigint, p_accounts jsonb)
returns table (job_id uuid, result text)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    v_now timestamptz;
begin
    perform pg_advisory_xact_lock(hashtextextended('agwb.fail_requests', 0)); -- one apology a contact, whoever asks
    perform 1 from ai_response_queue q where q.id = any (p_jobs) order by q.id for update;
    v_now := clock_timestamp();

    return query
    with r as materialized (
        select * from unnest(p_jobs, p_message_ids, p_reasons, p_retries) with ordinality
            r (job_id, message_id, reason, retry, position)
    ), who as materialized (
        select r.*, q.id as known, q.status, case when r.retry then p_ladder_ms[q.attempts] end as wait_ms, c.id as contact_id, v.id as conversation_id,
               coalesce(q.workspace_id, c.workspace_id) as workspace_id, c.remote_jid, c.phone_number, c.opted_out_at,
               exists (select 1 from agwb.deliveries d where d.job_id = r.job_id and d.kind = 'reply') as answered,
               c.email, c.external_id,
               coalesce(nullif(v.channel_type, ''),
                        case when coalesce(c.remote_jid, '') <> '' or c.external_id like 'whatsapp:%' then 'whatsapp' else 'sms' end) as channel
        from r
        left join ai_response_queue q on q.id = r.job_id
        left join messages m on m.id = q.message_id
        left join conversations v on v.id = coalesce(q.conversation_id, m.conversation_id)
        left join customer_profiles c on c.id = coalesce(q.contact_id, v.customer_id)
    ), judged as materialized (
        select w.*, a.account, a.address,
               case when w.known is null then 'unknown'
                    when w.answered or w.status in ('cancelled', agwb.complete_status()) then 'answered'
                    when w.wait_ms is not null then 'again'
                    when exists (select 1 from agwb.deliveries d where d.message_id = w.message_id) then 'quiet'
                    when a.address is null or a.account is null or w.opted_out_at is not null then 'quiet'
                    when exists (select 1 from agwb.deliveries d
                                 where d.kind = 'fallback' and d.contact_id = w.contact_id
                                   and d.accepted_at > v_now - p_window_ms * interval '1 millisecond') then 'quiet'
                    when row_number() over (partition by w.contact_id, w.known is null or w.answered or w.wait_ms is not null
                                            order by w.position) > 1 then 'quiet'
                    else 'fallback' end as result
        from who w
        cross join lateral (
            select agwb.pick_account(p_accounts, w.channel, w.workspace_id) as account,
                   agwb.contact_address(w.channel, w.phone_number, w.remote_jid, w.email, w.external_id) as address) a
    ), ended as (
        update ai_response_queue q
        set status = case j.result when 'again' then 'error' else 'failed' end,
            error = j.reason,
            next_attempt_at = case j.result when 'again' then v_now + j.wait_ms * interval '1 millisecond' end,
            published_at = case j.result when 'again' then null else q.published_at end,
            processed_at = case j.result when 'again' then null else v_now end
        from judged j
        where q.id = j.job_id and j.result in ('again', 'fallback', 'quiet') and q.status in ('processing', 'pending', 'error')
        returning 1
    ), apology as (
        insert into agwb.deliveries
            (message_id, kind, job_id, workspace_id, contact_id, conversation_id, account, lane, channel, address, state,
             body_sha256, payload)
        select j.message_id, 'fallback', j.job_id, j.workspace_id, j.contact_id, j.conversation_id, j.account,
               j.account || ' ' || j.address, j.channel, j.address, 'ready', sha256(b.body), b.body
        from judged j
        cross join lateral (select convert_to(jsonb_build_object(
            'messageId', j.message_id, 'originalMessageId', j.job_id, 'timestamp', floor(extract(epoch from v_now))::bigint,
            'status', 'success', 'contact', jsonb_build_object(
                'remoteJid', nullif(j.remote_jid, ''), 'phoneNumber', case when j.address like '+%' then j.address end),
            'response', jsonb_build_object('text', p_text, 'type', 'text'))::text, 'UTF8') as body) b
        where j.result = 'fallback'
        on conflict on constraint deliveries_pkey do nothing
        returning lane, account
    ), waiting as (
        insert into agwb.lanes (lane, account, due_at)
        select distinct on (x.lane) x.lane, x.account, v_now from apology x order by x.lane
        on conflict (lane) do update set due_at = coalesce(agwb.lanes.due_at, excluded.due_at)
        returning 1
    )
    select j.job_id, j.result from judged j order by j.position;
end
$$;

-- Published jobs without any reply since p_timeout_ms.
create or replace function agwb.overdue_jobs(p_timeout_ms bigint, p_limit integer) returns setof uuid
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
    select q.id from ai_response_queue q
    where q.status = 'processing' and q.published_at is not null
      and q.published_at <= clock_timestamp() - p_timeout_ms * interval '1 millisecond'
      and (select d.job_id from agwb.deliveries d where d.job_id = q.id and d.kind = 'reply' limit 1) is null -- job by job, see purge_jobs()
    order by q.published_at limit p_limit
$$;

-- Gives claims back that were never started: ready at once, the attempt not counted, their places of the limits free. One whose lease has ended meanwhile
-- may have lost its place (see is_overtaken).
create or replace function agwb.release_deliveries(p_message_ids text[], p_fences integer[]) returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_lanes text[];
    v_counted text[];
    v_untils timestamptz[];
begin
    with claimed as materialized (
        select d.message_id, d.limit_keys, d.lease_until from agwb.deliveries d where d.message_id = any (p_message_ids)
    ), released as (
        update agwb.deliveries d
        set state = 'ready', attempts = d.attempts - 1, next_attempt_at = null, lease_owner = null, lease_until = null,
            limit_keys = null, reason = null
        from unnest(p_message_ids, p_fences) r (message_id, fence) join claimed c using (message_id)
        where d.message_id = r.message_id and d.fence = r.fence and d.state in ('sending', 'uncertain')
        returning d.lane, c.limit_keys as old_keys, c.lease_until as old_until)
    select array_agg(x.lane), array_agg(x.old_keys) filter (where x.old_keys is not null),
           array_agg(x.old_until) filter (where x.old_keys is not null)
    into v_lanes, v_counted, v_untils from released x;
    perform agwb.refresh_lanes(v_lanes);
    if v_counted is not null then
        perform agwb.end_sends(v_counted, v_untils, false, 0, 0, 0, interval '100 years'); -- whatever the window is: only their own places
    end if;
    return coalesce(cardinality(v_lanes), 0);
end
$$;

-- The same for a claim whose answer was lost: p_owner is the name it was made under, so nobody has started what it took. Behind the claims'
-- lock: the lost statement may be running still.
create or replace function agwb.release_claim(p_owner text) returns integer
language plpgsql
set enable_seqscan = off
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('agwb.claim_deliveries', 0));
    return (select agwb.release_deliveries(array_agg(d.message_id), array_agg(d.fence)) from agwb.deliveries d
            where d.state = 'sending' and d.lease_owner = p_owner);
end
$$;

-- Receipts say that these left us and arrived: of each message the part under way, whose outcome nobody knew, is sent. How many parts there are is not
-- known here, so it is ready for the next one; an attempt that finds none left ends it. Ignored where nothing was in doubt, and where the receipt is of
-- another part. p_provider_ids: the receipts' own ids, may be null. Returns how many were proven.
create or replace function agwb.confirm_deliveries(p_message_ids text[], p_provider_ids text[]) returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_lanes text[];
    v_accounts text[];
begin
    perform 1 from agwb.deliveries d
    where d.message_id = any (p_message_ids) and d.state in ('uncertain', 'parked') order by d.message_id for update;
    if not found then
        return 0;
    end if;

    with proof as materialized (
        select distinct on (d.message_id) d.message_id, p.provider_id
        from unnest(p_message_ids, p_provider_ids) p (message_id, provider_id)
        cross join lateral (select x.message_id, x.state, x.fence, x.parts_sent
                            from agwb.deliveries x where x.message_id = p.message_id limit 1) d
        where (d.state = 'uncertain'
               or d.state = 'parked' and d.fence > 0 and (
                   select a.id from agwb.delivery_attempts a
                   where a.message_id = d.message_id and a.fence = d.fence and a.outcome <> 'UNCERTAIN' limit 1) is null)
          and (select a.id from agwb.delivery_attempts a
               where a.message_id = d.message_id and (p.provider_id = a.provider_message_id or p.provider_id = a.receipt_id) is true
                 and (a.outcome = 'DELIVERED' or a.part <> d.parts_sent) limit 1) is null
        order by d.message_id, p.provider_id
    ), proven as (
        -- the fence moves on: a late answer to the attempt must not count the part once more
        update agwb.deliveries d
        set state = 'ready', fence = d.fence + 1, attempts = 0, parts_sent = d.parts_sent + 1,
            provider_message_id = coalesce(p.provider_id, d.provider_message_id),
            next_attempt_at = null, reason = null, settled_at = null, copied_at = null, lease_owner = null, lease_until = null
        from proof p where d.message_id = any (array(select x.message_id from proof x)) and d.message_id = p.message_id
        returning d.message_id, d.fence - 1 as fence, d.parts_sent - 1 as part, d.account, d.lane, p.provider_id
    ), known as (
        insert into agwb.delivery_attempts
            (message_id, fence, account, part, started_at, ended_at, outcome, disposition, detail, provider_message_id, receipt_id)
        select p.message_id, p.fence, p.account, p.part, clock_timestamp(), clock_timestamp(), 'DELIVERED', 'continue', 'proven by a receipt',
               p.provider_id, p.provider_id
        from proven p
    )
    select array_agg(p.lane), array_agg(p.account) into v_lanes, v_accounts from proven p;
    if v_lanes is null then
        return 0;
    end if;
    perform agwb.make_lanes(v_lanes, v_accounts);
    perform agwb.refresh_lanes(v_lanes);
    perform pg_notify('agwb_deliveries', '');
    return cardinality(v_lanes);
end
$$;

-- Deliveries that were sent and of which the provider says now that they did not arrive, oldest news first, one a message. is_current: it is about
-- what was sent last of this part, and the reply has not gone another way since; else nothing is to be done but to settle it. attempts: how often this
-- part was sent over this account. Whoever asks at the same time gets the same, and settle_bounces() takes only the first answer.
create or replace function agwb.claim_bounces(p_limit integer, p_chained text[])
returns table (
    receipt_id bigint, message_id text, fence integer, attempts integer, part integer, is_current boolean,
    account text, channel text, address text, step integer, chain text, as_template boolean, number text, email text,
    code text, detail text)
language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    return query
    select distinct on (d.message_id)
           r.id, d.message_id, d.fence,
           (select greatest(count(*), 1)::integer from agwb.delivery_attempts s
            where s.message_id = d.message_id and s.part = a.part and s.account = d.account and s.outcome = 'DELIVERED'
              and s.provider_code is distinct from 'nothing_left'),
           coalesce(a.part, r.part, greatest(d.parts_sent - 1, 0)),
           d.state = 'sent' and not exists (
               select 1 from agwb.delivery_attempts later
               where later.message_id = d.message_id and later.id > a.id and (later.part = a.part or later.disposition = 'next')),
           d.account, d.channel, d.address, d.step, d.chain, d.as_template,
           case when coalesce(d.chain, d.account) = any (p_chained)
                then (select c.phone_number from customer_profiles c where c.id = d.contact_id) end,
           case when coalesce(d.chain, d.account) = any (p_chained)
                then (select c.email from customer_profiles c where c.id = d.contact_id) end,
           coalesce(r.code, ''), coalesce(r.detail, '')
    from (select x.* from agwb.receipts x
          where x.status = 'FAILED' and x.judged_at is null and x.message_id is not null and exists (
              select 1 from agwb.deliveries f where f.message_id = x.message_id and f.state in ('sent', 'parked', 'cancelled'))
          order by x.id limit p_limit) r
    join agwb.deliveries d using (message_id)
    left join lateral (
        select a.id, a.part from agwb.delivery_attempts a
        where a.message_id = d.message_id and r.provider_message_id in (a.provider_message_id, a.receipt_id)
        order by a.id desc limit 1) a on true
    order by d.message_id, r.id;
end
$$;

-- What the news of claim_bounces() lead to. p_states: ready (the part again after p_waits_ms, or with p_next another way), parked; null: nothing. Fenced
-- like an attempt. The rows that are written beside the attempts have no timings.
drop function if exists agwb.settle_bounces(
    bigint[], text[], integer[], integer[], text[], bigint[], text[], text[], text[], text[], text[], text[], text[]);
create or replace function agwb.settle_bounces(
    p_receipts bigint[], p_message_ids text[], p_fences integer[], p_parts integer[], p_attempts integer[], p_states text[], p_waits_ms bigint[],
    p_reasons text[], p_provider_codes text[], p_outcomes text[], p_dispositions text[], p_details text[], p_next text[],
    p_opt_outs text[]) returns void
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_lanes text[];
    v_accounts text[];
begin
    perform 1 from agwb.deliveries d where d.message_id = any (p_message_ids) order by d.message_id for update;

    with r as materialized (
        select * from unnest(p_receipts, p_message_ids, p_fences, p_parts, p_attempts, p_states, p_waits_ms, p_reasons, p_provider_codes,
                             p_outcomes, p_dispositions, p_details, p_next)
            r (receipt_id, message_id, fence, part, attempts, state, wait_ms, reason, provider_code, outcome, disposition, detail, next)
    ), moved as (
        update agwb.deliveries d
        set state = r.state, reason = r.reason, copied_at = null,
            settled_at = case r.state when 'parked' then clock_timestamp() end,
            next_attempt_at = case r.state when 'ready' then clock_timestamp() + r.wait_ms * interval '1 millisecond' end,
            attempts = case when r.next is null then r.attempts else 0 end,
            parts_sent = case when r.next is null then r.part else 0 end,
            parts_end = case when r.next is null then r.part + 1 end,
            account = case when r.next is null then d.account else n.account end,
            lane = case when r.next is null then d.lane else n.account || ' ' || n.address end,
            channel = case when r.next is null then d.channel else n.channel end,
            address = case when r.next is null then d.address else n.address end,
            chain = case when r.next is null then d.chain else n.chain end,
            step = case when r.next is null then d.step else n.step end,
            as_template = case when r.next is null then d.as_template else n.template end
        from r
        -- as it was before
        cross join lateral (select x.ctid as row_place, x.account from agwb.deliveries x where x.message_id = r.message_id limit 1) w
        left join lateral (
            select x.* from jsonb_to_record(r.next::jsonb) x (account text, channel text, address text, chain text, step integer, template boolean)
            where r.next is not null limit 1) n on true
        where d.ctid = w.row_place and d.fence = r.fence
          and d.state is not distinct from 'sent' -- not "=", or an index of all that was sent would be read
          and r.state is not null
        returning d.message_id, d.fence, d.state, d.lane, d.account, d.message_row_id, w.account as old_account,
                  r.receipt_id, r.part, r.provider_code, r.outcome, r.disposition, r.detail
    ), told as (
        insert into agwb.delivery_attempts (message_id, fence, account, part, started_at, ended_at, provider_code, outcome, disposition, detail)
        select m.message_id, m.fence, m.old_account, m.part, clock_timestamp(), clock_timestamp(), m.provider_code, m.outcome, m.disposition, m.detail
        from moved m
    ), history as (
        update messages h set delivery_status = 'PENDING'
        where h.id = any (array(select m.message_row_id from moved m where m.state = 'ready')) and h.delivery_status in ('SENT', 'FAILED')
    ), judged as (
        update agwb.receipts x set judged_at = clock_timestamp()
        where x.id = any (array(select r.receipt_id from r where r.state is null union all select m.receipt_id from moved m))
    )
    select array_agg(m.lane), array_agg(m.account) into v_lanes, v_accounts from moved m where m.state = 'ready';

    if cardinality(p_opt_outs) > 0 then
        perform agwb.opt_out_contacts(p_opt_outs);
    end if;
    perform agwb.make_lanes(v_lanes, v_accounts);
    perform agwb.refresh_lanes(v_lanes);
end
$$;

drop function if exists agwb.sweep_deliveries(integer, bigint, boolean);
-- The chores between claims. An owner that died in an attempt leaves `sending` rows: they may have left, so they become `uncertain`; what stayed
-- uncertain for its time is parked or, with p_resend, tried again. next_due_ms as in sweep_jobs().
create or replace function agwb.sweep_deliveries(p_limit integer, p_uncertain_wait_ms bigint, p_resend boolean)
returns table (orphaned integer, parked integer, resent integer, next_due_ms bigint,
               ready_count bigint, sending_count bigint, uncertain_count bigint, uncopied_count bigint, has_bounced boolean)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_lanes text[];
    v_more text[];
begin
    with expired as (
        select d.message_id from agwb.deliveries d
        where d.state = 'sending' and d.lease_until <= v_now
        order by d.lease_until limit p_limit for update skip locked
    ), moved as (
        update agwb.deliveries d
        set state = 'uncertain', next_attempt_at = v_now + p_uncertain_wait_ms * interval '1 millisecond',
            reason = 'the consumer ended during the attempt', lease_owner = null, lease_until = null, limit_keys = null
        where d.message_id = any (array(select e.message_id from expired e))
        returning d.lane)
    select count(*), coalesce(array_agg(m.lane), '{}') into orphaned, v_lanes from moved m;

    with decided as (
        select d.message_id from agwb.deliveries d
        where d.state = 'uncertain' and d.next_attempt_at <= v_now
        order by d.next_attempt_at limit p_limit for update skip locked
    ), moved as (
        update agwb.deliveries d
        set state = case when p_resend then 'ready' else 'parked' end,
            next_attempt_at = null,
            reason = 'uncertain: ' || coalesce(d.reason, 'no answer'),
            settled_at = case when not p_resend then v_now end
        where d.message_id = any (array(select e.message_id from decided e))
        returning d.lane, d.state)
    select count(*) filter (where m.state = 'parked'), count(*) filter (where m.state = 'ready'), coalesce(array_agg(m.lane), '{}')
    into parked, resent, v_more from moved m;

    perform agwb.refresh_lanes(v_lanes || v_more);

    select case when min(x.at) > v_now then (extract(epoch from min(x.at) - v_now) * 1000)::bigint
                when min(x.at) is not null then 0 end into next_due_ms
    from (select min(d.lease_until) as at from agwb.deliveries d where d.state = 'sending'
          union all
          select min(d.next_attempt_at) from agwb.deliveries d where d.state = 'uncertain') x;
    select count(*) into ready_count from agwb.deliveries d where d.state = 'ready';
    select count(*) into sending_count from agwb.deliveries d where d.state = 'sending';
    select count(*) into uncertain_count from agwb.deliveries d where d.state = 'uncertain';
    select count(*) into uncopied_count from agwb.deliveries d where d.state = 'parked' and d.copied_at is null;
    select exists (select 1 from agwb.receipts r where r.status = 'FAILED' and r.judged_at is null and r.message_id is not null)
    into has_bounced;
    return next;
end
$$;

-- Parked deliveries whose copy is not in wb_parked yet. Until mark_parked() confirms it the row keeps coming back after p_lease_ms.
create or replace function agwb.claim_parked(p_owner text, p_limit integer, p_lease_ms bigint)
returns table (message_id text, payload text, headers text, reason text, outcome text, attempts integer, first_seen_ms bigint)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    return query
    with due as (
        select d.message_id from agwb.deliveries d
        where d.state = 'parked' and d.copied_at is null and (d.lease_until is null or d.lease_until <= clock_timestamp())
        order by d.settled_at limit p_limit for update skip locked
    ), taken as (
        update agwb.deliveries d
        set lease_owner = p_owner, lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
        where d.message_id = any (array(select due.message_id from due))
        returning d.*)
    select t.message_id, convert_from(t.payload, 'UTF8'), t.headers::text, t.reason,
           (select a.outcome from agwb.delivery_attempts a where a.message_id = t.message_id order by a.id desc limit 1),
           t.attempts, (extract(epoch from t.accepted_at) * 1000)::bigint
    from taken t
    order by t.settled_at;
end
$$;

-- The copies are confirmed: only now is the message FAILED for everyone who looks at it. p_bare as in settle_deliveries().
create or replace function agwb.mark_parked(p_message_ids text[], p_bare boolean) returns integer
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
    v_count integer;
begin
    perform 1 from ai_response_queue q
    where q.id in (select d.job_id from agwb.deliveries d where d.message_id = any (p_message_ids)) order by q.id for update;

    with done as (
        update agwb.deliveries d
        set copied_at = clock_timestamp(), lease_owner = null, lease_until = null
        from unnest(p_message_ids) r (message_id)
        where d.message_id = r.message_id and d.state = 'parked' and d.copied_at is null
        returning d.*
    ), history as (
        insert into messages (id, conversation_id, sender_type, content, content_type, external_id, delivery_status, metadata)
        select s.message_row_id, s.conversation_id, 'ai', agwb.reply_text(s.payload),
               coalesce(convert_from(s.payload, 'UTF8')::jsonb #>> '{response,type}', 'text'),
               s.provider_message_id, 'FAILED',
               jsonb_build_object('messageId', s.message_id, 'channel', s.channel, 'account', s.account, 'reason', s.reason)
        from done s where s.conversation_id is not null and not p_bare
        on conflict (id) do update
            set delivery_status = case when messages.delivery_status in ('DELIVERED', 'READ') then messages.delivery_status
                                  else 'FAILED' end,
                metadata = coalesce(messages.metadata, '{}') || excluded.metadata
    ), ended as (
        update ai_response_queue q
        set status = 'failed', error = coalesce(s.reason, 'not deliverable'), processed_at = clock_timestamp()
        from done s
        where q.id = s.job_id and s.kind = 'reply'
          and (q.status in ('processing', 'pending', 'error')
               or q.status = agwb.complete_status() and not exists ( -- it was sent, and did not arrive
                   select 1 from agwb.deliveries o where o.job_id = q.id and o.kind = 'reply' and o.state = 'sent'))
        returning 1)
    select count(*) into v_count from done;
    return v_count;
end
$$;
