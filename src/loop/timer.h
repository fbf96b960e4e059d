/* The timers of one loop: a binary heap by deadline, ties in the order of arming. No clock of
 * its own: the loop, real or simulated, asks for the next deadline and fires what is due. */
#ifndef CLEAT_LOOP_TIMER_H
#define CLEAT_LOOP_TIMER_H

#include "loop/loop.h"

struct timer_heap {
    struct timer **slots;
    size_t count, capacity;
    uint64_t armed; /* counts armings, to break ties */
};

void timer_heap_add(struct timer_heap *, struct timer *, int64_t at_ms);
void timer_heap_remove(struct timer_heap *, struct timer *);
int64_t timer_heap_next(const struct timer_heap *); /* deadline, or -1: none */
struct timer *timer_heap_pop_due(struct timer_heap *, int64_t now_ms); /* NULL: none is due */
void timer_heap_free(struct timer_heap *);

#endif
