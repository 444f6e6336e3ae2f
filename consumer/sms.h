/* What a text costs as SMS, and how to make it cheaper (3GPP TS 23.038 and 23.040): in the GSM-7 alphabet 160
 * septets or segments of 153, else UCS-2, 70 units or segments of 67. One character outside GSM-7 makes the
 * whole text UCS-2. Pure. */
#ifndef AGWB_CONSUMER_SMS_H
#define AGWB_CONSUMER_SMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* One alphabet's count of a text. */
struct sms_count {
    size_t total;          /* septets or units */
    size_t segments, fill; /* of a text too long for one: full and begun segments, and what the last holds */
};

/* A text's cost character by character; begins zeroed. */
struct sms_meter {
    struct sms_count gsm, ucs2;
    bool is_ucs2; /* a character is not in GSM-7; gsm no longer counts */
};
void sms_meter_add(struct sms_meter *m, uint32_t c);
/* The same for `count` characters of one septet each. */
void sms_meter_add_plain(struct sms_meter *m, size_t count);
/* Of the characters so far: 0 for none. More characters never make it fewer. */
size_t sms_meter_segments(const struct sms_meter *m);

/* Of a text known to be UTF-8. */
size_t sms_segments(const char *text);

/* How many bytes from the beginning on are characters of one septet: ASCII but those of the extension table.
 */
size_t sms_plain_prefix(const char *text, size_t len);

/* 1; 2 for those of the extension table; 0: not in GSM-7. */
size_t sms_septets(uint32_t c);

/* Adds the text with the typographic characters that are not in GSM-7 replaced by plain ones: quotation
 * marks, dashes, ellipsis, bullet, blanks of other widths. Letters and emoji stay. */
void sms_add_plain(struct buf *out, const char *text);

#endif
