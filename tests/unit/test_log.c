/* Log lines as they leave stderr, and what happens when it refuses them. Each test has a file of its own as
 * stderr. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

static int real_stderr;
static int captured;

static int take_stderr(void **state)
{
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    unsetenv("JOURNAL_STREAM");
    clock_fake(1000, 1795210260123);
    return dup2(captured, STDERR_FILENO) < 0;
}

static int give_stderr_back(void **state)
{
    (void)state;
    log_flush();
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
    clock_real();
    return 0;
}

/* What was written so far; the file is empty afterwards. */
static const char *taken(void)
{
    static char text[200000];
    ssize_t len = pread(captured, text, sizeof text - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    assert_int_equal(ftruncate(captured, 0), 0);
    assert_int_equal(lseek(captured, 0, SEEK_SET), 0);
    return text;
}

static void expect(const char *want)
{
    log_flush();
    assert_string_equal(taken(), want);
}

#define HEAD "{\"ts\":\"2026-11-20T21:31:00.123Z\",\"level\":\"info\",\"program\":\"prog\",\"event\":"

static void test_log_json_line(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("delivery attempt", log_str("messageId", "m-1"), log_str("absent", NULL),
             log_int("status", -200), log_real("wait_s", 0.125), log_bool("late", true),
             log_bool("early", false));
    expect(
        HEAD
        "\"delivery "
        "attempt\",\"messageId\":\"m-1\",\"status\":-200,\"wait_s\":0.125,\"late\":true,\"early\":false}\n");
    log_info("bare");
    expect(HEAD "\"bare\"}\n");
}

static void test_log_text_line(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    log_info("delivery attempt", log_str("messageId", "m-1"), log_str("absent", NULL), log_int("status", 200),
             log_real("wait_s", 1.5), log_bool("late", true));
    log_error("a");
    log_warn("b");
    log_debug("c");
    expect("21:31:00.123 info  delivery attempt messageId=m-1 status=200 wait_s=1.5 late=true\n"
           "21:31:00.123 error a\n"
           "21:31:00.123 warn  b\n"
           "21:31:00.123 debug c\n");
}

static void test_log_text_quotes_what_is_not_one_word(void **state)
{
    (void)state;
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"word", "word"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"x\"", "\"say \\\"x\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"Gr\xc3\xbc\xc3\x9f"
         "e",
         "Gr\xc3\xbc\xc3\x9f"
         "e"},
        {"\xc4\xa0", "\xc4\xa0"}, /* U+0120: a space in its low byte only */
    };
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[100];
        log_info("e", log_str("k", cases[i].value));
        snprintf(want, sizeof want, "21:31:00.123 info  e k=%s\n", cases[i].want);
        expect(want);
    }
}

/* Bytes from outside may not move a terminal's cursor, reverse its text or make a second line; in both forms,
 * event and value. */
static void test_log_control_characters_are_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *value, *want;
    } cases[] = {
        {"a\nb\r\tc", "a\\u000ab\\u000d\\u0009c"},
        {"\x1b[31mred", "\\u001b[31mred"},
        {"\x7f", "\\u007f"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"}, /* C1: CSI in one character */
        {"\xe2\x80\xae"
         "abc",
         "\\u202eabc"},                                 /* right-to-left override */
        {"\xe2\x81\xa6\xe2\x81\xa9", "\\u2066\\u2069"}, /* isolates */
        {"\xe2\x80\xa8", "\\u2028"},                    /* line separator */
        {"\xff\x9b"
         "a",
         "\\\\xff\\\\x9ba"},                                  /* not UTF-8 at all */
        {"\xc3", "\\\\xc3"},                                  /* unfinished at the end */
        {"\xc0\xaf", "\\\\xc0\\\\xaf"},                       /* overlong */
        {"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80"},            /* surrogate */
        {"\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"}, /* above U+10FFFF */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char want[300];
        log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        log_info(cases[i].value, log_str("k", cases[i].value));
        snprintf(want, sizeof want, HEAD "\"%s\",\"k\":\"%s\"}\n", cases[i].want, cases[i].want);
        expect(want);

        log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
        log_info(cases[i].value, log_str("k", cases[i].value));
        snprintf(want, sizeof want, "21:31:00.123 info  %s k=\"%s\"\n", cases[i].want, cases[i].want);
        expect(want);
    }
}

