/* What the target groups of our owner list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/alb_balancer.h"

struct alb_list_call {
    struct balancer *b;
    balancer_each_fn *each;
    balancer_done_fn *done;
    void *arg;
    bool given; /* it is complete, and about to be handed over */
    TAILQ_ENTRY(alb_list_call) entry;
    uint64_t from[]; /* by group: the first listing that is new enough */
};

static void give_orphan(const struct alb_list_call *l, const struct alb_target *t)
{
    char id[KEY_SIZE];
    int len =
        snprintf(id, sizeof(id), "%s" TARGET_NAMELESS "%s:%u", l->b->env.owner, t->ip, t->port);
    if (len >= (int)sizeof(id)) {
        log_error("alb.orphan_left", KV("target_group", t->group->name), KV("target", t->key),
                  KV("cause", "its address is too long for a name"));
        return;
    }
    struct target target = {.id = id, .ip = t->ip, .port = t->port};
    l->each(l->arg, &target,
            t->health == ALB_HEALTHY   ? TARGET_HEALTHY
            : t->health == ALB_INITIAL ? TARGET_CHECKING
                                       : TARGET_UNHEALTHY);
}

static void give_group(const struct alb_list_call *l, const struct alb_group *g)
{
    const struct alb_target *t, *next;
    for (t = g->targets; t != NULL; t = next) {
        next = t->hh.next; /* each may let it go */
        const struct alb_holder *h = t->holder;
        if (h == NULL) {
            if (t->listed && t->health != ALB_DRAINING)
                give_orphan(l, t);
        } else if (!h->let_go) {
            struct target target = {.id = h->id, .ip = t->ip, .port = t->port};
            l->each(l->arg, &target, h->told.state);
        }
    }
}

static void deliver(void *payload)
{
    struct alb_list_call *l = *(struct alb_list_call **)payload;
    struct balancer *b = l->b;
    for (size_t i = 0; i < b->count; i++)
        if (b->groups[i].owner == ALB_OWNER_OURS)
            give_group(l, &b->groups[i]);
    TAILQ_REMOVE(&b->lists, l, entry);
    l->done(l->arg, NULL);
    free(l);
}

/* Why a group's listing cannot come; others' groups need none. */
static const struct error *list_problem(const struct alb_list_call *l, size_t group)
{
    const struct alb_group *g = &l->b->groups[group];
    if (g->owner == ALB_OWNER_OTHER)
        return NULL;
    if (g->owner == ALB_OWNER_UNKNOWN && g->tag_problem.code != ERR_NONE)
        return &g->tag_problem;
    bool done = g->looks_done >= l->from[group];
    return done && g->look_problem.code != ERR_NONE ? &g->look_problem : NULL;
}

static bool list_complete(const struct alb_list_call *l, size_t group)
{
    const struct alb_group *g = &l->b->groups[group];
    return g->owner != ALB_OWNER_UNKNOWN &&
           (g->owner == ALB_OWNER_OTHER || g->looks_done >= l->from[group]);
}

static void look_list(struct balancer *b, struct alb_list_call *l)
{
    const struct error *problem = NULL;
    size_t complete = 0;
    for (size_t i = 0; i < b->count && problem == NULL; i++) {
        problem = list_problem(l, i);
        complete += list_complete(l, i);
    }
    if (l->given || (problem == NULL && complete < b->count))
        return;
    if (problem == NULL) {
        l->given = true;
        *(struct alb_list_call **)later_call(&b->later, deliver, sizeof(l)) = l;
        return;
    }
    later_finish(&b->later, l->done, l->arg, problem);
    TAILQ_REMOVE(&b->lists, l, entry);
    free(l);
}

void alb_look_lists(struct balancer *b)
{
    struct alb_list_call *l, *next;
    for (l = TAILQ_FIRST(&b->lists); l != NULL; l = next) {
        next = TAILQ_NEXT(l, entry);
        look_list(b, l);
    }
}

void alb_list(struct balancer *b, balancer_each_fn *each, balancer_done_fn *done, void *arg)
{
    struct alb_list_call *l = mem_alloc(sizeof(*l) + b->count * sizeof(l->from[0]));
    l->b = b;
    l->each = each;
    l->done = done;
    l->arg = arg;
    TAILQ_INSERT_TAIL(&b->lists, l, entry);
    for (size_t i = 0; i < b->count; i++)
        l->from[i] = b->groups[i].looks + 1;
    if (b->started) {
        alb_owners_read(&b->owners);
        for (size_t i = 0; i < b->count; i++)
            if (b->groups[i].owner != ALB_OWNER_OTHER)
                alb_group_look(&b->groups[i]);
    }
    alb_start(b);
}

void alb_forget_lists(struct balancer *b)
{
    struct alb_list_call *l;
    while ((l = TAILQ_FIRST(&b->lists)) != NULL) {
        TAILQ_REMOVE(&b->lists, l, entry);
        free(l);
    }
}
