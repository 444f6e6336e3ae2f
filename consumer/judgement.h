/* From a provider's verdict on a message to what is done about it: the chain, the disposition and the words
 * of both, for an attempt that has ended and for a receipt that says that it was in vain. */
#ifndef AGWB_CONSUMER_JUDGEMENT_H
#define AGWB_CONSUMER_JUDGEMENT_H

#include "consumer/chain.h"
#include "consumer/channels/channel.h"
#include "consumer/delivery.h"
#include "domain/alert.h"
#include "domain/config.h"

struct judgement { /* borrowed */
    const struct config *config;
    struct alerts *alerts;
    const struct channel_verdict *verdict;
    const struct delivery_way *way;
    const struct chain_contact *contact;
    int attempts; /* as disposition_input's */
    bool account_down, has_more;
};

/* Fills outcome, disposition, next, opted_out, provider_id, provider_code, detail and reason of *s, whose
 * message_id is there already. Raises an alert for what an operator must look at. */
void judgement_pass(const struct judgement *j, struct settlement *s);

#endif
