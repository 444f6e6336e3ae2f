/* Memory that dies together: one arena per delivery or batch. Out of memory ends the process; sizes that
 * come from outside are checked by the caller first. With AddressSanitizer each piece is a malloc of its
 * own, so that overruns are seen. */
#ifndef AGWB_BASE_ARENA_H
#define AGWB_BASE_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena **a); /* frees everything taken from it and nulls *a; NULL is fine */
void arena_reset(struct arena *a); /* frees the pieces, keeps the arena */

void *arena_alloc(struct arena *a, size_t bytes); /* zeroed, aligned for any type; never NULL */
char *arena_dup(struct arena *a, const void *bytes, size_t len); /* copy with a NUL behind it */
char *arena_strdup(struct arena *a, const char *s);              /* NULL gives NULL */

/* calloc/realloc/strdup that end the process (exit 75 through log and abort_oom) when memory is out: for
 * long-lived objects. */
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *p, size_t count, size_t bytes);
char *xstrdup(const char *s); /* NULL gives NULL */

/* What all of these do when memory is out; for libraries that say so themselves. `bytes`: 0 = not known. */
_Noreturn void abort_oom(size_t bytes);

#endif
