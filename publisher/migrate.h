/* The migrations that travel inside agwb-publisher, and the command that applies them. */
#ifndef AGWB_PUBLISHER_MIGRATE_H
#define AGWB_PUBLISHER_MIGRATE_H

#include <stddef.h>

#include "domain/config.h"

struct migration {
    int version; /* 0 is run every time, before the others */
    const char *name;
    const char *digest; /* SHA-256 of the file, hex */
    const char *sql;
};
extern const struct migration MIGRATIONS[]; /* generated from schemas/sql, ascending */
extern const size_t MIGRATION_COUNT;

/* migrate [--complete-status WORD]: brings the database to the newest version under an advisory lock: what is
 * missing, and again what has changed since. Prints a line for each migration that was applied. A database
 * that a newer program has migrated is left as it is. A constraint that forbids our words is
 * ERR_CONFIG with its name. */
int migrate_command(const struct config *c, int argc, char **argv, struct err *e);

#endif
