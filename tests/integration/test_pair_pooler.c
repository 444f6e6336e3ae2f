/* Between the programs and PostgreSQL stands pgbouncer, which pools transactions: two servers for each role
 * take turns, so that no two statements in a row find the same session. Once with database.listen switched
 * off as it should be, once as nobody told us. */
#include "db_rig.h"
#include "flow.h"
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 200 };

static void pooler(const char *verb)
{
    sandbox_run("AGWB_TEST_POOLER_CTL", (const char *const[]){verb, NULL});
}

static const char *pooler_url(const char *role, const char *database)
{
    static char url[256];

    if (getenv("AGWB_TEST_POOLER") == NULL) {
        print_message("AGWB_TEST_POOLER is not set: no pgbouncer\n");
        skip();
    }
    pooler("start"); /* a failed test may have left it dead */
    snprintf(url, sizeof url, "postgresql://%s@%s/%s?sslmode=disable", role,
             sandbox_value("AGWB_TEST_POOLER"), database);
    return url;
}

/* The tests' own sessions go straight to the server. */
static void use_pooler(struct pair *p, const char *listen)
{
    snprintf(p->publisher_role, sizeof p->publisher_role, "database.url=%s",
             pooler_url("agwb_publisher", p->database));
    snprintf(p->consumer_role, sizeof p->consumer_role, "database.url=%s",
             pooler_url("agwb_consumer", p->database));
    pair_set(p, listen);
}

static int64_t server_count(struct pair *p, const char *role)
{
    return sql_int(
        p, "select count(*) from pg_stat_activity where datname = current_database() and usename = '%s'",
        role);
}

/* Two publishers have six connections, two consumers four. */
static void start_pairs(struct pair *p)
{
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[0], "publisher2", "agwb-publisher", "publisher.metrics_listen=off");
    pair_start_program(p, &p->more[1], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    WAIT_UNTIL(server_count(p, "agwb_publisher") == 2 && server_count(p, "agwb_consumer") == 2);
}

static size_t told_deaf(const struct process *process)
{
    return log_count(process, "notifications do not arrive, work is found by polling", NULL, NULL);
}

static size_t told_unprepared(const struct process *process)
{
    return log_count(process, "the connection does not keep its session, statements are no longer prepared",
                     NULL, NULL);
}

static void test_pooler_without_listen(struct pair *p)
{
    use_pooler(p, "database.listen=false");
    start_pairs(p);
    job_add_many(p, 1, JOBS);
    flow_finish(p, JOBS);
    assert_int_equal(server_count(p, "agwb_publisher"), 2);
    assert_int_equal(server_count(p, "agwb_consumer"), 2);
    assert_int_equal(told_deaf(&p->publisher) + told_unprepared(&p->publisher), 0);
    assert_int_equal(told_deaf(&p->consumer) + told_unprepared(&p->consumer), 0);
}

static void test_pooler_with_listen(struct pair *p)
{
    use_pooler(p, "database.listen=true");
    start_pairs(p);
    job_add_many(p, 1, JOBS);
    flow_finish(p, JOBS);
    WAIT_UNTIL(told_deaf(&p->publisher) == 1 && told_deaf(&p->consumer) == 1);
    assert_true(told_unprepared(&p->publisher) > 0 && told_unprepared(&p->consumer) > 0);
    assert_non_null(
        strstr(log_last(&p->publisher, "notifications do not arrive, work is found by polling", "remedy"),
               "database.listen = false"));
}

/* The same question of a session of its own. */
static void test_pooler_is_not_there(struct pair *p)
{
    pair_set(p, "log.level=debug");
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    WAIT_UNTIL(log_count(&p->publisher, "notifications arrive", NULL, NULL) == 1 &&
               log_count(&p->consumer, "notifications arrive", NULL, NULL) == 1);
    assert_int_equal(told_deaf(&p->publisher) + told_deaf(&p->consumer), 0);
}

static bool says_not_ready(int port)
{
    struct buf body;

    buf_init(&body, 4096);
    bool yes = web_ask(port, "/readyz", NULL, &body) == 503 &&
               strstr(buf_str(&body), "database: not connected") != NULL;
    buf_fini(&body);
    return yes;
}

