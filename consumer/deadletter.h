/* What comes out of dlx_agent: requests that died before an agent answered. Each fails its job (fallback),
 * is kept in ag_parked, and only then is acknowledged. Dead replies from dlx_webhook are receive's. */
#ifndef AGWB_CONSUMER_DEADLETTER_H
#define AGWB_CONSUMER_DEADLETTER_H

#include <stdbool.h>

#include "base/metrics.h"
#include "consumer/fallback.h"
#include "consumer/parking.h"
#include "domain/config.h"
#include "io/broker.h"

struct deadletter;

struct deadletter_deps { /* borrowed */
    const struct config *config;
    struct broker *broker; /* consumes; its handlers must call deadletter_on_delivery */
    struct fallback *fallback;
    struct parking *parking;
};

struct deadletter *deadletter_new(const struct deadletter_deps *deps);
void deadletter_free(struct deadletter **d);

void deadletter_on_delivery(struct deadletter *d, const struct broker_delivery *delivery);
/* Acks what is done. */
void deadletter_turn(struct deadletter *d);
bool deadletter_is_idle(const struct deadletter *d);

#endif
