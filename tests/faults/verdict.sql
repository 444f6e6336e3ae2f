-- The ledger of a fault run: what was asked (faults.ask), what the provider's journal and the queues say afterwards (filled in by check.c), and the
-- verdict on every message. A message without a verdict is a failure like a lost one.

create schema faults;

create table faults.journal (
    seq bigint, mono_us bigint, recipient text, text text, status integer, fault text, accepted boolean, provider text, id text,
    n bigint generated always as (((regexp_match(text, '\mn([0-9]+)'))[1])::bigint) stored); -- the question that it answers
create index on faults.journal (n) where accepted;
create table faults.queued (queue text, message_id text, reason text, body text);
create index on faults.queued (message_id);

-- Questions and their jobs. What came of them at each provider: how often the piece that came most often, how many different ones, whether in order. What
-- the provider said of them: failed, and the most that it knows (1 sent, 2 delivered, 3 read).
create table faults.asked (n bigint primary key, job_id uuid unique, question text);
create table faults.arrivals (n bigint, provider text, copies bigint, pieces bigint, in_order boolean, last_seq bigint, primary key (n, provider));
create table faults.told (n bigint, provider text, failed boolean, best integer, primary key (n, provider));

create function faults.digits(p_address text) returns text
language sql immutable as $$ select regexp_replace(p_address, '\D', '', 'g') $$;

