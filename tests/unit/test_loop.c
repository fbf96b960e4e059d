#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "loop/timer.h"
#include "spin.h"

static struct loop *loop;
static char trace[64];
static int steps;

static int make_loop(void **state)
{
    (void)state;
    loop = loop_new(NULL);
    trace[0] = '\0';
    steps = 0;
    return 0;
}

static int free_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

/* arg: one letter for the trace */
static void note(void *arg)
{
    size_t len = strlen(trace);
    if (len + 1 < sizeof trace) {
        trace[len] = *(const char *)arg;
        trace[len + 1] = '\0';
    }
    steps++;
}

/* ---- the heap, against a plain search */

static void heap_always_gives_the_earliest(void **state)
{
    (void)state;
    enum { TIMERS = 200 };
    struct timer_heap heap = {0};
    struct timer timers[TIMERS] = {0};
    unsigned seed = 7;
    for (int round = 0; round < 4000; round++) {
        struct timer *t = &timers[rand_r(&seed) % TIMERS];
        if (rand_r(&seed) % 3 == 0)
            timer_heap_remove(&heap, t);
        else
            timer_heap_add(&heap, t, rand_r(&seed) % 50);
        int64_t earliest = -1;
        size_t armed = 0;
        for (int i = 0; i < TIMERS; i++) {
            armed += timer_armed(&timers[i]);
            if (timer_armed(&timers[i]) && (earliest < 0 || timers[i].at_ms < earliest))
                earliest = timers[i].at_ms;
        }
        assert_int_equal(timer_heap_next(&heap), earliest);
        assert_int_equal(heap.count, armed);
    }
    struct timer *last = NULL;
    for (struct timer *t; (t = timer_heap_pop_due(&heap, 49)); last = t) {
        assert_false(timer_armed(t));
        assert_true(!last || last->at_ms < t->at_ms ||
                    (last->at_ms == t->at_ms && last->order < t->order));
    }
    assert_int_equal(heap.count, 0);
    timer_heap_free(&heap);
}

static void heap_pops_only_what_is_due(void **state)
{
    (void)state;
    struct timer_heap heap = {0};
    struct timer t = {0};
    timer_heap_remove(&heap, &t);
    assert_null(timer_heap_pop_due(&heap, INT64_MAX));
    timer_heap_add(&heap, &t, 10);
    assert_null(timer_heap_pop_due(&heap, 9));
    assert_ptr_equal(timer_heap_pop_due(&heap, 10), &t);
    timer_heap_free(&heap);
}

/* ---- timers */

static void timers_fire_in_the_order_of_their_deadlines(void **state)
{
    (void)state;
    struct timer t[4];
    static char names[] = "abcd";
    for (int i = 0; i < 4; i++)
        timer_init(&t[i], loop, note, names + i);
    int64_t start_ms = loop_now_ms(loop);
    timer_arm(&t[0], 40);
    timer_arm(&t[1], 20);
    timer_arm(&t[2], -5);
    timer_arm(&t[3], 90);
    timer_arm(&t[3], 60);
    assert_string_equal(trace, "");
    assert_true(spin(loop, &steps, 4, 5000));
    assert_string_equal(trace, "cbad");
    assert_true(loop_now_ms(loop) - start_ms >= 60);
}

static void equal_deadlines_fire_in_the_order_of_arming(void **state)
{
    (void)state;
    struct timer t[5];
    static char names[] = "abcde";
    int64_t at_ms = loop_now_ms(loop) + 50;
    for (int i = 0; i < 5; i++)
        timer_init(&t[i], loop, note, names + i);
    const int order[] = {3, 0, 4, 1, 2};
    for (int i = 0; i < 5; i++) {
        timer_arm(&t[order[i]], at_ms - loop_now_ms(loop));
        assert_int_equal(t[order[i]].at_ms, at_ms);
    }
    assert_true(spin(loop, &steps, 5, 5000));
    assert_string_equal(trace, "daebc");
}

static struct timer first, second, third;

static void stop_second_and_rearm(void *arg)
{
    note(arg);
    timer_stop(&second);
    if (steps < 3)
        timer_arm(&first, 0);
    else
        timer_arm(&third, 1);
}

