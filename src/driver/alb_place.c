/* Which target group a target goes to. Nothing is decided before the tags and the first listing
 * of all groups are known: what an earlier life of the coordinator registered is found there by
 * its address. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/alb_balancer.h"

#define GROUP_TARGETS_MAX 1000 /* quota "Targets per target group per Region" of an ALB */

void alb_start(struct balancer *b)
{
    if (b->started)
        return;
    b->started = true;
    alb_owners_read(&b->owners);
    for (size_t i = 0; i < b->count; i++)
        alb_group_look(&b->groups[i]);
}

/* Why its owner or its targets are not known; NULL: they are, or will be. */
static const struct error *trouble(const struct alb_group *g)
{
    if (g->owner == ALB_OWNER_OTHER)
        return NULL;
    if (g->owner != ALB_OWNER_OURS && g->tag_problem.code != ERR_NONE)
        return &g->tag_problem;
    return !g->known && g->look_problem.code != ERR_NONE ? &g->look_problem : NULL;
}

/* One that does not exist, or that we may not read, does not hold up the others for ever. */
static bool is_out(const struct alb_group *g)
{
    const struct error *e = trouble(g);
    return g->owner == ALB_OWNER_OTHER || (e != NULL && e->code == ERR_PERMANENT);
}

static bool is_known(const struct alb_group *g)
{
    return is_out(g) || (g->known && g->owner != ALB_OWNER_UNKNOWN);
}

bool alb_all_known(const struct balancer *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (!is_known(&b->groups[i]))
            return false;
    return true;
}

/* ---- choice ---- */

size_t alb_load(const struct alb_group *g)
{
    size_t n = g->reserved;
    for (const struct alb_target *t = g->targets; t != NULL; t = t->hh.next)
        n += !(t->listed && t->health == ALB_DRAINING);
    return n;
}

static bool has_room(const struct balancer *b, const struct alb_group *g)
{
    size_t taken = HASH_COUNT(g->targets) + g->reserved; /* draining ones count */
    if (g->owner != ALB_OWNER_OURS || is_out(g))
        return false;
    return taken < (b->env.class->alb_mode == ALB_SLOT ? 1 : GROUP_TARGETS_MAX);
}

static struct alb_group *choose(struct balancer *b)
{
    struct alb_group *best = NULL;
    for (size_t i = 0; i < b->count; i++) {
        struct alb_group *g = &b->groups[i];
        if (has_room(b, g) && (best == NULL || alb_load(g) < alb_load(best)))
            best = g;
    }
    return best;
}

/* Slots that drain are looked at more often while somebody waits for one. */
static void want_room(struct balancer *b)
{
    for (size_t i = 0; i < b->count; i++) {
        struct alb_group *g = &b->groups[i];
        if (g->owner != ALB_OWNER_OURS)
            continue;
        g->wanted_ms = loop_now_ms(b->env.loop);
        alb_holders_schedule(b, g);
    }
}

static struct alb_target *find_address(const struct balancer *b, const char *ip, uint16_t port)
{
    struct alb_target *found = NULL;
    for (size_t i = 0; i < b->count; i++) {
        const struct alb_group *g = &b->groups[i];
        struct alb_target *t = g->owner == ALB_OWNER_OURS ? alb_target_find(g, ip, port) : NULL;
        bool better =
            t != NULL && (found == NULL || (found->listed && found->health == ALB_DRAINING));
        if (better)
            found = t;
    }
    return found;
}

/* True when it may be decided now. Groups that nobody owns become ours before that. */
static bool is_ready(struct balancer *b)
{
    alb_start(b);
    if (!alb_all_known(b))
        return false;
    alb_owners_claim(&b->owners);
    return !alb_owners_claiming(&b->owners);
}

static void keep_place(struct alb_holder *h, struct alb_group *g)
{
    if (h->group != NULL)
        h->group->reserved--;
    h->group = g;
    if (g != NULL)
        g->reserved++;
}

void alb_bind(struct balancer *b, struct alb_holder *h, const struct target *target)
{
    if (target->target_group == NULL || h->target != NULL)
        return;
    for (size_t i = 0; i < b->count; i++) {
        if (strcmp(b->groups[i].arn, target->target_group) != 0)
            continue;
        keep_place(h, &b->groups[i]);
        h->bound = true;
    }
}

/* Where its address is listed is where it goes, whoever left it there. */
static struct alb_group *find_place(struct balancer *b, const struct alb_holder *h,
                                    const struct target *target)
{
    const struct alb_target *t =
        *target->ip != '\0' ? find_address(b, target->ip, target->port) : NULL;
    if (t != NULL)
        return t->group;
    return h != NULL && h->group != NULL ? h->group : choose(b);
}

bool alb_reserve(struct balancer *b, const struct target *target)
{
    struct alb_holder *h = alb_holder_find(b, target->id);
    if (target->target_group != NULL) {
        h = h != NULL ? h : alb_holder_new(b, target->id);
        alb_bind(b, h, target);
    }
    if (h != NULL && (h->bound || h->target != NULL))
        return true;
    struct alb_group *g = is_ready(b) ? find_place(b, h, target) : NULL;
    if (g == NULL) {
        want_room(b);
        return false;
    }
    keep_place(h != NULL ? h : alb_holder_new(b, target->id), g);
    return true;
}

