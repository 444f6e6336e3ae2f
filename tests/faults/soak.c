/* The random schedule: faults of every kind, one after the other, under a continuous load. The same seed
 * gives the same schedule; what it meets differs with the machine. */
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "faults.h"

static void kill_publisher(struct world *w)
{
    fault_kill(w, PUBLISHER);
}

static void kill_consumer(struct world *w)
{
    fault_kill(w, CONSUMER);
}

static void kill_agent(struct world *w)
{
    process_kill(&w->agent);
}

/* Longer than its lease. */
static void freeze_consumer(struct world *w)
{
    fault_freeze(w, CONSUMER, 9000);
}

static void freeze_publisher(struct world *w)
{
    fault_freeze(w, PUBLISHER, 3500);
}

static void provider_hangs(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 8, \"action\": {\"fault\": \"hang\"}}]}");
}

static void provider_resets(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 10, \"action\": {\"fault\": \"reset_after_request\"}},"
                    " {\"times\": 10, \"action\": {\"fault\": \"reset_before\"}}]}");
}

static void provider_babbles(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 3, \"action\": {\"fault\": \"garbage\"}},"
                    " {\"times\": 3, \"action\": {\"fault\": \"malformed_json\"}},"
                    " {\"times\": 2, \"action\": {\"fault\": \"close_without_answer\"}},"
                    " {\"times\": 2, \"action\": {\"fault\": \"drip\", \"ms_per_byte\": 40}}]}");
}

static void provider_throttles(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 60, \"action\": {\"status\": 429, \"retry_after_s\": 1}}]}");
}

static void provider_fails(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 15, \"action\": {\"status\": 503}}]}");
}

/* Answers take a while: kills then meet requests under way. */
static void provider_slow(struct world *w)
{
    world_script(w, "{\"rules\": [{\"times\": 150, \"action\": {\"delay_ms\": 300}}]}");
    world_pause(w, 400);
    kill_consumer(w);
}

static void disturb_network(struct world *w)
{
    static const char *const who[] = {"broker", "database", "provider", "all"};
    static const char *const how[] = {"cut", "reset", "blackhole", "halfopen", "trickle", "delay-200"};
    const char *peer = who[pick(4)], *mode = how[pick(6)];

    world_proxy(w, peer, mode);
    world_pause(w, 1000 + (int64_t)pick(4000));
    world_proxy(w, peer, "pass");
    if (pick(2) == 0) /* what was on its way is lost, not late */
        world_proxy(w, peer, "reset");
}

static const struct {
    const char *name;
    void (*act)(struct world *w);
    unsigned weight;
} FAULTS[] = {
    {"kill publisher", kill_publisher, 240},
    {"kill consumer", kill_consumer, 280},
    {"kill all daemons", fault_kill_all, 60},
    {"kill agent", kill_agent, 10},
    {"freeze consumer", freeze_consumer, 6},
    {"freeze publisher", freeze_publisher, 6},
    {"crash broker", fault_crash_broker, 3},
    {"block broker", fault_block_broker, 3},
    {"close connections", fault_close_connections, 5},
    {"crash database", fault_crash_database, 6},
    {"terminate backends", fault_terminate_backends, 10},
    {"hold locks", fault_hold_locks, 6},
    {"lock tables", fault_lock_tables, 6},
    {"deadlock", fault_deadlock, 6},
    {"provider hangs", provider_hangs, 8},
    {"provider resets", provider_resets, 10},
    {"provider babbles", provider_babbles, 10},
    {"provider throttles", provider_throttles, 8},
    {"provider fails", provider_fails, 8},
    {"provider slow", provider_slow, 30},
    {"disturb network", disturb_network, 24},
};

static void one_fault(struct world *w, long counts[])
{
    uint64_t all = 0, n;
    size_t i = 0;

    for (size_t k = 0; k < sizeof FAULTS / sizeof FAULTS[0]; k++)
        all += FAULTS[k].weight;
    for (n = pick(all); n >= FAULTS[i].weight; i++)
        n -= FAULTS[i].weight;
    FAULTS[i].act(w);
    counts[i]++;
}

bool soak_run(uint64_t seed, int minutes)
{
    const struct world_settings settings = {
        .count = {2, 2}, .contacts = 404, .proxied = true, .mixed = true, .both_ways = true};
    const struct expected expected = {.parked = true, .reasons = "(PERMFAIL 30005|uncertain|overtaken):%"};
    long counts[sizeof FAULTS / sizeof FAULTS[0]] = {0};
    struct world w;
    char name[64];

    snprintf(name, sizeof name, "soak, seed %llu, %d minutes", (unsigned long long)seed, minutes);
    print_message("%s\n", name);
    world_open(&w, name, &settings);
    world_load(&w, 50, 0);
    world_pause(&w, 4000); /* RabbitMQ 3.10 loses a quorum queue that is younger than this and killed */
    for (int64_t end = clock_mono_ms() + minutes * INT64_C(60000); clock_mono_ms() < end;) {
        one_fault(&w, counts);
        world_pause(&w, 100 + (int64_t)pick(900));
    }
    world_load_stop(&w);
    world_settle(&w, 180);
    bool good = world_judge(&w, &expected);
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++)
        print_message("  %-20s %5ld\n", FAULTS[i].name, counts[i]);
    world_close(&w);
    return good;
}
