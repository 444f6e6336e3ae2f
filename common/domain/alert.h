/* What a person on call must learn at once: always a log line "alert: ...", and a signed POST to
 * alerts.webhook_url. Of one kind about one thing at most one goes there in alerts.min_interval_ms: what
 * comes between is counted, and the latest of it goes when the time is over. */
#ifndef AGWB_DOMAIN_ALERT_H
#define AGWB_DOMAIN_ALERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/config.h"
#include "io/loop.h"

struct alerts;

enum alert_kind {
    ALERT_PARKED = 0, /* a delivery is given up */
    ALERT_DEAD,       /* a message that never became one lies in a parked queue */
    ALERT_ACCOUNT,    /* a sender account is down; over: it works again */
    ALERT_ATTENTION,  /* a provider says what only a person can mend */
    ALERT_BACKLOG,    /* more waits, or longer, than it should; over */
    ALERT_ERRORS,     /* too many attempts fail; over */
};

struct alert_detail {
    const char *key, *value; /* a NULL value is left out */
};

enum { ALERT_DETAILS = 4 };

struct alert { /* borrowed during the call */
    enum alert_kind kind;
    bool is_over;      /* the state has ended */
    const char *about; /* the account or queue; NULL = none */
    const char *text;  /* "sender account is down, its deliveries wait": static; no number, no secret */
    struct alert_detail details[ALERT_DETAILS]; /* numbers of 8 digits or more are masked on their way out */
};

/* source: "agwb-consumer". Config is borrowed. Nothing is posted without alerts.webhook_url. */
struct alerts *alerts_new(struct loop *l, const struct config *c, const char *source);
void alerts_free(struct alerts **a); /* what is under way is dropped */

/* Never fails; with NULL it only logs. */
void alerts_raise(struct alerts *a, const struct alert *alert);

/* Posts that are under way or wait for their next try. */
size_t alerts_pending(const struct alerts *a);

/* "delivery.parked", "account.down", "account.up", ...: the body's type. */
const char *alert_type(enum alert_kind kind, bool is_over);

#endif
