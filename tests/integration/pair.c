/* See pair.h. */
#include "pair.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "rows.h"

static struct {
    char build[PATH_MAX], source[PATH_MAX];
    char template[64];
    char old_vhost[64]; /* to be deleted when the next one is made */
    int tests;
} group;

/* --- a group of tests --- */

void pair_options(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
}

static void program_path(const char *program, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%.400s/%.100s", group.build, program);
    if (access(path, X_OK) != 0)
        fail_msg("%s does not exist: make it first", path);
}

/* The database's URL: the sandbox's with another database name. */
static void database_url(const char *database, char *url, size_t size)
{
    const char *server = sandbox_value("AGWB_TEST_DATABASE_URL");
    const char *slash = strrchr(server, '/');
    assert_non_null(slash);
    snprintf(url, size, "%.*s/%s?sslmode=disable", (int)(slash - server), server, database);
}

/* One statement on the server's own database. */
static void PRINTF_LIKE(1, 2) admin(const char *format, ...)
{
    char url[256], sql[8192];
    va_list args;
    struct err e = {.class = ERR_NONE};
    struct db_settings settings = {.url = url, .connect_timeout_ms = 10000, .statement_timeout_ms = 30000};

    database_url("postgres", url, sizeof url);
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    struct db_session *s = db_session_open(&settings, &e);
    struct db_result *r = s != NULL ? db_session_query(s, sql, NULL, &e) : NULL;
    if (r == NULL)
        fail_msg("%s: %s", sql, e.text);
    db_result_free(&r);
    db_session_close(&s);
}

/* As an installation does it; the roles are the whole server's. */
static void make_roles(void)
{
    char path[PATH_SIZE];
    struct buf script;

    snprintf(path, sizeof path, "%.400s/etc/postgresql/roles.sql", group.source);
    file_read(path, &script);
    admin("%s", buf_str(&script));
    buf_fini(&script);
}

static struct pair *pair_new(const char *database)
{
    struct pair *p = xcalloc(1, sizeof *p);
    const char *sandbox = sandbox_value("AGWB_TEST_DIR");

    snprintf(p->dir, sizeof p->dir, "%.300s/pair-%ld-%d", sandbox, (long)getpid(), group.tests);
    assert_int_equal(mkdir(p->dir, 0700), 0);
    snprintf(p->config, sizeof p->config, "%s/agwb.cfg", p->dir);
    snprintf(p->database, sizeof p->database, "%s", database);
    database_url(database, p->url, sizeof p->url);
    const char *server = strchr(p->url, '@');
    assert_non_null(server);
    snprintf(p->publisher_role, sizeof p->publisher_role, "database.url=postgresql://agwb_publisher%s",
             server);
    snprintf(p->consumer_role, sizeof p->consumer_role, "database.url=postgresql://agwb_consumer%s", server);
    snprintf(p->vhost, sizeof p->vhost, "pair-%ld-%d", (long)getpid(), group.tests++);
    p->timeout_ms = 10000;
    p->texts = arena_new();
    return p;
}

int pair_open_group(void **state)
{
    const char *build = getenv("BUILD");
    struct buf out;

    (void)state;
    if (realpath(build != NULL ? build : "build", group.build) == NULL || realpath(".", group.source) == NULL)
        fail_msg("there is no build folder: make it first, or set BUILD");
    snprintf(group.template, sizeof group.template, "pair_template_%ld", (long)getpid());
    make_roles();
    admin("create database %s", group.template);
    struct pair *p = pair_new(group.template);
    pair_write_config(p);
    if (pair_command(p, "agwb-publisher", (const char *const[]){"migrate", NULL}, &out) != 0) {
        file_show_end(p->more[0].log);
        fail_msg("migrate failed");
    }
    buf_fini(&out);
    rows_make_fixture(p);
    db_session_close(&p->db);
    arena_free(&p->texts);
    free(p);
    return 0;
}

int pair_close_group(void **state)
{
    (void)state;
    admin("drop database %s with (force)", group.template);
    return 0;
}

/* --- a test --- */

