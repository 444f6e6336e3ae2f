/* The publisher's wiring: two database connections (claim + listen, record), one broker connection, intake
 * and outbox between them. */
#ifndef AGWB_PUBLISHER_PUBLISHER_H
#define AGWB_PUBLISHER_PUBLISHER_H

#include "domain/daemon.h"

/* For struct daemon_program. */
extern const struct daemon_handlers PUBLISHER_HANDLERS;

#endif
