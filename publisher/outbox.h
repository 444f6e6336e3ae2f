/* The confirm window: takes requests, publishes them, waits for the broker's word, and only then records
 * in PostgreSQL what became of each job. Custody is decided here: a row is published when the broker has
 * confirmed it, and in no other case. */
#ifndef AGWB_PUBLISHER_OUTBOX_H
#define AGWB_PUBLISHER_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "domain/config.h"
#include "io/broker.h"
#include "io/db.h"

struct outbox;

struct outbox_deps { /* borrowed for the outbox's life */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct broker *broker; /* publishes; its handlers must call outbox_on_confirm */
    struct db *db;         /* records */
    const char *owner;
};

struct outbox_job {
    const char *id;      /* ai_response_queue.id */
    const char *contact; /* for the log; masked by the outbox; may be NULL */
    const char *task_type;
    const char *body;
    size_t body_len;
};

enum outbox_result {
    OUTBOX_RETURNED = 0, /* not the row's fault: pending again */
    OUTBOX_REFUSED,      /* cancelled with a reason */
    OUTBOX_FAULT,        /* the row's own fault: the job ladder */
};

struct outbox *outbox_new(const struct outbox_deps *deps);
void outbox_free(struct outbox **o);

/* How many more jobs fit now: 0 while the broker is unusable, blocked, or has just turned requests away. */
size_t outbox_room(const struct outbox *o);
/* Takes a job that a claim marked as ours (everything copied). At most outbox_room() times in a turn. */
void outbox_put(struct outbox *o, const struct outbox_job *job);
/* Records a claimed job that is not published; attempts is what the claim counted, for the ladder. */
void outbox_dismiss(struct outbox *o, const char *id, enum outbox_result result, const char *reason,
                    int attempts);

/* From the broker's handlers. */
void outbox_on_confirm(struct outbox *o, uint64_t cookie, enum broker_confirm result);
void outbox_on_broker_down(struct outbox *o); /* what is queued unsent goes back to pending */

/* The "decide and write" step: publishes what is queued, records what is known. */
void outbox_turn(struct outbox *o);
/* Nothing queued, unconfirmed or unrecorded. */
bool outbox_is_idle(const struct outbox *o);
/* The database is away or has refused a record that still waits: leases that look expired may be jobs we
 * know to be published. */
bool outbox_is_behind(const struct outbox *o);
size_t outbox_in_flight(const struct outbox *o);

#endif
