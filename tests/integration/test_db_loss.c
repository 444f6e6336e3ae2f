/* The database connection's life: reached, refused, lost, silent, freed, notified. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "db_rig.h"

static struct db_rig *rig;
static char host[128];

static int setup(void **state)
{
    (void)state;
    rig = db_rig_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_rig_free(&rig);
    return 0;
}

static void use_url(const char *hosts, const char *database, const char *role)
{
    snprintf(rig->url, sizeof rig->url, "%s", rig_url(hosts, database, role));
}

static const char *host_at(int port)
{
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    return host;
}

static void terminate_backend(void)
{
    rig_script("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'agwb-test'");
}

/* --- lost --- */
static void test_db_terminated_with_statements(void **state)
{
    (void)state;
    struct rig_answer in_flight, queued, after;
    db_rig_start_up(rig);
    assert_int_equal(db_reconnects(rig->db), 0);
    struct db_params seconds;
    db_params_init(&seconds);
    db_param_float8(&seconds, 0);
    (void)db_rig_ask(rig, "select pg_sleep($1)", &seconds); /* it has a name then, so that it runs at once */
    db_params_clear(&seconds);
    db_param_float8(&seconds, 60);
    db_rig_send(rig, "select pg_sleep($1)", &seconds, &in_flight);
    db_params_fini(&seconds);
    db_rig_send(rig, "select 'queued'", NULL, &queued);
    struct rig_answer *answers[] = {&in_flight, &queued};
    terminate_backend();
    db_rig_wait(rig, &rig->downs, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(answers[i]->calls, 1);
        assert_int_equal(answers[i]->order, i + 2);
        assert_int_equal(answers[i]->e.class, ERR_TEMPORARY);
        assert_int_equal(answers[i]->downs_before, 0); /* first the statements, then the news */
    }
    assert_string_equal(in_flight.sqlstate, "57P01");
    assert_false(queued.has_result);
    assert_false(db_is_up(rig->db));
    assert_int_equal(db_pending(rig->db), 0);
    assert_int_equal(rig->why_down.class, ERR_TEMPORARY);

    db_rig_wait(rig, &rig->ups, 2);
    assert_int_equal(rig->downs, 1);
    assert_int_equal(rig->refusals, 0);
    assert_int_equal(db_reconnects(rig->db), 1);
    after = db_rig_ask(rig, "select 'again'", NULL);
    assert_string_equal(after.cells[0], "again");
}

static void test_db_terminated_while_idle(void **state)
{
    (void)state;
    db_rig_start_up(rig);
    terminate_backend();
    db_rig_wait(rig, &rig->downs, 1);
    assert_string_equal(rig->why_down.text, "terminating connection due to administrator command (57P01)");
    db_rig_wait(rig, &rig->ups, 2);
}

/* The server is stopped, or moves: refused for a while, at one and the same address. */
static void test_db_waits_for_the_server(void **state)
{
    (void)state;
    int port = 0;
    close(rig_listen(&port));
    use_url(host_at(port), "postgres", "postgres");
    db_rig_start(rig);
    db_rig_wait(rig, &rig->downs, 1);
    assert_int_equal(rig->why_down.class, ERR_TEMPORARY);
    assert_non_null(strstr(rig->why_down.text, "Connection refused"));

    struct relay *relay = relay_new(port);
    db_rig_wait(rig, &rig->ups, 1);
    relay_free(&relay);
    db_rig_wait(rig, &rig->downs, 2);
    relay = relay_new(port);
    db_rig_wait(rig, &rig->ups, 2);
    assert_int_equal(rig->downs, 2);
    assert_int_equal(rig->refusals, 0);
    relay_free(&relay);
}

/* A connection that swallows everything (a cable pulled, a firewall's forgotten state): the statement's own
 * deadline ends it. */
static void test_db_half_open(void **state)
{
    (void)state;
    struct relay *relay = relay_new(0);
    struct rig_answer a;
    use_url(host_at(relay_port(relay)), "postgres", "postgres");
    rig->settings.statement_timeout_ms = 1000;
    db_rig_start_up(rig);
    relay_swallow(relay);
    db_rig_send(rig, "select 1", NULL, &a);
    db_rig_wait(rig, &rig->downs, 1);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.e.class, ERR_TEMPORARY);
    assert_string_equal(rig->why_down.text, "no answer to a statement within 6000 ms");
    db_rig_free(&rig); /* in the middle of the next attempt */
    relay_free(&relay);
}

