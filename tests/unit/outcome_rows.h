/* The providers' error tables as cases, tests/corpus/outcomes: PROVIDER.tsv, what an answer means and what is
 * done about it; PROVIDER.receipts.tsv, the same for a failure that is told later; transport.tsv, for no
 * answer. A line that begins with '#' says where the facts are from. A case is a line with these columns,
 * separated by tabs:
 *
 *   http      the status, and behind a blank a header of the answer; of receipts the provider's words; of
 *             transport how it comes about
 *   body      the answer's body; of receipts the code; of transport libcurl's number
 *   code      as it is recorded: the provider's own code, else the status
 *   outcome   DELIVERED, ...
 *   wait_s    what the verdict wants to wait at least; '-' = it leaves that to the ladder or the circuit
 *   block     unreachable, window, opted-out: what the account's chain `next` is asked with
 *   remarks   works: the failure says nothing against the account; operator: worth an alert
 *   tries     in all; 0 = as the ladder has
 *   first     disposition of the first try
 *   last      disposition of the last try; hold has none, since it uses up no try
 *
 * '-' stands for nothing. */
#ifndef AGWB_TESTS_OUTCOME_ROWS_H
#define AGWB_TESTS_OUTCOME_ROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consumer/channels/channel.h"

enum { OUTCOME_ROWS_MAX = 160, OUTCOME_COLUMNS = 10 };

struct outcome_row {
    int line;
    const char *http, *body, *code; /* "" for '-' */
    enum outcome outcome;
    int64_t wait_ms; /* -1 = none */
    enum channel_block block;
    bool account_works, needs_operator;
    int tries;
    const char *first, *last;
};

struct outcome_rows { /* some 40 KB: static */
    char text[65536];
    struct outcome_row rows[OUTCOME_ROWS_MAX];
    size_t count;
};

/* As what a receipt's failure is recorded: one that an attempt would be held for counts, since the message
 * was sent already. */
static inline enum outcome outcome_of_receipt(enum outcome o)
{
    return o == OUTCOME_THROTTLED || o == OUTCOME_AUTH ? OUTCOME_TEMPFAIL : o;
}

/* The index of a word; the test fails when it is none of them. */
static inline int outcome_row_word(const char *file, int line, const char *word, const char *const *words)
{
    int i = 0;

    while (words[i] && strcmp(words[i], word) != 0)
        i++;
    if (!words[i])
        fail_msg("%s:%d: unknown word %s", file, line, word);
    return i;
}

static inline const char *outcome_row_text(const char *column)
{
    return strcmp(column, "-") == 0 ? "" : column;
}

static inline struct outcome_row outcome_row_parse(const char *file, int line, char *text)
{
    static const char *const OUTCOMES[] = {"DELIVERED", "TEMPFAIL", "THROTTLED", "PERMFAIL",
                                           "UNCERTAIN", "AUTH",     NULL};
    static const char *const BLOCKS[] = {"-", "unreachable", "window", "opted-out", NULL};
    static const char *const REMARKS[] = {"-", "works", "operator", "works,operator", NULL};
    const char *columns[OUTCOME_COLUMNS];
    int remarks;

    for (int i = 0; i < OUTCOME_COLUMNS; i++) {
        columns[i] = strsep(&text, "\t");
        if (!columns[i] || !columns[i][0])
            fail_msg("%s:%d: expected %d columns", file, line, OUTCOME_COLUMNS);
    }
    if (text)
        fail_msg("%s:%d: more than %d columns", file, line, OUTCOME_COLUMNS);
    remarks = outcome_row_word(file, line, columns[6], REMARKS);
    return (struct outcome_row){
        .line = line,
        .http = outcome_row_text(columns[0]),
        .body = outcome_row_text(columns[1]),
        .code = columns[2],
        .outcome = (enum outcome)outcome_row_word(file, line, columns[3], OUTCOMES),
        .wait_ms = strcmp(columns[4], "-") == 0 ? -1 : strtoll(columns[4], NULL, 10) * 1000,
        .block = (enum channel_block)outcome_row_word(file, line, columns[5], BLOCKS),
        .account_works = remarks & 1,
        .needs_operator = remarks & 2,
        .tries = (int)strtol(columns[7], NULL, 10),
        .first = columns[8],
        .last = columns[9],
    };
}

/* All cases of tests/corpus/outcomes/NAME.tsv; the test fails when there is none. */
static inline void outcome_rows_read(const char *name, struct outcome_rows *r)
{
    char path[128], *at = r->text, *line;
    FILE *f;
    size_t len;

    snprintf(path, sizeof path, "tests/corpus/outcomes/%s.tsv", name);
    f = fopen(path, "re");
    if (!f)
        fail_msg("%s cannot be read", path);
    len = fread(r->text, 1, sizeof r->text - 1, f);
    fclose(f);
    r->text[len] = '\0';
    r->count = 0;
    for (int number = 1; (line = strsep(&at, "\n")); number++) {
        if (!line[0] || line[0] == '#')
            continue;
        assert_true(r->count < OUTCOME_ROWS_MAX);
        r->rows[r->count++] = outcome_row_parse(path, number, line);
    }
    assert_true(r->count > 0);
}

#endif
