/* Templates: what of the reply becomes the parameter, and the requests and options of both providers that
 * have them. */
#include "channel_rig.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/utf8.h"
#include "consumer/channels/template.h"

#define HX "HX0123456789abcdef0123456789ABCDEF"

static struct config_account cloud(void)
{
    struct config_account a = {
        .name = "main", .provider = "whatsapp_cloud", .channel = CHANNEL_WHATSAPP, .token = "EAAG"};

    a = rig_with(a, "phone_number_id", "106540352242922");
    return rig_with(a, "template", "we_answered");
}

static struct config_account twilio(void)
{
    struct config_account a = {.name = "main",
                               .provider = "twilio",
                               .channel = CHANNEL_WHATSAPP,
                               .user = "AC00000000000000000000000000000000",
                               .password = "secret",
                               .from = "+15005550006"};

    return rig_with(a, "template", HX);
}

/* The parameter that the text becomes; -1 is NULL. */
static char *parameter_of(const char *text)
{
    struct config_account a = rig_with(cloud(), "template_text", "true");
    struct reply reply = {.text = text};
    struct channel_part part = {.text = NULL};
    struct channel_send s = {.account = &a, .reply = &reply, .part = &part};
    struct buf out;
    struct err e;
    char *copy = NULL;

    buf_init(&out, 8192);
    if (template_text(&s, &out, &e) == 1)
        copy = xstrdup(buf_str(&out));
    buf_fini(&out);
    return copy;
}

static void test_template_parameter_is_one_line(void **state)
{
    static const char *const ROWS[][2] = {
        {"plain", "plain"},
        {"  a \n\n\t b  ", "a b"},
        {"a\r\nb\xc2\xa0\xe2\x80\xa8"
         "c",
         "a b c"},
        {"five     spaces", "five spaces"},
        {"\xf0\x9f\x98\x80 \xc3\xa9", "\xf0\x9f\x98\x80 \xc3\xa9"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        char *parameter = parameter_of(ROWS[i][0]);
        assert_string_equal(parameter, ROWS[i][1]);
        free(parameter);
    }
    assert_null(parameter_of(NULL)); /* files only */
}

/* 1024 UTF-16 code units at most, an emoji never in halves, and it shows that there was more. */
static void test_template_parameter_is_cut(void **state)
{
    char text[5000], *parameter;

    (void)state;
    memset(text, 'x', 1024);
    text[1024] = '\0';
    parameter = parameter_of(text);
    assert_string_equal(parameter, text);
    free(parameter);

    memset(text, 'x', 1025);
    text[1025] = '\0';
    parameter = parameter_of(text);
    assert_int_equal(utf8_count(parameter), 1024);
    assert_string_equal(parameter + 1023, "\xe2\x80\xa6");
    free(parameter);

    for (int i = 0; i < 600; i++)
        memcpy(text + 4 * i, "\xf0\x9f\x98\x80", 4);
    text[4 * 600] = '\0';
    parameter = parameter_of(text);
    assert_int_equal(utf8_count(parameter), 512); /* 511 of them and the sign */
    free(parameter);
}

static void expect_template(const struct channel_provider *p, const struct config_account *a,
                            const char *words)
{
    struct reply reply = {.text = "yes,\n\"you\" can"};
    struct channel_send s = {
        .account = a, .reply = &reply, .as_template = true, .address = "+12025550143", .message_id = "m-1"};
    struct channel_request r;
    size_t count;

    assert_int_equal(rig_build_part(p, &s, 0, &r, &count), 0);
    if (!strstr(buf_str(&r.body), words))
        fail_msg("%s, expected in it %s", buf_str(&r.body), words);
    assert_null(strstr(buf_str(&r.body), "Body"));
    assert_null(strstr(buf_str(&r.body), "\"preview_url\""));
    channel_request_fini(&r);
}

static void test_template_requests(void **state)
{
    struct config_account a = cloud();

    (void)state;
    expect_template(&CHANNEL_WHATSAPP_CLOUD, &a,
                    "\"to\":\"12025550143\",\"type\":\"template\",\"template\":{\"name\":\"we_answered\","
                    "\"language\":{\"code\":\"en_US\"}},\"biz_opaque_callback_data\":\"m-1\"}");
    a = rig_with(rig_with(a, "template_language", "de"), "template_text", "true");
    expect_template(&CHANNEL_WHATSAPP_CLOUD, &a,
                    "{\"code\":\"de\"},\"components\":[{\"type\":\"body\",\"parameters\":[{\"type\":\"text\","
                    "\"text\":\"yes, \\\"you\\\" can\"}]}]}");
    a = twilio();
    expect_template(&CHANNEL_TWILIO, &a, "&ContentSid=" HX);
    a = rig_with(a, "template_text", "true");
    expect_template(&CHANNEL_TWILIO, &a,
                    "&ContentSid=" HX
                    "&ContentVariables=%7B%221%22%3A%22yes%2C%20%5C%22you%5C%22%20can%22%7D");
}

static void test_template_options(void **state)
{
    struct config_account a = cloud();

    (void)state;
    rig_check_account(&a, NULL);
    a.options[1].value = "Has Spaces";
    rig_check_account(&a, "options.template: expected the template's name");
    a = rig_with(cloud(), "template_language", "en-US");
    rig_check_account(&a, "options.template_language: expected a language as en_US");
    a = rig_with(cloud(), "template_text", "yes");
    rig_check_account(&a, "options.template_text: expected true or false");
    a = rig_with(cloud(), "quote", "1");
    rig_check_account(&a, "options.quote: expected true or false");
    a = twilio();
    rig_check_account(&a, NULL);
    a.options[0].value = "we_answered";
    rig_check_account(&a, "options.template: expected a ContentSid");
    a = twilio();
    a.options[0].key = "template_text";
    a.options[0].value = "true";
    rig_check_account(&a, "options.template: missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template_parameter_is_one_line),
        cmocka_unit_test(test_template_parameter_is_cut),
        cmocka_unit_test(test_template_requests),
        cmocka_unit_test(test_template_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
