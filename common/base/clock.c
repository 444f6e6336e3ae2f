/* The clocks and their one text form. Tests may replace all of them. */
#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

static struct {
    bool on;
    int64_t mono_ms;
    int64_t wall_ms;
} fake;

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return fake.on ? fake.mono_ms * 1000 : read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_boot_ms(void)
{
    return fake.on ? fake.mono_ms : read_us(CLOCK_BOOTTIME) / 1000;
}

int64_t clock_wall_ms(void)
{
    return fake.on ? fake.wall_ms : read_us(CLOCK_REALTIME) / 1000;
}

static char *put_digits(char *at, int count, int value)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + count;
}

void clock_iso8601(int64_t wall_ms, char out[25])
{
    static const int64_t last_ms = 253402300799999; /* 9999-12-31: the form has four digits for the year */
    if (wall_ms < 0)
        wall_ms = 0;
    if (wall_ms > last_ms)
        wall_ms = last_ms;

    struct tm tm;
    time_t seconds = (time_t)(wall_ms / 1000);
    gmtime_r(&seconds, &tm);

    /* By hand: this is a part of every log line, and strftime costs as much as the rest of it. */
    const struct {
        int count, value;
        char after;
    } parts[] = {{4, tm.tm_year + 1900, '-'},    {2, tm.tm_mon + 1, '-'}, {2, tm.tm_mday, 'T'},
                 {2, tm.tm_hour, ':'},           {2, tm.tm_min, ':'},     {2, tm.tm_sec, '.'},
                 {3, (int)(wall_ms % 1000), 'Z'}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        out = put_digits(out, parts[i].count, parts[i].value);
        *out++ = parts[i].after;
    }
    *out = '\0';
}

void clock_fake(int64_t mono_ms, int64_t wall_ms)
{
    fake.on = true;
    fake.mono_ms = mono_ms;
    fake.wall_ms = wall_ms;
}

void clock_real(void)
{
    fake.on = false;
}
