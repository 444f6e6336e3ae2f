/* Standard Webhooks' own vector, and what a secret may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/webhook_signature.h"

static void test_webhook_signature_vector(void **state)
{
    static const char BODY[] = "{\"test\": 2432232314}";
    char out[WEBHOOK_SIGNATURE_SIZE];

    (void)state;
    assert_true(webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek",
                             1614265330, BODY, strlen(BODY), out));
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /* the same key as its own bytes says something else */
    assert_true(webhook_sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                             BODY, strlen(BODY), out));
    assert_string_not_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void test_webhook_signature_secrets(void **state)
{
    static const struct {
        const char *secret;
        bool is_good;
    } CASES[] = {
        {"any text", true},   {"", false},          {"whsec_", false},    {"whsec_!!!!", false},
        {"whsec_QUI", false}, {"whsec_QUI=", true}, {"whsec_QQ==", true}, {"whsec_QUJD", true},
    };
    char out[WEBHOOK_SIGNATURE_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        if (webhook_secret_is_good(CASES[i].secret) != CASES[i].is_good ||
            webhook_sign(CASES[i].secret, "id", 1, "", 0, out) != CASES[i].is_good)
            fail_msg("'%s'", CASES[i].secret);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_webhook_signature_vector),
        cmocka_unit_test(test_webhook_signature_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
