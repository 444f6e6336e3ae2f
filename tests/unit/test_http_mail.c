/* Mail by SMTP: the dialogue with a server that says what a test writes down, and with the stand-in, which is
 * as strict as a real one and has TLS. */
#include "http_rig.h"

#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>

/* --- a server that follows a script, one connection --- */

struct line {         /* what must come, and what is said to it */
    const char *hear; /* the beginning of a command; NULL = nothing; "." = the message */
    const char *say;  /* NULL = the connection is closed; "" = nothing, for ever */
};

static struct {
    const struct line *script;
    int port, listener;
    pthread_t thread;
    char heard[9000000]; /* all of it */
    char wrong[256];     /* the first thing that was not expected */
    const char *hold;    /* where to wait for the test: behind this command; "354" = in the message */
    atomic_bool is_held;
    sem_t go, gone_on; /* gone_on: it has said what it had to, or read what of the message had come */
} scripted;

static void hold(void)
{
    atomic_store(&scripted.is_held, true);
    while (sem_wait(&scripted.go) != 0)
        continue;
}

/* The message has begun, and its reader goes no further than its client. */
static void hold_in_message(int fd, size_t *len)
{
    ssize_t n;

    (void)recv(fd, scripted.heard + *len, 1, MSG_PEEK);
    hold();
    while ((n = recv(fd, scripted.heard + *len, sizeof scripted.heard - 1 - *len, MSG_DONTWAIT)) > 0)
        *len += (size_t)n;
    scripted.heard[*len] = '\0';
    sem_post(&scripted.gone_on);
}

/* Reads to the end of what is asked for; false when the client has gone. */
static bool hear_until(int fd, const char *end, size_t from, size_t *len)
{
    while (strstr(scripted.heard + from, end) == NULL) {
        ssize_t n = recv(fd, scripted.heard + *len, sizeof scripted.heard - 1 - *len, 0);
        if (n <= 0)
            return false;
        *len += (size_t)n;
        scripted.heard[*len] = '\0';
    }
    return true;
}

static void *follow_script(void *arg)
{
    int fd = accept(scripted.listener, NULL, NULL);
    size_t len = 0;

    (void)arg;
    for (const struct line *line = scripted.script; fd >= 0; line++) {
        size_t from = len;
        bool is_message = line->hear != NULL && strcmp(line->hear, ".") == 0;
        bool is_held = line->hear != NULL && scripted.hold != NULL && strcmp(line->hear, scripted.hold) == 0;
        if (is_message && scripted.hold != NULL && strcmp(scripted.hold, "354") == 0)
            hold_in_message(fd, &len);
        if (line->hear != NULL && !hear_until(fd, is_message ? "\r\n.\r\n" : "\r\n", from, &len))
            break;
        if (line->hear != NULL && !is_message &&
            strncmp(scripted.heard + from, line->hear, strlen(line->hear)) != 0)
            snprintf(scripted.wrong, sizeof scripted.wrong, "%.200s", scripted.heard + from);
        if (is_held)
            hold();
        if (line->say == NULL)
            break;
        if (line->say[0] == '\0') {
            wait_for_end(fd);
            break;
        }
        say(fd, line->say, strlen(line->say));
        if (is_held)
            sem_post(&scripted.gone_on);
    }
    close(fd);
    return NULL;
}

static const char MESSAGE[] = "Subject: x\r\n\r\n.dot\r\n..two\r\nlast\r\n";
static const struct http_mail MAIL = {
    .from = "shop@example.test", .to = "bob@example.test", .allow_plain = true};

static struct http_request mail_request(const char *url, const struct http_mail *mail)
{
    return (struct http_request){
        .url = url, .body = MESSAGE, .body_len = strlen(MESSAGE), .timeout_ms = 10000, .mail = mail};
}

static enum http_mail_step last_step;

static void on_mail_done(void *arg, const struct http_result *r)
{
    last_step = r->step;
    assert_null(http_result_header(r, "Retry-After"));
    on_done(arg, r);
}

static struct outcome send_mail(const struct http_request *r)
{
    struct outcome o = {.calls = 0};
    struct err e = {0};

