/* Requests that nobody answers, replies that come too late or not at all, deliveries that must not be sent
 * any more, accounts that are down. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define APOLOGY "I'm having trouble processing your request. Please try again."

static int64_t deliveries(struct pair *p, const char *condition)
{
    return sql_int(p, "select count(*) from agwb.deliveries where %s", condition);
}

/* A job that was published, as far as the tables know. */
static const char *asked(struct pair *p, int contact)
{
    const char *job = job_add(p, contact, "a question");

    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            job);
    return job;
}

static void kill_request(struct pair *p, const char *job)
{
    char body[256];

    snprintf(body, sizeof body, "{\"messageId\":\"%s\"}", job);
    wire_publish(p, "dlx_agent", job, body);
}

static const char *job_is(struct pair *p, const char *job)
{
    return sql_text(p, "select status || ': ' || coalesce(error, '') from ai_response_queue where id = '%s'",
                    job);
}

/* A reply whose timestamp lies seconds in the past, straight into dlx_webhook. */
static void die_reply(struct pair *p, const char *id, int contact, const char *text, int64_t age_s)
{
    char body[512];

    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"timestamp\":%lld,\"status\":\"success\",\"contact\":{\"remoteJid\":"
             "\"1202555%04d@s.whatsapp.net\"},"
             "\"response\":{\"text\":\"%s\",\"type\":\"text\"}}",
             id, (long long)(clock_wall_ms() / 1000 - age_s), 100 + contact, text);
    wire_publish(p, "dlx_webhook", id, body);
}

static void test_fallback_for_a_dead_request(struct pair *p)
{
    struct wire_message m;
    const char *job = asked(p, 1);

    pair_start_consumer_ready(p);
    kill_request(p, job);
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'sent'") == 1);
    assert_non_null(strstr(job_is(p, job), "failed: dead-lettered"));
    wire_take(p, "ag_parked", &m); /* the request is kept */
    assert_string_equal(m.id, job);
    assert_string_equal(m.reason, "dead");
    wire_free(&m);
    kill_request(p, job); /* once more: nobody is told twice */
    wire_take(p, "ag_parked", &m);
    wire_free(&m);
    assert_int_equal(pair_requests(p), 1);
}

static void test_fallback_once_per_contact_and_window(struct pair *p)
{
    const char *first = asked(p, 1), *second = asked(p, 1), *other = asked(p, 2);

    pair_start_consumer_ready(p);
    kill_request(p, first);
    kill_request(p, second);
    kill_request(p, other);
    WAIT_UNTIL(wire_count(p, "ag_parked") == 3);
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'sent'") == 2);
    assert_int_equal(job_count(p, "status = 'failed'"), 3);
    assert_int_equal(pair_requests(p), 2);
}

static void test_fallback_never_beside_a_real_answer(struct pair *p)
{
    const char *job = asked(p, 1);

    pair_start_consumer_ready(p);
    wire_answer(p, "real", job, 1, "the answer");
    WAIT_UNTIL(strcmp(job_is(p, job), "complete: ") == 0);
    kill_request(p, job);
    WAIT_UNTIL(wire_count(p, "ag_parked") == 1);
    assert_int_equal(deliveries(p, "kind = 'fallback'"), 0);
    assert_string_equal(job_is(p, job), "complete: ");
    assert_int_equal(pair_requests(p), 1);
}

/* The apology waits for its next try when the real answer comes: only the answer is sent. */
static void test_fallback_cancelled_by_a_real_answer(struct pair *p)
{
    const char *job = asked(p, 1);

    pair_set(p, "retry.delivery.delay_ms=60000");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"status\":503}}]}");
    kill_request(p, job);
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'ready' and attempts = 1") == 1);
    wire_answer(p, "real", job, 1, "the answer");
    WAIT_UNTIL(pair_sent(p, "the answer") == 1); /* at once, not behind the cancelled one's minute */
    assert_int_equal(deliveries(p, "kind = 'fallback' and state = 'cancelled'"), 1);
    assert_int_equal(pair_sent(p, APOLOGY), 0);
    WAIT_UNTIL(strcmp(job_is(p, job), "complete: ") == 0); /* failed became complete */
}

