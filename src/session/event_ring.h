/* Events under their numbers, the oldest first. A number whose event was given up is empty. */
#ifndef CLEAT_SESSION_EVENT_RING_H
#define CLEAT_SESSION_EVENT_RING_H

#include <stddef.h>
#include <stdint.h>

struct event;

struct event_ring {
    struct event **list;
    size_t begin, count, capacity;
    uint64_t last; /* number of the newest; 0: there never was one */
};

uint64_t event_ring_add(struct event_ring *, struct event *); /* its number */
/* The smallest number that may still be there; last + 1: none is. */
uint64_t event_ring_first(const struct event_ring *);
struct event *event_ring_get(const struct event_ring *, uint64_t number); /* NULL: not there */
struct event *event_ring_empty(struct event_ring *, uint64_t number);     /* what was there */
struct event *event_ring_drop(struct event_ring *);                       /* the oldest */
void event_ring_free(struct event_ring *);                                /* not the events */

#endif
