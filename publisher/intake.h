/* Takes jobs in: decides when to claim (a notification, a sweep, a full last batch), turns rows into
 * requests for the outbox and sends the others on with their reason. */
#ifndef AGWB_PUBLISHER_INTAKE_H
#define AGWB_PUBLISHER_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "domain/config.h"
#include "io/db.h"
#include "io/loop.h"
#include "publisher/outbox.h"

struct intake;

struct intake_deps { /* borrowed for the intake's life */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct db *db; /* claims and sweeps; listens on INTAKE_CHANNEL */
    struct outbox *outbox;
    const char *owner;
};

#define INTAKE_CHANNEL "agwb_jobs"

struct intake *intake_new(const struct intake_deps *deps);
void intake_free(struct intake **i);

void intake_open(struct intake *i);               /* begin claiming: the schema is known to be good */
void intake_close(struct intake *i);              /* drain: claim no more */
void intake_wake(struct intake *i);               /* there may be pending rows */
void intake_due_in(struct intake *i, int64_t ms); /* a pending row waits that long for a further message */
/* The "decide and write" step, before outbox_turn. */
void intake_turn(struct intake *i);
/* No claim is under way (claimed rows are the outbox's then). */
bool intake_is_idle(const struct intake *i);

#endif