/* What was under way on the servers goes on there without us: claims whose answer is lost, too. */
static void cut(struct pair *p, const char *listen)
{
    use_pooler(p, listen);
    pair_set(p, "publisher.lease_ms=2000");
    start_pairs(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"delay_ms\":20}}]}");
    job_add_many(p, 1, JOBS);
    for (int turn = 1; turn <= 3; turn++) {
        WAIT_UNTIL((wire_agent_step(p), pair_sent(p, NULL) >= (size_t)(turn * JOBS / 10)));
        pooler("kill");
        WAIT_UNTIL(says_not_ready(p->publisher_port) && says_not_ready(p->consumer_port));
        job_add_many(p, turn * JOBS + 1, JOBS / 10);
        pooler("start");
        WAIT_UNTIL(flow_is_ready(p));
    }
    flow_finish(p, JOBS + 3 * JOBS / 10);
}

static void test_pooler_cut_without_listen(struct pair *p)
{
    cut(p, "database.listen=false");
}

static void test_pooler_cut_with_listen(struct pair *p)
{
    cut(p, "database.listen=true");
}

/* Nothing of it stays on the pooler's servers, where the next one would wait for it for ever. */
static void test_pooler_migrate(struct pair *p)
{
    char direct[sizeof p->url];
    struct buf out;

    snprintf(direct, sizeof direct, "%s", p->url);
    snprintf(p->url, sizeof p->url, "%s", pooler_url("postgres", p->database));
    pair_write_config(p);
    snprintf(p->url, sizeof p->url, "%s", direct);
    sql_run(p, "delete from agwb.schema_version where version = 3");
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out), 0);
        assert_int_equal(strstr(buf_str(&out), "applied migration 003") != NULL, turn == 0);
        buf_fini(&out);
        assert_int_equal(sql_int(p, "select count(*) from pg_locks where locktype = 'advisory'"), 0);
    }
}

static void doctor_says(struct pair *p, const char *line)
{
    struct buf out;

    (void)pair_command(p, "agwb-publisher", (const char *const[]){"doctor", NULL}, &out);
    if (strstr(buf_str(&out), line) == NULL)
        fail_msg("not said: %s\n%s", line, buf_str(&out));
    buf_fini(&out);
}

static void test_pooler_is_seen_by_doctor(struct pair *p)
{
    use_pooler(p, "database.listen=true");
    doctor_says(p, "this is a transaction pooler");
    pair_set(p, "database.listen=false");
    doctor_says(p, "off: work is found every");
}

/* Everybody's names are on every server, sooner or later. */
static void test_pooler_mixes_no_statements(struct pair *p)
{
    const char *url = pooler_url("postgres", p->database);
    struct db_rig *rigs[] = {db_rig_new(), db_rig_new()};
    static const char *const SQL[] = {"select 'first ' || $1", "select 'second ' || $1"};
    static const char *const ANSWER[] = {"first answer", "second answer"};
    struct rig_answer answers[2];
    struct db_params params;

    db_params_init(&params);
    db_param_text(&params, "answer");
    for (int i = 0; i < 2; i++) {
        snprintf(rigs[i]->url, sizeof rigs[i]->url, "%s", url);
        rigs[i]->settings.url = rigs[i]->url;
        db_rig_start_up(rigs[i]);
    }
    WAIT_UNTIL(server_count(p, "postgres") == 3); /* with our own session */
    for (int i = 0; i < 2; i++)
        db_rig_send(rigs[i], SQL[i], &params, &answers[i]);
    for (int i = 0; i < 2; i++)
        db_rig_wait(rigs[i], &rigs[i]->answers, 1);
    for (int turn = 0; turn < 6; turn++) {
        answers[turn % 2] = db_rig_ask(rigs[turn % 2], SQL[turn % 2], &params);
        answers[turn % 2] = db_rig_ask(rigs[turn % 2], SQL[turn % 2], &params);
        assert_int_equal(answers[turn % 2].e.class, ERR_NONE);
        assert_string_equal(answers[turn % 2].cells[0], ANSWER[turn % 2]);
    }
    db_params_fini(&params);
    for (int i = 0; i < 2; i++)
        db_rig_free(&rigs[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_pooler_without_listen),    PAIR_TEST(test_pooler_with_listen),
        PAIR_TEST(test_pooler_is_not_there),      PAIR_TEST(test_pooler_cut_without_listen),
        PAIR_TEST(test_pooler_cut_with_listen),   PAIR_TEST(test_pooler_migrate),
        PAIR_TEST(test_pooler_is_seen_by_doctor), PAIR_TEST(test_pooler_mixes_no_statements),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
