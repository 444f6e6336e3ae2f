#include "consumer/arrival.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "consumer/replay.h"
#include "domain/topology.h"

enum { HEADERS_LIMIT = 16 * 1024 };

/* The headers that travel on: strings without the broker's own x- ones. */
static char *keep_headers(struct arena *a, const struct broker_delivery *d, const char **traceparent)
{
    struct buf json;
    char *kept;

    buf_init(&json, HEADERS_LIMIT);
    buf_add_char(&json, '{');
    for (size_t i = 0; i < d->header_count; i++) {
        const struct broker_header *h = &d->headers[i];
        if (!h->str || strncmp(h->name, "x-", 2) == 0 || !is_utf8(h->name, strlen(h->name)) ||
            !is_utf8(h->str, strlen(h->str)))
            continue;
        if (json.len > 1)
            buf_add_char(&json, ',');
        buf_add_json_str(&json, h->name, strlen(h->name));
        buf_add_char(&json, ':');
        buf_add_json_str(&json, h->str, strlen(h->str));
        if (strcmp(h->name, "traceparent") == 0 && is_traceparent(h->str))
            *traceparent = arena_strdup(a, h->str);
    }
    buf_add_char(&json, '}');
    kept = json.failed ? arena_strdup(a, "{}") : arena_dup(a, json.data, json.len);
    buf_fini(&json);
    return kept;
}

static int32_t replay_of(const struct broker_delivery *d)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, REPLAY_HEADER) == 0 && !d->headers[i].str && d->headers[i].i > 0 &&
            d->headers[i].i <= INT32_MAX)
            return (int32_t)d->headers[i].i;
    }
    return 0;
}

struct arrival *arrival_new(const struct broker_delivery *d, struct receive *owner, int64_t now_ms)
{
    struct arrival *a = xcalloc(1, sizeof *a);

    a->owner = owner;
    a->epoch = d->epoch;
    a->tag = d->delivery_tag;
    a->arrived_at = now_ms;
    a->arena = arena_new();
    a->body_len = d->body_len;
    a->body = arena_dup(a->arena, d->body, d->body_len);
    a->headers_json = keep_headers(a->arena, d, &a->traceparent);
    a->replay = replay_of(d);
    a->late = strcmp(d->queue, TOPOLOGY_DLX_WEBHOOK) == 0;
    if (d->death.reason && is_utf8(d->death.reason, strlen(d->death.reason)))
        a->death = arena_strdup(a->arena, d->death.reason);
    return a;
}

void arrival_free(struct arrival *a)
{
    arena_free(&a->arena);
    free(a);
}
