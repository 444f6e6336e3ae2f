/* Statement parameters byte for byte, and what a SQLSTATE means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "io/db_private.h"

static struct db_params params;

static int setup(void **state)
{
    (void)state;
    db_params_init(&params);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_params_fini(&params);
    return 0;
}

/* The wire form of the parameter at `i` in hex; "NULL" for SQL NULL. */
static const char *hex_of(const struct db_params *p, int i)
{
    static char hex[1024];
    struct db_wire w;
    db_params_wire(p, &w);
    assert_true(i < w.count);
    assert_int_equal(w.formats[i], 1);
    if (w.values[i] == NULL)
        return "NULL";
    assert_true((size_t)w.lengths[i] * 2 < sizeof hex);
    hex[0] = '\0';
    for (int k = 0; k < w.lengths[i]; k++)
        snprintf(hex + (size_t)k * 2, 3, "%02x", (unsigned)(unsigned char)w.values[i][k]);
    return hex;
}

static uint32_t oid_of(const struct db_params *p, int i)
{
    struct db_wire w;
    db_params_wire(p, &w);
    return w.types[i];
}

static void test_db_params_scalars(void **state)
{
    (void)state;
    db_param_text(&params, "a\xc3\xa4");
    db_param_text(&params, "");
    db_param_text(&params, NULL);
    db_param_int4(&params, -2);
    db_param_int4(&params, INT32_MAX);
    db_param_int8(&params, INT64_MIN);
    db_param_int8(&params, 1795206465123);
    db_param_bool(&params, true);
    db_param_bool(&params, false);
    db_param_float8(&params, 1.5);
    db_param_null(&params, DB_UUID);

    static const struct {
        uint32_t oid;
        const char *hex;
    } WANTED[] = {
        {25, "61c3a4"},
        {25, ""},
        {25, "NULL"},
        {23, "fffffffe"},
        {23, "7fffffff"},
        {20, "8000000000000000"},
        {20, "000001a1faa4c663"},
        {16, "01"},
        {16, "00"},
        {701, "3ff8000000000000"},
        {2950, "NULL"},
    };
    assert_int_equal(params.count, sizeof WANTED / sizeof WANTED[0]);
    for (int i = 0; i < params.count; i++) {
        assert_string_equal(hex_of(&params, i), WANTED[i].hex);
        assert_int_equal(oid_of(&params, i), WANTED[i].oid);
    }
}

static void test_db_params_text_array(void **state)
{
    (void)state;
    db_array_begin(&params, DB_TEXT);
    db_item_text(&params, "ab", 2);
    db_item_text(&params, NULL, 0);
    db_item_text(&params, "", 0);
    db_array_end(&params);
    assert_int_equal(oid_of(&params, 0), 1009);
    assert_string_equal(hex_of(&params, 0), "00000001"     /* dimensions */
                                            "00000001"     /* has a null */
                                            "00000019"     /* text */
                                            "00000003"     /* length */
                                            "00000001"     /* lower bound */
                                            "000000026162" /* ab */
                                            "ffffffff"     /* null */
                                            "00000000");   /* empty */
}

static void test_db_params_uuid_array(void **state)
{
    (void)state;
    db_array_begin(&params, DB_UUID);
    db_item_text(&params, "00112233-4455-6677-8899-aAbBcCdDeEfF", 36);
    db_array_end(&params);
    assert_int_equal(oid_of(&params, 0), 2951);
    assert_string_equal(hex_of(&params, 0), "00000001"
                                            "00000000"
                                            "00000b86"
                                            "00000001"
                                            "00000001"
                                            "0000001000112233445566778899aabbccddeeff");
}

