/* The accounts of `channels`: their own table of options, what one account must have, and what all of them
 * must be to each other. */
#include "domain/config_private.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/uuid.h"

/* In the order of enum channel, from its first real value on; a test compares them with channel_name(). */
static const char *const channels[] = {"whatsapp", "sms", "email", "website", "instagram", NULL};

#define AT(key, member)           .name = (key), CONFIG_AT(struct config_account, member)
#define STRING(member, low, high) AT(#member, member), .type = CONFIG_STRING, .min = (low), .max = (high)
#define STRINGS(member, counter, high)                                                                       \
    AT(#member, member), .type = CONFIG_STRINGS, .count_offset = offsetof(struct config_account, counter),   \
                         .max = (high)

const struct config_option config_account_options[] = {
    {STRING(name, 1, 48),
     .help = "Letters, digits, '-' and '_'; names the account in logs, metrics and the ledger."},
    {STRING(provider, 1, 48), .help = "Who sends."},
    {AT("channel", channel), .type = CONFIG_WORD, .words = channels, .min = CHANNEL_WHATSAPP,
     .help = "What it sends."},
    {STRING(base_url, 0, 2048), .fallback = "",
     .help = "Where the provider's API is; \"\" = the provider's own default."},
    {STRING(token, 0, CONFIG_MAX_SECRET), .secret = true,
     .help = "API token; or token_file, the path of a file with it."},
    {STRING(user, 0, 255), .help = "User or account id, for providers that want user and password."},
    {STRING(password, 0, CONFIG_MAX_SECRET), .secret = true, .help = "Its password."},
    {STRING(from, 0, 255), .help = "Sender: number, sender id or phone number id."},
    {STRING(webhook_secret, 0, CONFIG_MAX_SECRET), .secret = true,
     .help = "Checks this account's webhooks, before webhooks.<provider>.secret; or webhook_secret_file."},
    {STRINGS(workspaces, workspace_count, CONFIG_MAX_WORKSPACES),
     .help = "Only for these workspaces; [] = for any."},
    {AT("default", is_default), .type = CONFIG_BOOL, .fallback = "false",
     .help = "First choice of its channel."},
    {AT("timeout_ms", timeout_ms), .type = CONFIG_INT, .fallback = "10000", .min = 100, .max = 300000,
     .help = "For one HTTP request."},
    {STRINGS(next, next_count, CONFIG_MAX_NEXT),
     .help = "What to try when this account cannot: accounts, template, park."},
    {.name = NULL},
};

const char *config_account_option(const struct config_account *a, const char *key, const char *fallback)
{
    for (size_t i = 0; i < a->option_count; i++) {
        if (strcmp(a->options[i].key, key) == 0)
            return a->options[i].value;
    }
    return fallback;
}

const struct config_account *config_account_find(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->channels.account_count; i++) {
        if (strcmp(c->channels.accounts[i].name, name) == 0)
            return &c->channels.accounts[i];
    }
    return NULL;
}

struct config_account *config_account_add(struct config_loader *l, const char *where)
{
    struct config *c = &l->store->config;
    if (c->channels.account_count == CONFIG_MAX_ACCOUNTS) {
        (void)err_set(l->err, ERR_CONFIG, 0, "%s: channels.accounts: expected at most %d accounts", where,
                      CONFIG_MAX_ACCOUNTS);
        return NULL;
    }
    l->account_where[c->channels.account_count] = where;
    struct config_account *a = &c->channels.accounts[c->channels.account_count++];
    for (const struct config_option *o = config_account_options; o->name; o++) {
        if (config_put_fallback(l, o, a) < 0)
            return NULL;
    }
    return a;
}

int config_account_put_option(struct config_loader *l, struct config_account *a, const char *key,
                              const char *value)
{
    size_t i = 0;
    while (i < a->option_count && strcmp(a->options[i].key, key) != 0)
        i++;
    if (i == CONFIG_MAX_OPTIONS)
        return err_set(l->err, ERR_CONFIG, 0, "expected at most %d options", CONFIG_MAX_OPTIONS);
    a->options[i].key = arena_strdup(l->store->arena, key);
    a->options[i].value = arena_strdup(l->store->arena, value);
    a->option_count += i == a->option_count;
    return 0;
}

