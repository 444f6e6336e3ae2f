/* Findings: counted, and written as lines or objects. And the checks that need no server. */
#include "domain/doctor_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/record.h"

enum verdict { VERDICT_OK = 0, VERDICT_WARN, VERDICT_FAIL };

static const char *const WORDS[] = {[VERDICT_OK] = "ok", [VERDICT_WARN] = "warn", [VERDICT_FAIL] = "FAIL"};

struct doctor {
    struct doctor_options options;
    int counts[VERDICT_FAIL + 1];
    enum err_class worst;
};

bool doctor_asks_providers(const struct doctor *d)
{
    return !d->options.no_providers;
}

/* --- findings --- */

static void write_line(struct buf *out, enum verdict v, const char *name, const char *text, const char *fix)
{
    buf_printf(out, "%-4s %s: ", WORDS[v], name);
    record_add_printable(out, text, strlen(text));
    if (fix)
        buf_printf(out, ": %s", fix);
    buf_add_char(out, '\n');
}

static void write_object(struct buf *out, enum verdict v, const char *name, const char *text, const char *fix)
{
    struct record r = {.out = out, .json = true};

    record_open(&r);
    record_id(&r, "verdict", v == VERDICT_FAIL ? "fail" : WORDS[v]);
    record_id(&r, "check", name);
    record_id(&r, "detail", text);
    record_id(&r, "fix", fix);
    record_close(&r, false);
}

/* Each is shown as soon as it is known: the next check may take its time. */
static void say(struct doctor *d, enum verdict v, const char *name, const char *text, const char *fix)
{
    struct buf out;

    d->counts[v]++;
    buf_init(&out, 1 << 16);
    if (d->options.json)
        write_object(&out, v, name, text, fix);
    else
        write_line(&out, v, name, text, fix);
    (void)fwrite(out.data, 1, out.len, stdout);
    (void)fflush(stdout);
    buf_fini(&out);
}

void doctor_ok(struct doctor *d, const char *name, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say(d, VERDICT_OK, name, text, NULL);
}

void doctor_warn(struct doctor *d, const char *name, const char *fix, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say(d, VERDICT_WARN, name, text, fix);
}

void doctor_fail(struct doctor *d, const char *name, const char *fix, const struct err *why)
{
    say(d, VERDICT_FAIL, name, why->text, fix);
    if (d->worst != ERR_CONFIG)
        d->worst = why->class == ERR_CONFIG ? ERR_CONFIG : ERR_UNAVAILABLE;
}

/* --- the command line --- */

int doctor_options_parse(int argc, char **argv, struct doctor_options *o, struct err *e)
{
    *o = (struct doctor_options){0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            o->json = true;
        else if (strcmp(argv[i], "--no-providers") == 0)
            o->no_providers = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            o->help = true;
        else
            return err_set(e, ERR_USAGE, 0, "doctor: unknown argument %.40s (see doctor --help)", argv[i]);
    }
    return 0;
}

static void write_usage(void)
{
    (void)fputs(
        "usage: doctor [--json] [--no-providers]\n\n"
        "Looks at everything the program needs and says what is wrong and how to mend it: who may read its\n"
        "secrets, TLS, the broker's login and queues, a message confirmed and one returned, the database's\n"
        "login and schema, LISTEN/NOTIFY, the clocks, transactions that hold up the vacuum and, in\n"
        "agwb-consumer, whether each account's provider answers. Changes nothing. A line a finding:\n\n"
        "  ok   what was looked at: what was seen\n"
        "  warn it works, but you should know: what to do\n"
        "  FAIL it does not work: what to do\n\n"
        "  --json           an object a finding, a summary at the end\n"
        "  --no-providers   agwb-consumer: send no request to the providers\n\n"
        "exit status: 0 nothing fails (warnings do not count), 64 usage, 69 a server is unavailable, 78 you\n"
        "must change something. Fit for ExecStartPre, there with --no-providers: one account's bad token is "
        "no\n"
        "reason to keep the others waiting.\n",
        stdout);
}

/* --- files --- */

