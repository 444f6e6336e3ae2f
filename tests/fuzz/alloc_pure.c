/* Every allocation of every decoder fails once: each corpus file goes through its fuzz target in a process of
 * its own for N = 1, 2, ... until nothing fails any more. A process either takes it (a decoder said no, or
 * did without) or ends with status 75 and a line; never by a signal. Runs from the root of the sources. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fuzz/alloc_fail.h"
#include "tests/fuzz/fuzz.h"

enum { TOO_MANY = 3000, INPUT_MAX = 4096, STATUS_OOM = 75, STATUS_NOTHING_FAILED = 3 };

static struct {
    long runs, ended, taken, failed;
} tally;

/* In the child. Its first run, with memory, is for what is set up once and stays. */
static _Noreturn void run_child(const struct fuzz_target *t, const char *bytes, size_t len, long nth)
{
    t->run(bytes, len);
    alloc_fail_begin(nth, false);
    t->run(bytes, len);
    _exit(alloc_fail_end() < nth ? STATUS_NOTHING_FAILED : 0);
}

static bool is_orderly(int status, off_t said)
{
    if (!WIFEXITED(status))
        return false;
    return WEXITSTATUS(status) == 0 || (WEXITSTATUS(status) == STATUS_OOM && said > 0);
}

/* True while there may be a further allocation to fail. */
static bool run_once(const struct fuzz_target *t, const char *path, const char *bytes, size_t len, long nth)
{
    int words = memfd_create("words", MFD_CLOEXEC), status;
    pid_t child = fork();
    if (child == 0) {
        dup2(words, STDERR_FILENO);
        run_child(t, bytes, len, nth);
    }
    if (words < 0 || child < 0 || waitpid(child, &status, 0) != child) {
        perror("alloc_pure");
        exit(1);
    }
    off_t said = lseek(words, 0, SEEK_END);
    close(words);
    if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_NOTHING_FAILED)
        return false;
    tally.runs++;
    if (!is_orderly(status, said)) {
        printf("  %s: %s: allocation %ld: %s %d%s\n", t->name, path, nth,
               WIFSIGNALED(status) ? "signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
               said > 0 ? "" : ", without a word");
        tally.failed++;
    } else if (WEXITSTATUS(status) == 0) {
        tally.taken++;
    } else {
        tally.ended++;
    }
    return nth < TOO_MANY;
}

static void run_file(const struct fuzz_target *t, const char *path)
{
    static char bytes[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    size_t len = f == NULL ? 0 : fread(bytes, 1, sizeof bytes, f);
    bool is_whole = f != NULL && feof(f);
    if (f != NULL)
        fclose(f);
    if (!is_whole) /* a large file has the same allocations as a small one */
        return;
    for (long nth = 1; run_once(t, path, bytes, len, nth); nth++)
        continue;
}

static void run_target(const struct fuzz_target *t)
{
    char path[512];
    for (const char *const *folder = t->corpora; *folder != NULL; folder++) {
        snprintf(path, sizeof path, "tests/corpus/%s", *folder);
        DIR *dir = opendir(path);
        if (dir == NULL) {
            perror(path);
            exit(1);
        }
        for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
            snprintf(path, sizeof path, "tests/corpus/%s/%s", *folder, d->d_name);
            if (d->d_name[0] != '.')
                run_file(t, path);
        }
        closedir(dir);
    }
}

/* Arguments: the targets to run; all when there are none. */
int main(int argc, char **argv)
{
    log_configure("alloc", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    setvbuf(stdout, NULL, _IONBF, 0);
    for (const struct fuzz_target *t = FUZZ_TARGETS; t->name != NULL; t++) {
        bool is_wanted = argc == 1;
        for (int i = 1; i < argc; i++)
            is_wanted |= strcmp(argv[i], t->name) == 0;
        if (!is_wanted)
            continue;
        long failed_before = tally.failed, runs_before = tally.runs;
        run_target(t);
        printf("%-8s %-14s %ld allocations failed\n", tally.failed > failed_before ? "FAILED" : "ok", t->name,
               tally.runs - runs_before);
    }
    printf("%ld taken, %ld ended with status 75\n%ld passed, %ld failed\n", tally.taken, tally.ended,
           tally.runs - tally.failed, tally.failed);
    return tally.failed > 0;
}
