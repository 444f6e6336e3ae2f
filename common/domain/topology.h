/* The exchanges and queues of DESIGN 2 as data: what to declare, in which order, with which arguments.
 * Knows no broker client; io/broker carries it out. Order is targets first, sources last, since
 * at-least-once dead-lettering into a missing queue piles up unseen. */
#ifndef AGWB_DOMAIN_TOPOLOGY_H
#define AGWB_DOMAIN_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum topology_mode { TOPOLOGY_DECLARE = 0, TOPOLOGY_PASSIVE, TOPOLOGY_NONE };
enum topology_queue_type { TOPOLOGY_QUORUM = 0, TOPOLOGY_CLASSIC };

enum topology_arg_kind { TOPOLOGY_ARG_STR = 0, TOPOLOGY_ARG_INT, TOPOLOGY_ARG_BOOL };

struct topology_arg {
    const char *name; /* "x-message-ttl" */
    enum topology_arg_kind kind;
    const char *str;
    int64_t i; /* INT, and BOOL as 0/1 */
};

enum { TOPOLOGY_MAX_ARGS = 8, TOPOLOGY_MAX_QUEUES = 6, TOPOLOGY_MAX_EXCHANGES = 2 };

struct topology_queue {
    const char *name;
    const char *bind_exchange; /* fanout exchange bound to this queue, or NULL */
    struct topology_arg args[TOPOLOGY_MAX_ARGS];
    size_t arg_count;
};

struct topology {
    enum topology_mode mode;
    const char *exchanges[TOPOLOGY_MAX_EXCHANGES]; /* durable fanout */
    size_t exchange_count;
    struct topology_queue queues[TOPOLOGY_MAX_QUEUES]; /* in the order to declare */
    size_t queue_count;
};

struct topology_settings {
    enum topology_mode mode;
    enum topology_queue_type queue_type;
    const char *agent_queue;   /* "ag_queue" */
    const char *webhook_queue; /* "wb_queue" */
    int64_t agent_ttl_ms;
    int64_t webhook_ttl_ms;
};

/* The fixed names beside the two configurable ones. */
#define TOPOLOGY_DLX_AGENT   "dlx_agent"
#define TOPOLOGY_DLX_WEBHOOK "dlx_webhook"
#define TOPOLOGY_AG_PARKED   "ag_parked"
#define TOPOLOGY_WB_PARKED   "wb_parked"

/* Fills *t from the settings, whose strings are borrowed for the life of *t. In classic mode only the two
 * work queues are declared classic with exactly TTL and DLX; the dead-letter and parked queues stay
 * quorum. */
void topology_build(const struct topology_settings *s, struct topology *t);

/* A broker's 406 text ("PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/':
 * received '1' but current is '2'") as one line for an operator: queue, argument, live value, wanted value
 * and the way out. Any other text is passed on with the queue's name. out is always terminated. */
void topology_explain_406(const char *queue, const char *server_text, char *out, size_t out_size);

#endif
