/* Which provider and account a row is for, and whether its sender is believed: the policies and the secrets.
 */
#include "tests/unit/webhook_rig.h"

#define AC  "AC00000000000000000000000000000000"
#define AC2 "AC00000000000000000000000000000002"
#define MG  "MG00000000000000000000000000000000"

static struct config_account account(const char *name, const char *provider, enum channel channel)
{
    return (struct config_account){.name = name, .provider = provider, .channel = channel, .base_url = ""};
}

static struct config_account with(struct config_account a, const char *key, const char *value)
{
    a.options[a.option_count].key = key;
    a.options[a.option_count++].value = value;
    return a;
}

static void add(struct config *c, struct config_account a)
{
    c->channels.accounts[c->channels.account_count++] = a;
}

/* --- the provider --- */

static void test_webhook_find(void **state)
{
    static struct config c;
    static const char *const names[] = {"whatsapp_cloud", "wasender",  "evolution", "waha",
                                        "twilio",         "instagram", "generic"};

    (void)state;
    c = (struct config){0};
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(webhook_find(&c, names[i], NULL, NULL)->name, names[i]);
    assert_null(webhook_find(&c, "", NULL, NULL));
    assert_null(webhook_find(&c, "twilio_sms", NULL, NULL));
    assert_null(webhook_find(&c, "twili", NULL, NULL));
    assert_ptr_equal(webhook_find(&c, "Twilio", NULL, NULL), &WEBHOOK_TWILIO);
    assert_ptr_equal(webhook_find(&c, "WhatsApp-Cloud", NULL, NULL), &WEBHOOK_WHATSAPP_CLOUD);
    assert_null(webhook_find(&c, "whatsapp_qr", NULL, NULL));

    add(&c, account("plain", "wasender", CHANNEL_WHATSAPP));
    add(&c, account("one", "whatsapp_qr", CHANNEL_WHATSAPP));
    assert_ptr_equal(webhook_find(&c, "whatsapp_qr", NULL, NULL), &WEBHOOK_EVOLUTION);
    assert_ptr_equal(webhook_find(&c, "whatsapp-qr", "", NULL), &WEBHOOK_EVOLUTION);
    add(&c, with(account("two", "whatsapp_qr", CHANNEL_WHATSAPP), "preset", "waha"));
    assert_ptr_equal(webhook_find(&c, "whatsapp_qr", "one", NULL), &WEBHOOK_EVOLUTION);
    assert_ptr_equal(webhook_find(&c, "whatsapp_qr", "two", NULL), &WEBHOOK_WAHA);
    assert_null(webhook_find(&c, "whatsapp_qr", NULL, NULL)); /* either could be meant */
    assert_null(webhook_find(&c, "whatsapp_qr", "plain", NULL));
    assert_null(webhook_find(&c, "whatsapp_qr", "three", NULL));
    add(&c, with(account("three", "whatsapp_qr", CHANNEL_WHATSAPP), "preset", "openwa"));
    assert_null(webhook_find(&c, "whatsapp_qr", "three", NULL)); /* it has no webhooks that we read */
}

/* --- the account --- */

/* The name of the account that is found, "none", or the words of the refusal. */
static const char *find(const struct config *c, const struct webhook_provider *p, const char *named,
                        const char *body)
{
    static char words[600];
    struct arena *a = arena_new();
    struct err e;
    const struct webhook_row row = {
        .provider = p->name, .account = named, .body = body, .body_len = strlen(body)};
    const struct config_account *found = webhook_account(c, p, &row, a, &e);

    arena_free(&a);
    if (found != NULL)
        return found->name;
    if (e.class == ERR_NONE)
        return "none";
    assert_int_equal(e.class, ERR_DATA);
    (void)snprintf(words, sizeof words, "%s", e.text);
    return words;
}

struct choice {
    const char *named, *body, *found;
};

static void check_choices(const struct config *c, const struct webhook_provider *p, const struct choice *rows,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *found = find(c, p, rows[i].named, rows[i].body);
        if (strcmp(found, rows[i].found) != 0)
            fail_msg("%s %s: %s, expected %s", rows[i].named ? rows[i].named : "-", rows[i].body, found,
                     rows[i].found);
    }
}

