/* The registry of metrics and its text form. Knows no metric by name. */
#include "base/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

const double METRIC_SECONDS[METRIC_SECONDS_COUNT] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   30,
                                                     60,    120,    300,   600,  1800,  3600};

/* One set of label values. */
struct series {
    char *labels[METRIC_MAX_LABELS]; /* NULL beyond the family's names */
    double value;                    /* histogram: the sum */
    uint64_t count;                  /* histogram: observations */
    uint64_t buckets[]; /* histogram: observations in each bucket alone, the last one up to +Inf */
};

struct family {
    const struct metric_family *about;
    struct series **series; /* sorted by label values */
    size_t series_count;
    struct series *last; /* the one used last is often the next */
};

enum { CACHE_SLOTS = 64 };

struct metrics {
    struct family **families; /* in the order of registration */
    size_t family_count;
    struct family *cache[CACHE_SLOTS]; /* by the address of the description */
};

struct metrics *metrics_new(void)
{
    return xcalloc(1, sizeof(struct metrics));
}

static void family_free(struct family *f)
{
    for (size_t i = 0; i < f->series_count; i++) {
        for (size_t n = 0; n < METRIC_MAX_LABELS; n++)
            free(f->series[i]->labels[n]);
        free(f->series[i]);
    }
    free(f->series);
    free(f);
}

void metrics_free(struct metrics **m)
{
    if (!*m)
        return;
    for (size_t i = 0; i < (*m)->family_count; i++)
        family_free((*m)->families[i]);
    free((*m)->families);
    free(*m);
    *m = NULL;
}

/* --- finding a series ---------------------------------------------------------------------------- */

static struct family *find_family(const struct metrics *m, const struct metric_family *about)
{
    for (size_t i = 0; i < m->family_count; i++)
        if (m->families[i]->about == about)
            return m->families[i];
    return NULL;
}

/* The family, registered if it is not yet. */
static struct family *family_of(struct metrics *m, const struct metric_family *about)
{
    struct family **slot = &m->cache[(uintptr_t)about / sizeof *about % CACHE_SLOTS];
    if (*slot && (*slot)->about == about)
        return *slot;
    struct family *f = find_family(m, about);
    if (!f) {
        f = xcalloc(1, sizeof *f);
        f->about = about;
        m->families = xrealloc(m->families, m->family_count + 1, sizeof(struct family *));
        m->families[m->family_count++] = f;
    }
    *slot = f;
    return f;
}

/* The label values as they are kept: "" for one that was not given, NULL where the family has no label. */
static void fill_labels(const struct metric_family *about, const char *labels[METRIC_MAX_LABELS])
{
    for (size_t n = 0; n < METRIC_MAX_LABELS; n++) {
        if (!about->labels[n])
            labels[n] = NULL;
        else if (!labels[n])
            labels[n] = "";
    }
}

static int compare_labels(const struct series *s, const char *const labels[METRIC_MAX_LABELS])
{
    int order = 0;
    for (size_t n = 0; n < METRIC_MAX_LABELS && labels[n] && order == 0; n++)
        order = strcmp(s->labels[n], labels[n]);
    return order;
}

/* The place of the series with these labels, or the place where it would be inserted. */
static size_t search(const struct family *f, const char *const labels[METRIC_MAX_LABELS], bool *found)
{
    size_t low = 0, high = f->series_count;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = compare_labels(f->series[middle], labels);
        *found = order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return *found ? high : low;
}

static struct series *insert(struct family *f, size_t place, const char *const labels[METRIC_MAX_LABELS])
{
    bool histogram = f->about->kind == METRIC_HISTOGRAM;
    size_t buckets = histogram ? f->about->bucket_count + 1 : 0;
    struct series *s = xcalloc(1, sizeof *s + buckets * sizeof *s->buckets);
    for (size_t n = 0; n < METRIC_MAX_LABELS; n++)
        s->labels[n] = xstrdup(labels[n]);
    f->series = xrealloc(f->series, f->series_count + 1, sizeof(struct series *));
    memmove(f->series + place + 1, f->series + place, (f->series_count - place) * sizeof(struct series *));
    f->series[place] = s;
    f->series_count++;
    return s;
}

/* The series with these label values, made if it is not there; the common one when the family has too many.
 */
static struct series *series_of(struct metrics *m, const struct metric_family *about, const char *l1,
                                const char *l2)
{
    struct family *f = family_of(m, about);
    const char *labels[METRIC_MAX_LABELS] = {l1, l2};
    fill_labels(about, labels);
    if (f->last && compare_labels(f->last, labels) == 0)
        return f->last;

    bool found;
    size_t place = search(f, labels, &found);
    if (!found && f->series_count >= METRIC_MAX_SERIES) {
        for (size_t n = 0; n < METRIC_MAX_LABELS && labels[n]; n++)
            labels[n] = "other";
        place = search(f, labels, &found);
    }
    f->last = found ? f->series[place] : insert(f, place, labels);
    return f->last;
}

/* --- changing it --------------------------------------------------------------------------------- */