/* The apology's first message is in doubt when the real answer comes, and its receipt is first by a moment:
 * proven and answered, before a claim can look what is left of it. */
static void prove_while_answered(struct pair *p, const char *job, const char *account)
{
    struct db_session *s = sql_session(p);
    char receipt[512];

    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'uncertain'") == 1);
    snprintf(receipt, sizeof receipt,
             "select agwb.add_receipts(jsonb_build_array(jsonb_build_object('provider', 'any', 'account', "
             "'%s', 'externalId', 'r-1', 'status', 'DELIVERED', 'ourId', message_id))) from agwb.deliveries; "
             "select agwb.apply_receipts(10); commit",
             account);
    sql_session_run(s, "begin; select 1 from ai_response_queue for update");
    wire_answer(p, "real", job, 1, "the answer");
    WAIT_UNTIL(sql_is_waiting(p, "accept_replies")); /* which no claim overtakes */
    sql_session_run(s, receipt);
    db_session_close(&s);
    WAIT_UNTIL(deliveries(p, "message_id = 'real' and state = 'sent'") == 1);
}

/* What the customer has is not cancelled: it is in the history, and counts. */
static void test_fallback_proven_as_the_real_answer_comes(struct pair *p)
{
    const char *job = asked(p, 1);

    p->timeout_ms = 300;
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"hang\"}}]}");
    kill_request(p, job);
    prove_while_answered(p, job, "wa");
    assert_string_equal(
        sql_text(p, "select state || coalesce(reason, '') from agwb.deliveries where kind = 'fallback'"),
        "sent");
    assert_int_equal(sql_int(p, "select count(*) from messages where sender_type = 'ai' and external_id = "
                                "'r-1' and delivery_status = 'DELIVERED'"),
                     1);
    assert_int_equal(sql_int(p, "select count(*) from usage_logs"), 2);
    assert_int_equal(pair_requests(p), 2);
    assert_int_equal(pair_sent(p, APOLOGY), 1);
    assert_string_equal(job_is(p, job), "complete: ");
}

#define HALF "Something went wrong on our side, and so there will be no answer for some time. We are sorry."

/* An apology of several messages of which the first has arrived: the rest follows, then the answer. */
static void test_fallback_begun_as_the_real_answer_comes(struct pair *p)
{
    const char *job = asked(p, 1);

    sql_run(p, "update conversations set channel_type = 'sms'");
    pair_account(p,
                 "name = \"short\"; provider = \"sms_gateway\"; channel = \"sms\"; default = true; token = "
                 "\"test-token\"; options = { max_segments = 1; };");
    pair_set(p, "consumer.fallback_text=" HALF "\n\n" HALF);
    p->timeout_ms = 300;
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":1,\"action\":{\"fault\":\"hang\"}}]}");
    kill_request(p, job);
    prove_while_answered(p, job, "short");
    assert_int_equal(deliveries(p, "kind = 'fallback' and state = 'sent' and parts_sent = 2"), 1);
    assert_int_equal(pair_sent(p, HALF), 2);
    assert_int_equal(pair_requests(p), 3);
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries f join agwb.deliveries r on "
                                "r.kind = 'reply' and f.kind = 'fallback' and r.settled_at >= f.settled_at"),
                     1);
}

static void test_fallback_for_an_agents_error(struct pair *p)
{
    const char *job = asked(p, 1);
    char body[512];

    pair_start_consumer_ready(p);
    snprintf(body, sizeof body,
             "{\"messageId\":\"e1\",\"originalMessageId\":\"%s\",\"timestamp\":1,\"status\":\"error\","
             "\"contact\":{\"phoneNumber\":"
             "\"+12025550101\"},\"error\":{\"code\":\"LLM_DOWN\",\"message\":\"no model\"}}",
             job);
    wire_publish(p, "wb_queue", "e1", body);
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    WAIT_UNTIL(strcmp(job_is(p, job), "failed: agent: LLM_DOWN: no model") == 0);
    assert_true(pair_metric(p->consumer_port, "agwb_fallback_replies_total") == 1);
    assert_true(pair_metric(p->consumer_port, "agwb_agent_errors_total") == 1);
}

