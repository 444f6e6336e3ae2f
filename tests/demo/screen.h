/* What the person in front of it sees: lines on standard output; on a terminal also colours and a progress
 * bar below the last line. */
#ifndef AGWB_TESTS_DEMO_SCREEN_H
#define AGWB_TESTS_DEMO_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct screen;

struct screen *screen_new(void);
void screen_free(struct screen **s); /* takes the bar away */

enum screen_tone { SCREEN_PLAIN = 0, SCREEN_FAINT, SCREEN_GOOD, SCREEN_ODD, SCREEN_BAD };

/* A line of free text. */
void screen_say(struct screen *s, enum screen_tone tone, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct screen_event { /* NULL = "" */
    int64_t wall_ms;
    const char *where, *who; /* "WhatsApp", "Amara (***143)" */
    const char *said;
    const char *became; /* the reply, or what happened instead */
    double took_ms;     /* < 0: something else than a reply happened */
};
/* A line of the timeline, cut to the terminal's width. */
void screen_event(struct screen *s, const struct screen_event *e);

/* The bar: how much of `total` came in and is settled. Nothing when this is no terminal. */
void screen_progress(struct screen *s, size_t came, size_t settled, size_t total);

/* A row of the table: label, up to two values (NULL = none), a remark (NULL = none). */
void screen_row(struct screen *s, const char *label, const char *value, const char *value2,
                const char *remark);
/* A line of the verdict. */
void screen_check(struct screen *s, bool good, const char *sentence);

#endif
