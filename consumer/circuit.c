/* Closed, open, probing; one function moves. */
#include "consumer/circuit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/backoff.h"
#include "domain/families.h"

struct circuit {
    const char *account;
    enum circuit_state state;
    int failures; /* in a row */
    int probes;   /* failed ones since it opened */
    int64_t probe_at;
};

struct circuits {
    struct metrics *metrics;
    struct alerts *alerts;
    struct circuit *items;
    size_t count;
};

static const struct backoff PROBES = {
    .delay_ms = CIRCUIT_PROBE_MS, .multiplier = 2, .max_delay_ms = CIRCUIT_PROBE_MAX_MS, .jitter = 0.2};

struct circuits *circuits_new(const struct config *c, struct metrics *m, struct alerts *a)
{
    struct circuits *all = xcalloc(1, sizeof *all);

    all->metrics = m;
    all->alerts = a;
    all->count = c->channels.account_count;
    all->items = xcalloc(all->count ? all->count : 1, sizeof *all->items);
    for (size_t i = 0; i < all->count; i++) {
        all->items[i].account = c->channels.accounts[i].name;
        metric_set(m, &METRIC_CIRCUIT_OPEN, 0, all->items[i].account, NULL);
    }
    return all;
}

void circuits_free(struct circuits **c)
{
    if (!*c)
        return;
    free((*c)->items);
    free(*c);
    *c = NULL;
}

static struct circuit *find(const struct circuits *c, const char *account)
{
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->items[i].account, account) == 0)
            return &c->items[i];
    }
    return NULL;
}

static void raise_change(struct circuits *c, const struct circuit *t, const char *text, const char *key,
                         int count)
{
    char number[16];

    snprintf(number, sizeof number, "%d", count);
    alerts_raise(c->alerts, &(struct alert){.kind = ALERT_ACCOUNT,
                                            .is_over = t->state == CIRCUIT_CLOSED,
                                            .about = t->account,
                                            .text = text,
                                            .details = {{key, number}}});
}

static void move(struct circuits *c, struct circuit *t, enum circuit_state to)
{
    bool was_down = t->state != CIRCUIT_CLOSED, is_down = to != CIRCUIT_CLOSED;

    t->state = to;
    if (was_down == is_down)
        return;
    metric_set(c->metrics, &METRIC_CIRCUIT_OPEN, is_down ? 1 : 0, t->account, NULL);
    if (is_down)
        raise_change(c, t, "sender account is down, its deliveries wait", "failures", t->failures);
    else
        raise_change(c, t, "sender account is up again", "probes", t->probes);
}

static void open_until_probe(struct circuits *c, struct circuit *t, int64_t now_ms)
{
    t->probe_at = now_ms + backoff_jittered_ms(&PROBES, t->probes + 1, random_u64());
    move(c, t, CIRCUIT_OPEN);
}

/* The provider spoke to us as one that works: whatever it said of the message. */
static bool is_alive(enum outcome o)
{
    switch (o) {
    case OUTCOME_DELIVERED:
    case OUTCOME_THROTTLED:
    case OUTCOME_PERMFAIL:
        return true;
    case OUTCOME_TEMPFAIL:
    case OUTCOME_UNCERTAIN:
    case OUTCOME_AUTH:
        return false;
    }
    return false;
}

void circuits_record(struct circuits *c, const char *account, enum outcome outcome, bool works,
                     int64_t now_ms)
{
    struct circuit *t = find(c, account);

    if (!t)
        return;
    if (works || is_alive(outcome)) {
        move(c, t, CIRCUIT_CLOSED);
        t->failures = t->probes = 0;
        return;
    }
    t->failures++;
    switch (t->state) {
    case CIRCUIT_CLOSED:
        if (outcome == OUTCOME_AUTH || t->failures >= CIRCUIT_FAILURES)
            open_until_probe(c, t, now_ms);
        break;
    case CIRCUIT_OPEN: /* an attempt from before it opened */
        break;
    case CIRCUIT_PROBING:
        t->probes++;
        open_until_probe(c, t, now_ms);
        break;
    }
}

enum circuit_state circuits_state(const struct circuits *c, const char *account)
{
    const struct circuit *t = find(c, account);

    return t ? t->state : CIRCUIT_CLOSED;
}

bool circuits_is_down(const struct circuits *c, const char *account)
{
    return circuits_state(c, account) != CIRCUIT_CLOSED;
}

size_t circuits_down(const struct circuits *c, const char **names, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count && n < max; i++) {
        if (c->items[i].state != CIRCUIT_CLOSED)
            names[n++] = c->items[i].account;
    }
    return n;
}

const char *circuits_take_probe(struct circuits *c, int64_t now_ms)
{
    for (size_t i = 0; i < c->count; i++) {
        struct circuit *t = &c->items[i];
        if (t->state == CIRCUIT_OPEN && t->probe_at <= now_ms) {
            move(c, t, CIRCUIT_PROBING);
            return t->account;
        }
    }
    return NULL;
}

void circuits_probe_missed(struct circuits *c, const char *account, int64_t now_ms)
{
    struct circuit *t = find(c, account);

    if (!t || t->state != CIRCUIT_PROBING)
        return;
    t->probe_at = now_ms + CIRCUIT_IDLE_PROBE_MS;
    move(c, t, CIRCUIT_OPEN);
}

int64_t circuits_next_probe_at(const struct circuits *c)
{
    int64_t at = -1;

    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].state == CIRCUIT_OPEN && (at < 0 || c->items[i].probe_at < at))
            at = c->items[i].probe_at;
    }
    return at;
}