static void callbacks_stop_and_rearm_timers(void **state)
{
    (void)state;
    timer_init(&first, loop, stop_second_and_rearm, "a");
    timer_init(&second, loop, note, "b");
    timer_init(&third, loop, note, "c");
    timer_arm(&first, 0);
    timer_arm(&second, 0);
    assert_true(spin(loop, &steps, 4, 5000));
    assert_string_equal(trace, "aaac");
    assert_false(timer_armed(&first) || timer_armed(&second) || timer_armed(&third));
}

static void rearm_forever(void *arg)
{
    note("a");
    timer_arm(arg, 0);
}

static void a_timer_that_rearms_itself_does_not_keep_the_turn(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    timer_init(&first, loop, rearm_forever, &first);
    timer_arm(&first, 0);
    struct fd_watch *w = fd_watch_new(loop, fds[1], true, note, "w");
    assert_true(spin(loop, &steps, 6, 5000));
    assert_non_null(strstr(trace, "aw"));
    timer_stop(&first);
    fd_watch_free(w);
    close(fds[0]);
    close(fds[1]);
}

struct owner {
    struct timer timer;
    struct task task;
};

static void free_owner(void *arg)
{
    struct owner *o = arg;
    task_stop(&o->task);
    free(o);
    note("f");
}

static void an_owner_may_be_freed_by_its_own_timer_or_task(void **state)
{
    (void)state;
    struct owner *by_timer = mem_alloc(sizeof *by_timer), *by_task = mem_alloc(sizeof *by_task);
    timer_init(&by_timer->timer, loop, free_owner, by_timer);
    timer_arm(&by_timer->timer, 0);
    task_init(&by_task->task, loop, free_owner, by_task);
    task_wake(&by_task->task);
    assert_true(spin(loop, &steps, 2, 5000));
    assert_string_equal(trace, "ff");
}

static void zeroed_timers_and_tasks_may_be_stopped(void **state)
{
    (void)state;
    struct owner o = {0};
    timer_stop(&o.timer);
    task_stop(&o.task);
    assert_false(timer_armed(&o.timer));
}

static void the_furthest_deadline_does_not_overflow(void **state)
{
    (void)state;
    timer_init(&first, loop, note, "x");
    timer_init(&second, loop, note, "a");
    timer_arm(&first, INT64_MAX);
    timer_arm(&second, 0);
    assert_true(spin(loop, &steps, 1, 5000));
    spin_for(loop, 20);
    assert_string_equal(trace, "a");
    timer_stop(&first);
}

/* ---- tasks */

static void tasks_run_in_the_order_of_their_wakes_and_once(void **state)
{
    (void)state;
    struct task a, b, c;
    task_init(&a, loop, note, "a");
    task_init(&b, loop, note, "b");
    task_init(&c, loop, note, "c");
    task_wake(&b);
    task_wake(&c);
    task_wake(&a);
    task_wake(&b);
    task_stop(&c);
    assert_string_equal(trace, "");
    assert_true(spin(loop, &steps, 2, 5000));
    spin_for(loop, 10);
    assert_string_equal(trace, "ba");
}

static struct task spinner, other;

static void spin_on(void *arg)
{
    steps++;
    task_wake(arg);
}

static int turns_ended, steps_at_turn_end[3];

static void note_turn_end(void *arg)
{
    (void)arg;
    if (turns_ended < 3)
        steps_at_turn_end[turns_ended] = steps;
    turns_ended++;
}

static void a_turn_runs_a_bounded_number_of_tasks(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    turns_ended = 0;
    loop_at_turn_end(loop, note_turn_end, NULL);
    task_init(&spinner, loop, spin_on, &spinner);
    task_wake(&spinner);
    assert_true(spin(loop, &turns_ended, 3, 5000));
    assert_int_equal(steps_at_turn_end[0], 1000);
    assert_int_equal(steps_at_turn_end[1], 2000);
    assert_int_equal(steps_at_turn_end[2], 3000);
    /* descriptors get their turn in between */
    struct fd_watch *w = fd_watch_new(loop, fds[1], true, note, "w");
    assert_true(spin(loop, &turns_ended, turns_ended + 4, 5000));
    assert_non_null(strchr(trace, 'w'));
    fd_watch_free(w);
    close(fds[0]);
    close(fds[1]);
    task_stop(&spinner);
}

