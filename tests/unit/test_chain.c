/* The chain of an account: which step is next, for which reason, and what each needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "consumer/chain.h"

#define NUMBER "+12025550143"
#define JID    "123456789012345@lid"
#define MAIL   "someone@example.com"

/* "wa" with this chain, and one account of each kind that it may name. */
static struct config *make_config(const char *const *next)
{
    struct config *c = xcalloc(1, sizeof *c);
    struct config_account *a = c->channels.accounts;

    a[0] = (struct config_account){
        .name = "wa", .provider = "whatsapp_cloud", .channel = CHANNEL_WHATSAPP, .option_count = 1};
    a[0].options[0].key = "template";
    a[0].options[0].value = "hello";
    a[1] = (struct config_account){.name = "sms", .provider = "sms_gateway", .channel = CHANNEL_SMS};
    a[2] = (struct config_account){.name = "mail", .provider = "email", .channel = CHANNEL_EMAIL};
    a[3] = (struct config_account){.name = "wa2", .provider = "wasender", .channel = CHANNEL_WHATSAPP};
    c->channels.account_count = 4;
    for (; next[a[0].next_count]; a[0].next_count++)
        a[0].next[a[0].next_count] = next[a[0].next_count];
    return c;
}

static struct delivery_way way_at(const char *address, int step)
{
    struct delivery_way way = {.account = "wa", .channel = "whatsapp", .step = step};

    snprintf(way.address, sizeof way.address, "%s", address);
    return way;
}

static void test_chain_table(void **state)
{
    static const struct {
        const char *next[CONFIG_MAX_NEXT + 1];
        enum channel_block block;
        const char *address, *number, *email;
        int step;
        enum chain_answer answer;
        const char *account, *to;
        int next_step;
    } ROWS[] = {
        {{NULL}, BLOCK_UNREACHABLE, NUMBER, "", "", 0, CHAIN_ENDS, "", "", 0},
        {{"sms"}, BLOCK_UNREACHABLE, NUMBER, "", "", 0, CHAIN_GOES_ON, "sms", NUMBER, 1},
        {{"sms"}, BLOCK_WINDOW, NUMBER, "", "", 0, CHAIN_GOES_ON, "sms", NUMBER, 1},
        {{"sms"}, BLOCK_OPTED_OUT, NUMBER, "", "", 0, CHAIN_ENDS, "", "", 0}, /* only when it says so */
        {{"opted-out:sms"}, BLOCK_OPTED_OUT, NUMBER, "", "", 0, CHAIN_GOES_ON, "sms", NUMBER, 1},
        {{"opted-out:park"}, BLOCK_OPTED_OUT, NUMBER, "", "", 0, CHAIN_PARKS, "", "", 0},
        {{"sms"}, BLOCK_NONE, NUMBER, "", "", 0, CHAIN_ENDS, "", "", 0},
        {{"sms"}, BLOCK_UNREACHABLE, NUMBER, "", "", 1, CHAIN_ENDS, "", "", 0}, /* it is behind us */
        {{"window:wa2", "unreachable:sms"},
         BLOCK_UNREACHABLE,
         NUMBER,
         "",
         "",
         0,
         CHAIN_GOES_ON,
         "sms",
         NUMBER,
         2},
        {{"window:wa2", "unreachable:sms"}, BLOCK_WINDOW, NUMBER, "", "", 0, CHAIN_GOES_ON, "wa2", NUMBER, 1},
        {{"park", "sms"}, BLOCK_UNREACHABLE, NUMBER, "", "", 0, CHAIN_PARKS, "", "", 0},
        /* a hidden number: the contact's own one will do, without it the next step */
        {{"sms", "mail"}, BLOCK_UNREACHABLE, JID, NUMBER, MAIL, 0, CHAIN_GOES_ON, "sms", NUMBER, 1},
        {{"sms", "mail"}, BLOCK_UNREACHABLE, JID, "", MAIL, 0, CHAIN_GOES_ON, "mail", MAIL, 2},
        {{"sms", "mail"}, BLOCK_UNREACHABLE, JID, "12025550143", "", 0, CHAIN_ENDS, "", "", 0},
        {{"wa2"}, BLOCK_UNREACHABLE, JID, "", "", 0, CHAIN_GOES_ON, "wa2", JID, 1}, /* the same channel */
    };

    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct config *c = make_config(ROWS[i].next);
        struct delivery_way at = way_at(ROWS[i].address, ROWS[i].step), next;
        struct chain_contact contact = {.number = ROWS[i].number, .email = ROWS[i].email};
        print_message("row %zu\n", i);
        assert_int_equal(chain_next(c, &at, &contact, ROWS[i].block, &next), ROWS[i].answer);
        if (ROWS[i].answer == CHAIN_GOES_ON) {
            assert_string_equal(next.account, ROWS[i].account);
            assert_string_equal(next.address, ROWS[i].to);
            assert_int_equal(next.step, ROWS[i].next_step);
            assert_string_equal(next.chain, "wa");
            assert_false(next.as_template);
        }
        free(c);
    }
}

