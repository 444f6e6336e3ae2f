/* Allocations that fail, for tests: see alloc_fail.c. */
#ifndef AGWB_TESTS_ALLOC_FAIL_H
#define AGWB_TESTS_ALLOC_FAIL_H

#include <stdbool.h>

/* Counts from here; the nth fails (0 = none), with all_after every later one too. */
void alloc_fail_begin(long nth, bool all_after);
/* Stops failing and counting; returns how many there were. */
long alloc_fail_end(void);

#endif
