/* One look at both servers, printed as a table or as an object; repeated with --watch. */
#include "domain/stats.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/record.h"
#include "domain/peers.h"

enum { OUT_LIMIT = 4 << 20, WATCH_DEFAULT_S = 2, WATCH_MAX_S = 3600 };

struct stats {
    const struct config *config;
    struct db_session *db;
    struct broker_session *broker; /* NULL: it is away */
    struct err broker_error;
    struct buf *out;
    bool json;
};

/* --- the command line --- */

static bool take_seconds(const char *text, int64_t *watch_ms)
{
    char *end;
    long seconds = strtol(text, &end, 10);

    if (end == text || *end || seconds < 1 || seconds > WATCH_MAX_S)
        return false;
    *watch_ms = seconds * 1000;
    return true;
}

int stats_options_parse(int argc, char **argv, struct stats_options *o, struct err *e)
{
    *o = (struct stats_options){0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o->json = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            o->help = true;
        } else if (strcmp(argv[i], "--watch") == 0) {
            o->watch_ms = (int64_t)WATCH_DEFAULT_S * 1000;
            if (i + 1 < argc && argv[i + 1][0] != '-' && !take_seconds(argv[++i], &o->watch_ms))
                return err_set(e, ERR_USAGE, 0, "stats: --watch: expected 1 to %d seconds, found '%.40s'",
                               WATCH_MAX_S, argv[i]);
        } else {
            return err_set(e, ERR_USAGE, 0, "stats: unknown argument %.40s (see stats --help)", argv[i]);
        }
    }
    return 0;
}

static void write_usage(struct buf *out)
{
    buf_printf(
        out,
        "usage: stats [--watch [SECONDS]] [--json]\n\n"
        "What waits, is under way and is delayed now, what was completed in the last hour and failed in the\n"
        "last day, by queue, kind and sender account; the answer times of the last hour; the broker's "
        "queues.\n\n"
        "  --watch [SECONDS]  again and again (%d), until a signal ends it\n"
        "  --json             an object a look\n\n"
        "exit status: 0 done, 64 usage, 69 a server is unavailable (what the other says is shown), 78 the\n"
        "database's schema is too old\n",
        WATCH_DEFAULT_S);
}

/* --- the ledger's side --- */

enum { QUEUE, KIND, ACCOUNT, WAITING, ACTIVE, DELAYED, COMPLETED, FAILED, PER_MINUTE, OLDEST, QUEUE_COLUMNS };

static const char QUEUES_SQL[] = "select queue, kind, account, waiting, active, delayed, completed, failed, "
                                 "round(per_minute, 1), oldest_seconds::bigint from agwb.queue_stats "
                                 "order by queue, account nulls first, kind";

const char *stats_queue_name(const struct config *c, const char *queue, const char *account)
{
    static const struct {
        const char *provider, *queue;
    } NAMES[] = {{"whatsapp_cloud", "whatsapp-cloud-send"}, {"whatsapp_qr", "whatsapp-qr-send"}};
    const struct config_account *a =
        strcmp(queue, "outgoing-messages") == 0 && account ? config_account_find(c, account) : NULL;

    for (size_t i = 0; a && i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(a->provider, NAMES[i].provider) == 0)
            return NAMES[i].queue;
    }
    return queue;
}

static void write_age(struct buf *out, const struct db_result *r, size_t row)
{
    int64_t s = db_int(r, row, OLDEST);

    if (db_is_null(r, row, OLDEST))
        buf_printf(out, "%10s", "-");
    else if (s < 120)
        buf_printf(out, "%9" PRId64 "s", s);
    else if (s < 7200)
        buf_printf(out, "%9" PRId64 "m", s / 60);
    else
        buf_printf(out, "%9" PRId64 "h", s / 3600);
}

static void write_queue_line(struct stats *s, const struct db_result *r, size_t row)
{
    const char *account = db_is_null(r, row, ACCOUNT) ? NULL : db_text(r, row, ACCOUNT);

    buf_printf(s->out, "%-20s %-13s %-12s", stats_queue_name(s->config, db_text(r, row, QUEUE), account),
               db_text(r, row, KIND), account ? account : "");
    for (int i = WAITING; i <= FAILED; i++)
        buf_printf(s->out, " %9" PRId64, db_int(r, row, i));
    buf_printf(s->out, " %9s", db_text(r, row, PER_MINUTE));
    write_age(s->out, r, row);
    buf_add_char(s->out, '\n');
}

