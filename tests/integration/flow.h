/* The whole flow of a number of jobs, for tests that disturb it in the middle. */
#ifndef AGWB_TESTS_FLOW_H
#define AGWB_TESTS_FLOW_H

#include "pair.h"

bool flow_is_ready(struct pair *p); /* both daemons */
/* Plays the agent until every job is complete, then judges: each was asked, answered and sent exactly once,
 * nothing is left on a queue, nothing was parked. */
void flow_finish(struct pair *p, int64_t jobs);

#endif
