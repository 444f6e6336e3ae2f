/* What both programs do alike, from main() to the exit status. One machine of four phases:
 *
 *   STARTING --start() succeeded--> RUNNING --SIGTERM, SIGINT--> DRAINING --daemon_finished()--> ENDED (0)
 *                                                                DRAINING --timeout, second signal--> ENDED
 * (75) any phase --daemon_fail()--> ENDED (the error's status); RUNNING --daemon_finished()--> ENDED (0)
 *
 * STARTING waits for nothing; RUNNING waits for signals, without a deadline; DRAINING for daemon_finished(),
 * its deadline is daemon.drain_timeout_ms. ENDED leaves the loop after the turn. */
#include "domain/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "domain/cli.h"
#include "io/status_server.h"

enum phase { PHASE_STARTING = 0, PHASE_RUNNING, PHASE_DRAINING, PHASE_ENDED };

struct daemon {
    const struct daemon_program *program;
    const struct config_source *source;
    struct config *config;
    struct loop *loop;
    struct metrics *metrics;
    struct status_server *status_server;
    struct loop_timer *drain_timer, *watchdog_timer;
    int64_t watchdog_ms; /* between two signs of life */
    void *work;
    enum phase phase;
    bool announced;     /* READY=1 was sent */
    const char *reason; /* why it ended: static */
    int status;
};

static const struct metric_family build_info = {
    .name = "agwb_build_info",
    .help = "The running version; always 1.",
    .kind = METRIC_GAUGE,
    .labels = {"version"},
};
static const struct metric_family start_time = {
    .name = "agwb_start_time_seconds",
    .help = "When the process started, in Unix seconds.",
    .kind = METRIC_GAUGE,
};
static const struct metric_family ready = {
    .name = "agwb_ready",
    .help = "1 while /readyz answers 200; 0 while it says what is missing.",
    .kind = METRIC_GAUGE,
};

/* --- phases --- */
static const struct {
    const char *name;
    unsigned next; /* bits of the phases that may follow */
} phases[] = {
    [PHASE_STARTING] = {"starting", 1U << PHASE_RUNNING | 1U << PHASE_ENDED},
    [PHASE_RUNNING] = {"running", 1U << PHASE_DRAINING | 1U << PHASE_ENDED},
    [PHASE_DRAINING] = {"draining", 1U << PHASE_ENDED},
    [PHASE_ENDED] = {"ended", 0},
};

/* The one place that moves the phase; false when that move does not exist, as for whatever comes after the
 * end. */
static bool move_to(struct daemon *d, enum phase next)
{
    if (!(phases[d->phase].next & 1U << next))
        return false;
    log_debug("phase", log_str("from", phases[d->phase].name), log_str("to", phases[next].name));
    d->phase = next;
    return true;
}

static void end(struct daemon *d, const char *reason, int status)
{
    if (!move_to(d, PHASE_ENDED))
        return;
    d->reason = reason;
    d->status = status;
    loop_stop(d->loop);
}

static int temporary_status(void)
{
    return err_exit_status(&(struct err){.class = ERR_TEMPORARY});
}

static void on_drain_timeout(void *arg)
{
    end(arg, "drain timeout", temporary_status());
}

static void begin_drain(struct daemon *d, int signo)
{
    if (!move_to(d, PHASE_DRAINING))
        return;
    log_info("draining", log_str("signal", sigabbrev_np(signo)),
             log_int("timeout_ms", d->config->daemon.drain_timeout_ms));
    (void)sd_notify(0, "STOPPING=1\nSTATUS=draining");
    loop_timer_start(d->drain_timer, d->config->daemon.drain_timeout_ms);
    d->program->handlers.drain(d->work);
}

static void on_stop_signal(void *arg, int signo)
{
    struct daemon *d = arg;
    switch (d->phase) {
    case PHASE_RUNNING:
        begin_drain(d, signo);
        return;
    case PHASE_DRAINING:
        end(d, "second signal", temporary_status());
        return;
    case PHASE_STARTING:
    case PHASE_ENDED:
        return;
    }
}

/* --- reload --- */
static int load_config(const struct daemon_program *p, const struct config_source *s, struct config **c,
                       struct err *e)
{
    *c = config_load(s, e);
    if (!*c)
        return -1;
    if (!p->check || p->check(*c, e) == 0)
        return 0;
    config_free(c);
    return -1;
}

static void reload(struct daemon *d)
{
    char restart[512];
    struct config *fresh;
    struct err e = {0};
    if (load_config(d->program, d->source, &fresh, &e) < 0) {
        log_error("reload refused, the old configuration stays", log_str("error", e.text));
        return;
    }
    config_reload(d->config, fresh, restart, sizeof restart);
    config_free(&fresh);
    log_configure(d->program->name, d->config->log.level, d->config->log.format);
    d->program->handlers.reloaded(d->work);
    log_info("configuration reloaded", log_str("needs_restart", *restart ? restart : NULL));
}

