/* The single faults. */
#include <signal.h>
#include <stdio.h>

#include "faults.h"

void fault_kill(struct world *w, enum daemon_kind kind)
{
    daemon_kill(w, kind, (int)pick((uint64_t)w->settings.count[kind]));
}

void fault_kill_all(struct world *w)
{
    for (enum daemon_kind kind = 0; kind < DAEMON_KINDS; kind++) {
        for (int i = 0; i < w->settings.count[kind]; i++)
            daemon_kill(w, kind, i);
    }
}

void fault_freeze(struct world *w, enum daemon_kind kind, int64_t ms)
{
    struct process *p = &w->daemons[kind][pick((uint64_t)w->settings.count[kind])].process;

    process_signal(p, SIGSTOP);
    world_pause(w, ms);
    process_signal(p, SIGCONT);
}

/* --- the broker --- */

void fault_crash_broker(struct world *w)
{
    sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){"kill", NULL});
    world_pause(w, 500);
    sandbox_run("AGWB_TEST_BROKER_CTL", (const char *const[]){"start", NULL});
}

void fault_block_broker(struct world *w)
{
    sandbox_run("AGWB_TEST_RABBITMQCTL",
                (const char *const[]){"set_vm_memory_high_watermark", "0.0001", NULL});
    world_pause(w, 2000);
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"set_vm_memory_high_watermark", "0.4", NULL});
}

void fault_close_connections(struct world *w)
{
    (void)w;
    sandbox_run("AGWB_TEST_RABBITMQCTL", (const char *const[]){"close_all_connections", "fault", NULL});
}

/* --- the database --- */

void fault_crash_database(struct world *w)
{
    sandbox_run("AGWB_TEST_PG_CTL", (const char *const[]){"stop-immediate", NULL});
    world_forget(w);
    world_pause(w, 500);
    sandbox_run("AGWB_TEST_PG_CTL", (const char *const[]){"start", NULL});
}

void fault_terminate_backends(struct world *w)
{
    world_int(w, "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                 "where datname = current_database() and pid <> pg_backend_pid()");
}

/* Another session's transaction holds rows for a while. */
void fault_hold_locks(struct world *w)
{
    world_int(w, "do $$ begin perform 1 from ai_response_queue order by created_at desc limit 200 for update;"
                 " perform 1 from agwb.deliveries order by seq desc limit 100 for update;"
                 " perform 1 from agwb.lanes order by lane limit 20 for update; perform pg_sleep(2); end $$");
}

void fault_lock_tables(struct world *w)
{
    world_int(w, "do $$ begin lock table agwb.deliveries in exclusive mode; perform pg_sleep(1.5); end $$");
}

/* Rows one by one in an order that is not ours, until somebody must give way: a daemon or this session. */
void fault_deadlock(struct world *w)
{
    world_int(
        w,
        "do $$ declare r record; begin"
        " for r in select l.lane from agwb.lanes l order by l.lane desc limit 60 loop"
        "   perform 1 from agwb.lanes l where l.lane = r.lane for update; perform pg_sleep(0.005); end loop;"
        " for r in select d.message_id from agwb.deliveries d order by d.seq desc limit 60 loop"
        "   perform 1 from agwb.deliveries d where d.message_id = r.message_id for update; end loop;"
        " for r in select q.id from ai_response_queue q order by q.id desc limit 60 loop"
        "   perform 1 from ai_response_queue q where q.id = r.id for update; end loop;"
        " exception when deadlock_detected then null; end $$");
}

/* --- the provider --- */

void fault_provider(struct world *w, const char *action, int times)
{
    char script[512];

    snprintf(script, sizeof script, "{\"rules\": [{\"times\": %d, \"action\": {%s}}]}", times, action);
    world_script(w, script);
}
