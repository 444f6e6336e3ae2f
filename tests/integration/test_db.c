/* Statements on a real PostgreSQL: parameters, rows, errors, order, and one-shot sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "db_rig.h"

static struct db_rig *rig;
static struct db_params params;

static int setup(void **state)
{
    (void)state;
    rig = db_rig_new();
    db_params_init(&params);
    return 0;
}

/* As behind a pooler that changes servers: nothing is prepared. */
static int setup_unnamed(void **state)
{
    (void)setup(state);
    rig->settings.keeps_session = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_params_fini(&params);
    db_rig_free(&rig);
    return 0;
}

/* --- rows and parameters --- */
static void check_cells(void *arg, const struct db_result *r, const struct err *e)
{
    int *passed = arg;
    int id = r == NULL ? -1 : db_column(r, "id");
    *passed += e == NULL;
    *passed += db_rows(r) == 3;
    *passed += id == 0 && db_column(r, "Real") == 1 && db_column(r, "real") == -1;
    *passed += db_int(r, 0, id) == 1 && db_int(r, 2, id) == 9223372036854775807;
    *passed += db_real(r, 0, 1) == -2.5 && db_bool(r, 0, 2) && !db_bool(r, 1, 2);
    *passed += db_is_null(r, 1, 3) && db_text(r, 1, 3)[0] == '\0' && db_int(r, 1, 3) == 0 &&
               db_text_len(r, 1, 3) == 0;
    *passed +=
        !db_is_null(r, 0, 3) && strcmp(db_text(r, 0, 3), "t\xc3\xa4xt") == 0 && db_text_len(r, 0, 3) == 5;
    *passed +=
        db_is_null(r, 3, 0) && db_is_null(r, 0, 4) && db_is_null(r, 0, -1) && db_text(r, 7, 7)[0] == '\0';
    *passed += strcmp(db_sqlstate(r), "") == 0;
    loop_stop(rig->loop);
}

static void test_db_rows(void **state)
{
    (void)state;
    int passed = 0;
    db_rig_start_up(rig);
    assert_int_equal(
        db_query(rig->db,
                 "select * from (values (1::bigint, -2.5::float8, true, 't\xc3\xa4xt'), (2, 0, false, null),"
                 " (9223372036854775807, 0, null, '')) v (id, \"Real\", flag, note)",
                 NULL, check_cells, &passed),
        0);
    assert_int_equal(passed, 0);
    loop_run(rig->loop);
    assert_int_equal(passed, 9);
}

static void test_db_session_settings(void **state)
{
    (void)state;
    rig->settings.statement_timeout_ms = 12345;
    db_rig_start_up(rig);
    struct rig_answer a =
        db_rig_ask(rig,
                   "select current_setting('statement_timeout'), current_setting('application_name'),"
                   " current_setting('client_encoding'), current_setting('search_path')",
                   NULL);
    assert_string_equal(a.cells[0], "12345ms");
    assert_string_equal(a.cells[1], "agwb-test");
    assert_string_equal(a.cells[2], "UTF8");
    assert_string_equal(a.cells[3], "\"$user\", public");
}

static void test_db_scalar_parameters(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    db_param_text(&params, "it's \xe2\x82\xac");
    db_param_int4(&params, -2147483647);
    db_param_int8(&params, 1795206465123);
    db_param_bool(&params, true);
    db_param_float8(&params, 0.1);
    db_param_text(&params, NULL);
    struct rig_answer a = db_rig_ask(rig, "select $1, $2, $3, $4, $5, $6", &params);
    static const char *const WANTED[] = {"it's \xe2\x82\xac", "-2147483647", "1795206465123", "t", "0.1", ""};
    for (int i = 0; i < 6; i++)
        assert_string_equal(a.cells[i], WANTED[i]);
    assert_true(a.nulls[5]);
    assert_false(a.nulls[0]);
}