    pending++;
    if (http_send(http, r, on_mail_done, &o, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(http_in_flight(http), 1);
    run();
    assert_int_equal(o.calls, 1);
    assert_int_equal(http_in_flight(http), 0);
    return o;
}

static const char *play_start(const struct line *script)
{
    static char url[64];

    memset(&scripted, 0, sizeof scripted);
    scripted.script = script;
    sem_init(&scripted.go, 0, 0);
    sem_init(&scripted.gone_on, 0, 0);
    scripted.listener = listen_locally(&scripted.port, 1);
    setsockopt(scripted.listener, SOL_SOCKET, SO_RCVBUF, &(int){16384}, sizeof(int));
    assert_int_equal(pthread_create(&scripted.thread, NULL, follow_script, NULL), 0);
    snprintf(url, sizeof url, "smtp://127.0.0.1:%d/agwb.example.test", scripted.port);
    return url;
}

static void play_stop(void)
{
    pthread_join(scripted.thread, NULL);
    close(scripted.listener);
    assert_string_equal(scripted.wrong, "");
}

static struct outcome play_body(const struct line *script, const char *body, int64_t timeout_ms)
{
    struct http_request r = mail_request(play_start(script), &MAIL);
    struct outcome o;

    r.body = body;
    r.body_len = strlen(body);
    r.timeout_ms = timeout_ms;
    o = send_mail(&r);
    play_stop();
    return o;
}

static struct outcome play(const struct line *script, int64_t timeout_ms)
{
    return play_body(script, MESSAGE, timeout_ms);
}

#define GREETED                                                                                              \
    {NULL, "220 mail.example.test\r\n"},                                                                     \
    {                                                                                                        \
        "EHLO agwb.example.test\r\n", "250-hi\r\n250 SIZE 1000\r\n"                                          \
    }
#define ENVELOPED                                                                                            \
    GREETED, {"MAIL FROM:<shop@example.test>\r\n", "250 2.1.0 ok\r\n"},                                      \
    {                                                                                                        \
        "RCPT TO:<bob@example.test>\r\n", "250 ok\r\n"                                                       \
    }
#define STARTED                                                                                              \
    ENVELOPED,                                                                                               \
    {                                                                                                        \
        "DATA\r\n", "354 go\r\n"                                                                             \
    }

static void test_mail_is_taken(void **state)
{
    static const struct line SCRIPT[] = {
        STARTED, {".", "250-2.0.0 thanks\r\n250 2.0.0 queued as 4Q\r\n"}, {"QUIT\r\n", NULL}};
    struct outcome o;

    (void)state;
    o = play(SCRIPT, 10000);
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 250);
    assert_int_equal(last_step, HTTP_MAIL_END);
    assert_string_equal(o.body, "250-2.0.0 thanks\r\n250 2.0.0 queued as 4Q\r\n");
    assert_string_equal(o.text, "");
    assert_true(o.timing.total_ms >= o.timing.first_byte_ms && o.timing.first_byte_ms >= o.timing.sent_ms);
    assert_true(o.timing.sent_ms > 0);
    /* dots are doubled, and nothing else is changed */
    assert_non_null(
        strstr(scripted.heard, "DATA\r\nSubject: x\r\n\r\n..dot\r\n...two\r\nlast\r\n.\r\nQUIT\r\n"));
}

static void test_mail_refusals(void **state)
{
    static const struct {
        struct line script[10];
        int status;
        enum http_mail_step step;
    } CASES[] = {
        {{{NULL, "554 no service\r\n"}}, 554, HTTP_MAIL_CONNECT},
        {{{NULL, "421 busy\r\n"}}, 421, HTTP_MAIL_CONNECT},
        {{{NULL, "220 hi\r\n"}, {"EHLO", "502 no\r\n"}, {"HELO", "550 no\r\n"}}, 550, HTTP_MAIL_CONNECT},
        {{GREETED, {"MAIL", "553 5.7.1 not yours\r\n"}, {"QUIT", NULL}}, 553, HTTP_MAIL_FROM},
        {{GREETED,
          {"MAIL", "250 ok\r\n"},
          {"RCPT", "550-5.1.1 no\r\n550 5.1.1 such user\r\n"},
          {"QUIT", NULL}},
         550,
         HTTP_MAIL_RCPT},
        {{GREETED, {"MAIL", "250 ok\r\n"}, {"RCPT", "450 4.2.0 greylisted\r\n"}, {"QUIT", NULL}},
         450,
         HTTP_MAIL_RCPT},
        {{ENVELOPED, {"DATA", "451 later\r\n"}, {"QUIT", NULL}}, 451, HTTP_MAIL_DATA},
        {{ENVELOPED, {"DATA", "250 what?\r\n"}, {"QUIT", NULL}}, 250, HTTP_MAIL_DATA},
        {{STARTED, {".", "554 5.7.1 spam\r\n"}, {"QUIT", NULL}}, 554, HTTP_MAIL_END},
        {{STARTED, {".", "452\r\n"}, {"QUIT", NULL}}, 452, HTTP_MAIL_END},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome o = play(CASES[i].script, 10000);
        if (o.fate != HTTP_ANSWERED || o.status != CASES[i].status || last_step != CASES[i].step)
            fail_msg("case %zu: %s, %d at step %d (%s)", i, http_fate_name(o.fate), o.status, (int)last_step,
                     o.text);
    }
}

/* Larger than any socket's buffer. */
enum { LARGE_BYTES = 8000000 };

static const char *body_of(size_t len)
{
    static char body[LARGE_BYTES + 1];

    assert_true(len <= LARGE_BYTES);
    memset(body, '.', len);
    for (size_t i = 900; i + 2 < len; i += 900)
        memcpy(body + i, "\r\n", 2);
    memcpy(body + len - 2, "\r\n", 3);
    return body;
}

/* Only when the whole message has left, and its end, may it have been taken. */
static void test_mail_lost_connection(void **state)
{
    static const struct {
        struct line script[10];
        enum http_fate fate;
    } CASES[] = {
        {{{NULL, NULL}}, HTTP_NOT_SENT},
        {{{NULL, "220 hi\r\n"}, {"EHLO", NULL}}, HTTP_NOT_SENT},
        {{GREETED, {"MAIL", NULL}}, HTTP_NOT_SENT},
        {{GREETED, {"MAIL", "250 ok\r\n"}, {"RCPT", NULL}}, HTTP_NOT_SENT},
        {{ENVELOPED, {"DATA", NULL}}, HTTP_NOT_SENT},
        {{STARTED, {".", NULL}}, HTTP_UNCERTAIN},
        {{STARTED, {".", "250-half\r\n"}, {NULL, NULL}}, HTTP_UNCERTAIN},
        {{STARTED, {".", "sorry?\r\n"}, {NULL, ""}}, HTTP_UNCERTAIN},
        {{GREETED, {"MAIL", "nonsense\r\n"}, {NULL, ""}}, HTTP_NOT_SENT},
        {{ENVELOPED, {"DATA", "354 go\r\n250 thanks already\r\n"}, {NULL, ""}}, HTTP_NOT_SENT},
        /* replies to what was never said: somebody else talks */
        {{GREETED, {"MAIL", "250 ok\r\n250 ok\r\n354 go\r\n"}, {NULL, ""}}, HTTP_NOT_SENT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome o = play(CASES[i].script, 10000);
        if (o.fate != CASES[i].fate || o.status != 0 || o.text[0] == '\0')
            fail_msg("case %zu: %s, %d (%d %s)", i, http_fate_name(o.fate), o.status, o.code, o.text);
    }
}

static void test_mail_deadline(void **state)
{
    static const struct {
        struct line script[10];
        enum http_fate fate;
    } CASES[] = {
        {{{NULL, ""}}, HTTP_NOT_SENT},
        {{GREETED, {"MAIL", ""}}, HTTP_NOT_SENT},
        {{STARTED, {".", ""}}, HTTP_UNCERTAIN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct outcome o = play(CASES[i].script, 300);
        if (o.fate != CASES[i].fate || o.code != 28)
            fail_msg("case %zu: %s (%d %s)", i, http_fate_name(o.fate), o.code, o.text);
        assert_true(o.timing.total_ms < 5000); /* nothing waits beside the deadline */
    }
}

static void stop_when_held(void *arg)
{
    (void)arg;
    loop_again(loop);
    if (atomic_exchange(&scripted.is_held, false))
        loop_stop(loop);
}

/* The process sleeps over the mail's time while the server is where it is held; when it wakes, what the
 * server did meanwhile is in the socket. */
static struct outcome play_asleep(const struct line *script, const char *where, const char *body)
{
    struct http_request r = mail_request(play_start(script), &MAIL);
    struct outcome o = {.calls = 0};
    struct err e;

    scripted.hold = where;
    r.body = body;
    r.body_len = strlen(body);
    pending++;
    assert_int_equal(http_send(http, &r, on_mail_done, &o, &e), 0);
    run();
    assert_int_equal(o.calls, 0);
    clock_fake(clock_boot_ms() + r.timeout_ms, clock_wall_ms());
    sem_post(&scripted.go);
    while (sem_wait(&scripted.gone_on) != 0)
        continue;
    run();
    clock_real();
    play_stop();
    assert_int_equal(o.calls, 1);
    return o;
}

/* By now the message may be somebody else's: what has not left does not leave any more, and without its end
 * it is no mail. */
static void test_mail_nothing_leaves_after_the_deadline(void **state)
{
    static const char *const PLACES[] = {"EHLO agwb.example.test\r\n", "MAIL FROM:<shop@example.test>\r\n",
                                         "RCPT TO:<bob@example.test>\r\n", "DATA\r\n"};
    static const struct line SCRIPT[] = {STARTED, {".", "250 ok\r\n"}, {"QUIT\r\n", NULL}};

    (void)state;
    loop_on_turn(loop, stop_when_held, NULL);
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        struct outcome o = play_asleep(SCRIPT, PLACES[i], MESSAGE);
        const char *behind = strstr(scripted.heard, PLACES[i]) + strlen(PLACES[i]);
        if (o.fate != HTTP_NOT_SENT || o.code != 28 || *behind != '\0')
            fail_msg("%s: %s (%d %s), then %s", PLACES[i], http_fate_name(o.fate), o.code, o.text, behind);
    }
}

/* The first bytes had left, and the socket takes the rest again: mails grow until one is more than the
 * sockets hold. */
static void test_mail_end_does_not_leave_after_the_deadline(void **state)
{
    static const struct line SCRIPT[] = {STARTED, {".", "250 ok\r\n"}, {"QUIT\r\n", NULL}};

    (void)state;
    loop_on_turn(loop, stop_when_held, NULL);
    struct outcome o = {.timing.sent_ms = 0};
    for (size_t len = 100000; o.timing.sent_ms >= 0; len += 100000) {
        o = play_asleep(SCRIPT, "354", body_of(len));
        assert_true(o.timing.sent_ms < 10000); /* before it slept */
    }
    assert_int_equal(o.fate, HTTP_NOT_SENT);
    assert_int_equal(o.code, 28);
    assert_null(strstr(scripted.heard, "\r\n.\r\n"));
}

static void test_mail_answer_before_deadline_after_sleep(void **state)
{
    static const struct line SCRIPT[] = {STARTED, {".", "250 ok\r\n"}, {"QUIT\r\n", NULL}};

    (void)state;
    loop_on_turn(loop, stop_when_held, NULL);
    assert_int_equal(play_asleep(SCRIPT, ".", MESSAGE).status, 250);
}

/* Its owner's time ends sooner than its own. */
static void test_mail_leaves_before_its_owners_end(void **state)
{
    static const struct line SCRIPT[] = {GREETED, {"MAIL", "250 ok\r\n"}, {NULL, NULL}};
    struct http_request r = mail_request(play_start(SCRIPT), &MAIL);

    (void)state;
    r.leaves_before_ms = clock_boot_ms();
    assert_int_equal(send_mail(&r).fate, HTTP_NOT_SENT);
    play_stop();
    assert_null(strstr(scripted.heard, "MAIL"));
}

static void test_mail_endless_reply_is_cut(void **state)
{
    static char flood[40000];
    struct line script[] = {GREETED, {"MAIL", flood}, {NULL, ""}};
    struct outcome o;

    (void)state;
    memset(flood, '2', sizeof flood - 1);
    o = play(script, 10000);
    assert_int_equal(o.fate, HTTP_NOT_SENT);
}

static void test_mail_large(void **state)
{
    static const struct line SCRIPT[] = {STARTED, {".", "250 ok\r\n"}, {"QUIT", NULL}};

    (void)state;
    struct outcome o = play_body(SCRIPT, body_of(LARGE_BYTES), 10000);
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 250);
}

/* Nothing that outsiders write becomes a command. */
static void test_mail_refuses_unfit_mails(void **state)
{
    static const struct {
        const char *url, *from, *to, *body, *words;
    } CASES[] = {
        {"http://127.0.0.1/", "a@b.test", "c@d.test", "x\r\n", "smtp"},
        {"smtp://127.0.0.1/a\r\nRSET", "a@b.test", "c@d.test", "x\r\n", "control"},
        {"smtp://127.0.0.1/a b", "a@b.test", "c@d.test", "x\r\n", "blank"},
        {"smtp://127.0.0.1/", "a@b.test\r\nRSET", "c@d.test", "x\r\n", "sender"},
        {"smtp://127.0.0.1/", "a@b.test> SIZE=1", "c@d.test", "x\r\n", "sender"},
        {"smtp://127.0.0.1/", "nobody", "c@d.test", "x\r\n", "sender"},
        {"smtp://127.0.0.1/", "@b.test", "c@d.test", "x\r\n", "sender"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test\r\nDATA", "x\r\n", "recipient"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test,e@f.test", "x\r\n", "recipient"},
        {"smtp://127.0.0.1/", "a@b.test", "<c@d.test>", "x\r\n", "recipient"},
        {"smtp://127.0.0.1/", "a@b.test", "c@", "x\r\n", "recipient"},
        {"smtp://127.0.0.1/", "a@b.test", "\xc3\xa9@d.test", "x\r\n", "recipient"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "x\n.\nMAIL\r\n", "bare"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "x\r.\r\n", "bare"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "x\r\n.\n\r\n", "bare"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "\n", "bare"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "x\r", "bare"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "x", "no end"},
        {"smtp://127.0.0.1/", "a@b.test", "c@d.test", "", "no end"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct http_mail mail = {.from = CASES[i].from, .to = CASES[i].to};
        struct http_request r = mail_request(CASES[i].url, &mail);
        struct err e = {0};
        r.body = CASES[i].body;
        r.body_len = strlen(CASES[i].body);
        if (http_send(http, &r, on_done, NULL, &e) != -1)
            fail_msg("case %zu is taken", i);
        assert_int_equal(e.class, ERR_DATA);
        if (strstr(e.text, CASES[i].words) == NULL)
            fail_msg("case %zu: %s", i, e.text);
    }
    assert_int_equal(http_in_flight(http), 0);
}

static void test_mail_free_in_flight(void **state)
{
    static const struct line SCRIPT[] = {{NULL, ""}};
    struct http_request r = mail_request(play_start(SCRIPT), &MAIL);
    struct err e;

    (void)state;
    assert_int_equal(http_send(http, &r, on_done, NULL, &e), 0);
    struct http_request other = request_to(url_of("/ok"));
    struct outcome o = {.calls = 0};
    start(&other, &o);
    run();
    assert_int_equal(http_in_flight(http), 1);
    http_free(&http);
    play_stop();
}

static void free_all(void *arg, const struct http_result *r)
{
    (void)arg, (void)r;
    http_free(&http);
    loop_stop(loop);
}

static void test_mail_free_in_callback(void **state)
{
    static const struct line SCRIPT[] = {{NULL, "554 no\r\n"}, {NULL, NULL}};
    struct http_request r = mail_request(play_start(SCRIPT), &MAIL);
    struct err e;

    (void)state;
    assert_int_equal(http_send(http, &r, free_all, NULL, &e), 0);
    run();
    assert_null(http);
    play_stop();
}

/* --- the stand-in, with TLS --- */

static struct {
    char dir[64], cert[128], url[128], journal[128];
    pid_t pid;
} standin;

static void shell(const char *script)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL}, *env[] = {"PATH=/usr/bin:/bin", NULL};
    int status = -1;
    pid_t pid;

    assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, env), 0);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* With these options beside certificate and user; the URL's scheme is given. */
static void standin_start(const char *scheme, const char *options)
{
    char script[1024], line[64] = "";
    int out[2];

    snprintf(standin.dir, sizeof standin.dir, "/tmp/agwb-test-XXXXXX");
    assert_non_null(mkdtemp(standin.dir));
    snprintf(standin.cert, sizeof standin.cert, "%s/c", standin.dir);
    snprintf(standin.journal, sizeof standin.journal, "%s/j", standin.dir);
    snprintf(
        script, sizeof script,
        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout k -out c "
        "-days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null",
        standin.dir);
    shell(script);
    snprintf(script, sizeof script,
             "D=%s; exec tests/provider/smtp.py --journal %s --user shop --password 'p w' %s", standin.dir,
             standin.journal, options);
    char *argv[] = {"sh", "-c", script, NULL}, *env[] = {"PATH=/usr/bin:/bin", NULL};
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(out), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, out[0]);
    assert_int_equal(posix_spawn(&standin.pid, "/bin/sh", &actions, NULL, argv, env), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    assert_true(read(out[0], line, sizeof line - 1) > 0);
    close(out[0]);
    snprintf(standin.url, sizeof standin.url, "%s://127.0.0.1:%d/agwb.example.test", scheme,
             (int)strtol(strchr(line, ' '), NULL, 10));
}

