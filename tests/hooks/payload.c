/* See payload.h. The shapes are those of the providers' own documentation; each has one spelling here. */
#include "tests/hooks/payload.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const STATUS_NAMES[] = {"sent", "delivered", "read", "failed"};

const char *hook_status_name(enum hook_status s)
{
    return STATUS_NAMES[s];
}

enum hook_status hook_status_of(const char *name)
{
    enum hook_status s = HOOK_SENT;

    while (s <= HOOK_FAILED && strcmp(STATUS_NAMES[s], name) != 0)
        s++;
    return s;
}

static void add_text(struct buf *b, const char *text)
{
    buf_add_json_str(b, text, strlen(text));
}

/* Behind "+", "whatsapp:+" or at the beginning of a JID. */
static const char *digits_of(const char *number, char digits[32])
{
    size_t n = 0;

    number += strcspn(number, "0123456789");
    while (isdigit((unsigned char)number[n]) && n < 31) {
        digits[n] = number[n];
        n++;
    }
    digits[n] = '\0';
    return digits;
}

/* --- WhatsApp Cloud API --- */

static void open_envelope(struct buf *out)
{
    buf_add_str(out, "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"102290129340398\","
                     "\"changes\":[{\"field\":\"messages\",\"value\":{\"messaging_product\":\"whatsapp\","
                     "\"metadata\":{\"display_phone_number\":\"12025550199\","
                     "\"phone_number_id\":\"106540352242922\"},");
}

static void cloud_message(const struct hook_message *m, struct buf *out)
{
    char digits[32];

    digits_of(m->number, digits);
    open_envelope(out);
    buf_add_str(out, "\"contacts\":[{\"profile\":{\"name\":");
    add_text(out, m->name);
    buf_printf(out, "},\"wa_id\":\"%s\"}],\"messages\":[{\"from\":\"%s\",\"id\":", digits, digits);
    add_text(out, m->id);
    buf_printf(out, ",\"timestamp\":\"%" PRId64 "\",\"type\":\"text\",\"text\":{\"body\":", m->at_ms / 1000);
    add_text(out, m->text);
    buf_add_str(out, "}}]}}]}]}");
}

static bool cloud_news(const struct hook_news *n, struct buf *out)
{
    char digits[32];

    open_envelope(out);
    buf_add_str(out, "\"statuses\":[{\"id\":");
    add_text(out, n->id);
    buf_printf(out, ",\"status\":\"%s\",\"timestamp\":\"%" PRId64 "\",\"recipient_id\":\"%s\"",
               hook_status_name(n->status), n->at_ms / 1000, digits_of(n->to, digits));
    if (*n->our_id) {
        buf_add_str(out, ",\"biz_opaque_callback_data\":");
        add_text(out, n->our_id);
    }
    if (n->status == HOOK_FAILED)
        buf_printf(out,
                   ",\"errors\":[{\"code\":%" PRId64 ",\"title\":\"Failed\",\"message\":\"Failed\","
                   "\"error_data\":{\"details\":\"Message failed to send.\"}}]",
                   n->code);
    buf_add_str(out, "}]}}]}]}");
    return true;
}

/* --- Wasender: its receipts know the WhatsApp id only, which the echo of the sent message links to the text
 * --- */

static void wasender_message(const struct hook_message *m, struct buf *out)
{
    char digits[32];

    digits_of(m->number, digits);
    buf_printf(out, "{\"event\":\"messages.received\",\"timestamp\":%" PRId64 ",\"data\":{\"messages\":{",
               m->at_ms / 1000);
    buf_add_str(out, "\"key\":{\"id\":");
    add_text(out, m->id);
    buf_printf(out,
               ",\"fromMe\":false,\"remoteJid\":\"98711384416410@lid\",\"senderPn\":\"%s@s.whatsapp.net\","
               "\"cleanedSenderPn\":\"%s\",\"addressingMode\":\"lid\"},\"pushName\":",
               digits, digits);
    add_text(out, m->name);
    buf_add_str(out, ",\"messageBody\":");
    add_text(out, m->text);
    buf_add_str(out, ",\"message\":{\"conversation\":");
    add_text(out, m->text);
    buf_add_str(out, "}}}}");
}

