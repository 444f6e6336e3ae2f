/* Every row of the providers' error tables (tests/corpus/outcomes) as a reply that the consumer really sends:
 * the stand-in answers as the row says, and the attempt's outcome, its disposition and how often the message
 * went are checked, on the first try and on the last. Each row has an account of its own, so that no row
 * meets another's open circuit; a batch of rows has the consumer to itself. */
#include "rows.h"
#include "tests/unit/outcome_rows.h"
#include "wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 26, LADDER_TRIES = 4 };
enum { CLOCK_MS = 100 }; /* between two times that one statement took */

struct subject {
    const char *name, *channel;
    const char *account;                                              /* members beside name and workspaces */
    void (*add_action)(struct buf *b, const struct outcome_row *row); /* the script's members for a row */
};

static struct outcome_rows table;
static char accounts[BATCH][512];

/* --- a row in the world --- */

/* Row i of the table: the ledger's id, the reply's text, the workspace that leads to its account. */
static const char *id_of(size_t i)
{
    static char id[32];
    snprintf(id, sizeof id, "case-%03zu", i);
    return id;
}

static void add_account(struct pair *p, size_t slot, const char *members)
{
    snprintf(accounts[slot], sizeof accounts[slot],
             "name = \"row-%zu\"; workspaces = [\"00000000-0000-4000-8000-0000000000%02zu\"]; %s", slot, slot,
             members);
    pair_account(p, accounts[slot]);
}

static void send_reply(struct pair *p, const char *channel, size_t i)
{
    char reply[512];
    const char *id = id_of(i);

    snprintf(
        reply, sizeof reply,
        "{\"messageId\":\"%s\",\"status\":\"success\",\"channel\":\"%s\",\"workspaceId\":"
        "\"00000000-0000-4000-8000-0000000000%02zu\",\"contactId\":\"00000000-0000-4000-8000-000000000001\","
        "\"contact\":{\"phoneNumber\":\"+1202555%04zu\"},\"response\":{\"text\":\"%s\"}}",
        id, channel, i % BATCH, 100 + i % BATCH, id);
    wire_publish(p, "wb_queue", id, reply);
}

/* --- the stand-in's part --- */

/* Nothing of it reaches the stand-in. */
static bool is_elsewhere(const struct outcome_row *row)
{
    return strncmp(row->http, "at ", 3) == 0;
}

/* "status" and what stands behind it: a header. */
static void add_answer(struct buf *b, const struct outcome_row *row)
{
    const char *header = strchr(row->http, ' ');

    buf_printf(b, "\"status\":%ld,\"body\":", strtol(row->http, NULL, 10));
    buf_add_json_str(b, row->body, strlen(row->body));
    if (header) {
        const char *colon = strchr(header, ':');
        buf_printf(b, ",\"headers\":{\"%.*s\":\"%s\"}", (int)(colon - header - 1), header + 1, colon + 2);
    }
}

static void add_rule(struct buf *b, const struct subject *s, size_t i)
{
    buf_printf(b, "%s{\"match\":{\"text\":\"%s\"},\"times\":-1,\"action\":{", b->len > 10 ? "," : "",
               id_of(i));
    s->add_action(b, &table.rows[i]);
    buf_add_str(b, "}}");
}

static void script(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    struct buf b;

    buf_init(&b, 65536);
    buf_add_str(&b, "{\"rules\":[");
    for (size_t i = first; i < end; i++) {
        if (!is_elsewhere(&table.rows[i]))
            add_rule(&b, s, i);
    }
    buf_add_str(&b, "]}");
    pair_script(p, buf_str(&b));
    buf_fini(&b);
}

struct journal_count {
    const char *text;
    int64_t count;
};

static void count_line(void *arg, const struct json_node *line, const char *text)
{
    struct journal_count *c = arg;
    const char *said = json_str(json_member(line, "text"));

    (void)text;
    c->count += said != NULL && strcmp(said, c->text) == 0;
}

/* How often the message reached the provider. */
static int64_t requests_of(const struct pair *p, size_t i)
{
    struct journal_count c = {.text = id_of(i)};
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/journal", p->dir);
    file_each_json(path, count_line, &c);
    return c.count;
}

