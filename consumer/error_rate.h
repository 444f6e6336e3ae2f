/* How many of an account's latest attempts failed: raises an alert when it is more than alerts.error_percent
 * of at least alerts.error_attempts within alerts.error_window_ms, and again when it is over. */
#ifndef AGWB_CONSUMER_ERROR_RATE_H
#define AGWB_CONSUMER_ERROR_RATE_H

#include <stdint.h>

#include "consumer/outcome.h"
#include "domain/alert.h"
#include "domain/config.h"

struct error_rates;
struct error_rates *error_rates_new(const struct config *c, struct alerts *a); /* borrowed */
void error_rates_free(struct error_rates **r);

/* An attempt over the account ended. now_ms: monotonic, never going back. */
void error_rates_record(struct error_rates *r, const char *account, enum outcome outcome, int64_t now_ms);
/* Time passed: what was too much may be over. */
void error_rates_look(struct error_rates *r, int64_t now_ms);

#endif
