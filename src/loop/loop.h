/* The loop: clock, timers, run queue and deferred free over one libevent event_base.
 * All time and all randomness of the core come from here, so that the simulation can replace
 * this file's implementation and run everything above it in virtual time. */
#ifndef CLEAT_LOOP_LOOP_H
#define CLEAT_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/histogram.h"

struct event_base;
struct loop;

/* base: the caller's, borrowed; NULL makes one that the loop owns. */
struct loop *loop_new(struct event_base *base);
/* Runs what is in the deferred-free list first. Never from a callback of this loop. */
void loop_free(struct loop *);
struct event_base *loop_base(struct loop *);

int64_t loop_now_ms(const struct loop *);  /* monotonic */
int64_t loop_wall_ms(const struct loop *); /* Unix time */
void loop_random(struct loop *, void *out, size_t len);

void loop_run(struct loop *);  /* until loop_stop; only for who owns the thread */
void loop_stop(struct loop *); /* also from a signal watcher */

/* Turns longer than 50 ms are counted and logged: nothing on the loop should block. */
struct loop_stats {
    uint64_t long_turns;
    int64_t longest_turn_us;
    struct histogram turns; /* buckets_short */
};
void loop_get_stats(const struct loop *, struct loop_stats *out);

/* One-shot timer, embedded in its owner. fn is called from the loop, never from timer_arm. */
typedef void loop_fn(void *arg);
struct timer {
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    int64_t at_ms;
    uint64_t order; /* of the arming, breaks ties */
    size_t slot;    /* position in the heap plus one; 0: not armed */
};
void timer_init(struct timer *, struct loop *, loop_fn *fn, void *arg);
void timer_arm(struct timer *, int64_t in_ms); /* replaces an earlier arming; < 0 counts as 0 */
void timer_stop(struct timer *);               /* also on one that was never armed */
static inline bool timer_armed(const struct timer *t)
{
    return t->slot != 0;
}

/* Run queue: drained after the poll, in the order of the wakes. A task that is woken while it
 * waits in the queue runs once; woken while it runs, it runs again later in the same turn, but
 * a turn runs at most a bounded number of tasks, and starts none after 10 ms; the rest waits
 * for the next turn. */
struct task {
    struct loop *loop;
    loop_fn *fn;
    void *arg;
    bool queued;
    TAILQ_ENTRY(task) entry;
};
void task_init(struct task *, struct loop *, loop_fn *fn, void *arg);
void task_wake(struct task *);
void task_stop(struct task *); /* takes it out of the queue */

/* fn runs at the end of every turn in which something ran, when the run queue is empty or its
 * bound was reached; what it wakes runs in the next turn. The session core commits a turn's
 * changes here. One per loop; NULL takes it away. */
void loop_at_turn_end(struct loop *, loop_fn *fn, void *arg);

/* Calls fn(arg) at once, from a callback of libevent that is no turn of this loop: its time is
 * measured like a turn's. fn may free what called, but not the loop. */
void loop_measured(struct loop *, loop_fn *fn, void *arg);

/* Calls fn(p) at the end of the turn, when no caller can hold p any more. */
void loop_free_later(struct loop *, void *p, void (*fn)(void *));

/* Work that goes on although its starter let go of it (a child that nobody watches is still
 * reaped). loop_free calls drop(arg) for the guests that are left; it frees the guest. */
struct loop_guest {
    void (*drop)(void *arg);
    void *arg;
    TAILQ_ENTRY(loop_guest) entry;
};
void loop_guest_add(struct loop *, struct loop_guest *);
void loop_guest_remove(struct loop *, struct loop_guest *);

/* Signals (cleatd and executor only): fn is called from the loop. NULL: cannot be caught. */
struct signal_watch;
struct signal_watch *signal_watch_new(struct loop *, int signo, loop_fn *fn, void *arg);
void signal_watch_free(struct signal_watch *);

/* Readiness of a descriptor (executor and children's pipes). The watcher does not own fd. fn is
 * called as long as fd stays ready. NULL: a file that cannot be polled. */
struct fd_watch;
struct fd_watch *fd_watch_new(struct loop *, int fd, bool for_write, loop_fn *fn, void *arg);
void fd_watch_free(struct fd_watch *);

#endif
