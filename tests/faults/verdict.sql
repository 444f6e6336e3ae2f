-- The ledger of a fault run: what was asked (faults.ask), what the provider's journal and the queues say afterwards (filled in by check.c), and the
-- verdict on every message. A message without a verdict is a failure like a lost one.

create schema faults;

create table faults.journal (
    seq bigint, mono_us bigint, recipient text, text text, status integer, fault text, accepted boolean,
    job_id uuid generated always as (((regexp_match(text, '#([0-9a-f-]{36})$'))[1])::uuid) stored);
create index on faults.journal (job_id) where accepted;
create table faults.queued (queue text, message_id text, reason text, body text);
create index on faults.queued (message_id);

create function faults.job_id(n bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function faults.conversation_id(c bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-a000-' || lpad(to_hex(c), 12, '0'))::uuid $$;
create function faults.contact_id(c bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-b000-' || lpad(to_hex(c), 12, '0'))::uuid $$;
create function faults.number_of(c bigint) returns text
language sql immutable as $$ select '+1' || 202 + c / 100 || '555' || lpad((100 + c % 100)::text, 4, '0') $$;

-- What the agent does with message n: mostly it answers. See tests/agent/behaviour.h.
create function faults.marker(n bigint, p_mixed boolean) returns text
language sql immutable as $$
    select case when not p_mixed then ''
           else case n % 53 when 7 then ' [reject]' when 17 then ' [error BUSY]' when 27 then ' [malformed]' when 37 then ' [duplicate]'
                            when 47 then ' [silent]' else '' end end
$$;

create function faults.make_contacts(p_count integer) returns void
language sql as $$
    insert into workspaces (id, name) values (faults.contact_id(0), 'Workspace');
    insert into customer_profiles (id, workspace_id, name, phone_number, remote_jid)
    select faults.contact_id(c), faults.contact_id(0), 'Contact ' || c, faults.number_of(c),
           substr(faults.number_of(c), 2) || '@s.whatsapp.net'
    from generate_series(0, p_count - 1) c;
    insert into conversations (id, workspace_id, customer_id, channel_type)
    select faults.conversation_id(c), faults.contact_id(0), faults.contact_id(c), 'whatsapp'
    from generate_series(0, p_count - 1) c;
$$;

-- Messages p_first..p_last, each of another contact, so that a contact's jobs differ in created_at. May be repeated: a commit whose answer was
-- lost is not made twice.
create function faults.ask(p_first bigint, p_last bigint, p_contacts integer, p_mixed boolean) returns void
language sql as $$
    insert into messages (id, conversation_id, sender_type, content)
    select faults.job_id(n), faults.conversation_id(n % p_contacts), 'user', 'n' || n || faults.marker(n, p_mixed)
    from generate_series(p_first, p_last) n on conflict do nothing;
    insert into ai_response_queue (id, workspace_id, contact_id, conversation_id, message_id)
    select faults.job_id(n), faults.contact_id(0), faults.contact_id(n % p_contacts), faults.conversation_id(n % p_contacts),
           faults.job_id(n)
    from generate_series(p_first, p_last) n on conflict do nothing;
$$;

-- What still moves, or will; the queues are looked at apart.
create view faults.unsettled as
    select 'job ' || q.status as what, q.id::text as id from ai_response_queue q where q.status in ('pending', 'processing', 'error')
    union all
    select 'delivery ' || d.state, d.message_id from agwb.deliveries d
    where d.state in ('ready', 'sending', 'uncertain') or (d.state = 'parked' and d.copied_at is null);

create view faults.sends as select * from faults.journal j where j.accepted;

create view faults.messages as
    select q.id, q.status, q.error, coalesce(substring(m.content from '\[([a-z]+)'), 'plain') as kind,
           d.message_id, d.state, d.reason, d.copied_at, d.seq, d.lane,
           (select count(*) from faults.sends s where s.job_id = q.id) as sends,
           (select count(*) from faults.queued c
            where c.queue = 'wb_parked' and c.message_id = d.message_id and c.body = convert_from(d.payload, 'UTF8')) as copies,
           (select count(*) from faults.queued c where c.queue = 'ag_parked' and c.message_id = q.id::text) as dead_copies
    from ai_response_queue q
    left join messages m on m.id = q.message_id
    left join agwb.deliveries d on d.job_id = q.id and d.kind = 'reply';

create view faults.verdicts as
    select m.*,
           case when m.sends > 1 then 'delivered twice'
                when m.state = 'sent' and m.sends = 1 and m.status = agwb.complete_status() then 'delivered once'
                when m.state = 'sent' and m.sends = 0 then 'lost'
                when m.state = 'parked' and m.reason <> '' and m.copied_at is not null and m.copies > 0 and m.status = 'failed'
                    then 'parked with reason'
                when m.state = 'cancelled' and m.reason <> '' and m.sends = 0 and m.status = 'cancelled' then 'cancelled with reason'
                when m.message_id is null and m.sends = 0 and m.status = 'failed' and m.error <> ''
                    and (m.kind in ('error', 'malformed', 'silent') or m.kind = 'reject' and m.dead_copies > 0)
                    then 'failed with reason'
                when m.message_id is null and m.status = 'failed' then 'unexpected'
                when m.status in ('pending', 'processing', 'error') or m.state in ('ready', 'sending', 'uncertain') then 'lost'
                else 'no verdict' end as verdict
    from faults.messages m;

-- What there should not be at all.
create view faults.strays as
    select 'sent to somebody without a reason' as what, s.seq::text as id from faults.sends s
    where s.job_id is null and not exists (
        select 1 from agwb.deliveries d where d.kind = 'fallback' and d.address = s.recipient and s.text = agwb.reply_text(d.payload))
    union all
    select 'sent to somebody else', s.seq::text from faults.sends s
    join agwb.deliveries d on d.job_id = s.job_id and d.kind = 'reply' where d.address <> s.recipient
    union all
    select 'more fallbacks than the ledger has', s.recipient from faults.sends s where s.job_id is null
    group by s.recipient
    having count(*) > (select count(*) from agwb.deliveries d
                       where d.kind = 'fallback' and d.address = s.recipient and (d.state = 'sent' or d.reason like 'uncertain%'))
    union all
    select 'fallback marked sent, never arrived', d.address from agwb.deliveries d where d.kind = 'fallback' and d.state = 'sent'
    group by d.address
    having count(*) > (select count(*) from faults.sends s where s.job_id is null and s.recipient = d.address)
    union all
    select 'fallback unsettled', d.message_id from agwb.deliveries d
    where d.kind = 'fallback' and d.state not in ('sent', 'cancelled')
      and not (d.state = 'parked' and d.reason <> '' and d.copied_at is not null
               and exists (select 1 from faults.queued c where c.queue = 'wb_parked' and c.message_id = d.message_id))
    union all
    select 'delivery of no job', d.message_id from agwb.deliveries d
    where not exists (select 1 from ai_response_queue q where q.id = d.job_id)
    union all
    select 'left in ' || c.queue, coalesce(c.message_id, '-') from faults.queued c where c.queue not like '%parked'
    union all
    select 'in wb_parked, reason ' || coalesce(c.reason, '-'), coalesce(c.message_id, '-') from faults.queued c
    where c.queue = 'wb_parked' and not exists (
        select 1 from agwb.deliveries d
        where d.message_id = c.message_id and convert_from(d.payload, 'UTF8') = c.body
          and (d.state = 'parked' or d.reason like 'uncertain%' or c.reason in ('duplicate', 'uncertain')))
      and not (c.message_id is null and c.reason = 'invalid' and c.body like '%"originalMessageId":')
    union all
    select 'in ag_parked', coalesce(c.message_id, '-') from faults.queued c
    where c.queue = 'ag_parked' and not exists (
        select 1 from faults.messages m where m.id::text = c.message_id and m.kind = 'reject' and m.status = 'failed')
    union all
    select 'invalid replies that are not in wb_parked', x.missing::text
    from (select (select count(*) from faults.messages m where m.kind = 'malformed')
                 - (select count(distinct c.body) from faults.queued c where c.queue = 'wb_parked' and c.reason = 'invalid') as missing) x
    where x.missing <> 0;

-- What else the tables say must agree with the ledger: one usage row and one message in the conversation for what was sent, no delivery that
-- anybody still holds.
create view faults.disagreements as
    select 'usage rows' as what, d.message_id as id from agwb.deliveries d
    left join usage_logs u on u.metadata ->> 'messageId' = d.message_id
    group by d.message_id, d.state having count(u.id) <> case d.state when 'sent' then 1 else 0 end
    union all
    select 'message ' || coalesce(m.delivery_status, 'missing') || ' of a delivery ' || d.state, d.message_id
    from agwb.deliveries d left join messages m on m.id = d.message_row_id
    where m.delivery_status is distinct from case d.state when 'sent' then 'SENT' when 'parked' then 'FAILED' end
    union all
    select 'delivery holds a lease', d.message_id from agwb.deliveries d where d.lease_owner is not null or d.limit_keys is not null
    union all
    select 'sent without a delivered attempt', d.message_id from agwb.deliveries d
    where d.state = 'sent' and not exists (
        select 1 from agwb.delivery_attempts a where a.message_id = d.message_id and a.outcome = 'DELIVERED');

-- A lane's deliveries arrive in the order of their acceptance. What is uncertain does not hold its lane, so it has no place in this.
create view faults.disorder as
    select x.* from (
        select d.lane, d.message_id, d.seq, d.attempts, d.fence, d.accepted_at, d.settled_at, s.seq as sent, max(d.seq) over (partition by d.lane order by s.seq rows between unbounded preceding and 1 preceding)
               as highest_before
        from faults.sends s join agwb.deliveries d on d.job_id = s.job_id and d.kind = 'reply' and d.state = 'sent') x
    where x.seq < x.highest_before;

-- The most requests that any window of this length held, by limit key.
create function faults.fullest_window(p_key text, p_window_ms bigint) returns bigint
language plpgsql as $$
declare
    v_most bigint;
begin
    execute format('select coalesce(max(n), 0) from (
        select count(*) over (partition by %s order by mono_us range between %s preceding and current row) as n
        from faults.journal) x', case p_key when 'contact' then 'recipient' else '1' end, p_window_ms * 1000 - 1) into v_most;
    return v_most;
end
$$;
