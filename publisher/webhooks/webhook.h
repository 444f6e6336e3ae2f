/* What a provider's raw webhook says, in our words: messages from people, and receipts for ours. One file a
 * provider; the registry, the shared pieces and the choice of the account are webhook.c, the proof of who
 * sent it is signature.c. Everything here is pure but for the arena it is given. */
#ifndef AGWB_PUBLISHER_WEBHOOKS_WEBHOOK_H
#define AGWB_PUBLISHER_WEBHOOKS_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "domain/config.h"
#include "domain/message.h"

/* A row of webhook_inbox. Borrowed. */
struct webhook_row {
    const char *provider;
    const char *account;             /* the account's name as the front end knows it; NULL = not said */
    const struct json_node *headers; /* an object of strings or arrays of them; NULL = none */
    const char *body;                /* as it came, NUL-terminated beyond body_len */
    size_t body_len;
};
/* A header's value by its name, in any case; of several the first; NULL when there is none. */
const char *webhook_header(const struct webhook_row *row, const char *name);

/* A person's wish about being written to, where the provider or a keyword says it. */
enum webhook_wish { WISH_NONE = 0, WISH_STOP, WISH_START, WISH_HELP };

/* One message from a person. Texts are in the arena, UTF-8 without NUL; NULL = not said. */
struct webhook_message {
    const char *external_id; /* the provider's; what it is deduplicated by; always there */
    enum channel channel;
    const char *number; /* E.164 */
    const char *jid;    /* a user's JID, or one that hides the number (@lid) */
    const char *email;
    const char
        *user_id; /* the provider's own id of the person where it has one: BSUID, Instagram, visitor, @lid */
    const char *name;
    const char *text; /* never empty: the caption, or "[image]", "[location: ...]" for what has no text */
    size_t cut_from;  /* characters the text had before it was cut to 64 KiB; 0 = it is whole */
    const char *content_type; /* "text", "image", "document", "audio", "video", "sticker", "location",
                               * "contacts", "interactive"; static */
    const char *media_url, *media_id, *media_type, *media_name;
    const char *quoted_id; /* the provider's id of our message that it answers */
    int64_t sent_ms;       /* wall; 0 = not said */
    enum webhook_wish wish;
    const char *hint;                   /* what its part of the payload says of the account; NULL = nothing */
    const struct config_account *other; /* whose it is; NULL = the row's */
};

enum receipt_status { RECEIPT_SENT = 0, RECEIPT_DELIVERED, RECEIPT_READ, RECEIPT_FAILED };
/* Spelled as in messages.delivery_status. */
const char *receipt_status_name(enum receipt_status s);

/* News of one of our messages. Found by external_id, else by our_id, else by account, recipient, text and
 * time. */
struct webhook_receipt {
    const char *external_id; /* the provider's id of our message */
    const char *our_id;      /* agwb.deliveries.message_id, where the provider carries it back */
    const char *recipient;   /* E.164, or a JID that hides the number */
    const char *text;        /* an echo of what was sent: its text, exactly */
    enum receipt_status status;
    const char *code, *detail; /* FAILED: the provider's own code and words */
    int64_t at_ms;             /* wall; 0 = not said */
    const char *hint;          /* as of a message */
    const struct config_account *other;
};

enum { WEBHOOK_REASON_SIZE = 200, WEBHOOK_EVENTS_MAX = 1000 };

/* What one row says. A row without messages and receipts is ignored, with the reason. */
struct webhook_events {
    struct arena *arena; /* borrowed: where everything lies */
    struct webhook_message *messages;
    size_t message_count;
    struct webhook_receipt *receipts;
    size_t receipt_count;
    const char *hint; /* for the parsers: of what is added from now on */
    /* The first thing that was passed over, or the first text that was cut, and why; "" = nothing was. */
    char ignored[WEBHOOK_REASON_SIZE];
    bool is_full; /* there were more than WEBHOOK_EVENTS_MAX: parse refuses the row */
};
/* For the providers' parsers: the next element, zeroed, valid until the next one; NULL beyond
 * WEBHOOK_EVENTS_MAX. */
struct webhook_message *webhook_add_message(struct webhook_events *ev);
struct webhook_receipt *webhook_add_receipt(struct webhook_events *ev);
/* Notes why something was passed over; the first reason stays. In what comes from outside, all but printable
 * ASCII becomes '?', and of a number only the last 3 digits stay. */