static bool wasender_news(const struct hook_news *n, struct buf *out)
{
    static const int NUMBERS[] = {2, 3, 4, 0};

    if (n->status == HOOK_SENT) {
        buf_printf(out,
                   "{\"event\":\"message.sent\",\"timestamp\":%" PRId64
                   ",\"data\":{\"key\":{\"id\":\"3EB0%s\",\"fromMe\":true,\"remoteJid\":\"%s\"},\"message\":"
                   "{\"conversation\":",
                   n->at_ms / 1000, n->id, n->to);
        add_text(out, n->text);
        buf_add_str(out, "},\"success\":true}}");
        return true;
    }
    buf_printf(out,
               "{\"event\":\"messages.update\",\"timestamp\":%" PRId64
               ",\"data\":[{\"key\":{\"id\":\"3EB0%s\",\"fromMe\":true,\"remoteJid\":\"%s\"},\"update\":"
               "{\"status\":%d}}]}",
               n->at_ms / 1000, n->id, n->to, NUMBERS[n->status]);
    return true;
}

/* --- Evolution API --- */

static void evolution_message(const struct hook_message *m, struct buf *out)
{
    char digits[32];

    buf_printf(out,
               "{\"event\":\"messages.upsert\",\"instance\":\"shop\",\"data\":{\"key\":{\"remoteJid\":"
               "\"%s@s.whatsapp.net\",\"fromMe\":false,\"id\":",
               digits_of(m->number, digits));
    add_text(out, m->id);
    buf_add_str(out, "},\"pushName\":");
    add_text(out, m->name);
    buf_add_str(out, ",\"message\":{\"conversation\":");
    add_text(out, m->text);
    buf_printf(out,
               "},\"messageType\":\"conversation\",\"messageTimestamp\":%" PRId64
               "},\"sender\":\"12025550199@s.whatsapp.net\",\"apikey\":\"never-log-this\"}",
               m->at_ms / 1000);
}

static bool evolution_news(const struct hook_news *n, struct buf *out)
{
    static const char *const WORDS[] = {"SERVER_ACK", "DELIVERY_ACK", "READ", "ERROR"};
    char digits[32];

    buf_printf(
        out,
        "{\"event\":\"messages.update\",\"instance\":\"shop\",\"data\":{\"keyId\":\"%s\",\"remoteJid\":"
        "\"%s@s.whatsapp.net\",\"fromMe\":true,\"status\":\"%s\"},\"apikey\":\"never-log-this\"}",
        n->id, digits_of(n->to, digits), WORDS[n->status]);
    return true;
}

/* --- WAHA --- */

static void waha_message(const struct hook_message *m, struct buf *out)
{
    char digits[32];

    buf_printf(out,
               "{\"id\":\"evt_1\",\"timestamp\":%" PRId64
               ",\"event\":\"message\",\"session\":\"default\",\"payload\":{\"id\":",
               m->at_ms);
    add_text(out, m->id);
    buf_printf(out,
               ",\"timestamp\":%" PRId64 ",\"from\":\"%s@c.us\",\"fromMe\":false,\"body\":", m->at_ms / 1000,
               digits_of(m->number, digits));
    add_text(out, m->text);
    buf_add_str(out, ",\"hasMedia\":false,\"_data\":{\"notifyName\":");
    add_text(out, m->name);
    buf_add_str(out, "}},\"engine\":\"WEBJS\"}");
}

static bool waha_news(const struct hook_news *n, struct buf *out)
{
    static const struct {
        int ack;
        const char *name;
    } ACKS[] = {{1, "SERVER"}, {2, "DEVICE"}, {3, "READ"}, {-1, "ERROR"}};

    buf_printf(out,
               "{\"id\":\"evt_2\",\"timestamp\":%" PRId64
               ",\"event\":\"message.ack\",\"session\":\"default\",\"payload\":{\"id\":",
               n->at_ms);
    add_text(out, n->id);
    buf_printf(out,
               ",\"from\":\"12025550199@c.us\",\"to\":\"%s\",\"fromMe\":true,\"ack\":%d,\"ackName\":\"%s\"}}",
               n->to, ACKS[n->status].ack, ACKS[n->status].name);
    return true;
}

/* --- Twilio: forms --- */

static void add_field(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s%s=", b->len ? "&" : "", name);
    for (; *value; value++) {
        if (isalnum((unsigned char)*value) || strchr("-_.", *value))
            buf_add_char(b, *value);
        else if (*value == ' ')
            buf_add_char(b, '+');
        else
            buf_printf(b, "%%%02X", (unsigned char)*value);
    }
}

#define TWILIO_ACCOUNT "AC00000000000000000000000000000000"

