/* Counters, gauges and histograms and their Prometheus text form. One registry a process; the loop's
 * thread only. A family is described once by a static struct; label values are registered up front or on
 * first use, and their number is bounded. */
#ifndef AGWB_BASE_METRICS_H
#define AGWB_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER = 0, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_MAX_LABELS = 2, METRIC_MAX_SERIES = 256 };

struct metric_family {
    const char *name; /* with its unit and, for counters, _total */
    const char *help;
    enum metric_kind kind;
    const char *labels[METRIC_MAX_LABELS]; /* label names; NULL = none */
    const double *buckets;                 /* histogram upper bounds, ascending, without +Inf */
    size_t bucket_count;
};

struct metrics;
struct metrics *metrics_new(void);
void metrics_free(struct metrics **m);

/* Adds a family (borrowed for the registry's life); its unlabelled series starts at 0 at once, labelled
 * ones when first touched or by metric_touch. */
void metrics_register(struct metrics *m, const struct metric_family *f);
/* l1, l2: label values in the family's order, NULL where it has none; copied. The 257th series of a family
 * is folded into label values "other". */
void metric_touch(struct metrics *m, const struct metric_family *f, const char *l1, const char *l2);
void metric_add(struct metrics *m, const struct metric_family *f, double n, const char *l1, const char *l2);
void metric_set(struct metrics *m, const struct metric_family *f, double v, const char *l1, const char *l2);
void metric_observe(struct metrics *m, const struct metric_family *f, double v, const char *l1,
                    const char *l2);
double metric_value(const struct metrics *m, const struct metric_family *f, const char *l1,
                    const char *l2); /* histogram: its count */

/* The text exposition format 0.0.4, HELP and TYPE for each family, escaped label values, deterministic
 * order. */
void metrics_write(const struct metrics *m, struct buf *out);

/* Bucket bounds for waits from a millisecond to an hour. */
enum { METRIC_SECONDS_COUNT = 20 };
extern const double METRIC_SECONDS[METRIC_SECONDS_COUNT];

#endif