static void test_db_params_number_arrays(void **state)
{
    (void)state;
    db_array_begin(&params, DB_INT4);
    db_item_int4(&params, -1);
    db_item_null(&params);
    db_array_end(&params);
    db_array_begin(&params, DB_INT8);
    db_item_int8(&params, 258);
    db_array_end(&params);
    db_array_begin(&params, DB_BOOL);
    db_item_bool(&params, true);
    db_item_bool(&params, false);
    db_array_end(&params);
    db_array_begin(&params, DB_FLOAT8);
    db_item_float8(&params, -2.0);
    db_array_end(&params);
    db_array_begin(&params, DB_BYTEA);
    db_item_bytes(&params, "\0\xff", 2);
    db_item_bytes(&params, NULL, 0);
    db_array_end(&params);

    static const struct {
        uint32_t oid;
        const char *hex;
    } WANTED[] = {
        {1007, "0000000100000001000000170000000200000001"
               "00000004ffffffff"
               "ffffffff"},
        {1016, "0000000100000000000000140000000100000001"
               "000000080000000000000102"},
        {1000, "0000000100000000000000100000000200000001"
               "0000000101"
               "0000000100"},
        {1022, "0000000100000000000002bd0000000100000001"
               "00000008c000000000000000"},
        {1001, "0000000100000000000000110000000200000001"
               "0000000200ff"
               "00000000"},
    };
    assert_int_equal(params.count, sizeof WANTED / sizeof WANTED[0]);
    for (int i = 0; i < params.count; i++) {
        assert_string_equal(hex_of(&params, i), WANTED[i].hex);
        assert_int_equal(oid_of(&params, i), WANTED[i].oid);
    }
}

static void test_db_params_empty_array(void **state)
{
    (void)state;
    db_array_begin(&params, DB_BYTEA);
    db_array_end(&params);
    db_param_int4(&params, 7);
    assert_string_equal(hex_of(&params, 0), "000000000000000000000011");
    assert_string_equal(hex_of(&params, 1), "00000007");
}

static void test_db_params_clear_reuses(void **state)
{
    (void)state;
    db_param_text(&params, "first");
    db_array_begin(&params, DB_TEXT);
    db_params_clear(&params);
    db_param_text(&params, "second");
    assert_int_equal(params.count, 1);
    assert_string_equal(hex_of(&params, 0), "7365636f6e64");
}

static void test_db_params_copy(void **state)
{
    (void)state;
    struct db_params copy;
    db_param_text(&params, "x");
    db_param_null(&params, DB_INT8);
    db_params_copy(&copy, &params);
    db_params_clear(&params);
    assert_int_equal(copy.count, 2);
    assert_string_equal(hex_of(&copy, 0), "78");
    assert_string_equal(hex_of(&copy, 1), "NULL");
    db_params_fini(&copy);
    db_params_copy(&copy, NULL);
    assert_int_equal(copy.count, 0);
    db_params_fini(&copy);
}

static void misuse_item_type(struct db_params *p)
{
    db_array_begin(p, DB_INT4);
    db_item_int8(p, 1);
    db_array_end(p);
}

static void misuse_item_alone(struct db_params *p)
{
    db_item_int4(p, 1);
}

static void misuse_null_alone(struct db_params *p)
{
    db_item_null(p);
}

static void misuse_end_alone(struct db_params *p)
{
    db_array_end(p);
}

static void misuse_param_in_array(struct db_params *p)
{
    db_array_begin(p, DB_INT4);
    db_param_int4(p, 1);
}

static void misuse_too_many(struct db_params *p)
{
    for (int i = 0; i <= DB_MAX_PARAMS; i++)
        db_param_bool(p, true);
}

static void misuse_uuid_short(struct db_params *p)
{
    db_array_begin(p, DB_UUID);
    db_item_text(p, "00112233-4455-6677-8899-aabbccddeef", 35);
    db_array_end(p);
}

static void misuse_uuid_letters(struct db_params *p)
{
    db_array_begin(p, DB_UUID);
    db_item_text(p, "0011223x-4455-6677-8899-aabbccddeeff", 36);
    db_array_end(p);
}

static void misuse_too_large(struct db_params *p)
{
    static char megabyte[1024 * 1024];
    db_array_begin(p, DB_BYTEA);
    for (int i = 0; i < 64; i++)
        db_item_bytes(p, megabyte, sizeof megabyte);
    db_array_end(p);
}

static void test_db_params_misuse_fails(void **state)
{
    (void)state;
    static void (*const MISUSES[])(struct db_params *) = {
        misuse_item_type, misuse_item_alone, misuse_null_alone,   misuse_end_alone, misuse_param_in_array,
        misuse_too_many,  misuse_uuid_short, misuse_uuid_letters, misuse_too_large,
    };
    for (size_t i = 0; i < sizeof MISUSES / sizeof MISUSES[0]; i++) {
        db_params_clear(&params);
        MISUSES[i](&params);
        assert_true(params.bytes.failed);
        db_params_clear(&params);
        db_param_int4(&params, 1);
        assert_false(params.bytes.failed);
    }
}

