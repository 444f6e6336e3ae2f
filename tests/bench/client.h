/* One connection to the broker on a loop of its own; the first trouble stops the loop. */
#ifndef AGWB_TESTS_BENCH_CLIENT_H
#define AGWB_TESTS_BENCH_CLIENT_H

#include "base/err.h"
#include "io/broker.h"
#include "io/loop.h"

struct client { /* the first member of whatever the handlers are given */
    struct loop *loop;
    struct broker *broker;
    const char *amqp;
    struct broker_settings settings;
    struct broker_handlers handlers;
    struct err *err;
};

/* Consumes, or with consume NULL publishes with confirms. What `handlers` leaves out is filled in; `amqp`,
 * `consume` and `e` are borrowed until client_close. To be followed by loop_run. */
void client_open(struct client *c, const char *amqp, const struct broker_handlers *handlers,
                 const struct broker_consume *consume, struct err *e);
void client_close(struct client *c);

#endif
