/* E-mail: the message as it goes out, and every reply code's and status's meaning. */
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/channel_rig.h"

#define P (&CHANNEL_SMTP)

static struct config_account account(void)
{
    return (struct config_account){.name = "main",
                                   .provider = "smtp",
                                   .channel = CHANNEL_EMAIL,
                                   .base_url = "smtp://mail.example.com:587",
                                   .user = "shop",
                                   .password = "secret",
                                   .from = "The Shop <shop@example.com>"};
}

/* --- the message --- */

#define MIME                                                                                                 \
    "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"       \
    "Content-Transfer-Encoding: quoted-printable\r\n\r\n"

static int build(const struct config_account *a, const struct reply *reply, const char *address,
                 const char *quoted, struct channel_request *r)
{
    struct channel_send s = {
        .account = a, .reply = reply, .address = address, .message_id = "m-1.x@y", .quoted_id = quoted};
    size_t count;

    return rig_build_part(P, &s, 0, r, &count);
}

static void expect(const struct config_account *a, const struct reply *reply, const char *quoted,
                   const char *message)
{
    struct channel_request r;

    clock_fake(1000, 1795223596000); /* 2026-11-21 01:13:16 UTC */
    assert_int_equal(build(a, reply, "bob@example.net", quoted, &r), 0);
    assert_string_equal(buf_str(&r.body), message);
    assert_true(r.is_mail);
    assert_string_equal(buf_str(&r.mail_from), "shop@example.com");
    assert_string_equal(buf_str(&r.mail_to), "bob@example.net");
    channel_request_fini(&r);
    clock_real();
}

static void test_email_message(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = "Hello\nthere.\n.dot\n"};
    struct channel_request r;

    (void)state;
    expect(&a, &reply, NULL,
           "Date: Sat, 21 Nov 2026 01:13:16 +0000\r\nFrom: \"The Shop\"\r\n <shop@example.com>\r\nTo: "
           "<bob@example.net>\r\n"
           "Subject: Re: your message\r\nMessage-ID: <m-1=2Ex=40y@example.com>\r\n" MIME
           "Hello\r\nthere.\r\n=2Edot\r\n\r\n");
    assert_int_equal(build(&a, &reply, "bob@example.net", NULL, &r), 0);
    assert_string_equal(buf_str(&r.url), "smtp://mail.example.com:587");
    assert_string_equal(r.user, "shop");
    assert_string_equal(r.password, "secret");
    assert_false(r.mail_allow_plain);
    assert_null(r.ca_file);
    channel_request_fini(&r);
}

static void test_email_options(void **state)
{
    struct config_account a = account();
    struct reply reply = {.text = "x", .contact.name = "Bob \"B\" O'Neil"};
    struct channel_request r;

    (void)state;
    a.from = "shop@example.com";
    a = rig_with(a, "subject",
                 "Gr\xc3\xbc\xc3\x9f"
                 "e");
    a = rig_with(a, "reply_to", "Caf\xc3\xa9 <cafe@example.com>");
    a = rig_with(a, "allow_plain", "true");
    a = rig_with(a, "ca_file", "/etc/agwb/ca.pem");
    expect(&a, &reply, "<1@example.net>",
           "Date: Sat, 21 Nov 2026 01:13:16 +0000\r\nFrom: <shop@example.com>\r\n"
           "To: \"Bob \\\"B\\\" O'Neil\"\r\n <bob@example.net>\r\nReply-To: =?UTF-8?Q?Caf=C3=A9?=\r\n "
           "<cafe@example.com>\r\n"
           "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <m-1=2Ex=40y@example.com>\r\n"
           "In-Reply-To: <1@example.net>\r\nReferences: <1@example.net>\r\n" MIME "x\r\n");
    assert_int_equal(build(&a, &reply, "bob@example.net", NULL, &r), 0);
    assert_true(r.mail_allow_plain);
    assert_string_equal(r.ca_file, "/etc/agwb/ca.pem");
    channel_request_fini(&r);
}

