-- Raw webhooks in, jobs out. A front end only stores what a provider posted: a row of webhook_inbox, or a call of agwb.receive_webhook(). The publisher
-- reads it; what people wrote becomes contacts, conversations, messages and jobs, what providers report becomes receipts (008_receipts.sql).
-- Everything from outside comes as a value, never as a part of a statement.

do $$
declare
    v_role text;
begin
    if to_regclass('webhook_inbox') is not null then
        return;
    end if;
    create table webhook_inbox (
        id          uuid primary key default gen_random_uuid(),
        received_at timestamptz not null default clock_timestamp() -- not now(): the rows of one transaction keep their order
    );
    -- Supabase gives whoever has its public key every right on a new table of public. Raw webhooks hold keys and what people wrote.
    for v_role in select r.rolname from pg_roles r where r.rolname in ('anon', 'authenticated') loop
        execute format('revoke all on webhook_inbox from %I', v_role);
        alter table webhook_inbox enable row level security;
    end loop;
end
$$;
alter table webhook_inbox
    add column if not exists provider text,     -- whatsapp_cloud, wasender, evolution, waha, whatsapp_qr, twilio, instagram, generic
    add column if not exists account text,      -- the account's name, where the front end knows it
    add column if not exists headers jsonb,     -- names in any case
    add column if not exists body text,         -- byte for byte: signatures are over it
    add column if not exists status text default 'pending', -- pending, done, ignored, failed
    add column if not exists error text,        -- why it was ignored or failed; done: what of it was passed over
    add column if not exists attempts integer default 0,    -- claims
    add column if not exists lease_owner text,
    add column if not exists lease_until timestamptz,
    add column if not exists processed_at timestamptz;
create index if not exists webhook_inbox_pending on webhook_inbox (received_at) where status = 'pending';
update webhook_inbox set status = 'pending' where status is null; -- a front end's explicit null: it would lie there for ever
alter table webhook_inbox alter column status set not null;
alter table webhook_inbox set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
select agwb.require_words('webhook_inbox', 'status', array['pending', 'done', 'ignored', 'failed']);

create or replace function agwb.notify_inbox() returns trigger
language plpgsql as $$
begin
    perform pg_notify('agwb_inbox', '');
    return null;
end
$$;
drop trigger if exists agwb_inbox on webhook_inbox;
create trigger agwb_inbox after insert on webhook_inbox for each statement execute function agwb.notify_inbox();

-- The door for a front end that may do nothing else (PostgREST, Supabase RPC): grant it EXECUTE on this function and USAGE on schema agwb.
create or replace function agwb.receive_webhook(provider text, account text, headers jsonb, body text) returns uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id uuid;
begin
    if coalesce(receive_webhook.provider, '') = '' then
        raise exception 'receive_webhook: provider is missing';
    end if;
    insert into public.webhook_inbox (provider, account, headers, body)
    values (receive_webhook.provider, nullif(receive_webhook.account, ''), receive_webhook.headers, receive_webhook.body)
    returning webhook_inbox.id into v_id;
    return v_id;
end
$$;
revoke all on function agwb.receive_webhook(text, text, jsonb, text) from public;

-- Claims the oldest pending rows for p_owner: up to p_limit of them and about p_max_bytes together. A row that somebody claimed and did not finish comes
-- alone, so that one that kills its reader takes nobody along, and with a `fault` once it has done so often enough. A body beyond p_max_body is
-- not handed out: a fault too. The caller ends rows with a fault by record_inbox().
--
-- Whose row it is can be told only when it is read, and what a contact wrote is to be stored as it came. So one owner at a time has rows in hand, and comes
-- again for what is left; to the others there is nothing to claim meanwhile. record_inbox() is one at a time anyway. An owner that does not
-- end its rows for 5 s may be dead: it holds the others up no longer, and what it has comes behind theirs. Nor does one that does not read the answer of its
-- claim, which holds the lock meanwhile.
create or replace function agwb.claim_inbox(p_owner text, p_limit integer, p_lease_ms bigint, p_max_body bigint, p_max_bytes bigint)
returns table (id uuid, provider text, account text, headers text, body text, fault text)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set lock_timeout = 5000
as $$
#variable_conflict use_column
declare
    v_lease interval := p_lease_ms * interval '1 millisecond';
    v_now timestamptz;
    v_fresh timestamptz; -- what is leased until then or longer was claimed within 5 s; beyond v_lease a clock was set
