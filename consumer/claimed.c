#include "consumer/claimed.h"

#include <stdlib.h>

void claimed_init(struct claimed_queue *q)
{
    STAILQ_INIT(&q->list);
    q->count = 0;
}

void claimed_fini(struct claimed_queue *q)
{
    struct claimed *c;

    while ((c = claimed_take(q)))
        claimed_free(c);
}

void claimed_add(struct claimed_queue *q, const struct claimed *c, struct arena **arena)
{
    struct claimed *own = xcalloc(1, sizeof *own);
    struct ledger_claim *claim = &own->claim;
    const char **strings[] = {
        &claim->message_id, &claim->kind,   &claim->account,      &claim->channel,
        &claim->address,    &claim->job_id, &claim->workspace_id, &claim->contact_id,
        &claim->quoted_id,  &claim->chain,  &claim->number,       &claim->email,
    };

    *own = *c;
    own->arena = *arena;
    *arena = NULL;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        *strings[i] = arena_strdup(own->arena, *strings[i]);
    STAILQ_INSERT_TAIL(&q->list, own, entry);
    q->count++;
}

struct claimed *claimed_take(struct claimed_queue *q)
{
    struct claimed *c = STAILQ_FIRST(&q->list);

    if (!c)
        return NULL;
    STAILQ_REMOVE_HEAD(&q->list, entry);
    q->count--;
    return c;
}

void claimed_free(struct claimed *c)
{
    arena_free(&c->arena);
    free(c);
}
