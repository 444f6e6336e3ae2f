/* Starting where something is wrong: what an operator must mend ends the daemon at once with exit status 78
 * and one line that says what; a server that is not there yet is waited for. */
#include "flow.h"
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

struct errors {
    size_t count;
    char text[1024]; /* of the last one */
};

static void take_error(void *arg, const struct json_node *line, const char *text)
{
    struct errors *errors = arg;
    const char *level = json_str(json_member(line, "level"));
    const char *error = json_str(json_member(line, "error"));

    (void)text;
    if (level == NULL || strcmp(level, "error") != 0)
        return;
    errors->count++;
    snprintf(errors->text, sizeof errors->text, "%s", error != NULL ? error : "");
}

/* The daemon ends with 78; of its log lines exactly one is an error, and it has all these words in it. */
static void assert_refuses(struct pair *p, const char *program, const char *option, const char *const *words)
{
    struct errors errors = {0};
    struct process *daemon = &p->more[0];
    char log[PATH_SIZE];

    snprintf(log, sizeof log, "%s/refused.log", p->dir);
    file_write(log, "");
    pair_start_program(p, daemon, "refused", program, option);
    int status = process_wait(daemon);
    file_each_json(daemon->log, take_error, &errors);
    if (status != 78 || errors.count != 1)
        fail_msg("%s %s: status %d, %zu errors, the last: %s", program, option, status, errors.count,
                 errors.text);
    for (; *words != NULL; words++) {
        if (strstr(errors.text, *words) == NULL)
            fail_msg("%s %s: \"%s\" is not in: %s", program, option, *words, errors.text);
    }
}

static void assert_both_refuse(struct pair *p, const char *option, const char *const *words)
{
    assert_refuses(p, "agwb-publisher", option, words);
    assert_refuses(p, "agwb-consumer", option, words);
}

static void test_start_wrong_broker_credentials(struct pair *p)
{
    assert_both_refuse(p, "rabbitmq.password=wrong", (const char *const[]){"login", "ACCESS_REFUSED", NULL});
    assert_both_refuse(p, "rabbitmq.vhost=nowhere", (const char *const[]){"nowhere", NULL});
}

static void test_start_wrong_database(struct pair *p)
{
    char url[400];
    const char *slash = strrchr(p->url, '/');
    snprintf(url, sizeof url, "database.url=%.*s/nowhere?sslmode=disable", (int)(slash - p->url), p->url);
    assert_both_refuse(p, url, (const char *const[]){"nowhere", "does not exist", NULL});
    const char *at = strchr(p->url, '@');
    snprintf(url, sizeof url, "database.url=postgresql://nobody%s", at);
    assert_both_refuse(p, url, (const char *const[]){"nobody", "does not exist", NULL});
}

/* The sandbox's server asks one role only for its password. It is neither's own, but a member of both. */
static void test_start_wrong_database_password(struct pair *p)
{
    static const char secret[] = "n0t-the-password";
    const char *at = strchr(p->url, '@');
    char url[400];
    struct buf log;

    sql_run(p, "drop role if exists with_password");
    sql_run(p, "create role with_password login password 'correct' in role agwb_publisher, agwb_consumer");
    snprintf(url, sizeof url, "database.url=postgresql://with_password:%s%s", secret, at);
    assert_both_refuse(
        p, url, (const char *const[]){"127.0.0.1", "password authentication failed", "with_password", NULL});
    file_read(p->more[0].log, &log);
    assert_null(strstr(buf_str(&log), secret));
    buf_fini(&log);
    snprintf(url, sizeof url, "database.url=postgresql://with_password%s", at);
    assert_both_refuse(p, url, (const char *const[]){"no password supplied", NULL});

    snprintf(url, sizeof url, "database.url=postgresql://with_password:correct%s", at);
    pair_set(p, url);
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    sql_run(p, "alter role with_password password 'changed'"); /* while they run: that may be put right */
    sql_run(p, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'with_password'");
    WAIT_UNTIL(!pair_is_ready(&p->publisher, p->publisher_port) &&
               !pair_is_ready(&p->consumer, p->consumer_port));
    sql_run(p, "alter role with_password password 'correct'");
    WAIT_UNTIL(flow_is_ready(p));
    assert_int_equal(process_end(&p->publisher), 0);
    assert_int_equal(process_end(&p->consumer), 0);
    sql_run(p, "drop role with_password");
}

static void test_start_missing_migration(struct pair *p)
{
    sql_run(p,
            "delete from agwb.schema_version where version = (select max(version) from agwb.schema_version)");
    assert_both_refuse(p, NULL, (const char *const[]){"version", "agwb-publisher migrate", NULL});
    sql_run(p, "drop schema agwb cascade");
    assert_both_refuse(p, NULL, (const char *const[]){"schema_version", "agwb-publisher migrate", NULL});
}

/* A check that the server cuts off, though the connection stays, is made again. */
static void test_start_schema_is_locked(struct pair *p)
{
    struct db_session *lock = sql_session(p);

    sql_session_run(lock, "begin; lock table agwb.schema_version");
    pair_set(p, "database.statement_timeout_ms=200");
    pair_start_publisher(p);
    pair_start_consumer(p);
    WAIT_UNTIL(log_count(&p->publisher, "could not check the schema, will try again", NULL, NULL) > 0 &&
               log_count(&p->consumer, "could not check the schema, will try again", NULL, NULL) > 0);
    sql_session_undo(&lock);
    WAIT_UNTIL(flow_is_ready(p));
}

/* The commands of a migrated database: again is no fault, and a missing part comes back. */
static void test_start_migrate_again(struct pair *p)
{
    struct buf out;
    job_add(p, 1, "kept");
    sql_run(p, "drop schema agwb cascade");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out), 0);
        assert_non_null(strstr(buf_str(&out), "schema is at version"));
        assert_int_equal(strstr(buf_str(&out), "applied") != NULL, i == 0);
        buf_fini(&out);
    }
    assert_int_equal(job_count(p, "status = 'pending'"), 1);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(job_count(p, "published_at is not null") == 1);
}

