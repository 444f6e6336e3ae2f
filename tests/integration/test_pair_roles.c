/* What the roles of etc/postgresql/roles.sql may do and what not. That it is enough, every other test of the
 * pair shows: its programs run as these roles. */
#include "rows.h"
#include "wire.h"

#include <glob.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

static struct db_session *session_of(struct pair *p, const char *role)
{
    char url[320];
    struct err e = {.class = ERR_NONE};
    struct db_settings settings = {.url = url, .connect_timeout_ms = 10000, .statement_timeout_ms = 30000};

    snprintf(url, sizeof url, "postgresql://%s%s", role, strchr(p->url, '@'));
    struct db_session *s = db_session_open(&settings, &e);
    if (s == NULL)
        fail_msg("%s: %s", role, e.text);
    return s;
}

/* --- what the programs call --- */

/* Whether the role may execute every function of this name, of which there must be one. */
static void assert_executable(struct pair *p, const char *role, const char *function, const char *path)
{
    if (sql_int(p,
                "select coalesce(bool_and(has_function_privilege('%s', oid, 'execute')), false)::int from "
                "pg_proc where pronamespace = 'agwb'::regnamespace and proname = '%s'",
                role, function) != 1)
        fail_msg("%s: %s may not execute agwb.%s()", path, role, function);
}

static size_t check_calls_of(struct pair *p, const char *role, const char *path, const regex_t *call)
{
    struct buf text;
    regmatch_t match[2];
    size_t count = 0;

    file_read(path, &text);
    for (const char *at = buf_str(&text); regexec(call, at, 2, match, 0) == 0; at += match[0].rm_eo) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(match[1].rm_eo - match[1].rm_so), at + match[1].rm_so);
        assert_executable(p, role, name, path);
        count++;
    }
    buf_fini(&text);
    return count;
}

static size_t check_calls(struct pair *p, const char *role, const char *pattern)
{
    glob_t files;
    regex_t call;
    size_t count = 0;

    assert_int_equal(regcomp(&call, "agwb\\.([a-z_]+)\\(", REG_EXTENDED), 0);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        count += check_calls_of(p, role, files.gl_pathv[i], &call);
    globfree(&files);
    regfree(&call);
    return count;
}

static void test_roles_may_execute_what_the_sources_call(struct pair *p)
{
    assert_true(check_calls(p, "agwb_publisher", "publisher/*.c") >= 15);
    assert_true(check_calls(p, "agwb_consumer", "consumer/*.c") >= 15);
}

/* The programs of the other tests are not the owner by accident. */
static void test_roles_are_whom_the_daemons_run_as(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    assert_string_equal(
        sql_text(p, "select string_agg(distinct usename || ' ' || split_part(application_name, ' ', "
                    "1), ', ' order by usename || ' ' || split_part(application_name, ' ', 1)) "
                    "from pg_stat_activity where datname = current_database() and "
                    "application_name like 'agwb%%'"),
        "agwb_consumer agwb-consumer, agwb_publisher agwb-publisher");
    assert_int_equal(sql_int(p, "select count(*) from pg_roles where rolname like 'agwb%%' and (rolsuper or "
                                "rolcreaterole or rolcreatedb or rolbypassrls)"),
                     0);
}

/* --- what nobody needs --- */

static const char *const EVERYONE[] = {"agwb_publisher", "agwb_consumer", "agwb_frontend", NULL};
static const char *const DAEMONS[] = {"agwb_publisher", "agwb_consumer", NULL};
static const char *const PUBLISHER[] = {"agwb_publisher", NULL};
static const char *const CONSUMER[] = {"agwb_consumer", NULL};
static const char *const FRONT_END[] = {"agwb_frontend", NULL};

