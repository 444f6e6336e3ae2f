/* The stand-in's HTTP on libmicrohttpd, driven by one poll loop without threads.
 *
 * An exchange is one request and its answer. It is READING until the request is whole, then decided upon and
 * journaled, then either answered at once or WAITING (suspended: a delay, a byte of a drip) or HANGING
 * (suspended until the client gives up), then DUE: resumed, and ended when libmicrohttpd asks again. What
 * libmicrohttpd cannot do (RST, bytes that are not HTTP) is done on its socket, and the connection is then
 * closed by a "no" to it. */
#include "tests/provider/server.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "tests/provider/play.h"

enum exchange_state { EXCHANGE_READING = 0, EXCHANGE_WAITING, EXCHANGE_HANGING, EXCHANGE_DUE };

struct exchange {
    TAILQ_ENTRY(exchange) entry; /* in waiting or hanging, by its state */
    struct server *server;
    struct MHD_Connection *connection;
    enum exchange_state state;
    bool is_counted; /* in stats.in_flight */
    struct buf body;
    struct play play;
    int64_t due_us; /* WAITING */
    size_t bytes_sent;
};
TAILQ_HEAD(exchange_list, exchange);

struct server {
    const struct server_settings *settings;
    struct control *control;
    struct MHD_Daemon *daemon;
    struct exchange_list waiting; /* by due_us */
    struct exchange_list hanging;
    int hang_epoll; /* tells when a client of `hanging` has gone */
    uint64_t connections;
};

/* --- waiting --- */

/* Most waits are equally long, so that the place is nearly always the end. */
static void wait_until_us(struct exchange *x, int64_t due_us)
{
    struct exchange_list *list = &x->server->waiting;
    struct exchange *before = TAILQ_LAST(list, exchange_list);

    x->due_us = due_us;
    x->state = EXCHANGE_WAITING;
    while (before != NULL && before->due_us > due_us)
        before = TAILQ_PREV(before, exchange_list, entry);
    if (before != NULL)
        TAILQ_INSERT_AFTER(list, before, x, entry);
    else
        TAILQ_INSERT_HEAD(list, x, entry);
}

static int socket_of(const struct exchange *x)
{
    return MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static void hang(struct exchange *x)
{
    struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = x};

    x->state = EXCHANGE_HANGING;
    TAILQ_INSERT_TAIL(&x->server->hanging, x, entry);
    if (epoll_ctl(x->server->hang_epoll, EPOLL_CTL_ADD, socket_of(x), &event) != 0)
        abort();
}

/* Takes it off its list; libmicrohttpd will ask again for an answer. */
static void make_due(struct exchange *x)
{
    if (x->state == EXCHANGE_HANGING) {
        epoll_ctl(x->server->hang_epoll, EPOLL_CTL_DEL, socket_of(x), NULL);
        TAILQ_REMOVE(&x->server->hanging, x, entry);
    } else {
        TAILQ_REMOVE(&x->server->waiting, x, entry);
    }
    x->state = EXCHANGE_DUE;
    MHD_resume_connection(x->connection);
}

static void drop_all(struct server *s)
{
    while (!TAILQ_EMPTY(&s->hanging)) {
        TAILQ_FIRST(&s->hanging)->play.ending = END_CLOSE;
        make_due(TAILQ_FIRST(&s->hanging));
    }
    while (!TAILQ_EMPTY(&s->waiting)) {
        TAILQ_FIRST(&s->waiting)->play.ending = END_CLOSE;
        make_due(TAILQ_FIRST(&s->waiting));
    }
}

/* --- endings --- */

/* RST now, whatever libmicrohttpd does with the socket later. */
static void reset_connection(struct MHD_Connection *connection)
{
    const struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

    if (connect(fd, &unspecified, sizeof unspecified) != 0)
        abort();
}

static ssize_t pad(void *arg, uint64_t position, char *out, size_t max)
{
    (void)arg;
    (void)position;
    memset(out, ' ', max);
    return (ssize_t)max;
}

static enum MHD_Result queue_answer(struct exchange *x)
{
    struct provider_answer *a = &x->play.answer;
    struct MHD_Response *r;

