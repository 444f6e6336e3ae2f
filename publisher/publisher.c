/* Wires inbox, intake, outbox and the connections to the daemon: start, ready, drain. Decides nothing about a
 * job. */
#include "publisher/publisher.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "domain/alert.h"
#include "domain/families.h"
#include "domain/listening.h"
#include "domain/peers.h"
#include "domain/schema.h"
#include "domain/standstill.h"
#include "io/broker.h"
#include "io/db.h"
#include "publisher/backlog.h"
#include "publisher/inbox.h"
#include "publisher/intake.h"
#include "publisher/outbox.h"
#include "publisher/retention.h"

enum { QUEUE_POLL_MS = 15000 };

struct publisher {
    struct daemon *daemon;
    struct metrics *metrics;
    char owner[PEERS_OWNER_SIZE];
    struct topology topology;
    struct broker *broker;
    struct db *claim_db, *record_db, *inbox_db;
    struct listening *listening; /* NULL: it does not listen */
    struct inbox *inbox;
    struct intake *intake;
    struct outbox *outbox;
    struct retention *retention;
    struct alerts *alerts;
    struct backlog *backlog;
    struct schema_check schema;
    bool schema_good;
    bool ready_once;
    bool draining, finished;
    struct loop_timer *queue_timer;
    bool queues_known, queue_exists;
    struct standstill unread; /* requests wait and no agent reads them */
    struct log_gate down_gate;
    uint64_t broker_reconnects, db_reconnects;
};

/* Before the first READY a refusal ends start-up: someone must change something. Later it may pass (rights
 * being rotated), so we go on. */
static void refused(struct publisher *p, const char *peer, const struct err *why)
{
    int64_t held;

    if (!p->ready_once) {
        daemon_fail(p->daemon, why);
        return;
    }
    if (log_gate_pass(&p->down_gate, 10000, &held))
        log_error("refused, trying on", log_str("peer", peer), log_str("reason", why->text),
                  log_int("held_back", held));
}

static void on_broker_up(void *arg)
{
    struct publisher *p = arg;

    log_info("broker connected", log_str("peer", "broker"));
    intake_wake(p->intake);
}

static void on_broker_down(void *arg, const struct err *why)
{
    struct publisher *p = arg;

    peers_log_lost("broker", why);
    outbox_on_broker_down(p->outbox);
}

static void on_broker_refused(void *arg, const struct err *why)
{
    refused(arg, "broker", why);
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    struct publisher *p = arg;

    outbox_on_confirm(p->outbox, cookie, result);
    /* A confirm makes room, and an intake that waits for room still knows what it wants. To wake it would be
     * a claim of nothing for each single row. */
    if (result != BROKER_CONFIRMED)
        intake_wake(p->intake);
}

static void on_blocked(void *arg, bool blocked)
{
    struct publisher *p = arg;

    log_warn(blocked ? "broker blocks publishing (resource alarm), intake waits"
                     : "broker takes publishes again",
             log_bool("blocked", blocked));
    intake_wake(p->intake);
}

static void on_schema(void *arg, const struct err *e)
{
    struct publisher *p = arg;

    if (e) {
        daemon_fail(p->daemon, e);
        return;
    }
    p->schema_good = true;
    if (p->draining)
        return;
    intake_open(p->intake);
    inbox_open(p->inbox);
    retention_open(p->retention);
    backlog_open(p->backlog);
}

static void on_claim_db_up(void *arg)
{
    struct publisher *p = arg;

    log_info("database connected", log_str("peer", "database"));
    listening_up(p->listening);
    intake_wake(p->intake);
    schema_check_ask(&p->schema);
}

static void on_claim_db_down(void *arg, const struct err *why)
{
    struct publisher *p = arg;

    (void)p;
    peers_log_lost("database", why);
}

static void on_notify(void *arg, bool idle)
{
    struct publisher *p = arg;

    listening_heard(p->listening, idle);
    intake_wake(p->intake);
}

static void on_db_refused(void *arg, const struct err *why)
{
    refused(arg, "database", why);
}

static void on_record_db_up(void *arg)
{
    (void)arg;
}

static void on_inbox_db_up(void *arg)
{
    struct publisher *p = arg;

    inbox_wake(p->inbox);
}

static void on_inbox_notify(void *arg, bool idle)
{
    struct publisher *p = arg;

    (void)idle;
    inbox_wake(p->inbox);
}

