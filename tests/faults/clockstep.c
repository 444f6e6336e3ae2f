/* Loaded before a daemon, it sets the wall clock forth and back by an hour, each for three seconds, as a bad
 * time server would; the other clocks stay right. */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>

enum { STEP_S = 3600, PERIOD_S = 9 };

typedef int clock_gettime_fn(clockid_t id, struct timespec *at);
int clock_gettime(clockid_t id, struct timespec *at);
int gettimeofday(struct timeval *restrict at, void *restrict zone);
time_t time(time_t *at);

int clock_gettime(clockid_t id, struct timespec *at)
{
    static clock_gettime_fn *real;

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, at);
    if (rc != 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return rc;
    long part = at->tv_sec % PERIOD_S / (PERIOD_S / 3);
    at->tv_sec += part == 1 ? STEP_S : part == 2 ? -STEP_S : 0;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}
