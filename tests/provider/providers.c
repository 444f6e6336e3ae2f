/* The list of the providers, and what their files have in common. */
#include "tests/provider/provider.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Instagram's paths are the Cloud API's with an id of another kind: it is asked first. */
static const struct provider *const PROVIDERS[] = {
    &PROVIDER_WASENDER, &PROVIDER_SMS_GATEWAY, &PROVIDER_INSTAGRAM, &PROVIDER_CLOUD,
    &PROVIDER_TWILIO,   &PROVIDER_EVOLUTION,   &PROVIDER_WAHA,      &PROVIDER_OPENWA};

const struct provider *provider_for_path(const char *path)
{
    for (size_t i = 0; i < sizeof PROVIDERS / sizeof PROVIDERS[0]; i++) {
        if (PROVIDERS[i]->owns(path))
            return PROVIDERS[i];
    }
    return NULL;
}

void provider_answer_init(struct provider_answer *a)
{
    memset(a, 0, sizeof *a);
    buf_init(&a->body, PROVIDER_MAX_ANSWER);
    buf_init(&a->to, PROVIDER_MAX_BODY);
    buf_init(&a->text, PROVIDER_MAX_BODY);
}

void provider_answer_fini(struct provider_answer *a)
{
    buf_fini(&a->body);
    buf_fini(&a->to);
    buf_fini(&a->text);
}

void provider_answer_header(struct provider_answer *a, const char *name, const char *value)
{
    size_t i = 0;

    while (i < a->header_count && strcasecmp(a->headers[i].name, name) != 0)
        i++;
    if (i == PROVIDER_MAX_HEADERS || strlen(name) >= sizeof a->headers[i].name ||
        strlen(value) >= sizeof a->headers[i].value)
        return;
    snprintf(a->headers[i].name, sizeof a->headers[i].name, "%s", name);
    snprintf(a->headers[i].value, sizeof a->headers[i].value, "%s", value);
    if (i == a->header_count)
        a->header_count++;
}

const char *provider_header(const struct provider_request *q, const char *name)
{
    return q->header != NULL ? q->header(q->connection, name) : NULL;
}

static bool is_token(const struct provider_request *q, const char *token)
{
    return q->token == NULL ? *token != '\0' : strcmp(token, q->token) == 0;
}

bool provider_key_ok(const struct provider_request *q, const char *header)
{
    const char *key = provider_header(q, header);

    return key != NULL && is_token(q, key);
}

bool provider_bearer_ok(const struct provider_request *q)
{
    static const char scheme[] = "Bearer ";

    if (q->authorization == NULL || strncasecmp(q->authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    return is_token(q, q->authorization + sizeof scheme - 1);
}

bool provider_is_json(const struct provider_request *q)
{
    static const char type[] = "application/json";

    if (q->content_type == NULL || strncasecmp(q->content_type, type, sizeof type - 1) != 0)
        return false;
    const char *rest = q->content_type + sizeof type - 1;
    rest += strspn(rest, " \t");
    return *rest == '\0' || *rest == ';';
}

bool provider_is_e164(const char *s)
{
    if (s == NULL || s[0] != '+' || s[1] < '1' || s[1] > '9')
        return false;
    size_t digits = strspn(s + 1, "0123456789");
    return digits >= 8 && digits <= 15 && s[1 + digits] == '\0';
}

bool provider_is_url(const char *s)
{
    return s != NULL && (strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0) &&
           strpbrk(s, " \t\r\n") == NULL && strlen(strstr(s, "://")) > 3;
}

size_t provider_units(const char *text)
{
    size_t units = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        units += (*c & 0xc0) == 0x80 ? 0 : *c >= 0xf0 ? 2 : 1;
    return units;
}

bool provider_has_text(const struct json_node *object, const char *key)
{
    const char *text = json_str(json_member(object, key));

    return text != NULL && text[strspn(text, " \t\r\n")] != '\0';
}

void provider_note_strings(const struct provider_request *q, const char *to_path, const char *text_path,
                           struct provider_answer *a)
{
    buf_add_str(&a->to, json_str(json_path(q->json, to_path)));
    buf_add_str(&a->text, json_str(json_path(q->json, text_path)));
}
