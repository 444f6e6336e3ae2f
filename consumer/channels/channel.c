/* The registry of providers, the check of accounts, a reply's plan, and what the outcome tables share. */
#include "consumer/channels/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "consumer/content.h"

#define MAX_SEGMENTS     "max_segments"
#define SMART_ENCODING   "smart_encoding"
#define SEGMENTS_DEFAULT "10"

enum { SEGMENTS_MAX = 10 };

const struct channel_provider *const CHANNEL_PROVIDERS[] = {
    &CHANNEL_INSTAGRAM_GRAPH, &CHANNEL_SMS_GATEWAY, &CHANNEL_SMTP,
    &CHANNEL_TWILIO,          &CHANNEL_WASENDER,    &CHANNEL_WEBSITE_WIDGET,
    &CHANNEL_WHATSAPP_CLOUD,  &CHANNEL_WHATSAPP_QR, NULL};

const struct channel_provider *channel_find(const char *name)
{
    for (const struct channel_provider *const *p = CHANNEL_PROVIDERS; *p; p++) {
        if (strcmp((*p)->name, name) == 0)
            return *p;
    }
    return NULL;
}

void channel_list(struct buf *out)
{
    for (const struct channel_provider *const *p = CHANNEL_PROVIDERS; *p; p++)
        buf_printf(out, "%s%s", p == CHANNEL_PROVIDERS ? "" : ", ", (*p)->name);
}

static bool carries(const struct channel_provider *p, enum channel c)
{
    for (const enum channel *has = p->channels; *has != CHANNEL_NONE; has++) {
        if (*has == c)
            return true;
    }
    return false;
}

/* A misspelt option must not pass for its default. */
static int check_options(const struct channel_provider *p, const struct config_account *a, struct err *e)
{
    for (size_t i = 0; i < a->option_count; i++) {
        const char *const *known = p->options;
        while (known && *known && strcmp(*known, a->options[i].key) != 0)
            known++;
        if (!known || !*known)
            return err_set(e, ERR_CONFIG, 0, "provider %s has no option '%s'", p->name, a->options[i].key);
    }
    return 0;
}

/* What every provider of SMS knows: of messages longer than that many segments several are made. */
static int check_sms_options(const struct config_account *a, struct err *e)
{
    const char *segments = config_account_option(a, MAX_SEGMENTS, SEGMENTS_DEFAULT);
    const char *smart = config_account_option(a, SMART_ENCODING, "false");
    size_t digits = strspn(segments, "0123456789");

    if (a->channel != CHANNEL_SMS) {
        if (config_account_option(a, MAX_SEGMENTS, NULL) || config_account_option(a, SMART_ENCODING, NULL))
            return err_set(e, ERR_CONFIG, 0,
                           "options." MAX_SEGMENTS " and options." SMART_ENCODING
                           " are for channel \"sms\" only");
        return 0;
    }
    if (digits < 1 || digits > 2 || segments[digits] || strtol(segments, NULL, 10) < 1 ||
        strtol(segments, NULL, 10) > SEGMENTS_MAX)
        return err_set(e, ERR_CONFIG, 0, "options." MAX_SEGMENTS ": expected 1 to %d", SEGMENTS_MAX);
    if (strcmp(smart, "true") != 0 && strcmp(smart, "false") != 0)
        return err_set(e, ERR_CONFIG, 0, "options." SMART_ENCODING ": expected true or false");
    return 0;
}

/* It would end a header's line, and every message of the account be refused. */
static int check_secret(const char *name, const char *secret, struct err *e)
{
    for (; secret && *secret; secret++) {
        if ((unsigned char)*secret < 0x20 || *secret == 0x7f)
            return err_set(e, ERR_CONFIG, 0, "%s contains a control character", name);
    }
    return 0;
}

static int check_credentials(const struct channel_provider *p, const struct config_account *a, struct err *e)
{
    if (p->needs_token && !(a->token && a->token[0]))
        return err_set(e, ERR_CONFIG, 0,
                       "provider %s needs a token (token, token_file, AGWB_ACCOUNT_<NAME>_TOKEN or a "
                       "credential)",
                       p->name);
    if (check_secret("token", a->token, e) != 0 || check_secret("user", a->user, e) != 0)
        return -1;
    return check_secret("password", a->password, e);
}

static int unknown_provider(const char *name, struct err *e)
{
    struct buf known;

    buf_init(&known, 1024);
    channel_list(&known);
    (void)err_set(e, ERR_CONFIG, 0, "unknown provider '%s' (this program has: %s)", name, buf_str(&known));
    buf_fini(&known);
    return -1;
}

