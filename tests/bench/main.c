/* See bench.h. */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"

static const char USAGE[] =
    "usage: bench sink DELAY_MS\n"
    "       bench pump QUEUE COUNT WINDOW BYTES\n"
    "       bench replies FIRST COUNT [jobs]\n"
    "       bench drain QUEUE COUNT\n"
    "       bench web PORT COUNT IN_FLIGHT\n"
    "       bench rows COUNT BATCH\n"
    "       bench latency COUNT\n"
    "The servers are $AGWB_TEST_AMQP and $AGWB_TEST_DATABASE_URL, or $BENCH_DATABASE_URL.\n";

double cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static int run(int argc, char **argv, struct err *e)
{
    const char *amqp = getenv("AGWB_TEST_AMQP"), *url = getenv("BENCH_DATABASE_URL");
    int64_t n[6] = {0};

    if (!url)
        url = getenv("AGWB_TEST_DATABASE_URL");
    for (int i = 2; i < argc && i < 6; i++)
        n[i] = strtoll(argv[i], NULL, 10);
    if (argc == 3 && strcmp(argv[1], "sink") == 0)
        return sink_run(n[2], e);
    if (argc == 5 && strcmp(argv[1], "web") == 0)
        return web_run((int)n[2], n[3], n[4], e);
    if (!amqp || !url)
        return err_set(e, ERR_USAGE, 0, "AGWB_TEST_AMQP and AGWB_TEST_DATABASE_URL are not set");
    if (argc == 6 && strcmp(argv[1], "pump") == 0)
        return pump_run(amqp, argv[2], n[3], n[4], n[5], e);
    if ((argc == 4 || argc == 5) && strcmp(argv[1], "replies") == 0)
        return replies_run(amqp, n[2], n[3], argc == 5 && strcmp(argv[4], "jobs") == 0, e);
    if (argc == 4 && strcmp(argv[1], "drain") == 0)
        return drain_run(amqp, argv[2], n[3], e);
    if (argc == 4 && strcmp(argv[1], "rows") == 0)
        return rows_run(url, n[2], n[3], e);
    if (argc == 3 && strcmp(argv[1], "latency") == 0)
        return latency_run(url, amqp, n[2], e);
    return err_set(e, ERR_USAGE, 0, "%s", "wrong arguments");
}

int main(int argc, char **argv)
{
    struct err e = {0};

    log_configure("bench", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    if (run(argc, argv, &e) == 0)
        return 0;
    fprintf(stderr, "bench: %s\n%s", e.text, e.class == ERR_USAGE ? USAGE : "");
    return err_exit_status(&e);
}
