/* Log events. Lines gather in a static buffer, so that logging never allocates: out of memory is logged too.
 */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/utf8.h"

enum { BUFFER_BYTES = 64 * 1024 };

static char storage[BUFFER_BYTES];

static struct {
    const char *program;
    enum log_level level;
    bool json;
    bool journald;
    bool flushes_at_exit;
    struct buf lines; /* never grows: its limit is its capacity */
    int64_t dropped;  /* lines lost since the last one that said so */
    int64_t told; /* the count that the first line of the buffer carries; ours again if that line is lost */
    bool cut;     /* the last write ended within a line */
} out = {
    .program = "agwb",
    .level = LOG_LEVEL_INFO,
    .json = true,
    .lines = {.data = storage, .cap = BUFFER_BYTES, .limit = BUFFER_BYTES},
};

static const struct {
    const char *word;
    const char *padded;   /* text form */
    const char *priority; /* for journald, as in syslog */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "error ", "<3>"},
    [LOG_LEVEL_WARN] = {"warn", "warn  ", "<4>"},
    [LOG_LEVEL_INFO] = {"info", "info  ", "<6>"},
    [LOG_LEVEL_DEBUG] = {"debug", "debug ", "<7>"},
};

static const char *const formats[] = {
    [LOG_FORMAT_AUTO] = "auto",
    [LOG_FORMAT_JSON] = "json",
    [LOG_FORMAT_TEXT] = "text",
};

int log_level_parse(const char *word, enum log_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(word, levels[i].word) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

int log_format_parse(const char *word, enum log_format *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(word, formats[i]) == 0) {
            *format = (enum log_format)i;
            return 0;
        }
    }
    return -1;
}

/* systemd names the device and inode of the journal's socket; a redirected stderr is another file. */
static bool is_stderr_journald(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    char ours[64];
    snprintf(ours, sizeof ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, ours) == 0;
}

void log_configure(const char *program, enum log_level level, enum log_format format)
{
    out.program = program;
    out.level = level;
    out.json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !isatty(STDERR_FILENO));
    out.journald = is_stderr_journald();
    if (!out.flushes_at_exit)
        out.flushes_at_exit = atexit(log_flush) == 0;
}

const char *log_error_prefix(void)
{
    return is_stderr_journald() ? levels[LOG_LEVEL_ERROR].priority : "";
}

bool log_enabled(enum log_level level)
{
    return level <= out.level;
}

/* --- strings ------------------------------------------------------------------------------------- */

/* What could move a terminal's cursor, turn the direction of its text or end a line. */
static bool is_control(uint32_t p)
{
    return p < 0x20 || (p >= 0x7f && p < 0xa0) || p == 0x61c || p == 0x200e || p == 0x200f ||
           (p >= 0x2028 && p <= 0x202e) || (p >= 0x2066 && p <= 0x2069) || p == 0xfeff;
}

/* The character at *at, which is moved behind it; false for a byte that is not UTF-8, and *at stays. */
static bool next_character(const char **at, const char *end, uint32_t *point)
{
    if (utf8_length(*at, (size_t)(end - *at)) == 0)
        return false;
    *point = utf8_next(at);
    return true;
}

/* How many bytes from `at` on are ASCII that no form escapes: nearly all that is ever logged. */
static size_t plain_length(const char *at)
{
    size_t len = 0;
    while (at[len] >= 0x20 && at[len] < 0x7f && at[len] != '"' && at[len] != '\\')
        len++;
    return len;
}

/* The inside of a JSON string. A byte that is not UTF-8 shows as \xNN behind an escaped backslash: JSON has
 * no form for it. */
static void add_escaped(const char *s)
{
    char text[8];
    for (const char *at = s, *end = s + strlen(s); at < end;) {
        size_t plain = plain_length(at);
        buf_add(&out.lines, at, plain);
        at += plain;

        const char *start = at;
        uint32_t point;
        if (at == end)
            break;
        if (!next_character(&at, end, &point))
            snprintf(text, sizeof text, "\\\\x%02x", (unsigned char)*at++);
        else if (is_control(point))
            snprintf(text, sizeof text, "\\u%04x", (unsigned)(point & 0xffff));
        else
            snprintf(text, sizeof text, "%s%.*s", point == '"' || point == '\\' ? "\\" : "",
                     (int)(at - start), start);
        buf_add_str(&out.lines, text);
    }
}

static void add_quoted(const char *s)
{
    buf_add_char(&out.lines, '"');
    add_escaped(s);
    buf_add_char(&out.lines, '"');
}

