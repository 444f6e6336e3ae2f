/* From a claimed job row to the bytes of its ag_queue message. Pure. */
#ifndef AGWB_PUBLISHER_REQUEST_H
#define AGWB_PUBLISHER_REQUEST_H

#include "base/buf.h"
#include "base/err.h"
#include "io/db.h"

/* The columns of agwb.claim_jobs(), in its order. */
enum job_column {
    JOB_ID = 0,
    JOB_TASK_TYPE,
    JOB_PRIORITY,
    JOB_ATTEMPTS,
    JOB_CREATED_MS,
    JOB_WORKSPACE_ID,
    JOB_CONTACT_ID,
    JOB_CONVERSATION_ID,
    JOB_CHANNEL,
    JOB_REMOTE_JID,
    JOB_PHONE_NUMBER,
    JOB_NAME,
    JOB_COUNTRY_CODE,
    JOB_NOTES,
    JOB_SESSION_DATA,
    JOB_MESSAGE_TEXT,
    JOB_MESSAGE_ID,
    JOB_MESSAGE_AT,
    JOB_HISTORY,
    JOB_REFUSED,
    JOB_FAULT,
};

/* Appends the request for row `row` to out. -1 and ERR_DATA: the row is at fault (a number that is none,
 * too large, ...), out is as before. */
int request_from_row(const struct db_result *rows, size_t row, int max_retries, struct buf *out,
                     struct err *e) MUST_CHECK;

#endif
