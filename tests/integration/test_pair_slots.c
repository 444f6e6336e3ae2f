/* max_in_flight: never more requests at once, and what waits for a slot is nobody's loss. */
#include "rows.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

/* An agent's reply of just now; wire_answer's are old ones, for which no acceptance waits. */
static void publish_fresh(struct pair *p, const char *id, const char *job, int contact)
{
    char body[512];

    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"originalMessageId\":%s%s%s,\"timestamp\":%lld,\"status\":\"success\","
             "\"contact\":{\"phoneNumber\":\"+1202555%04d\",\"remoteJid\":\"1202555%04d@s.whatsapp.net\"},"
             "\"response\":{\"text\":\"%s\"}}",
             id, job ? "\"" : "", job ? job : "null", job ? "\"" : "", (long long)(clock_wall_ms() / 1000),
             100 + contact, 100 + contact, id);
    wire_publish(p, "wb_queue", id, body);
}

static int64_t provider_stat(struct pair *p, const char *name)
{
    struct buf body;
    struct err e;
    int64_t n = -1;

    buf_init(&body, 65536);
    assert_int_equal(web_ask(p->provider_port, "/_control/stats", NULL, &body), 200);
    struct json *doc = json_parse(buf_str(&body), body.len, &e);
    assert_non_null(doc);
    assert_true(json_int(json_member(json_root(doc), name), &n));
    json_free(&doc);
    buf_fini(&body);
    return n;
}

/* Whatever else is slow, a reply gets into the ledger: it waits for a slot for a moment only. */
static void test_slots_none_is_free(struct pair *p)
{
    pair_set(p, "consumer.max_in_flight=1");
    pair_set(p, "consumer.lease_ms=120000");
    p->timeout_ms = 60000;
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"action\":{\"delay_ms\":50000}}]}");
    publish_fresh(p, "slow", NULL, 1);
    WAIT_UNTIL(pair_requests(p) == 1);
    publish_fresh(p, "meanwhile", NULL, 2);
    WAIT_UNTIL(delivery_is(p, "meanwhile", "ready"));
    assert_true(delivery_is(p, "slow", "sending"));
}

/* All of them are used, and not one more; each reply goes once. */
static void test_slots_are_used_and_not_exceeded(struct pair *p)
{
    enum { REPLIES = 600, SLOTS = 24 };
    char id[32];

    pair_set(p, "consumer.max_in_flight=24");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"delay_ms\":100}}]}");
    for (int i = 0; i < REPLIES; i++) {
        snprintf(id, sizeof id, "reply-%03d", i);
        publish_fresh(p, id, NULL, i);
    }
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.deliveries where state = 'sent'") == REPLIES);
    assert_int_equal(provider_stat(p, "max_in_flight"), SLOTS);
    assert_int_equal(pair_requests(p), REPLIES);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where fence <> 1"), 0);
}

/* Six requests that hang, one that ends while an acceptance is held up, and that acceptance's own, which
 * hangs, too. As one has ended during it, the next acceptance claims for the free slot and for one more: two
 * replies wait for it, of which the second answers `job`. */
static void fill_slots(struct pair *p, const char *job)
{
    char id[32];

    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"quick\"},\"action\":{\"delay_ms\":300}},"
                   "{\"times\":-1,\"action\":{\"fault\":\"hang\"}}]}");
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof id, "hanging-%d", i);
        publish_fresh(p, id, NULL, 10 + i);
    }
    publish_fresh(p, "quick", NULL, 20);
    WAIT_UNTIL(pair_requests(p) == 7);

    const char *first = job_add(p, 1, "a question");
    struct db_session *lock = job_hold(p, first);
    publish_fresh(p, "answer", first, 1);
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    WAIT_UNTIL(delivery_is(p, "quick", "sent"));
    publish_fresh(p, "starts", NULL, 30);
    publish_fresh(p, "waits", job, 2);
    WAIT_UNTIL(wire_count(p, "wb_queue") == 0 && pair_is_ready(&p->consumer, p->consumer_port));
    sql_session_undo(&lock);
    WAIT_UNTIL(pair_requests(p) >= 8);
}

static const char *start_with_eight_slots(struct pair *p)
{
    pair_set(p, "consumer.max_in_flight=8");
    pair_set(p, "consumer.lease_ms=120000");
    pair_set(p, "daemon.drain_timeout_ms=1000");
    p->timeout_ms = 60000;
    pair_start_consumer_ready(p);
    return job_add(p, 2, "another question");
}

static void assert_waits_is_ready(struct pair *p)
{
    assert_true(delivery_is(p, "waits", "ready"));
    assert_int_equal(sql_int(p, "select attempts from agwb.deliveries where message_id = 'waits'"), 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.delivery_attempts where message_id = 'waits'"), 0);
}

/* An orderly end gives it back: it is known that it was not sent. */
static void test_slots_claimed_ahead_is_given_back(struct pair *p)
{
    fill_slots(p, start_with_eight_slots(p));
    WAIT_UNTIL(delivery_is(p, "waits", "sending") && provider_stat(p, "in_flight") == 8);
    assert_int_equal(pair_requests(p), 9);
    process_end(&p->consumer);
    assert_waits_is_ready(p);
    assert_true(delivery_is(p, "starts", "sending"));
    assert_int_equal(pair_requests(p), 9);
}

/* Also when its acceptance is under way when the end begins. */
static void test_slots_claimed_behind_the_end_is_given_back(struct pair *p)
{
    const char *job = start_with_eight_slots(p);
    struct db_session *lock = job_hold(p, job);

    fill_slots(p, job);
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    process_signal(&p->consumer, SIGTERM);
    WAIT_UNTIL(!pair_is_ready(&p->consumer, p->consumer_port));
    sql_session_undo(&lock);
    process_wait(&p->consumer);
    assert_waits_is_ready(p);
    assert_true(delivery_is(p, "starts", "sending"));
    assert_int_equal(pair_requests(p), 9);
}

/* All requests fail at once, which opens the account's circuit: nothing more goes to it. */
static void test_slots_claimed_ahead_of_an_open_circuit(struct pair *p)
{
    fill_slots(p, start_with_eight_slots(p));
    WAIT_UNTIL(delivery_is(p, "waits", "sending") && provider_stat(p, "in_flight") == 8);
    process_signal(&p->consumer, SIGSTOP);
    process_kill(&p->provider);
    process_signal(&p->consumer, SIGCONT);
    WAIT_UNTIL(delivery_is(p, "starts", "uncertain"));
    WAIT_UNTIL(!delivery_is(p, "waits", "sending"));
    assert_waits_is_ready(p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_slots_none_is_free),
        PAIR_TEST(test_slots_are_used_and_not_exceeded),
        PAIR_TEST(test_slots_claimed_ahead_is_given_back),
        PAIR_TEST(test_slots_claimed_behind_the_end_is_given_back),
        PAIR_TEST(test_slots_claimed_ahead_of_an_open_circuit),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