static void test_log_valid_utf8_stays(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", log_str("k", "\"\\"));
    expect(HEAD "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\",\"k\":\"\\\"\\\\\"}\n");
}

static void test_log_real_numbers_are_json(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info("e", log_real("a", 0.0 / 1), log_real("b", 1234567.891), log_real("c", 1.0 / 3),
             log_real("d", 1e300 * 1e300), log_int("e", INT64_MIN));
    expect(HEAD "\"e\",\"a\":0,\"b\":1234567.89,\"c\":0.333333333,\"d\":null,\"e\":-9223372036854775808}\n");
}

static void test_log_levels(void **state)
{
    (void)state;
    static const enum log_level all[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG};
    static const char *const words[] = {"error", "warn", "info", "debug"};
    for (size_t limit = 0; limit < 4; limit++) {
        enum log_level parsed;
        assert_int_equal(log_level_parse(words[limit], &parsed), 0);
        assert_int_equal(parsed, all[limit]);
        log_configure("prog", all[limit], LOG_FORMAT_TEXT);
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(log_enabled(all[i]), i <= limit);
            log_write(all[i], "e", LOG_FIELDS());
            log_flush();
            assert_int_equal(strlen(taken()) > 0, i <= limit);
        }
    }
    enum log_level none;
    assert_int_equal(log_level_parse("Info", &none), -1);
    assert_int_equal(log_level_parse("", &none), -1);
}

static void test_log_formats(void **state)
{
    (void)state;
    enum log_format f;
    assert_int_equal(log_format_parse("auto", &f), 0);
    assert_int_equal(f, LOG_FORMAT_AUTO);
    assert_int_equal(log_format_parse("json", &f), 0);
    assert_int_equal(f, LOG_FORMAT_JSON);
    assert_int_equal(log_format_parse("text", &f), 0);
    assert_int_equal(f, LOG_FORMAT_TEXT);
    assert_int_equal(log_format_parse("xml", &f), -1);

    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_AUTO); /* a file is no terminal */
    log_info("e");
    expect(HEAD "\"e\"}\n");
}

static void test_log_auto_is_text_on_a_terminal(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0);
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    dup2(terminal, STDERR_FILENO);
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    log_info("e");
    log_flush();
    dup2(captured, STDERR_FILENO);
    char line[100] = {0};
    assert_true(read(master, line, sizeof line - 1) > 0);
    assert_string_equal(line, "21:31:00.123 info  e\r\n");
    close(terminal);
    close(master);
}

