/* The configuration from a file, an environment and --set; and the command line. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "consumer/dlq_options.h"
#include "domain/cli.h"
#include "domain/config.h"
#include "domain/peers.h"
#include "domain/topology.h"

enum { MAX_VARIABLES = 32, MAX_SETS = 16, MAX_WORDS = 32, PRINTED_MAX = 4 << 20 };

/* A file without a name, by a path that can be opened again. */
static int make_file(const char *text, char path[64])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_require(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "memory takes a file");
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static struct config *load_text(const char *text, char *const *environment, const char *const *sets,
                                size_t set_count, struct err *e)
{
    char path[64];
    int fd = make_file(text, path);
    struct config_source source = {
        .file = path, .sets = sets, .set_count = set_count, .environment = environment};
    struct config *c = config_load(&source, e);
    close(fd);
    return c;
}

/* What `check -v` prints is a file that means the same. Secrets are stars there, which are no database URL.
 */
static void check_printed(const struct config *c)
{
    char url[] = "DATABASE_URL=postgresql://db.test";
    char *environment[] = {c->database.url[0] ? url : NULL, NULL};
    struct err e = {0};
    struct buf first, second;

    buf_init(&first, PRINTED_MAX);
    buf_init(&second, PRINTED_MAX);
    config_print(c, &first);
    struct config *again = load_text(buf_str(&first), environment, NULL, 0, &e);
    if (again == NULL)
        fprintf(stderr, "%s\n%s\n", buf_str(&first), e.text);
    fuzz_require(again != NULL, "what is printed can be loaded");
    config_print(again, &second);
    fuzz_require(strcmp(buf_str(&first), buf_str(&second)) == 0, "what is printed means the same");
    config_free(&again);
    buf_fini(&first);
    buf_fini(&second);
}

static void check_config(struct config *c)
{
    char restart[512];
    struct topology t;
    struct err e = {0};

    config_reload(c, c, restart, sizeof restart);
    fuzz_require(restart[0] == '\0', "a config does not differ from itself");
    topology_build(&c->topology, &t);
    struct broker_settings broker = peers_broker_settings(c, "fuzz");
    struct db_settings db = peers_db_settings(c, "fuzz");
    fuzz_require(broker.host_count >= 1 && db.url != NULL, "a config says where the servers are");
    if (channel_check_accounts(c, &e) != 0)
        fuzz_require(e.class == ERR_CONFIG, "an account that cannot be used is the operator's");
    check_printed(c);
}

void fuzz_config(const char *bytes, size_t len)
{
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    char *environment[MAX_VARIABLES + 1] = {NULL};
    const char *sets[MAX_SETS];
    size_t set_count = 0;
    struct err e = {0};
    char *text = fuzz_next(&in), *word;

    for (size_t i = 0; i < MAX_VARIABLES && (word = fuzz_next(&in)) != NULL && *word != '\0'; i++)
        environment[i] = word;
    while (set_count < MAX_SETS && (word = fuzz_next(&in)) != NULL)
        sets[set_count++] = word;
    struct config *c = load_text(text ? text : "", environment, sets, set_count, &e);
    if (c != NULL)
        check_config(c);
    else
        fuzz_require(e.class == ERR_CONFIG && e.text[0] != '\0' && !strchr(e.text, '\n'),
                     "a fault is one line for the operator");
    config_free(&c);
    arena_free(&in.arena);
}

static void check_dlq(const struct cli *cli)
{
    struct dlq_options o;
    struct err e = {0};

    if (dlq_options_parse(cli->argc, cli->argv, &o, &e) != 0)
        fuzz_require(e.class == ERR_USAGE && e.text[0] != '\0', "a fault of the command line is named");
    else
        fuzz_require(o.help ||
                         (o.limit >= 1 && o.limit <= DLQ_LIMIT_MAX && o.rate >= 0 && o.rate <= DLQ_RATE_MAX),
                     "dlq moves as much as was allowed");
}

void fuzz_cli(const char *bytes, size_t len)
{
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    char *argv[MAX_WORDS + 1] = {arena_strdup(in.arena, "agwb")};
    int argc = 1;
    char *word;
    struct cli cli;
    struct config_source source;
    struct err e = {0};

    while (argc < MAX_WORDS && (word = fuzz_next(&in)) != NULL)
        argv[argc++] = word;
    if (cli_parse(argc, argv, &cli, &e) != 0) {
        fuzz_require(e.class == ERR_USAGE && e.text[0] != '\0', "a fault of the command line is named");
    } else {
        fuzz_require(cli.command != NULL && cli.argc < argc && cli.set_count <= CLI_MAX_SETS,
                     "the words are shared out");
        cli_config_source(&cli, (char *[]){NULL}, &source);
        fuzz_require(source.file != NULL && source.set_count == cli.set_count, "a source comes of it");
        if (strcmp(cli.command, "dlq") == 0)
            check_dlq(&cli);
    }
    arena_free(&in.arena);
}