/* --- checks --- */

/* Attempts that a test writes beside those that were made. */
#define MADE_UP "made up"

static int64_t attempts_of(struct pair *p, size_t i)
{
    return sql_int(p,
                   "select count(*) from agwb.delivery_attempts where message_id = '%s' and detail is "
                   "distinct from '" MADE_UP "'",
                   id_of(i));
}

static bool is_retried(size_t i)
{
    return strcmp(table.rows[i].first, "retry") == 0;
}

/* Deliveries of these rows with at least so many attempts. */
static int64_t count_tried(struct pair *p, size_t first, size_t end, int attempts)
{
    return sql_int(p,
                   "select count(*) from (select 1 from agwb.delivery_attempts where message_id between "
                   "'case-%03zu' and 'case-%03zu' group by message_id having count(*) >= %d) t",
                   first, end - 1, attempts);
}

/* `n` counts a row's attempts from 0. */
static void check_attempt(struct pair *p, const char *name, size_t i, int n, enum outcome outcome,
                          const char *disposition)
{
    const struct outcome_row *row = &table.rows[i];
    char expected[160];
    const char *is =
        sql_text(p,
                 "select outcome || ' ' || provider_code || ' ' || disposition from "
                 "agwb.delivery_attempts where message_id = '%s' and detail is distinct from '" MADE_UP
                 "' order by id limit 1 "
                 "offset %d",
                 id_of(i), n);

    snprintf(expected, sizeof expected, "%s %s %s", outcome_name(outcome), row->code, disposition);
    if (strcmp(is, expected) != 0)
        fail_msg("%s.tsv:%d: attempt %d is \"%s\", expected \"%s\"", name, row->line, n + 1, is, expected);
}

/* What waits, waits as long as the row says at least, and not for ever. */
static void check_wait(struct pair *p, const char *name, size_t i)
{
    const struct outcome_row *row = &table.rows[i];
    int64_t usual_ms = is_retried(i) ? 30000 : 5000;
    int64_t most_ms = (row->wait_ms > usual_ms ? row->wait_ms : usual_ms) * 13 / 10 + 3000;
    int64_t ms =
        sql_int(p,
                "select round(extract(epoch from d.next_attempt_at - max(a.ended_at)) * 1000)::bigint from "
                "agwb.deliveries d join agwb.delivery_attempts a using (message_id) where message_id = '%s' "
                "group by d.next_attempt_at",
                id_of(i));

    if (ms < row->wait_ms - CLOCK_MS || ms > most_ms)
        fail_msg("%s.tsv:%d: waits %" PRId64 " ms", name, row->line, ms);
}

/* The state that follows the last disposition, and no request that the ledger knows nothing of. */
static void check_end(struct pair *p, const char *name, size_t i)
{
    const struct outcome_row *row = &table.rows[i];
    const char *state = sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id_of(i));
    const char *expected = strcmp(row->last, "done") == 0        ? "sent"
                           : strcmp(row->last, "park") == 0      ? "parked"
                           : strcmp(row->last, "reconcile") == 0 ? "uncertain"
                                                                 : "ready";
    int64_t attempts = attempts_of(p, i), requests = requests_of(p, i);
    bool is_held = strcmp(row->last, "hold") == 0;

    if (strcmp(state, expected) != 0)
        fail_msg("%s.tsv:%d: the delivery is %s, expected %s", name, row->line, state, expected);
    if (!is_held && attempts != (is_retried(i) ? 2 : 1))
        fail_msg("%s.tsv:%d: %" PRId64 " attempts", name, row->line, attempts);
    if (requests != (is_elsewhere(row) ? 0 : attempts))
        fail_msg("%s.tsv:%d: sent %" PRId64 " times, %" PRId64 " attempts", name, row->line, requests,
                 attempts);
}

/* --- rounds --- */

/* The next try is the last one, and due. */
static void make_last(struct pair *p, size_t i)
{
    int tries = table.rows[i].tries ? table.rows[i].tries : LADDER_TRIES;

    sql_run(p,
            "update agwb.deliveries set attempts = %d, next_attempt_at = now() where message_id = '%s' and "
            "state = 'ready' and attempts = 1",
            tries - 1, id_of(i));
    sql_run(p,
            "update agwb.lanes l set due_at = now() from agwb.deliveries d where d.lane = l.lane and "
            "d.message_id = '%s'",
            id_of(i));
}