begin
    begin
        perform pg_advisory_xact_lock(hashtextextended('agwb.claim_inbox', 0)); -- whose claim was before ours is seen
    exception when lock_not_available then
        null; -- whoever has it does not take its rows; they are locked
    end;
    v_now := clock_timestamp();
    v_fresh := v_now + greatest(v_lease - interval '5 s', interval '0');
    if exists (
        select 1
        from (select i.lease_owner, i.lease_until from webhook_inbox i
              where i.status = 'pending' and (i.lease_until is null or i.lease_until <= v_now or i.lease_until between v_fresh and v_now + v_lease)
              order by i.received_at limit p_limit) x -- what is in hand is among the oldest
        where x.lease_until > v_now and x.lease_owner is distinct from p_owner)
    then
        return;
    end if;

    return query
    with due as materialized (
        select i.id, i.received_at, coalesce(i.attempts, 0) as attempts, coalesce(octet_length(i.body), 0) as bytes
        from webhook_inbox i
        where i.status = 'pending' and (i.lease_until is null or i.lease_until <= v_now)
        order by i.received_at limit p_limit for update skip locked
    ), counted as (
        select d.id, d.attempts, row_number() over w as n, first_value(d.attempts) over w as first_attempts,
               sum(least(d.bytes, p_max_body)) over w as total
        from due d
        window w as (order by d.received_at, d.id rows unbounded preceding)
    ), taken as (
        update webhook_inbox i
        set attempts = coalesce(i.attempts, 0) + 1, lease_owner = p_owner, lease_until = v_now + v_lease
        where i.id = any (array(
            select c.id from counted c where c.n = 1 or (c.total <= p_max_bytes and c.attempts = 0 and c.first_attempts = 0)))
        returning i.*
    )
    select t.id, t.provider, t.account, t.headers::text,
           case when octet_length(t.body) <= p_max_body then t.body end,
           case when t.attempts > 6 then 'nobody could finish it in ' || t.attempts - 1 || ' attempts: the publisher dies or stalls on this row'
                when octet_length(t.body) > p_max_body
                then 'the body has ' || octet_length(t.body) || ' bytes, at most ' || p_max_body || ' are read' end
    from taken t
    order by t.received_at, t.id;
end
$$;

-- --- people and conversations ---

-- The contact that a message is from, by the strongest of what names a person. p_workspaces: where to look; empty = anywhere.
create or replace function agwb.find_contact(m jsonb, p_workspaces uuid[]) returns customer_profiles
language plpgsql as $$
declare
    v_contact customer_profiles;
    v_digits text := substr(m ->> 'number', 2);
begin
    select (f.c).* into v_contact
    from (select 1 as strength, c from customer_profiles c where translate(c.phone_number, '+ -.()', '') = v_digits
          union all
          select 2, c from customer_profiles c
          where c.remote_jid in (m ->> 'jid', v_digits || '@s.whatsapp.net', v_digits || '@c.us')
          union all
          select 3, c from customer_profiles c where lower(c.email) = lower(m ->> 'email')
          union all
          select 4, c from customer_profiles c
          where c.external_id = m ->> 'person' -- who writes from another number now is not answered at the old one
            and (v_digits is null or coalesce(translate(c.phone_number, '+ -.()', ''), '') in ('', v_digits))) f
    where cardinality(p_workspaces) = 0 or (f.c).workspace_id is null or (f.c).workspace_id = any (p_workspaces)
    order by f.strength, coalesce((f.c).phone_number <> m ->> 'number', false), (f.c).workspace_id is null, (f.c).created_at, (f.c).id
    limit 1;
    return v_contact;
end
$$;

-- What find_contact() found, completed by what was not known of the person yet; made if that is nobody. What somebody wrote into the profile stays, but
-- for how the number is written: without E.164 it could not be answered.
create or replace function agwb.save_contact(m jsonb, p_found customer_profiles, p_workspaces uuid[]) returns customer_profiles
language plpgsql as $$
declare
    v_new customer_profiles := p_found;
