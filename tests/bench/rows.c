/* See bench.h: PostgreSQL alone, and the way of a single row. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "io/broker.h"
#include "io/db.h"
#include "io/loop.h"

static struct db_session *open_session(const char *url, struct err *e)
{
    const struct db_settings settings = {.url = url, .connect_timeout_ms = 5000, .application_name = "bench"};
    return db_session_open(&settings, e);
}

static struct db_result *claim(struct db_session *db, int64_t batch, struct err *e)
{
    struct db_params p;

    db_params_init(&p);
    db_param_text(&p, "bench");
    db_param_int4(&p, (int32_t)batch);
    struct db_result *r =
        db_session_query(db, "select * from agwb.claim_jobs($1, $2, 60000, 10, 0, 0, 60000, 300000)", &p, e);
    db_params_fini(&p);
    return r;
}

static int record(struct db_session *db, const struct db_result *claimed, struct err *e)
{
    struct db_params p;

    db_params_init(&p);
    db_param_text(&p, "bench");
    db_array_begin(&p, DB_UUID);
    for (size_t i = 0; i < db_rows(claimed); i++)
        db_item_text(&p, db_text(claimed, i, 0), strlen(db_text(claimed, i, 0)));
    db_array_end(&p);
    struct db_result *r = db_session_query(db, "select agwb.record_published($1, $2, 0, 60000)", &p, e);
    db_params_fini(&p);
    if (!r)
        return -1;
    db_result_free(&r);
    return 0;
}

int rows_run(const char *url, int64_t count, int64_t batch, struct err *e)
{
    struct db_session *db = open_session(url, e);
    int64_t done = 0, begun_us = clock_mono_us();
    int rc = db ? 0 : -1;

    while (rc == 0 && done < count) {
        struct db_result *r = claim(db, batch, e);
        size_t rows = r ? db_rows(r) : 0;
        rc = !r          ? -1
             : rows == 0 ? err_set(e, ERR_DATA, 0, "only %" PRId64 " jobs are pending", done)
                         : record(db, r, e);
        done += (int64_t)rows;
        db_result_free(&r);
    }
    double seconds = (double)(clock_mono_us() - begun_us) / 1e6;
    db_session_close(&db);
    if (rc == 0)
        printf("{\"rate\":%.0f,\"seconds\":%.4f,\"cpu_ms\":%.1f}\n", (double)done / seconds, seconds,
               cpu_ms());
    return rc;
}

/* --- one row at a time --- */

struct latency {
    struct loop *loop;
    struct db_session *db;
    struct broker *broker;
    double *ms;
    int64_t count, done, committed_us;
    bool is_waiting;
    struct err *err;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The answer to the insert is the commit. */
static void insert_one(void *arg)
{
    struct latency *l = arg;

    if (l->is_waiting || !broker_is_up(l->broker))
        return;
    struct db_result *r = db_session_query(
        l->db,
        "insert into ai_response_queue (workspace_id, contact_id, conversation_id, user_message) "
        "select c.workspace_id, c.id, v.id, 'hello there' from conversations v "
        "join customer_profiles c on c.id = v.customer_id order by v.id limit 1",
        NULL, l->err);
    l->committed_us = clock_mono_us();
    l->is_waiting = true;
    if (!r)
        loop_stop(l->loop);
    db_result_free(&r);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct latency *l = arg;

    l->ms[l->done++] = (double)(clock_mono_us() - l->committed_us) / 1000.0;
    broker_ack(l->broker, d->epoch, d->delivery_tag, false);
    l->is_waiting = false;
    if (l->done == l->count)
        loop_stop(l->loop);
}

static void on_up(void *arg)
{
    (void)arg;
}

static void on_trouble(void *arg, const struct err *why)
{
    struct latency *l = arg;
    *l->err = *why;
    loop_stop(l->loop);
}

static void on_confirm(void *arg, uint64_t cookie, enum broker_confirm result)
{
    (void)arg;
    (void)cookie;
    (void)result;
}

static void on_blocked(void *arg, bool blocked)
{
    (void)arg;
    (void)blocked;
}

static void run_latency(struct latency *l, const char *amqp)
{
    static const struct broker_handlers HANDLERS = {.on_up = on_up,
                                                    .on_down = on_trouble,
                                                    .on_refused = on_trouble,
                                                    .on_delivery = on_delivery,
                                                    .on_confirm = on_confirm,
                                                    .on_blocked = on_blocked};
    static const struct broker_consume CONSUME = {.queue = "ag_queue", .prefetch = 1};
    const struct broker_settings settings = {.hosts = &amqp,
                                             .host_count = 1,
                                             .user = "guest",
                                             .password = "guest",
                                             .vhost = "/",
                                             .heartbeat_s = 30,
                                             .connect_timeout_ms = 5000,
                                             .connection_name = "bench",
                                             .consumes = &CONSUME,
                                             .consume_count = 1,
                                             .max_body_bytes = 1 << 20};

    l->loop = loop_new();
    l->broker = broker_new(l->loop, &settings, &HANDLERS, l);
    loop_on_turn(l->loop, insert_one, l);
    loop_run(l->loop);
    broker_free(&l->broker);
    loop_free(&l->loop);
}

int latency_run(const char *url, const char *amqp, int64_t count, struct err *e)
{
    struct latency l = {.db = open_session(url, e), .count = count, .err = e};

    if (!l.db)
        return -1;
    l.ms = xcalloc((size_t)count, sizeof *l.ms);
    run_latency(&l, amqp);
    if (l.done == count) {
        qsort(l.ms, (size_t)count, sizeof *l.ms, compare);
        printf("{\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", l.ms[count / 2], l.ms[count * 99 / 100]);
    }
    free(l.ms);
    db_session_close(&l.db);
    return l.done == count ? 0 : -1;
}