static void first_tries(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        send_reply(p, s->channel, i);
    WAIT_UNTIL(count_tried(p, first, end, 1) == (int64_t)(end - first));
    for (size_t i = first; i < end; i++) {
        const char *disposition = table.rows[i].first;
        check_attempt(p, s->name, i, 0, table.rows[i].outcome, disposition);
        if (strcmp(disposition, "retry") == 0 || strcmp(disposition, "hold") == 0)
            check_wait(p, s->name, i);
    }
}

static void last_tries(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        if (!is_retried(i))
            continue;
        make_last(p, i);
        WAIT_UNTIL(attempts_of(p, i) == 2);
        check_attempt(p, s->name, i, 1, table.rows[i].outcome, table.rows[i].last);
    }
}

/* What waits in vain is out of the next batch's way. */
static void clear_away(struct pair *p)
{
    sql_run(p, "update agwb.deliveries set state = 'cancelled' where state in ('ready', 'uncertain')");
    sql_run(p, "update agwb.lanes set due_at = null");
}

/* Rows [first, end) of the table that was read, with the consumer to themselves. */
static void run_batch(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    pair_start_consumer_ready(p);
    script(p, s, first, end);
    first_tries(p, s, first, end);
    last_tries(p, s, first, end);
    assert_int_equal(process_end(&p->consumer), 0);
    for (size_t i = first; i < end; i++)
        check_end(p, s->name, i);
    clear_away(p);
}

static void run_table(struct pair *p, const struct subject *s)
{
    outcome_rows_read(s->name, &table);
    for (size_t slot = 0; slot < BATCH; slot++)
        add_account(p, slot, s->account);
    for (size_t first = 0; first < table.count; first += BATCH)
        run_batch(p, s, first, first + BATCH < table.count ? first + BATCH : table.count);
}

/* --- the providers --- */

#define CLOUD                                                                                                \
    "provider = \"whatsapp_cloud\"; channel = \"whatsapp\"; token = \"test-token\"; "                        \
    "options = { phone_number_id = \"106540352242922\"; };"
#define WASENDER "provider = \"wasender\"; channel = \"whatsapp\"; token = \"test-token\";"
#define QR                                                                                                   \
    "provider = \"whatsapp_qr\"; channel = \"whatsapp\"; token = \"test-token\"; "                           \
    "options = { instance = \"shop\"; };"
#define TWILIO                                                                                               \
    "provider = \"twilio\"; channel = \"sms\"; user = \"AC00000000000000000000000000000000\"; "              \
    "password = \"test-token\"; from = \"+15005550006\";"
#define SMS_GATEWAY "provider = \"sms_gateway\"; channel = \"sms\"; token = \"test-token\";"

static void test_outcomes_cloud(struct pair *p)
{
    run_table(p, &(struct subject){"whatsapp_cloud", "whatsapp", CLOUD, add_answer});
}

static void test_outcomes_wasender(struct pair *p)
{
    run_table(p, &(struct subject){"wasender", "whatsapp", WASENDER, add_answer});
}

static void test_outcomes_qr(struct pair *p)
{
    run_table(p, &(struct subject){"whatsapp_qr", "whatsapp", QR, add_answer});
}

static void test_outcomes_twilio(struct pair *p)
{
    run_table(p, &(struct subject){"twilio", "sms", TWILIO, add_answer});
}

static void test_outcomes_sms_gateway(struct pair *p)
{
    run_table(p, &(struct subject){"sms_gateway", "sms", SMS_GATEWAY, add_answer});
}

/* --- failures that are told later --- */

/* A FAILED receipt for what row i sent last, as the webhooks' parsers make one. */
static void add_receipt(struct buf *b, size_t i)
{
    buf_printf(b, "%s('%s', nullif('%s', ''), nullif('%s', ''))", b->len > 0 ? ", " : "", id_of(i),
               table.rows[i].body, table.rows[i].http);
}