void alb_unreserve(struct balancer *b, const char *id)
{
    struct alb_holder *h = alb_holder_find(b, id);
    if (h != NULL && *h->ip == '\0')
        alb_holder_free(b, h);
}

/* ---- placing ---- */

/* Nobody may be told that it worked; who adopted it looks again after each listing. */
static void refuse(struct balancer *b, struct alb_holder *h, const struct error *e)
{
    if (h->adopted && h->told.state != TARGET_UNHEALTHY) {
        log_warn("alb.not_put_back", KV("target", h->id), KV("error", e->message));
        alb_holder_tell(b, h, TARGET_UNHEALTHY, "no place in a target group");
    }
    alb_holder_finish(b, h, e);
}

static void explain(const struct balancer *b, struct error *e)
{
    const struct alb_group *other = NULL;
    size_t others = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct error *why = trouble(&b->groups[i]);
        if (why != NULL) {
            *e = *why;
            return;
        }
        if (b->groups[i].owner != ALB_OWNER_OTHER)
            continue;
        others++;
        other = &b->groups[i];
    }
    if (other != NULL && others == b->count)
        error_set(e, ERR_PERMANENT, "target group %s belongs to owner %s", other->name,
                  other->owner_name);
    else
        error_set(e, ERR_CAPACITY, "no target group has room");
}

static bool find_trouble(const struct balancer *b, struct error *e)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct error *why = is_known(&b->groups[i]) ? NULL : trouble(&b->groups[i]);
        if (why == NULL)
            continue;
        *e = *why;
        return true;
    }
    return false;
}

static void put(struct balancer *b, struct alb_holder *h, struct alb_target *t)
{
    bool there = t->listed && t->health != ALB_DRAINING && t->holder == NULL;
    alb_holder_take(b, h, t);
    h->wanted = h->adopted;
    if (h->adopted && there && alb_target_judgeable(t)) {
        alb_holder_tell(b, h, alb_state(t->health, h->told.state), t->reason);
        return;
    }
    if (h->adopted)
        log_warn("alb.put_back", KV("target_group", t->group->name), KV("target", h->id),
                 KV("cause", "it was not registered at the start"));
    h->changed_ms = loop_now_ms(b->env.loop);
    alb_change_want(t, ALB_REGISTER);
}

void alb_place(struct balancer *b, struct alb_holder *h)
{
    struct error e;
    if (!is_ready(b)) {
        if (find_trouble(b, &e))
            refuse(b, h, &e);
        return;
    }
    if (h->group != NULL && h->group->owner != ALB_OWNER_OURS) {
        keep_place(h, NULL);
        h->bound = false;
    }
    struct alb_target *t =
        h->bound ? alb_target_find(h->group, h->ip, h->port) : find_address(b, h->ip, h->port);
    if (t != NULL && t->holder != NULL && !t->holder->leaving) {
        log_warn("alb.address_held", KV("target", h->id), KV("by", t->holder->id));
        error_set(&e, ERR_REGISTER, "%s port %u is still held by another target", h->ip,
                  h->port);
        refuse(b, h, &e);
        return;
    }
    struct alb_group *g = t != NULL ? t->group : h->group != NULL ? h->group : choose(b);
    if (g == NULL) {
        want_room(b);
        explain(b, &e);
        refuse(b, h, &e);
        return;
    }
    put(b, h, t != NULL ? t : alb_target_get(g, h->ip, h->port));
    alb_holders_schedule(b, g);
}

static bool is_waiting(const struct alb_holder *h)
{
    return *h->ip != '\0' && h->target == NULL && !h->leaving &&
           (h->adopted || !STAILQ_EMPTY(&h->waiters));
}

/* Placing one may end others, which leave; never one that waits. */
void alb_place_all(struct balancer *b)
{
    struct alb_holder *h, **waiting = mem_array(HASH_COUNT(b->holders) + 1, sizeof(*waiting));
    size_t count = 0;
    for (h = b->holders; h != NULL; h = h->hh.next)
        if (is_waiting(h))
            waiting[count++] = h;
    for (size_t i = 0; i < count; i++)
        alb_place(b, waiting[i]);
    free(waiting);
}

/* ---- taking out what was placed in an earlier life ---- */

static void hand_on(struct alb_holder *from, struct alb_holder *to)
{
    STAILQ_CONCAT(&to->waiters, &from->waiters);
}

void alb_part(struct balancer *b, struct alb_holder *h)
{
    struct error e;
    if (!alb_all_known(b)) {
        if (!find_trouble(b, &e))
            return;
        alb_holder_finish(b, h, &e);
        alb_holder_free(b, h);
        return;
    }
    struct alb_target *t = find_address(b, h->ip, h->port);
    if (t == NULL || !t->listed) {
        alb_holder_end(b, h, "not listed");
    } else if (t->holder == NULL) {
        alb_holder_take(b, h, t);
        alb_change_want(t, ALB_DEREGISTER);
    } else if (t->holder->leaving && !t->holder->let_go) { /* as an orphan */
        hand_on(h, t->holder);
        alb_holder_end(b, h, "on its way out");
    } else {
        alb_holder_end(b, h, "its address has a new holder");
    }
}

void alb_part_all(struct balancer *b)
{
    struct alb_holder *h, *next;
    HASH_ITER (hh, b->holders, h, next)
        if (h->leaving && h->target == NULL && *h->ip != '\0')
            alb_part(b, h);
}
