/* The one loop of a daemon, on libuv. A turn: read everything that arrived (watch callbacks), fire what is
 * due (timers), decide and write (turn handlers, in the order they were added), flush the log, sleep until
 * a descriptor or the next deadline.
 *
 * A timer fires only after a poll that began at or after its deadline: after a stall (SIGSTOP, a slow
 * disk) sockets are read before timeouts are believed. All callbacks run on the loop's thread, never
 * inside the call that armed them. Handles may be freed inside any callback; their memory stays until the
 * turn has ended. */
#ifndef AGWB_IO_LOOP_H
#define AGWB_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
struct loop_watch;

struct loop *loop_new(void);
void loop_free(
    struct loop **l); /* waits for work still on the pool; all timers and watches must be freed before */

/* Runs turns until loop_stop(); returns after the turn in which it was called. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* Makes the next sleep zero: some module still has work of its own for the next turn. */
void loop_again(struct loop *l);
/* Monotonic milliseconds, read once at the start of the turn's callbacks. */
int64_t loop_now_ms(const struct loop *l);

typedef void loop_fn(void *arg);

/* Adds a step of the "decide and write" phase, run every turn in the order added. Lives as long as the
 * loop. */
void loop_on_turn(struct loop *l, loop_fn *fn, void *arg);

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg);
void loop_timer_free(struct loop_timer **t);
/* (Re)arms a one-shot timer; delay 0 fires in the next turn. */
void loop_timer_start(struct loop_timer *t, int64_t delay_ms);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_is_active(const struct loop_timer *t);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_watch_fn(
    void *arg,
    int events); /* LOOP_READ | LOOP_WRITE; an error comes as both, a hang-up as what was asked for */

/* Level-triggered, one watch a descriptor; it becomes non-blocking, stays the caller's and must be open
 * until the watch is freed (free first, then close). */
struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_watch_fn *fn, void *arg);
void loop_watch_set(struct loop_watch *w, int events); /* 0 = nothing */
void loop_watch_free(struct loop_watch **w);

typedef void loop_signal_fn(void *arg, int signo);
/* Calls fn for each arrival of the signal; lives as long as the loop. */
void loop_on_signal(struct loop *l, int signo, loop_signal_fn *fn, void *arg);

/* Runs work(arg) on a pool thread, then done(arg) on the loop. Not cancellable: arg must live until done
 * has run. */
void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *arg);

#endif
