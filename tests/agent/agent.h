/* The stand-in AI agent: consumes requests, answers them, and acks a request only when the broker has its
 * replies. */
#ifndef AGWB_TESTS_AGENT_AGENT_H
#define AGWB_TESTS_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/loop.h"
#include "tests/agent/behaviour.h"

struct agent_settings { /* borrowed for the agent's life */
    const char *host;   /* "127.0.0.1:5672" */
    const char *user, *password, *vhost;
    const char *agent_queue, *webhook_queue;
    uint16_t prefetch;
    int64_t delay_ms; /* thinking time of every request, before what markers add */
    bool deterministic_ids;
    bool echo_ids;
    bool repeatable;     /* the same request always gets the same bytes */
    const char *journal; /* a file, or NULL */
    uint64_t count;      /* stop after that many requests; 0 = go on */
    struct behaviour_script *script;
};

struct agent;

/* Prints "ready" on stdout once it consumes for the first time. */
struct agent *agent_new(struct loop *l, const struct agent_settings *s, struct err *e);
/* Takes no further requests, lets what is published be confirmed, then stops the loop; after 5 s it stops in
 * any case. */
void agent_stop(struct agent *a);
void agent_free(struct agent **a);

#endif
