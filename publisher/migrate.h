/* The migrations that travel inside agwb-publisher, and the command that applies them. */
#ifndef AGWB_PUBLISHER_MIGRATE_H
#define AGWB_PUBLISHER_MIGRATE_H

#include <stddef.h>

#include "domain/config.h"

struct migration {
    int version; /* 0 is run every time, before the others */
    const char *name;
    const char *sql;
};
extern const struct migration MIGRATIONS[]; /* generated from schemas/sql, ascending */
extern const size_t MIGRATION_COUNT;

/* migrate [--complete-status WORD]: brings the database to the newest version under an advisory lock;
 * re-runnable. Prints a line for each migration that was applied. A constraint that forbids our words is
 * ERR_CONFIG with its name. */
int migrate_command(const struct config *c, int argc, char **argv, struct err *e);

#endif
