#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/alb_balancer.h"

#define SOON_MS 500          /* to the first look after a change */
#define AWAITED_MS 1500      /* while a state is awaited */
#define WORRIED_MS 5000      /* while a target is unhealthy, a slot is wanted, or looks fail */
#define CALM_MS 12000        /* while we hold anything */
#define LEAVES_LATE_MS 15000 /* a deregistration that does not show is asked for again */
#define RETURNS_MS 30000     /* between two tries to put a target back */

static int64_t now(const struct balancer *b)
{
    return loop_now_ms(b->env.loop);
}

/* ---- holders ---- */

struct alb_holder *alb_holder_find(const struct balancer *b, const char *id)
{
    struct alb_holder *h;
    HASH_FIND_STR(b->holders, id, h);
    return h;
}

struct alb_holder *alb_holder_new(struct balancer *b, const char *id)
{
    struct alb_holder *h = mem_alloc(sizeof(*h));
    mem_copy_string(h->id, sizeof(h->id), id);
    STAILQ_INIT(&h->waiters);
    HASH_ADD_STR(b->holders, id, h);
    return h;
}

void alb_holder_free(struct balancer *b, struct alb_holder *h)
{
    struct alb_waiter *w;
    while ((w = STAILQ_FIRST(&h->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&h->waiters, entry);
        free(w);
    }
    if (h->target != NULL)
        h->target->holder = NULL;
    else if (h->group != NULL)
        h->group->reserved--;
    HASH_DEL(b->holders, h);
    free(h);
}

void alb_holder_await(struct alb_holder *h, balancer_done_fn *done, void *arg)
{
    struct alb_waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&h->waiters, w, entry);
}

