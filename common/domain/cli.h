/* The command line both programs share: [-c FILE] [--set group.key=value]... [COMMAND] [ARGS]. */
#ifndef AGWB_DOMAIN_CLI_H
#define AGWB_DOMAIN_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "domain/config.h"
#include "domain/daemon.h"

enum { CLI_MAX_SETS = 64 };

#define CLI_DEFAULT_FILE "/etc/agwb/agwb.cfg"

struct cli { /* strings are argv's */
    bool help, version;
    const char *file; /* NULL when not given */
    const char *sets[CLI_MAX_SETS];
    size_t set_count;
    const char *command; /* "run" when not given */
    int argc;            /* what follows the command's name */
    char **argv;
};

/* 0, or -1 and ERR_USAGE. Does not know which commands there are. */
int cli_parse(int argc, char **argv, struct cli *cli, struct err *e) MUST_CHECK;

/* Where the configuration comes from: -c, else AGWB_CONFIG, else the default file if it is there. *s borrows
 * from cli and environment. */
void cli_config_source(const struct cli *cli, char *const *environment, struct config_source *s);

/* The program's own command of that name, or NULL. */
const struct daemon_command *cli_find_command(const struct daemon_program *p, const char *name);

void cli_write_help(const struct daemon_program *p, struct buf *out);

#endif