/* One call of rabbitmqctl, since each costs a third of a second. The old vhost may be gone: a call that was
 * cut off for its time may have done its work. */
static void make_vhost(struct pair *p)
{
    char script[512], delete[128] = "";
    if (group.old_vhost[0] != '\0')
        snprintf(delete, sizeof delete, "catch rabbit_vhost:delete(<<\"%s\">>, <<\"test\">>), ",
                 group.old_vhost);
    snprintf(script, sizeof script,
             "%srabbit_vhost:add(<<\"%s\">>, <<\"test\">>), rabbit_auth_backend_internal:set_permissions("
             "<<\"guest\">>, <<\"%s\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>).",
             delete, p->vhost, p->vhost);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"eval", script, NULL});
    snprintf(group.old_vhost, sizeof group.old_vhost, "%s", p->vhost);
}

struct running {
    struct pair *pair;
    pair_test_fn *run;
};

int pair_open(void **state)
{
    const struct pair_case *c = *state;
    struct running *running = xcalloc(1, sizeof *running);
    char database[64];

    snprintf(database, sizeof database, "pair_%ld_%d", (long)getpid(), group.tests);
    admin("create database %s template %s", database, group.template);
    *running = (struct running){.pair = pair_new(database), .run = c->run};
    make_vhost(running->pair);
    pair_write_config(running->pair);
    *state = running;
    return 0;
}

void pair_run(void **state)
{
    struct running *running = *state;
    running->run(running->pair);
    running->pair->passed = true;
}

static bool has_sanitizer_report(const char *path)
{
    struct buf log;
    file_read(path, &log);
    const char *text = buf_str(&log);
    bool found = strstr(text, "Sanitizer:") != NULL || strstr(text, "runtime error:") != NULL;
    buf_fini(&log);
    return found;
}

/* A daemon ends by itself where it can, so that a leak is reported; it is not waited for longer than this. */
static void end_gently(struct process *process)
{
    enum { GRACE_MS = 3000 };
    int64_t deadline_at = clock_mono_ms() + GRACE_MS;
    struct wait pause = wait_begin("end");

    process_signal(process, SIGTERM);
    while (!process_has_ended(process) && clock_mono_ms() < deadline_at)
        wait_turn(&pause);
    process_kill(process);
}

/* -1 when the process has crashed or a sanitizer has found something. */
static int finish(struct process *process, bool show)
{
    if (process->pid == 0)
        return 0;
    if (!process_has_ended(process))
        end_gently(process);
    bool crashed = process->status > 128 && process->status != 128 + SIGKILL;
    bool is_bad = crashed || has_sanitizer_report(process->log);
    if (show || is_bad) {
        file_show_end(process->log);
        print_message("ended with status %d\n", process->status);
    }
    return is_bad ? -1 : 0;
}

/* Whatever a failed test has done to the servers, the next one finds them as they should be. */
static void mend_servers(void)
{
    sandbox_run("AGWB_TEST_PG_CTL", (const char *const[]){"start", NULL});
    sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){"start", NULL});
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"resume_listeners", NULL});
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"set_vm_memory_high_watermark", "0.4", NULL});
}

int pair_close(void **state)
{
    struct running *running = *state;
    struct pair *p = running->pair;
    struct process *all[] = {&p->publisher, &p->consumer, &p->agent,   &p->more[0],
                             &p->more[1],   &p->hooks,    &p->provider};
    int rc = 0;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (finish(all[i], !p->passed) != 0)
            rc = -1;
    }
    if (!p->passed)
        mend_servers();
    db_session_close(&p->db);
    broker_session_close(&p->amqp);
    arena_free(&p->texts);
    admin("drop database if exists %s with (force)", p->database);
    free(p);
    free(running);
    return rc;
}

/* --- configuration --- */

void pair_set(struct pair *p, const char *option)
{
    assert_true(p->set_count < PAIR_MAX_SETS);
    p->sets[p->set_count++] = option;
}

void pair_account(struct pair *p, const char *members)
{
    assert_true(p->account_count < PAIR_MAX_ACCOUNTS);
    p->accounts[p->account_count++] = members;
}