static void standin_stop(void)
{
    char script[128];

    if (standin.pid == 0)
        return;
    kill(standin.pid, SIGTERM);
    waitpid(standin.pid, NULL, 0);
    standin.pid = 0;
    snprintf(script, sizeof script, "rm -r %s", standin.dir);
    shell(script);
}

static struct outcome send_over(const struct http_mail *mail, const char *ca_file, const char *password)
{
    struct http_request r = mail_request(standin.url, mail);
    static const char WHOLE[] =
        "Date: Sat, 21 Nov 2026 01:00:00 +0000\r\nFrom: shop@example.test\r\nTo: bob@example.test\r\n"
        "Subject: x\r\nMessage-ID: <1@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
        ".dot\r\n";

    r.body = WHOLE;
    r.body_len = strlen(WHOLE);
    r.ca_file = ca_file;
    r.user = password ? "shop" : NULL;
    r.password = password;
    return send_mail(&r);
}

static void test_mail_starttls(void **state)
{
    static const struct http_mail STRICT = {.from = "shop@example.test", .to = "bob@example.test"};
    char *journal = calloc(1, 65536);
    struct outcome o;

    (void)state;
    standin_start("smtp", "--cert $D/c --key $D/k");
    o = send_over(&STRICT, NULL, "p w"); /* nobody has signed the certificate */
    assert_int_equal(o.fate, HTTP_TLS_REFUSED);
    assert_int_equal(o.code, 60);
    o = send_over(&STRICT, standin.cert, "wrong");
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 535);
    assert_int_equal(last_step, HTTP_MAIL_CONNECT);
    o = send_over(&STRICT, standin.cert, NULL);
    assert_int_equal(o.status, 530);
    assert_int_equal(last_step, HTTP_MAIL_FROM);
    o = send_over(&STRICT, standin.cert, "p w");
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 250);
    assert_non_null(strstr(o.body, "queued as "));
    assert_true(o.timing.tls_ms > 0);
    FILE *f = fopen(standin.journal, "re");
    assert_non_null(f);
    assert_true(fread(journal, 1, 65535, f) > 0);
    fclose(f);
    assert_non_null(strstr(journal, "\"tls\": true"));
    assert_non_null(strstr(journal, "\"text\": \".dot"));
    free(journal);
}