static const struct {
    const char *const *roles;
    const char *sql;
} FORBIDDEN[] = {
    {EVERYONE, "delete from messages"},
    {EVERYONE, "delete from conversations"},
    {EVERYONE, "delete from ai_response_queue"},
    {EVERYONE, "delete from webhook_inbox"},
    {EVERYONE, "delete from agwb.audit"},
    {EVERYONE, "truncate messages"},
    {EVERYONE, "truncate agwb.deliveries"},
    {EVERYONE, "drop table messages"},
    {EVERYONE, "drop function agwb.claim_jobs"},
    {EVERYONE, "drop schema agwb cascade"},
    {EVERYONE, "create table agwb.mine (n int)"},
    {EVERYONE, "create table public.mine (n int)"},
    {EVERYONE, "create function agwb.mine() returns int language sql as 'select 1'"},
    {EVERYONE, "create role mine"},
    {EVERYONE, "alter table messages add column mine int"},
    {EVERYONE, "alter function agwb.purge_usage(integer, integer) owner to current_user"},
    {EVERYONE, "create policy mine on messages using (true)"},
    {EVERYONE, "update messages set content = 'rewritten'"},
    {EVERYONE, "update customer_profiles set workspace_id = null"},
    {EVERYONE, "update workspaces set plan_price = 0"},
    {EVERYONE, "update usage_logs set quantity = 0"},
    {EVERYONE, "insert into agwb.settings values ('complete_status', 'x')"},
    {EVERYONE, "update agwb.schema_version set version = 1000"},
    {DAEMONS, "select agwb.receive_webhook('generic', null, '{}', '')"},
    {DAEMONS, "insert into webhook_inbox (provider) values ('generic')"},
    {DAEMONS, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'"},
    {PUBLISHER, "delete from agwb.deliveries"},
    {PUBLISHER,
     "insert into agwb.deliveries (message_id, state, body_sha256, payload) values ('x', 'ready', '', '')"},
    {PUBLISHER, "insert into agwb.audit (who, action) values ('x', 'purge')"},
    {CONSUMER, "select * from webhook_inbox"},
    {CONSUMER, "insert into ai_response_queue default values"},
    {CONSUMER, "update ai_response_queue set user_message = 'x'"},
    {CONSUMER, "update customer_profiles set phone_number = null"},
    {CONSUMER, "insert into customer_profiles default values"},
    {CONSUMER, "select agwb.purge_deliveries(0, 100)"},
    {CONSUMER, "select agwb.purge_conversations(0, 100)"},
    {FRONT_END, "select * from webhook_inbox"},
    {FRONT_END, "insert into webhook_inbox (provider) values ('generic')"},
    {FRONT_END, "select * from messages"},
    {FRONT_END, "select * from customer_profiles"},
    {FRONT_END, "select * from agwb.deliveries"},
    {FRONT_END, "select * from agwb.queue_stats"},
    {FRONT_END, "select * from agwb.settings"},
    {FRONT_END, "select * from agwb.claim_jobs('x', 1, 1, 1, 0, 0, 1, 1)"},
    {FRONT_END, "select agwb.purge_inbox('{done}', 0, 100)"},
    {FRONT_END, "select agwb.hold_queue('wb_parked')"},
    {FRONT_END, "select agwb.trace('x')"},
};

/* The statement ends with SQLSTATE 42501. */
static void assert_refused(struct db_session *s, const char *role, const char *sql)
{
    struct err e = {.class = ERR_NONE};
    char statement[512];

    /* as the role and not as a session that may go back to another one: the front end's cannot log in */
    snprintf(statement, sizeof statement, "begin; set local role %s; %s", role, sql);
    int rc = db_session_script(s, statement, &e);
    if (rc == 0 || strstr(e.text, "(42501)") == NULL)
        fail_msg("%s: %s: %s", role, sql, rc == 0 ? "was not refused" : e.text);
    assert_int_equal(db_session_script(s, "rollback", &e), 0);
}

static void test_roles_are_refused_everything_else(struct pair *p)
{
    struct db_session *owner = sql_session(p);

    job_add(p, 1, "untouched");
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof FORBIDDEN[0]; i++) {
        for (const char *const *role = FORBIDDEN[i].roles; *role != NULL; role++)
            assert_refused(owner, *role, FORBIDDEN[i].sql);
    }
    db_session_close(&owner);

    for (const char *const *role = DAEMONS; *role != NULL; role++) { /* as they log in */
        struct db_session *s = session_of(p, *role);
        assert_refused(s, *role, "delete from messages");
        assert_refused(s, "postgres", "select 1");
        db_session_close(&s);
    }
}

