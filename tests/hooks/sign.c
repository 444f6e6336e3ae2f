/* See sign.h. */
#include "tests/hooks/sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void add_header(struct buf *out, const char *name, const char *value)
{
    if (out->len > 1)
        buf_add_char(out, ',');
    buf_add_json_str(out, name, strlen(name));
    buf_add_char(out, ':');
    buf_add_json_str(out, value, strlen(value));
}

static size_t hmac(const char *hash, const char *key, const struct buf *data, unsigned char out[64])
{
    unsigned int len = 0;

    HMAC(EVP_get_digestbyname(hash), key, (int)strlen(key), (const unsigned char *)data->data, data->len, out,
         &len);
    return len;
}

static void add_hex(struct buf *b, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_printf(b, "%02x", bytes[i]);
}

static void add_hex_hmac(struct buf *out, const char *name, const char *prefix, const char *hash,
                         const char *secret, const struct buf *body)
{
    unsigned char digest[64];
    struct buf value;

    buf_init(&value, 256);
    buf_add_str(&value, prefix);
    add_hex(&value, digest, hmac(hash, secret, body, digest));
    add_header(out, name, buf_str(&value));
    buf_fini(&value);
}

/* --- Twilio: the URL, then each parameter's name and value, sorted by name --- */

enum { FIELDS_MAX = 32 };

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_decoded(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '%') {
            char hex[3] = {text[1], text[2], '\0'};
            buf_add_char(out, (char)strtol(hex, NULL, 16));
            text += 2;
        } else {
            buf_add_char(out, *text == '+' ? ' ' : *text);
        }
    }
}

static void add_sorted_fields(struct buf *out, const char *form)
{
    char *copy = strdup(form), *fields[FIELDS_MAX], *rest = copy;
    size_t count = 0;

    for (char *field; copy && count < FIELDS_MAX && (field = strsep(&rest, "&"));)
        fields[count++] = field;
    qsort(fields, count, sizeof fields[0], by_name);
    for (size_t i = 0; i < count; i++) {
        char *equals = strchr(fields[i], '=');
        if (equals)
            *equals = '\0';
        add_decoded(out, fields[i]);
        add_decoded(out, equals ? equals + 1 : "");
    }
    free(copy);
}

static void add_twilio(struct buf *out, const char *secret, const char *url, struct buf *body)
{
    unsigned char digest[64], base64[128];
    struct buf data;

    buf_init(&data, 1 << 20);
    buf_add_str(&data, url);
    add_sorted_fields(&data, buf_str(body));
    EVP_EncodeBlock(base64, digest, (int)hmac("SHA1", secret, &data, digest));
    add_header(out, "X-Twilio-Signature", (const char *)base64);
    buf_fini(&data);
}

void sign_headers(const char *provider, const char *secret, const char *url, struct buf *body,
                  struct buf *out)
{
    bool is_twilio = strncmp(provider, "twilio", 6) == 0;

    buf_add_char(out, '{');
    add_header(out, "Content-Type", is_twilio ? "application/x-www-form-urlencoded" : "application/json");
    if (*secret == '\0')
        ;
    else if (is_twilio)
        add_twilio(out, secret, url, body);
    else if (strcmp(provider, "wasender") == 0)
        add_header(out, "X-Webhook-Signature", secret);
    else if (strcmp(provider, "evolution") == 0)
        add_header(out, "apikey", secret);
    else if (strcmp(provider, "waha") == 0)
        add_hex_hmac(out, "X-Webhook-Hmac", "", "SHA512", secret, body);
    else
        add_hex_hmac(out, "X-Hub-Signature-256", "sha256=", "SHA256", secret, body);
    buf_add_char(out, '}');
}
