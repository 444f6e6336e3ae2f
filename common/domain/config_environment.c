/* Values from outside the file: environment variables (ours and spec 004's names), secret files that they
 * name, the service manager's credentials directory, and --set. */
#include "domain/config_private.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* --- variables --- */
/* The variable's value, or NULL; an empty one counts as not set, as compose files leave them. Whoever asks
 * for a variable makes it known. */
static const char *variable(struct config_loader *l, const char *name)
{
    size_t len = strlen(name);
    char *const *list = l->source->environment;
    for (size_t i = 0; list && list[i]; i++) {
        if (strncmp(list[i], name, len) != 0 || list[i][len] != '=')
            continue;
        l->environment_used[i] = true;
        return list[i][len + 1] ? list[i] + len + 1 : NULL;
    }
    return NULL;
}

/* NAME, or for a secret NAME_FILE; neither changes nothing. */
static int put_variable(struct config_loader *l, const struct config_slot *to, const char *name)
{
    struct config_slot slot = *to;
    char file_name[CONFIG_NAME_SIZE + 5];
    (void)snprintf(file_name, sizeof file_name, "%s_FILE", name);
    const char *text = variable(l, name);
    const char *path = slot.option->secret ? variable(l, file_name) : NULL;
    if (text && path)
        return err_set(l->err, ERR_CONFIG, 0, "environment %s: %s: expected %s or %s, found both", name,
                       slot.name, name, file_name);
    slot.where = config_text(l, "environment %s", path ? file_name : name);
    if (text)
        return config_put_text(l, &slot, text);
    return path ? config_put_secret_file(l, &slot, path) : 0;
}

/* Names of spec 004 and of the platform that stand for options of ours. */
static const struct alias {
    const char *variable, *option;
    int64_t plus; /* MAX_RETRIES counts further tries, ours all of them */
} aliases[] = {
    {"RABBITMQ_USER", "rabbitmq.user", 0},
    {"RABBITMQ_PASS", "rabbitmq.password", 0},
    {"RABBITMQ_VHOST", "rabbitmq.vhost", 0},
    {"DATABASE_URL", "database.url", 0},
    {"AGENT_QUEUE_NAME", "topology.agent_queue", 0},
    {"WEBHOOK_QUEUE_NAME", "topology.webhook_queue", 0},
    {"WEBHOOK_QUEUE_PREFETCH", "consumer.prefetch", 0},
    {"MESSAGE_TTL", "topology.agent_ttl_ms", 0},
    {"MAX_RETRIES", "retry.delivery.tries", 1},
    {"RETRY_DELAY", "retry.delivery.delay_ms", 0},
};

static int put_alias(struct config_loader *l, const struct alias *a)
{
    struct config_slot slot = {
        .option = config_find(config_options, a->option, strlen(a->option)),
        .base = &l->store->config,
        .where = config_text(l, "environment %s", a->variable),
        .name = a->option,
    };
    int64_t value;
    const char *text = a->plus ? variable(l, a->variable) : NULL;
    if (!text || !config_parse_int(text, &value) || value >= INT32_MAX)
        return put_variable(l, &slot, a->variable);
    return config_put_int(l, &slot, value + a->plus);
}

/* RABBITMQ_HOST and RABBITMQ_PORT make the one entry of rabbitmq.hosts. */
static int put_spec_host(struct config_loader *l)
{
    const char *host = variable(l, "RABBITMQ_HOST");
    const char *port = variable(l, "RABBITMQ_PORT");
    int64_t number;
    if (!host && !port)
        return 0;
    if (port && (!config_parse_int(port, &number) || number < 1 || number > 65535))
        return err_set(l->err, ERR_CONFIG, 0,
                       "environment RABBITMQ_PORT: expected an integer 1..65535, found \"%.60s\"", port);
    host = host ? host : "localhost";
    const char *colon = strchr(host, ':');
    bool is_bare_v6 = colon && strchr(colon + 1, ':') && *host != '[';
    const char *text = config_text(l, "%s%s%s%s%s", is_bare_v6 ? "[" : "", host, is_bare_v6 ? "]" : "",
                                   port ? ":" : "", port ? port : "");
    struct config_slot slot = {
        .option = config_find(config_options, "rabbitmq.hosts", strlen("rabbitmq.hosts")),
        .base = &l->store->config,
        .where = "environment RABBITMQ_HOST",
        .name = "rabbitmq.hosts",
    };
    return config_put_strings(l, &slot, &text, 1);
}

