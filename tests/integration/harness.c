/* See harness.h. */
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/clock.h"

extern char **environ;

enum { PAUSE_MS = 5, FILE_LIMIT = 64 << 20 };

/* --- waiting --- */

struct wait wait_begin(const char *what)
{
    return (struct wait){.what = what, .deadline_at = clock_mono_ms() + PATIENCE_MS};
}

void wait_turn(struct wait *w)
{
    if (clock_mono_ms() > w->deadline_at)
        fail_msg("waited in vain for: %s", w->what);
    poll(NULL, 0, PAUSE_MS);
}

/* --- processes --- */

/* A copy of what a child may know; the list is ours, the strings are environ's. */
static char **small_environment(void)
{
    static const char *const KEPT[] = {"PATH=",         "TMPDIR=",       "AGWB_TEST_",
                                       "ASAN_OPTIONS=", "LSAN_OPTIONS=", "UBSAN_OPTIONS="};
    size_t count = 0, kept = 0;
    while (environ[count] != NULL)
        count++;
    char **list = calloc(count + 1, sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof KEPT / sizeof KEPT[0]; k++) {
            if (strncmp(environ[i], KEPT[k], strlen(KEPT[k])) == 0)
                list[kept++] = environ[i];
        }
    }
    return list;
}

static void redirect(int fd, const char *path, int flags)
{
    int file = open(path, flags, 0600);
    if (file < 0 || dup2(file, fd) < 0)
        _exit(126);
}

/* In the child, between fork and exec. */
static void become(const struct process *p, const char *dir, const char *const *argv, char **environment)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
    redirect(STDOUT_FILENO, p->out, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, p->log, O_WRONLY | O_CREAT | O_APPEND);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (chdir(dir) != 0)
        _exit(126);
    execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    _exit(127);
}

void process_start(struct process *p, const char *dir, const char *name, const char *const *argv)
{
    *p = (struct process){0};
    snprintf(p->out, sizeof p->out, "%s/%s.out", dir, name);
    snprintf(p->log, sizeof p->log, "%s/%s.log", dir, name);
    char **environment = small_environment();
    p->pid = fork();
    if (p->pid == 0)
        become(p, dir, argv, environment);
    free(environment);
    assert_true(p->pid > 0);
}

