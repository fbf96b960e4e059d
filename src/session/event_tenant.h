/* The events of one tenant, as it is shown them: under numbers of its own, which tell it
 * nothing of others. Each life of the coordinator begins higher than every one before it, and
 * says so in the journal before anything is shown: no number is given twice. */
#ifndef CLEAT_SESSION_EVENT_TENANT_H
#define CLEAT_SESSION_EVENT_TENANT_H

#include "session/core.h"

struct event;
struct tenant_events {
    char *name;
    struct event_ring ring;
    unsigned kept, readers; /* while there are none, it may be forgotten */
    UT_hash_handle hh;
};

#define TENANT_EVENTS_MAX 10000 /* known at a time; more are, while they have any */

struct tenant_events *tenant_events_of(struct cleat *, const char *name); /* or new */
void tenant_events_add(struct tenant_events *, struct event *); /* NULL: one was given up */
void tenant_events_drop(struct event *);                        /* the oldest of its tenant */
void tenant_events_free(struct cleat *); /* after the events and the readers */

#endif
