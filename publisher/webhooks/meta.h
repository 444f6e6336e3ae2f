/* What WhatsApp and Instagram share: the envelope of Meta's webhooks and their signature. */
#ifndef AGWB_PUBLISHER_WEBHOOKS_META_H
#define AGWB_PUBLISHER_WEBHOOKS_META_H

#include "publisher/webhooks/payload.h"

/* X-Hub-Signature-256: webhook_provider.verify. */
int meta_verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e);

/* The body, whose `object` is this word and whose `entry` is an array; NULL and ERR_DATA. To be freed. */
struct json *meta_read(const struct webhook_row *row, const char *object, struct err *e);

/* Whether an account with this id (NULL: it tells none) is meant by the hint. */
enum webhook_match meta_is_for(const char *id, const char *hint);

#endif
