/* Raw webhooks: every provider reads any body with any headers, and what it makes of them keeps the promises
 * of webhook.h. Strings: the body; the headers as JSON; the account's name; the secret. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "base/utf8.h"
#include "domain/contact.h"
#include "publisher/webhooks/webhook.h"

static const char *const NAMES[] = {"whatsapp_cloud", "wasender",  "evolution", "waha",
                                    "twilio",         "instagram", "generic",   "whatsapp_qr"};

/* One account each, of which two share a provider. */
static const struct config settings = {
    .channels = {.accounts = {{.name = "cloud",
                               .provider = "whatsapp_cloud",
                               .channel = CHANNEL_WHATSAPP,
                               .options = {{"phone_number_id", "106540352242922"}},
                               .option_count = 1},
                              {.name = "wasender",
                               .provider = "wasender",
                               .channel = CHANNEL_WHATSAPP,
                               .token = "token",
                               .options = {{"session_id", "s-1"}},
                               .option_count = 1},
                              {.name = "qr",
                               .provider = "whatsapp_qr",
                               .channel = CHANNEL_WHATSAPP,
                               .options = {{"instance", "shop"}},
                               .option_count = 1},
                              {.name = "waha",
                               .provider = "whatsapp_qr",
                               .channel = CHANNEL_WHATSAPP,
                               .options = {{"preset", "waha"}},
                               .option_count = 1},
                              {.name = "twilio",
                               .provider = "twilio",
                               .channel = CHANNEL_SMS,
                               .user = "AC00000000000000000000000000000000",
                               .password = "token",
                               .from = "+12025550100",
                               .options = {{"webhook_url", "https://example.com:443/t?a=b"}},
                               .option_count = 1},
                              {.name = "instagram",
                               .provider = "instagram",
                               .channel = CHANNEL_INSTAGRAM,
                               .from = "17841400000000001"},
                              {.name = "website", .provider = "website", .channel = CHANNEL_WEBSITE}},
                 .account_count = 7},
    .webhooks = {.whatsapp_cloud = {VERIFY_IF_PRESENT, ""},
                 .wasender = {VERIFY_AUTO, ""},
                 .evolution = {VERIFY_AUTO, ""},
                 .waha = {VERIFY_REQUIRED, ""},
                 .instagram = {VERIFY_AUTO, ""},
                 .generic = {VERIFY_OFF, ""},
                 .twilio = {VERIFY_AUTO, "", ""}},
};

/* --- what comes out --- */

static void check_text(const char *text, size_t max_bytes, const char *allowed)
{
    if (text == NULL)
        return;
    fuzz_require(is_utf8(text, strlen(text)), "a text is UTF-8");
    fuzz_require(strlen(text) <= max_bytes, "a text is not longer than it may be");
    for (const char *p = text; *p != '\0'; p++)
        fuzz_require(((unsigned char)*p >= ' ' && *p != 0x7f) || strchr(allowed, *p) != NULL,
                     "a text has no control characters");
}

static void check_word(const char *word)
{
    check_text(word, MESSAGE_MAX_URL, "");
    fuzz_require(word == NULL || word[0] != '\0', "a word is not empty");
}

static void check_number(const char *number, const char *jid)
{
    char of_jid[CONTACT_E164_MAX + 1];

    fuzz_require(number == NULL || is_e164(number), "a number is E.164");
    if (jid == NULL)
        return;
    fuzz_require(contact_jid_kind_of(jid) == CONTACT_JID_USER || contact_jid_kind_of(jid) == CONTACT_JID_LID,
                 "a JID is a person's");
    fuzz_require(number == NULL || (contact_number_from_jid(jid, of_jid) && strcmp(of_jid, number) == 0),
                 "number and JID are one person's");
}