static void test_mail_without_tls_is_refused(void **state)
{
    static const struct http_mail STRICT = {.from = "shop@example.test", .to = "bob@example.test"};
    struct outcome o;

    (void)state;
    standin_start("smtp", "");
    o = send_over(&STRICT, NULL, "p w");
    assert_int_equal(o.fate, HTTP_TLS_REFUSED);
    o = send_over(&MAIL, NULL, "p w"); /* the account says that it may */
    assert_int_equal(o.fate, HTTP_ANSWERED);
    assert_int_equal(o.status, 250);
}

static void test_mail_implicit_tls(void **state)
{
    static const struct http_mail STRICT = {.from = "shop@example.test", .to = "end.close@example.test"};
    struct outcome o;

    (void)state;
    standin_start("smtps", "--cert $D/c --key $D/k --implicit-tls");
    o = send_over(&STRICT, standin.cert, "p w");
    assert_int_equal(o.fate, HTTP_UNCERTAIN);
    o = send_over(&MAIL, standin.cert, "p w");
    assert_int_equal(o.status, 250);
}

/* However the test has ended. */
static int teardown_standin(void **state)
{
    clock_real();
    standin_stop();
    return teardown(state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_standin)
    const struct CMUnitTest tests[] = {
        TEST(test_mail_is_taken),
        TEST(test_mail_refusals),
        TEST(test_mail_lost_connection),
        TEST(test_mail_deadline),
        TEST(test_mail_nothing_leaves_after_the_deadline),
        TEST(test_mail_end_does_not_leave_after_the_deadline),
        TEST(test_mail_answer_before_deadline_after_sleep),
        TEST(test_mail_leaves_before_its_owners_end),
        TEST(test_mail_endless_reply_is_cut),
        TEST(test_mail_large),
        TEST(test_mail_refuses_unfit_mails),
        TEST(test_mail_free_in_flight),
        TEST(test_mail_free_in_callback),
        TEST(test_mail_starttls),
        TEST(test_mail_without_tls_is_refused),
        TEST(test_mail_implicit_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