/* An incomplete reply: status, further members. */
static void publish_incomplete(struct pair *p, const char *id, const char *job, const char *status,
                               const char *more)
{
    char body[512];

    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"originalMessageId\":\"%s\",\"status\":\"%s\",\"contact\":{"
             "\"phoneNumber\":\"+12025550101\"}%s}",
             id, job, status, more);
    wire_publish(p, "wb_queue", id, body);
}

static void test_fallback_for_a_partial_reply_without_text(struct pair *p)
{
    const char *job = asked(p, 1);

    pair_start_consumer_ready(p);
    publish_incomplete(p, "p1", job, "partial", "");
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    WAIT_UNTIL(strcmp(job_is(p, job), "failed: agent: PARTIAL: no answer") == 0);
    wire_answer(p, "whole", job, 1, "here it is"); /* late, but welcome */
    WAIT_UNTIL(pair_sent(p, "here it is") == 1);
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
}

/* With a text both are sent, unless the operator wants the fallback in their place. */
static void test_fallback_incomplete_replies_by_policy(struct pair *p)
{
    const char *partial = asked(p, 1);

    pair_set(p, "consumer.fallback_window_ms=0");
    pair_start_consumer_ready(p);
    publish_incomplete(p, "p1", partial, "partial", ",\"response\":{\"text\":\"half\"}");
    WAIT_UNTIL(pair_sent(p, "half") == 1);
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
    const char *failed = asked(p, 1);
    publish_incomplete(p, "e1", failed, "error",
                       ",\"response\":{\"text\":\"sorry\"},\"error\":{\"code\":\"E\",\"message\":\"m\"}");
    WAIT_UNTIL(pair_sent(p, "sorry") == 1);
    WAIT_UNTIL(strcmp(job_is(p, failed), "failed: agent: E: m") == 0);
    assert_int_equal(process_end(&p->consumer), 0);

    pair_set(p, "agent.partial=fallback");
    pair_set(p, "agent.error=fallback");
    pair_start_consumer_ready(p);
    publish_incomplete(p, "p2", asked(p, 1), "partial", ",\"response\":{\"text\":\"half\"}");
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    publish_incomplete(p, "e2", asked(p, 1), "error", ",\"response\":{\"text\":\"sorry\"}");
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 2);
    WAIT_UNTIL(job_count(p, "status = 'failed' and error = 'agent: ERROR: no message'") == 1);
    assert_int_equal(pair_sent(p, "half") + pair_sent(p, "sorry"), 2);
}

static void test_fallback_agents_error_is_retried_first(struct pair *p)
{
    const char *job = asked(p, 1);
    char body[512];

    pair_set(p, "agent.retry_errors=true");
    pair_start_consumer_ready(p);
    snprintf(body, sizeof body,
             "{\"messageId\":\"e1\",\"originalMessageId\":\"%s\",\"timestamp\":1,\"status\":\"error\","
             "\"contact\":{\"phoneNumber\":"
             "\"+12025550101\"},\"error\":{\"code\":\"LLM_DOWN\",\"message\":\"no model\"}}",
             job);
    wire_publish(p, "wb_queue", "e1", body);
    WAIT_UNTIL(strcmp(job_is(p, job), "error: agent: LLM_DOWN: no model") == 0);
    assert_int_equal(job_count(p, "next_attempt_at > now() and published_at is null"), 1);
    assert_int_equal(deliveries(p, "true"), 0);
    sql_run(p, "update ai_response_queue set status = 'processing', attempts = 3, published_at = now()");
    wire_publish(p, "wb_queue", "e2", body); /* the ladder is used up */
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
}

