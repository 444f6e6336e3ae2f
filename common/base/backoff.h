/* Waits between tries: the ladder (delay x multiplier^n, capped) and its jitter. Pure, but for the random
 * source. */
#ifndef AGWB_BASE_BACKOFF_H
#define AGWB_BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t delay_ms;     /* before the first further try */
    double multiplier;    /* >= 1 */
    int64_t max_delay_ms; /* cap before jitter; 0 = none */
    double jitter;        /* 0..1: the wait is spread evenly over +-this share */
};

/* The wait before further try number `n` (1 = first retry), without jitter. Never negative, never above a
 * hundred years. */
int64_t backoff_delay_ms(const struct backoff *b, int n);
/* The same with jitter; `random` is a uniform 64-bit number. */
int64_t backoff_jittered_ms(const struct backoff *b, int n, uint64_t random);
/* A uniform 64-bit number from the process's generator (seeded by the kernel). */
uint64_t random_u64(void);

#endif
