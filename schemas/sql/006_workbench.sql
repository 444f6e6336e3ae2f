-- What `agwb-consumer dlq` calls: looking at dead letters, and moving them with an audit row for each.
--
-- A copy is published first and acked after its confirm, so a run that dies leaves a copy that was replayed already. What keeps it from being
-- sent twice: a replay's generation n is committed before the message is published and travels in its header; accept_replies() writes it to the ledger,
-- once. A run that finds the audit row of n unfinished publishes n again, and publishes nothing when the ledger has n.

alter table agwb.audit add column if not exists again boolean not null default false; -- a replay of what was sent already
comment on column agwb.audit.action is 'replay, park, purge';
comment on column agwb.audit.n is 'replay: the generation';
comment on column agwb.audit.result is 'null: begun; replayed, parked, purged: the old copy was acked';
create index if not exists audit_message on agwb.audit (message_id);

-- The job a message id stands for; null: none can.
create or replace function agwb.job_of_message(p_message_id text) returns uuid
language sql immutable as $$
    select case when p_message_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then p_message_id::uuid end
$$;

-- One run a queue: holds the queue for the rest of the transaction; it is not a lock of the session, which a transaction pooler would pass on to others. Null: it is ours, else who has it.
create or replace function agwb.hold_queue(p_queue text) returns text
language plpgsql as $$
declare
    v_key bigint := hashtextextended('agwb.dlq ' || p_queue, 0);
    v_holder text;
begin
    if pg_try_advisory_xact_lock(v_key) then
        return null;
    end if;
    select coalesce(nullif(s.application_name, ''), 'process ' || l.pid) || to_char(s.backend_start, '", since" YYYY-MM-DD HH24:MI:SSOF')
    into v_holder
    from pg_locks l left join pg_stat_activity s on s.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and (l.classid::bigint << 32 | l.objid::bigint) = v_key;
    return coalesce(v_holder, 'another run');
end
$$;

-- What PostgreSQL knows of a dead letter: always one row. p_original: the request that a reply answers.
create or replace function agwb.inspect_message(p_message_id text, p_original text)
returns table (
    state text, kind text, attempts integer, replays bigint, account text, channel text, address text, workspace_id uuid,
    reason text, provider_message_id text, accepted_at timestamptz, settled_at timestamptz,
    job_id uuid, job_status text, job_error text)
language sql stable as $$
    select d.state, d.kind, d.attempts, (select count(*) from agwb.audit a where a.message_id = p_message_id and a.action = 'replay'),
           d.account, d.channel, coalesce(d.address, nullif(c.phone_number, ''), c.remote_jid), coalesce(d.workspace_id, q.workspace_id),
           d.reason, d.provider_message_id, d.accepted_at, d.settled_at, q.id, q.status, q.error
    from (values (1)) one
    left join agwb.deliveries d on d.message_id = p_message_id
    left join ai_response_queue q on q.id = coalesce(d.job_id, agwb.job_of_message(p_original), agwb.job_of_message(p_message_id))
    left join customer_profiles c on c.id = q.contact_id
$$;

-- The attempts to deliver a message, oldest first.
create or replace function agwb.list_attempts(p_message_id text)
returns table (started_at timestamptz, account text, outcome text, disposition text, http_status integer, provider_code text, detail text)
language sql stable as $$
    select a.started_at, a.account, a.outcome, a.disposition, a.http_status, a.provider_code, a.detail
    from agwb.delivery_attempts a where a.message_id = p_message_id order by a.id
$$;

create or replace function agwb.last_replay(p_message_id text) returns agwb.audit
language sql stable as $$
    select a.* from agwb.audit a where a.action = 'replay' and a.message_id = p_message_id order by a.n desc limit 1
$$;

-- What a replay of this copy would do. verdict:
--   go         publish it as generation n
--   done       generation n was begun by a run that died, and it arrived: the copy is a leftover
--   sent       the message was sent, or the request answered: only p_again makes it go
--   busy       it is under way already
--   cancelled  it must not be sent, or asked, any more
--   conflict   the ledger has another body under its id
-- p_body: an array of one.
create or replace function agwb.judge_reply(p_message_id text, p_body bytea[], p_again boolean, out n integer, out verdict text)
language plpgsql stable as $$
declare
    d agwb.deliveries;
    v_last agwb.audit := agwb.last_replay(p_message_id);
    v_begun integer := case when v_last.result is null then v_last.n end;
