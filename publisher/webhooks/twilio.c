/* Twilio's forms: an inbound SMS or WhatsApp message, or the status of one of ours. Which members come may
 * change without notice: the signature covers whatever is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "domain/contact.h"
#include "publisher/webhooks/form.h"
#include "publisher/webhooks/payload.h"

#define WHATSAPP "whatsapp:"

enum { HINT_MAX = 512 };

/* --- who sent it --- */

static bool is_json(const struct webhook_row *row)
{
    const char *type = webhook_header(row, "Content-Type");

    return type != NULL && strncasecmp(type, "application/json", strlen("application/json")) == 0;
}

static int verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    const char *given = webhook_header(row, "X-Twilio-Signature");
    bool is_valid;

    if (given == NULL)
        return 1;
    if (url == NULL || url[0] == '\0')
        return err_set(e, ERR_DATA, 0,
                       "X-Twilio-Signature cannot be checked: webhooks.twilio.url is not set");
    if (is_json(row))
        is_valid = signature_is_twilio_json(secret, url, row->body, row->body_len, given);
    else
        is_valid = signature_is_twilio(secret, url, row->body, row->body_len, given);
    return is_valid ? 0 : err_set(e, ERR_DATA, 0, "X-Twilio-Signature is not this form's at this URL");
}

/* --- members --- */

/* Of a value its cleaned line; NULL when there is none. */
static const char *line(const struct form *f, const char *name, size_t most, struct arena *a)
{
    return payload_line_text(form_value(f, name), most, a);
}

/* "whatsapp:+12025550143" or "+12025550143". */
static const char *number_of(const char *address, enum channel *channel, struct arena *a)
{
    char number[CONTACT_E164_MAX + 1];

    *channel = CHANNEL_SMS;
    if (address != NULL && strncmp(address, WHATSAPP, strlen(WHATSAPP)) == 0) {
        *channel = CHANNEL_WHATSAPP;
        address += strlen(WHATSAPP);
    }
    return contact_normalise_number(address, number) ? arena_strdup(a, number) : NULL;
}

/* --- messages --- */

static const struct {
    const char *prefix, *content_type;
} MEDIA[] = {{"image/", "image"},
             {"video/", "video"},
             {"audio/", "audio"},
             {"text/x-vcard", "contacts"},
             {"", "document"}};

static void read_files(const struct form *f, struct webhook_message *m, struct payload_files *files,
                       struct arena *a)
{
    char name[sizeof "MediaUrl99"];
    size_t kind = 0;

    for (unsigned i = 0; i < MESSAGE_MAX_ATTACHMENTS; i++) {
        snprintf(name, sizeof name, "MediaUrl%u", i);
        files->urls[files->count] = payload_url(form_value(f, name), a);
        files->count += files->urls[files->count] != NULL;
    }
    if (files->count == 0)
        return;
    m->media_url = files->urls[0];
    m->media_type = line(f, "MediaContentType0", MESSAGE_MAX_WORD, a);
    while (strncmp(m->media_type == NULL ? "" : m->media_type, MEDIA[kind].prefix,
                   strlen(MEDIA[kind].prefix)) != 0)
        kind++;
    m->content_type = MEDIA[kind].content_type;
}

/* A field's bytes without the NULs in them. */
static const char *text_of(const struct form_field *f, struct arena *a)
{
    char *text = arena_alloc(a, f->value_len + 1);
    size_t len = 0;

    for (size_t i = 0; i < f->value_len; i++) {
        if (f->value[i] != '\0')
            text[len++] = f->value[i];
    }
    return text;
}

/* Its body, else a place, else a button's words. */
static const char *read_text(const struct form *f, struct webhook_message *m, struct arena *a)
{
    const struct form_field *body = form_find(f, "Body");
    const char *latitude = form_value(f, "Latitude"), *longitude = form_value(f, "Longitude");

    if (form_value(f, "ButtonPayload") != NULL || form_value(f, "ButtonText") != NULL)
        m->content_type = "interactive";
    if (body != NULL && body->value_len > 0)
        return text_of(body, a);
    if (latitude == NULL || longitude == NULL)
        return form_value(f, "ButtonText");
    m->content_type = "location";
    return payload_place(strtod(latitude, NULL), strtod(longitude, NULL), form_value(f, "Label"),
                         form_value(f, "Address"), a);
}

/* Advanced Opt-Out knows the words of every language; it comes before ours. */
static enum webhook_wish wish_of(const char *opt_out_type)
{
    static const struct {
        const char *word;
        enum webhook_wish wish;
    } words[] = {{"STOP", WISH_STOP}, {"START", WISH_START}, {"HELP", WISH_HELP}};

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (opt_out_type != NULL && strcasecmp(words[i].word, opt_out_type) == 0)
            return words[i].wish;
    }
    return WISH_NONE;
}

static void take_message(struct webhook_events *ev, const struct form *f)
{
    struct webhook_message m = {0};
    struct payload_files files = {0};
    struct arena *a = ev->arena;
    const char *text;

    m.external_id = payload_id_text(form_value(f, "MessageSid"), a);
    m.number = number_of(form_value(f, "From"), &m.channel, a);
    if (m.number == NULL) {
        webhook_ignore(ev, "a sender that is no number");
        return;
    }
    if (m.channel == CHANNEL_WHATSAPP && !payload_set_person(ev, &m, m.number, NULL, 0))
        return;
    m.name = line(f, "ProfileName", MESSAGE_MAX_NAME, a);
    m.quoted_id = payload_id_text(form_value(f, "OriginalRepliedMessageSid"), a);
    m.wish = wish_of(form_value(f, "OptOutType"));
    read_files(f, &m, &files, a);
    text = read_text(f, &m, a);
    payload_add_message(ev, &m, text, &files);
}

