/* A row's way: provider, account, proof of the sender, parse. Texts that a person writes are cut to what we
 * store; ids are not cut, a row whose ids are too long to be ids fails. */
#include "publisher/inbox_row.h"

#include <inttypes.h>
#include <string.h>

#include "base/utf8.h"

enum { ID_MAX_CHARS = MESSAGE_MAX_EXTERNAL_ID, ADDRESS_MAX_CHARS = 320, DETAIL_MAX_CHARS = 1000 };

const char *inbox_result_name(enum inbox_result r)
{
    switch (r) {
    case INBOX_DONE:
        return "done";
    case INBOX_IGNORED:
        return "ignored";
    case INBOX_FAILED:
        return "failed";
    }
    return "";
}

void inbox_row_fail(struct inbox_row *row, struct arena *a, const char *reason)
{
    row->result = INBOX_FAILED;
    row->error = arena_dup(a, reason, utf8_prefix(reason, DETAIL_MAX_CHARS));
    row->events.message_count = 0;
    row->events.receipt_count = 0;
}

/* --- reading --- */

static bool is_too_long(const char *text, size_t max_chars)
{
    return text && utf8_prefix(text, max_chars) < strlen(text);
}

/* NULL, or what makes a message unusable whatever it says. */
static const char *message_fault(const struct webhook_message *m)
{
    if (!m->external_id || m->external_id[0] == '\0')
        return "a message has no id";
    if (is_too_long(m->external_id, ID_MAX_CHARS) || is_too_long(m->quoted_id, ID_MAX_CHARS))
        return "a message's id is too long";
    if (!m->number && !m->jid && !m->email && !m->user_id)
        return "a message names no sender";
    if (is_too_long(m->number, CONTACT_E164_MAX) || is_too_long(m->jid, ADDRESS_MAX_CHARS) ||
        is_too_long(m->email, ADDRESS_MAX_CHARS) || is_too_long(m->user_id, ADDRESS_MAX_CHARS))
        return "a message's sender is too long";
    if (!m->text || !m->content_type || m->channel == CHANNEL_NONE)
        return "a message has no text, kind or channel";
    return NULL;
}

static const char *receipt_fault(const struct webhook_receipt *r)
{
    if (is_too_long(r->external_id, ID_MAX_CHARS) || is_too_long(r->our_id, ID_MAX_CHARS))
        return "a receipt's id is too long";
    if (is_too_long(r->recipient, ADDRESS_MAX_CHARS))
        return "a receipt's recipient is too long";
    return NULL;
}

static const char *events_fault(const struct webhook_events *ev)
{
    const char *fault = NULL;

    for (size_t i = 0; i < ev->message_count && !fault; i++)
        fault = message_fault(&ev->messages[i]);
    for (size_t i = 0; i < ev->receipt_count && !fault; i++)
        fault = receipt_fault(&ev->receipts[i]);
    return fault;
}

/* What is for another account than the row's, and not proven to be, is passed over. */
static void tell_parts(const struct config *c, const struct webhook_provider *p, struct inbox_row *row)
{
    struct webhook_events *ev = &row->events;
    size_t messages = 0, receipts = 0;

    for (size_t i = 0; i < ev->message_count; i++) {
        struct webhook_message m = ev->messages[i];
        if (webhook_is_proven_part(c, p, row->account, m.hint, &m.other))
            ev->messages[messages++] = m;
    }
    for (size_t i = 0; i < ev->receipt_count; i++) {
        struct webhook_receipt r = ev->receipts[i];
        if (webhook_is_proven_part(c, p, row->account, r.hint, &r.other))
            ev->receipts[receipts++] = r;
    }
    if (messages < ev->message_count || receipts < ev->receipt_count)
        webhook_ignore(ev, "what is for another account than the first part's, and not proven by its secret");
    ev->message_count = messages;
    ev->receipt_count = receipts;
}

static int parse(const struct config *c, const struct webhook_provider *p, const struct webhook_row *w,
                 struct inbox_row *row, struct arena *a, struct err *e)
{
    const char *fault;

