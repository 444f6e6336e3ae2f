/* See faults.h. */
#include "faults.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static const char *const PROGRAMS[DAEMON_KINDS] = {"agwb-publisher", "agwb-consumer"};
static const char *const SHORT_NAMES[DAEMON_KINDS] = {"publisher", "consumer"};

/* Short leases and waits: what a fault leaves behind is over in seconds. An attempt needs its account's
 * timeout and 5 s of lease. */
static const char *const COMMON_SETS[] = {
    "publisher.lease_ms=2000",
    "publisher.answer_timeout_ms=30000",
    "publisher.batch=20",
    "publisher.confirm_timeout_ms=5000",
    "consumer.lease_ms=7000",
    "consumer.uncertain_wait_ms=500",
    "consumer.fallback_window_ms=3000",
    "consumer.prefetch=20",
    "consumer.max_in_flight=20",
    "database.poll_interval_ms=200",
    "database.statement_timeout_ms=5000",
    "rabbitmq.heartbeat_s=3",
    "retry.delivery.tries=20",
    "retry.delivery.delay_ms=300",
    "retry.delivery.multiplier=1",
};

enum { ARGUMENTS_MAX = 100 };

static uint64_t random_state;

void seed_set(uint64_t seed)
{
    random_state = seed;
}

/* splitmix64: the schedule of a seed is the same everywhere. */
uint64_t pick(uint64_t below)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (x ^ (x >> 31)) % below;
}

/* --- the database --- */

static const char *server_url(const char *database, char *url, size_t size)
{
    const char *server = sandbox_value("AGWB_TEST_DATABASE_URL");
    const char *slash = strrchr(server, '/');
    snprintf(url, size, "%.*s/%s?sslmode=disable", (int)(slash - server), server, database);
    return url;
}

static struct db_session *open_session(const char *url, struct err *e)
{
    struct db_settings settings = {.url = url,
                                   .connect_timeout_ms = 10000,
                                   .statement_timeout_ms = 120000,
                                   .application_name = "faults"};
    return db_session_open(&settings, e);
}

static void administrate(const char *verb, const char *database)
{
    char url[256], sql[512];
    struct err e = {.class = ERR_NONE};
    struct db_session *s = open_session(server_url("postgres", url, sizeof url), &e);

    snprintf(sql, sizeof sql, "%s %s", verb, database);
    if (s == NULL || db_session_script(s, sql, &e) != 0)
        fail_msg("%s: %s", sql, e.text);
    db_session_close(&s);
}

void world_forget(struct world *w)
{
    db_session_close(&w->db);
}

static struct db_result *try_query(struct world *w, const char *sql, struct err *e)
{
    if (w->db == NULL)
        w->db = open_session(w->url, e);
    struct db_result *r = w->db != NULL ? db_session_query(w->db, sql, NULL, e) : NULL;
    if (r == NULL)
        world_forget(w);
    return r;
}

int64_t world_int(struct world *w, const char *format, ...)
{
    char sql[4096];
    va_list args;
    struct err e = {.class = ERR_NONE};
    struct db_result *r;

    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    struct wait patience = wait_begin("the database answers");
    while ((r = try_query(w, sql, &e)) == NULL) {
        if (e.class != ERR_TEMPORARY && e.class != ERR_UNAVAILABLE)
            fail_msg("%s: %s", sql, e.text);
        wait_turn(&patience);
    }
    int64_t value = db_rows(r) > 0 ? db_int(r, 0, 0) : 0;
    db_result_free(&r);
    return value;
}

static void run_file(struct world *w, const char *path)
{
    struct buf sql;
    struct err e = {.class = ERR_NONE};

    file_read(path, &sql);
    if (sql.len == 0)
        fail_msg("%s: not found, run this in the project's folder", path);
    w->db = open_session(w->url, &e);
    if (w->db == NULL || db_session_script(w->db, buf_str(&sql), &e) != 0)
        fail_msg("%s: %s", path, e.text);
    buf_fini(&sql);
}

/* --- configuration --- */

/* What stands behind base_url. */
static const char *const ONE_WAY[] = {
    "name = \"wa\"; provider = \"wasender\"; channel = \"whatsapp\"; token = \"test-token\"; ", NULL};
static const char *const BOTH_WAYS[] = {
    "name = \"wa\"; provider = \"wasender\"; channel = \"whatsapp\"; token = \"test-token\"; "
    "workspaces = [\"00000000-0000-4000-b000-0000000f4240\"]; ",
    "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"test-token\"; "
    "workspaces = [\"00000000-0000-4000-b000-0000000f4241\"]; next = [\"sms\"]; "
    "options = { phone_number_id = \"106540352242922\"; }; ",
    "name = \"sms\"; provider = \"twilio\"; channel = \"sms\"; password = \"test-token\"; "
    "user = \"AC00000000000000000000000000000000\"; from = \"+15005550006\"; ",
    "name = \"site\"; provider = \"website\"; channel = \"website\"; ", NULL};

