/* The command line, and whole runs of a small program in a child process: signals, readiness as the service
 * manager hears it, reload, drain and exit status. The child is waited for by its notifications, never by
 * time. */
#include "config_fixture.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "domain/cli.h"
#include "domain/daemon.h"
#include "io/status_server.h"

/* --- the command line --- */
enum { MAX_WORDS = 12 };

static int count_words(char **words)
{
    int n = 0;
    while (words[n])
        n++;
    return n;
}

static void test_daemon_cli_parse(void **state)
{
    (void)state;
    static const struct {
        char *argv[MAX_WORDS];
        const char *file, *command, *first_set;
        size_t set_count;
        int argc;
        bool help, version;
    } cases[] = {
        {.argv = {"p"}, .command = "run"},
        {.argv = {"p", "-c", "f"}, .file = "f", .command = "run"},
        {.argv = {"p", "--config=f", "check", "-v"}, .file = "f", .command = "check", .argc = 1},
        {.argv = {"p", "--config", "f", "--", "check"}, .file = "f", .command = "check"},
        {.argv = {"p", "--set", "a.b=c", "--set=d.e=f=g", "stats"},
         .command = "stats",
         .first_set = "a.b=c",
         .set_count = 2},
        {.argv = {"p", "dlq", "list", "-c", "x"}, .command = "dlq", .argc = 3},
        {.argv = {"p", "--help"}, .command = "run", .help = true},
        {.argv = {"p", "-hV", "x"}, .command = "x", .help = true, .version = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cli cli;
        struct err e = {0};
        char *argv[MAX_WORDS];
        memcpy(argv, cases[i].argv, sizeof argv);
        assert_int_equal(cli_parse(count_words(argv), argv, &cli, &e), 0);
        assert_string_equal(cli.command, cases[i].command);
        assert_string_equal(cli.file ? cli.file : "-", cases[i].file ? cases[i].file : "-");
        assert_int_equal(cli.set_count, cases[i].set_count);
        if (cases[i].first_set)
            assert_string_equal(cli.sets[0], cases[i].first_set);
        assert_int_equal(cli.argc, cases[i].argc);
        assert_int_equal(count_words(cli.argv), cases[i].argc);
        assert_int_equal(cli.help, cases[i].help);
        assert_int_equal(cli.version, cases[i].version);
    }
}

static void test_daemon_cli_parse_faults(void **state)
{
    (void)state;
    static const struct {
        char *argv[MAX_WORDS];
        const char *expected;
    } cases[] = {
        {{"p", "-x"}, "unknown option -x"},
        {{"p", "--nonsense", "run"}, "unknown option --nonsense"},
        {{"p", "-c"}, "option -c needs a value"},
        {{"p", "--set"}, "option --set needs a value"},
        {{"p", "--set", "a.b"}, "--set: expected group.key=value, found \"a.b\""},
        {{"p", "--help=yes"}, "unknown option --help=yes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cli cli;
        struct err e = {0};
        char *argv[MAX_WORDS];
        memcpy(argv, cases[i].argv, sizeof argv);
        assert_int_equal(cli_parse(count_words(argv), argv, &cli, &e), -1);
        assert_int_equal(e.class, ERR_USAGE);
        assert_non_null(strstr(e.text, cases[i].expected));
    }
}

static void test_daemon_cli_too_many_sets(void **state)
{
    (void)state;
    char *argv[CLI_MAX_SETS + 3] = {"p"};
    struct cli cli;
    struct err e = {0};
    for (int i = 1; i <= CLI_MAX_SETS + 1; i++)
        argv[i] = "--set=a.b=c";
    assert_int_equal(cli_parse(CLI_MAX_SETS + 1, argv, &cli, &e), 0);
    assert_int_equal(cli_parse(CLI_MAX_SETS + 2, argv, &cli, &e), -1);
    assert_int_equal(e.class, ERR_USAGE);
}

static void test_daemon_cli_config_source(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        char *variable;
        const char *expected;
        bool optional;
    } cases[] = {
        {NULL, "X=1", "/etc/agwb/agwb.cfg", true},
        {NULL, "AGWB_CONFIG=", "/etc/agwb/agwb.cfg", true},
        {NULL, "AGWB_CONFIG=/a", "/a", false},
        {"/b", "AGWB_CONFIG=/a", "/b", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config_source s;
        struct cli cli = {.file = cases[i].file};
        cli_config_source(&cli, ENVIRONMENT(cases[i].variable), &s);
        assert_string_equal(s.file, cases[i].expected);
        assert_int_equal(s.file_optional, cases[i].optional);
    }
}

/* --- a small program --- */
enum behaviour {
    WELL_BEHAVED,
    NEVER_DRAINS,
    FAILS_TO_START,
    FAILS_LATER,
    FAILS_IN_START,
    FINISHES_BY_ITSELF
};

static enum behaviour behaviour; /* set before the fork */

struct work {
    struct daemon *daemon;
    struct loop_timer *timer;
};

static const struct err broken = {.class = ERR_CONFIG, .text = "the queue has other arguments"};

static void on_timer(void *arg)
{
    struct work *w = arg;
    if (behaviour == FAILS_LATER)
        daemon_fail(w->daemon, &broken);
    else
        daemon_finished(w->daemon);
}

static int start(struct daemon *d, void **work, struct err *e)
{
    if (behaviour == FAILS_TO_START)
        return err_set(e, ERR_TEMPORARY, 0, "the database is away");
    struct work *w = calloc(1, sizeof *w);
    w->daemon = d;
    w->timer = loop_timer_new(daemon_loop(d), on_timer, w);
    *work = w;
    if (behaviour == FAILS_IN_START)
        daemon_fail(d, &broken);
    if (behaviour == FAILS_LATER || behaviour == FINISHES_BY_ITSELF)
        loop_timer_start(w->timer, 0);
    daemon_ready(d, "working");
    return 0;
}

static void drain(void *work)
{
    struct work *w = work;
    if (!daemon_is_draining(w->daemon))
        abort();
    if (behaviour != NEVER_DRAINS)
        loop_timer_start(w->timer, 0);
}

static void stop(void **work)
{
    struct work *w = *work;
    loop_timer_free(&w->timer);
    free(w);
    *work = NULL;
    log_info("work freed", log_bool("freed", true));
}

static void reloaded(void *work)
{
    struct work *w = work;
    log_info("work reloaded", log_int("window_ms", daemon_config(w->daemon)->limits.window_ms));
    daemon_ready(w->daemon, "working on");
}

static bool ready(void *work, struct buf *why)
{
    (void)work;
    buf_add_str(why, "never seen");
    return true;
}

static const char *metrics_listen(const struct config *c)
{
    return c->publisher.metrics_listen;
}

static int check(const struct config *c, struct err *e)
{
    if (c->channels.account_count == 0 || strcmp(c->channels.accounts[0].provider, "wasender") == 0)
        return 0;
    return err_set(e, ERR_CONFIG, 0, "account %s: unknown provider", c->channels.accounts[0].name);
}

static int run_echo(const struct config *c, int argc, char **argv, struct err *e)
{
    struct rlimit core;
    if (prctl(PR_GET_DUMPABLE) != 0 || getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0)
        return err_set(e, ERR_BUG, 0, "memory is open");
    if (argc == 0)
        return err_set(e, ERR_UNAVAILABLE, 0, "nobody there");
    printf("%d %s %s\n", argc, argv[0], c->rabbitmq.user);
    return 0;
}

static const struct daemon_command commands[] = {{"echo", "print the arguments", run_echo}};

static const struct daemon_program program = {
    .name = "agwb-test",
    .about = "a program for tests",
    .commands = commands,
    .command_count = 1,
    .handlers = {.start = start, .drain = drain, .stop = stop, .reloaded = reloaded, .ready = ready},
    .metrics_listen = metrics_listen,
    .check = check,
};

/* --- its process --- */
struct child {
    pid_t pid;
    int notify; /* what sd_notify sends arrives here */
    char out[16384], err[16384];
};

static int open_notify(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 20};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", fixture_path("notify"));
    (void)unlink(at.sun_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

/* Runs the program with these words behind its name, and -c agwb.cfg before them. */
static void child_start(struct child *c, enum behaviour b, const char *config, char *const *words)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s", fixture_write("agwb.cfg", config));
    char *argv[MAX_WORDS + 3] = {"agwb-test", "-c", path};
    for (size_t i = 0; words[i]; i++)
        argv[i + 3] = words[i];
    c->notify = open_notify();
    behaviour = b;
    (void)fflush(NULL);
    log_flush();
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid > 0)
        return;
    bool redirected =
        freopen(fixture_path("stdout"), "w", stdout) && freopen(fixture_path("stderr"), "w", stderr);
    (void)setenv("NOTIFY_SOCKET", fixture_path("notify"), 1);
    exit(redirected ? daemon_main(&program, count_words(argv), argv) : 99);
}

/* Waits for a notification that holds `text`. */
static void child_await(struct child *c, const char *text)
{
    char message[1024];
    for (;;) {
        ssize_t len = recv(c->notify, message, sizeof message - 1, 0);
        if (len < 0)
            fail_msg("no notification with \"%s\"", text);
        message[len] = '\0';
        if (strstr(message, text))
            return;
    }
}

static void read_all(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t len = f ? fread(text, 1, size - 1, f) : 0;
    text[len] = '\0';
    if (f)
        (void)fclose(f);
}

static void child_expect(struct child *c, int status)
{
    int ended;
    assert_int_equal(waitpid(c->pid, &ended, 0), c->pid);
    read_all(fixture_path("stdout"), c->out, sizeof c->out);
    read_all(fixture_path("stderr"), c->err, sizeof c->err);
    close(c->notify);
    if (!WIFEXITED(ended) || WEXITSTATUS(ended) != status)
        fail_msg("ended with %#x instead of status %d: %s", (unsigned)ended, status, c->err);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})
