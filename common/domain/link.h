/* The links of attachments, which an agent writes and a provider, a person or we ourselves will follow: only
 * ones that lead to the public internet. What stands behind a name is seen when it is dialled
 * (http_request.public_only), not here. Pure. */
#ifndef AGWB_DOMAIN_LINK_H
#define AGWB_DOMAIN_LINK_H

#include "base/err.h"
#include "domain/config.h"

/* -1 and ERR_DATA with the reason when attachments.* does not allow the link. */
int link_check(const char *url, const struct config *c, struct err *e) MUST_CHECK;

#endif