/* Nobody's words become a header. */
static void test_email_injection(void **state)
{
    static const char *const NAMES[] = {"x\r\nBcc: eve@example.org", "x\nBcc: eve@example.org",
                                        "=?UTF-8?Q?=0D=0ABcc?=", "x\" <eve@example.org>,", "\x7f\x01"};
    static const char *const QUOTED[] = {"<1@a>\r\nBcc: eve@example.org",
                                         "1@a b",
                                         "<1@a",
                                         "1@a>",
                                         "<>",
                                         "@",
                                         "wamid.x",
                                         "",
                                         "<a<b@c>",
                                         "\xc3\xa9@a"};
    struct config_account a = account();

    (void)state;
    for (size_t i = 0; i < COUNT(NAMES) + COUNT(QUOTED); i++) {
        struct reply reply = {.text = "\r\n.\r\nBcc: eve@example.org",
                              .contact.name = i < COUNT(NAMES) ? NAMES[i] : NULL};
        const char *quoted = i < COUNT(NAMES) ? NULL : QUOTED[i - COUNT(NAMES)];
        struct channel_request r;
        assert_int_equal(build(&a, &reply, "bob@example.net", quoted, &r), 0);
        char *message = strdup(buf_str(&r.body)), *end = strstr(message, "\r\n\r\n");
        assert_non_null(end);
        assert_null(strstr(end + 4, "\r\n.\r\n"));
        *end = '\0';
        for (char *line = message, *next; line; line = next) {
            next = strstr(line, "\r\n");
            if (next) {
                *next = '\0';
                next += 2;
            }
            if (strncasecmp(line, "Bcc", 3) == 0 || strpbrk(line, "\r\n\x7f\x01") || strlen(line) > 78 ||
                strncmp(line, "In-Reply-To", 11) == 0)
                fail_msg("%zu: \"%s\"", i, line);
        }
        free(message);
        channel_request_fini(&r);
    }
}

static void test_email_addresses(void **state)
{
    static const char *const BAD[] = {"",
                                      "bob",
                                      "@example.net",
                                      "bob@",
                                      "bob@example.net\r\nDATA",
                                      "bob@-x",
                                      "bob@.x",
                                      "bob @example.net",
                                      "<bob@example.net>",
                                      "b\xc3\xb6"
                                      "b@example.net",
                                      "+12025550143",
                                      "a@b@c"};
    struct config_account a = account();
    struct reply reply = {.text = "x"};

    (void)state;
    for (size_t i = 0; i < COUNT(BAD); i++) {
        struct channel_request r;
        if (build(&a, &reply, BAD[i], NULL, &r) == 0)
            fail_msg("\"%s\" is taken", BAD[i]);
        channel_request_fini(&r);
    }
}

static void test_email_text(void **state)
{
    static const struct {
        const char *text, *body;
    } CASES[] = {
        {"a=b", "a=3Db\r\n"},
        {"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf=C3=A9 =F0=9F=98=80\r\n"},
        {"end \nof\t\r\nlines ", "end=20\r\nof=09\r\nlines=20\r\n"},
        {"a\rb", "a=0Db\r\n"},
        {"..a\n.", "=2E.a\r\n=2E\r\n"},
        {"one\n\n\ntwo", "one\r\n\r\n\r\ntwo\r\n"},
    };
    struct config_account a = account();

    (void)state;
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct reply reply = {.text = CASES[i].text};
        struct channel_request r;
        assert_int_equal(build(&a, &reply, "bob@example.net", NULL, &r), 0);
        const char *body = strstr(buf_str(&r.body), "\r\n\r\n");
        assert_non_null(body);
        assert_string_equal(body + 4, CASES[i].body);
        channel_request_fini(&r);
    }
}

/* No line is longer than 76 characters, whatever it is made of, and none begins with a dot. */
static void test_email_long_lines(void **state)
{
    static const char *const UNITS[] = {"x", ".", " ", "\xf0\x9f\x98\x80", "=", "word "};
    struct config_account a = account();

    (void)state;
    for (size_t i = 0; i < COUNT(UNITS); i++) {
        struct buf text;
        struct channel_request r;
        buf_init(&text, 60000);
        buf_add_char(&text, 'a');
        while (text.len < 50000)
            buf_add_str(&text, UNITS[i]);
        struct reply reply = {.text = buf_str(&text)};
        if (build(&a, &reply, "bob@example.net", NULL, &r) != 0)
            fail_msg("%s", buf_str(&r.body));
        const char *line = strstr(buf_str(&r.body), "\r\n\r\n") + 4;
        for (const char *next; (next = strstr(line, "\r\n")); line = next + 2) {
            assert_true(next - line <= 76);
            assert_true(*line != '.');
        }
        channel_request_fini(&r);
        buf_fini(&text);
    }
}