void alb_holder_finish(struct balancer *b, struct alb_holder *h, const struct error *e)
{
    struct alb_waiter *w;
    while ((w = STAILQ_FIRST(&h->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&h->waiters, entry);
        later_finish(&b->later, w->done, w->arg, e);
        free(w);
    }
}

void alb_holder_tell(struct balancer *b, struct alb_holder *h, enum target_state state,
                     const char *reason)
{
    if (later_is_news(&h->told, state, reason))
        later_tell(&b->later, &b->env, h->id, state, reason);
}

void alb_holder_end(struct balancer *b, struct alb_holder *h, const char *reason)
{
    alb_holder_finish(b, h, NULL);
    alb_holder_tell(b, h, TARGET_GONE, reason);
    alb_holder_free(b, h);
}

void alb_holder_take(struct balancer *b, struct alb_holder *h, struct alb_target *t)
{
    if (t->holder != NULL) {
        log_info("alb.taken_over", KV("target_group", t->group->name), KV("target", t->key),
                 KV("from", t->holder->id), KV("by", h->id));
        alb_holder_end(b, t->holder, "its address has a new holder");
    }
    if (h->group != NULL)
        h->group->reserved--;
    h->group = t->group;
    h->target = t;
    t->holder = h;
}

void alb_holder_leave(struct balancer *b, struct alb_holder *h, balancer_done_fn *done,
                      void *arg)
{
    struct alb_target *t = h->target;
    struct error e;
    error_set(&e, ERR_CANCELLED, "the target was removed meanwhile");
    if (h->let_go) {
        later_finish(&b->later, done, arg, NULL);
        return;
    }
    if (!h->leaving)
        alb_holder_finish(b, h, &e);
    h->leaving = true;
    alb_holder_await(h, done, arg);
    if (t != NULL && (t->touched || t->listed)) {
        alb_change_want(t, ALB_DEREGISTER);
        return;
    }
    alb_holder_end(b, h, "never registered"); /* nobody has heard of it */
    if (t != NULL) {
        alb_change_cancel(t);
        alb_target_settle(t);
    }
}

/* ---- outcome of a change ---- */

static void registered(struct balancer *b, struct alb_holder *h, const struct error *e)
{
    if (e == NULL) {
        h->wanted = true;
        alb_holder_finish(b, h, NULL);
        if (h->told.state == TARGET_UNKNOWN)
            alb_holder_tell(b, h, TARGET_CHECKING, "registered");
        return;
    }
    if (h->adopted)
        log_warn("alb.not_put_back", KV("target_group", h->group->name), KV("target", h->id),
                 KV("error", e->message));
    alb_holder_finish(b, h, e);
}

static void finish_strangers(struct balancer *b, const struct error *e)
{
    struct alb_waiter *w;
    while ((w = STAILQ_FIRST(&b->strangers)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->strangers, entry);
        later_finish(&b->later, w->done, w->arg, e);
        free(w);
    }
}

bool alb_orphans_leaving(const struct balancer *b)
{
    const struct alb_holder *h;
    for (h = b->holders; h != NULL; h = h->hh.next)
        if (h->orphan && !h->let_go)
            return true;
    return false;
}

void alb_holder_changed(struct balancer *b, struct alb_target *t, enum alb_wish wish,
                        const struct error *e)
{
    struct alb_holder *h = t->holder;
    struct alb_group *g = t->group;
    if (h == NULL)
        return;
    h->changed_ms = now(b);
    if (wish == ALB_REGISTER) {
        registered(b, h, e);
    } else {
        h->let_go |= e == NULL;
        alb_holder_finish(b, h, e);
        if (e != NULL && h->orphan)
            finish_strangers(b, e);
    }
    if (!alb_orphans_leaving(b))
        finish_strangers(b, NULL);
    alb_group_look_in(g, SOON_MS);
}

/* ---- what a listing means ---- */

static void judge_leaving(struct balancer *b, struct alb_holder *h)
{
    struct alb_target *t = h->target;
    if (!t->listed) {
        alb_holder_end(b, h, "not listed");
        alb_target_settle(t);
    } else if (!h->let_go) {
        return; /* who asked for it asks again */
    } else if (t->health == ALB_DRAINING || t->health == ALB_UNUSED) {
        alb_holder_tell(b, h, TARGET_GONE, alb_health_name(t->health));
    } else if (now(b) >= h->changed_ms + LEAVES_LATE_MS) {
        alb_change_want(t, ALB_DEREGISTER);
    }
}

/* Somebody deregistered it. One listing without it may be a late one. */
static void judge_lost(struct balancer *b, struct alb_holder *h)
{
    struct alb_target *t = h->target;
    if (!t->listed && t->missing < 2)
        return;
    if (h->told.state != TARGET_CHECKING)
        alb_holder_tell(b, h, TARGET_UNHEALTHY, t->listed ? "deregistered" : "not listed");
    if (now(b) < h->changed_ms + RETURNS_MS && h->adopted)
        return;
    log_warn("alb.put_back", KV("target_group", t->group->name), KV("target", h->id),
             KV("cause", t->listed ? "somebody deregistered it" : "it is not listed"));
    h->adopted = true;
    h->changed_ms = now(b);
    alb_change_want(t, ALB_REGISTER);
}

static void judge(struct balancer *b, struct alb_target *t)
{
    struct alb_holder *h = t->holder;
    if (h == NULL)
        alb_target_settle(t);
    else if (h->leaving)
        judge_leaving(b, h);
    else if (h->wanted && (!t->listed || t->health == ALB_DRAINING))
        judge_lost(b, h);
    else if (h->wanted)
        alb_holder_tell(b, h, alb_state(t->health, h->told.state), t->reason);
}

void alb_holders_judge(struct balancer *b, struct alb_group *g)
{
    struct alb_target *t, *next;
    HASH_ITER (hh, g->targets, t, next) {
        if (alb_target_judgeable(t))
            judge(b, t);
    }
    if (!alb_orphans_leaving(b))
        finish_strangers(b, NULL);
}

/* ---- when to look again ---- */

static int64_t patience(const struct alb_holder *h)
{
    if (h->leaving)
        return h->told.state == TARGET_GONE || !h->let_go ? CALM_MS : AWAITED_MS;
    if (!h->wanted)
        return CALM_MS; /* its registration is awaited first */
    return h->told.state == TARGET_HEALTHY     ? CALM_MS
           : h->told.state == TARGET_UNHEALTHY ? WORRIED_MS
                                               : AWAITED_MS;
}

void alb_holders_schedule(struct balancer *b, struct alb_group *g)
{
    const struct alb_target *t;
    int64_t wait = INT64_MAX;
    bool leaves = false; /* something may make room without our doing */
    for (t = g->targets; t != NULL; t = t->hh.next) {
        leaves |= t->holder == NULL || t->holder->leaving;
        if (t->holder != NULL && patience(t->holder) < wait)
            wait = patience(t->holder);
    }
    bool wanted = leaves && g->wanted_ms > 0 && now(b) < g->wanted_ms + WORRIED_MS;
    bool failing = g->look_problem.code != ERR_NONE && !g->known;
    if ((failing || wanted) && wait > WORRIED_MS)
        wait = WORRIED_MS;
    if (wait != INT64_MAX)
        alb_group_look_in(g, wait);
}