void config_account_prefix(const struct config_account *a, char out[CONFIG_NAME_SIZE])
{
    config_environment_name("AGWB_ACCOUNT", a->name, out);
}

/* --- one account --- */
static bool is_account_name(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] == '\0' &&
           strcmp(name, "template") != 0 && strcmp(name, "park") != 0;
}

int config_account_check(struct config_loader *l, size_t index)
{
    const struct config_account *a = &l->store->config.channels.accounts[index];
    const char *where = l->account_where[index];
    const char *missing = !a->name                     ? "name"
                          : !a->provider               ? "provider"
                          : a->channel == CHANNEL_NONE ? "channel"
                                                       : NULL;
    if (missing)
        return err_set(l->err, ERR_CONFIG, 0, "%s: channels.accounts[%zu].%s: expected a value, found none",
                       where, index, missing);
    if (!is_account_name(a->name))
        return err_set(l->err, ERR_CONFIG, 0,
                       "%s: channels.accounts[%zu].name: expected letters, digits, '-' and '_', and neither "
                       "template nor "
                       "park; found \"%s\"",
                       where, index, a->name);
    return 0;
}

/* An empty text stands for none. */
static void drop_empty(const char **text)
{
    if (*text && !**text)
        *text = NULL;
}

static bool has_scheme(const char *url, const char *scheme)
{
    size_t len = strlen(scheme);
    return strncasecmp(url, scheme, len) == 0 && url[len] && url[len] != '/';
}

/* Where the account's API is: no userinfo, so that no log line or printed configuration can show a password.
 */
static int check_base_url(struct config_loader *l, size_t index)
{
    const struct config_account *a = &l->store->config.channels.accounts[index];
    bool is_smtp = strcmp(a->provider, "smtp") == 0;
    bool fits = is_smtp ? has_scheme(a->base_url, "smtp://") || has_scheme(a->base_url, "smtps://")
                        : has_scheme(a->base_url, "http://") || has_scheme(a->base_url, "https://");
    if (!*a->base_url)
        return 0;
    if (!fits)
        return err_set(l->err, ERR_CONFIG, 0, "%s: account %s: base_url: expected %s, found \"%.100s\"",
                       l->account_where[index], a->name,
                       is_smtp ? "smtp:// or smtps://" : "http:// or https://", a->base_url);
    const char *host = strstr(a->base_url, "://") + 3;
    if (memchr(host, '@', strcspn(host, "/?#")))
        return err_set(l->err, ERR_CONFIG, 0,
                       "%s: account %s: base_url: expected user and password in their own options",
                       l->account_where[index], a->name);
    return 0;
}

const char *config_next_step(const char *next)
{
    static const char *const reasons[] = {"unreachable:", "window:", "opted-out:"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (strncmp(next, reasons[i], strlen(reasons[i])) == 0)
            return next + strlen(reasons[i]);
    }
    return strchr(next, ':') ? NULL : next;
}

static int check_lists(struct config_loader *l, size_t index)
{
    const struct config *c = &l->store->config;
    const struct config_account *a = &c->channels.accounts[index];
    for (size_t i = 0; i < a->workspace_count; i++) {
        if (!is_uuid(a->workspaces[i]))
            return err_set(l->err, ERR_CONFIG, 0,
                           "%s: account %s: workspaces: expected uuids, found \"%.60s\"",
                           l->account_where[index], a->name, a->workspaces[i]);
    }
    for (size_t i = 0; i < a->next_count; i++) {
        const char *step = config_next_step(a->next[i]);
        bool known = step && (strcmp(step, "template") == 0 || strcmp(step, "park") == 0);
        for (size_t j = 0; step && !known && j < c->channels.account_count; j++)
            known = j != index && strcmp(step, c->channels.accounts[j].name) == 0;
        if (!known)
            return err_set(
                l->err, ERR_CONFIG, 0,
                "%s: account %s: next: expected other accounts, template or park "
                "(or \"unreachable:\", \"window:\", \"opted-out:\" and one of them), found \"%.60s\"",
                l->account_where[index], a->name, a->next[i]);
    }
    return 0;
}

