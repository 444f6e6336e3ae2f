/* Who sent it: HMACs and shared secrets, compared in constant time. The only file here that knows libcrypto.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "publisher/webhooks/form.h"
#include "publisher/webhooks/webhook.h"

/* A URL and a body with every byte of it twice, more than which no signed text has. */
enum { SIGNED_TEXT_MAX = 8 * 1024 * 1024, SHA256_BYTES = 32, SHA256_HEX = 64, TWILIO_BASE64 = 28 };

bool signature_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

static const EVP_MD *digest_named(const char *hash)
{
    if (strcmp(hash, "SHA1") == 0)
        return EVP_sha1();
    return strcmp(hash, "SHA256") == 0 ? EVP_sha256() : strcmp(hash, "SHA512") == 0 ? EVP_sha512() : NULL;
}

static bool hmac(const EVP_MD *md, const char *key, const void *text, size_t len,
                 unsigned char out[EVP_MAX_MD_SIZE])
{
    unsigned out_len = 0;

    return HMAC(md, key, (int)strlen(key), text, len, out, &out_len) != NULL &&
           out_len == (unsigned)EVP_MD_get_size(md);
}

static void write_hex(const unsigned char *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * count] = '\0';
}

/* What comes from outside, in lower case: exactly `len` digits, or nothing. */
static bool read_hex(const char *hex, size_t len, char *out)
{
    if (strlen(hex) != len || strspn(hex, "0123456789abcdefABCDEF") != len)
        return false;
    for (size_t i = 0; i <= len; i++)
        out[i] = (char)(hex[i] >= 'A' && hex[i] <= 'F' ? hex[i] + ('a' - 'A') : hex[i]);
    return true;
}

bool signature_is_hex_hmac(const char *hash, const char *key, const void *body, size_t len, const char *hex)
{
    const EVP_MD *md = digest_named(hash);
    unsigned char mac[EVP_MAX_MD_SIZE];
    char wanted[2 * EVP_MAX_MD_SIZE + 1], given[2 * EVP_MAX_MD_SIZE + 1];
    size_t size = md == NULL ? 0 : (size_t)EVP_MD_get_size(md);

    if (size == 0 || key[0] == '\0' || !read_hex(hex, 2 * size, given) || !hmac(md, key, body, len, mac))
        return false;
    write_hex(mac, size, wanted);
    return signature_equal(wanted, given, 2 * size);
}

static bool sha256(const void *bytes, size_t len, unsigned char out[SHA256_BYTES])
{
    unsigned out_len = 0;

    return EVP_Digest(bytes, len, out, &out_len, EVP_sha256(), NULL) == 1 && out_len == SHA256_BYTES;
}

/* By their digests, so that the time does not tell the secret's length either. */
bool signature_is_secret(const char *text, const char *secret)
{
    unsigned char a[SHA256_BYTES], b[SHA256_BYTES];

    return secret[0] != '\0' && sha256(text, strlen(text), a) && sha256(secret, strlen(secret), b) &&
           signature_equal(a, b, sizeof a);
}

/* --- Twilio --- */

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_fields(const void *x, const void *y)
{
    const struct form_field *a = x, *b = y;
    int order = compare_bytes(a->name, a->name_len, b->name, b->name_len);

    return order != 0 ? order : compare_bytes(a->value, a->value_len, b->value, b->value_len);
}

/* Name and value of each, in order; what is there twice, once. */
static void add_fields(struct buf *text, struct form *f)
{
    if (f->count > 1)
        qsort(f->fields, f->count, sizeof *f->fields, compare_fields);
    for (size_t i = 0; i < f->count; i++) {
        if (i > 0 && compare_fields(&f->fields[i - 1], &f->fields[i]) == 0)
            continue;
        buf_add(text, f->fields[i].name, f->fields[i].name_len);
        buf_add(text, f->fields[i].value, f->fields[i].value_len);
    }
}

static bool is_signed(const char *token, struct buf *text, const char *signature)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned char wanted[TWILIO_BASE64 + 1];
    const char *bytes = buf_str(text);

    if (bytes == NULL || strlen(signature) != TWILIO_BASE64 ||
        !hmac(EVP_sha1(), token, bytes, text->len, mac))
        return false;
    EVP_EncodeBlock(wanted, mac, EVP_MD_get_size(EVP_sha1()));
    return signature_equal(wanted, signature, TWILIO_BASE64);
}

/* The URL with its default port where it names none, else without the port that it names. */
static void add_other_url(struct buf *text, const char *url)
{
    const char *mark = strstr(url, "://");
    const char *host = mark == NULL ? url : mark + 3;
    const char *end = host + strcspn(host, "/?#");
    const char *port = end;

    while (port > host && port[-1] >= '0' && port[-1] <= '9')
        port--;
    if (port > host && port < end && port[-1] == ':') {
        buf_add(text, url, (size_t)(port - 1 - url));
    } else {
        buf_add(text, url, (size_t)(end - url));
        buf_add_str(text, strncmp(url, "https:", 6) == 0 ? ":443" : ":80");
    }
    buf_add_str(text, end);
}

static bool is_signed_by_either_url(const char *token, const char *url, struct form *f, const char *signature)
{
    struct buf text;
    bool is_valid;

    if (token[0] == '\0')
        return false;
    buf_init(&text, SIGNED_TEXT_MAX);
    buf_add_str(&text, url);
    add_fields(&text, f);
    is_valid = is_signed(token, &text, signature);
    if (!is_valid) {
        buf_clear(&text);
        add_other_url(&text, url);
        add_fields(&text, f);
        is_valid = is_signed(token, &text, signature);
    }
    buf_fini(&text);
    return is_valid;
}

bool signature_is_twilio(const char *token, const char *url, const char *form, size_t len,
                         const char *signature)
{
    struct arena *a = arena_new();
    struct form f;
    bool is_valid =
        form_parse(form, len, a, &f, NULL) == 0 && is_signed_by_either_url(token, url, &f, signature);

    arena_free(&a);
    return is_valid;
}

bool signature_is_twilio_json(const char *token, const char *url, const void *body, size_t len,
                              const char *signature)
{
    static const char parameter[] = "bodySHA256=";
    const char *said = strstr(url, parameter);
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX + 1], given[SHA256_HEX + 1];
    struct form none = {0};
    struct buf full;
    bool is_valid = false;

    if (!sha256(body, len, digest))
        return false;
    write_hex(digest, sizeof digest, hex);
    if (said != NULL &&
        (!read_hex(said + strlen(parameter), SHA256_HEX, given) || !signature_equal(given, hex, SHA256_HEX)))
        return false;
    buf_init(&full, SIGNED_TEXT_MAX);
    buf_add_str(&full, url);
    if (said == NULL)
        buf_printf(&full, "%c%s%s", strchr(url, '?') == NULL ? '?' : '&', parameter, hex);
    if (!full.failed)
        is_valid = is_signed_by_either_url(token, buf_str(&full), &none, signature);
    buf_fini(&full);
    return is_valid;
}
