/* What providers report of our messages, in whatever order it comes. Most of it is the database's business
 * alone: deliveries are put into the ledger as an attempt has left them, receipts as webhooks leave them. */
#include "rows.h"
#include "wire.h"

#include <stdio.h>
#include <string.h>

/* test.delivery(id, n, state, text, provider id): a reply to contact n over account wa, with the attempt that
 * led to its state (none while it is sending) and the message's row. test.news(...) keeps one receipt;
 * test.apply() looks at what is due. */
static const char FIXTURE[] =
    "create function test.delivery(p_id text, n int, p_state text, p_text text, p_provider text) returns "
    "text "
    "language sql as $$"
    "  select test.contact(n);"
    "  insert into messages (id, conversation_id, sender_type, content, external_id, delivery_status)"
    "  values (md5(p_id)::uuid, test.id(2, n), 'ai', p_text, p_provider,"
    "          case p_state when 'sent' then 'SENT' when 'parked' then 'FAILED' else 'PENDING' end);"
    "  insert into agwb.deliveries (message_id, contact_id, conversation_id, message_row_id, account, lane,"
    "      channel, address, state, attempts, fence, settled_at, next_attempt_at, lease_until, body_sha256, "
    "payload, provider_message_id)"
    "  select p_id, test.id(1, n), test.id(2, n), md5(p_id)::uuid, 'wa', 'wa ' || a, 'whatsapp', a, p_state, "
    "1,"
    "      1, case when p_state in ('sent', 'parked') then now() end,"
    "      case when p_state = 'uncertain' then now() + interval '1 hour' end,"
    "      case when p_state = 'sending' then now() + interval '1 hour' end, sha256(b), b, p_provider"
    "  from (select '+1202555' || lpad((100 + n)::text, 4, '0') as a,"
    "        convert_to(json_build_object('messageId', p_id, 'status', 'success', 'response',"
    "            json_build_object('text', p_text, 'type', 'text'))::text, 'UTF8') as b) x;"
    "  insert into agwb.delivery_attempts (message_id, fence, account, started_at, ended_at, outcome,"
    "      disposition, provider_message_id)"
    "  select p_id, 1, 'wa', now(), now(), case p_state when 'sent' then 'DELIVERED' else 'UNCERTAIN' end,"
    "      case p_state when 'sent' then 'done' else 'reconcile' end, p_provider where p_state <> 'sending';"
    "  select p_id $$;"
    "create function test.news(p_status text, p_id text, p_more jsonb default '{}') returns int language sql "
    "as $$"
    "  select agwb.add_receipts(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('provider', "
    "'wasender',"
    "      'account', 'wa', 'status', p_status, 'externalId', p_id)) || p_more)) $$;"
    "create function test.apply() returns int language sql as $$"
    "  update agwb.receipts set due_at = now() where due_at is not null;"
    "  select matched from agwb.apply_receipts(100) $$;"
    "create function test.shown(p_id text) returns text language sql as $$"
    "  select delivery_status from messages where id = md5(p_id)::uuid $$;";

static void open_fixture(struct pair *p)
{
    struct db_session *s = sql_session(p);
    sql_session_run(s, FIXTURE);
    db_session_close(&s);
}

static void send_message(struct pair *p, const char *id, int contact, const char *state, const char *text,
                         const char *provider_id)
{
    sql_run(p, "select test.delivery('%s', %d, '%s', '%s', nullif('%s', ''))", id, contact, state, text,
            provider_id);
}

static void add_news(struct pair *p, const char *status, const char *id, const char *more)
{
    sql_run(p, "select test.news('%s', nullif('%s', ''), '%s')", status, id, more);
}

static const char *shown(struct pair *p, const char *id)
{
    return sql_text(p, "select test.shown('%s')", id);
}

static const char *state(struct pair *p, const char *id)
{
    return sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id);
}

/* --- statuses --- */

