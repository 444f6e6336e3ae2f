/* The scripted faults: rules in order, each with what it matches, how often it still applies, and what is
 * done in place of the real answer.
 *
 *   {"rules": [{"match": {"path": "/api/send-message", "to": "+12025550143", "text": "a part of the text"},
 *               "times": 2,
 *               "action": {"status": 429, "retry_after_s": 5}}]}
 *
 * match: all optional; path and to are compared whole, text is searched for.
 * times: for how many requests, -1 = for all; 1 when absent.
 *
 * action:
 *   status         the answer's status; without a body the provider's own body for it
 *   code           one of the provider's own error codes: its body, and its status when none is given
 *   body           the answer's body, a string
 *   headers        further headers, an object of strings
 *   retry_after_s, retry_after_date_s
 *                  a Retry-After header: seconds, or the date that many seconds from now
 *   delay_ms       waits before the answer or the fault
 *   accepted       whether the provider took the message all the same. When absent: true for an answer
 *                  below 300 and for the faults that come after the request was read; false for other
 *                  statuses, success_false and reset_before
 *   fault          one of
 *     hang                    no answer until the client gives up
 *     reset_after_request     the whole request is read, then RST
 *     reset_before            RST when the headers are in, before the body; matches by path only
 *     close_without_answer    FIN in place of an answer
 *     garbage                 bytes that are not HTTP, then FIN
 *     malformed_json          half a JSON text
 *     huge_body               `bytes` bytes, 10000000 when absent
 *     drip                    the answer byte by byte, `ms_per_byte` apart, 100 when absent
 *     success_false           a body that is a refusal, with status 200
 *     raw                     the string `raw`, then FIN
 *
 * A rule applies to requests that the provider would have taken; a bad one always gets its real answer. */
#ifndef AGWB_TESTS_PROVIDER_SCRIPT_H
#define AGWB_TESTS_PROVIDER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

enum fault {
    FAULT_NONE = 0,
    FAULT_HANG,
    FAULT_RESET_AFTER_REQUEST,
    FAULT_RESET_BEFORE,
    FAULT_CLOSE_WITHOUT_ANSWER,
    FAULT_GARBAGE,
    FAULT_MALFORMED_JSON,
    FAULT_HUGE_BODY,
    FAULT_DRIP,
    FAULT_SUCCESS_FALSE,
    FAULT_RAW,
    FAULT_COUNT
};
const char *fault_name(enum fault f); /* NULL for FAULT_NONE */

struct action { /* strings live as long as the script */
    enum fault fault;
    int status; /* 0 = the real one */
    const char *body, *raw;
    const struct json_node *headers;           /* an object of strings, or NULL */
    int64_t retry_after_s, retry_after_date_s; /* < 0 = none */
    int64_t delay_ms, ms_per_byte, bytes;
    bool has_accepted, accepted;
    bool has_code;
    int64_t code;
};

struct script;

/* NULL and err (which names the rule and the member) when the JSON is not a script. */
struct script *script_parse(const char *json, size_t len, struct err *e);
void script_free(struct script **s);

/* The first rule with times left that matches, counted down; NULL = none. A NULL script has no rules. `early`
 * is the moment before the body is read: then only reset_before rules are looked at, by path; else all
 * others. */
const struct action *script_take(struct script *s, bool early, const char *path, const char *to,
                                 const char *text);

/* [{"left":1,"hits":2},...] in the rules' order. */
void script_write_state(const struct script *s, struct buf *out);

#endif