static void on_reload_signal(void *arg, int signo)
{
    struct daemon *d = arg;
    (void)signo;
    if (d->phase != PHASE_RUNNING)
        return;
    /* A READY=1 that only ends the reload would also announce a daemon that is not ready yet. */
    if (d->announced)
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
    reload(d);
    if (d->announced)
        (void)sd_notify(0, "READY=1");
}

/* --- status and watchdog --- */
static bool on_ready(void *arg, struct buf *why)
{
    struct daemon *d = arg;
    if (d->phase == PHASE_RUNNING)
        return d->program->handlers.ready(d->work, why);
    buf_add_str(why, phases[d->phase].name);
    return false;
}

static void on_metrics(void *arg, struct buf *out)
{
    struct daemon *d = arg;
    struct buf why;
    buf_init(&why, 1 << 16);
    metric_set(d->metrics, &ready, on_ready(d, &why) ? 1 : 0, NULL, NULL);
    buf_fini(&why);
    if (d->program->handlers.metrics)
        d->program->handlers.metrics(d->work);
    metrics_write(d->metrics, out);
}

/* Fires from the loop, so that a loop that hangs is silent. */
static void on_watchdog(void *arg)
{
    struct daemon *d = arg;
    (void)sd_notify(0, "WATCHDOG=1");
    loop_timer_start(d->watchdog_timer, d->watchdog_ms);
}

static void start_watchdog(struct daemon *d)
{
    uint64_t interval_us;
    if (!d->config->daemon.watchdog || sd_watchdog_enabled(0, &interval_us) <= 0)
        return;
    d->watchdog_ms = (int64_t)(interval_us / 2000);
    on_watchdog(d);
}

static void start_status_server(struct daemon *d)
{
    static const struct status_handlers handlers = {.metrics = on_metrics, .ready = on_ready};
    struct err e = {0};
    const char *listen = d->program->metrics_listen(d->config);
    d->status_server = status_server_new(d->loop, listen, &handlers, d, &e);
    if (!d->status_server && e.class != ERR_NONE)
        log_warn("no status server, going on without", log_str("listen", listen), log_str("error", e.text));
}

/* --- run --- */
static void set_up(struct daemon *d)
{
    d->loop = loop_new();
    d->metrics = metrics_new();
    metrics_register(d->metrics, &build_info);
    metric_set(d->metrics, &build_info, 1, AGWB_VERSION, NULL);
    metrics_register(d->metrics, &start_time);
    metric_set(d->metrics, &start_time, (double)clock_wall_ms() / 1000.0, NULL, NULL);
    metrics_register(d->metrics, &ready);
    d->drain_timer = loop_timer_new(d->loop, on_drain_timeout, d);
    d->watchdog_timer = loop_timer_new(d->loop, on_watchdog, d);
    loop_on_signal(d->loop, SIGTERM, on_stop_signal, d);
    loop_on_signal(d->loop, SIGINT, on_stop_signal, d);
    loop_on_signal(d->loop, SIGHUP, on_reload_signal, d);
    start_status_server(d);
    start_watchdog(d);
}

/* The server goes first: it asks the work. */
static void tear_down(struct daemon *d)
{
    status_server_free(&d->status_server);
    if (d->work)
        d->program->handlers.stop(&d->work);
    loop_timer_free(&d->drain_timer);
    loop_timer_free(&d->watchdog_timer);
    loop_free(&d->loop);
    metrics_free(&d->metrics);
    config_free(&d->config);
}

static int run(const struct daemon_program *p, const struct config_source *s, struct config *c)
{
    struct daemon d = {.program = p, .source = s, .config = c};
    struct err e = {0};
    log_configure(p->name, c->log.level, c->log.format);
    log_info("starting", log_str("version", AGWB_VERSION), log_int("pid", getpid()),
             log_str("config", s->file_optional && access(s->file, F_OK) != 0 ? NULL : s->file));
    set_up(&d);
    if (p->handlers.start(&d, &d.work, &e) < 0) {
        log_error("cannot start", log_str("error", e.text));
        end(&d, err_class_name(e.class), err_exit_status(&e));
    }
    if (move_to(&d, PHASE_RUNNING))
        loop_run(d.loop);
    (void)sd_notify(0, "STOPPING=1");
    tear_down(&d);
    log_info("ended", log_str("reason", d.reason), log_int("status", d.status));
    log_flush();
    return d.status;
}

