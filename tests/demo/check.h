/* The sums after the traffic: does every message have the end that the plan gave it, and do all witnesses
 * agree? */
#ifndef AGWB_TESTS_DEMO_CHECK_H
#define AGWB_TESTS_DEMO_CHECK_H

#include <stdbool.h>

#include "base/err.h"
#include "tests/demo/play.h"

/* Prints the table and the verdict; *good is the verdict. The daemons must have ended (with these exit
 * statuses), so that nothing is unacked any more. -1 and err when a server or a journal cannot be read. */
int check(const struct scene *scene, int publisher_status, int consumer_status, bool *good,
          struct err *e) MUST_CHECK;

#endif
