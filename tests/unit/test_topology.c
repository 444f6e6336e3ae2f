/* The exact arguments of DESIGN 2: what is declared here is compared by the broker bit by bit, for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "domain/topology.h"

/* One queue as text: "name <exchange> arg=value ...", arguments in the order of their names. */
static void describe(const struct topology_queue *q, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "%s", q->name);
    if (q->bind_exchange)
        len += (size_t)snprintf(out + len, size - len, " <%s>", q->bind_exchange);
    const char *last = "";
    for (size_t n = 0; n < q->arg_count; n++) {
        const struct topology_arg *next = NULL;
        for (size_t i = 0; i < q->arg_count; i++) {
            const struct topology_arg *a = &q->args[i];
            if (strcmp(a->name, last) > 0 && (next == NULL || strcmp(a->name, next->name) < 0))
                next = a;
        }
        assert_non_null(next); /* else two arguments have one name */
        switch (next->kind) {
        case TOPOLOGY_ARG_STR:
            len += (size_t)snprintf(out + len, size - len, " %s=\"%s\"", next->name, next->str);
            break;
        case TOPOLOGY_ARG_INT:
            len += (size_t)snprintf(out + len, size - len, " %s=%lld", next->name, (long long)next->i);
            break;
        case TOPOLOGY_ARG_BOOL:
            len += (size_t)snprintf(out + len, size - len, " %s=%s", next->name, next->i ? "true" : "false");
            break;
        }
        last = next->name;
    }
}

static void expect_queues(const struct topology *t, const char *const *want, size_t count)
{
    assert_int_equal(t->queue_count, count);
    for (size_t i = 0; i < count; i++) {
        char got[512];
        describe(&t->queues[i], got, sizeof got);
        assert_string_equal(got, want[i]);
    }
}

static const char *const quorum_targets[] = {
    "ag_parked x-delivery-limit=1000000 x-queue-type=\"quorum\"",
    "wb_parked x-delivery-limit=1000000 x-queue-type=\"quorum\"",
    "dlx_agent <dlx_agent> x-dead-letter-exchange=\"\" x-dead-letter-routing-key=\"ag_parked\" "
    "x-dead-letter-strategy=\"at-least-once\" x-delivery-limit=20 x-overflow=\"reject-publish\" "
    "x-queue-type=\"quorum\"",
    "dlx_webhook <dlx_webhook> x-dead-letter-exchange=\"\" x-dead-letter-routing-key=\"wb_parked\" "
    "x-dead-letter-strategy=\"at-least-once\" x-delivery-limit=20 x-overflow=\"reject-publish\" "
    "x-queue-type=\"quorum\"",
};

static const struct topology_settings defaults = {
    .agent_queue = "ag_queue", .webhook_queue = "wb_queue", .agent_ttl_ms = 300000, .webhook_ttl_ms = 60000};

static void test_topology_quorum_arguments(void **state)
{
    (void)state;
    struct topology t;
    topology_build(&defaults, &t);
    const char *want[] = {
        quorum_targets[0],
        quorum_targets[1],
        quorum_targets[2],
        quorum_targets[3],
        "ag_queue x-dead-letter-exchange=\"dlx_agent\" x-dead-letter-strategy=\"at-least-once\" "
        "x-delivery-limit=20 "
        "x-message-ttl=300000 x-overflow=\"reject-publish\" x-queue-type=\"quorum\"",
        "wb_queue x-dead-letter-exchange=\"dlx_webhook\" x-dead-letter-strategy=\"at-least-once\" "
        "x-delivery-limit=20 "
        "x-message-ttl=60000 x-overflow=\"reject-publish\" x-queue-type=\"quorum\" "
        "x-single-active-consumer=true",
    };
    assert_int_equal(t.mode, TOPOLOGY_DECLARE);
    expect_queues(&t, want, sizeof want / sizeof *want);
}

static void test_topology_classic_arguments(void **state)
{
    (void)state;
    struct topology_settings s = defaults;
    s.queue_type = TOPOLOGY_CLASSIC;
    struct topology t;
    topology_build(&s, &t);
    const char *want[] = {
        quorum_targets[0],
        quorum_targets[1],
        quorum_targets[2],
        quorum_targets[3],
        "ag_queue x-dead-letter-exchange=\"dlx_agent\" x-message-ttl=300000",
        "wb_queue x-dead-letter-exchange=\"dlx_webhook\" x-message-ttl=60000",
    };
    expect_queues(&t, want, sizeof want / sizeof *want);
}

static void test_topology_settings_are_used(void **state)
{
    (void)state;
    struct topology_settings s = {.mode = TOPOLOGY_PASSIVE,
                                  .agent_queue = "requests",
                                  .webhook_queue = "replies",
                                  .agent_ttl_ms = 1234,
                                  .webhook_ttl_ms = 56789,
                                  .queue_type = TOPOLOGY_CLASSIC};
    struct topology t;
    topology_build(&s, &t);
    char got[512];
    describe(&t.queues[4], got, sizeof got);
    assert_string_equal(got, "requests x-dead-letter-exchange=\"dlx_agent\" x-message-ttl=1234");
    describe(&t.queues[5], got, sizeof got);
    assert_string_equal(got, "replies x-dead-letter-exchange=\"dlx_webhook\" x-message-ttl=56789");
    assert_int_equal(t.mode, TOPOLOGY_PASSIVE);
}

