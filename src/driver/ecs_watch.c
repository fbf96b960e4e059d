/* One look per tick at all tasks that are watched, whatever their number of sessions: fast
 * while one is on its way up or down, else slow. */
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_tasks.h"

#define FAST_MS 1000
#define SLOW_MS 10000
#define SLOWER_MS 20000
#define MANY 200
#define FAILED_CAP_MS 30000

/* One DescribeTasks. */
struct ecs_look {
    LIST_ENTRY(ecs_look) entry;
    struct runtime *rt;
    struct aws_call *call;
};

void ecs_watch_soon(struct runtime *rt, int64_t in_ms)
{
    int64_t at = loop_now_ms(rt->env.loop) + in_ms;
    if (!LIST_EMPTY(&rt->looks) || (timer_armed(&rt->tick) && rt->tick_at_ms <= at))
        return;
    rt->tick_at_ms = at;
    timer_arm(&rt->tick, in_ms);
}

/* Never more often than while a task moves, and not at all before its time when ECS cannot be
 * asked. */
void ecs_watch_doubt(struct runtime *rt, const struct container *c)
{
    struct ecs_task *t = ecs_task_find(rt, c->id);
    if (t == NULL || t->phase != TASK_LIVE)
        return;
    t->doubted = true;
    if (rt->failed_ticks > 0)
        return;
    int64_t in_ms = rt->ticked_ms + FAST_MS - loop_now_ms(rt->env.loop);
    ecs_watch_soon(rt, in_ms > 0 ? in_ms : 0);
}

/* ---- what a task's look means ---- */

static void die(struct ecs_task *t, const char *cause, bool in_order)
{
    struct runtime *rt = t->rt;
    t->phase = TASK_DEAD;
    if (*t->key == '\0')
        log_warn("ecs.task.unnamed", KV("task", t->container.id), KV("cause", cause));
    else
        rt->env.on_exit(rt->env.arg, t->key, cause, in_order);
}

/* A task that a conflict named: the same client token may stand for somebody else's. */
static bool is_ours(struct ecs_task *t, const struct ecs_view *v)
{
    struct error e;
    if (!t->unproven || strcmp(v->key, t->key) == 0) {
        t->unproven = false;
        return true;
    }
    error_set(&e, ERR_PERMANENT,
              "the client token of %s was used for task %s, which is not ours", t->key, v->id);
    ecs_launch_end(t, &e);
    return false;
}

static void tell_progress(const struct ecs_task *t, const char *text)
{
    const struct runtime_env *env = &t->rt->env;
    if (env->on_progress != NULL)
        env->on_progress(env->arg, t->key, text);
}

/* Its address is known before its image is pulled; until its container runs, nobody answers
 * there, and why it does not start is said by ECS alone. */
static void rise(struct ecs_task *t, const struct ecs_view *v)
{
    bool up = v->phase == ECS_STARTING || v->phase == ECS_RUNNING;
    struct error e;
    if (!is_ours(t, v))
        return;
    if (v->phase == ECS_GONE) {
        ecs_launch_end(t, &v->end);
    } else if (v->phase == ECS_RISING) {
        tell_progress(t, v->progress);
    } else if (up && v->ip[0] != '\0') {
        mem_copy_string(t->container.ip, sizeof(t->container.ip), v->ip);
        t->phase = TASK_LIVE;
        ecs_launch_end(t, NULL);
    } else if (v->phase == ECS_RUNNING) {
        error_set(&e, ERR_PERMANENT,
                  "task %s has no network interface of its own: network mode awsvpc is needed",
                  v->id);
        ecs_stop_launch(t, &e);
    }
}

/* An adopted task says itself whose it is. */
static void learn_key(struct ecs_task *t, const struct ecs_view *v)
{
    if (*t->key != '\0' || *v->key == '\0' || ecs_task_find_key(t->rt, v->key) != NULL)
        return;
    mem_copy_string(t->key, sizeof(t->key), v->key);
    HASH_ADD_KEYPTR(hh_key, t->rt->by_key, t->key, strlen(t->key), t);
}

static void take(struct ecs_task *t, const struct ecs_view *v)
{
    t->settled = v->phase == ECS_RUNNING;
    learn_key(t, v);
    if (t->phase == TASK_RISING)
        rise(t, v);
    else if (t->phase == TASK_LIVE && v->phase == ECS_GONE && v->told_all)
        die(t, v->end.message, v->in_order);
    else if (t->phase == TASK_STOPPING && v->phase == ECS_GONE)
        ecs_stop_done(t);
}

/* ECS does not know it, for good. */
static void lose(struct ecs_task *t)
{
    struct error e;
    if (t->phase == TASK_RISING) {
        error_set(&e, ERR_LAUNCH, "ECS does not know task %s any more", t->container.id);
        ecs_launch_end(t, &e);
    } else if (t->phase == TASK_LIVE) {
        die(t, "ECS does not know the task any more", false);
    } else if (t->phase == TASK_STOPPING) {
        ecs_stop_done(t);
    }
}

