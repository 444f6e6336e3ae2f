/* An allocator that fails on demand, in front of the C library's: linked into a test program, or preloaded
 * into a daemon. ALLOC_FAIL_AT=N: the Nth allocation of main() and after fails; with ALLOC_FAIL_ALL=1 so do
 * all that follow. ALLOC_FAIL_REPORT names a file that gets, at exit, the number of allocations there were.
 *
 * Not counted are the constructors of libraries, which run before a program can say anything, and
 * libconfig 1.5, which does not look at what it is given: without memory for its configuration a program ends
 * by SIGSEGV. That is before it has touched anything, but for a reload. */
#include "tests/fuzz/alloc_fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <libconfig.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The C library's own, under the names that stay when malloc is replaced. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);

typedef int main_fn(int argc, char **argv, char **envp);
int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);

static atomic_bool counting;
static atomic_long made;
static long fail_at; /* 0 = never */
static bool fail_all;

void alloc_fail_begin(long nth, bool all_after)
{
    fail_at = nth;
    fail_all = all_after;
    atomic_store(&made, 0);
    atomic_store(&counting, true);
}

long alloc_fail_end(void)
{
    atomic_store(&counting, false);
    return atomic_load(&made);
}

static bool must_fail(void)
{
    if (!atomic_load(&counting))
        return false;
    long n = atomic_fetch_add(&made, 1) + 1;
    if (fail_at == 0 || (fail_all ? n < fail_at : n != fail_at))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return must_fail() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return must_fail() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *p, size_t bytes)
{
    return must_fail() ? NULL : __libc_realloc(p, bytes);
}

/* --- what is spared ------------------------------------------------------------------------------------ */

/* Those functions of libconfig that allocate, and the one of the C library that takes an empty answer for a
 * file's end and asserts that it is not (glibc 2.36, nss_database.c). */
void config_init(config_t *config)
{
    void (*next)(config_t *) = NULL;
    bool was_counting = atomic_exchange(&counting, false);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "config_init");
    next(config);
    atomic_store(&counting, was_counting);
}

void config_set_include_dir(config_t *config, const char *dir)
{
    void (*next)(config_t *, const char *) = NULL;
    bool was_counting = atomic_exchange(&counting, false);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "config_set_include_dir");
    next(config, dir);
    atomic_store(&counting, was_counting);
}

int config_read_string(config_t *config, const char *text)
{
    int (*next)(config_t *, const char *) = NULL;
    bool was_counting = atomic_exchange(&counting, false);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "config_read_string");
    int rc = next(config, text);
    atomic_store(&counting, was_counting);
    return rc;
}

struct passwd *getpwuid(uid_t uid)
{
    struct passwd *(*next)(uid_t) = NULL;
    bool was_counting = atomic_exchange(&counting, false);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "getpwuid");
    struct passwd *found = next(uid);
    atomic_store(&counting, was_counting);
    return found;
}

/* --- preloaded ----------------------------------------------------------------------------------------- */

#ifdef ALLOC_FAIL_PRELOAD
/* A destructor also runs after exit(), though not after _exit(). */
__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("ALLOC_FAIL_REPORT");
    char text[32];
    long count = alloc_fail_end();
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    int len = snprintf(text, sizeof text, "%ld\n", count);
    (void)!write(fd, text, (size_t)len);
    close(fd);
}

/* The first frame that is neither ours nor the C library's: who is to blame for a crash. */
static const char *culprit(void)
{
    enum { MAX_FRAMES = 64 };
    void *frames[MAX_FRAMES];
    int count = backtrace(frames, MAX_FRAMES);
    for (int i = 0; i < count; i++) {
        Dl_info from;
        if (dladdr(frames[i], &from) != 0 && strstr(from.dli_fname, "/libc.so") == NULL &&
            strstr(from.dli_fname, "/alloc_fail.so") == NULL)
            return from.dli_fname;
    }
    return "?";
}

static void on_crash(int signo)
{
    static const char words[] = "crashed in ";
    const char *name = culprit();
    (void)!write(STDERR_FILENO, words, sizeof words - 1);
    (void)!write(STDERR_FILENO, name, strlen(name));
    (void)!write(STDERR_FILENO, "\n", 1);
    raise(signo); /* SA_RESETHAND: ends it */
}

static void watch_for_crashes(void)
{
    const struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    void *frame;
    (void)backtrace(&frame, 1); /* its first call allocates */
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGABRT, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
}

static main_fn *real_main;

static int counted_main(int argc, char **argv, char **envp)
{
    const char *at = getenv("ALLOC_FAIL_AT"), *all = getenv("ALLOC_FAIL_ALL");
    watch_for_crashes();
    alloc_fail_begin(at == NULL ? 0 : strtol(at, NULL, 10), all != NULL);
    return real_main(argc, argv, envp);
}

int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    __typeof__(&__libc_start_main) next = NULL;
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = main;
    return next(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
#endif