/* No reply, no dead letter, nothing: the job does not hang for ever. */
static void test_fallback_for_an_overdue_job(struct pair *p)
{
    const char *job = asked(p, 1);

    pair_set(p, "publisher.answer_timeout_ms=600");
    pair_start_consumer_ready(p);
    WAIT_UNTIL(pair_sent(p, APOLOGY) == 1);
    WAIT_UNTIL(strcmp(job_is(p, job), "failed: no reply within 600 ms") == 0);
    wire_answer(p, "late", job, 1, "the answer after all");
    WAIT_UNTIL(pair_sent(p, "the answer after all") == 1);
    WAIT_UNTIL(strcmp(job_is(p, job), "complete: ") == 0);
}

static void test_fallback_not_for_the_opted_out(struct pair *p)
{
    const char *job = asked(p, 1);

    sql_run(p, "update customer_profiles set opted_out_at = now()");
    pair_start_consumer_ready(p);
    kill_request(p, job);
    WAIT_UNTIL(wire_count(p, "ag_parked") == 1);
    assert_int_equal(deliveries(p, "true"), 0);
    assert_int_equal(job_count(p, "status = 'failed'"), 1);
}

static void test_late_reply_is_accepted_when_young(struct pair *p)
{
    struct wire_message m;

    pair_set(p, "consumer.late_reply_max_ms=3600000");
    pair_start_consumer_ready(p);
    die_reply(p, "young", 1, "two minutes late", 120);
    die_reply(p, "old", 2, "two hours late", 7200);
    WAIT_UNTIL(pair_sent(p, "two minutes late") == 1);
    wire_take(p, "wb_parked", &m);
    assert_string_equal(m.id, "old");
    assert_string_equal(m.reason, "late");
    wire_free(&m);
    die_reply(p, "young", 1, "two minutes late", 120);
    wire_take(p, "wb_parked", &m); /* in the ledger already, this one or its like */
    assert_string_equal(m.id, "young");
    wire_free(&m);
    assert_int_equal(pair_requests(p), 1);
    assert_true(pair_metric(p->consumer_port, "agwb_consumed_total{result=\"late\"}") == 1);
}

/* wb_queue's own TTL while no consumer runs: nothing is lost. */
static void test_late_reply_expired_while_nobody_consumed(struct pair *p)
{
    char body[512];

    pair_set(p, "topology.webhook_ttl_ms=300");
    pair_start_consumer_ready(p);
    assert_int_equal(process_end(&p->consumer), 0);
    snprintf(body, sizeof body,
             "{\"messageId\":\"m\",\"timestamp\":%lld,\"status\":\"success\",\"contact\":{\"remoteJid\":"
             "\"12025550101@s.whatsapp.net\"},"
             "\"response\":{\"text\":\"expired\"}}",
             (long long)(clock_wall_ms() / 1000));
    wire_publish(p, "wb_queue", "m", body);
    WAIT_UNTIL(wire_count(p, "dlx_webhook") == 1);
    pair_start_consumer_ready(p);
    WAIT_UNTIL(pair_sent(p, "expired") == 1);
}

static void test_stale_opted_out_and_human(struct pair *p)
{
    pair_start_consumer_ready(p);
    asked(p, 1);
    asked(p, 2);
    asked(p, 3);
    sql_run(p, "update customer_profiles set opted_out_at = now() where id = test.id(1, 1)");
    sql_run(p, "update conversations set requires_human = true where id = test.id(2, 2)");
    wire_answer(p, "a", sql_text(p, "select id from ai_response_queue where contact_id = test.id(1, 1)"), 1,
                "to one");
    wire_answer(p, "b", sql_text(p, "select id from ai_response_queue where contact_id = test.id(1, 2)"), 2,
                "to two");
    wire_answer(p, "c", sql_text(p, "select id from ai_response_queue where contact_id = test.id(1, 3)"), 3,
                "to three");
    WAIT_UNTIL(pair_sent(p, "to three") == 1);
    WAIT_UNTIL(deliveries(p, "state = 'cancelled'") == 2);
    assert_int_equal(pair_requests(p), 1);
    assert_int_equal(deliveries(p, "message_id = 'a' and reason = 'the contact has opted out'"), 1);
    assert_int_equal(deliveries(p, "message_id = 'b' and reason = 'a human has taken the conversation over'"),
                     1);
    assert_int_equal(job_count(p, "status = 'cancelled'"), 2);
}

