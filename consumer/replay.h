/* The `dlq` command: what lies in the dead-letter and parked queues, and putting it back to work. */
#ifndef AGWB_CONSUMER_REPLAY_H
#define AGWB_CONSUMER_REPLAY_H

#include "domain/config.h"

/* Header of a replayed message: its generation, an integer from 1. */
#define REPLAY_HEADER "agwb-replay"

/* dlq list [QUEUE] [--limit N]: the queues with their counts, or a queue's first messages. dlq replay
 * QUEUE [--limit N] [--execute]: publishes to the queue it came from, waits for the confirm, then acks the
 * old copy. Without --execute it only says what it would do. */
int replay_command(const struct config *c, int argc, char **argv, struct err *e);

#endif