static int check_account(const struct config_account *a, struct err *e)
{
    const struct channel_provider *p = channel_find(a->provider);

    if (!p)
        return unknown_provider(a->provider, e);
    if (!carries(p, a->channel))
        return err_set(e, ERR_CONFIG, 0, "provider %s does not carry channel '%s'", p->name,
                       channel_name(a->channel));
    if (check_options(p, a, e) != 0 || check_sms_options(a, e) != 0 || check_credentials(p, a, e) != 0)
        return -1;
    return p->check ? p->check(a, e) : 0;
}

int channel_check_accounts(const struct config *c, struct err *e)
{
    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        if (check_account(a, e) != 0)
            return err_prefix(e, "channels.accounts: account '%s'", a->name);
    }
    return 0;
}

/* --- parts --- */

static struct content_limit limit_of(const struct channel_provider *p, const struct config_account *a,
                                     size_t most)
{
    struct content_limit limit = {0};

    if (p->unit == CHANNEL_BYTES)
        limit.bytes = most;
    else
        limit.units = most;
    if (a->channel == CHANNEL_SMS)
        limit.segments = strtoul(config_account_option(a, MAX_SEGMENTS, SEGMENTS_DEFAULT), NULL, 10);
    return limit;
}

int channel_plan(const struct channel_provider *p, const struct config_account *a, const struct reply *reply,
                 struct arena *arena, struct channel_parts *parts, struct err *e)
{
    bool is_sms = a->channel == CHANNEL_SMS;
    struct content_rules rules = {
        .text = limit_of(p, a, p->text_limit),
        .caption = limit_of(p, a, p->caption_limit),
        .file_limit = p->attachment_limit,
        .files = is_sms ? CHANNEL_FILES_LINKS : p->files,
        .plain_text = is_sms && strcmp(config_account_option(a, SMART_ENCODING, "false"), "true") == 0};

    return content_plan(&rules, reply, arena, parts, e);
}

/* --- outcomes --- */

const struct channel_error *channel_error_find(const struct channel_error *table, size_t count, int64_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].first <= code && code <= table[i].last)
            return &table[i];
    }
    return NULL;
}

void channel_verdict_set(struct channel_verdict *v, enum outcome outcome, int wait_s)
{
    v->outcome = outcome;
    if (v->retry_after_ms < 0 && wait_s > 0)
        v->retry_after_ms = (int64_t)wait_s * 1000;
}

/* A code nobody has described: of the refusals only a 401 is for certain not about this message. */
static enum outcome outcome_of_unknown_code(int status)
{
    enum outcome o = channel_outcome_of_status(status);

    return o == OUTCOME_DELIVERED || (o == OUTCOME_AUTH && status != 401) ? OUTCOME_PERMFAIL : o;
}

void channel_verdict_flags(struct channel_verdict *v, unsigned flags)
{
    v->block = flags & LINE_UNREACHABLE ? BLOCK_UNREACHABLE
               : flags & LINE_WINDOW    ? BLOCK_WINDOW
               : flags & LINE_OPTED_OUT ? BLOCK_OPTED_OUT
                                        : BLOCK_NONE;
    v->account_works = v->outcome == OUTCOME_PERMFAIL || (flags & LINE_WORKS);
    v->needs_operator = flags & LINE_OPERATOR;
    v->tries = flags & LINE_TWICE ? 2 : flags & LINE_THRICE ? 3 : 0;
}

void channel_verdict_of_code(struct channel_verdict *v, const struct channel_error *line, int64_t code,
                             int status)
{
    snprintf(v->provider_code, sizeof v->provider_code, "%lld", (long long)code);
    channel_verdict_set(v, line ? line->outcome : outcome_of_unknown_code(status), line ? line->wait_s : 0);
    channel_verdict_flags(v, line ? line->flags : 0);
    if (!line)
        return;
    if (!v->detail[0])
        channel_verdict_detail(v, line->meaning);
}

void channel_verdict_of_bare_status(struct channel_verdict *v, int status)
{
    enum outcome o = status == 404 ? OUTCOME_AUTH : channel_outcome_of_status(status);

    channel_verdict_set(v, o == OUTCOME_DELIVERED ? OUTCOME_UNCERTAIN : o, 0);
    if (!v->detail[0])
        channel_verdict_detail(v, "no readable answer");
}