static void test_log_journald_priorities(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(fstat(captured, &st), 0);
    char stream[64];
    snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_configure("prog", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    log_error("e");
    log_warn("w");
    log_info("i");
    log_debug("d");
    expect("<3>21:31:00.123 error e\n<4>21:31:00.123 warn  w\n<6>21:31:00.123 info  i\n<7>21:31:00.123 debug "
           "d\n");

    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_AUTO); /* what a unit has: JSON */
    log_info("i");
    expect("<6>" HEAD "\"i\"}\n");

    assert_string_equal(log_error_prefix(), "<3>");

    setenv("JOURNAL_STREAM", "1:1", 1); /* inherited, but stderr is something else */
    log_configure("prog", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    log_error("e");
    expect("21:31:00.123 error e\n");
    assert_string_equal(log_error_prefix(), "");
}

static void test_log_lines_wait_for_the_flush(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("one");
    log_info("two");
    assert_string_equal(taken(), "");
    expect("21:31:00.123 info  one\n21:31:00.123 info  two\n");
    expect("");
}

/* More than the buffer holds goes out early; no line is lost or torn. */
static void test_log_full_buffer_is_written(void **state)
{
    (void)state;
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (int i = 0; i < 2500; i++)
        log_info("a line that takes some room", log_int("i", i));
    log_flush();
    const char *at = taken();
    for (int i = 0; i < 2500; i++) {
        char want[100];
        int len = snprintf(want, sizeof want, "21:31:00.123 info  a line that takes some room i=%d\n", i);
        assert_memory_equal(at, want, (size_t)len);
        at += len;
    }
    assert_string_equal(at, "");
}

static void test_log_monstrous_line_is_dropped_and_counted(void **state)
{
    (void)state;
    size_t size = 100000;
    char *monster = malloc(size + 1);
    memset(monster, 'x', size);
    monster[size] = '\0';
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("before");
    log_info("monster", log_str("k", monster));
    free(monster);
    log_info("after");
    log_info("later");
    expect("21:31:00.123 info  before\n21:31:00.123 info  after dropped_lines=1\n21:31:00.123 info  later\n");
}

static void test_log_full_disk_is_counted(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    dup2(full, STDERR_FILENO);
    log_info("a");
    log_info("b");
    log_flush();
    log_info("c"); /* carries the count, and is lost with it */
    log_flush();
    dup2(captured, STDERR_FILENO);
    close(full);
    log_info("d");
    log_info("e");
    expect(HEAD "\"d\",\"dropped_lines\":3}\n" HEAD "\"e\"}\n");
}

static void test_log_closed_pipe_is_counted(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    dup2(ends[1], STDERR_FILENO);
    log_info("a");
    log_flush();
    dup2(captured, STDERR_FILENO);
    close(ends[1]);
    signal(SIGPIPE, before);
    log_info("b");
    expect("21:31:00.123 info  b dropped_lines=1\n");
}

/* A pipe that takes only a part leaves a torn line: it is ended before the next one begins. */
static void test_log_torn_line_is_ended(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    int room = fcntl(ends[1], F_SETPIPE_SZ, 4096);
    assert_true(room >= 4096);
    log_configure("prog", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    dup2(ends[1], STDERR_FILENO);
    int lines = 0;
    for (int bytes = 0; bytes <= room; bytes += (int)strlen("21:31:00.123 info  line 1000\n"), lines++) {
        char event[16];
        snprintf(event, sizeof event, "line %d", 1000 + lines);
        log_info(event);
    }
    log_info("lost");
    log_flush();

    static char got[1 << 20];
    ssize_t len = read(ends[0], got, sizeof got - 1);
    assert_int_equal(len, room);
    assert_true(got[len - 1] != '\n'); /* torn: else this test shows nothing */
    log_info("next");
    log_flush();
    ssize_t more = read(ends[0], got, sizeof got - 1);
    dup2(captured, STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    assert_true(more > 0);
    got[more] = '\0';
    assert_string_equal(got, "\n21:31:00.123 info  next dropped_lines=2\n");
}

static void test_log_gate(void **state)
{
    (void)state;
    struct log_gate gate = {0};
    int64_t held = -1;
    assert_true(log_gate_pass(&gate, 500, &held));
    assert_int_equal(held, 0);
    assert_false(log_gate_pass(&gate, 500, &held));
    clock_fake(1499, 0);
    assert_false(log_gate_pass(&gate, 500, &held));
    clock_fake(1500, 0);
    assert_true(log_gate_pass(&gate, 500, &held));
    assert_int_equal(held, 2);
    clock_fake(2000, 0);
    assert_true(log_gate_pass(&gate, 500, &held));
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log_json_line, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_text_line, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_text_quotes_what_is_not_one_word, take_stderr,
                                        give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_control_characters_are_escaped, take_stderr,
                                        give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_valid_utf8_stays, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_real_numbers_are_json, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_levels, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_formats, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_auto_is_text_on_a_terminal, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_journald_priorities, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_lines_wait_for_the_flush, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_full_buffer_is_written, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_monstrous_line_is_dropped_and_counted, take_stderr,
                                        give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_full_disk_is_counted, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_closed_pipe_is_counted, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_torn_line_is_ended, take_stderr, give_stderr_back),
        cmocka_unit_test_setup_teardown(test_log_gate, take_stderr, give_stderr_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