/* Every order of up to three receipts, one after the other and all at once: the same end. */
static void test_receipts_never_go_backwards(struct pair *p)
{
    static const struct {
        const char *news[4]; /* NULL ends them */
        const char *shown;
    } ROWS[] = {
        {{"SENT"}, "SENT"},
        {{"DELIVERED"}, "DELIVERED"},
        {{"READ"}, "READ"},
        {{"FAILED"}, "FAILED"},
        {{"SENT", "DELIVERED", "READ"}, "READ"},
        {{"READ", "DELIVERED", "SENT"}, "READ"},
        {{"DELIVERED", "SENT"}, "DELIVERED"},
        {{"READ", "FAILED"}, "READ"},
        {{"FAILED", "SENT"}, "FAILED"},
        {{"FAILED", "DELIVERED"}, "DELIVERED"},
        {{"DELIVERED", "FAILED"}, "DELIVERED"},
        {{"SENT", "FAILED"}, "FAILED"},
    };
    enum { COUNT = sizeof ROWS / sizeof ROWS[0] };
    char id[32];

    open_fixture(p);
    for (int i = 0; i < 2 * COUNT; i++) {
        bool at_once = i >= COUNT;
        snprintf(id, sizeof id, "re-%d", i);
        send_message(p, id, 1, "sent", "hello", id);
        for (const char *const *news = ROWS[i % COUNT].news; *news != NULL; news++) {
            add_news(p, *news, id, "{}");
            if (!at_once)
                sql_run(p, "select test.apply()");
        }
        sql_run(p, "select test.apply()");
        if (strcmp(shown(p, id), ROWS[i % COUNT].shown) != 0)
            fail_msg("row %d: %s", i, shown(p, id));
    }
    assert_int_equal(sql_int(p, "select count(*) from agwb.receipts where due_at is not null"), 0);
    assert_int_equal(
        sql_int(p, "select count(*) from agwb.apply_receipts(10) where taken = 0 and next_due_ms is null"),
        1);
}

static void test_receipts_failure_keeps_its_reason(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "wamid.1");
    add_news(p, "FAILED", "wamid.1",
             "{\"code\": \"131049\", \"detail\": \"not delivered\", \"atMs\": 1772366412000}");
    add_news(p, "FAILED", "wamid.1", "{\"code\": \"131049\"}"); /* once more: it is known */
    sql_run(p, "select test.apply()");
    assert_string_equal(shown(p, "re-1"), "FAILED");
    assert_string_equal(sql_text(p,
                                 "select metadata ->> 'code' || ' ' || (metadata ->> 'reason') from messages "
                                 "where id = md5('re-1')::uuid"),
                        "131049 not delivered");
    assert_int_equal(sql_int(p,
                             "select count(*) from agwb.receipts where message_id = 're-1' and judged_at is "
                             "null and at = '2026-03-01 12:00:12Z'"),
                     1);
}

/* What was read is never sent again, another way, or given to a person: the consumer is not even asked. Of a
 * reply in parts each stands for itself. */
static void test_receipts_what_arrived_has_not_failed(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "first");
    sql_run(
        p, "insert into agwb.delivery_attempts (message_id, fence, account, part, started_at, ended_at, "
           "outcome, "
           "disposition, provider_message_id) values ('re-1', 2, 'wa', 1, now(), now(), 'DELIVERED', 'done', "
           "'second')");
    add_news(p, "READ", "first", "{}");
    sql_run(p, "select test.apply()");
    add_news(p, "FAILED", "first", "{\"code\": \"131026\"}");
    sql_run(p, "select test.apply()");
    assert_string_equal(shown(p, "re-1"), "READ");
    assert_int_equal(sql_int(p, "select count(*) from agwb.claim_bounces(10, '{}')"), 0);
    add_news(p, "FAILED", "second", "{\"code\": \"131026\"}");
    sql_run(p, "select test.apply()");
    assert_int_equal(sql_int(p, "select count(*) from agwb.claim_bounces(10, '{}')"), 1);
}

/* --- finding the delivery --- */

