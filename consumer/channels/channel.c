/* The registry of providers, and what all of them share. */
#include "consumer/channels/channel.h"

#include <stdio.h>
#include <string.h>

static const struct channel_provider *const PROVIDERS[] = {&CHANNEL_SMS_GATEWAY, &CHANNEL_WASENDER};
enum { PROVIDER_COUNT = sizeof PROVIDERS / sizeof PROVIDERS[0] };

const struct channel_provider *channel_find(const char *name)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        if (strcmp(PROVIDERS[i]->name, name) == 0)
            return PROVIDERS[i];
    }
    return NULL;
}

void channel_list(struct buf *out)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++)
        buf_printf(out, "%s%s", i ? ", " : "", PROVIDERS[i]->name);
}

static bool carries(const struct channel_provider *p, enum channel c)
{
    for (const enum channel *has = p->channels; *has != CHANNEL_NONE; has++) {
        if (*has == c)
            return true;
    }
    return false;
}

static int check_account(const struct config_account *a, struct err *e)
{
    const struct channel_provider *p = channel_find(a->provider);
    struct buf known;
    int rc = 0;

    if (!p) {
        buf_init(&known, 1024);
        channel_list(&known);
        rc = err_set(e, ERR_CONFIG, 0,
                     "channels.accounts: account '%s': unknown provider '%s' (this program has: %s)", a->name,
                     a->provider, buf_str(&known));
        buf_fini(&known);
        return rc;
    }
    if (!carries(p, a->channel))
        return err_set(e, ERR_CONFIG, 0,
                       "channels.accounts: account '%s': provider %s does not carry channel '%s'", a->name,
                       p->name, channel_name(a->channel));
    if (p->needs_token && !(a->token && a->token[0]))
        return err_set(e, ERR_CONFIG, 0,
                       "channels.accounts: account '%s': provider %s needs a token (token, token_file, "
                       "AGWB_ACCOUNT_<NAME>_TOKEN or a credential)",
                       a->name, p->name);
    return 0;
}

int channel_check_accounts(const struct config *c, struct err *e)
{
    for (size_t i = 0; i < c->channels.account_count; i++) {
        if (check_account(&c->channels.accounts[i], e) != 0)
            return -1;
    }
    return 0;
}

void channel_request_init(struct channel_request *r)
{
    *r = (struct channel_request){.method = "POST"};
    buf_init(&r->url, CHANNEL_URL_MAX);
    buf_init(&r->body, CHANNEL_BODY_MAX);
    for (size_t i = 0; i < CHANNEL_MAX_HEADERS; i++)
        buf_init(&r->headers[i], CHANNEL_HEADER_MAX);
}

void channel_request_fini(struct channel_request *r)
{
    buf_fini(&r->url);
    buf_fini(&r->body);
    for (size_t i = 0; i < CHANNEL_MAX_HEADERS; i++)
        buf_fini(&r->headers[i]);
}

void channel_request_header(struct channel_request *r, const char *name, const char *value)
{
    buf_printf(&r->headers[r->header_count++], "%s: %s", name, value);
}

void channel_request_url(struct channel_request *r, const struct config_account *a, const char *fallback,
                         const char *path)
{
    const char *base = a->base_url && a->base_url[0] ? a->base_url : fallback;
    size_t len = strlen(base);

    while (len > 0 && base[len - 1] == '/')
        len--;
    buf_add(&r->url, base, len);
    buf_add_str(&r->url, path);
}

void channel_verdict_detail(struct channel_verdict *v, const char *text)
{
    size_t n = 0;

    for (; text && *text && n + 1 < sizeof v->detail; text++)
        v->detail[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text;
    /* do not end inside a UTF-8 character */
    while (n > 0 && text && *text && ((unsigned char)*text & 0xc0) == 0x80) {
        text--;
        n--;
    }
    v->detail[n] = '\0';
}

enum outcome channel_outcome_of_status(int status)
{
    if (status >= 200 && status < 300)
        return OUTCOME_DELIVERED;
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
    snprintf(v->provider_code, sizeof v->provider_code, "%s", http_fate_name(r->fate));
    channel_verdict_detail(v, r->text);
}