/* In text, a value without spaces and signs that would need an escape stands without quotes. */
static bool is_bare(const char *s)
{
    const char *at = s, *end = s + strlen(s);
    while (at < end) {
        uint32_t point;
        if (!next_character(&at, end, &point) || is_control(point))
            return false;
        if (point == ' ' || point == '=' || point == '"' || point == '\\')
            return false;
    }
    return at > s;
}

/* --- lines --------------------------------------------------------------------------------------- */

static void add_key(const char *key)
{
    if (out.json) {
        buf_add_str(&out.lines, ",\"");
        buf_add_str(&out.lines, key);
        buf_add_str(&out.lines, "\":");
    } else {
        buf_add_char(&out.lines, ' ');
        buf_add_str(&out.lines, key);
        buf_add_char(&out.lines, '=');
    }
}

static void add_field(const struct log_field *f)
{
    if (f->kind == LOG_FIELD_STR && !f->str)
        return;
    add_key(f->key);
    switch (f->kind) {
    case LOG_FIELD_STR:
        if (!out.json && is_bare(f->str))
            buf_add_str(&out.lines, f->str);
        else
            add_quoted(f->str);
        break;
    case LOG_FIELD_INT:
        buf_add_int(&out.lines, f->i);
        break;
    case LOG_FIELD_REAL:
        buf_add_real(&out.lines, f->real);
        break;
    case LOG_FIELD_BOOL:
        buf_add_str(&out.lines, f->flag ? "true" : "false");
        break;
    case LOG_FIELD_END:
        break;
    }
}

static void add_head(enum log_level level, const char *event)
{
    char ts[25];
    clock_iso8601(clock_wall_ms(), ts);
    if (out.journald) /* which takes it off again: a JSON line stays one */
        buf_add_str(&out.lines, levels[level].priority);
    if (out.json) {
        buf_add_str(&out.lines, "{\"ts\":\"");
        buf_add_str(&out.lines, ts);
        buf_add_str(&out.lines, "\",\"level\":\"");
        buf_add_str(&out.lines, levels[level].word);
        buf_add_str(&out.lines, "\",\"program\":");
        add_quoted(out.program);
        buf_add_str(&out.lines, ",\"event\":");
        add_quoted(event);
        return;
    }
    buf_add(&out.lines, ts + strlen("2026-11-20T"), strlen("21:31:00.123"));
    buf_add_char(&out.lines, ' ');
    buf_add_str(&out.lines, levels[level].padded);
    add_escaped(event);
}

/* One whole line behind the others, or nothing and false when it does not fit. */
static bool add_line(enum log_level level, const char *event, const struct log_field *fields)
{
    size_t start = out.lines.len;
    add_head(level, event);
    for (; fields->kind != LOG_FIELD_END; fields++)
        add_field(fields);
    if (out.dropped > 0) {
        struct log_field lost = log_int("dropped_lines", out.dropped);
        add_field(&lost);
    }
    buf_add_str(&out.lines, out.json ? "}\n" : "\n");

    if (out.lines.failed) {
        out.lines.len = start;
        out.lines.failed = false;
        return false;
    }
    /* Lines are lost by a flush only, which leaves the buffer empty: this line is its first. */
    out.told += out.dropped;
    out.dropped = 0;
    return true;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    if (!log_enabled(level) || add_line(level, event, fields))
        return;
    log_flush();
    if (!add_line(level, event, fields))
        out.dropped++;
}

bool log_gate_pass(struct log_gate *gate, int64_t interval_ms, int64_t *held)
{
    int64_t now = clock_mono_ms();
    if (now < gate->open_at) {
        gate->held++;
        return false;
    }
    *held = gate->held;
    gate->held = 0;
    gate->open_at = now + interval_ms;
    return true;
}

/* Writes len bytes; returns how many the descriptor took. */
static size_t write_all(const char *bytes, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(STDERR_FILENO, bytes + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

static int64_t count_lines(const char *bytes, size_t len)
{
    int64_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += bytes[i] == '\n';
    return count;
}

void log_flush(void)
{
    if (out.lines.len == 0)
        return;
    if (out.cut && write_all("\n", 1) == 1)
        out.cut = false;

    size_t done = out.cut ? 0 : write_all(out.lines.data, out.lines.len);
    out.cut = out.cut || (done > 0 && out.lines.data[done - 1] != '\n');
    out.dropped += count_lines(out.lines.data + done, out.lines.len - done);
    if (memchr(out.lines.data, '\n', done) == NULL)
        out.dropped += out.told; /* nobody has read that count */
    out.told = 0;
    buf_clear(&out.lines);
}