begin
    v_new.phone_number := case when translate(p_found.phone_number, '+ -.()', '') = substr(m ->> 'number', 2) then m ->> 'number'
                          else coalesce(nullif(p_found.phone_number, ''), m ->> 'number') end;
    v_new.remote_jid := coalesce(nullif(p_found.remote_jid, ''), m ->> 'jid');
    v_new.email := coalesce(nullif(p_found.email, ''), m ->> 'email');
    v_new.external_id := coalesce(nullif(p_found.external_id, ''), m ->> 'person');
    v_new.name := coalesce(nullif(p_found.name, ''), m ->> 'name');
    if p_found.id is null then
        v_new.workspace_id := case when cardinality(p_workspaces) = 1 then p_workspaces[1]
                              else (select w.ids[1] from (select array_agg(x.id) as ids from (select id from workspaces limit 2) x) w
                                    where cardinality(w.ids) = 1) end;
        insert into customer_profiles (workspace_id, name, email, phone_number, remote_jid, external_id)
        values (v_new.workspace_id, v_new.name, v_new.email, v_new.phone_number, v_new.remote_jid, v_new.external_id)
        returning * into v_new;
    elsif (v_new.phone_number, v_new.remote_jid, v_new.email, v_new.external_id, v_new.name)
          is distinct from (p_found.phone_number, p_found.remote_jid, p_found.email, p_found.external_id, p_found.name) then
        update customer_profiles c
        set phone_number = v_new.phone_number, remote_jid = v_new.remote_jid, email = v_new.email,
            external_id = v_new.external_id, name = v_new.name
        where c.id = p_found.id;
    end if;
    return v_new;
end
$$;

-- The contact's conversation over a channel: the newest that is not closed, else a new one.
create or replace function agwb.save_conversation(p_contact customer_profiles, p_workspace uuid, p_channel text) returns conversations
language plpgsql as $$
declare
    v_conversation conversations;
begin
    select v.* into v_conversation
    from conversations v
    where v.customer_id = p_contact.id and v.channel_type::text = p_channel
      and coalesce(lower(v.status::text), '') not in ('closed', 'resolved', 'archived')
    order by v.created_at desc limit 1;
    if found then
        update conversations v set message_count = coalesce(v.message_count, 0) + 1, updated_at = clock_timestamp()
        where v.id = v_conversation.id;
    else
        insert into conversations (workspace_id, customer_id, channel_type, message_count)
        values (p_workspace, p_contact.id, p_channel, 1)
        returning * into v_conversation;
    end if;
    return v_conversation;
end
$$;

-- Whether this message is stored already: providers deliver again, some of them every message several times. Ids are the provider's and, over different
-- accounts, not always unique.
create or replace function agwb.is_known_message(m jsonb, p_contact uuid) returns boolean
language plpgsql as $$
begin
    return exists (
        select 1
        from messages x left join conversations v on v.id = x.conversation_id
        where x.external_id = m ->> 'externalId' and x.sender_type = 'user'
          and (v.customer_id = p_contact
               or (x.metadata ->> 'provider' = m ->> 'provider' and x.metadata ->> 'account' is not distinct from m ->> 'account')));
end
$$;

-- --- jobs ---

-- Why the agent is not asked about a contact's message; null: it is.
create or replace function agwb.why_no_job(p_contact customer_profiles, p_conversation conversations, p_workspace uuid) returns text
language plpgsql as $$
begin
    return case
        when exists (select 1 from workspaces w where w.id = p_workspace and w.ai_enabled is false)
            then 'AI is switched off for the workspace'
        when p_contact.ai_enabled is false then 'AI is switched off for the customer'
        when p_contact.opted_out_at is not null then 'the customer has opted out'
        when p_conversation.requires_human then 'a human has taken the conversation over'
    end;
end
$$;

-- 1 is the most urgent. The conversation's word counts; without one the workspace's plan.
create or replace function agwb.job_priority(p_conversation conversations, p_workspace uuid) returns integer
language plpgsql as $$
begin
    return case lower(p_conversation.priority::text)
        when 'urgent' then 1
        when 'high' then 2
        when 'normal' then 5
        else coalesce((select case when w.plan_price >= 100 then 1 when w.plan_price >= 50 then 3 end
                       from workspaces w where w.id = p_workspace), 5)
    end;
