/* Attachments' links: what is passed on, and what an agent may not make us or a provider follow. */
#include "domain/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *url, const struct config *c, const char *words)
{
    struct err e = {0};
    int rc = link_check(url, c, &e);

    if (words == NULL && rc != 0)
        fail_msg("%s: %s", url, e.text);
    if (words == NULL)
        return;
    if (rc == 0)
        fail_msg("%s is allowed", url);
    assert_int_equal(e.class, ERR_DATA);
    if (strstr(e.text, words) == NULL || strstr(e.text, "an attachment's link is refused: ") != e.text)
        fail_msg("%s: \"%s\", expected \"%s\" in it", url, e.text, words);
}

static void test_link_good(void **state)
{
    static const char *const URLS[] = {
        "https://example.com/a.pdf",   "https://example.com:8443/a?b=c&d#e",
        "https://EXAMPLE.com./x",      "https://8.8.8.8/a",
        "https://[2606:4700::1111]/a", "https://xn--caf-dma.example/",
        "https://a_b.example.com/",    "https://example.com",
        "https://example.com/%0d%0a",  "https://localhost.example.com/",
    };
    struct config c = {.attachments.max_bytes = 0};

    (void)state;
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++)
        expect(URLS[i], &c, NULL);
}

static void test_link_bad(void **state)
{
    static const struct {
        const char *url, *words;
    } CASES[] = {
        {"http://example.com/a", "https"},
        {"ftp://example.com/a", "http"},
        {"file:///etc/passwd", ""},
        {"javascript:alert(1)", ""},
        {"data:text/plain,x", ""},
        {"example.com/a", ""},
        {"", ""},
        {"https://", ""},
        {"https:///example.com/a", "more than one way"},
        {"https://example.com\\@example.org/", "more than one way"},
        {"https://example.com/a\r\nX: y", "control"},
        {"https://example.com/a b", "blank"},
        {"https://u:p@example.com/", "user"},
        {"https://u@example.com/", "user"},
        {"https://example.com:22/", "port"},
        {"https://example.com:80/", "port"},
        {"https://example.com:0/", "port"},
        {"https://localhost/", "private"},
        {"https://LOCALHOST./", "private"},
        {"https://a.localhost/", "private"},
        {"https://printer.local/", "private"},
        {"https://metadata.google.internal/", "private"},
        {"https://intranet/", "private"},
        {"https://127.0.0.1/", "private"},
        {"https://127.1/", "private"},
        {"https://0x7f000001/", "private"},
        {"https://0x7f.0.0.1/", "private"},
        {"https://2130706433/", "private"},
        {"https://017700000001/", "private"},
        {"https://0/", "private"},
        {"https://%31%32%37.0.0.1/", "private"},
        {"https://10.0.0.1/", "private"},
        {"https://169.254.169.254/latest/meta-data/", "private"},
        {"https://192.168.1.1/", "private"},
        {"https://1.2.3.4.5/", "private"},
        {"https://[::1]/", "private"},
        {"https://[::]/", "private"},
        {"https://[::ffff:10.0.0.1]/", "private"},
        {"https://[::ffff:a9fe:a9fe]/", "private"},
        {"https://[64:ff9b::7f00:1]/", "private"},
        {"https://[fd00:ec2::254]/", "private"},
        {"https://[fe80::1%25eth0]/", "host"},
        {"https://caf\xc3\xa9.example/", "ASCII"},
        {"https://127\xe3\x80\x82"
         "0\xe3\x80\x82"
         "0\xe3\x80\x82"
         "1/",
         "ASCII"},
        {"https://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/", "ASCII"},
    };
    struct config c = {.attachments.max_bytes = 0};

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        expect(CASES[i].url, &c, CASES[i].words);
}

static void test_link_options(void **state)
{
    struct config http = {.attachments.allow_http = true}, any = {.attachments.allow_private = true};

    (void)state;
    expect("http://example.com/a", &http, NULL);
    expect("http://example.com:80/a", &http, NULL);
    expect("http://example.com:8080/a", &http, NULL);
    expect("http://example.com:25/a", &http, "port");
    expect("http://127.0.0.1/a", &http, "private");
    expect("ftp://example.com/a", &http, "http");
    expect("https://127.0.0.1:8443/a", &any, NULL);
    expect("https://printer.local/a", &any, NULL);
    expect("http://127.0.0.1/a", &any, "https");
    expect("https://u@127.0.0.1/", &any, "user");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link_good),
        cmocka_unit_test(test_link_bad),
        cmocka_unit_test(test_link_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
