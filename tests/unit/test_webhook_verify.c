/* Who sent it: the vectors of each provider's signature, and what is tampered with. */
#include "tests/unit/webhook_rig.h"

#define SECRET            "test-app-secret"
#define CLOUD             "{\"object\":\"whatsapp_business_account\",\"entry\":[]}"
#define CLOUD_HMAC        "c84a394cc475525991e78ff16e430b02e47f953877d2af0ade26956ce6f384dc"
#define CLOUD_HMAC_UPPER  "C84A394CC475525991E78FF16E430B02E47F953877D2AF0ADE26956CE6F384DC"
#define CLOUD_HMAC_OTHER  "c84a394cc475525991e78ff16e430b02e47f953877d2af0ade26956ce6f384dd"
#define CLOUD_HMAC_CUT    "c84a394cc475525991e78ff16e430b02e47f953877d2af0ade26956ce6f384"
#define CLOUD_HMAC_NO_HEX "zz4a394cc475525991e78ff16e430b02e47f953877d2af0ade26956ce6f384dc"
#define WIDE                                                                                                 \
    "{\"text\":\"Gr\xc3\xb6\xc3\x9f"                                                                         \
    "e \xf0\x9f\x98\x80\x7f\"}"
#define WIDE_HMAC    "b91a947b0d4a4ef699ee692b97234a3d03f556ee15f181890f661e71816ea08a"
#define ESCAPED_HMAC "b76d973ff079001d09ba4e026b3d0904272830729d30177c25feb529555dded5"
#define WAHA         "{\"event\":\"message\",\"session\":\"default\",\"engine\":\"WEBJS\"}"
#define WAHA_KEY     "my-secret-key"
#define WAHA_HMAC                                                                                            \
    "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b90476301b98d8"                                       \
    "097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89"
#define PLAIN      "{\"type\":\"message\"}"
#define PLAIN_HMAC "fa1181beb833359a8594ce191869c4c90a9a36a56be79d02f2009665ed835b47"

struct row { /* what one row proves: 0, 1 or -1, and the words of a refusal */
    const char *headers, *body, *secret;
    int proves;
    const char *words;
    const char *url;
};

static void check_row(const struct webhook_provider *p, const struct row *t)
{
    struct err e = {0};
    struct json *headers = json_parse(t->headers, strlen(t->headers), &e);
    struct webhook_row row = {.provider = p->name, .body = t->body, .body_len = strlen(t->body)};
    int rc;

    if (headers == NULL)
        fail_msg("%s: %s", t->headers, e.text);
    row.headers = json_root(headers);
    rc = p->verify(&row, t->secret, t->url == NULL ? "" : t->url, &e);
    json_free(&headers);
    if (rc != t->proves)
        fail_msg("%s %s %s: %d (%s), expected %d", p->name, t->headers, t->body, rc, e.text, t->proves);
    if (rc < 0 && (e.class != ERR_DATA || strstr(e.text, t->words) == NULL))
        fail_msg("%s: \"%s\", expected \"%s\" in it", t->headers, e.text, t->words);
    if (rc < 0 && strlen(t->secret) > 3 && strstr(e.text, t->secret) != NULL)
        fail_msg("%s tells the secret", t->headers);
}

static void check_rows(const struct webhook_provider *p, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_row(p, &rows[i]);
}

#define HUB(value) "{\"X-Hub-Signature-256\":\"" value "\"}"
#define OTHER_BODY "X-Hub-Signature-256 is not this body's"

