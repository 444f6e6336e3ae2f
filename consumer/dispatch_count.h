/* What dispatch tells the metrics of the ledger's answers. */
#ifndef AGWB_CONSUMER_DISPATCH_COUNT_H
#define AGWB_CONSUMER_DISPATCH_COUNT_H

#include <stddef.h>

#include "base/metrics.h"
#include "consumer/ledger.h"

void dispatch_count_held(struct metrics *m, const struct ledger_wait *wait);
void dispatch_count_answers(struct metrics *m, const struct ledger_settled *settled, size_t count);
void dispatch_count_sweep(struct metrics *m, const struct ledger_sweep *s);

#endif
