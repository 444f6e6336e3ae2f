-- Run at every `agwb-publisher migrate` as 000_bootstrap.sql is, and behind each numbered migration again: what the roles of etc/postgresql/roles.sql may do.
-- The functions run with their caller's rights, so that a role has those of the tables, too, and no more of them than its program's functions use.
-- Those that delete what is too old, and the door for webhooks, run with their owner's.

-- Grants what is there to those of the roles that are there; again is no harm. By the owner of the tables.
create or replace function agwb.grant_rights() returns void
language plpgsql as $$
declare
    r record;
begin
    perform pg_advisory_xact_lock(1634170722); -- as migrate: two GRANTs at once on the same table would fail

    for r in
        select n.name as role from pg_roles p join unnest('{agwb_publisher,agwb_consumer,agwb_frontend,service_role}'::name[]) n (name) on n.name = p.rolname
    loop
        execute format('grant usage on schema agwb to %I', r.role);
    end loop;

    -- updated: these columns only, as far as they are there yet. A role that neither owns a table nor may bypass its row-level security needs a policy
    -- there; without RLS it has no effect.
    for r in
        select x.role, c.oid::regclass as object, x.rights,
               (select string_agg(quote_ident(a.attname), ', ') from pg_attribute a
                where a.attrelid = c.oid and a.attname = any (x.updated::name[]) and not a.attisdropped) as columns,
               x.role <> 'service_role' and c.relkind in ('r', 'p')
               and not exists (select 1 from pg_policy y where y.polrelid = c.oid and y.polname = x.role) as wants_policy
        from (values
            ('agwb_publisher', 'public.workspaces', 'select', null::text),
            ('agwb_publisher', 'public.customer_profiles', 'select, insert',
             '{name,email,phone_number,remote_jid,external_id,opted_out_at}'),
            ('agwb_publisher', 'public.conversations', 'select, insert', '{message_count,updated_at}'),
            ('agwb_publisher', 'public.messages', 'select, insert', '{delivery_status,metadata}'),
            ('agwb_publisher', 'public.ai_response_queue', 'select, insert',
             '{user_message,status,priority,attempts,error,processed_at,published_at,next_attempt_at,lease_owner,lease_until,rescues,last_message_at}'),
            ('agwb_publisher', 'public.usage_logs', 'insert', null),
            ('agwb_publisher', 'public.webhook_inbox', 'select',
             '{status,error,attempts,lease_owner,lease_until,processed_at}'),
            ('agwb_publisher', 'agwb.schema_version', 'select', null),
            ('agwb_publisher', 'agwb.settings', 'select', null),
            ('agwb_publisher', 'agwb.deliveries', 'select, update', null), -- a receipt proves what was uncertain
            ('agwb_publisher', 'agwb.delivery_attempts', 'select, insert', '{receipt_id}'),
            ('agwb_publisher', 'agwb.lanes', 'select, insert, update', null),
            ('agwb_publisher', 'agwb.receipts', 'select, insert, update', null),
            ('agwb_publisher', 'agwb.audit', 'select', null),
            ('agwb_publisher', 'agwb.queue_stats', 'select', null),
            ('agwb_consumer', 'public.customer_profiles', 'select', '{opted_out_at}'),
            ('agwb_consumer', 'public.conversations', 'select', null),
            ('agwb_consumer', 'public.messages', 'select, insert', '{external_id,delivery_status,metadata}'),
            ('agwb_consumer', 'public.ai_response_queue', 'select',
             '{status,error,ai_response,response_time_ms,processed_at,published_at,next_attempt_at,lease_owner,lease_until}'),
            ('agwb_consumer', 'public.usage_logs', 'insert', null),
            ('agwb_consumer', 'agwb.schema_version', 'select', null),
            ('agwb_consumer', 'agwb.settings', 'select', null),
            ('agwb_consumer', 'agwb.deliveries', 'select, insert, update, delete', null), -- a replay finds its way anew
            ('agwb_consumer', 'agwb.delivery_attempts', 'select, insert', '{receipt_id}'),
            ('agwb_consumer', 'agwb.lanes', 'select, insert, update', null),
            ('agwb_consumer', 'agwb.receipts', 'select', '{message_id,part,due_at,judged_at}'),
            ('agwb_consumer', 'agwb.audit', 'select, insert, update', null),
            ('agwb_consumer', 'agwb.queue_stats', 'select', null),
            ('service_role', 'agwb.settings', 'select', null), -- for queue_stats and get_realtime_messaging_metrics()
            ('service_role', 'agwb.deliveries', 'select', null),
            ('service_role', 'agwb.queue_stats', 'select', null)) x (role, name, rights, updated)
        join pg_roles p on p.rolname = x.role
        join pg_class c on c.oid = to_regclass(x.name)
    loop
        execute format('grant %s on %s to %I', r.rights, r.object, r.role);
        if r.columns is not null then
            execute format('grant update (%s) on %s to %I', r.columns, r.object, r.role);
        end if;
        if r.wants_policy then
            execute format('create policy %1$I on %2$s to %1$I using (true) with check (true)', r.role, r.object);
        end if;
    end loop;

    for r in
        select f.oid::regprocedure as function, p.rolname as role
        from pg_proc f join pg_roles p on case
            when f.proname = 'receive_webhook' then p.rolname in ('agwb_frontend', 'service_role')
            when f.proname = 'complete_status' then p.rolname in ('agwb_publisher', 'agwb_consumer', 'service_role')
            when f.proname like 'purge\_%' then p.rolname = 'agwb_publisher'
            else p.rolname in ('agwb_publisher', 'agwb_consumer') end
        where f.pronamespace = 'agwb'::regnamespace and f.prokind = 'f'
    loop
        execute format('grant execute on function %s to %I', r.function, r.role);
    end loop;
    -- a new function is everybody's, and who may call the door has the schema's USAGE
    revoke execute on all functions in schema agwb from public;

    -- Supabase's way to expose a schema is to grant anon everything in it.
    if to_regrole('anon') is not null then
        for r in
            select c.oid::regclass as object from pg_class c
            where c.relnamespace = 'agwb'::regnamespace and c.relkind = 'r' and not c.relrowsecurity
        loop
            execute format('alter table %s enable row level security', r.object);
        end loop;
    end if;
end
$$;

select agwb.grant_rights();