static void add_texts(void)
{
    db_item_text(&params, "a\"b\\,{}", 7);
    db_item_text(&params, "NULL", 4);
    db_item_null(&params);
    db_item_text(&params, "", 0);
}

static void add_bytes(void)
{
    db_item_bytes(&params, "a\0b\xff", 4);
    db_item_bytes(&params, NULL, 0);
    db_item_null(&params);
}

static void add_uuids(void)
{
    db_item_text(&params, "00112233-4455-6677-8899-AABBCCDDEEFF", 36);
    db_item_text(&params, NULL, 0);
}

static void add_int4s(void)
{
    db_item_int4(&params, INT32_MIN);
    db_item_int4(&params, INT32_MAX);
    db_item_null(&params);
}

static void add_int8s(void)
{
    db_item_int8(&params, INT64_MIN);
    db_item_null(&params);
    db_item_int8(&params, 1);
}

static void add_bools(void)
{
    db_item_bool(&params, true);
    db_item_bool(&params, false);
    db_item_null(&params);
}

static void add_reals(void)
{
    db_item_float8(&params, -0.25);
    db_item_null(&params);
    db_item_float8(&params, 1e300);
}

static void test_db_array_parameters(void **state)
{
    (void)state;
    static const struct {
        enum db_type type;
        void (*add)(void);
        const char *name, *text;
    } TYPES[] = {
        {DB_TEXT, add_texts, "text[]", "{\"a\\\"b\\\\,{}\",\"NULL\",NULL,\"\"}"},
        {DB_BYTEA, add_bytes, "bytea[]", "{\"\\\\x610062ff\",\"\\\\x\",NULL}"},
        {DB_UUID, add_uuids, "uuid[]", "{00112233-4455-6677-8899-aabbccddeeff,NULL}"},
        {DB_INT4, add_int4s, "integer[]", "{-2147483648,2147483647,NULL}"},
        {DB_INT8, add_int8s, "bigint[]", "{-9223372036854775808,NULL,1}"},
        {DB_BOOL, add_bools, "boolean[]", "{t,f,NULL}"},
        {DB_FLOAT8, add_reals, "double precision[]", "{-0.25,NULL,1e+300}"},
    };
    db_rig_start_up(rig);
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        db_params_clear(&params);
        db_array_begin(&params, TYPES[i].type);
        TYPES[i].add();
        db_array_end(&params);
        db_array_begin(&params, TYPES[i].type);
        db_array_end(&params);
        struct rig_answer a = db_rig_ask(
            rig, "select $1, pg_typeof($1), $2, cardinality($2), (select count(*) from unnest($1))", &params);
        assert_string_equal(a.e.text, "");
        assert_string_equal(a.cells[0], TYPES[i].text);
        assert_string_equal(a.cells[1], TYPES[i].name);
        assert_string_equal(a.cells[2], "{}");
        assert_string_equal(a.cells[3], "0");
    }
}

static void test_db_ten_thousand_items(void **state)
{
    (void)state;
    char text[32];
    db_rig_start_up(rig);
    db_array_begin(&params, DB_TEXT);
    for (int i = 0; i < 10000; i++) {
        snprintf(text, sizeof text, "item %d", i);
        db_item_text(&params, text, strlen(text));
    }
    db_array_end(&params);
    db_array_begin(&params, DB_INT8);
    for (int i = 0; i < 10000; i++)
        db_item_int8(&params, i);
    db_array_end(&params);
    struct rig_answer a =
        db_rig_ask(rig,
                   "select count(*), count(distinct t), sum(n), bool_and(t = 'item ' || n), min(o), max(o)"
                   " from unnest($1, $2) with ordinality u (t, n, o)",
                   &params);
    static const char *const WANTED[] = {"10000", "10000", "49995000", "t", "1", "10000"};
    for (int i = 0; i < 6; i++)
        assert_string_equal(a.cells[i], WANTED[i]);
}