/* No daemon reads ag_queue, so the agent's prefetch has nowhere to go; a typing error in it is still one. */
static int check_unused(struct config_loader *l)
{
    int64_t value;
    const char *text = variable(l, "AGENT_QUEUE_PREFETCH");
    if (!text || config_parse_int(text, &value))
        return 0;
    return err_set(l->err, ERR_CONFIG, 0,
                   "environment AGENT_QUEUE_PREFETCH: expected an integer, found \"%.60s\"", text);
}

/* The key as the environment spells it: upper case, '_' for what is no letter or digit. */
static bool is_spelled(const char *key, const char *upper)
{
    size_t i = 0;
    while (key[i] &&
           upper[i] == (isalnum((unsigned char)key[i]) ? (char)toupper((unsigned char)key[i]) : '_'))
        i++;
    return !key[i] && !upper[i];
}

/* The key that AGWB_ACCOUNT_MAIN_OPTIONS_<UPPER> means: one that the file spells alike, else its lower case.
 */
static const char *free_option_key(struct config_loader *l, const struct config_account *a, const char *upper)
{
    for (size_t i = 0; i < a->option_count; i++) {
        if (is_spelled(a->options[i].key, upper))
            return a->options[i].key;
    }
    char *key = arena_strdup(l->store->arena, upper);
    for (char *p = key; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return key;
}

static int put_account_free_options(struct config_loader *l, struct config_account *a, const char *prefix)
{
    char start[CONFIG_NAME_SIZE + 10];
    size_t len = (size_t)snprintf(start, sizeof start, "%s_OPTIONS_", prefix);
    char *const *list = l->source->environment;
    for (size_t i = 0; list && list[i]; i++) {
        size_t name_len = strcspn(list[i], "=");
        if (strncmp(list[i], start, len) != 0 || name_len == len || !list[i][name_len])
            continue;
        l->environment_used[i] = true;
        const char *name = arena_dup(l->store->arena, list[i], name_len);
        const char *value = list[i] + name_len + 1;
        if (*value && config_account_put_option(l, a, free_option_key(l, a, name + len), value) < 0)
            return err_prefix(l->err, "environment %.80s", name);
    }
    return 0;
}

static int read_account(struct config_loader *l, struct config_account *a)
{
    char prefix[CONFIG_NAME_SIZE], name[CONFIG_NAME_SIZE];
    config_account_prefix(a, prefix);
    for (const struct config_option *o = config_account_options; o->name; o++) {
        if (strcmp(o->name, "name") == 0)
            continue;
        config_environment_name(prefix, o->name, name);
        struct config_slot slot = {
            .option = o, .base = a, .name = config_text(l, "account %s: %s", a->name, o->name)};
        if (put_variable(l, &slot, name) < 0)
            return -1;
    }
    return put_account_free_options(l, a, prefix);
}

/* What begins with AGWB_ and was asked for by nobody is a typing error. */
static int refuse_unknown(struct config_loader *l)
{
    char *const *list = l->source->environment;
    for (size_t i = 0; list && list[i]; i++) {
        if (strncmp(list[i], "AGWB_", 5) != 0 || strncmp(list[i], "AGWB_TEST_", 10) == 0 ||
            l->environment_used[i])
            continue;
        struct config_suggestion near;
        const char *name = arena_dup(l->store->arena, list[i], strcspn(list[i], "="));
        config_suggest_begin(&near, name);
        for (size_t j = 0; j < config_option_count(); j++)
            config_suggest_offer(&near, config_option_at(j).environment);
        return err_set(l->err, ERR_CONFIG, 0, "environment %.80s: unknown option%s%s%s", name,
                       *near.best ? ", did you mean " : "", near.best, *near.best ? "?" : "");
    }
    return 0;
}

int config_read_environment(struct config_loader *l)
{
    (void)variable(l, "AGWB_CONFIG"); /* the command line's */
    if (put_spec_host(l) < 0 || check_unused(l) < 0)
        return -1;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (put_alias(l, &aliases[i]) < 0)
            return -1;
    }
    for (const struct config_option *o = config_options; o->name; o++) {
        char name[CONFIG_NAME_SIZE];
        config_environment_name("AGWB", o->name, name);
        struct config_slot slot = {.option = o, .base = &l->store->config, .name = o->name};
        if (put_variable(l, &slot, name) < 0)
            return -1;
    }
    for (size_t i = 0; i < l->store->config.channels.account_count; i++) {
        if (read_account(l, &l->store->config.channels.accounts[i]) < 0)
            return -1;
    }
    return refuse_unknown(l);
}

