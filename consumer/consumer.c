/* Wires receive, dispatch, parking and the connections to the daemon: start, ready, drain. Decides
 * nothing about a message. */
#include "consumer/consumer.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/log.h"
#include "consumer/bounce.h"
#include "consumer/deadletter.h"
#include "consumer/dispatch.h"
#include "consumer/fallback.h"
#include "consumer/ledger.h"
#include "consumer/parking.h"
#include "consumer/receive.h"
#include "domain/alert.h"
#include "domain/families.h"
#include "domain/listening.h"
#include "domain/peers.h"
#include "domain/schema.h"
#include "domain/standstill.h"
#include "io/broker.h"
#include "io/db.h"
#include "io/http.h"

enum {
    QUEUE_POLL_MS = 15000,
    PAUSE_AFTER_MS = 5000, /* the database is away this long: let another instance have the queue */
    DEAD_PREFETCH = 10,
    BODY_MAX = 16 << 20, /* so that an invalid giant can be parked byte for byte */
};

struct consumer {
    struct daemon *daemon;
    struct metrics *metrics;
    char owner[PEERS_OWNER_SIZE];
    struct topology topology;
    struct broker_consume replies[2]; /* wb_queue, dlx_webhook */
    struct broker_consume requests;   /* dlx_agent */
    /* Replies come by the one; the other publishes parked copies and brings the dead requests, which end
     * there: what is blocked with it, when the broker blocks it, has nowhere to go anyway. Delivery tags are
     * a channel's own, so each has one owner. */
    struct broker *source, *outlet;
    struct db *accept_db, *work_db;
    struct listening *listening; /* NULL: it does not listen */
    struct http *http;
    struct ledger *ledger;
    struct parking *parking;
    struct fallback *fallback;
    struct deadletter *deadletter;
    struct receive *receive;
    struct dispatch *dispatch;
    struct bounce *bounce;
    struct alerts *alerts;
    struct schema_check schema;
    bool schema_good;
    bool ready_once;
    bool draining, finished;
    struct loop_timer *pause_timer, *queue_timer;
    bool queues_known, queue_exists;
    struct standstill stuck, unread; /* replies wait and none is acked; nobody consumes */
    uint64_t deliveries;             /* by this connection */
    struct log_gate refused_gate;
    uint64_t broker_reconnects, db_reconnects;
};

/* Before the first READY a refusal ends start-up: someone must change something. Later it may pass (rights
 * being rotated), so we go on. */
static void refused(struct consumer *c, const char *peer, const struct err *why)
{
    int64_t held;

    if (!c->ready_once) {
        daemon_fail(c->daemon, why);
        return;
    }
    if (log_gate_pass(&c->refused_gate, 10000, &held))
        log_error("refused, trying on", log_str("peer", peer), log_str("reason", why->text),
                  log_int("held_back", held));
}

/* --- the queue --- */

static void on_source_up(void *arg)
{
    (void)arg;
    log_info("broker connected", log_str("peer", "broker"));
}

static void on_source_down(void *arg, const struct err *why)
{
    struct consumer *c = arg;

    peers_log_lost("broker", why);
    c->deliveries = 0;
    receive_on_down(c->receive);
}

static void on_broker_refused(void *arg, const struct err *why)
{
    refused(arg, "broker", why);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct consumer *c = arg;

    c->deliveries++;
    receive_on_delivery(c->receive, d);
}

static void on_dead_request(void *arg, const struct broker_delivery *d)
{
    struct consumer *c = arg;

    deadletter_on_delivery(c->deadletter, d);
}

static void on_outlet_up(void *arg)
{
    (void)arg;
}

static void on_outlet_down(void *arg, const struct err *why)
{
    (void)arg;
    log_debug("second broker connection lost", log_str("reason", why->text));
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    struct consumer *c = arg;

    parking_on_confirm(c->parking, cookie, result);
}

static void on_blocked(void *arg, bool blocked)
{
    (void)arg;
    log_warn(blocked ? "broker blocks publishing (resource alarm), parked copies wait"
                     : "broker takes publishes again",
             log_bool("blocked", blocked));
}

/* Of several instances one consumes and the others wait: only who is handed replies can be stuck with them.
 */
static void look_at_replies(struct consumer *c, const struct broker_queue_info *q)
{
    int64_t now = loop_now_ms(daemon_loop(c->daemon));
    bool is_ours = c->deliveries > 0 || q->consumers <= 1;
    bool is_consuming = broker_is_up(c->source) && !broker_is_paused(c->source);

    c->queue_exists = q->exists;
    receive_set_peers(c->receive, q->consumers > 1);
    (void)standstill_look(&c->stuck, is_consuming && is_ours && q->messages > 0, receive_acked(c->receive),
                          now);
    (void)standstill_look(&c->unread, is_consuming && q->exists && q->consumers == 0, 0, now);
    if (c->stuck.is_waiting || c->unread.is_waiting)
        loop_timer_start(c->queue_timer, STANDSTILL_LOOK_MS);
}

