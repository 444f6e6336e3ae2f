/* The loop: descriptors, the order within a turn, signals, work, and what may be freed where. */
#include "loop_scene.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/log.h"

/* --- watches ------------------------------------------------------------------------------------- */

static void test_loop_watch_is_level_triggered(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[0]);
    feed(&s->actors[0]);
    s->last_turn = 3;
    loop_run(s->loop);
    assert_string_equal(s->trace, "aaa");
    assert_int_equal(s->actors[0].events, LOOP_READ);

    loop_watch_set(s->actors[0].watch, 0);
    loop_again(s->loop);
    s->last_turn = 4;
    loop_run(s->loop);
    assert_string_equal(s->trace, "aaa");

    loop_watch_set(s->actors[0].watch, LOOP_READ);
    loop_watch_set(s->actors[0].watch, LOOP_READ);
    s->actors[0].act = act_eat_and_stop;
    loop_run(s->loop);
    assert_string_equal(s->trace, "aaaa");
}

static void test_loop_watch_tells_read_from_write(void **state)
{
    struct scene *s = *state;
    struct actor *a = &s->actors[0];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a->fds), 0);
    a->watch = loop_watch_new(s->loop, a->fds[0], on_events, a);
    a->act = act_stop;
    loop_watch_set(a->watch, LOOP_READ | LOOP_WRITE);
    loop_run(s->loop);
    assert_int_equal(a->events, LOOP_WRITE);
    feed(a);
    loop_run(s->loop);
    assert_int_equal(a->events, LOOP_READ | LOOP_WRITE);
    loop_watch_set(a->watch, LOOP_READ);
    loop_run(s->loop);
    assert_int_equal(a->events, LOOP_READ);
}

/* Also after the first report, which libuv makes the last one. */
static void test_loop_watch_error_comes_as_both(void **state)
{
    struct scene *s = *state;
    struct actor *a = &s->actors[0];
    assert_int_equal(pipe(a->fds), 0);
    a->watch = loop_watch_new(s->loop, a->fds[1], on_events, a);
    loop_watch_set(a->watch, LOOP_WRITE);
    close(a->fds[0]); /* nobody will ever read: EPOLLERR */
    a->fds[0] = -1;
    s->last_turn = 2;
    loop_run(s->loop);
    assert_string_equal(s->trace, "aa");
    assert_int_equal(a->events, LOOP_READ | LOOP_WRITE);
}

static void test_loop_watch_hang_up_is_seen(void **state)
{
    struct scene *s = *state;
    give_pipe(&s->actors[0]);
    close(s->actors[0].fds[1]);
    s->actors[0].fds[1] = -1;
    s->actors[0].act = act_stop;
    loop_run(s->loop);
    assert_true(s->actors[0].events & LOOP_READ);
}

static struct loop_watch *freed;

static void act_free_all_watches(void *arg)
{
    struct actor *a = arg;
    freed = a->watch;
    for (int i = 0; i < ACTORS; i++) {
        struct actor *other = &a->scene->actors[i];
        loop_watch_free(&other->watch);
        assert_null(other->watch);
        for (int n = 0; n < 2; n++)
            close(other->fds[n]);
        other->fds[0] = other->fds[1] = -1;
    }
}

static void touch_freed(void *arg)
{
    struct scene *s = arg;
    if (s->turns == 1)
        loop_watch_set(freed, LOOP_READ); /* no change, but its memory is still there */
}

/* All are ready in one poll; the first one called frees them all, itself too, and closes the descriptors. */
static void test_loop_watch_freed_while_ready(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < ACTORS; i++) {
        give_pipe(&s->actors[i]);
        feed(&s->actors[i]);
        s->actors[i].act = act_free_all_watches;
    }
    loop_on_turn(s->loop, touch_freed, s);
    s->last_turn = 1;
    loop_run(s->loop);
    loop_again(s->loop);
    s->last_turn = 2;
    loop_run(s->loop);
    assert_int_equal(strlen(s->trace), 1);
}

static void act_silence_others(void *arg)
{
    struct actor *a = arg;
    for (int i = 0; i < ACTORS; i++)
        loop_watch_set(a->scene->actors[i].watch, 0);
}