static void test_receipts_of_others_find_nothing(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "id-1");
    add_news(p, "READ", "id-2", "{}");
    add_news(p, "READ", "id-1", "{\"account\": \"other\"}"); /* the same id at another account */
    assert_int_equal(sql_int(p, "select test.apply()"), 0);
    assert_string_equal(shown(p, "re-1"), "SENT");
    assert_int_equal(sql_int(p, "select count(*) from agwb.receipts where due_at > now()"), 2);
    /* and are not looked at for ever */
    sql_run(p, "update agwb.receipts set received_at = now() - interval '16 minutes'");
    sql_run(p, "select test.apply()");
    assert_int_equal(sql_int(p, "select count(*) from agwb.receipts where due_at is null"), 2);
}

/* The provider was quicker than our own commit. */
static void test_receipts_before_the_attempt_is_recorded(struct pair *p)
{
    open_fixture(p);
    add_news(p, "DELIVERED", "id-1", "{}");
    add_news(p, "READ", "id-2", "{}");
    assert_int_equal(sql_int(p, "select test.apply()"), 0);
    send_message(p, "re-1", 1, "sent", "hello", "id-1");
    send_message(p, "re-2", 1, "sent", "hello", "id-2");
    assert_int_equal(sql_int(p, "select agwb.apply_receipts_of(array['id-1'])"), 1); /* as settling does */
    assert_string_equal(shown(p, "re-1"), "DELIVERED");
    assert_string_equal(shown(p, "re-2"), "SENT");
    assert_int_equal(sql_int(p, "select test.apply()"), 1); /* as the sweep does */
    assert_string_equal(shown(p, "re-2"), "READ");
}

/* A reply in parts is shown when it is whole. */
static void test_receipts_of_a_part_wait_for_the_whole(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "part-0");
    sql_run(p, "update agwb.deliveries set state = 'ready', parts_sent = 1");
    sql_run(p, "update messages set delivery_status = 'PENDING' where sender_type = 'ai'");
    add_news(p, "READ", "part-0", "{}");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(shown(p, "re-1"), "PENDING");
    sql_run(p, "update agwb.deliveries set state = 'sent'");
    sql_run(p, "select test.apply()");
    assert_string_equal(shown(p, "re-1"), "READ");
}

static void test_receipts_by_our_own_id(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "");
    send_message(p, "re-2", 1, "uncertain", "hello", "");
    add_news(p, "DELIVERED", "id-1", "{\"ourId\": \"re-1\"}");
    add_news(p, "SENT", "id-2", "{\"ourId\": \"re-2\"}");
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_string_equal(shown(p, "re-1"), "DELIVERED");
    assert_string_equal(state(p, "re-2"), "ready"); /* the part is sent; the consumer looks for a next one */
    assert_int_equal(sql_int(p, "select parts_sent from agwb.deliveries where message_id = 're-2'"), 1);
    /* what comes later finds it by the id that this one brought */
    sql_run(p, "update agwb.deliveries set state = 'sent' where message_id = 're-2'");
    add_news(p, "READ", "id-2", "{}");
    sql_run(p, "select test.apply()");
    assert_string_equal(shown(p, "re-2"), "READ");
}

static const char ECHO[] = "{\"recipient\": \"+12025550101\", \"text\": \"%s\"}";

static void add_echo(struct pair *p, const char *id, const char *text)
{
    char more[256];
    snprintf(more, sizeof more, ECHO, text);
    add_news(p, "SENT", id, more);
}

/* Wasender's answer has another id than its receipts: the echo of the text links the two. */
static void test_receipts_by_echo(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "11");
    send_message(p, "re-2", 1, "sent", "hello", "12");
    send_message(p, "re-3", 2, "sent", "hello", "13"); /* somebody else's */
    add_echo(p, "KEY-0", "something else");
    add_echo(p, "KEY-1", " hello\\n");
    add_echo(p, "KEY-2", "hello");
    add_echo(p, "KEY-3", "hello"); /* a person wrote that */
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_int_equal(
        sql_int(p, "select count(distinct message_id) from agwb.delivery_attempts where receipt_id in "
                   "('KEY-1', 'KEY-2') and message_id in ('re-1', 're-2')"),
        2);
    add_news(p, "READ", "KEY-1", "{}");
    add_news(p, "DELIVERED", "KEY-2", "{}");
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_int_equal(sql_int(p, "select count(*) from messages where delivery_status = 'READ'"), 1);
    assert_int_equal(sql_int(p, "select count(*) from messages where delivery_status = 'DELIVERED'"), 1);
    assert_string_equal(shown(p, "re-3"), "SENT");
}

