/* Named crash points, for the fault tests only: a build with -DAGWB_CRASH_POINTS ends by SIGKILL where
 * AGWB_TEST_CRASH says, "name" or "name:3" (from the third passage on); "stop name:3" stops it there instead,
 * once, as a machine that falls asleep. In every other build there is nothing. */
#ifndef AGWB_BASE_CRASH_H
#define AGWB_BASE_CRASH_H

#ifdef AGWB_CRASH_POINTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void crash_point(const char *name, unsigned long passage)
{
    const char *wanted = getenv("AGWB_TEST_CRASH");
    size_t len = strlen(name);
    int is_stop = wanted && strncmp(wanted, "stop ", 5) == 0;

    if (is_stop)
        wanted += 5;
    if (!wanted || strncmp(wanted, name, len) != 0 || (wanted[len] != '\0' && wanted[len] != ':'))
        return;
    if (passage < (wanted[len] == ':' ? strtoul(wanted + len + 1, NULL, 10) : 1))
        return;
    if (is_stop)
        unsetenv("AGWB_TEST_CRASH");
    kill(getpid(), is_stop ? SIGSTOP : SIGKILL);
}

#define CRASH_POINT(name)                                                                                    \
    do {                                                                                                     \
        static unsigned long passages_;                                                                      \
        crash_point((name), ++passages_);                                                                    \
    } while (0)

#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
