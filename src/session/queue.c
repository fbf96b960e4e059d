#include "session/queue.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "session/moves.h"

/* ---- who there is ---- */

struct tenant *tenant_find(const struct cleat *core, const char *name)
{
    struct tenant *t = NULL;
    HASH_FIND_STR(core->tenants, name, t);
    return t;
}

struct tenant_user *tenant_find_user(const struct tenant *t, const char *name)
{
    struct tenant_user *u = NULL;
    HASH_FIND_STR(t->users, name, u);
    return u;
}

static struct tenant *tenant_new(struct cleat *core, const char *name)
{
    struct tenant *t = mem_alloc(sizeof(*t));
    t->core = core;
    t->name = mem_strdup(name);
    t->limits = limits_of(core->settings, name);
    TAILQ_INIT(&t->open);
    TAILQ_INIT(&t->over);
    TAILQ_INIT(&t->queue);
    t->lanes = mem_array(core->group_count, sizeof(*t->lanes));
    for (size_t i = 0; i < core->group_count; i++)
        TAILQ_INIT(&t->lanes[i]);
    HASH_ADD_KEYPTR(hh, core->tenants, t->name, strlen(t->name), t);
    return t;
}

struct tenant *tenant_join(struct session *s)
{
    struct tenant *t = tenant_find(s->core, s->context.tenant);
    if (!t)
        t = tenant_new(s->core, s->context.tenant);
    t->sessions++;
    return t;
}

void tenant_leave(struct session *s)
{
    struct tenant *t = s->tenant;
    s->tenant = NULL;
    if (--t->sessions > 0)
        return;
    HASH_DEL(s->core->tenants, t);
    free(t->lanes);
    free(t->name);
    free(t);
}

static struct tenant_user *user_new(struct tenant *t, const char *name)
{
    struct cleat *core = t->core;
    struct tenant_user *u = mem_alloc(sizeof(*u));
    u->tenant = t;
    u->name = mem_strdup(name);
    u->lines = mem_array(core->group_count, sizeof(*u->lines));
    for (size_t i = 0; i < core->group_count; i++) {
        u->lines[i] = (struct line){.tenant = t, .user = u, .group = &core->groups[i]};
        TAILQ_INIT(&u->lines[i].sessions);
    }
    if (!t->users)
        TAILQ_INSERT_TAIL(&core->active, t, active_entry);
    HASH_ADD_KEYPTR(hh, t->users, u->name, strlen(u->name), u);
    return u;
}

static struct tenant_user *user_of(struct session *s)
{
    const char *name = s->context.user ? s->context.user : "";
    if (!s->user)
        s->user = tenant_find_user(s->tenant, name);
    if (!s->user)
        s->user = user_new(s->tenant, name);
    return s->user;
}

/* The session neither waits nor runs any more. */
static void part_from_user(struct session *s)
{
    struct tenant_user *u = s->user;
    if (!u || s->line || s->has_owner_place)
        return;
    s->user = NULL;
    if (u->running + u->queued > 0)
        return;
    HASH_DEL(u->tenant->users, u);
    if (!u->tenant->users)
        TAILQ_REMOVE(&u->tenant->core->active, u->tenant, active_entry);
    free(u->lines);
    free(u->name);
    free(u);
}

/* ---- lines ---- */

static bool is_at_limit(const struct tenant_user *u)
{
    int64_t most = u->tenant->core->settings->user_max_sessions;
    return most > 0 && u->running >= (uint64_t)most;
}

static struct lane *lane_of(const struct line *l)
{
    return &l->tenant->lanes[l->group - l->tenant->core->groups];
}

static uint64_t order_of(const struct line *l)
{
    return TAILQ_FIRST(&l->sessions)->order;
}

/* Puts it where it belongs now, or aside. */
static void settle(struct line *l)
{
    struct lane *lane = lane_of(l);
    if (l->listed)
        TAILQ_REMOVE(lane, l, entry);
    l->listed = !TAILQ_EMPTY(&l->sessions) && !is_at_limit(l->user);
    if (!l->listed)
        return;
    struct line *before = TAILQ_LAST(lane, lane);
    while (before && order_of(before) > order_of(l))
        before = TAILQ_PREV(before, lane, entry);
    if (before)
        TAILQ_INSERT_AFTER(lane, before, l, entry);
    else
        TAILQ_INSERT_HEAD(lane, l, entry);
}

static void settle_all(struct tenant_user *u)
{
    for (size_t i = 0; i < u->tenant->core->group_count; i++)
        settle(&u->lines[i]);
}

