/* The traffic, live: inserts what the plan says when it is due, shows what becomes of it, and ends when
 * everything is settled. */
#ifndef AGWB_TESTS_DEMO_PLAY_H
#define AGWB_TESTS_DEMO_PLAY_H

#include "base/err.h"
#include "io/broker.h"
#include "io/db.h"
#include "tests/demo/plan.h"
#include "tests/demo/screen.h"

/* Where the demo takes place. Borrowed. */
struct scene {
    const struct plan *plan;
    struct screen *screen;
    struct db_session *db;
    struct broker_session *broker;
    const char *provider_journal, *agent_journal; /* files of the stand-ins */
};

/* 0 when every message came to its end; whether to the right one is check.h's business. -1 and err when
 * something cannot be reached or nothing has moved for a minute. */
int play(const struct scene *scene, struct err *e) MUST_CHECK;

#endif
