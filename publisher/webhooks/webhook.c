/* The registry of providers, whose account a row is, and whether the sender is believed. */
#include "publisher/webhooks/webhook.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

static const struct webhook_provider *const PROVIDERS[] = {
    &WEBHOOK_WHATSAPP_CLOUD, &WEBHOOK_WASENDER,  &WEBHOOK_EVOLUTION, &WEBHOOK_WAHA,
    &WEBHOOK_TWILIO,         &WEBHOOK_INSTAGRAM, &WEBHOOK_GENERIC,
};
enum { PROVIDER_COUNT = sizeof PROVIDERS / sizeof PROVIDERS[0] };

enum { NAME_SHOWN = 48 }; /* characters of an account's name that is none */

#define QR        "whatsapp_qr"
#define QR_PRESET "evolution" /* when an account names none */

/* --- rows and events --- */

const char *webhook_header(const struct webhook_row *row, const char *name)
{
    for (const struct json_node *n = json_first(row->headers); n != NULL; n = json_next(n)) {
        if (strcasecmp(json_key(n), name) == 0)
            return json_str(json_kind_of(n) == JSON_ARRAY ? json_first(n) : n);
    }
    return NULL;
}

const char *receipt_status_name(enum receipt_status s)
{
    switch (s) {
    case RECEIPT_SENT:
        return "SENT";
    case RECEIPT_DELIVERED:
        return "DELIVERED";
    case RECEIPT_READ:
        return "READ";
    case RECEIPT_FAILED:
        return "FAILED";
    }
    return "";
}

/* Room for one more: an array is full whenever its length is a power of two from FIRST on. */
static void *grow(struct arena *a, void *array, size_t count, size_t size)
{
    enum { FIRST = 8 };
    void *larger;

    if (count != 0 && (count < FIRST || (count & (count - 1)) != 0))
        return array;
    larger = arena_alloc(a, (count == 0 ? FIRST : 2 * count) * size);
    if (count > 0)
        memcpy(larger, array, count * size);
    return larger;
}

static bool has_room(struct webhook_events *ev)
{
    ev->is_full |= ev->message_count + ev->receipt_count >= WEBHOOK_EVENTS_MAX;
    return !ev->is_full;
}

struct webhook_message *webhook_add_message(struct webhook_events *ev)
{
    if (!has_room(ev))
        return NULL;
    ev->messages = grow(ev->arena, ev->messages, ev->message_count, sizeof *ev->messages);
    return &ev->messages[ev->message_count++];
}

struct webhook_receipt *webhook_add_receipt(struct webhook_events *ev)
{
    if (!has_room(ev))
        return NULL;
    ev->receipts = grow(ev->arena, ev->receipts, ev->receipt_count, sizeof *ev->receipts);
    return &ev->receipts[ev->receipt_count++];
}

static void hide_numbers(char *text)
{
    enum { NUMBER_MIN = 7, SHOWN = 3 };

    while (*text != '\0') {
        size_t digits = strspn(text, "0123456789");
        if (digits >= NUMBER_MIN)
            memset(text, '*', digits - SHOWN);
        text += digits > 0 ? digits : 1;
    }
}

void webhook_ignore(struct webhook_events *ev, const char *fmt, ...)
{
    va_list args;

    if (ev->ignored[0] != '\0')
        return;
    va_start(args, fmt);
    (void)vsnprintf(ev->ignored, sizeof ev->ignored, fmt, args);
    va_end(args);
    for (char *p = ev->ignored; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~')
            *p = '?';
    }
    hide_numbers(ev->ignored);
}

/* --- which provider, which account --- */

static bool is_preset_of(const struct webhook_provider *p, const struct config_account *a)
{
    return p->preset == NULL || strcmp(p->preset, config_account_option(a, "preset", QR_PRESET)) == 0;
}

/* The provider whose raw webhooks an account gets; NULL when there is none. */
static const struct webhook_provider *find_own(const struct config_account *a)
{
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        const struct webhook_provider *p = PROVIDERS[i];
        if (p->account_provider != NULL && strcmp(p->account_provider, a->provider) == 0 &&
            is_preset_of(p, a))
            return p;
    }
    return NULL;
}

/* An account of any provider can be named with the plain payload; unnamed it is for those without another. */
static bool may_be_named(const struct webhook_provider *p, const struct config_account *a)
{
    return p->account_provider == NULL || find_own(a) == p;
}

