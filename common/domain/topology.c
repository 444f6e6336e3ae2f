/* The topology as data. The dead-letter and parked queues come first: with at-least-once dead-lettering a
 * message whose target does not exist yet stays inside its source, and no listing shows it. */
#include "domain/topology.h"

#include <stdio.h>
#include <string.h>

/* Delivery limits are always given: RabbitMQ 4.x would apply 20 to every quorum queue and drop what exceeds
 * it where there is no dead-letter exchange, as on the parked queues. */
enum { WORK_DELIVERY_LIMIT = 20, PARKED_DELIVERY_LIMIT = 1000000 };

static void add_str(struct topology_queue *q, const char *name, const char *value)
{
    q->args[q->arg_count++] = (struct topology_arg){.name = name, .kind = TOPOLOGY_ARG_STR, .str = value};
}

static void add_int(struct topology_queue *q, const char *name, int64_t value)
{
    q->args[q->arg_count++] = (struct topology_arg){.name = name, .kind = TOPOLOGY_ARG_INT, .i = value};
}

static void add_true(struct topology_queue *q, const char *name)
{
    q->args[q->arg_count++] = (struct topology_arg){.name = name, .kind = TOPOLOGY_ARG_BOOL, .i = 1};
}

static struct topology_queue *add_queue(struct topology *t, const char *name)
{
    struct topology_queue *q = &t->queues[t->queue_count++];
    q->name = name;
    return q;
}

/* RabbitMQ falls back to at-most-once, with no more than a log line, unless the queue also rejects on
 * overflow. */
static void add_at_least_once(struct topology_queue *q)
{
    add_str(q, "x-dead-letter-strategy", "at-least-once");
    add_str(q, "x-overflow", "reject-publish");
}

static void add_parked(struct topology *t, const char *name)
{
    struct topology_queue *q = add_queue(t, name);
    add_str(q, "x-queue-type", "quorum");
    add_int(q, "x-delivery-limit", PARKED_DELIVERY_LIMIT);
}

/* The queue and the fanout exchange of the same name, so that both readings of spec 004's "dlx_agent" work.
 */
static void add_dead_letter(struct topology *t, const char *name, const char *parked)
{
    struct topology_queue *q = add_queue(t, name);
    q->bind_exchange = name;
    add_str(q, "x-queue-type", "quorum");
    add_str(q, "x-dead-letter-exchange", "");
    add_str(q, "x-dead-letter-routing-key", parked);
    add_at_least_once(q);
    add_int(q, "x-delivery-limit", WORK_DELIVERY_LIMIT);
    t->exchanges[t->exchange_count++] = name;
}

static struct topology_queue *add_work(struct topology *t, const char *name, int64_t ttl_ms, const char *dlx)
{
    struct topology_queue *q = add_queue(t, name);
    add_int(q, "x-message-ttl", ttl_ms);
    add_str(q, "x-dead-letter-exchange", dlx);
    return q;
}

static void make_quorum(struct topology_queue *q)
{
    add_str(q, "x-queue-type", "quorum");
    add_at_least_once(q);
    add_int(q, "x-delivery-limit", WORK_DELIVERY_LIMIT);
}

void topology_build(const struct topology_settings *s, struct topology *t)
{
    *t = (struct topology){.mode = s->mode};
    add_parked(t, TOPOLOGY_AG_PARKED);
    add_parked(t, TOPOLOGY_WB_PARKED);
    add_dead_letter(t, TOPOLOGY_DLX_AGENT, TOPOLOGY_AG_PARKED);
    add_dead_letter(t, TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_WB_PARKED);

    struct topology_queue *agent = add_work(t, s->agent_queue, s->agent_ttl_ms, TOPOLOGY_DLX_AGENT);
    struct topology_queue *webhook = add_work(t, s->webhook_queue, s->webhook_ttl_ms, TOPOLOGY_DLX_WEBHOOK);
    switch (s->queue_type) {
    case TOPOLOGY_QUORUM:
        make_quorum(agent);
        make_quorum(webhook);
        add_true(webhook, "x-single-active-consumer");
        break;
    case TOPOLOGY_CLASSIC: /* exactly spec 004's arguments: any more would clash with an agent's own
                              declaration */
        break;
    }
}

/* --- 406 explained --- */

struct span {
    const char *at;
    int len;
};

/* What stands between `before` and the next `after`; false when either is missing (the broker cuts its text
 * at 255 bytes). */
static bool span_between(const char *text, const char *before, const char *after, struct span *out)
{
    const char *start = strstr(text, before);
    if (start == NULL)
        return false;
    start += strlen(before);
    const char *end = strstr(start, after);
    if (end == NULL)
        return false;
    *out = (struct span){start, (int)(end - start)};
    return true;
}

/* RabbitMQ words a value in three ways: 'v', none, and the value 'v' of type 'long'. */
static struct span span_value(struct span phrase)
{
    const char *open = memchr(phrase.at, '\'', (size_t)phrase.len);
    if (open == NULL)
        return phrase;
    const char *limit = phrase.at + phrase.len;
    const char *close = memchr(open + 1, '\'', (size_t)(limit - open - 1));
    if (close == NULL)
        return phrase;
    return (struct span){open + 1, (int)(close - open - 1)};
}

static bool span_is(struct span s, const char *word)
{
    return strlen(word) == (size_t)s.len && memcmp(s.at, word, (size_t)s.len) == 0;
}

static const char *way_out(struct span arg)
{
    if (span_is(arg, "x-message-ttl"))
        return "set topology.agent_ttl_ms or topology.webhook_ttl_ms to the live value";
    if (span_is(arg, "x-queue-type"))
        return "set topology.queue_type to the live type";
    return "have its owner declare it with the wanted value";
}

void topology_explain_406(const char *queue, const char *server_text, char *out, size_t out_size)
{
    struct span arg, noun, wanted;
    bool known = span_between(server_text, "inequivalent arg '", "'", &arg) &&
                 span_between(server_text, "' for ", " '", &noun) &&
                 span_between(server_text, "received ", " but current is ", &wanted);
    if (!known) {
        snprintf(out, out_size, "'%s': %s", queue, server_text);
        return;
    }
    const char *current = strstr(wanted.at, " but current is ") + strlen(" but current is ");
    struct span live = span_value((struct span){current, (int)strlen(current)});
    wanted = span_value(wanted);
    snprintf(out, out_size,
             "%.*s '%s' exists with %.*s = %.*s, but %.*s is wanted; nothing was changed: %s, or use "
             "topology.mode = \"passive\", "
             "or drain and delete it so that it is declared anew",
             noun.len, noun.at, queue, arg.len, arg.at, live.len, live.at, wanted.len, wanted.at,
             way_out(arg));
}
