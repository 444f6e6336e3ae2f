/* Waits between tries. */
#include "base/backoff.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

/* A hundred years: longer than anyone waits, and still safe to add to any clock. */
static const double FOREVER_MS = 100 * 365.25 * 24 * 3600 * 1000;

/* Rounds to 0..FOREVER_MS; what is not a number counts as forever. */
static int64_t whole_ms(double ms)
{
    if (ms <= 0)
        return 0;
    return (int64_t)llround(ms < FOREVER_MS ? ms : FOREVER_MS);
}

int64_t backoff_delay_ms(const struct backoff *b, int n)
{
    double ms = (double)b->delay_ms;
    if (n > 1 && ms > 0)
        ms *= pow(b->multiplier, n - 1);
    if (b->max_delay_ms > 0 && !(ms < (double)b->max_delay_ms))
        ms = (double)b->max_delay_ms;
    return whole_ms(ms);
}

int64_t backoff_jittered_ms(const struct backoff *b, int n, uint64_t random)
{
    double share = (double)(random >> 11) / 0x1p53; /* 0 <= share < 1 */
    double jitter = b->jitter > 1 ? 1 : b->jitter > 0 ? b->jitter : 0;
    return whole_ms((double)backoff_delay_ms(b, n) * (1 + jitter * (2 * share - 1)));
}

uint64_t random_u64(void)
{
    /* One system call for 64 numbers; each thread has its own. */
    static _Thread_local uint64_t pool[64];
    static _Thread_local size_t left;
    while (left == 0) {
        ssize_t got = getrandom(pool, sizeof pool, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* the kernel has no getrandom: nothing we run on */
        left = got > 0 ? (size_t)got / sizeof *pool : 0;
    }
    return pool[--left];
}
