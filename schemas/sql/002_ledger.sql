-- The ledger: one row a message that someone must get, the attempts to deliver it, and the lanes in which they wait.

create table if not exists agwb.deliveries (
    message_id          text primary key,        -- the reply's messageId
    seq                 bigint generated always as identity, -- order of acceptance
    kind                text not null default 'reply',  -- reply, fallback
    rank                smallint not null default 0,    -- within a lane: replies 0 before broadcasts
    job_id              uuid,                    -- ai_response_queue.id the reply answers
    workspace_id        uuid,
    contact_id          uuid,
    conversation_id     uuid,
    message_row_id      uuid not null default gen_random_uuid(), -- messages.id of the assistant's row, once it has one
    account             text,
    lane                text,                    -- account and address; null until both are known
    channel             text,
    address             text,                    -- E.164, or a JID that hides its number
    state               text not null
                        check (state in ('ready', 'sending', 'uncertain', 'sent', 'parked', 'cancelled')),
    attempts            integer not null default 0, -- those that count against the ladder
    fence               integer not null default 0, -- every claim; a settle must name the claim it settles
    replay              integer not null default 0,
    next_attempt_at     timestamptz,             -- ready: not before; uncertain: decided then; null: at once
    lease_owner         text,
    lease_until         timestamptz,
    limit_keys          text[],                  -- sending: the limits this attempt counts against; null: none
    provider_message_id text,
    reason              text,
    body_sha256         bytea not null,
    payload             bytea not null,          -- the reply's bytes as received
    headers             jsonb not null default '{}',
    published_at        timestamptz,             -- the reply's own timestamp
    accepted_at         timestamptz not null default now(),
    settled_at          timestamptz,             -- sent, parked or cancelled since
    copied_at           timestamptz              -- parked: the copy in wb_parked was confirmed
);
alter table agwb.deliveries set (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- One delivery in flight a lane, whatever the program believes.
create unique index if not exists deliveries_one_sending on agwb.deliveries (lane) where state = 'sending';
create index if not exists deliveries_head on agwb.deliveries (lane, rank, seq) where state = 'ready';
drop index if exists agwb.deliveries_lease; -- what is being sent is few, and deliveries_one_sending lists it
create index if not exists deliveries_uncertain on agwb.deliveries (next_attempt_at) where state = 'uncertain';
create index if not exists deliveries_uncopied on agwb.deliveries (settled_at) where state = 'parked' and copied_at is null;
create index if not exists deliveries_job on agwb.deliveries (job_id) where job_id is not null;
create index if not exists deliveries_fallback on agwb.deliveries (contact_id, accepted_at) where kind = 'fallback';
drop index if exists agwb.deliveries_provider; -- receipts look in the attempts

-- A reply may take several messages, its parts; how many follows from the reply and the account, so it is not stored.
alter table agwb.deliveries add column if not exists parts_sent integer not null default 0; -- the next attempt sends this one, counted from 0
alter table agwb.deliveries add column if not exists parts_end integer;  -- before this one the delivery ends; null: with the last
alter table agwb.deliveries add column if not exists quoted_id text;     -- the provider's id of the message that is answered
-- The way that is taken when the contact cannot be written to over the account: channels.accounts.next.
alter table agwb.deliveries add column if not exists step integer not null default 0;   -- how far along the chain
alter table agwb.deliveries add column if not exists chain text;         -- the account whose chain it is; null: its own
alter table agwb.deliveries add column if not exists as_template boolean not null default false; -- the account's template in place of the reply
create index if not exists deliveries_unproven on agwb.deliveries (lane) where state = 'uncertain';

create table if not exists agwb.delivery_attempts (
    id            bigint generated always as identity primary key,
    message_id    text not null,
    fence         integer not null,
    account       text,
    started_at    timestamptz not null,
    ended_at      timestamptz not null,
    http_status   integer,                        -- null: no answer
    provider_code text,
    outcome       text not null check (outcome in ('DELIVERED', 'TEMPFAIL', 'THROTTLED', 'PERMFAIL', 'UNCERTAIN', 'AUTH')),
    disposition   text not null,
    detail        text,
    timings       jsonb                           -- milliseconds by stage; null: not an attempt's end but what a receipt told of it later
);
create index if not exists delivery_attempts_message on agwb.delivery_attempts (message_id);
alter table agwb.delivery_attempts drop constraint if exists delivery_attempts_disposition_check;
alter table agwb.delivery_attempts add constraint delivery_attempts_disposition_check
    check (disposition in ('done', 'continue', 'retry', 'hold', 'reconcile', 'next', 'park')) not valid; -- older rows have fewer words
alter table agwb.delivery_attempts add column if not exists part integer not null default 0;
alter table agwb.delivery_attempts add column if not exists provider_message_id text; -- of the answer
alter table agwb.delivery_attempts add column if not exists receipt_id text;          -- of the receipts, where they have another
create index if not exists delivery_attempts_provider on agwb.delivery_attempts (provider_message_id) where provider_message_id is not null;
create index if not exists delivery_attempts_receipt on agwb.delivery_attempts (receipt_id) where receipt_id is not null;

-- A lane has a row from its first wait on; due_at is when its head may go, null once a claim has seen that none waits or one is in flight.
-- A limit key ('limit:...') has a row from its first use on, with the sends that still count.
create table if not exists agwb.lanes (
    lane     text primary key,
    account  text,
    due_at   timestamptz,
    sends    timestamptz[] not null default '{}', -- when each may have reached the provider at the latest
    counts   integer[] not null default '{}'      -- how many sends each of these stands for
);
create index if not exists lanes_due on agwb.lanes (due_at) where due_at is not null;

-- What operators did: a row an action. A replay's row is committed before its message is published; generation n is unique a message, and an
-- unfinished one is taken up again by the next run.
create table if not exists agwb.audit (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default now(),
    who        text not null,
    action     text not null,                  -- replay
    queue      text,
    message_id text,
    n          integer,
    result     text                            -- null: begun; published
);
create unique index if not exists audit_replay on agwb.audit (message_id, n) where action = 'replay';