static void check_message(const struct webhook_message *m)
{
    enum { TEXT_MAX = 64 * 1024 };

    fuzz_require(m->external_id != NULL && strlen(m->external_id) <= MESSAGE_MAX_EXTERNAL_ID,
                 "a message has an id");
    fuzz_require(m->channel != CHANNEL_NONE && m->content_type != NULL, "a message has channel and kind");
    fuzz_require(m->number != NULL || m->jid != NULL || m->email != NULL || m->user_id != NULL,
                 "a message has a sender");
    fuzz_require(m->text != NULL && !utf8_is_blank(m->text), "a message says something");
    fuzz_require(m->sent_ms >= 0, "a time is not negative");
    fuzz_require(m->cut_from == 0 || m->cut_from > utf8_count(m->text), "what is cut was longer");
    check_text(m->text, TEXT_MAX, "\n\t");
    check_number(m->number, m->jid);
    const char *const words[] = {m->external_id, m->email,      m->user_id,    m->name,     m->media_url,
                                 m->media_id,    m->media_type, m->media_name, m->quoted_id};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        check_word(words[i]);
}

static void check_receipt(const struct webhook_receipt *r)
{
    fuzz_require(r->external_id != NULL || r->our_id != NULL || r->recipient != NULL,
                 "a receipt names a message");
    fuzz_require(receipt_status_name(r->status)[0] != '\0', "a receipt has a status");
    fuzz_require(r->at_ms >= 0, "a time is not negative");
    fuzz_require(r->text == NULL || is_utf8(r->text, strlen(r->text)), "an echo's text is UTF-8");
    check_word(r->external_id);
    check_word(r->our_id);
    check_word(r->code);
    check_word(r->detail);
    fuzz_require(r->recipient == NULL || is_e164(r->recipient) ||
                     contact_jid_kind_of(r->recipient) == CONTACT_JID_LID,
                 "a recipient is a number or hides it");
}

static void check_events(const struct webhook_events *ev)
{
    for (size_t i = 0; i < ev->message_count; i++)
        check_message(&ev->messages[i]);
    for (size_t i = 0; i < ev->receipt_count; i++)
        check_receipt(&ev->receipts[i]);
    fuzz_require(ev->message_count + ev->receipt_count <= WEBHOOK_EVENTS_MAX, "a row's events are bounded");
    fuzz_require(ev->message_count + ev->receipt_count > 0 || ev->ignored[0] != '\0',
                 "a row that says nothing says why");
    check_text(ev->ignored, WEBHOOK_REASON_SIZE, "");
}

/* --- what goes in --- */

static void check_refusal(const struct err *e, const char *sentence)
{
    fuzz_require(e->class == ERR_DATA && e->text[0] != '\0' && is_utf8(e->text, strlen(e->text)), sentence);
}

static void run_provider(const struct webhook_provider *p, const struct webhook_row *row, const char *secret)
{
    struct arena *a = arena_new();
    struct webhook_events ev = {.arena = a};
    struct err e = {0};
    const struct config_account *account = webhook_account(&settings, p, row, a, &e);

    if (account == NULL && e.class != ERR_NONE)
        check_refusal(&e, "an account that is refused is the row's fault");
    if (secret[0] != '\0' && p->verify(row, secret, "https://example.com/t", &e) < 0)
        check_refusal(&e, "a proof that is none is the row's fault");
    if (webhook_check_sender(&settings, p, account, row, &e) != 0)
        check_refusal(&e, "a sender that is refused is the row's fault");
    if (p->parse(row, account, &ev, &e) == 0)
        check_events(&ev);
    else
        check_refusal(&e, "a body that is refused is the row's fault");
    arena_free(&a);
}

void fuzz_webhook(const char *bytes, size_t len)
{
    struct fuzz_strings in = {.at = bytes, .left = len, .arena = arena_new()};
    const char *body = fuzz_next(&in), *headers = fuzz_next(&in), *account = fuzz_next(&in),
               *secret = fuzz_next(&in);
    struct json *doc = headers == NULL ? NULL : json_parse_foreign(headers, strlen(headers), NULL);
    account =
        account != NULL && is_utf8(account, strlen(account)) ? account : NULL; /* as the database has it */
    struct webhook_row row = {.account = account, .headers = doc == NULL ? NULL : json_root(doc)};

    row.body = body == NULL ? "" : body;
    row.body_len = strlen(row.body);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        const struct webhook_provider *p = webhook_find(&settings, NAMES[i], account, NULL);
        row.provider = NAMES[i];
        if (p != NULL)
            run_provider(p, &row, secret == NULL ? "word" : secret);
    }
    json_free(&doc);
    arena_free(&in.arena);
}
