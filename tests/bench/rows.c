/* See bench.h: PostgreSQL alone, and the way of a single row. */
#include "tests/bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "io/db.h"
#include "tests/bench/client.h"

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
    struct client client;
    struct db_session *db;
    double *ms;
    int64_t count, done, committed_us;
    bool is_waiting;
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

    if (l->is_waiting || !broker_is_up(l->client.broker))
        return;
    struct db_result *r = db_session_query(
        l->db,
        "insert into ai_response_queue (workspace_id, contact_id, conversation_id, user_message) "
        "select c.workspace_id, c.id, v.id, 'hello there' from conversations v "
        "join customer_profiles c on c.id = v.customer_id order by v.id limit 1",
        NULL, l->client.err);
    l->committed_us = clock_mono_us();
    l->is_waiting = true;
    if (!r)
        loop_stop(l->client.loop);
    db_result_free(&r);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct latency *l = arg;

    l->ms[l->done++] = (double)(clock_mono_us() - l->committed_us) / 1000.0;
    broker_ack(l->client.broker, d->epoch, d->delivery_tag, false);
    l->is_waiting = false;
    if (l->done == l->count)
        loop_stop(l->client.loop);
}

static void run_latency(struct latency *l, const char *amqp, struct err *e)
{
    static const struct broker_handlers HANDLERS = {.on_delivery = on_delivery};
    static const struct broker_consume CONSUME = {.queue = "ag_queue", .prefetch = 1};

    client_open(&l->client, amqp, &HANDLERS, &CONSUME, e);
    loop_on_turn(l->client.loop, insert_one, l);
    loop_run(l->client.loop);
    client_close(&l->client);
}

int latency_run(const char *url, const char *amqp, int64_t count, struct err *e)
{
    struct latency l = {.db = open_session(url, e), .count = count};

    if (!l.db)
        return -1;
    l.ms = xcalloc((size_t)count, sizeof *l.ms);
    run_latency(&l, amqp, e);
    if (l.done == count) {
        qsort(l.ms, (size_t)count, sizeof *l.ms, compare);
        printf("{\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", l.ms[count / 2], l.ms[count * 99 / 100]);
    }
    free(l.ms);
    db_session_close(&l.db);
    return l.done == count ? 0 : -1;
}
