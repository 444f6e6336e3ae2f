/* See follow.h. */
#include "tests/hooks/follow.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

enum { PAUSE_MS = 10, BODY_MAX = 4 << 20 };

struct follower {
    const struct follow_settings *settings;
    struct front *front;
    struct err *err;
};

static int post(struct follower *w, const struct hook_provider *p, struct hook_news *news,
                enum hook_status status)
{
    struct buf body;
    int rc = 0;

    buf_init(&body, BODY_MAX);
    news->status = status;
    news->at_ms = clock_wall_ms();
    if (p->write_news(news, &body))
        rc = front_store(w->front, p, &body, w->err);
    buf_fini(&body);
    return rc;
}

static int post_in_disorder(struct follower *w, const struct hook_provider *p, struct hook_news *news)
{
    for (int round = 0; round < 2; round++) {
        for (int s = (int)w->settings->up_to; s >= HOOK_SENT; s--) {
            if (post(w, p, news, (enum hook_status)s) != 0)
                return -1;
        }
    }
    return 0;
}

static int post_all(struct follower *w, const struct hook_provider *p, struct hook_news *news)
{
    const struct follow_settings *s = w->settings;

    for (size_t i = 0; i < s->rule_count; i++) {
        if (strstr(news->text, s->rules[i].text) == NULL)
            continue;
        news->code = s->rules[i].code;
        return news->code == 0 ? 0 : post(w, p, news, HOOK_SENT) == 0 ? post(w, p, news, HOOK_FAILED) : -1;
    }
    if (s->disorder)
        return post_in_disorder(w, p, news);
    for (int status = HOOK_SENT; status <= (int)s->up_to; status++) {
        if (post(w, p, news, (enum hook_status)status) != 0)
            return -1;
    }
    return 0;
}

static const char *string_of(const struct json_node *entry, const char *key)
{
    const char *text = json_str(json_path(entry, key));
    return text != NULL ? text : "";
}

static int on_entry(struct follower *w, const struct json_node *entry)
{
    const struct hook_provider *p = hook_of_journal(json_str(json_member(entry, "provider")));
    struct hook_news news = {.id = string_of(entry, "id"),
                             .our_id = string_of(entry, "body.biz_opaque_callback_data"),
                             .to = string_of(entry, "to"),
                             .text = string_of(entry, "text")};

    if (p == NULL || *news.id == '\0' || !json_true(json_member(entry, "accepted")))
        return 0;
    return post_all(w, p, &news);
}

static int on_line(struct follower *w, const char *line, size_t len)
{
    struct json *doc = json_parse(line, len, w->err);
    int rc = doc != NULL ? on_entry(w, json_root(doc)) : err_prefix(w->err, "the journal");

    json_free(&doc);
    return rc;
}

static bool is_stopped(int stop_fd, int timeout_ms)
{
    struct pollfd p = {.fd = stop_fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) > 0;
}

/* A line that has no end yet is read again. */
static int read_lines(struct follower *w, FILE *journal)
{
    char *line = NULL;
    size_t size = 0;
    long at = ftell(journal);
    ssize_t len;
    int rc = 0;

    while (rc == 0 && (len = getline(&line, &size, journal)) > 0 && line[len - 1] == '\n') {
        rc = on_line(w, line, (size_t)len);
        at = ftell(journal);
    }
    fseek(journal, at, SEEK_SET);
    clearerr(journal);
    free(line);
    return rc;
}

int follow(const struct follow_settings *s, struct front *f, int stop_fd, struct err *e)
{
    struct follower w = {.settings = s, .front = f, .err = e};
    FILE *journal = fopen(s->journal, "ae+"); /* it may not be there yet */
    int rc = 0;

    if (journal == NULL)
        return err_set(e, ERR_USAGE, 0, "journal %s cannot be read", s->journal);
    rewind(journal);
    while (rc == 0 && !is_stopped(stop_fd, PAUSE_MS))
        rc = read_lines(&w, journal);
    fclose(journal);
    return rc;
}
