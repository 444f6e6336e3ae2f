/* What is done to a world: crash points, kills, and the faults of its peers. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "faults.h"

void act_nothing(struct world *w)
{
    world_load(w, 0, 2000);
    world_load_wait(w);
}

/* --- crash points --- */

/* The daemon runs until it dies there: "point", or "point:n" for its n-th passage. */
static void crash_once(struct world *w, enum daemon_kind kind, const char *crash)
{
    struct process *p = &w->daemons[kind][0].process;

    daemon_kill(w, kind, 0);
    daemon_start_armed(w, kind, 0, crash);
    struct wait patience = wait_begin(crash);
    while (!process_has_ended(p))
        wait_turn(&patience);
    w->kills++;
    if (p->status != 128 + SIGKILL) {
        print_message("  fault: at %s the daemon ended with status %d\n", crash, p->status);
        file_show_end(p->log);
        w->faults++;
    }
    daemon_start(w, kind, 0);
    world_pause(w, 200);
}

/* An early passage, and one under way. */
static void crash_at(struct world *w, enum daemon_kind kind, const char *point)
{
    char later[64];

    snprintf(later, sizeof later, "%s:5", point);
    crash_once(w, kind, point);
    crash_once(w, kind, later);
}

void act_publisher_crash_points(struct world *w)
{
    static const char *const points[] = {"publisher-inbox-claimed",    "publisher-inbox-recorded",
                                         "publisher-receipts-applied", "publisher-claimed",
                                         "publisher-published",        "publisher-confirmed",
                                         "publisher-recorded"};

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        crash_at(w, PUBLISHER, points[i]);
}

void act_consumer_crash_points(struct world *w)
{
    static const char *const points[] = {"consumer-delivered", "consumer-accepted", "consumer-acked",
                                         "consumer-claimed",   "consumer-sending",  "consumer-answered",
                                         "consumer-settled"};

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        crash_at(w, CONSUMER, points[i]);
}

/* Answers of several messages, ways that change, failures that come late: with many of them under way. */
void act_parts_crash_points(struct world *w)
{
    static const char *const crashes[] = {"consumer-sending:60", "consumer-answered:60",
                                          "consumer-settled:20", "consumer-bounce-judged",
                                          "consumer-bounce-settled"};

    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        crash_once(w, CONSUMER, crashes[i]);
}

void act_parking_crash_points(struct world *w)
{
    fault_provider(w, "\"status\": 422", -1);
    crash_at(w, CONSUMER, "parking-claimed");
    crash_at(w, CONSUMER, "parking-confirmed");
    world_script(w, "{\"rules\": []}");
}

void act_dead_letter_crash_points(struct world *w)
{
    crash_at(w, CONSUMER, "fallback-committed");
    crash_at(w, CONSUMER, "deadletter-parked");
}

/* Everything is refused and parked; then it is replayed, by runs that die at every step. */
void act_replay_crash_points(struct world *w)
{
    static const char *const points[] = {"replay-begun", "replay-published", "replay-acked"};
    enum { RUNS = 20 };

    fault_provider(w, "\"status\": 422", -1);
    world_load(w, 0, 120);
    world_load_wait(w);
    world_settle(w, 30);
    world_script(w, "{\"rules\": []}");
    for (int i = 0; i < RUNS; i++) {
        char crash[64];
        snprintf(crash, sizeof crash, "%s:%d", points[pick(3)], 1 + (int)pick(8));
        if (world_replay(w, crash) != 128 + SIGKILL) {
            print_message("  fault: dlq replay did not reach %s\n", crash);
            w->faults++;
        }
        w->kills++;
    }
    if (world_replay(w, NULL) != 0) {
        print_message("  fault: dlq replay failed\n");
        w->faults++;
    }
}

/* --- processes --- */

void act_random_kills(struct world *w)
{
    for (int i = 0; i < 40; i++) {
        world_pause(w, 50 + (int64_t)pick(500));
        fault_kill(w, (enum daemon_kind)pick(DAEMON_KINDS));
    }
}

/* Longer than their leases, with requests on their way. */
void act_freeze(struct world *w)
{
    fault_provider(w, "\"delay_ms\": 100", -1);
    fault_freeze(w, PUBLISHER, 3500);
    fault_freeze(w, CONSUMER, 9000);
    world_pause(w, 1000);
    world_script(w, "{\"rules\": []}");
}

/* As if the machine fell asleep between the claim and the first byte: when it wakes, the lease is over and
 * the message is somebody else's. */
void act_sleep_before_sending(struct world *w)
{
    struct instance *d = &w->daemons[CONSUMER][0];
    int status;

    daemon_kill(w, CONSUMER, 0);
    daemon_start_armed(w, CONSUMER, 0, "stop consumer-sending:20");
    d->expected = false;
    daemon_kill(w, CONSUMER, 1); /* so that the first one sends */
    struct wait patience = wait_begin("the consumer stops");
    while (waitpid(d->process.pid, &status, WUNTRACED | WNOHANG) != d->process.pid)
        wait_turn(&patience);
    world_pause(w, 9000);
    process_signal(&d->process, SIGCONT);
    world_pause(w, 2000);
}

/* Rolling restarts, with requests on their way: nothing is even uncertain. */
void act_orderly_restarts(struct world *w)
{
    fault_provider(w, "\"delay_ms\": 150", -1);
    for (int i = 0; i < 12; i++) {
        enum daemon_kind kind = (enum daemon_kind)(i % DAEMON_KINDS);
        int which = (int)pick((uint64_t)w->settings.count[kind]);
        world_pause(w, 100 + (int64_t)pick(400));
        daemon_stop(w, kind, which);
        daemon_start(w, kind, which);
    }
    world_script(w, "{\"rules\": []}");
}

