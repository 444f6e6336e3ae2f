/* Numbers and JIDs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "domain/contact.h"

static void test_contact_e164(void **state)
{
    (void)state;
    static const char *const good[] = {"+12025550143", "+12025550", "+123456789012345"};
    static const char *const bad[] = {"",
                                      "+",
                                      "12025550143",
                                      "+1202555",
                                      "+1234567890123456",
                                      "+02025550143",
                                      "+1202555014x",
                                      "+1 2025550143",
                                      "++12025550143",
                                      "+12025550143\n",
                                      " +12025550143"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(is_e164(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_e164(bad[i]));
    assert_false(is_e164(NULL));
}

static void test_contact_normalise_number(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *e164; /* "" = refused */
    } cases[] = {
        {"+12025550143", "+12025550143"},
        {"+1 (202) 555-0143", "+12025550143"},
        {" +1.202.555.0143 ", "+12025550143"},
        {"(+)12025550143", "+12025550143"},
        {"+1-2-3-4-5-6-7-8-9-0-1-2-3-4-5", "+123456789012345"},
        {"12025550143", ""},
        {"0012025550143", ""},
        {"(202) 555-0143", ""},
        {"+1\t2025550143", ""},
        {"+1\xc2\xa0"
         "2025550143",
         ""},
        {"+1/2025550143", ""},
        {"1+2025550143", ""},
        {"+12345678901234567890123456789012345678901234567890", ""},
        {" - ", ""},
        {"", ""},
        {NULL, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[CONTACT_E164_MAX + 1] = "untouched";
        assert_int_equal(contact_normalise_number(cases[i].raw, out), cases[i].e164[0] != '\0');
        assert_string_equal(out, cases[i].e164);
    }
}

static void test_contact_jids(void **state)
{
    (void)state;
    static const struct {
        const char *jid;
        enum contact_jid_kind kind;
        const char *number; /* "" = none */
    } cases[] = {
        {"12025550143@s.whatsapp.net", CONTACT_JID_USER, "+12025550143"},
        {"12025550143:12@s.whatsapp.net", CONTACT_JID_USER, "+12025550143"},
        {"12025550143@c.us", CONTACT_JID_USER, "+12025550143"},
        {"12345@s.whatsapp.net", CONTACT_JID_USER, ""},            /* too short for a number */
        {"02025550143@c.us", CONTACT_JID_USER, ""},                /* no country begins with 0 */
        {"1234567890123456@s.whatsapp.net", CONTACT_JID_USER, ""}, /* 16 digits */
        {"12345678901234567890@s.whatsapp.net", CONTACT_JID_USER, ""},
        {"123456789012345@s.whatsapp.net", CONTACT_JID_USER, "+123456789012345"},
        {"98711384416410@lid", CONTACT_JID_LID, ""},
        {"98711384416410:3@lid", CONTACT_JID_LID, ""},
        {"120363025550143000@g.us", CONTACT_JID_GROUP, ""},
        {"12025550143-1795206465@g.us", CONTACT_JID_GROUP, ""},
        {"120363025550143000@newsletter", CONTACT_JID_NEWSLETTER, ""},
        {"status@broadcast", CONTACT_JID_BROADCAST, ""},
        {"12025550143@broadcast", CONTACT_JID_BROADCAST, ""},
        {"12025550143@", CONTACT_JID_NONE, ""},
        {"12025550143", CONTACT_JID_NONE, ""},
        {"@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"1234@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"123456789012345678901@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"12025550143@S.WhatsApp.net", CONTACT_JID_NONE, ""},
        {"12025550143@s.whatsapp.net.", CONTACT_JID_NONE, ""},
        {"12025550143@s.whatsapp.net@c.us", CONTACT_JID_NONE, ""},
        {"12025550143:@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"12025550143:123456@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"12025550143:1:2@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"12025550143-1@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"120363025550143000:1@g.us", CONTACT_JID_NONE, ""},
        {"12025550143-123@g.us", CONTACT_JID_NONE, ""},
        {"status@s.whatsapp.net", CONTACT_JID_NONE, ""},
        {"statu@broadcast", CONTACT_JID_NONE, ""},
        {"ann@example.com", CONTACT_JID_NONE, ""},
        {" 12025550143@c.us", CONTACT_JID_NONE, ""},
        {"", CONTACT_JID_NONE, ""},
        {NULL, CONTACT_JID_NONE, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char number[CONTACT_E164_MAX + 1] = "untouched";
        if (contact_jid_kind_of(cases[i].jid) != cases[i].kind)
            fail_msg("kind of %s", cases[i].jid);
        assert_int_equal(contact_number_from_jid(cases[i].jid, number), cases[i].number[0] != '\0');
        assert_string_equal(number, cases[i].number);
    }
}

static void test_contact_mask(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"+12025550143", "*********143"},
        {"12025550143@s.whatsapp.net", "********143"},
        {"12025550143:12@s.whatsapp.net", "********143"},
        {"12025550143-1795206465@g.us", "*******************465"},
        {"1234567890123456789012345678901234567890", "********************890"},
        {"1234", "*234"},
        {"123", "***"},
        {"ann@example.com", "***"},
        {"anna\xc3\xa9", "***a**"},
        {"1234\n1", "***4*1"},
        {"@c.us", ""},
        {"", ""},
        {NULL, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[CONTACT_MASK_SIZE] = "untouched";
        assert_ptr_equal(contact_mask(cases[i].in, out), out);
        assert_string_equal(out, cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contact_e164),
        cmocka_unit_test(test_contact_normalise_number),
        cmocka_unit_test(test_contact_jids),
        cmocka_unit_test(test_contact_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
