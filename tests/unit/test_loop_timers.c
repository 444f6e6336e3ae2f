/* The loop's timers: their order, and that sockets are read before timeouts are believed. */
#include "loop_scene.h"

#include <signal.h>
#include <sys/wait.h>

/* --- timers -------------------------------------------------------------------------------------- */

static void test_loop_timers_fire_in_order_of_deadline(void **state)
{
    struct scene *s = *state;
    static const int64_t delays[ACTORS] = {20, 5, 30, 12};
    s->actors[2].act = act_stop;
    int64_t start = clock_mono_us();
    for (int i = 0; i < ACTORS; i++)
        assert_true(loop_timer_is_active(give_timer(&s->actors[i], delays[i])));
    loop_run(s->loop);
    assert_string_equal(s->trace, "bdac");
    assert_true(clock_mono_us() - start >= 30000);
    for (int i = 0; i < ACTORS; i++)
        assert_false(loop_timer_is_active(s->actors[i].timer));
}

static void test_loop_equal_deadlines_fire_in_order_of_arming(void **state)
{
    struct scene *s = *state;
    clock_fake(1000, 0);
    for (int i = 0; i < ACTORS; i++)
        give_timer(&s->actors[i], 0);
    loop_timer_start(s->actors[1].timer, 0); /* to the end of the line */
    s->last_turn = 1;
    loop_run(s->loop);
    assert_string_equal(s->trace, "acdb");
}

struct record {
    struct loop_timer *timer;
    int64_t delay_ms;
    bool armed;
    int fired;
};

static int64_t last_delay_ms;

static void on_record(void *arg)
{
    struct record *r = arg;
    assert_true(r->delay_ms >= last_delay_ms);
    last_delay_ms = r->delay_ms;
    r->fired++;
}

static uint32_t next_random(void)
{
    static uint32_t random = 12345;
    random = random * 1664525 + 1013904223;
    return random >> 16;
}

/* Many timers, often moved and stopped: what is left fires in order, once. */
static void test_loop_heap_keeps_its_order(void **state)
{
    struct scene *s = *state;
    enum { TIMERS = 500 };
    struct record records[TIMERS] = {0};
    int armed = 0;
    clock_fake(1000, 0);
    for (int i = 0; i < TIMERS; i++)
        records[i].timer = loop_timer_new(s->loop, on_record, &records[i]);
    for (int step = 0; step < 5 * TIMERS; step++) {
        struct record *r = &records[next_random() % TIMERS];
        r->armed = next_random() % 4 != 0;
        r->delay_ms = next_random() % 1000;
        if (r->armed)
            loop_timer_start(r->timer, r->delay_ms);
        else
            loop_timer_stop(r->timer);
    }
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(loop_timer_is_active(records[i].timer), records[i].armed);
        armed += records[i].armed;
    }
    assert_in_range(armed, TIMERS / 2, TIMERS - 1);

    clock_fake(2000, 0);
    last_delay_ms = 0;
    s->last_turn = 1;
    loop_run(s->loop);
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(records[i].fired, records[i].armed);
        loop_timer_free(&records[i].timer);
    }
}

static void test_loop_timer_never_fires_early(void **state)
{
    struct scene *s = *state;
    for (int delay = 1; delay <= 5; delay++) {
        int64_t start = clock_mono_us();
        s->actors[0].act = act_stop;
        give_timer(&s->actors[0], delay);
        loop_run(s->loop);
        assert_true(clock_mono_us() - start >= delay * 1000);
        loop_timer_free(&s->actors[0].timer);
    }
    assert_string_equal(s->trace, "aaaaa");
}

static void test_loop_timer_can_be_moved_and_stopped(void **state)
{
    struct scene *s = *state;
    give_timer(&s->actors[0], 1);
    give_timer(&s->actors[1], 3600 * 1000);
    give_timer(&s->actors[2], INT64_MAX);
    give_timer(&s->actors[3], INT64_MIN);
    loop_timer_stop(s->actors[0].timer);
    loop_timer_stop(s->actors[0].timer);
    loop_timer_start(s->actors[1].timer, 10);
    s->actors[1].act = act_stop;
    loop_run(s->loop);
    assert_string_equal(s->trace, "db");
    assert_false(loop_timer_is_active(s->actors[0].timer));
    assert_true(loop_timer_is_active(s->actors[2].timer));
}

/* With 0 too a re-armed timer waits for the next turn, even when the clock stands still. */
static void act_rearm(void *arg)
{
    struct actor *a = arg;
    loop_timer_start(a->timer, 0);
    assert_int_equal(a->calls, a->scene->turns + 1);
}

static void test_loop_timer_rearmed_in_its_callback(void **state)
{
    struct scene *s = *state;
    for (int fake = 0; fake < 2; fake++) {
        if (fake)
            clock_fake(1000, 0);
        s->turns = s->actors[0].calls = 0;
        s->actors[0].act = act_rearm;
        s->last_turn = 5;
        give_timer(&s->actors[0], 0);
        loop_run(s->loop);
        assert_int_equal(s->actors[0].calls, 5);
        loop_timer_free(&s->actors[0].timer);
    }
}

