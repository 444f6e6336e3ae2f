/* The table of options: name, place, default, range, what may change while running. Everything else in the
 * config module is driven by it, and so are `check -v`, the annotated sample and its test. */
#include "domain/config_private.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const topology_modes[] = {"declare", "passive", "none", NULL};
static const char *const queue_types[] = {"quorum", "classic", NULL};
static const char *const uncertain_policies[] = {"park", "resend", NULL};
static const char *const incomplete_policies[] = {"send", "fallback", NULL};
static const char *const verify_policies[] = {"auto", "required", "if-present", "off", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"auto", "json", "text", NULL};

#define AT(member) .name = #member, CONFIG_AT(struct config, member)
#define STRING(member, value, low, high)                                                                     \
    AT(member), .type = CONFIG_STRING, .fallback = (value), .min = (low), .max = (high)
#define INT(member, value, low, high)                                                                        \
    AT(member), .type = CONFIG_INT, .fallback = (value), .min = (low), .max = (high)
#define BOOL(member, value)       AT(member), .type = CONFIG_BOOL, .fallback = (value)
#define WORD(member, value, list) AT(member), .type = CONFIG_WORD, .fallback = (value), .words = (list)
#define RELOAD                    .reloadable = true
#define SECRET                    .secret = true

/* The five options of one kind of retrying; all but `tries` live in its struct backoff. */
#define BACKOFF(kind, key, of_type, value, low, high)                                                        \
    .name = "retry." #kind "." #key, CONFIG_AT(struct config, retry.kind.backoff.key), .type = (of_type),    \
    .fallback = (value), .min = (low), .max = (high), RELOAD
/* clang-format off */
#define RETRY(kind, tries_text, delay_text, multiplier_text)                                                 \
    {INT(retry.kind.tries, tries_text, 1, 100), RELOAD,                                                      \
     .help = "Tries in all, the first included."},                                                           \
    {BACKOFF(kind, delay_ms, CONFIG_INT, delay_text, 0, HOURS(24)),                                          \
     .help = "Wait before the second try."},                                                                 \
    {BACKOFF(kind, multiplier, CONFIG_REAL, multiplier_text, 1, 100),                                        \
     .help = "Each further wait is the last one times this."},                                               \
    {BACKOFF(kind, max_delay_ms, CONFIG_INT, "3600000", 0, HOURS(24)),                                       \
     .help = "No wait is longer; 0 = no cap."},                                                              \
    {BACKOFF(kind, jitter, CONFIG_REAL, "0.2", 0, 1),                                                        \
     .help = "Each wait is spread by plus or minus this share."}
/* Who may write to webhook_inbox in a provider's name. */
#define WEBHOOK(provider, what)                                                                              \
    {WORD(webhooks.provider.verify, "auto", verify_policies),                                                \
     .help = "Check what " what "; auto: required if there is a secret, else off."},                        \
    {STRING(webhooks.provider.secret, "", 0, CONFIG_MAX_SECRET), SECRET,                                     \
     .help = "The secret to check it with; an account's webhook_secret comes first."}
/* clang-format on */

#define SECONDS(n) ((int64_t)(n)*1000)
#define HOURS(n)   (SECONDS(n) * 3600)

