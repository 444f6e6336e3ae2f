/* The `dlq` command: what lies in the dead-letter and parked queues, and putting it back to work. */
#ifndef AGWB_CONSUMER_DLQ_H
#define AGWB_CONSUMER_DLQ_H

#include "domain/config.h"

/* dlq list|show|replay|park|purge; dlq_usage_write() says the rest. What is only looked at, or does not
 * match, is fetched unacked and returns to its queue when the run ends. That raises its x-delivery-count (a
 * dlx_ queue moves a message to its parked queue after 20, a parked queue keeps it), and it may then stand
 * behind messages that were not fetched. */
int dlq_command(const struct config *c, int argc, char **argv, struct err *e);

#endif
