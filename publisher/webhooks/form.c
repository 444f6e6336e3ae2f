#include "publisher/webhooks/form.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *decode(const char *bytes, size_t len, struct arena *a, size_t *decoded_len)
{
    char *out = arena_alloc(a, len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '%' && len - i > 2 && hex_value(bytes[i + 1]) >= 0 && hex_value(bytes[i + 2]) >= 0) {
            out[n++] = (char)(hex_value(bytes[i + 1]) * 16 + hex_value(bytes[i + 2]));
            i += 2;
        } else {
            out[n++] = bytes[i] == '+' ? ' ' : bytes[i];
        }
    }
    *decoded_len = n;
    return out;
}

static struct form_field read_field(const char *bytes, size_t len, struct arena *a)
{
    const char *equals = memchr(bytes, '=', len);
    size_t name_len = equals == NULL ? len : (size_t)(equals - bytes);
    size_t value_at = equals == NULL ? len : name_len + 1;
    struct form_field f;

    f.name = decode(bytes, name_len, a, &f.name_len);
    f.value = decode(bytes + value_at, len - value_at, a, &f.value_len);
    return f;
}

static size_t count_fields(const char *bytes, size_t len)
{
    size_t count = 1;

    for (size_t i = 0; i < len; i++)
        count += bytes[i] == '&';
    return count;
}

int form_parse(const char *bytes, size_t len, struct arena *a, struct form *f, struct err *e)
{
    size_t most = count_fields(bytes, len);

    if (most > FORM_MAX_FIELDS)
        return err_set(e, ERR_DATA, 0, "a form of more than %d fields", FORM_MAX_FIELDS);
    *f = (struct form){.fields = arena_alloc(a, most * sizeof *f->fields)};
    for (size_t at = 0; at < len;) {
        const char *end = memchr(bytes + at, '&', len - at);
        size_t field_len = end == NULL ? len - at : (size_t)(end - bytes) - at;
        if (field_len > 0)
            f->fields[f->count++] = read_field(bytes + at, field_len, a);
        at += field_len + 1;
    }
    return 0;
}

const struct form_field *form_find(const struct form *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->fields[i].name, name) == 0 && f->fields[i].name_len == strlen(name))
            return &f->fields[i];
    }
    return NULL;
}

const char *form_value(const struct form *f, const char *name)
{
    const struct form_field *field = form_find(f, name);

    return field != NULL && field->value[0] != '\0' ? field->value : NULL;
}
