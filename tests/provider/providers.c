/* The list of the providers, and what their files have in common. */
#include "tests/provider/provider.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct provider *const PROVIDERS[] = {&PROVIDER_WASENDER, &PROVIDER_SMS_GATEWAY};

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

bool provider_bearer_ok(const struct provider_request *q)
{
    static const char scheme[] = "Bearer ";

    if (q->authorization == NULL || strncasecmp(q->authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    const char *token = q->authorization + sizeof scheme - 1;
    return q->token == NULL ? *token != '\0' : strcmp(token, q->token) == 0;
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

void provider_note_strings(const struct provider_request *q, const char *to_key, const char *text_key,
                           struct provider_answer *a)
{
    buf_add_str(&a->to, json_str(json_member(q->json, to_key)));
    buf_add_str(&a->text, json_str(json_member(q->json, text_key)));
}