/* The daemons' wall clock is wrong by an hour, forth and back. */
void act_clock_steps(struct world *w)
{
    fault_provider(w, "\"status\": 503", 20);
    world_pause(w, 10000);
    fault_kill_all(w);
    world_pause(w, 6000);
}

/* Nothing that is logged can be written. */
void act_full_log(struct world *w)
{
    world_pause(w, 3000);
    fault_kill_all(w);
    world_pause(w, 2000);
}

/* --- the servers --- */

static void delete_queue(const struct world *w, const char *queue)
{
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"delete_queue", "-p", w->vhost, queue, NULL});
}

/* While they are empty: what was in a queue that is deleted is gone by the operator's own hand. */
static void delete_and_ask(struct world *w, const char *first, const char *second, int64_t count)
{
    world_settle(w, 60);
    delete_queue(w, first);
    if (second != NULL)
        delete_queue(w, second);
    world_load(w, 0, count); /* from the first one on; what is asked already stays as it is */
    world_load_wait(w);
}

void act_deleted_queues(struct world *w)
{
    world_load(w, 0, 100);
    world_load_wait(w);
    delete_and_ask(w, "ag_queue", "wb_queue", 200);
    delete_and_ask(w, "ag_queue", NULL, 300);
    world_settle(w, 60);
    fault_provider(w, "\"status\": 422", 20);
    delete_and_ask(w, "wb_parked", NULL, 400);
}

/* The agent is away and its queue is full: every job goes back, none is lost, none counts as an attempt. (The
 * policy stays until all are asked: RabbitMQ 3.10 goes on refusing a channel when it is taken away.) */
void act_rejected_publishes(struct world *w)
{
    w->agent_away = true;
    process_kill(&w->agent);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"set_policy", "-p", w->vhost, "small",
                                                               "^ag_queue$", "{\"max-length\":50}", NULL});
    world_load(w, 0, 400);
    world_load_wait(w);
    world_pause(w, 2000);
    if (world_int(
            w, "select count(*) from ai_response_queue where status = 'pending' and error like 'nacked%%'") ==
        0) {
        print_message("  fault: nothing was nacked\n");
        w->faults++;
    }
    w->agent_away = false;
    world_settle(w, 90);
    if (world_int(w, "select count(*) from ai_response_queue where attempts <> 1") != 0) {
        print_message("  fault: a refusal counted as an attempt\n");
        w->faults++;
    }
}

void act_broker(struct world *w)
{
    world_pause(w, 3500); /* RabbitMQ 3.10 loses a quorum queue that is killed younger than this */
    fault_close_connections(w);
    world_pause(w, 1000);
    fault_block_broker(w);
    fault_crash_broker(w);
    world_pause(w, 1000);
}

void act_database(struct world *w)
{
    fault_terminate_backends(w);
    world_pause(w, 1000);
    fault_hold_locks(w);
    fault_lock_tables(w);
    fault_crash_database(w);
    world_pause(w, 1000);
}

void act_deadlocks(struct world *w)
{
    for (int i = 0; i < 6; i++) {
        fault_deadlock(w);
        world_pause(w, 100);
    }
}

/* Each node in turn, so that the queues' leaders are among those that die. */
void act_cluster(struct world *w)
{
    static const char *const nodes[] = {"1", "2", "3"};

    world_pause(w, 4000);
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){"kill", nodes[i], NULL});
        world_pause(w, 4000);
        sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){"start", nodes[i], NULL});
        world_pause(w, 3000);
    }
}

/* --- the provider --- */

void act_provider(struct world *w)
{
    static const char *const actions[] = {"\"fault\": \"hang\"",
                                          "\"fault\": \"reset_after_request\"",
                                          "\"fault\": \"reset_before\"",
                                          "\"fault\": \"garbage\"",
                                          "\"fault\": \"close_without_answer\"",
                                          "\"fault\": \"malformed_json\"",
                                          "\"fault\": \"drip\", \"ms_per_byte\": 60",
                                          "\"status\": 503",
                                          "\"fault\": \"huge_body\", \"bytes\": 3000000"};

    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        fault_provider(w, actions[i], 4);
        world_pause(w, 1200);
    }
    world_script(w, "{\"rules\": []}");
}

/* The crowd waits, in order, and nothing is used up or parked. */
void act_provider_throttles(struct world *w)
{
    fault_provider(w, "\"status\": 429, \"retry_after_s\": 1", 150);
    world_pause(w, 5000);
    fault_provider(w, "\"status\": 429, \"retry_after_date_s\": 1", 50);
    world_pause(w, 3000);
}

/* --- the network --- */

void act_network(struct world *w)
{
    static const char *const peers[] = {"broker", "database", "provider"};
    static const char *const modes[] = {"cut", "trickle", "halfopen", "blackhole"};

    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
        for (size_t p = 0; p < sizeof peers / sizeof peers[0]; p++) {
            world_proxy(w, peers[p], modes[m]);
            world_pause(w, 2500);
            world_proxy(w, peers[p], "pass");
        }
    }
    world_proxy(w, "all", "delay-150");
    world_pause(w, 2500);
    world_proxy(w, "all", "blackhole");
    world_pause(w, 8000);
    world_proxy(w, "all", "pass");
    world_proxy(w, "all", "reset");
}

/* --- limits --- */

/* More than the limits let through, and now and then a kill with requests on their way. */
void act_limits(struct world *w)
{
    fault_provider(w, "\"delay_ms\": 100", -1);
    world_load(w, 0, 300);
    for (int i = 0; i < 5; i++) {
        world_pause(w, 1500);
        fault_kill(w, CONSUMER);
    }
    world_load_wait(w);
}
