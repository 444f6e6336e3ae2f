/* Private to message*.c: what a message must look like, as tables that read like the schemas, and the one
 * walk that holds a parsed message against them. */
#ifndef AGWB_DOMAIN_MESSAGE_SHAPE_H
#define AGWB_DOMAIN_MESSAGE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

/* The greatest integer that every JSON reader holds exactly: 2^53 - 1. */
#define SHAPE_INT_MAX INT64_C(9007199254740991)
/* For an object's initialiser: its table and the table's length. */
#define SHAPE_MEMBERS(table) .members = (table), .member_count = sizeof(table) / sizeof((table)[0])

struct text_rule {
    size_t max_chars;               /* 0 = as much as a body holds */
    const char *const *words;       /* the only texts allowed, NULL-terminated; NULL = any */
    bool (*fits)(const char *text); /* NULL = any */
    const char *expected;           /* what `fits` wants, for people */
};

enum shape_kind { SHAPE_TEXT = 0, SHAPE_INTEGER, SHAPE_REAL, SHAPE_LIST, SHAPE_OBJECT };

struct shape {
    const char *key; /* in its object; NULL for a root and for list items */
    enum shape_kind kind;
    bool required;                /* neither absent nor null; other members may be both */
    const struct text_rule *rule; /* TEXT */
    int64_t min, max; /* INTEGER: the value; REAL: min only; LIST: max items, 0 = as many as a body holds */
    const struct shape *item;    /* LIST; an item is never null */
    const struct shape *members; /* OBJECT; others are not looked at */
    size_t member_count;
    const struct text_rule *or_text; /* OBJECT: a string that fits this will do as well; NULL = it won't */
};

/* 0, or -1 and ERR_DATA with the path of the first fault in the tables' order. */
int shape_check(const struct shape *root, const struct json_node *n, struct err *e) MUST_CHECK;

/* The same for one text that is not part of a document; path is used in the error only. */
int text_rule_check(const struct text_rule *rule, const char *path, const char *text,
                    struct err *e) MUST_CHECK;

/* The place of `text` in a NULL-terminated list of words, or -1. */
int word_index(const char *const *words, const char *text);

/* --- rules that both messages use (message.c) --- */
extern const struct text_rule rule_message_id, rule_jid, rule_name, rule_text, rule_uuid, rule_channel;

#endif