create function faults.job_id(n bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'))::uuid $$;
create function faults.conversation_id(c bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-a000-' || lpad(to_hex(c), 12, '0'))::uuid $$;
create function faults.contact_id(c bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-b000-' || lpad(to_hex(c), 12, '0'))::uuid $$;
create function faults.workspace_id(c bigint) returns uuid
language sql immutable as $$ select faults.contact_id(1000000 + (c % 4 = 1)::integer) $$;
create function faults.number_of(c bigint) returns text
language sql immutable as $$ select '+1' || 202 + c / 100 || '555' || lpad((100 + c % 100)::text, 4, '0') $$;

-- What the agent does with message n: mostly it answers. See tests/agent/behaviour.h.
create function faults.marker(n bigint, p_mixed boolean) returns text
language sql immutable as $$
    select case when not p_mixed then ''
           else case n % 53 when 7 then ' [reject]' when 17 then ' [error BUSY]' when 27 then ' [malformed]' when 37 then ' [duplicate]'
                            when 47 then ' [silent]' else '' end end
$$;

-- Both ways: contact c writes over Wasender, the Cloud API, SMS or the website, by turns. Some of the questions are long, or ask for pictures: their answers
-- are several messages. Of the words in brackets see world.c (refused) and news.c (late, never).
create function faults.question(n bigint, p_mixed boolean) returns text
language sql immutable as $$
    select 'n' || n || faults.marker(n, p_mixed)
           || case when n / 4 % 5 = 2 then ' (late)' when n / 4 % 5 = 4 then ' (refused)' when n % 9 = 4 then ' (never)' else '' end
           || case when faults.marker(n, p_mixed) <> '' then ''
              when n / 4 % 3 = 1 then ' [pictures 3]'
              when n / 4 % 7 = 5 then '. ' || (select string_agg('This is sentence n' || n || '.' || k || ', and it goes on for a while, as people do who '
                                                           'have a lot to say but no time to be brief.', ' ' order by k) from generate_series(1, 45) k)
              else '' end
$$;
-- How many pieces its answer has beside the text's beginning; each of them can be told apart, and a message holds one or more of them.
create function faults.pieces_of(p_question text) returns integer
language sql immutable as $$
    select case when p_question like '%[pictures 3]%' then 2 when p_question like '%sentence%' then 45 else 0 end
$$;

-- The webhook that brings message n of contact c, as its provider words it.
create function faults.webhook(n bigint, c bigint, p_text text, out provider text, out body text)
language sql stable as $$
    select case c % 4 when 0 then 'wasender' when 1 then 'whatsapp_cloud' when 2 then 'twilio' else 'generic' end,
           case c % 4
           when 0 then json_build_object('event', 'messages.received', 'timestamp', floor(extract(epoch from now())), 'data', json_build_object(
                'messages', json_build_object(
                    'key', json_build_object('id', 'in-' || n, 'fromMe', false, 'remoteJid', substr(x.number, 2) || '@s.whatsapp.net',
                                             'cleanedSenderPn', substr(x.number, 2)),
                    'pushName', 'Contact ' || c, 'messageBody', p_text, 'message', json_build_object('conversation', p_text))))::text
           when 1 then json_build_object('object', 'whatsapp_business_account', 'entry', json_build_array(json_build_object(
                'id', '102290129340398', 'changes', json_build_array(json_build_object('field', 'messages', 'value', json_build_object(
                    'messaging_product', 'whatsapp',
                    'metadata', json_build_object('display_phone_number', '12025550199', 'phone_number_id', '106540352242922'),
                    'contacts', json_build_array(json_build_object('profile', json_build_object('name', 'Contact ' || c),
                                                                   'wa_id', substr(x.number, 2))),
                    'messages', json_build_array(json_build_object('from', substr(x.number, 2), 'id', 'in-' || n, 'type', 'text',
                        'timestamp', floor(extract(epoch from now()))::text, 'text', json_build_object('body', p_text)))))))))::text
           when 2 then 'MessageSid=in-' || n || '&AccountSid=AC00000000000000000000000000000000&From=%2B' || substr(x.number, 2)
                || '&To=%2B15005550006&NumMedia=0&Body=' || replace(replace(replace(replace(replace(replace(
                   p_text, ' ', '+'), '[', '%5B'), ']', '%5D'), '(', '%28'), ')', '%29'), ',', '%2C')
           else json_build_object('type', 'message', 'id', 'in-' || n, 'channel', 'website', 'text', p_text,
                                  'from', json_build_object('id', 'visitor-' || c, 'name', 'Contact ' || c))::text end
    from (select faults.number_of(c) as number) x
$$;

create function faults.inbox_id(n bigint, p_copy bigint) returns uuid
language sql immutable as $$ select ('00000000-0000-4000-c' || lpad(to_hex(p_copy), 3, '0') || '-' || lpad(to_hex(n), 12, '0'))::uuid $$;

-- The same as ask(), by webhooks: each fifth twice at once, each seventh again after a while; now and then one that nobody can read. Every second contact is
-- known before it writes.
create function faults.ask_by_webhook(p_first bigint, p_last bigint, p_contacts integer, p_mixed boolean) returns void
language sql as $$
    insert into webhook_inbox (id, provider, headers, body)
    select faults.inbox_id(x.n, x.copy), w.provider, '{}', w.body
    from (select n, copy from generate_series(p_first, p_last) n, generate_series(0, (n % 5 = 0)::integer) copy
          union all
          select n - 3 * p_contacts, 2 from generate_series(p_first, p_last) n where n % 7 = 0 and n > 3 * p_contacts) x,
         faults.webhook(x.n, x.n % p_contacts, faults.question(x.n, p_mixed)) w
    order by x.n, x.copy
    on conflict do nothing;
    insert into webhook_inbox (id, provider, headers, body)
    select faults.inbox_id(n, 15), 'generic', '{}', '{"type":"message"' from generate_series(p_first, p_last) n where n % 101 = 0
    on conflict do nothing;
$$;

-- What providers report, and how far the journal was read for it. Repeatable.
create table faults.news (seq bigint, provider text, id text, status text, primary key (seq, status));
create table faults.followed (position bigint not null);
insert into faults.followed values (0);
create function faults.report(p_position bigint, p_ids uuid[], p_providers text[], p_bodies text[],
                              p_seqs bigint[], p_our_names text[], p_provider_ids text[], p_statuses text[]) returns void
language sql as $$
    insert into webhook_inbox (id, provider, headers, body)
    select x.id, x.provider, '{}', x.body from unnest(p_ids, p_providers, p_bodies) with ordinality x (id, provider, body, position)
    order by x.position on conflict do nothing;
    insert into faults.news select distinct * from unnest(p_seqs, p_our_names, p_provider_ids, p_statuses) on conflict do nothing;
    update faults.followed set position = p_position;
$$;

create function faults.make_people(p_count integer) returns void
language sql as $$
    insert into workspaces (id, name) select faults.contact_id(1000000 + w), 'Workspace ' || w from generate_series(0, 1) w;
    insert into customer_profiles (id, workspace_id, phone_number, external_id)
    select faults.contact_id(c), faults.workspace_id(c), case when c % 4 <> 3 then faults.number_of(c) end,
           case when c % 4 = 3 then 'website:visitor-' || c end
    from generate_series(0, p_count - 1) c where c / 4 % 2 = 0;
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
    where d.state in ('ready', 'sending', 'uncertain') or (d.state = 'parked' and d.copied_at is null)
    union all
    select 'webhook', i.id::text from webhook_inbox i where i.status = 'pending'
    union all
    -- one that may still find its delivery; of some there will never be more than the receipt
    select 'receipt', r.id::text from agwb.receipts r
    where r.due_at is not null
      and (r.message_id is not null and not exists (select 1 from agwb.deliveries d where d.message_id = r.message_id and d.state = 'parked')
           or r.received_at > clock_timestamp() - interval '20 seconds'
              and case when r.body_text is not null then r.body_text !~ '^n[0-9]+[.]' -- of a picture, see disagreements
                  else r.provider <> 'wasender' or exists (select 1 from agwb.delivery_attempts a where a.receipt_id = r.provider_message_id) end)
    union all
    select 'failed receipt', r.id::text from agwb.receipts r where r.status = 'FAILED' and r.judged_at is null and r.message_id is not null;

create view faults.sends as select j.*, a.job_id from faults.journal j left join faults.asked a on a.n = j.n where j.accepted;

-- What is looked at often, filled in when all is at rest.
create function faults.conclude() returns void
language plpgsql as $$
begin
    insert into faults.asked
    select (regexp_match(m.content, '^n([0-9]+)'))[1]::bigint, q.id, m.content
    from messages m join ai_response_queue q on q.message_id = m.id where m.sender_type = 'user'
    on conflict do nothing; -- a second job is a stray
    analyze faults.journal;
    analyze faults.asked;
    insert into faults.arrivals
    select x.n, x.provider, max(x.copies), count(*), bool_and(x.first >= coalesce(x.before, 0)), max(x.first)
    from (select p.n, p.provider, p.k, count(*) as copies, min(p.seq) as first,
                 lag(min(p.seq)) over (partition by p.n, p.provider order by p.k) as before
          from (select distinct j.n, j.provider, j.seq, coalesce(r[2]::integer, 0) as k
                from faults.journal j, regexp_matches(j.text, '\mn([0-9]+)(?:\.([0-9]+))?', 'g') r
                where j.accepted and j.n is not null) p
          group by p.n, p.provider, p.k) x
    group by x.n, x.provider;
    insert into faults.told
    select j.n, j.provider, bool_or(w.status = 'failed'), max(array_position('{sent,delivered,read}', w.status))
    from faults.news w join faults.journal j using (seq) where j.n is not null group by j.n, j.provider;
    analyze faults.arrivals;
    analyze faults.told;
end
$$;

create view faults.deliveries as
    select d.*, case d.account when 'wa' then 'wasender' when 'sms' then 'twilio' else d.account end as provider from agwb.deliveries d;

-- `sends`: how often the answer, or any piece of it, came. Whole, and by another way beside the last one, see faults.arrivals; on a website nobody but the
-- ledger knows.
create view faults.messages as
    select x.*, coalesce(case when x.channel = 'website' then (x.state = 'sent')::integer end, x.most, 0) as sends
    from (
        select q.id, a.n, q.status, q.error, coalesce(substring(m.content from '\[([a-z]+)'), 'plain') as kind,
               d.message_id, d.state, d.reason, d.copied_at, d.seq, d.lane, d.channel, d.provider, d.chain,
               (select max(r.copies) from faults.arrivals r where r.n = a.n) as most,
               d.channel = 'website' or coalesce(r.pieces = faults.pieces_of(m.content) + 1 and r.in_order, false) as is_whole,
               exists (select 1 from faults.arrivals o where o.n = a.n and o.provider <> d.provider) as is_elsewhere,
               coalesce((select bool_or(t.failed) from faults.told t where t.n = a.n), false) as has_bounced,
               (select count(*) from faults.queued c
                where c.queue = 'wb_parked' and c.message_id = d.message_id and c.body = convert_from(d.payload, 'UTF8')) as copies,
               (select count(*) from faults.queued c where c.queue = 'ag_parked' and c.message_id = q.id::text) as dead_copies
        from ai_response_queue q
        left join faults.asked a on a.job_id = q.id
        left join messages m on m.id = q.message_id
        left join faults.deliveries d on d.job_id = q.id and d.kind = 'reply'
        left join faults.arrivals r on r.n = a.n and r.provider = d.provider) x;

create view faults.verdicts as
    select m.*,
           case when m.sends > 1 or m.is_elsewhere and not m.has_bounced then 'delivered twice'
                when m.state = 'sent' and m.is_whole and m.status = agwb.complete_status() then 'delivered once'
                when m.state = 'sent' and not m.is_whole then 'lost'
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
        select 1 from agwb.deliveries d where d.kind = 'fallback' and faults.digits(d.address) = s.recipient and s.text = agwb.reply_text(d.payload))
    union all
    select 'sent to somebody else', s.seq::text from faults.sends s
    join agwb.deliveries d on d.job_id = s.job_id and d.kind = 'reply' where faults.digits(d.address) <> s.recipient
    union all
    select 'more fallbacks than the ledger has', s.recipient from faults.sends s where s.job_id is null
    group by s.recipient
    having count(*) > (select count(*) from agwb.deliveries d
                       where d.kind = 'fallback' and faults.digits(d.address) = s.recipient and (d.state = 'sent' or d.reason like 'uncertain%'))
    union all
    select 'fallback marked sent, never arrived', d.address from agwb.deliveries d where d.kind = 'fallback' and d.state = 'sent' and d.channel <> 'website'
    group by d.address
    having count(*) > (select count(*) from faults.sends s where s.job_id is null and s.recipient = faults.digits(d.address))
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
    where x.missing <> 0
    union all
    select 'webhook ' || i.status || ', ' || coalesce(i.error, '-'), i.id::text from webhook_inbox i
    where i.status <> case when i.id::text like '%-c00f-%' then 'failed' else 'done' end or (i.status = 'failed' and coalesce(i.error, '') = '')
    union all
    select 'webhook without a message and a job of its own', x.id::text
    from (select i.id, ('x' || right(i.id::text, 12))::bit(48)::bigint as n from webhook_inbox i where i.id::text like '%-c000-%') x
    left join (select m.external_id, min(m.content) as content, count(*) as messages, count(q.id) as jobs
               from messages m left join ai_response_queue q on q.message_id = m.id
               where m.sender_type = 'user' group by m.external_id) y on y.external_id = 'in-' || x.n
    where y.messages is distinct from 1 or y.jobs <> 1 or y.content not in (faults.question(x.n, false), faults.question(x.n, true))
    union all
    select 'two messages of one webhook', m.external_id from messages m where m.sender_type = 'user' and m.external_id is not null
    group by m.external_id having count(*) > 1
    union all
    select 'contact made twice', min(c.id::text) from customer_profiles c
    group by coalesce(c.phone_number, c.external_id) having count(*) > 1
    union all
    select 'conversation made twice', min(v.id::text) from conversations v group by v.customer_id, v.channel_type having count(*) > 1;

-- What else the tables say must agree with the ledger: one usage row and one message in the conversation for what was sent, no delivery that
-- anybody still holds.
create view faults.disagreements as
    select 'usage rows' as what, d.message_id as id from agwb.deliveries d
    left join usage_logs u on u.metadata ->> 'messageId' = d.message_id
    group by d.message_id
    having count(u.id) <> (select count(*) from agwb.delivery_attempts a where a.message_id = d.message_id and a.disposition = 'done')
    union all
    select 'message ' || coalesce(x.delivery_status, 'missing') || ' of a delivery ' || x.state || coalesce(', told ' || x.best, ''), x.message_id
    from (select d.message_id, d.kind, d.state, m.delivery_status, t.best, case
                 -- one part failed late, the others arrived
                 when t.failed and faults.pieces_of(a.question) > 0 then ('{' || case d.state when 'sent' then 'SENT' else 'FAILED' end || ',DELIVERED,READ}')::text[]
                 when d.state = 'parked' then '{FAILED}'::text[]
                 -- the echo of a picture tells nobody whose it was, so what comes after it may be lost
                 when d.state = 'sent' and t.provider = 'wasender' and faults.pieces_of(a.question) > 0 then '{SENT,DELIVERED,READ}'::text[]
                 when d.state = 'sent' then ('{{SENT},{DELIVERED},{READ}}'::text[])[coalesce(t.best, 1):coalesce(t.best, 1)] end as wanted
          from faults.deliveries d
          left join messages m on m.id = d.message_row_id
          left join faults.asked a on a.job_id = d.job_id and d.kind = 'reply'
          left join lateral (select max(n.best) filter (where n.provider = d.provider) as best, max(n.provider) filter (where n.provider = d.provider) as provider,
                                    bool_or(n.failed) as failed
                             from faults.told n where n.n = a.n) t on true) x
    where not coalesce(x.delivery_status = any (x.wanted), x.delivery_status is null and x.wanted is null)
      and not (x.kind = 'fallback' and x.state = 'sent' and x.delivery_status in ('DELIVERED', 'READ')) -- news have their questions only
    union all
    select 'parked as uncertain, though the provider told of it', f.message_id
    from faults.messages f join faults.asked a using (n) join faults.told t on t.n = f.n and t.provider = f.provider
    where not exists (select 1 from agwb.delivery_attempts x where x.message_id = f.message_id and x.detail = 'proven by a receipt') -- and then in doubt again
      and f.provider in ('wasender', 'cloud') and f.state = 'parked' and f.reason like 'uncertain%' and t.best is not null and faults.pieces_of(a.question) = 0
    union all
    select 'parked for what a way had that was left', d.message_id from agwb.deliveries d
    where d.state = 'parked' and d.chain is not null and d.reason like '%131026%'
    union all
    select 'delivery holds a lease', d.message_id from agwb.deliveries d where d.lease_owner is not null or d.limit_keys is not null
    union all
    select 'sent without a delivered attempt', d.message_id from agwb.deliveries d
    where d.state = 'sent' and not exists (
        select 1 from agwb.delivery_attempts a where a.message_id = d.message_id and a.outcome = 'DELIVERED')
    union all
    select 'sent without a delivered attempt for each part', d.message_id from agwb.deliveries d
    where d.state = 'sent' and d.parts_sent > (
        select count(distinct a.part) from agwb.delivery_attempts a where a.message_id = d.message_id and a.outcome = 'DELIVERED');

-- A lane's deliveries arrive in the order of their acceptance. What came to the lane from another one has no place in this, nor has a reply of several
-- messages of which one was in doubt, or was settled after its lease (7 s here): the rest of it goes behind what went meanwhile.
create view faults.disorder as
    select x.* from (
        select d.lane, d.message_id, d.seq, d.attempts, d.fence, d.accepted_at, d.settled_at, s.seq as sent, max(d.seq) over (partition by d.lane order by s.seq rows between unbounded preceding and 1 preceding)
               as highest_before
        from faults.sends s join agwb.deliveries d on d.job_id = s.job_id and d.kind = 'reply' and d.state = 'sent'
        where d.chain is null
          and (d.parts_sent <= 1 or d.parts_sent = d.fence and not exists (
              select 1 from (select a.started_at, a.ended_at, lead(a.started_at) over (order by a.id) as next_at
                             from agwb.delivery_attempts a where a.message_id = d.message_id) part
              where coalesce(part.next_at, part.ended_at) - part.started_at > interval '7 seconds'))) x
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
