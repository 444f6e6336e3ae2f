/* UUIDs: form, version bits, and version 5 against published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/uuid.h"

#define DNS "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define URL "6ba7b811-9dad-11d1-80b4-00c04fd430c8"

static void test_uuid_v4_form(void **state)
{
    (void)state;
    char last[UUID_TEXT_LEN + 1] = "";
    for (int i = 0; i < 200; i++) {
        char text[UUID_TEXT_LEN + 1];
        uuid_v4(text);
        assert_true(is_uuid(text));
        assert_int_equal(text[14], '4');
        assert_non_null(strchr("89ab", text[19]));
        assert_int_equal(strspn(text, "0123456789abcdef-"), UUID_TEXT_LEN);
        assert_string_not_equal(text, last);
        memcpy(last, text, sizeof last);
    }
}

static void test_uuid_v5_known_values(void **state)
{
    (void)state;
    static const struct {
        const char *space, *name, *want;
    } cases[] = {
        {DNS, "www.example.com", "2ed6657d-e927-568b-95e1-2665a8aea6a2"}, /* RFC 9562, A.4 */
        {DNS, "python.org", "886313e1-3b8a-5372-9b90-0c9aee199e5d"},      /* Python's manual */
        {"6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "python.org", "886313e1-3b8a-5372-9b90-0c9aee199e5d"},
        {URL, "", "1b4db7eb-4057-5ddf-91e0-36dec72071f5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[UUID_TEXT_LEN + 1];
        uuid_v5(cases[i].space, cases[i].name, strlen(cases[i].name), text);
        assert_string_equal(text, cases[i].want);
    }
}

static void test_uuid_is_uuid(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } cases[] = {
        {DNS, true},
        {"6BA7B810-9dad-11D1-80B4-00c04fd430c8", true},
        {"00000000-0000-0000-0000-000000000000", true},
        {NULL, false},
        {"", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430c", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430c80", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd430cg", false},
        {"6ba7b8109dad-11d1-80b4-00c04fd430c80", false},
        {"6ba7b810-9dad-11d1-80b4-00c04fd43-c8", false},
        {"{ba7b810-9dad-11d1-80b4-00c04fd430c}", false},
        {" 6ba7b810-9dad-11d1-80b4-00c04fd430c8", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(is_uuid(cases[i].text), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuid_v4_form),
        cmocka_unit_test(test_uuid_v5_known_values),
        cmocka_unit_test(test_uuid_is_uuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
