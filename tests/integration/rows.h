/* The test's database: statements by a session of its own, and the rows that tests begin with. Statements are
 * texts with printf's conversions; a failed one ends the test. */
#ifndef AGWB_TESTS_ROWS_H
#define AGWB_TESTS_ROWS_H

#include "pair.h"

/* Into a migrated database, once a group:
 *   test.contact(n) returns uuid       makes contact n (0..99), its workspace and its WhatsApp conversation
 * if they are not there: "Contact n", +1202555(0100 + n), its JID, country code 1 test.job(n, text) returns
 * uuid     an inbound message of contact n and its job test.id(kind, n) returns uuid      the fixed ids: 0
 * workspace, 1 contact, 2 conversation */
void rows_make_fixture(struct pair *p);

void sql_run(struct pair *p, const char *format, ...) PRINTF_LIKE(2, 3);
int64_t sql_int(struct pair *p, const char *format, ...) PRINTF_LIKE(2, 3);
/* The first column of the first row; "" for NULL and for no row. Lives as long as the test. */
const char *sql_text(struct pair *p, const char *format, ...) PRINTF_LIKE(2, 3);
/* After the server was away: the next statement opens a new session. */
void sql_forget(struct pair *p);
/* Another session on the test's database, for locks; the caller closes it. */
struct db_session *sql_session(struct pair *p);
void sql_session_run(struct db_session *s, const char *sql);
void sql_session_undo(struct db_session **s); /* rolls back, and closes it */
/* Whether a program's call of this function waits for a lock. */
bool sql_is_waiting(struct pair *p, const char *function);

/* test.job(): the job's id; lives as sql_text's. */
const char *job_add(struct pair *p, int contact, const char *text);
/* `count` jobs in one statement: "question FIRST", ..., spread over 50 contacts. */
void job_add_many(struct pair *p, int first, int count);
/* How many jobs satisfy the condition, e.g. "status = 'complete'". */
int64_t job_count(struct pair *p, const char *condition);
/* Holds its row in a transaction: whoever accepts its answer waits, with the claim's turn taken. */
struct db_session *job_hold(struct pair *p, const char *job);

bool delivery_is(struct pair *p, const char *message_id, const char *state); /* agwb.deliveries.state */

/* A webhook as its provider posts it, unsigned: the body is a text with printf's conversions. */
void hook_add(struct pair *p, const char *provider, const char *format, ...) PRINTF_LIKE(3, 4);
int64_t hook_count(struct pair *p, const char *condition); /* rows of webhook_inbox */

#endif
