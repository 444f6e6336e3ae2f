-- Run at every `agwb-publisher migrate`, before the numbered migrations that are missing or have changed since. Every migration must stay
-- re-runnable; one that changes a function's parameters or result drops the old function first.
-- What is only ours lives in schema agwb; the specs' tables live in public.

create schema if not exists agwb;

create table if not exists agwb.schema_version (
    version    integer primary key,
    name       text not null,
    applied_at timestamptz not null default now()
);
alter table agwb.schema_version add column if not exists digest text; -- SHA-256 of the file as applied; null: by an older program

-- Settings of the database itself, beside the configuration file: what `migrate` was told.
create table if not exists agwb.settings (
    name  text primary key,
    value text not null
);

-- The word of ai_response_queue.status for a finished job: 'complete', or 'completed' in a database built by another program.
create or replace function agwb.complete_status() returns text
language sql stable as $$
    select coalesce((select value from agwb.settings where name = 'complete_status'), 'complete')
$$;

-- Ends the migration with the name of the constraint (or enum type) that forbids one of our words in a text column.
create or replace function agwb.require_words(p_table regclass, p_column text, p_words text[]) returns void
language plpgsql as $$
declare
    c record;
    w text;
    ok boolean;
begin
    for c in
        select con.conname, pg_get_expr(con.conbin, con.conrelid) as expression
        from pg_constraint con
        join pg_attribute a on a.attrelid = con.conrelid and con.conkey = array[a.attnum]
        where con.conrelid = p_table and con.contype = 'c' and a.attname = p_column
    loop
        foreach w in array p_words loop
            execute format('select %s from (select %L::text as %I) t', c.expression, w, p_column) into ok;
            if ok is false then
                raise exception 'constraint % on table % forbids % = ''%'': drop it or add the word to it, then run migrate again',
                    c.conname, p_table, p_column, w using errcode = 'check_violation';
            end if;
        end loop;
    end loop;
    for c in
        select t.typname, t.oid
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        where a.attrelid = p_table and a.attname = p_column and t.typtype = 'e'
    loop
        foreach w in array p_words loop
            if not exists (select 1 from pg_enum e where e.enumtypid = c.oid and e.enumlabel = w) then
                raise exception 'type % of table % lacks % = ''%'': add the value to the type, then run migrate again',
                    c.typname, p_table, p_column, w using errcode = 'check_violation';
            end if;
        end loop;
    end loop;
end
$$;
