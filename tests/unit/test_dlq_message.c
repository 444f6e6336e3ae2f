/* A dead letter as an operator asks for it: identity, age, contact, and what the filters mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/dlq_message.h"

static const int64_t NOW_MS = 1790003600000; /* an hour after 1790000000 */

struct scene {
    struct arena *arena;
    struct broker_delivery delivery;
    struct dlq_message message;
};

static int setup(void **state)
{
    static struct scene s;

    s = (struct scene){.arena = arena_new()};
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    arena_free(&s->arena);
    return 0;
}

static void add_header(struct scene *s, const char *name, const char *str, int64_t i)
{
    s->delivery.headers[s->delivery.header_count++] =
        (struct broker_header){.name = name, .str = str, .i = i};
}

/* queue: its place in DLQ_QUEUES. */
static const struct dlq_message *read_it(struct scene *s, size_t queue, const char *body)
{
    s->delivery.body = body;
    s->delivery.body_len = body ? strlen(body) : 99999999;
    dlq_message_read(&s->message, &DLQ_QUEUES[queue], &s->delivery, NOW_MS, s->arena);
    return &s->message;
}

enum { AG_PARKED = 1, WB_PARKED = 3 };

static void test_dlq_message_reads_a_parked_reply(void **state)
{
    struct scene *s = *state;
    const struct dlq_message *m;

    s->delivery.message_id = "property";
    add_header(s, "agwb-reason", "exhausted", 0);
    add_header(s, "agwb-error", "HTTP 503", 0);
    add_header(s, "agwb-attempts", NULL, 4);
    add_header(s, "x-delivery-count", NULL, 7);
    m = read_it(s, WB_PARKED,
                "{\"messageId\":\"body\",\"originalMessageId\":\"job\",\"timestamp\":1790000000,"
                "\"workspaceId\":\"W\","
                "\"contact\":{\"remoteJid\":\"12025550143@s.whatsapp.net\"}}");
    assert_string_equal(m->id, "body");
    assert_string_equal(m->original_id, "job");
    assert_string_equal(m->reason, "exhausted");
    assert_string_equal(m->detail, "HTTP 503");
    assert_string_equal(m->number, "+12025550143");
    assert_string_equal(m->workspace, "W");
    assert_int_equal(m->attempts, 4);
    assert_int_equal(m->delivery_count, 7);
    assert_int_equal(m->age_ms, 3600000);
    assert_null(m->death);
}

/* Whatever is in the queue has an identity, and always the same. */
static void test_dlq_message_identity(void **state)
{
    static char long_id[400];
    struct scene *s = *state;
    char first[64];

    memset(long_id, 'x', sizeof long_id - 1);
    s->delivery.message_id = "property";
    assert_string_equal(read_it(s, WB_PARKED, "not JSON")->id, "property");
    assert_string_equal(read_it(s, WB_PARKED, "{\"messageId\":7}")->id, "property");
    assert_string_equal(read_it(s, WB_PARKED, "{\"messageId\":\"\"}")->id, "property");
    s->delivery.message_id = long_id;
    assert_memory_equal(read_it(s, WB_PARKED, "[]")->id, "body-", 5);
    s->delivery.message_id = "\xff";
    assert_memory_equal(read_it(s, WB_PARKED, "[]")->id, "body-", 5);
    snprintf(first, sizeof first, "%s", s->message.id);
    assert_string_equal(read_it(s, WB_PARKED, "[]")->id, first);
    assert_string_not_equal(read_it(s, WB_PARKED, "[ ]")->id, first);
    s->delivery.message_id = NULL;
    assert_memory_equal(read_it(s, WB_PARKED, NULL)->id, "body-", 5);
}

static void test_dlq_message_age(void **state)
{
    struct scene *s = *state;

    assert_int_equal(read_it(s, WB_PARKED, "{}")->age_ms, -1);
    s->delivery.timestamp = 1790003599;
    assert_int_equal(read_it(s, WB_PARKED, "{}")->age_ms, 1000);
    add_header(s, "agwb-first-seen", NULL, 1790003598000);
    assert_int_equal(read_it(s, WB_PARKED, "{}")->age_ms, 2000);
    assert_int_equal(read_it(s, WB_PARKED, "{\"timestamp\":1790003597}")->age_ms, 3000);
    assert_int_equal(read_it(s, WB_PARKED, "{\"timestamp\":1790003596000}")->age_ms, 4000);
    assert_int_equal(read_it(s, WB_PARKED, "{\"timestamp\":1800000000}")->age_ms, 0); /* not born yet */
    assert_int_equal(read_it(s, WB_PARKED, "{\"timestamp\":-5}")->age_ms, 2000);
}

static struct dlq_filter any(void)
{
    return (struct dlq_filter){.min_age_ms = -1, .max_age_ms = -1};
}

