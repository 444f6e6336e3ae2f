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

/* Each digit's value and one more; 0 for what is no digit. By table: this runs several times a message. */
/* clang-format off */
static const unsigned char hex_digits[256] = {
    ['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    ['A'] = 11, 12, 13, 14, 15, 16,
    ['a'] = 11, 12, 13, 14, 15, 16,
};
/* clang-format on */

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
    unsigned char space[UUID_BYTES];
    if (!uuid_parse(namespace_uuid, UUID_TEXT_LEN, space))
        memset(space, 0, sizeof space); /* not reached: asserted */

    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *sha1 = EVP_MD_CTX_new();
    if (!sha1 || !EVP_DigestInit_ex(sha1, EVP_sha1(), NULL) || !EVP_DigestUpdate(sha1, space, sizeof space) ||
        !EVP_DigestUpdate(sha1, name, len) || !EVP_DigestFinal_ex(sha1, digest, NULL))
        abort_oom(0); /* or a libcrypto without SHA-1; another id would be a duplicate later */
    EVP_MD_CTX_free(sha1);
    write_text(digest, 5, out);
}

bool uuid_parse(const char *text, size_t len, unsigned char out[UUID_BYTES])
{
    if (len != UUID_TEXT_LEN)
        return false;
    for (size_t i = 0, byte = 0; i < UUID_TEXT_LEN; i += 2, byte++) {
        if (is_hyphen_place(i) && text[i++] != '-')
            return false;
        unsigned high = hex_digits[(unsigned char)text[i]], low = hex_digits[(unsigned char)text[i + 1]];
        if (high == 0 || low == 0)
            return false;
        out[byte] = (unsigned char)((high - 1) << 4 | (low - 1));
    }
    return true;
}

bool is_uuid(const char *text)
{
    unsigned char bytes[UUID_BYTES];
    return text && uuid_parse(text, strnlen(text, UUID_TEXT_LEN + 1), bytes);
}
