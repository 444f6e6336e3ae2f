/* The dead-letter workbench. A message is in two queues for a moment, never in none: the copy is confirmed
 * before the old one is acked. Its generation is committed before it is published, so that a run that dies
 * and is started again does not deliver it twice. */
#include "consumer/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "domain/contact.h"
#include "domain/peers.h"
#include "io/broker.h"
#include "io/db.h"

enum { LIMIT_DEFAULT = 10, LIMIT_MAX = 100000, CONFIRM_TIMEOUT_MS = 30000, ID_SIZE = 256 };

struct options {
    const char *verb, *queue;
    long limit;
    bool execute;
};

struct run {
    const struct config *config;
    struct options options;
    const char *target; /* queue to publish to */
    struct broker_session *broker;
    struct db_session *db;
    struct db_params params;
    char who[64];
    long done;
};

/* Where a queue's messages came from. NULL: not a dead-letter queue. */
static const char *origin_of(const struct config *c, const char *queue)
{
    if (strcmp(queue, TOPOLOGY_DLX_WEBHOOK) == 0 || strcmp(queue, TOPOLOGY_WB_PARKED) == 0)
        return c->topology.webhook_queue;
    if (strcmp(queue, TOPOLOGY_DLX_AGENT) == 0 || strcmp(queue, TOPOLOGY_AG_PARKED) == 0)
        return c->topology.agent_queue;
    return NULL;
}

static int parse_limit(const char *text, long *limit, struct err *e)
{
    char *end;

    *limit = strtol(text, &end, 10);
    if (*end || end == text || *limit < 1 || *limit > LIMIT_MAX)
        return err_set(e, ERR_USAGE, 0, "dlq: --limit: expected 1 to %d, found '%s'", LIMIT_MAX, text);
    return 0;
}

static int parse_option(struct options *o, int argc, char **argv, int *i, struct err *e)
{
    if (strcmp(argv[*i], "--limit") == 0) {
        if (++*i == argc)
            return err_set(e, ERR_USAGE, 0, "dlq: --limit needs a number");
        return parse_limit(argv[*i], &o->limit, e);
    }
    if (strcmp(argv[*i], "--execute") == 0) {
        o->execute = true;
        return 0;
    }
    if (argv[*i][0] == '-' || o->queue)
        return err_set(e, ERR_USAGE, 0, "dlq: unexpected argument '%s'", argv[*i]);
    o->queue = argv[*i];
    return 0;
}

static int parse_options(const struct config *c, int argc, char **argv, struct options *o, struct err *e)
{
    *o = (struct options){.limit = LIMIT_DEFAULT};
    if (argc == 0 || (strcmp(argv[0], "list") != 0 && strcmp(argv[0], "replay") != 0))
        return err_set(e, ERR_USAGE, 0, "dlq: expected list or replay, found '%s'",
                       argc ? argv[0] : "nothing");
    o->verb = argv[0];
    for (int i = 1; i < argc; i++) {
        if (parse_option(o, argc, argv, &i, e) != 0)
            return -1;
    }
    if (strcmp(o->verb, "replay") == 0 && !o->queue)
        return err_set(e, ERR_USAGE, 0, "dlq replay: which queue? (%s, %s, %s or %s)", TOPOLOGY_WB_PARKED,
                       TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_AGENT);
    if (o->queue && !origin_of(c, o->queue))
        return err_set(e, ERR_USAGE, 0, "dlq: '%s' is no dead-letter queue (%s, %s, %s, %s are)", o->queue,
                       TOPOLOGY_WB_PARKED, TOPOLOGY_DLX_WEBHOOK, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_AGENT);
    return 0;
}

static const char *header_text(const struct broker_delivery *d, const char *name)
{
    for (size_t i = 0; i < d->header_count; i++) {
        if (strcmp(d->headers[i].name, name) == 0 && d->headers[i].str)
            return d->headers[i].str;
    }
    return "";
}

/* One line a message: id, why it died, and the exact words. Never its text. */
static void print_message(const struct broker_delivery *d)
{
    const char *reason = header_text(d, "agwb-reason");

    if (!reason[0])
        reason = d->death.reason ? d->death.reason : "-";
    printf("%-40s %-12s %7zu bytes  %s\n", d->message_id ? d->message_id : "-", reason, d->body_len,
           header_text(d, "agwb-error"));
}

static int list_queues(struct run *r, struct err *e)
{
    static const char *const QUEUES[] = {TOPOLOGY_DLX_AGENT, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_WEBHOOK,
                                         TOPOLOGY_WB_PARKED};
    uint32_t count;

    for (size_t i = 0; i < sizeof QUEUES / sizeof QUEUES[0]; i++) {
        if (broker_session_count(r->broker, QUEUES[i], &count, e) != 0)
            return -1;
        printf("%-14s %" PRIu32 "\n", QUEUES[i], count);
    }
    return 0;
}

/* What was fetched and not acked returns to the queue when the session closes. */
static int list_messages(struct run *r, struct err *e)
{
    struct broker_delivery d;
    int rc = 1;

    for (long i = 0; i < r->options.limit && rc == 1; i++) {
        rc = broker_session_get(r->broker, r->options.queue, &d, e);
        if (rc == 1)
            print_message(&d);
    }
    return rc < 0 ? -1 : 0;
}