static void test_webhook_verify_meta(void **state)
{
    static const struct row rows[] = {
        {HUB("sha256=" CLOUD_HMAC), CLOUD, SECRET, 0, NULL, NULL},
        {HUB("sha256=" CLOUD_HMAC_UPPER), CLOUD, SECRET, 0, NULL, NULL},
        {"{\"x-hub-signature-256\":\"sha256=" CLOUD_HMAC "\"}", CLOUD, SECRET, 0, NULL, NULL},
        {"{\"X-Hub-Signature-256\":[\"sha256=" CLOUD_HMAC "\"]}", CLOUD, SECRET, 0, NULL,
         NULL}, /* as Go has them */
        {"{\"X-Hub-Signature-256\":[\"sha256=" CLOUD_HMAC_OTHER "\"]}", CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {"{\"X-Hub-Signature-256\":[]}", CLOUD, SECRET, 1, NULL, NULL},
        {HUB("sha256=" WIDE_HMAC), WIDE, SECRET, 0, NULL, NULL},
        {HUB("sha256=" ESCAPED_HMAC), WIDE, SECRET, 0, NULL, NULL},
        {"{}", CLOUD, SECRET, 1, NULL, NULL},
        {"{\"X-Hub-Signature\":\"sha1=00\"}", CLOUD, SECRET, 1, NULL, NULL},
        {"{\"X-Hub-Signature-256\":5}", CLOUD, SECRET, 1, NULL, NULL},
        /* tampered: the body, the secret, the header in every way */
        {HUB("sha256=" CLOUD_HMAC), CLOUD " ", SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC), "", SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC), CLOUD, "other-secret", -1, OTHER_BODY, NULL},
        {HUB("sha256=" ESCAPED_HMAC), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC_OTHER), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC_CUT), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC "00"), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256= " CLOUD_HMAC), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256=" CLOUD_HMAC_NO_HEX), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB("sha256="), CLOUD, SECRET, -1, OTHER_BODY, NULL},
        {HUB(""), CLOUD, SECRET, -1, "does not begin", NULL},
        {HUB("sha1=" CLOUD_HMAC), CLOUD, SECRET, -1, "does not begin", NULL},
        {HUB("SHA256=" CLOUD_HMAC), CLOUD, SECRET, -1, "does not begin", NULL},
        {HUB(CLOUD_HMAC), CLOUD, SECRET, -1, "does not begin", NULL},
        /* a body that is no UTF-8 cannot be escaped */
        {HUB("sha256=" ESCAPED_HMAC), "{\"text\":\"\xff\"}", SECRET, -1, OTHER_BODY, NULL},
    };

    (void)state;
    check_rows(&WEBHOOK_WHATSAPP_CLOUD, rows, COUNT(rows));
    check_rows(&WEBHOOK_INSTAGRAM, rows, COUNT(rows));
}

static void test_webhook_verify_wasender(void **state)
{
    static const struct row rows[] = {
        {"{\"X-Webhook-Signature\":\"word-1\"}", "{}", "word-1", 0, NULL, NULL},
        {"{\"x-webhook-signature\":\"word-1\"}", "", "word-1", 0, NULL, NULL},
        {"{}", "{}", "word-1", 1, NULL, NULL},
        {"{\"X-Webhook-Signature\":\"word-2\"}", "{}", "word-1", -1, "another secret", NULL},
        {"{\"X-Webhook-Signature\":\"word-\"}", "{}", "word-1", -1, "another secret", NULL},
        {"{\"X-Webhook-Signature\":\"word-11\"}", "{}", "word-1", -1, "another secret", NULL},
        {"{\"X-Webhook-Signature\":\"WORD-1\"}", "{}", "word-1", -1, "another secret", NULL},
        {"{\"X-Webhook-Signature\":\"\"}", "{}", "word-1", -1, "another secret", NULL},
    };

    (void)state;
    check_rows(&WEBHOOK_WASENDER, rows, COUNT(rows));
}

static void test_webhook_verify_evolution(void **state)
{
    static const struct row rows[] = {
        {"{\"apikey\":\"key-1\"}", "{}", "key-1", 0, NULL, NULL},
        {"{\"ApiKey\":\"key-1\"}", "not json", "key-1", 0, NULL, NULL},
        {"{}", "{\"apikey\":\"key-1\"}", "key-1", 0, NULL, NULL},
        {"{}", "{}", "key-1", 1, NULL, NULL},
        {"{}", "{\"apikey\":5}", "key-1", 1, NULL, NULL},
        {"{}", "not json", "key-1", 1, NULL, NULL},
        {"{}", "{\"data\":{\"apikey\":\"key-1\"}}", "key-1", 1, NULL, NULL},
        {"{\"Authorization\":\"Bearer a.b.c\"}", "{}", "key-1", 1, NULL, NULL},
        {"{\"apikey\":\"key-2\"}", "{\"apikey\":\"key-1\"}", "key-1", -1, "another key", NULL},
        {"{}", "{\"apikey\":\"key-2\"}", "key-1", -1, "another key", NULL},
        {"{}", "{\"apikey\":\"\"}", "key-1", -1, "another key", NULL},
    };

    (void)state;
    check_rows(&WEBHOOK_EVOLUTION, rows, COUNT(rows));
}

#define MAC(value, more) "{\"X-Webhook-Hmac\":\"" value "\"" more "}"