static void on_queues(void *arg, const struct broker_queue_info *infos, size_t count, const struct err *e)
{
    struct consumer *c = arg;

    (void)e; /* a lost connection is reported by its own handler */
    for (size_t i = 0; i < count; i++) {
        metric_set(c->metrics, &METRIC_QUEUE_MESSAGES, infos[i].messages, infos[i].queue, NULL);
        metric_set(c->metrics, &METRIC_QUEUE_CONSUMERS, infos[i].consumers, infos[i].queue, NULL);
        if (infos[i].queue == c->replies[0].queue)
            look_at_replies(c, &infos[i]);
        c->queues_known = true;
    }
}

static void on_queue_timer(void *arg)
{
    struct consumer *c = arg;
    const char *names[] = {c->replies[0].queue, TOPOLOGY_DLX_AGENT, TOPOLOGY_AG_PARKED, TOPOLOGY_DLX_WEBHOOK,
                           TOPOLOGY_WB_PARKED};

    if (broker_is_up(c->source))
        broker_query_queues(c->source, names, sizeof names / sizeof names[0], on_queues, c);
    loop_timer_start(c->queue_timer, QUEUE_POLL_MS);
}

/* --- the database --- */

static void on_schema(void *arg, const struct err *e)
{
    struct consumer *c = arg;

    if (e) {
        daemon_fail(c->daemon, e);
        return;
    }
    c->schema_good = true;
    if (c->draining)
        return;
    dispatch_open(c->dispatch);
    fallback_open(c->fallback);
}

static void on_accept_db_up(void *arg)
{
    struct consumer *c = arg;

    log_info("database connected", log_str("peer", "database"));
    listening_up(c->listening);
    loop_timer_stop(c->pause_timer);
    if (broker_is_paused(c->source) && !c->draining) {
        log_info("taking replies again", log_str("queue", c->replies[0].queue));
        broker_resume(c->source);
        broker_resume(c->outlet);
    }
    schema_check_ask(&c->schema);
    dispatch_wake(c->dispatch);
}

static void on_accept_db_down(void *arg, const struct err *why)
{
    struct consumer *c = arg;

    peers_log_lost("database", why);
    if (!loop_timer_is_active(c->pause_timer) && !broker_is_paused(c->source))
        loop_timer_start(c->pause_timer, PAUSE_AFTER_MS);
}

static void on_pause_timer(void *arg)
{
    struct consumer *c = arg;

    log_warn("database away, consuming is cancelled until it is back", log_str("queue", c->replies[0].queue));
    broker_pause(c->source);
    broker_pause(c->outlet);
}

static void on_work_db_up(void *arg)
{
    struct consumer *c = arg;

    dispatch_wake(c->dispatch);
    parking_look(c->parking);
}

static void on_work_db_down(void *arg, const struct err *why)
{
    (void)arg;
    log_debug("second database connection lost", log_str("reason", why->text));
}

static void on_db_refused(void *arg, const struct err *why)
{
    refused(arg, "database", why);
}

static void on_notify(void *arg, bool idle)
{
    struct consumer *c = arg;

    listening_heard(c->listening, idle);
    dispatch_wake(c->dispatch);
}

/* --- between the stages --- */

static void on_accepted(void *arg)
{
    struct consumer *c = arg;

    dispatch_wake(c->dispatch);
    parking_look(c->parking);
}

static void on_parked(void *arg)
{
    struct consumer *c = arg;

    parking_look(c->parking);
}

static void on_bounced(void *arg)
{
    struct consumer *c = arg;

    bounce_look(c->bounce);
}

static bool is_idle(const struct consumer *c)
{
    return receive_is_idle(c->receive) && deadletter_is_idle(c->deadletter) &&
           fallback_is_idle(c->fallback) && dispatch_is_idle(c->dispatch) && bounce_is_idle(c->bounce) &&
           parking_is_idle(c->parking);
}

static void on_turn(void *arg)
{
    struct consumer *c = arg;

    if (!c->ready_once && c->schema_good && broker_is_up(c->source) && db_is_up(c->work_db)) {
        c->ready_once = true;
        daemon_ready(c->daemon, "taking replies");
        on_queue_timer(c);
    }
    receive_turn(c->receive);
    deadletter_turn(c->deadletter);
    fallback_turn(c->fallback);
    dispatch_turn(c->dispatch);
    bounce_turn(c->bounce);
    parking_turn(c->parking);
    if (c->draining && !c->finished && is_idle(c)) {
        c->finished = true;
        daemon_finished(c->daemon);
    }
}

