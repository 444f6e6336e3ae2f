/* What the demo does to the servers: the part of the existing backend, which inserts messages and jobs, and
 * what an operator would look up. */
#ifndef AGWB_TESTS_DEMO_BACKEND_H
#define AGWB_TESTS_DEMO_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/db.h"
#include "tests/demo/plan.h"

/* Workspaces, customers, conversations and their earlier messages. */
int backend_insert_people(struct db_session *db, const struct plan *p, struct err *e) MUST_CHECK;
/* Those of the messages first..first+count-1 that come by the backend, and their jobs, in one transaction. */
int backend_insert_inbound(struct db_session *db, const struct plan *p, size_t first, size_t count,
                           struct err *e) MUST_CHECK;
/* The others of them: each as its provider's webhook, signed, into webhook_inbox. */
int backend_store_webhooks(struct db_session *db, const struct plan *p, size_t first, size_t count,
                           struct err *e) MUST_CHECK;

/* Jobs that ended without a reply (id, status, error). NULL and err on failure. */
struct db_result *backend_find_ended(struct db_session *db, struct err *e);
/* Webhooks, jobs, deliveries and receipts that somebody still works on or waits for. */
int backend_count_open(struct db_session *db, int64_t *count, struct err *e) MUST_CHECK;

#endif
