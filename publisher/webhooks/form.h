/* application/x-www-form-urlencoded, read. */
#ifndef AGWB_PUBLISHER_WEBHOOKS_FORM_H
#define AGWB_PUBLISHER_WEBHOOKS_FORM_H

#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

enum { FORM_MAX_FIELDS = 1000 };

struct form_field { /* decoded bytes, which may hold a NUL or be no UTF-8; a NUL stands behind them */
    const char *name, *value;
    size_t name_len, value_len;
};
struct form { /* in the arena */
    struct form_field *fields;
    size_t count;
};

/* '+' is a space; a '%' without two hexadecimal digits stands for itself; a field without '=' has the value
 * "". -1 and ERR_DATA for more than FORM_MAX_FIELDS. */
int form_parse(const char *bytes, size_t len, struct arena *a, struct form *f, struct err *e) MUST_CHECK;

/* The first field of this name, NULL when there is none. */
const struct form_field *form_find(const struct form *f, const char *name);
/* Its value; NULL also when it is "". */
const char *form_value(const struct form *f, const char *name);

#endif
