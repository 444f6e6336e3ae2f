/* Alerts against a receiver of our own: what is posted, how it is signed, what is held back, and how often a
 * post that fails is tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "domain/alert.h"
#include "domain/webhook_signature.h"

enum { MAX_POSTS = 16, PATIENCE_MS = 20000, TICK_MS = 5 };

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

struct post {
    char head[8192], body[8192];
};

static struct receiver {
    int fd, port;
    pthread_t thread;
    pthread_mutex_t lock;
    struct post posts[MAX_POSTS];
    size_t count;
    int refusals;        /* how many posts to refuse first */
    const char *refusal; /* "503 X" */
} receiver;

/* --- the receiver: one request a connection --- */

static bool read_post(int fd, struct post *p)
{
    static char bytes[8192];
    size_t len = 0, want = 0;

    for (;;) {
        ssize_t n = recv(fd, bytes + len, sizeof bytes - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        bytes[len] = '\0';
        char *body = strstr(bytes, "\r\n\r\n"), *length = strstr(bytes, "Content-Length: ");
        if (!body || !length)
            continue;
        want = (size_t)strtol(length + 16, NULL, 10);
        if (strlen(body + 4) < want)
            continue;
        snprintf(p->body, sizeof p->body, "%s", body + 4);
        *body = '\0';
        snprintf(p->head, sizeof p->head, "%s", bytes);
        return true;
    }
}

static void *receive(void *arg)
{
    struct receiver *r = arg;
    char answer[128];

    for (int fd; (fd = accept(r->fd, NULL, NULL)) >= 0; close(fd)) {
        struct post p;
        if (!read_post(fd, &p))
            continue;
        pthread_mutex_lock(&r->lock);
        bool refuse = r->refusals > 0;
        r->refusals -= refuse;
        if (r->count < MAX_POSTS)
            r->posts[r->count++] = p;
        snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                 refuse ? r->refusal : "204 No Content");
        pthread_mutex_unlock(&r->lock);
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    return NULL;
}

static size_t count_posts(void)
{
    pthread_mutex_lock(&receiver.lock);
    size_t count = receiver.count;
    pthread_mutex_unlock(&receiver.lock);
    return count;
}

/* --- the scene --- */

struct scene {
    struct config config;
    struct loop *loop;
    struct alerts *alerts;
    struct loop_timer *tick;
    size_t wanted; /* the loop stops when so many posts came and none is under way */
    int64_t deadline_at;
    char url[64];
};

static void on_tick(void *arg)
{
    struct scene *s = arg;

    if ((count_posts() >= s->wanted && alerts_pending(s->alerts) == 0) || clock_mono_ms() > s->deadline_at)
        loop_stop(s->loop);
    else
        loop_timer_start(s->tick, TICK_MS);
}

static void wait_for_posts(struct scene *s, size_t count)
{
    s->wanted = count;
    s->deadline_at = clock_mono_ms() + PATIENCE_MS;
    loop_timer_start(s->tick, 0);
    loop_run(s->loop);
    assert_int_equal(count_posts(), count);
    assert_int_equal(alerts_pending(s->alerts), 0);
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    receiver.count = 0;
    receiver.refusals = 0;
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/alerts", receiver.port);
    s->config.alerts.webhook_url = s->url;
    s->config.alerts.secret = SECRET;
    s->config.alerts.min_interval_ms = 100;
    s->config.retry.webhook =
        (struct config_retry){.tries = 4, .backoff = {.delay_ms = 5, .multiplier = 2, .max_delay_ms = 50}};
    s->loop = loop_new();
    s->alerts = alerts_new(s->loop, &s->config, "test");
    s->tick = loop_timer_new(s->loop, on_tick, s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    alerts_free(&s->alerts);
    loop_timer_free(&s->tick);
    loop_free(&s->loop);
    free(s);
    return 0;
}

static void raise_parked(struct scene *s, const char *account, const char *detail)
{
    alerts_raise(s->alerts, &(struct alert){.kind = ALERT_PARKED,
                                            .about = account,
                                            .text = "a delivery is given up",
                                            .details = {{"messageId", "m-1"}, {"detail", detail}}});
}

static struct json *body_of(size_t n)
{
    struct err e;
    struct json *json = json_parse(receiver.posts[n].body, strlen(receiver.posts[n].body), &e);

    if (!json)
        fail_msg("%s: %s", e.text, receiver.posts[n].body);
    return json;
}

static void header(size_t n, const char *name, char out[256])
{
    const char *at = strstr(receiver.posts[n].head, name);

    assert_non_null(at);
    sscanf(at + strlen(name), ": %255[^\r]", out);
}

static int64_t held_back(size_t n)
{
    struct json *json = body_of(n);
    int64_t held = -1;

    assert_true(json_int(json_path(json_root(json), "data.heldBack"), &held));
    json_free(&json);
    return held;
}

/* --- tests --- */

static void test_alert_body_and_signature(void **state)
{
    struct scene *s = *state;
    char id[256], at[256], signature[256], expected[WEBHOOK_SIGNATURE_SIZE];

    raise_parked(s, "main", "no account +12025550143");
    wait_for_posts(s, 1);
    struct json *json = body_of(0);
    assert_string_equal(json_str(json_member(json_root(json), "type")), "delivery.parked");
    assert_string_equal(json_str(json_path(json_root(json), "data.about")), "main");
    assert_string_equal(json_str(json_path(json_root(json), "data.details.messageId")), "m-1");
    assert_string_equal(json_str(json_path(json_root(json), "data.details.detail")),
                        "no account +********143");
    json_free(&json);
    header(0, "webhook-id", id);
    header(0, "webhook-timestamp", at);
    header(0, "webhook-signature", signature);
    assert_true(webhook_sign(SECRET, id, strtoll(at, NULL, 10), receiver.posts[0].body,
                             strlen(receiver.posts[0].body), expected));
    assert_string_equal(signature, expected);
    assert_non_null(strstr(receiver.posts[0].head, "X-Webhook-Attempt: 1\r\n"));
    assert_non_null(strstr(receiver.posts[0].head, "Content-Type: application/json\r\n"));
    assert_memory_equal(receiver.posts[0].head, "POST /alerts ", 13);
}

/* The first goes at once; of those that follow the latest goes when the interval is over, with their number.
 */
static void test_alert_holds_back_the_same(void **state)
{
    struct scene *s = *state;

    for (int i = 0; i < 5; i++)
        raise_parked(s, "main", i == 4 ? "the last" : "x");
    wait_for_posts(s, 2);
    assert_int_equal(held_back(0), 0);
    assert_int_equal(held_back(1), 3);
    assert_non_null(strstr(receiver.posts[1].body, "the last"));
}

static void test_alert_tells_kinds_and_accounts_apart(void **state)
{
    struct scene *s = *state;

    s->config.alerts.min_interval_ms = 3600000;
    raise_parked(s, "main", "x");
    raise_parked(s, "second", "x");
    alerts_raise(s->alerts, &(struct alert){.kind = ALERT_ACCOUNT, .about = "main", .text = "down"});
    alerts_raise(s->alerts, &(struct alert){.kind = ALERT_BACKLOG, .text = "too much"});
    raise_parked(s, "main", "x");
    wait_for_posts(s, 4);
}

/* What was told as begun is told as over, though within the interval: later, and only the latest state. */
static void test_alert_ends_with_the_latest_state(void **state)
{
    struct scene *s = *state;
    struct alert a = {.kind = ALERT_ACCOUNT, .about = "main", .text = "state"};

    alerts_raise(s->alerts, &a);
    for (int i = 0; i < 3; i++) {
        a.is_over = i % 2 == 0;
        alerts_raise(s->alerts, &a);
    }
    wait_for_posts(s, 2);
    struct json *first = body_of(0), *second = body_of(1);
    assert_string_equal(json_str(json_member(json_root(first), "type")), "account.down");
    assert_string_equal(json_str(json_member(json_root(second), "type")), "account.up");
    json_free(&first);
    json_free(&second);
}

static void test_alert_tries_again_with_the_same_id(void **state)
{
    struct scene *s = *state;
    char first[256], last[256];

    receiver.refusals = 3;
    receiver.refusal = "503 X";
    raise_parked(s, "main", "x");
    wait_for_posts(s, 4);
    header(0, "webhook-id", first);
    header(3, "webhook-id", last);
    assert_string_equal(first, last);
    assert_non_null(strstr(receiver.posts[3].head, "X-Webhook-Attempt: 4\r\n"));
    assert_string_equal(receiver.posts[0].body, receiver.posts[3].body);
}

/* After the ladder's last try it is given up; a receiver that is gone for good is believed at once. */
static void test_alert_gives_up(void **state)
{
    struct scene *s = *state;

    receiver.refusals = 100;
    receiver.refusal = "500 X";
    raise_parked(s, "main", "x");
    wait_for_posts(s, 4);
    receiver.refusal = "410 Gone";
    raise_parked(s, "second", "x");
    wait_for_posts(s, 5);
}

static void test_alert_without_a_url_only_logs(void **state)
{
    struct scene *s = *state;

    alerts_free(&s->alerts);
    s->config.alerts.webhook_url = "";
    s->alerts = alerts_new(s->loop, &s->config, "test");
    raise_parked(s, "main", "x");
    wait_for_posts(s, 0);
    alerts_raise(NULL, &(struct alert){.kind = ALERT_PARKED, .text = "x"});
}

/* A receiver that does not answer fills no memory. */
static void test_alert_bounds_what_waits(void **state)
{
    struct scene *s = *state;
    char account[32];

    alerts_free(&s->alerts);
    s->config.alerts.webhook_url = "http://127.0.0.1:1/";
    s->config.retry.webhook.backoff.delay_ms = 3600000;
    s->alerts = alerts_new(s->loop, &s->config, "test");
    for (int i = 0; i < 100; i++) {
        snprintf(account, sizeof account, "account-%d", i);
        raise_parked(s, account, "x");
    }
    assert_int_equal(alerts_pending(s->alerts), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_alert_body_and_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_holds_back_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_tells_kinds_and_accounts_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_ends_with_the_latest_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_tries_again_with_the_same_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_without_a_url_only_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alert_bounds_what_waits, setup, teardown),
    };
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    receiver.fd = socket(AF_INET, SOCK_STREAM, 0);
    pthread_mutex_init(&receiver.lock, NULL);
    if (bind(receiver.fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(receiver.fd, 16) != 0 ||
        getsockname(receiver.fd, (struct sockaddr *)&at, &len) != 0)
        return 1;
    receiver.port = ntohs(at.sin_port);
    pthread_create(&receiver.thread, NULL, receive, &receiver);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    shutdown(receiver.fd, SHUT_RDWR);
    pthread_join(receiver.thread, NULL);
    close(receiver.fd);
    return failed;
}
