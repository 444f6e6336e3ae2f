/* HMAC and base64, by libcrypto. */
#include "domain/webhook_signature.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define PREFIX "whsec_"

/* The key's bytes; its length, or -1. */
static int key_of(const char *secret, unsigned char key[WEBHOOK_KEY_MAX])
{
    size_t len = strlen(secret);
    int padding = 0, bytes;

    if (strncmp(secret, PREFIX, strlen(PREFIX)) != 0) {
        if (len == 0 || len >= WEBHOOK_KEY_MAX)
            return -1;
        memcpy(key, secret, len + 1);
        return (int)len;
    }
    secret += strlen(PREFIX);
    len = strlen(secret);
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > WEBHOOK_KEY_MAX)
        return -1;
    bytes = EVP_DecodeBlock(key, (const unsigned char *)secret, (int)len); /* pads with zero bytes */
    while (padding < 2 && secret[len - 1 - (size_t)padding] == '=')
        padding++;
    return bytes > padding ? bytes - padding : -1;
}

bool webhook_secret_is_good(const char *secret)
{
    unsigned char key[WEBHOOK_KEY_MAX];
    int len = key_of(secret, key);

    OPENSSL_cleanse(key, sizeof key);
    return len > 0;
}

bool webhook_sign(const char *secret, const char *id, int64_t timestamp_s, const char *body, size_t len,
                  char out[WEBHOOK_SIGNATURE_SIZE])
{
    unsigned char key[WEBHOOK_KEY_MAX], digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
    unsigned digest_len = 0;
    int key_len = key_of(secret, key);
    struct buf message;
    bool is_done = false;

    buf_init(&message, len + 512);
    buf_printf(&message, "%s.%" PRId64 ".", id, timestamp_s);
    buf_add(&message, body, len);
    if (key_len > 0 && !message.failed &&
        HMAC(EVP_sha256(), key, key_len, (const unsigned char *)message.data, message.len, digest,
             &digest_len)) {
        EVP_EncodeBlock(text, digest, (int)digest_len);
        snprintf(out, WEBHOOK_SIGNATURE_SIZE, "v1,%.44s", (const char *)text);
        is_done = true;
    }
    OPENSSL_cleanse(key, sizeof key);
    buf_fini(&message);
    return is_done;
}