/* --- not reached, refused --- */
static void test_db_silent_server(void **state)
{
    (void)state;
    int port = 0, silent = rig_listen(&port);
    use_url(host_at(port), "postgres", "postgres");
    rig->settings.connect_timeout_ms = 200;
    db_rig_start(rig);
    db_rig_wait(rig, &rig->downs, 1);
    assert_string_equal(rig->why_down.text, "no database connection within 200 ms (connecting)");
    close(silent);
}

/* libpq's asynchronous connect has no timeout per host, so the next attempt begins with the other one. */
static void test_db_silent_first_host(void **state)
{
    (void)state;
    char hosts[256];
    int port = 0, silent = rig_listen(&port);
    snprintf(hosts, sizeof hosts, "127.0.0.1:%d,127.0.0.1:%d", port, rig_port());
    use_url(hosts, "postgres", "postgres");
    rig->settings.connect_timeout_ms = 500;
    db_rig_start_up(rig);
    assert_int_equal(rig->downs, 1);
    close(silent);
}

static void test_db_refused_first_host(void **state)
{
    (void)state;
    char hosts[256];
    int port = 0;
    close(rig_listen(&port));
    snprintf(hosts, sizeof hosts, "127.0.0.1:%d,127.0.0.1:%d", port, rig_port());
    use_url(hosts, "postgres", "postgres");
    db_rig_start_up(rig);
    assert_int_equal(rig->downs, 0);
}

static void test_db_unknown_database(void **state)
{
    (void)state;
    use_url(host_at(rig_port()), "test_db_absent", "postgres");
    db_rig_start(rig);
    db_rig_wait(rig, &rig->refusals, 1);
    assert_int_equal(rig->why_refused.class, ERR_CONFIG);
    assert_non_null(strstr(rig->why_refused.text, "database \"test_db_absent\" does not exist"));
    rig_script("create database test_db_absent");
    db_rig_wait(rig, &rig->ups, 1); /* it went on trying */
    assert_int_equal(rig->refusals, 1);
    assert_int_equal(rig->downs, 0);
    db_rig_free(&rig);
    rig_script("drop database test_db_absent with (force)");
}

static void test_db_unknown_role(void **state)
{
    (void)state;
    use_url(host_at(rig_port()), "postgres", "nobody_here");
    db_rig_start(rig);
    db_rig_wait(rig, &rig->refusals, 1);
    assert_non_null(strstr(rig->why_refused.text, "role \"nobody_here\" does not exist"));
}

static void test_db_login_answers(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate, *message;
        bool refused;
    } ANSWERS[] = {
        {"28P01", "password authentication failed for user \"postgres\"", true},
        {"28000", "no pg_hba.conf entry for host \"127.0.0.1\"", true},
        {"3D000", "database \"postgres\" does not exist", true},
        {"42704", "unrecognized configuration parameter \"x\"", true},
        {"57P03", "the database system is starting up", false},
        {"53300", "sorry, too many clients already", false},
        {"08P01", "server login has been failing", false},
    };
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++) {
        struct refuser *refuser = refuser_new(ANSWERS[i].sqlstate, ANSWERS[i].message);
        struct db_rig *r = db_rig_new();
        snprintf(r->url, sizeof r->url, "%s",
                 rig_url(host_at(refuser_port(refuser)), "postgres", "postgres"));
        db_rig_start(r);
        db_rig_wait(r, ANSWERS[i].refused ? &r->refusals : &r->downs, 1);
        const struct err *why = ANSWERS[i].refused ? &r->why_refused : &r->why_down;
        assert_int_equal(r->refusals + r->downs, 1);
        assert_int_equal(why->class, ANSWERS[i].refused ? ERR_CONFIG : ERR_TEMPORARY);
        assert_non_null(strstr(why->text, ANSWERS[i].message));
        db_rig_free(&r);
        refuser_free(&refuser);
    }
}

