#include "session/event_read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "session/cleanup.h"
#include "session/context.h"
#include "session/event.h"
#include "session/event_code.h"
#include "session/event_tenant.h"
#include "session/session.h"

#define PUMP_MAX 256            /* events looked at before others have their turn */
#define WAITING_MAX (256 << 10) /* bytes that a reader may be behind */

struct cleat_events {
    TAILQ_ENTRY(cleat_events) entry;
    struct cleat *core;
    struct session *session;     /* NULL: of all … */
    struct tenant_events *of;    /* … of this tenant; NULL: it is an operator */
    const struct event_log *log; /* the session's */
    bool for_tenant;             /* ids are its own */
    uint64_t cursor;             /* it has those up to here */
    bool follows, paused;
    bool forgotten; /* its session is no more */
    bool cancelled;
    size_t waiting; /* bytes of new ones that it does not have; 0 once it has all */
    struct task task;
    cleat_event_fn *fn;
    void *arg;
};

static void reader_free(void *arg)
{
    struct cleat_events *r = arg;
    free(r);
}

void cleat_events_cancel(struct cleat_events *r)
{
    r->cancelled = true;
    task_stop(&r->task);
    TAILQ_REMOVE(&r->core->events.readers, r, entry);
    r->core->events.reading--;
    if (r->of)
        r->of->readers--;
    loop_free_later(r->core->loop, r, reader_free);
}

static void end(struct cleat_events *r, const char *reason)
{
    char *document = mem_printf("{\"code\":\"end\",\"reason\":\"%s\"}", reason);
    struct cleat_event event = {.id = r->cursor, .code = "end", .document = document};
    cleat_event_fn *fn = r->fn;
    void *arg = r->arg;
    cleat_events_cancel(r);
    fn(arg, &event);
    free(document);
}

static void deliver(struct cleat_events *r, const char *code, char *document)
{
    struct cleat_event event = {.id = r->cursor, .code = code, .document = document};
    bool more = r->fn(r->arg, &event);
    if (!r->cancelled && !more)
        r->paused = true;
    free(document);
}

/* Nothing is left of the numbers after the cursor up to this one. */
static void deliver_gap(struct cleat_events *r, uint64_t to)
{
    uint64_t from = r->cursor + 1;
    r->core->events.gaps++;
    r->cursor = to;
    deliver(r, "gap",
            mem_printf("{\"code\":\"gap\",\"from\":%" PRIu64 ",\"to\":%" PRIu64
                       ",\"message\":\"Events between these numbers are not kept\"}",
                       from, to));
}

static const struct event_ring *ring_of(const struct cleat_events *r)
{
    return r->log ? &r->log->ring : r->of ? &r->of->ring : &r->core->events.shown;
}

static uint64_t newest(const struct cleat_events *r)
{
    return r->log ? r->log->shown : ring_of(r)->last;
}

/* The first number after the cursor that there is an event of, or one past the newest. */
static uint64_t next_number(const struct cleat_events *r)
{
    const struct event_ring *ring = ring_of(r);
    uint64_t n = r->cursor + 1, first = event_ring_first(ring), last = newest(r);
    if (n < first)
        n = first;
    while (n <= last && !event_ring_get(ring, n))
        n++;
    return n;
}

static bool is_for(const struct cleat_events *r, const struct event *e)
{
    return r->log ? r->log == e->log : !r->of || r->of == e->of;
}

/* Nothing happens to it any more. */
static bool is_final(const struct session *s)
{
    const struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (!cleanup_is_done(a))
            return false;
    return session_is_over(s) && s->events.shown == s->events.ring.last;
}

/* The reader may be gone afterwards. */
static void has_all(struct cleat_events *r)
{
    r->waiting = 0;
    if (r->session && is_final(r->session))
        end(r, "closed");
    else if (!r->follows)
        end(r, "all");
}

static void take_one(struct cleat_events *r)
{
    uint64_t n = next_number(r);
    if (n > r->cursor + 1) {
        deliver_gap(r, n - 1);
        return;
    }
    const struct event *e = event_ring_get(ring_of(r), n);
    r->cursor = n;
    deliver(r, e->code->name, event_document(e, r->for_tenant));
}

static void pump(void *arg)
{
    struct cleat_events *r = arg;
    if (r->forgotten) {
        end(r, "forgotten");
        return;
    }
    if (r->waiting > WAITING_MAX) {
        r->core->events.slow++;
        end(r, "slow");
        return;
    }
    for (unsigned i = 0; i < PUMP_MAX; i++) {
        if (r->paused)
            return;
        if (r->cursor >= newest(r)) {
            has_all(r);
            return;
        }
        take_one(r);
        if (r->cancelled)
            return;
    }
    task_wake(&r->task);
}

void readers_note(struct cleat *core, const struct event *e)
{
    struct cleat_events *r;
    TAILQ_FOREACH (r, &core->events.readers, entry) {
        if (!is_for(r, e))
            continue;
        r->waiting += e->size;
        task_wake(&r->task);
    }
}

void readers_forget(struct cleat *core, const struct session *s)
{
    struct cleat_events *r;
    TAILQ_FOREACH (r, &core->events.readers, entry)
        if (r->session == s) {
            r->forgotten = true;
            r->session = NULL;
            r->log = NULL;
            task_wake(&r->task);
        }
}

void readers_free(struct cleat *core)
{
    while (!TAILQ_EMPTY(&core->events.readers))
        cleat_events_cancel(TAILQ_FIRST(&core->events.readers));
}

struct cleat_events *cleat_events(struct cleat *core, const char *tenant, const char *session,
                                  int64_t after, bool follow, cleat_event_fn *fn, void *arg)
{
    struct session *s = session ? context_find(core, tenant, session) : NULL;
    if (session && !s)
        return NULL;
    struct cleat_events *r = mem_alloc(sizeof(*r));
    r->core = core;
    r->session = s;
    r->log = s ? &s->events : NULL;
    r->of = tenant && !s ? tenant_events_of(core, tenant) : NULL;
    r->for_tenant = tenant != NULL;
    r->follows = follow;
    r->fn = fn;
    r->arg = arg;
    if (r->of)
        r->of->readers++;
    r->cursor = after < 0 ? newest(r) : (uint64_t)after;
    if (r->cursor > newest(r)) /* of a journal that is lost: nobody knows what it means */
        r->cursor = 0;
    task_init(&r->task, core->loop, pump, r);
    TAILQ_INSERT_TAIL(&core->events.readers, r, entry);
    core->events.reading++;
    task_wake(&r->task);
    return r;
}

void cleat_events_resume(struct cleat_events *r)
{
    r->paused = false;
    task_wake(&r->task);
}

uint64_t cleat_events_position(const struct cleat_events *r)
{
    return r->cursor;
}
