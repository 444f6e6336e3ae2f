/* See bench.h. One thread, one epoll; requests are only looked at for their end. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"

enum { REQUEST_MAX = 65536, EVENTS_MAX = 256 };

struct client {
    TAILQ_ENTRY(client) waiting;
    int fd;
    size_t len;
    bool is_waiting; /* for due_at */
    int64_t due_at;
    char data[REQUEST_MAX + 1];
};
TAILQ_HEAD(client_list, client);

struct sink {
    int epoll, listener, stop;
    int64_t delay_ms;
    uint64_t taken;
    struct distinct *recipients;
    struct client_list waiting; /* all wait equally long: the first is due first */
};

static void client_close(struct sink *s, struct client *c)
{
    if (c->is_waiting)
        TAILQ_REMOVE(&s->waiting, c, waiting);
    close(c->fd);
    free(c);
}

static bool answer(struct sink *s, struct client *c, bool is_count)
{
    char body[96], text[256];
    int body_len = is_count ? snprintf(body, sizeof body, "{\"count\":%" PRIu64 ",\"distinct\":%" PRIu64 "}",
                                       s->taken, distinct_count(s->recipients))
                            : snprintf(body, sizeof body,
                                       "{\"success\":true,\"data\":{\"msgId\":%" PRIu64
                                       ",\"jid\":\"+12025550143\",\"status\":\"in_progress\"}}",
                                       100000 + s->taken);
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                       body_len, body);

    return write(c->fd, text, (size_t)len) == len;
}

/* The length of the request at the front; 0 while it is not whole. */
static size_t whole_request(const struct client *c)
{
    const char *end = strstr(c->data, "\r\n\r\n");
    const char *length = end ? strcasestr(c->data, "\r\nContent-Length:") : NULL;
    size_t body = length && length < end ? (size_t)strtoull(length + 17, NULL, 10) : 0;

    if (!end)
        return 0;
    size_t whole = (size_t)(end - c->data) + 4 + body;
    return c->len >= whole ? whole : 0;
}

static void note_recipient(struct sink *s, const struct client *c)
{
    const char *to = strstr(c->data, "\"to\":\"");
    if (to)
        distinct_add(s->recipients, to + 6, strcspn(to + 6, "\""));
}

static bool finish(struct sink *s, struct client *c)
{
    size_t whole = whole_request(c);
    bool is_count = strncmp(c->data, "GET ", 4) == 0;

    if (!is_count) {
        s->taken++;
        note_recipient(s, c);
    }
    c->len -= whole;
    memmove(c->data, c->data + whole, c->len);
    c->data[c->len] = '\0';
    return answer(s, c, is_count);
}

static bool look(struct sink *s, struct client *c)
{
    while (!c->is_waiting && whole_request(c) > 0) {
        if (s->delay_ms > 0 && c->data[0] == 'P') {
            c->is_waiting = true;
            c->due_at = clock_mono_ms() + s->delay_ms;
            TAILQ_INSERT_TAIL(&s->waiting, c, waiting);
        } else if (!finish(s, c)) {
            return false;
        }
    }
    return true;
}

static void on_readable(struct sink *s, struct client *c)
{
    ssize_t got = read(c->fd, c->data + c->len, REQUEST_MAX - c->len);

    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            client_close(s, c);
        return;
    }
    c->len += (size_t)got;
    c->data[c->len] = '\0';
    if (!look(s, c))
        client_close(s, c);
}

static void on_due(struct sink *s)
{
    struct client *c;

    while ((c = TAILQ_FIRST(&s->waiting)) && c->due_at <= clock_mono_ms()) {
        TAILQ_REMOVE(&s->waiting, c, waiting);
        c->is_waiting = false;
        if (!finish(s, c) || !look(s, c))
            client_close(s, c);
    }
}

static void on_connection(struct sink *s)
{
    int one = 1, fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    struct client *c = xcalloc(1, sizeof *c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void watch(struct sink *s, int fd, void *mark)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = mark};
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void serve(struct sink *s)
{
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        const struct client *first = TAILQ_FIRST(&s->waiting);
        int64_t wait = first ? first->due_at - clock_mono_ms() : -1;
        int count = epoll_wait(s->epoll, events, EVENTS_MAX, first && wait < 0 ? 0 : (int)wait);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &s->stop)
                return;
            if (events[i].data.ptr == &s->listener)
                on_connection(s);
            else
                on_readable(s, events[i].data.ptr);
        }
        on_due(s);
    }
}

int sink_run(int64_t delay_ms, struct err *e)
{
    struct sink s = {
        .delay_ms = delay_ms, .epoll = epoll_create1(EPOLL_CLOEXEC), .recipients = distinct_new()};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    s.stop = signalfd(-1, &set, SFD_CLOEXEC);
    s.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    TAILQ_INIT(&s.waiting);
    if (bind(s.listener, (struct sockaddr *)&at, len) != 0 || listen(s.listener, 1024) != 0 ||
        getsockname(s.listener, (struct sockaddr *)&at, &len) != 0)
        return err_set(e, ERR_UNAVAILABLE, errno, "sink: %s", strerror(errno));
    watch(&s, s.listener, &s.listener);
    watch(&s, s.stop, &s.stop);
    printf("listening %d\n", ntohs(at.sin_port));
    fflush(stdout);
    serve(&s);
    free(s.recipients);
    return 0;
}