static void twilio_form(const char *prefix, const struct hook_message *m, struct buf *out)
{
    char number[48], digits[32];

    digits_of(m->number, digits);
    add_field(out, "MessageSid", m->id);
    add_field(out, "SmsSid", m->id);
    add_field(out, "AccountSid", TWILIO_ACCOUNT);
    snprintf(number, sizeof number, "%s+%s", prefix, digits);
    add_field(out, "From", number);
    snprintf(number, sizeof number, "%s+15005550006", prefix);
    add_field(out, "To", number);
    add_field(out, "Body", m->text);
    add_field(out, "NumMedia", "0");
    add_field(out, "NumSegments", "1");
    if (*prefix) {
        add_field(out, "ProfileName", m->name);
        add_field(out, "WaId", digits);
    }
}

static void twilio_sms_message(const struct hook_message *m, struct buf *out)
{
    twilio_form("", m, out);
}

static void twilio_whatsapp_message(const struct hook_message *m, struct buf *out)
{
    twilio_form("whatsapp:", m, out);
}

static bool twilio_news(const struct hook_news *n, struct buf *out)
{
    bool is_sms = strncmp(n->to, "whatsapp:", 9) != 0;
    char code[24];

    if (is_sms && n->status == HOOK_READ)
        return false; /* nobody knows when an SMS is read */
    add_field(out, "MessageSid", n->id);
    add_field(out, "SmsSid", n->id);
    add_field(out, "AccountSid", TWILIO_ACCOUNT);
    add_field(out, "From", is_sms ? "+15005550006" : "whatsapp:+15005550006");
    add_field(out, "To", n->to);
    add_field(out, "MessageStatus", n->status == HOOK_FAILED ? "undelivered" : hook_status_name(n->status));
    add_field(out, "SmsStatus", n->status == HOOK_FAILED ? "undelivered" : hook_status_name(n->status));
    add_field(out, "ApiVersion", "2010-04-01");
    if (n->status == HOOK_FAILED) {
        snprintf(code, sizeof code, "%" PRId64, n->code);
        add_field(out, "ErrorCode", code);
    }
    return true;
}

/* --- Instagram, in Meta's envelope --- */

static void instagram_message(const struct hook_message *m, struct buf *out)
{
    buf_add_str(out, "{\"object\":\"instagram\",\"entry\":[{\"id\":\"17841400000000000\",\"messaging\":[{"
                     "\"sender\":{\"id\":");
    add_text(out, m->number);
    buf_printf(
        out, "},\"recipient\":{\"id\":\"17841400000000000\"},\"timestamp\":%" PRId64 ",\"message\":{\"mid\":",
        m->at_ms);
    add_text(out, m->id);
    buf_add_str(out, ",\"text\":");
    add_text(out, m->text);
    buf_add_str(out, "}}]}]}");
}

static bool instagram_news(const struct hook_news *n, struct buf *out)
{
    if (n->status != HOOK_READ)
        return false;
    buf_add_str(out, "{\"object\":\"instagram\",\"entry\":[{\"id\":\"17841400000000000\",\"messaging\":[{"
                     "\"sender\":{\"id\":");
    add_text(out, n->to);
    buf_printf(out,
               "},\"recipient\":{\"id\":\"17841400000000000\"},\"timestamp\":%" PRId64 ",\"read\":{\"mid\":",
               n->at_ms);
    add_text(out, n->id);
    buf_add_str(out, "}}]}]}");
    return true;
}

/* --- the table --- */

const struct hook_provider HOOK_PROVIDERS[] = {
    {"whatsapp_cloud", "cloud", "whatsapp", cloud_message, cloud_news},
    {"wasender", "wasender", "whatsapp", wasender_message, wasender_news},
    {"evolution", "evolution", "whatsapp", evolution_message, evolution_news},
    {"waha", "waha", "whatsapp", waha_message, waha_news},
    {"twilio", "twilio", "sms", twilio_sms_message, twilio_news},
    {"twilio-whatsapp", "", "whatsapp", twilio_whatsapp_message, twilio_news},
    {"instagram", "instagram", "instagram", instagram_message, instagram_news},
    {.name = NULL},
};

const struct hook_provider *hook_find(const char *name)
{
    for (const struct hook_provider *p = HOOK_PROVIDERS; p->name; p++) {
        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

const struct hook_provider *hook_of_journal(const char *name)
{
    for (const struct hook_provider *p = HOOK_PROVIDERS; p->name && name; p++) {
        if (strcmp(p->journal, name) == 0)
            return p;
    }
    return NULL;
}