static void add_account(struct buf *b, const struct pair *p, const char *members)
{
    buf_printf(b, "  { timeout_ms = %lld; %s", (long long)p->timeout_ms, members);
    if (strstr(members, "base_url = ") == NULL)
        buf_printf(b, " base_url = \"http://127.0.0.1:%d\";", p->provider_port);
    buf_add_str(b, " }");
}

static void add_accounts(struct buf *b, const struct pair *p)
{
    add_account(b, p,
                "name = \"wa\"; provider = \"wasender\"; channel = \"whatsapp\"; token = \"test-token\";");
    buf_add_str(b, ",\n");
    add_account(b, p,
                "name = \"sms\"; provider = \"sms_gateway\"; channel = \"sms\"; token = \"test-token\";");
    for (size_t i = 0; i < p->account_count; i++) {
        buf_add_str(b, ",\n");
        add_account(b, p, p->accounts[i]);
    }
}

void pair_write_config(struct pair *p)
{
    struct buf b;

    if (p->publisher_port == 0)
        p->publisher_port = web_free_port();
    while (p->consumer_port == 0 || p->consumer_port == p->publisher_port)
        p->consumer_port = web_free_port();
    buf_init(&b, 65536);
    buf_printf(&b, "rabbitmq: { hosts = [\"%s\"]; vhost = \"%s\"; };\n", sandbox_value("AGWB_TEST_AMQP"),
               p->vhost);
    buf_printf(&b, "database: { url = \"%s\"; poll_interval_ms = 200; };\n", p->url);
    buf_printf(&b, "publisher: { metrics_listen = \"127.0.0.1:%d\"; };\n", p->publisher_port);
    buf_printf(&b, "consumer: { metrics_listen = \"127.0.0.1:%d\"; };\n", p->consumer_port);
    buf_add_str(&b, "limits: { jobs_in_flight = 0; jobs_per_minute = 0; contact_per_minute = 0; };\n");
    buf_add_str(&b, "log: { level = \"info\"; format = \"json\"; };\n");
    buf_add_str(&b, "channels: { accounts = (\n");
    add_accounts(&b, p);
    buf_add_str(&b, "\n); };\n");
    file_write(p->config, buf_str(&b));
    buf_fini(&b);
}

/* --- programs --- */

/* Each program has its role's rights, so that every test proves them; p->url is the owner's. */
static const char *role_option(const struct pair *p, const char *program, const char *command)
{
    if (strcmp(command, "migrate") == 0)
        return NULL;
    return strcmp(program, "agwb-consumer") == 0 ? p->consumer_role : p->publisher_role;
}

static size_t add_options(const struct pair *p, const char **argv, size_t n, const char *role)
{
    argv[n++] = "-c";
    argv[n++] = p->config;
    if (role != NULL) {
        argv[n++] = "--set";
        argv[n++] = role;
    }
    for (size_t i = 0; i < p->set_count; i++) {
        argv[n++] = "--set";
        argv[n++] = p->sets[i];
    }
    return n;
}

void pair_start_program(struct pair *p, struct process *process, const char *name, const char *program,
                        const char *option)
{
    char path[PATH_SIZE];
    const char *argv[2 * PAIR_MAX_SETS + 10] = {path};
    size_t n = add_options(p, argv, 1, role_option(p, program, "run"));

    program_path(program, path);
    if (option != NULL) {
        argv[n++] = "--set";
        argv[n++] = option;
    }
    process_start(process, p->dir, name, argv);
}

void pair_start_publisher(struct pair *p)
{
    pair_write_config(p);
    pair_start_program(p, &p->publisher, "publisher", "agwb-publisher", NULL);
}

void pair_start_consumer(struct pair *p)
{
    if (p->provider.pid == 0)
        pair_start_provider(p);
    pair_write_config(p);
    pair_start_program(p, &p->consumer, "consumer", "agwb-consumer", NULL);
}