#define FOR_NUMBER(id)                                                                                       \
    "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"changes\":[{\"value\":{\"metadata\":{"          \
    "\"phone_number_id\":\"" id "\"}}}]}]}"

static void test_webhook_account_cloud(void **state)
{
    static struct config c;
    static const struct choice one[] = {
        {NULL, FOR_NUMBER("111"), "first"},
        {NULL, FOR_NUMBER("999"), "none"}, /* another number of the app: not answered by ours */
        {NULL, "{}", "first"},
        {NULL, "", "first"},
        {"", FOR_NUMBER("111"), "first"},
        {"first", FOR_NUMBER("999"), "first"}, /* whoever names it knows better */
        {"gone", FOR_NUMBER("111"), "there is no account 'gone'"},
        {"sms", FOR_NUMBER("111"), "account 'sms' is not for webhooks of whatsapp_cloud"},
    };
    static const struct choice two[] = {
        {NULL, FOR_NUMBER("111"), "first"},
        {NULL, FOR_NUMBER("222"), "second"},
        {NULL, "{}", "none"},
    };

    (void)state;
    c = (struct config){0};
    add(&c, account("sms", "sms_gateway", CHANNEL_SMS));
    add(&c, with(account("first", "whatsapp_cloud", CHANNEL_WHATSAPP), "phone_number_id", "111"));
    check_choices(&c, &WEBHOOK_WHATSAPP_CLOUD, one, COUNT(one));
    add(&c, with(account("second", "whatsapp_cloud", CHANNEL_WHATSAPP), "phone_number_id", "222"));
    check_choices(&c, &WEBHOOK_WHATSAPP_CLOUD, two, COUNT(two));
    c.channels.accounts[2].is_default = true;
    assert_string_equal(find(&c, &WEBHOOK_WHATSAPP_CLOUD, NULL, "{}"), "second");
    assert_string_equal(find(&c, &WEBHOOK_WASENDER, NULL, "{}"), "none");
}

/* A batch of Meta's may be for several numbers of one app; whoever has the secret of one account only says
 * nothing for the others. */
static void test_webhook_account_of_a_part(void **state)
{
    static struct config c;
    const struct webhook_provider *p = &WEBHOOK_WHATSAPP_CLOUD;
    const struct config_account *a, *other;

    (void)state;
    c = (struct config){.webhooks.whatsapp_cloud.secret = "the app's"};
    add(&c, with(account("first", "whatsapp_cloud", CHANNEL_WHATSAPP), "phone_number_id", "111"));
    add(&c, with(account("second", "whatsapp_cloud", CHANNEL_WHATSAPP), "phone_number_id", "222"));
    add(&c, with(account("foreign", "whatsapp_cloud", CHANNEL_WHATSAPP), "phone_number_id", "333"));
    a = c.channels.accounts;
    c.channels.accounts[2].webhook_secret = "another app's";

    assert_true(webhook_is_proven_part(&c, p, &a[0], NULL, &other));
    assert_null(other);
    assert_true(webhook_is_proven_part(&c, p, &a[0], "111", &other));
    assert_null(other);
    assert_true(webhook_is_proven_part(&c, p, &a[0], "222", &other));
    assert_ptr_equal(other, &a[1]);
    assert_true(webhook_is_proven_part(&c, p, NULL, "222", &other));
    assert_ptr_equal(other, &a[1]);
    assert_false(webhook_is_proven_part(&c, p, &a[0], "333", &other));
    assert_false(webhook_is_proven_part(&c, p, &a[2], "222", &other));
    assert_false(webhook_is_proven_part(&c, p, &a[0], "999", &other));
    assert_true(webhook_is_proven_part(&c, p, NULL, "999", &other)); /* as the whole row: nobody's */
    assert_null(other);
}