/* --- start and end --- */

static void connect_broker(struct consumer *c, struct loop *loop, const struct config *config)
{
    static const struct broker_handlers SOURCE = {.on_up = on_source_up,
                                                  .on_down = on_source_down,
                                                  .on_refused = on_broker_refused,
                                                  .on_delivery = on_delivery,
                                                  .on_blocked = on_blocked};
    static const struct broker_handlers OUTLET = {.on_up = on_outlet_up,
                                                  .on_down = on_outlet_down,
                                                  .on_refused = on_broker_refused,
                                                  .on_delivery = on_dead_request,
                                                  .on_confirm = on_confirm,
                                                  .on_blocked = on_blocked};
    struct broker_settings source = peers_broker_settings(config, "agwb-consumer");
    struct broker_settings outlet = peers_broker_settings(config, "agwb-consumer parked");

    topology_build(&config->topology, &c->topology);
    c->replies[0] = (struct broker_consume){.queue = config->topology.webhook_queue,
                                            .prefetch = (uint16_t)config->consumer.prefetch};
    c->replies[1] = (struct broker_consume){.queue = TOPOLOGY_DLX_WEBHOOK, .prefetch = DEAD_PREFETCH};
    c->requests = (struct broker_consume){.queue = TOPOLOGY_DLX_AGENT, .prefetch = DEAD_PREFETCH};
    source.topology = &c->topology;
    source.consumes = c->replies;
    source.consume_count = sizeof c->replies / sizeof c->replies[0];
    source.max_body_bytes = BODY_MAX;
    c->source = broker_new(loop, &source, &SOURCE, c);
    outlet.topology = &c->topology;
    outlet.confirms = true;
    outlet.consumes = &c->requests;
    outlet.consume_count = 1;
    outlet.max_body_bytes = BODY_MAX;
    c->outlet = broker_new(loop, &outlet, &OUTLET, c);
}

static void connect_database(struct consumer *c, struct loop *loop, const struct config *config)
{
    static const struct db_handlers ACCEPT = {.on_up = on_accept_db_up,
                                              .on_down = on_accept_db_down,
                                              .on_refused = on_db_refused,
                                              .on_notify = on_notify};
    static const struct db_handlers WORK = {
        .on_up = on_work_db_up, .on_down = on_work_db_down, .on_refused = on_db_refused};
    struct db_settings db = peers_db_settings(config, "agwb-consumer");

    c->work_db = db_new(loop, &db, &WORK, c);
    db.listen_channel = config->database.listen ? LEDGER_CHANNEL : NULL;
    c->accept_db = db_new(loop, &db, &ACCEPT, c);
    if (config->database.listen)
        c->listening =
            listening_new(&(struct listening_deps){.loop = loop,
                                                   .listener = c->accept_db,
                                                   .sender = c->work_db,
                                                   .channel = LEDGER_CHANNEL,
                                                   .poll_interval_ms = config->database.poll_interval_ms});
}

static void make_stages(struct consumer *c, struct loop *loop, const struct config *config)
{
    c->http = http_new(loop, "agwb/" AGWB_VERSION);
    c->alerts = alerts_new(loop, config, "agwb-consumer");
    c->ledger = ledger_new(&(struct ledger_deps){
        .config = config, .accept_db = c->accept_db, .work_db = c->work_db, .owner = c->owner});
    c->parking = parking_new(&(struct parking_deps){.loop = loop,
                                                    .config = config,
                                                    .metrics = c->metrics,
                                                    .broker = c->outlet,
                                                    .ledger = c->ledger,
                                                    .alerts = c->alerts});
    c->fallback = fallback_new(&(struct fallback_deps){.loop = loop,
                                                       .config = config,
                                                       .metrics = c->metrics,
                                                       .ledger = c->ledger,
                                                       .on_delivery = on_accepted,
                                                       .arg = c});
    c->deadletter = deadletter_new(&(struct deadletter_deps){
        .config = config, .broker = c->outlet, .fallback = c->fallback, .parking = c->parking});
    c->dispatch = dispatch_new(&(struct dispatch_deps){.loop = loop,
                                                       .config = config,
                                                       .metrics = c->metrics,
                                                       .ledger = c->ledger,
                                                       .http = c->http,
                                                       .alerts = c->alerts,
                                                       .on_parked = on_parked,
                                                       .on_bounced = on_bounced,
                                                       .arg = c});
    c->receive = receive_new(&(struct receive_deps){.loop = loop,
                                                    .config = config,
                                                    .metrics = c->metrics,
                                                    .broker = c->source,
                                                    .ledger = c->ledger,
                                                    .parking = c->parking,
                                                    .fallback = c->fallback,
                                                    .dispatch = c->dispatch,
                                                    .on_accepted = on_accepted,
                                                    .on_parked = on_parked,
                                                    .arg = c});
    c->bounce = bounce_new(&(struct bounce_deps){.loop = loop,
                                                 .config = config,
                                                 .metrics = c->metrics,
                                                 .ledger = c->ledger,
                                                 .alerts = c->alerts,
                                                 .on_settled = on_accepted,
                                                 .arg = c});
}

