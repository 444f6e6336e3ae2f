/* URLs as the client reads them: the host that is checked is the one that would be dialled. */
#include "io/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_http_url(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        bool is_https, has_user, has_zone;
    } CASES[] = {
        {"https://Example.COM/a?b#c", "example.com", true, false, false},
        {"http://example.com.:8080/", "example.com", false, false, false},
        {"https://u@example.com/", "example.com", true, true, false},
        {"https://:p@example.com/", "example.com", true, true, false},
        {"https://ex%61mple.com/", "example.com", true, false, false},
        {"https://0x7f.1/", "127.0.0.1", true, false, false},
        {"https://2130706433/", "127.0.0.1", true, false, false},
        {"https://0177.0.0.01/", "127.0.0.1", true, false, false},
        {"https://127.1/", "127.0.0.1", true, false, false},
        {"https://[::1]/", "::1", true, false, false},
        {"https://[::FFFF:127.0.0.1]/", "::ffff:127.0.0.1", true, false, false},
        {"https://[fe80::1%25eth0]/", "fe80::1", true, false, true},
        {"https://a.test\\@b.test/", "b.test", true, true, false},
    };
    static const char *const BAD[] = {
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "https://",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com:99999/",
        "https://[::1/",
        "file:///etc/passwd",
        "https://example.com/\x7f",
    };
    struct http_url u;
    struct err e;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        if (http_url_parse(CASES[i].url, &u, &e) != 0)
            fail_msg("%s: %s", CASES[i].url, e.text);
        if (strcmp(u.host, CASES[i].host) != 0 || u.is_https != CASES[i].is_https ||
            u.has_user != CASES[i].has_user || u.has_zone != CASES[i].has_zone)
            fail_msg("%s: host %s, %d %d %d", CASES[i].url, u.host, u.is_https, u.has_user, u.has_zone);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (http_url_parse(BAD[i], &u, &e) == 0)
            fail_msg("%s: host %s", BAD[i], u.host);
        assert_int_equal(e.class, ERR_DATA);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