/* --- the other built-in commands --- */
static int check(const struct config_source *s, const struct config *c, bool verbose)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    if (verbose)
        config_print(c, &text);
    (void)fwrite(text.data ? text.data : "", 1, text.len, stdout);
    buf_fini(&text);
    bool has_file = !s->file_optional || access(s->file, F_OK) == 0;
    printf("%s%s: ok\n", verbose ? "# " : "", has_file ? s->file : "defaults and environment");
    return 0;
}

static int print_help(const struct daemon_program *p)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    cli_write_help(p, &text);
    (void)fwrite(text.data, 1, text.len, stdout);
    buf_fini(&text);
    return 0;
}

/* --- main --- */
/* The configuration holds tokens: no core dump, no reading of our memory by others of the same user. */
static void guard_process(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static int say(const struct daemon_program *p, const struct err *e)
{
    log_flush();
    (void)fprintf(stderr, "%s%s: %s\n", log_error_prefix(), p->name, e->text);
    return err_exit_status(e);
}

static bool is_builtin(const char *name)
{
    return strcmp(name, "run") == 0 || strcmp(name, "check") == 0 || strcmp(name, "healthcheck") == 0;
}

/* Built-in commands take no arguments, but for `check -v`. */
static int check_usage(const struct daemon_program *p, const struct cli *cli, struct err *e)
{
    if (!is_builtin(cli->command))
        return cli_find_command(p, cli->command)
                   ? 0
                   : err_set(e, ERR_USAGE, 0, "unknown command %.60s (see --help)", cli->command);
    bool is_verbose_check =
        cli->argc == 1 && strcmp(cli->command, "check") == 0 && strcmp(cli->argv[0], "-v") == 0;
    if (cli->argc == 0 || is_verbose_check)
        return 0;
    return err_set(e, ERR_USAGE, 0, "unexpected argument %.60s after %s (options go before the command)",
                   cli->argv[0], cli->command);
}

static int run_command(const struct daemon_program *p, const struct cli *cli, const struct config_source *s,
                       const struct config *c)
{
    struct err e = {0};
    const struct daemon_command *command = cli_find_command(p, cli->command);
    log_configure(p->name, c->log.level, c->log.format);
    int rc;
    if (strcmp(cli->command, "check") == 0)
        rc = check(s, c, cli->argc > 0);
    else if (strcmp(cli->command, "healthcheck") == 0)
        rc = status_server_probe(p->metrics_listen(c), "/readyz", 3000, &e);
    else
        rc = command->run(c, cli->argc, cli->argv, &e);
    if (rc == 0 && fflush(stdout) != 0)
        rc = err_set(&e, ERR_TEMPORARY, errno, "cannot write to standard output: %s", strerror(errno));
    log_flush();
    return rc == 0 ? 0 : say(p, &e);
}

int daemon_main(const struct daemon_program *p, int argc, char **argv)
{
    struct cli cli;
    struct config_source source;
    struct config *config;
    struct err e = {0};
    guard_process();
    log_configure(p->name, LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    if (cli_parse(argc, argv, &cli, &e) < 0)
        return say(p, &e);
    if (cli.help)
        return print_help(p);
    if (cli.version)
        return printf("%s %s\n", p->name, AGWB_VERSION) < 0;
    if (check_usage(p, &cli, &e) < 0)
        return say(p, &e);

    bool is_run = strcmp(cli.command, "run") == 0;
    cli_config_source(&cli, environ, &source);
    if (load_config(p, &source, &config, &e) < 0) {
        if (!is_run)
            return say(p, &e);
        log_error("cannot start", log_str("error", e.text));
        log_flush();
        return err_exit_status(&e);
    }
    if (is_run)
        return run(p, &source, config);
    int status = run_command(p, &cli, &source, config);
    config_free(&config);
    return status;
}

/* --- for the work --- */
struct loop *daemon_loop(struct daemon *d)
{
    return d->loop;
}

const struct config *daemon_config(struct daemon *d)
{
    return d->config;
}

struct metrics *daemon_metrics(struct daemon *d)
{
    return d->metrics;
}

void daemon_ready(struct daemon *d, const char *status)
{
    if (d->phase == PHASE_DRAINING || d->phase == PHASE_ENDED)
        return;
    (void)sd_notifyf(0, "%sSTATUS=%s", d->announced ? "" : "READY=1\n", status);
    if (!d->announced)
        log_info("ready", log_str("status", status));
    d->announced = true;
}

void daemon_fail(struct daemon *d, const struct err *e)
{
    if (d->phase == PHASE_ENDED)
        return;
    log_error("cannot go on", log_str("error", e->text));
    end(d, err_class_name(e->class), err_exit_status(e));
}

void daemon_finished(struct daemon *d)
{
    end(d, d->phase == PHASE_DRAINING ? "drained" : "finished", 0);
}

bool daemon_is_draining(const struct daemon *d)
{
    return d->phase == PHASE_DRAINING;
}
