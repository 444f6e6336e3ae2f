/* E-mail by SMTP: the message (RFC 5322, MIME) and what the server's replies mean (RFC 5321, 3463, 4954). The
 * Message-ID is made of our id, so that a receipt or a bounce that quotes it tells which delivery it is
 * about. Nothing of a reply can become a header or a line's end: what is not plain ASCII is encoded. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "consumer/channels/channel.h"

#define DEFAULT_SUBJECT "Re: your message"

/* --- addresses --- */

struct mailbox {
    char name[256], address[256]; /* "" = no name */
    const char *domain;           /* of the address */
};

/* local@domain of ASCII characters that need no quoting anywhere. */
static bool is_address(const char *s)
{
    static const char PLAIN[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~.";
    size_t local = strspn(s, PLAIN), domain;

    if (local == 0 || local > 64 || s[local] != '@')
        return false;
    s += local + 1;
    domain = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-");
    return domain > 0 && domain <= 188 && s[domain] == '\0' && s[0] != '.' && s[0] != '-';
}

/* "shop@example.com" or "The Shop <shop@example.com>", the name in quotes or without. */
static bool parse_mailbox(const char *text, struct mailbox *m)
{
    const char *open = strrchr(text, '<');
    size_t len = open ? (size_t)(open - text) : 0, end = strlen(text);

    *m = (struct mailbox){.name = ""};
    if (len >= sizeof m->name || end >= sizeof m->name + sizeof m->address || (open && text[end - 1] != '>'))
        return false;
    while (len > 0 && text[len - 1] == ' ')
        len--;
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        text++;
        len -= 2;
    }
    snprintf(m->name, sizeof m->name, "%.*s", (int)len, text);
    if (open)
        snprintf(m->address, sizeof m->address, "%.*s", (int)strcspn(open + 1, ">"), open + 1);
    else
        snprintf(m->address, sizeof m->address, "%s", text);
    m->domain = m->address + strcspn(m->address, "@") + 1; /* where it is an address */
    return is_address(m->address) && is_utf8(m->name, strlen(m->name));
}

/* --- the account --- */

static bool is_bool(const char *word)
{
    return strcmp(word, "true") == 0 || strcmp(word, "false") == 0;
}

static int check(const struct config_account *a, struct err *e)
{
    const char *reply_to = config_account_option(a, "reply_to", NULL);
    const char *subject = config_account_option(a, "subject", DEFAULT_SUBJECT);
    struct mailbox m;

    if (!a->base_url || !a->base_url[0])
        return err_set(e, ERR_CONFIG, 0, "provider smtp needs base_url (smtp://host:587 or smtps://host)");
    if (!a->from || !parse_mailbox(a->from, &m))
        return err_set(e, ERR_CONFIG, 0,
                       "from: expected the sender as shop@example.com or \"The Shop <shop@example.com>\"");
    if (reply_to && !parse_mailbox(reply_to, &m))
        return err_set(e, ERR_CONFIG, 0, "options.reply_to: expected an address as shop@example.com");
    if (!subject[0] || strlen(subject) > 400 || !is_utf8(subject, strlen(subject)))
        return err_set(e, ERR_CONFIG, 0, "options.subject: expected 1 to 400 bytes of UTF-8");
    if (!is_bool(config_account_option(a, "allow_plain", "false")))
        return err_set(e, ERR_CONFIG, 0, "options.allow_plain: expected true or false");
    return 0;
}

/* --- encodings --- */

static bool is_printable(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e)
            return false;
    }
    return true;
}

/* RFC 2047: words of at most 75 characters that end between characters, a line each. */
static void add_encoded_words(struct buf *b, const char *text)
{
    enum { WORD_ROOM = 75 - sizeof "=?UTF-8?Q?" + 1 - sizeof "?=" + 1 };
    size_t room = 0;
    const char *opening = "=?UTF-8?Q?";

    while (*text) {
        size_t len = utf8_length(text, strlen(text));
        bool is_plain = isalnum((unsigned char)*text) || *text == ' ';
        size_t takes = is_plain ? 1 : 3 * (len ? len : 1);
        if (takes > room) {
            buf_add_str(b, opening);
            opening = "?=\r\n =?UTF-8?Q?";
            room = WORD_ROOM;
        }
        room -= takes;
        if (is_plain)
            buf_add_char(b, *text == ' ' ? '_' : *text);
        for (size_t i = 0; i < takes / 3; i++)
            buf_printf(b, "=%02X", (unsigned char)text[i]);
        text += is_plain ? 1 : takes / 3;
    }
    buf_add_str(b, "?=");
}

static bool is_plain_header(const char *text)
{
    enum { PLAIN_MAX = 60 }; /* with its name within a line of 78 */

    return strlen(text) <= PLAIN_MAX && is_printable(text) && !strstr(text, "=?");
}

