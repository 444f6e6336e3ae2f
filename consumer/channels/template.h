/* What an account says instead of a reply when only a template may be sent: options template (its name or
 * id), template_language and template_text, and what providers with templates share about them. */
#ifndef AGWB_CONSUMER_CHANNELS_TEMPLATE_H
#define AGWB_CONSUMER_CHANNELS_TEMPLATE_H

#include "consumer/channels/channel.h"

#define TEMPLATE_OPTIONS "template", "template_language", "template_text"

/* -1 and ERR_CONFIG: is_name refuses the template, or another of the options is not what it may be. */
int template_check(const struct config_account *a, bool (*is_name)(const char *name), const char *expected,
                   struct err *e) MUST_CHECK;

const char *template_name(const struct config_account *a);     /* NULL = none */
const char *template_language(const struct config_account *a); /* "en_US" */

/* The reply's text as the template's only parameter, when the account wants that: 1, in `out`, on one line
 * and no longer than WhatsApp takes it. 0: the template has no parameter. -1 and ERR_DATA: there is no text.
 */
int template_text(const struct channel_send *s, struct buf *out, struct err *e) MUST_CHECK;

/* options.<name> is "true" or "false", or not there. */
int template_check_flag(const struct config_account *a, const char *name, struct err *e) MUST_CHECK;

#endif
