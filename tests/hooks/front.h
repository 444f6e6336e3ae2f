/* The customer's HTTP front end: takes what a provider posts and puts it into webhook_inbox, as it came. */
#ifndef AGWB_TESTS_HOOKS_FRONT_H
#define AGWB_TESTS_HOOKS_FRONT_H

#include "base/err.h"
#include "io/db.h"
#include "tests/hooks/payload.h"

struct front {
    struct db_session *db;
    const char *secret; /* "" = unsigned */
    const char *url;    /* what Twilio calls */
};

/* Signs the body and stores it; the account is left to the payload. */
int front_store(struct front *f, const struct hook_provider *p, struct buf *body, struct err *e) MUST_CHECK;

#endif
