/* The publisher's wiring: three database connections (claim jobs, record them, inbox), one broker connection;
 * intake, outbox and inbox between them. */
#ifndef AGWB_PUBLISHER_PUBLISHER_H
#define AGWB_PUBLISHER_PUBLISHER_H

#include "domain/daemon.h"

/* For struct daemon_program. */
extern const struct daemon_handlers PUBLISHER_HANDLERS;

#endif
