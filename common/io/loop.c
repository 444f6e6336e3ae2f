/* The loop. libuv sleeps, polls, catches signals and runs the pool; timers, the order within a turn and the
 * deferred frees are ours. The only module that includes uv.h. */
#include "io/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"

/* First member of what is freed at the end of the turn. */
struct grave {
    struct grave *next;
};

struct loop_timer {
    struct grave grave;
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    int64_t deadline_us;
    uint64_t armed_as; /* the loop's count of armings: breaks ties in the order of arming */
    size_t place;      /* in the heap; NOT_ARMED when in none */
};

struct loop_watch {
    struct grave grave;
    struct loop *loop;
    uv_poll_t poll;
    loop_watch_fn *fn;
    void *arg;
    int events;
};

struct step {
    loop_fn *fn;
    void *arg;
};

struct signal_handler {
    struct signal_handler *next;
    struct loop *loop;
    uv_signal_t signal;
    loop_signal_fn *fn;
    void *arg;
};

struct job {
    struct loop *loop;
    uv_work_t request;
    loop_fn *work;
    loop_fn *done;
    void *arg;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare; /* runs right before each poll, and keeps libuv polling when nothing else would */
    uv_timer_t bound;     /* ends the sleep at the next deadline; its callback does nothing */
    struct signal_handler *signals;
    struct step *steps;
    size_t step_count;

    struct loop_timer **heap; /* armed timers, the earliest first */
    size_t armed_count;
    size_t heap_cap;
    uint64_t armings;

    int64_t polled_at_us;    /* when the last poll began */
    uint64_t polled_armings; /* `armings` at that moment */
    int64_t now_ms;
    bool in_turn; /* now_ms is this turn's */
    bool again;
    bool stopping;

    size_t watch_count;
    struct grave *graves;
};

enum { MAX_SLEEP_MS = 3600 * 1000 };
static const size_t NOT_ARMED = SIZE_MAX;

/* A call of libuv that fails only when memory is out, when descriptors are at start-up, or when it breaks
 * this module's contract. */
static void must(int rc, const char *call)
{
    if (rc == 0)
        return;
    if (rc == UV_ENOMEM)
        abort_oom(0);
    log_error("event loop failed", log_str("call", call), log_str("error", uv_strerror(rc)));
    log_flush();
    _exit(70);
}

/* The first callback of a turn reads the clock for all of them. */
static void enter_turn(struct loop *l)
{
    if (l->in_turn)
        return;
    l->now_ms = clock_mono_ms();
    l->in_turn = true;
}

static void bury(struct loop *l, struct grave *g)
{
    g->next = l->graves;
    l->graves = g;
}

static void clear_graves(struct loop *l)
{
    while (l->graves) {
        struct grave *g = l->graves;
        l->graves = g->next;
        free(g);
    }
}

/* --- timers -------------------------------------------------------------------------------------- */

static bool is_before(const struct loop_timer *a, const struct loop_timer *b)
{
    if (a->deadline_us != b->deadline_us)
        return a->deadline_us < b->deadline_us;
    return a->armed_as < b->armed_as;
}

static void heap_place(struct loop *l, size_t place, struct loop_timer *t)
{
    l->heap[place] = t;
    t->place = place;
}

static void heap_rise(struct loop *l, size_t place, struct loop_timer *t)
{
    while (place > 0 && is_before(t, l->heap[(place - 1) / 2])) {
        heap_place(l, place, l->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_place(l, place, t);
}

static void heap_sink(struct loop *l, size_t place, struct loop_timer *t)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < l->armed_count && is_before(l->heap[child + 1], l->heap[child]))
            child++;
        if (child >= l->armed_count || !is_before(l->heap[child], t))
            break;
        heap_place(l, place, l->heap[child]);
        place = child;
    }
    heap_place(l, place, t);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = xcalloc(1, sizeof *t);
    t->loop = l;
    t->fn = fn;
    t->arg = arg;
    t->place = NOT_ARMED;
    return t;
}