    row->account = webhook_account(c, p, w, a, e);
    if (!row->account && e->class == ERR_DATA)
        return -1;
    if (row->account)
        row->account_name = row->account->name;
    if (webhook_check_sender(c, p, row->account, w, e) != 0) {
        row->is_forged = true;
        return -1;
    }
    if (p->parse(w, row->account, &row->events, e) != 0)
        return -1;
    if (!w->account || w->account[0] == '\0')
        tell_parts(c, p, row);
    fault = events_fault(&row->events);
    return fault ? err_set(e, ERR_DATA, 0, "%s", fault) : 0;
}

static int read_events(const struct config *c, const struct webhook_provider *p,
                       const struct inbox_claim *claim, struct arena *a, struct inbox_row *row, struct err *e)
{
    struct webhook_row w = {.provider = claim->provider,
                            .account = claim->account,
                            .body = claim->body,
                            .body_len = claim->body_len};
    struct json *headers = NULL;
    int rc;

    if (claim->body_len == 0)
        return err_set(e, ERR_DATA, 0, "the body is empty");
    if (claim->headers) {
        headers = json_parse_foreign(claim->headers, strlen(claim->headers), e);
        if (!headers)
            return err_prefix(e, "headers");
        w.headers = json_root(headers);
    }
    rc = parse(c, p, &w, row, a, e);
    json_free(&headers);
    return rc;
}

void inbox_row_read(const struct config *c, const struct inbox_claim *claim, struct arena *a,
                    struct inbox_row *row)
{
    struct err e = {.class = ERR_NONE};
    const struct webhook_provider *p = webhook_find(c, claim->provider, claim->account, &e);

    *row = (struct inbox_row){.provider = p ? p->name : "other", .events.arena = a};
    memcpy(row->id, claim->id, sizeof row->id);
    row->account_name = arena_strdup(a, claim->account);
    if (claim->fault) {
        inbox_row_fail(row, a, claim->fault);
    } else if (!p || read_events(c, p, claim, a, row, &e) != 0) {
        inbox_row_fail(row, a, e.text);
    } else {
        row->result = row->events.message_count + row->events.receipt_count > 0 ? INBOX_DONE : INBOX_IGNORED;
        row->error = row->events.ignored[0] != '\0' ? row->events.ignored
                     : row->result == INBOX_IGNORED ? "nothing in it for us"
                                                    : NULL;
    }
}

/* --- writing --- */

static void separate(struct buf *b)
{
    if (b->len > 0 && b->data[b->len - 1] != '{' && b->data[b->len - 1] != '[')
        buf_add_char(b, ',');
}

static void add_key(struct buf *b, const char *key)
{
    separate(b);
    buf_add_json_str(b, key, strlen(key));
    buf_add_char(b, ':');
}

/* Left out when NULL. */
static void add_text(struct buf *b, const char *key, const char *value, size_t max_chars)
{
    if (!value)
        return;
    add_key(b, key);
    buf_add_json_str(b, value, utf8_prefix(value, max_chars));
}

static void add_int(struct buf *b, const char *key, int64_t value)
{
    if (value <= 0)
        return;
    add_key(b, key);
    buf_printf(b, "%" PRId64, value);
}

const char *inbox_row_account(const struct inbox_row *row, const struct config_account *other)
{
    return other ? other->name : row->account_name;
}

static void add_origin(struct buf *b, const struct inbox_row *row, const struct config_account *other)
{
    separate(b);
    buf_add_char(b, '{');
    add_text(b, "row", row->id, UUID_TEXT_LEN);
    add_text(b, "provider", row->provider, MESSAGE_MAX_WORD);
    add_text(b, "account", inbox_row_account(row, other), MESSAGE_MAX_WORD);
}

static void add_workspaces(struct buf *b, const struct config_account *account)
{
    add_key(b, "workspaces");
    buf_add_char(b, '[');
    for (size_t i = 0; account && i < account->workspace_count; i++) {
        separate(b);
        buf_add_json_str(b, account->workspaces[i], strlen(account->workspaces[i]));
    }
    buf_add_char(b, ']');
}