end
$$;

-- The request that a stored message leads to. With p_debounce it waits that long for a further one, which then joins it: at most p_debounce_max from the
-- first, never longer than a request can be. A job that somebody is claiming right now takes no more.
create or replace function agwb.add_job(
    p_message messages, p_contact customer_profiles, p_workspace uuid, p_priority integer,
    p_debounce interval, p_debounce_max interval, out result text, out job_id uuid)
language plpgsql as $$
declare
    c_max_text constant integer := 16000;
    v_text text := left(p_message.content, c_max_text);
    v_due timestamptz := clock_timestamp() + p_debounce;
    v_open ai_response_queue;
begin
    if p_debounce > interval '0' then
        select q.* into v_open
        from ai_response_queue q
        where q.contact_id = p_contact.id and q.status = 'pending' and q.conversation_id = p_message.conversation_id
          and q.next_attempt_at is not null and coalesce(q.attempts, 0) = 0
          and length(q.user_message) + length(v_text) < c_max_text
        order by q.created_at desc limit 1 for update skip locked;
        if found then
            update ai_response_queue q
            set user_message = q.user_message || E'\n' || v_text, last_message_at = p_message.created_at,
                priority = least(q.priority, p_priority), next_attempt_at = least(v_due, q.created_at + p_debounce_max)
            where q.id = v_open.id;
            result := 'joined';
            job_id := v_open.id;
            return;
        end if;
    end if;
    insert into ai_response_queue
        (workspace_id, contact_id, conversation_id, message_id, user_message, priority, created_at, next_attempt_at)
    values (p_workspace, p_contact.id, p_message.conversation_id, p_message.id, v_text, p_priority, p_message.created_at,
            case when p_debounce > interval '0' then least(v_due, p_message.created_at + p_debounce_max) end)
    returning id into job_id;
    result := 'job';
end
$$;

-- What a contact's keyword does; returns why the message is no question to the agent, null when it is one. Jobs that somebody works on right now are not
-- waited for: claim_jobs() refuses them.
create or replace function agwb.heed_wish(p_wish text, p_text text, p_contact customer_profiles) returns text
language plpgsql as $$
begin
    if p_wish = 'stop' then
        update customer_profiles c set opted_out_at = clock_timestamp() where c.id = p_contact.id and c.opted_out_at is null;
        with open as (
            select q.id from ai_response_queue q
            where q.contact_id = p_contact.id and q.status = 'pending' for update skip locked)
        update ai_response_queue q
        set status = 'cancelled', error = 'the customer has opted out', processed_at = clock_timestamp(), next_attempt_at = null
        from open where q.id = open.id;
        return 'keyword: stop';
    elsif p_wish = 'start' then
        if p_contact.opted_out_at is null and p_text ~* '^\W*yes\W*$' then
            return null; -- somebody's answer to a question
        end if;
        update customer_profiles c set opted_out_at = null where c.id = p_contact.id and c.opted_out_at is not null;
        return 'keyword: start';
    elsif p_wish = 'help' then
        return 'keyword: help';
    end if;
    return null;
end
$$;

-- --- the batch ---

