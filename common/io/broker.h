/* One AMQP 0-9-1 connection with one channel that keeps itself alive: connects on the worker pool (hosts
 * in turn, backoff with jitter), carries out the topology, selects confirms, consumes, reads frames
 * without blocking, and starts over after any loss. The only module that includes amqp.h.
 *
 * Handlers run in the read phase of a turn and should only record. They never run inside a call into this
 * module. Everything a handler is given is borrowed until it returns. */
#ifndef AGWB_IO_BROKER_H
#define AGWB_IO_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/topology.h"
#include "io/loop.h"

struct broker;

enum { BROKER_MAX_CONSUMES = 3 };

struct broker_consume {
    const char *queue;
    uint16_t prefetch; /* >= 1; per consumer */
};

struct broker_settings {      /* all strings borrowed for the broker's life */
    const char *const *hosts; /* "host:port" or "[v6]:port"; a port-less one gets 5672, or 5671 with TLS */
    size_t host_count;
    const char *user, *password, *vhost;
    bool tls;                                   /* peer and host name are always verified */
    const char *ca_file, *cert_file, *key_file; /* NULL: system CAs, no client certificate */
    int heartbeat_s;
    int64_t connect_timeout_ms;
    const char *connection_name;     /* shown in the broker's own listings */
    const struct topology *topology; /* NULL: touch nothing */
    bool confirms;                   /* this connection publishes */
    const struct broker_consume *consumes;
    size_t consume_count;
    int64_t confirm_timeout_ms; /* oldest unconfirmed older than this, and not blocked: the connection is
                                   dropped */
    size_t max_body_bytes;      /* larger deliveries are handed over with body NULL and their size */
};

/* An AMQP header field of a delivery as we understand it; other kinds (tables, arrays, ...) are not
 * listed. */
struct broker_header {
    const char *name;
    const char *str; /* NULL when the field is an integer */
    int64_t i;
};

struct broker_death {           /* newest x-death entry; only for reports, never for decisions */
    const char *queue, *reason; /* NULL when there is none */
    int64_t count;
};

enum { BROKER_MAX_HEADERS = 32 };

struct broker_delivery {
    uint64_t epoch; /* connection number; an ack needs the same */
    uint64_t delivery_tag;
    const char *queue; /* the settings' string of the consume that it came by */
    bool redelivered;
    const char *body; /* not terminated; NULL when larger than max_body_bytes */
    size_t body_len;
    const char *message_id, *correlation_id, *content_type, *type, *app_id; /* NULL when absent */
    int64_t timestamp;                                /* seconds as sent; 0 when absent */
    struct broker_header headers[BROKER_MAX_HEADERS]; /* longstr, shortstr-like, integer and boolean fields */
    size_t header_count;
    struct broker_death death;
};

enum broker_confirm {
    BROKER_CONFIRMED, /* taken by a queue */
    BROKER_RETURNED,  /* no queue: not taken */
    BROKER_NACKED,    /* refused by the queue: not taken */
    BROKER_UNKNOWN,   /* the connection went; it may or may not have been taken */
};

struct broker_handlers {
    void (*on_up)(void *arg); /* connected, topology done, consuming; publishing may begin */
    /* Lost or not reached; reconnecting by itself. Unconfirmed publishes were reported BROKER_UNKNOWN
     * before. Deliveries of older epochs can no longer be acked and will come again. */
    void (*on_down)(void *arg, const struct err *why);
    /* The broker said no in a way that trying again won't mend (ERR_CONFIG: 403, 530, 406, missing queue
     * in passive mode). Retrying goes on in the background all the same; a daemon at start-up ends
     * instead. */
    void (*on_refused)(void *arg, const struct err *why);
    void (*on_delivery)(void *arg, const struct broker_delivery *d);
    void (*on_confirm)(void *arg, uint64_t cookie,
                       enum broker_confirm result); /* once for each accepted broker_publish */
    void (*on_blocked)(void *arg, bool blocked);    /* connection.blocked / unblocked */
};

struct broker_message {
    const char *exchange;    /* "" = default exchange */
    const char *routing_key; /* the queue's name on the default exchange */
    const char *body;
    size_t body_len;
    const char *message_id, *correlation_id, *content_type, *type,
        *app_id;           /* NULL = absent; each at most 255 bytes */
    int64_t timestamp_s;   /* 0 = absent */
    int64_t expiration_ms; /* < 0 = absent */
    const struct broker_header *headers;
    size_t header_count;
};

/* Starts connecting; handlers begin in a later turn. Settings, handlers and what they point at are
 * borrowed until broker_free. */
struct broker *broker_new(struct loop *l, const struct broker_settings *s, const struct broker_handlers *h,
                          void *arg);
/* Closes at once; unacked deliveries go back, handlers fall silent. Not from inside a handler. The goodbye
 * to the broker runs on the worker pool. */