/* Larger than any socket buffer, both ways: needs the waits for writability. */
static void test_db_large_values(void **state)
{
    (void)state;
    enum { LARGE = 16 * 1024 * 1024 };
    char *text = malloc(LARGE + 1);
    memset(text, 'l', LARGE);
    text[LARGE] = '\0';
    db_param_text(&params, text);
    free(text);
    db_rig_start_up(rig);
    struct rig_answer a =
        db_rig_ask(rig, "select length($1), $1, md5($1) = md5(repeat('l', length($1)))", &params);
    assert_string_equal(a.cells[0], "16777216");
    assert_string_equal(a.cells[2], "t");
}

static void test_db_statements_in_order(void **state)
{
    (void)state;
    enum { COUNT = 100 };
    static struct rig_answer answers[COUNT];
    db_rig_start_up(rig);
    for (int i = 0; i < COUNT; i++) {
        db_params_clear(&params); /* the statement has its own copy */
        db_param_int4(&params, i);
        db_rig_send(rig, i == 50 ? "select $1, 1 / 0" : "select $1", &params, &answers[i]);
    }
    assert_int_equal(db_pending(rig->db), COUNT);
    db_rig_wait(rig, &rig->answers, COUNT);
    assert_int_equal(db_pending(rig->db), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(answers[i].order, i + 1);
        assert_int_equal(answers[i].e.class, i == 50 ? ERR_DATA : ERR_NONE);
        if (i != 50)
            assert_int_equal(strtol(answers[i].cells[0], NULL, 10), i);
    }
}

/* --- prepared statements --- */
static void expect_named(const char *count)
{
    assert_string_equal(
        db_rig_ask(rig, "select count(*) from pg_prepared_statements where name like 'agwb%'", NULL).cells[0],
        count);
}

static const char *ask_int(const char *sql, int32_t value)
{
    static struct rig_answer a;
    db_params_clear(&params);
    db_param_int4(&params, value);
    a = db_rig_ask(rig, sql, &params);
    assert_int_equal(a.e.class, ERR_NONE);
    return a.cells[0];
}

static void test_db_prepares_once(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    for (int i = 0; i < 5; i++)
        assert_string_equal(ask_int("select $1 + 1", 41), "42");
    expect_named("2"); /* this and the question itself */
    db_params_clear(&params);
    db_param_float8(&params, 0.5); /* the same text, of another type */
    assert_string_equal(db_rig_ask(rig, "select $1 + 1", &params).cells[0], "1.5");
    assert_string_equal(ask_int("select $1 + 1", 1), "2");
    expect_named("3");
    assert_int_equal(db_rig_ask(rig, "select no_such_function()", NULL).e.class, ERR_CONFIG);
    assert_string_equal(ask_int("select $1 + 1", 2), "3");
    expect_named("3");
}

static void test_db_prepares_nothing_for_a_pooler(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    for (int i = 0; i < 3; i++)
        assert_string_equal(ask_int("select $1 + 1", 41), "42");
    expect_named("0");
}

/* More statements than there are names: the rest goes without. */
static void test_db_prepares_no_more_than_it_may(void **state)
{
    char sql[64];

    (void)state;
    db_rig_start_up(rig);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 50; i++) {
            snprintf(sql, sizeof sql, "select $1 + %d", i);
            assert_int_equal(strtol(ask_int(sql, 1), NULL, 10), i + 1);
        }
    }
    expect_named("32");
}

/* A name at fault is not the statement's: it has its answer all the same, and from then on nothing is named.
 */
static void expect_answer_without_a_name(const char *sql, int32_t value, const char *answer)
{
    for (int i = 0; i < 2; i++)
        assert_string_equal(ask_int(sql, value), answer);
    assert_int_equal(rig->downs, 0);
}

static void test_db_names_are_gone(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    assert_string_equal(ask_int("select $1 + 1", 41), "42");
    assert_int_equal(db_rig_ask(rig, "deallocate all", NULL).e.class, ERR_NONE); /* a pooler's other server */
    expect_answer_without_a_name("select $1 + 1", 41, "42");
    expect_named("0");
}

