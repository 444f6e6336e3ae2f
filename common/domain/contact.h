/* Addresses of people: E.164 numbers and WhatsApp JIDs. Pure. */
#ifndef AGWB_DOMAIN_CONTACT_H
#define AGWB_DOMAIN_CONTACT_H

#include <stdbool.h>
#include <stddef.h>

enum contact_jid_kind {
    CONTACT_JID_NONE = 0,   /* not a JID we know */
    CONTACT_JID_USER,       /* 12025550143@s.whatsapp.net, ...:12@s.whatsapp.net, ...@c.us */
    CONTACT_JID_LID,        /* hidden id: cannot be turned into a number */
    CONTACT_JID_GROUP,      /* ...@g.us */
    CONTACT_JID_NEWSLETTER, /* ...@newsletter */
    CONTACT_JID_BROADCAST,  /* status@broadcast, ...@broadcast */
};

enum { CONTACT_E164_MAX = 16 }; /* '+' and 15 digits */

/* ^\+[1-9][0-9]{7,14}$ */
bool is_e164(const char *number);

/* Takes out spaces, hyphens, dots and parentheses; true and the E.164 form when what is left is one, else
 * "". Never guesses a country. */
bool contact_normalise_number(const char *raw, char out[CONTACT_E164_MAX + 1]);

/* The local part is 5 to 20 digits, and for users and hidden ids a device ":1" to ":99999", for old groups
 * "-" and 5 to 20 digits more. NULL and "" give NONE. */
enum contact_jid_kind contact_jid_kind_of(const char *jid);

/* "+12025550143" from a user JID (device part dropped); false and "" for every other kind and for a local
 * part that is no number. */
bool contact_number_from_jid(const char *jid, char out[CONTACT_E164_MAX + 1]);

/* For logs: everything but the last 3 characters of the number or the JID's local part becomes '*', device
 * and domain stay out: "*********143". What has no more than 3 characters is all stars. NULL gives "".
 * Returns out. */
enum { CONTACT_MASK_SIZE = 24 };
const char *contact_mask(const char *number_or_jid, char out[CONTACT_MASK_SIZE]);

#endif
