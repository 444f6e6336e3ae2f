/* UUIDs of versions 4 and 5. */
#include "base/uuid.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"

enum { UUID_BYTES = 16 };

static bool is_hyphen_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Writes the text form with its version and variant bits. */
static void write_text(unsigned char bytes[UUID_BYTES], int version, char out[UUID_TEXT_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    bytes[6] = (unsigned char)((bytes[6] & 0x0f) | version << 4);
    bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    for (size_t i = 0, nibble = 0; i < UUID_TEXT_LEN; i++) {
        if (is_hyphen_place(i)) {
            out[i] = '-';
            continue;
        }
        out[i] = hex[nibble % 2 == 0 ? bytes[nibble / 2] >> 4 : bytes[nibble / 2] & 15];
        nibble++;
    }
    out[UUID_TEXT_LEN] = '\0';
}

void uuid_v4(char out[UUID_TEXT_LEN + 1])
{
    uint64_t random[2] = {random_u64(), random_u64()};
    unsigned char bytes[UUID_BYTES];
    memcpy(bytes, random, sizeof bytes);
    write_text(bytes, 4, out);
}

void uuid_v5(const char *namespace_uuid, const void *name, size_t len, char out[UUID_TEXT_LEN + 1])
{
    assert(is_uuid(namespace_uuid));
    unsigned char space[UUID_BYTES] = {0};
    for (size_t i = 0, nibble = 0; i < UUID_TEXT_LEN; i++) {
        if (is_hyphen_place(i))
            continue;
        space[nibble / 2] = (unsigned char)(space[nibble / 2] << 4 | hex_value(namespace_uuid[i]));
        nibble++;
    }

    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *sha1 = EVP_MD_CTX_new();
    if (!sha1 || !EVP_DigestInit_ex(sha1, EVP_sha1(), NULL) || !EVP_DigestUpdate(sha1, space, sizeof space) ||
        !EVP_DigestUpdate(sha1, name, len) || !EVP_DigestFinal_ex(sha1, digest, NULL))
        abort_oom(0); /* or a libcrypto without SHA-1; another id would be a duplicate later */
    EVP_MD_CTX_free(sha1);
    write_text(digest, 5, out);
}

bool is_uuid(const char *text)
{
    if (!text || strnlen(text, UUID_TEXT_LEN + 1) != UUID_TEXT_LEN)
        return false;
    for (size_t i = 0; i < UUID_TEXT_LEN; i++)
        if (is_hyphen_place(i) ? text[i] != '-' : hex_value(text[i]) < 0)
            return false;
    return true;
}