begin
    select x.* into d from agwb.deliveries x where x.message_id = p_message_id;
    n := case when v_begun > coalesce(d.replay, 0) then v_begun else greatest(v_last.n, d.replay, 0) + 1 end;
    if d.message_id is null then
        verdict := 'go';
    elsif d.body_sha256 <> sha256(p_body[1]) then
        verdict := 'conflict';
    elsif d.state in ('ready', 'sending', 'uncertain', 'sent') and d.replay >= v_begun then
        n := v_begun;
        verdict := 'done';
    else
        verdict := case d.state when 'parked' then 'go' when 'cancelled' then 'cancelled'
                   when 'sent' then case when p_again then 'go' else 'sent' end else 'busy' end;
    end if;
end
$$;

-- The same for a request. answered: a reply to it is in the ledger.
create or replace function agwb.judge_request(p_message_id text, p_again boolean, out n integer, out verdict text, out answered boolean)
language plpgsql stable as $$
declare
    q ai_response_queue;
    v_last agwb.audit := agwb.last_replay(p_message_id);
    v_answered_at timestamptz;
begin
    select x.* into q from ai_response_queue x where x.id = agwb.job_of_message(p_message_id);
    select max(d.accepted_at) into v_answered_at from agwb.deliveries d where d.job_id = q.id and d.kind = 'reply';
    answered := v_answered_at is not null;
    n := case when v_last.n is not null and v_last.result is null then v_last.n else coalesce(v_last.n, 0) + 1 end;
    verdict := case
        when q.id is null then 'go'
        when v_last.result is null and v_answered_at > v_last.at then 'done'
        when q.status = 'cancelled' then 'cancelled'
        when answered then case when p_again then 'go' else 'sent' end
        when q.status in ('pending', 'error') or (q.status = 'processing' and q.published_at is null) then 'busy'
        else 'go' end;
end
$$;

-- An unanswered request is asked again: its job waits for the answer as if it had been published just now. To be called before it is published, since a
-- fast agent's reply may end the job at once; should the publishing never come, publisher.answer_timeout_ms ends it.
create or replace function agwb.reset_job(p_id uuid) returns void
language sql as $$
    update ai_response_queue
    set status = 'processing', published_at = clock_timestamp(), processed_at = null, error = null, next_attempt_at = null,
        lease_owner = null, lease_until = null
    where id = p_id and status in ('processing', 'failed', agwb.complete_status())
$$;

-- Begins a replay when its verdict is go. id: the audit row, for end_action(); null unless the verdict is go or done. p_dry: only the verdict.
create or replace function agwb.begin_replay(
    p_message_id text, p_is_request boolean, p_body bytea[], p_queue text, p_who text, p_again boolean, p_dry boolean,
    out id bigint, out n integer, out verdict text)
language plpgsql as $$
#variable_conflict use_column
declare
    v_job uuid := case when p_is_request then agwb.job_of_message(p_message_id) end;
    v_answered boolean;
begin
    if not p_dry then
        perform pg_advisory_xact_lock(hashtextextended('agwb.replay ' || p_message_id, 0));
        perform 1 from ai_response_queue q where q.id = v_job for update; -- accepting a reply waits for us
    end if;
    if p_is_request then
        select j.n, j.verdict, j.answered into n, verdict, v_answered from agwb.judge_request(p_message_id, p_again) j;
    else
        select j.n, j.verdict into n, verdict from agwb.judge_reply(p_message_id, p_body, p_again) j;
    end if;
    if p_dry or verdict not in ('go', 'done') then
        return;
    end if;

    insert into agwb.audit as a (who, action, queue, message_id, n, again)
    values (p_who, 'replay', p_queue, p_message_id, begin_replay.n, p_again)
    on conflict (message_id, n) where action = 'replay' do update set again = a.again or excluded.again
    returning a.id into id;
    if verdict = 'go' and v_job is not null and not v_answered then
        perform agwb.reset_job(v_job);
    elsif verdict = 'go' and not p_is_request then
        -- what had no address or no account gets its route anew when it is accepted
        delete from agwb.deliveries d where d.message_id = p_message_id and d.state = 'parked' and d.lane is null;
    end if;
end
$$;

-- Begins a park or a purge: the audit row, for end_action().
create or replace function agwb.begin_action(p_action text, p_message_id text, p_queue text, p_who text) returns bigint
language sql as $$
    insert into agwb.audit (who, action, queue, message_id) values (p_who, p_action, p_queue, p_message_id) returning id
$$;

-- The old copy was acked. Not before: until then a run that dies must find its action unfinished.
create or replace function agwb.end_action(p_id bigint) returns void
language sql as $$
    update agwb.audit a
    set result = case a.action when 'replay' then 'replayed' when 'park' then 'parked' else 'purged' end
    where a.id = p_id
$$;