static void test_receipts_echo_proves_what_was_uncertain(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "uncertain", "what was lost", "");
    send_message(p, "re-2", 2, "parked", "given up", "");
    add_echo(p, "KEY-1", "what was lost");
    add_news(p, "SENT", "KEY-2", "{\"recipient\": \"+12025550102\", \"text\": \"given up\"}");
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_string_equal(state(p, "re-1"), "ready");
    assert_string_equal(state(p, "re-2"), "ready");
    assert_int_equal(sql_int(p, "select count(*) from agwb.deliveries where parts_sent = 1"), 2);
    assert_int_equal(sql_int(p, "select count(*) from agwb.delivery_attempts where outcome = 'DELIVERED' and "
                                "provider_message_id like 'KEY-%%'"),
                     2);
}

/* What was given up for good stays so; what is under way is told apart when its attempt has ended. */
static void test_receipts_echo_waits_for_the_attempt(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sending", "hello", "");
    send_message(p, "re-2", 2, "parked", "refused", "");
    sql_run(p, "update agwb.delivery_attempts set outcome = 'PERMFAIL', disposition = 'park'");
    add_echo(p, "KEY-1", "hello");
    add_news(p, "SENT", "KEY-2", "{\"recipient\": \"+12025550102\", \"text\": \"refused\"}");
    assert_int_equal(sql_int(p, "select test.apply()"), 0);
    assert_string_equal(state(p, "re-1"), "sending");
    assert_string_equal(state(p, "re-2"), "parked");
    sql_run(p,
            "update agwb.deliveries set state = 'uncertain', lease_until = null where message_id = 're-1'");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "ready");
}

/* The picture that carries the text has arrived, the next one is in doubt: the text's echo is the first
 * one's. */
static void test_receipts_echo_of_the_part_before(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "uncertain", "hello", "");
    sql_run(p, "update agwb.delivery_attempts set part = 1");
    sql_run(p, "update agwb.deliveries set parts_sent = 1");
    sql_run(p, "insert into agwb.delivery_attempts (message_id, fence, account, part, started_at, ended_at, "
               "outcome, "
               "disposition, provider_message_id) values ('re-1', 0, 'wa', 0, now(), now(), 'DELIVERED', "
               "'continue', "
               "'11')");
    add_echo(p, "KEY-1", "hello");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "uncertain");
    assert_int_equal(
        sql_int(
            p,
            "select part from agwb.delivery_attempts where receipt_id = 'KEY-1' and outcome = 'DELIVERED'"),
        0);
    add_echo(p, "KEY-2", "hello"); /* there is only one other that it can be of */
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_string_equal(state(p, "re-1"), "ready");
    assert_int_equal(sql_int(p, "select parts_sent from agwb.deliveries"), 2);
}

/* --- the same words twice in a lane: an echo must not prove what it may not be of --- */

static int64_t found(struct pair *p, const char *echo, const char *id)
{
    return sql_int(p,
                   "select count(*) from agwb.receipts where provider_message_id = '%s' and message_id = "
                   "'%s'",
                   echo, id);
}

/* The echo is quicker than our own commit, and what was given up is nearer in time than the end of a lease.
 */
