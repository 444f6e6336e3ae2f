/* The command line. Only takes apart; what a command does is daemon.c's. */
#include "domain/cli.h"

#include <getopt.h>
#include <string.h>

enum { OPTION_SET = 256 };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, OPTION_SET},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static int add_set(struct cli *cli, const char *text, struct err *e)
{
    if (!strchr(text, '='))
        return err_set(e, ERR_USAGE, 0, "--set: expected group.key=value, found \"%.100s\"", text);
    if (cli->set_count == CLI_MAX_SETS)
        return err_set(e, ERR_USAGE, 0, "--set: expected at most %d of them", CLI_MAX_SETS);
    cli->sets[cli->set_count++] = text;
    return 0;
}

static int take_option(struct cli *cli, int option, char **argv, struct err *e)
{
    const char *word = argv[optind - 1];
    switch (option) {
    case 'c':
        cli->file = optarg;
        return 0;
    case OPTION_SET:
        return add_set(cli, optarg, e);
    case 'h':
        cli->help = true;
        return 0;
    case 'V':
        cli->version = true;
        return 0;
    case ':':
        return err_set(e, ERR_USAGE, 0, "option %s needs a value (see --help)", word);
    default: /* getopt's '?' */
        return err_set(e, ERR_USAGE, 0, "unknown option %.100s (see --help)", word);
    }
}

int cli_parse(int argc, char **argv, struct cli *cli, struct err *e)
{
    *cli = (struct cli){.command = "run"};
    optind = 0; /* glibc: start over; "+" stops at the command, "-:" names a missing value */
    opterr = 0;
    int option;
    while ((option = getopt_long(argc, argv, "+:c:hV", long_options, NULL)) != -1) {
        if (take_option(cli, option, argv, e) < 0)
            return -1;
    }
    if (optind < argc)
        cli->command = argv[optind++];
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    return 0;
}

static const char *variable(char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; environment && environment[i]; i++) {
        if (strncmp(environment[i], name, len) == 0 && environment[i][len] == '=' && environment[i][len + 1])
            return environment[i] + len + 1;
    }
    return NULL;
}

void cli_config_source(const struct cli *cli, char *const *environment, struct config_source *s)
{
    const char *file = cli->file ? cli->file : variable(environment, "AGWB_CONFIG");
    *s = (struct config_source){
        .file = file ? file : CLI_DEFAULT_FILE,
        .file_optional = file == NULL,
        .sets = cli->sets,
        .set_count = cli->set_count,
        .environment = environment,
    };
}

const struct daemon_command *cli_find_command(const struct daemon_program *p, const char *name)
{
    for (size_t i = 0; i < p->command_count; i++) {
        if (strcmp(p->commands[i].name, name) == 0)
            return &p->commands[i];
    }
    return NULL;
}

static void write_command(struct buf *out, const char *name, const char *summary)
{
    buf_printf(out, "  %-14s %s\n", name, summary);
}

void cli_write_help(const struct daemon_program *p, struct buf *out)
{
    buf_printf(out,
               "%s: %s\n\nusage: %s [-c FILE] [--set group.key=value]... [COMMAND] [ARGS]\n\ncommands:\n",
               p->name, p->about, p->name);
    write_command(out, "run", "work until SIGTERM (the default); SIGHUP reloads the configuration");
    write_command(out, "check [-v]", "load the configuration and say whether it is good; -v prints it");
    write_command(out, "healthcheck", "ask the running daemon's /readyz");
    for (size_t i = 0; i < p->command_count; i++)
        write_command(out, p->commands[i].name, p->commands[i].summary);
    buf_printf(out,
               "\noptions (before the command):\n"
               "  -c, --config FILE          configuration file; else $AGWB_CONFIG, else %s if it is there\n"
               "      --set group.key=value  one option, over file and environment; may be repeated\n"
               "  -h, --help                 this text\n"
               "  -V, --version              the version\n"
               "\nexit status: 0 done or drained, 64 usage, 69 a needed service is unavailable, 70 our bug,\n"
               "75 temporary (start again), 78 configuration (do not start again)\n",
               CLI_DEFAULT_FILE);
}
