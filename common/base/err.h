/* One error value that travels from the place that saw it to the place that decides: a class to act on,
 * a code for machines, a text for people. Functions that can fail return 0 or -1 and fill it. */
#ifndef AGWB_BASE_ERR_H
#define AGWB_BASE_ERR_H

#include <stdarg.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

enum err_class {
    ERR_NONE = 0,
    ERR_USAGE,       /* the command line; exit 64 */
    ERR_UNAVAILABLE, /* a service a one-shot command needs; exit 69 */
    ERR_BUG,         /* a broken invariant of ours; exit 70 */
    ERR_TEMPORARY,   /* try again: lost connection, not up yet; exit 75 */
    ERR_CONFIG,      /* an operator must change something; exit 78 */
    ERR_DATA,        /* outside bytes are wrong; never ends a daemon */
};

struct err {
    enum err_class class;
    int code;       /* AMQP reply code, errno, HTTP status: whatever the source counts in; 0 if it has none */
    char text[600]; /* one line, no newline, never a secret */
};

/* Fills *e (may be NULL) and returns -1, so that callers write: return err_set(...). Newlines and control
 * characters of the formatted text become spaces; a longer text is cut. */
int err_set(struct err *e, enum err_class class, int code, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Puts "prefix: " before the text of an error that is already set; returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The exit status (sysexits) that ends the process for this class; 0 for ERR_NONE, 1 for ERR_DATA. */
int err_exit_status(const struct err *e);

/* "config", "temporary", ...: static. */
const char *err_class_name(enum err_class class);

#endif
