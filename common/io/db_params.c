/* Statement parameters in PostgreSQL's binary format, written one behind the other into one buffer. Knows
 * nothing of connections. A misuse (wrong item type, too many, too large) marks the whole value as failed;
 * db_query then refuses it. */
#include "io/db_private.h"

#include <string.h>

#include "base/log.h"
#include "base/uuid.h"

enum {
    PARAMS_LIMIT_BYTES = 64 * 1024 * 1024,
    ARRAY_HEADER_BYTES = 20, /* dimensions, has-null flag, item oid, length, lower bound: 4 each */
    ARRAY_EMPTY_BYTES = 12,  /* an empty array has no dimension, so its header ends behind the oid */
    UUID_BYTES = 16,
};

static void fail(struct db_params *p, const char *why)
{
    if (!p->bytes.failed)
        log_error("database parameters refused", log_str("reason", why), log_int("parameter", p->count + 1));
    p->bytes.failed = true;
}

void db_params_init(struct db_params *p)
{
    *p = (struct db_params){.count = 0};
    buf_init(&p->bytes, PARAMS_LIMIT_BYTES);
}

void db_params_fini(struct db_params *p)
{
    buf_fini(&p->bytes);
    p->count = 0;
}

void db_params_clear(struct db_params *p)
{
    buf_clear(&p->bytes);
    p->count = 0;
    p->array_at = 0;
}

/* Opens a parameter that begins at the buffer's end. */
static bool param_begin(struct db_params *p, uint32_t oid)
{
    if (p->bytes.failed)
        return false;
    if (p->array_at != 0 || p->count == DB_MAX_PARAMS) {
        fail(p, p->array_at != 0 ? "an array is still open" : "too many parameters");
        return false;
    }
    p->at[p->count].oid = oid;
    p->at[p->count].offset = p->bytes.len;
    return true;
}

static void param_end(struct db_params *p)
{
    if (p->bytes.failed)
        return;
    p->at[p->count].len = (int32_t)(p->bytes.len - p->at[p->count].offset);
    p->count++;
}

void db_param_null(struct db_params *p, enum db_type type)
{
    if (!param_begin(p, type))
        return;
    p->at[p->count++].len = -1;
}

void db_param_text(struct db_params *p, const char *s)
{
    if (s == NULL) {
        db_param_null(p, DB_TEXT);
        return;
    }
    if (!param_begin(p, DB_TEXT))
        return;
    buf_add(&p->bytes, s, strlen(s));
    param_end(p);
}

void db_param_int4(struct db_params *p, int32_t v)
{
    if (!param_begin(p, DB_INT4))
        return;
    buf_add_u32(&p->bytes, (uint32_t)v);
    param_end(p);
}

void db_param_int8(struct db_params *p, int64_t v)
{
    if (!param_begin(p, DB_INT8))
        return;
    buf_add_u64(&p->bytes, (uint64_t)v);
    param_end(p);
}

void db_param_bool(struct db_params *p, bool v)
{
    if (!param_begin(p, DB_BOOL))
        return;
    buf_add_char(&p->bytes, v ? 1 : 0);
    param_end(p);
}

