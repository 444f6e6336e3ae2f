/* libFuzzer's entry: one program for all targets, picked by AGWB_FUZZ_TARGET. Without it the program lists
 * the targets and their folders, for run.sh. In the environment, since libFuzzer starts itself again with its
 * own arguments when it minimizes a find. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets a string that a syntax error cut short: 64 bytes for each file that is refused. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

static const struct fuzz_target *target;

static void list_targets(void)
{
    for (const struct fuzz_target *t = FUZZ_TARGETS; t->name != NULL; t++) {
        printf("%s", t->name);
        for (const char *const *folder = t->corpora; *folder != NULL; folder++)
            printf(" %s", *folder);
        putchar('\n');
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("AGWB_FUZZ_TARGET");
    (void)argc, (void)argv;
    log_configure("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (name == NULL) {
        list_targets();
        exit(0);
    }
    target = fuzz_find(name);
    if (target == NULL) {
        fprintf(stderr, "there is no fuzz target %s\n", name);
        exit(64);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    target->run((const char *)bytes, len);
    return 0;
}
