/* ListTasks by startedBy, page by page, then DescribeTasks for what it named. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/ecs_tasks.h"

#define IDS_MAX 20000  /* more tasks than a coordinator holds: pages without end */
#define PAGES_MAX 1000 /* of up to 100 each; some may be empty */

struct ecs_listing {
    struct runtime *rt;
    struct aws_call *call;
    char **ids;
    size_t count, capacity, described, pages;
    char *next;
    ecs_task_fn *each;
    ecs_listed_fn *done;
    void *arg;
};

static void list_free(struct ecs_listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->ids[i]);
    free(l->ids);
    free(l->next);
    free(l);
}

static void finish(struct ecs_listing *l, const struct error *e)
{
    ecs_listed_fn *done = l->done;
    void *arg = l->arg;
    list_free(l);
    done(arg, e);
}

static void finish_badly(struct ecs_listing *l, const struct aws_answer *answer,
                         const char *action)
{
    struct error e = answer->error;
    if (answer->class == AWS_FINE)
        error_set(&e, ERR_PROTOCOL, "the answer of %s makes no sense", action);
    finish(l, &e);
}

/* ---- described ---- */

static void describe(struct ecs_listing *l);

static void tell(void *arg, const struct ecs_view *v)
{
    struct ecs_listing *l = arg;
    l->each(l->arg, v);
}

/* Listed, and unknown to another of ECS's machines: the next listing shows it. */
static void miss(void *arg, const char *id)
{
    (void)arg;
    (void)id;
}

static void described(void *arg, const struct aws_answer *answer)
{
    struct ecs_listing *l = arg;
    const struct runtime_env *env = &l->rt->env;
    l->call = NULL;
    if (answer->class != AWS_FINE ||
        !ecs_read_tasks(answer->body, answer->body_len, env->class->ecs_container, env->owner,
                        tell, miss, l))
        finish_badly(l, answer, "DescribeTasks");
    else
        describe(l);
}

static void describe(struct ecs_listing *l)
{
    struct runtime *rt = l->rt;
    size_t left = l->count - l->described;
    size_t n = left < ECS_DESCRIBE_MAX ? left : ECS_DESCRIBE_MAX;
    if (n == 0) {
        finish(l, NULL);
        return;
    }
    char *body = ecs_describe_request(ecs_cluster(rt->template, rt->env.class),
                                      (const char *const *)l->ids + l->described, n, true);
    l->described += n;
    rt->describes++;
    l->call = ecs_call(rt, "DescribeTasks", body, described, l);
    free(body);
}

/* ---- listed ---- */

static void list_page(struct ecs_listing *l);

static void keep(void *arg, const char *id)
{
    struct ecs_listing *l = arg;
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->ids = mem_grow(l->ids, l->capacity * sizeof(*l->ids));
    }
    l->ids[l->count++] = mem_strdup(id);
}

static void listed(void *arg, const struct aws_answer *answer)
{
    struct ecs_listing *l = arg;
    char *next = NULL;
    l->call = NULL;
    bool good = answer->class == AWS_FINE &&
                ecs_read_list(answer->body, answer->body_len, keep, l, &next) &&
                l->count <= IDS_MAX && ++l->pages <= PAGES_MAX &&
                (*next == '\0' || strcmp(next, l->next) != 0);
    if (!good) {
        free(next);
        finish_badly(l, answer, "ListTasks");
        return;
    }
    free(l->next);
    l->next = next;
    if (*l->next != '\0')
        list_page(l);
    else
        describe(l);
}

static void list_page(struct ecs_listing *l)
{
    struct runtime *rt = l->rt;
    char *body =
        ecs_list_request(ecs_cluster(rt->template, rt->env.class), rt->env.owner, l->next);
    l->call = ecs_call(rt, "ListTasks", body, listed, l);
    free(body);
}

struct ecs_listing *ecs_list(struct runtime *rt, ecs_task_fn *each, ecs_listed_fn *done,
                             void *arg)
{
    struct ecs_listing *l = mem_alloc(sizeof(*l));
    l->rt = rt;
    l->next = mem_strdup("");
    l->each = each;
    l->done = done;
    l->arg = arg;
    list_page(l);
    return l;
}

void ecs_list_cancel(struct ecs_listing *l)
{
    aws_cancel(l->call);
    list_free(l);
}
