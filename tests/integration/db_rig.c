/* The rig of the database tests. */
#include "db_rig.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"

enum { PATIENCE_MS = 30000 };

/* --- the db --- */
static const char *server_url(void)
{
    const char *url =
        getenv("AGWB_TEST_DATABASE_URL"); /* NOLINT(concurrency-mt-unsafe): nothing here changes it */
    if (url != NULL)
        return url;
    fail_msg("AGWB_TEST_DATABASE_URL is not set: run this under tests/sandbox/sandbox");
    return "";
}

int rig_port(void)
{
    const char *at = strchr(server_url(), '@');
    const char *colon = at == NULL ? NULL : strchr(at, ':');
    if (colon == NULL)
        fail_msg("AGWB_TEST_DATABASE_URL has no port");
    return colon == NULL ? 0 : (int)strtol(colon + 1, NULL, 10);
}

const char *rig_url(const char *hosts, const char *database, const char *role)
{
    static char url[400];
    snprintf(url, sizeof url, "postgresql://%s@%s/%s?sslmode=disable", role, hosts, database);
    return url;
}

static void check_counter(void *arg)
{
    struct db_rig *r = arg;
    if (r->counter != NULL && *r->counter >= r->wanted)
        loop_stop(r->loop);
}

struct db_rig *db_rig_new(void)
{
    struct db_rig *r = xcalloc(1, sizeof *r);
    char host[64];
    snprintf(host, sizeof host, "127.0.0.1:%d", rig_port());
    snprintf(r->url, sizeof r->url, "%s", rig_url(host, "postgres", "postgres"));
    r->settings = (struct db_settings){.url = r->url,
                                       .keeps_session = true,
                                       .connect_timeout_ms = 5000,
                                       .statement_timeout_ms = 10000,
                                       .application_name = "agwb-test"};
    r->loop = loop_new();
    loop_on_turn(r->loop, check_counter, r);
    return r;
}

static void on_up(void *arg)
{
    struct db_rig *r = arg;
    r->ups++;
}

static void on_down(void *arg, const struct err *why)
{
    struct db_rig *r = arg;
    r->downs++;
    r->why_down = *why;
}

static void on_refused(void *arg, const struct err *why)
{
    struct db_rig *r = arg;
    r->refusals++;
    r->why_refused = *why;
}

static void on_notify(void *arg, bool idle)
{
    struct db_rig *r = arg;
    (void)idle;
    r->notifies++;
}

void db_rig_start(struct db_rig *r)
{
    static const struct db_handlers HANDLERS = {on_up, on_down, on_refused, on_notify};
    r->db = db_new(r->loop, &r->settings, &HANDLERS, r);
}

void db_rig_start_up(struct db_rig *r)
{
    db_rig_start(r);
    db_rig_wait(r, &r->ups, 1);
}

void db_rig_free(struct db_rig **r)
{
    if (*r == NULL)
        return;
    db_free(&(*r)->db);
    loop_free(&(*r)->loop);
    free(*r);
    *r = NULL;
}

static void on_patience(void *arg)
{
    struct db_rig *r = arg;
    loop_stop(r->loop);
}

void db_rig_wait(struct db_rig *r, const size_t *counter, size_t wanted)
{
    struct loop_timer *patience = loop_timer_new(r->loop, on_patience, r);
    loop_timer_start(patience, PATIENCE_MS);
    r->counter = counter;
    r->wanted = wanted;
    if (*counter < wanted)
        loop_run(r->loop);
    r->counter = NULL;
    loop_timer_free(&patience);
    if (*counter < wanted)
        fail_msg("waited in vain for %zu (is %zu); last: down \"%s\", refused \"%s\"", wanted, *counter,
                 r->why_down.text, r->why_refused.text);
}

static void on_answer(void *arg, const struct db_result *result, const struct err *e)
{
    struct rig_answer *a = arg;
    struct db_rig *r = a->rig;
    a->calls++;
    a->order = ++r->answers;
    a->downs_before = r->downs;
    a->has_result = result != NULL;
    if (e != NULL)
        a->e = *e;
    if (result == NULL)
        return;
    snprintf(a->sqlstate, sizeof a->sqlstate, "%s", db_sqlstate(result));
    a->rows = db_rows(result);
    for (int i = 0; i < RIG_CELLS && a->rows > 0; i++) {
        snprintf(a->cells[i], sizeof a->cells[i], "%s", db_text(result, 0, i));
        a->nulls[i] = db_is_null(result, 0, i);
    }
}

void db_rig_send(struct db_rig *r, const char *sql, const struct db_params *p, struct rig_answer *a)
{
    *a = (struct rig_answer){.rig = r};
    assert_int_equal(db_query(r->db, sql, p, on_answer, a), 0);
    assert_int_equal(a->calls, 0);
}

struct rig_answer db_rig_ask(struct db_rig *r, const char *sql, const struct db_params *p)
{
    struct rig_answer a;
    db_rig_send(r, sql, p, &a);
    db_rig_wait(r, &a.calls, 1);
    return a;
}

void rig_script(const char *sql)
{
    struct err e = {.class = ERR_NONE};
    struct db_settings s = {.url = server_url(), .connect_timeout_ms = 5000, .statement_timeout_ms = 10000};
    struct db_session *session = db_session_open(&s, &e);
    if (session == NULL)
        fail_msg("%s", e.text);
    if (db_session_script(session, sql, &e) != 0)
        fail_msg("%s", e.text);
    db_session_close(&session);
}

