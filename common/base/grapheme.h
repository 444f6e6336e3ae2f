/* What a reader takes for one character, so that a text is never cut within: the extended grapheme clusters
 * of UAX 29, as far as messages need them. Kept together: CR LF; a character and its combining marks,
 * variation selectors, keycaps, skin tones and tags; emoji joined by ZERO WIDTH JOINER; two regional
 * indicators (a flag); a syllable of Hangul jamo. Beyond UAX 29: whatever follows a joiner stays, a mark that
 * closes a direction stays with what is before it, and one that opens a direction with what follows. Left
 * out: conjuncts of Indic consonants (GB9c). The marks are those of Unicode 14. */
#ifndef AGWB_BASE_GRAPHEME_H
#define AGWB_BASE_GRAPHEME_H

#include <stddef.h>

/* Bytes of the cluster that begins a text known to be UTF-8 and NUL-terminated; 0 at its end. */
size_t grapheme_length(const char *text);

#endif