static void act_free_own_timer(void *arg)
{
    struct actor *a = arg;
    struct loop_timer *mine = a->timer;
    loop_timer_free(&a->timer);
    assert_null(a->timer);
    assert_false(loop_timer_is_active(mine)); /* its memory stays until the turn has ended */
}

static void test_loop_timer_freed_in_its_callback(void **state)
{
    struct scene *s = *state;
    s->actors[0].act = act_free_own_timer;
    give_timer(&s->actors[0], 0);
    s->last_turn = 3;
    give_timer(&s->actors[1], 3);
    give_timer(&s->actors[2], 6);
    loop_run(s->loop);
    assert_int_equal(s->actors[0].calls, 1);
}

static void act_free_other_timers(void *arg)
{
    struct actor *a = arg;
    for (int i = 0; i < ACTORS; i++)
        if (&a->scene->actors[i] != a)
            loop_timer_free(&a->scene->actors[i].timer);
}

static void test_loop_timer_freed_while_due(void **state)
{
    struct scene *s = *state;
    clock_fake(1000, 0);
    for (int i = 0; i < ACTORS; i++) {
        s->actors[i].act = act_free_other_timers;
        give_timer(&s->actors[i], 0);
    }
    s->last_turn = 1;
    loop_run(s->loop);
    assert_string_equal(s->trace, "a");
}

static void test_loop_timer_freed_by_a_watch_while_due(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[0]);
    feed(&s->actors[0]);
    s->actors[0].act = act_free_other_timers;
    give_timer(&s->actors[1], 0);
    s->last_turn = 2;
    loop_run(s->loop);
    assert_null(strchr(s->trace, 'b'));
}

/* --- reading comes before timeouts --------------------------------------------------------------- */

/* Stalls beyond b's deadline, and what b waited for arrives meanwhile on c. */
static void act_stall(void *arg)
{
    struct actor *a = arg;
    struct scene *s = a->scene;
    if (a->watch)
        eat(a);
    stall_ms(30);
    feed(&s->actors[2]);
}

static void act_stop_timeout(void *arg)
{
    struct actor *a = arg;
    loop_timer_stop(a->scene->actors[1].timer);
    act_eat_and_stop(a);
}

static void test_loop_reads_before_timing_out_after_a_stalled_watch(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[0]);
    give_pipe(&s->actors[2]);
    feed(&s->actors[0]);
    s->actors[0].act = act_stall;
    s->actors[2].act = act_stop_timeout;
    give_timer(&s->actors[1], 10);
    loop_run(s->loop);
    assert_string_equal(s->trace, "ac");
}

static void test_loop_reads_before_timing_out_after_a_stalled_timer(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[2]);
    s->actors[0].act = act_stall;
    s->actors[2].act = act_stop_timeout;
    give_timer(&s->actors[0], 0);
    give_timer(&s->actors[1], 10);
    loop_run(s->loop);
    assert_string_equal(s->trace, "ac");
}

static void stall_in_turn(void *arg)
{
    struct scene *s = arg;
    if (s->turns == 1)
        act_stall(&s->actors[0]);
}

static void test_loop_reads_before_timing_out_after_a_stalled_turn(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[2]);
    s->actors[2].act = act_stop_timeout;
    give_timer(&s->actors[1], 10);
    loop_on_turn(s->loop, stall_in_turn, s);
    loop_again(s->loop);
    loop_run(s->loop);
    assert_string_equal(s->trace, "c");
}

/* The whole process stopped in its sleep, as a suspended machine would be: 0 when the byte was seen before
 * the timeout. */
static void stopped_child(struct scene *s)
{
    s->actors[2].act = act_stop_timeout;
    s->actors[1].act = act_stop;
    give_timer(&s->actors[1], 50);
    loop_run(s->loop);
    _exit(strcmp(s->trace, "c") == 0 ? 0 : 1);
}

static void test_loop_reads_before_timing_out_after_sigstop(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[2]);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        loop_watch_free(&s->actors[2].watch); /* a loop does not survive fork: epoll is shared */
        struct scene own = {.loop = loop_new()};
        for (int i = 0; i < ACTORS; i++)
            own.actors[i] = (struct actor){.scene = &own, .name = (char)('a' + i)};
        memcpy(own.actors[2].fds, s->actors[2].fds, sizeof own.actors[2].fds);
        own.actors[2].watch = loop_watch_new(own.loop, own.actors[2].fds[0], on_events, &own.actors[2]);
        loop_watch_set(own.actors[2].watch, LOOP_READ);
        stopped_child(&own);
    }
    int status;
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    stall_ms(100);
    feed(&s->actors[2]);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loop_timers_fire_in_order_of_deadline, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_equal_deadlines_fire_in_order_of_arming, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_heap_keeps_its_order, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_never_fires_early, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_can_be_moved_and_stopped, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_rearmed_in_its_callback, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_freed_in_its_callback, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_freed_while_due, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_timer_freed_by_a_watch_while_due, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_reads_before_timing_out_after_a_stalled_watch,
                                        raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_reads_before_timing_out_after_a_stalled_timer,
                                        raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_reads_before_timing_out_after_a_stalled_turn, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_reads_before_timing_out_after_sigstop, raise_curtain,
                                        drop_curtain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