static uint64_t float8_bits(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

void db_param_float8(struct db_params *p, double v)
{
    if (!param_begin(p, DB_FLOAT8))
        return;
    buf_add_u64(&p->bytes, float8_bits(v));
    param_end(p);
}

/* --- arrays --- */
static uint32_t array_oid(enum db_type item)
{
    switch (item) {
    case DB_TEXT:
        return 1009;
    case DB_BYTEA:
        return 1001;
    case DB_UUID:
        return 2951;
    case DB_INT4:
        return 1007;
    case DB_INT8:
        return 1016;
    case DB_BOOL:
        return 1000;
    case DB_FLOAT8:
        return 1022;
    }
    return 0;
}

static void put_u32(char *at, uint32_t v)
{
    const unsigned char bytes[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
                                    (unsigned char)(v >> 8), (unsigned char)v};
    memcpy(at, bytes, sizeof bytes);
}

static uint32_t get_u32(const char *at)
{
    unsigned char b[4];
    memcpy(b, at, sizeof b);
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The header of the open array; the numbers are its fields, in order. */
enum header_field { HEADER_DIMENSIONS = 0, HEADER_HAS_NULL = 4, HEADER_ITEM_OID = 8, HEADER_LENGTH = 12 };

static char *array_header(const struct db_params *p, enum header_field field)
{
    return p->bytes.data + (p->array_at - ARRAY_HEADER_BYTES) + field;
}

void db_array_begin(struct db_params *p, enum db_type item)
{
    if (!param_begin(p, array_oid(item)))
        return;
    buf_add_u32(&p->bytes, 1);
    buf_add_u32(&p->bytes, 0);
    buf_add_u32(&p->bytes, item);
    buf_add_u32(&p->bytes, 0);
    buf_add_u32(&p->bytes, 1);
    p->array_at = p->bytes.len;
    p->array_items = 0;
}

/* True when an item of this type may be appended now. */
static bool item_begin(struct db_params *p, enum db_type type)
{
    if (p->bytes.failed)
        return false;
    if (p->array_at == 0 || get_u32(array_header(p, HEADER_ITEM_OID)) != (uint32_t)type) {
        fail(p, p->array_at == 0 ? "an item without an array" : "an item of another type than its array");
        return false;
    }
    p->array_items++;
    return true;
}

void db_item_null(struct db_params *p)
{
    if (p->bytes.failed)
        return;
    if (p->array_at == 0) {
        fail(p, "an item without an array");
        return;
    }
    put_u32(array_header(p, HEADER_HAS_NULL), 1);
    p->array_items++;
    buf_add_u32(&p->bytes, UINT32_MAX); /* length -1 */
}

static void item_add(struct db_params *p, enum db_type type, const void *bytes, size_t len)
{
    if (!item_begin(p, type))
        return;
    if (len > PARAMS_LIMIT_BYTES) {
        fail(p, "larger than 64 MiB");
        return;
    }
    buf_add_u32(&p->bytes, (uint32_t)len);
    buf_add(&p->bytes, bytes, len);
}

static void item_add_uuid(struct db_params *p, const char *s, size_t len)
{
    unsigned char bytes[UUID_BYTES];
    if (!uuid_parse(s, len, bytes)) {
        fail(p, "not a uuid");
        return;
    }
    item_add(p, DB_UUID, bytes, sizeof bytes);
}

void db_item_text(struct db_params *p, const char *s, size_t len)
{
    if (s == NULL)
        db_item_null(p);
    else if (!p->bytes.failed && p->array_at != 0 && get_u32(array_header(p, HEADER_ITEM_OID)) == DB_UUID)
        item_add_uuid(p, s, len);
    else
        item_add(p, DB_TEXT, s, len);
}

void db_item_bytes(struct db_params *p, const void *bytes, size_t len)
{
    item_add(p, DB_BYTEA, bytes, len);
}

void db_item_int4(struct db_params *p, int32_t v)
{
    if (!item_begin(p, DB_INT4))
        return;
    buf_add_u32(&p->bytes, 4);
    buf_add_u32(&p->bytes, (uint32_t)v);
}

void db_item_int8(struct db_params *p, int64_t v)
{
    if (!item_begin(p, DB_INT8))
        return;
    buf_add_u32(&p->bytes, 8);
    buf_add_u64(&p->bytes, (uint64_t)v);
}

void db_item_bool(struct db_params *p, bool v)
{
    if (!item_begin(p, DB_BOOL))
        return;
    buf_add_u32(&p->bytes, 1);
    buf_add_char(&p->bytes, v ? 1 : 0);
}

void db_item_float8(struct db_params *p, double v)
{
    if (!item_begin(p, DB_FLOAT8))
        return;
    buf_add_u32(&p->bytes, 8);
    buf_add_u64(&p->bytes, float8_bits(v));
}

void db_array_end(struct db_params *p)
{
    if (!p->bytes.failed && p->array_at == 0) {
        fail(p, "the end of no array");
        return;
    }
    if (!p->bytes.failed && p->array_items == 0) {
        put_u32(array_header(p, HEADER_DIMENSIONS), 0);
        p->bytes.len = p->array_at - ARRAY_HEADER_BYTES + ARRAY_EMPTY_BYTES;
    } else if (!p->bytes.failed) {
        put_u32(array_header(p, HEADER_LENGTH), (uint32_t)p->array_items);
    }
    p->array_at = 0;
    param_end(p);
}

/* --- for the module's other files --- */
void db_params_wire(const struct db_params *p, struct db_wire *w)
{
    w->count = p == NULL ? 0 : p->count;
    for (int i = 0; i < w->count; i++) {
        w->types[i] = p->at[i].oid;
        w->lengths[i] = p->at[i].len < 0 ? 0 : p->at[i].len;
        w->formats[i] = 1;
        if (p->at[i].len < 0)
            w->values[i] = NULL;
        else /* an empty value needs a pointer too: NULL would be SQL NULL */
            w->values[i] = p->at[i].len == 0 ? "" : p->bytes.data + p->at[i].offset;
    }
}

void db_params_copy(struct db_params *to, const struct db_params *from)
{
    db_params_init(to);
    if (from == NULL)
        return;
    buf_add(&to->bytes, from->bytes.data, from->bytes.len);
    memcpy(to->at, from->at, sizeof to->at);
    to->count = from->count;
}
