/* A lane's order when a consumer stands still for longer than its lease (SIGSTOP, as a suspended machine): at
 * the lease's end what it holds is uncertain and the lane goes on; it wakes and says what became of it. */
#include "rows.h"
#include "wire.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(struct pair *p)
{
    p->timeout_ms = 1000;
    pair_set(p, "consumer.lease_ms=6500");
    pair_set(p, "retry.delivery.delay_ms=100");
    pair_set(p, "retry.delivery.multiplier=1");
    pair_set(p, "retry.delivery.jitter=0");
    pair_start_consumer_ready(p);
}

static void freeze(struct pair *p)
{
    int status;

    process_signal(&p->consumer, SIGSTOP);
    assert_int_equal(waitpid(p->consumer.pid, &status, WUNTRACED), p->consumer.pid);
    assert_true(WIFSTOPPED(status));
}

/* Stopped between the claim's commit and its answer: the acceptance waits for its job's lock meanwhile. */
static void freeze_with_claim(struct pair *p, const char *id, const char *text)
{
    struct db_session *lock = sql_session(p);
    const char *job = job_add(p, 1, "a question");

    sql_session_run(lock, "begin; select 1 from ai_response_queue for update");
    wire_answer(p, id, job, 1, text);
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies"));
    freeze(p);
    sql_session_undo(&lock);
    WAIT_UNTIL(delivery_is(p, id, "sending"));
}

/* The other instance sweeps, and takes over the queue when the broker has lost the frozen one. */
static void take_over(struct pair *p, const char *id)
{
    pair_start_program(p, &p->more[0], "consumer2", "agwb-consumer", "consumer.metrics_listen=off");
    WAIT_UNTIL(delivery_is(p, id, "uncertain"));
    wire_forget(p);
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"close_all_connections", "-p", p->vhost, "test", NULL});
}

/* The first is the frozen one's, the second goes meanwhile; then it wakes. */
static void overtake(struct pair *p)
{
    take_over(p, "first");
    wire_answer(p, "second", "none", 1, "the second");
    WAIT_UNTIL(delivery_is(p, "second", "sent"));
    process_signal(&p->consumer, SIGCONT);
}

static void assert_overtaken(struct pair *p, const char *id, const char *error)
{
    struct wire_message m;

    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, id);
    assert_string_equal(m.reason, "overtaken");
    assert_string_equal(m.error, error);
    wire_publish(p, "wb_parked", m.id, buf_str(&m.body)); /* for a replay */
    wire_free(&m);
    WAIT_UNTIL(sql_int(p,
                       "select count(*) from agwb.deliveries where message_id = '%s' and state = 'parked' "
                       "and copied_at is not null",
                       id) == 1);
}

/* It never left, but the next one has gone: a person decides, and may send it after all. */
static void test_order_claim_given_back_behind_a_later_one(struct pair *p)
{
    struct buf out;

    start(p);
    freeze_with_claim(p, "first", "the first");
    overtake(p);
    WAIT_UNTIL(log_count(&p->consumer, "claim came too late for an attempt, given back", NULL, NULL) == 1);
    assert_overtaken(p, "first",
                     "overtaken: not sent when its turn was, and a later one to this contact has gone");
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
    wire_answer(p, "third", "none", 1, "the third");
    WAIT_UNTIL(delivery_is(p, "third", "sent"));
    assert_int_equal(pair_requests(p), 2);

    assert_int_equal(pair_command(p, "agwb-consumer",
                                  (const char *const[]){"dlq", "replay", "wb_parked", "--message-id", "first",
                                                        "--execute", "--yes", NULL},
                                  &out),
                     0);
    buf_fini(&out);
    WAIT_UNTIL(delivery_is(p, "first", "sent"));
    assert_int_equal(pair_requests(p), 3);
    assert_true(pair_sent_once_each(p));
}

/* Nothing of its lane has gone: it goes, and what waits behind it after it. */
static void test_order_claim_given_back_in_its_place(struct pair *p)
{
    start(p);
    freeze_with_claim(p, "first", "the first");
    take_over(p, "first");
    wire_answer(p, "elsewhere", "none", 2, "to another contact");
    WAIT_UNTIL(delivery_is(p, "elsewhere", "sent"));
    process_signal(&p->consumer, SIGCONT);
    WAIT_UNTIL(delivery_is(p, "first", "sent"));
    wire_answer(p, "second", "none", 1, "the second");
    WAIT_UNTIL(delivery_is(p, "second", "sent"));
    assert_int_equal(pair_requests(p), 3);
    assert_true(pair_sent_once_each(p));
}

/* The provider had refused it for now, which is read after the lease: no second try behind the next one. */
static void fail_late(struct pair *p)
{
    start(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"the first\"},\"times\":1,\"action\":{\"status\":503,"
                   "\"delay_ms\":800}}]}");
    wire_answer(p, "first", "none", 1, "the first");
    WAIT_UNTIL(pair_requests(p) == 1);
    freeze(p);
    overtake(p);
    assert_overtaken(p, "first",
                     "overtaken: not sent when its turn was, and a later one to this contact has gone; "
                     "TEMPFAIL 503: Server answered 503");
    assert_string_equal(sql_text(p, "select string_agg(outcome || ' ' || disposition, ', ' order by id) from "
                                    "agwb.delivery_attempts where message_id = 'first'"),
                        "TEMPFAIL retry");
    assert_int_equal(pair_requests(p), 2);
}

