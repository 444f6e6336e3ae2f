/* The one configuration of both daemons: a table of options (group, key, type, default, range, reloadable)
 * read from flags, environment, file and defaults, in this order of precedence. The only module that
 * includes libconfig.h. The result is one struct, passed as const. */
#ifndef AGWB_DOMAIN_CONFIG_H
#define AGWB_DOMAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/backoff.h"
#include "base/err.h"
#include "base/log.h"
#include "domain/message.h"
#include "domain/topology.h"

enum uncertain_policy { UNCERTAIN_PARK = 0, UNCERTAIN_RESEND };
enum incomplete_policy { INCOMPLETE_SEND = 0, INCOMPLETE_FALLBACK };
enum verify_policy { VERIFY_AUTO = 0, VERIFY_REQUIRED, VERIFY_IF_PRESENT, VERIFY_OFF };

enum {
    CONFIG_MAX_HOSTS = 8,
    CONFIG_MAX_ACCOUNTS = 32,
    CONFIG_MAX_WORKSPACES = 64,
    CONFIG_MAX_NEXT = 4,
    CONFIG_MAX_OPTIONS = 16,
    CONFIG_MAX_SECRET_FILES = 64
};

struct config_retry {
    int tries; /* tries in all, the first included */
    struct backoff backoff;
};

struct config_webhook { /* who may write to webhook_inbox in a provider's name */
    enum verify_policy verify;
    const char *secret; /* "" = none */
};

struct config_account {
    const char *name;
    const char *provider; /* "wasender", "sms_gateway", ...: checked by the consumer against what it has */
    enum channel channel;
    const char *base_url; /* "" = the provider's own default; without userinfo */
    const char *token;    /* from token, token_file, environment or credentials directory; NULL when none */
    const char *user, *password;                   /* NULL when none (given as "" counts as none) */
    const char *from;                              /* the same */
    const char *webhook_secret;                    /* the same; checks this account's webhooks */
    const char *workspaces[CONFIG_MAX_WORKSPACES]; /* uuid texts; none = any workspace */
    size_t workspace_count;
    bool is_default;
    int64_t timeout_ms;
    const char *next[CONFIG_MAX_NEXT]; /* steps in order: [reason:](account name | template | park) */
    size_t next_count;
    struct {
        const char *key, *value;
    } options[CONFIG_MAX_OPTIONS]; /* provider specific scalars, as text */
    size_t option_count;
};
/* The account's option or fallback when it has none. */
const char *config_account_option(const struct config_account *a, const char *key, const char *fallback);

/* The step of an entry of `next` without its reason ("window:template" -> "template"); NULL for an unknown
 * reason. Reasons: unreachable (this person cannot be reached over this channel), window (only a template may
 * be sent now), opted-out. An entry without one is for unreachable and window. */
const char *config_next_step(const char *next);

struct config {
    struct {
        const char *hosts[CONFIG_MAX_HOSTS];
        size_t host_count;
        const char *user, *password, *vhost;
        bool tls;
        const char *ca_file, *cert_file, *key_file; /* "" = none */
        int64_t heartbeat_s, connect_timeout_ms;
    } rabbitmq;
    struct {
        const char *url; /* "" = libpq's own defaults and PG* variables */
        int64_t connect_timeout_ms, statement_timeout_ms;
        bool listen;
        int64_t poll_interval_ms;
    } database;
    struct topology_settings topology;
    struct {
        int64_t batch, window, lease_ms, confirm_timeout_ms, answer_timeout_ms, history, debounce_ms,
            debounce_max_ms;
        const char *metrics_listen;
    } publisher;
    struct {
        int64_t prefetch, max_in_flight, lease_ms;
        enum uncertain_policy uncertain;
        int64_t uncertain_wait_ms, late_reply_max_ms;
        bool drop_stale;
        const char *fallback_text;
        int64_t fallback_window_ms;
        const char *metrics_listen;
    } consumer;
    struct {
        int64_t jobs_in_flight, jobs_per_minute, sends_per_minute, account_per_minute, contact_per_minute,
            window_ms; /* 0 = off */
    } limits;
    struct {
        struct config_retry job, delivery, webhook;
    } retry;
    struct {
        struct config_account accounts[CONFIG_MAX_ACCOUNTS];
        size_t account_count;
    } channels;
    struct {
        bool retry_errors;
        enum incomplete_policy partial, error;
    } agent;
    struct {
        struct config_webhook whatsapp_cloud, wasender, evolution, waha, instagram, generic;
        struct {
            enum verify_policy verify;
            const char *secret, *url; /* "" = none */
        } twilio;
    } webhooks;
    struct {
        bool probe, allow_http, allow_private;
        int64_t max_bytes; /* 0 = any */
    } attachments;
    struct {
        const char *webhook_url, *secret; /* "" = none */
        int64_t min_interval_ms, backlog, backlog_age_ms, error_percent, error_attempts, error_window_ms;
    } alerts;
    struct {
        int64_t jobs_days, deliveries_days, inbox_done_days, inbox_failed_days, usage_days,
            conversations_days; /* 0 = for ever */
        int64_t interval_ms, batch;
    } retention;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
    struct {
        int64_t drain_timeout_ms;
        bool watchdog;
    } daemon;
    struct { /* where secrets were read from, the configuration file included; what is beyond is not listed */
        const char *path;
        bool is_exposed; /* others may read it */
    } secret_files[CONFIG_MAX_SECRET_FILES];
    size_t secret_file_count;
};

struct config_source {
    const char
        *file; /* path, or NULL for none; a path that does not exist is an error unless file_optional */
    bool file_optional;
    const char *const *sets; /* "group.key=value" of --set, in order */
    size_t set_count;
    char *const *environment; /* "NAME=value" list, NULL-terminated; usually environ */
};

/* Loads and checks everything. NULL and err (ERR_CONFIG) on the first fault: "FILE:LINE: group.key:
 * expected ..., found ...", "environment NAME: ...", "--set ...: ...". Unknown keys and AGWB_ variables,
 * wrong types, values out of range, duplicate account names, a secret given twice, an unreadable secret
 * file are faults. Group- or world-readable secret files are warned about (log). */
struct config *config_load(const struct config_source *s, struct err *e);
void config_free(struct config **c); /* wipes secrets */

/* The account of this name, or NULL; borrowed. */
const struct config_account *config_account_find(const struct config *c, const char *name);

/* One option of the table, for `check`, documentation tests and reload. */
struct config_option_info {
    const char *name;                                      /* "limits.contact_per_minute" */
    const char *type, *range, *default_text, *environment; /* environment: "AGWB_LIMITS_CONTACT_PER_MINUTE" */
    const char *help;                                      /* one line */
    bool reloadable, secret;
};
size_t config_option_count(void);
struct config_option_info config_option_at(size_t i);

/* Takes over from `fresh` what is marked reloadable; names of changed options that need a restart go,
 * comma-separated, to `restart` (may be ""). */
void config_reload(struct config *running, const struct config *fresh, char *restart, size_t restart_size);

/* Every option with its value in file syntax, secrets as "***", one a line: what `check` prints. */
void config_print(const struct config *c, struct buf *out);

#endif
