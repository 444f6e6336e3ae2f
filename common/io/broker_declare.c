/* What a connection sets up on its channel: exchanges, queues, bindings, confirms, prefetch and consumers.
 * Nothing is ever deleted or changed: where the broker's state differs, that is a fault for a person. */
#include "io/broker_private.h"

#include <stdio.h>
#include <string.h>

static int check_last(amqp_connection_state_t conn, const char *verb, const char *name, struct err *e)
{
    char what[BROKER_SHORTSTR_MAX + 32];
    snprintf(what, sizeof what, "%s '%s'", verb, name);
    return broker_check_reply(amqp_get_rpc_reply(conn), what, e);
}

/* --- topology --- */

static amqp_field_value_t field_of(const struct topology_arg *a)
{
    switch (a->kind) {
    case TOPOLOGY_ARG_STR:
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_UTF8,
                                    .value = {.bytes = amqp_cstring_bytes(a->str)}};
    case TOPOLOGY_ARG_INT:
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = a->i}};
    case TOPOLOGY_ARG_BOOL:
        return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = a->i != 0}};
    }
    return (amqp_field_value_t){.kind = AMQP_FIELD_KIND_VOID};
}

static int explain_mismatch(const char *name, struct err *e)
{
    if (e->code != AMQP_PRECONDITION_FAILED)
        return -1;
    const char *said = strstr(e->text, "PRECONDITION_FAILED");
    char text[sizeof e->text];
    topology_explain_406(name, said ? said : e->text, text, sizeof text);
    return err_set(e, ERR_CONFIG, AMQP_PRECONDITION_FAILED, "%s", text);
}

static int declare_exchange(amqp_connection_state_t conn, const char *name, bool passive, struct err *e)
{
    amqp_exchange_declare(conn, BROKER_CHANNEL, amqp_cstring_bytes(name), amqp_cstring_bytes("fanout"),
                          passive, 1, 0, 0, amqp_empty_table);
    if (check_last(conn, "exchange", name, e) != 0)
        return explain_mismatch(name, e);
    return 0;
}

static int declare_alone(amqp_connection_state_t conn, amqp_channel_t channel, const struct topology_queue *q,
                         bool passive, struct err *e)
{
    amqp_table_entry_t entries[TOPOLOGY_MAX_ARGS];
    for (size_t i = 0; i < q->arg_count; i++)
        entries[i] = (amqp_table_entry_t){amqp_cstring_bytes(q->args[i].name), field_of(&q->args[i])};
    amqp_table_t arguments = passive ? amqp_empty_table : (amqp_table_t){(int)q->arg_count, entries};
    amqp_queue_declare(conn, channel, amqp_cstring_bytes(q->name), passive, 1, 0, 0, arguments);
    if (check_last(conn, "queue", q->name, e) != 0)
        return explain_mismatch(q->name, e);
    return 0;
}

static int declare_queue(amqp_connection_state_t conn, const struct topology_queue *q, bool passive,
                         struct err *e)
{
    if (declare_alone(conn, BROKER_CHANNEL, q, passive, e) != 0)
        return -1;
    if (passive || q->bind_exchange == NULL)
        return 0;
    amqp_queue_bind(conn, BROKER_CHANNEL, amqp_cstring_bytes(q->name), amqp_cstring_bytes(q->bind_exchange),
                    amqp_empty_bytes, amqp_empty_table);
    return check_last(conn, "binding of queue", q->name, e);
}

static int declare_topology(amqp_connection_state_t conn, const struct topology *t, struct err *e)
{
    if (t->mode == TOPOLOGY_NONE)
        return 0;
    bool passive = t->mode == TOPOLOGY_PASSIVE;
    for (size_t i = 0; i < t->exchange_count; i++) {
        if (declare_exchange(conn, t->exchanges[i], passive, e) != 0)
            return -1;
    }
    for (size_t i = 0; i < t->queue_count; i++) {
        if (declare_queue(conn, &t->queues[i], passive, e) != 0)
            return -1;
        amqp_maybe_release_buffers(conn);
    }
    return 0;
}

int broker_prepare(amqp_connection_state_t conn, const struct broker_settings *s, struct err *e)
{
    if (s->topology && declare_topology(conn, s->topology, e) != 0)
        return -1;
    if (s->confirms) {
        amqp_confirm_select(conn, BROKER_CHANNEL);
        return broker_check_reply(amqp_get_rpc_reply(conn), "confirm.select", e);
    }
    return 0;
}

/* --- consumers --- */

/* A resumed consumer gets a new tag: under the old one the broker still counts what was delivered before the
 * pause. */
static amqp_bytes_t consumer_tag(size_t index, unsigned generation, char out[BROKER_TAG_SIZE])
{
    snprintf(out, BROKER_TAG_SIZE, "agwb-%zu-%u", index, generation);
    return amqp_cstring_bytes(out);
}

_Static_assert(BROKER_MAX_CONSUMES <= 10, "a consumer tag has one digit for the index");