static void add_accounts(struct buf *b, const struct world *w)
{
    const char *const *accounts = w->settings.both_ways ? BOTH_WAYS : ONE_WAY;

    buf_add_str(b, "channels: { accounts = (\n");
    for (size_t i = 0; accounts[i] != NULL; i++) {
        buf_printf(b, "%s  { base_url = \"http://127.0.0.1:%d\"; timeout_ms = 1500; ", i > 0 ? ",\n" : "",
                   w->account_port);
        buf_printf(b, "%s}", accounts[i]);
    }
    buf_add_str(b, " ); };\n");
}

static void write_config(struct world *w)
{
    struct buf b;
    char broker[64];
    const char *database = strrchr(w->url, '/'), *hosts = getenv("AGWB_TEST_CLUSTER_HOSTS");

    snprintf(broker, sizeof broker, "\"127.0.0.1:%d\"", w->broker_port);
    buf_init(&b, 65536);
    buf_printf(&b, "rabbitmq: { hosts = [%s]; vhost = \"%s\"; };\n", hosts ? hosts : broker, w->vhost);
    buf_printf(&b, "database: { url = \"postgresql://postgres@127.0.0.1:%d%s\"; };\n", w->database_port,
               database);
    buf_add_str(&b, "limits: { jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0; };\n"
                    "log: { level = \"info\"; format = \"json\"; };\n");
    add_accounts(&b, w);
    file_write(w->config, buf_str(&b));
    buf_fini(&b);
}

/* --- programs --- */

static const char *program_path(const char *program, char path[PATH_SIZE])
{
    const char *build = getenv("BUILD");
    char folder[PATH_MAX];

    if (realpath(build != NULL ? build : "build", folder) == NULL)
        fail_msg("there is no build folder: make check-faults makes it");
    snprintf(path, PATH_SIZE, "%.400s/%.100s", folder, program);
    return path;
}

static size_t add_sets(const struct world *w, const char **argv, size_t n)
{
    argv[n++] = "-c";
    argv[n++] = w->config;
    for (size_t i = 0; i < sizeof COMMON_SETS / sizeof COMMON_SETS[0]; i++) {
        argv[n++] = "--set";
        argv[n++] = COMMON_SETS[i];
    }
    for (size_t i = 0; i < sizeof w->settings.sets / sizeof w->settings.sets[0] && w->settings.sets[i]; i++) {
        argv[n++] = "--set";
        argv[n++] = w->settings.sets[i];
    }
    return n;
}

/* What stands before the program itself. */
static size_t add_wrapper(const struct world *w, const char **argv, char preload[PATH_SIZE + 16])
{
    size_t n = 0;

    if (w->settings.full_log) {
        argv[n++] = "/bin/sh";
        argv[n++] = "-c";
        argv[n++] = "exec \"$@\" 2>/dev/full";
        argv[n++] = "sh";
    }
    if (w->settings.preload != NULL) {
        char path[PATH_SIZE];
        snprintf(preload, PATH_SIZE + 16, "LD_PRELOAD=%s", program_path(w->settings.preload, path));
        argv[n++] = "/usr/bin/env";
        argv[n++] = preload;
    }
    return n;
}

void daemon_start(struct world *w, enum daemon_kind kind, int i)
{
    struct instance *d = &w->daemons[kind][i];
    char path[PATH_SIZE], preload[PATH_SIZE + 16], name[32], listen[64];
    const char *argv[ARGUMENTS_MAX];
    size_t n = add_wrapper(w, argv, preload);

    argv[n++] = program_path(PROGRAMS[kind], path);
    n = add_sets(w, argv, n);
    snprintf(name, sizeof name, "%s-%d", SHORT_NAMES[kind], i + 1);
    if (d->port == 0)
        d->port = web_free_port();
    snprintf(listen, sizeof listen, "%s.metrics_listen=127.0.0.1:%d", SHORT_NAMES[kind], d->port);
    argv[n++] = "--set";
    argv[n++] = listen;
    argv[n] = NULL;
    process_start(&d->process, w->dir, name, argv);
    d->expected = false;
    d->starts++;
}

void daemon_start_armed(struct world *w, enum daemon_kind kind, int i, const char *crash)
{
    setenv("AGWB_TEST_CRASH", crash, 1);
    daemon_start(w, kind, i);
    unsetenv("AGWB_TEST_CRASH");
    w->daemons[kind][i].expected = true;
}

