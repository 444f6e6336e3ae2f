/* One multi handle of libcurl, socket by socket, on the loop. */
#include "io/http_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"

enum {
    CACHED_CONNECTIONS = 512,
    READY_SOCKETS = 1024, /* read in one turn; more wait for the next */
};

static void on_timer(void *arg)
{
    struct driver *d = arg;
    int running;
    curl_multi_socket_action(d->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    d->progress(d->arg);
}

static int on_timer_wanted(CURLM *multi, long delay_ms, void *arg)
{
    (void)multi;
    struct driver *d = arg;
    if (delay_ms < 0)
        loop_timer_stop(d->timer);
    else
        loop_timer_start(d->timer, delay_ms);
    return 0;
}

/* --- sockets --- */
static struct socket_watch *watch_of(struct driver *d, int fd)
{
    size_t need = (size_t)fd + 1;

    if (need > d->watch_count) {
        d->watches = xrealloc(d->watches, need, sizeof *d->watches);
        memset(d->watches + d->watch_count, 0, (need - d->watch_count) * sizeof *d->watches);
        d->watch_count = need;
    }
    return &d->watches[fd];
}

static void watch_set(struct driver *d, int fd, uint32_t events)
{
    struct socket_watch *w = watch_of(d, fd);
    int op = events == 0 ? EPOLL_CTL_DEL : w->set == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (events != w->set &&
        epoll_ctl(d->sockets, op, fd, &(struct epoll_event){.events = events, .data.fd = fd}) != 0)
        log_error("http socket not watched", log_int("errno", errno)); /* its request ends by its deadline */
    w->set = events;
}

curl_socket_t driver_open(struct driver *d, const struct curl_sockaddr *a)
{
    curl_socket_t fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);

    if (fd != CURL_SOCKET_BAD)
        *watch_of(d, fd) = (struct socket_watch){.is_kept = true};
    return fd;
}

int driver_close(void *driver, curl_socket_t fd)
{
    *watch_of(driver, fd) = (struct socket_watch){0}; /* closing takes it out of the set */
    return close(fd);
}

/* All of libcurl's sockets stand in one epoll set, which is the only descriptor that the loop sees: their
 * interests change with every request, and the loop's own watches are dearer to change. */
static void on_sockets(void *arg, int events)
{
    struct driver *d = arg;
    struct epoll_event ready[READY_SOCKETS];
    (void)events;
    int running, count = epoll_wait(d->sockets, ready, READY_SOCKETS, 0);
    for (int i = 0; i < count; i++) {
        int fd = ready[i].data.fd;
        uint32_t is = ready[i].events;
        if (watch_of(d, fd)->wanted == 0) { /* an idle connection, which the server has closed */
            watch_set(d, fd, 0);
            continue;
        }
        if (is & (EPOLLERR | EPOLLHUP))
            is |= EPOLLIN | EPOLLOUT; /* let it read what came before, and find out itself */
        int mask = (is & EPOLLIN ? CURL_CSELECT_IN : 0) | (is & EPOLLOUT ? CURL_CSELECT_OUT : 0);
        curl_multi_socket_action(d->multi, fd, mask, &running);
    }
    d->progress(d->arg);
}

static int on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct driver *d = arg;
    struct socket_watch *w = watch_of(d, fd);
    (void)socket_arg;
    w->wanted = what == CURL_POLL_REMOVE
                    ? 0
                    : (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (w->wanted != 0 || !w->is_kept)
        watch_set(d, fd, w->wanted);
    if (what == CURL_POLL_IN && d->written != NULL)
        d->written(easy, fd);
    return 0;
}

void driver_init(struct driver *d, struct loop *l, void (*progress)(void *arg), void *arg)
{
    *d = (struct driver){.progress = progress, .arg = arg};
    d->timer = loop_timer_new(l, on_timer, d);
    d->sockets = epoll_create1(EPOLL_CLOEXEC);
    d->watch = loop_watch_new(l, d->sockets, on_sockets, d);
    loop_watch_set(d->watch, LOOP_READ);
    d->multi = curl_multi_init();
    if (d->multi == NULL)
        abort_oom(0);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
    curl_multi_setopt(d->multi, CURLMOPT_SOCKETDATA, d);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERFUNCTION, on_timer_wanted);
    curl_multi_setopt(d->multi, CURLMOPT_TIMERDATA, d);
    /* No limit of connections: libcurl would queue, and the waiting counts as the request's time. */
    curl_multi_setopt(d->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L);
    curl_multi_setopt(d->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 0L);
    curl_multi_setopt(d->multi, CURLMOPT_MAXCONNECTS, (long)CACHED_CONNECTIONS);
}

void driver_fini(struct driver *d)
{
    curl_multi_cleanup(d->multi); /* still calls on_socket_wanted and on_timer_wanted */
    loop_watch_free(&d->watch);
    close(d->sockets);
    loop_timer_free(&d->timer);
    free(d->watches);
}