int broker_consumer_index(amqp_bytes_t tag, size_t consume_count)
{
    static const char prefix[] = "agwb-";
    const size_t at = sizeof prefix - 1;
    const char *text = tag.bytes;
    if (tag.len < at + 2 || memcmp(text, prefix, at) != 0 || text[at + 1] != '-')
        return -1;
    int index = text[at] - '0';
    return index >= 0 && (size_t)index < consume_count ? index : -1;
}

/* Prefetch holds for the consumers made after it (global = 0; quorum queues refuse the other kind). */
int broker_consume_all(amqp_connection_state_t conn, const struct broker_settings *s, unsigned generation,
                       struct err *e)
{
    for (size_t i = 0; i < s->consume_count; i++) {
        const struct broker_consume *c = &s->consumes[i];
        char tag[BROKER_TAG_SIZE];
        amqp_basic_qos(conn, BROKER_CHANNEL, 0, c->prefetch, 0);
        if (check_last(conn, "prefetch of queue", c->queue, e) != 0)
            return -1;
        amqp_basic_consume(conn, BROKER_CHANNEL, amqp_cstring_bytes(c->queue),
                           consumer_tag(i, generation, tag), 0, 0, 0, amqp_empty_table);
        if (check_last(conn, "consume from queue", c->queue, e) != 0)
            return -1;
    }
    return 0;
}

int broker_send_consume_all(amqp_connection_state_t conn, const struct broker_settings *s,
                            unsigned generation)
{
    int status = AMQP_STATUS_OK;
    for (size_t i = 0; i < s->consume_count && status == AMQP_STATUS_OK; i++) {
        const struct broker_consume *c = &s->consumes[i];
        char tag[BROKER_TAG_SIZE];
        amqp_basic_qos_t qos = {.prefetch_count = c->prefetch};
        amqp_basic_consume_t consume = {.queue = amqp_cstring_bytes(c->queue),
                                        .consumer_tag = consumer_tag(i, generation, tag),
                                        .nowait = 1,
                                        .arguments = amqp_empty_table};
        status = amqp_send_method(conn, BROKER_CHANNEL, AMQP_BASIC_QOS_METHOD, &qos);
        if (status == AMQP_STATUS_OK)
            status = amqp_send_method(conn, BROKER_CHANNEL, AMQP_BASIC_CONSUME_METHOD, &consume);
    }
    return status;
}

int broker_send_cancel_all(amqp_connection_state_t conn, const struct broker_settings *s, unsigned generation)
{
    int status = AMQP_STATUS_OK;
    for (size_t i = 0; i < s->consume_count && status == AMQP_STATUS_OK; i++) {
        char tag[BROKER_TAG_SIZE];
        amqp_basic_cancel_t cancel = {.consumer_tag = consumer_tag(i, generation, tag), .nowait = 1};
        status = amqp_send_method(conn, BROKER_CHANNEL, AMQP_BASIC_CANCEL_METHOD, &cancel);
    }
    return status;
}

/* --- looking --- */

/* A refusal has closed the channel. The library does not answer by itself, and the number could not be opened
 * again. */
static int answer_close(amqp_connection_state_t conn, struct err *e)
{
    amqp_channel_close_ok_t close_ok = {0};
    int status = amqp_send_method(conn, BROKER_COUNT_CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok);
    return status == AMQP_STATUS_OK ? 0 : broker_status_error(status, "channel", e);
}

int broker_compare_queue(amqp_connection_state_t conn, const struct topology_queue *q, bool *broken,
                         struct err *e)
{
    amqp_channel_open(conn, BROKER_COUNT_CHANNEL);
    *broken = broker_check_reply(amqp_get_rpc_reply(conn), "channel", e) != 0;
    if (*broken)
        return -1;
    if (declare_alone(conn, BROKER_COUNT_CHANNEL, q, false, e) != 0) {
        *broken = e->class != ERR_CONFIG || answer_close(conn, e) != 0;
        return -1;
    }
    *broken = broker_check_reply(amqp_channel_close(conn, BROKER_COUNT_CHANNEL, AMQP_REPLY_SUCCESS),
                                 "channel", e) != 0;
    return *broken ? -1 : 0;
}

int broker_count_queue(amqp_connection_state_t conn, const char *queue, struct broker_queue_info *info,
                       struct err *e)
{
    *info = (struct broker_queue_info){.queue = queue};
    amqp_channel_open(conn, BROKER_COUNT_CHANNEL);
    if (broker_check_reply(amqp_get_rpc_reply(conn), "channel", e) != 0)
        return -1;
    const amqp_queue_declare_ok_t *ok = amqp_queue_declare(
        conn, BROKER_COUNT_CHANNEL, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    if (ok != NULL) {
        info->exists = true;
        info->messages = ok->message_count;
        info->consumers = ok->consumer_count;
        return broker_check_reply(amqp_channel_close(conn, BROKER_COUNT_CHANNEL, AMQP_REPLY_SUCCESS),
                                  "channel", e);
    }
    int failed = check_last(conn, "queue", queue, e);
    bool missing = e->class == ERR_CONFIG && e->code == AMQP_NOT_FOUND;
    if (!missing)
        return failed;
    if (answer_close(conn, e) != 0)
        return -1;
    *e = (struct err){0};
    return 0;
}
