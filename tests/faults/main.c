/* faults: runs the fault cases, or a random schedule of faults under load, and prints the ledger's table.
 * Runs under tests/sandbox/sandbox, in the project's folder. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "faults.h"

static const char USAGE[] =
    "usage: faults [--short] [--case NAME]... [--seed N] [--minutes M]\n"
    "  without arguments: every case; --short: those of `make check`\n"
    "  --case NAME   only the cases whose name contains NAME\n"
    "  --minutes M   the random schedule for M minutes, after the cases that were named\n"
    "  --seed N      of the random schedule (default 1)\n";

struct options {
    bool is_short;
    const char *names[16];
    size_t name_count;
    uint64_t seed;
    int minutes;
};

static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"short", no_argument, NULL, 's'},
                                          {"case", required_argument, NULL, 'c'},
                                          {"seed", required_argument, NULL, 'S'},
                                          {"minutes", required_argument, NULL, 'm'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 's':
            o->is_short = true;
            break;
        case 'c':
            if (o->name_count < sizeof o->names / sizeof o->names[0])
                o->names[o->name_count++] = optarg;
            break;
        case 'S':
            o->seed = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            o->minutes = (int)strtol(optarg, NULL, 10);
            break;
        default:
            return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

static bool is_wanted(const struct options *o, const struct fault_case *c)
{
    if (c->needs_cluster != (getenv("AGWB_TEST_CLUSTER_HOSTS") != NULL))
        return false;
    for (size_t i = 0; i < o->name_count; i++) {
        if (strstr(c->name, o->names[i]) != NULL)
            return true;
    }
    if (o->name_count > 0)
        return false;
    return o->minutes == 0 && (c->is_short || !o->is_short);
}

static void print_total(double minutes)
{
    const struct tally *t = judged_so_far();

    print_message("\n%" PRId64 " messages, %" PRId64 " kills, %.1f minutes\n", t->messages, t->kills,
                  minutes);
    print_message("  delivered once      %9" PRId64 "\n", t->delivered);
    print_message("  parked with reason  %9" PRId64 "\n", t->parked);
    print_message("  failed with reason  %9" PRId64 "\n", t->failed);
    print_message("  delivered twice     %9" PRId64 "\n", t->twice);
    print_message("  lost                %9" PRId64 "\n", t->lost);
    print_message("  unexpected          %9" PRId64 "\n", t->unexpected);
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1};
    int passed = 0, failed = 0;
    int64_t begun = clock_mono_ms();

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (parse_options(argc, argv, &o) != 0) {
        fputs(USAGE, stderr);
        return 64;
    }
    seed_set(o.seed);
    for (size_t i = 0; i < FAULT_CASE_COUNT; i++) {
        if (!is_wanted(&o, &FAULT_CASES[i]))
            continue;
        *(case_run(&FAULT_CASES[i]) ? &passed : &failed) += 1;
    }
    if (o.minutes > 0)
        *(soak_run(o.seed, o.minutes) ? &passed : &failed) += 1;
    print_total((double)(clock_mono_ms() - begun) / 60000.0);
    print_message("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
