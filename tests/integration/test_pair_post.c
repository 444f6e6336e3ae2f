/* The channels that are no telephone's: a reply as a mail (STARTTLS, log-in, and all), over Instagram, and on
 * the website; and the links of attachments. */
#include "rows.h"
#include "wire.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char mail_account[1024];

/* The mail server in p->more[1], and the account that uses it. */
static void start_mail(struct pair *p, const char *options)
{
    static char script[PATH_MAX], journal[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
    const char *ca = sandbox_value("AGWB_TEST_AMQPS_CA");
    struct buf out;
    int port = 0;

    assert_non_null(realpath("tests/provider/smtp.py", script));
    snprintf(journal, sizeof journal, "%s/mails", p->dir);
    snprintf(cert, sizeof cert, "%.*s/server.pem", (int)(strrchr(ca, '/') - ca), ca);
    snprintf(key, sizeof key, "%.*s/server.key", (int)(strrchr(ca, '/') - ca), ca);
    process_start(&p->more[1], p->dir, "smtp",
                  (const char *const[]){"/usr/bin/python3", script, "--journal", journal, "--user", "shop",
                                        "--password", "p w", "--cert", cert, "--key", key, NULL});
    for (struct wait w = wait_begin("the mail server listens"); port == 0; wait_turn(&w)) {
        file_read(p->more[1].out, &out);
        if (out.len > 0 && memchr(out.data, '\n', out.len) != NULL)
            port = (int)strtol(buf_str(&out) + strlen("listening "), NULL, 10);
        buf_fini(&out);
    }
    snprintf(mail_account, sizeof mail_account,
             "name = \"mail\"; provider = \"smtp\"; channel = \"email\"; default = true; base_url = "
             "\"smtp://localhost:%d\"; "
             "user = \"shop\"; password = \"p w\"; from = \"The Shop <shop@example.com>\"; "
             "options = { ca_file = \"%s\"; %s };",
             port, ca, options);
    pair_account(p, mail_account);
    pair_start_consumer_ready(p);
}

/* Contact n's conversation is on this channel, and they have this address. */
static const char *ask_over(struct pair *p, int contact, const char *channel, const char *column,
                            const char *address)
{
    sql_run(p, "select test.contact(%d)", contact);
    sql_run(p, "update conversations set channel_type = '%s' where customer_id = test.id(1, %d)", channel,
            contact);
    sql_run(p, "update customer_profiles set %s = '%s' where id = test.id(1, %d)", column, address, contact);
    const char *job = job_add(p, contact, "a question");
    sql_run(p,
            "update messages set external_id = '<q-%d@example.net>' where id = (select message_id from "
            "ai_response_queue where id = '%s')",
            contact, job);
    sql_run(p,
            "update ai_response_queue set status = 'processing', attempts = 1, published_at = now() where id "
            "= '%s'",
            job);
    return job;
}

static void answer(struct pair *p, const char *id, const char *job, const char *response)
{
    char body[2048];

    snprintf(body, sizeof body,
             "{\"messageId\":\"%s\",\"originalMessageId\":\"%s\",\"status\":\"success\",\"response\":%s}", id,
             job, response);
    wire_publish(p, "wb_queue", id, body);
}

static const char *attempts_of(struct pair *p, const char *id)
{
    return sql_text(
        p,
        "select string_agg(outcome || ' ' || disposition || ' ' || provider_code, ', ' order by id) from "
        "agwb.delivery_attempts where message_id = '%s'",
        id);
}

static bool has_attempts(struct pair *p, const char *id, const char *attempts)
{
    return strcmp(attempts_of(p, id), attempts) == 0;
}

/* --- e-mail --- */

struct mail {
    char to[128], text[512], message[4096];
    bool has_tls, has_auth;
    size_t count;
};

static void on_mail(void *arg, const struct json_node *line, const char *text)
{
    struct mail *m = arg;

    (void)text;
    snprintf(m->to, sizeof m->to, "%s", json_str(json_member(line, "to")));
    snprintf(m->text, sizeof m->text, "%s", json_str(json_member(line, "text")));
    snprintf(m->message, sizeof m->message, "%s", json_str(json_member(line, "message")));
    m->has_tls = json_true(json_member(line, "tls"));
    m->has_auth = json_true(json_member(line, "auth"));
    m->count++;
}

/* The last one that was taken, and how many there are. */
static struct mail last_mail(struct pair *p)
{
    struct mail m = {.count = 0};
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/mails", p->dir);
    file_each_json(path, on_mail, &m);
    return m;
}

static void test_post_email(struct pair *p)
{
    start_mail(p, "subject = \"Gr\xc3\xbc\xc3\x9f"
                  "e\";");
    answer(p, "p-1", ask_over(p, 1, "email", "email", "bob@example.net"),
           "{\"text\":\"Hello Bob,\\n.dot "
           "\xf0\x9f\x98\x80\",\"type\":\"document\",\"attachments\":[\"https://example.com/b.pdf\"]}");
    WAIT_UNTIL(delivery_is(p, "p-1", "sent"));
    struct mail m = last_mail(p);
    assert_int_equal(m.count, 1);
    assert_string_equal(m.to, "bob@example.net");
    assert_true(m.has_tls && m.has_auth);
    assert_non_null(strstr(m.text, "Hello Bob,"));
    assert_non_null(strstr(m.text, "\n.dot \xf0\x9f\x98\x80"));
    assert_non_null(strstr(m.text, "\nhttps://example.com/b.pdf"));
    assert_non_null(strstr(m.message, "Message-ID: <p-1@example.com>\r\n"));
    assert_non_null(strstr(m.message, "In-Reply-To: <q-1@example.net>\r\n"));
    assert_non_null(strstr(m.message, "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"));
    assert_string_equal(
        sql_text(p, "select provider_message_id from agwb.deliveries where message_id = 'p-1'"),
        "4BGk0000001");
    assert_string_equal(attempts_of(p, "p-1"), "DELIVERED done 250");
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
}

static void test_post_email_refusals(struct pair *p)
{
    start_mail(p, "");
    answer(p, "p-2", ask_over(p, 1, "email", "email", "rcpt.550.5-1-1@example.net"), "{\"text\":\"x\"}");
    answer(p, "p-3", ask_over(p, 2, "email", "email", "rcpt.450.4-2-0@example.net"), "{\"text\":\"x\"}");
    answer(p, "p-4", ask_over(p, 3, "email", "email", "end.554.5-7-1@example.net"), "{\"text\":\"x\"}");
    answer(p, "p-5", ask_over(p, 4, "email", "email", "end.close@example.net"), "{\"text\":\"x\"}");
    WAIT_UNTIL(delivery_is(p, "p-2", "parked"));
    assert_string_equal(attempts_of(p, "p-2"), "PERMFAIL park 550");
    assert_string_equal(sql_text(p, "select detail from agwb.delivery_attempts where message_id = 'p-2'"),
                        "<**************@example.net>: as you wish");
    WAIT_UNTIL(has_attempts(p, "p-3", "TEMPFAIL retry 450"));
    WAIT_UNTIL(has_attempts(p, "p-4", "PERMFAIL park 554"));
    WAIT_UNTIL(has_attempts(p, "p-5", "UNCERTAIN reconcile uncertain"));
    assert_int_equal(last_mail(p).count, 0);
}

/* --- Instagram --- */

#define INSTAGRAM                                                                                            \
    "name = \"ig\"; provider = \"instagram\"; channel = \"instagram\"; default = true; token = "             \
    "\"test-token\"; options = { account_id = \"17841400000000000\"; };"

static void test_post_instagram(struct pair *p)
{
    pair_account(p, INSTAGRAM);
    pair_start_consumer_ready(p);
    answer(p, "i-1", ask_over(p, 1, "instagram", "external_id", "instagram:9876543210"),
           "{\"text\":\"hello there\"}");
    WAIT_UNTIL(delivery_is(p, "i-1", "sent"));
    assert_int_equal(pair_sent(p, "hello there"), 1);
    assert_true(
        strncmp(sql_text(p, "select provider_message_id from agwb.deliveries where message_id = 'i-1'"),
                "aWdfZAG1", 8) == 0);
    pair_script(p, "{\"rules\":[{\"match\":{\"text\":\"too late\"},\"action\":{\"code\":2018278}}]}");
    answer(p, "i-2", ask_over(p, 2, "instagram", "external_id", "instagram:9876543211"),
           "{\"text\":\"too late\"}");
    WAIT_UNTIL(delivery_is(p, "i-2", "parked"));
    assert_string_equal(attempts_of(p, "i-2"), "PERMFAIL park 10");
}

/* --- the website --- */

static void test_post_website(struct pair *p)
{
    pair_account(p, "name = \"web\"; provider = \"website\"; channel = \"website\"; default = true;");
    pair_start_consumer_ready(p);
    answer(p, "w-1", ask_over(p, 1, "website", "external_id", "website:abc"), "{\"text\":\"on the page\"}");
    WAIT_UNTIL(delivery_is(p, "w-1", "sent"));
    assert_int_equal(pair_requests(p), 0);
    assert_int_equal(
        sql_int(p, "select count(*) from messages where sender_type = 'ai' and content = 'on the page'"), 1);
    WAIT_UNTIL(job_count(p, "status = 'complete'") == 1);
}

/* --- links --- */

#define FILE_REPLY(url)                                                                                      \
    "{\"text\":\"look\",\"type\":\"image\",\"attachments\":[{\"url\":\"" url                                 \
    "\",\"mimeType\":\"image/png\"}]}"

static void test_post_links(struct pair *p)
{
    static const char *const BAD[] = {
        FILE_REPLY("https://169.254.169.254/latest/meta-data/"), FILE_REPLY("https://localhost/a.png"),
        FILE_REPLY("http://example.com/a.png"), FILE_REPLY("https://u:p@example.com/a.png")};
    char id[16];

    pair_start_consumer_ready(p);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        snprintf(id, sizeof id, "l-%zu", i);
        answer(p, id, ask_over(p, (int)i, "whatsapp", "email", "x@example.net"), BAD[i]);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        snprintf(id, sizeof id, "l-%zu", i);
        WAIT_UNTIL(delivery_is(p, id, "parked"));
        assert_string_equal(attempts_of(p, id), "PERMFAIL park link_refused");
    }
    answer(p, "l-good", ask_over(p, 9, "whatsapp", "email", "x@example.net"),
           FILE_REPLY("https://example.com/a.png"));
    WAIT_UNTIL(delivery_is(p, "l-good", "sent"));
    assert_int_equal(pair_requests(p), 1);
}

