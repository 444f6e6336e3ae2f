/* How the two daemons reach their servers: connection settings out of the configuration, and the name they
 * lease rows under. */
#ifndef AGWB_DOMAIN_PEERS_H
#define AGWB_DOMAIN_PEERS_H

#include "domain/config.h"
#include "io/broker.h"
#include "io/db.h"

/* Settings without topology, consumes and confirms, which the caller adds. Strings are borrowed from the
 * configuration and `name`. */
struct broker_settings peers_broker_settings(const struct config *c, const char *name);
struct db_settings peers_db_settings(const struct config *c, const char *name);

/* For commands, which nobody starts again: one statement, whose failure is told as what a person can act on.
 * NULL and err: ERR_CONFIG says to migrate, what a daemon would wait for is ERR_UNAVAILABLE. The result is
 * the caller's. */
struct db_result *peers_ask(struct db_session *db, const char *sql, const struct db_params *p, struct err *e);

/* "agwb-publisher:host:pid:random": unique for each start of a process, since a lease must not outlive its
 * owner. */
enum { PEERS_OWNER_SIZE = 128 };
void peers_owner(const char *program, char out[PEERS_OWNER_SIZE]);

/* The one log line for a connection that was lost or not reached; peer is "broker" or "database". */
void peers_log_lost(const char *peer, const struct err *why);
/* For /readyz: adds `text` to the reasons when it applies. */
void peers_reason(struct buf *why, bool applies, const char *text);

#endif