static void test_email_links(void **state)
{
    struct config_account a = account();
    struct reply reply = {
        .text = "the bill",
        .type = REPLY_DOCUMENT,
        .attachments = {{.url = "https://example.com/b.pdf"}, {.url = "https://example.com/c.pdf"}},
        .attachment_count = 2};
    struct channel_request r;

    (void)state;
    assert_int_equal(build(&a, &reply, "bob@example.net", NULL, &r), 0);
    assert_non_null(strstr(buf_str(&r.body),
                           "\r\nthe bill\r\nhttps://example.com/b.pdf\r\nhttps://example.com/c.pdf\r\n"));
    channel_request_fini(&r);
}

/* --- the server's reply --- */

static struct channel_verdict judge(enum http_mail_step step, int status, const char *body)
{
    struct http_result r = {.fate = HTTP_ANSWERED,
                            .status = status,
                            .text = "",
                            .body = body,
                            .body_len = strlen(body),
                            .retry_after_ms = -1,
                            .step = step};
    struct channel_verdict v;

    channel_judge(P, &r, &v);
    return v;
}

#define CONNECT HTTP_MAIL_CONNECT
#define FROM    HTTP_MAIL_FROM
#define RCPT    HTTP_MAIL_RCPT
#define DATA    HTTP_MAIL_DATA
#define END     HTTP_MAIL_END

