/* The metric families: one table, so that what an operator can ask is read on one screen. */
#include "domain/families.h"

#define SECONDS .buckets = METRIC_SECONDS, .bucket_count = METRIC_SECONDS_COUNT

#define COUNTER(...)                                                                                         \
    {                                                                                                        \
        .kind = METRIC_COUNTER, __VA_ARGS__                                                                  \
    }
#define GAUGE(...)                                                                                           \
    {                                                                                                        \
        .kind = METRIC_GAUGE, __VA_ARGS__                                                                    \
    }
#define HISTOGRAM(...)                                                                                       \
    {                                                                                                        \
        .kind = METRIC_HISTOGRAM, SECONDS, __VA_ARGS__                                                       \
    }

const struct metric_family METRIC_PUBLISHED =
    COUNTER(.name = "agwb_published_total", .help = "Requests handed to the broker, by its answer.",
            .labels = {"result"});
const struct metric_family METRIC_CONFIRM_SECONDS =
    HISTOGRAM(.name = "agwb_publish_confirm_seconds",
              .help = "From publishing a request to the broker's answer.");
const struct metric_family METRIC_INTAKE_ROWS =
    COUNTER(.name = "agwb_intake_rows_total", .help = "Job rows taken in, by what became of them.",
            .labels = {"result"});
const struct metric_family METRIC_OLDEST_PENDING =
    GAUGE(.name = "agwb_oldest_pending_seconds",
          .help = "Age of the oldest pending job row; 0 when there is none.");

const struct metric_family METRIC_PURGED =
    COUNTER(.name = "agwb_purged_total", .help = "Old rows deleted, by table.", .labels = {"table"});
const struct metric_family METRIC_INBOX_ROWS =
    COUNTER(.name = "agwb_inbox_rows_total", .help = "Webhook rows read, by what became of them.",
            .labels = {"provider", "result"});
const struct metric_family METRIC_SIGNATURE_FAILURES =
    COUNTER(.name = "agwb_signature_failures_total",
            .help = "Webhooks refused because nothing proves, or something disproves, who sent them.",
            .labels = {"provider"});
const struct metric_family METRIC_RECEIPTS =
    COUNTER(.name = "agwb_receipts_total", .help = "Receipts taken in, by status.",
            .labels = {"provider", "status"});

const struct metric_family METRIC_CONSUMED =
    COUNTER(.name = "agwb_consumed_total", .help = "Replies taken from the webhook queue, by result.",
            .labels = {"result"});
const struct metric_family METRIC_QUEUE_SECONDS =
    HISTOGRAM(.name = "agwb_queue_seconds",
              .help = "From the reply's timestamp to its acceptance into the ledger.");
const struct metric_family METRIC_ATTEMPTS =
    COUNTER(.name = "agwb_delivery_attempts_total", .help = "Attempts to deliver, by channel and outcome.",
            .labels = {"channel", "outcome"});
const struct metric_family METRIC_DELIVERY_SECONDS =
    HISTOGRAM(.name = "agwb_delivery_seconds", .help = "From acceptance to sent.", .labels = {"channel"});
const struct metric_family METRIC_BOUNCES =
    COUNTER(.name = "agwb_bounces_total",
            .help = "Messages that were sent and, says a receipt, did not arrive.",
            .labels = {"channel", "disposition"});
const struct metric_family METRIC_DELIVERIES =
    GAUGE(.name = "agwb_deliveries", .help = "Deliveries in the ledger that are not finished, by state.",
          .labels = {"state"});
const struct metric_family METRIC_DEAD_LETTERS =
    COUNTER(.name = "agwb_dead_letters_total", .help = "Messages parked, by queue and reason.",
            .labels = {"queue", "reason"});
const struct metric_family METRIC_ORPHANS =
    COUNTER(.name = "agwb_orphan_replies_total",
            .help = "Accepted replies whose originalMessageId nobody knows.");
const struct metric_family METRIC_FALLBACKS =
    COUNTER(.name = "agwb_fallback_replies_total", .help = "Fallback replies put into the ledger.");
const struct metric_family METRIC_CIRCUIT_OPEN =
    GAUGE(.name = "agwb_circuit_open", .help = "1 while a sender account is left alone because it is down.",
          .labels = {"account"});
const struct metric_family METRIC_ANSWER_SECONDS =
    HISTOGRAM(.name = "agwb_answer_seconds", .help = "From the inbound job row to its reply sent.");
const struct metric_family METRIC_JOB_SECONDS =
    HISTOGRAM(.name = "agwb_job_seconds", .help = "From the request published to its job complete.");
