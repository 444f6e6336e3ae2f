/* What the providers' builders share: a request's parts, escaping, and what of a reply goes into it. */
#include "consumer/channels/channel.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

void channel_request_init(struct channel_request *r)
{
    *r = (struct channel_request){.method = "POST"};
    buf_init(&r->url, CHANNEL_URL_MAX);
    buf_init(&r->body, CHANNEL_BODY_MAX);
    for (size_t i = 0; i < CHANNEL_MAX_HEADERS; i++)
        buf_init(&r->headers[i], CHANNEL_HEADER_MAX);
}

void channel_request_fini(struct channel_request *r)
{
    buf_fini(&r->url);
    buf_fini(&r->body);
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

/* --- what of a reply goes into one message --- */

bool channel_number(const char *address, char number[CONTACT_E164_MAX + 1])
{
    if (!is_e164(address))
        return contact_number_from_jid(address, number);
    snprintf(number, CONTACT_E164_MAX + 1, "%s", address);
    return true;
}

/* A character outside the basic plane, an emoji, is two units. */
static size_t utf16_units(const char *text)
{
    size_t units = 0;

    for (uint32_t c = utf8_next(&text); c; c = utf8_next(&text))
        units += c > 0xffff ? 2 : 1;
    return units;
}

static int check_text(const struct channel_provider *p, const char *text, size_t limit, struct err *e)
{
    if (limit > 0 && text && utf16_units(text) > limit)
        return err_set(e, ERR_DATA, 0, "text too long for %s (limit %zu)", p->name, limit);
    return 0;
}

int channel_take_content(const struct channel_provider *p, const struct reply *reply,
                         struct channel_content *c, struct err *e)
{
    const struct reply_attachment *file = reply->attachment_count ? &reply->attachments[0] : NULL;

    *c = (struct channel_content){.file = file, .text = reply->text};
    if (!file && !reply->text)
        return err_set(e, ERR_DATA, 0, "neither text nor attachment: there is nothing to send");
    if (!file)
        return check_text(p, c->text, p->text_limit, e);
    if (p->attachment_limit > 0 && reply->attachment_count > p->attachment_limit)
        return err_set(e, ERR_DATA, 0, "too many attachments for %s (%zu, limit %zu)", p->name,
                       reply->attachment_count, p->attachment_limit);
    if (!c->text)
        c->text = file->caption;
    c->is_image =
        reply->type == REPLY_IMAGE || (file->mime_type && strncmp(file->mime_type, "image/", 6) == 0);
    return check_text(p, c->text, p->caption_limit, e);
}

int channel_take_text_with_links(const struct channel_provider *p, const struct reply *reply,
                                 struct buf *text, struct err *e)
{
    buf_add_str(text, reply->text);
    for (size_t i = 0; i < reply->attachment_count; i++) {
        if (text->len > 0)
            buf_add_char(text, '\n');
        buf_add_str(text, reply->attachments[i].url);
    }
    if (text->len == 0)
        return err_set(e, ERR_DATA, 0, "neither text nor attachment: there is nothing to send");
    return check_text(p, buf_str(text), p->text_limit, e);
}