static void test_email_replies(void **state)
{
    static const struct {
        enum http_mail_step step;
        const char *body; /* the status first */
        enum outcome outcome;
        enum channel_block block;
        bool works;
    } ROWS[] = {
        {END, "250 2.0.0 Ok: queued as 4BGk0000001", OUTCOME_DELIVERED, BLOCK_NONE, false},
        {END, "251 ok", OUTCOME_DELIVERED, BLOCK_NONE, false},
        /* of the account and the server */
        {CONNECT, "554 5.7.1 your network is blocked", OUTCOME_AUTH, BLOCK_NONE, false},
        {CONNECT, "421 4.3.2 too many connections", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        {CONNECT, "450 later", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        {CONNECT, "454 4.7.0 Temporary authentication failure", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        {CONNECT, "432 4.7.12 A password transition is needed", OUTCOME_AUTH, BLOCK_NONE, false},
        {CONNECT, "535 5.7.8 Authentication credentials invalid", OUTCOME_AUTH, BLOCK_NONE, false},
        {CONNECT, "534 5.7.9 mechanism is too weak", OUTCOME_AUTH, BLOCK_NONE, false},
        {CONNECT, "538 5.7.11 Encryption required", OUTCOME_AUTH, BLOCK_NONE, false},
        {FROM, "530 5.7.0 Must issue a STARTTLS command first", OUTCOME_AUTH, BLOCK_NONE, false},
        {FROM, "553 5.7.1 not your address", OUTCOME_AUTH, BLOCK_NONE, false},
        {FROM, "550 5.1.8 bad sender", OUTCOME_AUTH, BLOCK_NONE, false},
        {FROM, "552 5.3.4 too big", OUTCOME_PERMFAIL, BLOCK_NONE, false},
        {FROM, "452 4.3.1 no storage", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        /* of the recipient */
        {RCPT, "550 5.1.1 no such user", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "550 no such user", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "550-5.1.1 no\r\n550 5.1.1 such user\r\n", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "551 User not local", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "553 mailbox name not allowed", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "501 5.1.3 bad address", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "556 5.1.10 null MX", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "550 5.2.1 disabled", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {RCPT, "550 5.7.1 relaying denied", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {RCPT, "554 5.7.1 Relay access denied", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {RCPT, "450 4.2.0 greylisted", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        {RCPT, "451 4.7.1 greylisted", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        {RCPT, "452 4.2.2 full", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        {RCPT, "552 mailbox full", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        {RCPT, "530 5.7.0 Authentication required", OUTCOME_AUTH, BLOCK_NONE, false},
        {RCPT, "421 4.3.0 going down", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        {RCPT, "455 parameters", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        /* of the message */
        {DATA, "451 4.3.0 later", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        {DATA, "554 no valid recipients", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {DATA, "250 what?", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {END, "554 5.7.1 spam", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {END, "550 5.7.26 DMARC", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {END, "552 5.3.4 too big", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {END, "552 too big", OUTCOME_PERMFAIL, BLOCK_NONE, true},
        {END, "550 5.1.1 after all", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
        {END, "421 4.4.2 timeout", OUTCOME_TEMPFAIL, BLOCK_NONE, false},
        {END, "451 4.7.1 later", OUTCOME_TEMPFAIL, BLOCK_NONE, true},
        /* an enhanced status of another class is none */
        {RCPT, "550 4.7.1 what?", OUTCOME_PERMFAIL, BLOCK_UNREACHABLE, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        int status = (int)strtol(ROWS[i].body, NULL, 10);
        char code[8];
        struct channel_verdict v = judge(ROWS[i].step, status, ROWS[i].body);
        snprintf(code, sizeof code, "%d", status);
        if (v.outcome != ROWS[i].outcome || v.block != ROWS[i].block || v.account_works != ROWS[i].works ||
            strcmp(v.provider_code, code) != 0)
            fail_msg("%d %s: %s, block %d, works %d, code %s", (int)ROWS[i].step, ROWS[i].body,
                     outcome_name(v.outcome), (int)v.block, v.account_works, v.provider_code);
    }
}

static void test_email_details(void **state)
{
    (void)state;
    assert_string_equal(judge(END, 250, "250 2.0.0 Ok: queued as 4BGk0000001\r\n").provider_id,
                        "4BGk0000001");
    assert_string_equal(judge(END, 250, "250 OK id=1tEaXy-0001Ab-Cd\r\n").provider_id, "1tEaXy-0001Ab-Cd");
    assert_string_equal(judge(END, 250, "250 ok\r\n").provider_id, "");
    assert_string_equal(judge(RCPT, 550, "550 5.1.1 <bob.smith@example.net>: no such user\r\n").detail,
                        "<*********@example.net>: no such user");
    assert_string_equal(judge(RCPT, 550, "550\r\n").detail, "mailbox unavailable");
    assert_string_equal(judge(RCPT, 550, "").detail, "mailbox unavailable");
    assert_true(judge(RCPT, 450, "450 x").retry_after_ms == 60000);
    /* servers write in their own tongue, and in its old encodings */
    assert_string_equal(judge(RCPT, 550, "550 5.1.1 Empf\xe4nger unbekannt\r\n").detail,
                        "Empf?nger unbekannt");
    char longest[300] = "550 ";
    for (size_t i = 4; i + 2 < sizeof longest; i += 2)
        memcpy(longest + i, "\xc3\xa9", 2);
    assert_int_equal(strlen(judge(RCPT, 550, longest).detail), 198);
    assert_null(strchr(judge(RCPT, 550, longest).detail, '?'));
}

static void test_email_receipts(void **state)
{
    struct channel_verdict v;

    (void)state;
    channel_judge_receipt(P, "5.1.1", "no such user", &v);
    assert_int_equal(v.outcome, OUTCOME_PERMFAIL);
    assert_int_equal(v.block, BLOCK_UNREACHABLE);
    channel_judge_receipt(P, "550", "", &v);
    assert_int_equal(v.block, BLOCK_UNREACHABLE);
    channel_judge_receipt(P, "", "?", &v);
    assert_int_equal(v.outcome, OUTCOME_PERMFAIL);
    assert_int_equal(v.block, BLOCK_NONE);
}

/* --- accounts --- */

static void test_email_accounts(void **state)
{
    struct config_account a = account();

    (void)state;
    rig_check_account(&a, NULL);
    a.from = "shop@example.com";
    rig_check_account(&a, NULL);
    a.from = "\"The Shop\" <shop@example.com>";
    rig_check_account(&a, NULL);
    a.from = "The Shop";
    rig_check_account(&a, "from: expected");
    a.from = NULL;
    rig_check_account(&a, "from: expected");
    a = account();
    a.base_url = "";
    rig_check_account(&a, "base_url");
    a = rig_with(account(), "allow_plain", "yes");
    rig_check_account(&a, "allow_plain");
    a = rig_with(account(), "reply_to", "nobody");
    rig_check_account(&a, "reply_to");
    a = rig_with(account(), "subject", "");
    rig_check_account(&a, "subject");
    a = rig_with(account(), "topic", "x");
    rig_check_account(&a, "no option 'topic'");
    a = account();
    a.channel = CHANNEL_SMS;
    rig_check_account(&a, "does not carry");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_email_message),   cmocka_unit_test(test_email_options),
        cmocka_unit_test(test_email_injection), cmocka_unit_test(test_email_addresses),
        cmocka_unit_test(test_email_text),      cmocka_unit_test(test_email_long_lines),
        cmocka_unit_test(test_email_links),     cmocka_unit_test(test_email_replies),
        cmocka_unit_test(test_email_details),   cmocka_unit_test(test_email_receipts),
        cmocka_unit_test(test_email_accounts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