/* --- migrate and roles.sql in either order, again and again --- */

static void migrate(struct pair *p)
{
    struct buf out;
    if (pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out) != 0) {
        file_show_end(p->more[0].log);
        fail_msg("migrate failed");
    }
    buf_fini(&out);
}

static void run_roles_script(struct pair *p)
{
    struct buf script;
    struct db_session *s = sql_session(p);
    file_read("etc/postgresql/roles.sql", &script);
    sql_session_run(s, buf_str(&script));
    buf_fini(&script);
    db_session_close(&s);
}

static void answer_one(struct pair *p, const char *text)
{
    job_add(p, 1, text);
    int64_t jobs = job_count(p, "true");
    WAIT_UNTIL(wire_agent_step(p));
    WAIT_UNTIL(job_count(p, "status = 'complete'") == jobs);
}

static void test_roles_after_migrate(struct pair *p)
{
    sql_run(p, "drop owned by agwb_publisher, agwb_consumer, agwb_frontend");
    struct db_session *s = session_of(p, "agwb_publisher");
    assert_refused(s, "agwb_publisher", "select * from agwb.schema_version");
    db_session_close(&s);
    run_roles_script(p);
    run_roles_script(p);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    answer_one(p, "one");
}

/* What a newer migration makes, or makes anew, is granted with it; what was taken away comes back. */
static void test_roles_keep_their_rights_over_a_migration(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    sql_run(p, "drop function agwb.trace(text)");
    sql_run(p, "revoke select on agwb.receipts from agwb_consumer");
    sql_run(p, "grant execute on all functions in schema agwb to public");
    sql_run(p, "update agwb.schema_version set digest = 'older'");
    migrate(p);
    assert_int_equal(check_calls(p, "agwb_publisher", "publisher/trace.c") > 0, 1);
    assert_int_equal(sql_int(p, "select count(*) from pg_proc where pronamespace = 'agwb'::regnamespace and "
                                "has_function_privilege('agwb_frontend', oid, 'execute')"),
                     1);
    assert_int_equal(
        sql_int(p, "select has_table_privilege('agwb_consumer', 'agwb.receipts', 'select')::int"), 1);
    answer_one(p, "one");
}

/* The database's owner need not be a superuser, nor on Supabase can be; roles.sql needs CREATEROLE only. */
static void test_roles_of_a_plain_owner(struct pair *p)
{
    char owner[80], url[400];

    snprintf(owner, sizeof owner, "owner_%s", p->database);
    sql_run(p, "create role %s login createrole", owner);
    sql_run(p, "alter database %s owner to %s", p->database, owner);
    sql_run(p, "drop schema agwb, public cascade");
    sql_run(p, "create schema public authorization %s", owner);
    sql_run(p, "grant usage on schema public to public");
    struct db_session *s = session_of(p, owner);
    struct buf script;
    file_read("etc/postgresql/roles.sql", &script);
    sql_session_run(s, buf_str(&script));
    buf_fini(&script);
    db_session_close(&s);

    size_t sets = p->set_count;
    snprintf(url, sizeof url, "database.url=postgresql://%s%s", owner, strchr(p->url, '@'));
    pair_set(p, url);
    migrate(p);
    migrate(p);
    p->set_count = sets;
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    answer_one(p, "one");
    assert_int_equal(sql_int(p,
                             "select count(*) from pg_class where relname in ('messages', 'deliveries') and "
                             "relowner = '%s'::regrole",
                             owner),
                     2);
    sql_run(p, "alter database %s owner to postgres", p->database);
    sql_run(p, "reassign owned by %s to postgres", owner);
    sql_run(p, "drop owned by %s", owner);
    sql_run(p, "drop role %s", owner);
}

/* --- Supabase --- */

static void make_supabase_roles(struct pair *p, const char *what)
{
    sql_run(
        p,
        "do $$ declare r text; begin foreach r in array array['anon', 'authenticated', 'service_role'] loop "
        "if to_regrole(r) is not null then execute 'drop owned by ' || r || ' cascade'; execute 'drop role ' "
        "|| "
        "r; end if; if '%s' = 'make' then execute 'create role ' || r || case r when 'service_role' then "
        "' bypassrls' else '' end; end if; end loop; end $$",
        what);
}

