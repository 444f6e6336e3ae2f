/* See graph.h. */
#include "consumer/channels/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define DEFAULT_URL "https://graph.facebook.com"

enum { VERSION_OLDEST = 21 }; /* alive in November 2026; an older one is answered as if it were the oldest */

/* --- the account --- */

/* ^v[0-9]{1,2}\.[0-9]$: anything else could lead the token to another path. */
static bool is_version(const char *s)
{
    size_t digits = s[0] == 'v' ? strspn(s + 1, "0123456789") : 0;

    return (digits == 1 || digits == 2) && s[1 + digits] == '.' && s[2 + digits] >= '0' &&
           s[2 + digits] <= '9' && s[3 + digits] == '\0';
}

bool graph_is_id(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    return digits > 0 && digits <= 32 && s[digits] == '\0';
}

int graph_check_version(const struct config_account *a, struct err *e)
{
    const char *version = config_account_option(a, "api_version", GRAPH_VERSION);

    if (!is_version(version))
        return err_set(e, ERR_CONFIG, 0,
                       "options.api_version: expected a version as " GRAPH_VERSION ", found \"%.20s\"",
                       version);
    if (strtol(version + 1, NULL, 10) < VERSION_OLDEST)
        log_warn("this version of the Graph API has expired: requests are answered by a later one",
                 log_str("account", a->name), log_str("api_version", version));
    return 0;
}

/* --- the request --- */

void graph_request(struct channel_request *r, const struct config_account *a, const char *id)
{
    channel_request_url(r, a, DEFAULT_URL, "/");
    channel_add_encoded(&r->url, config_account_option(a, "api_version", GRAPH_VERSION));
    buf_add_char(&r->url, '/');
    channel_add_encoded(&r->url, id);
    buf_add_str(&r->url, "/messages");
    channel_request_bearer_json(r, a);
}

/* --- the answer --- */

enum { WAIT_TRANSIENT_S = 5, WAIT_THROTTLED_S = 30 }; /* of codes that are not in the table */

static int64_t line_of(const struct graph_errors *errors, const struct json_node *error, int64_t code)
{
    int64_t subcode = 0;

    if (!channel_json_int(json_member(error, "error_subcode"), &subcode))
        return code;
    for (size_t i = 0; i < errors->subcode_count; i++) {
        const struct graph_subcode *s = &errors->subcodes[i];
        if (s->code == code && s->subcode == subcode)
            return s->line;
    }
    return code;
}

static void judge_error(int status, const struct json_node *error, const struct graph_errors *errors,
                        struct channel_verdict *v)
{
    const char *details = json_str(json_path(error, "error_data.details"));
    const struct channel_error *line;
    int64_t code;

    channel_verdict_detail(v, details ? details : json_str(json_member(error, "message")));
    if (!channel_json_int(json_member(error, "code"), &code)) {
        channel_verdict_of_bare_status(v, status);
        return;
    }
    line = channel_error_find(errors->lines, errors->count, line_of(errors, error, code));
    channel_verdict_of_code(v, line, code, status);
    if (line)
        return;
    if (json_true(json_member(error, "is_transient"))) {
        v->outcome = OUTCOME_TEMPFAIL;
        v->account_works = false;
    }
    channel_verdict_set(v, v->outcome, v->outcome == OUTCOME_TEMPFAIL ? WAIT_TRANSIENT_S : 0);
}

void graph_judge(const struct http_result *r, const struct graph_errors *errors,
                 const char *(*id_of)(const struct json_node *root), struct channel_verdict *v)
{
    struct err ignored;
    struct json *doc = json_parse(r->body, r->body_len, &ignored);
    const struct json_node *root = doc ? json_root(doc) : NULL;
    const struct json_node *error = json_member(root, "error");
    const char *id = id_of(root);

    if (json_kind_of(error) == JSON_OBJECT) {
        judge_error(r->status, error, errors, v);
    } else if (id && r->status >= 200 && r->status < 300) {
        channel_verdict_set(v, OUTCOME_DELIVERED, 0);
        channel_verdict_id(v, id);
    } else {
        channel_verdict_of_bare_status(v, r->status);
    }
    if (v->outcome == OUTCOME_THROTTLED)
        channel_verdict_set(v, OUTCOME_THROTTLED, WAIT_THROTTLED_S);
    json_free(&doc);
}
