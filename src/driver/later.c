#include "driver/later.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/runtime.h"

struct later_call {
    TAILQ_ENTRY(later_call) entry;
    later_fn *fn;
    max_align_t payload[];
};

/* Only what was queued before: a callback that queues more gets a turn of its own for it. */
static void run_calls(void *arg)
{
    struct later *l = arg;
    struct later_call *last = TAILQ_LAST(&l->calls, later_list);
    struct later_call *call;
    bool done = last == NULL;
    while (!done && (call = TAILQ_FIRST(&l->calls)) != NULL) {
        done = call == last;
        TAILQ_REMOVE(&l->calls, call, entry);
        call->fn(call->payload);
        free(call);
    }
}

void later_init(struct later *l, struct loop *loop)
{
    task_init(&l->task, loop, run_calls, l);
    TAILQ_INIT(&l->calls);
}

void *later_call(struct later *l, later_fn *fn, size_t size)
{
    struct later_call *call = mem_alloc(sizeof(*call) + size);
    call->fn = fn;
    TAILQ_INSERT_TAIL(&l->calls, call, entry);
    task_wake(&l->task);
    return call->payload;
}

struct ending {
    void (*done)(void *arg, const struct error *);
    void *arg;
    struct error error;
};

static void end(void *payload)
{
    struct ending *x = payload;
    x->done(x->arg, x->error.code == ERR_NONE ? NULL : &x->error);
}

void later_finish(struct later *l, void (*done)(void *arg, const struct error *), void *arg,
                  const struct error *e)
{
    struct ending *x = later_call(l, end, sizeof(*x));
    x->done = done;
    x->arg = arg;
    if (e != NULL)
        x->error = *e;
}

struct launch_end {
    runtime_launched_fn *done;
    void *arg;
    struct error error;
    struct container container;
};

static void end_launch(void *payload)
{
    struct launch_end *x = payload;
    bool good = x->error.code == ERR_NONE;
    x->done(x->arg, good ? NULL : &x->error, good ? &x->container : NULL);
}

void later_launched(struct later *l, runtime_launched_fn *done, void *arg,
                    const struct error *e, const struct container *container)
{
    struct launch_end *x = later_call(l, end_launch, sizeof(*x));
    x->done = done;
    x->arg = arg;
    if (e != NULL && e->code != ERR_NONE)
        x->error = *e;
    else
        x->container = *container;
}

bool later_is_news(struct told *told, enum target_state state, const char *reason)
{
    if (told->state == state && (state != TARGET_CHECKING || strcmp(told->reason, reason) == 0))
        return false;
    told->state = state;
    mem_copy_string(told->reason, sizeof(told->reason), reason);
    return true;
}

struct news {
    const struct balancer_env *env;
    char id[KEY_SIZE];
    struct told told;
};

static void tell(void *payload)
{
    struct news *n = payload;
    n->env->on_target(n->env->arg, n->id, n->told.state, n->told.reason);
}

void later_tell(struct later *l, const struct balancer_env *env, const char *id,
                enum target_state state, const char *reason)
{
    struct news *n = later_call(l, tell, sizeof(*n));
    n->env = env;
    n->told.state = state;
    mem_copy_string(n->id, sizeof(n->id), id);
    mem_copy_string(n->told.reason, sizeof(n->told.reason), reason);
}

void later_drop(struct later *l)
{
    struct later_call *call;
    task_stop(&l->task);
    while ((call = TAILQ_FIRST(&l->calls)) != NULL) {
        TAILQ_REMOVE(&l->calls, call, entry);
        free(call);
    }
}
