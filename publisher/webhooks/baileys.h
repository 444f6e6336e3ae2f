/* Messages as the library Baileys has them, which is how Wasender and Evolution pass them on:
 * {"key":{"id","fromMe","remoteJid",...},"pushName","message":{"conversation":"..."},"messageTimestamp"}. */
#ifndef AGWB_PUBLISHER_WEBHOOKS_BAILEYS_H
#define AGWB_PUBLISHER_WEBHOOKS_BAILEYS_H

#include "publisher/webhooks/payload.h"

/* Adds the message, or notes why it is passed over. */
void baileys_take_message(struct webhook_events *ev, const struct json_node *n);
/* Adds what was sent from our account as a receipt: SENT, with its text. */
void baileys_take_echo(struct webhook_events *ev, const struct json_node *n);

/* Adds the receipt whose members are set but for the status, by a status of numbers (0 to 5) or words, or
 * notes why not. */
void baileys_take_status(struct webhook_events *ev, const struct json_node *status,
                         struct webhook_receipt *r);

/* The recipient that a key names. */
const char *baileys_recipient(const struct json_node *key, struct arena *a);

#endif
