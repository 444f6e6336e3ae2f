/* Every corpus file through the fuzz target that its folder belongs to. What a fuzzer finds becomes such a
 * file. Runs from the root of the sources, or with CORPUS naming the folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <dirent.h>

#include "base/log.h"
#include "tests/fuzz/fuzz.h"

enum { FILES_AT_LEAST = 10, PATH_SIZE = 512 };

/* In memory of exactly its size, so that the sanitizers see a read beyond it. */
static void run_file(const struct fuzz_target *t, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t len = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(len);
    assert_true(bytes != NULL || len == 0);
    assert_int_equal(fread(bytes, 1, len, f), len);
    fclose(f);
    fprintf(stderr, "%s: %s\n", t->name, path); /* the last one is the one that crashed */
    t->run(bytes, len);
    free(bytes);
}

static size_t run_folder(const struct fuzz_target *t, const char *folder)
{
    const char *root = getenv("CORPUS");
    char path[PATH_SIZE];
    size_t count = 0;

    (void)snprintf(path, sizeof path, "%s/%s", root == NULL ? "tests/corpus" : root, folder);
    DIR *dir = opendir(path);
    if (dir == NULL)
        fail_msg("cannot open %s", path);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s/%s", root == NULL ? "tests/corpus" : root, folder,
                       d->d_name);
        run_file(t, path);
        count++;
    }
    closedir(dir);
    return count;
}

static void test_fuzz_corpus_target(void **state)
{
    const struct fuzz_target *t = *state;
    size_t count = 0;
    for (const char *const *folder = t->corpora; *folder != NULL; folder++)
        count += run_folder(t, *folder);
    assert_true(count >= FILES_AT_LEAST);
}

int main(void)
{
    enum { MAX_TARGETS = 32 };
    struct CMUnitTest tests[MAX_TARGETS];
    size_t count = 0;

    log_configure("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    for (const struct fuzz_target *t = FUZZ_TARGETS; t->name != NULL && count < MAX_TARGETS; t++) {
        tests[count++] = (struct CMUnitTest){
            .name = t->name, .test_func = test_fuzz_corpus_target, .initial_state = (void *)(uintptr_t)t};
    }
    return _cmocka_run_group_tests("fuzz corpus", tests, count, NULL, NULL);
}
