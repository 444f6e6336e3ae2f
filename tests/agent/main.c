/* The stand-in for the AI agent: a program of its own on RabbitMQ, which answers requests as behaviour.h
 * says. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "tests/agent/agent.h"

static const char USAGE[] =
    "usage: agent [OPTIONS]\n"
    "  --host HOST:PORT      broker (default $AGWB_TEST_AMQP, else localhost:5672)\n"
    "  --user, --password, --vhost   (default guest, guest, /)\n"
    "  --agent-queue NAME    requests (default ag_queue); must exist, nothing is declared\n"
    "  --webhook-queue NAME  replies (default wb_queue)\n"
    "  --prefetch N          requests at a time (default 1)\n"
    "  --delay-ms N          thinking time of every request\n"
    "  --reply-id v4|v5      random ids (default), or uuid v5 of the request's id\n"
    "  --repeatable          v5 ids, and replies that depend on nothing but their request: the same bytes "
    "each time\n"
    "  --echo-ids            replies carry workspaceId, conversationId, contactId, channel and deadline\n"
    "  --script FILE         rules; see behaviour.h, also for the markers in a user's text\n"
    "  --journal FILE        append one JSON line per reply or refused request\n"
    "  --count N             end after N requests\n"
    "Prints \"ready\" when it consumes; ends on SIGTERM or SIGINT.\n";

enum option_id {
    OPT_HOST = 1,
    OPT_USER,
    OPT_PASSWORD,
    OPT_VHOST,
    OPT_AGENT_QUEUE,
    OPT_WEBHOOK_QUEUE,
    OPT_PREFETCH,
    OPT_DELAY,
    OPT_REPLY_ID,
    OPT_ECHO,
    OPT_REPEATABLE,
    OPT_SCRIPT,
    OPT_JOURNAL,
    OPT_COUNT,
};

static const struct option OPTIONS[] = {
    {"host", required_argument, NULL, OPT_HOST},
    {"user", required_argument, NULL, OPT_USER},
    {"password", required_argument, NULL, OPT_PASSWORD},
    {"vhost", required_argument, NULL, OPT_VHOST},
    {"agent-queue", required_argument, NULL, OPT_AGENT_QUEUE},
    {"webhook-queue", required_argument, NULL, OPT_WEBHOOK_QUEUE},
    {"prefetch", required_argument, NULL, OPT_PREFETCH},
    {"delay-ms", required_argument, NULL, OPT_DELAY},
    {"reply-id", required_argument, NULL, OPT_REPLY_ID},
    {"echo-ids", no_argument, NULL, OPT_ECHO},
    {"repeatable", no_argument, NULL, OPT_REPEATABLE},
    {"script", required_argument, NULL, OPT_SCRIPT},
    {"journal", required_argument, NULL, OPT_JOURNAL},
    {"count", required_argument, NULL, OPT_COUNT},
    {NULL, 0, NULL, 0},
};

struct options {
    struct agent_settings agent;
    const char *script;
};

static int parse_number(const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end = NULL;

    *value = strtoll(text, &end, 10);
    return *text != '\0' && *end == '\0' && *value >= min && *value <= max ? 0 : -1;
}

static int set_option(struct options *o, enum option_id id, const char *value)
{
    struct agent_settings *a = &o->agent;
    int64_t n = 0;

    switch (id) {
    case OPT_HOST:
        a->host = value;
        return 0;
    case OPT_USER:
        a->user = value;
        return 0;
    case OPT_PASSWORD:
        a->password = value;
        return 0;
    case OPT_VHOST:
        a->vhost = value;
        return 0;
    case OPT_AGENT_QUEUE:
        a->agent_queue = value;
        return 0;
    case OPT_WEBHOOK_QUEUE:
        a->webhook_queue = value;
        return 0;
    case OPT_PREFETCH:
        if (parse_number(value, 1, UINT16_MAX, &n) != 0)
            return -1;
        a->prefetch = (uint16_t)n;
        return 0;
    case OPT_DELAY:
        return parse_number(value, 0, 3600 * 1000, &a->delay_ms);
    case OPT_REPLY_ID:
        a->deterministic_ids = strcmp(value, "v5") == 0;
        return a->deterministic_ids || strcmp(value, "v4") == 0 ? 0 : -1;
    case OPT_ECHO:
        a->echo_ids = true;
        return 0;
    case OPT_REPEATABLE:
        a->deterministic_ids = a->repeatable = true;
        return 0;
    case OPT_SCRIPT:
        o->script = value;
        return 0;
    case OPT_JOURNAL:
        a->journal = value;
        return 0;
    case OPT_COUNT:
        if (parse_number(value, 1, INT64_MAX, &n) != 0)
            return -1;
        a->count = (uint64_t)n;
        return 0;
    }
    return -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
    int c;

    while ((c = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        if (c == '?' || set_option(o, (enum option_id)c, optarg) != 0)
            return -1;
    }
    return optind == argc ? 0 : -1;
}

static int load_script(const char *path, struct behaviour_script **script, struct err *e)
{
    static char text[JSON_MAX_BYTES + 1];
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return err_set(e, ERR_USAGE, 0, "script %s cannot be read", path);
    size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    *script = behaviour_script_parse(text, len, e);
    return *script != NULL ? 0 : err_prefix(e, "script %s", path);
}

static void on_signal(void *arg, int signo)
{
    (void)signo;
    agent_stop(arg);
}

static int run(struct options *o, struct err *e)
{
    if (o->script != NULL && load_script(o->script, &o->agent.script, e) != 0)
        return -1;
    struct loop *l = loop_new();
    struct agent *a = agent_new(l, &o->agent, e);
    if (a != NULL) {
        loop_on_signal(l, SIGTERM, on_signal, a);
        loop_on_signal(l, SIGINT, on_signal, a);
        loop_run(l);
        agent_free(&a);
    }
    loop_free(&l);
    return e->class == ERR_NONE ? 0 : -1;
}

int main(int argc, char **argv)
{
    const char *host = getenv("AGWB_TEST_AMQP");
    struct options o = {.agent = {.host = host != NULL ? host : "localhost:5672",
                                  .user = "guest",
                                  .password = "guest",
                                  .vhost = "/",
                                  .agent_queue = "ag_queue",
                                  .webhook_queue = "wb_queue",
                                  .prefetch = 1}};
    struct err e = {0};

    if (parse_options(argc, argv, &o) != 0) {
        fputs(USAGE, stderr);
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    log_configure("agent", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    int rc = run(&o, &e);
    if (rc != 0)
        fprintf(stderr, "agent: %s\n", e.text);
    behaviour_script_free(&o.agent.script);
    log_flush();
    return rc == 0 ? 0 : err_exit_status(&e);
}