static void test_stale_written_again_only_when_asked_for(struct pair *p)
{
    const char *job = asked(p, 1);

    pair_set(p, "consumer.drop_stale=true");
    pair_start_consumer_ready(p);
    job_add(p, 1, "never mind, another question");
    wire_answer(p, "old", job, 1, "an answer to something old");
    WAIT_UNTIL(deliveries(p, "state = 'cancelled' and reason = 'the contact has written again since'") == 1);
    assert_int_equal(pair_requests(p), 0);

    assert_int_equal(process_end(&p->consumer), 0);
    pair_set(p, "consumer.drop_stale=false");
    pair_start_consumer_ready(p);
    wire_answer(p, "old2", job, 1, "an answer all the same");
    WAIT_UNTIL(pair_sent(p, "an answer all the same") == 1);
}

/* Replies and dead requests at once: neither acknowledges the other's, no connection is lost over it. */
static void test_fallback_beside_a_stream_of_replies(struct pair *p)
{
    char id[32], text[32];

    pair_start_consumer_ready(p);
    for (int i = 0; i < 120; i++) {
        snprintf(id, sizeof id, "s-%03d", i);
        snprintf(text, sizeof text, "text %03d", i);
        wire_answer(p, id, "none", i % 30, text);
        if (i % 4 == 0)
            kill_request(p, asked(p, 40 + i / 4));
    }
    WAIT_UNTIL(wire_count(p, "ag_parked") == 30);
    WAIT_UNTIL(deliveries(p, "kind = 'reply' and state = 'sent'") == 120);
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'sent'") == 30);
    assert_int_equal(pair_metric(p->consumer_port, "agwb_reconnects_total{peer=\"broker\"}"), 0);
    assert_int_equal(process_end(&p->consumer), 0);
    assert_int_equal(wire_count(p, "ag_parked"), 30); /* each once */
    assert_int_equal(wire_count(p, "dlx_agent"), 0);
}

/* An agent's words cut inside a character, and whatever else the database refuses, hold nobody else up. */
static void test_fallback_reason_of_many_bytes(struct pair *p)
{
    const char *job = asked(p, 1), *other = asked(p, 2);
    struct buf body;

    pair_start_consumer_ready(p);
    buf_init(&body, 8192);
    buf_printf(&body,
               "{\"messageId\":\"e1\",\"originalMessageId\":\"%s\",\"timestamp\":1,\"status\":\"error\","
               "\"contact\":{\"remoteJid\":"
               "\"12025550101@s.whatsapp.net\"},\"error\":{\"code\":\"X\",\"message\":\"a",
               job);
    for (int i = 0; i < 1500; i++)
        buf_add_str(&body, "\xc3\xa9");
    buf_add_str(&body, "\"}}");
    wire_publish(p, "wb_queue", "e1", buf_str(&body));
    buf_fini(&body);
    kill_request(p, other);
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'sent'") == 2);
    assert_non_null(strstr(job_is(p, job), "failed: agent: X: a\xc3\xa9\xc3\xa9"));
    assert_int_equal(process_end(&p->consumer), 0);
}

static void test_fallback_culprit_is_singled_out(struct pair *p)
{
    pair_start_consumer_ready(p);
    sql_run(p, "create function refuse() returns trigger language plpgsql security definer as 'begin if "
               "new.status = ''failed'' and new.contact_id = "
               "test.id(1, 3) then raise exception ''no''; end if; return new; end'");
    sql_run(
        p, "create trigger refuse before update on ai_response_queue for each row execute function refuse()");
    for (int i = 1; i <= 8; i++)
        kill_request(p, asked(p, i));
    WAIT_UNTIL(wire_count(p, "ag_parked") == 8); /* the culprit's too */
    WAIT_UNTIL(deliveries(p, "kind = 'fallback' and state = 'sent'") == 7);
    assert_int_equal(process_end(&p->consumer), 0);
}

