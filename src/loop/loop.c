#include "loop/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include "base/log.h"
#include "base/mem.h"
#include "loop/timer.h"

#define TASKS_PER_TURN 1000
/* Spawning many containers must not hold up the connections. */
#define TASKS_US_PER_TURN 10000
#define LONG_TURN_US 50000

struct deferred {
    void *p;
    void (*fn)(void *);
};

struct loop {
    struct event_base *base;
    bool owns_base;
    bool stopped;
    bool in_turn;
    struct event *turn_event; /* one libevent timer: the next turn */
    int64_t turn_at_ms;       /* when it is due, -1: not armed */
    struct timer_heap timers;
    TAILQ_HEAD(, task) queue;
    TAILQ_HEAD(, loop_guest) guests;
    loop_fn *turn_end;
    void *turn_end_arg;
    struct deferred *deferred;
    size_t deferred_count, deferred_capacity;
    struct loop_stats stats;
};

static int64_t clock_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t loop_now_ms(const struct loop *loop)
{
    (void)loop;
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t loop_wall_ms(const struct loop *loop)
{
    (void)loop;
    return clock_us(CLOCK_REALTIME) / 1000;
}

void loop_random(struct loop *loop, void *out, size_t len)
{
    (void)loop;
    for (size_t done = 0; done < len;) {
        ssize_t got = getrandom((char *)out + done, len - done, 0);
        if (got > 0) {
            done += (size_t)got;
        } else if (errno != EINTR) {
            log_error("loop.no_random", KI("errno", errno));
            abort();
        }
    }
}

/* ---- turns */

/* Always by a timer, never by event_active: libevent polls descriptors between two timers, so
 * that tasks which keep waking one another cannot starve the connections. */
static void plan_turn(struct loop *loop, int64_t at_ms)
{
    if (loop->in_turn || (loop->turn_at_ms >= 0 && loop->turn_at_ms <= at_ms))
        return;
    int64_t wait_ms = at_ms - loop_now_ms(loop);
    if (wait_ms < 0)
        wait_ms = 0;
    struct timeval wait = {.tv_sec = (time_t)(wait_ms / 1000),
                           .tv_usec = (suseconds_t)(wait_ms % 1000 * 1000)};
    event_add(loop->turn_event, &wait);
    loop->turn_at_ms = at_ms;
}

static void plan_next_turn(struct loop *loop)
{
    loop->turn_at_ms = -1;
    if (!TAILQ_EMPTY(&loop->queue) || loop->deferred_count > 0)
        plan_turn(loop, 0);
    else if (timer_heap_next(&loop->timers) >= 0)
        plan_turn(loop, timer_heap_next(&loop->timers));
    else
        event_del(loop->turn_event);
}

/* A timer that is armed during the turn waits for the next one, even when it is due at once. */
static bool fire_timers(struct loop *loop)
{
    int64_t now_ms = loop_now_ms(loop);
    uint64_t newest = loop->timers.armed;
    bool ran = false;
    while (loop->timers.count > 0 && loop->timers.slots[0]->order <= newest) {
        struct timer *t = timer_heap_pop_due(&loop->timers, now_ms);
        if (!t)
            break;
        t->fn(t->arg);
        ran = true;
    }
    return ran;
}

static bool run_tasks(struct loop *loop)
{
    int count = 0;
    struct task *task;
    int64_t end_us = clock_us(CLOCK_MONOTONIC) + TASKS_US_PER_TURN;
    while (count < TASKS_PER_TURN && (task = TAILQ_FIRST(&loop->queue)) &&
           (count == 0 || clock_us(CLOCK_MONOTONIC) < end_us)) {
        task_stop(task);
        task->fn(task->arg);
        count++;
    }
    return count > 0;
}

static void free_deferred(struct loop *loop)
{
    for (size_t i = 0; i < loop->deferred_count; i++) {
        struct deferred d = loop->deferred[i]; /* fn may add more and move the array */
        d.fn(d.p);
    }
    loop->deferred_count = 0;
}

static void measure_turn(struct loop *loop, int64_t us)
{
    histogram_add(&loop->stats.turns, &buckets_short, us);
    if (us > loop->stats.longest_turn_us)
        loop->stats.longest_turn_us = us;
    if (us <= LONG_TURN_US)
        return;
    loop->stats.long_turns++;
    log_warn("loop.long_turn", KI("ms", us / 1000));
}

/* fn: what woke us, NULL: timers or tasks. */
static void run_turn(struct loop *loop, loop_fn *fn, void *arg)
{
    int64_t start_us = clock_us(CLOCK_MONOTONIC);
    loop->in_turn = true;
    if (fn)
        fn(arg);
    bool fired = fire_timers(loop);
    bool worked = run_tasks(loop);
    if ((fn || fired || worked) && loop->turn_end)
        loop->turn_end(loop->turn_end_arg);
    free_deferred(loop);
    loop->in_turn = false;
    measure_turn(loop, clock_us(CLOCK_MONOTONIC) - start_us);
    plan_next_turn(loop);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    run_turn(arg, NULL, NULL);
}

void loop_at_turn_end(struct loop *loop, loop_fn *fn, void *arg)
{
    loop->turn_end = fn;
    loop->turn_end_arg = arg;
}

void loop_measured(struct loop *loop, loop_fn *fn, void *arg)
{
    int64_t start_us = clock_us(CLOCK_MONOTONIC);
    fn(arg);
    if (!loop->in_turn)
        measure_turn(loop, clock_us(CLOCK_MONOTONIC) - start_us);
}

void loop_free_later(struct loop *loop, void *p, void (*fn)(void *))
{
    if (loop->deferred_count == loop->deferred_capacity) {
        loop->deferred_capacity =
            loop->deferred_capacity > 0 ? 2 * loop->deferred_capacity : 16;
        loop->deferred =
            mem_grow(loop->deferred, loop->deferred_capacity * sizeof *loop->deferred);
    }
    loop->deferred[loop->deferred_count++] = (struct deferred){p, fn};
    plan_turn(loop, 0);
}

/* ---- life */

static void *must(void *p, const char *what)
{
    if (!p) {
        log_error("loop.no_event", KV("what", what));
        abort();
    }
    return p;
}

static struct event_base *new_base(void)
{
    struct event_config *config = must(event_config_new(), "config");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = must(event_base_new_with_config(config), "base");
    event_config_free(config);
    return base;
}

struct loop *loop_new(struct event_base *base)
{
    struct loop *loop = mem_alloc(sizeof *loop);
    loop->base = base ? base : new_base();
    loop->owns_base = !base;
    loop->turn_at_ms = -1;
    TAILQ_INIT(&loop->queue);
    TAILQ_INIT(&loop->guests);
    loop->turn_event = must(evtimer_new(loop->base, on_turn, loop), "timer");
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    free_deferred(loop);
    struct loop_guest *guest;
    while ((guest = TAILQ_FIRST(&loop->guests))) {
        loop_guest_remove(loop, guest);
        guest->drop(guest->arg);
    }
    event_free(loop->turn_event);
    timer_heap_free(&loop->timers);
    if (loop->owns_base) {
        /* A freed bufferevent ends in a turn of the loop; event_base_free forgets one that had
         * events to come. */
        event_base_loop(loop->base, EVLOOP_NONBLOCK);
        event_base_free(loop->base);
    }
    free(loop->deferred);
    free(loop);
}

void loop_guest_add(struct loop *loop, struct loop_guest *guest)
{
    TAILQ_INSERT_TAIL(&loop->guests, guest, entry);
}

void loop_guest_remove(struct loop *loop, struct loop_guest *guest)
{
    TAILQ_REMOVE(&loop->guests, guest, entry);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
    event_base_loopbreak(loop->base);
}

void loop_get_stats(const struct loop *loop, struct loop_stats *out)
{
    *out = loop->stats;
}

/* ---- timers and tasks */

void timer_init(struct timer *t, struct loop *loop, loop_fn *fn, void *arg)
{
    *t = (struct timer){.loop = loop, .fn = fn, .arg = arg};
}

void timer_arm(struct timer *t, int64_t in_ms)
{
    int64_t now_ms = loop_now_ms(t->loop);
    if (in_ms < 0)
        in_ms = 0;
    int64_t at_ms = in_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + in_ms;
    timer_heap_add(&t->loop->timers, t, at_ms);
    plan_turn(t->loop, at_ms);
}

void timer_stop(struct timer *t)
{
    if (timer_armed(t))
        timer_heap_remove(&t->loop->timers, t);
}

void task_init(struct task *task, struct loop *loop, loop_fn *fn, void *arg)
{
    *task = (struct task){.loop = loop, .fn = fn, .arg = arg};
}

void task_wake(struct task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    TAILQ_INSERT_TAIL(&task->loop->queue, task, entry);
    plan_turn(task->loop, 0);
}

void task_stop(struct task *task)
{
    if (!task->queued)
        return;
    task->queued = false;
    TAILQ_REMOVE(&task->loop->queue, task, entry);
}

/* ---- signals and descriptors */

struct signal_watch {
    struct loop *loop;
    struct event *event;
    loop_fn *fn;
    void *arg;
};

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct signal_watch *w = arg;
    run_turn(w->loop, w->fn, w->arg);
}

