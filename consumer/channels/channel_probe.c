/* A line a provider: what of a message's URL becomes the question. */
#include "consumer/channels/channel_probe.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "domain/contact.h"

static const struct question {
    const char *provider, *preset; /* preset: of whatsapp_qr, else NULL */
    const char *from, *to;         /* of the URL; "%" in `to`: the account's instance */
    const char *path, *good;
} QUESTIONS[] = {
    {"wasender", NULL, "/send-message", "/status", "status", "connected"},
    {"whatsapp_cloud", NULL, "/messages", "?fields=id", NULL, NULL},
    {"instagram", NULL, "/messages", "?fields=id", NULL, NULL},
    {"twilio", NULL, "/Messages.json", ".json", "status", "active"},
    {"whatsapp_qr", "evolution", "/message/sendText/", "/instance/connectionState/", "instance.state",
     "open"},
    {"whatsapp_qr", "waha", "/api/sendText", "/api/sessions/%", "status", "WORKING"},
};

static const struct question *question_of(const struct config_account *a)
{
    const char *preset = config_account_option(a, "preset", "evolution");

    for (size_t i = 0; i < sizeof QUESTIONS / sizeof QUESTIONS[0]; i++) {
        const struct question *q = &QUESTIONS[i];
        if (strcmp(q->provider, a->provider) == 0 && (!q->preset || strcmp(q->preset, preset) == 0))
            return q;
    }
    return NULL;
}

/* A message to nobody, which is never sent. */
static int build_message(const struct config_account *a, struct channel_request *r, struct err *e)
{
    static const char *const ADDRESSES[] = {[CHANNEL_EMAIL] = "nobody@example.com",
                                            [CHANNEL_INSTAGRAM] = "100000000000000",
                                            [CHANNEL_WEBSITE] = "visitor"};
    const char *address = a->channel < sizeof ADDRESSES / sizeof ADDRESSES[0] ? ADDRESSES[a->channel] : NULL;
    const struct channel_provider *provider = channel_find(a->provider);
    struct reply reply = {.text = "probe"};
    struct channel_part part = {.text = "probe"};
    struct channel_send send = {.account = a,
                                .reply = &reply,
                                .part = &part,
                                .address = address ? address : "+12025550100",
                                .message_id = "probe"};

    if (!provider || !provider->build)
        return err_set(e, ERR_DATA, 0, "there is no server to ask");
    return provider->build(&send, r, e);
}

/* True when `from` stood in the URL and `to` stands there now. */
static bool replace(struct buf *url, const struct question *q, const char *instance)
{
    struct buf fresh;
    const char *text = buf_str(url);
    const char *at = text ? strstr(text, q->from) : NULL;
    size_t head = strcspn(q->to, "%");

    if (!at)
        return false;
    buf_init(&fresh, CHANNEL_URL_MAX);
    buf_add(&fresh, text, (size_t)(at - text));
    buf_add(&fresh, q->to, head);
    if (q->to[head])
        channel_add_encoded(&fresh, instance);
    buf_add_str(&fresh, at + strlen(q->from));
    buf_clear(url);
    buf_add(url, fresh.data, fresh.len);
    buf_fini(&fresh);
    return true;
}

/* Only "scheme://host:port/" is left, and no credentials. */
static void keep_origin(struct channel_request *r)
{
    const char *text = buf_str(&r->url), *host = text ? strstr(text, "://") : NULL;
    size_t len = host ? (size_t)(host - text) + 3 + strcspn(host + 3, "/?#") : 0;

    r->url.len = len;
    buf_add_char(&r->url, '/');
    r->header_count = 0;
    r->user = r->password = NULL;
}

bool channel_has_server(const struct config_account *a)
{
    const struct channel_provider *provider = channel_find(a->provider);

    return provider && provider->build;
}

int channel_probe_build(const struct config_account *a, struct channel_probe *p, struct err *e)
{
    const struct question *q = question_of(a);

    *p = (struct channel_probe){0};
    channel_request_init(&p->request);
    if (build_message(a, &p->request, e) != 0)
        return -1;
    p->request.method = "GET";
    buf_clear(&p->request.body);
    p->is_question = q && replace(&p->request.url, q, config_account_option(a, "instance", "default"));
    if (p->is_question) {
        p->path = q->path;
        p->good = q->good;
    } else {
        keep_origin(&p->request);
    }
    return 0;
}

/* --- the answer --- */

/* How the account stands by its own words; NULL when the answer has none. */
static enum channel_health judge_state(const struct channel_probe *p, const struct http_result *r,
                                       char text[CHANNEL_HEALTH_SIZE])
{
    struct err ignored;
    struct json *json = p->path ? json_parse(r->body, r->body_len, &ignored) : NULL;
    const char *state = json ? json_str(json_path(json_root(json), p->path)) : NULL;
    bool is_bad = state && strcasecmp(state, p->good) != 0;

    if (state)
        snprintf(text, CHANNEL_HEALTH_SIZE, "answers: %.40s", state);
    else
        snprintf(text, CHANNEL_HEALTH_SIZE, "answers (HTTP %d)", r->status);
    json_free(&json);
    return is_bad ? CHANNEL_UNWELL : CHANNEL_HEALTHY;
}

enum channel_health channel_probe_judge(const struct channel_probe *p, const struct http_result *r,
                                        char text[CHANNEL_HEALTH_SIZE])
{
    if (r->fate != HTTP_ANSWERED) {
        snprintf(text, CHANNEL_HEALTH_SIZE, "%s: %.200s", http_fate_name(r->fate), r->text);
        return CHANNEL_UNREACHABLE;
    }
    if (!p->is_question) {
        snprintf(text, CHANNEL_HEALTH_SIZE,
                 "reachable; there is no harmless call to try its credentials with");
        return CHANNEL_HEALTHY;
    }
    if (r->status >= 200 && r->status < 300)
        return judge_state(p, r, text);
    snprintf(text, CHANNEL_HEALTH_SIZE, "answers HTTP %d", r->status);
    return r->status >= 400 && r->status < 500 && r->status != 408 && r->status != 425 && r->status != 429
               ? CHANNEL_REFUSED
               : CHANNEL_UNWELL;
}
