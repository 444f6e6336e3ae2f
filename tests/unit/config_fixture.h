/* Configuration files in a directory of their own, for the tests of the config module. */
#ifndef AGWB_TESTS_CONFIG_FIXTURE_H
#define AGWB_TESTS_CONFIG_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "domain/config.h"

static char fixture_dir[] = "/tmp/agwb-config-XXXXXX";

static inline int fixture_begin(void **state)
{
    (void)state;
    return mkdtemp(fixture_dir) ? 0 : -1;
}

static inline const char *fixture_path(const char *name)
{
    static char paths[4][PATH_MAX];
    static size_t turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, PATH_MAX, "%s/%s", fixture_dir, name);
    return path;
}

/* Writes a file that only its owner may read; returns its path. */
static inline const char *fixture_write(const char *name, const char *content)
{
    const char *path = fixture_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    assert_int_equal(close(fd), 0);
    return path;
}

static inline int fixture_end(void **state)
{
    static const char *const names[] = {
        "agwb.cfg",           "secret", "fifo",     "rabbitmq_password", "database_url",
        "account_main_token", "stderr", "directory"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)remove(fixture_path(names[i]));
    return rmdir(fixture_dir);
}

/* Loads `content` as a file (NULL: no file), with an environment and one --set (each may be NULL). */
static inline struct config *fixture_load_all(const char *content, char *const *environment, const char *set,
                                              struct err *e)
{
    struct config_source s = {
        .file = content ? fixture_write("agwb.cfg", content) : NULL,
        .sets = &set,
        .set_count = set != NULL,
        .environment = environment,
    };
    *e = (struct err){0};
    return config_load(&s, e);
}

static inline struct config *fixture_load(const char *content)
{
    struct err e;
    struct config *c = fixture_load_all(content, NULL, NULL, &e);
    if (!c)
        fail_msg("%s", e.text);
    return c;
}

/* Asserts that the sources are refused with a configuration fault whose text holds `expected`. */
static inline void fixture_assert_fault(const char *content, char *const *environment, const char *set,
                                        const char *expected)
{
    struct err e;
    struct config *c = fixture_load_all(content, environment, set, &e);
    if (c)
        fail_msg("accepted, expected: %s", expected);
    if (!strstr(e.text, expected))
        fail_msg("\"%s\" does not hold \"%s\"", e.text, expected);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_null(strchr(e.text, '\n'));
}

#define ENVIRONMENT(...) ((char *[]){__VA_ARGS__, NULL})

#endif