/* --- all of them --- */
/* No two may have one name, one spelling in the environment, or be the default of one channel. */
static int check_pair(struct config_loader *l, size_t first, size_t second)
{
    const struct config_account *a = &l->store->config.channels.accounts[first];
    const struct config_account *b = &l->store->config.channels.accounts[second];
    char prefix_a[CONFIG_NAME_SIZE], prefix_b[CONFIG_NAME_SIZE];
    config_account_prefix(a, prefix_a);
    config_account_prefix(b, prefix_b);
    if (strcmp(prefix_a, prefix_b) == 0)
        return err_set(l->err, ERR_CONFIG, 0,
                       "%s: account %s: expected another name than %s, the account of %s",
                       l->account_where[second], b->name, a->name, l->account_where[first]);
    if (a->is_default && b->is_default && a->channel == b->channel)
        return err_set(l->err, ERR_CONFIG, 0,
                       "%s: account %s: default: expected one default for %s, found also %s",
                       l->account_where[second], b->name, channel_name(b->channel), a->name);
    return 0;
}

int config_accounts_check(struct config_loader *l)
{
    struct config *c = &l->store->config;
    for (size_t i = 0; i < c->channels.account_count; i++) {
        struct config_account *a = &c->channels.accounts[i];
        drop_empty(&a->token);
        drop_empty(&a->user);
        drop_empty(&a->password);
        drop_empty(&a->from);
        drop_empty(&a->webhook_secret);
        for (size_t j = 0; j < i; j++) {
            if (check_pair(l, j, i) < 0)
                return -1;
        }
        if (check_base_url(l, i) < 0 || check_lists(l, i) < 0)
            return -1;
        if (c->consumer.lease_ms <= a->timeout_ms + 5000)
            return err_set(
                l->err, ERR_CONFIG, 0,
                "%s: account %s: timeout_ms: expected less than consumer.lease_ms - 5000 = %lld, found %lld",
                l->account_where[i], a->name, (long long)c->consumer.lease_ms - 5000,
                (long long)a->timeout_ms);
    }
    return 0;
}

static bool is_equal(const struct config_account *a, const struct config_account *b)
{
    bool equal = a->option_count == b->option_count;
    for (const struct config_option *o = config_account_options; equal && o->name; o++)
        equal = config_is_equal(o, a, b);
    for (size_t i = 0; equal && i < a->option_count; i++)
        equal = strcmp(a->options[i].key, b->options[i].key) == 0 &&
                strcmp(a->options[i].value, b->options[i].value) == 0;
    return equal;
}

bool config_accounts_are_equal(const struct config *a, const struct config *b)
{
    bool equal = a->channels.account_count == b->channels.account_count;
    for (size_t i = 0; equal && i < a->channels.account_count; i++)
        equal = is_equal(&a->channels.accounts[i], &b->channels.accounts[i]);
    return equal;
}

/* Free options may hold a provider's secret under a name we do not know. */
static bool is_secret_key(const char *key)
{
    static const char *const words[] = {"secret", "token", "password", "key"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasestr(key, words[i]))
            return true;
    }
    return false;
}

static void print_account(const struct config_account *a, struct buf *out)
{
    buf_add_str(out, "    {\n");
    for (const struct config_option *o = config_account_options; o->name; o++) {
        buf_printf(out, "      %s = ", o->name);
        config_print_value(o, a, out);
        buf_add_str(out, ";\n");
    }
    buf_add_str(out, "      options = {");
    for (size_t i = 0; i < a->option_count; i++) {
        buf_printf(out, " %s = ", a->options[i].key);
        config_print_string(is_secret_key(a->options[i].key) ? "***" : a->options[i].value, out);
        buf_add_char(out, ';');
    }
    buf_add_str(out, " };\n    }");
}

void config_accounts_print(const struct config *c, struct buf *out)
{
    buf_add_str(out, "channels:\n{\n  accounts = (\n");
    for (size_t i = 0; i < c->channels.account_count; i++) {
        print_account(&c->channels.accounts[i], out);
        buf_add_str(out, i + 1 < c->channels.account_count ? ",\n" : "\n");
    }
    buf_add_str(out, "  );\n};\n");
}