static void test_webhook_verify_waha(void **state)
{
    static const struct row rows[] = {
        {MAC(WAHA_HMAC, ",\"X-Webhook-Hmac-Algorithm\":\"sha512\""), WAHA, WAHA_KEY, 0, NULL, NULL},
        {MAC(WAHA_HMAC, ""), WAHA, WAHA_KEY, 0, NULL, NULL},
        {"{\"X-Api-Key\":\"my-secret-key\"}", "{}", WAHA_KEY, 0, NULL, NULL},
        {"{}", "{}", WAHA_KEY, 1, NULL, NULL},
        {"{\"X-Api-Key\":\"key-2\"}", "{}", WAHA_KEY, -1, "another key", NULL},
        {MAC(WAHA_HMAC, ",\"X-Webhook-Hmac-Algorithm\":\"sha256\""), WAHA, WAHA_KEY, -1, "not sha512", NULL},
        {MAC(WAHA_HMAC, ""), WAHA " ", WAHA_KEY, -1, "not this body's", NULL},
        {MAC(WAHA_HMAC, ""), WAHA, "my-secret-kez", -1, "not this body's", NULL},
        {MAC("208f8a55", ""), WAHA, WAHA_KEY, -1, "not this body's", NULL},
        /* an HMAC that is wrong is not made good by a key that is right */
        {MAC("00", ",\"X-Api-Key\":\"my-secret-key\""), WAHA, WAHA_KEY, -1, "not this body's", NULL},
    };

    (void)state;
    check_rows(&WEBHOOK_WAHA, rows, COUNT(rows));
}

static void test_webhook_verify_generic(void **state)
{
    static const struct row rows[] = {
        {"{\"X-Webhook-Signature\":\"sha256=" PLAIN_HMAC "\"}", PLAIN, "key", 0, NULL, NULL},
        {"{}", PLAIN, "key", 1, NULL, NULL},
        {"{\"X-Webhook-Signature\":\"" PLAIN_HMAC "\"}", PLAIN, "key", -1, "does not begin", NULL},
        {"{\"X-Webhook-Signature\":\"sha256=" PLAIN_HMAC "\"}", PLAIN "\n", "key", -1, "not this body's",
         NULL},
        {"{\"X-Webhook-Signature\":\"sha256=" PLAIN_HMAC "\"}", PLAIN, "kez", -1, "not this body's", NULL},
    };

    (void)state;
    check_rows(&WEBHOOK_GENERIC, rows, COUNT(rows));
}

#define SIGNED(value)            "{\"X-Twilio-Signature\":\"" value "\"}"
#define SIGNED_JSON(value, type) "{\"X-Twilio-Signature\":\"" value "\",\"content-type\":\"" type "\"}"
#define URL                      "https://example.com/twilio/sms"
#define URL_443                  "https://example.com:443/twilio/sms"
#define URL_JSON                 "https://example.com/twilio/json"
#define JSON_DIGEST              "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
#define TOKEN                    "test-auth-token"
#define FORM                                                                                                 \
    "To=%2B12025550143&From=%2B15005550006&Body=Hello&NumMedia=0&"                                           \
    "MessageSid=SM00000000000000000000000000000000&AccountSid=AC00000000000000000000000000000000"
#define TWILIO_DOCS                                                                                          \
    "Digits=1234&To=%2B18005551212&From=%2B12349013030&Caller=%2B12349013030&CallSid=CA1234567890ABCDE"
#define OTHER_FORM "not this form's"

