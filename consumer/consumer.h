/* The consumer's wiring: two database connections (accept + listen, work), two broker connections
 * (consume, publish), and receive, dispatch and parking between them. */
#ifndef AGWB_CONSUMER_CONSUMER_H
#define AGWB_CONSUMER_CONSUMER_H

#include "domain/daemon.h"

/* For struct daemon_program. */
extern const struct daemon_handlers CONSUMER_HANDLERS;

#endif