static void test_receipts_echo_of_the_same_words_under_way(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "ok", "");
    send_message(p, "re-2", 1, "sending", "ok", "");
    add_echo(p, "KEY-2", "ok");
    assert_int_equal(sql_int(p, "select test.apply()"), 0);
    assert_string_equal(state(p, "re-1"), "parked");
    sql_run(p, "update agwb.deliveries set state = 'sent', lease_until = null, settled_at = now() where "
               "message_id = 're-2'");
    sql_run(p,
            "insert into agwb.delivery_attempts (message_id, fence, account, started_at, ended_at, outcome, "
            "disposition, provider_message_id) values ('re-2', 1, 'wa', now(), now(), 'DELIVERED', 'done', "
            "'12')");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "parked");
    assert_int_equal(found(p, "KEY-2", "re-2"), 1);
    add_echo(p, "KEY-1", "ok"); /* and its own proves it */
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "ready");
}

/* What was sent goes first, however near in time the other one was given up: by a clock that was set, too. */
static void test_receipts_echo_of_the_same_words_sent(struct pair *p)
{
    static const char *const STARTED[] = {"5 seconds", "1 hour"};

    open_fixture(p);
    for (int i = 0; i < 2; i++) {
        char first[16], second[16], echo[16];
        snprintf(first, sizeof first, "re-%d-1", i);
        snprintf(second, sizeof second, "re-%d-2", i);
        snprintf(echo, sizeof echo, "KEY-%d", i);
        send_message(p, second, 1, "sent", "ok", second);
        sql_run(
            p, "update agwb.delivery_attempts set started_at = now() - interval '%s' where message_id = '%s'",
            STARTED[i], second);
        send_message(p, first, 1, i == 0 ? "parked" : "uncertain", "ok", "");
        add_echo(p, echo, "ok");
        assert_int_equal(sql_int(p, "select test.apply()"), 1);
        assert_int_equal(found(p, echo, second), 1);
        assert_string_equal(state(p, first), i == 0 ? "parked" : "uncertain");
    }
}

/* Two echoes of one message: the second time is no second message. */
static void test_receipts_echo_that_comes_twice(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "ok", "");
    send_message(p, "re-2", 1, "sent", "ok", "12");
    add_echo(p, "KEY-2", "ok");
    add_news(p, "DELIVERED", "KEY-2", "{\"recipient\": \"+12025550101\", \"text\": \"ok\"}");
    sql_run(p, "select test.apply()");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "parked");
    assert_int_equal(found(p, "KEY-2", "re-2"), 2);
    assert_string_equal(shown(p, "re-2"), "DELIVERED");
}

/* It was in doubt, was sent again, and may have arrived both times. */
static void test_receipts_echo_of_a_second_try(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "ok", "");
    send_message(p, "re-2", 1, "sent", "ok", "12");
    sql_run(p, "insert into agwb.delivery_attempts (message_id, fence, account, started_at, ended_at, "
               "outcome, disposition) values ('re-2', 0, 'wa', now(), now(), 'UNCERTAIN', 'reconcile')");
    add_echo(p, "KEY-1", "ok");
    add_echo(p, "KEY-2", "ok");
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_string_equal(state(p, "re-1"), "parked");
    add_echo(p, "KEY-3", "ok");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "ready");
}

/* One of them arrived, and nobody knows which; then the other one as well. */
static void test_receipts_echo_of_the_same_words_in_doubt(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "ok", "");
    send_message(p, "re-2", 1, "uncertain", "ok", "");
    add_echo(p, "KEY-1", "ok");
    assert_int_equal(sql_int(p, "select test.apply()"), 0);
    assert_string_equal(state(p, "re-1"), "parked");
    assert_string_equal(state(p, "re-2"), "uncertain");
    add_echo(p, "KEY-2", "ok");
    sql_run(p, "select test.apply()");
    sql_run(p, "select test.apply()");
    assert_string_equal(state(p, "re-1"), "ready");
    assert_string_equal(state(p, "re-2"), "ready");
}

/* What was accepted after an echo came is not what it is of. */
static void test_receipts_echo_before_the_same_words(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "uncertain", "ok", "");
    add_echo(p, "KEY-1", "ok");
    send_message(p, "re-2", 1, "sending", "ok", "");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_int_equal(found(p, "KEY-1", "re-1"), 1);
    assert_string_equal(state(p, "re-1"), "ready");
}