static void feed_receipts(struct pair *p, struct buf *values)
{
    sql_run(p,
            "select agwb.add_receipts(jsonb_agg(jsonb_build_object('provider', 'test', 'account', a.account, "
            "'externalId', a.provider_message_id, 'status', 'FAILED', 'code', v.code, 'detail', v.words))) "
            "from (values %s) v (id, code, words) cross join lateral (select * from agwb.delivery_attempts t "
            "where t.message_id = v.id and t.outcome = 'DELIVERED' order by t.id desc limit 1) a",
            buf_str(values));
    WAIT_UNTIL(sql_int(p, "select matched from agwb.apply_receipts(1000)") == 0 &&
               sql_int(p, "select count(*) from agwb.receipts where message_id is null") == 0);
}

/* Attempts 0 and 2 are what the provider took, 1 and 3 what the receipts made of it. */
static void check_receipt(struct pair *p, const char *name, size_t i, int n, const char *disposition)
{
    check_attempt(p, name, i, n, outcome_of_receipt(table.rows[i].outcome), disposition);
}

/* The provider takes it for the last time it may be sent: what counts is how often it was. */
static void make_last_sent(struct pair *p, size_t i)
{
    int tries = table.rows[i].tries ? table.rows[i].tries : LADDER_TRIES;

    sql_run(
        p,
        "insert into agwb.delivery_attempts (message_id, fence, account, part, started_at, ended_at, "
        "outcome, "
        "disposition, detail) select message_id, fence, account, part, now(), now(), outcome, disposition, "
        "'" MADE_UP
        "' from agwb.delivery_attempts, generate_series(3, %d) where message_id = '%s' and outcome = "
        "'DELIVERED'",
        tries, id_of(i));
    make_last(p, i);
}

static void first_receipts(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    struct buf values;

    buf_init(&values, 8192);
    for (size_t i = first; i < end; i++) {
        send_reply(p, s->channel, i);
        add_receipt(&values, i);
    }
    WAIT_UNTIL(count_tried(p, first, end, 1) == (int64_t)(end - first));
    feed_receipts(p, &values);
    WAIT_UNTIL(count_tried(p, first, end, 2) == (int64_t)(end - first));
    for (size_t i = first; i < end; i++) {
        check_receipt(p, s->name, i, 1, table.rows[i].first);
        if (is_retried(i))
            check_wait(p, s->name, i);
    }
    buf_fini(&values);
}

static void last_receipts(struct pair *p, const struct subject *s, size_t first, size_t end)
{
    struct buf values;

    buf_init(&values, 8192);
    for (size_t i = first; i < end; i++) {
        if (!is_retried(i))
            continue;
        make_last_sent(p, i);
        WAIT_UNTIL(attempts_of(p, i) == 3);
        add_receipt(&values, i);
    }
    if (values.len > 0)
        feed_receipts(p, &values);
    for (size_t i = first; i < end; i++) {
        WAIT_UNTIL(!is_retried(i) || attempts_of(p, i) == 4);
        if (is_retried(i))
            check_receipt(p, s->name, i, 3, table.rows[i].last);
    }
    buf_fini(&values);
}

static void check_sent_again(struct pair *p, const char *name, size_t i)
{
    int64_t requests = requests_of(p, i);

    if (requests != (is_retried(i) ? 2 : 1))
        fail_msg("%s.tsv:%d: sent %" PRId64 " times", name, table.rows[i].line, requests);
    assert_string_equal(sql_text(p, "select state from agwb.deliveries where message_id = '%s'", id_of(i)),
                        "parked");
}

static void run_receipts(struct pair *p, const struct subject *s)
{
    outcome_rows_read(s->name, &table);
    for (size_t slot = 0; slot < BATCH; slot++)
        add_account(p, slot, s->account);
    pair_start_consumer_ready(p);
    for (size_t first = 0; first < table.count; first += BATCH) {
        size_t end = first + BATCH < table.count ? first + BATCH : table.count;
        first_receipts(p, s, first, end);
        last_receipts(p, s, first, end);
        for (size_t i = first; i < end; i++)
            check_sent_again(p, s->name, i);
    }
}

static void test_outcomes_cloud_receipts(struct pair *p)
{
    run_receipts(p, &(struct subject){"whatsapp_cloud.receipts", "whatsapp", CLOUD, NULL});
}