bool pair_is_ready(struct process *process, int port)
{
    if (process_has_ended(process))
        fail_msg("the daemon has ended with status %d", process->status);
    return web_ask(port, "/readyz", NULL, NULL) == 200;
}

void pair_start_publisher_ready(struct pair *p)
{
    pair_start_publisher(p);
    WAIT_UNTIL(pair_is_ready(&p->publisher, p->publisher_port));
}

void pair_start_consumer_ready(struct pair *p)
{
    pair_start_consumer(p);
    WAIT_UNTIL(pair_is_ready(&p->consumer, p->consumer_port));
}

/* Whether the program has printed a whole line that begins with this word; what follows the word goes to
 * *number. */
static bool has_said(struct process *process, const char *word, int *number)
{
    struct buf out;
    char line[64] = "";

    if (process_has_ended(process))
        fail_msg("the stand-in has ended with status %d", process->status);
    file_read(process->out, &out);
    if (out.len > 0 && out.len < sizeof line && out.data[out.len - 1] == '\n')
        snprintf(line, sizeof line, "%s", buf_str(&out));
    buf_fini(&out);
    if (strncmp(line, word, strlen(word)) != 0)
        return false;
    *number = (int)strtol(line + strlen(word), NULL, 10);
    return true;
}

void pair_start_provider(struct pair *p)
{
    char path[PATH_SIZE], journal[PATH_SIZE];
    const char *argv[] = {path, "--journal", journal, "--token", "test-token", NULL};

    program_path("tests/provider", path);
    snprintf(journal, sizeof journal, "%s/journal", p->dir);
    process_start(&p->provider, p->dir, "provider", argv);
    WAIT_UNTIL(has_said(&p->provider, "listening ", &p->provider_port));
}

static void start_agent(struct pair *p, const char *const *program, const char *const *args)
{
    const char *argv[PROCESS_MAX_ARGS];
    size_t n = 0;
    int ignored;

    while (*program != NULL)
        argv[n++] = *program++;
    argv[n++] = "--host";
    argv[n++] = sandbox_value("AGWB_TEST_AMQP");
    argv[n++] = "--vhost";
    argv[n++] = p->vhost;
    while (*args != NULL)
        argv[n++] = *args++;
    argv[n] = NULL;
    process_start(&p->agent, p->dir, "agent", argv);
    WAIT_UNTIL(has_said(&p->agent, "ready", &ignored));
}

void pair_start_agent(struct pair *p, const char *const *args)
{
    char path[PATH_SIZE];
    program_path("tests/agent", path);
    start_agent(p, (const char *const[]){path, NULL}, args);
}

void pair_start_python_agent(struct pair *p, const char *const *args)
{
    char script[PATH_SIZE];
    snprintf(script, sizeof script, "%.400s/tests/agent/agent_pika.py", group.source);
    start_agent(p, (const char *const[]){"/usr/bin/python3", script, NULL}, args);
}

void pair_start_hooks(struct pair *p, const char *const *args)
{
    char path[PATH_SIZE], journal[PATH_SIZE];
    const char *argv[PROCESS_MAX_ARGS] = {path,        "follow", "--database", p->url,
                                          "--journal", journal,  "--secret",   PAIR_HOOK_SECRET};
    size_t n = 8;
    int ignored;

    program_path("tests/hooks", path);
    snprintf(journal, sizeof journal, "%s/journal", p->dir);
    while (*args != NULL)
        argv[n++] = *args++;
    process_start(&p->hooks, p->dir, "hooks", argv);
    WAIT_UNTIL(has_said(&p->hooks, "ready", &ignored));
}

void pair_hook_message(struct pair *p, const char *provider, const char *from, const char *text)
{
    char path[PATH_SIZE];
    const char *argv[] = {path, "message", provider, "--database", p->url,           "--from",
                          from, "--text",  text,     "--secret",   PAIR_HOOK_SECRET, NULL};

    program_path("tests/hooks", path);
    process_start(&p->more[0], p->dir, "message", argv);
    assert_int_equal(process_wait(&p->more[0]), 0);
}