static void add_media(struct buf *b, const struct webhook_message *m)
{
    if (!m->media_url && !m->media_id)
        return;
    add_key(b, "media");
    buf_add_char(b, '{');
    add_text(b, "url", m->media_url, SIZE_MAX);
    add_text(b, "id", m->media_id, SIZE_MAX);
    add_text(b, "mimeType", m->media_type, MESSAGE_MAX_WORD);
    add_text(b, "fileName", m->media_name, MESSAGE_MAX_NAME);
    buf_add_char(b, '}');
}

/* The provider's own id of a person, told apart by its channel: "instagram:178...". */
static void add_person(struct buf *b, const struct webhook_message *m)
{
    const char *channel = channel_name(m->channel);
    struct buf person;

    if (!m->user_id)
        return;
    buf_init(&person, 4 * ADDRESS_MAX_CHARS + 64);
    buf_printf(&person, "%s:%s", channel, m->user_id);
    add_text(b, "person", buf_str(&person), SIZE_MAX);
    buf_fini(&person);
}

static const char *wish_name(enum webhook_wish wish)
{
    switch (wish) {
    case WISH_NONE:
        return NULL;
    case WISH_STOP:
        return "stop";
    case WISH_START:
        return "start";
    case WISH_HELP:
        return "help";
    }
    return NULL;
}

static void write_message(const struct inbox_row *row, const struct webhook_message *m, struct buf *b)
{
    add_origin(b, row, m->other);
    add_workspaces(b, m->other ? m->other : row->account);
    add_text(b, "externalId", m->external_id, ID_MAX_CHARS);
    add_text(b, "channel", channel_name(m->channel), MESSAGE_MAX_WORD);
    add_text(b, "number", m->number, CONTACT_E164_MAX);
    add_text(b, "jid", m->jid, ADDRESS_MAX_CHARS);
    add_text(b, "email", m->email, ADDRESS_MAX_CHARS);
    add_person(b, m);
    add_text(b, "name", m->name, MESSAGE_MAX_NAME);
    add_text(b, "text", m->text, MESSAGE_MAX_TEXT);
    add_int(b, "cutFrom", (int64_t)m->cut_from);
    add_text(b, "contentType", m->content_type, MESSAGE_MAX_WORD);
    add_media(b, m);
    add_text(b, "quotedId", m->quoted_id, ID_MAX_CHARS);
    add_int(b, "sentMs", m->sent_ms);
    add_text(b, "wish", wish_name(m->wish), MESSAGE_MAX_WORD);
    buf_add_char(b, '}');
}

void inbox_row_write_messages(const struct inbox_row *row, struct buf *out)
{
    for (size_t i = 0; i < row->events.message_count; i++)
        write_message(row, &row->events.messages[i], out);
}

void inbox_row_write_receipts(const struct inbox_row *row, struct buf *out)
{
    for (size_t i = 0; i < row->events.receipt_count; i++) {
        const struct webhook_receipt *r = &row->events.receipts[i];
        add_origin(out, row, r->other);
        add_text(out, "externalId", r->external_id, ID_MAX_CHARS);
        add_text(out, "ourId", r->our_id, ID_MAX_CHARS);
        add_text(out, "recipient", r->recipient, ADDRESS_MAX_CHARS);
        add_text(out, "text", r->text, MESSAGE_MAX_TEXT);
        add_text(out, "status", receipt_status_name(r->status), MESSAGE_MAX_WORD);
        add_text(out, "code", r->code, MESSAGE_MAX_WORD);
        add_text(out, "detail", r->detail, DETAIL_MAX_CHARS);
        add_int(out, "atMs", r->at_ms);
        buf_add_char(out, '}');
    }
}

const char *inbox_mask_sender(const struct webhook_message *m, char out[CONTACT_MASK_SIZE])
{
    if (m->number || m->jid)
        return contact_mask(m->number ? m->number : m->jid, out);
    return contact_mask(m->email ? m->email : m->user_id, out);
}
