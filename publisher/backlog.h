/* Looks now and then whether more jobs or replies wait, or longer, than alerts.backlog and
 * alerts.backlog_age_ms allow, and raises an alert when that begins and when it is over. */
#ifndef AGWB_PUBLISHER_BACKLOG_H
#define AGWB_PUBLISHER_BACKLOG_H

#include "domain/alert.h"
#include "domain/config.h"
#include "io/db.h"
#include "io/loop.h"

struct backlog;

struct backlog_deps { /* borrowed for the backlog's life */
    struct loop *loop;
    const struct config *config;
    struct db *db;
    struct alerts *alerts;
};

struct backlog *backlog_new(const struct backlog_deps *deps);
/* The connection must be freed before: no callback may come. */
void backlog_free(struct backlog **b);
void backlog_open(struct backlog *b); /* begin: the schema is known to be good */

#endif
