/* The harmless question that shows whether an account's provider answers and lets us in. Derived from the
 * request that a message would be, so that address and credentials are the very same. Pure but for the
 * buffers it is given. */
#ifndef AGWB_CONSUMER_CHANNELS_CHANNEL_PROBE_H
#define AGWB_CONSUMER_CHANNELS_CHANNEL_PROBE_H

#include <stdbool.h>

#include "consumer/channels/channel.h"

struct channel_probe {
    struct channel_request request; /* a GET; freed by channel_request_fini */
    bool is_question; /* the provider's own; else only its host is asked for anything at all, without
                         credentials */
    const char *path; /* into the answer's JSON, where it says how the account stands; NULL = nowhere */
    const char *good; /* what stands there when all is well */
};

/* False for a provider that sends no request: its messages are fetched from the database. */
bool channel_has_server(const struct config_account *a);

/* -1 and ERR_DATA when no request can be made for the account. */
int channel_probe_build(const struct config_account *a, struct channel_probe *p, struct err *e) MUST_CHECK;

enum channel_health {
    CHANNEL_HEALTHY = 0,
    CHANNEL_UNWELL,      /* it answers, but not as it should: may pass, or someone must look */
    CHANNEL_UNREACHABLE, /* no answer */
    CHANNEL_REFUSED,     /* the credentials, or what the account names, are wrong */
};
/* text: what was seen, without secrets. */
enum { CHANNEL_HEALTH_SIZE = 256 };
enum channel_health channel_probe_judge(const struct channel_probe *p, const struct http_result *r,
                                        char text[CHANNEL_HEALTH_SIZE]);

#endif
