/* A TCP proxy with faults, since the kernel here has no netem: proxy NAME=PORT... listens on 127.0.0.1 once
 * for each NAME, forwards to 127.0.0.1:PORT, and prints "listening CONTROL PORT1 PORT2 ...". A request to the
 * control port, "POST /NAME/MODE" or "POST /all/MODE", changes what happens to that peer's connections, those
 * that are open and those to come:
 *
 *   pass        everything goes through at once
 *   cut         open ones are reset, new ones too
 *   reset       open ones are reset, new ones pass
 *   blackhole   nothing goes through, nothing ends; what waits goes on with the next mode
 *   halfopen    the peer hears the client, the client does not hear the peer
 *   trickle     32 bytes every 20 ms each way
 *   delay-MS    each piece waits so long
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"

enum { PEERS_MAX = 8, LINKS_MAX = 400, PIECE = 65536, TRICKLE_BYTES = 32, TRICKLE_MS = 20 };
enum mode { PASS = 0, CUT, RESET, BLACKHOLE, HALF_OPEN, TRICKLE, DELAY };

struct peer {
    char name[32];
    uint16_t port;
    int listener;
    enum mode mode;
    int64_t delay_ms;
};

/* One direction of a connection: at most one piece is on its way. */
struct way {
    int from, to;
    char *piece;
    size_t at, len;
    int64_t due_at;
    bool ended; /* `from` has said its last word */
};

struct link {
    struct peer *peer;  /* NULL = free */
    struct way ways[2]; /* client to peer, peer to client */
};

static struct peer peers[PEERS_MAX];
static size_t peer_count;
static struct link links[LINKS_MAX];

/* --- sockets --- */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in at = loopback(0);
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&at, size) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0) {
        perror("proxy: listen");
        exit(1);
    }
    *port = ntohs(at.sin_port);
    return fd;
}

static void close_with_reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void link_end(struct link *l, bool reset)
{
    for (int i = 0; i < 2; i++) {
        if (reset)
            close_with_reset(l->ways[i].from);
        else
            close(l->ways[i].from);
        free(l->ways[i].piece);
    }
    *l = (struct link){0};
}

static int connect_to(const struct peer *p)
{
    struct sockaddr_in at = loopback(p->port);
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static struct link *free_link(void)
{
    for (size_t i = 0; i < LINKS_MAX; i++) {
        if (links[i].peer == NULL)
            return &links[i];
    }
    return NULL;
}

static void welcome(struct peer *p)
{
    const int on = 1;
    struct link *l = free_link();
    int client = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (client < 0)
        return;
    int server = l != NULL && p->mode != CUT ? connect_to(p) : -1;
    if (server < 0) {
        close_with_reset(client);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *l = (struct link){.peer = p,
                       .ways = {{.from = client, .to = server, .piece = xcalloc(1, PIECE)},
                                {.from = server, .to = client, .piece = xcalloc(1, PIECE)}}};
}

/* --- forwarding --- */

static bool is_stuck(const struct link *l, int way)
{
    return l->peer->mode == BLACKHOLE || (l->peer->mode == HALF_OPEN && way == 1);
}

/* False when the connection is over. */
static bool take_in(const struct link *l, struct way *w)
{
    size_t most = l->peer->mode == TRICKLE ? TRICKLE_BYTES : PIECE;
    ssize_t got = read(w->from, w->piece, most);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0) {
        w->ended = true;
        shutdown(w->to, SHUT_WR);
        return true;
    }
    w->at = 0;
    w->len = (size_t)got;
    w->due_at = clock_mono_ms() + (l->peer->mode == DELAY     ? l->peer->delay_ms
                                   : l->peer->mode == TRICKLE ? TRICKLE_MS
                                                              : 0);
    return true;
}

static bool give_out(struct way *w)
{
    ssize_t gone = write(w->to, w->piece + w->at, w->len - w->at);

    if (gone < 0)
        return errno == EAGAIN || errno == EINTR;
    w->at += (size_t)gone;
    if (w->at == w->len)
        w->at = w->len = 0;
    return true;
}

static void forward(struct link *l)
{
    int64_t now = clock_mono_ms();

    for (int i = 0; i < 2; i++) {
        struct way *w = &l->ways[i];
        bool alive = true;
        if (is_stuck(l, i))
            continue;
        if (w->len == 0 && !w->ended)
            alive = take_in(l, w);
        if (alive && w->len > 0 && now >= w->due_at)
            alive = give_out(w);
        if (!alive) {
            link_end(l, true);
            return;
        }
    }
    if (l->ways[0].ended && l->ways[1].ended)
        link_end(l, false);
}

/* --- control --- */

static void reset_links(const struct peer *p)
{
    for (size_t i = 0; i < LINKS_MAX; i++) {
        if (links[i].peer == p)
            link_end(&links[i], true);
    }
}

static bool set_mode(struct peer *p, const char *word)
{
    static const struct {
        const char *word;
        enum mode mode;
    } modes[] = {{"pass", PASS},          {"cut", CUT},        {"reset", RESET}, {"blackhole", BLACKHOLE},
                 {"halfopen", HALF_OPEN}, {"trickle", TRICKLE}};

    if (strncmp(word, "delay-", 6) == 0) {
        p->mode = DELAY;
        p->delay_ms = strtol(word + 6, NULL, 10);
        return true;
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i].word, word) != 0)
            continue;
        p->mode = modes[i].mode;
        if (p->mode == CUT || p->mode == RESET)
            reset_links(p);
        if (p->mode == RESET)
            p->mode = PASS;
        return true;
    }
    return false;
}