static void test_outcomes_wasender_receipts(struct pair *p)
{
    run_receipts(p, &(struct subject){"wasender.receipts", "whatsapp", WASENDER, NULL});
}

static void test_outcomes_qr_receipts(struct pair *p)
{
    run_receipts(p, &(struct subject){"whatsapp_qr.receipts", "whatsapp", QR, NULL});
}

static void test_outcomes_twilio_receipts(struct pair *p)
{
    run_receipts(p, &(struct subject){"twilio.receipts", "sms", TWILIO, NULL});
}

/* --- no answer --- */

static void add_fault(struct buf *b, const struct outcome_row *row)
{
    if (strcmp(row->http, "half-body") == 0)
        buf_add_str(b, "\"fault\":\"raw\",\"raw\":\"HTTP/1.1 200 OK\\r\\nContent-Length: "
                       "99\\r\\n\\r\\n{\"");
    else
        buf_printf(b, "\"fault\":\"%s\",\"bytes\":1000000", row->http);
}

static bool has_said(const struct process *process, const char *word)
{
    struct buf out;

    file_read(process->out, &out);
    bool found = strstr(buf_str(&out), word) != NULL;
    buf_fini(&out);
    return found;
}

/* An HTTPS server that nobody has vouched for. */
static int start_untrusted(struct pair *p)
{
    static const char SCRIPT[] =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out cert "
        "-days 1 -subj /CN=127.0.0.1 && exec openssl s_server -accept 127.0.0.1:$1 -key key -cert cert -www";
    char port[16];
    int number = web_free_port();

    snprintf(port, sizeof port, "%d", number);
    process_start(&p->more[0], p->dir, "untrusted",
                  (const char *const[]){"/bin/sh", "-c", SCRIPT, "sh", port, NULL});
    WAIT_UNTIL(has_said(&p->more[0], "ACCEPT"));
    return number;
}

/* Where the account of a row "at ..." is. */
static void write_address(struct pair *p, const char *where, char *out, size_t size)
{
    if (strcmp(where, "closed-port") == 0)
        snprintf(out, size, "http://127.0.0.1:%d", web_free_port());
    else if (strcmp(where, "unknown-host") == 0)
        snprintf(out, size, "http://nowhere.invalid");
    else if (strcmp(where, "tls-to-plain-port") == 0)
        snprintf(out, size, "https://127.0.0.1:%d", p->provider_port);
    else if (strcmp(where, "not-trusted") == 0)
        snprintf(out, size, "https://127.0.0.1:%d", start_untrusted(p));
    else if (strcmp(where, "bad-url") == 0)
        snprintf(out, size, "http://127.0.0.1:99999");
    else
        fail_msg("transport.tsv: there is no place %s", where);
}

static void test_outcomes_of_no_answer(struct pair *p)
{
    static const struct subject SUBJECT = {
        .name = "transport", .channel = "whatsapp", .add_action = add_fault};
    char address[64], account[256];

    outcome_rows_read(SUBJECT.name, &table);
    assert_true(table.count <= BATCH);
    p->timeout_ms = 2000;
    pair_start_provider(p);
    for (size_t i = 0; i < table.count; i++) {
        if (is_elsewhere(&table.rows[i])) {
            write_address(p, table.rows[i].http + strlen("at "), address, sizeof address);
            snprintf(account, sizeof account, "base_url = \"%s\"; " WASENDER, address);
        }
        add_account(p, i, is_elsewhere(&table.rows[i]) ? account : WASENDER);
    }
    run_batch(p, &SUBJECT, 0, table.count);
    process_kill(&p->more[0]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_outcomes_cloud),
        PAIR_TEST(test_outcomes_wasender),
        PAIR_TEST(test_outcomes_qr),
        PAIR_TEST(test_outcomes_twilio),
        PAIR_TEST(test_outcomes_sms_gateway),
        PAIR_TEST(test_outcomes_of_no_answer),
        PAIR_TEST(test_outcomes_cloud_receipts),
        PAIR_TEST(test_outcomes_wasender_receipts),
        PAIR_TEST(test_outcomes_qr_receipts),
        PAIR_TEST(test_outcomes_twilio_receipts),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
