/* One mail by SMTP (RFC 5321). libcurl connects, upgrades to TLS and logs in; the envelope and the message
 * are said here, on libcurl's connection: libcurl itself would wait for the reply to a message's end, and to
 * its QUIT, within one call, and the loop with it. It also makes the fate exact: until the last byte of the
 * final dot has been handed over, no server can have taken the message.
 *
 * Each mail has a multi handle of its own: other requests would take its silent connection for an old one and
 * close it. It waits for: the multi handle's progress (HTTP_MAIL_CONNECT), its socket (later), its deadline.
 */
#include "io/http_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/clock.h"

enum { REPLY_LIMIT_BYTES = 16384, COMMAND_LIMIT_BYTES = 1024, ADDRESS_MAX = 254 };

struct reply {
    struct buf text; /* its lines so far */
    size_t line_at;  /* where the last one begins */
    bool is_whole;
    int code;
};

struct mail {
    LIST_ENTRY(mail) link; /* of http.mails */
    struct http *http;
    struct driver driver;
    CURL *easy;
    struct loop_timer *deadline;
    struct loop_watch *watch; /* of the socket, once libcurl has connected */
    enum http_mail_step step;
    struct buf message; /* with dots doubled, and its end */
    struct buf command;
    struct buf *out; /* the one of both that is being sent */
    size_t out_sent;
    struct reply reply;
    char *from, *to;
    int64_t started_us, sent_us, first_byte_us; /* monotonic; 0 = not yet */
    int64_t leaves_before_ms;                   /* boottime */
    char text[CURL_ERROR_SIZE];
    http_done_fn *done;
    void *arg;
};

/* --- replies --- */

/* The code of the reply's last line, "250 ok" or "250"; 0 when more lines follow ("250-"), -1 when it is
 * none.
 */
