/* `agwb-publisher trace`: the whole way of one message, with the time that each hop took. Numbers are masked,
 * what was said is shown only when asked for. */
#ifndef AGWB_PUBLISHER_TRACE_H
#define AGWB_PUBLISHER_TRACE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "domain/config.h"
#include "io/db.h"

/* For struct daemon_command. */
int trace_command(const struct config *c, int argc, char **argv, struct err *e);

struct trace_options {
    const char *id; /* borrowed from argv; NULL only with help */
    bool json, body, help;
};
int trace_options_parse(int argc, char **argv, struct trace_options *o, struct err *e) MUST_CHECK;

/* One event as agwb.trace() has it; previous_ms: the one before, 0 for the first. Pure. */
struct trace_event {
    int64_t at_ms, previous_ms;
    const char *event;
    const char *id;    /* NULL = none, or in text the same as before */
    int64_t took_ms;   /* -1 = unknown */
    const char *facts; /* a JSON object */
    const char *body;  /* NULL = none, or not asked for */
};
void trace_write_event(struct buf *out, bool json, const struct trace_event *e);

/* "12 ms", "3.4 s", "5 min 10 s", "2 h 5 min", "3 d 4 h". */
enum { TRACE_SPAN_SIZE = 32 };
const char *trace_span(int64_t ms, char out[TRACE_SPAN_SIZE]);

#endif