static void add_text_header(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, "%s: ", name);
    if (is_plain_header(text))
        buf_add_str(b, text);
    else
        add_encoded_words(b, text);
    buf_add_str(b, "\r\n");
}

static void add_mailbox_header(struct buf *b, const char *header, const char *name, const char *address)
{
    buf_printf(b, "%s: ", header);
    if (name && name[0] && is_plain_header(name)) {
        buf_add_char(b, '"');
        for (; *name; name++)
            buf_printf(b, "%s%c", strchr("\"\\", *name) ? "\\" : "", *name);
        buf_add_str(b, "\"\r\n ");
    } else if (name && name[0]) {
        add_encoded_words(b, name);
        buf_add_str(b, "\r\n ");
    }
    buf_printf(b, "<%s>\r\n", address);
}

static void add_date(struct buf *b)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    char text[64];

    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    buf_printf(b, "Date: %s\r\n", text);
}

/* Letters, digits and "-" as they are, everything else as =XX: our id can be read back. */
static void add_message_id(struct buf *b, const char *id, const struct mailbox *from)
{
    buf_add_str(b, "Message-ID: <");
    for (; *id; id++) {
        if (isalnum((unsigned char)*id) || *id == '-')
            buf_add_char(b, *id);
        else
            buf_printf(b, "=%02X", (unsigned char)*id);
    }
    buf_printf(b, "@%s>\r\n", from->domain);
}

/* How many bytes of white space and line break end the text's line here; 0 = none does. */
static size_t line_break(const char *text)
{
    return text[0] == '\n' ? 1 : text[0] == '\r' && text[1] == '\n' ? 2 : 0;
}

/* Quoted-printable (RFC 2045): lines of at most 76 characters, CR LF between them, no dot at a line's start.
 */
static void add_quoted_printable(struct buf *b, const char *text)
{
    enum { LINE_MAX_CHARS = 75 }; /* and the "=" of a soft break */
    size_t column = 0;

    for (; *text; text++) {
        size_t skip = line_break(text);
        bool is_blank = *text == ' ' || *text == '\t', ends_line = text[1] == '\0' || line_break(text + 1);
        bool is_plain = (*text > 0x20 && *text < 0x7f && *text != '=') || (is_blank && !ends_line);
        if (skip > 0) {
            buf_add_str(b, "\r\n");
            column = 0;
            text += skip - 1;
            continue;
        }
        if (column + 3 > LINE_MAX_CHARS) {
            buf_add_str(b, "=\r\n");
            column = 0;
        }
        is_plain = is_plain && !(column == 0 && *text == '.');
        if (is_plain)
            buf_add_char(b, *text);
        else
            buf_printf(b, "=%02X", (unsigned char)*text);
        column += is_plain ? 1 : 3;
    }
    buf_add_str(b, "\r\n");
}

/* --- the message --- */

/* The id of the mail that is answered, if it is one. */
static void add_references(struct buf *b, const char *quoted)
{
    size_t len = quoted ? strlen(quoted) : 0;
    bool has_brackets = len > 2 && quoted[0] == '<' && quoted[len - 1] == '>';
    size_t skip = has_brackets ? 1 : 0;

    if (len < 3 || len > 250 || !is_printable(quoted) || strpbrk(quoted, " ,;:\"\\()") ||
        strcspn(quoted + skip, "<>") != len - 2 * skip || !strchr(quoted, '@'))
        return;
    buf_printf(b, "In-Reply-To: <%.*s>\r\n", (int)(len - 2 * skip), quoted + skip);
    buf_printf(b, "References: <%.*s>\r\n", (int)(len - 2 * skip), quoted + skip);
}

