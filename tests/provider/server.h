/* The HTTP side: connections, requests, and the playing of faults. One thread: server_run polls and does
 * everything. */
#ifndef AGWB_TESTS_PROVIDER_SERVER_H
#define AGWB_TESTS_PROVIDER_SERVER_H

#include <stdint.h>

#include "base/err.h"
#include "tests/provider/control.h"

struct server_settings {
    uint16_t port;     /* 0 = a free one */
    const char *token; /* the only right bearer token; NULL = any */
    int64_t delay_ms;  /* before every answer */
};

struct server;

/* Listens on 127.0.0.1. Settings and control are borrowed. */
struct server *server_new(const struct server_settings *s, struct control *c, struct err *e);
void server_free(struct server **s); /* closes every connection */
int server_port(const struct server *s);
/* Serves until stop_fd is readable. */
void server_run(struct server *s, int stop_fd);

#endif
