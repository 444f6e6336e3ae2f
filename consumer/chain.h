/* The chain of an account: what to do when its provider cannot write to a contact, channels.accounts.next.
 * Pure. */
#ifndef AGWB_CONSUMER_CHAIN_H
#define AGWB_CONSUMER_CHAIN_H

#include "consumer/channels/channel.h"
#include "consumer/delivery.h"
#include "domain/config.h"

/* Under what else the contact is known; NULL or "" = unknown. */
struct chain_contact {
    const char *number, *email;
};

enum chain_answer {
    CHAIN_ENDS = 0, /* nothing (more) is configured for this */
    CHAIN_PARKS,    /* it says so */
    CHAIN_GOES_ON,  /* *next is the way */
};

/* The first step of the chain from `at` on that is for this block and can be taken: an account whose channel
 * has an address of the contact, or the template of the account at hand, which only a closed window asks for.
 * A template that fails without a block of its own leaves the window closed. */
enum chain_answer chain_next(const struct config *c, const struct delivery_way *at,
                             const struct chain_contact *contact, enum channel_block block,
                             struct delivery_way *next);

/* The name of the step that led to a way: "template" or the account. */
const char *chain_step_name(const struct delivery_way *way);

#endif
