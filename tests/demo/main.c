/* The demo's own program: `script` writes what the stand-in agent has to do, `play` makes the traffic and
 * shows it, `check` does the sums. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/demo/check.h"
#include "tests/demo/play.h"

static const char USAGE[] =
    "usage: demo COMMAND N [OPTIONS]\n"
    "  script N     print the stand-in agent's script\n"
    "  play N --provider-journal FILE --agent-journal FILE\n"
    "  check N --provider-journal FILE --agent-journal FILE --publisher-status S --consumer-status S\n"
    "N is the number of inbound messages. The servers are $AGWB_TEST_AMQP and $AGWB_TEST_DATABASE_URL.\n";

struct options {
    const char *command;
    size_t count;
    const char *provider_journal, *agent_journal;
    int publisher_status, consumer_status;
};

static int parse_number(const char *text, long min, long max, long *value)
{
    char *end = NULL;

    *value = strtol(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *value >= min && *value <= max ? 0 : -1;
}

static int set_option(struct options *o, int option, const char *value)
{
    long n;

    switch (option) {
    case 'p':
        o->provider_journal = value;
        return 0;
    case 'a':
        o->agent_journal = value;
        return 0;
    case 'P':
    case 'C':
        if (parse_number(value, 0, 255, &n) != 0)
            return -1;
        *(option == 'P' ? &o->publisher_status : &o->consumer_status) = (int)n;
        return 0;
    default:
        return -1;
    }
}

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"provider-journal", required_argument, NULL, 'p'},
        {"agent-journal", required_argument, NULL, 'a'},
        {"publisher-status", required_argument, NULL, 'P'},
        {"consumer-status", required_argument, NULL, 'C'},
        {NULL, 0, NULL, 0},
    };
    long count;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (set_option(o, option, optarg) != 0)
            return -1;
    }
    if (argc - optind != 2 || parse_number(argv[optind + 1], PLAN_MIN, PLAN_MAX, &count) != 0)
        return -1;
    o->command = argv[optind];
    o->count = (size_t)count;
    return strcmp(o->command, "script") == 0 || (o->provider_journal && o->agent_journal) ? 0 : -1;
}

static int print_script(const struct plan *p)
{
    struct buf script;

    buf_init(&script, 4096);
    plan_write_agent_script(p, &script);
    fputs(buf_str(&script), stdout);
    buf_fini(&script);
    return fflush(stdout) == 0 ? 0 : -1;
}

static int open_servers(struct scene *scene, struct err *e)
{
    const char *amqp = getenv("AGWB_TEST_AMQP");
    const struct db_settings db = {
        .url = getenv("AGWB_TEST_DATABASE_URL"), .connect_timeout_ms = 5000, .application_name = "demo"};
    const struct broker_settings broker = {.hosts = &amqp,
                                           .host_count = 1,
                                           .user = "guest",
                                           .password = "guest",
                                           .vhost = "/",
                                           .connect_timeout_ms = 5000,
                                           .connection_name = "demo",
                                           .max_body_bytes = 1 << 20};

    if (amqp == NULL || db.url == NULL)
        return err_set(e, ERR_USAGE, 0,
                       "AGWB_TEST_AMQP and AGWB_TEST_DATABASE_URL are not set: run it by `make demo`");
    scene->db = db_session_open(&db, e);
    if (scene->db == NULL)
        return -1;
    scene->broker = broker_session_open(&broker, e);
    return scene->broker != NULL ? 0 : -1;
}

static int run_command(const struct options *o, struct scene *scene, struct err *e)
{
    bool good = true;

    if (open_servers(scene, e) != 0)
        return -1;
    if (strcmp(o->command, "play") == 0)
        return play(scene, e);
    if (strcmp(o->command, "check") != 0)
        return err_set(e, ERR_USAGE, 0, "unknown command %s", o->command);
    if (check(scene, o->publisher_status, o->consumer_status, &good, e) != 0)
        return -1;
    return good ? 0 : err_set(e, ERR_DATA, 0, "the numbers do not add up");
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct plan plan;
    struct err e = {0};

    if (parse_options(argc, argv, &o) != 0) {
        fputs(USAGE, stderr);
        return 64;
    }
    log_configure("demo", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    plan_init(&plan, o.count);
    if (strcmp(o.command, "script") == 0)
        return print_script(&plan) == 0 ? 0 : 1;

    struct scene scene = {.plan = &plan,
                          .screen = screen_new(),
                          .provider_journal = o.provider_journal,
                          .agent_journal = o.agent_journal};
    int rc = run_command(&o, &scene, &e);
    if (rc != 0)
        screen_say(scene.screen, SCREEN_BAD, "demo: %s", e.text);
    screen_free(&scene.screen);
    db_session_close(&scene.db);
    broker_session_close(&scene.broker);
    log_flush();
    return rc == 0 ? 0 : err_exit_status(&e);
}
