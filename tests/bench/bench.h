/* The measuring tools of `make bench`: what the servers do alone, what stands in for the provider, and a
 * stopwatch from a committed row to its message. Each prints one JSON object. They use the same modules as
 * the daemons. */
#ifndef AGWB_TESTS_BENCH_H
#define AGWB_TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The least that a provider can be: answers each POST as Wasender does, after delay_ms. GET /count says how
 * many came and to how many recipients. Prints "listening PORT"; until SIGTERM. */
int sink_run(int64_t delay_ms, struct err *e) MUST_CHECK;

/* Publishes `count` messages of body_bytes with confirms, at most `window` unconfirmed. With queue NULL: to
 * one of its own. */
int pump_run(const char *amqp, const char *queue, int64_t count, int64_t window, int64_t body_bytes,
             struct err *e) MUST_CHECK;
/* Fills wb_queue with replies FIRST.. to as many contacts; for_jobs: each answers the job with the id
 * 00000000-0000-4000-8000-<its number>. */
int replies_run(const char *amqp, int64_t first, int64_t count, bool for_jobs, struct err *e) MUST_CHECK;
/* Takes `count` messages from a queue and waits a moment for one too many: how many came, with how many ids.
 */
int drain_run(const char *amqp, const char *queue, int64_t count, struct err *e) MUST_CHECK;

/* POSTs `count` requests to the sink, `in_flight` at a time. */
int web_run(int port, int64_t count, int64_t in_flight, struct err *e) MUST_CHECK;

/* Claims and records `count` jobs, one statement after the other: PostgreSQL alone. */
int rows_run(const char *url, int64_t count, int64_t batch, struct err *e) MUST_CHECK;
/* Inserts `count` jobs one at a time and waits for each on ag_queue. */
int latency_run(const char *url, const char *amqp, int64_t count, struct err *e) MUST_CHECK;

/* How many different texts there were, up to half a million; freed by free(). */
struct distinct;
struct distinct *distinct_new(void);
void distinct_add(struct distinct *d, const char *text, size_t len);
uint64_t distinct_count(const struct distinct *d);

/* CPU milliseconds of this process. */
double cpu_ms(void);

#endif
