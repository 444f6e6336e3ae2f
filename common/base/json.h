/* Strict JSON in: one scan that enforces RFC 8259 and our limits before any tree is built, then read-only
 * access to the tree. The only module that includes cJSON.h. JSON out is written straight into a buf
 * (buf_add_json_str). */
#ifndef AGWB_BASE_JSON_H
#define AGWB_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
    JSON_MAX_BYTES = 256 * 1024,
    JSON_MAX_DEPTH = 32,
    JSON_MAX_MEMBERS = 256,
    JSON_MAX_NUMBER = 63,
    JSON_MAX_EXPONENT = 1000
};

/* 0 when the bytes are one JSON text: size, UTF-8 (RFC 3629), grammar, no NUL or \u0000, no lone
 * surrogate, depth at most 32, at most 256 members an object, no duplicate key in one object, numbers
 * finite and at most 63 characters (cJSON reads no more). Else -1 and ERR_DATA with byte offset and JSON
 * path: "$.contact at byte 17: ...". No recursion, no allocation; about 70 KiB of stack for the key check. */
int json_scan(const char *bytes, size_t len, struct err *e) MUST_CHECK;
/* The same for a text that is to stand inside another, `levels` (0 to 32) deep. Path and offset count from
 * the text's own beginning. */
int json_scan_nested(const char *bytes, size_t len, size_t levels, struct err *e) MUST_CHECK;

struct json;      /* a parsed document; owns its nodes */
struct json_node; /* borrowed from its document; NULL stands for "absent" in every accessor */

/* json_scan, then the tree. NULL and err when the bytes are not acceptable. */
struct json *json_parse(const char *bytes, size_t len, struct err *e);

/* For what other people's programs write, whom nobody here can tell to write it better: texts up to
 * JSON_FOREIGN_BYTES, objects of any size (binary data is often written as one), a key twice (the first one
 * counts), \u0000 (dropped) and half surrogate pairs (read as U+FFFD). At most JSON_FOREIGN_VALUES values,
 * which bounds the tree. All else as json_parse. */
enum { JSON_FOREIGN_BYTES = 3 * 1024 * 1024, JSON_FOREIGN_VALUES = 100000 };
struct json *json_parse_foreign(const char *bytes, size_t len, struct err *e);

void json_free(struct json **j);
const struct json_node *json_root(const struct json *j);

enum json_kind { JSON_ABSENT = 0, JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
enum json_kind json_kind_of(const struct json_node *n);
const char *json_kind_name(enum json_kind kind);

const struct json_node *json_member(const struct json_node *object,
                                    const char *key); /* case-sensitive; NULL for non-objects */
const struct json_node *json_path(const struct json_node *root, const char *dotted); /* "contact.remoteJid" */
size_t json_count(const struct json_node *array_or_object);
const struct json_node *json_item(const struct json_node *array, size_t index);
/* Members in order: first = json_first(object), then json_next. */
const struct json_node *json_first(const struct json_node *array_or_object);
const struct json_node *json_next(const struct json_node *n);
const char *json_key(const struct json_node *n); /* "" for array items */

const char *json_str(const struct json_node *n);          /* NULL unless a string */
bool json_int(const struct json_node *n, int64_t *value); /* a number without fraction within +-(2^53-1) */
bool json_real(const struct json_node *n, double *value); /* any finite number */
bool json_true(const struct json_node *n);                /* a boolean that is true */

#endif
