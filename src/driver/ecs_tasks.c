#include "driver/ecs_tasks.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct ecs_task *ecs_task_new(struct runtime *rt, const char *key, enum ecs_task_phase phase)
{
    struct ecs_task *t = mem_alloc(sizeof(*t));
    t->rt = rt;
    t->phase = phase;
    t->since_ms = loop_now_ms(rt->env.loop);
    t->container.port = (uint16_t)rt->env.class->port;
    STAILQ_INIT(&t->waiters);
    mem_copy_string(t->key, sizeof(t->key), key);
    if (*key != '\0')
        HASH_ADD_KEYPTR(hh_key, rt->by_key, t->key, strlen(t->key), t);
    return t;
}

static void drop_body(struct ecs_task *t)
{
    if (t->body != NULL)
        mem_wipe(t->body, strlen(t->body)); /* the secret is in it */
    free(t->body);
    t->body = NULL;
}

void ecs_task_forget(struct ecs_task *t)
{
    struct ecs_waiter *w;
    if (t->call != NULL)
        aws_cancel(t->call);
    if (t->finding != NULL)
        ecs_list_cancel(t->finding);
    timer_stop(&t->retry);
    drop_body(t);
    while ((w = STAILQ_FIRST(&t->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&t->waiters, entry);
        free(w);
    }
    if (*t->container.id != '\0')
        HASH_DELETE(hh, t->rt->tasks, t);
    if (*t->key != '\0')
        HASH_DELETE(hh_key, t->rt->by_key, t);
    free(t);
}

struct ecs_task *ecs_task_find(struct runtime *rt, const char *id)
{
    struct ecs_task *t;
    HASH_FIND(hh, rt->tasks, id, strlen(id), t);
    return t;
}

struct ecs_task *ecs_task_find_key(struct runtime *rt, const char *key)
{
    struct ecs_task *t;
    HASH_FIND(hh_key, rt->by_key, key, strlen(key), t);
    return t;
}

void ecs_task_name(struct ecs_task *t, const char *id)
{
    mem_copy_string(t->container.id, sizeof(t->container.id), id);
    HASH_ADD_KEYPTR(hh, t->rt->tasks, t->container.id, strlen(t->container.id), t);
}

bool ecs_task_is_young(const struct ecs_task *t)
{
    return loop_now_ms(t->rt->env.loop) - t->since_ms < ECS_UNKNOWN_MS;
}

struct aws_call *ecs_call(struct runtime *rt, const char *action, const char *body,
                          aws_done_fn *done, void *arg)
{
    return aws_start(
        rt->env.aws,
        &(struct aws_request){
            .service = AWS_ECS, .action = action, .body = body, .body_len = strlen(body)},
        done, arg);
}