/* ---- the tick ---- */

static void took(void *arg, const struct ecs_view *v)
{
    struct ecs_task *t = ecs_task_find(arg, v->id);
    if (t != NULL)
        take(t, v);
}

static void missed(void *arg, const char *id)
{
    struct ecs_task *t = ecs_task_find(arg, id);
    if (t != NULL && !ecs_task_is_young(t))
        lose(t);
}

static bool is_watched(const struct ecs_task *t)
{
    return t->phase == TASK_RISING || t->phase == TASK_LIVE || t->phase == TASK_STOPPING;
}

static int64_t next_in_ms(const struct runtime *rt)
{
    struct ecs_task *t, *next;
    size_t watched = 0;
    bool moving = false;
    HASH_ITER (hh, rt->tasks, t, next) {
        watched += is_watched(t);
        moving =
            moving || (is_watched(t) && (t->phase != TASK_LIVE || !t->settled || t->doubted));
    }
    if (watched == 0)
        return -1;
    return moving ? FAST_MS : watched > MANY ? SLOWER_MS : SLOW_MS;
}

static void rest(struct runtime *rt)
{
    int64_t in_ms = next_in_ms(rt);
    if (rt->failed_ticks > 0 && in_ms >= 0)
        in_ms = backoff_ms(FAST_MS, rt->failed_ticks, FAILED_CAP_MS);
    if (in_ms >= 0)
        ecs_watch_soon(rt, in_ms);
}

static void looked(void *arg, const struct aws_answer *answer)
{
    struct ecs_look *look = arg;
    struct runtime *rt = look->rt;
    const char *problem = NULL;
    if (answer->class != AWS_FINE)
        problem = answer->error.message;
    else if (!ecs_read_tasks(answer->body, answer->body_len, rt->env.class->ecs_container,
                             rt->env.owner, took, missed, rt))
        problem = "the answer of DescribeTasks makes no sense";
    if (problem != NULL) {
        log_warn("ecs.tick", KV("class", rt->env.class->name), KV("error", problem));
        mem_copy_string(rt->last_error, sizeof(rt->last_error), problem);
        rt->failed_ticks++;
    } else {
        rt->failed_ticks = 0;
    }
    LIST_REMOVE(look, entry);
    free(look);
    if (LIST_EMPTY(&rt->looks))
        rest(rt);
}

static void look(struct runtime *rt, const char *const *ids, size_t count, bool tags)
{
    struct ecs_look *l = mem_alloc(sizeof(*l));
    char *body =
        ecs_describe_request(ecs_cluster(rt->template, rt->env.class), ids, count, tags);
    l->rt = rt;
    LIST_INSERT_HEAD(&rt->looks, l, entry);
    rt->describes++;
    l->call = ecs_call(rt, "DescribeTasks", body, looked, l);
    free(body);
}

/* No answer is needed for this: also while ECS cannot be asked, a launch ends. One that may be
 * somebody else's is not stopped: ECS has to say first whose it is. */
static bool past_deadline(struct ecs_task *t)
{
    int64_t limit_ms = t->rt->env.class->start_timeout_s * 1000;
    struct error e;
    if (t->phase != TASK_RISING || t->unproven ||
        loop_now_ms(t->rt->env.loop) - t->since_ms < limit_ms)
        return false;
    error_set(&e, ERR_LAUNCH, "task %s did not start within %lld s", t->container.id,
              (long long)(limit_ms / 1000));
    ecs_stop_launch(t, &e);
    return true;
}

void ecs_watch_tick(void *arg)
{
    struct runtime *rt = arg;
    struct ecs_task *t, *next;
    const char *ids[ECS_DESCRIBE_MAX];
    bool plain = rt->env.class->proof == PROOF_NONE, tags = false;
    size_t n = 0;
    rt->ticks++;
    rt->ticked_ms = loop_now_ms(rt->env.loop);
    HASH_ITER (hh, rt->tasks, t, next) {
        past_deadline(t);
        if (!is_watched(t))
            continue;
        t->doubted = false;
        ids[n++] = t->container.id;
        tags = tags || (plain && (t->unproven || *t->key == '\0'));
        if (n == ECS_DESCRIBE_MAX) {
            look(rt, ids, n, tags);
            n = 0;
            tags = false;
        }
    }
    if (n > 0)
        look(rt, ids, n, tags);
}

void ecs_watch_drop(struct runtime *rt)
{
    struct ecs_look *l;
    timer_stop(&rt->tick);
    while ((l = LIST_FIRST(&rt->looks)) != NULL) {
        LIST_REMOVE(l, entry);
        aws_cancel(l->call);
        free(l);
    }
}