static void test_dlq_message_filters(void **state)
{
    struct scene *s = *state;
    struct dlq_filter f = any();
    const struct dlq_message *m;

    add_header(s, "agwb-reason", "late", 0);
    add_header(s, "agwb-death", "expired", 0);
    s->delivery.message_id = "property";
    m = read_it(s, WB_PARKED,
                "{\"messageId\":\"body\",\"timestamp\":1790000000,\"workspaceId\":\"ab\","
                "\"contact\":{\"remoteJid\":\"5@lid\",\"phoneNumber\":\"+1 202 555 0143\"}}");
    assert_true(dlq_message_matches(m, &f));

#define MATCHES(member, value, expected)                                                                     \
    do {                                                                                                     \
        f = any();                                                                                           \
        f.member = value;                                                                                    \
        assert_int_equal(dlq_message_matches(m, &f), expected);                                              \
    } while (0)
    MATCHES(reason, "late", true);
    MATCHES(reason, "expired", true);
    MATCHES(reason, "lat", false);
    MATCHES(message_id, "body", true);
    MATCHES(message_id, "property", true);
    MATCHES(message_id, "other", false);
    MATCHES(workspace, "AB", true);
    MATCHES(workspace, "a", false);
    MATCHES(jid, "5@lid", true);
    MATCHES(jid, "6@lid", false);
    MATCHES(min_age_ms, 3600000, true);
    MATCHES(min_age_ms, 3600001, false);
    MATCHES(max_age_ms, 3600000, true);
    MATCHES(max_age_ms, 3599999, false);
#undef MATCHES
    f = any();
    snprintf(f.number, sizeof f.number, "+12025550143");
    assert_true(dlq_message_matches(m, &f));
    snprintf(f.number, sizeof f.number, "+12025550144");
    assert_false(dlq_message_matches(m, &f));
}

/* Of unknown age it is neither young nor old enough. */
static void test_dlq_message_of_unknown_age_matches_no_age(void **state)
{
    struct scene *s = *state;
    struct dlq_filter young = any(), old = any();

    young.max_age_ms = 86400000;
    old.min_age_ms = 0;
    read_it(s, WB_PARKED, "{}");
    assert_false(dlq_message_matches(&s->message, &young));
    assert_false(dlq_message_matches(&s->message, &old));
}

static void test_dlq_message_facts_fill_gaps_only(void **state)
{
    struct scene *s = *state;
    struct dlq_filter f = any();

    f.workspace = "w";
    snprintf(f.number, sizeof f.number, "+12025550143");
    read_it(s, WB_PARKED, "{\"contact\":{\"phoneNumber\":\"+12025550143\"},\"workspaceId\":\"w\"}");
    assert_false(dlq_message_needs_facts(&s->message, &f));
    dlq_message_add_facts(&s->message, "+12025550199", "other", s->arena);
    assert_true(dlq_message_matches(&s->message, &f));

    read_it(s, WB_PARKED, "{}");
    assert_true(dlq_message_needs_facts(&s->message, &f));
    dlq_message_add_facts(&s->message, "12025550143@s.whatsapp.net", "w", s->arena);
    assert_true(dlq_message_matches(&s->message, &f));

    read_it(s, WB_PARKED, "{}");
    dlq_message_add_facts(&s->message, "", "", s->arena);
    assert_false(dlq_message_matches(&s->message, &f));
}

static void test_dlq_message_staleness(void **state)
{
    static const struct {
        size_t queue;
        const char *reason, *death, *body;
        bool stale;
    } CASES[] = {
        {WB_PARKED, "late", NULL, "{\"timestamp\":1789990000}", true},
        {WB_PARKED, "late", NULL, "{\"timestamp\":1790003000}", false},
        {WB_PARKED, "late", NULL, "{}", true}, /* of unknown age */
        {WB_PARKED, "dead", "expired", "{\"timestamp\":1789990000}", true},
        {WB_PARKED, "exhausted", NULL, "{\"timestamp\":1789990000}", false},
        {WB_PARKED, "dead", "rejected", "{\"timestamp\":1789990000}", false},
        {AG_PARKED, "dead", "expired", "{\"timestamp\":1789990000}", false},
    };
    struct scene *s = *state;
    struct dlq_filter f = any();

    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        s->delivery = (struct broker_delivery){.death = {.reason = CASES[i].death}};
        add_header(s, "agwb-reason", CASES[i].reason, 0);
        f.max_age_ms = -1;
        assert_int_equal(dlq_message_is_stale(read_it(s, CASES[i].queue, CASES[i].body), &f), CASES[i].stale);
        f.max_age_ms = INT64_MAX; /* whoever names an age means it */
        assert_false(dlq_message_is_stale(&s->message, &f));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_dlq_message_reads_a_parked_reply),
        CASE(test_dlq_message_identity),
        CASE(test_dlq_message_age),
        CASE(test_dlq_message_filters),
        CASE(test_dlq_message_of_unknown_age_matches_no_age),
        CASE(test_dlq_message_facts_fill_gaps_only),
        CASE(test_dlq_message_staleness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