static void test_webhook_account_qr(void **state)
{
    static struct config c;
    static const struct choice evolution[] = {
        {NULL, "{\"instance\":\"shop\"}", "shop"},
        {NULL, "{\"instance\":\"other\"}", "none"},
        {NULL, "{}", "shop"},
        {"default", "{}", "account 'default' is not for webhooks of evolution"},
    };
    static const struct choice waha[] = {
        {NULL, "{\"session\":\"default\"}", "default"},
        {NULL, "{\"session\":\"second\"}", "second"},
        {NULL, "{\"session\":\"third\"}", "none"},
        {NULL, "{}", "none"},
    };

    (void)state;
    c = (struct config){0};
    add(&c, with(account("shop", "whatsapp_qr", CHANNEL_WHATSAPP), "instance", "shop"));
    add(&c, with(account("default", "whatsapp_qr", CHANNEL_WHATSAPP), "preset", "waha"));
    add(&c, with(with(account("second", "whatsapp_qr", CHANNEL_WHATSAPP), "preset", "waha"), "instance",
                 "second"));
    check_choices(&c, &WEBHOOK_EVOLUTION, evolution, COUNT(evolution));
    check_choices(&c, &WEBHOOK_WAHA, waha, COUNT(waha));
}

static void test_webhook_account_wasender(void **state)
{
    static struct config c;
    static const struct choice rows[] = {
        {NULL, "{\"sessionId\":\"token-1\"}", "first"},
        {NULL, "{\"sessionId\":\"22\"}", "second"},
        {NULL, "{\"sessionId\":22}", "second"},
        {NULL, "{\"sessionId\":\"33\"}", "first"}, /* the only one whose session nobody told */
        {NULL, "{}", "none"},
    };

    (void)state;
    c = (struct config){0};
    add(&c, account("first", "wasender", CHANNEL_WHATSAPP));
    c.channels.accounts[0].token = "token-1";
    add(&c, with(account("second", "wasender", CHANNEL_WHATSAPP), "session_id", "22"));
    check_choices(&c, &WEBHOOK_WASENDER, rows, COUNT(rows));
}

static void test_webhook_account_twilio(void **state)
{
    static struct config c;
    static const struct choice rows[] = {
        {NULL, "MessageSid=SM1&AccountSid=" AC "&To=%2B12025550100&From=%2B12025550143", "sms"},
        {NULL, "MessageSid=SM1&AccountSid=" AC "&To=whatsapp%3A%2B12025550100&From=whatsapp%3A%2B12025550143",
         "wa"},
        {NULL, "MessageSid=SM1&MessageStatus=sent&AccountSid=" AC "&From=%2B12025550100&To=%2B12025550143",
         "sms"},
        {NULL,
         "MessageSid=SM1&AccountSid=" AC "&MessagingServiceSid=" MG "&To=%2B12025550101&From=%2B12025550143",
         "pool"},
        /* a number that no account has may be one of the pool's */
        {NULL, "MessageSid=SM1&AccountSid=" AC "&To=%2B12025550109&From=%2B12025550143", "pool"},
        {NULL, "MessageSid=SM1&AccountSid=" AC "&To=whatsapp%3A%2B12025550109&From=%2B12025550143", "none"},
        {NULL, "MessageSid=SM1&AccountSid=" AC2 "&To=%2B12025550100&From=%2B12025550143", "none"},
        {NULL, "MessageSid=SM1", "none"},
        {"wa", "MessageSid=SM1", "wa"},
    };

    (void)state;
    c = (struct config){0};
    add(&c, account("sms", "twilio", CHANNEL_SMS));
    add(&c, account("wa", "twilio", CHANNEL_WHATSAPP));
    add(&c,
        with(with(account("pool", "twilio", CHANNEL_SMS), "messaging_service_sid", MG), "account_sid", AC));
    c.channels.accounts[0].user = c.channels.accounts[1].user = AC;
    c.channels.accounts[2].user = "SK00000000000000000000000000000000";
    c.channels.accounts[0].from = "+12025550100";
    c.channels.accounts[1].from = "whatsapp:+12025550100";
    check_choices(&c, &WEBHOOK_TWILIO, rows, COUNT(rows));
}

#define FOR_PAGE(id) "{\"object\":\"instagram\",\"entry\":[{\"id\":\"" id "\"}]}"

