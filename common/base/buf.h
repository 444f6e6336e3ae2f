/* A byte buffer that grows up to a limit given at its birth. Every append can fail on that limit, and a
 * failed buffer stays failed, so that a row of appends needs one check at its end. Running out of memory
 * ends the process. */
#ifndef AGWB_BASE_BUF_H
#define AGWB_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    char *data; /* owned; NULL until the first append; not NUL-terminated (see buf_str) */
    size_t len;
    size_t cap;
    size_t limit; /* bytes; never grows beyond */
    bool failed;  /* an append did not fit; len is what fitted before it */
};

void buf_init(struct buf *b, size_t limit_bytes);
void buf_fini(struct buf *b);  /* frees; the buffer may be initialised again */
void buf_clear(struct buf *b); /* len = 0, failed = false; keeps the memory */

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_str(struct buf *b, const char *s); /* NULL adds nothing */
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_add_int(struct buf *b, int64_t value);
/* As JSON has it, with up to 9 significant digits and no trailing zeros; "null" unless finite. */
void buf_add_real(struct buf *b, double value);
/* A JSON string with its quotes: escapes ", \ and control characters; other bytes as they are (must be
 * UTF-8). */
void buf_add_json_str(struct buf *b, const char *s, size_t len);
/* How many bytes from the beginning on stand in a JSON string as they are: ASCII but ", \ and controls. */
size_t json_plain_prefix(const char *bytes, size_t len);
/* Big-endian integers, for binary formats. */
void buf_add_u16(struct buf *b, uint16_t v);
void buf_add_u32(struct buf *b, uint32_t v);
void buf_add_u64(struct buf *b, uint64_t v);

/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* The content with a NUL behind it (not counted in len); "" when empty. Valid until the next change. NULL
 * if failed. */
const char *buf_str(struct buf *b);

/* The same for the same text (FNV-1a). */
uint32_t str_hash(const char *s);
/* Into a text of fixed size, NUL-terminated; what does not fit is cut off. */
void str_copy(char *to, size_t size, const char *from);

#endif
