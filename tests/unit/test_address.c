/* Which addresses are public: a member of every range that is not, and its neighbours outside. */
#include "io/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/un.h>

static bool is_public(const char *text)
{
    struct sockaddr_storage a;

    if (!address_parse(text, &a))
        fail_msg("%s is no address", text);
    return address_is_public((struct sockaddr *)&a);
}

static void test_address_not_public(void **state)
{
    static const char *const ADDRESSES[] = {
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::2",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002::1",
        "2002:7f00:1::",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "1fff::1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof ADDRESSES[0]; i++) {
        if (is_public(ADDRESSES[i]))
            fail_msg("%s is taken for public", ADDRESSES[i]);
    }
}

static void test_address_public(void **state)
{
    static const char *const ADDRESSES[] = {
        "1.0.0.0",         "8.8.8.8",         "9.255.255.255",    "11.0.0.0",        "100.63.255.255",
        "100.128.0.0",     "126.255.255.255", "128.0.0.0",        "169.253.255.255", "169.255.0.0",
        "172.15.255.255",  "172.32.0.0",      "192.0.1.0",        "192.0.3.0",       "192.88.98.255",
        "192.167.255.255", "192.169.0.0",     "198.17.255.255",   "198.20.0.0",      "198.51.99.255",
        "198.51.101.0",    "203.0.112.255",   "203.0.114.0",      "223.255.255.255", "168.63.129.15",
        "168.63.129.17",   "::ffff:8.8.8.8",  "64:ff9b::808:808", "2001:200::1",     "2001:db7:ffff::1",
        "2001:db9::1",     "2003::1",         "2606:4700::1111",  "2a00:1450::1",    "3ffe::1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof ADDRESSES[0]; i++) {
        if (!is_public(ADDRESSES[i]))
            fail_msg("%s is not taken for public", ADDRESSES[i]);
    }
}

static void test_address_other_families(void **state)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};

    (void)state;
    assert_false(address_is_public((struct sockaddr *)&local));
}

static void test_address_parse(void **state)
{
    static const char *const NONE[] = {"",          "localhost", "127.1", "0x7f000001",   "1.2.3.4.5",
                                       "1.2.3.256", " 1.2.3.4",  "[::1]", "fe80::1%eth0", "::g",
                                       "1.2.3.4\n"};
    struct sockaddr_storage a;

    (void)state;
    for (size_t i = 0; i < sizeof NONE / sizeof NONE[0]; i++) {
        if (address_parse(NONE[i], &a))
            fail_msg("\"%s\" is taken for an address", NONE[i]);
    }
    assert_true(address_parse("192.0.2.1", &a));
    assert_int_equal(a.ss_family, AF_INET);
    assert_true(address_parse("2001:db8::1", &a));
    assert_int_equal(a.ss_family, AF_INET6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_not_public),
        cmocka_unit_test(test_address_public),
        cmocka_unit_test(test_address_other_families),
        cmocka_unit_test(test_address_parse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