/* As what another connection of ours has prepared on a pooler's server. */
static void test_db_name_is_taken(void **state)
{
    char sql[300];

    db_rig_start_up(rig);
    assert_string_equal(ask_int("select $1 + 1", 41), "42");
    struct rig_answer a =
        db_rig_ask(rig, "select name from pg_prepared_statements where statement = 'select $1 + 1'", NULL);
    snprintf(sql, sizeof sql, "prepare %s as select 1", a.cells[0]);
    assert_int_equal(teardown(state) + setup(state), 0); /* another connection has the same name for it */
    db_rig_start_up(rig);
    assert_int_equal(db_rig_ask(rig, sql, NULL).e.class, ERR_NONE);
    expect_answer_without_a_name("select $1 + 1", 41, "42");
    expect_named("2"); /* that one, and the statement that made it */
}

static void test_db_function_changes_under_its_name(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    (void)db_rig_ask(rig, "create function pg_temp.f(integer) returns integer language sql as 'select 7'",
                     NULL);
    assert_string_equal(ask_int("select * from pg_temp.f($1)", 1), "7");
    (void)db_rig_ask(rig, "drop function pg_temp.f(integer)", NULL);
    (void)db_rig_ask(rig, "create function pg_temp.f(integer) returns text language sql as $$select 'x'$$",
                     NULL);
    expect_answer_without_a_name("select * from pg_temp.f($1)", 1, "x");
}

/* The same without any names is an error of the statement. */
static void test_db_unnamed_error_stays(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    for (int i = 0; i < 2; i++)
        assert_int_equal(db_rig_ask(rig, "execute no_such_name", NULL).e.class, ERR_BUG);
}

static void ask_again(void *arg, const struct db_result *r, const struct err *e)
{
    int *left = arg;
    (void)r, (void)e;
    if (--*left == 0)
        loop_stop(rig->loop);
    else
        assert_int_equal(db_query(rig->db, "select 1", NULL, ask_again, left), 0);
}

static void test_db_query_in_callback(void **state)
{
    (void)state;
    int left = 10;
    db_rig_start_up(rig);
    assert_int_equal(db_query(rig->db, "select 1", NULL, ask_again, &left), 0);
    loop_run(rig->loop);
    assert_int_equal(left, 0);
}

static void test_db_refuses_unfit_queries(void **state)
{
    (void)state;
    db_rig_start(rig);
    assert_int_equal(db_query(rig->db, "select 1", NULL, ask_again, NULL), -1); /* not up */
    assert_false(db_is_up(rig->db));
    db_rig_wait(rig, &rig->ups, 1);
    assert_true(db_is_up(rig->db));
    db_array_begin(&params, DB_UUID);
    assert_int_equal(db_query(rig->db, "select $1", &params, ask_again, NULL), -1); /* the array is open */
    db_item_text(&params, "no uuid", 7);
    db_array_end(&params);
    assert_int_equal(db_query(rig->db, "select $1", &params, ask_again, NULL), -1);
    assert_int_equal(db_pending(rig->db), 0);
}

