#include "session/event_tenant.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "session/event.h"

#define LIFE UINT64_C(10000000000) /* numbers; doubles hold those of 900,000 lives */

static void forget(struct cleat *core, struct tenant_events *t)
{
    HASH_DEL(core->events.tenants, t);
    event_ring_free(&t->ring);
    free(t->name);
    free(t);
}

/* Who comes back gets higher numbers than before, as after a restart. */
static void forget_idle(struct cleat *core)
{
    struct tenant_events *t, *next;
    unsigned before = HASH_COUNT(core->events.tenants);
    HASH_ITER (hh, core->events.tenants, t, next)
        if (t->kept == 0 && t->readers == 0)
            forget(core, t);
    if (HASH_COUNT(core->events.tenants) < before)
        events_begin_life(core);
}

struct tenant_events *tenant_events_of(struct cleat *core, const char *name)
{
    struct tenant_events *t;
    HASH_FIND_STR(core->events.tenants, name, t);
    if (t)
        return t;
    if (HASH_COUNT(core->events.tenants) % TENANT_EVENTS_MAX == TENANT_EVENTS_MAX - 1)
        forget_idle(core);
    t = mem_alloc(sizeof(*t));
    t->name = mem_strdup(name);
    t->ring.last = core->events.life * LIFE;
    HASH_ADD_KEYPTR(hh, core->events.tenants, t->name, strlen(t->name), t);
    return t;
}

void tenant_events_add(struct tenant_events *t, struct event *e)
{
    uint64_t number = event_ring_add(&t->ring, e);
    if (!e)
        return;
    e->of = t;
    e->number_of_tenant = number;
    t->kept++;
}

/* Its ring begins with it, or with numbers that are empty. */
void tenant_events_drop(struct event *e)
{
    struct tenant_events *t = e->of;
    if (!t)
        return;
    while (event_ring_first(&t->ring) <= e->number_of_tenant)
        event_ring_drop(&t->ring);
    if (--t->kept == 0)
        event_ring_free(&t->ring);
}

void tenant_events_free(struct cleat *core)
{
    struct tenant_events *t, *next;
    HASH_ITER (hh, core->events.tenants, t, next)
        forget(core, t);
}
