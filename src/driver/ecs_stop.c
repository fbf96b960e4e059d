/* StopTask, and the wait until the task's containers have ended. */
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_tasks.h"

#define REASON "stopped by cleat: the session is over"
#define RETRY_BASE_MS 1000
#define RETRY_CAP_MS 60000
#define TICK_MS 1000

static void send_stop(void *task);

/* Everyone who waits is told; t may be gone after it. */
static void tell(struct ecs_task *t, const struct error *e)
{
    STAILQ_HEAD(, ecs_waiter) told = STAILQ_HEAD_INITIALIZER(told);
    struct ecs_waiter *w;
    STAILQ_CONCAT(&told, &t->waiters);
    if (e == NULL)
        ecs_task_forget(t);
    while ((w = STAILQ_FIRST(&told)) != NULL) {
        STAILQ_REMOVE_HEAD(&told, entry);
        w->done(w->arg, e);
        free(w);
    }
}

void ecs_stop_done(struct ecs_task *t)
{
    bool awaited = !STAILQ_EMPTY(&t->waiters);
    timer_stop(&t->retry);
    t->phase = TASK_DEAD; /* whoever was told of an error asks again */
    if (t->done != NULL)
        ecs_launch_end(t, &t->refusal);
    if (awaited)
        tell(t, NULL);
}

/* InvalidParameterException is all that ECS says of a task that it does not know. */
static bool is_unknown(const struct aws_answer *answer)
{
    return strcmp(answer->code, "InvalidParameterException") == 0 &&
           strcasestr(answer->error.message, "not found") != NULL;
}

static void retry(struct ecs_task *t)
{
    timer_arm(&t->retry, backoff_ms(RETRY_BASE_MS, ++t->tries, RETRY_CAP_MS));
}

static void stop_sent(void *arg, const struct aws_answer *answer)
{
    struct ecs_task *t = arg;
    t->call = NULL;
    if (answer->class == AWS_FINE) {
        ecs_watch_soon(t->rt, TICK_MS);
    } else if (is_unknown(answer) && !ecs_task_is_young(t)) {
        ecs_stop_done(t);
    } else if (is_unknown(answer) || t->done != NULL) {
        retry(t);
    } else {
        struct error e = answer->error;
        t->phase = TASK_STOPPING;
        tell(t, &e);
    }
}

static void send_stop(void *arg)
{
    struct ecs_task *t = arg;
    struct runtime *rt = t->rt;
    char *body = ecs_stop_request(ecs_cluster(rt->template, rt->env.class), t->container.id,
                                  t->done != NULL ? t->refusal.message : REASON);
    t->call = ecs_call(rt, "StopTask", body, stop_sent, t);
    free(body);
}

static void begin(struct ecs_task *t)
{
    t->phase = TASK_STOPPING;
    t->tries = 0;
    timer_stop(&t->retry);
    timer_init(&t->retry, t->rt->env.loop, send_stop, t);
    if (t->call == NULL)
        send_stop(t);
}

void ecs_stop_launch(struct ecs_task *t, const struct error *e)
{
    log_warn("ecs.launch.stop", KV("key", t->key), KV("task", t->container.id),
             KV("cause", e->message));
    t->refusal = *e;
    begin(t);
}

static void add_waiter(struct ecs_task *t, runtime_done_fn *done, void *arg)
{
    struct ecs_waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&t->waiters, w, entry);
}

void ecs_stop(struct runtime *rt, const struct container *c, bool keep, runtime_done_fn *done,
              void *arg)
{
    struct ecs_task *t = ecs_task_find(rt, c->id);
    struct error e;
    (void)keep; /* what a task leaves on disk ends with it */
    if (*c->id == '\0') {
        error_set(&e, ERR_INVALID, "a task without an id cannot be stopped");
        later_finish(&rt->later, done, arg, &e);
        return;
    }
    if (t != NULL && t->phase == TASK_DEAD) {
        ecs_task_forget(t);
        later_finish(&rt->later, done, arg, NULL);
        return;
    }
    if (t == NULL) {
        t = ecs_task_new(rt, "", TASK_STOPPING);
        ecs_task_name(t, c->id);
    }
    bool under_way =
        t->phase == TASK_STOPPING && (t->done != NULL || !STAILQ_EMPTY(&t->waiters));
    add_waiter(t, done, arg);
    if (t->phase == TASK_RISING)
        error_set(&t->refusal, ERR_DIED, "task %s was stopped before it had started", c->id);
    if (!under_way)
        begin(t);
    ecs_watch_soon(rt, TICK_MS);
}