/* A database as Supabase hands it out: whatever is made in public belongs to whoever has the public key,
 * unless row-level security says otherwise. */
static void make_supabase_database(struct pair *p)
{
    make_supabase_roles(p, "make");
    sql_run(p, "drop schema agwb cascade");
    sql_run(p, "drop schema public cascade");
    sql_run(p, "create schema public");
    sql_run(p, "grant usage on schema public to public");
    sql_run(
        p,
        "alter default privileges in schema public grant all on tables to anon, authenticated, service_role");
}

static void assert_closed_to_the_public_key(struct pair *p)
{
    struct db_session *s = sql_session(p);
    for (const char *const *role = (const char *const[]){"anon", "authenticated", NULL}; *role != NULL;
         role++) {
        assert_refused(s, *role, "select * from public.webhook_inbox");
        assert_refused(s, *role, "select * from agwb.deliveries");
        assert_refused(s, *role, "select * from agwb.queue_stats");
        assert_refused(s, *role, "select agwb.receive_webhook('generic', null, '{}', '')");
        assert_refused(s, *role, "insert into public.messages (content) values ('forged')");
        assert_refused(s, *role, "insert into public.ai_response_queue default values");
    }
    sql_session_run(s, "set role anon");
    sql_session_run(
        s, "do $$ begin if exists (select from messages) or exists (select from customer_profiles) or "
           "exists (select from ai_response_queue) or exists (select from usage_logs) then raise 'seen'; "
           "end if; end $$");
    sql_session_run(s, "reset role; set role service_role");
    sql_session_run(s, "select agwb.receive_webhook('generic', null, '{}', '{}'), "
                       "(select count(*) from agwb.queue_stats), (select count(*) from messages)");
    sql_session_run(s, "select * from get_realtime_messaging_metrics(60)");
    db_session_close(&s);
}

/* Tables with row-level security everywhere: the daemons have their policies, the public key sees nothing. */
static void test_roles_on_supabase(struct pair *p)
{
    make_supabase_database(p);
    migrate(p);
    assert_int_equal(sql_int(p,
                             "select count(*) from pg_class where relkind = 'r' and not relrowsecurity and "
                             "relnamespace in ('public'::regnamespace, 'agwb'::regnamespace)"),
                     0);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    answer_one(p, "one");
    sql_run(p, "select agwb.receive_webhook('generic', null, '{}', '{\"type\": \"message\", \"id\": \"m1\", "
               "\"channel\": "
               "\"sms\", \"text\": \"hello\", \"from\": {\"phone\": \"+12025550102\"}}')");
    WAIT_UNTIL(job_count(p, "published_at is not null and status = 'processing'") == 1);
    assert_closed_to_the_public_key(p);

    struct buf out;
    assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"stats", NULL}, &out), 0);
    buf_fini(&out);
    assert_int_equal(
        pair_command(p, "agwb-publisher", (const char *const[]){"trace", "12025550101", NULL}, &out), 0);
    assert_non_null(strstr(buf_str(&out), "sent"));
    buf_fini(&out);
    make_supabase_roles(p, "drop");
}

/* Tables that were there keep what their owner has decided. */
static void test_roles_on_supabase_leave_tables_alone(struct pair *p)
{
    make_supabase_database(p);
    sql_run(
        p, "create table messages (id uuid primary key default gen_random_uuid(), created_at timestamptz not "
           "null default now())");
    migrate(p);
    assert_int_equal(
        sql_int(p, "select count(*) from pg_class where relname = 'messages' and relrowsecurity"), 0);
    make_supabase_roles(p, "drop");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_roles_may_execute_what_the_sources_call),
        PAIR_TEST(test_roles_are_whom_the_daemons_run_as),
        PAIR_TEST(test_roles_are_refused_everything_else),
        PAIR_TEST(test_roles_after_migrate),
        PAIR_TEST(test_roles_keep_their_rights_over_a_migration),
        PAIR_TEST(test_roles_of_a_plain_owner),
        PAIR_TEST(test_roles_on_supabase),
        PAIR_TEST(test_roles_on_supabase_leave_tables_alone),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
