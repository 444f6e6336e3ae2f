/* What becomes of one request: its provider's answer, changed by the script, and the journal's line about it.
 * How the outcome reaches the client is the server's business. */
#ifndef AGWB_TESTS_PROVIDER_PLAY_H
#define AGWB_TESTS_PROVIDER_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/provider/control.h"

enum ending {
    END_ANSWER = 0, /* answer, or `padding` bytes in place of its body */
    END_CLOSE,      /* FIN */
    END_RESET,      /* RST */
    END_BYTES,      /* `bytes` as they are, then FIN */
    END_HANG,       /* nothing until the client goes */
};

struct play {
    enum ending ending;
    struct provider_answer answer;
    int64_t delay_ms;    /* before the end */
    struct buf bytes;    /* END_BYTES */
    int64_t us_per_byte; /* END_BYTES: 0 = all at once */
    size_t padding;      /* END_ANSWER: 0 = none */
};

void play_init(struct play *p);
void play_fini(struct play *p);

/* The request is whole; `is_too_large`: its body was more than PROVIDER_MAX_BODY and is not in q. */
void play_request(struct play *p, struct control *c, const struct provider_request *q, uint64_t connection,
                  bool is_too_large);
/* The headers are in. True when a rule wants the connection gone before the body; p then says so. */
bool play_early(struct play *p, struct control *c, const struct provider_request *q, uint64_t connection);

#endif
