/* Incoming messages: the frames METHOD, HEADER, BODY* put together, and the properties and headers copied
 * into plain values. Headers come from anyone who may publish, x-death included: kinds, lengths and counts
 * are never taken for granted, and nothing here recurses. */
#include "io/broker_private.h"

#include <string.h>

void broker_content_init(struct broker_content *c, size_t max_body_bytes)
{
    *c = (struct broker_content){.max_body_bytes = max_body_bytes, .strings = arena_new()};
    buf_init(&c->body, max_body_bytes);
}

void broker_content_fini(struct broker_content *c)
{
    buf_fini(&c->body);
    arena_free(&c->strings);
}

void broker_content_reset(struct broker_content *c)
{
    c->state = CONTENT_IDLE;
    c->expected_bytes = c->received_bytes = 0;
    c->delivery = (struct broker_delivery){0};
    buf_clear(&c->body);
    arena_reset(c->strings);
}

/* --- field values --- */

/* NULL for bytes that a C string cannot hold. */
static const char *copy_text(struct arena *a, amqp_bytes_t b)
{
    if (b.len == 0)
        return "";
    return memchr(b.bytes, '\0', b.len) ? NULL : arena_dup(a, b.bytes, b.len);
}

static bool read_integer(const amqp_field_value_t *v, int64_t *out)
{
    switch ((amqp_field_value_kind_t)v->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        *out = v->value.boolean != 0;
        return true;
    case AMQP_FIELD_KIND_I8:
        *out = v->value.i8;
        return true;
    case AMQP_FIELD_KIND_U8:
        *out = v->value.u8;
        return true;
    case AMQP_FIELD_KIND_I16:
        *out = v->value.i16;
        return true;
    case AMQP_FIELD_KIND_U16:
        *out = v->value.u16;
        return true;
    case AMQP_FIELD_KIND_I32:
        *out = v->value.i32;
        return true;
    case AMQP_FIELD_KIND_U32:
        *out = v->value.u32;
        return true;
    case AMQP_FIELD_KIND_I64:
        *out = v->value.i64;
        return true;
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        *out = v->value.u64 > INT64_MAX ? INT64_MAX : (int64_t)v->value.u64;
        return true;
    case AMQP_FIELD_KIND_F32:
    case AMQP_FIELD_KIND_F64:
    case AMQP_FIELD_KIND_DECIMAL:
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_ARRAY:
    case AMQP_FIELD_KIND_BYTES:
    case AMQP_FIELD_KIND_TABLE:
    case AMQP_FIELD_KIND_VOID:
        break;
    }
    return false;
}

static bool is_named(amqp_bytes_t key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.bytes, name, key.len) == 0;
}

/* --- headers --- */

/* The newest entry stands first. */
static void read_death(struct broker_content *c, const amqp_field_value_t *v)
{
    struct broker_death *death = &c->delivery.death;
    if (v->kind != AMQP_FIELD_KIND_ARRAY || v->value.array.num_entries < 1 ||
        v->value.array.entries[0].kind != AMQP_FIELD_KIND_TABLE)
        return;
    const amqp_table_t *newest = &v->value.array.entries[0].value.table;
    for (int i = 0; i < newest->num_entries; i++) {
        const amqp_table_entry_t *f = &newest->entries[i];
        bool is_text = f->value.kind == AMQP_FIELD_KIND_UTF8;
        if (is_text && is_named(f->key, "queue"))
            death->queue = copy_text(c->strings, f->value.value.bytes);
        else if (is_text && is_named(f->key, "reason"))
            death->reason = copy_text(c->strings, f->value.value.bytes);
        else if (is_named(f->key, "count"))
            read_integer(&f->value, &death->count);
    }
}

static void read_header(struct broker_content *c, const amqp_table_entry_t *entry)
{
    struct broker_delivery *d = &c->delivery;
    if (is_named(entry->key, "x-death")) {
        read_death(c, &entry->value);
        return;
    }
    if (d->header_count == BROKER_MAX_HEADERS)
        return;
    struct broker_header h = {.name = copy_text(c->strings, entry->key)};
    bool is_text = entry->value.kind == AMQP_FIELD_KIND_UTF8 || entry->value.kind == AMQP_FIELD_KIND_BYTES;
    if (is_text)
        h.str = copy_text(c->strings, entry->value.value.bytes);
    bool is_usable = is_text ? h.str != NULL : read_integer(&entry->value, &h.i);
    if (h.name != NULL && is_usable)
        d->headers[d->header_count++] = h;
}

