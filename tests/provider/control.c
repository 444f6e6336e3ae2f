/* The control paths. */
#include "tests/provider/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char PREFIX[] = "/_control/";

bool control_owns(const char *path)
{
    return strncmp(path, PREFIX, sizeof PREFIX - 1) == 0;
}

static void refuse(struct provider_answer *a, int status, const char *reason)
{
    a->status = status;
    buf_add_str(&a->body, "{\"error\":");
    buf_add_json_str(&a->body, reason, strlen(reason));
    buf_add_char(&a->body, '}');
}

/* --- POST script --- */

static void set_script(struct control *c, const struct provider_request *q, struct provider_answer *a)
{
    struct err e = {0};
    struct script *s = script_parse(q->body, q->body_len, &e);

    if (s == NULL) {
        refuse(a, 400, e.text);
        return;
    }
    script_free(&c->script);
    c->script = s;
    buf_add_str(&a->body, "{\"rules\":");
    script_write_state(s, &a->body);
    buf_add_char(&a->body, '}');
}

/* --- POST reset --- */

static void reset(struct control *c, struct provider_answer *a)
{
    struct stats old = c->stats;

    c->stats = (struct stats){
        .connections = old.connections, .connections_open = old.connections_open, .in_flight = old.in_flight};
    script_free(&c->script);
    c->release = true;
    buf_printf(&a->body, "{\"seq\":%" PRIu64 "}", journal_last(c->journal));
}

/* --- GET stats --- */

static void write_statuses(const struct stats *s, struct buf *out)
{
    const char *comma = "";

    for (size_t i = 0; i < sizeof s->by_status / sizeof s->by_status[0]; i++) {
        if (s->by_status[i] == 0)
            continue;
        buf_printf(out, "%s\"%zu\":%" PRIu64, comma, i, s->by_status[i]);
        comma = ",";
    }
}

static void write_faults(const struct stats *s, struct buf *out)
{
    const char *comma = "";

    for (int f = FAULT_NONE + 1; f < FAULT_COUNT; f++) {
        if (s->by_fault[f] == 0)
            continue;
        buf_printf(out, "%s\"%s\":%" PRIu64, comma, fault_name((enum fault)f), s->by_fault[f]);
        comma = ",";
    }
}

static void write_stats(const struct control *c, struct buf *out)
{
    const struct stats *s = &c->stats;

    buf_printf(out, "{\"seq\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"accepted\":%" PRIu64,
               journal_last(c->journal), s->requests, s->accepted);
    buf_printf(out, ",\"connections\":%" PRIu64 ",\"connections_open\":%" PRIu64, s->connections,
               s->connections_open);
    buf_printf(out, ",\"in_flight\":%" PRIu64 ",\"max_in_flight\":%" PRIu64, s->in_flight, s->max_in_flight);
    buf_add_str(out, ",\"by_status\":{");
    write_statuses(s, out);
    buf_add_str(out, "},\"by_fault\":{");
    write_faults(s, out);
    buf_add_str(out, "},\"rules\":");
    script_write_state(c->script, out);
    buf_add_char(out, '}');
}

/* --- GET journal --- */

static bool parse_number(const char *text, uint64_t absent, uint64_t *value)
{
    char *end = NULL;

    *value = absent;
    if (text == NULL)
        return true;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0';
}

static void list_journal(struct control *c, const char *after, const char *limit, struct provider_answer *a)
{
    uint64_t first, count;

    if (parse_number(after, 0, &first) && parse_number(limit, UINT64_MAX, &count))
        journal_list(c->journal, first, count, &a->body);
    else
        refuse(a, 400, "after and limit are numbers");
}

void control_answer(struct control *c, const struct provider_request *q, const char *after, const char *limit,
                    struct provider_answer *a)
{
    const char *name = q->path + sizeof PREFIX - 1;
    bool is_post = strcmp(q->method, "POST") == 0, is_get = strcmp(q->method, "GET") == 0;

    a->status = 200;
    if (is_post && strcmp(name, "script") == 0)
        set_script(c, q, a);
    else if (is_post && strcmp(name, "reset") == 0)
        reset(c, a);
    else if (is_get && strcmp(name, "stats") == 0)
        write_stats(c, &a->body);
    else if (is_get && strcmp(name, "journal") == 0)
        list_journal(c, after, limit, a);
    else
        refuse(a, 404, "control paths: POST script, POST reset, GET stats, GET journal");
}