/* --- credentials directory --- */
/* A file that is not there is no fault: the directory holds what the service manager was told to put there.
 */
static int put_credential(struct config_loader *l, const struct config_slot *to, const char *file_name)
{
    struct config_slot slot = *to;
    const char *directory = variable(l, "CREDENTIALS_DIRECTORY");
    const char *path = config_text(l, "%s/%s", directory ? directory : "", file_name);
    if (!directory || access(path, F_OK) != 0)
        return 0;
    slot.where = config_text(l, "credential %s", file_name);
    return config_put_secret_file(l, &slot, path);
}

/* "rabbitmq_password" of "rabbitmq.password". */
static void credential_name(const char *option, char out[CONFIG_NAME_SIZE])
{
    (void)snprintf(out, CONFIG_NAME_SIZE, "%s", option);
    for (char *dot = out; (dot = strchr(dot, '.'));)
        *dot = '_';
}

int config_read_credentials(struct config_loader *l)
{
    struct config *c = &l->store->config;
    for (const struct config_option *o = config_options; o->name; o++) {
        struct config_slot slot = {.option = o, .base = c, .name = o->name};
        char name[CONFIG_NAME_SIZE];
        credential_name(o->name, name);
        if (o->secret && put_credential(l, &slot, name) < 0)
            return -1;
    }
    for (size_t i = 0; i < c->channels.account_count; i++) {
        struct config_account *a = &c->channels.accounts[i];
        for (const struct config_option *o = config_account_options; o->name; o++) {
            struct config_slot slot = {
                .option = o, .base = a, .name = config_text(l, "account %s: %s", a->name, o->name)};
            if (o->secret && put_credential(l, &slot, config_text(l, "account_%s_%s", a->name, o->name)) < 0)
                return -1;
        }
    }
    return 0;
}

/* --- the command line --- */
static int put_set(struct config_loader *l, const char *set)
{
    size_t len = strcspn(set, "=");
    struct config_slot slot = {
        .option = config_find(config_options, set, len), .base = &l->store->config, .where = "--set"};
    if (!slot.option) {
        struct config_suggestion near;
        const char *name = arena_dup(l->store->arena, set, len);
        config_suggest_begin(&near, name);
        for (const struct config_option *o = config_options; o->name; o++)
            config_suggest_offer(&near, o->name);
        return err_set(l->err, ERR_CONFIG, 0, "--set: %.80s: unknown option%s%s%s", name,
                       *near.best ? ", did you mean " : "", near.best, *near.best ? "?" : "");
    }
    slot.name = slot.option->name;
    if (set[len] != '=')
        return err_set(l->err, ERR_CONFIG, 0, "--set: expected group.key=value, found \"%.80s\"", set);
    if (slot.option->secret)
        log_warn("a secret on the command line can be read by every user of this machine",
                 log_str("option", slot.name));
    return config_put_text(l, &slot, set + len + 1);
}

int config_read_sets(struct config_loader *l)
{
    for (size_t i = 0; i < l->source->set_count; i++) {
        if (put_set(l, l->source->sets[i]) < 0)
            return -1;
    }
    return 0;
}