static const char *property_text(struct broker_content *c, const amqp_basic_properties_t *p,
                                 amqp_flags_t flag, amqp_bytes_t value)
{
    return p->_flags & flag ? copy_text(c->strings, value) : NULL;
}

static void read_properties(struct broker_content *c, const amqp_basic_properties_t *p)
{
    struct broker_delivery *d = &c->delivery;
    d->message_id = property_text(c, p, AMQP_BASIC_MESSAGE_ID_FLAG, p->message_id);
    if (c->kind == CONTENT_RETURN)
        return;
    d->correlation_id = property_text(c, p, AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id);
    d->content_type = property_text(c, p, AMQP_BASIC_CONTENT_TYPE_FLAG, p->content_type);
    d->type = property_text(c, p, AMQP_BASIC_TYPE_FLAG, p->type);
    d->app_id = property_text(c, p, AMQP_BASIC_APP_ID_FLAG, p->app_id);
    if (p->_flags & AMQP_BASIC_TIMESTAMP_FLAG)
        d->timestamp = p->timestamp > INT64_MAX ? INT64_MAX : (int64_t)p->timestamp;
    if (p->_flags & AMQP_BASIC_HEADERS_FLAG) {
        for (int i = 0; i < p->headers.num_entries; i++)
            read_header(c, &p->headers.entries[i]);
    }
}

/* --- frames --- */

static bool keeps_body(const struct broker_content *c)
{
    return c->kind == CONTENT_DELIVERY && c->expected_bytes <= c->max_body_bytes;
}

static int finish(struct broker_content *c)
{
    c->state = CONTENT_IDLE;
    c->delivery.body_len = (size_t)c->expected_bytes;
    c->delivery.body = NULL;
    if (keeps_body(c))
        c->delivery.body = c->expected_bytes > 0 ? c->body.data : "";
    return 1;
}

static int unexpected(const amqp_frame_t *f, const char *wanted, struct err *e)
{
    return err_set(e, ERR_TEMPORARY, AMQP_UNEXPECTED_FRAME, "the broker sent frame type %d where %s was due",
                   f->frame_type, wanted);
}

static int feed_header(struct broker_content *c, const amqp_frame_t *f, struct err *e)
{
    if (f->frame_type != AMQP_FRAME_HEADER || f->payload.properties.class_id != AMQP_BASIC_CLASS)
        return unexpected(f, "a content header", e);
    c->expected_bytes = f->payload.properties.body_size;
    if (c->expected_bytes > SIZE_MAX)
        return unexpected(f, "a body of possible size", e);
    read_properties(c, f->payload.properties.decoded);
    if (c->expected_bytes == 0)
        return finish(c);
    c->state = CONTENT_WANTS_BODY;
    return 0;
}

static int feed_body(struct broker_content *c, const amqp_frame_t *f, struct err *e)
{
    if (f->frame_type != AMQP_FRAME_BODY)
        return unexpected(f, "a body", e);
    amqp_bytes_t part = f->payload.body_fragment;
    if (part.len > c->expected_bytes - c->received_bytes)
        return unexpected(f, "the end of the body", e);
    if (keeps_body(c))
        buf_add(&c->body, part.bytes, part.len);
    c->received_bytes += part.len;
    return c->received_bytes == c->expected_bytes ? finish(c) : 0;
}

int broker_content_begin(struct broker_content *c, enum broker_content_kind kind, struct err *e)
{
    if (c->state != CONTENT_IDLE)
        return err_set(e, ERR_TEMPORARY, AMQP_UNEXPECTED_FRAME, "the broker began a message within another");
    broker_content_reset(c);
    c->kind = kind;
    c->state = CONTENT_WANTS_HEADER;
    return 0;
}

int broker_content_feed(struct broker_content *c, const amqp_frame_t *f, struct err *e)
{
    switch (c->state) {
    case CONTENT_WANTS_HEADER:
        return feed_header(c, f, e);
    case CONTENT_WANTS_BODY:
        return feed_body(c, f, e);
    case CONTENT_IDLE:
        break;
    }
    return unexpected(f, "a method", e);
}
