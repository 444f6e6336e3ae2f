/* `stats` of both programs: what waits, is under way, is done and has failed, by queue, kind and account, as
 * agwb.queue_stats and the broker count it. */
#ifndef AGWB_DOMAIN_STATS_H
#define AGWB_DOMAIN_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "domain/config.h"

/* For struct daemon_command. */
int stats_command(const struct config *c, int argc, char **argv, struct err *e);

struct stats_options {
    bool json, help;
    int64_t watch_ms; /* 0 = once */
};
int stats_options_parse(int argc, char **argv, struct stats_options *o, struct err *e) MUST_CHECK;

/* Spec 001's name of a sending queue, by the account's provider; other queues keep theirs. */
const char *stats_queue_name(const struct config *c, const char *queue, const char *account);

#endif
