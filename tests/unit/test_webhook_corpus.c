/* Every provider's payloads and what they say: tests/corpus/webhook/PROVIDER/FILE against the lines that
 * tests/corpus/webhook/expected.txt has for it. A file without an entry, an entry without a file and a line
 * that differs are failures. Runs from the root of the sources, or with CORPUS naming the folder. With
 * PRINT=1 it prints what it finds as entries. */
#include "tests/unit/webhook_rig.h"

#include <dirent.h>

#include "domain/config.h"

#define FOLDER "webhook"

enum { PATH_SIZE = 512, ENTRIES_MAX = 400 };

static const struct config nothing;

static const char *corpus_path(const char *file)
{
    static char path[PATH_SIZE];
    const char *root = getenv("CORPUS");

    (void)snprintf(path, sizeof path, "%s/" FOLDER "/%s", root == NULL ? "tests/corpus" : root, file);
    return path;
}

static char *read_whole(const char *file, size_t *len)
{
    FILE *f = fopen(corpus_path(file), "rb");
    char *bytes;

    if (f == NULL)
        fail_msg("cannot open %s", corpus_path(file));
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *len = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*len + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    bytes[*len] = '\0';
    fclose(f);
    return bytes;
}

static const char *parse_file(const char *file)
{
    char provider[64];
    const struct webhook_provider *p;
    size_t len;
    char *body = read_whole(file, &len);
    const char *lines;

    (void)snprintf(provider, sizeof provider, "%.*s", (int)strcspn(file, "/"), file);
    p = webhook_find(&nothing, provider, NULL, NULL);
    if (p == NULL)
        fail_msg("%s: no such provider", provider);
    lines = rig_parse_bytes(p, body, len);
    free(body);
    return lines;
}

/* --- the expected lines --- */

struct entry {
    char file[128];
    char *lines; /* without their indentation */
    int was_seen;
};
static struct entry entries[ENTRIES_MAX];
static size_t entry_count;

static struct entry *find_entry(const char *file)
{
    for (size_t i = 0; i < entry_count; i++) {
        if (strcmp(entries[i].file, file) == 0)
            return &entries[i];
    }
    return NULL;
}

static void add_line(struct entry *e, const char *line, size_t len)
{
    size_t old = e->lines == NULL ? 0 : strlen(e->lines);

    e->lines = realloc(e->lines, old + len + 2);
    assert_non_null(e->lines);
    memcpy(e->lines + old, line, len);
    memcpy(e->lines + old + len, "\n", 2);
}

static int read_entries(void **state)
{
    size_t len;
    char *text = read_whole("expected.txt", &len);

    (void)state;
    for (char *line = text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end);
        if (line == end || *line == '#')
            continue;
        if (*line == ' ') {
            assert_true(entry_count > 0);
            add_line(&entries[entry_count - 1], line + 4, (size_t)(end - line) - 4);
            continue;
        }
        assert_true(entry_count < ENTRIES_MAX);
        (void)snprintf(entries[entry_count].file, sizeof entries[0].file, "%.*s", (int)(end - line), line);
        entry_count++;
    }
    free(text);
    return 0;
}

static int free_entries(void **state)
{
    (void)state;
    for (size_t i = 0; i < entry_count; i++)
        free(entries[i].lines);
    return 0;
}

/* --- the files --- */

static size_t check_file(const char *file)
{
    const char *lines = parse_file(file);
    struct entry *e = find_entry(file);

    if (getenv("PRINT") != NULL) {
        printf("%s\n", file);
        for (const char *line = lines; *line != '\0'; line += strcspn(line, "\n") + 1)
            printf("    %.*s\n", (int)strcspn(line, "\n"), line);
    }
    if (e == NULL) {
        print_error("%s: not in expected.txt\n", file);
        return 1;
    }
    e->was_seen = 1;
    if (e->lines != NULL && strcmp(lines, e->lines) == 0)
        return 0;
    print_error("%s gives:\n%s\nexpected:\n%s\n", file, lines, e->lines == NULL ? "" : e->lines);
    return 1;
}

static size_t check_folder(const char *folder)
{
    DIR *dir = opendir(corpus_path(folder));
    size_t faults = 0;

    if (dir == NULL)
        fail_msg("cannot open %s", corpus_path(folder));
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        char file[PATH_SIZE];
        if (d->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", folder, d->d_name);
        faults += check_file(file);
    }
    closedir(dir);
    return faults;
}

static void test_webhook_corpus_files(void **state)
{
    static const char *const folders[] = {"whatsapp_cloud", "wasender",  "evolution", "waha",
                                          "twilio",         "instagram", "generic"};
    size_t faults = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(folders); i++)
        faults += check_folder(folders[i]);
    for (size_t i = 0; i < entry_count; i++) {
        if (entries[i].was_seen)
            continue;
        print_error("%s: no such file\n", entries[i].file);
        faults++;
    }
    assert_int_equal(faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_webhook_corpus_files),
    };
    return cmocka_run_group_tests_name("webhook corpus", tests, read_entries, free_entries);
}
