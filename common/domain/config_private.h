/* What the files of the config module share: the shape of a table row, the loader's state, and the steps of a
 * load. Nobody else includes this. */
#ifndef AGWB_DOMAIN_CONFIG_PRIVATE_H
#define AGWB_DOMAIN_CONFIG_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "domain/config.h"

enum config_type { CONFIG_STRING = 0, CONFIG_INT, CONFIG_BOOL, CONFIG_REAL, CONFIG_WORD, CONFIG_STRINGS };

enum { CONFIG_NAME_SIZE = 96, CONFIG_EXPECTED_SIZE = 160, CONFIG_MAX_TABLE = 128, CONFIG_MAX_SECRET = 8192 };

struct config_option {
    const char *name; /* "limits.contact_per_minute"; in the table of accounts "base_url" */
    enum config_type type;
    size_t offset, size;  /* of the value in struct config or struct config_account */
    size_t count_offset;  /* STRINGS: of its size_t count */
    const char *fallback; /* the default as one would write it in the environment; NULL = none */
    int64_t min, max; /* INT, REAL: of the value; STRING: of its length in bytes; STRINGS: of their number */
    const char *const
        *words; /* WORD: in the order of the enum's values, NULL-terminated; min is the first one's value */
    bool reloadable, secret;
    bool multiline; /* STRING: may hold tabs and newlines */
    const char *help;
};

/* Helpers for rows of a table over `struct owner`. */
#define CONFIG_AT(owner, member) .offset = offsetof(owner, member), .size = sizeof(((owner *)NULL)->member)

/* In the order of the sample file; ends with a row without name. */
extern const struct config_option config_options[];
extern const struct config_option config_account_options[];

/* The row called `name` (len bytes of it), or NULL. */
const struct config_option *config_find(const struct config_option *table, const char *name, size_t len);
/* Is this the name of a group of options: a prefix of some row's name up to a dot? */
bool config_is_group(const char *name);
/* "an integer 1..1000", "one of park, resend", ...: what a fault says was expected. */
void config_expected(const struct config_option *o, char out[CONFIG_EXPECTED_SIZE]);
/* "AGWB_LIMITS_CONTACT_PER_MINUTE" from prefix "AGWB" and the name; what is no letter or digit becomes '_'.
 */
void config_environment_name(const char *prefix, const char *name, char out[CONFIG_NAME_SIZE]);

/* The nearest of the names offered, for "did you mean". */
struct config_suggestion {
    const char *word;
    char best[CONFIG_NAME_SIZE]; /* "" when nothing offered is near */
    size_t distance;
};
void config_suggest_begin(struct config_suggestion *s, const char *word);
void config_suggest_offer(struct config_suggestion *s, const char *candidate);

/* A config and the memory of its strings. Every struct config from config_load is the first member of one. */
struct config_store {
    struct config config;
    struct arena *arena;
};

struct config_loader {
    const struct config_source *source;
    struct config_store *store;
    const char *where[CONFIG_MAX_TABLE]; /* of each option: where its value came from, for cross checks */
    const char *account_where[CONFIG_MAX_ACCOUNTS]; /* FILE:LINE of each account */
    bool *environment_used;                         /* one for each variable of the source */
    bool file_has_secret;
    struct err *err;
};

/* Where a value goes, and how a fault calls it. */
struct config_slot {
    const struct config_option *option;
    void *base;        /* the struct config or config_account that the option's offset counts from */
    const char *where; /* "agwb.cfg:12", "environment NAME", "--set" */
    const char *name;  /* "limits.window_ms", "channels.accounts[0].base_url" */
};

/* Each checks type and range, stores, and returns 0; or -1 with the loader's err filled. The loader's arena
 * takes a copy of strings. */
int config_put_text(struct config_loader *l, const struct config_slot *s, const char *text) MUST_CHECK;
int config_put_string(struct config_loader *l, const struct config_slot *s, const char *text) MUST_CHECK;
int config_put_int(struct config_loader *l, const struct config_slot *s, int64_t value) MUST_CHECK;
int config_put_real(struct config_loader *l, const struct config_slot *s, double value) MUST_CHECK;
int config_put_bool(struct config_loader *l, const struct config_slot *s, bool value) MUST_CHECK;
int config_put_strings(struct config_loader *l, const struct config_slot *s, const char *const *items,
                       size_t count) MUST_CHECK;
/* The option's default, where it has one. */
int config_put_fallback(struct config_loader *l, const struct config_option *o, void *base) MUST_CHECK;
/* The content of a secret file, without its final newline. */
int config_put_secret_file(struct config_loader *l, const struct config_slot *s, const char *path) MUST_CHECK;

/* Remembers a file that secrets were read from. */
void config_note_secret_file(struct config_loader *l, const char *path, bool is_exposed);

/* The fault "WHERE: NAME: expected ..., found ...": -1. `found` is left out for secrets. */
int config_fault(struct config_loader *l, const struct config_slot *s, const char *found);
/* Digits with an optional minus, nothing else. */
bool config_parse_int(const char *text, int64_t *value);

/* Text that dies with the config. */
const char *config_text(struct config_loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

bool config_is_equal(const struct config_option *o, const void *base_a, const void *base_b);
/* Overwrites a secret's bytes; the string itself stays allocated. */
void config_wipe(const struct config_option *o, void *base);
/* The value in file syntax. */
void config_print_value(const struct config_option *o, const void *base, struct buf *out);
/* A string in quotes, as libconfig reads it. */
void config_print_string(const char *text, struct buf *out);

/* The steps of a load, in the order of rising precedence. */
int config_read_defaults(struct config_loader *l) MUST_CHECK;
int config_read_libconfig(struct config_loader *l) MUST_CHECK;   /* config_file.c */
int config_read_credentials(struct config_loader *l) MUST_CHECK; /* config_environment.c */
int config_read_environment(struct config_loader *l) MUST_CHECK;
int config_read_sets(struct config_loader *l) MUST_CHECK;
int config_check(struct config_loader *l) MUST_CHECK; /* config_check.c: what concerns more than one option */

/* --- accounts (config_account.c) --- */
/* The next free account with its defaults, or NULL and err. */
struct config_account *config_account_add(struct config_loader *l, const char *where);
/* Sets or adds one of the account's free options. */
int config_account_put_option(struct config_loader *l, struct config_account *a, const char *key,
                              const char *value) MUST_CHECK;
/* "AGWB_ACCOUNT_MAIN": what the variables of this account begin with. */
void config_account_prefix(const struct config_account *a, char out[CONFIG_NAME_SIZE]);
int config_account_check(struct config_loader *l,
                         size_t index) MUST_CHECK; /* the account alone, right after the file was read */
int config_accounts_check(struct config_loader *l) MUST_CHECK; /* all of them, at the end */
bool config_accounts_are_equal(const struct config *a, const struct config *b);
void config_accounts_print(const struct config *c, struct buf *out);

#endif