/* The stand-in is the attachment's server, too: it knows no such path, and it is private. */
static void test_post_probe(struct pair *p)
{
    static char reply[512];

    pair_set(p, "attachments.probe=true");
    pair_set(p, "attachments.allow_http=true");
    pair_start_consumer_ready(p);
    answer(p, "l-1", ask_over(p, 1, "whatsapp", "email", "x@example.net"),
           FILE_REPLY("http://192.0.2.1/a.png"));
    WAIT_UNTIL(delivery_is(p, "l-1", "parked"));
    assert_string_equal(attempts_of(p, "l-1"), "PERMFAIL park link_refused");
    process_end(&p->consumer);
    pair_set(p, "attachments.allow_private=true");
    pair_start_consumer_ready(p);
    snprintf(reply, sizeof reply, FILE_REPLY("http://127.0.0.1:%d/nothing.png"), p->provider_port);
    answer(p, "l-2", ask_over(p, 2, "whatsapp", "email", "x@example.net"), reply);
    WAIT_UNTIL(delivery_is(p, "l-2", "parked"));
    assert_string_equal(sql_text(p, "select detail from agwb.delivery_attempts where message_id = 'l-2'"),
                        "the attachment's server answers 404");
    snprintf(reply, sizeof reply, FILE_REPLY("http://127.0.0.1:%d/a.png"), web_free_port());
    answer(p, "l-3", ask_over(p, 3, "whatsapp", "email", "x@example.net"), reply);
    WAIT_UNTIL(has_attempts(p, "l-3", "TEMPFAIL retry link_unreachable"));
    assert_int_equal(pair_sent(p, NULL), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_post_email),   PAIR_TEST(test_post_email_refusals), PAIR_TEST(test_post_instagram),
        PAIR_TEST(test_post_website), PAIR_TEST(test_post_links),          PAIR_TEST(test_post_probe),
    };

    pair_options(argc, argv);
    return cmocka_run_group_tests(tests, pair_open_group, pair_close_group);
}