void loop_timer_free(struct loop_timer **t)
{
    if (!*t)
        return;
    loop_timer_stop(*t);
    bury((*t)->loop, &(*t)->grave);
    *t = NULL;
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    static const int64_t longest_ms =
        INT64_MAX / 4000; /* added to the clock in microseconds, it does not overflow */
    struct loop *l = t->loop;
    loop_timer_stop(t);
    if (l->armed_count == l->heap_cap) {
        l->heap_cap = l->heap_cap > 0 ? l->heap_cap * 2 : 16;
        l->heap = xrealloc(l->heap, l->heap_cap, sizeof(struct loop_timer *));
    }
    delay_ms = delay_ms < 0 ? 0 : delay_ms > longest_ms ? longest_ms : delay_ms;
    t->deadline_us = clock_mono_us() + delay_ms * 1000;
    t->armed_as = ++l->armings;
    heap_rise(l, l->armed_count++, t);
}

void loop_timer_stop(struct loop_timer *t)
{
    struct loop *l = t->loop;
    if (t->place == NOT_ARMED)
        return;
    struct loop_timer *last = l->heap[--l->armed_count];
    if (last != t) {
        heap_sink(l, t->place, last);
        heap_rise(l, last->place, last);
    }
    t->place = NOT_ARMED;
}

bool loop_timer_is_active(const struct loop_timer *t)
{
    return t->place != NOT_ARMED;
}

/* Fires what was due when the poll began. What became due since waits for one more poll, which does not
 * sleep; what was armed since waits too, or a timer that re-arms itself with 0 would keep the turn from
 * ending. */
static void fire_timers(struct loop *l)
{
    while (l->armed_count > 0) {
        struct loop_timer *t = l->heap[0];
        if (t->deadline_us > l->polled_at_us || t->armed_as > l->polled_armings)
            return;
        loop_timer_stop(t);
        t->fn(t->arg);
    }
}

/* --- watches ------------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void apply_events(struct loop_watch *w)
{
    if (w->events == 0) {
        must(uv_poll_stop(&w->poll), "uv_poll_stop");
        return;
    }
    int wanted = (w->events & LOOP_READ ? UV_READABLE : 0) | (w->events & LOOP_WRITE ? UV_WRITABLE : 0);
    must(uv_poll_start(&w->poll, wanted, on_poll), "uv_poll_start");
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop_watch *w = poll->data;
    enter_turn(w->loop);
    if (status < 0) {
        apply_events(w); /* libuv stops a descriptor in error, which would make this the only report */
        w->fn(w->arg, LOOP_READ | LOOP_WRITE);
        return;
    }
    w->fn(w->arg, (events & UV_READABLE ? LOOP_READ : 0) | (events & UV_WRITABLE ? LOOP_WRITE : 0));
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_watch_fn *fn, void *arg)
{
    struct loop_watch *w = xcalloc(1, sizeof *w);
    w->loop = l;
    w->fn = fn;
    w->arg = arg;
    w->poll.data = w;
    must(uv_poll_init(&l->uv, &w->poll, fd), "uv_poll_init");
    l->watch_count++;
    return w;
}

void loop_watch_set(struct loop_watch *w, int events)
{
    if (events == w->events)
        return;
    w->events = events;
    apply_events(w);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct loop_watch *w = handle->data;
    bury(w->loop, &w->grave);
}

void loop_watch_free(struct loop_watch **w)
{
    if (!*w)
        return;
    (*w)->loop->watch_count--;
    /* Takes the descriptor out of epoll at once, so that the caller may close it; libuv calls back within
     * this turn or the next. */
    uv_close((uv_handle_t *)&(*w)->poll, on_watch_closed);
    *w = NULL;
}

/* --- signals and work ---------------------------------------------------------------------------- */

static void on_signal(uv_signal_t *signal, int signo)
{
    struct signal_handler *s = signal->data;
    enter_turn(s->loop);
    s->fn(s->arg, signo);
}

