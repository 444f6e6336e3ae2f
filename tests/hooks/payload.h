/* The webhooks that the providers would post: a person's message, and the news of one of ours, as each of
 * them words it. It shares no code with the programs under test that read them, on purpose. */
#ifndef AGWB_TESTS_HOOKS_PAYLOAD_H
#define AGWB_TESTS_HOOKS_PAYLOAD_H

#include <stdint.h>

#include "base/buf.h"

struct hook_message {   /* from a person to the business */
    const char *number; /* E.164; for website, instagram: the person's id there; for email the address */
    const char *name, *text, *id;
    int64_t at_ms;
};

enum hook_status { HOOK_SENT = 0, HOOK_DELIVERED, HOOK_READ, HOOK_FAILED };
const char *hook_status_name(enum hook_status s);
/* HOOK_FAILED + 1 for a word that is none. */
enum hook_status hook_status_of(const char *name);

struct hook_news {      /* of a message of ours that the provider took */
    const char *id;     /* the provider's, as it gave it out */
    const char *our_id; /* what we gave it along; "" = nothing */
    const char *to, *text;
    enum hook_status status;
    int64_t code; /* HOOK_FAILED */
    int64_t at_ms;
};

struct hook_provider {
    const char *name;    /* webhook_inbox.provider */
    const char *journal; /* what the stand-in provider calls itself */
    const char *channel;
    void (*write_message)(const struct hook_message *m, struct buf *out);
    /* False: this provider says nothing of that. */
    bool (*write_news)(const struct hook_news *n, struct buf *out);
};

extern const struct hook_provider HOOK_PROVIDERS[]; /* ends with a NULL name */
const struct hook_provider *hook_find(const char *name);
/* By the stand-in's own name; NULL when it sends no webhooks. */
const struct hook_provider *hook_of_journal(const char *name);

#endif
