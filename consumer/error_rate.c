/* A ring of slices of the window an account. */
#include "consumer/error_rate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { SLICES = 20 };

struct slice {
    int64_t number; /* of the slice of time it counts */
    int64_t attempts, failures;
};

struct rate {
    const char *account;
    struct slice slices[SLICES];
    bool is_high;
};

struct error_rates {
    const struct config *config;
    struct alerts *alerts;
    struct rate *items;
    size_t count;
};

struct error_rates *error_rates_new(const struct config *c, struct alerts *a)
{
    struct error_rates *r = xcalloc(1, sizeof *r);

    r->config = c;
    r->alerts = a;
    r->count = c->channels.account_count;
    r->items = xcalloc(r->count ? r->count : 1, sizeof *r->items);
    for (size_t i = 0; i < r->count; i++)
        r->items[i].account = c->channels.accounts[i].name;
    return r;
}

void error_rates_free(struct error_rates **r)
{
    if (!*r)
        return;
    free((*r)->items);
    free(*r);
    *r = NULL;
}

/* Throttling is no failure: it is the provider at work. */
static bool is_failure(enum outcome o)
{
    switch (o) {
    case OUTCOME_DELIVERED:
    case OUTCOME_THROTTLED:
        return false;
    case OUTCOME_TEMPFAIL:
    case OUTCOME_PERMFAIL:
    case OUTCOME_UNCERTAIN:
    case OUTCOME_AUTH:
        return true;
    }
    return true;
}

static int64_t slice_number(const struct error_rates *r, int64_t now_ms)
{
    return now_ms / (r->config->alerts.error_window_ms / SLICES);
}

static void add_up(const struct rate *t, int64_t newest, int64_t *attempts, int64_t *failures)
{
    *attempts = *failures = 0;
    for (size_t i = 0; i < SLICES; i++) {
        if (t->slices[i].number > newest - SLICES && t->slices[i].number <= newest) {
            *attempts += t->slices[i].attempts;
            *failures += t->slices[i].failures;
        }
    }
}

static void judge(struct error_rates *r, struct rate *t, int64_t now_ms)
{
    int64_t percent = r->config->alerts.error_percent, attempts, failures;
    char failed[32], of[32];

    add_up(t, slice_number(r, now_ms), &attempts, &failures);
    bool is_high =
        percent > 0 && attempts >= r->config->alerts.error_attempts && failures * 100 > attempts * percent;
    if (is_high == t->is_high)
        return;
    t->is_high = is_high;
    snprintf(failed, sizeof failed, "%" PRId64, failures);
    snprintf(of, sizeof of, "%" PRId64, attempts);
    alerts_raise(r->alerts,
                 &(struct alert){.kind = ALERT_ERRORS,
                                 .is_over = !is_high,
                                 .about = t->account,
                                 .text = is_high ? "too many attempts fail" : "attempts succeed again",
                                 .details = {{"failed", failed}, {"attempts", of}}});
}

void error_rates_record(struct error_rates *r, const char *account, enum outcome outcome, int64_t now_ms)
{
    int64_t number = slice_number(r, now_ms);

    for (size_t i = 0; i < r->count; i++) {
        struct rate *t = &r->items[i];
        if (strcmp(t->account, account) != 0)
            continue;
        struct slice *s = &t->slices[number % SLICES];
        if (s->number != number)
            *s = (struct slice){.number = number};
        s->attempts++;
        s->failures += is_failure(outcome);
        judge(r, t, now_ms);
    }
}

void error_rates_look(struct error_rates *r, int64_t now_ms)
{
    for (size_t i = 0; i < r->count; i++)
        judge(r, &r->items[i], now_ms);
}
