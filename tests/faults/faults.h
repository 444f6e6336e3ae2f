/* The world of one fault case: a virtual host and a database of its own on the sandbox's servers, daemons
 * that a supervisor restarts, the stand-in provider and agent, a steady load, and if wanted a proxy between
 * the daemons and everything they talk to. And the verdict on every message when it is over. */
#ifndef AGWB_TESTS_FAULTS_H
#define AGWB_TESTS_FAULTS_H

#include "io/broker.h"
#include "io/db.h"
#include "tests/integration/harness.h"

enum { WORLD_MAX_DAEMONS = 4, WORLD_MAX_SETS = 40 };

enum daemon_kind { PUBLISHER = 0, CONSUMER, DAEMON_KINDS };

struct world_settings {
    int count[DAEMON_KINDS]; /* daemons; 0 = 1 */
    int contacts;            /* 0 = 40 */
    bool proxied;            /* the daemons reach their peers through the proxy */
    bool both_ways;          /* questions come by webhook and over four channels, and providers report */
    bool mixed;              /* some requests are rejected, failed, answered badly or not at all */
    const char *preload; /* a library of the build folder that is loaded before the daemons; NULL = none */
    bool full_log;       /* the daemons' stderr is a full disk */
    const char *sets[8]; /* further "group.key=value", static */
};

struct instance {
    struct process process;
    int port;      /* /metrics, /readyz */
    bool expected; /* its end is: we killed it, or armed it with a crash point */
    int starts;
};

struct world {
    char name[64], dir[PATH_SIZE - 80], config[PATH_SIZE], journal[PATH_SIZE];
    char vhost[80], database[80], url[256]; /* the database without the proxy */
    struct world_settings settings;
    struct instance daemons[DAEMON_KINDS][WORLD_MAX_DAEMONS];
    struct process provider, agent, proxy;
    bool agent_away;                              /* world_tend leaves it alone */
    int provider_port, control_port;              /* the stand-in's own; the proxy's control */
    int broker_port, database_port, account_port; /* as the daemons see them */
    struct process loader, reporter;
    struct db_session *db;
    long kills;
    long faults;       /* findings that are no message's: a daemon that ended by itself */
    int64_t opened_at; /* monotonic ms */
};

/* Everything is up and ready when it returns. */
void world_open(struct world *w, const char *name, const struct world_settings *s);
void world_close(struct world *w);

/* --- load --- */
/* A process of its own asks `rate` questions a second (0 = as fast as the database takes them) until `count`
 * (0 = no end) or until it is stopped. */
void world_load(struct world *w, int rate, int64_t count);
void world_load_stop(struct world *w); /* now */
void world_load_wait(struct world *w); /* until `count` are asked; daemons are tended */

/* Once more until it is committed for certain, so it must be repeatable; false when the process was told to
 * end before. For processes of their own; they begin with helper_begin(). */
bool commit_for_certain(struct db_session **s, const char *url, const char *sql,
                        const struct db_params *params);
void helper_begin(void);
bool helper_is_stopped(void);
/* A process that posts what the providers would report of the messages they took. */
void world_report(struct world *w);

/* --- daemons --- */
void daemon_start(struct world *w, enum daemon_kind kind, int i);
/* Starts it with AGWB_TEST_CRASH. */
void daemon_start_armed(struct world *w, enum daemon_kind kind, int i, const char *crash);
void daemon_kill(struct world *w, enum daemon_kind kind, int i);
void daemon_stop(struct world *w, enum daemon_kind kind, int i); /* SIGTERM; its status must be 0 */
void world_await_ready(struct world *w);
/* Restarts what has ended. An end that nobody caused is a fault. */
void world_tend(struct world *w);
void world_pause(struct world *w, int64_t ms); /* tends meanwhile */
void agent_start(struct world *w);

/* --- asking --- */
/* A number from the database, asked again while the server is away. */
int64_t world_int(struct world *w, const char *format, ...) PRINTF_LIKE(2, 3);
/* The server was restarted by us. */
void world_forget(struct world *w);
void world_script(struct world *w, const char *json); /* the provider's faults from now on */
/* The proxy: peer "broker", "database", "provider" or "all"; see proxy.c for the modes. */
void world_proxy(struct world *w, const char *peer, const char *mode);
/* `dlq replay wb_parked` of all; dies at `crash` (NULL = nowhere). Its exit status. */
int world_replay(struct world *w, const char *crash);
uint64_t pick(uint64_t below); /* from the run's seed */
void seed_set(uint64_t seed);

/* --- the end --- */
/* Until nothing moves any more; a fault after patience_s. */
void world_settle(struct world *w, int patience_s);

struct expected {
    bool parked; /* deliveries may be parked, for one of these reasons (a SQL pattern; NULL = uncertain,
                    overtaken) */
    const char *reasons;
    bool twice; /* duplicates may happen, and disorder by them (they are counted) */
    int64_t window_ms, limit_all, limit_contact; /* 0 = not looked at */
};
/* Ends the daemons in order, judges, prints the table. True when all is as promised. */
bool world_judge(struct world *w, const struct expected *e);

/* For the last line of all: what was judged so far. */
struct tally {
    int64_t messages, delivered, parked, failed, twice, lost, unexpected, kills;
};
const struct tally *judged_so_far(void);

/* --- cases --- */

/* A world, a load, what is done to it meanwhile, and what may come of it. */
struct fault_case {
    const char *name;
    void (*act)(struct world *w);
    struct world_settings settings;
    struct expected expected;
    int rate;           /* questions a second while `act` runs; 0 = it asks itself */
    bool is_short;      /* part of `make check` */
    bool needs_cluster; /* runs under tests/faults/cluster, where nothing else does */
};
extern const struct fault_case FAULT_CASES[];
extern const size_t FAULT_CASE_COUNT;
bool case_run(const struct fault_case *c);

/* acts_*.c; each returns when its faults are over */
void act_nothing(struct world *w);
void act_publisher_crash_points(struct world *w);
void act_consumer_crash_points(struct world *w);
void act_parts_crash_points(struct world *w);
void act_parking_crash_points(struct world *w);
void act_dead_letter_crash_points(struct world *w);
void act_replay_crash_points(struct world *w);
void act_random_kills(struct world *w);
void act_freeze(struct world *w);
void act_sleep_before_sending(struct world *w);
void act_orderly_restarts(struct world *w);
void act_deleted_queues(struct world *w);
void act_rejected_publishes(struct world *w);
void act_broker(struct world *w);
void act_database(struct world *w);
void act_deadlocks(struct world *w);
void act_provider(struct world *w);
void act_provider_throttles(struct world *w);
void act_network(struct world *w);
void act_limits(struct world *w);
void act_clock_steps(struct world *w);
void act_full_log(struct world *w);
void act_cluster(struct world *w);

/* Single faults, for the acts and for the random schedule. */
void fault_kill(struct world *w, enum daemon_kind kind); /* any one of them */
void fault_kill_all(struct world *w);
void fault_freeze(struct world *w, enum daemon_kind kind, int64_t ms);
void fault_crash_broker(struct world *w);
void fault_block_broker(struct world *w);
void fault_close_connections(struct world *w);
void fault_crash_database(struct world *w);
void fault_terminate_backends(struct world *w);
void fault_hold_locks(struct world *w);
void fault_lock_tables(struct world *w);
void fault_deadlock(struct world *w);
void fault_provider(struct world *w, const char *action, int times); /* e.g. "\"fault\": \"hang\"" */

/* The random schedule. */
bool soak_run(uint64_t seed, int minutes);

#endif
