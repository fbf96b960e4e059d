#include "session/event_ring.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static void make_room(struct event_ring *r)
{
    if (r->begin + r->count < r->capacity)
        return;
    if (r->begin > r->capacity / 2) {
        memmove(r->list, r->list + r->begin, r->count * sizeof(struct event *));
        r->begin = 0;
        return;
    }
    r->capacity = r->capacity ? 2 * r->capacity : 16;
    r->list = mem_grow(r->list, r->capacity * sizeof(struct event *));
}

uint64_t event_ring_add(struct event_ring *r, struct event *e)
{
    make_room(r);
    r->list[r->begin + r->count++] = e;
    return ++r->last;
}

uint64_t event_ring_first(const struct event_ring *r)
{
    return r->last + 1 - r->count;
}

static struct event **slot(const struct event_ring *r, uint64_t number)
{
    uint64_t first = event_ring_first(r);
    bool there = number >= first && number <= r->last;
    return there ? &r->list[r->begin + (number - first)] : NULL;
}

struct event *event_ring_get(const struct event_ring *r, uint64_t number)
{
    struct event **at = slot(r, number);
    return at ? *at : NULL;
}

struct event *event_ring_empty(struct event_ring *r, uint64_t number)
{
    struct event **at = slot(r, number), *e = at ? *at : NULL;
    if (at)
        *at = NULL;
    return e;
}

struct event *event_ring_drop(struct event_ring *r)
{
    if (r->count == 0)
        return NULL;
    r->count--;
    return r->list[r->begin++];
}

void event_ring_free(struct event_ring *r)
{
    free(r->list);
    *r = (struct event_ring){.last = r->last};
}