/* ---- turns ---- */

/* Least recently served first. */
static void take_turn(struct tenant *t)
{
    struct tenant *before = TAILQ_LAST(&t->core->waiting, tenant_list);
    while (before && before->served > t->served)
        before = TAILQ_PREV(before, tenant_list, entry);
    if (before)
        TAILQ_INSERT_AFTER(&t->core->waiting, before, t, entry);
    else
        TAILQ_INSERT_HEAD(&t->core->waiting, t, entry);
}

/* It waits for its turn as long as sessions of it wait. */
static void consider_turn(struct tenant *t)
{
    bool waits = t->queued > 0;
    if (waits == t->waits)
        return;
    t->waits = waits;
    if (waits)
        take_turn(t);
    else
        TAILQ_REMOVE(&t->core->waiting, t, entry);
}

void tenant_served(struct tenant *t, int64_t when)
{
    t->served = when;
    if (!t->waits)
        return;
    TAILQ_REMOVE(&t->core->waiting, t, entry);
    take_turn(t);
}

/* ---- the queue ---- */

static void count_queued(struct session *s, int by)
{
    unsigned *const counts[] = {&s->core->queued, &s->group->queued, &s->tenant->queued,
                                &s->user->queued};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        *counts[i] += (unsigned)by;
    s->core->ranked = false;
}

/* Sessions come at the end or, when they come back, at the beginning. */
#define INSERT_BY_ORDER(list, s, field)                                                        \
    do {                                                                                       \
        struct session *after = TAILQ_FIRST(list);                                             \
        if (after && (s)->order > TAILQ_LAST(list, session_list)->order)                       \
            after = NULL;                                                                      \
        while (after && after->order < (s)->order)                                             \
            after = TAILQ_NEXT(after, field);                                                  \
        if (after)                                                                             \
            TAILQ_INSERT_BEFORE(after, s, field);                                              \
        else                                                                                   \
            TAILQ_INSERT_TAIL(list, s, field);                                                 \
    } while (0)

void queue_add(struct session *s)
{
    if (s->line)
        return;
    s->line = &user_of(s)->lines[s->group - s->core->groups];
    INSERT_BY_ORDER(&s->tenant->queue, s, queue_entry);
    INSERT_BY_ORDER(&s->line->sessions, s, line_entry);
    count_queued(s, 1);
    moves_begin(s);
    settle(s->line);
    consider_turn(s->tenant);
}

void queue_remove(struct session *s)
{
    struct line *l = s->line;
    if (!l)
        return;
    TAILQ_REMOVE(&s->tenant->queue, s, queue_entry);
    TAILQ_REMOVE(&l->sessions, s, line_entry);
    count_queued(s, -1);
    s->line = NULL;
    settle(l);
    consider_turn(s->tenant);
    part_from_user(s);
}

/* ---- places ---- */

void places_take_container(struct session *s)
{
    if (s->has_container_place)
        return;
    s->has_container_place = true;
    s->core->ranked = false;
    s->core->admitted++;
    s->group->running++;
}

void places_take(struct session *s)
{
    places_take_container(s);
    if (s->has_owner_place)
        return;
    s->has_owner_place = true;
    user_of(s)->running++;
    s->tenant->running++;
    settle_all(s->user);
}

/* Not so when its engine had no room: that says nothing about when there is. */
static bool has_ended(const struct session *s)
{
    return s->state >= SESSION_CLOSING;
}

void places_give_owner(struct session *s)
{
    int64_t now = core_now(s->core);
    if (!s->has_owner_place)
        return;
    s->has_owner_place = false;
    s->core->ranked = false;
    s->tenant->running--;
    s->user->running--;
    if (has_ended(s)) {
        pace_note(&s->tenant->pace, now);
        pace_note(&s->user->pace, now);
    }
    settle_all(s->user);
    part_from_user(s);
}

void places_give_container(struct session *s)
{
    int64_t now = core_now(s->core);
    if (!s->has_container_place)
        return;
    s->has_container_place = false;
    s->core->ranked = false;
    s->core->admitted--;
    s->group->running--;
    if (has_ended(s)) {
        pace_note(&s->core->pace, now);
        pace_note(&s->group->pace, now);
    }
}

void queue_limits_changed(struct cleat *core)
{
    struct tenant *t, *next_tenant;
    struct tenant_user *u, *next_user;
    HASH_ITER (hh, core->tenants, t, next_tenant) {
        t->limits = limits_of(core->settings, t->name);
        HASH_ITER (hh, t->users, u, next_user)
            settle_all(u);
    }
}