static void test_loop_watch_silenced_while_ready(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < ACTORS; i++) {
        give_pipe(&s->actors[i]);
        feed(&s->actors[i]);
        s->actors[i].act = act_silence_others;
    }
    s->last_turn = 1;
    loop_run(s->loop);
    assert_int_equal(strlen(s->trace), 1);
}

/* A new connection often gets the number of the one just closed; it must not inherit its deafness. */
static void replace_pipe(struct actor *a)
{
    int old = a->fds[0];
    loop_watch_free(&a->watch);
    close(a->fds[0]);
    close(a->fds[1]);
    give_pipe(a);
    assert_int_equal(a->fds[0], old);
    feed(a);
}

static void act_replace_once(void *arg)
{
    struct actor *a = arg;
    if (a->calls > 1)
        loop_stop(a->scene->loop);
    else
        replace_pipe(a);
}

static void test_loop_watch_of_a_reused_descriptor(void **state)
{
    struct scene *s = *state;
    struct actor *a = &s->actors[0];
    give_pipe(a);
    replace_pipe(a); /* outside of a turn */
    a->act = act_replace_once;
    loop_run(s->loop);
    assert_string_equal(s->trace, "aa");
}

/* --- turns --------------------------------------------------------------------------------------- */

static void turn_x(void *arg)
{
    note(arg, 'x');
}

static void turn_y(void *arg)
{
    note(arg, 'y');
}

static void test_loop_order_within_a_turn(void **state)
{
    struct scene *s = *state;
    give_timer(&s->actors[0], 0);
    give_pipe(&s->actors[1]);
    feed(&s->actors[1]);
    loop_on_turn(s->loop, turn_x, s);
    loop_on_turn(s->loop, turn_y, s);
    s->actors[0].act = act_stop;
    loop_run(s->loop);
    assert_string_equal(s->trace, "baxy");
}

static void test_loop_stop_ends_after_the_turn(void **state)
{
    struct scene *s = *state;
    loop_on_turn(s->loop, turn_x, s);
    loop_stop(s->loop);
    loop_run(s->loop); /* stopped before: no turn */
    assert_string_equal(s->trace, "");
    s->last_turn = 1;
    loop_again(s->loop);
    loop_run(s->loop);
    assert_string_equal(s->trace, "x");
}

static void again_to_ten(void *arg)
{
    struct scene *s = arg;
    if (s->turns < 10)
        loop_again(s->loop);
    else
        loop_stop(s->loop);
}

static void test_loop_again_does_not_sleep(void **state)
{
    struct scene *s = *state;
    give_timer(&s->actors[0], 3600 * 1000);
    loop_on_turn(s->loop, again_to_ten, s);
    loop_again(s->loop);
    int64_t start = clock_mono_ms();
    loop_run(s->loop);
    assert_int_equal(s->turns, 10);
    assert_true(clock_mono_ms() - start < 5000);
}

static void act_tick(void *arg)
{
    struct actor *a = arg;
    if (a->calls == 20)
        loop_stop(a->scene->loop);
    else
        loop_timer_start(a->timer, 2);
}

/* Neither before a deadline nor in its last millisecond nor after a loop_again does it spin. */
static void test_loop_sleeps_when_there_is_nothing_to_do(void **state)
{
    struct scene *s = *state;
    s->actors[0].act = act_tick;
    give_timer(&s->actors[0], 2);
    loop_again(s->loop);
    loop_run(s->loop);
    assert_in_range(s->turns, 20, 100);
}

static void act_check_now(void *arg)
{
    struct actor *a = arg;
    int64_t now = loop_now_ms(a->scene->loop);
    stall_ms(5);
    assert_int_equal(loop_now_ms(a->scene->loop), now);
    assert_true(clock_mono_ms() - now < 1000);
}

static void check_now(void *arg)
{
    struct scene *s = arg;
    act_check_now(&s->actors[0]);
}

static void test_loop_now_stands_within_a_turn(void **state)
{
    struct scene *s = *state;
    int64_t before = loop_now_ms(s->loop);
    stall_ms(3);
    assert_true(loop_now_ms(s->loop) > before); /* outside of turns it is the clock */
    give_timer(&s->actors[0], 0);
    give_pipe(&s->actors[1]);
    feed(&s->actors[1]);
    s->actors[0].act = s->actors[1].act = act_check_now;
    loop_on_turn(s->loop, check_now, s);
    s->last_turn = 3;
    loop_run(s->loop);
    assert_true(s->actors[0].calls == 1 && s->actors[1].calls == 3);
    int64_t after = clock_mono_ms();
    assert_true(loop_now_ms(s->loop) >= after);
}