static int start(struct daemon *d, void **work, struct err *e)
{
    struct loop *loop = daemon_loop(d);
    const struct config *config = daemon_config(d);
    struct consumer *c = xcalloc(1, sizeof *c);

    (void)e;
    c->daemon = d;
    c->metrics = daemon_metrics(d);
    families_register_consumer(c->metrics);
    peers_owner("agwb-consumer", c->owner);
    c->pause_timer = loop_timer_new(loop, on_pause_timer, c);
    c->queue_timer = loop_timer_new(loop, on_queue_timer, c);
    connect_broker(c, loop, config);
    connect_database(c, loop, config);
    schema_check_init(&c->schema, loop, c->accept_db, on_schema, c);
    make_stages(c, loop, config);
    loop_on_turn(loop, on_turn, c);
    *work = c;
    return 0;
}

/* What was received is still accepted and acked; what has been begun is settled; what was claimed and waits
 * for a slot is given back; nothing new is begun. */
static void drain(void *work)
{
    struct consumer *c = work;

    c->draining = true;
    broker_pause(c->source);
    broker_pause(c->outlet);
    dispatch_close(c->dispatch);
    fallback_close(c->fallback);
    loop_again(daemon_loop(c->daemon));
}

static void stop(void **work)
{
    struct consumer *c = *work;

    loop_timer_free(&c->pause_timer);
    loop_timer_free(&c->queue_timer);
    http_free(&c->http);
    broker_free(&c->source);
    broker_free(&c->outlet);
    listening_free(&c->listening);
    schema_check_fini(&c->schema);
    db_free(&c->accept_db);
    db_free(&c->work_db);
    dispatch_free(&c->dispatch);
    bounce_free(&c->bounce);
    receive_free(&c->receive);
    deadletter_free(&c->deadletter);
    fallback_free(&c->fallback);
    parking_free(&c->parking);
    ledger_free(&c->ledger);
    alerts_free(&c->alerts);
    free(c);
    *work = NULL;
}

static void reloaded(void *work)
{
    struct consumer *c = work;

    dispatch_wake(c->dispatch);
}

static bool ready(void *work, struct buf *why)
{
    struct consumer *c = work;

    peers_reason(why, !broker_is_up(c->source), "broker: not connected");
    peers_reason(why, broker_is_paused(c->source), "broker: consuming is paused");
    peers_reason(why, c->queues_known && !c->queue_exists, "broker: the webhook queue is missing");
    peers_reason(why, c->unread.is_reached, "broker: nobody consumes the webhook queue");
    peers_reason(why, c->stuck.is_reached, "broker: replies wait and none is acked");
    peers_reason(why, dispatch_is_cut_off(c->dispatch), "channels: every sender account is down");
    peers_reason(why, !db_is_up(c->accept_db) || !db_is_up(c->work_db), "database: not connected");
    peers_reason(why, !c->schema_good, "database: schema not checked yet");
    peers_reason(why, c->draining, "draining");
    return why->len == 0;
}

static void metrics(void *work)
{
    struct consumer *c = work;
    uint64_t broker = broker_reconnects(c->source) + broker_reconnects(c->outlet);
    uint64_t db = db_reconnects(c->accept_db) + db_reconnects(c->work_db);

    metric_add(c->metrics, &METRIC_RECONNECTS, (double)(broker - c->broker_reconnects), "broker", NULL);
    metric_add(c->metrics, &METRIC_RECONNECTS, (double)(db - c->db_reconnects), "database", NULL);
    c->broker_reconnects = broker;
    c->db_reconnects = db;
    metric_set(c->metrics, &METRIC_IN_FLIGHT, (double)dispatch_in_flight(c->dispatch), NULL, NULL);
    metric_set(c->metrics, &METRIC_BLOCKED, broker_is_blocked(c->outlet) ? 1 : 0, NULL, NULL);
}

const struct daemon_handlers CONSUMER_HANDLERS = {
    .start = start, .drain = drain, .stop = stop, .reloaded = reloaded, .ready = ready, .metrics = metrics};
