/* Arenas and the allocators that do not fail. Run with AddressSanitizer, every piece is checked for overruns
 * too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arena.h"

static void test_arena_pieces_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    enum { PIECES = 500 };
    struct arena *a = arena_new();
    for (int round = 0; round < 3; round++) {
        unsigned char *pieces[PIECES];
        for (size_t i = 0; i < PIECES; i++) {
            size_t bytes = i * 7 % 900;
            pieces[i] = arena_alloc(a, bytes);
            assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
            for (size_t n = 0; n < bytes; n++)
                assert_int_equal(pieces[i][n], 0);
            memset(pieces[i], (int)(i % 255 + 1), bytes);
        }
        for (size_t i = 0; i < PIECES; i++)
            for (size_t n = 0; n < i * 7 % 900; n++)
                assert_int_equal(pieces[i][n], i % 255 + 1);
        arena_reset(a);
    }
    arena_free(&a);
    assert_null(a);
    arena_free(&a);
}

static void test_arena_large_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {1 << 20, 10, 70000, 5000, 65536, 600, 300000, 0, 1};
    struct arena *a = arena_new();
    for (int round = 0; round < 2; round++) {
        char *pieces[9];
        for (size_t i = 0; i < 9; i++)
            memset(pieces[i] = arena_alloc(a, sizes[i]), 'a' + (int)i, sizes[i]);
        for (size_t i = 0; i < 9; i++)
            for (size_t n = 0; n < sizes[i]; n += 97)
                assert_int_equal(pieces[i][n], 'a' + i);
        arena_reset(a);
    }
    arena_free(&a);
}

static void test_arena_copies(void **state)
{
    (void)state;
    struct arena *a = arena_new();
    char source[] = "hello";
    char *copy = arena_dup(a, source, 3);
    char *whole = arena_strdup(a, source);
    memset(source, 'x', 5);
    assert_string_equal(copy, "hel");
    assert_string_equal(whole, "hello");
    assert_string_equal(arena_dup(a, NULL, 0), "");
    assert_null(arena_strdup(a, NULL));
    arena_free(&a);
}

static void test_arena_long_lived_allocators(void **state)
{
    (void)state;
    int *numbers = xcalloc(4, sizeof *numbers);
    assert_int_equal(numbers[3], 0);
    numbers[3] = 7;
    numbers = xrealloc(numbers, 1000, sizeof *numbers);
    assert_int_equal(numbers[3], 7);
    free(numbers);

    void *nothing = xcalloc(0, 8);
    assert_non_null(nothing);
    nothing = xrealloc(nothing, 0, 8);
    assert_non_null(nothing);
    free(nothing);

    char *copy = xstrdup("text");
    assert_string_equal(copy, "text");
    free(copy);
    assert_null(xstrdup(NULL));
}

static void wrap_calloc(void)
{
    free(xcalloc(SIZE_MAX / 2, 4));
}
static void wrap_realloc(void)
{
    free(xrealloc(NULL, 3, SIZE_MAX / 2));
}
static void wrap_arena(void)
{
    struct arena *a = arena_new();
    arena_alloc(a, SIZE_MAX - 3);
}
static void wrap_dup(void)
{
    struct arena *a = arena_new();
    arena_dup(a, "", SIZE_MAX);
}

/* A size that wraps must end the process like any other that is not there: status 75, and a line that says
 * why. */
static void test_arena_no_memory_ends_the_process(void **state)
{
    (void)state;
    static void (*const cases[])(void) = {wrap_calloc, wrap_realloc, wrap_arena, wrap_dup};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int out[2];
        assert_int_equal(pipe(out), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            dup2(out[1], STDERR_FILENO);
            cases[i]();
            _exit(0);
        }
        close(out[1]);
        char line[500] = {0};
        assert_true(read(out[0], line, sizeof line - 1) > 0);
        close(out[0]);
        assert_non_null(strstr(line, "out of memory"));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 75);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_pieces_are_zeroed_aligned_and_apart),
        cmocka_unit_test(test_arena_large_pieces),
        cmocka_unit_test(test_arena_copies),
        cmocka_unit_test(test_arena_long_lived_allocators),
        cmocka_unit_test(test_arena_no_memory_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