static void write_message(const struct channel_send *s, const struct mailbox *from, struct buf *b)
{
    const char *reply_to = config_account_option(s->account, "reply_to", NULL);
    struct mailbox m;

    add_date(b);
    add_mailbox_header(b, "From", from->name, from->address);
    add_mailbox_header(b, "To", s->reply->contact.name, s->address);
    if (reply_to && parse_mailbox(reply_to, &m))
        add_mailbox_header(b, "Reply-To", m.name, m.address);
    add_text_header(b, "Subject", config_account_option(s->account, "subject", DEFAULT_SUBJECT));
    add_message_id(b, s->message_id, from);
    add_references(b, s->quoted_id);
    buf_add_str(b, "Auto-Submitted: auto-replied\r\n" /* RFC 3834: no other machine answers */
                   "MIME-Version: 1.0\r\n"
                   "Content-Type: text/plain; charset=utf-8\r\n"
                   "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
    add_quoted_printable(b, s->part->text ? s->part->text : "");
}

static int build(const struct channel_send *s, struct channel_request *r, struct err *e)
{
    const struct config_account *a = s->account;
    struct mailbox from;

    if (!is_address(s->address))
        return err_set(e, ERR_DATA, 0, "the contact has no e-mail address that can be written to");
    if (!a->from || !parse_mailbox(a->from, &from))
        return err_set(e, ERR_DATA, 0, "the account has no sender's address");
    buf_add_str(&r->url, a->base_url);
    r->user = a->user;
    r->password = a->password;
    r->ca_file = config_account_option(a, "ca_file", NULL);
    r->is_mail = true;
    r->mail_allow_plain = strcmp(config_account_option(a, "allow_plain", "false"), "true") == 0;
    buf_add_str(&r->mail_from, from.address);
    buf_add_str(&r->mail_to, s->address);
    write_message(s, &from, &r->body);
    return 0;
}

/* --- the server's reply --- */

/* "5.1.10" as one number. */
#define STATUS(class, subject, detail) ((class) * 100000 + (subject)*1000 + (detail))

/* Enhanced status codes, where the server has them: they are more exact than the reply code. */
static const struct channel_error ENHANCED[] = {
    {STATUS(4, 2, 2), STATUS(4, 2, 2), OUTCOME_TEMPFAIL, 600, LINE_WORKS, "mailbox full"},
    {STATUS(4, 7, 0), STATUS(4, 7, 99), OUTCOME_TEMPFAIL, 60, LINE_WORKS, "not now, by policy"},
    {STATUS(5, 1, 0), STATUS(5, 1, 3), OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "no such address"},
    {STATUS(5, 1, 6), STATUS(5, 1, 6), OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "mailbox has moved"},
    {STATUS(5, 1, 7), STATUS(5, 1, 8), OUTCOME_AUTH, 0, 0, "the sender's address"},
    {STATUS(5, 1, 10), STATUS(5, 1, 10), OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "the domain takes no mail"},
    {STATUS(5, 2, 1), STATUS(5, 2, 1), OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "mailbox disabled"},
    {STATUS(5, 2, 2), STATUS(5, 2, 2), OUTCOME_TEMPFAIL, 600, LINE_WORKS, "mailbox full"},
    {STATUS(5, 2, 3), STATUS(5, 2, 3), OUTCOME_PERMFAIL, 0, 0, "message too large"},
    {STATUS(5, 3, 4), STATUS(5, 3, 4), OUTCOME_PERMFAIL, 0, 0, "message too large"},
    {STATUS(5, 7, 0), STATUS(5, 7, 0), OUTCOME_AUTH, 0, 0, "TLS or a log-in is wanted"},
    {STATUS(5, 7, 1), STATUS(5, 7, 2), OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "not allowed, by policy"},
    {STATUS(5, 7, 3), STATUS(5, 7, 3), OUTCOME_AUTH, 0, 0, "TLS or a log-in is wanted"},
    {STATUS(5, 7, 8), STATUS(5, 7, 14), OUTCOME_AUTH, 0, 0, "log-in failed, or is too weak"},
    {STATUS(5, 7, 20), STATUS(5, 7, 29), OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "DKIM, SPF or DMARC"},
};

/* Reply codes of any step. */
static const struct channel_error CODES[] = {
    {421, 421, OUTCOME_TEMPFAIL, 0, 0, "service not available"},
    {432, 432, OUTCOME_AUTH, 0, 0, "a password transition is needed"},
    {450, 450, OUTCOME_TEMPFAIL, 60, LINE_WORKS, "mailbox unavailable"},
    {451, 451, OUTCOME_TEMPFAIL, 0, LINE_WORKS, "error in processing"},
    {452, 452, OUTCOME_TEMPFAIL, 0, LINE_WORKS, "insufficient storage"},
    {454, 454, OUTCOME_TEMPFAIL, 0, 0, "temporary failure of TLS or log-in"},
    {530, 530, OUTCOME_AUTH, 0, 0, "a log-in is wanted"},
    {534, 535, OUTCOME_AUTH, 0, 0, "log-in failed"},
    {538, 538, OUTCOME_AUTH, 0, 0, "encryption is wanted"},
};

/* Reply codes to RCPT TO, before those. */
static const struct channel_error RECIPIENT_CODES[] = {
    {501, 501, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "no valid address"},
    {550, 551, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "mailbox unavailable"},
    {552, 552, OUTCOME_TEMPFAIL, 600, LINE_WORKS, "mailbox full"}, /* RFC 5321, 4.5.3.1.10: as 452 */
    {553, 553, OUTCOME_PERMFAIL, 0, LINE_UNREACHABLE, "no valid address"},
};

#define FIND(table, code) channel_error_find(table, sizeof(table) / sizeof(table)[0], code)

/* Behind the last line's code; *status = 0 when there is none, or one of another class than the code. */
static const char *take_enhanced(const char *line, int code, int *status)
{
    int class, subject, detail, len = 0;

    *status = 0;
    if (sscanf(line, "%1d.%3d.%3d%n", &class, &subject, &detail, &len) != 3 || class != code / 100)
        return line;
    *status = STATUS(class, subject, detail);
    return line + len + strspn(line + len, " ");
}

/* The words of the reply's last line, without its codes. */
static const char *last_line(const char *body)
{
    const char *at = body;

    for (const char *next; (next = strchr(at, '\n')) && next[1];)
        at = next + 1;
    return strlen(at) > 4 ? at + 4 : "";
}

/* Of an address only the domain is shown: details stand in logs. */
static void mask_addresses(char *text)
{
    for (char *at = strchr(text, '@'); at; at = strchr(at + 1, '@')) {
        for (char *c = at; c > text && !strchr(" <>:,;\"'()[]", c[-1]); c--)
            c[-1] = '*';
    }
}

static void take_detail(struct channel_verdict *v, const char *words)
{
    char text[CHANNEL_DETAIL_SIZE + 4]; /* a character that the cut halves is behind what is shown */

    snprintf(text, sizeof text, "%.*s", (int)strcspn(words, "\r\n"), words);
    mask_addresses(text);
    channel_verdict_detail(v, text);
}

/* What the servers' own names for a message look like: Postfix, Exim. */
static void take_queue_id(struct channel_verdict *v, const char *words)
{
    static const char *const BEFORE[] = {"queued as ", "id="};
    char id[64];

    for (size_t i = 0; i < sizeof BEFORE / sizeof BEFORE[0] && !v->provider_id[0]; i++) {
        const char *at = strstr(words, BEFORE[i]);
        if (at && sscanf(at + strlen(BEFORE[i]), "%63[A-Za-z0-9-]", id) == 1)
            channel_verdict_id(v, id);
    }
}

/* A refusal before the recipient was named is not about them, nor about the message. */
static const struct channel_error *line_of(enum http_mail_step step, int code, int enhanced)
{
    static const struct channel_error ACCOUNT = {0, 0, OUTCOME_AUTH, 0, 0, "the server does not want us"};
    static const struct channel_error LATER = {0, 0, OUTCOME_TEMPFAIL, 0, LINE_WORKS, "not now"};
    static const struct channel_error MESSAGE = {0, 0, OUTCOME_PERMFAIL, 0, 0, "refused"};
    bool is_early = step == HTTP_MAIL_CONNECT || step == HTTP_MAIL_FROM;
    const struct channel_error *line = is_early ? NULL : FIND(ENHANCED, enhanced);

    if (!line && step == HTTP_MAIL_RCPT)
        line = FIND(RECIPIENT_CODES, code);
    if (!line)
        line = FIND(CODES, code);
    if (!line && code / 100 == 4)
        line = &LATER;
    if (!line)
        line = is_early && !(step == HTTP_MAIL_FROM && code == 552) ? &ACCOUNT : &MESSAGE;
    return line;
}

static void judge(const struct http_result *r, struct channel_verdict *v)
{
    int enhanced;
    const char *words = take_enhanced(last_line(r->body), r->status, &enhanced);

    if (r->status / 100 == 2 && r->step == HTTP_MAIL_END) {
        channel_verdict_set(v, OUTCOME_DELIVERED, 0);
        take_queue_id(v, words);
        return;
    }
    take_detail(v, words);
    channel_verdict_of_code(v, line_of(r->step, r->status, enhanced), r->status, r->status);
    if (r->step < HTTP_MAIL_RCPT)
        v->account_works = false;
}

/* The code of a bounce: an enhanced status, or a reply code. */
static void judge_receipt(const char *code, const char *detail, struct channel_verdict *v)
{
    int enhanced, status = (int)strtol(code, NULL, 10);
    const struct channel_error *line;

    (void)detail;
    (void)take_enhanced(code, status < 10 ? status * 100 : status, &enhanced);
    line = FIND(ENHANCED, enhanced);
    if (!line)
        line = FIND(RECIPIENT_CODES, status);
    if (line) {
        channel_verdict_set(v, line->outcome, line->wait_s);
        channel_verdict_flags(v, line->flags);
    }
}

static const enum channel CHANNELS[] = {CHANNEL_EMAIL, CHANNEL_NONE};
static const char *const OPTIONS[] = {"subject", "reply_to", "allow_plain", "ca_file", NULL};

const struct channel_provider CHANNEL_SMTP = {
    .name = "smtp",
    .channels = CHANNELS,
    .options = OPTIONS,
    .files = CHANNEL_FILES_LINKS,
    .check = check,
    .build = build,
    .judge = judge,
    .judge_receipt = judge_receipt,
};
