/* The command lines of stats and doctor, and the names of the sending queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/doctor.h"
#include "domain/stats.h"

static void test_stats_options(void **state)
{
    static const struct {
        int argc;
        char *argv[3];
        int64_t watch_ms; /* -1 = refused */
        bool json;
    } CASES[] = {
        {0, {0}, 0, false},
        {1, {"--json"}, 0, true},
        {1, {"--watch"}, 2000, false},
        {2, {"--watch", "5"}, 5000, false},
        {2, {"--watch", "--json"}, 2000, true},
        {3, {"--watch", "1", "--json"}, 1000, true},
        {2, {"--watch", "0"}, -1, false},
        {2, {"--watch", "3601"}, -1, false},
        {2, {"--watch", "5s"}, -1, false},
        {1, {"wb_queue"}, -1, false},
    };
    struct stats_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int rc = stats_options_parse(CASES[i].argc, (char **)(uintptr_t)CASES[i].argv, &o, &e);
        if ((rc == 0) != (CASES[i].watch_ms >= 0))
            fail_msg("case %zu", i);
        if (rc == 0) {
            assert_int_equal(o.watch_ms, CASES[i].watch_ms);
            assert_int_equal(o.json, CASES[i].json);
        } else {
            assert_int_equal(e.class, ERR_USAGE);
        }
    }
}

static void test_stats_queue_names(void **state)
{
    static struct config c;

    (void)state;
    c.channels.account_count = 3;
    c.channels.accounts[0] = (struct config_account){.name = "cloud", .provider = "whatsapp_cloud"};
    c.channels.accounts[1] = (struct config_account){.name = "qr", .provider = "whatsapp_qr"};
    c.channels.accounts[2] = (struct config_account){.name = "wa", .provider = "wasender"};
    assert_string_equal(stats_queue_name(&c, "outgoing-messages", "cloud"), "whatsapp-cloud-send");
    assert_string_equal(stats_queue_name(&c, "outgoing-messages", "qr"), "whatsapp-qr-send");
    assert_string_equal(stats_queue_name(&c, "outgoing-messages", "wa"), "outgoing-messages");
    assert_string_equal(stats_queue_name(&c, "outgoing-messages", "gone"), "outgoing-messages");
    assert_string_equal(stats_queue_name(&c, "outgoing-messages", NULL), "outgoing-messages");
    assert_string_equal(stats_queue_name(&c, "incoming-messages", "cloud"), "incoming-messages");
}

static void test_doctor_options(void **state)
{
    static const struct {
        int argc;
        char *argv[2];
        bool is_good;
    } CASES[] = {{0, {0}, true},
                 {2, {"--json", "--no-providers"}, true},
                 {1, {"-h"}, true},
                 {1, {"--no-provider"}, false},
                 {1, {"wa"}, false}};
    struct doctor_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int rc = doctor_options_parse(CASES[i].argc, (char **)(uintptr_t)CASES[i].argv, &o, &e);
        assert_int_equal(rc == 0, CASES[i].is_good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stats_options),
        cmocka_unit_test(test_stats_queue_names),
        cmocka_unit_test(test_doctor_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