/* No maximum may exceed 2^31-1: libconfig reads plain integers as 32 bits. */
const struct config_option config_options[] = {
    {AT(rabbitmq.hosts), .type = CONFIG_STRINGS, .count_offset = offsetof(struct config, rabbitmq.host_count),
     .fallback = "localhost:5672", .min = 1, .max = CONFIG_MAX_HOSTS,
     .help = "Nodes of the broker, \"host:port\" or \"[v6]:port\", tried in turn; without a port 5672, or "
             "5671 with TLS."},
    {STRING(rabbitmq.user, "guest", 1, 255),
     .help = "The broker lets \"guest\" in from its own machine only."},
    {STRING(rabbitmq.password, "guest", 0, CONFIG_MAX_SECRET), SECRET, .help = "The user's password."},
    {STRING(rabbitmq.vhost, "/", 1, 255), .help = "The virtual host."},
    {BOOL(rabbitmq.tls, "false"),
     .help = "Connect with TLS 1.2 or later; peer and host name are always verified."},
    {STRING(rabbitmq.ca_file, "", 0, 1024), .help = "Authorities to trust (PEM); \"\" = the system's."},
    {STRING(rabbitmq.cert_file, "", 0, 1024), .help = "Client certificate (PEM); \"\" = none."},
    {STRING(rabbitmq.key_file, "", 0, 1024), .help = "Its private key (PEM); goes with cert_file."},
    {INT(rabbitmq.heartbeat_s, "30", 1, 600), .help = "A peer silent for two of these is given up."},
    {INT(rabbitmq.connect_timeout_ms, "5000", 100, SECONDS(120)),
     .help = "For connecting and logging in to one host."},

    {STRING(database.url, "", 0, CONFIG_MAX_SECRET), SECRET,
     .help = "postgresql://... or \"host=... dbname=...\"; \"\" = libpq's defaults and PG* variables."},
    {INT(database.connect_timeout_ms, "5000", 100, SECONDS(120)), .help = "For connecting."},
    {INT(database.statement_timeout_ms, "10000", 100, SECONDS(600)),
     .help = "A statement that takes longer is given up."},
    {BOOL(database.listen, "true"),
     .help = "Wake up by LISTEN/NOTIFY, prepare statements; false behind a transaction pooler."},
    {INT(database.poll_interval_ms, "1000", 10, HOURS(1)),
     .help = "Look for work this often, even when nothing woke us."},

    {WORD(topology.mode, "declare", topology_modes),
     .help = "Declare the queues, only check that they are there, or neither."},
    {WORD(topology.queue_type, "quorum", queue_types),
     .help = "Type of the two work queues; classic for agents that declare them themselves."},
    {STRING(topology.agent_queue, "ag_queue", 1, 255), .help = "Requests to the agent."},
    {STRING(topology.webhook_queue, "wb_queue", 1, 255), .help = "Replies of the agent."},
    {INT(topology.agent_ttl_ms, "300000", 1, HOURS(168)),
     .help = "A request not taken by then is dead-lettered."},
    {INT(topology.webhook_ttl_ms, "60000", 1, HOURS(168)),
     .help = "A reply not accepted by then is dead-lettered."},

    {INT(publisher.batch, "100", 1, 1000), RELOAD, .help = "Rows claimed at a time, at most."},
    {INT(publisher.window, "1000", 1, 65535), .help = "Messages published and not yet confirmed, at most."},
    {INT(publisher.lease_ms, "60000", 1000, HOURS(1)),
     .help = "A claimed row is free for others again after this."},
    {INT(publisher.confirm_timeout_ms, "30000", 100, SECONDS(600)),
     .help = "The connection is dropped when a confirm takes longer."},
    {INT(publisher.answer_timeout_ms, "600000", 100, HOURS(168)), RELOAD,
     .help = "A published job without any reply by then gets the fallback reply."},
    {INT(publisher.history, "10", 0, 100), RELOAD,
     .help = "Messages of the conversation that go with a request."},
    {INT(publisher.debounce_ms, "0", 0, SECONDS(600)), RELOAD,
     .help = "Wait this long for the contact's next message and answer both at once; 0 = off."},
    {INT(publisher.debounce_max_ms, "15000", 0, HOURS(1)), RELOAD,
     .help = "But never longer than this after the first."},
    {STRING(publisher.metrics_listen, "127.0.0.1:9464", 0, 255),
     .help = "/metrics, /healthz, /readyz of agwb-publisher; \"\" or \"off\" = none."},

    {INT(consumer.prefetch, "10", 1, 65535),
     .help = "Replies the broker hands over before the first is acked."},
    {INT(consumer.max_in_flight, "10", 1, 10000), RELOAD, .help = "HTTP requests at a time."},
    {INT(consumer.lease_ms, "60000", 1000, HOURS(1)),
     .help =
         "A claimed delivery is free for others again after this; above every account's timeout_ms + 5000."},
    {WORD(consumer.uncertain, "park", uncertain_policies), RELOAD,
     .help = "A delivery whose answer was lost: leave it to a person, or send again (may arrive twice)."},
    {INT(consumer.uncertain_wait_ms, "120000", 0, HOURS(168)), RELOAD,
     .help = "Wait this long for the provider's receipt before that."},
    {INT(consumer.late_reply_max_ms, "3600000", 0, HOURS(168)), RELOAD,
     .help = "A dead-lettered reply older than this is parked instead of delivered."},
    {BOOL(consumer.drop_stale, "false"), RELOAD,
     .help = "Cancel a reply that is out of date when its turn comes, instead of sending it."},
    {STRING(consumer.fallback_text, "I'm having trouble processing your request. Please try again.", 1, 4096),
     RELOAD, .multiline = true, .help = "What a contact gets when the agent has no answer."},
    {INT(consumer.fallback_window_ms, "300000", 0, HOURS(168)), RELOAD,
     .help = "At most one fallback a contact in this time."},
    {STRING(consumer.metrics_listen, "127.0.0.1:9465", 0, 255),
     .help = "/metrics, /healthz, /readyz of agwb-consumer; \"\" or \"off\" = none."},

    WEBHOOK(whatsapp_cloud, "X-Hub-Signature-256 says (the secret is the app's)"),
    WEBHOOK(wasender, "X-Webhook-Signature says (it is the secret itself)"),
    WEBHOOK(evolution, "the apikey in the header or the body says"),
    WEBHOOK(waha, "X-Webhook-Hmac says, else X-Api-Key"),
    WEBHOOK(twilio, "X-Twilio-Signature says (or the account's password)"),
    {STRING(webhooks.twilio.url, "", 0, 2048),
     .help = "The public URL that Twilio calls and signs; an account's option webhook_url comes first."},
    WEBHOOK(instagram, "X-Hub-Signature-256 says (the secret is the app's)"),
    WEBHOOK(generic, "X-Webhook-Signature says (sha256=, HMAC over the body)"),

    {BOOL(attachments.probe, "false"), RELOAD,
     .help = "Ask an attachment's server before it is sent: reachable, public, no redirect, not too large."},
    {BOOL(attachments.allow_http, "false"), RELOAD, .help = "Also http:// links, not only https://."},
    {BOOL(attachments.allow_private, "false"), RELOAD, .help = "Also links to private and local addresses."},
    {INT(attachments.max_bytes, "104857600", 0, INT32_MAX), RELOAD,
     .help = "Larger files are refused where the probe learns their size; 0 = any size."},

    {INT(limits.jobs_in_flight, "10", 0, 1000000), RELOAD,
     .help = "Published, unanswered jobs younger than topology.agent_ttl_ms; 0 = off."},
    {INT(limits.jobs_per_minute, "60", 0, 1000000), RELOAD, .help = "Jobs published in any window; 0 = off."},
    {INT(limits.sends_per_minute, "0", 0, 1000000), RELOAD,
     .help = "Attempts of all accounts in any window; 0 = off."},
    {INT(limits.account_per_minute, "0", 0, 1000000), RELOAD,
     .help = "Attempts of one account in any window; 0 = off."},
    {INT(limits.contact_per_minute, "5", 0, 1000000), RELOAD,
     .help = "Attempts to one contact in any window; 0 = off."},
    {INT(limits.window_ms, "60000", 1, HOURS(24)), RELOAD,
     .help = "The window's length: what \"minute\" means above."},

    RETRY(job, "3", "5000", "5"),
    RETRY(delivery, "4", "30000", "2"),
    RETRY(webhook, "4", "1000", "2"),

    {BOOL(agent.retry_errors, "false"),
     .help = "Publish a job again when the agent answered with an error, by retry.job."},
    {WORD(agent.partial, "send", incomplete_policies), RELOAD,
     .help = "A partial reply with a text: send the text, or the fallback in its place."},
    {WORD(agent.error, "send", incomplete_policies), RELOAD,
     .help = "An error reply with a text: send the text, or the fallback in its place."},

    {STRING(alerts.webhook_url, "", 0, 2048), SECRET,
     .help = "Where alerts are posted, http(s); \"\" = nowhere."},
    {STRING(alerts.secret, "", 0, CONFIG_MAX_SECRET), SECRET,
     .help = "Key that signs them; \"\" = unsigned."},
    {INT(alerts.min_interval_ms, "300000", 0, HOURS(24)), RELOAD,
     .help = "Least time between two alerts of one kind."},
    {INT(alerts.backlog, "1000", 0, INT32_MAX), RELOAD,
     .help = "Alert when more jobs or replies than this wait; 0 = off."},
    {INT(alerts.backlog_age_ms, "300000", 0, HOURS(168)), RELOAD,
     .help = "Alert when the oldest that waits is older than this; 0 = off."},
    {INT(alerts.error_percent, "50", 0, 100), RELOAD,
     .help = "Alert when more of the attempts than this fail; 0 = off."},
    {INT(alerts.error_attempts, "20", 1, 1000000), RELOAD,
     .help = "But only when there were this many in the window."},
    {INT(alerts.error_window_ms, "300000", 1000, HOURS(24)), RELOAD, .help = "The window of the two above."},

    {INT(retention.jobs_days, "7", 0, 3650), RELOAD,
     .help = "Finished jobs are kept this long; 0 = for ever."},
    {INT(retention.deliveries_days, "30", 0, 3650), RELOAD,
     .help = "Finished deliveries, their attempts, receipts and idle lanes; 0 = for ever."},
    {INT(retention.inbox_done_days, "1", 0, 3650), RELOAD,
     .help = "Webhook rows that are done or ignored; 0 = for ever."},
    {INT(retention.inbox_failed_days, "7", 0, 3650), RELOAD,
     .help = "Webhook rows that failed; 0 = for ever."},
    {INT(retention.usage_days, "30", 0, 3650), RELOAD, .help = "Rows of usage_logs; 0 = for ever."},
    {INT(retention.conversations_days, "0", 0, 3650), RELOAD,
     .help = "Conversations nobody has written in for so long, with their messages; 0 = for ever."},
    {INT(retention.interval_ms, "60000", 1000, HOURS(24)), RELOAD,
     .help = "How often the publisher looks for old rows."},
    {INT(retention.batch, "1000", 1, 100000), RELOAD,
     .help = "Rows of one table that a look deletes, at most."},

    {WORD(log.level, "info", log_levels), RELOAD, .help = "What is written."},
    {WORD(log.format, "auto", log_formats), RELOAD,
     .help = "auto: text on a terminal, JSON elsewhere. Under journald each line has its priority besides."},

    {INT(daemon.drain_timeout_ms, "30000", 0, HOURS(1)), RELOAD,
     .help = "How long a SIGTERM waits for what is in flight; below the supervisor's own limit."},
    {BOOL(daemon.watchdog, "true"), .help = "Report to systemd's watchdog while the loop turns."},

    {.name = NULL},
};