static void wake_other(void *arg)
{
    note(arg);
    task_wake(&other);
}

static void the_turn_end_comes_after_timers_and_tasks(void **state)
{
    (void)state;
    loop_at_turn_end(loop, note, "|");
    timer_init(&first, loop, wake_other, "t");
    task_init(&other, loop, note, "o");
    timer_arm(&first, 0);
    assert_true(spin(loop, &steps, 3, 5000));
    assert_string_equal(trace, "to|");
    loop_at_turn_end(loop, NULL, NULL);
    timer_arm(&first, 0);
    assert_true(spin(loop, &steps, 5, 5000));
    assert_string_equal(trace, "to|to");
}

static void wake_once(void *arg)
{
    note(arg);
    if (steps == 2)
        task_wake(&other);
}

static void what_the_turn_end_wakes_runs_in_the_next_turn(void **state)
{
    (void)state;
    loop_at_turn_end(loop, wake_once, "|");
    task_init(&other, loop, note, "o");
    task_wake(&other);
    assert_true(spin(loop, &steps, 4, 5000));
    assert_string_equal(trace, "o|o|");
}

/* ---- deferred free */

static void note_and_free(void *p)
{
    note(p);
    free(p);
}

static void free_two_later(void *arg)
{
    loop_free_later(loop, mem_strdup("1"), note_and_free);
    loop_free_later(loop, mem_strdup("2"), note_and_free);
    note(arg);
}

static void free_later_waits_for_the_end_of_the_turn(void **state)
{
    (void)state;
    struct task t;
    task_init(&t, loop, free_two_later, "t");
    loop_at_turn_end(loop, note, "|");
    task_wake(&t);
    assert_true(spin(loop, &steps, 4, 5000));
    assert_string_equal(trace, "t|12");
}

static void free_chain(void *p)
{
    note_and_free(p);
    if (steps < 40)
        loop_free_later(loop, mem_strdup("c"), free_chain);
}

static void free_later_works_outside_a_turn_and_from_itself(void **state)
{
    (void)state;
    loop_free_later(loop, mem_strdup("c"), free_chain);
    assert_int_equal(steps, 0);
    assert_true(spin(loop, &steps, 40, 5000));
}

static void drop_guest(void *arg)
{
    note("g");
    free(arg);
}

static void loop_free_releases_what_is_left(void **state)
{
    (void)state;
    struct loop *mine = loop_new(NULL);
    struct loop_guest *stays = mem_alloc(sizeof *stays), leaves = {.drop = drop_guest};
    *stays = (struct loop_guest){.drop = drop_guest, .arg = stays};
    loop_guest_add(mine, stays);
    loop_guest_add(mine, &leaves);
    loop_guest_remove(mine, &leaves);
    loop_free_later(mine, mem_strdup("d"), note_and_free);
    loop_free(mine);
    assert_string_equal(trace, "dg");
    loop_free(NULL);
}

/* ---- the rest */

static void stop_loop(void *arg)
{
    note(arg);
    loop_stop(loop);
}

static void run_ends_by_stop(void **state)
{
    (void)state;
    timer_init(&first, loop, stop_loop, "a");
    timer_arm(&first, 10);
    loop_run(loop);
    assert_string_equal(trace, "a");
    loop_stop(loop); /* before it runs */
    loop_run(loop);
    timer_arm(&first, 0);
    loop_run(loop);
    assert_string_equal(trace, "aa");
}

static void signals_arrive_as_callbacks(void **state)
{
    (void)state;
    struct signal_watch *w = signal_watch_new(loop, SIGUSR1, stop_loop, "s");
    assert_non_null(w);
    raise(SIGUSR1);
    assert_string_equal(trace, "");
    loop_run(loop);
    assert_string_equal(trace, "s");
    signal_watch_free(w);
    signal_watch_free(NULL);
    assert_null(signal_watch_new(loop, SIGKILL, note, "k"));
}

static int pipe_fds[2];

static void read_one(void *arg)
{
    char c;
    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    note(arg);
}