#define NO_WORDS   ((char *[]){NULL})

static const char quiet[] = "publisher: { metrics_listen = \"off\"; };";

/* --- one-shot commands --- */
static void test_daemon_cli_one_shot(void **state)
{
    (void)state;
    static const struct {
        char *words[MAX_WORDS];
        const char *config;
        int status;
        const char *out, *err;
    } cases[] = {
        {{"--version"}, "", 0, "agwb-test " AGWB_VERSION "\n", ""},
        {{"--help"}, "nonsense", 0, "print the arguments", ""},
        {{"--help"}, "", 0, "healthcheck", ""},
        {{"--nonsense"}, "", 64, "", "agwb-test: unknown option --nonsense (see --help)\n"},
        {{"nonsense"}, "", 64, "", "agwb-test: unknown command nonsense (see --help)\n"},
        {{"run", "-c", "x"},
         "",
         64,
         "",
         "agwb-test: unexpected argument -c after run (options go before the command)\n"},
        {{"check", "-x"}, "", 64, "", "unexpected argument -x after check"},
        {{"healthcheck", "-v"}, "", 64, "", "unexpected argument -v after healthcheck"},
        {{"--set", "x", "check"}, "", 64, "", "--set: expected group.key=value"},
        {{"check"}, "", 0, "/agwb.cfg: ok\n", ""},
        {{"check", "-v"}, "rabbitmq: { password = \"hush\"; };", 0, "password = \"***\";", ""},
        {{"--set", "limits.window_ms=7", "check", "-v"}, "", 0, "window_ms = 7;", ""},
        {{"check"},
         "log: { levl = 1; };",
         78,
         "",
         "agwb.cfg:1: log.levl: unknown option, did you mean log.level?\n"},
        {{"--set", "log.level=x", "check"}, "", 78, "", "agwb-test: --set: log.level: expected one of"},
        {{"check"},
         "channels: { accounts = ( { name = \"a\"; provider = \"x\"; channel = \"sms\"; } ); };",
         78,
         "",
         "agwb-test: account a: unknown provider\n"},
        {{"run"}, "log: { levl = 1; };", 78, "", "\"event\":\"cannot start\""},
        {{"echo", "one", "two"}, "rabbitmq: { user = \"me\"; };", 0, "2 one me\n", ""},
        {{"echo"}, "", 69, "", "agwb-test: nobody there\n"},
        {{"healthcheck"},
         "publisher: { metrics_listen = \"off\"; };",
         69,
         "",
         "agwb-test: there is no status server"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct child c;
        char *words[MAX_WORDS];
        memcpy(words, cases[i].words, sizeof words);
        child_start(&c, WELL_BEHAVED, cases[i].config, words);
        child_expect(&c, cases[i].status);
        assert_has(c.out, cases[i].out);
        assert_has(c.err, cases[i].err);
        if (!*cases[i].err)
            assert_string_equal(c.err, "");
        assert_null(strstr(c.out, "hush"));
    }
}

/* --- runs --- */
static void test_daemon_cli_drains(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct child c;
        child_start(&c, WELL_BEHAVED, quiet, NO_WORDS);
        child_await(&c, "READY=1\nSTATUS=working");
        assert_int_equal(kill(c.pid, signals[i]), 0);
        child_await(&c, "STOPPING=1");
        child_expect(&c, 0);
        assert_has(c.err, "\"event\":\"starting\"");
        assert_has(c.err, "\"event\":\"draining\"");
        assert_has(c.err, "\"event\":\"work freed\"");
        assert_has(c.err, "\"event\":\"ended\",\"reason\":\"drained\",\"status\":0}");
    }
}

