/* What the broker tests share: a broker connection on a loop of its own whose handlers count and remember,
 * and the private broker's control command. Where it is comes from the environment: AGWB_TEST_AMQP
 * ("127.0.0.1:PORT"), AGWB_TEST_VHOST ("/" if not set), AGWB_TEST_RABBITMQCTL (a program that takes
 * rabbitmqctl's arguments). */
#ifndef AGWB_TESTS_BROKER_PROBE_H
#define AGWB_TESTS_BROKER_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/broker.h"

enum { PROBE_MAX_COOKIES = 8192, PROBE_MAX_SEEN = 4096 };

struct probe_delivery {
    uint64_t epoch, tag;
    const char *queue;
    bool redelivered, has_body;
    size_t body_len;
    char body[64]; /* its beginning, terminated */
    char message_id[64];
};

struct probe {
    struct loop *loop;
    struct broker *broker;
    struct broker_settings settings;
    const char *host;

    size_t events; /* handler calls of any kind */
    size_t ups, downs, refusals, blocked, unblocked;
    struct err why_down, why_refused; /* the latest */

    size_t answers; /* on_confirm calls */
    size_t results[BROKER_UNKNOWN + 1];
    size_t twice; /* cookies that were answered more than once */
    uint8_t answered[PROBE_MAX_COOKIES];

    size_t seen_count;
    struct probe_delivery seen[PROBE_MAX_SEEN];
    void (*inspect)(const struct broker_delivery *d); /* called with each delivery, if set */
    bool ack_all;                                     /* acks each delivery as it comes */

    const size_t *counter; /* what probe_wait waits for */
    size_t wanted;
};

/* A loop and settings for the test broker (guest, no topology, no consumers); change settings, then
 * probe_start. Free with probe_free. */
struct probe *probe_new(void);
void probe_start(struct probe *p);    /* broker_new */
void probe_start_up(struct probe *p); /* and waits until it is up */
void probe_stop(struct probe *p);     /* broker_free; counters stay */
void probe_free(struct probe **p);

/* Turns the loop until *counter >= wanted; the test fails after 30 s. */
void probe_wait(struct probe *p, const size_t *counter, size_t wanted);
/* Turns the loop for this long: only to show that something does not happen. */
void probe_idle(struct probe *p, int64_t ms);

/* Publishes one text to a queue; the test fails if it is not taken. */
void probe_publish(struct probe *p, const char *queue, const char *body, uint64_t cookie);
/* Publishes bodies "0", "1", ... with the cookies 0, 1, ..., turning the loop whenever there is no room, and
 * waits for all answers. */
void probe_publish_many(struct probe *p, const char *queue, size_t count);

/* A queue name that no other test and no other run uses; static memory of the caller. */
const char *probe_queue_name(const char *test, char out[64]);

/* Declares one durable queue with these arguments through a connection of its own. */
void probe_declare(const char *queue, const struct topology_arg *args, size_t arg_count);

/* Runs rabbitmqctl to its end; the test fails unless it exits with 0. */
void probe_ctl(const char *arg1, const char *arg2);

/* Ready messages by a session of its own. */
uint32_t probe_count(const char *queue);

#endif
