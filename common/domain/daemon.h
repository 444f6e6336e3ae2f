/* What both programs do alike: the command line, configuration, logging, signals, readiness and watchdog
 * to the service manager, reload, drain and the exit status. Knows nothing of either daemon's work. */
#ifndef AGWB_DOMAIN_DAEMON_H
#define AGWB_DOMAIN_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/metrics.h"
#include "domain/config.h"
#include "io/loop.h"

struct daemon;

/* What a running daemon gives its work. */
struct daemon_handlers {
    /* Sets up the work on daemon_loop(); errors end start-up with their exit status. *work is passed to
     * the others. */
    int (*start)(struct daemon *d, void **work, struct err *e);
    /* Drain: stop intake, finish what is in flight, then call daemon_finished(). Called once. */
    void (*drain)(void *work);
    /* Frees the work, once, whatever ended it: after daemon_finished() or daemon_fail(), when the drain
     * timeout passed or a second signal came (nothing more is waited for then), and after a start that
     * failed with *work set. The loop does not turn again. */
    void (*stop)(void **work);
    /* The reloadable options of daemon_config() have changed. */
    void (*reloaded)(void *work);
    bool (*ready)(void *work, struct buf *why); /* for /readyz */
    void (*metrics)(void *work);                /* refresh gauges before a scrape; may be NULL */
};

struct daemon_command {
    const char *
        name; /* "migrate"; the command "run" is built in and the default; so are "check" and "healthcheck" */
    const char *summary; /* for --help */
    /* Blocking; args are what follows the command's name. Prints to stdout, returns 0 or -1 and err. */
    int (*run)(const struct config *c, int argc, char **argv, struct err *e);
};

struct daemon_program {
    const char *name; /* "agwb-publisher" */
    const char *about;
    const struct daemon_command *commands;
    size_t command_count;
    struct daemon_handlers handlers;
    const char *(*metrics_listen)(const struct config *c);
    /* Extra checks of the configuration that only this program can make (providers it has); may be NULL. */
    int (*check)(const struct config *c, struct err *e);
};

/* The whole program: returns the exit status for main(). Errors are printed as one line "agwb-publisher:
 * ..." on stderr (run: as a log event). */
int daemon_main(const struct daemon_program *p, int argc, char **argv);

/* --- for the work, while running --- */
struct loop *daemon_loop(struct daemon *d);
const struct config *daemon_config(
    struct daemon *d); /* stays valid; reloadable scalars change in place between turns */
struct metrics *daemon_metrics(struct daemon *d);
/* The work is usable for the first time: READY=1. Later calls only update the status line. */
void daemon_ready(struct daemon *d, const char *status);
/* A fault that ends the process: drains nothing, exits with the error's status after this turn. */
void daemon_fail(struct daemon *d, const struct err *e);
/* Drain is complete. */
void daemon_finished(struct daemon *d);
bool daemon_is_draining(const struct daemon *d);

#endif