static void test_daemon_cli_drain_timeout(void **state)
{
    (void)state;
    struct child c;
    child_start(&c, NEVER_DRAINS, quiet, WORDS("--set", "daemon.drain_timeout_ms=20", "run"));
    child_await(&c, "READY=1");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_expect(&c, 75);
    assert_has(c.err, "\"event\":\"work freed\"");
    assert_has(c.err, "\"reason\":\"drain timeout\",\"status\":75}");
}

static void test_daemon_cli_second_signal(void **state)
{
    (void)state;
    struct child c;
    child_start(&c, NEVER_DRAINS, quiet, NO_WORDS);
    child_await(&c, "READY=1");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_await(&c, "STATUS=draining");
    assert_int_equal(kill(c.pid, SIGHUP), 0); /* no reload any more */
    assert_int_equal(kill(c.pid, SIGINT), 0);
    child_expect(&c, 75);
    assert_null(strstr(c.err, "reloaded"));
    assert_has(c.err, "\"reason\":\"second signal\",\"status\":75}");
}

static void test_daemon_cli_failures(void **state)
{
    (void)state;
    static const struct {
        enum behaviour behaviour;
        int status;
        const char *event, *reason;
    } cases[] = {
        {FAILS_TO_START, 75, "\"event\":\"cannot start\",\"error\":\"the database is away\"",
         "\"reason\":\"temporary\""},
        {FAILS_LATER, 78, "\"event\":\"cannot go on\",\"error\":\"the queue has other arguments\"",
         "\"reason\":\"config\""},
        {FAILS_IN_START, 78, "\"event\":\"cannot go on\"", "\"reason\":\"config\""},
        {FINISHES_BY_ITSELF, 0, "\"event\":\"work freed\"", "\"reason\":\"finished\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct child c;
        child_start(&c, cases[i].behaviour, quiet, NO_WORDS);
        child_await(&c, "STOPPING=1");
        child_expect(&c, cases[i].status);
        assert_has(c.err, cases[i].event);
        assert_has(c.err, cases[i].reason);
    }
}

static void test_daemon_cli_reload(void **state)
{
    (void)state;
    struct child c;
    child_start(&c, WELL_BEHAVED, quiet, NO_WORDS);
    child_await(&c, "READY=1");
    (void)fixture_write("agwb.cfg",
                        "publisher: { metrics_listen = \"off\"; }; limits: { window_ms = 4321; };\n"
                        "rabbitmq: { user = \"other\"; }; consumer: { fallback_text = \"later\"; };");
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    child_await(&c, "RELOADING=1\nMONOTONIC_USEC=");
    child_await(&c, "READY=1");

    (void)fixture_write("agwb.cfg", "limits: { window_ms = true; };");
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    child_await(&c, "RELOADING=1");
    child_await(&c, "READY=1");

    (void)fixture_write(
        "agwb.cfg", "channels: { accounts = ( { name = \"a\"; provider = \"x\"; channel = \"sms\"; } ); };");
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    child_await(&c, "READY=1");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_expect(&c, 0);
    assert_has(c.err, "\"event\":\"work reloaded\",\"window_ms\":4321}");
    assert_has(c.err, "\"event\":\"configuration reloaded\",\"needs_restart\":\"rabbitmq.user\"}");
    assert_has(c.err, "agwb.cfg:1: limits.window_ms: expected an integer");
    assert_has(c.err, "\"error\":\"account a: unknown provider\"");
    const char *refused = strstr(c.err, "reload refused, the old configuration stays");
    assert_non_null(refused);
    assert_non_null(strstr(refused + 1, "reload refused"));
}

static void test_daemon_cli_reload_of_the_log_level(void **state)
{
    (void)state;
    struct child c;
    child_start(&c, WELL_BEHAVED, quiet, NO_WORDS);
    child_await(&c, "READY=1");
    (void)fixture_write("agwb.cfg", "publisher: { metrics_listen = \"off\"; }; log: { level = \"error\"; };");
    assert_int_equal(kill(c.pid, SIGHUP), 0);
    child_await(&c, "RELOADING=1");
    child_await(&c, "READY=1");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_expect(&c, 0);
    assert_has(c.err, "\"event\":\"starting\"");
    assert_null(strstr(c.err, "\"event\":\"ended\""));
}

static void test_daemon_cli_watchdog(void **state)
{
    (void)state;
    struct child c;
    assert_int_equal(setenv("WATCHDOG_USEC", "20000", 1), 0);
    child_start(&c, WELL_BEHAVED, quiet, NO_WORDS);
    for (int i = 0; i < 3; i++)
        child_await(&c, "WATCHDOG=1");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_expect(&c, 0);

    child_start(&c, FAILS_LATER, quiet, WORDS("--set", "daemon.watchdog=false"));
    char first[256];
    ssize_t len = recv(c.notify, first, sizeof first - 1, 0);
    assert_true(len > 0);
    first[len] = '\0';
    assert_has(first, "READY=1"); /* with the watchdog on, its first sign of life comes before */
    child_expect(&c, 78);
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
}

/* A port that was free a moment ago; *fd holds it. */
static int take_port(int *fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static void test_daemon_cli_status_server(void **state)
{
    (void)state;
    int fd;
    struct child c;
    struct err e = {0};
    char config[256], listen[64];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", take_port(&fd));
    (void)snprintf(config, sizeof config, "publisher: { metrics_listen = \"%s\"; };", listen);

    /* Taken: a warning, and on. */
    child_start(&c, FINISHES_BY_ITSELF, config, NO_WORDS);
    child_expect(&c, 0);
    assert_has(c.err, "\"event\":\"no status server, going on without\"");
    close(fd);

    child_start(&c, NEVER_DRAINS, config, NO_WORDS);
    child_await(&c, "READY=1");
    assert_int_equal(status_server_probe(listen, "/readyz", 10000, &e), 0);
    assert_int_equal(status_server_probe(listen, "/metrics", 10000, &e), 0);
    assert_int_equal(status_server_probe(listen, "/healthz", 10000, &e), 0);
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_await(&c, "STATUS=draining");
    assert_int_equal(status_server_probe(listen, "/readyz", 10000, &e), -1);
    assert_has(e.text, "503 draining");
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    child_expect(&c, 75);
}

static void test_daemon_cli_healthcheck(void **state)
{
    (void)state;
    int fd;
    struct child running, asking;
    char config[256];
    (void)snprintf(config, sizeof config, "publisher: { metrics_listen = \"127.0.0.1:%d\"; };",
                   take_port(&fd));
    close(fd);
    child_start(&asking, WELL_BEHAVED, config, WORDS("healthcheck"));
    child_expect(&asking, 69);
    child_start(&running, WELL_BEHAVED, config, NO_WORDS);
    child_await(&running, "READY=1");
    child_start(&asking, WELL_BEHAVED, config, WORDS("healthcheck"));
    child_expect(&asking, 0);
    assert_int_equal(kill(running.pid, SIGTERM), 0);
    child_expect(&running, 0);
}

static int finish(void **state)
{
    (void)unlink(fixture_path("notify"));
    (void)unlink(fixture_path("stdout"));
    return fixture_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_daemon_cli_parse),
        cmocka_unit_test(test_daemon_cli_parse_faults),
        cmocka_unit_test(test_daemon_cli_too_many_sets),
        cmocka_unit_test(test_daemon_cli_config_source),
        cmocka_unit_test(test_daemon_cli_one_shot),
        cmocka_unit_test(test_daemon_cli_drains),
        cmocka_unit_test(test_daemon_cli_drain_timeout),
        cmocka_unit_test(test_daemon_cli_second_signal),
        cmocka_unit_test(test_daemon_cli_failures),
        cmocka_unit_test(test_daemon_cli_reload),
        cmocka_unit_test(test_daemon_cli_reload_of_the_log_level),
        cmocka_unit_test(test_daemon_cli_watchdog),
        cmocka_unit_test(test_daemon_cli_status_server),
        cmocka_unit_test(test_daemon_cli_healthcheck),
    };
    return cmocka_run_group_tests(tests, fixture_begin, finish);
}
