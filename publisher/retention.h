/* Deletes what is old: a batch a table, now and then, on the record connection while it has nothing else to
 * do. Which rows are old is the SQL functions' business; of several publishers one is at it at a time. */
#ifndef AGWB_PUBLISHER_RETENTION_H
#define AGWB_PUBLISHER_RETENTION_H

#include <stdbool.h>

#include "base/metrics.h"
#include "domain/config.h"
#include "io/db.h"
#include "io/loop.h"

struct retention;

struct retention_deps { /* borrowed for the retention's life */
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct db *db;
};

struct retention *retention_new(const struct retention_deps *deps);
/* The connection must be freed before: no callback may come. */
void retention_free(struct retention **r);

void retention_open(struct retention *r);  /* begin: the schema is known to be good */
void retention_close(struct retention *r); /* drain: begin nothing more */
/* The "decide and write" step, after those that have work for the connection. */
void retention_turn(struct retention *r);

#endif
