/* /metrics, /healthz and /readyz by libmicrohttpd, driven by the loop (no thread of its own). The only
 * module that includes microhttpd.h. */
#ifndef AGWB_IO_STATUS_SERVER_H
#define AGWB_IO_STATUS_SERVER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"

struct status_server;

struct status_handlers {
    void (*metrics)(void *arg, struct buf *out); /* writes the exposition text; refresh gauges here */
    bool (*ready)(void *arg,
                  struct buf *why); /* true = 200; false = 503, why holds "broker: down; database: ..." */
};

/* Listens on "127.0.0.1:9464", "[::1]:9464", ":9464" or, with port 0, on a free port (see
 * status_server_port). "" or "off" gives NULL without error. NULL and err when the address is unusable:
 * the caller warns and goes on. /healthz answers 200 while the loop turns. Methods other than GET and HEAD
 * get 405, other paths 404. At most 32 connections, 10 s idle. */
struct status_server *status_server_new(struct loop *l, const char *listen, const struct status_handlers *h,
                                        void *arg, struct err *e);
void status_server_free(struct status_server **s);
int status_server_port(const struct status_server *s);

/* One blocking GET of http://listen/path for the `healthcheck` subcommand; 0 for a 200, -1 and err
 * (ERR_UNAVAILABLE) else. Wildcard addresses are asked on loopback. */
int status_server_probe(const char *listen, const char *path, int timeout_ms, struct err *e) MUST_CHECK;

#endif