struct signal_watch *signal_watch_new(struct loop *loop, int signo, loop_fn *fn, void *arg)
{
    struct signal_watch *w = mem_alloc(sizeof *w);
    *w = (struct signal_watch){.loop = loop, .fn = fn, .arg = arg};
    w->event = must(evsignal_new(loop->base, signo, on_signal, w), "signal");
    if (event_add(w->event, NULL) == 0)
        return w;
    signal_watch_free(w);
    return NULL;
}

void signal_watch_free(struct signal_watch *w)
{
    if (!w)
        return;
    event_free(w->event);
    free(w);
}

struct fd_watch {
    struct loop *loop;
    struct event *event;
    loop_fn *fn;
    void *arg;
};

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct fd_watch *w = arg;
    run_turn(w->loop, w->fn, w->arg);
}

struct fd_watch *fd_watch_new(struct loop *loop, int fd, bool for_write, loop_fn *fn, void *arg)
{
    struct fd_watch *w = mem_alloc(sizeof *w);
    *w = (struct fd_watch){.loop = loop, .fn = fn, .arg = arg};
    short what = (short)(EV_PERSIST | (for_write ? EV_WRITE : EV_READ));
    w->event = must(event_new(loop->base, fd, what, on_ready, w), "descriptor");
    if (event_add(w->event, NULL) == 0)
        return w;
    fd_watch_free(w);
    return NULL;
}

void fd_watch_free(struct fd_watch *w)
{
    if (!w)
        return;
    event_free(w->event);
    free(w);
}