void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg)
{
    struct signal_handler *s = xcalloc(1, sizeof *s);
    s->next = l->signals;
    s->loop = l;
    s->fn = fn;
    s->arg = arg;
    s->signal.data = s;
    l->signals = s;
    must(uv_signal_init(&l->uv, &s->signal), "uv_signal_init");
    must(uv_signal_start(&s->signal, on_signal, signo), "uv_signal_start");
}

static void on_work(uv_work_t *request)
{
    struct job *j = request->data;
    j->work(j->arg);
}

static void on_work_done(uv_work_t *request, int status)
{
    (void)status; /* nothing is ever cancelled */
    struct job *j = request->data;
    enter_turn(j->loop);
    j->done(j->arg);
    free(j);
}

void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *arg)
{
    struct job *j = xcalloc(1, sizeof *j);
    j->loop = l;
    j->work = work;
    j->done = done;
    j->arg = arg;
    j->request.data = j;
    must(uv_queue_work(&l->uv, &j->request, on_work, on_work_done), "uv_queue_work");
}

/* --- turns --------------------------------------------------------------------------------------- */

/* Whole milliseconds until the first deadline, rounded up; 0 when it has passed. */
static uint64_t sleep_ms(const struct loop *l)
{
    if (l->again)
        return 0;
    if (l->armed_count == 0)
        return MAX_SLEEP_MS;
    int64_t left_us = l->heap[0]->deadline_us - l->polled_at_us;
    if (left_us <= 0)
        return 0;
    int64_t left_ms = left_us / 1000 + (left_us % 1000 > 0);
    return left_ms < MAX_SLEEP_MS ? (uint64_t)left_ms : MAX_SLEEP_MS;
}

static void on_bound(uv_timer_t *bound)
{
    (void)bound;
}

/* Here and not before uv_run: libuv runs its own timers first, and would then sleep without any bound. */
static void before_poll(uv_prepare_t *prepare)
{
    struct loop *l = prepare->data;
    l->polled_at_us = clock_mono_us();
    l->polled_armings = l->armings;
    must(uv_timer_start(&l->bound, on_bound, sleep_ms(l), 0), "uv_timer_start");
    l->again = false;
}

static void run_turn(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_ONCE); /* before_poll, the sleep, then the callbacks of watches, work and signals */
    enter_turn(l);
    fire_timers(l);
    for (size_t i = 0; i < l->step_count; i++)
        l->steps[i].fn(l->steps[i].arg);
    clear_graves(l);
    log_flush();
    l->in_turn = false;
}

struct loop *loop_new(void)
{
    struct loop *l = xcalloc(1, sizeof *l);
    must(uv_loop_init(&l->uv), "uv_loop_init");
    must(uv_timer_init(&l->uv, &l->bound), "uv_timer_init");
    must(uv_prepare_init(&l->uv, &l->prepare), "uv_prepare_init");
    l->prepare.data = l;
    must(uv_prepare_start(&l->prepare, before_poll), "uv_prepare_start");
    return l;
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;
    if (!l)
        return;
    assert(l->watch_count == 0);
    uv_close((uv_handle_t *)&l->bound, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    for (struct signal_handler *s = l->signals; s; s = s->next)
        uv_close((uv_handle_t *)&s->signal, NULL);

    uv_run(&l->uv, UV_RUN_DEFAULT); /* until all work has come back and all handles are closed */
    must(uv_loop_close(&l->uv), "uv_loop_close");
    clear_graves(l);
    while (l->signals) {
        struct signal_handler *s = l->signals;
        l->signals = s->next;
        free(s);
    }
    free(l->steps);
    free(l->heap);
    free(l);
    *loop = NULL;
}

void loop_run(struct loop *l)
{
    while (!l->stopping)
        run_turn(l);
    l->stopping = false;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

void loop_again(struct loop *l)
{
    l->again = true;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->in_turn ? l->now_ms : clock_mono_ms();
}

void loop_on_turn(struct loop *l, loop_fn *fn, void *arg)
{
    l->steps = xrealloc(l->steps, l->step_count + 1, sizeof *l->steps);
    l->steps[l->step_count++] = (struct step){.fn = fn, .arg = arg};
}
