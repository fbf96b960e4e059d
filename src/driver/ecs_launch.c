/* One launch: the same bytes until their outcome is known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_tasks.h"

#define REPEAT_BASE_MS 1000
#define REPEAT_CAP_MS 60000
#define LOOKS 3 /* at a listing that may lag behind */
#define LOOK_BASE_MS 1000
#define FIRST_TICK_MS 1000

void ecs_launch_end(struct ecs_task *t, const struct error *e)
{
    runtime_launched_fn *done = t->done;
    void *arg = t->arg;
    struct container c = t->container;
    struct error copy = e != NULL ? *e : (struct error){0};
    t->done = NULL;
    if (e != NULL && STAILQ_EMPTY(&t->waiters))
        ecs_task_forget(t);
    if (done != NULL)
        done(arg, e != NULL ? &copy : NULL, e != NULL ? NULL : &c);
}

static void run(struct ecs_task *t);
static void find(struct ecs_task *t);

static void repeat(void *arg)
{
    struct ecs_task *t = arg;
    if (t->refusal.code == ERR_NONE)
        run(t);
    else
        find(t);
}

static void repeat_later(struct ecs_task *t, const char *why)
{
    log_warn("ecs.launch.repeat", KV("key", t->key), KI("tries", t->tries + 1),
             KV("cause", why));
    timer_arm(&t->retry, backoff_ms(REPEAT_BASE_MS, ++t->tries, REPEAT_CAP_MS));
}

/* One that was adopted and has not said yet whose it is gives way. */
static void found(struct ecs_task *t, const struct ecs_view *v)
{
    struct ecs_task *other = ecs_task_find(t->rt, v->id);
    struct error e;
    if (other != NULL && (other->phase != TASK_LIVE || *other->key != '\0')) {
        error_set(&e, ERR_DIED, "task %s is known already, and not as that of %s", v->id,
                  t->key);
        ecs_launch_end(t, &e);
        return;
    }
    if (other != NULL)
        ecs_task_forget(other);
    ecs_task_name(t, v->id);
    t->phase = TASK_RISING;
    t->since_ms = loop_now_ms(t->rt->env.loop); /* its start has begun only now */
    mem_wipe(t->body, strlen(t->body));
    free(t->body);
    t->body = NULL;
    ecs_watch_soon(t->rt, FIRST_TICK_MS);
}

/* ---- after a refusal that an earlier try may contradict ---- */

static void take_listed(void *arg, const struct ecs_view *v)
{
    struct ecs_task *t = arg;
    if (strcmp(v->key, t->key) == 0 && v->phase != ECS_GONE)
        mem_copy_string(t->container.id, sizeof(t->container.id), v->id);
}

static void listed(void *arg, const struct error *e)
{
    struct ecs_task *t = arg;
    struct ecs_view v = {.phase = ECS_RISING};
    t->finding = NULL;
    mem_copy_string(v.id, sizeof(v.id), t->container.id);
    t->container.id[0] = '\0'; /* it is in no table yet */
    if (e != NULL)
        repeat_later(t, e->message);
    else if (v.id[0] != '\0')
        found(t, &v);
    else if (++t->tries < LOOKS)
        timer_arm(&t->retry, backoff_ms(LOOK_BASE_MS, t->tries, REPEAT_CAP_MS));
    else
        ecs_launch_end(t, &t->refusal);
}

static void find(struct ecs_task *t)
{
    t->finding = ecs_list(t->rt, take_listed, listed, t);
}

static void refuse(struct ecs_task *t, const struct error *e)
{
    if (!t->ambiguous) {
        ecs_launch_end(t, e);
        return;
    }
    log_warn("ecs.launch.find", KV("key", t->key), KV("cause", e->message));
    t->refusal = *e;
    t->tries = 0;
    find(t);
}

/* ---- RunTask ---- */

static void take_run(struct ecs_task *t, const struct aws_answer *answer)
{
    const struct runtime *rt = t->rt;
    struct ecs_view v;
    struct error e = {0};
    switch (ecs_read_run(answer->body, answer->body_len, rt->env.class->ecs_container,
                         rt->env.owner, &v, &e)) {
    case ECS_RAN:
        t->unproven = v.key[0] != '\0' && strcmp(v.key, t->key) != 0;
        found(t, &v);
        break;
    case ECS_REFUSED:
        refuse(t, &e);
        break;
    case ECS_NONSENSE:
        t->ambiguous = true;
        repeat_later(t, "the answer of RunTask makes no sense");
        break;
    }
}

static void take_conflict(struct ecs_task *t, const struct aws_answer *answer)
{
    struct ecs_view v;
    if (!ecs_read_conflict(answer->body, answer->body_len, v.id)) {
        t->ambiguous = true; /* some task has that client token */
        refuse(t, &answer->error);
        return;
    }
    log_warn("ecs.launch.conflict", KV("key", t->key), KV("task", v.id));
    t->unproven = true;
    found(t, &v);
}

static void take_refusal(struct ecs_task *t, const struct aws_answer *answer)
{
    struct error e = answer->error;
    if (answer->class == AWS_TRANSIENT)
        e.code = ERR_LAUNCH;
    else if (ecs_means_capacity(e.message))
        e.code = ERR_CAPACITY;
    refuse(t, &e);
}

static void ran(void *arg, const struct aws_answer *answer)
{
    struct ecs_task *t = arg;
    bool may_come = answer->class == AWS_TRANSIENT || answer->class == AWS_THROTTLED;
    t->call = NULL;
    if (answer->class == AWS_FINE) {
        take_run(t, answer);
        return;
    }
    t->ambiguous = t->ambiguous || answer->sent;
    if (strcmp(answer->code, "ConflictException") == 0)
        take_conflict(t, answer);
    else if (may_come && t->ambiguous)
        repeat_later(t, answer->error.message);
    else
        take_refusal(t, answer);
}

static void run(struct ecs_task *t)
{
    t->call = ecs_call(t->rt, "RunTask", t->body, ran, t);
}

/* ---- the op ---- */

void ecs_launch(struct runtime *rt, const struct launch *l, runtime_launched_fn *done,
                void *arg)
{
    struct error e = {0};
    struct ecs_task *t = ecs_task_find_key(rt, l->key);
    if (t != NULL) {
        if (t->phase != TASK_LIVE)
            error_set(&e, t->phase < TASK_LIVE ? ERR_LAUNCH : ERR_DIED,
                      "the task of %s is being launched or stopped", l->key);
        later_launched(&rt->later, done, arg, &e, &t->container);
        return;
    }
    t = ecs_task_new(rt, l->key, TASK_LAUNCHING);
    t->body = mem_strdup(l->prepared);
    t->done = done;
    t->arg = arg;
    timer_init(&t->retry, rt->env.loop, repeat, t);
    run(t);
}
