/* The corpus (tests/corpus): every file gets the verdict its manifest names, and a refusal names the place.
 * The JSON Schemas are held to the same manifests by tests/schemas. Runs from the root of the sources, or
 * with CORPUS naming the folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <dirent.h>

#include "base/arena.h"
#include "base/json.h"
#include "domain/message.h"

typedef int check_fn(const char *bytes, size_t len, struct err *e);

struct entry {
    char file[128], verdict[16], path[128], fault[128];
};

static void path_of(char out[512], const char *kind, const char *file)
{
    const char *root = getenv("CORPUS");
    snprintf(out, 512, "%s/%s/%s", root == NULL ? "tests/corpus" : root, kind, file);
}

/* The file in memory of exactly its size, so that the sanitizers see a read beyond it. */
static char *read_file(const char *kind, const char *file, size_t *len)
{
    char path[512];
    path_of(path, kind, file);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *len = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*len > 0 ? *len : 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

static size_t count_files(const char *kind, const char *folder)
{
    char path[512];
    path_of(path, kind, folder);
    DIR *dir = opendir(path);
    if (dir == NULL)
        fail_msg("cannot open %s", path);
    size_t count = 0;
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir))
        count += d->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* True when the entry holds; else one line that says what does not. */
static bool check_entry(const char *kind, const struct entry *entry, check_fn *check)
{
    size_t len;
    char *bytes = read_file(kind, entry->file, &len);
    struct err e = {0};
    bool is_valid = check(bytes, len, &e) == 0;
    free(bytes);
    bool holds = is_valid == (strcmp(entry->verdict, "valid") == 0);
    if (!is_valid && holds)
        holds = e.class == ERR_DATA && strncmp(e.text, entry->path, strlen(entry->path)) == 0 &&
                strchr(": [.", e.text[strlen(entry->path)]) != NULL && strstr(e.text, entry->fault) != NULL;
    if (!holds)
        print_error("%s/%s: expected %s at %s, got %s\n", kind, entry->file, entry->verdict, entry->path,
                    is_valid ? "valid" : e.text);
    return holds;
}

static bool next_entry(FILE *manifest, struct entry *entry)
{
    char line[512];
    if (fgets(line, sizeof line, manifest) == NULL)
        return false;
    *entry = (struct entry){0};
    int fields = sscanf(line, "%127[^\t\n]\t%15[^\t\n]\t%127[^\t\n]\t%127[^\t\n]", entry->file,
                        entry->verdict, entry->path, entry->fault);
    assert_true(fields == 3 || fields == 4);
    if (strcmp(entry->fault, "-") == 0)
        entry->fault[0] = '\0';
    return true;
}

static void check_folder(const char *kind, check_fn *check, size_t least)
{
    char path[512];
    path_of(path, kind, "manifest.tsv");
    FILE *manifest = fopen(path, "r");
    if (manifest == NULL)
        fail_msg("cannot open %s", path);
    struct entry entry;
    size_t seen = 0, wrong = 0;
    assert_true(next_entry(manifest, &entry)); /* the head line */
    while (next_entry(manifest, &entry)) {
        seen++;
        wrong += !check_entry(kind, &entry, check);
    }
    fclose(manifest);
    assert_int_equal(wrong, 0);
    assert_true(seen >= least);
    assert_int_equal(seen, count_files(kind, "valid") + count_files(kind, "invalid"));
}

static int check_bytes(const char *bytes, size_t len, struct err *e)
{
    struct json *j = json_parse(bytes, len, e);
    if (j == NULL)
        return -1;
    json_free(&j);
    return 0;
}

static int check_reply(const char *bytes, size_t len, struct err *e)
{
    struct arena *a = arena_new();
    struct reply r;
    int rc = message_parse_reply(bytes, len, a, &r, e);
    arena_free(&a);
    return rc;
}

static void test_corpus_bytes(void **state)
{
    (void)state;
    check_folder("bytes", check_bytes, 100);
}

/* What is no JSON text is neither a reply nor a request, whoever asks. */
static int check_bytes_as_reply(const char *bytes, size_t len, struct err *e)
{
    struct err scan = {0};
    if (json_scan(bytes, len, &scan) == 0)
        return 0;
    assert_int_equal(message_check_request(bytes, len, e), -1);
    assert_string_equal(e->text, scan.text);
    int rc = check_reply(bytes, len, e);
    assert_string_equal(e->text, scan.text);
    return rc;
}

static void test_corpus_bytes_as_messages(void **state)
{
    (void)state;
    check_folder("bytes", check_bytes_as_reply, 100);
}

static void test_corpus_replies(void **state)
{
    (void)state;
    check_folder("reply", check_reply, 60);
}

static void test_corpus_requests(void **state)
{
    (void)state;
    check_folder("request", message_check_request, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_bytes),
        cmocka_unit_test(test_corpus_bytes_as_messages),
        cmocka_unit_test(test_corpus_replies),
        cmocka_unit_test(test_corpus_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