void metrics_register(struct metrics *m, const struct metric_family *f)
{
    family_of(m, f);
    if (!f->labels[0])
        metric_touch(m, f, NULL, NULL);
}

void metric_touch(struct metrics *m, const struct metric_family *f, const char *l1, const char *l2)
{
    series_of(m, f, l1, l2);
}

void metric_add(struct metrics *m, const struct metric_family *f, double n, const char *l1, const char *l2)
{
    assert(f->kind != METRIC_HISTOGRAM);
    if (f->kind == METRIC_COUNTER && !(n >= 0))
        return; /* amounts may come from outside; a counter that falls would read as a restart */
    series_of(m, f, l1, l2)->value += n;
}

void metric_set(struct metrics *m, const struct metric_family *f, double v, const char *l1, const char *l2)
{
    assert(f->kind != METRIC_HISTOGRAM);
    series_of(m, f, l1, l2)->value = v;
}

void metric_observe(struct metrics *m, const struct metric_family *f, double v, const char *l1,
                    const char *l2)
{
    assert(f->kind == METRIC_HISTOGRAM);
    if (isnan(v))
        return; /* would spoil the sum for good */
    struct series *s = series_of(m, f, l1, l2);
    size_t bucket = 0;
    while (bucket < f->bucket_count && !(v <= f->buckets[bucket]))
        bucket++;
    s->buckets[bucket]++;
    s->count++;
    s->value += v;
}

double metric_value(const struct metrics *m, const struct metric_family *f, const char *l1, const char *l2)
{
    const struct family *family = find_family(m, f);
    if (!family)
        return 0;
    const char *labels[METRIC_MAX_LABELS] = {l1, l2};
    fill_labels(f, labels);
    bool found;
    size_t place = search(family, labels, &found);
    if (!found)
        return 0;
    const struct series *s = family->series[place];
    return f->kind == METRIC_HISTOGRAM ? (double)s->count : s->value;
}

/* --- the text form ------------------------------------------------------------------------------- */

static void write_escaped(struct buf *out, const char *s, const char *special)
{
    for (; *s != '\0'; s++) {
        if (*s == '\n') {
            buf_add_str(out, "\\n");
            continue;
        }
        if (strchr(special, *s))
            buf_add_char(out, '\\');
        buf_add_char(out, *s);
    }
}

/* The shortest of the two precisions that gives the same number back. */
static void write_number(struct buf *out, double v)
{
    if (isnan(v)) {
        buf_add_str(out, "NaN");
        return;
    }
    if (isinf(v)) {
        buf_add_str(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    char text[32];
    snprintf(text, sizeof text, "%.15g", v);
    if (strtod(text, NULL) != v) /* NOLINT: the same number, not about the same */
        snprintf(text, sizeof text, "%.17g", v);
    buf_add_str(out, text);
}

/* name_suffix{labels,le="..."} and a space; `le` is NULL for all but buckets. */
static void write_name(struct buf *out, const struct metric_family *f, const struct series *s,
                       const char *suffix, const double *le)
{
    char before = '{';
    buf_add_str(out, f->name);
    buf_add_str(out, suffix);
    for (size_t n = 0; n < METRIC_MAX_LABELS && f->labels[n]; n++) {
        buf_add_char(out, before);
        buf_add_str(out, f->labels[n]);
        buf_add_str(out, "=\"");
        write_escaped(out, s->labels[n], "\\\"");
        buf_add_char(out, '"');
        before = ',';
    }
    if (le) {
        buf_add_char(out, before);
        buf_add_str(out, "le=\"");
        write_number(out, *le);
        buf_add_char(out, '"');
        before = ',';
    }
    buf_add_str(out, before == ',' ? "} " : " ");
}

static void write_sample(struct buf *out, double v)
{
    write_number(out, v);
    buf_add_char(out, '\n');
}

static void write_histogram(struct buf *out, const struct metric_family *f, const struct series *s)
{
    const double infinite = INFINITY;
    uint64_t up_to = 0;
    for (size_t i = 0; i <= f->bucket_count; i++) {
        up_to += s->buckets[i];
        write_name(out, f, s, "_bucket", i < f->bucket_count ? &f->buckets[i] : &infinite);
        write_sample(out, (double)up_to);
    }
    write_name(out, f, s, "_sum", NULL);
    write_sample(out, s->value);
    write_name(out, f, s, "_count", NULL);
    write_sample(out, (double)s->count);
}

static void write_family(struct buf *out, const struct family *family)
{
    static const char *const kinds[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    const struct metric_family *f = family->about;

    buf_printf(out, "# HELP %s ", f->name);
    write_escaped(out, f->help, "\\");
    buf_printf(out, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
    for (size_t i = 0; i < family->series_count; i++) {
        const struct series *s = family->series[i];
        if (f->kind == METRIC_HISTOGRAM) {
            write_histogram(out, f, s);
            continue;
        }
        write_name(out, f, s, "", NULL);
        write_sample(out, s->value);
    }
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < m->family_count; i++)
        write_family(out, m->families[i]);
}
