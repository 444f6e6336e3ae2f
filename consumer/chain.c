/* Walks `next` from the delivery's step on. The chain is the first account's all the way: no two accounts can
 * send a message back and forth between them. */
#include "consumer/chain.h"

#include <stdio.h>
#include <string.h>

/* Is this entry for this block? One without a reason is for every block but the contact's own wish. */
static bool is_for(const char *entry, enum channel_block block)
{
    static const char *const REASONS[] = {[BLOCK_NONE] = "",
                                          [BLOCK_UNREACHABLE] = "unreachable:",
                                          [BLOCK_WINDOW] = "window:",
                                          [BLOCK_OPTED_OUT] = "opted-out:"};

    if (config_next_step(entry) == entry)
        return block == BLOCK_UNREACHABLE || block == BLOCK_WINDOW;
    return block != BLOCK_NONE && strncmp(entry, REASONS[block], strlen(REASONS[block])) == 0;
}

/* Where an account reaches the contact; NULL = nowhere. A number is one for WhatsApp and for SMS. */
static const char *address_for(const struct config_account *a, const struct delivery_way *at,
                               const struct chain_contact *contact)
{
    if (strcmp(at->channel, channel_name(a->channel)) == 0)
        return at->address;
    switch (a->channel) {
    case CHANNEL_WHATSAPP:
    case CHANNEL_SMS:
        if (is_e164(at->address))
            return at->address;
        return contact->number && is_e164(contact->number) ? contact->number : NULL;
    case CHANNEL_EMAIL:
        return contact->email && contact->email[0] ? contact->email : NULL;
    case CHANNEL_NONE:
    case CHANNEL_WEBSITE:
    case CHANNEL_INSTAGRAM:
        return NULL;
    }
    return NULL;
}

static bool take_template(const struct config *c, struct delivery_way *next)
{
    const struct config_account *a = config_account_find(c, next->account);
    const struct channel_provider *p = a ? channel_find(a->provider) : NULL;

    if (!p || !p->has_template || !config_account_option(a, "template", NULL))
        return false;
    next->as_template = true;
    return true;
}

static bool take_account(const struct config_account *a, const struct delivery_way *at,
                         const struct chain_contact *contact, struct delivery_way *next)
{
    const char *address = a ? address_for(a, at, contact) : NULL;

    if (!address || strlen(address) >= sizeof next->address || strcmp(a->name, at->account) == 0)
        return false;
    str_copy(next->account, sizeof next->account, a->name);
    str_copy(next->channel, sizeof next->channel, channel_name(a->channel));
    str_copy(next->address, sizeof next->address, address);
    str_copy(next->chain, sizeof next->chain, at->chain[0] ? at->chain : at->account);
    next->as_template = false;
    return true;
}

enum chain_answer chain_next(const struct config *c, const struct delivery_way *at,
                             const struct chain_contact *contact, enum channel_block block,
                             struct delivery_way *next)
{
    const struct config_account *owner = config_account_find(c, at->chain[0] ? at->chain : at->account);

    if (block == BLOCK_NONE && at->as_template)
        block = BLOCK_WINDOW;
    for (size_t i = (size_t)at->step; owner && i < owner->next_count; i++) {
        const char *step = config_next_step(owner->next[i]);
        if (!step || !is_for(owner->next[i], block))
            continue;
        if (strcmp(step, "park") == 0)
            return CHAIN_PARKS;
        *next = *at;
        next->step = (int32_t)i + 1;
        if (strcmp(step, "template") == 0
                ? block == BLOCK_WINDOW && !at->as_template && take_template(c, next)
                : take_account(config_account_find(c, step), at, contact, next))
            return CHAIN_GOES_ON;
    }
    return CHAIN_ENDS;
}

const char *chain_step_name(const struct delivery_way *way)
{
    return way->as_template ? "template" : way->account;
}
