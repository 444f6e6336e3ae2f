/* The question to an attachment's server before the reply is sent (attachments.probe): is the file there, by
 * a public address, without a redirect, and not too large? Answers are remembered for a minute, since the
 * parts and tries of a reply ask the same. */
#ifndef AGWB_CONSUMER_PROBE_H
#define AGWB_CONSUMER_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "domain/config.h"
#include "io/http.h"
#include "io/loop.h"

enum { PROBE_BUDGET_MS = 4000 }; /* for all links of one attempt */

struct probes; /* what is known */

struct probes *probes_new(void);
void probes_free(struct probes **p);

enum probe_verdict {
    PROBE_GOOD = 0,
    PROBE_REFUSED, /* this link must not be sent */
    PROBE_LATER,   /* its server cannot be asked now */
};
struct probe_answer {
    enum probe_verdict verdict;
    char reason[160]; /* "" when good; without the link */
};

typedef void probe_fn(void *arg, const struct probe_answer *a);

struct probe_deps { /* borrowed */
    struct probes *probes;
    struct http *http;
    struct loop *loop;
    const struct config *config;
};

struct probe { /* zeroed before use; done and arg are the caller's to set */
    struct probe_deps deps;
    char **urls; /* owned */
    size_t count, next;
    int64_t until_at; /* monotonic: when the patience with all of them ends */
    probe_fn *done;
    void *arg;
};

/* Asks for each of these links in turn, until one is not good. 1: *a is known at once, and done does not
 * follow. 0: done is called once, in a later turn, unless http is freed before. */
int probe_start(struct probe *p, const struct probe_deps *deps, const char *const *urls, size_t count,
                struct probe_answer *a);
/* Frees what it owns; it must not be waiting for a living http. */
void probe_fini(struct probe *p);

/* The verdict on a server's answer. Pure. */
void probe_judge(const struct http_result *r, int64_t max_bytes, struct probe_answer *a);

#endif
