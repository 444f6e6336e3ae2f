/* The cases: which world, what is done to it, and what is promised then. */
#include "faults.h"

#define QUICK_TIMEOUT "publisher.answer_timeout_ms=5000"

const struct fault_case FAULT_CASES[] = {
    {.name = "nothing breaks, two of each",
     .act = act_nothing,
     .settings = {.count = {2, 2}, .mixed = true, .sets = {QUICK_TIMEOUT}},
     .is_short = true},
    {.name = "publisher dies at every step", .act = act_publisher_crash_points, .rate = 60, .is_short = true},
    {.name = "consumer dies at every step",
     .act = act_consumer_crash_points,
     .rate = 60,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "consumer dies while parking",
     .act = act_parking_crash_points,
     .rate = 40,
     .expected = {.parked = true, .reasons = "(PERMFAIL|uncertain:)%"},
     .is_short = true},
    {.name = "consumer dies while a request is given up",
     .act = act_dead_letter_crash_points,
     .settings = {.mixed = true, .sets = {QUICK_TIMEOUT}},
     .rate = 100,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "replay dies at every step",
     .act = act_replay_crash_points,
     .settings = {.contacts = 120},
     .is_short = true},
    {.name = "random kills, two of each",
     .act = act_random_kills,
     .settings = {.count = {2, 2}, .contacts = 100, .mixed = true, .sets = {QUICK_TIMEOUT}},
     .rate = 100,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "random kills, resend",
     .act = act_random_kills,
     .settings = {.count = {2, 2}, .contacts = 100, .sets = {"consumer.uncertain=resend"}},
     .rate = 100,
     .expected = {.twice = true}},
    {.name = "frozen longer than the lease",
     .act = act_freeze,
     .settings = {.count = {2, 2}},
     .rate = 60,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "asleep between claim and sending",
     .act = act_sleep_before_sending,
     .settings = {.count = {1, 2}},
     .rate = 60,
     .expected = {.parked = true}},
    {.name = "orderly restarts",
     .act = act_orderly_restarts,
     .settings = {.count = {2, 2}},
     .rate = 60,
     .is_short = true},
    {.name = "deleted queues",
     .act = act_deleted_queues,
     .expected = {.parked = true, .reasons = "PERMFAIL%"}},
    {.name = "rejected publishes", .act = act_rejected_publishes},
    {.name = "clock steps",
     .act = act_clock_steps,
     .settings = {.count = {2, 2}, .mixed = true, .preload = "tests/clockstep.so", .sets = {QUICK_TIMEOUT}},
     .rate = 60,
     .expected = {.parked = true}},
    {.name = "log on a full disk",
     .act = act_full_log,
     .settings = {.count = {2, 2}, .full_log = true},
     .rate = 60,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "broker", .act = act_broker, .settings = {.count = {2, 2}}, .rate = 60, .is_short = true},
    {.name = "cluster, each node dies",
     .act = act_cluster,
     .settings = {.count = {2, 2}},
     .rate = 60,
     .needs_cluster = true},
    {.name = "database", .act = act_database, .settings = {.count = {2, 2}}, .rate = 60, .is_short = true},
    {.name = "deadlocks", .act = act_deadlocks, .settings = {.count = {2, 2}}, .rate = 100},
    {.name = "provider",
     .act = act_provider,
     .settings = {.count = {1, 2}},
     .rate = 30,
     .expected = {.parked = true},
     .is_short = true},
    {.name = "provider throttles",
     .act = act_provider_throttles,
     .settings = {.count = {1, 2}, .contacts = 20},
     .rate = 60},
    {.name = "network",
     .act = act_network,
     .settings = {.count = {2, 2}, .proxied = true},
     .rate = 40,
     .expected = {.parked = true}},
    {.name = "limits, four consumers",
     .act = act_limits,
     .settings = {.count = {1, 4},
                  .contacts = 25,
                  .sets = {"limits.window_ms=2000", "limits.contact_per_minute=3",
                           "limits.sends_per_minute=40"}},
     .expected = {.parked = true, .window_ms = 2000, .limit_all = 40, .limit_contact = 3},
     .is_short = true},
};
const size_t FAULT_CASE_COUNT = sizeof FAULT_CASES / sizeof FAULT_CASES[0];

bool case_run(const struct fault_case *c)
{
    enum { PATIENCE_S = 90 };
    struct world w;

    print_message("%s\n", c->name);
    world_open(&w, c->name, &c->settings);
    if (c->rate > 0)
        world_load(&w, c->rate, 0);
    c->act(&w);
    world_load_stop(&w);
    world_settle(&w, PATIENCE_S);
    bool good = world_judge(&w, &c->expected);
    world_close(&w);
    return good;
}