void daemon_kill(struct world *w, enum daemon_kind kind, int i)
{
    process_kill(&w->daemons[kind][i].process);
    w->daemons[kind][i].expected = true;
    w->kills++;
}

void daemon_stop(struct world *w, enum daemon_kind kind, int i)
{
    struct instance *d = &w->daemons[kind][i];

    if (d->process.pid == 0 || process_has_ended(&d->process))
        return;
    int status = process_end(&d->process);
    if (status == 0)
        return;
    print_message("  fault: %s %d ended with status %d on SIGTERM\n", PROGRAMS[kind], i + 1, status);
    file_show_end(d->process.log);
    w->faults++;
}

static void tend(struct world *w, enum daemon_kind kind, int i)
{
    struct instance *d = &w->daemons[kind][i];

    if (!process_has_ended(&d->process))
        return;
    if (!d->expected) {
        print_message("  fault: %s %d ended by itself with status %d\n", PROGRAMS[kind], i + 1,
                      d->process.status);
        file_show_end(d->process.log);
        w->faults++;
    }
    daemon_start(w, kind, i);
}

void world_tend(struct world *w)
{
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            tend(w, kind, i);
    }
    if (!w->agent_away && process_has_ended(&w->agent))
        agent_start(w);
}

void world_pause(struct world *w, int64_t ms)
{
    for (int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until;) {
        world_tend(w);
        poll(NULL, 0, 20);
    }
}

void world_await_ready(struct world *w)
{
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            WAIT_UNTIL((world_tend(w), web_ask(w->daemons[kind][i].port, "/readyz", NULL, NULL) == 200));
    }
}

/* The numbers behind the word that begins the program's first line, once it is there. */
static bool has_said(struct process *p, const char *word, int *numbers, int count)
{
    struct buf out;

    if (process_has_ended(p)) {
        file_show_end(p->log);
        fail_msg("%s: it has ended with status %d", word, p->status);
    }
    file_read(p->out, &out);
    const char *text = buf_str(&out);
    bool said = strncmp(text, word, strlen(word)) == 0 && strchr(text, '\n') != NULL;
    char *at = (char *)(uintptr_t)text + strlen(word);
    for (int i = 0; said && i < count; i++)
        numbers[i] = (int)strtol(at, &at, 10);
    buf_fini(&out);
    return said;
}

static void provider_start(struct world *w)
{
    char path[PATH_SIZE];
    const char *argv[] = {
        program_path("tests/provider", path), "--journal", w->journal, "--token", "test-token", NULL};

    process_start(&w->provider, w->dir, "provider", argv);
    WAIT_UNTIL(has_said(&w->provider, "listening", &w->provider_port, 1));
}

void agent_start(struct world *w)
{
    char path[PATH_SIZE];
    const char *argv[] = {program_path("tests/agent", path),
                          "--host",
                          sandbox_value("AGWB_TEST_AMQP"),
                          "--vhost",
                          w->vhost,
                          "--prefetch",
                          "20",
                          "--repeatable",
                          NULL};
    process_start(&w->agent, w->dir, "agent", argv);
}

static int port_of(const char *address)
{
    return (int)strtol(strrchr(address, ':') + 1, NULL, 10);
}

static void proxy_start(struct world *w)
{
    char path[PATH_SIZE], broker[64], database[64], provider[64];
    const char *argv[] = {program_path("tests/proxy", path), broker, database, provider, NULL};
    int ports[4];

    snprintf(broker, sizeof broker, "broker=%d", w->broker_port);
    snprintf(database, sizeof database, "database=%d", w->database_port);
    snprintf(provider, sizeof provider, "provider=%d", w->account_port);
    process_start(&w->proxy, w->dir, "proxy", argv);
    WAIT_UNTIL(has_said(&w->proxy, "listening", ports, 4));
    w->control_port = ports[0];
    w->broker_port = ports[1];
    w->database_port = ports[2];
    w->account_port = ports[3];
}

/* --- life --- */

static void make_vhost(const struct world *w)
{
    char script[512];

    snprintf(script, sizeof script,
             "rabbit_vhost:add(<<\"%s\">>, <<\"test\">>), "
             "rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, "
             "<<\"%s\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>).",
             w->vhost, w->vhost);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"eval", script, NULL});
}

/* A one-shot command of a daemon, to its end. */
static void command(struct world *w, struct process *p, const char *program, const char *const *args)
{
    char path[PATH_SIZE];
    const char *argv[ARGUMENTS_MAX] = {program_path(program, path)};
    size_t n = add_sets(w, argv, 1);

    while (*args != NULL)
        argv[n++] = *args++;
    argv[n] = NULL;
    process_start(p, w->dir, "command", argv);
    process_wait(p);
}