enum { OPTION_COUNT = sizeof config_options / sizeof *config_options - 1 };
_Static_assert(sizeof config_options / sizeof *config_options <= CONFIG_MAX_TABLE, "raise CONFIG_MAX_TABLE");

const struct config_option *config_find(const struct config_option *table, const char *name, size_t len)
{
    for (const struct config_option *o = table; o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

bool config_is_group(const char *name)
{
    size_t len = strlen(name);
    for (const struct config_option *o = config_options; o->name; o++) {
        if (strncmp(o->name, name, len) == 0 && o->name[len] == '.')
            return true;
    }
    return false;
}

/* "park, resend" */
static void join_words(const char *const *words, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; words[i] && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", words[i]);
}

/* The range alone: "1..1000", "park, resend", "1..255 bytes". */
static void describe_range(const struct config_option *o, char *out, size_t size)
{
    switch (o->type) {
    case CONFIG_INT:
    case CONFIG_REAL:
        (void)snprintf(out, size, "%" PRId64 "..%" PRId64, o->min, o->max);
        break;
    case CONFIG_STRING:
        (void)snprintf(out, size, "%" PRId64 "..%" PRId64 " bytes", o->min, o->max);
        break;
    case CONFIG_STRINGS:
        (void)snprintf(out, size, "%" PRId64 "..%" PRId64 " strings", o->min, o->max);
        break;
    case CONFIG_BOOL:
        (void)snprintf(out, size, "true, false");
        break;
    case CONFIG_WORD:
        join_words(o->words, out, size);
        break;
    }
}

void config_expected(const struct config_option *o, char out[CONFIG_EXPECTED_SIZE])
{
    static const char *const starts[] = {
        [CONFIG_STRING] = "a string of ", [CONFIG_INT] = "an integer ", [CONFIG_BOOL] = "one of ",
        [CONFIG_REAL] = "a number ",      [CONFIG_WORD] = "one of ",    [CONFIG_STRINGS] = "a list of ",
    };
    int used = snprintf(out, CONFIG_EXPECTED_SIZE, "%s", starts[o->type]);
    describe_range(o, out + used, CONFIG_EXPECTED_SIZE - (size_t)used);
}

void config_environment_name(const char *prefix, const char *name, char out[CONFIG_NAME_SIZE])
{
    (void)snprintf(out, CONFIG_NAME_SIZE, "%s_%s", prefix, name);
    for (char *p = out; *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
}

size_t config_option_count(void)
{
    return OPTION_COUNT;
}

struct config_option_info config_option_at(size_t i)
{
    static const char *const types[] = {
        [CONFIG_STRING] = "string", [CONFIG_INT] = "integer", [CONFIG_BOOL] = "boolean",
        [CONFIG_REAL] = "real",     [CONFIG_WORD] = "word",   [CONFIG_STRINGS] = "list",
    };
    static char ranges[OPTION_COUNT][CONFIG_EXPECTED_SIZE];
    static char names[OPTION_COUNT][CONFIG_NAME_SIZE];
    const struct config_option *o = &config_options[i];
    describe_range(o, ranges[i], sizeof ranges[i]);
    config_environment_name("AGWB", o->name, names[i]);
    return (struct config_option_info){
        .name = o->name,
        .type = types[o->type],
        .range = ranges[i],
        .default_text = o->fallback,
        .environment = names[i],
        .help = o->help,
        .reloadable = o->reloadable,
        .secret = o->secret,
    };
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance, by one row of his table. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[CONFIG_NAME_SIZE + 1];
    size_t width = strnlen(b, CONFIG_NAME_SIZE);
    for (size_t j = 0; j <= width; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t above = row[j + 1];
            row[j + 1] = smallest(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[width];
}

void config_suggest_begin(struct config_suggestion *s, const char *word)
{
    *s = (struct config_suggestion){.word = word, .distance = strlen(word) / 6 + 2};
}

void config_suggest_offer(struct config_suggestion *s, const char *candidate)
{
    size_t distance = edit_distance(s->word, candidate);
    if (distance >= s->distance)
        return;
    s->distance = distance;
    (void)snprintf(s->best, sizeof s->best, "%s", candidate);
}
