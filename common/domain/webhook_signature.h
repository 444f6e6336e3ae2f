/* Signatures of what we post to others, as Standard Webhooks 1.0.0 has them. Pure. */
#ifndef AGWB_DOMAIN_WEBHOOK_SIGNATURE_H
#define AGWB_DOMAIN_WEBHOOK_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEBHOOK_SIGNATURE_SIZE = 48, WEBHOOK_KEY_MAX = 8200 };

/* True when the secret can be a key: any text; behind "whsec_" it must be base64. */
bool webhook_secret_is_good(const char *secret);

/* "v1,BASE64": HMAC-SHA256 over "ID.TIMESTAMP.BODY"; the key is what the base64 behind "whsec_" says, else
 * the secret's own bytes. False for a secret that is not good. */
bool webhook_sign(const char *secret, const char *id, int64_t timestamp_s, const char *body, size_t len,
                  char out[WEBHOOK_SIGNATURE_SIZE]);

#endif