/* --- errors --- */
static void test_db_error_classes(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        enum err_class class;
        const char *sqlstate, *text;
    } ERRORS[] = {
        {"insert into test_db.t values (4711)", ERR_DATA, "23505",
         "duplicate key value violates unique constraint \"t_pkey\" (23505)"},
        {"insert into test_db.t values (-1)", ERR_DATA, "23514",
         "new row for relation \"t\" violates check constraint \"positive\" (23514)"},
        {"select test_db.raise()", ERR_DATA, "P0001", "that won't do (P0001)"},
        {"select 'secret'::int", ERR_DATA, "22P02", "invalid input syntax for type integer: \"\" (22P02)"},
        {"select 1 / 0", ERR_DATA, "22012", "division by zero (22012)"},
        {"select test_db.absent(1)", ERR_CONFIG, "42883",
         "function test_db.absent(integer) does not exist (42883)"},
        {"select absent_schema.f()", ERR_CONFIG, "3F000", "schema \"absent_schema\" does not exist (3F000)"},
        {"select * from test_db.absent", ERR_CONFIG, "42P01",
         "relation \"test_db.absent\" does not exist (42P01)"},
        {"select test_db.forbidden()", ERR_CONFIG, "42501", "permission denied for function secret (42501)"},
        {"select pg_sleep(60)", ERR_TEMPORARY, "57014",
         "canceling statement due to statement timeout (57014)"},
        {"select test_db.serialization()", ERR_TEMPORARY, "40001", "try again (40001)"},
        {"selec", ERR_BUG, "42601", "syntax error at or near \"selec\" (42601)"},
        {"select nothing", ERR_BUG, "42703", "column \"nothing\" does not exist (42703)"},
        {"", ERR_BUG, "", "unexpected answer to a statement: PGRES_EMPTY_QUERY"},
    };
    rig->settings.statement_timeout_ms = 300;
    db_rig_start_up(rig);
    for (size_t i = 0; i < sizeof ERRORS / sizeof ERRORS[0]; i++) {
        struct rig_answer a = db_rig_ask(rig, ERRORS[i].sql, NULL);
        assert_string_equal(a.e.text, ERRORS[i].text);
        assert_string_equal(a.sqlstate, ERRORS[i].sqlstate);
        assert_int_equal(a.e.class, ERRORS[i].class);
        assert_true(a.has_result);
        assert_int_equal(a.rows, 0);
    }
    assert_int_equal(rig->downs, 0);
    assert_string_equal(db_rig_ask(rig, "select 'still here'", NULL).cells[0], "still here");
}

/* The rows have come already when the commit fails: that must not count as done. */
static void test_db_error_at_commit(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    struct rig_answer a = db_rig_ask(rig, "insert into test_db.later values (1, 99) returning id", NULL);
    assert_int_equal(a.e.class, ERR_DATA);
    assert_string_equal(a.sqlstate, "23503");
    assert_string_equal(db_rig_ask(rig, "select count(*) from test_db.later", NULL).cells[0], "0");
}

static void test_db_copy_is_refused(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    struct rig_answer a = db_rig_ask(rig, "copy test_db.t to stdout", NULL);
    assert_int_equal(a.e.class, ERR_BUG);
    db_rig_wait(rig, &rig->ups, 2); /* such a connection is not worth saving */
}

/* --- sessions --- */
static void test_db_session_query_and_script(void **state)
{
    (void)state;
    struct err e = {.class = ERR_NONE};
    struct db_session *session = db_session_open(&rig->settings, &e);
    assert_non_null(session);
    db_param_int4(&params, 3);
    struct db_result *r =
        db_session_query(session, "select n * $1 as x from generate_series(1, 3) n", &params, &e);
    assert_non_null(r);
    assert_int_equal(db_rows(r), 3);
    assert_int_equal(db_int(r, 2, db_column(r, "x")), 9);
    db_result_free(&r);
    assert_null(r);
    db_result_free(&r);

    assert_int_equal(
        db_session_script(session, "create table test_db.s (id int); insert into test_db.s values (1);", &e),
        0);
    assert_int_equal(db_session_script(session, "insert into test_db.s values (2); select 1 / 0;", &e), -1);
    assert_int_equal(e.class, ERR_DATA);
    r = db_session_query(session, "select count(*) from test_db.s", NULL,
                         &e); /* the script that failed left nothing */
    assert_int_equal(db_int(r, 0, 0), 1);
    db_result_free(&r);

    assert_null(db_session_query(session, "select test_db.absent()", NULL, &e));
    assert_int_equal(e.class, ERR_CONFIG);
    assert_null(db_session_query(session, "select pg_terminate_backend(pg_backend_pid())", NULL, &e));
    assert_int_equal(e.class, ERR_TEMPORARY);
    assert_null(db_session_query(session, "select 1", NULL, &e));
    assert_int_equal(e.class, ERR_TEMPORARY);
    assert_int_equal(db_session_script(session, "select 1", &e), -1);
    db_session_close(&session);
    assert_null(session);
}

