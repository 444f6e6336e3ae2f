/* A configuration from its sources to one struct, and what can be done with one: reload, print, free. */
#include "domain/config_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The store whose first member this config is. */
static struct config_store *store_of(struct config *c)
{
    return (struct config_store *)(void *)c;
}

int config_read_defaults(struct config_loader *l)
{
    for (const struct config_option *o = config_options; o->name; o++) {
        if (config_put_fallback(l, o, &l->store->config) < 0)
            return -1;
    }
    return 0;
}

static bool *new_marks(struct arena *a, char *const *environment)
{
    size_t count = 0;
    while (environment && environment[count])
        count++;
    return arena_alloc(a, count + 1);
}

struct config *config_load(const struct config_source *s, struct err *e)
{
    struct err ignored;
    struct config_store *store = xcalloc(1, sizeof *store);
    struct config *c = &store->config;
    store->arena = arena_new();
    struct config_loader l = {.source = s, .store = store, .err = e ? e : &ignored};
    l.environment_used = new_marks(store->arena, s->environment);
    /* Each source writes over the ones before it. */
    if (config_read_defaults(&l) < 0 || config_read_libconfig(&l) < 0 || config_read_credentials(&l) < 0 ||
        config_read_environment(&l) < 0 || config_read_sets(&l) < 0 || config_check(&l) < 0)
        config_free(&c);
    return c;
}

void config_free(struct config **c)
{
    if (!*c)
        return;
    struct config_store *store = store_of(*c);
    for (const struct config_option *o = config_options; o->name; o++)
        config_wipe(o, *c);
    for (size_t i = 0; i < (*c)->channels.account_count; i++) {
        for (const struct config_option *o = config_account_options; o->name; o++)
            config_wipe(o, &(*c)->channels.accounts[i]);
    }
    arena_free(&store->arena);
    free(store);
    *c = NULL;
}

/* --- reload --- */
/* The new value in place of the old one. An old string stays in the arena: someone may still hold it. */
static void take_over(struct config *running, const struct config *fresh, const struct config_option *o)
{
    char *to = (char *)running + o->offset;
    const char *from = (const char *)fresh + o->offset;
    if (o->type == CONFIG_STRING)
        *(const char **)(void *)to =
            arena_strdup(store_of(running)->arena, *(const char *const *)(const void *)from);
    else
        memcpy(to, from, o->size);
}

static void list_name(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    (void)snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

void config_reload(struct config *running, const struct config *fresh, char *restart, size_t restart_size)
{
    restart[0] = '\0';
    for (const struct config_option *o = config_options; o->name; o++) {
        if (config_is_equal(o, running, fresh))
            continue;
        if (o->reloadable)
            take_over(running, fresh, o);
        else
            list_name(restart, restart_size, o->name);
    }
    if (!config_accounts_are_equal(running, fresh))
        list_name(restart, restart_size, "channels.accounts");
}

/* --- print --- */
/* Length of the group part of a name: 12 of "retry.webhook.tries". */
static size_t group_len(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : 0;
}

/* Closes the groups of `from` that `to` is not in, and opens those of `to` that `from` was not in. Groups are
 * at most two deep. */
static void print_change(const char *from, const char *to, struct buf *out)
{
    size_t from_len = group_len(from), to_len = group_len(to);
    size_t from_outer = strcspn(from, "."), to_outer = strcspn(to, ".");
    bool same_outer = from_outer == to_outer && memcmp(from, to, from_outer) == 0;
    if (from_len == to_len && memcmp(from, to, from_len) == 0)
        return;
    if (from_len > from_outer)
        buf_add_str(out, "  };\n");
    if (!same_outer && from_len > 0)
        buf_add_str(out, "};\n");
    if (!same_outer && to_len > 0)
        buf_printf(out, "%.*s:\n{\n", (int)to_outer, to);
    if (to_len > to_outer)
        buf_printf(out, "  %.*s:\n  {\n", (int)(to_len - to_outer - 1), to + to_outer + 1);
}

void config_print(const struct config *c, struct buf *out)
{
    const char *last = "";
    for (const struct config_option *o = config_options; o->name; o++) {
        print_change(last, o->name, out);
        buf_printf(out, "  %s%s = ", group_len(o->name) > strcspn(o->name, ".") ? "  " : "",
                   o->name + group_len(o->name) + 1);
        config_print_value(o, c, out);
        buf_add_str(out, ";\n");
        last = o->name;
    }
    print_change(last, "", out);
    config_accounts_print(c, out);
}