static void test_db_sqlstate_classes(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum err_class class;
    } CLASSES[] = {
        {"08006", ERR_TEMPORARY}, {"25006", ERR_TEMPORARY}, {"25P02", ERR_BUG},
        {"40001", ERR_TEMPORARY}, {"40P01", ERR_TEMPORARY}, {"53300", ERR_TEMPORARY},
        {"55P03", ERR_TEMPORARY}, {"55000", ERR_BUG},       {"57014", ERR_TEMPORARY},
        {"57P01", ERR_TEMPORARY}, {"57P03", ERR_TEMPORARY}, {"28P01", ERR_CONFIG},
        {"28000", ERR_CONFIG},    {"3D000", ERR_CONFIG},    {"3F000", ERR_CONFIG},
        {"42501", ERR_CONFIG},    {"42883", ERR_CONFIG},    {"42P01", ERR_CONFIG},
        {"42703", ERR_BUG},       {"42601", ERR_BUG},       {"22P02", ERR_DATA},
        {"23505", ERR_DATA},      {"23514", ERR_DATA},      {"P0001", ERR_DATA},
        {"P0002", ERR_BUG},       {"XX000", ERR_BUG},       {"", ERR_BUG},
    };
    for (size_t i = 0; i < sizeof CLASSES / sizeof CLASSES[0]; i++)
        if (db_sqlstate_class(CLASSES[i].sqlstate) != CLASSES[i].class)
            fail_msg("SQLSTATE %s is %s", CLASSES[i].sqlstate,
                     err_class_name(db_sqlstate_class(CLASSES[i].sqlstate)));
}

static void test_db_hosts_of_url(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int count;
        bool lookup;
        const char *last_host, *last_addr, *last_port;
    } URLS[] = {
        {"postgresql://user@db.example.com/agwb", 1, true, "db.example.com", "", ""},
        {"postgresql://user:p%40ss@127.0.0.1:5433/agwb", 1, false, "127.0.0.1", "", "5433"},
        {"postgresql://[::1]:5433/agwb", 1, false, "::1", "", "5433"},
        {"host=localhost dbname=agwb", 1, false, "localhost", "", ""},
        {"host=/run/postgresql dbname=agwb", 1, false, "/run/postgresql", "", ""},
        {"postgresql:///agwb", 0, false, "", "", ""},
        {"host=db.example.com hostaddr=192.0.2.7 port=6543", 1, false, "db.example.com", "192.0.2.7", "6543"},
        {"postgresql://192.0.2.7:1,b.example.com:2/agwb", 2, true, "b.example.com", "", "2"},
        {"host=192.0.2.7,192.0.2.8 port=6000", 2, false, "192.0.2.8", "", "6000"},
        {"host=a.example.com,b.example.com,c.example.com port=1,2", 0, false, "", "",
         ""}, /* libpq's to refuse */
    };
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct db_hosts hosts;
        struct err e;
        assert_int_equal(db_hosts_parse(URLS[i].url, &hosts, &e), 0);
        assert_int_equal(hosts.count, URLS[i].count);
        assert_int_equal(db_hosts_need_lookup(&hosts), URLS[i].lookup);
        if (hosts.count == 0)
            continue;
        assert_string_equal(hosts.at[hosts.count - 1].host, URLS[i].last_host);
        assert_string_equal(hosts.at[hosts.count - 1].addr, URLS[i].last_addr);
        assert_string_equal(hosts.at[hosts.count - 1].port, URLS[i].last_port);
    }
}

static void test_db_hosts_bad_url_keeps_secret(void **state)
{
    (void)state;
    static const char *const URLS[] = {"host=x password hunter2", "postgresql://u:hunter2%zz@h/d",
                                       "nonsense-hunter2"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++) {
        struct db_hosts hosts;
        struct err e = {.class = ERR_NONE};
        assert_int_equal(db_hosts_parse(URLS[i], &hosts, &e), -1);
        assert_int_equal(e.class, ERR_CONFIG);
        assert_null(strstr(e.text, "hunter2"));
    }
}

int main(void)
{
    log_configure("test_db_params", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_db_params_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_text_array, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_uuid_array, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_number_arrays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_empty_array, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_clear_reuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_db_params_misuse_fails, setup, teardown),
        cmocka_unit_test(test_db_sqlstate_classes),
        cmocka_unit_test(test_db_hosts_of_url),
        cmocka_unit_test(test_db_hosts_bad_url_keeps_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