    if (x->play.padding > 0)
        r = MHD_create_response_from_callback(x->play.padding, 16 * 1024, pad, NULL, NULL);
    else
        r = MHD_create_response_from_buffer(a->body.len, a->body.data, MHD_RESPMEM_MUST_COPY);
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    for (size_t i = 0; i < a->header_count; i++) {
        if (strcasecmp(a->headers[i].name, MHD_HTTP_HEADER_CONTENT_TYPE) == 0)
            MHD_del_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
        MHD_add_response_header(r, a->headers[i].name, a->headers[i].value);
    }
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)a->status, r);
    MHD_destroy_response(r);
    return result;
}

/* Sends what is due; true when all is out or the client has gone. A blocked socket ends it, too: what is sent
 * here is small. */
static bool send_bytes(struct exchange *x)
{
    const struct buf *bytes = &x->play.bytes;
    size_t len = x->play.us_per_byte > 0 ? 1 : bytes->len;

    if (x->bytes_sent == bytes->len ||
        send(socket_of(x), bytes->data + x->bytes_sent, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
        return true;
    x->bytes_sent += len;
    return x->bytes_sent == bytes->len;
}

static enum MHD_Result end_exchange(struct exchange *x)
{
    switch (x->play.ending) {
    case END_ANSWER:
        return queue_answer(x);
    case END_RESET:
        reset_connection(x->connection);
        return MHD_NO;
    case END_CLOSE:
        return MHD_NO;
    case END_BYTES:
        if (send_bytes(x))
            return MHD_NO;
        wait_until_us(x, clock_mono_us() + x->play.us_per_byte);
        MHD_suspend_connection(x->connection);
        return MHD_YES;
    case END_HANG:
        x->play.ending = END_CLOSE;
        hang(x);
        MHD_suspend_connection(x->connection);
        return MHD_YES;
    }
    return MHD_NO;
}

/* --- from request to answer --- */

static const char *header_of(void *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static const char *argument_of(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

static uint64_t connection_number(struct MHD_Connection *connection)
{
    return (uint64_t)(uintptr_t)MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
        ->socket_context;
}

/* Plays it now or, after the delay, when libmicrohttpd asks again. */
static enum MHD_Result play_or_wait(struct exchange *x, struct provider_request *q)
{
    const struct server *s = x->server;
    struct json *doc = provider_is_json(q) ? json_parse(q->body, q->body_len, NULL) : NULL;

    q->json = doc != NULL ? json_root(doc) : NULL;
    play_request(&x->play, s->control, q, connection_number(x->connection), x->body.failed);
    json_free(&doc);
    int64_t delay_ms = s->settings->delay_ms + x->play.delay_ms;
    x->state = EXCHANGE_DUE;
    if (delay_ms == 0)
        return end_exchange(x);
    wait_until_us(x, clock_mono_us() + delay_ms * 1000);
    MHD_suspend_connection(x->connection);
    return MHD_YES;
}

/* The request is whole. */
static enum MHD_Result on_request(struct exchange *x, const char *method, const char *path)
{
    struct MHD_Connection *connection = x->connection;
    struct provider_request q = {
        .method = method,
        .path = path,
        .authorization = header_of(connection, MHD_HTTP_HEADER_AUTHORIZATION),
        .content_type = header_of(connection, MHD_HTTP_HEADER_CONTENT_TYPE),
        .body = x->body.failed ? "" : buf_str(&x->body),
        .body_len = x->body.failed ? 0 : x->body.len,
        .token = x->server->settings->token,
        .header = header_of,
        .connection = connection,
    };

    if (!control_owns(path))
        return play_or_wait(x, &q);
    control_answer(x->server->control, &q, argument_of(connection, "after"), argument_of(connection, "limit"),
                   &x->play.answer);
    return queue_answer(x);
}

static bool is_ended_early(struct exchange *x, const char *method, const char *path)
{
    const struct provider_request q = {.method = method, .path = path, .body = ""};

    return !control_owns(path) &&
           play_early(&x->play, x->server->control, &q, connection_number(x->connection));
}

static struct exchange *exchange_new(struct server *s, struct MHD_Connection *connection, const char *path)
{
    struct exchange *x = xcalloc(1, sizeof *x);

    x->server = s;
    x->connection = connection;
    buf_init(&x->body, PROVIDER_MAX_BODY);
    play_init(&x->play);
    x->is_counted = !control_owns(path);
    if (x->is_counted) {
        struct stats *stats = &s->control->stats;
        stats->in_flight++;
        if (stats->in_flight > stats->max_in_flight)
            stats->max_in_flight = stats->in_flight;
    }
    return x;
}

/* libmicrohttpd asks with the headers, with each piece of the body, when the request is whole, and after each
 * resume. */
static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *path,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_len, void **context)
{
    struct exchange *x = *context;

    (void)version;
    if (x == NULL) {
        x = *context = exchange_new(arg, connection, path);
        return is_ended_early(x, method, path) ? end_exchange(x) : MHD_YES;
    }
    if (*upload_len > 0) {
        buf_add(&x->body, upload, *upload_len);
        *upload_len = 0;
        return MHD_YES;
    }
    return x->state == EXCHANGE_READING ? on_request(x, method, path) : end_exchange(x);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)connection;
    (void)code;
    if (x == NULL)
        return;
    *context = NULL;
    if (x->is_counted)
        ((struct server *)arg)->control->stats.in_flight--;
    buf_fini(&x->body);
    play_fini(&x->play);
    free(x);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *s = arg;

    (void)connection;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = (void *)(uintptr_t)++s->connections;
        s->control->stats.connections++;
        s->control->stats.connections_open++;
    } else {
        s->control->stats.connections_open--;
    }
}

/* --- the server --- */

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

struct server *server_new(const struct server_settings *settings, struct control *c, struct err *e)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(settings->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct server *s = xcalloc(1, sizeof *s);

    raise_file_limit();
    s->settings = settings;
    s->control = c;
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->hanging);
    s->hang_epoll = epoll_create1(EPOLL_CLOEXEC);
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, s,
                                 MHD_OPTION_SOCK_ADDR, (const struct sockaddr *)&address,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
                                 on_connection, s, MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024u,
                                 MHD_OPTION_CONNECTION_LIMIT, 8192u, MHD_OPTION_END);
    if (s->daemon == NULL || s->hang_epoll < 0) {
        err_set(e, ERR_UNAVAILABLE, errno, "cannot listen on 127.0.0.1:%u: %s", settings->port,
                strerror(errno));
        server_free(&s);
    }
    return s;
}

