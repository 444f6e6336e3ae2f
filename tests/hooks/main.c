/* The stand-in for what posts webhooks: people who write, and providers who report. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "tests/hooks/follow.h"

static const char USAGE[] =
    "usage: hooks message PROVIDER --database URL --from NUMBER --text TEXT [--id ID] [--name NAME]\n"
    "       hooks follow --database URL --journal FILE [--up-to sent|delivered|read] [--disorder]\n"
    "                    [--fail TEXT=CODE]...\n"
    "  both:         [--secret SECRET] signs them; [--url URL] is what Twilio calls\n"
    "  message       stores one message of a person as PROVIDER would post it, and prints its id\n"
    "  follow        reports on each message that the stand-in provider takes, until SIGTERM; prints "
    "\"ready\"\n"
    "  --fail T=C    messages that contain T fail with code C in the end; with code 0 nothing is said of "
    "them\n"
    "  --disorder    each report twice, the last one first\n"
    "PROVIDER: whatsapp_cloud, wasender, evolution, waha, twilio, twilio-whatsapp, instagram\n";

struct options {
    const char *command, *provider, *database;
    struct hook_message message;
    struct follow_settings follow;
    const char *secret, *url;
};

static int add_rule(struct follow_settings *s, char *rule)
{
    char *equals = strrchr(rule, '=');
    char *end = NULL;

    if (equals == NULL || s->rule_count == FOLLOW_MAX_RULES)
        return -1;
    *equals = '\0';
    s->rules[s->rule_count].text = rule;
    s->rules[s->rule_count].code = strtoll(equals + 1, &end, 10);
    s->rule_count++;
    return equals[1] != '\0' && *end == '\0' ? 0 : -1;
}

static int set_option(struct options *o, int option, char *value)
{
    switch (option) {
    case 'd':
        o->database = value;
        return 0;
    case 'n':
        o->message.number = value;
        return 0;
    case 't':
        o->message.text = value;
        return 0;
    case 'i':
        o->message.id = value;
        return 0;
    case 'm':
        o->message.name = value;
        return 0;
    case 'j':
        o->follow.journal = value;
        return 0;
    case 'u':
        o->follow.up_to = hook_status_of(value);
        return o->follow.up_to < HOOK_FAILED ? 0 : -1;
    case 'x':
        o->follow.disorder = true;
        return 0;
    case 'f':
        return add_rule(&o->follow, value);
    case 's':
        o->secret = value;
        return 0;
    case 'l':
        o->url = value;
        return 0;
    default:
        return -1;
    }
}

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"database", required_argument, NULL, 'd'}, {"from", required_argument, NULL, 'n'},
        {"text", required_argument, NULL, 't'},     {"id", required_argument, NULL, 'i'},
        {"name", required_argument, NULL, 'm'},     {"journal", required_argument, NULL, 'j'},
        {"up-to", required_argument, NULL, 'u'},    {"disorder", no_argument, NULL, 'x'},
        {"fail", required_argument, NULL, 'f'},     {"secret", required_argument, NULL, 's'},
        {"url", required_argument, NULL, 'l'},      {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (set_option(o, option, optarg) != 0)
            return -1;
    }
    if (optind == argc || o->database == NULL)
        return -1;
    o->command = argv[optind++];
    if (strcmp(o->command, "follow") == 0)
        return optind == argc && o->follow.journal != NULL ? 0 : -1;
    o->provider = optind < argc ? argv[optind++] : "";
    return strcmp(o->command, "message") == 0 && optind == argc && hook_find(o->provider) != NULL &&
                   o->message.number != NULL && o->message.text != NULL
               ? 0
               : -1;
}

static int store_message(const struct options *o, struct front *f, struct err *e)
{
    const struct hook_provider *p = hook_find(o->provider);
    struct hook_message m = o->message;
    char id[UUID_TEXT_LEN + 1];
    struct buf body;

    if (m.id == NULL) {
        uuid_v4(id);
        m.id = id;
    }
    m.at_ms = clock_wall_ms();
    buf_init(&body, 8 << 20);
    p->write_message(&m, &body);
    int rc = front_store(f, p, &body, e);
    buf_fini(&body);
    if (rc == 0)
        printf("%s\n", m.id);
    return rc;
}

static int follow_journal(const struct options *o, struct front *f, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int stop_fd = signalfd(-1, &set, SFD_CLOEXEC);
    puts("ready");
    fflush(stdout);
    int rc = follow(&o->follow, f, stop_fd, e);
    close(stop_fd);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.message = {.name = "Ann Example"},
                        .follow = {.up_to = HOOK_READ},
                        .secret = "",
                        .url = "https://example.com/webhooks/twilio"};
    struct err e = {0};

    if (parse_options(argc, argv, &o) != 0) {
        fputs(USAGE, stderr);
        return 64;
    }
    const struct db_settings settings = {
        .url = o.database, .connect_timeout_ms = 5000, .application_name = "hooks"};
    struct front front = {.db = db_session_open(&settings, &e), .secret = o.secret, .url = o.url};
    int rc = front.db == NULL                    ? -1
             : strcmp(o.command, "message") == 0 ? store_message(&o, &front, &e)
                                                 : follow_journal(&o, &front, &e);
    db_session_close(&front.db);
    if (rc != 0)
        fprintf(stderr, "hooks: %s\n", e.text);
    return rc == 0 ? 0 : err_exit_status(&e);
}