-- Stores one message: {row, externalId, provider, account, workspaces, channel, number, jid, email, person, name, text, cutFrom, contentType, media,
-- quotedId, sentMs, wish}. result: job, joined (another message's job), none (no job, with the reason), duplicate.
create or replace function agwb.take_message(
    m jsonb, p_at timestamptz, p_debounce interval, p_debounce_max interval, out result text, out reason text, out job_id uuid)
language plpgsql as $$
declare
    v_workspaces uuid[] := array(select jsonb_array_elements_text(m -> 'workspaces')::uuid);
    v_workspace uuid;
    v_contact customer_profiles;
    v_conversation conversations;
    v_message messages;
begin
    v_contact := agwb.find_contact(m, v_workspaces);
    if agwb.is_known_message(m, v_contact.id) then
        result := 'duplicate';
        return;
    end if;
    v_contact := agwb.save_contact(m, v_contact, v_workspaces);
    v_workspace := coalesce(case when cardinality(v_workspaces) = 1 then v_workspaces[1] end, v_contact.workspace_id);
    v_conversation := agwb.save_conversation(v_contact, v_workspace, m ->> 'channel');

    reason := coalesce(agwb.heed_wish(m ->> 'wish', m ->> 'text', v_contact),
                       agwb.why_no_job(v_contact, v_conversation, v_workspace));
    insert into messages (conversation_id, sender_type, content, content_type, external_id, metadata, created_at)
    values (v_conversation.id, 'user', m ->> 'text', m ->> 'contentType', m ->> 'externalId',
            jsonb_strip_nulls(jsonb_build_object(
                'provider', m -> 'provider', 'account', m -> 'account', 'channel', m -> 'channel', 'inboxId', m -> 'row',
                'media', m -> 'media', 'quotedId', m -> 'quotedId', 'noJob', reason,
                'cutFrom', m -> 'cutFrom', 'sentAt', to_timestamp((m ->> 'sentMs')::bigint / 1000.0))),
            p_at)
    returning * into v_message;
    insert into usage_logs (workspace_id, kind, metadata)
    values (v_workspace, (m ->> 'channel') || '_inbound',
            jsonb_strip_nulls(jsonb_build_object('messageId', v_message.id, 'account', m -> 'account', 'contactId', v_contact.id)));
    if reason is not null then
        result := 'none';
        return;
    end if;
    select j.result, j.job_id into result, job_id
    from agwb.add_job(v_message, v_contact, v_workspace, agwb.job_priority(v_conversation, v_workspace), p_debounce, p_debounce_max) j;
end
$$;

-- Ends a batch of rows that p_owner has claimed, with all that they say, in one transaction. p_results: done, ignored, failed. p_messages and p_receipts
-- are arrays of objects whose `row` names the row they came in. Returns a row a message, in order; `lost`: the lease was, and somebody else
-- has that row now.
--
-- One batch at a time, whoever records it: two publishers never make the same contact twice, never store a message twice, and never wait for each
-- other's rows in opposite orders. No job is ever waited for (see add_job, heed_wish), so nobody who holds one waits for us.
create or replace function agwb.record_inbox(
    p_owner text, p_ids uuid[], p_results text[], p_errors text[], p_messages text, p_receipts text,
    p_debounce_ms bigint, p_debounce_max_ms bigint)
returns table (n integer, result text, reason text, job_id uuid)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    v_debounce interval := p_debounce_ms * interval '1 millisecond';
    v_debounce_max interval := greatest(p_debounce_ms, p_debounce_max_ms) * interval '1 millisecond';
    v_times jsonb; -- of the rows that are still ours, by id
    v_message record;
begin
    perform pg_advisory_xact_lock(hashtextextended('agwb.record_inbox', 0));
    with ended as (
        update webhook_inbox i
        set status = r.result, error = r.error, lease_owner = null, lease_until = null, processed_at = clock_timestamp()
        from unnest(p_ids, p_results, p_errors) r (id, result, error)
        where i.id = r.id and i.status = 'pending' and i.lease_owner = p_owner
        returning i.id, i.received_at
    )
    select coalesce(jsonb_object_agg(e.id, least(e.received_at, clock_timestamp())), '{}') into v_times from ended e;

    for v_message in
        select (x.position - 1)::integer as n, x.value as m,
               -- what one row or one moment brings keeps its order
               (v_times ->> (x.value ->> 'row'))::timestamptz + x.position * interval '1 microsecond' as at
        from jsonb_array_elements(p_messages::jsonb) with ordinality x (value, position)
        order by x.position
    loop
        n := v_message.n;
        result := 'lost';
        reason := null;
        job_id := null;
        if v_message.at is not null then
            select t.result, t.reason, t.job_id into result, reason, job_id
            from agwb.take_message(v_message.m, v_message.at, v_debounce, v_debounce_max) t;
        end if;
        return next;
    end loop;
    perform agwb.add_receipts(r.receipts)
    from (select jsonb_agg(x.value order by x.position) as receipts
          from jsonb_array_elements(p_receipts::jsonb) with ordinality x (value, position)
          where v_times ? (x.value ->> 'row')) r
    where r.receipts is not null;
end
$$;