/* A message without an id is known by its body. */
static void identify(const struct broker_delivery *d, char id[ID_SIZE])
{
    static const char NAMESPACE[] = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"; /* RFC 9562: ISO OID */
    char uuid[UUID_TEXT_LEN + 1];

    if (d->message_id) {
        snprintf(id, ID_SIZE, "%s", d->message_id);
        return;
    }
    uuid_v5(NAMESPACE, d->body, d->body_len, uuid);
    snprintf(id, ID_SIZE, "body-%s", uuid);
}

static int begin(struct run *r, const char *id, int32_t *generation, struct err *e)
{
    struct db_result *result;

    db_params_clear(&r->params);
    db_param_text(&r->params, id);
    db_param_text(&r->params, r->options.queue);
    db_param_text(&r->params, r->who);
    result = db_session_query(r->db, "select agwb.begin_replay($1, $2, $3)", &r->params, e);
    if (!result)
        return -1;
    *generation = (int32_t)db_int(result, 0, 0);
    db_result_free(&result);
    return 0;
}

static int end(struct run *r, const char *id, int32_t generation, struct err *e)
{
    struct db_result *result;

    db_params_clear(&r->params);
    db_param_text(&r->params, id);
    db_param_int4(&r->params, generation);
    result = db_session_query(r->db, "select agwb.end_replay($1, $2)", &r->params, e);
    if (!result)
        return -1;
    db_result_free(&result);
    return 0;
}

static int publish(struct run *r, const struct broker_delivery *d, int32_t generation, struct err *e)
{
    const char *traceparent = header_text(d, "traceparent");
    struct broker_header headers[] = {{.name = REPLAY_HEADER, .i = generation},
                                      {.name = "traceparent", .str = traceparent}};
    struct broker_message m = {.exchange = "",
                               .routing_key = r->target,
                               .body = d->body,
                               .body_len = d->body_len,
                               .message_id = d->message_id,
                               .correlation_id = d->correlation_id,
                               .content_type = d->content_type ? d->content_type : "application/json",
                               .app_id = "agwb-consumer",
                               .timestamp_s = clock_wall_ms() / 1000,
                               .expiration_ms = -1,
                               .headers = headers,
                               .header_count = traceparent[0] ? 2 : 1};

    return broker_session_publish(r->broker, &m, CONFIRM_TIMEOUT_MS, e);
}

static int replay_one(struct run *r, const struct broker_delivery *d, struct err *e)
{
    char id[ID_SIZE];
    int32_t generation;

    if (!d->body)
        return err_set(e, ERR_DATA, 0, "message %s: its body of %zu bytes is too large to replay",
                       d->message_id ? d->message_id : "-", d->body_len);
    identify(d, id);
    if (begin(r, id, &generation, e) != 0 || publish(r, d, generation, e) != 0 ||
        end(r, id, generation, e) != 0)
        return err_prefix(e, "message %s", id);
    return broker_session_ack(r->broker, d->delivery_tag, e);
}

/* Counted at the start: what dies again meanwhile is not taken a second time. */
static int replay_messages(struct run *r, struct err *e)
{
    struct broker_delivery d;
    uint32_t count;
    int rc = 1;

    if (broker_session_count(r->broker, r->options.queue, &count, e) != 0)
        return -1;
    if ((long)count < r->options.limit)
        r->options.limit = (long)count;
    while (r->done < r->options.limit && rc == 1) {
        rc = broker_session_get(r->broker, r->options.queue, &d, e);
        if (rc != 1)
            break;
        print_message(&d);
        if (r->options.execute && replay_one(r, &d, e) != 0)
            return -1;
        r->done++;
    }
    printf("%s %ld of %" PRIu32 " from %s to %s%s\n", r->options.execute ? "replayed" : "would replay",
           r->done, count, r->options.queue, r->target,
           r->options.execute ? "" : " (dry run: --execute does it)");
    return rc < 0 ? -1 : 0;
}

static int run_verb(struct run *r, struct err *e)
{
    struct db_settings db = peers_db_settings(r->config, "agwb-consumer dlq");

    if (strcmp(r->options.verb, "list") == 0)
        return r->options.queue ? list_messages(r, e) : list_queues(r, e);
    r->target = origin_of(r->config, r->options.queue);
    r->db = db_session_open(&db, e);
    return r->db ? replay_messages(r, e) : -1;
}

int replay_command(const struct config *c, int argc, char **argv, struct err *e)
{
    struct run r = {.config = c};
    struct broker_settings settings = peers_broker_settings(c, "agwb-consumer dlq");
    const char *user = getenv("USER");
    int rc = -1;

    if (parse_options(c, argc, argv, &r.options, e) != 0)
        return -1;
    settings.max_body_bytes = 16u << 20;
    snprintf(r.who, sizeof r.who, "%.40s (uid %ld)", user ? user : "unknown", (long)getuid());
    db_params_init(&r.params);
    r.broker = broker_session_open(&settings, e);
    if (r.broker)
        rc = run_verb(&r, e);
    broker_session_close(&r.broker);
    db_session_close(&r.db);
    db_params_fini(&r.params);
    return rc;
}