static bool is_candidate(const struct webhook_provider *p, const struct config_account *a)
{
    return find_own(a) == (p->account_provider == NULL ? NULL : p);
}

static bool is_said(const char *account)
{
    return account != NULL && account[0] != '\0';
}

static const struct webhook_provider *find_qr(const struct config *c, const char *account)
{
    const struct webhook_provider *found = NULL;

    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        const struct webhook_provider *p = find_own(a);
        if (strcmp(a->provider, QR) != 0 || (is_said(account) && strcmp(a->name, account) != 0))
            continue;
        if (p == NULL || (found != NULL && found != p))
            return NULL;
        found = p;
    }
    return found;
}

/* "WhatsApp-Cloud" is "whatsapp_cloud". */
static bool is_named(const char *name, const char *said)
{
    while (*name != '\0' && (*said == '-' ? '_' : tolower((unsigned char)*said)) == *name)
        name++, said++;
    return *name == *said;
}

const struct webhook_provider *webhook_find(const struct config *c, const char *name, const char *account,
                                            struct err *e)
{
    if (is_named(QR, name)) {
        const struct webhook_provider *qr = find_qr(c, account);
        if (qr == NULL)
            err_set(e, ERR_DATA, 0,
                    "whether " QR " is evolution or waha is not clear: name the account, or that");
        return qr;
    }
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        if (is_named(PROVIDERS[i]->name, name))
            return PROVIDERS[i];
    }
    err_set(e, ERR_DATA, 0,
            "unknown provider '%.*s': expected whatsapp_cloud, wasender, evolution, waha, " QR
            ", twilio, instagram or generic",
            (int)utf8_prefix(name, NAME_SHOWN), name);
    return NULL;
}

static const struct config_account *find_named(const struct config *c, const struct webhook_provider *p,
                                               const char *name, struct err *e)
{
    const struct config_account *a = config_account_find(c, name);

    if (a == NULL)
        err_set(e, ERR_DATA, 0, "there is no account '%.*s'", (int)utf8_prefix(name, NAME_SHOWN), name);
    else if (!may_be_named(p, a))
        err_set(e, ERR_DATA, 0, "account '%s' is not for webhooks of %s", a->name, p->name);
    else
        return a;
    return NULL;
}

const struct config_account *webhook_account(const struct config *c, const struct webhook_provider *p,
                                             const struct webhook_row *row, struct arena *arena,
                                             struct err *e)
{
    const struct config_account *only = NULL, *preferred = NULL;
    const char *hint;
    size_t count = 0;

    *e = (struct err){0};
    if (is_said(row->account))
        return find_named(c, p, row->account, e);
    hint = p->account_hint == NULL ? NULL : p->account_hint(row, arena);
    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        enum webhook_match match = WEBHOOK_MATCH_UNKNOWN;
        if (!is_candidate(p, a))
            continue;
        if (hint != NULL)
            match = p->is_for(a, hint);
        if (match == WEBHOOK_MATCH_YES)
            return a;
        if (match == WEBHOOK_MATCH_NO)
            continue;
        only = count++ == 0 ? a : NULL;
        preferred = a->is_default && preferred == NULL ? a : preferred;
    }
    return preferred != NULL ? preferred : only;
}

/* --- who is believed --- */

struct policy {
    enum verify_policy verify;
    const char *secret, *url; /* "" = none */
};

static struct policy settings_of(const struct config *c, const struct webhook_provider *p)
{
    const struct {
        const struct webhook_provider *provider;
        const struct config_webhook *settings;
    } all[] = {
        {&WEBHOOK_WHATSAPP_CLOUD, &c->webhooks.whatsapp_cloud}, {&WEBHOOK_WASENDER, &c->webhooks.wasender},
        {&WEBHOOK_EVOLUTION, &c->webhooks.evolution},           {&WEBHOOK_WAHA, &c->webhooks.waha},
        {&WEBHOOK_INSTAGRAM, &c->webhooks.instagram},           {&WEBHOOK_GENERIC, &c->webhooks.generic},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].provider == p)
            return (struct policy){all[i].settings->verify, all[i].settings->secret, ""};
    }
    return (struct policy){c->webhooks.twilio.verify, c->webhooks.twilio.secret, c->webhooks.twilio.url};
}

