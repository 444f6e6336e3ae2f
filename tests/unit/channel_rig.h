/* For the tests of a provider: answers to judge, requests to build, accounts to check. */
#ifndef AGWB_TESTS_CHANNEL_RIG_H
#define AGWB_TESTS_CHANNEL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "consumer/channels/channel.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Everything that JSON, a form and a header could trip over; as C, as JSON, and as a form's value. */
#define HOSTILE      "\"q\" & a=b \\ +1% \n\xf0\x9f\x98\x80 \xc3\xa9"
#define HOSTILE_JSON "\"\\\"q\\\" & a=b \\\\ +1% \\n\xf0\x9f\x98\x80 \xc3\xa9\""
#define HOSTILE_FORM "%22q%22%20%26%20a%3Db%20%5C%20%2B1%25%20%0A%F0%9F%98%80%20%C3%A9"

struct rig_answer {
    int status;
    const char *body;
    int64_t retry_after_ms; /* of the header; -1 = none */
};

static inline struct channel_verdict rig_judge(const struct channel_provider *p, struct rig_answer a)
{
    struct http_result r = {.fate = HTTP_ANSWERED,
                            .status = a.status,
                            .text = "",
                            .body = a.body,
                            .body_len = strlen(a.body),
                            .retry_after_ms = a.retry_after_ms};
    struct channel_verdict v;

    channel_judge(p, &r, &v);
    return v;
}

struct rig_row { /* an answer and what it means */
    int status;
    const char *body;
    enum outcome outcome;
    int wait_s; /* 0 = none */
    const char *code, *id;
};

static inline void rig_check_row(const struct channel_provider *p, const struct rig_row *row)
{
    struct channel_verdict v = rig_judge(p, (struct rig_answer){row->status, row->body, -1});

    if (v.outcome != row->outcome || v.retry_after_ms != (row->wait_s ? row->wait_s * 1000 : -1) ||
        strcmp(v.provider_code, row->code) != 0 || strcmp(v.provider_id, row->id) != 0)
        fail_msg("%d %s: %s %s after %lld ms, id \"%s\"; expected %s %s after %d s, id \"%s\"", row->status,
                 row->body, outcome_name(v.outcome), v.provider_code, (long long)v.retry_after_ms,
                 v.provider_id, outcome_name(row->outcome), row->code, row->wait_s, row->id);
}

static inline void rig_check_rows(const struct channel_provider *p, const struct rig_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rig_check_row(p, &rows[i]);
}

/* --- requests --- */

/* Plans the reply and builds its part `index`; *count is how many there are. */
static inline int rig_build_part(const struct channel_provider *p, struct channel_send *s, size_t index,
                                 struct channel_request *r, size_t *count)
{
    struct arena *arena = arena_new();
    struct channel_parts parts;
    struct err e = {0};
    int rc;

    channel_request_init(r);
    rc = channel_plan(p, s->account, s->reply, arena, &parts, &e);
    *count = rc == 0 ? parts.count : 0;
    if (rc == 0) {
        assert_true(index < parts.count);
        s->part = &parts.items[index];
        rc = p->build(s, r, &e);
    }
    if (rc != 0) {
        assert_int_equal(e.class, ERR_DATA);
        buf_printf(&r->body, "%s", e.text); /* for those who look at it */
    }
    s->part = NULL;
    arena_free(&arena);
    return rc;
}

static inline int rig_build(const struct channel_provider *p, const struct config_account *a,
                            const struct reply *reply, const char *address, struct channel_request *r)
{
    struct channel_send s = {.account = a,
                             .reply = reply,
                             .address = address,
                             .message_id = "m-1",
                             .workspace_id = "w-1",
                             .contact_id = "c-1",
                             .job_id = "j-1"};
    size_t count;

    return rig_build_part(p, &s, 0, r, &count);
}

/* The request's URL and body are these; a JSON body is one. */
static inline void rig_expect(const struct channel_provider *p, const struct config_account *a,
                              const struct reply *reply, const char *address, const char *url,
                              const char *body)
{
    struct channel_request r;
    struct err e;

    if (rig_build(p, a, reply, address, &r) != 0)
        fail_msg("%s: not built", address);
    assert_string_equal(r.method, "POST");
    assert_string_equal(buf_str(&r.url), url);
    assert_string_equal(buf_str(&r.body), body);
    if (body[0] == '{')
        assert_int_equal(json_scan(r.body.data, r.body.len, &e), 0);
    channel_request_fini(&r);
}

/* The bodies of the messages that carry the reply, the URLs apart. */
static inline void rig_expect_parts(const struct channel_provider *p, const struct config_account *a,
                                    const struct reply *reply, const char *const *bodies, size_t count)
{
    struct channel_send s = {.account = a, .reply = reply, .address = "+12025550143", .message_id = "m-1"};
    struct channel_request r;
    size_t planned;

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rig_build_part(p, &s, i, &r, &planned), 0);
        assert_string_equal(buf_str(&r.body), bodies[i]);
        assert_int_equal(planned, count);
        channel_request_fini(&r);
    }
}

/* How many messages carry the reply; each of them can be built. */
static inline size_t rig_count_parts(const struct channel_provider *p, const struct config_account *a,
                                     const struct reply *reply)
{
    struct channel_send s = {.account = a, .reply = reply, .address = "+12025550143", .message_id = "m-1"};
    struct channel_request r;
    size_t planned = 1;

    for (size_t i = 0; i < planned; i++) {
        assert_int_equal(rig_build_part(p, &s, i, &r, &planned), 0);
        channel_request_fini(&r);
    }
    return planned;
}

/* What stands in the way of sending it. */
static inline void rig_expect_refusal(const struct channel_provider *p, const struct config_account *a,
                                      const struct reply *reply, const char *address, const char *words)
{
    struct channel_request r;

    assert_int_equal(rig_build(p, a, reply, address, &r), -1);
    if (!strstr(buf_str(&r.body), words))
        fail_msg("%s: \"%s\", expected \"%s\" in it", address, buf_str(&r.body), words);
    channel_request_fini(&r);
}

static inline void rig_expect_headers(const struct channel_provider *p, const struct config_account *a,
                                      const char *const *headers, size_t count)
{
    struct reply reply = {.text = "x"};
    struct channel_request r;

    assert_int_equal(rig_build(p, a, &reply, "+12025550143", &r), 0);
    assert_int_equal(r.header_count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(buf_str(&r.headers[i]), headers[i]);
    channel_request_fini(&r);
}

/* --- accounts --- */

static inline void rig_check_account(const struct config_account *a, const char *words)
{
    static struct config c;
    struct err e = {0};
    int rc;

    c.channels.account_count = 1;
    c.channels.accounts[0] = *a;
    rc = channel_check_accounts(&c, &e);
    if (!words) {
        if (rc != 0)
            fail_msg("%s", e.text);
        return;
    }
    if (rc == 0)
        fail_msg("passes; expected \"%s\"", words);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, "channels.accounts: account 'main': "));
    if (!strstr(e.text, words))
        fail_msg("\"%s\", expected \"%s\" in it", e.text, words);
}

static inline struct config_account rig_with(struct config_account a, const char *key, const char *value)
{
    a.options[a.option_count].key = key;
    a.options[a.option_count++].value = value;
    return a;
}

/* `units` characters of one unit each. */
static inline const char *rig_text(size_t units)
{
    static char text[8192];

    assert_true(units < sizeof text);
    memset(text, 'a', units);
    text[units] = '\0';
    return text;
}

#endif