int pair_command(struct pair *p, const char *program, const char *const *args, struct buf *out)
{
    char path[PATH_SIZE], log[PATH_SIZE];
    const char *argv[2 * PAIR_MAX_SETS + PROCESS_MAX_ARGS] = {path};
    size_t n = add_options(p, argv, 1, args[0] != NULL ? role_option(p, program, args[0]) : NULL);

    program_path(program, path);
    while (*args != NULL)
        argv[n++] = *args++;
    argv[n] = NULL;
    snprintf(log, sizeof log, "%s/command.log", p->dir);
    unlink(log);
    process_start(&p->more[0], p->dir, "command", argv);
    int status = process_wait(&p->more[0]);
    file_read(p->more[0].out, out);
    return status;
}

double pair_metric(int port, const char *series)
{
    struct buf body;
    double value = -1;
    size_t len = strlen(series);

    buf_init(&body, 1 << 20);
    if (web_ask(port, "/metrics", NULL, &body) == 200) {
        for (const char *line = buf_str(&body); line != NULL; line = strchr(line, '\n')) {
            line += *line == '\n';
            if (strncmp(line, series, len) == 0 && line[len] == ' ')
                value = strtod(line + len, NULL);
            if (*line == '\0')
                break;
        }
    }
    buf_fini(&body);
    return value;
}

/* --- the provider's stand-in --- */

void pair_script(struct pair *p, const char *json)
{
    struct buf body;
    buf_init(&body, 65536);
    if (web_ask(p->provider_port, "/_control/script", json, &body) != 200)
        fail_msg("script refused: %s", buf_str(&body));
    buf_fini(&body);
}

struct journal_search {
    const char *text;
    size_t requests, sent, wanted;
    struct buf *line;
};

static void search_journal(void *arg, const struct json_node *entry, const char *line)
{
    struct journal_search *s = arg;
    const char *text = json_str(json_member(entry, "text"));

    if (s->line != NULL && s->requests == s->wanted)
        buf_add_str(s->line, line);
    s->requests++;
    if (json_true(json_member(entry, "accepted")) &&
        (s->text == NULL || (text != NULL && strcmp(text, s->text) == 0)))
        s->sent++;
}

static void read_journal(const struct pair *p, struct journal_search *s)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/journal", p->dir);
    file_each_json(path, search_journal, s);
}

size_t pair_requests(const struct pair *p)
{
    struct journal_search s = {0};
    read_journal(p, &s);
    return s.requests;
}

size_t pair_sent(const struct pair *p, const char *text)
{
    struct journal_search s = {.text = text};
    read_journal(p, &s);
    return s.sent;
}

void pair_journal_line(const struct pair *p, size_t n, struct buf *line)
{
    struct journal_search s = {.wanted = n, .line = line};
    buf_init(line, 1 << 20);
    read_journal(p, &s);
    if (s.requests <= n)
        fail_msg("the journal has %zu lines, line %zu is wanted", s.requests, n);
}

struct texts {
    char **items;
    size_t count;
};

static void take_text(void *arg, const struct json_node *entry, const char *line)
{
    struct texts *t = arg;
    const char *text = json_str(json_member(entry, "text"));

    (void)line;
    if (text == NULL || !json_true(json_member(entry, "accepted")))
        return;
    t->items = xrealloc(t->items, t->count + 1, sizeof *t->items);
    t->items[t->count++] = xstrdup(text);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool pair_sent_once_each(const struct pair *p)
{
    char path[PATH_SIZE];
    struct texts t = {0};
    bool once = true;

    snprintf(path, sizeof path, "%s/journal", p->dir);
    file_each_json(path, take_text, &t);
    if (t.count > 0)
        qsort(t.items, t.count, sizeof *t.items, compare_texts);
    for (size_t i = 1; i < t.count; i++) {
        if (strcmp(t.items[i - 1], t.items[i]) == 0) {
            print_message("sent twice: %s\n", t.items[i]);
            once = false;
        }
    }
    for (size_t i = 0; i < t.count; i++)
        free(t.items[i]);
    free(t.items);
    return once;
}