int rig_listen(int *port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)*port)};
    socklen_t len = sizeof at;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* --- the relay --- */
enum { RELAY_PAIRS = 32 };

struct relay {
    int port;
    int listener;
    int wake[2]; /* its end ends the thread */
    pthread_t thread;
    atomic_bool swallow;
    int ends[RELAY_PAIRS * 2]; /* client, server, client, server, ... -1 = closed */
    int end_count;
};

static void relay_accept(struct relay *relay)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)rig_port())};
    int client = accept(relay->listener, NULL, NULL);
    int upstream = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(upstream, (struct sockaddr *)&at, sizeof at) != 0 || relay->end_count == RELAY_PAIRS * 2) {
        close(client);
        close(upstream);
        return;
    }
    relay->ends[relay->end_count++] = client;
    relay->ends[relay->end_count++] = upstream;
}

static void relay_pass(struct relay *relay, int i)
{
    char bytes[16384];
    int other = i ^ 1;
    ssize_t len = recv(relay->ends[i], bytes, sizeof bytes, 0);
    for (ssize_t sent = 0; sent < len;) {
        ssize_t n = send(relay->ends[other], bytes + sent, (size_t)(len - sent), MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += n;
    }
    if (len > 0)
        return;
    close(relay->ends[i]);
    close(relay->ends[other]);
    relay->ends[i] = relay->ends[other] = -1;
}

static void *relay_run(void *arg)
{
    struct relay *relay = arg;
    for (;;) {
        struct pollfd fds[2 + RELAY_PAIRS * 2] = {{.fd = relay->wake[0], .events = POLLIN},
                                                  {.fd = relay->listener, .events = POLLIN}};
        for (int i = 0; i < relay->end_count; i++)
            fds[2 + i] =
                (struct pollfd){.fd = atomic_load(&relay->swallow) ? -1 : relay->ends[i], .events = POLLIN};
        int count = 2 + relay->end_count;
        poll(fds, (nfds_t)count, -1);
        char c;
        if (fds[0].revents != 0 && read(relay->wake[0], &c, 1) <= 0)
            return NULL;
        for (int i = 0; i < count - 2; i++)
            if (fds[2 + i].revents != 0 && relay->ends[i] >= 0 && !atomic_load(&relay->swallow))
                relay_pass(relay, i);
        if (fds[1].revents != 0)
            relay_accept(relay);
    }
}

struct relay *relay_new(int port)
{
    struct relay *relay = xcalloc(1, sizeof *relay);
    relay->port = port;
    relay->listener = rig_listen(&relay->port);
    assert_int_equal(pipe(relay->wake), 0);
    assert_int_equal(pthread_create(&relay->thread, NULL, relay_run, relay), 0);
    return relay;
}

int relay_port(const struct relay *relay)
{
    return relay->port;
}

void relay_swallow(struct relay *relay)
{
    atomic_store(&relay->swallow, true);
    assert_int_equal(write(relay->wake[1], "x", 1), 1);
}

void relay_free(struct relay **relay)
{
    close((*relay)->wake[1]);
    pthread_join((*relay)->thread, NULL);
    for (int i = 0; i < (*relay)->end_count; i++)
        if ((*relay)->ends[i] >= 0)
            close((*relay)->ends[i]);
    close((*relay)->listener);
    close((*relay)->wake[0]);
    free(*relay);
    *relay = NULL;
}

/* --- the refuser --- */
struct refuser {
    int port;
    int listener;
    pthread_t thread;
    char answer[256]; /* an ErrorResponse of the wire protocol */
    size_t answer_len;
};

static void *refuser_run(void *arg)
{
    struct refuser *r = arg;
    int fd;
    while ((fd = accept(r->listener, NULL, NULL)) >= 0) {
        char greeting[1024];
        if (recv(fd, greeting, sizeof greeting, 0) > 0)
            send(fd, r->answer, r->answer_len, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (recv(fd, greeting, sizeof greeting, 0) > 0)
            continue;
        close(fd);
    }
    return NULL;
}

struct refuser *refuser_new(const char *sqlstate, const char *message)
{
    struct refuser *r = xcalloc(1, sizeof *r);
    char fields[200];
    int len =
        snprintf(fields, sizeof fields, "SFATAL%cVFATAL%cC%s%cM%s%c%c", 0, 0, sqlstate, 0, message, 0, 0);
    uint32_t total = htonl((uint32_t)len + 4);
    r->answer[0] = 'E';
    memcpy(r->answer + 1, &total, 4);
    memcpy(r->answer + 5, fields, (size_t)len);
    r->answer_len = 5 + (size_t)len;
    r->listener = rig_listen(&r->port);
    assert_int_equal(pthread_create(&r->thread, NULL, refuser_run, r), 0);
    return r;
}

int refuser_port(const struct refuser *refuser)
{
    return refuser->port;
}

void refuser_free(struct refuser **refuser)
{
    shutdown((*refuser)->listener, SHUT_RDWR);
    pthread_join((*refuser)->thread, NULL);
    close((*refuser)->listener);
    free(*refuser);
    *refuser = NULL;
}