static void test_order_late_failure_behind_a_later_one(struct pair *p)
{
    fail_late(p);
}

static void test_order_late_failure_within_limits(struct pair *p)
{
    pair_set(p, "limits.contact_per_minute=50");
    fail_late(p);
}

/* The first of three messages had arrived, which is settled after the lease: half an answer is worse than one
 * with another in between. */
static void test_order_rest_of_a_reply_goes_behind_a_later_one(struct pair *p)
{
    static const char *const ORDER[] = {"first-a", "the second", "first-b", "first-c"};
    struct buf line;

    start(p);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"first-a\"},\"times\":1,\"action\":{\"status\":200,"
                   "\"delay_ms\":800}}]}");
    wire_publish(
        p, "wb_queue", "first",
        "{\"messageId\":\"first\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
        "\"phoneNumber\":\"+12025550101\"},"
        "\"response\":{\"type\":\"image\",\"attachments\":["
        "{\"url\":\"https://example.com/a.jpg\",\"mimeType\":\"image/jpeg\",\"caption\":\"first-a\"},"
        "{\"url\":\"https://example.com/b.jpg\",\"mimeType\":\"image/jpeg\",\"caption\":\"first-b\"},"
        "{\"url\":\"https://example.com/c.jpg\",\"mimeType\":\"image/jpeg\",\"caption\":\"first-c\"}]}}");
    WAIT_UNTIL(pair_requests(p) == 1);
    freeze(p);
    overtake(p);
    WAIT_UNTIL(delivery_is(p, "first", "sent"));
    assert_int_equal(pair_requests(p), 4);
    for (size_t i = 0; i < 4; i++) {
        pair_journal_line(p, i, &line);
        assert_non_null(strstr(buf_str(&line), ORDER[i]));
        buf_fini(&line);
    }
}

/* --- asleep while an attachment's server is asked --- */

static int listen_for_probes(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* The question has come; the answer is up to the test. */
static int take_probe(int listener)
{
    char head[5] = "";
    int fd = accept(listener, NULL, NULL);

    assert_true(fd >= 0);
    assert_int_equal(recv(fd, head, 4, MSG_WAITALL), 4);
    assert_string_equal(head, "HEAD");
    return fd;
}

static void answer_probe(int fd)
{
    static const char GOOD[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n";

    assert_int_equal(send(fd, GOOD, strlen(GOOD), MSG_NOSIGNAL), (ssize_t)strlen(GOOD));
    close(fd);
}

static void answer_with_file(struct pair *p, const char *id, int port, const char *name)
{
    char body[512];

    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"status\":\"success\",\"channel\":\"whatsapp\",\"contact\":{"
             "\"phoneNumber\":\"+12025550101\"},\"response\":{\"type\":\"image\",\"attachments\":["
             "{\"url\":\"http://127.0.0.1:%d/%s\",\"mimeType\":\"image/jpeg\"}]}}",
             id, port, name);
    wire_publish(p, "wb_queue", id, body);
}

/* The good answer is read when the lease is over: the message is not the sleeper's any more. */
static void test_order_asleep_while_a_file_is_asked_for(struct pair *p)
{
    int port, listener = listen_for_probes(&port), probe;

    pair_set(p, "attachments.probe=true");
    pair_set(p, "attachments.allow_http=true");
    pair_set(p, "attachments.allow_private=true");
    start(p);
    answer_with_file(p, "awake", port, "a.jpg");
    answer_probe(take_probe(listener));
    WAIT_UNTIL(delivery_is(p, "awake", "sent"));

    answer_with_file(p, "first", port, "b.jpg");
    probe = take_probe(listener);
    freeze(p);
    answer_probe(probe);
    take_over(p, "first");
    wire_answer(p, "second", "none", 1, "the second");
    WAIT_UNTIL(delivery_is(p, "second", "sent"));
    process_signal(&p->consumer, SIGCONT);
    assert_overtaken(p, "first",
                     "overtaken: not sent when its turn was, and a later one to this contact has gone");
    assert_int_equal(log_count(&p->consumer, "claim came too late for an attempt, given back", NULL, NULL),
                     1);
    assert_int_equal(pair_requests(p), 2);
    assert_int_equal(sql_int(p, "select count(*) from agwb.delivery_attempts where message_id = 'first'"), 0);
    close(listener);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_order_claim_given_back_behind_a_later_one),
        PAIR_TEST(test_order_claim_given_back_in_its_place),
        PAIR_TEST(test_order_late_failure_behind_a_later_one),
        PAIR_TEST(test_order_late_failure_within_limits),
        PAIR_TEST(test_order_rest_of_a_reply_goes_behind_a_later_one),
        PAIR_TEST(test_order_asleep_while_a_file_is_asked_for),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