void webhook_ignore(struct webhook_events *ev, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What an account's settings say to a hint of the payload. */
enum webhook_match { WEBHOOK_MATCH_NO = 0, WEBHOOK_MATCH_UNKNOWN /* they say nothing */, WEBHOOK_MATCH_YES };

struct webhook_provider {
    const char *name;             /* webhook_inbox.provider */
    const char *account_provider; /* of the accounts it can belong to: config_account.provider; NULL = any */
    const char *preset;           /* and their option preset; NULL = any */
    /* Is it from whom it says? 0; 1: nothing in it proves anything; -1 and ERR_DATA: it proves the contrary.
     * The secret is not empty. url: the public URL it was posted to, "" when unknown. */
    int (*verify)(const struct webhook_row *row, const char *secret, const char *url, struct err *e);
    /* What the payload says of the account it is for (a phone number id, an instance); NULL when it says
     * nothing. */
    const char *(*account_hint)(const struct webhook_row *row, struct arena *a);
    /* Whether that hint means this account. */
    enum webhook_match (*is_for)(const struct config_account *a, const char *hint);
    /* -1 and ERR_DATA: the body is not this provider's, or holds more than WEBHOOK_EVENTS_MAX; the text says
     * where. The account may be NULL. */
    int (*parse)(const struct webhook_row *row, const struct config_account *account,
                 struct webhook_events *ev, struct err *e);
};

/* By webhook_inbox.provider ("whatsapp_cloud", "wasender", "evolution", "waha", "twilio", "instagram",
 * "generic"), in any case and with '-' for '_'; "whatsapp_qr" is the preset of the account it names, or of
 * all such accounts. NULL and ERR_DATA when there is none; e may be NULL. */
const struct webhook_provider *webhook_find(const struct config *c, const char *name, const char *account,
                                            struct err *e);
/* The account a row is for: by its name, else by what the payload says, else the provider's default or only
 * one, unless its settings say that the payload is another's. NULL with e->class ERR_NONE: there is none
 * (nothing can be answered over it, but messages are taken in). NULL with ERR_DATA: the row names an account
 * that is not there, or is another provider's. */
const struct config_account *webhook_account(const struct config *c, const struct webhook_provider *p,
                                             const struct webhook_row *row, struct arena *a, struct err *e);

/* A batch may hold what is for several accounts of one app: *other is the one that a part's hint means, NULL
 * = `own`, which is the row's. False: there is none, or what proved the row proves nothing of that account.
 * Not for a row that names its account: whoever names it knows better. */
bool webhook_is_proven_part(const struct config *c, const struct webhook_provider *p,
                            const struct config_account *own, const char *hint,
                            const struct config_account **other) MUST_CHECK;

/* The policy and the secret of an account and its provider, applied: 0 = go on; -1 and ERR_DATA: refused, the
 * text says why (never with a secret in it). The secret: account.webhook_secret, else
 * webhooks.<provider>.secret, for twilio else the account's password where its user is the AccountSid.
 * Without one, auto lets a row pass, unless it is for no account and another account of the provider has one;
 * required and if-present refuse it. if-present lets a row pass that proves nothing. */
int webhook_check_sender(const struct config *c, const struct webhook_provider *p,
                         const struct config_account *account, const struct webhook_row *row,
                         struct err *e) MUST_CHECK;

/* What a one-word text wishes: STOP, START, HELP and their kin, in any case, a '.' or '!' behind. "" and
 * everything longer: WISH_NONE. All channels but SMS have a narrow list, without the words that people use in
 * a chat (CANCEL, END, QUIT, REVOKE, INFO, HELP, YES). That YES means START only for someone who has opted
 * out is for the one to decide who knows. */
enum webhook_wish webhook_wish_of(enum channel channel, const char *text);

/* --- signature.c --- */
/* Equal, in a time that does not depend on where they differ. */
bool signature_equal(const void *a, const void *b, size_t len);
/* Whether `hex` (either case, exactly 2 * digest length) is the HMAC of the body. hash: "SHA1", "SHA256",
 * "SHA512". */
bool signature_is_hex_hmac(const char *hash, const char *key, const void *body, size_t len, const char *hex);
/* Whether `text` is the secret itself. */
bool signature_is_secret(const char *text, const char *secret);
/* X-Twilio-Signature over the URL (tried with and without a port, added as the scheme's own) and the form's
 * parameters. */
bool signature_is_twilio(const char *token, const char *url, const char *form, size_t len,
                         const char *signature);
/* The same for a JSON body: over the URL and its parameter bodySHA256, which is added where the URL has none.
 */
bool signature_is_twilio_json(const char *token, const char *url, const void *body, size_t len,
                              const char *signature);

extern const struct webhook_provider WEBHOOK_WHATSAPP_CLOUD, WEBHOOK_WASENDER, WEBHOOK_EVOLUTION,
    WEBHOOK_WAHA, WEBHOOK_TWILIO, WEBHOOK_INSTAGRAM, WEBHOOK_GENERIC;

#endif
