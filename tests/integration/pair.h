/* The world of one end-to-end test: a virtual host and a database of its own on the sandbox's servers, a
 * configuration file, the two daemons, the provider's stand-in. All of it is gone when the test is over,
 * however it ends; a failed test shows the ends of the logs. */
#ifndef AGWB_TESTS_PAIR_H
#define AGWB_TESTS_PAIR_H

#include "harness.h"
#include "io/broker.h"
#include "io/db.h"

enum { PAIR_MAX_SETS = 32, PAIR_MORE = 2, PAIR_MAX_ACCOUNTS = 30 };

struct pair {
    char dir[PATH_SIZE - 64]; /* the test's own folder */
    char config[PATH_SIZE];
    char vhost[64], database[64], url[256];       /* the owner's; the programs have their roles' */
    char publisher_role[320], consumer_role[320]; /* "database.url=..." */
    struct process publisher, consumer, provider, agent, hooks;
    struct process more[PAIR_MORE];                   /* whatever else a test starts */
    int publisher_port, consumer_port, provider_port; /* /metrics; the stand-in's */
    int64_t timeout_ms;                               /* of both accounts */
    const char *sets[PAIR_MAX_SETS];                  /* static strings */
    size_t set_count;
    const char *accounts[PAIR_MAX_ACCOUNTS]; /* further ones; static strings */
    size_t account_count;
    struct db_session *db;       /* for rows.h; opened when first used */
    struct broker_session *amqp; /* for wire.h; the same */
    struct arena *texts;         /* what rows.h hands out */
    bool passed;
};

typedef void pair_test_fn(struct pair *p);

/* For a binary's table and its main(). */
struct pair_case {
    pair_test_fn *run;
};
#define PAIR_TEST(fn)                                                                                        \
    {                                                                                                        \
#fn, pair_run, pair_open, pair_close, &(struct pair_case)                                            \
        {                                                                                                    \
            fn                                                                                               \
        }                                                                                                    \
    }
void pair_run(void **state);
int pair_open(void **state);
int pair_close(void **state);
int pair_open_group(void **state); /* migrates the database that each test gets a copy of */
int pair_close_group(void **state);
/* argv[1], if there is one: a pattern of the tests to run ("*restart*"). */
void pair_options(int argc, char **argv);

/* One more "group.key=value" for whatever is started from now on; it stands above the file. The file has both
 * accounts (wa: wasender, whatsapp; sms: sms_gateway, sms), limits off and short polls. */
void pair_set(struct pair *p, const char *option);
/* One more account: its members as the file has them, but timeout_ms, and base_url unless it is elsewhere.
 * "default = true;" puts it before the file's own for its channel. */
void pair_account(struct pair *p, const char *members);
void pair_write_config(struct pair *p);

/* Starts a daemon; `..._ready` waits until its /readyz says so. The provider is started with the consumer. */
void pair_start_publisher(struct pair *p);
void pair_start_consumer(struct pair *p);
void pair_start_publisher_ready(struct pair *p);
void pair_start_consumer_ready(struct pair *p);
void pair_start_provider(struct pair *p);
/* Any program of the build folder with the test's configuration, e.g. a second instance. */
void pair_start_program(struct pair *p, struct process *process, const char *name, const char *program,
                        const char *option);
/* The stand-in agent, or the Python one, with these further arguments (NULL-terminated); waits for its
 * "ready". */
void pair_start_agent(struct pair *p, const char *const *args);
void pair_start_python_agent(struct pair *p, const char *const *args);

#define PAIR_HOOK_SECRET "hook-secret"
/* Reports on each message that the provider takes, signed with PAIR_HOOK_SECRET, into webhook_inbox; with
 * these further arguments (NULL-terminated). The provider must have been started. */
void pair_start_hooks(struct pair *p, const char *const *args);
/* A person's message as this provider posts it, signed, into webhook_inbox. */
void pair_hook_message(struct pair *p, const char *provider, const char *from, const char *text);

/* Runs a one-shot command of a daemon, e.g. ("agwb-consumer", {"dlq", "list", NULL}); its status, its stdout
 * in *out (owned by the caller) and its stderr in p->more[0].log. */
int pair_command(struct pair *p, const char *program, const char *const *args, struct buf *out);

bool pair_is_ready(struct process *process, int port);
/* A metric's value by its full name with labels; -1 when it is not there or nobody answers. */
double pair_metric(int port, const char *series);

/* --- the provider's stand-in --- */
void pair_script(struct pair *p, const char *json); /* faults from now on: tests/provider/script.h */
/* Requests in the journal; messages that the provider took, with this text (NULL: all). */
size_t pair_requests(const struct pair *p);
size_t pair_sent(const struct pair *p, const char *text);
/* True when no two messages that the provider took have the same text. */
bool pair_sent_once_each(const struct pair *p);
/* The n-th journal line (from 0) as text, owned by the caller; the test fails when there is none. */
void pair_journal_line(const struct pair *p, size_t n, struct buf *line);

#endif
