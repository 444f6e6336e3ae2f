/* Asks all providers at the same time, each with a short deadline. */
#include "consumer/doctor.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consumer/channels/channel_probe.h"
#include "domain/doctor.h"
#include "io/http.h"
#include "io/loop.h"

enum { PROBE_TIMEOUT_MS = 5000 };

struct visit; /* of all accounts */

struct probe {
    struct visit *visit;
    const struct config_account *account;
    struct channel_probe question;
};

struct visit {
    struct doctor *doctor;
    struct loop *loop;
    struct http *http;
    size_t pending;
    struct probe probes[CONFIG_MAX_ACCOUNTS];
};

static void account_name(const struct config_account *a, char out[128])
{
    snprintf(out, 128, "account %.60s", a->name);
}

static void on_answer(void *arg, const struct http_result *r)
{
    struct probe *p = arg;
    struct doctor *d = p->visit->doctor;
    char name[128], text[CHANNEL_HEALTH_SIZE];
    struct err e;

    account_name(p->account, name);
    switch (channel_probe_judge(&p->question, r, text)) {
    case CHANNEL_HEALTHY:
        doctor_ok(d, name, "%s %s", p->account->provider, text);
        break;
    case CHANNEL_UNWELL:
        doctor_warn(d, name, "look at the provider's console; its messages wait meanwhile", "%s %s",
                    p->account->provider, text);
        break;
    case CHANNEL_UNREACHABLE:
        doctor_warn(d, name, "check base_url, name server and firewall; its messages wait meanwhile", "%s %s",
                    p->account->provider, text);
        break;
    case CHANNEL_REFUSED:
        (void)err_set(&e, ERR_CONFIG, r->status, "%s %s", p->account->provider, text);
        doctor_fail(d, name, "check the account's token, user and password, and its options", &e);
        break;
    }
    if (--p->visit->pending == 0)
        loop_stop(p->visit->loop);
}

/* 0: on_answer follows. */
static int ask(struct probe *p, struct err *e)
{
    struct channel_request *r = &p->question.request;
    const char *headers[CHANNEL_MAX_HEADERS];
    int64_t timeout_ms =
        p->account->timeout_ms < PROBE_TIMEOUT_MS ? p->account->timeout_ms : PROBE_TIMEOUT_MS;

    for (size_t i = 0; i < r->header_count; i++)
        headers[i] = buf_str(&r->headers[i]);
    struct http_request request = {.method = r->method,
                                   .url = buf_str(&r->url),
                                   .headers = headers,
                                   .header_count = r->header_count,
                                   .user = r->user,
                                   .password = r->password,
                                   .ca_file = r->ca_file,
                                   .timeout_ms = timeout_ms};
    return http_send(p->visit->http, &request, on_answer, p, e);
}

/* 0 when a connection to the server came about in time. */
static int dial(const struct addrinfo *at, struct err *e)
{
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, at->ai_protocol);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int fault = 0;
    socklen_t size = sizeof fault;

    if (fd < 0)
        return err_set(e, ERR_UNAVAILABLE, errno, "%s", strerror(errno));
    if (connect(fd, at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS)
        fault = errno;
    else if (poll(&wait, 1, PROBE_TIMEOUT_MS) != 1)
        fault = ETIMEDOUT;
    else
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size);
    close(fd);
    return fault == 0 ? 0 : err_set(e, ERR_UNAVAILABLE, fault, "%s", strerror(fault));
}

/* "smtp://host:587", "smtps://host": its host and port. */
static void split_mail_url(const char *url, char host[256], char port[16])
{
    bool is_tls = strncmp(url, "smtps:", 6) == 0;
    const char *at = strstr(url, "://");
    size_t len;

    at = at ? at + 3 : url;
    len = *at == '[' ? strcspn(at, "]") + 1 : strcspn(at, ":/");
    snprintf(host, 256, "%.*s", (int)(*at == '[' ? len - 2 : len), *at == '[' ? at + 1 : at);
    if (at[len] == ':')
        snprintf(port, 16, "%.*s", (int)strspn(at + len + 1, "0123456789"), at + len + 1);
    else
        snprintf(port, 16, "%s", is_tls ? "465" : "25");
}

/* A mail server is only dialled: every further word would be a mail of ours in its log. */
static void dial_mail_server(struct doctor *d, const struct config_account *a, const char *url)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char host[256], port[16], name[128];
    struct err e = {.class = ERR_NONE};

    account_name(a, name);
    split_mail_url(url, host, port);
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        (void)err_set(&e, ERR_UNAVAILABLE, rc, "%s", gai_strerror(rc));
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        e.class = ERR_NONE;
        if (dial(at, &e) == 0)
            break;
    }
    if (found)
        freeaddrinfo(found);
    if (e.class == ERR_NONE)
        doctor_ok(d, name, "%s %s:%s takes connections", a->provider, host, port);
    else
        doctor_warn(d, name, "check base_url, name server and firewall; its messages wait meanwhile",
                    "%s %s:%s: %s", a->provider, host, port, e.text);
}

static void begin(struct visit *v, struct probe *p, const struct config_account *a)
{
    char name[128];
    struct err e;

    p->visit = v;
    p->account = a;
    account_name(a, name);
    if (!channel_has_server(a)) {
        doctor_ok(v->doctor, name, "%s has no server: its messages stay in the database", a->provider);
        return;
    }
    int rc = channel_probe_build(a, &p->question, &e);
    if (rc == 0 && p->question.request.is_mail)
        dial_mail_server(v->doctor, a, a->base_url);
    else if (rc != 0 || ask(p, &e) != 0)
        doctor_warn(v->doctor, name, NULL, "%s not asked: %s", a->provider, e.text);
    else
        v->pending++;
}

static void look_at_providers(struct doctor *d, const struct config *c)
{
    struct visit v = {.doctor = d};

    if (c->channels.account_count == 0)
        doctor_warn(d, "accounts", "add one to channels.accounts",
                    "there is no sender account: every reply will be parked");
    if (!doctor_asks_providers(d))
        return;
    v.loop = loop_new();
    v.http = http_new(v.loop, "agwb/" AGWB_VERSION);
    for (size_t i = 0; i < c->channels.account_count; i++)
        begin(&v, &v.probes[i], &c->channels.accounts[i]);
    if (v.pending > 0)
        loop_run(v.loop);
    for (size_t i = 0; i < c->channels.account_count; i++)
        channel_request_fini(&v.probes[i].question.request);
    http_free(&v.http);
    loop_free(&v.loop);
}

int consumer_doctor_command(const struct config *c, int argc, char **argv, struct err *e)
{
    return doctor_run(c, argc, argv, look_at_providers, e);
}
