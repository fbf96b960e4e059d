/* Callbacks that a driver owes: they run from the loop, in the order in which they were queued,
 * never inside the call that caused them. */
#ifndef CLEAT_DRIVER_LATER_H
#define CLEAT_DRIVER_LATER_H

#include <stddef.h>
#include <sys/queue.h>
#include "driver/balancer.h"
#include "driver/runtime.h"
#include "loop/loop.h"

typedef void later_fn(void *payload);
struct later_call;

struct later {
    struct task task;
    TAILQ_HEAD(later_list, later_call) calls;
};

void later_init(struct later *, struct loop *);
/* Zeroed memory for what fn needs to know; freed after fn. */
void *later_call(struct later *, later_fn *fn, size_t size);
/* done(arg, e), with e copied; NULL and ERR_NONE: success. */
void later_finish(struct later *, void (*done)(void *arg, const struct error *), void *arg,
                  const struct error *e);
/* The end of a launch: with *e when that is an error, else with *container; both are copied. */
void later_launched(struct later *, runtime_launched_fn *done, void *arg, const struct error *e,
                    const struct container *);
/* What a balancer told of a target last. */
struct told {
    enum target_state state;
    char reason[64];
};
/* False: on_target need not hear it. Else it is kept as told. */
bool later_is_news(struct told *, enum target_state, const char *reason);
/* A balancer's news of a target: env->on_target, which must outlive the call. */
void later_tell(struct later *, const struct balancer_env *env, const char *id,
                enum target_state, const char *reason);
void later_drop(struct later *); /* forgets what has not run */

#endif