bool process_has_ended(struct process *p)
{
    int status;
    if (p->pid == 0 || p->ended)
        return true;
    if (waitpid(p->pid, &status, WNOHANG) != p->pid)
        return false;
    p->ended = true;
    p->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

int process_wait(struct process *p)
{
    WAIT_UNTIL(process_has_ended(p));
    return p->status;
}

void process_signal(const struct process *p, int signo)
{
    assert_true(p->pid > 0 && !p->ended);
    assert_int_equal(kill(p->pid, signo), 0);
}

int process_end(struct process *p)
{
    process_signal(p, SIGTERM);
    return process_wait(p);
}

void process_kill(struct process *p)
{
    if (p->pid == 0 || process_has_ended(p))
        return;
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    p->ended = true;
    p->status = 128 + SIGKILL;
}

/* --- files and logs --- */

void file_read(const char *path, struct buf *out)
{
    char bytes[65536];
    ssize_t len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    buf_init(out, FILE_LIMIT);
    while (fd >= 0 && (len = read(fd, bytes, sizeof bytes)) > 0)
        buf_add(out, bytes, (size_t)len);
    if (fd >= 0)
        close(fd);
}

void file_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void take_line(const char *line, size_t len, file_line_fn *fn, void *arg)
{
    struct err ignored;
    struct json *doc = json_parse(line, len, &ignored);
    if (doc == NULL)
        return;
    struct buf text;
    buf_init(&text, FILE_LIMIT);
    buf_add(&text, line, len);
    fn(arg, json_root(doc), buf_str(&text));
    buf_fini(&text);
    json_free(&doc);
}

void file_each_json(const char *path, file_line_fn *fn, void *arg)
{
    struct buf bytes;
    file_read(path, &bytes);
    for (size_t at = 0; at < bytes.len;) {
        const char *line = bytes.data + at;
        const char *end = memchr(line, '\n', bytes.len - at);
        if (end == NULL)
            break;
        take_line(line, (size_t)(end - line), fn, arg);
        at += (size_t)(end - line) + 1;
    }
    buf_fini(&bytes);
}

struct log_search {
    const char *event, *key, *value;
    size_t count;
    char last[1024];
};

static void search_line(void *arg, const struct json_node *line, const char *text)
{
    struct log_search *s = arg;
    const char *event = json_str(json_member(line, "event"));
    const struct json_node *member = s->key != NULL ? json_member(line, s->key) : NULL;
    const char *string = json_str(member);
    int64_t number;

    (void)text;
    if (event == NULL || strcmp(event, s->event) != 0)
        return;
    if (s->value != NULL && (string == NULL || strcmp(string, s->value) != 0))
        return;
    s->count++;
    if (string != NULL)
        snprintf(s->last, sizeof s->last, "%s", string);
    else if (json_int(member, &number))
        snprintf(s->last, sizeof s->last, "%lld", (long long)number);
}

size_t log_count(const struct process *p, const char *event, const char *key, const char *value)
{
    struct log_search s = {.event = event, .key = key, .value = value};
    file_each_json(p->log, search_line, &s);
    return s.count;
}

const char *log_last(const struct process *p, const char *event, const char *key)
{
    static struct log_search s;
    s = (struct log_search){.event = event, .key = key};
    file_each_json(p->log, search_line, &s);
    return s.last;
}

void file_show_end(const char *path)
{
    enum { SHOWN = 6000 };
    struct buf bytes;
    file_read(path, &bytes);
    size_t from = bytes.len > SHOWN ? bytes.len - SHOWN : 0;
    if (bytes.len > 0)
        fprintf(stderr, "--- the end of %s:\n%s\n", path, buf_str(&bytes) + from);
    buf_fini(&bytes);
}

/* --- http --- */

static int connect_to(int port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
    const struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static void exchange(int fd, struct buf *request, struct buf *answer)
{
    char bytes[65536];
    ssize_t len;
    if (send(fd, request->data, request->len, MSG_NOSIGNAL) != (ssize_t)request->len)
        return;
    while ((len = recv(fd, bytes, sizeof bytes, 0)) > 0)
        buf_add(answer, bytes, (size_t)len);
}

static int take_answer(struct buf *answer, struct buf *body)
{
    int status = 0;
    const char *text = buf_str(answer);
    const char *head_end = strstr(text, "\r\n\r\n");
    if (head_end == NULL || sscanf(text, "HTTP/1.1 %3d", &status) != 1)
        return 0;
    if (body != NULL) {
        buf_clear(body);
        buf_add_str(body, head_end + 4);
    }
    return status;
}

int web_ask(int port, const char *path, const char *text, struct buf *body)
{
    struct buf request, answer;
    int fd = connect_to(port);
    if (fd < 0)
        return 0;
    buf_init(&request, FILE_LIMIT);
    buf_init(&answer, FILE_LIMIT);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n", text ? "POST" : "GET",
               path);
    if (text != NULL)
        buf_printf(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(text));
    buf_add_str(&request, "\r\n");
    buf_add_str(&request, text);
    exchange(fd, &request, &answer);
    close(fd);
    int status = take_answer(&answer, body);
    buf_fini(&request);
    buf_fini(&answer);
    return status;
}

int web_free_port(void)
{
    for (int i = 0; i < 1000; i++) {
        int port = 20000 + (int)(random_u64() % 6000);
        struct sockaddr_in at = {
            .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int rc = bind(fd, (struct sockaddr *)&at, sizeof at);
        close(fd);
        if (rc == 0)
            return port;
    }
    fail_msg("no free port");
    return 0;
}

/* --- the sandbox --- */

const char *sandbox_value(const char *variable)
{
    const char *value = getenv(variable);
    if (value == NULL)
        fail_msg("%s is not set: run this under tests/sandbox/sandbox", variable);
    return value;
}

void sandbox_run(const char *variable, const char *const *args)
{
    const char *argv[PROCESS_MAX_ARGS] = {sandbox_value(variable)};
    struct process p;
    for (size_t i = 0; args[i] != NULL; i++)
        argv[i + 1] = args[i];
    process_start(&p, sandbox_value("AGWB_TEST_DIR"), "control", argv);
    if (process_wait(&p) != 0) {
        file_show_end(p.log);
        fail_msg("%s %s: status %d", variable, args[0], p.status);
    }
}
