/* RFC 9562 identifiers in their 36-character lower-case form. */
#ifndef AGWB_BASE_UUID_H
#define AGWB_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>

enum { UUID_TEXT_LEN = 36 };

void uuid_v4(char out[UUID_TEXT_LEN + 1]);
/* Version 5: SHA-1 of the namespace (a uuid text; must be valid) and the name. */
void uuid_v5(const char *namespace_uuid, const void *name, size_t len, char out[UUID_TEXT_LEN + 1]);
/* Any version, either case, with hyphens. NULL is not one. */
bool is_uuid(const char *text);
/* The 16 bytes of one; false when the text is none. */
bool uuid_parse(const char *text, size_t len, unsigned char out[16]);

#endif