/* Its consumer died, so there is no attempt that says what was in doubt. */
static void test_receipts_echo_of_an_attempt_without_an_end(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "given up", "");
    sql_run(p, "delete from agwb.delivery_attempts");
    add_echo(p, "KEY-1", "given up");
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(state(p, "re-1"), "ready");
}

/* Another receipt may still prove what was parked; then those that came before count. */
static void test_receipts_of_what_is_parked_wait(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "parked", "hello", "id-1");
    add_news(p, "READ", "id-1", "{}");
    sql_run(p, "select test.apply()");
    sql_run(p, "update agwb.deliveries set state = 'sent'");
    sql_run(p, "update messages set delivery_status = 'SENT' where sender_type = 'ai'");
    sql_run(p, "select test.apply()");
    assert_string_equal(shown(p, "re-1"), "READ");
}

/* It failed over one account, and has gone over another one since. */
static void test_receipts_failure_of_a_way_that_was_left(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "judged", "id-1");
    send_message(p, "re-2", 1, "sent", "not judged", "id-2");
    add_news(p, "FAILED", "id-1", "{\"code\": \"131026\"}");
    add_news(p, "FAILED", "id-2", "{\"code\": \"131026\"}");
    sql_run(p, "update agwb.receipts set judged_at = now() where provider_message_id = 'id-1'");
    sql_run(p, "update agwb.deliveries set account = 'sms' where message_id = 're-2'");
    assert_int_equal(sql_int(p, "select test.apply()"), 2);
    assert_string_equal(shown(p, "re-1"), "SENT");
    assert_string_equal(shown(p, "re-2"), "SENT");
}

static void test_receipts_failure_without_an_id(struct pair *p)
{
    open_fixture(p);
    send_message(p, "re-1", 1, "sent", "hello", "11");
    send_message(p, "re-2", 2, "sent", "one", "12");
    send_message(p, "re-3", 2, "sent", "two", "13");
    add_news(p, "FAILED", "", "{\"recipient\": \"+12025550101\"}");
    add_news(p, "FAILED", "", "{\"recipient\": \"+12025550102\"}"); /* of which one? */
    assert_int_equal(sql_int(p, "select test.apply()"), 1);
    assert_string_equal(shown(p, "re-1"), "FAILED");
    assert_string_equal(shown(p, "re-2"), "SENT");
    assert_string_equal(shown(p, "re-3"), "SENT");
}

/* --- from the webhook on --- */

static void add_status(struct pair *p, const char *id, const char *status)
{
    hook_add(
        p, "whatsapp_cloud",
        "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"field\":"
        "\"messages\",\"value\":{\"messaging_product\":\"whatsapp\",\"metadata\":{\"display_phone_number\":"
        "\"15550100\",\"phone_number_id\":\"106540352242922\"},\"statuses\":[{\"id\":\"%s\",\"status\":"
        "\"%s\",\"timestamp\":\"1772366412\",\"recipient_id\":\"12025550101\"}]}}]}]}",
        id, status);
}

static void test_receipts_from_webhooks(struct pair *p)
{
    open_fixture(p);
    pair_account(p, "name = \"cloud\"; provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = "
                    "\"test-token\"; options = { phone_number_id = \"106540352242922\"; };");
    add_status(p, "wamid.1", "read");
    add_status(p, "wamid.1", "sent");
    add_status(p, "wamid.2", "delivered");
    pair_start_publisher_ready(p);
    WAIT_UNTIL(hook_count(p, "status = 'done'") == 3);
    WAIT_UNTIL(sql_int(p, "select count(*) from agwb.receipts where due_at > received_at") == 3);
    /* nobody asks for them: they are looked at again */
    send_message(p, "re-1", 1, "sent", "hello", "wamid.1");
    sql_run(p, "update agwb.delivery_attempts set account = 'cloud'");
    WAIT_UNTIL(strcmp(shown(p, "re-1"), "READ") == 0);
    assert_int_equal(sql_int(p, "select count(*) from agwb.receipts where message_id = 're-1'"), 2);
    assert_int_equal(sql_int(p, "select count(*) from agwb.receipts where message_id is null"), 1);
    WAIT_UNTIL(pair_metric(p->publisher_port,
                           "agwb_receipts_total{provider=\"whatsapp_cloud\",status=\"READ\"}") == 1);
    assert_int_equal(log_count(&p->publisher, "receipt", "contact", "*********101"), 3);
}

