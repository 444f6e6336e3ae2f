-- The specs' business tables, as far as the pair needs them. Safe on a database that already has them: nothing is dropped or
-- retyped, added columns are nullable or defaulted. Other programs read and write these.

-- Supabase gives whoever has its public key every right on a new table of public: those made here are closed until somebody writes policies for them.
do $$
declare
    v_table text;
begin
    foreach v_table in array array['workspaces', 'customer_profiles', 'conversations', 'messages', 'ai_response_queue', 'usage_logs'] loop
        if to_regrole('anon') is not null and to_regclass(v_table) is null then
            execute format('create table %I (id uuid primary key default gen_random_uuid(), created_at timestamptz not null default now())', v_table);
            execute format('alter table %I enable row level security', v_table);
        end if;
    end loop;
end
$$;

create table if not exists workspaces (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table workspaces
    add column if not exists name text,
    add column if not exists plan_price numeric,
    add column if not exists ai_enabled boolean default true;

create table if not exists customer_profiles (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table customer_profiles
    add column if not exists workspace_id uuid,
    add column if not exists name text,
    add column if not exists email text,
    add column if not exists phone_number text, -- E.164
    add column if not exists remote_jid text,
    add column if not exists country_code text,
    add column if not exists notes text,
    add column if not exists ai_enabled boolean default true,
    add column if not exists opted_out_at timestamptz,
    add column if not exists external_id text;  -- the provider's id of a person, behind its channel: 'instagram:178...', 'whatsapp:US.134...'
create index if not exists customer_profiles_phone on customer_profiles (phone_number);
-- Others write a number as people do: '+1 (202) 555-0143', '12025550143'. Found by its digits (find_contact).
create index if not exists customer_profiles_digits on customer_profiles (translate(phone_number, '+ -.()', ''));
create index if not exists customer_profiles_jid on customer_profiles (remote_jid);
create index if not exists customer_profiles_email on customer_profiles (lower(email)) where email is not null;
create index if not exists customer_profiles_external on customer_profiles (external_id) where external_id is not null;

create table if not exists conversations (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table conversations
    add column if not exists workspace_id uuid,
    add column if not exists customer_id uuid,
    add column if not exists channel_type text, -- whatsapp, sms, email, website, instagram
    add column if not exists status text,
    add column if not exists priority text,     -- urgent, high, normal
    add column if not exists requires_human boolean default false,
    add column if not exists escalation_reason text,
    add column if not exists ai_confidence numeric,
    add column if not exists session_data jsonb,
    add column if not exists message_count integer default 0,
    add column if not exists updated_at timestamptz default now();
create index if not exists conversations_customer on conversations (customer_id);

create table if not exists messages (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table messages
    add column if not exists conversation_id uuid,
    add column if not exists sender_type text,  -- user, ai, agent
    add column if not exists content text,
    add column if not exists content_type text default 'text',
    add column if not exists external_id text,  -- the provider's id
    add column if not exists delivery_status text, -- PENDING, SENT, DELIVERED, READ, FAILED
    add column if not exists metadata jsonb,
    add column if not exists confidence_score numeric,
    add column if not exists processing_time_ms integer,
    add column if not exists intent_detected text,
    add column if not exists knowledge_sources jsonb;
create index if not exists messages_conversation on messages (conversation_id, created_at desc);
create index if not exists messages_external on messages (external_id) where external_id is not null;

create table if not exists ai_response_queue (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table ai_response_queue
    add column if not exists workspace_id uuid,
    add column if not exists contact_id uuid,   -- customer_profiles.id
    add column if not exists conversation_id uuid,
    add column if not exists message_id uuid,
    add column if not exists user_message text,
    add column if not exists task_type text default 'conversation',
    add column if not exists status text default 'pending', -- pending, processing, complete, error, failed, cancelled
    add column if not exists priority integer default 5,    -- 1 is the most urgent
    add column if not exists attempts integer default 0,
    add column if not exists error text,
    add column if not exists ai_response text,
    add column if not exists ai_confidence numeric,
    add column if not exists response_time_ms integer,
    add column if not exists processed_at timestamptz,
    add column if not exists published_at timestamptz,
    add column if not exists next_attempt_at timestamptz,
    add column if not exists lease_owner text,
    add column if not exists lease_until timestamptz,
    add column if not exists rescues integer default 0,     -- expired leases; apart from attempts
    add column if not exists last_message_at timestamptz;   -- of the last message that joined the job; null: the first is the only one
-- The predicates' words are literal: a claim that passes them as parameters would not use these.
create index if not exists ai_response_queue_pending on ai_response_queue (priority, created_at) where status = 'pending';
create index if not exists ai_response_queue_error on ai_response_queue (next_attempt_at) where status = 'error';
create index if not exists ai_response_queue_leased on ai_response_queue (lease_until)
    where status = 'processing' and published_at is null;
create index if not exists ai_response_queue_asked on ai_response_queue (published_at)
    where status = 'processing' and published_at is not null;
create index if not exists ai_response_queue_contact on ai_response_queue (contact_id) where status = 'pending';
create index if not exists ai_response_queue_waiting on ai_response_queue (next_attempt_at)
    where status = 'pending' and next_attempt_at is not null;
-- A hot table whose status is in index predicates: vacuum it early, keep room for new row versions.
alter table ai_response_queue set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

create table if not exists usage_logs (
    id         uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now()
);
alter table usage_logs
    add column if not exists workspace_id uuid,
    add column if not exists kind text,
    add column if not exists quantity numeric default 1,
    add column if not exists metadata jsonb;
create index if not exists usage_logs_workspace on usage_logs (workspace_id, created_at);

select agwb.require_words('ai_response_queue', 'status',
    array['pending', 'processing', agwb.complete_status(), 'error', 'failed', 'cancelled']);
select agwb.require_words('messages', 'delivery_status', array['PENDING', 'SENT', 'DELIVERED', 'READ', 'FAILED']);
select agwb.require_words('messages', 'sender_type', array['user', 'ai', 'agent']);
select agwb.require_words('conversations', 'channel_type', array['whatsapp', 'sms']);

-- Wake the publisher once a statement with an empty payload: a NOTIFY a row would serialise the commits of busy inserters.
create or replace function agwb.notify_jobs() returns trigger
language plpgsql as $$
begin
    perform pg_notify('agwb_jobs', '');
    return null;
end
$$;
drop trigger if exists agwb_jobs on ai_response_queue;
create trigger agwb_jobs after insert on ai_response_queue for each statement execute function agwb.notify_jobs();
