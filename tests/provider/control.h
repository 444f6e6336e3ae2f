/* What tests steer the stand-in with and ask it: POST /_control/script, GET
 * /_control/journal?after=N&limit=M, GET /_control/stats, POST /_control/reset. Control requests are never
 * journaled and never meet a fault. */
#ifndef AGWB_TESTS_PROVIDER_CONTROL_H
#define AGWB_TESTS_PROVIDER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/provider/journal.h"
#include "tests/provider/provider.h"
#include "tests/provider/script.h"

struct stats {
    uint64_t requests, accepted; /* since the last reset, as by_* */
    uint64_t by_status[600], by_fault[FAULT_COUNT];
    uint64_t connections, connections_open;
    uint64_t in_flight, max_in_flight; /* requests whose headers came and which are not answered yet */
};

struct control {
    struct journal *journal;
    struct script *script; /* owned; NULL = no faults */
    struct stats stats;
    uint64_t answers; /* given by providers since the start; numbers their message ids */
    bool release;     /* a reset wants every waiting request dropped; the server clears it */
};

bool control_owns(const char *path);
/* `after` and `limit` are the query's arguments, NULL when absent. */
void control_answer(struct control *c, const struct provider_request *q, const char *after, const char *limit,
                    struct provider_answer *a);

#endif