/* A file that has changed since is applied again, and no other; what a newer program made is left alone. */
static void test_start_migrate_changed_files(struct pair *p)
{
    static const char *const argv[] = {"migrate", NULL};
    struct buf out;

    sql_run(p, "create or replace function agwb.job_priority(p_conversation conversations, p_workspace uuid) "
               "returns integer language sql as 'select 42'");
    sql_run(p, "update agwb.schema_version set digest = 'older', applied_at = 'epoch' where name = 'inbox'");
    assert_int_equal(pair_command(p, "agwb-publisher", argv, &out), 0);
    assert_non_null(strstr(buf_str(&out), "applied migration 007_inbox\nschema is at version"));
    assert_ptr_equal(strstr(buf_str(&out), "applied"), buf_str(&out));
    buf_fini(&out);
    assert_int_equal(sql_int(p, "select agwb.job_priority(null, null)"), 5);
    assert_int_equal(
        sql_int(p,
                "select count(*) from agwb.schema_version where digest ~ '^[0-9a-f]{64}$' and applied_at > "
                "now() - interval '1 hour'"),
        sql_int(p, "select count(*) from agwb.schema_version"));

    sql_run(p, "insert into agwb.schema_version (version, name) values (1000, 'future')");
    sql_run(p, "update agwb.schema_version set digest = 'newer' where name = 'inbox'");
    assert_int_equal(pair_command(p, "agwb-publisher", argv, &out), 0);
    assert_non_null(strstr(buf_str(&out), "schema is at version 1000, newer than this program's"));
    assert_null(strstr(buf_str(&out), "applied"));
    buf_fini(&out);
}

static void test_start_migrate_refused_by_a_constraint(struct pair *p)
{
    struct buf out;
    sql_run(p, "alter table ai_response_queue add constraint only_these check (status in ('pending', "
               "'processing', 'completed'))");
    assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out),
                     0); /* nothing is missing */
    buf_fini(&out);
    sql_run(p, "drop schema agwb cascade");
    assert_int_equal(pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out), 78);
    buf_fini(&out);
    file_read(p->more[0].log, &out);
    assert_non_null(strstr(buf_str(&out), "only_these"));
    buf_fini(&out);
}

static void declare(struct pair *p, const char *queue, const char *arguments)
{
    struct json *ignored = wire_python(p, (const char *const[]){"declare", queue, arguments, NULL});
    json_free(&ignored);
}

/* An agent was here first and declared its queue as the specification says (which of the differences RabbitMQ
 * names is its business), or somebody with another TTL. Nothing is deleted. */
static void test_start_foreign_queue(struct pair *p)
{
    declare(p, "ag_queue", "{\"x-message-ttl\":300000,\"x-dead-letter-exchange\":\"dlx_agent\"}");
    wire_publish(p, "ag_queue", "kept", "{}");
    assert_both_refuse(
        p, NULL,
        (const char *const[]){"queue 'ag_queue' exists with x-", "is wanted", "nothing was changed", NULL});
    declare(p, "other", "{\"x-message-ttl\":1000,\"x-dead-letter-exchange\":\"dlx_agent\"}");
    pair_set(p, "topology.queue_type=classic");
    assert_both_refuse(
        p, "topology.agent_queue=other",
        (const char *const[]){"queue 'other' exists with x-message-ttl = 1000", "300000 is wanted", NULL});
    assert_int_equal(wire_count(p, "ag_queue"), 1);
    assert_int_equal(wire_count(p, "other"), 0);
    pair_start_publisher_ready(p); /* classic, as it is */
}

static void test_start_passive_needs_the_queues(struct pair *p)
{
    pair_set(p, "topology.mode=passive");
    assert_both_refuse(p, NULL, (const char *const[]){"dlx_agent", "404", NULL});
}

static void test_start_bad_configuration(struct pair *p)
{
    struct buf config;
    file_read(p->config, &config);
    buf_add_str(&config, "agent: { retry_errors = 1; };\n");
    file_write(p->config, buf_str(&config));
    assert_both_refuse(p, NULL, (const char *const[]){"agwb.cfg:", "agent.retry_errors", NULL});
    buf_fini(&config);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_start_wrong_broker_credentials),
        PAIR_TEST(test_start_wrong_database),
        PAIR_TEST(test_start_wrong_database_password),
        PAIR_TEST(test_start_missing_migration),
        PAIR_TEST(test_start_schema_is_locked),
        PAIR_TEST(test_start_migrate_again),
        PAIR_TEST(test_start_migrate_changed_files),
        PAIR_TEST(test_start_migrate_refused_by_a_constraint),
        PAIR_TEST(test_start_foreign_queue),
        PAIR_TEST(test_start_passive_needs_the_queues),
        PAIR_TEST(test_start_bad_configuration),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