void server_free(struct server **s)
{
    if (*s == NULL)
        return;
    if ((*s)->daemon != NULL) {
        drop_all(*s); /* libmicrohttpd must not be stopped with suspended connections */
        MHD_run((*s)->daemon);
        MHD_stop_daemon((*s)->daemon);
    }
    if ((*s)->hang_epoll >= 0)
        close((*s)->hang_epoll);
    free(*s);
    *s = NULL;
}

int server_port(const struct server *s)
{
    return MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

static void wake_waiting(struct server *s)
{
    int64_t now = clock_mono_us();
    struct exchange *x;

    while ((x = TAILQ_FIRST(&s->waiting)) != NULL && x->due_us <= now)
        make_due(x);
}

static void drop_gone_clients(struct server *s)
{
    struct epoll_event events[64];
    int count = epoll_wait(s->hang_epoll, events, 64, 0);

    for (int i = 0; i < count; i++)
        make_due(events[i].data.ptr);
}

/* How long the next poll may sleep; NULL = for ever. */
static const struct timespec *sleep_time(struct server *s, struct timespec *t)
{
    MHD_UNSIGNED_LONG_LONG mhd_ms = 0;
    int64_t us = INT64_MAX;

    if (MHD_get_timeout(s->daemon, &mhd_ms) == MHD_YES && mhd_ms < INT_MAX)
        us = (int64_t)mhd_ms * 1000;
    if (!TAILQ_EMPTY(&s->waiting)) {
        int64_t left = TAILQ_FIRST(&s->waiting)->due_us - clock_mono_us();
        us = left < us ? left : us;
    }
    if (us == INT64_MAX)
        return NULL;
    us = us < 0 ? 0 : us;
    *t = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    return t;
}

void server_run(struct server *s, int stop_fd)
{
    struct pollfd fds[] = {
        {.fd = stop_fd, .events = POLLIN},
        {.fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN},
        {.fd = s->hang_epoll, .events = POLLIN},
    };
    struct timespec t;

    while ((fds[0].revents & POLLIN) == 0) {
        if (ppoll(fds, sizeof fds / sizeof fds[0], sleep_time(s, &t), NULL) < 0 && errno != EINTR)
            abort();
        if (fds[2].revents != 0)
            drop_gone_clients(s);
        wake_waiting(s);
        MHD_run(s->daemon);
        if (s->control->release) {
            s->control->release = false;
            drop_all(s);
        }
    }
}
