/* The stand-in for the WhatsApp and SMS providers: takes messages as strictly as they do, keeps a journal,
 * and plays scripted faults. */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tests/provider/control.h"
#include "tests/provider/server.h"

static const char USAGE[] =
    "usage: provider [OPTIONS]\n"
    "  --port N         listen on 127.0.0.1:N (default 0: a free port)\n"
    "  --journal FILE   append one JSON line a request (default: kept in memory)\n"
    "  --token TOKEN    the only token, key or password that is right (default: any)\n"
    "  --delay-ms N     time that every answer takes\n"
    "  --script FILE    faults to play from the start; see script.h\n"
    "Prints \"listening PORT\" when it can be used; ends on SIGTERM or SIGINT.\n"
    "Paths: POST /api/send-message (Wasender), POST /send-sms (SMS gateway),\n"
    "POST /VERSION/ID/messages (WhatsApp Cloud API; Instagram when the ID begins with 17841),\n"
    "POST /2010-04-01/Accounts/SID/Messages.json (Twilio),\n"
    "POST /message/sendText/NAME, /message/sendMedia/NAME (Evolution API),\n"
    "POST /api/sendText, /api/sendImage, /api/sendFile (WAHA),\n"
    "POST /sendText, /sendFile, with a session before them or without (open-wa),\n"
    "POST /_control/script, POST /_control/reset, GET /_control/stats, GET "
    "/_control/journal?after=N&limit=M\n";

struct options {
    struct server_settings server;
    const char *journal, *script;
};

static int parse_number(const char *text, int64_t max, int64_t *value)
{
    char *end = NULL;

    *value = strtoll(text, &end, 10);
    return *text != '\0' && *end == '\0' && *value >= 0 && *value <= max ? 0 : -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'},   {"journal", required_argument, NULL, 'j'},
        {"token", required_argument, NULL, 't'},  {"delay-ms", required_argument, NULL, 'd'},
        {"script", required_argument, NULL, 's'}, {NULL, 0, NULL, 0},
    };
    int64_t n = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'p':
            if (parse_number(optarg, UINT16_MAX, &n) != 0)
                return -1;
            o->server.port = (uint16_t)n;
            break;
        case 'd':
            if (parse_number(optarg, 3600 * 1000, &o->server.delay_ms) != 0)
                return -1;
            break;
        case 'j':
            o->journal = optarg;
            break;
        case 't':
            o->server.token = optarg;
            break;
        case 's':
            o->script = optarg;
            break;
        default:
            return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

static int load_script(const char *path, struct script **script, struct err *e)
{
    static char text[JSON_MAX_BYTES + 1];
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return err_set(e, ERR_USAGE, 0, "script %s cannot be read", path);
    size_t len = fread(text, 1, sizeof text, f);
    fclose(f);
    *script = script_parse(text, len, e);
    return *script != NULL ? 0 : err_prefix(e, "script %s", path);
}

static int signals_as_file(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int serve(const struct options *o, struct control *c, struct err *e)
{
    int stop_fd = signals_as_file();

    if (o->script != NULL && load_script(o->script, &c->script, e) != 0)
        return -1;
    c->journal = journal_open(o->journal, e);
    if (c->journal == NULL)
        return -1;
    struct server *s = server_new(&o->server, c, e);
    if (s == NULL)
        return -1;
    printf("listening %d\n", server_port(s));
    fflush(stdout);
    server_run(s, stop_fd);
    server_free(&s);
    close(stop_fd);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct control c = {0};
    struct err e = {0};

    if (parse_options(argc, argv, &o) != 0) {
        fputs(USAGE, stderr);
        return 64;
    }
    int rc = serve(&o, &c, &e);
    if (rc != 0)
        fprintf(stderr, "provider: %s\n", e.text);
    script_free(&c.script);
    journal_close(&c.journal);
    return rc == 0 ? 0 : err_exit_status(&e);
}