/* The account's own; of Twilio also its AuthToken, which is the password beside an AccountSid and not the one
 * beside an API key. */
static const char *secret_of(const struct webhook_provider *p, const struct config_account *a,
                             const char *shared)
{
    if (a != NULL && a->webhook_secret != NULL && a->webhook_secret[0] != '\0')
        return a->webhook_secret;
    if (shared != NULL && shared[0] != '\0')
        return shared;
    if (p == &WEBHOOK_TWILIO && a != NULL && a->password != NULL && a->user != NULL &&
        strncmp(a->user, "AC", 2) == 0)
        return a->password;
    return "";
}

/* What Twilio signs begins with the URL it calls. An account always has its password for a secret; that alone
 * asks for no checks as long as nobody has said what the URL is. */
static bool has_password_only(const struct webhook_provider *p, const struct config_account *a,
                              const struct policy *s)
{
    return p == &WEBHOOK_TWILIO && s->secret[0] == '\0' && s->url[0] == '\0' && a != NULL &&
           a->webhook_secret == NULL && !config_account_option(a, "webhook_url", NULL) &&
           !config_account_option(a, "status_callback", NULL);
}

static bool has_any_secret(const struct config *c, const struct webhook_provider *p, const struct policy *s)
{
    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        if (is_candidate(p, a) && !has_password_only(p, a, s) && secret_of(p, a, "")[0] != '\0')
            return true;
    }
    return false;
}

static int refuse_unchecked(const struct config *c, const struct webhook_provider *p,
                            const struct config_account *a, const struct policy *s, struct err *e)
{
    if (s->verify == VERIFY_AUTO && (a != NULL || !has_any_secret(c, p, s)))
        return 0;
    return err_set(e, ERR_DATA, 0, "there is no secret to check it with: webhooks.%s.secret, or an account's",
                   p->name);
}

/* With each URL that it may have been posted to: Twilio's receipts have one of their own. */
static int verify_urls(const struct webhook_provider *p, const struct config_account *a,
                       const struct webhook_row *row, const struct policy *s, struct err *e)
{
    const char *urls[] = {s->url, NULL};
    int rc = -1;

    if (a != NULL) {
        urls[0] = config_account_option(a, "webhook_url", s->url);
        urls[1] = config_account_option(a, "status_callback", NULL);
    }
    for (size_t i = 0; i < sizeof urls / sizeof urls[0] && rc < 0; i++) {
        if (i == 0 || urls[i] != NULL)
            rc = p->verify(row, s->secret, urls[i], e);
    }
    return rc;
}

static const struct config_account *find_hinted(const struct config *c, const struct webhook_provider *p,
                                                const char *hint)
{
    for (size_t i = 0; i < c->channels.account_count; i++) {
        const struct config_account *a = &c->channels.accounts[i];
        if (is_candidate(p, a) && p->is_for(a, hint) == WEBHOOK_MATCH_YES)
            return a;
    }
    return NULL;
}

bool webhook_is_proven_part(const struct config *c, const struct webhook_provider *p,
                            const struct config_account *own, const char *hint,
                            const struct config_account **other)
{
    const struct policy s = settings_of(c, p);
    const struct config_account *found;

    *other = NULL;
    if (hint == NULL || (own != NULL && p->is_for(own, hint) != WEBHOOK_MATCH_NO))
        return true;
    found = find_hinted(c, p, hint);
    if (found == NULL)
        return own == NULL;
    *other = found;
    return s.verify == VERIFY_OFF || strcmp(secret_of(p, found, s.secret), secret_of(p, own, s.secret)) == 0;
}

int webhook_check_sender(const struct config *c, const struct webhook_provider *p,
                         const struct config_account *account, const struct webhook_row *row, struct err *e)
{
    struct policy s = settings_of(c, p);
    int rc;

    if (s.verify == VERIFY_OFF || (s.verify == VERIFY_AUTO && has_password_only(p, account, &s)))
        return 0;
    s.secret = secret_of(p, account, s.secret);
    if (s.secret[0] == '\0')
        return refuse_unchecked(c, p, account, &s, e);
    rc = verify_urls(p, account, row, &s, e);
    if (rc <= 0)
        return rc;
    return s.verify == VERIFY_IF_PRESENT ? 0 : err_set(e, ERR_DATA, 0, "nothing in it proves who sent it");
}