/* Each dead-letter target, named by exchange or by routing key, is declared (and bound) before its source. */
static void test_topology_targets_come_first(void **state)
{
    (void)state;
    struct topology t;
    topology_build(&defaults, &t);
    assert_int_equal(t.exchange_count, 2);
    assert_string_equal(t.exchanges[0], "dlx_agent");
    assert_string_equal(t.exchanges[1], "dlx_webhook");
    size_t checked = 0;
    for (size_t i = 0; i < t.queue_count; i++) {
        for (size_t a = 0; a < t.queues[i].arg_count; a++) {
            const struct topology_arg *arg = &t.queues[i].args[a];
            bool by_exchange = strcmp(arg->name, "x-dead-letter-exchange") == 0 && arg->str[0] != '\0';
            bool by_key = strcmp(arg->name, "x-dead-letter-routing-key") == 0;
            if (!by_exchange && !by_key)
                continue;
            bool earlier = false;
            for (size_t j = 0; j < i; j++) {
                const char *target = by_exchange ? t.queues[j].bind_exchange : t.queues[j].name;
                earlier = earlier || (target && strcmp(target, arg->str) == 0);
            }
            assert_true(earlier);
            checked++;
        }
    }
    assert_int_equal(checked, 4);
}

static void test_topology_explains_406(void **state)
{
    (void)state;
    static const struct {
        const char *queue, *server, *want;
    } cases[] = {
        {"ag_queue",
         "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'ag_queue' in vhost '/': received "
         "'300000' but current is "
         "'1500'",
         "queue 'ag_queue' exists with x-message-ttl = 1500, but 300000 is wanted; nothing was changed: set "
         "topology.agent_ttl_ms or "
         "topology.webhook_ttl_ms to the live value, or use topology.mode = \"passive\", or drain and delete "
         "it so that it is declared "
         "anew"},
        {"wb_queue",
         "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'wb_queue' in vhost '/': received "
         "'quorum' but current is "
         "'classic'",
         "queue 'wb_queue' exists with x-queue-type = classic, but quorum is wanted; nothing was changed: "
         "set topology.queue_type to the "
         "live type, or use topology.mode = \"passive\", or drain and delete it so that it is declared anew"},
        {"q1",
         "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q1' in vhost '/': received none but "
         "current is the value "
         "'drop-head' of type 'longstr'",
         "queue 'q1' exists with x-overflow = drop-head, but none is wanted; nothing was changed: have its "
         "owner declare it with the "
         "wanted value, or use topology.mode = \"passive\", or drain and delete it so that it is declared "
         "anew"},
        {"q1",
         "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q1' in vhost '/': received "
         "the value '20' of type "
         "'signedint' but current is none",
         "queue 'q1' exists with x-delivery-limit = none, but 20 is wanted; nothing was changed: have its "
         "owner declare it with the "
         "wanted value, or use topology.mode = \"passive\", or drain and delete it so that it is declared "
         "anew"},
        {"dlx_agent",
         "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'dlx_agent' in vhost '/': received "
         "'fanout' but current is 'direct'",
         "exchange 'dlx_agent' exists with type = direct, but fanout is wanted; nothing was changed: have "
         "its owner declare it with the "
         "wanted value, or use topology.mode = \"passive\", or drain and delete it so that it is declared "
         "anew"},
        {"q1", "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q1'",
         "'q1': PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q1'"},
        {"q1", "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q1' in vhost '/': recei",
         "'q1': PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q1' in vhost '/': recei"},
        {"q1",
         "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q1' in vhost '/': received 'a' but "
         "current is 'b",
         "queue 'q1' exists with x-overflow = 'b, but a is wanted; nothing was changed: have its owner "
         "declare it with the wanted value, "
         "or use topology.mode = \"passive\", or drain and delete it so that it is declared anew"},
        {"q1", "", "'q1': "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[600];
        topology_explain_406(cases[i].queue, cases[i].server, out, sizeof out);
        assert_string_equal(out, cases[i].want);
    }
}

static void test_topology_explanation_is_cut_not_overrun(void **state)
{
    (void)state;
    char out[24];
    memset(out, 'x', sizeof out);
    topology_explain_406(
        "q1", "inequivalent arg 'x-overflow' for queue 'q1': received 'a' but current is 'b'", out, 20);
    assert_string_equal(out, "queue 'q1' exists w");
    assert_memory_equal(out + 20, "xxxx", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topology_quorum_arguments),
        cmocka_unit_test(test_topology_classic_arguments),
        cmocka_unit_test(test_topology_settings_are_used),
        cmocka_unit_test(test_topology_targets_come_first),
        cmocka_unit_test(test_topology_explains_406),
        cmocka_unit_test(test_topology_explanation_is_cut_not_overrun),
    };
    return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