static int final_code(const char *line, size_t len)
{
    if (len < 3 || strspn(line, "0123456789") != 3 || line[0] < '2' || line[0] > '5')
        return -1;
    if (line[3] == '-')
        return 0;
    if (strchr(" \r\n", line[3]) == NULL)
        return -1;
    return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

/* Takes bytes up to the reply's end, and returns how many; a whole reply before is forgotten. -1: no reply.
 */
static ssize_t reply_add(struct reply *r, const char *bytes, size_t len)
{
    if (r->is_whole) {
        buf_clear(&r->text);
        r->line_at = 0;
        r->is_whole = false;
    }
    for (size_t i = 0; i < len; i++) {
        buf_add_char(&r->text, bytes[i]);
        if (r->text.failed)
            return -1;
        if (bytes[i] != '\n')
            continue;
        r->code = final_code(buf_str(&r->text) + r->line_at, r->text.len - r->line_at);
        if (r->code < 0)
            return -1;
        r->line_at = r->text.len;
        r->is_whole = r->code > 0;
        if (r->is_whole)
            return (ssize_t)i + 1;
    }
    return (ssize_t)len;
}

/* While libcurl talks, each line comes here. What it makes of a bad one is its business. */
static size_t on_line(char *line, size_t size, size_t count, void *arg)
{
    struct mail *m = arg;
    if (reply_add(&m->reply, line, size * count) < 0)
        buf_clear(&m->reply.text);
    return size * count;
}

static size_t on_nothing_to_read(char *to, size_t size, size_t count, void *arg)
{
    (void)to, (void)size, (void)count, (void)arg;
    return 0;
}

/* --- the end --- */
static void mail_free(struct mail *m)
{
    loop_watch_free(&m->watch);
    curl_multi_remove_handle(m->driver.multi, m->easy); /* closes the connection, without a word */
    curl_easy_cleanup(m->easy);
    driver_fini(&m->driver);
    loop_timer_free(&m->deadline);
    buf_fini(&m->message);
    buf_fini(&m->command);
    buf_fini(&m->reply.text);
    free(m->from);
    free(m->to);
    free(m);
}

void http_mails_drop(struct http *h)
{
    struct mail *m;
    while ((m = LIST_FIRST(&h->mails)) != NULL) {
        LIST_REMOVE(m, link);
        mail_free(m);
    }
}

static double since_start_ms(const struct mail *m, int64_t at_us)
{
    return at_us > 0 ? (double)(at_us - m->started_us) / 1000.0 : -1;
}

static struct http_result result_of(struct mail *m, enum http_fate fate, CURLcode rc)
{
    struct http_result r = {
        .fate = fate,
        .transport_code = (int)rc,
        .text = "",
        .body = "",
        .retry_after_ms = -1,
        .step = m->step,
        .timing = {.name_ms = http_stage_ms(m->easy, CURLINFO_NAMELOOKUP_TIME_T),
                   .connect_ms = http_stage_ms(m->easy, CURLINFO_CONNECT_TIME_T),
                   .tls_ms = http_stage_ms(m->easy, CURLINFO_APPCONNECT_TIME_T),
                   .sent_ms = since_start_ms(m, m->sent_us),
                   .first_byte_ms = since_start_ms(m, m->first_byte_us),
                   .total_ms = since_start_ms(m, clock_mono_us())},
    };
    if (fate == HTTP_ANSWERED) {
        r.status = m->reply.code;
        r.body = buf_str(&m->reply.text);
        r.body_len = m->reply.text.len;
    } else {
        r.text = m->text[0] != '\0' ? m->text : curl_easy_strerror(rc);
    }
    return r;
}

static void finish(struct mail *m, enum http_fate fate, CURLcode rc)
{
    struct http *h = m->http;
    loop_timer_stop(m->deadline);
    LIST_REMOVE(m, link);
    struct http_result r = result_of(m, fate, rc);
    http_report(h, m->done, m->arg, &r);
    mail_free(m);
    (void)http_still_stands(h);
}

/* The dialogue broke off. */
static void finish_lost(struct mail *m, CURLcode rc)
{
    bool is_out = m->step == HTTP_MAIL_END && m->out_sent == m->out->len;
    finish(m, is_out ? HTTP_UNCERTAIN : HTTP_NOT_SENT, rc);
}

/* The server has said what becomes of it. Nobody waits for the reply to the farewell. */
static void finish_answered(struct mail *m)
{
    size_t ignored;
    m->first_byte_us = clock_mono_us();
    if (m->step != HTTP_MAIL_CONNECT)
        (void)curl_easy_send(m->easy, "QUIT\r\n", 6, &ignored);
    finish(m, HTTP_ANSWERED, CURLE_OK);
}

static void on_deadline(void *arg)
{
    finish_lost(arg, CURLE_OPERATION_TIMEDOUT);
}

/* --- the dialogue --- */

/* After a sleep the socket is ready before the deadline's timer has fired, and whoever waits for the mail has
 * given it up: without its last byte it is none. */
static CURLcode send_piece(struct mail *m)
{
    size_t n = 0;
    if (clock_boot_ms() >= m->leaves_before_ms)
        return CURLE_OPERATION_TIMEDOUT;
    CURLcode rc = curl_easy_send(m->easy, m->out->data + m->out_sent, m->out->len - m->out_sent, &n);
    m->out_sent += n;
    return rc;
}

/* Sends what the socket takes. */
static CURLcode send_some(struct mail *m)
{
    CURLcode rc = CURLE_OK;
    while (rc == CURLE_OK && m->out_sent < m->out->len)
        rc = send_piece(m);
    if (m->step == HTTP_MAIL_END && m->out_sent == m->out->len)
        m->sent_us = clock_mono_us();
    loop_watch_set(m->watch, LOOP_READ | (m->out_sent < m->out->len ? LOOP_WRITE : 0));
    return rc == CURLE_AGAIN ? CURLE_OK : rc;
}

static CURLcode say(struct mail *m, struct buf *what)
{
    m->out = what;
    m->out_sent = 0;
    return send_some(m);
}

/* The step's command; what libcurl has said is behind us. */
static CURLcode enter(struct mail *m, enum http_mail_step step)
{
    m->step = step;
    buf_clear(&m->command);
    switch (step) {
    case HTTP_MAIL_CONNECT:
        break;
    case HTTP_MAIL_FROM:
        buf_printf(&m->command, "MAIL FROM:<%s>\r\n", m->from);
        break;
    case HTTP_MAIL_RCPT:
        buf_printf(&m->command, "RCPT TO:<%s>\r\n", m->to);
        break;
    case HTTP_MAIL_DATA:
        buf_add_str(&m->command, "DATA\r\n");
        break;
    case HTTP_MAIL_END:
        return say(m, &m->message);
    }
    return say(m, &m->command);
}

static bool is_go_ahead(const struct mail *m)
{
    return m->step == HTTP_MAIL_DATA ? m->reply.code == 354 : m->reply.code / 100 == 2;
}

/* False when the mail has ended, and is gone. A refusal may come while the message is still on its way,
 * thanks for it may not. */
static bool on_reply(struct mail *m)
{
    bool is_out = m->out_sent == m->out->len;
    CURLcode rc;
    if (!is_go_ahead(m) || (m->step == HTTP_MAIL_END && is_out)) {
        finish_answered(m);
        return false;
    }
    rc = is_out ? enter(m, m->step + 1) : CURLE_WEIRD_SERVER_REPLY;
    if (rc == CURLE_OK)
        return true;
    finish_lost(m, rc);
    return false;
}

/* A reply that came before its command, in one piece with the one before, was not written by the server that
 * we mean. False as above. */
static bool take_bytes(struct mail *m, const char *bytes, size_t len)
{
    ssize_t used = reply_add(&m->reply, bytes, len);
    bool is_early = used >= 0 && (size_t)used < len && m->step != HTTP_MAIL_END;
    if (used < 0 || is_early) {
        finish_lost(m, CURLE_WEIRD_SERVER_REPLY);
        return false;
    }
    return !m->reply.is_whole || on_reply(m);
}

static void on_socket(void *arg, int events)
{
    struct mail *m = arg;
    char bytes[4096];
    size_t n = 0;
    CURLcode rc = events & LOOP_WRITE ? send_some(m) : CURLE_OK;
    while (rc == CURLE_OK) {
        rc = curl_easy_recv(m->easy, bytes, sizeof bytes, &n);
        if (rc == CURLE_OK && n == 0)
            rc = CURLE_GOT_NOTHING;
        if (rc == CURLE_OK && !take_bytes(m, bytes, n))
            return;
    }
    if (rc != CURLE_AGAIN)
        finish_lost(m, rc);
}

/* --- libcurl's part --- */
static void on_connected(struct mail *m)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode rc = curl_easy_getinfo(m->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (rc == CURLE_OK && fd == CURL_SOCKET_BAD)
        rc = CURLE_COULDNT_CONNECT;
    if (rc == CURLE_OK) {
        m->watch = loop_watch_new(m->http->loop, fd, on_socket, m);
        rc = enter(m, HTTP_MAIL_FROM);
    }
    if (rc != CURLE_OK)
        finish_lost(m, rc);
}

static void on_progress(void *arg)
{
    struct mail *m = arg;
    int left;
    CURLMsg *ended = curl_multi_info_read(m->driver.multi, &left);
    if (ended == NULL)
        return;
    if (ended->data.result == CURLE_OK)
        on_connected(m);
    else if (m->reply.is_whole && m->reply.code >= 400)
        finish_answered(m);
    else
        finish(m, http_fate_unsent(ended->data.result), ended->data.result);
}

/* --- starting --- */

/* "local@domain" that cannot end or continue its command. */
static int check_address(const char *address, const char *what, struct err *e)
{
    const char *at = strrchr(address, '@');
    size_t len = strlen(address);
    bool fits = at != NULL && at != address && at[1] != '\0' && len <= ADDRESS_MAX;
    for (size_t i = 0; i < len && fits; i++)
        fits = address[i] > 0x20 && address[i] < 0x7f && strchr("<>,;:\\\"()[]", address[i]) == NULL;
    return fits ? 0 : err_set(e, ERR_DATA, 0, "the mail's %s is not an ASCII local@domain", what);
}

/* Lines as SMTP wants them: a bare CR or LF is a line's end for some servers and none for others. */
static int check_lines(const char *body, size_t len, struct err *e)
{
    for (size_t i = 0; i < len; i++) {
        bool is_pair = body[i] == '\r' ? i + 1 < len && body[i + 1] == '\n' : i > 0 && body[i - 1] == '\r';
        if ((body[i] == '\r' || body[i] == '\n') && !is_pair)
            return err_set(e, ERR_DATA, 0, "the mail has a bare CR or LF");
        if (body[i] == '\0')
            return err_set(e, ERR_DATA, 0, "the mail has a NUL");
    }
    if (len < 2 || body[len - 1] != '\n')
        return err_set(e, ERR_DATA, 0, "the mail's last line has no end");
    return 0;
}

static int check(const struct http_request *r, struct err *e)
{
    if (strncasecmp(r->url, "smtp://", 7) != 0 && strncasecmp(r->url, "smtps://", 8) != 0)
        return err_set(e, ERR_DATA, 0, "the URL is neither smtp:// nor smtps://");
    if (http_has_control(r->url) || strpbrk(r->url, " \t") != NULL)
        return err_set(e, ERR_DATA, 0, "the URL contains a blank or a control character");
    if (r->body_len > BODY_LIMIT_BYTES)
        return err_set(e, ERR_DATA, 0, "the mail is larger than 64 MiB");
    if (check_address(r->mail->from, "sender", e) != 0 || check_address(r->mail->to, "recipient", e) != 0)
        return -1;
    return check_lines(r->body, r->body_len, e);
}

static void add_message(struct buf *b, const char *body, size_t len)
{
    for (const char *line = body, *end = body + len; line < end;) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if (*line == '.')
            buf_add_char(b, '.');
        buf_add(b, line, (size_t)(next - line));
        line = next;
    }
    buf_add_str(b, ".\r\n");
}