const struct metric_family METRIC_THROTTLED =
    COUNTER(.name = "agwb_throttled_total", .help = "Waits caused by a limit, ours or the provider's.",
            .labels = {"limit"});
const struct metric_family METRIC_AGENT_SECONDS =
    HISTOGRAM(.name = "agwb_agent_seconds", .help = "The agent's own processing time, from agentMetadata.");
const struct metric_family METRIC_AGENT_TOKENS =
    COUNTER(.name = "agwb_agent_tokens_total", .help = "Tokens used, from agentMetadata.");
const struct metric_family METRIC_AGENT_ERRORS =
    COUNTER(.name = "agwb_agent_errors_total", .help = "Replies with status error.");
const struct metric_family METRIC_AGENT_TOOL_USES =
    COUNTER(.name = "agwb_agent_tool_uses_total", .help = "Tools used by the agent, from agentMetadata.");

const struct metric_family METRIC_QUEUE_MESSAGES =
    GAUGE(.name = "agwb_queue_messages", .help = "Ready messages in a queue.", .labels = {"queue"});
const struct metric_family METRIC_QUEUE_CONSUMERS =
    GAUGE(.name = "agwb_queue_consumers", .help = "Consumers of a queue.", .labels = {"queue"});
const struct metric_family METRIC_RECONNECTS =
    COUNTER(.name = "agwb_reconnects_total", .help = "Connections made anew after a loss, by peer.",
            .labels = {"peer"});
const struct metric_family METRIC_IN_FLIGHT =
    GAUGE(.name = "agwb_in_flight",
          .help = "Requests awaiting a confirm (publisher) or attempts under way (consumer).");
const struct metric_family METRIC_BLOCKED =
    GAUGE(.name = "agwb_broker_blocked",
          .help = "1 while the broker takes no publishes because of a resource alarm.");

static void register_all(struct metrics *m, const struct metric_family *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        metrics_register(m, list[i]);
}

static void touch(struct metrics *m, const struct metric_family *f, const char *const *values)
{
    for (; *values; values++)
        metric_touch(m, f, *values, NULL);
}

static void register_both(struct metrics *m)
{
    static const struct metric_family *const LIST[] = {&METRIC_QUEUE_MESSAGES, &METRIC_QUEUE_CONSUMERS,
                                                       &METRIC_RECONNECTS, &METRIC_IN_FLIGHT,
                                                       &METRIC_BLOCKED};
    static const char *const PEERS[] = {"broker", "database", NULL};

    register_all(m, LIST, sizeof LIST / sizeof LIST[0]);
    touch(m, &METRIC_RECONNECTS, PEERS);
}

void families_register_publisher(struct metrics *m)
{
    static const struct metric_family *const LIST[] = {
        &METRIC_PUBLISHED,  &METRIC_CONFIRM_SECONDS,    &METRIC_INTAKE_ROWS, &METRIC_OLDEST_PENDING,
        &METRIC_INBOX_ROWS, &METRIC_SIGNATURE_FAILURES, &METRIC_RECEIPTS,    &METRIC_PURGED};
    static const char *const RESULTS[] = {"confirmed", "returned", "nacked", NULL};
    static const char *const ROWS[] = {"published", "refused", "retried", "failed", NULL};

    register_all(m, LIST, sizeof LIST / sizeof LIST[0]);
    touch(m, &METRIC_PUBLISHED, RESULTS);
    touch(m, &METRIC_INTAKE_ROWS, ROWS);
    register_both(m);
}

void families_register_consumer(struct metrics *m)
{
    static const struct metric_family *const LIST[] = {
        &METRIC_CONSUMED,       &METRIC_QUEUE_SECONDS, &METRIC_ATTEMPTS,       &METRIC_DELIVERY_SECONDS,
        &METRIC_BOUNCES,        &METRIC_DELIVERIES,    &METRIC_DEAD_LETTERS,   &METRIC_ORPHANS,
        &METRIC_FALLBACKS,      &METRIC_CIRCUIT_OPEN,  &METRIC_ANSWER_SECONDS, &METRIC_JOB_SECONDS,
        &METRIC_THROTTLED,      &METRIC_AGENT_SECONDS, &METRIC_AGENT_TOKENS,   &METRIC_AGENT_ERRORS,
        &METRIC_AGENT_TOOL_USES};
    static const char *const RESULTS[] = {"accepted", "duplicate", "invalid", "conflict", "late", NULL};
    static const char *const STATES[] = {"ready", "sending", "uncertain", "parked", NULL};

    register_all(m, LIST, sizeof LIST / sizeof LIST[0]);
    touch(m, &METRIC_CONSUMED, RESULTS);
    touch(m, &METRIC_DELIVERIES, STATES);
    register_both(m);
}
