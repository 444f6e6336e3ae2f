/* What the providers report afterwards of the messages they took: a process that follows the stand-in's
 * journal. In order, in disorder, twice, the beginning only, or nothing at all; it is often quicker than the
 * daemon's own commit. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "faults.h"
#include "tests/hooks/payload.h"

enum { PAUSE_MS = 10, LINES_AT_ONCE = 50, NEWS_MAX = LINES_AT_ONCE * 6, BODY_MAX = 1 << 16 };

struct report {
    struct db_params params;
    size_t count;
    struct one {
        int64_t seq;
        enum hook_status status;
        const char *provider;
        char id[128], row[UUID_TEXT_LEN + 1];
        struct buf body;
    } news[NEWS_MAX];
};

/* What comes of a message, ends with -1. */
static const int IN_ORDER[] = {HOOK_SENT, HOOK_DELIVERED, HOOK_READ, -1};
static const int IN_DISORDER[] = {HOOK_READ, HOOK_DELIVERED, HOOK_READ, HOOK_SENT, HOOK_DELIVERED, -1};
static const int ONLY_SENT[] = {HOOK_SENT, HOOK_SENT, -1};
static const int NOT_READ[] = {HOOK_DELIVERED, HOOK_SENT, -1};
static const int NOTHING[] = {-1};
static const int LATE_FAILURE[] = {HOOK_SENT, HOOK_FAILED, HOOK_FAILED, -1};
static const int *const PLANS[] = {IN_ORDER, IN_ORDER, IN_DISORDER, ONLY_SENT, NOT_READ, NOTHING};

/* The question that a text answers: "Re: n12", "n12.2"; -1 for one that answers none. */
static int64_t question_of(const char *text)
{
    for (const char *at = strchr(text, 'n'); at != NULL; at = strchr(at + 1, 'n')) {
        if ((at == text || at[-1] == ' ') && at[1] >= '0' && at[1] <= '9')
            return strtoll(at + 1, NULL, 10);
    }
    return -1;
}

/* Of the parts of an answer that fails late the first one does, and some of the others. */
static const int *plan_of(const struct hook_provider *p, const char *text, int64_t seq, int64_t *code)
{
    bool is_cloud = strcmp(p->journal, "cloud") == 0, is_sms = strcmp(p->journal, "twilio") == 0;
    int64_t n = question_of(text);
    bool is_late = strstr(text, "(late)") != NULL || (n >= 0 && n / 4 % 5 == 2 && seq % 2 == 0);

    *code = is_cloud ? 131026 : 30005;
    if ((is_cloud && is_late) || (is_sms && strstr(text, "(never)") != NULL))
        return LATE_FAILURE;
    return PLANS[seq % (int64_t)(sizeof PLANS / sizeof PLANS[0])];
}

static const char *string_of(const struct json_node *entry, const char *path)
{
    const char *text = json_str(json_path(entry, path));
    return text != NULL ? text : "";
}

static void add_news(struct report *r, const struct hook_provider *p, const struct hook_news *news,
                     int64_t seq)
{
    static int64_t copies; /* of this run: a row of its own each time */
    struct one *one = &r->news[r->count];

    one->seq = seq;
    one->status = news->status;
    one->provider = p->name;
    snprintf(one->id, sizeof one->id, "%s", news->id);
    snprintf(one->row, sizeof one->row, "00000000-0000-4000-d000-%012" PRIx64, (uint64_t)++copies);
    buf_init(&one->body, BODY_MAX);
    if (p->write_news(news, &one->body))
        r->count++;
    else
        buf_fini(&one->body);
}

static void read_line(struct report *r, const struct json_node *entry)
{
    const struct hook_provider *p = hook_of_journal(json_str(json_member(entry, "provider")));
    struct hook_news news = {.id = string_of(entry, "id"),
                             .our_id = string_of(entry, "body.biz_opaque_callback_data"),
                             .to = string_of(entry, "to"),
                             .text = string_of(entry, "text"),
                             .at_ms = clock_wall_ms()};
    int64_t seq = 0;

    if (p == NULL || *news.id == '\0' || !json_true(json_member(entry, "accepted")))
        return;
    json_int(json_member(entry, "seq"), &seq);
    for (const int *s = plan_of(p, news.text, seq, &news.code); *s >= 0; s++) {
        news.status = (enum hook_status) * s;
        add_news(r, p, &news, seq);
    }
}

#define ADD_TEXTS(p, type, r, value)                                                                         \
    do {                                                                                                     \
        db_array_begin((p), (type));                                                                         \
        for (size_t i_ = 0; i_ < (r)->count; i_++) {                                                         \
            struct one *one = &(r)->news[i_];                                                                \
            const char *text_ = (value);                                                                     \
            db_item_text((p), text_, strlen(text_));                                                         \
        }                                                                                                    \
        db_array_end(p);                                                                                     \
    } while (0)

static bool post(struct report *r, struct db_session **s, const char *url, int64_t position)
{
    struct db_params *p = &r->params;

    db_params_clear(p);
    db_param_int8(p, position);
    ADD_TEXTS(p, DB_UUID, r, one->row);
    ADD_TEXTS(p, DB_TEXT, r, one->provider);
    ADD_TEXTS(p, DB_TEXT, r, buf_str(&one->body));
    db_array_begin(p, DB_INT8);
    for (size_t i = 0; i < r->count; i++)
        db_item_int8(p, r->news[i].seq);
    db_array_end(p);
    ADD_TEXTS(p, DB_TEXT, r, one->provider);
    ADD_TEXTS(p, DB_TEXT, r, one->id);
    ADD_TEXTS(p, DB_TEXT, r, hook_status_name(one->status));
    bool done = commit_for_certain(s, url, "select faults.report($1, $2, $3, $4, $5, $6, $7, $8)", p);
    for (size_t i = 0; i < r->count; i++)
        buf_fini(&r->news[i].body);
    r->count = 0;
    return done;
}

/* Where the next line begins; a line that has no end yet is read again. */
static int64_t read_lines(struct report *r, FILE *f, int64_t position)
{
    static char line[1024 * 1024];
    struct err e;

    fseek(f, (long)position, SEEK_SET);
    for (int i = 0; i < LINES_AT_ONCE && fgets(line, sizeof line, f) != NULL; i++) {
        size_t len = strlen(line);
        if (line[len - 1] != '\n')
            break;
        struct json *doc = json_parse(line, len - 1, &e);
        if (doc == NULL) {
            fprintf(stderr, "the provider's journal: %s\n", e.text);
            _exit(1);
        }
        read_line(r, json_root(doc));
        json_free(&doc);
        position += (int64_t)len;
    }
    return position;
}

static void run(const struct world *w)
{
    static struct report r;
    struct db_session *s = NULL;
    int64_t position = 0;
    FILE *f = fopen(w->journal, "re");

    db_params_init(&r.params);
    while (f != NULL && !helper_is_stopped()) {
        int64_t next = read_lines(&r, f, position);
        if (next > position && !post(&r, &s, w->url, next))
            break;
        if (next == position)
            poll(NULL, 0, PAUSE_MS);
        position = next;
    }
    db_params_fini(&r.params);
    db_session_close(&s);
    if (f == NULL)
        _exit(1);
    fclose(f);
}

void world_report(struct world *w)
{
    struct process *p = &w->reporter;

    *p = (struct process){0};
    fflush(NULL);
    p->pid = fork();
    if (p->pid != 0)
        return;
    helper_begin();
    run(w);
    _exit(0);
}