void channel_verdict_id(struct channel_verdict *v, const char *id)
{
    if (id && strlen(id) < sizeof v->provider_id && is_utf8(id, strlen(id)))
        str_copy(v->provider_id, sizeof v->provider_id, id);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* How one byte of a detail is shown. Of a row of digits as long as a telephone number's only the last 3 are
 * shown: details stand in logs, and providers like to repeat the number. */
static char detail_char(const char *text, const char *at)
{
    enum { NUMBER_DIGITS = 8, SHOWN = 3 };
    int before = 0, from_here = 0;

    while (from_here < NUMBER_DIGITS && is_digit(at[from_here]))
        from_here++;
    while (before < NUMBER_DIGITS && at - before > text && is_digit(at[-before - 1]))
        before++;
    if (from_here > SHOWN && before + from_here >= NUMBER_DIGITS)
        return '*';
    return (unsigned char)*at < 0x20 || *at == 0x7f ? ' ' : *at;
}

void channel_verdict_detail(struct channel_verdict *v, const char *text)
{
    enum { LONGEST = 4 }; /* character */
    const char *at = text ? text : "";
    size_t n = 0;

    while (*at) {
        size_t known = utf8_length(at, strnlen(at, LONGEST)), len = known ? known : 1;
        if (len >= sizeof v->detail - n)
            break;
        memcpy(v->detail + n, at, len);
        if (len == 1)
            v->detail[n] = known ? detail_char(text, at) : '?';
        at += len;
        n += len;
    }
    v->detail[n] = '\0';
}

static bool parse_code(const char *text, int64_t *value)
{
    if (!text || !*text || strlen(text) > 15 || text[strspn(text, "0123456789")])
        return false;
    *value = strtoll(text, NULL, 10);
    return true;
}

bool channel_json_int(const struct json_node *n, int64_t *value)
{
    return json_int(n, value) || parse_code(json_str(n), value);
}

bool channel_verdict_of_receipt(struct channel_verdict *v, const struct channel_error *table, size_t count,
                                const char *code)
{
    int64_t number;
    const struct channel_error *line =
        parse_code(code, &number) ? channel_error_find(table, count, number) : NULL;

    if (line)
        channel_verdict_of_code(v, line, number, 0);
    return line != NULL;
}

enum outcome channel_outcome_of_status(int status)
{
    if (status >= 200 && status < 300)
        return OUTCOME_DELIVERED;
    if (status >= 300 && status < 400)
        return OUTCOME_AUTH;
    switch (status) {
    case 401:
    case 402:
    case 403:
        return OUTCOME_AUTH;
    case 408:
    case 425:
        return OUTCOME_TEMPFAIL;
    case 429:
        return OUTCOME_THROTTLED;
    default:
        return status >= 500 ? OUTCOME_TEMPFAIL : OUTCOME_PERMFAIL;
    }
}

static enum outcome outcome_of_fate(enum http_fate fate)
{
    switch (fate) {
    case HTTP_ANSWERED:
        return OUTCOME_DELIVERED;
    case HTTP_NOT_SENT:
        return OUTCOME_TEMPFAIL;
    case HTTP_UNCERTAIN:
        return OUTCOME_UNCERTAIN;
    case HTTP_TLS_REFUSED:
        return OUTCOME_AUTH;
    case HTTP_BAD_REQUEST:
        return OUTCOME_PERMFAIL;
    }
    return OUTCOME_UNCERTAIN;
}

void channel_judge(const struct channel_provider *p, const struct http_result *r, struct channel_verdict *v)
{
    *v = (struct channel_verdict){.retry_after_ms = r->retry_after_ms};
    if (r->fate == HTTP_ANSWERED) {
        snprintf(v->provider_code, sizeof v->provider_code, "%d", r->status);
        p->judge(r, v);
        return;
    }
    v->outcome = outcome_of_fate(r->fate);
    v->retry_after_ms = -1;
    str_copy(v->provider_code, sizeof v->provider_code, http_fate_name(r->fate));
    channel_verdict_detail(v, r->text);
}

/* It came from outside: printable ASCII only, or a cut could leave half a character. */
static void take_receipt_code(struct channel_verdict *v, const char *code)
{
    size_t n = 0;

    for (; code[n] && n + 1 < sizeof v->provider_code; n++)
        v->provider_code[n] = code[n] > ' ' && code[n] <= '~' ? code[n] : '?';
    v->provider_code[n] = '\0';
}

void channel_judge_receipt(const struct channel_provider *p, const char *code, const char *detail,
                           struct channel_verdict *v)
{
    *v = (struct channel_verdict){.outcome = OUTCOME_PERMFAIL, .account_works = true, .retry_after_ms = -1};
    take_receipt_code(v, code && code[0] ? code : "failed");
    channel_verdict_detail(v, detail);
    if (p->judge_receipt)
        p->judge_receipt(code ? code : "", detail ? detail : "", v);
}
