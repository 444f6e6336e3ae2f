/* The journal file and the offsets of its lines, which are read back for queries. */
#include "tests/provider/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "tests/provider/provider.h"

struct journal {
    int fd;
    struct buf line;
    off_t *ends; /* ends[n] is where line n stops; ends[0] is where the first begins */
    size_t count, cap;
};

struct journal *journal_open(const char *path, struct err *e)
{
    int fd = path != NULL ? open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644)
                          : memfd_create("journal", MFD_CLOEXEC);
    if (fd < 0) {
        err_set(e, ERR_USAGE, errno, "journal %s: %s", path != NULL ? path : "in memory", strerror(errno));
        return NULL;
    }
    struct journal *j = xcalloc(1, sizeof *j);
    j->fd = fd;
    j->cap = 1024;
    j->ends = xcalloc(j->cap, sizeof j->ends[0]);
    j->ends[0] = lseek(fd, 0, SEEK_END);
    buf_init(&j->line, 8 * (size_t)PROVIDER_MAX_BODY);
    return j;
}

void journal_close(struct journal **j)
{
    if (*j == NULL)
        return;
    close((*j)->fd);
    buf_fini(&(*j)->line);
    free((*j)->ends);
    free(*j);
    *j = NULL;
}

static void add_string(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, ",\"%s\":", name);
    if (s != NULL)
        buf_add_json_str(b, s, strlen(s));
    else
        buf_add_str(b, "null");
}

/* Bytes that need not be UTF-8, as a string of their own: what is not ASCII is written as the code point of
 * the byte. */
static void add_bytes(struct buf *b, const char *bytes, size_t len)
{
    buf_add_char(b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            buf_printf(b, "\\u%04x", c);
        else
            buf_add_char(b, (char)c);
    }
    buf_add_char(b, '"');
}

/* A JSON text has line breaks only between its tokens, where a space does as well. */
static void add_json(struct buf *b, const char *json, size_t len)
{
    size_t at = b->len;

    buf_add(b, json, len);
    for (; at < b->len; at++) {
        if (b->data[at] == '\n' || b->data[at] == '\r')
            b->data[at] = ' ';
    }
}

static void write_line(struct buf *b, uint64_t seq, const struct journal_entry *e)
{
    buf_clear(b);
    buf_printf(b, "{\"seq\":%" PRIu64 ",\"wall_ms\":%" PRId64 ",\"mono_us\":%" PRId64, seq, clock_wall_ms(),
               clock_mono_us());
    add_string(b, "method", e->method);
    add_string(b, "path", e->path);
    add_string(b, "provider", e->provider);
    add_string(b, "to", e->to);
    add_string(b, "text", e->text);
    buf_printf(b, ",\"auth\":%s,\"status\":%d", e->auth_ok ? "true" : "false", e->status);
    add_string(b, "fault", e->fault);
    buf_printf(b, ",\"accepted\":%s,\"connection\":%" PRIu64, e->accepted ? "true" : "false", e->connection);
    add_string(b, "id", e->id);
    buf_add_str(b, ",\"body\":");
    if (e->body_is_json)
        add_json(b, e->body, e->body_len);
    else
        add_bytes(b, e->body, e->body_len);
    buf_add_str(b, "}\n");
}

uint64_t journal_add(struct journal *j, const struct journal_entry *entry)
{
    uint64_t seq = j->count + 1;

    write_line(&j->line, seq, entry);
    if (j->line.failed || write(j->fd, j->line.data, j->line.len) != (ssize_t)j->line.len) {
        perror("provider: the journal cannot be written");
        abort();
    }
    if (seq == j->cap) {
        j->cap *= 2;
        j->ends = xrealloc(j->ends, j->cap, sizeof j->ends[0]);
    }
    j->ends[seq] = j->ends[seq - 1] + (off_t)j->line.len;
    j->count = seq;
    return seq;
}

uint64_t journal_last(const struct journal *j)
{
    return j->count;
}

void journal_list(struct journal *j, uint64_t after, uint64_t limit, struct buf *out)
{
    buf_add_char(out, '[');
    for (uint64_t n = after; n < j->count && n - after < limit; n++) {
        size_t len = (size_t)(j->ends[n + 1] - j->ends[n]) - 1;
        char *line = xcalloc(1, len);

        if (out->limit - out->len < len + 2 || pread(j->fd, line, len, j->ends[n]) != (ssize_t)len) {
            free(line);
            break;
        }
        if (n > after)
            buf_add_char(out, ',');
        buf_add(out, line, len);
        free(line);
    }
    buf_add_char(out, ']');
}
