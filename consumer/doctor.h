/* `agwb-consumer doctor`: the common checks, then each account's provider. */
#ifndef AGWB_CONSUMER_DOCTOR_H
#define AGWB_CONSUMER_DOCTOR_H

#include "base/err.h"
#include "domain/config.h"

/* For struct daemon_command. */
int consumer_doctor_command(const struct config *c, int argc, char **argv, struct err *e);

#endif
