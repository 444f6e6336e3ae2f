-- The roles under which the daemons and a front end need no rights but their own. To be run by a superuser (Supabase: postgres) on agwb's database,
-- before or after `agwb-publisher migrate`, which is the owner's; again is no harm:
--
--     psql -d agwb -f roles.sql
--
-- What they may do, `agwb-publisher migrate` grants and keeps up to date: USAGE of schema agwb, EXECUTE of its functions, and of the tables
-- and columns what the functions use; policies, where tables have row-level security. Never CREATE, TRUNCATE, or DELETE of business rows: what
-- is too old is deleted by functions that have their owner's rights.
--
--   agwb_publisher, agwb_consumer   one a daemon, and its commands, but migrate. They may log in; give them passwords (psql: \password agwb_publisher) or
--                                   certificates, or make a role of yours a member: create role agwb login in role agwb_publisher, agwb_consumer;
--   agwb_frontend                   may call agwb.receive_webhook() and nothing else: grant agwb_frontend to your_front_end;
--
-- A trigger of yours on these tables runs with the daemon's rights: make its function SECURITY DEFINER, or grant what it uses. On PostgreSQL 14 and before
-- everybody may create tables in public: revoke create on schema public from public;

do $$
declare
    v_role text;
begin
    perform pg_advisory_xact_lock(1634170722); -- as migrate
    foreach v_role in array array['agwb_publisher', 'agwb_consumer', 'agwb_frontend'] loop
        begin
            if to_regrole(v_role) is null then
                execute format('create role %I %s', v_role, case when v_role = 'agwb_frontend' then 'nologin' else 'login' end);
            end if;
        exception when duplicate_object or unique_violation then
            null; -- from another database of the cluster at the same moment
        end;
    end loop;
    execute format('grant connect on database %I to agwb_publisher, agwb_consumer', current_database());

    begin -- so that doctor sees who keeps a transaction open
        grant pg_read_all_stats to agwb_publisher, agwb_consumer;
    exception when insufficient_privilege or unique_violation then
        raise notice 'pg_read_all_stats is not granted: doctor will not see the long transactions of other roles';
    end;
    if to_regprocedure('agwb.grant_rights()') is not null then
        perform agwb.grant_rights();
    end if;
end
$$;
