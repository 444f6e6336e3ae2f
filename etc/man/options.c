/* Prints every configuration option as mdoc, out of the one table of options; agwb.cfg.5 is made with it, so
 * that the manual cannot say anything else than the programs. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "domain/config.h"

enum { LINE_WIDTH = 76 };

/* A word at the beginning of a line must not look like a request. */
static void print_word(const char *word, size_t len, bool begins_line)
{
    if (begins_line && (word[0] == '.' || word[0] == '\''))
        fputs("\\&", stdout);
    for (size_t i = 0; i < len; i++) {
        if (word[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(word[i]);
    }
}

/* Filled lines, each sentence on a new one. */
static void print_text(const char *text)
{
    size_t column = 0;
    bool sentence_ended = false;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column > 0 && (sentence_ended || column + 1 + len > LINE_WIDTH)) {
            putchar('\n');
            column = 0;
        } else if (column > 0) {
            putchar(' ');
            column++;
        }
        print_word(text, len, column == 0);
        column += len;
        sentence_ended = len > 0 && text[len - 1] == '.';
        text += len;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static bool is_quoted(const struct config_option_info *o)
{
    return strcmp(o->type, "string") == 0 || strcmp(o->type, "word") == 0 || strcmp(o->type, "list") == 0;
}

static const char *unit_of(const char *name)
{
    size_t len = strlen(name);
    if (len > 3 && strcmp(name + len - 3, "_ms") == 0)
        return " ms";
    return len > 2 && strcmp(name + len - 2, "_s") == 0 ? " s" : "";
}

static void print_option(const struct config_option_info *o)
{
    char facts[1024];
    const char *quote = is_quoted(o) ? "\"" : "";
    printf(".It Va %s\n", o->name);
    print_text(o->help);
    snprintf(facts, sizeof facts, "(%s: %s%s; default %s%s%s%s%s)", o->type, o->range, unit_of(o->name),
             quote, o->default_text, quote, o->reloadable ? "; reload" : "", o->secret ? "; secret" : "");
    print_text(facts);
}

int main(void)
{
    const char *group = "";
    size_t group_len = 0;
    for (size_t i = 0; i < config_option_count(); i++) {
        struct config_option_info o = config_option_at(i);
        size_t len = strcspn(o.name, ".");
        if (len != group_len || strncmp(o.name, group, len) != 0) {
            printf("%s.Ss %.*s\n.Bl -tag -width Ds\n", i > 0 ? ".El\n" : "", (int)len, o.name);
            group = o.name;
            group_len = len;
        }
        print_option(&o);
    }
    puts(".El");
    return fflush(stdout) == 0 ? 0 : 1;
}
