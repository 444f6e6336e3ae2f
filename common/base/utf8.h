/* UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef AGWB_BASE_UTF8_H
#define AGWB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that begins at `bytes` (1 to 4), or 0 when the `left` bytes there begin with none.
 */
size_t utf8_length(const char *bytes, size_t left);

/* All of the bytes are characters. */
bool is_utf8(const char *bytes, size_t len);

/* --- for texts known to be valid and NUL-terminated --- */

/* The character at *p, which is moved behind it. At the end: 0, and *p stays. */
uint32_t utf8_next(const char **p);

/* Characters (code points), as JSON Schema counts a string's length. */
size_t utf8_count(const char *text);

/* Bytes that the first max_chars characters take; all of them when there are fewer. */
size_t utf8_prefix(const char *text, size_t max_chars);

/* White space as ECMAScript's \s has it: TAB, LF, VT, FF, CR, space, U+00A0, U+1680, U+2000 to U+200A,
 * U+2028, U+2029, U+202F, U+205F, U+3000, U+FEFF. The schemas spell out the same set. */
bool utf8_is_space(uint32_t c);

/* Nothing but white space, or nothing at all. */
bool utf8_is_blank(const char *text);

#endif
