/* The table of targets, and what they share. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define CORPORA(...) ((const char *const[]){__VA_ARGS__, NULL})

const struct fuzz_target FUZZ_TARGETS[] = {
    {"json", fuzz_json, CORPORA("bytes/valid", "bytes/invalid")},
    {"reply", fuzz_reply, CORPORA("reply/valid", "reply/invalid")},
    {"request", fuzz_request, CORPORA("request/valid", "request/invalid")},
    {"write_request", fuzz_write_request, CORPORA("write_request")},
    {"answer", fuzz_answer, CORPORA("answer")},
    {"http", fuzz_http, CORPORA("http")},
    {"config", fuzz_config, CORPORA("config")},
    {"amqp", fuzz_amqp, CORPORA("amqp")},
    {"text", fuzz_text, CORPORA("text")},
    {"cli", fuzz_cli, CORPORA("cli")},
    {"webhook", fuzz_webhook,
     CORPORA("webhook/whatsapp_cloud", "webhook/wasender", "webhook/evolution", "webhook/waha",
             "webhook/twilio", "webhook/instagram", "webhook/generic", "webhook/rows")},
    {"content", fuzz_content, CORPORA("content")},
    {NULL, NULL, NULL},
};

const struct fuzz_target *fuzz_find(const char *name)
{
    for (const struct fuzz_target *t = FUZZ_TARGETS; t->name != NULL; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

void fuzz_require(bool holds, const char *sentence)
{
    if (holds)
        return;
    fprintf(stderr, "broken promise: %s\n", sentence);
    abort();
}

char *fuzz_next(struct fuzz_strings *s)
{
    if (s->left == 0)
        return NULL;
    size_t len = strnlen(s->at, s->left);
    char *copy = arena_dup(s->arena, s->at, len);
    size_t used = len < s->left ? len + 1 : len;
    s->at += used;
    s->left -= used;
    return copy;
}

const struct channel_provider *const *fuzz_providers(void)
{
    enum { MAX_PROVIDERS = 32, NAMES_MAX = 1024 };
    static const struct channel_provider *found[MAX_PROVIDERS + 1];
    struct buf names;
    char *rest, *name;

    if (found[0] != NULL)
        return found;
    buf_init(&names, NAMES_MAX);
    channel_list(&names);
    rest = xstrdup(buf_str(&names));
    buf_fini(&names);
    char *all = rest;
    for (size_t n = 0; n < MAX_PROVIDERS && (name = strsep(&rest, ",")) != NULL;)
        found[n++] = channel_find(name + strspn(name, " "));
    free(all);
    fuzz_require(found[0] != NULL, "there are providers");
    return found;
}

void fuzz_check_verdict(const struct channel_verdict *v)
{
    fuzz_require((unsigned)v->outcome < OUTCOME_COUNT, "a verdict has one of the outcomes");
    fuzz_require(v->retry_after_ms >= -1, "a wait is not negative");
    fuzz_require(strnlen(v->provider_id, sizeof v->provider_id) < sizeof v->provider_id &&
                     strnlen(v->provider_code, sizeof v->provider_code) < sizeof v->provider_code &&
                     strnlen(v->detail, sizeof v->detail) < sizeof v->detail,
                 "a verdict's texts are terminated");
    /* PostgreSQL refuses anything else, and with it the whole batch of settlements. */
    fuzz_require(is_utf8(v->provider_id, strlen(v->provider_id)) && is_utf8(v->detail, strlen(v->detail)) &&
                     is_utf8(v->provider_code, strlen(v->provider_code)),
                 "a verdict's texts are UTF-8");
    for (const char *p = v->detail; *p != '\0'; p++)
        fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f, "a detail has no control characters");
}
