/* The journals of the stand-ins, which grow by one JSON line an event: handed out line by line. */
#ifndef AGWB_TESTS_DEMO_LINES_H
#define AGWB_TESTS_DEMO_LINES_H

#include "base/err.h"
#include "base/json.h"

struct lines;

/* From the file's beginning. NULL and err when it cannot be read. */
struct lines *lines_open(const char *path, struct err *e);
void lines_close(struct lines **l);
/* 1 and the next whole line (the caller's until json_free), 0 when there is none yet, -1 and err for what is
 * not JSON. */
int lines_next(struct lines *l, struct json **line, struct err *e) MUST_CHECK;

#endif
