/* What the files of the broker module share. Included by them alone (and by the test of its decoder), and
 * with it amqp.h.
 *
 *   broker.c          life cycle: states, reconnecting, pause, acks, queue queries
 *   broker_connect.c  a connection up to its open channel, and its end; blocking, so on the worker pool
 *   broker_declare.c  topology, prefetch, consumers, queue counts; blocking too, but for what is sent up
 *   broker_frames.c   the frames that arrive while up: read without blocking, dispatched
 *   broker_content.c  method, header and body frames put together to one message
 *   broker_publish.c  outgoing messages and the window of unconfirmed ones
 *   broker_burst.c    the frames of many of them in one write
 *   broker_session.c  the blocking one-shot connection of commands */
#ifndef AGWB_IO_BROKER_PRIVATE_H
#define AGWB_IO_BROKER_PRIVATE_H

#include <amqp.h>
#include <amqp_framing.h>

#include "base/arena.h"
#include "base/buf.h"
#include "io/broker.h"

enum {
    BROKER_CHANNEL =
        1, /* the one channel of a connection: the library loses frames when several are in use */
    BROKER_COUNT_CHANNEL = 2, /* a session counts here, since a missing queue closes the channel and with it
                                 gives back what was fetched */
    BROKER_SHORTSTR_MAX = 255,
    BROKER_TAG_SIZE = 32,
};

/* --- broker_connect.c: all blocking --- */

/* The settings in memory of their own: a connect on the worker pool may outlive the broker that asked for it.
 * Shared by the broker and its jobs; `users` and `owner` belong to the loop's thread, the rest is constant.
 */
struct broker_plan {
    struct broker_settings settings;
    struct topology topology;
    char *password; /* settings.password, to be wiped */
    struct arena *memory;
    struct broker *owner; /* NULL once the broker was freed */
    int users;
};
struct broker_plan *broker_plan_new(const struct broker_settings *s,
                                    struct broker *owner); /* with one user */
struct broker_plan *broker_plan_use(struct broker_plan *p);
void broker_plan_release(struct broker_plan **p); /* the last user's release wipes and frees it */

struct broker_host {
    char name[256];
    int port;
};
/* "host", "host:port", "[v6]", "[v6]:port" or a bare v6 address; -1 and ERR_CONFIG for anything else. */
int broker_host_parse(const char *text, bool tls, struct broker_host *h, struct err *e) MUST_CHECK;

/* Connects to settings.hosts[host], logs in, opens BROKER_CHANNEL. NULL and err: ERR_CONFIG when trying again
 * will not help, else ERR_TEMPORARY. */
amqp_connection_state_t broker_link_open(const struct broker_settings *s, size_t host, int heartbeat_s,
                                         struct err *e);
/* connection.close with a short deadline, then destroy. */
void broker_link_close(amqp_connection_state_t conn);
/* Destroys without a word to the broker; does not block. */
void broker_link_drop(amqp_connection_state_t conn);

/* 0 for a normal reply; else -1 and err: the broker's words (code = its reply code) or the library's. `what`
 * names the step. */
int broker_check_reply(amqp_rpc_reply_t r, const char *what, struct err *e) MUST_CHECK;
/* Fills err from a negative library status; the class is ERR_TEMPORARY. */
int broker_status_error(int status, const char *what, struct err *e);
/* The same from a connection.close or channel.close method. */
int broker_close_error(const amqp_method_t *m, const char *what, struct err *e);

/* --- broker_declare.c --- */

/* Blocking: topology, confirm.select. */
int broker_prepare(amqp_connection_state_t conn, const struct broker_settings *s, struct err *e) MUST_CHECK;
/* Blocking: prefetch and basic.consume for each of settings.consumes. */
int broker_consume_all(amqp_connection_state_t conn, const struct broker_settings *s, unsigned generation,
                       struct err *e) MUST_CHECK;
/* The same, and its opposite, without waiting for answers: a refusal comes as channel.close. Negative library
 * status on failure. */
int broker_send_consume_all(amqp_connection_state_t conn, const struct broker_settings *s,
                            unsigned generation) MUST_CHECK;
int broker_send_cancel_all(amqp_connection_state_t conn, const struct broker_settings *s,
                           unsigned generation) MUST_CHECK;
/* Which of the consumes a tag belongs to, of whatever generation; -1 for none. */
int broker_consumer_index(amqp_bytes_t tag, size_t consume_count);
/* Blocking: declares the queue with its arguments on BROKER_COUNT_CHANNEL, which a refusal closes. *broken:
 * the connection is of no more use. */
int broker_compare_queue(amqp_connection_state_t conn, const struct topology_queue *q, bool *broken,
                         struct err *e) MUST_CHECK;
/* Blocking: passive declare on BROKER_COUNT_CHANNEL, which is opened and closed for it. A missing queue is no
 * error. */
int broker_count_queue(amqp_connection_state_t conn, const char *queue, struct broker_queue_info *info,
                       struct err *e) MUST_CHECK;

/* --- broker_content.c --- */

enum broker_content_state { CONTENT_IDLE = 0, CONTENT_WANTS_HEADER, CONTENT_WANTS_BODY };
enum broker_content_kind { CONTENT_DELIVERY = 0, CONTENT_RETURN };