/* A table beside the ledger refuses: what was sent is sent, what is parked is parked. */
static void test_settle_without_history_when_it_is_refused(struct pair *p)
{
    pair_start_consumer_ready(p);
    sql_run(p, "create function refuse() returns trigger language plpgsql as 'begin if new.content like "
               "''%%bad%%'' then raise exception "
               "''no''; end if; return new; end'");
    sql_run(p, "create trigger refuse before insert on messages for each row execute function refuse()");
    wire_answer(p, "bad", asked(p, 1), 1, "a bad one");
    wire_answer(p, "good", asked(p, 2), 2, "a fine one");
    WAIT_UNTIL(deliveries(p, "state = 'sent'") == 2);
    assert_int_equal(pair_requests(p), 2);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":422}}]}");
    wire_answer(p, "bad2", asked(p, 3), 3, "a bad one more");
    wire_answer(p, "good2", asked(p, 4), 4, "a fine one more");
    WAIT_UNTIL(deliveries(p, "state = 'parked' and copied_at is not null") == 2);
    assert_int_equal(wire_count(p, "wb_parked"), 2);
    assert_int_equal(process_end(&p->consumer), 0);
}

/* A provider that is down: the circuit opens, the lanes wait, no message uses up its tries, one probe finds
 * it back. */
static void test_circuit_holds_an_account_that_is_down(struct pair *p)
{
    char id[32], text[32];

    pair_set(p, "retry.delivery.delay_ms=100");
    pair_set(p, "retry.delivery.tries=3");
    pair_set(p, "consumer.max_in_flight=5");
    pair_start_consumer_ready(p);
    pair_script(p, "{\"rules\":[{\"times\":-1,\"action\":{\"status\":503}}]}");
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "c-%02d", i);
        snprintf(text, sizeof text, "text %02d", i);
        wire_answer(p, id, "none", i, text);
    }
    WAIT_UNTIL(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"wa\"}") == 1);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.delivery_attempts where disposition = 'hold'") >
               0); /* a probe */
    assert_true(
        log_count(&p->consumer, "alert: sender account is down, its deliveries wait", "account", "wa") == 1);
    pair_script(p, "{\"rules\":[]}");
    WAIT_UNTIL(deliveries(p, "state = 'sent'") == 30);
    assert_int_equal(deliveries(p, "state = 'parked'"), 0);
    assert_true(pair_sent_once_each(p));
    assert_true(pair_metric(p->consumer_port, "agwb_circuit_open{account=\"wa\"}") == 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_fallback_for_a_dead_request),
        PAIR_TEST(test_fallback_once_per_contact_and_window),
        PAIR_TEST(test_fallback_never_beside_a_real_answer),
        PAIR_TEST(test_fallback_cancelled_by_a_real_answer),
        PAIR_TEST(test_fallback_proven_as_the_real_answer_comes),
        PAIR_TEST(test_fallback_begun_as_the_real_answer_comes),
        PAIR_TEST(test_fallback_for_an_agents_error),
        PAIR_TEST(test_fallback_for_a_partial_reply_without_text),
        PAIR_TEST(test_fallback_incomplete_replies_by_policy),
        PAIR_TEST(test_fallback_agents_error_is_retried_first),
        PAIR_TEST(test_fallback_for_an_overdue_job),
        PAIR_TEST(test_fallback_not_for_the_opted_out),
        PAIR_TEST(test_late_reply_is_accepted_when_young),
        PAIR_TEST(test_late_reply_expired_while_nobody_consumed),
        PAIR_TEST(test_stale_opted_out_and_human),
        PAIR_TEST(test_stale_written_again_only_when_asked_for),
        PAIR_TEST(test_fallback_beside_a_stream_of_replies),
        PAIR_TEST(test_fallback_reason_of_many_bytes),
        PAIR_TEST(test_fallback_culprit_is_singled_out),
        PAIR_TEST(test_settle_without_history_when_it_is_refused),
        PAIR_TEST(test_circuit_holds_an_account_that_is_down),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