static void write_queue_object(struct stats *s, struct record *list, const struct db_result *r, size_t row)
{
    static const char *const KEYS[QUEUE_COLUMNS] = {"queue",     "kind",         "account",   "waiting",
                                                    "active",    "delayed",      "completed", "failed",
                                                    "perMinute", "oldestSeconds"};
    const char *account = db_is_null(r, row, ACCOUNT) ? NULL : db_text(r, row, ACCOUNT);

    record_open(list);
    record_id(list, KEYS[QUEUE], stats_queue_name(s->config, db_text(r, row, QUEUE), account));
    record_id(list, KEYS[KIND], db_is_null(r, row, KIND) ? NULL : db_text(r, row, KIND));
    record_id(list, KEYS[ACCOUNT], account);
    for (int i = WAITING; i <= FAILED; i++)
        record_int(list, KEYS[i], db_int(r, row, i), true);
    buf_printf(s->out, ",\"%s\":%s", KEYS[PER_MINUTE], db_text(r, row, PER_MINUTE));
    record_int(list, KEYS[OLDEST], db_int(r, row, OLDEST), !db_is_null(r, row, OLDEST));
    record_close(list, true);
}

static void write_queues(struct stats *s, struct record *object, const struct db_result *r)
{
    if (!s->json)
        buf_printf(s->out, "%-20s %-13s %-12s %9s %9s %9s %9s %9s %9s %9s\n", "queue", "kind", "account",
                   "waiting", "active", "delayed", "done/1h", "failed/1d", "per min", "oldest");
    record_open_member(object, "queues", '[');
    for (size_t row = 0; row < db_rows(r); row++) {
        if (s->json)
            write_queue_object(s, object, r, row);
        else
            write_queue_line(s, r, row);
    }
    record_close_array(object);
}

/* Every figure of the last hour under its column's name. */
static void write_hour(struct stats *s, struct record *object, const struct db_result *r)
{
    static const char *const SHOWN[] = {
        "jobs",      "success_percent", "average_response_ms", "p95_response_ms", "within_6s_percent",
        "fallbacks", "undeliverable"};

    if (!s->json)
        buf_add_str(s->out, "\nlast hour:");
    record_open_member(object, "lastHour", '{');
    for (size_t i = 0; i < sizeof SHOWN / sizeof SHOWN[0]; i++) {
        int column = db_column(r, SHOWN[i]);
        const char *value = db_is_null(r, 0, column) ? NULL : db_text(r, 0, column);

        if (s->json)
            buf_printf(s->out, "%s\"%s\":%s", i ? "," : "", SHOWN[i], value ? value : "null");
        else
            buf_printf(s->out, "  %s=%s", SHOWN[i], value ? value : "-");
    }
    record_close(object, true);
    if (!s->json)
        buf_add_char(s->out, '\n');
}

static int look_at_database(struct stats *s, struct record *object, struct err *e)
{
    struct db_result *queues = peers_ask(s->db, QUEUES_SQL, NULL, e), *hour;

    if (!queues)
        return -1;
    hour = peers_ask(s->db, "select * from get_realtime_messaging_metrics(60)", NULL, e);
    if (hour) {
        write_queues(s, object, queues);
        write_hour(s, object, hour);
    }
    db_result_free(&queues);
    int rc = hour ? 0 : -1;
    db_result_free(&hour);
    return rc;
}

/* --- the broker's --- */

static void write_broker_queue(struct stats *s, struct record *object, const struct broker_queue_info *q)
{
    if (!s->json) {
        buf_printf(s->out, "%-20s ", q->queue);
        if (q->exists)
            buf_printf(s->out, "%9" PRIu32 " %9" PRIu32 "\n", q->messages, q->consumers);
        else
            buf_add_str(s->out, "  missing\n");
        return;
    }
    record_open(object);
    record_id(object, "queue", q->queue);
    record_int(object, "messages", q->messages, q->exists);
    record_int(object, "consumers", q->consumers, q->exists);
    record_close(object, true);
}

