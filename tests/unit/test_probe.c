/* The question to attachments' servers: what each answer means, and the course of several. */
#include "consumer/probe.h"
#include "http_rig.h"

/* --- the verdict --- */

static void test_probe_fates(void **state)
{
    static const struct {
        struct http_result r;
        enum probe_verdict verdict;
    } ROWS[] = {
        {{.fate = HTTP_ANSWERED, .status = 200}, PROBE_GOOD},
        {{.fate = HTTP_ANSWERED, .status = 204}, PROBE_GOOD},
        {{.fate = HTTP_ANSWERED, .status = 301}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 302}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 308}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 401}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 403}, PROBE_GOOD},
        {{.fate = HTTP_ANSWERED, .status = 404}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 405}, PROBE_GOOD},
        {{.fate = HTTP_ANSWERED, .status = 408}, PROBE_LATER},
        {{.fate = HTTP_ANSWERED, .status = 410}, PROBE_REFUSED},
        {{.fate = HTTP_ANSWERED, .status = 429}, PROBE_LATER},
        {{.fate = HTTP_ANSWERED, .status = 500}, PROBE_LATER},
        {{.fate = HTTP_ANSWERED, .status = 501}, PROBE_GOOD},
        {{.fate = HTTP_ANSWERED, .status = 503}, PROBE_LATER},
        {{.fate = HTTP_NOT_SENT, .text = "no such host"}, PROBE_LATER},
        {{.fate = HTTP_NOT_SENT, .text = "", .blocked = true}, PROBE_REFUSED},
        {{.fate = HTTP_UNCERTAIN, .text = "timed out"}, PROBE_LATER},
        {{.fate = HTTP_TLS_REFUSED, .text = "expired"}, PROBE_REFUSED},
        {{.fate = HTTP_BAD_REQUEST, .text = "?"}, PROBE_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct probe_answer a;
        probe_judge(&ROWS[i].r, 0, &a);
        if (a.verdict != ROWS[i].verdict || (a.reason[0] == '\0') != (a.verdict == PROBE_GOOD))
            fail_msg("%s %d: verdict %d, \"%s\"", http_fate_name(ROWS[i].r.fate), ROWS[i].r.status,
                     (int)a.verdict, a.reason);
    }
}

/* --- its course --- */

static struct config config;
static struct probes *probes;

static int setup_probes(void **state)
{
    config = (struct config){.attachments.allow_private = true};
    probes = probes_new();
    return setup(state);
}

static int teardown_probes(void **state)
{
    probes_free(&probes);
    return teardown(state);
}

static void on_probed(void *arg, const struct probe_answer *a)
{
    *(struct probe_answer *)arg = *a;
    loop_stop(loop);
}

/* Up to two links; *at_once: nobody had to be asked. */
static struct probe_answer ask(const char *first, const char *second, bool *at_once)
{
    const struct probe_deps deps = {.probes = probes, .http = http, .loop = loop, .config = &config};
    struct probe_answer a = {.verdict = PROBE_LATER};
    struct probe p = {.done = on_probed, .arg = &a};
    char urls[2][256];
    const char *list[] = {urls[0], urls[1]};

    snprintf(urls[0], sizeof urls[0], "%s", url_of(first));
    if (second != NULL)
        snprintf(urls[1], sizeof urls[1], "%s", url_of(second));
    *at_once = probe_start(&p, &deps, list, second != NULL ? 2 : 1, &a) == 1;
    if (!*at_once)
        run();
    probe_fini(&p);
    return a;
}

static void test_probe_asks_and_remembers(void **state)
{
    bool at_once;

    (void)state;
    assert_int_equal(ask("/twohundredtwo", NULL, &at_once).verdict, PROBE_GOOD);
    assert_false(at_once);
    assert_memory_equal(server.last, "HEAD /twohundredtwo HTTP/1.1\r\n", 30);
    assert_int_equal(ask("/twohundredtwo", NULL, &at_once).verdict, PROBE_GOOD);
    assert_true(at_once);
    assert_int_equal(atomic_load(&server.requests), 1);
    assert_int_equal(ask("/redirect", NULL, &at_once).verdict, PROBE_REFUSED);
    assert_int_equal(ask("/redirect", NULL, &at_once).verdict, PROBE_REFUSED);
    assert_true(at_once);
    /* what may be over soon is not remembered */
    assert_int_equal(ask("/retry-date", NULL, &at_once).verdict, PROBE_LATER);
    assert_int_equal(ask("/retry-date", NULL, &at_once).verdict, PROBE_LATER);
    assert_false(at_once);
    assert_int_equal(atomic_load(&server.requests), 4);
}

static void test_probe_several(void **state)
{
    bool at_once;

    (void)state;
    assert_int_equal(ask("/twohundredtwo", "/redirect", &at_once).verdict, PROBE_REFUSED);
    assert_int_equal(atomic_load(&server.requests), 2);
    /* the first is known, the second stops it before anybody is asked */
    assert_int_equal(ask("/redirect", "/ok", &at_once).verdict, PROBE_REFUSED);
    assert_true(at_once);
    assert_int_equal(ask("/twohundredtwo", "/interim", &at_once).verdict, PROBE_GOOD);
    assert_int_equal(atomic_load(&server.requests), 3);
}

static void test_probe_size(void **state)
{
    bool at_once;
    struct probe_answer a;

    (void)state;
    config.attachments.max_bytes = 8191999; /* the server says 8192000 */
    a = ask("/huge", NULL, &at_once);
    assert_int_equal(a.verdict, PROBE_REFUSED);
    assert_string_equal(a.reason, "the attachment is too large (8192000 bytes)");
}

static void test_probe_private(void **state)
{
    bool at_once;
    struct probe_answer a;

    (void)state;
    config.attachments.allow_private = false;
    a = ask("/ok", NULL, &at_once);
    assert_int_equal(a.verdict, PROBE_REFUSED);
    assert_non_null(strstr(a.reason, "private"));
    assert_int_equal(atomic_load(&server.requests), 0);
}

static void test_probe_many_are_remembered(void **state)
{
    bool at_once;
    char path[64];

    (void)state;
    for (int i = 0; i < 100; i++) { /* more than there is room for: the oldest go */
        snprintf(path, sizeof path, "/twohundredtwo?%d", i);
        assert_int_equal(ask(path, NULL, &at_once).verdict, PROBE_GOOD);
        assert_false(at_once);
    }
    assert_int_equal(ask("/twohundredtwo?99", NULL, &at_once).verdict, PROBE_GOOD);
    assert_true(at_once);
    assert_int_equal(ask("/twohundredtwo?0", NULL, &at_once).verdict, PROBE_GOOD);
    assert_false(at_once);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_probes, teardown_probes)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe_fates), TEST(test_probe_asks_and_remembers),
        TEST(test_probe_several),           TEST(test_probe_size),
        TEST(test_probe_private),           TEST(test_probe_many_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
