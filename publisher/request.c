/* Builds a request from a row: what PostgreSQL made as JSON (history, session data) is spliced, the rest
 * is written. */
#include "publisher/request.h"

#include <string.h>

#include "base/clock.h"
#include "domain/contact.h"
#include "domain/message.h"

static const char *column(const struct db_result *rows, size_t row, enum job_column col)
{
    return db_text_or_null(rows, row, (int)col);
}

/* The number as E.164, taken from the JID where the row has none; NULL when the contact has no number. */
static int contact_number(const char *raw, const char *jid, char number[CONTACT_E164_MAX + 1],
                          const char **out, struct err *e)
{
    *out = number;
    if (raw) {
        if (!contact_normalise_number(raw, number))
            return err_set(e, ERR_DATA, 0, "the contact's phone_number is not E.164 (+ and 8 to 15 digits)");
        return 0;
    }
    if (!contact_number_from_jid(jid, number))
        *out = NULL;
    return 0;
}

/* The country code is dropped when it contradicts the number: a wrong hint is worse than none. */
static const char *country_code(const char *code, const char *number)
{
    if (!code)
        return NULL;
    if (code[0] == '+')
        code++;
    if (number && strncmp(number + 1, code, strlen(code)) != 0)
        return NULL;
    return code;
}

int request_from_row(const struct db_result *rows, size_t row, int max_retries, struct buf *out,
                     struct err *e)
{
    char number[CONTACT_E164_MAX + 1];
    const char *jid = column(rows, row, JOB_REMOTE_JID);
    const char *phone;
    struct request q = {0};

    if (contact_number(column(rows, row, JOB_PHONE_NUMBER), jid, number, &phone, e) != 0)
        return -1;
    if (jid && contact_jid_kind_of(jid) == CONTACT_JID_NONE)
        return err_set(e, ERR_DATA, 0,
                       "the contact's remote_jid is not a JID (number@s.whatsapp.net, ...@lid, ...@g.us)");

    q.message_id = column(rows, row, JOB_ID);
    q.timestamp_s = clock_wall_ms() / 1000;
    q.task_type = column(rows, row, JOB_TASK_TYPE);
    q.contact.remote_jid = jid;
    q.contact.phone_number = phone;
    q.contact.name = column(rows, row, JOB_NAME);
    q.contact.country_code = country_code(column(rows, row, JOB_COUNTRY_CODE), phone);
    q.message.text = column(rows, row, JOB_MESSAGE_TEXT);
    q.message.message_id = column(rows, row, JOB_MESSAGE_ID);
    q.message.timestamp_s = db_int(rows, row, JOB_MESSAGE_AT);
    q.history_json = column(rows, row, JOB_HISTORY);
    q.user_notes = column(rows, row, JOB_NOTES);
    q.session_data_json = column(rows, row, JOB_SESSION_DATA);
    q.priority = message_priority_word((int)db_int(rows, row, JOB_PRIORITY));
    q.retry_count = (int)db_int(rows, row, JOB_ATTEMPTS) - 1;
    q.max_retries = max_retries;
    q.workspace_id = column(rows, row, JOB_WORKSPACE_ID);
    q.conversation_id = column(rows, row, JOB_CONVERSATION_ID);
    q.contact_id = column(rows, row, JOB_CONTACT_ID);
    if (!channel_parse(db_text(rows, row, JOB_CHANNEL), &q.channel))
        q.channel = CHANNEL_NONE;
    return message_write_request(&q, out, e);
}