/* Two publishers, receipts in disorder while replies are still being settled, some of them linked by their
 * text only: everything ends read, and nobody waits for anybody in a circle. */
static void test_receipts_under_load(struct pair *p)
{
    enum { PEOPLE = 25, ROUNDS = 8 };

    pair_set(p, "consumer.max_in_flight=50");
    pair_set(p, "consumer.prefetch=50");
    pair_set(p, "publisher.batch=20");
    pair_start_publisher_ready(p);
    pair_start_consumer_ready(p);
    pair_start_program(p, &p->more[1], "second", "agwb-publisher", "publisher.metrics_listen=");
    pair_start_agent(p, (const char *const[]){"--prefetch", "20", NULL});
    pair_start_hooks(p, (const char *const[]){"--disorder", NULL});
    for (int round = 0; round < ROUNDS; round++)
        sql_run(
            p,
            "insert into webhook_inbox (provider, headers, body) select 'generic', '{}', json_build_object("
            "'type', 'message', 'id', 'm' || %d || '-' || i, 'channel', 'whatsapp', 'text', 'question ' || "
            "%d "
            "|| ' of ' || i, 'from', json_build_object('phone', '+12025550' || 100 + i))::text "
            "from generate_series(1, %d) i order by random()",
            round, round, PEOPLE);
    WAIT_UNTIL(job_count(p, "status = 'complete'") == PEOPLE * ROUNDS);
    WAIT_UNTIL(sql_int(p, "select count(*) from messages where sender_type = 'ai' and delivery_status = "
                          "'READ'") == PEOPLE * ROUNDS);
    WAIT_UNTIL(hook_count(p, "status = 'pending'") == 0);
    assert_int_equal(hook_count(p, "status = 'failed'"), 0);
    assert_true(pair_sent_once_each(p));
    assert_int_equal(sql_int(p, "select deadlocks from pg_stat_database where datname = current_database()"),
                     0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_receipts_never_go_backwards),
        PAIR_TEST(test_receipts_failure_keeps_its_reason),
        PAIR_TEST(test_receipts_what_arrived_has_not_failed),
        PAIR_TEST(test_receipts_of_others_find_nothing),
        PAIR_TEST(test_receipts_before_the_attempt_is_recorded),
        PAIR_TEST(test_receipts_of_a_part_wait_for_the_whole),
        PAIR_TEST(test_receipts_by_our_own_id),
        PAIR_TEST(test_receipts_by_echo),
        PAIR_TEST(test_receipts_echo_proves_what_was_uncertain),
        PAIR_TEST(test_receipts_echo_waits_for_the_attempt),
        PAIR_TEST(test_receipts_echo_of_the_part_before),
        PAIR_TEST(test_receipts_echo_of_the_same_words_under_way),
        PAIR_TEST(test_receipts_echo_of_the_same_words_sent),
        PAIR_TEST(test_receipts_echo_that_comes_twice),
        PAIR_TEST(test_receipts_echo_of_a_second_try),
        PAIR_TEST(test_receipts_echo_of_the_same_words_in_doubt),
        PAIR_TEST(test_receipts_echo_before_the_same_words),
        PAIR_TEST(test_receipts_echo_of_an_attempt_without_an_end),
        PAIR_TEST(test_receipts_of_what_is_parked_wait),
        PAIR_TEST(test_receipts_failure_of_a_way_that_was_left),
        PAIR_TEST(test_receipts_failure_without_an_id),
        PAIR_TEST(test_receipts_from_webhooks),
        PAIR_TEST(test_receipts_under_load),
    };
    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