static void test_webhook_account_others(void **state)
{
    static struct config c;
    static const struct choice instagram[] = {
        {NULL, FOR_PAGE("178"), "ig"}, {NULL, FOR_PAGE("179"), "none"}, {NULL, "{}", "ig"}};
    static const struct choice generic[] = {
        {NULL, "{\"channel\":\"website\"}", "widget"}, {NULL, "{\"channel\":\"email\"}", "none"},
        {NULL, "{\"channel\":\"instagram\"}", "none"}, /* which speaks for itself, unless it is named */
        {"ig", "{\"channel\":\"instagram\"}", "ig"},   {"widget", "{}", "widget"},
    };

    (void)state;
    c = (struct config){0};
    add(&c, account("ig", "instagram", CHANNEL_INSTAGRAM));
    add(&c, account("widget", "website", CHANNEL_WEBSITE));
    c.channels.accounts[0].from = "178";
    check_choices(&c, &WEBHOOK_INSTAGRAM, instagram, COUNT(instagram));
    check_choices(&c, &WEBHOOK_GENERIC, generic, COUNT(generic));
}

/* --- the policies --- */

static const char RIGHT[] = "{\"X-Webhook-Signature\":\"right\"}",
                  WRONG[] = "{\"X-Webhook-Signature\":\"wrong\"}", ABSENT[] = "{}";

struct policy_row {
    enum verify_policy verify;
    const char *own, *shared; /* the account's secret, the provider's */
    const char *headers;
    const char *refused; /* words; NULL = it passes */
};

static int check_sender(const struct config *c, const struct webhook_provider *p,
                        const struct config_account *a, const char *headers_text, const char *body,
                        struct err *e)
{
    struct json *headers = json_parse(headers_text, strlen(headers_text), e);
    struct webhook_row row = {.provider = p->name, .body = body, .body_len = strlen(body)};
    int rc;

    assert_non_null(headers);
    row.headers = json_root(headers);
    rc = webhook_check_sender(c, p, a, &row, e);
    json_free(&headers);
    return rc;
}

