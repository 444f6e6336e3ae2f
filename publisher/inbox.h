/* Takes webhooks in: claims rows of webhook_inbox, has them read, records by batch what they say, and applies
 * the receipts among them. Custody is PostgreSQL's all the way: a row stays pending until the transaction
 * that stores its messages ends it. */
#ifndef AGWB_PUBLISHER_INBOX_H
#define AGWB_PUBLISHER_INBOX_H

#include <stdbool.h>

#include "base/metrics.h"
#include "domain/config.h"
#include "io/db.h"
#include "io/loop.h"
#include "publisher/intake.h"

struct inbox;

struct inbox_deps { /* borrowed for the inbox's life */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct db *db;         /* its own; listens on INBOX_CHANNEL */
    struct intake *intake; /* is told of jobs that wait for a further message */
    const char *owner;
};

#define INBOX_CHANNEL "agwb_inbox"

struct inbox *inbox_new(const struct inbox_deps *deps);
void inbox_free(struct inbox **i);

void inbox_open(struct inbox *i);  /* begin claiming: the schema is known to be good */
void inbox_close(struct inbox *i); /* drain: claim no more */
void inbox_wake(struct inbox *i);  /* there may be pending rows */
/* The "decide and write" step. */
void inbox_turn(struct inbox *i);
/* Nothing claimed that could be recorded now. */
bool inbox_is_idle(const struct inbox *i);

#endif
