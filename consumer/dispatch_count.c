#include "consumer/dispatch_count.h"

#include "base/clock.h"
#include "domain/families.h"

void dispatch_count_held(struct metrics *m, const struct ledger_wait *wait)
{
    if (wait->held_all > 0)
        metric_add(m, &METRIC_THROTTLED, (double)wait->held_all, "all", NULL);
    if (wait->held_account > 0)
        metric_add(m, &METRIC_THROTTLED, (double)wait->held_account, "account", NULL);
    if (wait->held_contact > 0)
        metric_add(m, &METRIC_THROTTLED, (double)wait->held_contact, "contact", NULL);
}

void dispatch_count_answers(struct metrics *m, const struct ledger_settled *settled, size_t count)
{
    int64_t now = clock_wall_ms();

    for (size_t i = 0; i < count; i++) {
        if (settled[i].job_created_ms == 0)
            continue;
        metric_observe(m, &METRIC_ANSWER_SECONDS, (double)(now - settled[i].job_created_ms) / 1000.0, NULL,
                       NULL);
        if (settled[i].job_published_ms > 0)
            metric_observe(m, &METRIC_JOB_SECONDS, (double)(now - settled[i].job_published_ms) / 1000.0, NULL,
                           NULL);
    }
}

void dispatch_count_sweep(struct metrics *m, const struct ledger_sweep *s)
{
    metric_set(m, &METRIC_DELIVERIES, (double)s->ready, "ready", NULL);
    metric_set(m, &METRIC_DELIVERIES, (double)s->sending, "sending", NULL);
    metric_set(m, &METRIC_DELIVERIES, (double)s->uncertain, "uncertain", NULL);
    metric_set(m, &METRIC_DELIVERIES, (double)s->uncopied, "parked", NULL);
}
