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

void claimed_add(struct claimed_queue *q, const struct ledger_claim *claim, struct arena **arena,
                 int64_t lease_ends_ms, double claim_ms)
{
    struct claimed *c = xcalloc(1, sizeof *c);
    const char **strings[] = {
        &c->claim.message_id,   &c->claim.kind,       &c->claim.account,   &c->claim.channel,
        &c->claim.address,      &c->claim.job_id,     &c->claim.quoted_id, &c->claim.chain,
        &c->claim.workspace_id, &c->claim.contact_id, &c->claim.number,    &c->claim.email,
    };

    *c = (struct claimed){
        .claim = *claim, .arena = *arena, .lease_ends_ms = lease_ends_ms, .claim_ms = claim_ms};
    *arena = NULL;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        *strings[i] = arena_strdup(c->arena, *strings[i]);
    STAILQ_INSERT_TAIL(&q->list, c, entry);
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
