/* The replies' bytes, with the specification's members only, or with the request's own ids echoed beside
 * them. Pure. */
#ifndef AGWB_TESTS_AGENT_REPLY_H
#define AGWB_TESTS_AGENT_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/uuid.h"
#include "tests/agent/behaviour.h"

enum { REPLY_MAX_BYTES = 1024 * 1024 };

struct reply_facts {
    const struct json_node *request; /* checked */
    const struct behaviour *behaviour;
    const char *reply_id;
    int64_t number; /* of several replies, from 1 */
    int64_t timestamp_s;
    double processing_s;
    bool echo_ids; /* workspaceId, conversationId, contactId, channel, metadata.deadline */
    bool differ;   /* the second one of a conflict */
};

/* The text is "Re: <the user's text> #<request id>", so that no two requests get the same one; further
 * replies end in "(2)", ... */
void reply_write(const struct reply_facts *f, struct buf *out);

/* The id of a request's n-th reply as `--reply-id v5` makes it: uuid v5 of REPLY_NAMESPACE and "<request
 * id>/<n>". */
#define REPLY_NAMESPACE "6c1f7a52-0d0e-5b7c-9a43-2f4d1b8e7a90"
void reply_id_v5(const char *request_id, int64_t number, char out[UUID_TEXT_LEN + 1]);

#endif
