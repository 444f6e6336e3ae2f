/* See receiver.h. One request a connection, one connection at a time. */
#include "receiver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 65536 };

/* In one write: who counts lines meanwhile sees a whole one or none. */
static void append_line(const char *path, const char *text, size_t len)
{
    static char line[REQUEST_MAX + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    for (size_t i = 0; i < len; i++)
        line[i] = text[i] == '\r' ? ' ' : text[i] == '\n' ? '|' : text[i];
    line[len] = '\n';
    (void)!write(fd, line, len + 1);
    close(fd);
}

/* Where the body of a whole request begins; 0 while it is not whole. */
static size_t body_at(const char *request, size_t len)
{
    const char *end = strstr(request, "\r\n\r\n"), *length = strstr(request, "Content-Length: ");
    size_t at = end ? (size_t)(end - request) + 4 : 0;

    if (!end || (length && len < at + strtoul(length + 16, NULL, 10)))
        return 0;
    return at;
}

static void take_one(const struct receiver *r, int fd, int status)
{
    static char request[REQUEST_MAX];
    char answer[128];
    size_t len = 0, at = 0;

    while (at == 0 && len < sizeof request - 1) {
        ssize_t n = recv(fd, request + len, sizeof request - 1 - len, 0);
        if (n <= 0)
            return;
        len += (size_t)n;
        request[len] = '\0';
        at = body_at(request, len);
    }
    append_line(r->heads, request, at);
    append_line(r->bodies, request + at, len - at);
    snprintf(answer, sizeof answer, "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
             status);
    (void)send(fd, answer, strlen(answer), MSG_NOSIGNAL);
}

void receiver_start(struct receiver *r, const char *dir, int status)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(listen(fd, 16), 0);
    r->port = ntohs(at.sin_port);
    snprintf(r->bodies, sizeof r->bodies, "%s/receiver-%d.bodies", dir, r->port);
    snprintf(r->heads, sizeof r->heads, "%s/receiver-%d.heads", dir, r->port);
    r->process = (struct process){.pid = fork()};
    if (r->process.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int client; (client = accept(fd, NULL, NULL)) >= 0; close(client))
            take_one(r, client, status);
        _exit(0);
    }
    close(fd);
}

void receiver_end(struct receiver *r)
{
    process_kill(&r->process);
}

size_t receiver_count(const struct receiver *r, const char *text)
{
    struct buf bodies;
    size_t count = 0;

    file_read(r->bodies, &bodies);
    char *line = strdup(buf_str(&bodies)), *rest = line;
    for (char *one; (one = strsep(&rest, "\n")) != NULL;)
        count += *one && (!text || strstr(one, text));
    free(line);
    buf_fini(&bodies);
    return count;
}