static int captured;

static void log_once(void *arg)
{
    struct scene *s = arg;
    off_t written = lseek(captured, 0, SEEK_END);
    if (s->turns == 1)
        log_error("from the turn");
    assert_int_equal(written > 0, s->turns > 1);
    assert_int_equal(lseek(captured, 0, SEEK_END), written);
}

static void test_loop_flushes_the_log_each_turn(void **state)
{
    struct scene *s = *state;
    log_flush();
    int real_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    dup2(captured, STDERR_FILENO);
    loop_on_turn(s->loop, log_once, s);
    give_timer(&s->actors[0], 0);
    give_timer(&s->actors[1], 1);
    s->last_turn = 2;
    loop_run(s->loop);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
    assert_int_equal(s->turns, 2);
}

/* --- work and signals ---------------------------------------------------------------------------- */

struct work {
    struct loop *loop;
    pthread_t thread;
    int worked, done;
    bool stop;
    struct work *next; /* started when this one is done */
};

static void on_work(void *arg)
{
    struct work *w = arg;
    w->thread = pthread_self();
    w->worked++;
}

static void on_done(void *arg)
{
    struct work *w = arg;
    assert_int_equal(w->worked, 1);
    w->done++;
    if (w->stop)
        loop_stop(w->loop);
    if (w->next)
        loop_work(w->loop, on_work, on_done, w->next);
}

static void test_loop_work_runs_on_another_thread(void **state)
{
    struct scene *s = *state;
    struct work w = {.loop = s->loop, .stop = true};
    loop_work(s->loop, on_work, on_done, &w);
    assert_int_equal(w.done, 0);
    loop_run(s->loop);
    assert_int_equal(w.done, 1);
    assert_false(pthread_equal(w.thread, pthread_self()));
}

static void test_loop_free_waits_for_work(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct work second = {.loop = l}, first = {.loop = l, .next = &second};
    loop_work(l, on_work, on_done, &first);
    loop_free(&l);
    assert_null(l);
    assert_int_equal(first.done, 1);
    assert_int_equal(second.done, 1);
    loop_free(&l);
}

static void on_signal(void *arg, int signo)
{
    struct scene *s = arg;
    note(s, signo == SIGUSR1 ? '1' : '2');
    if (signo == SIGUSR2)
        loop_stop(s->loop);
}

static void test_loop_signals(void **state)
{
    struct scene *s = *state;
    loop_on_signal(s->loop, SIGUSR1, on_signal, s);
    loop_on_signal(s->loop, SIGUSR2, on_signal, s);
    raise(SIGUSR1);
    raise(SIGUSR1);
    assert_string_equal(s->trace, ""); /* never inside of anything */
    raise(SIGUSR2);
    loop_run(s->loop);
    assert_string_equal(s->trace, "112");
}

static void act_signal(void *arg)
{
    (void)arg;
    raise(SIGUSR2);
}

static void test_loop_signal_ends_the_sleep(void **state)
{
    struct scene *s = *state;
    loop_on_signal(s->loop, SIGUSR2, on_signal, s);
    s->actors[0].act = act_signal;
    give_timer(&s->actors[0], 5);
    give_timer(&s->actors[1], 3600 * 1000);
    loop_run(s->loop);
    assert_string_equal(s->trace, "a2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loop_watch_is_level_triggered, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_tells_read_from_write, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_error_comes_as_both, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_hang_up_is_seen, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_freed_while_ready, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_silenced_while_ready, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_watch_of_a_reused_descriptor, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_order_within_a_turn, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_stop_ends_after_the_turn, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_again_does_not_sleep, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_sleeps_when_there_is_nothing_to_do, raise_curtain,
                                        drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_now_stands_within_a_turn, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_flushes_the_log_each_turn, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_work_runs_on_another_thread, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_free_waits_for_work, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_signals, raise_curtain, drop_curtain),
        cmocka_unit_test_setup_teardown(test_loop_signal_ends_the_sleep, raise_curtain, drop_curtain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
