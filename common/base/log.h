/* Log events: one line each on stderr, JSON or text, collected in memory and written once a loop turn. The
 * loop's thread only. Never give it a token, a message body or a full number: mask numbers with
 * contact_mask() first. */
#ifndef AGWB_BASE_LOG_H
#define AGWB_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_AUTO = 0, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

enum log_field_kind { LOG_FIELD_END = 0, LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_REAL, LOG_FIELD_BOOL };

struct log_field {
    enum log_field_kind kind;
    const char *key; /* stable, lower camelCase for names of the wire (messageId), snake_case else */
    union {
        const char *str; /* NULL leaves the field out */
        int64_t i;
        double real;
        bool flag;
    };
};

static inline struct log_field log_str(const char *key, const char *value)
{
    return (struct log_field){.kind = LOG_FIELD_STR, .key = key, .str = value};
}
static inline struct log_field log_int(const char *key, int64_t value)
{
    return (struct log_field){.kind = LOG_FIELD_INT, .key = key, .i = value};
}
static inline struct log_field log_real(const char *key, double value)
{
    return (struct log_field){.kind = LOG_FIELD_REAL, .key = key, .real = value};
}
static inline struct log_field log_bool(const char *key, bool value)
{
    return (struct log_field){.kind = LOG_FIELD_BOOL, .key = key, .flag = value};
}

/* Sets program name (borrowed for the process's life), level and format. AUTO is text when stderr is a
 * terminal, JSON otherwise. Under journald (JOURNAL_STREAM names our stderr) lines of both forms begin with a
 * "<N>" priority, which it takes off. May be called again. */
void log_configure(const char *program, enum log_level level, enum log_format format);

/* What an error that goes to stderr past the log begins with: "<3>" under journald, else "". */
const char *log_error_prefix(void);

/* 0 and the value, or -1 for an unknown word. */
int log_level_parse(const char *word, enum log_level *level) MUST_CHECK;
int log_format_parse(const char *word, enum log_format *format) MUST_CHECK;

/* True when an event of this level would be written; for callers whose fields cost something to compute. */
bool log_enabled(enum log_level level);

/* Writes one event; `event` is the sentence a person reads ("delivery attempt"), fields end with
 * LOG_FIELD_END. */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define LOG_FIELDS(...)       ((const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.kind = LOG_FIELD_END}})
#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, (event), LOG_FIELDS(__VA_ARGS__))
#define log_warn(event, ...)  log_write(LOG_LEVEL_WARN, (event), LOG_FIELDS(__VA_ARGS__))
#define log_info(event, ...)  log_write(LOG_LEVEL_INFO, (event), LOG_FIELDS(__VA_ARGS__))
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, (event), LOG_FIELDS(__VA_ARGS__))

/* A gate for repeats of one fault: true at most once per interval; *held then says how many were held back
 * since. */
struct log_gate {
    int64_t open_at; /* monotonic ms */
    int64_t held;
};
bool log_gate_pass(struct log_gate *gate, int64_t interval_ms, int64_t *held);

/* Writes what is collected with as few write(2) as possible. What a full disk or closed pipe refuses is
 * dropped and counted; the count is part of the next line that gets through (dropped_lines). Called by the
 * loop each turn and at exit. */
void log_flush(void);

#endif
