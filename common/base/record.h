/* What commands print: a row of named values, as "  name  value" lines for people or as a JSON
 * object, so that both say the same. Pure. */
#ifndef AGWB_BASE_RECORD_H
#define AGWB_BASE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct record {
    struct buf *out;
    bool json;
    bool begun; /* the object has a member already */
};

/* A JSON object opens, in text nothing happens. */
void record_open(struct record *r);
/* Its end, with a line's end unless it stands inside another. */
void record_close(struct record *r, bool is_nested);
/* A member that is itself an object or array in JSON: '{' or '['. Closed by record_close or
 * record_close_array. */
void record_open_member(struct record *r, const char *name, char bracket);
void record_close_array(struct record *r);

/* A value that is absent has its key, with null, in JSON, and no line in text. */
void record_id(struct record *r, const char *name, const char *id);     /* as it is; NULL = absent */
void record_text(struct record *r, const char *name, const char *text); /* foreign: cleaned; NULL = absent */
void record_int(struct record *r, const char *name, int64_t value, bool known);
void record_bool(struct record *r, const char *name, bool value);

/* What a terminal would act on, and what is not UTF-8, becomes '?'. */
void record_add_printable(struct buf *out, const char *bytes, size_t len);
/* The same, and every number of 8 digits or more is masked to its last three. */
void record_add_clean(struct buf *out, const char *text);

#endif