/* --- receipts --- */

static const struct {
    const char *word;
    enum receipt_status status;
} STATUSES[] = {
    {"sent", RECEIPT_SENT},     {"delivered", RECEIPT_DELIVERED}, {"read", RECEIPT_READ},
    {"failed", RECEIPT_FAILED}, {"undelivered", RECEIPT_FAILED},
};
enum { STATUS_COUNT = sizeof STATUSES / sizeof STATUSES[0] };

static void take_status(struct webhook_events *ev, const struct form *f, const char *word)
{
    struct webhook_receipt r = {0};
    struct arena *a = ev->arena;
    enum channel channel;
    size_t i = 0;

    while (i < STATUS_COUNT && strcmp(STATUSES[i].word, word) != 0)
        i++;
    if (i == STATUS_COUNT) { /* accepted, scheduled, queued, sending, canceled, ... */
        webhook_ignore(ev, "a status %.40s", word);
        return;
    }
    r.status = STATUSES[i].status;
    r.external_id = payload_id_text(form_value(f, "MessageSid"), a);
    r.recipient = number_of(form_value(f, "To"), &channel, a);
    if (r.status == RECEIPT_FAILED) {
        r.code = line(f, "ErrorCode", MESSAGE_MAX_WORD, a);
        r.detail = line(f, "ErrorMessage", MESSAGE_MAX_NAME, a);
        if (r.detail == NULL)
            r.detail = line(f, "ChannelStatusMessage", MESSAGE_MAX_NAME, a);
    }
    payload_add_receipt(ev, &r);
}

/* Of one of our messages; NULL for a message to us. */
static const char *status_of(const struct form *f)
{
    const char *status = form_value(f, "MessageStatus");

    return status == NULL || strcmp(status, "received") == 0 ? NULL : status;
}

static int parse(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e)
{
    struct form f;
    const char *status;

    (void)account;
    if (form_parse(row->body, row->body_len, ev->arena, &f, e) != 0)
        return -1;
    if (form_value(&f, "MessageSid") == NULL && form_value(&f, "CallSid") != NULL) {
        webhook_ignore(ev, "a call");
        return 0;
    }
    if (form_value(&f, "MessageSid") == NULL)
        return err_set(e, ERR_DATA, 0, "MessageSid: expected in a form");
    status = status_of(&f);
    if (status != NULL)
        take_status(ev, &f, status);
    else
        take_message(ev, &f);
    return 0;
}

/* --- the account --- */

/* "AccountSid address MessagingServiceSid": the address is ours, which of a message is who got it and of a
 * status who sent it. */
static const char *account_hint(const struct webhook_row *row, struct arena *a)
{
    struct form f;
    const char *sid, *address, *service;
    struct buf hint;

    if (form_parse(row->body, row->body_len, a, &f, NULL) != 0)
        return NULL;
    sid = form_value(&f, "AccountSid");
    address = form_value(&f, status_of(&f) != NULL ? "From" : "To");
    service = form_value(&f, "MessagingServiceSid");
    if (sid == NULL || address == NULL)
        return NULL;
    buf_init(&hint, HINT_MAX);
    buf_printf(&hint, "%s %s %s", sid, address, service == NULL ? "" : service);
    address = hint.failed ? NULL : arena_strdup(a, buf_str(&hint));
    buf_fini(&hint);
    return address;
}

static const char *without_prefix(const char *address)
{
    return strncmp(address, WHATSAPP, strlen(WHATSAPP)) == 0 ? address + strlen(WHATSAPP) : address;
}

/* Both without their prefix. */
static bool is_address(const char *from, const char *address, size_t len)
{
    return strlen(from) == len && strncmp(from, address, len) == 0;
}

static enum webhook_match is_for(const struct config_account *a, const char *hint)
{
    const char *sid = config_account_option(a, "account_sid", a->user);
    const char *own_service = config_account_option(a, "messaging_service_sid", NULL);
    const char *address = hint + strcspn(hint, " ") + 1;
    size_t address_len = strcspn(address, " ");
    const char *service = address + address_len + 1;
    const char *number = without_prefix(address);

    if (sid != NULL && !is_address(sid, hint, strcspn(hint, " ")))
        return WEBHOOK_MATCH_NO;
    if ((a->channel == CHANNEL_WHATSAPP) != (number != address))
        return WEBHOOK_MATCH_NO;
    if (own_service != NULL && strcmp(own_service, service) == 0)
        return WEBHOOK_MATCH_YES;
    if (a->from != NULL &&
        is_address(without_prefix(a->from), number, address_len - (size_t)(number - address)))
        return WEBHOOK_MATCH_YES;
    return own_service != NULL || a->from == NULL ? WEBHOOK_MATCH_UNKNOWN : WEBHOOK_MATCH_NO;
}

const struct webhook_provider WEBHOOK_TWILIO = {
    .name = "twilio",
    .account_provider = "twilio",
    .verify = verify,
    .account_hint = account_hint,
    .is_for = is_for,
    .parse = parse,
};
