/* Reads on where it stopped; a line without its end waits for the rest. */
#include "tests/demo/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"

enum { READ_BYTES = 64 * 1024, LINE_MAX_BYTES = 4 * 1024 * 1024 };

struct lines {
    int fd;
    const char *path; /* borrowed */
    struct buf bytes;
    size_t at; /* where the next line begins in `bytes` */
};

struct lines *lines_open(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        err_set(e, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    struct lines *l = xcalloc(1, sizeof *l);
    l->fd = fd;
    l->path = path;
    buf_init(&l->bytes, LINE_MAX_BYTES);
    return l;
}

void lines_close(struct lines **l)
{
    if (*l == NULL)
        return;
    close((*l)->fd);
    buf_fini(&(*l)->bytes);
    free(*l);
    *l = NULL;
}

/* 1 when there is more to look at, 0 at the file's present end. */
static int read_more(struct lines *l, struct err *e)
{
    char chunk[READ_BYTES];

    buf_consume(&l->bytes, l->at);
    l->at = 0;
    ssize_t got = read(l->fd, chunk, sizeof chunk);
    if (got < 0)
        return err_set(e, ERR_UNAVAILABLE, errno, "%s: %s", l->path, strerror(errno));
    buf_add(&l->bytes, chunk, (size_t)got);
    if (l->bytes.failed)
        return err_set(e, ERR_DATA, 0, "%s: a line is too long", l->path);
    return got > 0;
}

int lines_next(struct lines *l, struct json **line, struct err *e)
{
    for (;;) {
        size_t left = l->bytes.len - l->at;
        const char *begin = left > 0 ? l->bytes.data + l->at : NULL;
        const char *end = left > 0 ? memchr(begin, '\n', left) : NULL;
        if (end != NULL) {
            l->at += (size_t)(end - begin) + 1;
            *line = json_parse(begin, (size_t)(end - begin), e);
            return *line != NULL ? 1 : err_prefix(e, "%s", l->path);
        }
        int more = read_more(l, e);
        if (more <= 0)
            return more;
    }
}
