/* Containers that are tasks of AWS ECS, made from a RunTask template. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_tasks.h"
#include "loop/child.h"

/* ---- list ---- */

struct list_op {
    LIST_ENTRY(list_op) entry;
    struct runtime *rt;
    struct ecs_listing *listing;
    runtime_each_fn *each;
    runtime_done_fn *done;
    void *arg;
};

static void list_op_free(struct list_op *op)
{
    LIST_REMOVE(op, entry);
    free(op);
}

static void list_one(void *arg, const struct ecs_view *v)
{
    const struct list_op *op = arg;
    struct container c = {.port = (uint16_t)op->rt->env.class->port};
    if (*v->key == '\0')
        return; /* another class's, or nobody's */
    mem_copy_string(c.id, sizeof(c.id), v->id);
    mem_copy_string(c.ip, sizeof(c.ip), v->ip);
    mem_copy_string(c.key, sizeof(c.key), v->key);
    op->each(op->arg, v->key, &c, v->phase != ECS_GONE, *v->label ? v->label : NULL);
}

static void list_done(void *arg, const struct error *e)
{
    struct list_op *op = arg;
    runtime_done_fn *done = op->done;
    void *its = op->arg;
    list_op_free(op);
    done(its, e);
}

static void ecs_list_op(struct runtime *rt, runtime_each_fn *each, runtime_done_fn *done,
                        void *arg)
{
    struct list_op *op = mem_alloc(sizeof(*op));
    *op = (struct list_op){.rt = rt, .each = each, .done = done, .arg = arg};
    LIST_INSERT_HEAD(&rt->list_ops, op, entry);
    op->listing = ecs_list(rt, list_one, list_done, op);
}

static void drop_list_ops(struct runtime *rt)
{
    struct list_op *op;
    while ((op = LIST_FIRST(&rt->list_ops)) != NULL) {
        ecs_list_cancel(op->listing);
        list_op_free(op);
    }
}

/* ---- open, close, and what needs no call ---- */

static json_t *read_template(const struct class *c, struct error *e)
{
    char *text = file_read(c->ecs_task, ECS_TASK_BYTES);
    struct error why = {0};
    json_t *t = text != NULL ? ecs_read_template(text, strlen(text), c, &why) : NULL;
    if (text == NULL)
        error_set(e, ERR_CONFIG,
                  "class %s: ecs_task %.100s cannot be read, or is longer than %d bytes",
                  c->name, c->ecs_task, ECS_TASK_BYTES);
    else if (t == NULL)
        error_set(e, ERR_CONFIG, "class %s: ecs_task %.60s: %.160s", c->name, c->ecs_task,
                  why.message);
    free(text);
    return t;
}

static struct runtime *ecs_open(const struct runtime_env *env, struct error *e)
{
    json_t *template = read_template(env->class, e);
    if (template == NULL)
        return NULL;
    struct runtime *rt = mem_alloc(sizeof(*rt));
    rt->env = *env;
    rt->template = template;
    LIST_INIT(&rt->looks);
    LIST_INIT(&rt->list_ops);
    timer_init(&rt->tick, env->loop, ecs_watch_tick, rt);
    later_init(&rt->later, env->loop);
    return rt;
}

static void ecs_close(struct runtime *rt)
{
    struct ecs_task *t, *next;
    ecs_watch_drop(rt);
    ecs_examine_drop(rt);
    drop_list_ops(rt);
    HASH_ITER (hh_key, rt->by_key, t, next)
        ecs_task_forget(t);
    HASH_ITER (hh, rt->tasks, t, next)
        ecs_task_forget(t);
    later_drop(&rt->later);
    json_decref(rt->template);
    free(rt);
}

static char *ecs_prepare(struct runtime *rt, const struct launch *l, struct error *e)
{
    return ecs_run_request(rt->template, rt->env.class, l, aws_region(rt->env.aws), e);
}

static void ecs_adopt(struct runtime *rt, const struct container *c)
{
    if (*c->id == '\0' || ecs_task_find(rt, c->id) != NULL)
        return;
    bool is_new = ecs_task_find_key(rt, c->key) == NULL;
    struct ecs_task *t = ecs_task_new(rt, is_new ? c->key : "", TASK_LIVE);
    ecs_task_name(t, c->id);
    mem_copy_string(t->container.ip, sizeof(t->container.ip), c->ip);
    ecs_watch_soon(rt, 0); /* one look for all that are adopted now */
}

/* The network interface goes with its task. */
static void ecs_release(struct runtime *rt, const struct container *c)
{
    (void)rt;
    (void)c;
}

/* ---- status ---- */

static json_t *ecs_status(struct runtime *rt)
{
    static const char *const names[] = {"launching", "rising", "live", "stopping", "dead"};
    json_int_t counts[sizeof(names) / sizeof(names[0])] = {0};
    struct ecs_task *t, *next;
    json_t *tasks = json_object();
    HASH_ITER (hh_key, rt->by_key, t, next)
        counts[t->phase] += t->phase == TASK_LAUNCHING;
    HASH_ITER (hh, rt->tasks, t, next)
        counts[t->phase]++;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_object_set_new(tasks, names[i], json_integer(counts[i]));
    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:s}", "name", "ecs", "cluster",
                     ecs_cluster(rt->template, rt->env.class), "tasks", tasks, "ticks",
                     (json_int_t)rt->ticks, "describes", (json_int_t)rt->describes,
                     "last_error", rt->last_error);
}

const struct runtime_ops runtime_ecs = {
    .name = "ecs",
    .open = ecs_open,
    .close = ecs_close,
    .prepare = ecs_prepare,
    .launch = ecs_launch,
    .adopt = ecs_adopt,
    .stop = ecs_stop,
    .look = ecs_watch_doubt,
    .release = ecs_release,
    .list = ecs_list_op,
    .status = ecs_status,
    .examine = ecs_examine,
};
