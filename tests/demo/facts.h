/* What became of each message, from the three places that know: the database, the provider's journal and the
 * agent's journal. */
#ifndef AGWB_TESTS_DEMO_FACTS_H
#define AGWB_TESTS_DEMO_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tests/demo/play.h"

enum { FACTS_ID_SIZE = 128, FACTS_ERROR_SIZE = 120 };

struct fact { /* of one message of the plan */
    /* the database */
    char job_id[FACTS_ID_SIZE];
    char inbox[16];  /* status of its webhook's row; "" = it came another way */
    char status[16]; /* of the job; "" = there is no row */
    char error[FACTS_ERROR_SIZE];
    double created_ms, published_ms; /* 0 = never */
    size_t deliveries;               /* rows of the ledger */
    char state[16], provider_id[FACTS_ID_SIZE];
    char row_status[16], row_external_id[FACTS_ID_SIZE]; /* of the assistant's message; "" = there is none */
    /* the provider: of the replies that it took */
    size_t taken;
    bool is_wrong_person, is_wrong_text, is_wrong_way;
    int64_t taken_ms;
    char taken_id[FACTS_ID_SIZE];
    /* the agent */
    size_t asked;   /* requests, told apart by their replies' ids */
    size_t replies; /* that the broker took from it */
    char reply_id[FACTS_ID_SIZE];
};

struct fact_ref {
    struct fact *fact;
};

struct facts {
    struct fact *of;                       /* owned; one for each message of the plan */
    struct fact_ref *by_job;               /* owned; the same, ascending by job_id */
    size_t foreign_jobs, foreign_requests; /* rows and HTTP requests that belong to no message of the plan */
    size_t not_taken;                      /* HTTP requests that the provider did not take */
    size_t usage_logs;
    size_t receipts, receipts_failed; /* webhooks about our messages; those that were not done */
};

int facts_gather(struct facts *f, const struct scene *scene, struct err *e) MUST_CHECK;
void facts_fini(struct facts *f);

#endif