static void test_db_session_open_failures(void **state)
{
    (void)state;
    struct err e = {.class = ERR_NONE};
    struct db_settings s = rig->settings;
    char host[64];
    int port = 0, silent = rig_listen(&port);
    snprintf(host, sizeof host, "127.0.0.1:%d", rig_port());
    s.url = rig_url(host, "absent", "postgres");
    assert_null(db_session_open(&s, &e));
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, "database \"absent\" does not exist"));

    s.connect_timeout_ms = 200;
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    s.url = rig_url(host, "postgres", "postgres");
    assert_null(db_session_open(&s, &e));
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    snprintf(host, sizeof host, "127.0.0.1:%d,127.0.0.1:%d", port, rig_port());
    s.url = rig_url(host, "postgres", "postgres");
    struct db_session *session =
        db_session_open(&s, &e); /* the silent host does not use up the other's time */
    assert_non_null(session);
    db_session_close(&session);

    assert_int_equal(shutdown(silent, SHUT_RDWR), 0); /* refuses from now on */
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    s.url = rig_url(host, "postgres", "postgres");
    assert_null(db_session_open(&s, &e));
    assert_int_equal(e.class, ERR_UNAVAILABLE);
    close(silent);
    s.url = "nonsense";
    assert_null(db_session_open(&s, &e));
    assert_int_equal(e.class, ERR_CONFIG);
}

/* --- main --- */
static int make_schema(void **state)
{
    (void)state;
    rig_script(
        "drop schema if exists test_db cascade; create schema test_db;"
        "create table test_db.t (id int primary key constraint positive check (id > 0)); insert into "
        "test_db.t values (4711);"
        "create table test_db.later (id int, of int references test_db.t deferrable initially deferred);"
        "create function test_db.raise() returns void language plpgsql as $$begin raise exception 'that "
        "won''t do'; end$$;"
        "create function test_db.serialization() returns void language plpgsql as"
        " $$begin raise exception 'try again' using errcode = '40001'; end$$;"
        "create function test_db.secret() returns int language sql as 'select 1';"
        "revoke execute on function test_db.secret() from public;"
        "drop role if exists test_db_guest; create role test_db_guest;"
        "grant usage on schema test_db to test_db_guest;"
        "create function test_db.forbidden() returns void language plpgsql as"
        " $$begin set local role test_db_guest; perform test_db.secret(); end$$;");
    return 0;
}

static int drop_schema(void **state)
{
    (void)state;
    rig_script("drop schema test_db cascade; drop role test_db_guest;");
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_configure("test_db", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    const struct CMUnitTest tests[] = {
        TEST(test_db_rows),
        TEST(test_db_session_settings),
        TEST(test_db_scalar_parameters),
        TEST(test_db_array_parameters),
        TEST(test_db_ten_thousand_items),
        TEST(test_db_large_values),
        TEST(test_db_statements_in_order),
        TEST(test_db_query_in_callback),
        TEST(test_db_prepares_once),
        cmocka_unit_test_setup_teardown(test_db_prepares_nothing_for_a_pooler, setup_unnamed, teardown),
        TEST(test_db_prepares_no_more_than_it_may),
        TEST(test_db_names_are_gone),
        TEST(test_db_name_is_taken),
        TEST(test_db_function_changes_under_its_name),
        cmocka_unit_test_setup_teardown(test_db_unnamed_error_stays, setup_unnamed, teardown),
        TEST(test_db_refuses_unfit_queries),
        TEST(test_db_error_classes),
        TEST(test_db_error_at_commit),
        TEST(test_db_copy_is_refused),
        TEST(test_db_session_query_and_script),
        TEST(test_db_session_open_failures),
    };
    return cmocka_run_group_tests(tests, make_schema, drop_schema);
}
