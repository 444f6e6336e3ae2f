/* See rows.h. */
#include "rows.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"

static const char FIXTURE[] =
    "create schema test;"
    "grant usage on schema test to public;" /* a test's triggers run as the programs' roles */
    "create function test.id(p_kind int, n int) returns uuid language sql immutable as $$"
    "  select ('00000000-0000-4000-800' || p_kind || '-' || lpad(n::text, 12, '0'))::uuid $$;"
    "create function test.contact(n int) returns uuid language sql as $$"
    "  insert into workspaces (id, name) values (test.id(0, 1), 'Workspace') on conflict do nothing;"
    "  insert into customer_profiles (id, workspace_id, name, phone_number, remote_jid, country_code)"
    "  values (test.id(1, n), test.id(0, 1), 'Contact ' || n, '+1202555' || lpad((100 + n)::text, 4, '0'),"
    "          '1202555' || lpad((100 + n)::text, 4, '0') || '@s.whatsapp.net', '1') on conflict do nothing;"
    "  insert into conversations (id, workspace_id, customer_id, channel_type, session_data)"
    "  values (test.id(2, n), test.id(0, 1), test.id(1, n), 'whatsapp', '{}') on conflict do nothing;"
    "  select test.id(1, n) $$;"
    "create function test.job(n int, p_text text) returns uuid language sql as $$"
    "  select test.contact(n);"
    "  with m as (insert into messages (conversation_id, sender_type, content)"
    "             values (test.id(2, n), 'user', p_text) returning id)"
    "  insert into ai_response_queue (workspace_id, contact_id, conversation_id, message_id)"
    "  select test.id(0, 1), test.id(1, n), test.id(2, n), m.id from m returning id $$;";

struct db_session *sql_session(struct pair *p)
{
    struct err e = {.class = ERR_NONE};
    struct db_settings settings = {.url = p->url,
                                   .connect_timeout_ms = 10000,
                                   .statement_timeout_ms = 30000,
                                   .application_name = "test"};
    struct db_session *s = db_session_open(&settings, &e);
    if (s == NULL)
        fail_msg("%s", e.text);
    return s;
}

void sql_session_run(struct db_session *s, const char *sql)
{
    struct err e = {.class = ERR_NONE};
    if (db_session_script(s, sql, &e) != 0)
        fail_msg("%s: %s", sql, e.text);
}

void sql_session_undo(struct db_session **s)
{
    sql_session_run(*s, "rollback");
    db_session_close(s);
}

bool sql_is_waiting(struct pair *p, const char *function)
{
    return sql_int(p,
                   "select count(*) from pg_stat_activity where datname = current_database() and "
                   "wait_event_type = 'Lock' and query like '%%%%%s%%%%'",
                   function) > 0;
}

void sql_forget(struct pair *p)
{
    db_session_close(&p->db);
}

void rows_make_fixture(struct pair *p)
{
    struct db_session *s = sql_session(p);
    sql_session_run(s, FIXTURE);
    db_session_close(&s);
}

static PRINTF_LIKE(2, 0) struct db_result *query(struct pair *p, const char *format, va_list args)
{
    char sql[8192];
    struct err e = {.class = ERR_NONE};
    int len = vsnprintf(sql, sizeof sql, format, args);
    assert_true(len > 0 && (size_t)len < sizeof sql);
    if (p->db == NULL)
        p->db = sql_session(p);
    struct db_result *r = db_session_query(p->db, sql, NULL, &e);
    if (r == NULL)
        fail_msg("%s: %s", sql, e.text);
    return r;
}

void sql_run(struct pair *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct db_result *r = query(p, format, args);
    va_end(args);
    db_result_free(&r);
}

int64_t sql_int(struct pair *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct db_result *r = query(p, format, args);
    va_end(args);
    int64_t value = db_rows(r) > 0 ? db_int(r, 0, 0) : 0;
    db_result_free(&r);
    return value;
}

const char *sql_text(struct pair *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct db_result *r = query(p, format, args);
    va_end(args);
    const char *text = arena_strdup(p->texts, db_rows(r) > 0 ? db_text(r, 0, 0) : "");
    db_result_free(&r);
    return text;
}

const char *job_add(struct pair *p, int contact, const char *text)
{
    return sql_text(p, "select test.job(%d, '%s')", contact, text);
}

void job_add_many(struct pair *p, int first, int count)
{
    sql_run(p, "select count(test.job(i %% 50, 'question ' || i)) from generate_series(%d, %d) i", first,
            first + count - 1);
}

int64_t job_count(struct pair *p, const char *condition)
{
    return sql_int(p, "select count(*) from ai_response_queue where %s", condition);
}

void hook_add(struct pair *p, const char *provider, const char *format, ...)
{
    char body[4096];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(body, sizeof body, format, args);
    va_end(args);
    assert_true(len > 0 && (size_t)len < sizeof body);
    sql_run(p, "insert into webhook_inbox (provider, headers, body) values ('%s', '{}', $hook$%s$hook$)",
            provider, body);
}

int64_t hook_count(struct pair *p, const char *condition)
{
    return sql_int(p, "select count(*) from webhook_inbox where %s", condition);
}

struct db_session *job_hold(struct pair *p, const char *job)
{
    struct db_session *s = sql_session(p);
    char sql[128];

    snprintf(sql, sizeof sql, "begin; select 1 from ai_response_queue where id = '%s' for update", job);
    sql_session_run(s, sql);
    return s;
}

bool delivery_is(struct pair *p, const char *message_id, const char *state)
{
    return strcmp(sql_text(p, "select state from agwb.deliveries where message_id = '%s'", message_id),
                  state) == 0;
}