/* One incoming message while its frames arrive. Everything is copied out of the library's memory frame by
 * frame, so that this memory can be released after each. */
struct broker_content {
    enum broker_content_state state;
    enum broker_content_kind kind;
    size_t max_body_bytes;
    uint64_t expected_bytes, received_bytes;
    struct buf body;
    struct arena *strings;
    struct broker_delivery delivery; /* complete once fed to the end; then valid until the next begin. Of a
                                        return: message_id only */
};
void broker_content_init(struct broker_content *c, size_t max_body_bytes);
void broker_content_fini(struct broker_content *c);
/* A basic.deliver, get-ok or return has come. -1 and err when another message is not finished: the broker
 * broke the protocol. */
int broker_content_begin(struct broker_content *c, enum broker_content_kind kind, struct err *e) MUST_CHECK;
/* A header or body frame. 1: the message is complete, 0: more to come, -1 and err: protocol broken. */
int broker_content_feed(struct broker_content *c, const amqp_frame_t *f, struct err *e) MUST_CHECK;
/* Forgets an unfinished message. */
void broker_content_reset(struct broker_content *c);

/* --- broker_publish.c --- */

struct broker_slot; /* one publish that waits for its confirm */

/* The publishes of this connection by their sequence numbers, which the broker counts from 1: those in [low,
 * next) may wait. */
struct broker_window {
    struct broker_slot *slots; /* NULL on connections without confirms */
    uint64_t low, next;
    size_t count; /* unconfirmed */
    size_t bytes; /* their bodies and properties */
};
void broker_window_init(struct broker_window *w);
void broker_window_fini(struct broker_window *w);
/* basic.ack and basic.nack: calls on_confirm for each publish they answer. */
void broker_window_answer(struct broker *b, uint64_t tag, bool multiple, enum broker_confirm answer);
/* basic.return: the oldest waiting publish with this id has no queue; the ack that follows will not make it a
 * success. */
void broker_window_return(struct broker *b, const char *message_id);
/* The connection is gone: on_confirm for all that wait, then the window is empty and counts from 1 again. */
void broker_window_abandon(struct broker *b);
/* When the oldest unconfirmed publish was sent (loop time); INT64_MAX when there is none. */
int64_t broker_window_oldest_at(const struct broker_window *w);

/* Can the wire carry it? -1 and ERR_DATA if not. *bytes: what it takes there. A message that passes is never
 * refused by the library half written, which would end the connection. */
int broker_message_check(const struct broker_message *m, size_t frame_max, size_t *bytes,
                         struct err *e) MUST_CHECK;
/* Writes one message, persistent and mandatory. A negative library status means that a part of it may be out:
 * drop the connection. */
int broker_message_write(amqp_connection_state_t conn, const struct broker_message *m) MUST_CHECK;

/* --- broker_burst.c: what a turn publishes, on plain TCP --- */
void broker_burst_init(struct buf *burst);
/* Encodes a message that broker_message_check has passed. */
void broker_burst_add(struct buf *burst, const struct broker_message *m, size_t frame_max);
bool broker_burst_is_full(const struct buf *burst); /* send it now */
/* Writes all of it and empties it. -1 and err: a part of a frame may be out, drop the connection. */
int broker_burst_send(struct buf *burst, int fd, struct err *e) MUST_CHECK;

/* --- broker.c and broker_frames.c --- */

enum broker_state { BROKER_WAITING = 0, BROKER_DIALING, BROKER_UP, BROKER_BROKEN };

struct broker {
    struct loop *loop;
    struct broker_settings settings;
    struct broker_handlers on;
    void *arg;
    struct broker_plan *plan;
    enum broker_state state;
    struct loop_timer *timer; /* waiting: the next try; up: heartbeats and the confirm timeout */
    struct loop_timer *kick;  /* the next turn: frames left behind in the library, or a fault to report */
    struct loop_timer *burst_timer; /* the next turn: a burst that nobody flushed */
    size_t host;                    /* tried now or next */
    int failures;                   /* connects that failed or did not last, in a row */
    uint64_t connects;              /* successful ones; the number of the current one is the epoch */
    bool paused;

    /* Of the connection: while up or broken. */
    amqp_connection_state_t conn;
    int fd; /* our duplicate: the library closes its own descriptor as it likes, the loop must not watch a
               closed one */
    struct loop_watch *watch;
    int64_t up_at;
    int64_t unblocked_at; /* the confirm timeout does not run while blocked */
    bool consuming;
    unsigned generation; /* of consumer tags: a new one with each resume */
    bool blocked;
    struct err fault; /* why broken */
    struct broker_content content;
    struct broker_window window;
    struct buf burst; /* frames of publishes that are in the window and not written yet */
};

/* The connection is of no more use; the loss is reported in the next read phase. Of two faults the broker's
 * own words win. */
void broker_break(struct broker *b, const struct err *why);
/* After a write: the library may have read frames meanwhile, which no poll will announce. */
void broker_after_write(struct broker *b);
/* Reads and dispatches what has arrived, within a turn's bound. True when nothing was left to read. Ends
 * early when the connection breaks. */
bool broker_read_frames(struct broker *b);

#endif
