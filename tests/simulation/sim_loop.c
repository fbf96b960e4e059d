/* src/loop/loop.h in virtual time. */
#include "loop/loop.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "world.h"

#define TASKS_PER_TURN 1000

struct later {
    void *p;
    void (*fn)(void *);
    TAILQ_ENTRY(later) entry;
};

struct fd_watch {
    struct loop *loop;
    int fd;
    loop_fn *fn;
    void *arg;
    TAILQ_ENTRY(fd_watch) entry;
};

struct loop {
    struct instance *instance;
    struct timer_heap timers;
    TAILQ_HEAD(, task) queue;
    TAILQ_HEAD(, later) later;
    TAILQ_HEAD(, loop_guest) guests;
    TAILQ_HEAD(, fd_watch) watches;
    loop_fn *turn_end;
    void *turn_end_arg;
    bool touched; /* something ran in this turn */
    bool turned;  /* … which has just ended */
    struct loop_stats stats;
};

struct loop *loop_new(struct event_base *base)
{
    (void)base;
    struct loop *loop = mem_alloc(sizeof *loop);
    TAILQ_INIT(&loop->queue);
    TAILQ_INIT(&loop->later);
    TAILQ_INIT(&loop->guests);
    TAILQ_INIT(&loop->watches);
    if (world.me->loop)
        world_violate("SIM", "a second loop while the first one lives");
    loop->instance = world.me;
    world.me->loop = loop;
    return loop;
}

static void free_later_ones(struct loop *loop)
{
    struct later *later;
    while ((later = TAILQ_FIRST(&loop->later))) {
        TAILQ_REMOVE(&loop->later, later, entry);
        later->fn(later->p);
        free(later);
    }
}

void loop_free(struct loop *loop)
{
    free_later_ones(loop);
    struct loop_guest *guest;
    while ((guest = TAILQ_FIRST(&loop->guests))) {
        loop_guest_remove(loop, guest);
        guest->drop(guest->arg);
    }
    if (timer_heap_next(&loop->timers) >= 0 || !TAILQ_EMPTY(&loop->queue) ||
        !TAILQ_EMPTY(&loop->watches))
        world_violate("SIM", "timers, tasks or descriptors are left when the loop is freed");
    timer_heap_free(&loop->timers);
    loop->instance->loop = NULL;
    free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    (void)loop;
    return NULL;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return world.now_ms - loop->instance->booted_ms;
}

int64_t loop_wall_ms(const struct loop *loop)
{
    return WORLD_EPOCH_MS + world.now_ms + loop->instance->wall_shift_ms;
}

void loop_random(struct loop *loop, void *out, size_t len)
{
    (void)loop;
    for (size_t done = 0; done < len; done += sizeof(uint64_t)) {
        uint64_t bits = world_random();
        size_t piece = len - done < sizeof bits ? len - done : sizeof bits;
        memcpy((unsigned char *)out + done, &bits, piece);
    }
}

void loop_run(struct loop *loop)
{
    (void)loop;
    abort(); /* the world turns the loop */
}

void loop_stop(struct loop *loop)
{
    (void)loop;
    abort();
}

void loop_get_stats(const struct loop *loop, struct loop_stats *out)
{
    *out = loop->stats;
}

/* ---- timers ---- */

void timer_init(struct timer *t, struct loop *loop, loop_fn *fn, void *arg)
{
    memset(t, 0, sizeof *t);
    t->loop = loop;
    t->fn = fn;
    t->arg = arg;
}

void timer_arm(struct timer *t, int64_t in_ms)
{
    timer_stop(t);
    timer_heap_add(&t->loop->timers, t, world.now_ms + (in_ms > 0 ? in_ms : 0));
}

void timer_stop(struct timer *t)
{
    if (timer_armed(t))
        timer_heap_remove(&t->loop->timers, t);
}

/* ---- run queue ---- */

void task_init(struct task *task, struct loop *loop, loop_fn *fn, void *arg)
{
    memset(task, 0, sizeof *task);
    task->loop = loop;
    task->fn = fn;
    task->arg = arg;
}

