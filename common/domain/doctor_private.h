/* The groups of checks; included by doctor*.c alone. */
#ifndef AGWB_DOMAIN_DOCTOR_PRIVATE_H
#define AGWB_DOMAIN_DOCTOR_PRIVATE_H

#include "domain/doctor.h"

void doctor_look_at_files(struct doctor *d, const struct config *c);
void doctor_look_at_broker(struct doctor *d, const struct config *c);
void doctor_look_at_database(struct doctor *d, const struct config *c);

/* True for "localhost:5672", "127.0.0.1", "[::1]:5672". */
bool doctor_is_local(const char *host);

#endif