static void descriptors_are_watched(void **state)
{
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    struct fd_watch *w = fd_watch_new(loop, pipe_fds[0], false, read_one, "r");
    spin_for(loop, 10);
    assert_string_equal(trace, "");
    assert_int_equal(write(pipe_fds[1], "xyz", 3), 3);
    assert_true(spin(loop, &steps, 3, 5000));
    fd_watch_free(w);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    spin_for(loop, 10);
    assert_string_equal(trace, "rrr");
    fd_watch_free(NULL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void what_cannot_be_polled_is_refused(void **state)
{
    (void)state;
    int fd = open("/proc/self/exe", O_RDONLY);
    assert_true(fd >= 0);
    assert_null(fd_watch_new(loop, fd, false, note, "x"));
    close(fd);
}

static void be_slow(void *arg)
{
    int64_t until_ms = loop_now_ms(loop) + 60;
    while (loop_now_ms(loop) < until_ms)
        continue;
    note(arg);
}

static char logged[128];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    mem_copy_string(logged, sizeof logged, line);
}

static void long_turns_are_counted_and_logged(void **state)
{
    (void)state;
    struct loop_stats before, after;
    log_set_sink(keep_line, NULL);
    timer_init(&first, loop, be_slow, "s");
    loop_get_stats(loop, &before);
    timer_arm(&first, 0);
    assert_true(spin(loop, &steps, 1, 5000));
    spin_for(loop, 1);
    loop_get_stats(loop, &after);
    assert_true(after.turns.total > before.turns.total);
    assert_true(after.long_turns > before.long_turns);
    assert_true(after.longest_turn_us >= 59000);
    assert_non_null(strstr(logged, "level=warning event=loop.long_turn ms="));
    log_set_sink(NULL, NULL);
}

static void clocks_and_randomness_are_real(void **state)
{
    (void)state;
    unsigned char a[300] = {0}, b[300] = {0};
    loop_random(loop, a, sizeof a);
    loop_random(loop, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    int64_t now_s = (int64_t)time(NULL), wall_ms = loop_wall_ms(loop);
    assert_in_range(wall_ms / 1000, now_s - 1, now_s + 2);
    int64_t start_ms = loop_now_ms(loop);
    usleep(2000);
    assert_true(loop_now_ms(loop) > start_ms);
}

static void a_borrowed_base_is_left_alone(void **state)
{
    (void)state;
    struct event_base *base = event_base_new();
    assert_int_equal(event_base_priority_init(base, 3), 0);
    struct loop *mine = loop_new(base);
    assert_ptr_equal(loop_base(mine), base);
    struct task t;
    task_init(&t, mine, note, "a");
    task_wake(&t);
    assert_true(spin(mine, &steps, 1, 5000));
    loop_free(mine);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 1); /* no event is left in it */
    event_base_free(base);
}

#define with_loop(test) cmocka_unit_test_setup_teardown(test, make_loop, free_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_always_gives_the_earliest),
        cmocka_unit_test(heap_pops_only_what_is_due),
        with_loop(timers_fire_in_the_order_of_their_deadlines),
        with_loop(equal_deadlines_fire_in_the_order_of_arming),
        with_loop(callbacks_stop_and_rearm_timers),
        with_loop(a_timer_that_rearms_itself_does_not_keep_the_turn),
        with_loop(an_owner_may_be_freed_by_its_own_timer_or_task),
        with_loop(zeroed_timers_and_tasks_may_be_stopped),
        with_loop(the_furthest_deadline_does_not_overflow),
        with_loop(tasks_run_in_the_order_of_their_wakes_and_once),
        with_loop(a_turn_runs_a_bounded_number_of_tasks),
        with_loop(the_turn_end_comes_after_timers_and_tasks),
        with_loop(what_the_turn_end_wakes_runs_in_the_next_turn),
        with_loop(free_later_waits_for_the_end_of_the_turn),
        with_loop(free_later_works_outside_a_turn_and_from_itself),
        with_loop(loop_free_releases_what_is_left),
        with_loop(run_ends_by_stop),
        with_loop(signals_arrive_as_callbacks),
        with_loop(descriptors_are_watched),
        with_loop(what_cannot_be_polled_is_refused),
        with_loop(long_turns_are_counted_and_logged),
        with_loop(clocks_and_randomness_are_real),
        with_loop(a_borrowed_base_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