static void migrate(struct world *w)
{
    struct process p;

    command(w, &p, "agwb-publisher", (const char *const[]){"migrate", NULL});
    if (p.status != 0) {
        file_show_end(p.log);
        fail_msg("migrate failed");
    }
}

int world_replay(struct world *w, const char *crash)
{
    struct process p;

    if (crash != NULL)
        setenv("AGWB_TEST_CRASH", crash, 1);
    command(
        w, &p, "agwb-consumer",
        (const char *const[]){"dlq", "replay", "wb_parked", "--limit", "1000", "--execute", "--yes", NULL});
    unsetenv("AGWB_TEST_CRASH");
    if (p.status != 0 && crash == NULL)
        file_show_end(p.log);
    return p.status;
}

static void name_things(struct world *w, const char *name, const struct world_settings *s)
{
    static int worlds;

    *w = (struct world){.settings = *s, .opened_at = clock_mono_ms()};
    worlds++;
    snprintf(w->name, sizeof w->name, "%s", name);
    snprintf(w->vhost, sizeof w->vhost, "faults-%ld-%d", (long)getpid(), worlds);
    snprintf(w->database, sizeof w->database, "faults_%ld_%d", (long)getpid(), worlds);
    snprintf(w->dir, sizeof w->dir, "%.300s/%s", sandbox_value("AGWB_TEST_DIR"), w->vhost);
    snprintf(w->config, sizeof w->config, "%s/agwb.cfg", w->dir);
    snprintf(w->journal, sizeof w->journal, "%s/journal", w->dir);
    server_url(w->database, w->url, sizeof w->url);
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        if (w->settings.count[kind] == 0)
            w->settings.count[kind] = 1;
    }
    if (w->settings.contacts == 0)
        w->settings.contacts = 40;
}

void world_open(struct world *w, const char *name, const struct world_settings *s)
{
    name_things(w, name, s);
    if (mkdir(w->dir, 0700) != 0)
        fail_msg("%s cannot be made", w->dir);
    administrate("create database", w->database);
    make_vhost(w);
    w->broker_port = port_of(sandbox_value("AGWB_TEST_AMQP"));
    w->database_port = port_of(sandbox_value("AGWB_TEST_DATABASE_URL"));
    provider_start(w);
    w->account_port = w->provider_port;
    if (s->proxied)
        proxy_start(w);
    write_config(w);
    migrate(w);
    run_file(w, "tests/faults/verdict.sql");
    world_int(w, "select 1 from faults.%s(%d)", w->settings.both_ways ? "make_people" : "make_contacts",
              w->settings.contacts);
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            daemon_start(w, kind, i);
    }
    world_await_ready(w);
    agent_start(w);
    if (w->settings.both_ways) {
        world_script(w, "{\"rules\": []}");
        world_report(w);
    }
}

void world_close(struct world *w)
{
    struct process *helpers[] = {&w->loader, &w->reporter, &w->agent, &w->provider, &w->proxy};

    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            process_kill(&w->daemons[kind][i].process);
    }
    for (size_t i = 0; i < sizeof helpers / sizeof helpers[0]; i++)
        process_kill(helpers[i]);
    db_session_close(&w->db);
    administrate("drop database if exists", w->database);
}

/* Behind the script's own rules: some people are not on WhatsApp. */
#define REFUSED                                                                                              \
    "{\"match\": {\"path\": \"/v25.0/106540352242922/messages\", \"text\": \"(refused)\"}, \"times\": -1, "  \
    "\"action\": {\"code\": 131026}}"

void world_script(struct world *w, const char *json)
{
    struct buf script, answer;
    size_t own = strlen(json) - strlen("]}");

    buf_init(&script, 65536);
    buf_init(&answer, 65536);
    buf_add(&script, json, own);
    if (w->settings.both_ways)
        buf_printf(&script, "%s%s", json[own - 1] == '[' ? "" : ", ", REFUSED);
    buf_add_str(&script, "]}");
    if (web_ask(w->provider_port, "/_control/script", buf_str(&script), &answer) != 200)
        fail_msg("script refused: %s", buf_str(&answer));
    buf_fini(&script);
    buf_fini(&answer);
}

void world_proxy(struct world *w, const char *peer, const char *mode)
{
    char path[128];

    snprintf(path, sizeof path, "/%s/%s", peer, mode);
    if (web_ask(w->control_port, path, "", NULL) != 200)
        fail_msg("the proxy refused %s", path);
}