static struct mail *mail_new(struct http *h, const struct http_request *r)
{
    struct mail *m = xcalloc(1, sizeof *m);
    m->http = h;
    m->easy = curl_easy_init();
    if (m->easy == NULL)
        abort_oom(0);
    driver_init(&m->driver, h->loop, on_progress, m);
    m->deadline = loop_timer_new(h->loop, on_deadline, m);
    buf_init(&m->message, 2 * (size_t)BODY_LIMIT_BYTES);
    add_message(&m->message, r->body, r->body_len);
    buf_init(&m->command, COMMAND_LIMIT_BYTES);
    m->out = &m->command;
    buf_init(&m->reply.text, REPLY_LIMIT_BYTES);
    m->from = xstrdup(r->mail->from);
    m->to = xstrdup(r->mail->to);
    m->started_us = clock_mono_us();
    m->leaves_before_ms = http_leaves_before_ms(r);
    return m;
}

/* PLAIN and LOGIN alone: with an address as its user, libcurl would try Kerberos first. */
static void set_options(struct mail *m, const struct http_request *r)
{
    CURL *easy = m->easy;
    http_set_policy(easy, r);
    /* libcurl counts the greeting and the log-in as connecting; the deadline is ours. */
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, m->text);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, m);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_nothing_to_read);
    curl_easy_setopt(easy, CURLOPT_USE_SSL, (long)(r->mail->allow_plain ? CURLUSESSL_TRY : CURLUSESSL_ALL));
    http_set_or_end(curl_easy_setopt(easy, CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN;AUTH=LOGIN"));
}

int http_mail_start(struct http *h, const struct http_request *r, http_done_fn *done, void *arg,
                    struct err *e)
{
    if (check(r, e) != 0)
        return -1;
    struct mail *m = mail_new(h, r);
    m->done = done;
    m->arg = arg;
    set_options(m, r);
    CURLMcode rc = curl_multi_add_handle(m->driver.multi, m->easy);
    if (rc == CURLM_OUT_OF_MEMORY)
        abort_oom(0);
    if (rc != CURLM_OK) {
        mail_free(m);
        return err_set(e, ERR_BUG, (int)rc, "libcurl refused the mail: %s", curl_multi_strerror(rc));
    }
    loop_timer_start(m->deadline, r->timeout_ms);
    LIST_INSERT_HEAD(&h->mails, m, link);
    h->active_count++;
    return 0;
}
