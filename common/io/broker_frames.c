/* What the broker sends while the connection is up. Read without blocking until the library says "timeout",
 * since what it has buffered no poll will announce; handlers run from here. The library's memory is released
 * after each frame: nothing decoded outlives its frame. */
#include "io/broker_private.h"

#include <string.h>
#include <sys/time.h>

enum { FRAMES_PER_TURN = 512 };

static int on_deliver(struct broker *b, const amqp_basic_deliver_t *m, struct err *e)
{
    int index = broker_consumer_index(m->consumer_tag, b->settings.consume_count);
    if (index < 0)
        return err_set(e, ERR_TEMPORARY, 0, "the broker delivered to a consumer that is not ours");
    if (broker_content_begin(&b->content, CONTENT_DELIVERY, e) != 0)
        return -1;
    struct broker_delivery *d = &b->content.delivery;
    d->epoch = b->connects;
    d->delivery_tag = m->delivery_tag;
    d->queue = b->settings.consumes[index].queue;
    d->redelivered = m->redelivered != 0;
    return 0;
}

static int on_cancel(const amqp_basic_cancel_t *m, const struct broker *b, struct err *e)
{
    int index = broker_consumer_index(m->consumer_tag, b->settings.consume_count);
    const char *queue = index < 0 ? "?" : b->settings.consumes[index].queue;
    return err_set(e, ERR_TEMPORARY, 0, "the broker cancelled our consumer of queue '%s' (deleted or moved)",
                   queue);
}

static void set_blocked(struct broker *b, bool blocked)
{
    if (b->blocked == blocked)
        return;
    b->blocked = blocked;
    if (!blocked)
        b->unblocked_at = loop_now_ms(b->loop);
    if (b->on.on_blocked)
        b->on.on_blocked(b->arg, blocked);
}

/* Politeness: it spares the broker a warning. The connection is over whether or not this gets out. */
static void answer_close(struct broker *b)
{
    amqp_connection_close_ok_t close_ok = {0};
    (void)amqp_send_method(b->conn, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &close_ok);
}

static int on_method(struct broker *b, const amqp_method_t *m, struct err *e)
{
    const amqp_basic_ack_t *ack = m->decoded;
    const amqp_basic_nack_t *nack = m->decoded;
    switch (m->id) {
    case AMQP_BASIC_DELIVER_METHOD:
        return on_deliver(b, m->decoded, e);
    case AMQP_BASIC_RETURN_METHOD:
        return broker_content_begin(&b->content, CONTENT_RETURN, e);
    case AMQP_BASIC_ACK_METHOD:
        broker_window_answer(b, ack->delivery_tag, ack->multiple != 0, BROKER_CONFIRMED);
        return 0;
    case AMQP_BASIC_NACK_METHOD:
        broker_window_answer(b, nack->delivery_tag, nack->multiple != 0, BROKER_NACKED);
        return 0;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        set_blocked(b, true);
        return 0;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        set_blocked(b, false);
        return 0;
    case AMQP_BASIC_QOS_OK_METHOD: /* of a resume */
        return 0;
    case AMQP_BASIC_CANCEL_METHOD:
        return on_cancel(m->decoded, b, e);
    case AMQP_CHANNEL_CLOSE_METHOD:
        return broker_close_error(m, "the broker closed the channel", e);
    case AMQP_CONNECTION_CLOSE_METHOD:
        answer_close(b);
        return broker_close_error(m, "the broker closed the connection", e);
    default:
        return err_set(e, ERR_TEMPORARY, AMQP_UNEXPECTED_FRAME, "the broker sent an unexpected method %s",
                       amqp_method_name(m->id));
    }
}

static int on_content(struct broker *b, const amqp_frame_t *f, struct err *e)
{
    struct broker_content *c = &b->content;
    int rc = broker_content_feed(c, f, e);
    if (rc != 1)
        return rc;
    switch (c->kind) {
    case CONTENT_DELIVERY:
        if (b->state == BROKER_UP &&
            b->on.on_delivery) /* from a broken connection it could not be acked any more */
            b->on.on_delivery(b->arg, &c->delivery);
        break;
    case CONTENT_RETURN:
        if (b->window.slots)
            broker_window_return(b, c->delivery.message_id);
        break;
    }
    return 0;
}

bool broker_read_frames(struct broker *b)
{
    for (int n = 0; n < FRAMES_PER_TURN; n++) {
        struct timeval at_once = {0};
        amqp_frame_t f;
        struct err why;
        int status =
            amqp_simple_wait_frame_noblock(b->conn, &f, &at_once); /* sends and checks heartbeats, too */
        if (status == AMQP_STATUS_TIMEOUT)
            return true;
        int rc = -1;
        if (status != AMQP_STATUS_OK)
            broker_status_error(status, "connection lost", &why);
        else if (f.frame_type == AMQP_FRAME_METHOD)
            rc = on_method(b, &f.payload.method, &why);
        else
            rc = on_content(b, &f, &why);
        if (rc != 0) {
            broker_break(b, &why);
            return true;
        }
        amqp_maybe_release_buffers(b->conn);
    }
    return false;
}
