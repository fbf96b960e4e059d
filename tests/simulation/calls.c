#include <inttypes.h>
#include "life.h"
#include "world.h"

struct call {
    unsigned number, coordinator_life;
    const char *what;
    call_answered_fn *answered;
    void *arg;
    struct cleat_call *handle;
    bool returned; /* the function that took it has returned */
    bool over;     /* answered, cancelled, or its coordinator is gone */
    struct call *next;
};

static struct call *calls;
static unsigned call_count;

void calls_begin(void)
{
    calls = NULL;
    call_count = 0;
}

static void overdue(void *arg)
{
    struct call *call = arg;
    if (!call->over)
        world_violate("I8", "call %u (%s) was not answered in time", call->number, call->what);
}

struct call *call_new(const char *what, int64_t within_ms, call_answered_fn *answered,
                      void *arg)
{
    struct call *call = world_alloc(sizeof *call);
    call->number = ++call_count;
    call->coordinator_life = world.me->life;
    call->what = what;
    call->answered = answered;
    call->arg = arg;
    call->next = calls;
    calls = call;
    world_log("call %u: %s", call->number, what);
    world_at(within_ms, overdue, call);
    return call;
}

void call_keep(struct call *call, struct cleat_call *handle)
{
    call->handle = handle;
    call->returned = true;
}

void call_done(void *arg, const struct cleat_error *error, const char *document)
{
    struct call *call = arg;
    if (world.frozen && world.crash_due)
        return; /* it crashed in the middle of this turn: nobody hears it */
    if (call->over || call->coordinator_life != world.me->life || world.frozen)
        world_violate("I8", "call %u (%s) is answered again, or too late", call->number,
                      call->what);
    if (!call->returned)
        world_violate("I8", "call %u (%s) is answered before it returned", call->number,
                      call->what);
    if ((error != NULL) == (document != NULL))
        world_violate("I8", "call %u (%s) has both or neither of error and document",
                      call->number, call->what);
    if (call->over)
        return;
    call->over = true;
    world_log("call %u answered: %s", call->number, error ? error->code : "ok");
    call->answered(call->arg, error, document);
}

void call_cancel(struct call *call)
{
    if (call->over || call->coordinator_life != world.me->life)
        return;
    call->over = true;
    world_log("call %u is cancelled", call->number);
    cleat_call_cancel(call->handle);
}

void calls_forget_all(void)
{
    struct call **at = &calls, *call;
    while ((call = *at)) {
        call->over |= call->coordinator_life == world.me->life;
        if (call->over)
            *at = call->next;
        else
            at = &call->next;
    }
}

bool calls_all_answered(void)
{
    for (const struct call *call = calls; call; call = call->next)
        if (!call->over)
            return false;
    return true;
}