static bool obey(const char *request)
{
    char name[32], word[32];
    bool done = false;

    if (sscanf(request, "POST /%31[a-z]/%31[a-z0-9-]", name, word) != 2)
        return false;
    for (size_t i = 0; i < peer_count; i++) {
        if (strcmp(name, "all") == 0 || strcmp(name, peers[i].name) == 0)
            done = set_mode(&peers[i], word);
    }
    return done;
}

/* A request is short and comes in one piece; whoever asks waits for the answer. */
static void control(int listener)
{
    static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char request[1024];
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    ssize_t len = read(fd, request, sizeof request - 1);
    request[len > 0 ? len : 0] = '\0';
    bool done = obey(request);
    if (write(fd, done ? good : bad, done ? sizeof good - 1 : sizeof bad - 1) < 0)
        perror("proxy: control");
    close(fd);
}

/* --- the loop --- */

/* What to wait for on one direction; the earliest due time goes to *due. */
static void watch(struct link *l, int i, struct pollfd *set, nfds_t *count, int64_t *due)
{
    struct way *w = &l->ways[i];

    if (is_stuck(l, i))
        return;
    if (w->len == 0) {
        if (!w->ended)
            set[(*count)++] = (struct pollfd){.fd = w->from, .events = POLLIN};
        return;
    }
    if (clock_mono_ms() >= w->due_at)
        set[(*count)++] = (struct pollfd){.fd = w->to, .events = POLLOUT};
    else if (w->due_at < *due)
        *due = w->due_at;
}

static void turn(int control_fd)
{
    static struct pollfd set[1 + PEERS_MAX + 2 * LINKS_MAX];
    nfds_t count = 0;
    int64_t now = clock_mono_ms(), due = now + 1000;

    set[count++] = (struct pollfd){.fd = control_fd, .events = POLLIN};
    for (size_t i = 0; i < peer_count; i++)
        set[count++] = (struct pollfd){.fd = peers[i].listener, .events = POLLIN};
    for (size_t i = 0; i < LINKS_MAX; i++) {
        if (links[i].peer != NULL) {
            watch(&links[i], 0, set, &count, &due);
            watch(&links[i], 1, set, &count, &due);
        }
    }
    poll(set, count, (int)(due > now ? due - now : 0));
    if (set[0].revents != 0)
        control(control_fd);
    for (size_t i = 0; i < peer_count; i++) {
        if (set[1 + i].revents != 0)
            welcome(&peers[i]);
    }
    for (size_t i = 0; i < LINKS_MAX; i++) {
        if (links[i].peer != NULL)
            forward(&links[i]);
    }
}

int main(int argc, char **argv)
{
    uint16_t port;
    int control_fd = listen_anywhere(&port);

    signal(SIGPIPE, SIG_IGN);
    printf("listening %d", port);
    for (int i = 1; i < argc && peer_count < PEERS_MAX; i++) {
        struct peer *p = &peers[peer_count++];
        unsigned target;
        if (sscanf(argv[i], "%31[a-z]=%5u", p->name, &target) != 2) {
            fputs("usage: proxy NAME=PORT...\n", stderr);
            return 64;
        }
        p->port = (uint16_t)target;
        p->listener = listen_anywhere(&port);
        printf(" %d", port);
    }
    printf("\n");
    fflush(stdout);
    for (;;)
        turn(control_fd);
}