/* From a closed window to the template, from a refused template to the SMS, and then it ends: no step comes
 * twice, and the chain stays the first account's. */
static void test_chain_walks_to_its_end(void **state)
{
    static const char *const NEXT[] = {"window:template", "sms", "mail", NULL};
    struct config *c = make_config(NEXT);
    struct delivery_way at = way_at(NUMBER, 0), next;
    struct chain_contact contact = {.number = "", .email = MAIL};

    (void)state;
    c->channels.accounts[1].next[0] = "wa"; /* would go round in circles */
    c->channels.accounts[1].next_count = 1;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_WINDOW, &next), CHAIN_GOES_ON);
    assert_true(next.as_template);
    assert_string_equal(next.account, "wa");
    assert_string_equal(next.chain, "");
    assert_string_equal(chain_step_name(&next), "template");
    at = next;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_NONE, &next), CHAIN_GOES_ON); /* it was paused */
    assert_string_equal(next.account, "sms");
    assert_string_equal(next.channel, "sms");
    assert_false(next.as_template);
    assert_string_equal(chain_step_name(&next), "sms");
    at = next;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_NONE, &next), CHAIN_ENDS); /* too long, say */
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_UNREACHABLE, &next), CHAIN_GOES_ON);
    assert_string_equal(next.account, "mail");
    at = next;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_UNREACHABLE, &next), CHAIN_ENDS);
    free(c);
}

/* Without the account's options, or for another reason than the window, there is no template. */
static void test_chain_template_needs_its_options(void **state)
{
    static const char *const NEXT[] = {"template", "sms", NULL};
    struct config *c = make_config(NEXT);
    struct delivery_way at = way_at(NUMBER, 0), next;
    struct chain_contact contact = {.number = "", .email = ""};

    (void)state;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_UNREACHABLE, &next), CHAIN_GOES_ON);
    assert_string_equal(next.account, "sms");
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_WINDOW, &next), CHAIN_GOES_ON);
    assert_true(next.as_template);
    c->channels.accounts[0].option_count = 0;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_WINDOW, &next), CHAIN_GOES_ON);
    assert_string_equal(next.account, "sms");
    free(c);
}

/* The configuration was changed while the delivery waited. */
static void test_chain_of_an_account_that_is_gone_ends(void **state)
{
    static const char *const NEXT[] = {"sms", NULL};
    struct config *c = make_config(NEXT);
    struct delivery_way at = {.account = "gone", .channel = "whatsapp", .address = NUMBER}, next;
    struct chain_contact contact = {.number = "", .email = ""};

    (void)state;
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_UNREACHABLE, &next), CHAIN_ENDS);
    at = way_at(NUMBER, 7);
    assert_int_equal(chain_next(c, &at, &contact, BLOCK_UNREACHABLE, &next), CHAIN_ENDS);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_table),
        cmocka_unit_test(test_chain_walks_to_its_end),
        cmocka_unit_test(test_chain_template_needs_its_options),
        cmocka_unit_test(test_chain_of_an_account_that_is_gone_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
