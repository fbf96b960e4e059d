#include "loop/timer.h"

#include <stdlib.h>
#include "base/mem.h"

static bool before(const struct timer *a, const struct timer *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void put(struct timer_heap *h, size_t at, struct timer *t)
{
    h->slots[at] = t;
    t->slot = at + 1;
}

static void sift_up(struct timer_heap *h, size_t at, struct timer *t)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(t, h->slots[parent]))
            break;
        put(h, at, h->slots[parent]);
        at = parent;
    }
    put(h, at, t);
}

static void sift_down(struct timer_heap *h, size_t at, struct timer *t)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && before(h->slots[child + 1], h->slots[child]))
            child++;
        if (!before(h->slots[child], t))
            break;
        put(h, at, h->slots[child]);
        at = child;
    }
    put(h, at, t);
}

void timer_heap_add(struct timer_heap *h, struct timer *t, int64_t at_ms)
{
    timer_heap_remove(h, t);
    if (h->count == h->capacity) {
        h->capacity = h->capacity > 0 ? 2 * h->capacity : 16;
        h->slots = mem_grow(h->slots, h->capacity * sizeof *h->slots);
    }
    t->at_ms = at_ms;
    t->order = ++h->armed;
    sift_up(h, h->count++, t);
}

void timer_heap_remove(struct timer_heap *h, struct timer *t)
{
    if (t->slot == 0)
        return;
    size_t at = t->slot - 1;
    struct timer *last = h->slots[--h->count];
    t->slot = 0;
    if (last == t)
        return;
    if (at > 0 && before(last, h->slots[(at - 1) / 2]))
        sift_up(h, at, last);
    else
        sift_down(h, at, last);
}

int64_t timer_heap_next(const struct timer_heap *h)
{
    return h->count > 0 ? h->slots[0]->at_ms : -1;
}

struct timer *timer_heap_pop_due(struct timer_heap *h, int64_t now_ms)
{
    if (h->count == 0 || h->slots[0]->at_ms > now_ms)
        return NULL;
    struct timer *due = h->slots[0];
    timer_heap_remove(h, due);
    return due;
}

void timer_heap_free(struct timer_heap *h)
{
    free(h->slots);
    *h = (struct timer_heap){0};
}
