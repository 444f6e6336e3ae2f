/* One row of webhook_inbox between the claim and the record: read by its provider's parser, then written as
 * the JSON that record_inbox() takes. Decides what makes a row ignored or failed; knows no database. */
#ifndef AGWB_PUBLISHER_INBOX_ROW_H
#define AGWB_PUBLISHER_INBOX_ROW_H

#include "base/buf.h"
#include "base/uuid.h"
#include "domain/config.h"
#include "domain/contact.h"
#include "publisher/webhooks/webhook.h"

enum { INBOX_MAX_BODY = 3 * 1024 * 1024 };

enum inbox_result { INBOX_DONE = 0, INBOX_IGNORED, INBOX_FAILED };
/* Spelled as webhook_inbox.status. */
const char *inbox_result_name(enum inbox_result r);

struct inbox_row {
    char id[UUID_TEXT_LEN + 1];
    const char *provider;                 /* for labels and logs: the provider's name, "other" when unknown */
    const char *account_name;             /* of the account, else as the row says it; NULL when neither */
    const struct config_account *account; /* the configuration's; NULL: none */
    enum inbox_result result;
    const char *error; /* why it is ignored or failed, or what of it was passed over; NULL = nothing */
    bool is_forged;    /* refused by the check of who sent it */
    struct webhook_events events;
};

/* What the claim hands out. Borrowed. */
struct inbox_claim {
    const char *id, *provider, *account; /* account: NULL = not said */
    const char *headers;                 /* JSON text; NULL = none */
    const char *body;                    /* NULL = none */
    size_t body_len;
    const char *fault; /* why it is not read; NULL = it is */
};

/* Fills *row; whatever is wrong becomes its result and error. Everything lies in the arena afterwards. */
void inbox_row_read(const struct config *c, const struct inbox_claim *claim, struct arena *a,
                    struct inbox_row *row);
/* From now on the row fails: without messages and receipts. */
void inbox_row_fail(struct inbox_row *row, struct arena *a, const char *reason);

/* Append the row's messages or receipts as JSON objects behind what is in the array already. */
void inbox_row_write_messages(const struct inbox_row *row, struct buf *out);
void inbox_row_write_receipts(const struct inbox_row *row, struct buf *out);

/* The account of a message or receipt, of which `other` is what it says itself; NULL: none. */
const char *inbox_row_account(const struct inbox_row *row, const struct config_account *other);
/* A message's sender as the log may name it. Returns out. */
const char *inbox_mask_sender(const struct webhook_message *m, char out[CONTACT_MASK_SIZE]);

#endif
