/* Whether notifications arrive: a pooler in transaction mode takes LISTEN and then delivers nothing, without
 * a word. Sends one by another connection, waits for it, and says in the log when none came. */
#ifndef AGWB_DOMAIN_LISTENING_H
#define AGWB_DOMAIN_LISTENING_H

#include <stdbool.h>
#include <stdint.h>

#include "io/db.h"
#include "io/loop.h"

struct listening;

struct listening_deps { /* borrowed for its life */
    struct loop *loop;
    struct db *listener; /* its handlers call listening_up and listening_heard */
    struct db *sender;
    const char *channel;      /* that the listener listens on */
    int64_t poll_interval_ms; /* what is done instead, for the log */
};

struct listening *listening_new(const struct listening_deps *deps);
void listening_free(struct listening **l);
/* The listener is connected, anew. These two do nothing without an object. */
void listening_up(struct listening *l);
/* A notification arrived, see db_handlers.on_notify. */
void listening_heard(struct listening *l, bool idle);

#endif
