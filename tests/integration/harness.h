/* What the end-to-end tests need of the machine: waiting for the observable thing, child processes that never
 * outlive the test, their logs, a plain HTTP client, free ports. Knows nothing of agwb. */
#ifndef AGWB_TESTS_HARNESS_H
#define AGWB_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"

/* --- waiting --- */
enum { PATIENCE_MS = 40000 };

struct wait {
    const char *what;
    int64_t deadline_at; /* monotonic ms */
};
struct wait wait_begin(const char *what);
/* Pauses some milliseconds; after PATIENCE_MS the test fails with `what`. */
void wait_turn(struct wait *w);
/* WAIT_UNTIL(a == b); */
#define WAIT_UNTIL(condition)                                                                                \
    for (struct wait wait_ = wait_begin(#condition); !(condition); wait_turn(&wait_))

/* --- processes --- */
enum { PATH_SIZE = 512, PROCESS_MAX_ARGS = 64 };

struct process {
    pid_t pid;  /* 0 = none */
    int status; /* of one that has ended: the exit status, or 128 + signal */
    bool ended;
    char out[PATH_SIZE], log[PATH_SIZE]; /* files of its stdout and stderr */
};

/* Starts argv[0] in folder `dir` with a small environment (PATH, TMPDIR, the sanitizers' options, the
 * sandbox's AGWB_TEST_ ones); stdout goes to dir/NAME.out, stderr to dir/NAME.log behind what is there.
 * It is killed when we end. */
void process_start(struct process *p, const char *dir, const char *name, const char *const *argv);
bool process_has_ended(struct process *p);
/* Waits for its end and returns the status. */
int process_wait(struct process *p);
void process_signal(const struct process *p, int signo);
/* SIGTERM, and the status. */
int process_end(struct process *p);
/* SIGKILL, gone when it returns; nothing when there is none. */
void process_kill(struct process *p);

/* --- files and logs --- */
/* The file's bytes; empty when it does not exist. */
void file_read(const char *path, struct buf *out);
void file_write(const char *path, const char *text); /* mode 0600 */
/* Calls fn with each complete line that is JSON. */
typedef void file_line_fn(void *arg, const struct json_node *line, const char *text);
void file_each_json(const char *path, file_line_fn *fn, void *arg);

/* How many log events there are with this event text whose member `key` is the string `value` (NULL: any).
 * Each test's log begins empty. */
size_t log_count(const struct process *p, const char *event, const char *key, const char *value);
/* The member `key` of the last such event as text; static memory, "" when there is none. */
const char *log_last(const struct process *p, const char *event, const char *key);
/* The file's end to stderr, for whoever must find out why a test failed. */
void file_show_end(const char *path);

/* --- http --- */
/* One request to 127.0.0.1 and its answer: the status, 0 when nobody answers. A NULL text means GET, else
 * POST; body may be NULL. */
int web_ask(int port, const char *path, const char *text, struct buf *body);
/* A port that nobody listens on, below the range that the system hands out by itself. */
int web_free_port(void);

/* Runs a program of the sandbox named by an environment variable, e.g. ("AGWB_TEST_BROKER_CTL", "kill"). Its
 * status must be 0. */
void sandbox_run(const char *variable, const char *const *args);
const char *sandbox_value(const char *variable); /* the test fails when it is not set */

#endif
