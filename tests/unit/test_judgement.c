/* What a verdict's words become on their way to the ledger and the logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "consumer/judgement.h"

#define SECRET "EAAG12345678901234secretpart"

/* The refusal of account "sms", whose chain goes on with "other" when the contact cannot be reached over it.
 */
static void pass(enum channel_block block, const char *words, struct settlement *s)
{
    struct config *c = xcalloc(1, sizeof *c);
    struct config_account *a = c->channels.accounts;
    struct channel_verdict v = {.outcome = OUTCOME_PERMFAIL, .block = block, .retry_after_ms = -1};
    struct delivery_way way = {.account = "sms", .channel = "sms", .address = "+12025550143"};
    struct chain_contact contact = {.number = "", .email = ""};

    a[0] = (struct config_account){.name = "sms",
                                   .provider = "sms_gateway",
                                   .channel = CHANNEL_SMS,
                                   .token = SECRET,
                                   .next = {"other"},
                                   .next_count = 1};
    a[1] = (struct config_account){.name = "other", .provider = "sms_gateway", .channel = CHANNEL_SMS};
    c->channels.account_count = 2;
    c->retry.delivery.tries = 1;
    channel_verdict_detail(&v, words);
    *s = (struct settlement){.message_id = "m"};
    judgement_pass(
        &(struct judgement){.config = c, .verdict = &v, .way = &way, .contact = &contact, .attempts = 1}, s);
    free(c);
}

static void test_judgement_hides_secrets(void **state)
{
    static const char *const WORDS[] = {
        "bad token " SECRET " for you",
        SECRET,
        SECRET SECRET,
        /* cut within the secret */
        "...................................................................................................."
        "....."
        "................................................................................. " SECRET,
    };
    struct settlement s;

    (void)state;
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        pass(i % 2 ? BLOCK_UNREACHABLE : BLOCK_NONE, WORDS[i], &s);
        if (strstr(s.detail, "EAAG") || strstr(s.detail, "secret") || strstr(s.reason, "EAAG"))
            fail_msg("row %zu: %s", i, s.detail);
    }
    pass(BLOCK_NONE, "bad token " SECRET " for you", &s);
    assert_non_null(strstr(s.detail, "bad token *****"));
    assert_non_null(strstr(s.detail, "* for you"));
    pass(BLOCK_NONE, "EAAG is no number: +12025550143", &s);
    assert_string_equal(s.detail, "EAAG is no number: +********143");
}

static void test_judgement_names_the_next_step(void **state)
{
    struct settlement s;

    (void)state;
    pass(BLOCK_UNREACHABLE, "a landline", &s);
    assert_string_equal(s.detail, "a landline (next: other)");
    pass(BLOCK_UNREACHABLE, "", &s);
    assert_string_equal(s.detail, "(next: other)");
    pass(BLOCK_NONE, "a landline", &s);
    assert_string_equal(s.detail, "a landline");
    assert_int_equal(s.disposition.kind, DISPOSITION_PARK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judgement_hides_secrets),
        cmocka_unit_test(test_judgement_names_the_next_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
