/* What arrives on wb_queue, and what died there and comes by dlx_webhook: checked, accepted into the
 * ledger by batch, and only then acknowledged. Custody is decided here: the broker is told after the
 * commit, or after the copy in wb_parked is confirmed, and in no other case. */
#ifndef AGWB_CONSUMER_RECEIVE_H
#define AGWB_CONSUMER_RECEIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "consumer/dispatch.h"
#include "consumer/fallback.h"
#include "consumer/ledger.h"
#include "consumer/parking.h"
#include "domain/config.h"
#include "io/broker.h"
#include "io/loop.h"

struct receive;

struct receive_deps { /* borrowed */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct broker *broker; /* consumes; its handlers must call receive_on_delivery and receive_on_down */
    struct ledger *ledger;
    struct parking *parking;
    struct fallback *fallback;
    struct dispatch *dispatch;      /* starts what is claimed with its acceptance */
    void (*on_accepted)(void *arg); /* the ledger has new deliveries that wait */
    void (*on_parked)(void *arg);   /* it has parked ones without a copy */
    void *arg;
};

struct receive *receive_new(const struct receive_deps *deps);
void receive_free(struct receive **r);

void receive_on_delivery(struct receive *r, const struct broker_delivery *d);
/* The connection is gone: what was not accepted yet will be delivered again. */
void receive_on_down(struct receive *r);
void receive_turn(struct receive *r);
/* Whether further instances dispatch what this one accepts: then nothing waits for a slot of ours. */
void receive_set_peers(struct receive *r, bool has_peers);
/* Nothing received is unacknowledged, but for what cannot be accepted while the database is away. */
bool receive_is_idle(const struct receive *r);
uint64_t receive_acked(const struct receive *r); /* how many so far */

#endif
