/* What an administrator is told at once, over the wire: given up, dead, an account down and up, a backlog,
 * errors. */
#include "receiver.h"
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/webhook_signature.h"

static struct receiver receiver;
static char url_option[128];

/* Alerts go to a receiver of ours, one at most each 200 ms for each thing. */
static void listen_for_alerts(struct pair *p)
{
    receiver_start(&receiver, p->dir, 204);
    snprintf(url_option, sizeof url_option, "alerts.webhook_url=http://127.0.0.1:%d/alert?key=url-secret",
             receiver.port);
    pair_set(p, url_option);
    pair_set(p, "alerts.secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    pair_set(p, "alerts.min_interval_ms=200");
}

/* What stands behind the name in a request's head. */
static const char *head_of(const char *heads, const char *name, char out[128])
{
    const char *at = strstr(heads, name), *end = at != NULL ? strstr(at, " |") : NULL;

    assert_non_null(end);
    at += strlen(name) + strlen(": ");
    snprintf(out, 128, "%.*s", (int)(end - at), at);
    return out;
}

/* As a receiver does it: over the id, the time and the body as they came, with the key it was given. */
static void assert_first_is_signed(void)
{
    struct buf heads, bodies;
    char id[128], at[128], signature[128], wanted[WEBHOOK_SIGNATURE_SIZE];

    file_read(receiver.heads, &heads);
    file_read(receiver.bodies, &bodies);
    const char *body = buf_str(&bodies);
    int64_t at_s = strtoll(head_of(buf_str(&heads), "webhook-timestamp", at), NULL, 10);
    assert_true(webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                             head_of(buf_str(&heads), "webhook-id", id), at_s, body, strcspn(body, "\n"),
                             wanted));
    assert_string_equal(head_of(buf_str(&heads), "webhook-signature", signature), wanted);
    assert_in_range(clock_wall_ms() / 1000 - at_s, 0, 60);
    buf_fini(&heads);
    buf_fini(&bodies);
}

static void assert_nothing_told(struct pair *p)
{
    struct buf bodies;

    file_read(receiver.bodies, &bodies);
    assert_null(strstr(buf_str(&bodies), "2025550"));
    assert_null(strstr(buf_str(&bodies), "private"));
    assert_null(strstr(buf_str(&bodies), "test-token"));
    buf_fini(&bodies);
    file_read(p->consumer.log, &bodies);
    assert_null(strstr(buf_str(&bodies), "url-secret"));
    buf_fini(&bodies);
    receiver_end(&receiver);
}

/* After the last retry: once the copy is on its way, with the id and the reason, signed. */
static void test_alerts_after_the_last_try(struct pair *p)
{
    listen_for_alerts(p);
    pair_set(p, "retry.delivery.tries=2");
    pair_set(p, "retry.delivery.delay_ms=50");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":503}}]}");
    wire_answer(p, "given-up", "none", 1, "private text");
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"delivery.parked\"") == 1);
    assert_int_equal(receiver_count(&receiver, "\"messageId\":\"given-up\""), 1);
    assert_int_equal(receiver_count(&receiver, "\"reason\":\"exhausted\""), 1);
    assert_int_equal(log_count(&p->consumer, "alert: a message is given up", "reason", "exhausted"), 1);
    assert_first_is_signed();
    assert_nothing_told(p);
}

static void test_alerts_account_down_and_up(struct pair *p)
{
    listen_for_alerts(p);
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":401}}]}");
    wire_answer(p, "a", "none", 1, "private text");
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"account.down\"") == 1);
    assert_int_equal(receiver_count(&receiver, "\"about\":\"wa\""), 1);
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"account.up\"") == 1);
    assert_int_equal(log_count(&p->consumer, "alert: sender account is up again", "account", "wa"), 1);
    assert_nothing_told(p);
}

static void test_alerts_dead_letters(struct pair *p)
{
    listen_for_alerts(p);
    pair_set(p, "alerts.min_interval_ms=600000");
    pair_start_consumer_ready(p);
    for (int i = 0; i < 20; i++)
        wire_publish(p, "wb_queue", NULL, "{\"private\":\"+12025550101\"}");
    WAIT_UNTIL(wire_count(p, "wb_parked") == 20);
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"message.dead\"") == 1);
    assert_int_equal(receiver_count(&receiver, NULL), 1); /* not twenty */
    assert_int_equal(log_count(&p->consumer, "alert: a message is dead", "reason", "invalid"), 20);
    assert_nothing_told(p);
}

static void test_alerts_error_share(struct pair *p)
{
    listen_for_alerts(p);
    pair_set(p, "alerts.error_attempts=4");
    pair_set(p, "alerts.error_percent=50");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":6,\"action\":{\"status\":422}}]}");
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof id, "m-%d", i);
        wire_answer(p, id, "none", i, "private text");
    }
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"errors.high\"") == 1);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "n-%d", i);
        wire_answer(p, id, "none", i, "private text");
    }
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"errors.over\"") == 1);
    assert_nothing_told(p);
}

/* More jobs wait than may: told when it begins and when it is over. */
static void test_alerts_backlog(struct pair *p)
{
    listen_for_alerts(p);
    pair_set(p, "alerts.backlog=3");
    pair_set(p, "limits.jobs_in_flight=1");
    job_add_many(p, 1, 6);
    pair_start_publisher_ready(p);
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"backlog.high\"") == 1);
    assert_int_equal(receiver_count(&receiver, "\"waiting\":\"more than 3\""), 1);
    sql_run(p, "update ai_response_queue set status = 'cancelled'");
    WAIT_UNTIL(receiver_count(&receiver, "\"type\":\"backlog.over\"") == 1);
    assert_int_equal(log_count(&p->publisher, "alert: the backlog is worked off", "queue", "ai-processing"),
                     1);
    receiver_end(&receiver);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_alerts_after_the_last_try),
        PAIR_TEST(test_alerts_account_down_and_up),
        PAIR_TEST(test_alerts_dead_letters),
        PAIR_TEST(test_alerts_error_share),
        PAIR_TEST(test_alerts_backlog),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
