/* What the providers' builders share: a request's pieces, escaping, and the number of an address. */
#include "consumer/channels/channel.h"

#include <stdio.h>
#include <string.h>

void channel_request_init(struct channel_request *r)
{
    *r = (struct channel_request){.method = "POST"};
    buf_init(&r->url, CHANNEL_URL_MAX);
    buf_init(&r->body, CHANNEL_BODY_MAX);
    buf_init(&r->mail_from, CHANNEL_URL_MAX);
    buf_init(&r->mail_to, CHANNEL_URL_MAX);
    for (size_t i = 0; i < CHANNEL_MAX_HEADERS; i++)
        buf_init(&r->headers[i], CHANNEL_HEADER_MAX);
}

void channel_request_fini(struct channel_request *r)
{
    buf_fini(&r->url);
    buf_fini(&r->body);
    buf_fini(&r->mail_from);
    buf_fini(&r->mail_to);
    for (size_t i = 0; i < CHANNEL_MAX_HEADERS; i++)
        buf_fini(&r->headers[i]);
}

void channel_request_header(struct channel_request *r, const char *name, const char *value)
{
    buf_printf(&r->headers[r->header_count++], "%s: %s", name, value);
}

void channel_request_bearer_json(struct channel_request *r, const struct config_account *a)
{
    if (a->token)
        buf_printf(&r->headers[r->header_count++], "Authorization: Bearer %s", a->token);
    channel_request_header(r, "Content-Type", "application/json");
    channel_request_header(r, "Accept", "application/json");
}

void channel_request_url(struct channel_request *r, const struct config_account *a, const char *fallback,
                         const char *path)
{
    const char *base = a->base_url && a->base_url[0] ? a->base_url : fallback;
    size_t len = strlen(base);

    while (len > 0 && base[len - 1] == '/')
        len--;
    buf_add(&r->url, base, len);
    buf_add_str(&r->url, path);
}

bool channel_is_path(const char *text)
{
    const char *c = text;

    while (*c > ' ' && *c <= '~' && *c != '#')
        c++;
    return text[0] == '/' && *c == '\0';
}

/* --- escaping --- */

void channel_add_encoded(struct buf *b, const char *text)
{
    static const char PLAIN[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    while (*text) {
        size_t plain = strspn(text, PLAIN);
        buf_add(b, text, plain);
        text += plain;
        if (*text)
            buf_printf(b, "%%%02X", (unsigned char)*text++);
    }
}

void channel_form_field(struct buf *b, const char *key, const char *value)
{
    if (!value)
        return;
    if (b->len > 0)
        buf_add_char(b, '&');
    channel_add_encoded(b, key);
    buf_add_char(b, '=');
    channel_add_encoded(b, value);
}

static void add_key(struct buf *b, const char *key)
{
    if (b->len > 0 && b->data[b->len - 1] != '{')
        buf_add_char(b, ',');
    buf_add_json_str(b, key, strlen(key));
    buf_add_char(b, ':');
}

void channel_json_member(struct buf *b, const char *key, const char *value)
{
    if (!value)
        return;
    add_key(b, key);
    buf_add_json_str(b, value, strlen(value));
}

void channel_json_open(struct buf *b, const char *key)
{
    add_key(b, key);
    buf_add_char(b, '{');
}

bool channel_number(const char *address, char number[CONTACT_E164_MAX + 1])
{
    if (!is_e164(address))
        return contact_number_from_jid(address, number);
    snprintf(number, CONTACT_E164_MAX + 1, "%s", address);
    return true;
}
