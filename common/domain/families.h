/* The metric families of both daemons (DESIGN 6): names are a contract with dashboards and alerts. No
 * label carries a contact, a workspace or a number. */
#ifndef AGWB_DOMAIN_FAMILIES_H
#define AGWB_DOMAIN_FAMILIES_H

#include "base/metrics.h"

/* publisher */
extern const struct metric_family METRIC_PUBLISHED; /* result = confirmed | returned | nacked */
extern const struct metric_family METRIC_CONFIRM_SECONDS;
extern const struct metric_family METRIC_INTAKE_ROWS; /* result = published | refused | retried | failed */
extern const struct metric_family METRIC_OLDEST_PENDING;
extern const struct metric_family
    METRIC_INBOX_ROWS; /* provider, result = done | ignored | failed | duplicate */
extern const struct metric_family METRIC_SIGNATURE_FAILURES; /* provider */
extern const struct metric_family METRIC_RECEIPTS;           /* provider, status */
extern const struct metric_family METRIC_PURGED;             /* table */

/* consumer */
extern const struct metric_family
    METRIC_CONSUMED; /* result = accepted | duplicate | invalid | conflict | late */
extern const struct metric_family METRIC_QUEUE_SECONDS;
extern const struct metric_family METRIC_ATTEMPTS;         /* channel, outcome */
extern const struct metric_family METRIC_DELIVERY_SECONDS; /* channel */
extern const struct metric_family METRIC_BOUNCES;          /* channel, disposition */
extern const struct metric_family METRIC_DELIVERIES;       /* state */
extern const struct metric_family METRIC_DEAD_LETTERS;     /* queue, reason */
extern const struct metric_family METRIC_ORPHANS;
extern const struct metric_family METRIC_FALLBACKS;
extern const struct metric_family METRIC_CIRCUIT_OPEN; /* account */
extern const struct metric_family METRIC_ANSWER_SECONDS;
extern const struct metric_family METRIC_JOB_SECONDS;
extern const struct metric_family METRIC_THROTTLED; /* limit */
extern const struct metric_family METRIC_AGENT_SECONDS;
extern const struct metric_family METRIC_AGENT_TOKENS;
extern const struct metric_family METRIC_AGENT_ERRORS;
extern const struct metric_family METRIC_AGENT_TOOL_USES;

/* both */
extern const struct metric_family METRIC_QUEUE_MESSAGES;  /* queue */
extern const struct metric_family METRIC_QUEUE_CONSUMERS; /* queue */
extern const struct metric_family METRIC_RECONNECTS;      /* peer */
extern const struct metric_family METRIC_IN_FLIGHT;
extern const struct metric_family METRIC_BLOCKED;

void families_register_publisher(struct metrics *m);
void families_register_consumer(struct metrics *m);

#endif
