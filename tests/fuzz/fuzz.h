/* What every fuzz target shares. A target feeds one decoder with bytes from outside and ends the process when
 * a promise of that decoder's header is broken; the sanitizers see the rest. The same functions run under
 * libFuzzer (driver.c), over the corpus in the unit tests, and with allocations that fail (alloc.c). */
#ifndef AGWB_TESTS_FUZZ_H
#define AGWB_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "consumer/channels/channel.h"

struct fuzz_target {
    const char *name;
    void (*run)(const char *bytes, size_t len); /* bytes are not terminated */
    const char *const *corpora;                 /* folders below tests/corpus; NULL ends the list */
};

/* Ends with an entry without name. */
extern const struct fuzz_target FUZZ_TARGETS[];

/* NULL when there is none of that name. */
const struct fuzz_target *fuzz_find(const char *name);

/* Aborts with the sentence unless it holds. */
void fuzz_require(bool holds, const char *sentence);

/* Input of several strings: each ends at a NUL or at the input's end. */
struct fuzz_strings {
    const char *at;
    size_t left;
    struct arena *arena; /* takes the copies */
};
/* The next string, or NULL when the input has no more. */
char *fuzz_next(struct fuzz_strings *s);

/* The providers of the registry; NULL ends the list. */
const struct channel_provider *const *fuzz_providers(void);
/* Holds a verdict against what the engine and the database rely on. */
void fuzz_check_verdict(const struct channel_verdict *v);

void fuzz_json(const char *bytes, size_t len);
void fuzz_reply(const char *bytes, size_t len);
void fuzz_request(const char *bytes, size_t len);
void fuzz_write_request(const char *bytes, size_t len); /* strings: see fuzz_message.c */
void fuzz_answer(const char *bytes, size_t len);        /* "status retry_after_ms\n", then the body */
void fuzz_http(const char *bytes, size_t len);          /* what a server answers, as it is on the wire */
void fuzz_config(const char *bytes, size_t len);        /* the file; environment; ""; --set: strings */
void fuzz_amqp(const char *bytes, size_t len);          /* what a broker sends once the connection stands */
void fuzz_text(const char *bytes, size_t len);          /* one string */
void fuzz_content(const char *bytes, size_t len);       /* limits, a text and its files: strings */
void fuzz_cli(const char *bytes, size_t len);           /* the words of a command line: strings */
void fuzz_webhook(const char *bytes, size_t len);       /* body, headers as JSON, account, secret: strings */

#endif