static void look_at_broker(struct stats *s, struct record *object)
{
    const struct config *c = s->config;
    const char *const NAMES[] = {c->topology.agent_queue, c->topology.webhook_queue, TOPOLOGY_DLX_AGENT,
                                 TOPOLOGY_AG_PARKED,      TOPOLOGY_DLX_WEBHOOK,      TOPOLOGY_WB_PARKED};
    struct broker_queue_info info;

    if (!s->json)
        buf_printf(s->out, "\n%-20s %9s %9s\n", "broker's queue", "messages", "consumers");
    record_open_member(object, "broker", '[');
    for (size_t i = 0; s->broker && i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (broker_session_look(s->broker, NAMES[i], &info, &s->broker_error) != 0)
            broker_session_close(&s->broker);
        else
            write_broker_queue(s, object, &info);
    }
    record_close_array(object);
    if (!s->broker && !s->json)
        buf_printf(s->out, "unavailable: %s\n", s->broker_error.text);
    if (!s->broker)
        record_id(object, "brokerError", s->json ? s->broker_error.text : NULL);
}

/* --- looks --- */

static int look(struct stats *s, struct err *e)
{
    struct record object = {.out = s->out, .json = s->json};
    char at[25];

    clock_iso8601(clock_wall_ms(), at);
    record_open(&object);
    if (s->json)
        record_id(&object, "at", at);
    if (look_at_database(s, &object, e) != 0) {
        buf_clear(s->out);
        return -1;
    }
    look_at_broker(s, &object);
    record_close(&object, false);
    return 0;
}

static int flush_look(struct stats *s, bool clears)
{
    if (clears)
        (void)fputs("\033[H\033[2J", stdout);
    (void)fwrite(s->out->data ? s->out->data : "", 1, s->out->len, stdout);
    buf_clear(s->out);
    return fflush(stdout);
}

/* Ends a watch between two looks; a second signal ends it at once. */
static volatile sig_atomic_t is_stopped;

static void on_signal(int signo)
{
    (void)signo;
    is_stopped = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    is_stopped = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int watch(struct stats *s, int64_t watch_ms, struct err *e)
{
    bool clears = !s->json && isatty(STDOUT_FILENO);

    if (watch_ms > 0)
        catch_signals();
    for (;;) {
        int rc = look(s, e);

        if (flush_look(s, clears && watch_ms > 0) != 0 || rc != 0 || watch_ms == 0)
            return rc;
        (void)poll(NULL, 0, (int)watch_ms);
        if (is_stopped)
            return 0;
        if (!clears && !s->json)
            buf_add_char(s->out, '\n');
    }
}

static int run(const struct config *c, const struct stats_options *o, struct buf *out, struct err *e)
{
    struct stats s = {.config = c, .out = out, .json = o->json};
    struct db_settings db = peers_db_settings(c, "agwb stats");
    struct broker_settings broker = peers_broker_settings(c, "agwb stats");
    int rc = -1;

    s.db = db_session_open(&db, e);
    if (s.db) {
        s.broker = broker_session_open(&broker, &s.broker_error);
        rc = watch(&s, o->watch_ms, e);
    }
    if (rc == 0 && !s.broker)
        rc = err_set(e, ERR_UNAVAILABLE, s.broker_error.code, "%s", s.broker_error.text);
    broker_session_close(&s.broker);
    db_session_close(&s.db);
    return rc;
}

int stats_command(const struct config *c, int argc, char **argv, struct err *e)
{
    struct stats_options o;
    struct buf out;
    int rc = 0;

    if (stats_options_parse(argc, argv, &o, e) != 0)
        return -1;
    buf_init(&out, OUT_LIMIT);
    if (o.help)
        write_usage(&out);
    else
        rc = run(c, &o, &out, e);
    if (out.len > 0)
        (void)fwrite(out.data, 1, out.len, stdout);
    buf_fini(&out);
    return rc;
}
