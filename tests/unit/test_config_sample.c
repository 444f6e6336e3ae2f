/* etc/agwb.cfg against the table of options: every option is there, as it is described there, with its
 * default. Run from the top of the tree. */
#include "config_fixture.h"

#include "consumer/channels/channel.h"

static const char sample_path[] = "etc/agwb.cfg";

static char *sample;

static int read_sample(void **state)
{
    (void)state;
    FILE *f = fopen(sample_path, "re");
    size_t size = 0;
    if (!f)
        return -1;
    ssize_t len = getdelim(&sample, &size, '\0', f);
    (void)fclose(f);
    return len > 0 ? 0 : -1;
}

static int free_sample(void **state)
{
    (void)state;
    free(sample);
    return 0;
}

static void print(const struct config_source *s, struct buf *out)
{
    struct err e;
    struct config *c = config_load(s, &e);
    if (!c)
        fail_msg("%s", e.text);
    buf_clear(out);
    config_print(c, out);
    config_free(&c);
}

static void test_config_sample_loads_to_the_defaults(void **state)
{
    (void)state;
    struct buf from_sample, from_nothing;
    buf_init(&from_sample, 1 << 20);
    buf_init(&from_nothing, 1 << 20);
    print(&(struct config_source){.file = sample_path}, &from_sample);
    print(&(struct config_source){.file = NULL}, &from_nothing);
    assert_string_equal(buf_str(&from_sample), buf_str(&from_nothing));
    buf_fini(&from_sample);
    buf_fini(&from_nothing);
}

/* The option's default as the file spells it. */
static void literal_of(const struct config_option_info *o, char *out, size_t size)
{
    bool is_bare =
        strcmp(o->type, "integer") == 0 || strcmp(o->type, "real") == 0 || strcmp(o->type, "boolean") == 0;
    if (is_bare)
        (void)snprintf(out, size, "%s", o->default_text);
    else
        (void)snprintf(out, size, strcmp(o->type, "list") == 0 ? "[\"%s\"]" : "\"%s\"", o->default_text);
}

static const char *unit_of(const char *name)
{
    size_t len = strlen(name);
    if (strcmp(name + len - 3, "_ms") == 0)
        return " ms";
    return strcmp(name + len - 2, "_s") == 0 ? " s" : "";
}

/* The three lines every option has: help; type, range, unit, default and marks; the setting itself. */
static void test_config_sample_describes_every_option(void **state)
{
    (void)state;
    const char *at = sample;
    for (size_t i = 0; i < config_option_count(); i++) {
        struct config_option_info o = config_option_at(i);
        char literal[256], lines[1024];
        bool is_nested = strchr(o.name, '.') != strrchr(o.name, '.');
        const char *indent = is_nested ? "    " : "  ";
        const char *key = strrchr(o.name, '.') + 1;
        literal_of(&o, literal, sizeof literal);
        (void)snprintf(lines, sizeof lines, "%s# %s\n%s# %s: %s%s; default %s%s%s\n%s%s%s = %s;\n", indent,
                       o.help, indent, o.type, o.range, unit_of(o.name), literal,
                       o.reloadable ? "; reload" : "", o.secret ? "; secret" : "", indent,
                       o.secret ? "# " : "", key, literal);
        at = strstr(at, lines); /* in the table's order */
        if (!at)
            fail_msg("%s has no %s, or not in the table's order:\n%s", sample_path, o.name, lines);
    }
}

/* A wrong type for each option, in its group, is refused by its name: the table's names are what the file's
 * walk looks for. */
static void test_config_sample_names_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_option_count(); i++) {
        struct config_option_info o = config_option_at(i);
        char expected[256], text[2048], set[256];
        const char *inner = strchr(o.name, '.') + 1;
        const char *key = strrchr(o.name, '.') + 1;
        (void)snprintf(set, sizeof set, "%.*s: { ", (int)(inner - 1 - o.name), o.name);
        if (inner == key)
            (void)snprintf(text, sizeof text, "%s%s = ((1)); };", set, key);
        else
            (void)snprintf(text, sizeof text, "%s%.*s: { %s = ((1)); }; };", set, (int)(key - 1 - inner),
                           inner, key);
        (void)snprintf(expected, sizeof expected, "agwb.cfg:1: %s: expected", o.name);
        fixture_assert_fault(text, NULL, NULL, expected);
    }
}

static void test_config_sample_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_option_count(); i++) {
        struct config_option_info o = config_option_at(i);
        assert_non_null(o.help);
        assert_true(strlen(o.help) > 3 && o.help[strlen(o.help) - 1] == '.');
        assert_true(strlen(o.help) < 120);
        assert_false(o.reloadable && strcmp(o.type, "list") == 0); /* reload does not copy lists */
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(o.name, config_option_at(j).name);
            assert_string_not_equal(o.environment, config_option_at(j).environment);
        }
    }
    struct config_option_info last = config_option_at(config_option_count() - 1);
    assert_string_equal(last.name, "daemon.watchdog");
    assert_string_equal(last.environment, "AGWB_DAEMON_WATCHDOG");
}

/* The examples of accounts are commented; uncommented they must load as well, and be what their providers
 * want. The files with their tokens are not here. */
static void test_config_sample_examples_load(void **state)
{
    (void)state;
    char text[16384] = "";
    size_t used = 0;
    const char *line = strstr(sample, "\nchannels:\n");
    assert_non_null(line);
    while (*line) {
        int len = (int)strcspn(line, "\n"), comment = strncmp(line, "  # ", 4) == 0 ? 4 : 0;
        bool is_token_file = memmem(line, (size_t)len, "token_file", strlen("token_file")) != NULL;
        if (is_token_file)
            used += (size_t)snprintf(text + used, sizeof text - used, "token = \"t\";\n");
        else
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%.*s\n", len - comment, line + comment);
        assert_true(used < sizeof text);
        line += len + (line[len] == '\n');
    }
    struct config *c = fixture_load(text);
    struct err e = {0};
    assert_int_equal(c->channels.account_count, 8);
    assert_string_equal(c->channels.accounts[0].name, "main");
    if (channel_check_accounts(c, &e) != 0)
        fail_msg("%s", e.text);
    config_free(&c);
}

static int begin(void **state)
{
    return fixture_begin(state) == 0 ? read_sample(state) : -1;
}

static int finish(void **state)
{
    (void)free_sample(state);
    return fixture_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_sample_loads_to_the_defaults),
        cmocka_unit_test(test_config_sample_describes_every_option),
        cmocka_unit_test(test_config_sample_names_are_read),
        cmocka_unit_test(test_config_sample_table_is_sound),
        cmocka_unit_test(test_config_sample_examples_load),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
