/* What the tests of the loop share: a loop with actors that leave their names in a trace. A test that hangs
 * is ended by its alarm. */
#ifndef AGWB_TESTS_LOOP_SCENE_H
#define AGWB_TESTS_LOOP_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "io/loop.h"

enum { ACTORS = 4 };

/* Something that is called by the loop, writes its name into the trace, and then does what the test says. */
struct actor {
    struct scene *scene;
    char name;
    loop_fn *act; /* may be NULL; gets the actor */
    struct loop_timer *timer;
    struct loop_watch *watch;
    int fds[2]; /* the watch is on [0] */
    int events; /* of the last call */
    int calls;
};

struct scene {
    struct loop *loop;
    struct actor actors[ACTORS];
    char trace[200];
    int turns;
    int last_turn; /* the turn that stops the loop; 0 = none */
};

static inline void note(struct scene *s, char name)
{
    size_t len = strlen(s->trace);
    assert_true(len + 1 < sizeof s->trace);
    s->trace[len] = name;
    s->trace[len + 1] = '\0';
}

static inline void perform(struct actor *a)
{
    note(a->scene, a->name);
    a->calls++;
    if (a->act)
        a->act(a);
}

static inline void on_timer(void *arg)
{
    perform(arg);
}

static inline void on_events(void *arg, int events)
{
    struct actor *a = arg;
    a->events = events;
    perform(a);
}

static inline void count_turn(void *arg)
{
    struct scene *s = arg;
    if (++s->turns == s->last_turn)
        loop_stop(s->loop);
}

static inline int raise_curtain(void **state)
{
    static struct scene scene;
    scene = (struct scene){0};
    alarm(30);
    clock_real();
    scene.loop = loop_new();
    loop_on_turn(scene.loop, count_turn, &scene);
    for (int i = 0; i < ACTORS; i++)
        scene.actors[i] = (struct actor){.scene = &scene, .name = (char)('a' + i), .fds = {-1, -1}};
    *state = &scene;
    return 0;
}

static inline int drop_curtain(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < ACTORS; i++) {
        loop_timer_free(&s->actors[i].timer);
        loop_watch_free(&s->actors[i].watch);
        for (int n = 0; n < 2; n++)
            if (s->actors[i].fds[n] >= 0)
                close(s->actors[i].fds[n]);
    }
    loop_free(&s->loop);
    clock_real();
    alarm(0);
    return s->loop != NULL;
}

static inline struct loop_timer *give_timer(struct actor *a, int64_t delay_ms)
{
    a->timer = loop_timer_new(a->scene->loop, on_timer, a);
    loop_timer_start(a->timer, delay_ms);
    return a->timer;
}

static inline void give_pipe(struct actor *a)
{
    assert_int_equal(pipe(a->fds), 0);
    a->watch = loop_watch_new(a->scene->loop, a->fds[0], on_events, a);
    loop_watch_set(a->watch, LOOP_READ);
}

static inline void feed(struct actor *a)
{
    assert_int_equal(write(a->fds[1], "x", 1), 1);
}

static inline void eat(struct actor *a)
{
    char c;
    assert_int_equal(read(a->fds[0], &c, 1), 1);
}

static inline void stall_ms(int64_t ms)
{
    int64_t end = clock_mono_us() + ms * 1000;
    while (clock_mono_us() < end)
        ;
}

static inline void act_stop(void *arg)
{
    struct actor *a = arg;
    loop_stop(a->scene->loop);
}

static inline void act_eat_and_stop(void *arg)
{
    eat(arg);
    act_stop(arg);
}

#endif
