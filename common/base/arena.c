/* Memory that dies together, and the allocators that do not fail. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EACH_PIECE_ALONE 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EACH_PIECE_ALONE 1
#endif
#ifndef EACH_PIECE_ALONE
#define EACH_PIECE_ALONE 0
#endif

/* A new block is twice the last one within these bounds: an arena of one delivery stays small, one of a batch
 * takes few mallocs. */
enum { FIRST_BLOCK_BYTES = 1024, LAST_BLOCK_BYTES = 64 * 1024 };

struct block {
    struct block *next;
    size_t used;
    size_t cap;
    alignas(max_align_t) char bytes[];
};

struct arena {
    struct block *head; /* the one that pieces are cut from */
    size_t next_bytes;  /* size of the next block */
};

/* Needs no heap: the log's buffer is static. */
_Noreturn void abort_oom(size_t bytes)
{
    log_error("out of memory", log_int("bytes", bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes));
    log_flush();
    _exit(75);
}

struct arena *arena_new(void)
{
    struct arena *a = xcalloc(1, sizeof *a);
    a->next_bytes = FIRST_BLOCK_BYTES;
    return a;
}

static void free_blocks(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_free(struct arena **a)
{
    if (!*a)
        return;
    free_blocks((*a)->head);
    free(*a);
    *a = NULL;
}

void arena_reset(struct arena *a)
{
    struct block *keep = a->head;
    if (!keep)
        return;
    if (EACH_PIECE_ALONE || keep->cap > LAST_BLOCK_BYTES) {
        free_blocks(keep);
        a->head = NULL;
        return;
    }
    free_blocks(keep->next);
    keep->next = NULL;
    keep->used = 0;
}

static struct block *block_new(size_t cap)
{
    if (cap > SIZE_MAX - sizeof(struct block))
        abort_oom(cap);
    struct block *b = xrealloc(NULL, sizeof *b + cap, 1);
    b->next = NULL;
    b->used = 0;
    b->cap = cap;
    return b;
}

/* A block for a piece that does not fit into the head. */
static struct block *block_for(struct arena *a, size_t bytes)
{
    if (a->head && (EACH_PIECE_ALONE || bytes > a->next_bytes / 2)) {
        /* A block of its own, behind the head, so that the rest of the head is still used. */
        struct block *own = block_new(bytes);
        own->next = a->head->next;
        a->head->next = own;
        return own;
    }
    struct block *b = block_new(EACH_PIECE_ALONE || bytes > a->next_bytes ? bytes : a->next_bytes);
    if (a->next_bytes < LAST_BLOCK_BYTES)
        a->next_bytes *= 2;
    b->next = a->head;
    a->head = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    const size_t unit = alignof(max_align_t);
    if (bytes > SIZE_MAX - unit)
        abort_oom(bytes);
    /* Alone, a piece is as long as was asked for: the sanitizer then sees the first byte beyond. */
    size_t need = EACH_PIECE_ALONE ? bytes : (bytes + unit - 1) / unit * unit;
    struct block *b = a->head;
    if (!b || EACH_PIECE_ALONE || need > b->cap - b->used)
        b = block_for(a, need);
    void *piece = b->bytes + b->used;
    b->used += need;
    return memset(piece, 0, bytes);
}

char *arena_dup(struct arena *a, const void *bytes, size_t len)
{
    if (len == SIZE_MAX)
        abort_oom(len);
    char *copy = arena_alloc(a, len + 1);
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_dup(a, s, strlen(s)) : NULL;
}

/* Zero bytes are asked for as one, so that a NULL of the library always means "out of memory". */
static size_t product(size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total))
        abort_oom(SIZE_MAX);
    return total > 0 ? total : 1;
}

void *xcalloc(size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    void *p = calloc(1, total);
    if (!p)
        abort_oom(total);
    return p;
}

void *xrealloc(void *p, size_t count, size_t bytes)
{
    size_t total = product(count, bytes);
    void *q = realloc(p, total);
    if (!q)
        abort_oom(total);
    return q;
}

char *xstrdup(const char *s)
{
    if (!s)
        return NULL;
    size_t bytes = strlen(s) + 1;
    return memcpy(xrealloc(NULL, bytes, 1), s, bytes);
}