static void test_db_bad_url(void **state)
{
    (void)state;
    snprintf(rig->url, sizeof rig->url, "host=127.0.0.1 hunter2");
    db_rig_start(rig);
    db_rig_wait(rig, &rig->refusals, 1);
    assert_int_equal(rig->why_refused.class, ERR_CONFIG);
    assert_null(strstr(rig->why_refused.text, "hunter2"));
}

static void test_db_bad_url_option(void **state)
{
    (void)state;
    snprintf(rig->url, sizeof rig->url, "host=127.0.0.1 port=%d user=postgres sslmode=perhaps", rig_port());
    db_rig_start(rig);
    db_rig_wait(rig, &rig->refusals, 1);
    assert_int_equal(rig->why_refused.class, ERR_CONFIG);
}

/* --- names --- */
/* This test's own resolver, to see who asks it: names are for the pool, as a lookup may take long. */
static pthread_t loop_thread;
static atomic_int names_asked_on_the_loop;
static pthread_mutex_t stuck = PTHREAD_MUTEX_INITIALIZER;
typedef int resolve_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    resolve_fn *resolve;
    *(void **)&resolve = dlsym(RTLD_NEXT, "getaddrinfo");
    bool is_test_name = name != NULL && strstr(name, ".example.test") != NULL;
    if (is_test_name && pthread_equal(pthread_self(), loop_thread))
        atomic_fetch_add(&names_asked_on_the_loop, 1);
    if (is_test_name && strcmp(name, "gone.example.test") == 0)
        return EAI_NONAME;
    if (is_test_name && strcmp(name, "stuck.example.test") == 0) {
        pthread_mutex_lock(&stuck);
        pthread_mutex_unlock(&stuck);
    }
    return resolve(is_test_name ? "127.0.0.1" : name, service, hints, found);
}

static void test_db_names_are_resolved_on_the_pool(void **state)
{
    (void)state;
    char hosts[256];
    loop_thread = pthread_self();
    snprintf(hosts, sizeof hosts, "gone.example.test:1,db.example.test:%d", rig_port());
    use_url(hosts, "postgres", "postgres");
    db_rig_start_up(rig);
    assert_int_equal(rig->downs, 0);
    terminate_backend();
    db_rig_wait(rig, &rig->ups, 2);
    assert_int_equal(atomic_load(&names_asked_on_the_loop), 0);
}

static void test_db_unknown_name(void **state)
{
    (void)state;
    use_url("gone.example.test", "postgres", "postgres");
    db_rig_start(rig);
    db_rig_wait(rig, &rig->downs, 1);
    assert_non_null(strstr(rig->why_down.text, "cannot resolve gone.example.test"));
}

static void test_db_stuck_lookup(void **state)
{
    (void)state;
    char hosts[256];
    snprintf(hosts, sizeof hosts, "stuck.example.test:%d", rig_port());
    use_url(hosts, "postgres", "postgres");
    rig->settings.connect_timeout_ms = 100;
    pthread_mutex_lock(&stuck);
    db_rig_start(rig);
    db_rig_wait(rig, &rig->downs, 1);
    pthread_mutex_unlock(&stuck);
    assert_string_equal(rig->why_down.text, "no database connection within 100 ms (resolving)");
    db_rig_wait(rig, &rig->ups, 1);
}

static void test_db_freed_during_lookup(void **state)
{
    (void)state;
    use_url("stuck.example.test:1", "postgres", "postgres");
    rig->settings.connect_timeout_ms = 100;
    pthread_mutex_lock(&stuck);
    db_rig_start(rig);
    db_rig_wait(rig, &rig->downs, 1);
    db_free(&rig->db);
    pthread_mutex_unlock(&stuck); /* db_rig_free's loop_free waits for it */
}

/* --- notifications --- */
static void test_db_notifications(void **state)
{
    (void)state;
    rig->settings.listen_channel = "agwb Test\"channel";
    db_rig_start_up(rig);
    rig_script("select pg_notify('agwb Test\"channel', n::text) from generate_series(1, 50) n");
    db_rig_wait(rig, &rig->notifies, 1);
    assert_string_equal(db_rig_ask(rig, "select pg_listening_channels()", NULL).cells[0],
                        "agwb Test\"channel");
    assert_int_equal(rig->notifies, 1); /* 50 in one read */

    terminate_backend();
    db_rig_wait(rig, &rig->ups, 2);
    rig_script("select pg_notify('agwb Test\"channel', '')");
    db_rig_wait(rig, &rig->notifies, 2);
}