void task_wake(struct task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    TAILQ_INSERT_TAIL(&task->loop->queue, task, entry);
}

void task_stop(struct task *task)
{
    if (!task->queued)
        return;
    task->queued = false;
    TAILQ_REMOVE(&task->loop->queue, task, entry);
}

void loop_at_turn_end(struct loop *loop, loop_fn *fn, void *arg)
{
    loop->turn_end = fn;
    loop->turn_end_arg = arg;
}

void loop_free_later(struct loop *loop, void *p, void (*fn)(void *))
{
    struct later *later = mem_alloc(sizeof *later);
    later->p = p;
    later->fn = fn;
    TAILQ_INSERT_TAIL(&loop->later, later, entry);
}

void loop_guest_add(struct loop *loop, struct loop_guest *guest)
{
    TAILQ_INSERT_TAIL(&loop->guests, guest, entry);
}

void loop_guest_remove(struct loop *loop, struct loop_guest *guest)
{
    TAILQ_REMOVE(&loop->guests, guest, entry);
}

/* ---- signals: nothing under test uses them ---- */

struct signal_watch *signal_watch_new(struct loop *loop, int signo, loop_fn *fn, void *arg)
{
    (void)loop, (void)signo, (void)fn, (void)arg;
    abort();
}

void signal_watch_free(struct signal_watch *watch)
{
    (void)watch;
    abort();
}

/* ---- descriptors: the pipes of children, real ones that the world writes into ---- */

struct fd_watch *fd_watch_new(struct loop *loop, int fd, bool for_write, loop_fn *fn, void *arg)
{
    if (for_write)
        abort();
    struct fd_watch *watch = mem_alloc(sizeof *watch);
    *watch = (struct fd_watch){.loop = loop, .fd = fd, .fn = fn, .arg = arg};
    TAILQ_INSERT_TAIL(&loop->watches, watch, entry);
    return watch;
}

void fd_watch_free(struct fd_watch *watch)
{
    TAILQ_REMOVE(&watch->loop->watches, watch, entry);
    free(watch);
}

static bool is_readable(const struct fd_watch *watch)
{
    struct pollfd p = {.fd = watch->fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

void sim_loop_poll(struct instance *instance)
{
    struct fd_watch *watch = instance->loop ? TAILQ_FIRST(&instance->loop->watches) : NULL,
                    *next;
    for (; watch; watch = next) {
        next = TAILQ_NEXT(watch, entry);
        if (!is_readable(watch))
            continue;
        sim_loop_enter(instance);
        watch->fn(watch->arg);
    }
}

/* ---- the world turns it ---- */

int64_t sim_loop_next(const struct loop *loop)
{
    if (!TAILQ_EMPTY(&loop->queue) || !TAILQ_EMPTY(&loop->later))
        return world.now_ms;
    return timer_heap_next(&loop->timers);
}

void sim_loop_fire_timer(struct loop *loop)
{
    struct timer *timer = timer_heap_pop_due(&loop->timers, world.now_ms);
    if (!timer)
        return;
    loop->touched = true;
    timer->fn(timer->arg);
}

void sim_loop_enter(struct instance *instance)
{
    world.me = instance;
    if (instance->loop)
        instance->loop->touched = true;
}

bool sim_loop_turned(const struct loop *loop)
{
    return loop->turned;
}

static void run_tasks(struct loop *loop)
{
    for (int i = 0; i < TASKS_PER_TURN; i++) {
        struct task *task = TAILQ_FIRST(&loop->queue);
        if (!task || world.crash_due)
            return;
        TAILQ_REMOVE(&loop->queue, task, entry);
        task->queued = false;
        loop->touched = true;
        task->fn(task->arg);
    }
}

void sim_loop_drain(struct loop *loop)
{
    run_tasks(loop);
    if (loop->touched && loop->turn_end && !world.crash_due)
        loop->turn_end(loop->turn_end_arg);
    if (loop->touched)
        loop->stats.turns.total++;
    loop->turned = loop->touched;
    loop->touched = false;
    free_later_ones(loop);
}