bool doctor_is_local(const char *host)
{
    static const char *const LOCAL[] = {"localhost", "127.", "[::1]", "::1"};

    for (size_t i = 0; i < sizeof LOCAL / sizeof LOCAL[0]; i++) {
        if (strncmp(host, LOCAL[i], strlen(LOCAL[i])) == 0)
            return true;
    }
    return false;
}

static void look_at_secrets(struct doctor *d, const struct config *c)
{
    size_t exposed = 0;

    for (size_t i = 0; i < c->secret_file_count; i++) {
        if (!c->secret_files[i].is_exposed)
            continue;
        exposed++;
        doctor_warn(d, "secrets", "chmod o= for the configuration file, chmod go= for a secret's own",
                    "%s can be read by others", c->secret_files[i].path);
    }
    if (exposed == 0)
        doctor_ok(d, "secrets", "%zu files, none of them readable by others", c->secret_file_count);
}

/* -1 when the TLS file cannot be used. */
static int look_at_tls_file(struct doctor *d, const char *path, bool is_key)
{
    struct err e;
    struct stat st;

    if (!path[0])
        return 0;
    if (access(path, R_OK) != 0 || stat(path, &st) != 0) {
        (void)err_set(&e, ERR_CONFIG, 0, "%s cannot be read", path);
        doctor_fail(d, "tls", "set rabbitmq.ca_file, cert_file and key_file to files this user may read", &e);
        return -1;
    }
    if (is_key && (st.st_mode & 077) != 0)
        doctor_warn(d, "tls", "chmod go= for it", "%s can be read by others", path);
    return 0;
}

static void look_at_tls(struct doctor *d, const struct config *c)
{
    const char *remote = NULL;

    if (c->rabbitmq.tls) {
        if (look_at_tls_file(d, c->rabbitmq.ca_file, false) == 0 &&
            look_at_tls_file(d, c->rabbitmq.cert_file, false) == 0 &&
            look_at_tls_file(d, c->rabbitmq.key_file, true) == 0)
            doctor_ok(d, "tls", "on for the broker, its name is verified against %s",
                      c->rabbitmq.ca_file[0] ? c->rabbitmq.ca_file : "the system's authorities");
        return;
    }
    for (size_t i = 0; i < c->rabbitmq.host_count; i++) {
        if (!doctor_is_local(c->rabbitmq.hosts[i]))
            remote = c->rabbitmq.hosts[i];
    }
    if (remote)
        doctor_warn(d, "tls", "set rabbitmq.tls = true and the broker's TLS port",
                    "password and messages go to %s in clear text", remote);
    else
        doctor_ok(d, "tls", "off: the broker is on this machine");
}

void doctor_look_at_files(struct doctor *d, const struct config *c)
{
    doctor_ok(d, "configuration", "good, %zu sender accounts", c->channels.account_count);
    look_at_secrets(d, c);
    look_at_tls(d, c);
}

/* --- the run --- */

static int conclude(const struct doctor *d, struct err *e)
{
    int failed = d->counts[VERDICT_FAIL];

    if (d->options.json)
        printf("{\"type\":\"summary\",\"ok\":%d,\"warn\":%d,\"fail\":%d}\n", d->counts[VERDICT_OK],
               d->counts[VERDICT_WARN], failed);
    if (failed == 0)
        return 0;
    return err_set(e, d->worst, 0, "doctor: %d of %d checks failed", failed,
                   d->counts[VERDICT_OK] + d->counts[VERDICT_WARN] + failed);
}

int doctor_run(const struct config *c, int argc, char **argv, doctor_more_fn *more, struct err *e)
{
    struct doctor d = {.worst = ERR_NONE};

    if (doctor_options_parse(argc, argv, &d.options, e) != 0)
        return -1;
    if (d.options.help) {
        write_usage();
        return 0;
    }
    doctor_look_at_files(&d, c);
    doctor_look_at_broker(&d, c);
    doctor_look_at_database(&d, c);
    if (more)
        more(&d, c);
    return conclude(&d, e);
}