static void test_db_notified_by_own_statement(void **state)
{
    (void)state;
    rig->settings.listen_channel = "agwb_test";
    db_rig_start_up(rig);
    assert_int_equal(db_rig_ask(rig, "select pg_notify('agwb_test', '')", NULL).e.class, ERR_NONE);
    db_rig_wait(rig, &rig->notifies, 1);
}

/* --- freed in its own callbacks --- */
static size_t freed, called;

static void free_on_event(void *arg)
{
    (void)arg;
    db_free(&rig->db);
    freed++;
}

static void free_on_error(void *arg, const struct err *why)
{
    assert_true(why->text[0] != '\0');
    free_on_event(arg);
}

static void free_on_answer(void *arg, const struct db_result *r, const struct err *e)
{
    (void)e;
    db_free(&rig->db);
    freed += r == NULL ? 1 : db_int(r, 0, 0) == 1; /* the result is still there */
    (void)arg;
}

static void never(void *arg, const struct db_result *r, const struct err *e)
{
    (void)arg, (void)r, (void)e;
    called++;
}

static void test_db_freed_in_on_up(void **state)
{
    (void)state;
    static const struct db_handlers HANDLERS = {.on_up = free_on_event};
    freed = 0;
    rig->db = db_new(rig->loop, &rig->settings, &HANDLERS, NULL);
    db_rig_wait(rig, &freed, 1);
}

static void test_db_freed_in_on_refused_and_on_down(void **state)
{
    (void)state;
    static const struct db_handlers HANDLERS = {.on_refused = free_on_error, .on_down = free_on_error};
    int port = 0;
    freed = 0;
    use_url(host_at(rig_port()), "test_db_absent", "postgres");
    rig->db = db_new(rig->loop, &rig->settings, &HANDLERS, NULL);
    db_rig_wait(rig, &freed, 1);
    close(rig_listen(&port));
    use_url(host_at(port), "postgres", "postgres");
    rig->db = db_new(rig->loop, &rig->settings, &HANDLERS, NULL);
    db_rig_wait(rig, &freed, 2);
}

static void test_db_freed_in_answer(void **state)
{
    (void)state;
    freed = called = 0;
    db_rig_start_up(rig);
    assert_int_equal(db_query(rig->db, "select 1", NULL, free_on_answer, NULL), 0);
    assert_int_equal(db_query(rig->db, "select 2", NULL, never, NULL), 0);
    db_rig_wait(rig, &freed, 1);
    assert_int_equal(called, 0);
}

static void test_db_freed_in_failed_answer(void **state)
{
    (void)state;
    freed = called = 0;
    db_rig_start_up(rig);
    assert_int_equal(db_query(rig->db, "select pg_sleep(60)", NULL, never, NULL), 0);
    assert_int_equal(db_query(rig->db, "select 1", NULL, free_on_answer, NULL), 0);
    assert_int_equal(db_query(rig->db, "select 2", NULL, never, NULL), 0);
    terminate_backend();
    db_rig_wait(rig, &freed, 1);
    assert_int_equal(called, 1);
    assert_int_equal(rig->downs, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    log_configure("test_db_loss", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    const struct CMUnitTest tests[] = {
        TEST(test_db_terminated_with_statements),
        TEST(test_db_terminated_while_idle),
        TEST(test_db_waits_for_the_server),
        TEST(test_db_half_open),
        TEST(test_db_silent_server),
        TEST(test_db_silent_first_host),
        TEST(test_db_refused_first_host),
        TEST(test_db_unknown_database),
        TEST(test_db_unknown_role),
        TEST(test_db_login_answers),
        TEST(test_db_bad_url),
        TEST(test_db_bad_url_option),
        TEST(test_db_names_are_resolved_on_the_pool),
        TEST(test_db_unknown_name),
        TEST(test_db_stuck_lookup),
        TEST(test_db_freed_during_lookup),
        TEST(test_db_notifications),
        TEST(test_db_notified_by_own_statement),
        TEST(test_db_freed_in_on_up),
        TEST(test_db_freed_in_on_refused_and_on_down),
        TEST(test_db_freed_in_answer),
        TEST(test_db_freed_in_failed_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
