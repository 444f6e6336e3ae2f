/* What WhatsApp's Cloud API and Instagram have in common: Meta's Graph API, its versions and its errors. What
 * an answer means is in its error code, never in the HTTP status, which differs from case to case for one
 * code. */
#ifndef AGWB_CONSUMER_CHANNELS_GRAPH_H
#define AGWB_CONSUMER_CHANNELS_GRAPH_H

#include "consumer/channels/channel.h"

#define GRAPH_VERSION "v25.0"

/* Digits, as the ids of numbers, accounts and users are. */
bool graph_is_id(const char *s);
/* The account's option api_version. An expired one is only warned about. */
int graph_check_version(const struct config_account *a, struct err *e) MUST_CHECK;
/* POST {base_url or Meta's}/{api_version}/{id}/messages with the account's token. */
void graph_request(struct channel_request *r, const struct config_account *a, const char *id);

/* The codes that every Graph API has: the first lines of an outcome table. */
#define GRAPH_ERRORS                                                                                         \
    {0, 0, OUTCOME_AUTH, 0, 0, "authentication failed"},                                                     \
        {1, 1, OUTCOME_TEMPFAIL, 5, LINE_THRICE, "unknown API error"},                                       \
        {2, 2, OUTCOME_TEMPFAIL, 5, 0, "service temporarily down"},                                          \
        {3, 3, OUTCOME_AUTH, 0, 0, "the app may not use this method"},                                       \
        {4, 4, OUTCOME_THROTTLED, 60, 0, "the app's call rate"},                                             \
        {10, 10, OUTCOME_AUTH, 0, 0, "permission denied"},                                                   \
        {100, 100, OUTCOME_PERMFAIL, 0, LINE_OPERATOR, "invalid parameter"},                                 \
        {190, 190, OUTCOME_AUTH, 0, 0, "the access token has expired or is invalid"},                        \
        {200, 299, OUTCOME_AUTH, 0, 0, "permission missing"},                                                \
    {                                                                                                        \
        368, 368, OUTCOME_AUTH, 0, 0, "blocked for policy violations"                                        \
    }

struct graph_errors {
    const struct channel_error *lines;
    size_t count;
    /* Where a code means several things: which line holds for this subcode of it. */
    const struct graph_subcode {
        int code, subcode, line;
    } * subcodes;
    size_t subcode_count;
};
/* By the error's code; without an error by the message's id, which id_of takes from a good answer. */
void graph_judge(const struct http_result *r, const struct graph_errors *errors,
                 const char *(*id_of)(const struct json_node *root), struct channel_verdict *v);

#endif
