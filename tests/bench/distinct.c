/* See bench.h. */
#include "tests/bench/bench.h"

#include <stdbool.h>

#include "base/arena.h"

enum { SLOTS = 1 << 20 }; /* a power of two, far more than any run has ids */

struct distinct {
    uint64_t count;
    uint64_t hashes[SLOTS]; /* open addressing; 0 = free */
};

struct distinct *distinct_new(void)
{
    return xcalloc(1, sizeof(struct distinct));
}

void distinct_add(struct distinct *d, const char *text, size_t len)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211U;
    hash |= hash == 0;
    for (uint64_t i = hash ^ hash >> 32;; i++) {
        uint64_t *slot = &d->hashes[i % SLOTS];
        if (*slot == hash)
            return;
        if (*slot == 0 && d->count < SLOTS / 2) {
            *slot = hash;
            d->count++;
            return;
        }
    }
}

uint64_t distinct_count(const struct distinct *d)
{
    return d->count;
}