void broker_free(struct broker **b);

bool broker_is_up(const struct broker *b);
bool broker_is_blocked(const struct broker *b);
/* How many more messages broker_publish takes now (0 when down, blocked, the socket is full or too many
 * bytes are unconfirmed). */
size_t broker_room(struct broker *b);
size_t broker_unconfirmed(const struct broker *b);
/* Drops a connection that works for a new one, which declares the topology again: a queue was deleted, or
 * goes on refusing. on_down follows in a later turn, with this reason. Nothing when it is not up. */
void broker_renew(struct broker *b, const char *reason);
uint64_t broker_reconnects(const struct broker *b); /* successful connects after the first */

/* Publishes persistent and mandatory. 0: taken into the window, on_confirm(cookie) will follow. -1 and
 * err: nothing was sent and no on_confirm follows: ERR_TEMPORARY (no room, down) or ERR_DATA (a string too
 * long, body too large). What a turn publishes is written at once in the next one, or by broker_flush. */
int broker_publish(struct broker *b, const struct broker_message *m, uint64_t cookie,
                   struct err *e) MUST_CHECK;

/* Writes what was published in this turn. Not from inside a handler. */
void broker_flush(struct broker *b);

/* Acks one delivery, or with `multiple` all up to this tag. False when the epoch is over (the broker will
 * redeliver). */
bool broker_ack(struct broker *b, uint64_t epoch, uint64_t delivery_tag, bool multiple);
/* Gives one back; requeue=false dead-letters it. False as above. */
bool broker_reject(struct broker *b, uint64_t epoch, uint64_t delivery_tag, bool requeue);

/* Stops (basic.cancel) and restarts deliveries of all consumes; unacked ones stay ours. Kept across
 * reconnects. */
void broker_pause(struct broker *b);
void broker_resume(struct broker *b);
bool broker_is_paused(const struct broker *b);

struct broker_queue_info {
    const char *queue;
    bool exists;
    uint32_t messages, consumers; /* ready messages */
};
/* Asks (passive declare, on its own short-lived connection on the worker pool) for up to
 * TOPOLOGY_MAX_QUEUES queues; done gets an array of count answers, or count 0 and err. Never run inside
 * this call; names must live until then. */
typedef void broker_queues_fn(void *arg, const struct broker_queue_info *infos, size_t count,
                              const struct err *e);
void broker_query_queues(struct broker *b, const char *const *names, size_t count, broker_queues_fn *done,
                         void *arg);

/* --- one-shot use (dlq commands, doctor): blocking, no loop --- */
struct broker_session;
/* Connects to the first host that answers, carries out nothing of the topology, selects confirms. */
struct broker_session *broker_session_open(const struct broker_settings *s, struct err *e);
void broker_session_close(struct broker_session **session);
/* Counts of a queue; it need not exist. */
int broker_session_look(struct broker_session *bs, const char *queue, struct broker_queue_info *info,
                        struct err *e) MUST_CHECK;
/* Compares an existing queue with what is wanted by declaring it, which changes nothing: -1 and err
 * (ERR_CONFIG) name the first argument that differs and the way out, or the right that is missing. The
 * session stays usable. */
int broker_session_compare(struct broker_session *bs, const struct topology_queue *q,
                           struct err *e) MUST_CHECK;
/* Declares a queue of this session alone, which the broker names and deletes when it ends. */
enum { BROKER_NAME_SIZE = 256 };
int broker_session_temporary(struct broker_session *bs, char name[BROKER_NAME_SIZE],
                             struct err *e) MUST_CHECK;
/* "RabbitMQ 3.10.8", or what the server calls itself. */
enum { BROKER_PRODUCT_SIZE = 96 };
void broker_session_product(struct broker_session *bs, char out[BROKER_PRODUCT_SIZE]);
/* The queue's ready messages; -1 and err when it is missing. */
int broker_session_count(struct broker_session *bs, const char *queue, uint32_t *messages,
                         struct err *e) MUST_CHECK;
/* 1 and *d (borrowed until the next call), 0 when the queue is empty, -1 and err. Unacked until
 * broker_session_ack. */
int broker_session_get(struct broker_session *bs, const char *queue, struct broker_delivery *d,
                       struct err *e) MUST_CHECK;
int broker_session_ack(struct broker_session *bs, uint64_t delivery_tag, struct err *e) MUST_CHECK;
int broker_session_requeue(struct broker_session *bs, uint64_t delivery_tag, struct err *e) MUST_CHECK;
/* Publishes mandatory and waits for the confirm: 0 only when a queue has it. */
int broker_session_publish(struct broker_session *bs, const struct broker_message *m, int64_t timeout_ms,
                           struct err *e) MUST_CHECK;

#endif