static void test_webhook_verify_twilio(void **state)
{
    static const struct row rows[] = {
        {SIGNED("0/KCTR6DLpKmkAf8muzZqo1nDgQ="), TWILIO_DOCS, "12345", 0, NULL,
         "https://mycompany.com/myapp.php?foo=1&bar=2"},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, 0, NULL, URL},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM "&", TOKEN, 0, NULL, URL},
        /* a port that one of the two names and the other does not */
        {SIGNED("4/clRBjliNsfm5Yp9F2y7PNiFL0="), FORM, TOKEN, 0, NULL, URL},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, 0, NULL, URL_443},
        {SIGNED("zAr9apLf5v2GnXO8h80Z48Abk/0="), FORM, TOKEN, 0, NULL, "http://example.com/x"},
        {SIGNED("m5uvgELyX0BVLFAC5FsufqfeqXw="), FORM, TOKEN, 0, NULL, "http://example.com:80/x"},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, 0, NULL, "https://example.com:8443/twilio/sms"},
        /* a name that comes several times: each value once, in order */
        {SIGNED("g+jw6h58wECxlPw1c21aZvc5rmY="), "B=x&A=2&A=1&A=2", TOKEN, 0, NULL, URL},
        {"{}", FORM, TOKEN, 1, NULL, URL},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, -1, "webhooks.twilio.url is not set", ""},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM "&X=1", TOKEN, -1, OTHER_FORM, URL},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, "test-auth-tokem", -1, OTHER_FORM, URL},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, -1, OTHER_FORM,
         "https://example.com/twilio/smz"},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, -1, OTHER_FORM,
         "http://example.com/twilio/sms"},
        {SIGNED("+rkptAXJzsMbVIw71YVToasoMo0"), FORM, TOKEN, -1, OTHER_FORM, URL},
        {SIGNED("+RKPTAXJzsMbVIw71YVToasoMo0="), FORM, TOKEN, -1, OTHER_FORM, URL},
        {SIGNED(""), FORM, TOKEN, -1, OTHER_FORM, URL},
    };

    (void)state;
    check_rows(&WEBHOOK_TWILIO, rows, COUNT(rows));
}

/* A JSON body: over the URL with the body's digest, which we add when the URL we know has none. */
static void test_webhook_verify_twilio_json(void **state)
{
    static const struct row rows[] = {
        {SIGNED_JSON("a+74bTmQcBQ2JeCQpjmIZTzt4vw=", "application/json"), "{\"a\":1}", TOKEN, 0, NULL,
         URL_JSON},
        {SIGNED_JSON("Ix9vJIS/KuwJa9S/KqcTVXDlXEI=", "Application/JSON; charset=utf-8"), "{\"a\":1}", TOKEN,
         0, NULL, URL_JSON "?x=1"},
        {SIGNED_JSON("a+74bTmQcBQ2JeCQpjmIZTzt4vw=", "application/json"), "{\"a\":1}", TOKEN, 0, NULL,
         URL_JSON "?bodySHA256=" JSON_DIGEST},
        {SIGNED_JSON("a+74bTmQcBQ2JeCQpjmIZTzt4vw=", "application/json"), "{\"a\":2}", TOKEN, -1, OTHER_FORM,
         URL_JSON "?bodySHA256=" JSON_DIGEST},
        {SIGNED_JSON("a+74bTmQcBQ2JeCQpjmIZTzt4vw=", "application/json"), "{\"a\":2}", TOKEN, -1, OTHER_FORM,
         URL_JSON},
        {SIGNED_JSON("a+74bTmQcBQ2JeCQpjmIZTzt4vw=", "application/json"), "{\"a\":1}", TOKEN, -1, OTHER_FORM,
         URL_JSON "?bodySHA256=zz"},
        /* the same as a form is another text */
        {SIGNED("a+74bTmQcBQ2JeCQpjmIZTzt4vw="), "{\"a\":1}", TOKEN, -1, OTHER_FORM, URL_JSON},
    };

    (void)state;
    check_rows(&WEBHOOK_TWILIO, rows, COUNT(rows));
}

/* Nothing is signed with a secret that is empty, whatever the header says. */
static void test_webhook_verify_empty_secret(void **state)
{
    /* HMAC-SHA256 with an empty key over nothing */
    static const char empty[] = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";

    (void)state;
    assert_false(signature_is_hex_hmac("SHA256", "", "", 0, empty));
    assert_false(signature_is_secret("", ""));
    assert_false(signature_is_secret("x", ""));
    assert_false(signature_is_hex_hmac("MD5", "key", "", 0, empty));
    assert_false(signature_is_twilio("", URL, "", 0, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert_true(signature_equal("abc", "abd", 2));
    assert_false(signature_equal("abc", "abd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_webhook_verify_meta),        cmocka_unit_test(test_webhook_verify_wasender),
        cmocka_unit_test(test_webhook_verify_evolution),   cmocka_unit_test(test_webhook_verify_waha),
        cmocka_unit_test(test_webhook_verify_generic),     cmocka_unit_test(test_webhook_verify_twilio),
        cmocka_unit_test(test_webhook_verify_twilio_json), cmocka_unit_test(test_webhook_verify_empty_secret),
    };
    return cmocka_run_group_tests_name("webhook verify", tests, NULL, NULL);
}
