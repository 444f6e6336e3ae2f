/* The proof of its sender that each provider's webhook carries. */
#ifndef AGWB_TESTS_HOOKS_SIGN_H
#define AGWB_TESTS_HOOKS_SIGN_H

#include "base/buf.h"

/* The headers, as a JSON object. An empty secret: those that prove nothing. url: what Twilio was told to
 * call.
 */
void sign_headers(const char *provider, const char *secret, const char *url, struct buf *body,
                  struct buf *out);

#endif