/* What is wrong with the database, the first connection says. */
static void on_other_db_down(void *arg, const struct err *why)
{
    (void)arg;
    log_debug("further database connection lost", log_str("reason", why->text));
}

static void on_queues(void *arg, const struct broker_queue_info *infos, size_t count, const struct err *e)
{
    struct publisher *p = arg;

    (void)e; /* a lost connection is reported by its own handler */
    for (size_t i = 0; i < count; i++) {
        metric_set(p->metrics, &METRIC_QUEUE_MESSAGES, infos[i].messages, infos[i].queue, NULL);
        metric_set(p->metrics, &METRIC_QUEUE_CONSUMERS, infos[i].consumers, infos[i].queue, NULL);
        p->queue_exists = infos[i].exists;
        p->queues_known = true;
        (void)standstill_look(&p->unread, infos[i].messages > 0 && infos[i].consumers == 0, 0,
                              loop_now_ms(daemon_loop(p->daemon)));
        if (p->unread.is_waiting)
            loop_timer_start(p->queue_timer, STANDSTILL_LOOK_MS);
    }
}

static void on_queue_timer(void *arg)
{
    struct publisher *p = arg;

    if (broker_is_up(p->broker))
        broker_query_queues(p->broker, &daemon_config(p->daemon)->topology.agent_queue, 1, on_queues, p);
    loop_timer_start(p->queue_timer, QUEUE_POLL_MS);
}

static void count_reconnects(struct publisher *p)
{
    uint64_t broker = broker_reconnects(p->broker),
             db = db_reconnects(p->claim_db) + db_reconnects(p->record_db) + db_reconnects(p->inbox_db);

    metric_add(p->metrics, &METRIC_RECONNECTS, (double)(broker - p->broker_reconnects), "broker", NULL);
    metric_add(p->metrics, &METRIC_RECONNECTS, (double)(db - p->db_reconnects), "database", NULL);
    p->broker_reconnects = broker;
    p->db_reconnects = db;
}

static void on_turn(void *arg)
{
    struct publisher *p = arg;

    if (!p->ready_once && p->schema_good && broker_is_up(p->broker) && db_is_up(p->record_db) &&
        db_is_up(p->inbox_db)) {
        p->ready_once = true;
        daemon_ready(p->daemon, "taking jobs");
        on_queue_timer(p);
    }
    inbox_turn(p->inbox);
    intake_turn(p->intake);
    outbox_turn(p->outbox);
    retention_turn(p->retention);
    if (p->draining && !p->finished && inbox_is_idle(p->inbox) && intake_is_idle(p->intake) &&
        outbox_is_idle(p->outbox)) {
        p->finished = true;
        daemon_finished(p->daemon);
    }
}

static void connect_servers(struct publisher *p)
{
    static const struct broker_handlers BROKER = {.on_up = on_broker_up,
                                                  .on_down = on_broker_down,
                                                  .on_refused = on_broker_refused,
                                                  .on_confirm = on_confirm,
                                                  .on_blocked = on_blocked};
    static const struct db_handlers CLAIM = {.on_up = on_claim_db_up,
                                             .on_down = on_claim_db_down,
                                             .on_refused = on_db_refused,
                                             .on_notify = on_notify};
    static const struct db_handlers RECORD = {
        .on_up = on_record_db_up, .on_down = on_other_db_down, .on_refused = on_db_refused};
    static const struct db_handlers INBOX = {.on_up = on_inbox_db_up,
                                             .on_down = on_other_db_down,
                                             .on_refused = on_db_refused,
                                             .on_notify = on_inbox_notify};
    struct loop *loop = daemon_loop(p->daemon);
    const struct config *c = daemon_config(p->daemon);
    struct broker_settings broker = peers_broker_settings(c, "agwb-publisher");
    struct db_settings db = peers_db_settings(c, "agwb-publisher");

    topology_build(&c->topology, &p->topology);
    broker.topology = &p->topology;
    broker.confirms = true;
    p->broker = broker_new(loop, &broker, &BROKER, p);
    p->record_db = db_new(loop, &db, &RECORD, p);
    db.listen_channel = c->database.listen ? INTAKE_CHANNEL : NULL;
    p->claim_db = db_new(loop, &db, &CLAIM, p);
    db.listen_channel = c->database.listen ? INBOX_CHANNEL : NULL;
    p->inbox_db = db_new(loop, &db, &INBOX, p);
    if (c->database.listen)
        p->listening =
            listening_new(&(struct listening_deps){.loop = loop,
                                                   .listener = p->claim_db,
                                                   .sender = p->record_db,
                                                   .channel = INTAKE_CHANNEL,
                                                   .poll_interval_ms = c->database.poll_interval_ms});
}