static void test_webhook_check_policies(void **state)
{
    static const struct policy_row rows[] = {
        {VERIFY_AUTO, NULL, "", ABSENT, NULL},
        {VERIFY_AUTO, NULL, "", WRONG, NULL},
        {VERIFY_AUTO, "right", "", RIGHT, NULL},
        {VERIFY_AUTO, NULL, "right", RIGHT, NULL},
        {VERIFY_AUTO, "", "right", RIGHT, NULL},
        {VERIFY_AUTO, "right", "", WRONG, "another secret"},
        {VERIFY_AUTO, "right", "", ABSENT, "nothing in it proves"},
        {VERIFY_AUTO, "wrong", "right", RIGHT, "another secret"}, /* the account's comes first */
        {VERIFY_REQUIRED, "right", "", RIGHT, NULL},
        {VERIFY_REQUIRED, "right", "", WRONG, "another secret"},
        {VERIFY_REQUIRED, "right", "", ABSENT, "nothing in it proves"},
        {VERIFY_REQUIRED, NULL, "", RIGHT, "no secret"},
        {VERIFY_REQUIRED, NULL, "", ABSENT, "no secret"},
        {VERIFY_IF_PRESENT, "right", "", RIGHT, NULL},
        {VERIFY_IF_PRESENT, "right", "", WRONG, "another secret"},
        {VERIFY_IF_PRESENT, "right", "", ABSENT, NULL},
        {VERIFY_IF_PRESENT, NULL, "", ABSENT, "no secret"},
        {VERIFY_OFF, "right", "", WRONG, NULL},
        {VERIFY_OFF, NULL, "right", ABSENT, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        static struct config c;
        struct err e = {0};
        c = (struct config){.webhooks.wasender = {rows[i].verify, rows[i].shared}};
        add(&c, account("main", "wasender", CHANNEL_WHATSAPP));
        c.channels.accounts[0].webhook_secret = rows[i].own;
        int rc = check_sender(&c, &WEBHOOK_WASENDER, &c.channels.accounts[0], rows[i].headers, "{}", &e);
        if (rc != (rows[i].refused ? -1 : 0) || (rc < 0 && strstr(e.text, rows[i].refused) == NULL))
            fail_msg("row %zu: %d \"%s\"", i, rc, e.text);
        if (rc < 0 && (strstr(e.text, "right") || strstr(e.text, "wrong")))
            fail_msg("row %zu tells a secret: %s", i, e.text);
    }
}

/* A row for no account must not get past the secret that an account has. */
static void test_webhook_check_without_account(void **state)
{
    static struct config c;
    struct err e = {0};

    (void)state;
    c = (struct config){.webhooks.wasender = {VERIFY_AUTO, ""}, .webhooks.generic = {VERIFY_AUTO, ""}};
    add(&c, account("main", "wasender", CHANNEL_WHATSAPP));
    assert_int_equal(check_sender(&c, &WEBHOOK_WASENDER, NULL, ABSENT, "{}", &e), 0);
    c.channels.accounts[0].webhook_secret = "right";
    assert_int_equal(check_sender(&c, &WEBHOOK_WASENDER, NULL, ABSENT, "{}", &e), -1);
    assert_non_null(strstr(e.text, "webhooks.wasender.secret"));
    assert_int_equal(check_sender(&c, &WEBHOOK_WASENDER, NULL, RIGHT, "{}", &e), -1);
    /* another provider's account says nothing about this one's */
    assert_int_equal(check_sender(&c, &WEBHOOK_GENERIC, NULL, ABSENT, "{}", &e), 0);
    c.webhooks.wasender.secret = "right";
    assert_int_equal(check_sender(&c, &WEBHOOK_WASENDER, NULL, RIGHT, "{}", &e), 0);
}

#define FORM                                                                                                 \
    "To=%2B12025550143&From=%2B15005550006&Body=Hello&NumMedia=0&"                                           \
    "MessageSid=SM00000000000000000000000000000000&AccountSid=" AC
#define SIGNED "{\"X-Twilio-Signature\":\"+rkptAXJzsMbVIw71YVToasoMo0=\"}"
#define URL    "https://example.com/twilio/sms"

/* The AuthToken is the account's password beside an AccountSid; the URL is one of three. */
static void test_webhook_check_twilio(void **state)
{
    static struct config c;
    struct config_account *a = &c.channels.accounts[0];
    struct err e = {0};

    (void)state;
    c = (struct config){.webhooks.twilio = {VERIFY_AUTO, "", ""}};
    add(&c, account("main", "twilio", CHANNEL_SMS));
    a->user = AC;
    a->password = "test-auth-token";
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), 0);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, NULL, SIGNED, FORM, &e),
                     0); /* another of its numbers */
    c.webhooks.twilio.verify = VERIFY_REQUIRED;
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), -1);
    assert_non_null(strstr(e.text, "webhooks.twilio.url is not set"));
    c.webhooks.twilio.verify = VERIFY_AUTO;
    a->webhook_secret = "test-auth-token";
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), -1);
    a->webhook_secret = NULL;
    c.webhooks.twilio.url = URL;
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), 0);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, ABSENT, FORM, &e), -1);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, NULL, ABSENT, FORM, &e), -1);
    c.webhooks.twilio.url = "https://example.com/other";
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), -1);
    *a = with(*a, "status_callback", URL);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), 0);
    a->option_count = 0;
    *a = with(*a, "webhook_url", URL);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), 0);
    /* an API key's password is not the AuthToken */
    a->user = "SK00000000000000000000000000000000";
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, ABSENT, FORM, &e), 0);
    a->webhook_secret = "test-auth-token";
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, SIGNED, FORM, &e), 0);
    assert_int_equal(check_sender(&c, &WEBHOOK_TWILIO, a, ABSENT, FORM, &e), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_webhook_find),
        cmocka_unit_test(test_webhook_account_cloud),
        cmocka_unit_test(test_webhook_account_of_a_part),
        cmocka_unit_test(test_webhook_account_qr),
        cmocka_unit_test(test_webhook_account_wasender),
        cmocka_unit_test(test_webhook_account_twilio),
        cmocka_unit_test(test_webhook_account_others),
        cmocka_unit_test(test_webhook_check_policies),
        cmocka_unit_test(test_webhook_check_without_account),
        cmocka_unit_test(test_webhook_check_twilio),
    };
    return cmocka_run_group_tests_name("webhook account", tests, NULL, NULL);
}
