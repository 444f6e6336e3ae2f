#include "publisher/webhooks/meta.h"

#include <string.h>

#include "base/utf8.h"

/* As Meta may have signed it: every character but 0x00 to 0x7e as "\uXXXX", by UTF-16 units. A byte that is
 * no UTF-8 cannot be what was signed. */
static bool write_escaped(const char *body, size_t len, struct buf *out)
{
    for (size_t at = 0, step; at < len; at += step) {
        const char *p = body + at;
        uint32_t c;
        step = utf8_length(p, len - at);
        if (step == 0)
            return false;
        if (step == 1 && *p != 0x7f) {
            buf_add_char(out, *p);
            continue;
        }
        c = utf8_next(&p);
        if (c >= 0x10000)
            buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                       0xdc00 + ((c - 0x10000) & 0x3ff));
        else
            buf_printf(out, "\\u%04x", c);
    }
    return !out->failed;
}

static bool is_signed_escaped(const struct webhook_row *row, const char *secret, const char *hex)
{
    struct buf escaped;
    bool is_valid;

    buf_init(&escaped, 6 * (row->body_len + 1));
    is_valid = write_escaped(row->body, row->body_len, &escaped) && escaped.len != row->body_len &&
               signature_is_hex_hmac("SHA256", secret, escaped.data, escaped.len, hex);
    buf_fini(&escaped);
    return is_valid;
}

int meta_verify(const struct webhook_row *row, const char *secret, const char *url, struct err *e)
{
    static const char algorithm[] = "sha256=";
    const char *given = webhook_header(row, "X-Hub-Signature-256");

    (void)url;
    if (given == NULL)
        return 1;
    if (strncmp(given, algorithm, strlen(algorithm)) != 0)
        return err_set(e, ERR_DATA, 0, "X-Hub-Signature-256 does not begin with %s", algorithm);
    given += strlen(algorithm);
    if (signature_is_hex_hmac("SHA256", secret, row->body, row->body_len, given) ||
        is_signed_escaped(row, secret, given))
        return 0;
    return err_set(e, ERR_DATA, 0, "X-Hub-Signature-256 is not this body's");
}

struct json *meta_read(const struct webhook_row *row, const char *object, struct err *e)
{
    struct json *doc = payload_read(row, e);
    const struct json_node *root = doc == NULL ? NULL : json_root(doc);
    const char *said = json_str(json_member(root, "object"));

    if (doc == NULL)
        return NULL;
    if (said == NULL || strcmp(said, object) != 0)
        err_set(e, ERR_DATA, 0, "$.object: expected \"%s\"", object);
    else if (json_kind_of(json_member(root, "entry")) != JSON_ARRAY)
        err_set(e, ERR_DATA, 0, "$.entry: expected an array");
    else
        return doc;
    json_free(&doc);
    return NULL;
}

enum webhook_match meta_is_for(const char *id, const char *hint)
{
    return id == NULL ? WEBHOOK_MATCH_UNKNOWN : strcmp(id, hint) == 0 ? WEBHOOK_MATCH_YES : WEBHOOK_MATCH_NO;
}
