/* The dlq command line: every option, and what goes with which verb. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/dlq_options.h"

enum { MAX_WORDS = 16 };

/* Splits a line at its spaces; the words live in `copy`. */
static int split(char *copy, char **words)
{
    int count = 0;
    char *rest = NULL;

    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(count < MAX_WORDS);
        words[count++] = word;
    }
    words[count] = NULL;
    return count;
}

static int parse(const char *line, struct dlq_options *o, struct err *e)
{
    static char copy[512];
    static char *words[MAX_WORDS + 1];

    assert_true(strlen(line) < sizeof copy);
    memcpy(copy, line, strlen(line) + 1);
    return dlq_options_parse(split(copy, words), words, o, e);
}

static void test_dlq_options_accepts(void **state)
{
    static const char *const LINES[] = {
        "list",
        "list wb_parked",
        "list --queue wb_parked --json",
        "list --json",
        "show ag_parked --body --limit 1",
        "replay wb_parked",
        "replay --queue wb_parked wb_parked",
        "replay --dry-run dlx_agent",
        "replay --execute --yes --rate 5 --again wb_parked --reason exhausted",
        "park dlx_webhook --min-age 15m --max-age 2h",
        "purge ag_parked --execute --message-id x --workspace y",
        "help",
        "--help",
        "replay --help",
    };
    struct dlq_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
        if (parse(LINES[i], &o, &e) != 0)
            fail_msg("%s: %s", LINES[i], e.text);
    }
}

static void test_dlq_options_refuses(void **state)
{
    static const struct {
        const char *line, *text;
    } CASES[] = {
        {"", "found 'nothing'"},
        {"drop", "found 'drop'"},
        {"replay", "which queue?"},
        {"show", "which queue?"},
        {"list --limit 3", "which queue?"},
        {"list --reason expired", "which queue?"},
        {"replay wb_queue", "no dead-letter queue"},
        {"replay wb_parked ag_parked", "one queue at a time"},
        {"replay wb_parked --limit 0", "expected 1 to"},
        {"replay wb_parked --limit -1", "expected 1 to"},
        {"replay wb_parked --limit 5x", "expected 1 to"},
        {"replay wb_parked --limit 99999999999999999999", "expected 1 to"},
        {"replay wb_parked --limit", "--limit needs a value"},
        {"replay wb_parked --rate 0", "expected 1 to 1000"},
        {"replay wb_parked --max-age 5", "expected a duration"},
        {"replay wb_parked --contact bob", "--contact: expected a number"},
        {"replay wb_parked --force", "unknown option --force"},
        {"replay wb_parked --execute --dry-run", "either --execute or --dry-run"},
        {"list wb_parked --execute", "moves nothing"},
        {"show wb_parked --yes", "moves nothing"},
        {"list wb_parked --rate 3", "moves nothing"},
        {"purge wb_parked --again", "--again is for replay"},
        {"list wb_parked --body", "--body is for show"},
        {"park wb_parked", "parked already"},
    };
    struct dlq_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(CASES[i].line, &o, &e), -1);
        assert_int_equal(e.class, ERR_USAGE);
        if (!strstr(e.text, CASES[i].text))
            fail_msg("'%s': %s", CASES[i].line, e.text);
    }
}

static void test_dlq_options_are_safe_by_default(void **state)
{
    struct dlq_options o;
    struct err e;

    (void)state;
    assert_int_equal(parse("purge wb_parked", &o, &e), 0);
    assert_false(o.execute || o.yes || o.again || o.body || o.json);
    assert_int_equal(o.limit, DLQ_LIMIT_DEFAULT);
    assert_int_equal(o.rate, 0);
    assert_true(o.filter.min_age_ms < 0 && o.filter.max_age_ms < 0);
    assert_null(o.filter.reason);
    assert_string_equal(o.queue->name, "wb_parked");
}

static void test_dlq_options_contact(void **state)
{
    static const struct {
        const char *line, *number, *jid;
    } CASES[] = {
        {"list wb_parked --contact +12025550143", "+12025550143", NULL},
        {"list wb_parked --contact 12025550143", "+12025550143", NULL},
        {"list wb_parked --contact +1-202-555-0143", "+12025550143", NULL},
        {"list wb_parked --contact 12025550143@s.whatsapp.net", "+12025550143", NULL},
        {"list wb_parked --contact 12025550143:7@s.whatsapp.net", "+12025550143", NULL},
        {"list wb_parked --contact 123456789012345@lid", "", "123456789012345@lid"},
    };
    struct dlq_options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(CASES[i].line, &o, &e), 0);
        assert_string_equal(o.filter.number, CASES[i].number);
        if (CASES[i].jid)
            assert_string_equal(o.filter.jid, CASES[i].jid);
        else
            assert_null(o.filter.jid);
    }
}

static void test_dlq_options_durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: none */
    } CASES[] = {
        {"90s", 90000},
        {"15m", 900000},
        {"2h", 7200000},
        {"1d", 86400000},
        {"0s", 0},
        {"", -1},
        {"s", -1},
        {"5", -1},
        {"5w", -1},
        {"5ss", -1},
        {"-5s", -1},
        {"1.5h", -1},
        {"5 s", -1},
        {"9999999999999999d", -1},
        {"999999999d", 86399999913600000},
    };
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        ms = -1;
        assert_int_equal(dlq_duration_parse(CASES[i].text, &ms), CASES[i].ms >= 0);
        assert_int_equal(ms, CASES[i].ms);
    }
}

/* Whoever adds an option says so in the help. */
static void test_dlq_options_help_names_all(void **state)
{
    static const char *const WORDS[] = {"--queue",      "--reason",    "--min-age", "--max-age",  "--contact",
                                        "--message-id", "--limit",     "--rate",    "--dry-run",  "--execute",
                                        "--yes",        "--again",     "--body",    "--json",     "list",
                                        "show",         "replay",      "park",      "purge",      "dlx_agent",
                                        "ag_parked",    "dlx_webhook", "wb_parked", "--workspace"};
    struct buf help;

    (void)state;
    buf_init(&help, 1 << 16);
    dlq_usage_write(&help);
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        assert_non_null(strstr(buf_str(&help), WORDS[i]));
    buf_fini(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dlq_options_accepts),
        cmocka_unit_test(test_dlq_options_refuses),
        cmocka_unit_test(test_dlq_options_are_safe_by_default),
        cmocka_unit_test(test_dlq_options_contact),
        cmocka_unit_test(test_dlq_options_durations),
        cmocka_unit_test(test_dlq_options_help_names_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