static int start(struct daemon *d, void **work, struct err *e)
{
    struct publisher *p = xcalloc(1, sizeof *p);

    (void)e;
    p->daemon = d;
    p->metrics = daemon_metrics(d);
    families_register_publisher(p->metrics);
    peers_owner("agwb-publisher", p->owner);
    connect_servers(p);
    schema_check_init(&p->schema, daemon_loop(d), p->claim_db, on_schema, p);
    p->outbox = outbox_new(&(struct outbox_deps){.loop = daemon_loop(d),
                                                 .config = daemon_config(d),
                                                 .metrics = p->metrics,
                                                 .broker = p->broker,
                                                 .db = p->record_db,
                                                 .owner = p->owner});
    p->intake = intake_new(&(struct intake_deps){.loop = daemon_loop(d),
                                                 .config = daemon_config(d),
                                                 .metrics = p->metrics,
                                                 .db = p->claim_db,
                                                 .outbox = p->outbox,
                                                 .owner = p->owner});
    p->alerts = alerts_new(daemon_loop(d), daemon_config(d), "agwb-publisher");
    p->backlog = backlog_new(&(struct backlog_deps){
        .loop = daemon_loop(d), .config = daemon_config(d), .db = p->record_db, .alerts = p->alerts});
    p->retention = retention_new(&(struct retention_deps){
        .loop = daemon_loop(d), .config = daemon_config(d), .metrics = p->metrics, .db = p->record_db});
    p->inbox = inbox_new(&(struct inbox_deps){.loop = daemon_loop(d),
                                              .config = daemon_config(d),
                                              .metrics = p->metrics,
                                              .db = p->inbox_db,
                                              .intake = p->intake,
                                              .owner = p->owner});
    p->queue_timer = loop_timer_new(daemon_loop(d), on_queue_timer, p);
    loop_on_turn(daemon_loop(d), on_turn, p);
    *work = p;
    return 0;
}

static void drain(void *work)
{
    struct publisher *p = work;

    p->draining = true;
    inbox_close(p->inbox);
    intake_close(p->intake);
    retention_close(p->retention);
    loop_again(daemon_loop(p->daemon));
}

static void stop(void **work)
{
    struct publisher *p = *work;

    loop_timer_free(&p->queue_timer);
    inbox_free(&p->inbox);
    intake_free(&p->intake);
    outbox_free(&p->outbox);
    broker_free(&p->broker);
    listening_free(&p->listening);
    schema_check_fini(&p->schema);
    db_free(&p->claim_db);
    db_free(&p->record_db);
    db_free(&p->inbox_db);
    retention_free(&p->retention);
    backlog_free(&p->backlog);
    alerts_free(&p->alerts);
    free(p);
    *work = NULL;
}

static void reloaded(void *work)
{
    struct publisher *p = work;

    intake_wake(p->intake);
    inbox_wake(p->inbox);
}

static bool ready(void *work, struct buf *why)
{
    struct publisher *p = work;

    peers_reason(why, !broker_is_up(p->broker), "broker: not connected");
    peers_reason(why, broker_is_up(p->broker) && broker_is_blocked(p->broker),
                 "broker: blocked by a resource alarm");
    peers_reason(why, p->queues_known && !p->queue_exists, "broker: the agent queue is missing");
    peers_reason(why, p->unread.is_reached, "agent: requests wait and nobody reads the agent queue");
    peers_reason(why, !db_is_up(p->claim_db) || !db_is_up(p->record_db) || !db_is_up(p->inbox_db),
                 "database: not connected");
    peers_reason(why, !p->schema_good, "database: schema not checked yet");
    peers_reason(why, p->draining, "draining");
    return why->len == 0;
}

static void metrics(void *work)
{
    struct publisher *p = work;

    count_reconnects(p);
    metric_set(p->metrics, &METRIC_IN_FLIGHT, (double)outbox_in_flight(p->outbox), NULL, NULL);
    metric_set(p->metrics, &METRIC_BLOCKED, broker_is_blocked(p->broker) ? 1 : 0, NULL, NULL);
}

const struct daemon_handlers PUBLISHER_HANDLERS = {
    .start = start, .drain = drain, .stop = stop, .reloaded = reloaded, .ready = ready, .metrics = metrics};
