/* After a start: adopt what rows own, go on with it, and close what nobody owns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/attempt.h"
#include "session/config.h"
#include "session/gate.h"
#include "session/launch.h"
#include "session/recovery.h"
#include "session/session.h"

#define ORPHAN_GRACE_MS 10000
#define ORPHAN_RETRY_MS 30000
#define RELIST_MS 5000
#define LISTS 2 /* of a group: its containers and its targets */

/* A container under our label that no attempt owns. */
struct orphan {
    TAILQ_ENTRY(orphan) entry;
    struct group *group;
    struct container container;
    struct timer timer;
};

static void wake_all(struct cleat *core)
{
    struct session *s;
    TAILQ_FOREACH (s, &core->sessions, entry)
        session_wake(s);
}

/* ---- orphans ---- */

static void orphan_free(struct orphan *o)
{
    TAILQ_REMOVE(&o->group->core->orphans, o, entry);
    timer_stop(&o->timer);
    free(o);
}

static void orphan_stopped(void *arg, const struct error *e)
{
    struct orphan *o = arg;
    if (e && e->code != ERR_NONE) {
        log_warn("orphan.retry", KV("container", o->container.id), KV("error", e->message));
        timer_arm(&o->timer, ORPHAN_RETRY_MS);
        return;
    }
    /* Its address stays reserved until the next start: nobody here knows what still routes to
     * it. */
    log_info("orphan.closed", KV("container", o->container.id));
    orphan_free(o);
}

/* Closed, not killed: asked to end, a container uploads what it has first. */
static void orphan_close(void *arg)
{
    struct orphan *o = arg;
    o->group->runtime_ops->stop(o->group->runtime, &o->container, false, orphan_stopped, o);
}

static bool is_known_orphan(const struct cleat *core, const char *id)
{
    const struct orphan *o;
    TAILQ_FOREACH (o, &core->orphans, entry)
        if (strcmp(o->container.id, id) == 0)
            return true;
    return false;
}

static void add_orphan(struct group *g, const struct container *c)
{
    struct cleat *core = g->core;
    if (is_known_orphan(core, c->id))
        return;
    if (core->journal_was_empty) {
        log_error("orphan.left", KV("container", c->id),
                  KV("cause", "the journal is empty; nothing is closed on its word alone"));
        return;
    }
    struct orphan *o = mem_alloc(sizeof(*o));
    o->group = g;
    o->container = *c;
    timer_init(&o->timer, core->loop, orphan_close, o);
    timer_arm(&o->timer, ORPHAN_GRACE_MS);
    TAILQ_INSERT_TAIL(&core->orphans, o, entry);
    log_warn("orphan.found", KV("container", c->id), KI("grace_ms", ORPHAN_GRACE_MS));
    g->runtime_ops->adopt(g->runtime, c);
}

/* ---- what the drivers hold ---- */

static void on_container(void *arg, const char *key, const struct container *c, bool alive,
                         const char *label)
{
    struct group *g = arg;
    (void)label;
    struct attempt *a = core_find_attempt(g->core, key);
    if (a && a->session->group != g)
        return;
    if (!a || attempt_has_ended(a)) {
        if (alive)
            add_orphan(g, c);
        return;
    }
    if (a->launch_op.state == OP_RUNNING)
        return; /* its outcome is on the way */
    if (a->launched && strcmp(a->container.id, c->id) != 0) {
        if (alive)
            add_orphan(g, c);
        return;
    }
    /* Without an address it is still on its way: its launch is asked for again, which leads to
     * the same one; unless it is to end, for which its name is enough. */
    if (a->launched || (!*c->ip && !attempt_is_ending(a)))
        return;
    log_info("container.adopted", KV("session", a->session->id), KV("container", c->id));
    a->container = *c;
    a->launched = true;
    launch_forget_prepared(a);
    attempt_dirty(a);
    g->runtime_ops->adopt(g->runtime, c);
}

/* What is listed late counts from the newest listing that failed. */
static void list_soon(struct group *g)
{
    g->relists = 0;
    timer_arm(&g->relist, RELIST_MS);
}

/* What failed is found again by the next listing. */
static void orphan_target_removed(void *arg, const struct error *e)
{
    struct group *g = arg;
    if (!e || e->code == ERR_NONE)
        return;
    log_warn("target.remove", KV("error", e->message));
    list_soon(g);
}

static void on_listed_target(void *arg, const struct target *t, enum target_state state)
{
    struct group *g = arg;
    struct attempt *a = core_find_attempt(g->core, t->id);
    (void)state;
    if (a && !attempt_has_ended(a))
        return;
    if (!a && g->core->journal_was_empty)
        return;
    log_warn("target.orphan", KV("target", t->id));
    g->balancer_ops->remove(g->balancer, t, orphan_target_removed, g);
}

/* Both lists are one call: whichever fails, nothing can be concluded. */
static void tell_breaker(struct group *g)
{
    struct error e = {0};
    if (*g->trouble) {
        error_set(&e, ERR_LAUNCH, "%s", g->trouble);
        e.of_engine = true;
    }
    gate_note(g, DRIVER_LIST, g->list_trial, &e);
}

static void listed(void *arg, const struct error *e)
{
    struct group *g = arg;
    struct cleat *core = g->core;
    if (e && e->code != ERR_NONE) {
        log_warn("recovery.list", KV("class", g->class->name), KV("error", e->message));
        mem_copy_string(g->trouble, sizeof(g->trouble), e->message);
        list_soon(g);
    }
    if (--g->lists == 0)
        tell_breaker(g);
    if (g->first_lists == 0)
        return;
    g->first_lists--;
    if (--core->listing == 0)
        wake_all(core);
}

/* A remote engine may list late what was launched right before the crash; after five minutes
 * ECS has said all (Amazon ECS API Reference, eventual consistency of DescribeTasks). */
static void list_again_later(struct group *g)
{
    static const int64_t waits_ms[] = {20000, 60000, 240000};
    if (g->runtime_ops->prepare && g->relists < sizeof(waits_ms) / sizeof(waits_ms[0]))
        timer_arm(&g->relist, waits_ms[g->relists++]);
}

static void list(void *group)
{
    struct group *g = group;
    int64_t when;
    if (g->lists > 0) { /* one at a time, however long an engine takes */
        timer_arm(&g->relist, RELIST_MS);
        return;
    }
    if (!gate_admits(g, DRIVER_LIST, &g->list_trial, &when)) {
        timer_arm(&g->relist, when - core_now(g->core));
        return;
    }
    g->lists = LISTS;
    g->trouble[0] = '\0';
    list_again_later(g);
    g->runtime_ops->list(g->runtime, on_container, listed, g);
    g->balancer_ops->list(g->balancer, on_listed_target, listed, g);
}

/* ---- what the rows own ---- */

/* What is not registered yet keeps its place before anything new asks for one. */
static void keep_places(struct cleat *core)
{
    struct session *s;
    struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (a->state < ATTEMPT_CHECKING)
                launch_owe_place(a);
}

static void adopt(struct attempt *a)
{
    struct session *s = a->session;
    struct group *g = s->group;
    if (a->state == ATTEMPT_ENDED)
        return;
    if (a->launched)
        g->runtime_ops->adopt(g->runtime, &a->container);
    bool ending = attempt_is_ending(a);
    bool needs_route = ending && !a->direct && a->cleanup.upload < STEP_OK; /* for its upload */
    if (a->registered && a->state >= ATTEMPT_CHECKING && (!ending || needs_route))
        g->balancer_ops->adopt(
            g->balancer,
            &(struct target){.id = a->key, .ip = a->container.ip, .port = a->container.port});
    if (a->state == ATTEMPT_LIVE || a->state == ATTEMPT_STAGING)
        attempt_go(a, ATTEMPT_ROUTING); /* confirmed again before it is used */
}

static void resume(struct session *s)
{
    struct cleat *core = s->core;
    struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry) {
        adopt(a);
        if (!attempt_is_ending(a))
            s->attempt = a;
    }
    if (session_is_over(s)) {
        s->counted = true;
        core->closed++;
        return;
    }
    if (s->state == SESSION_QUEUED) {
        session_enqueue(s);
        return;
    }
    s->admitted = true;
    core->admitted++;
    s->used = core_now(core); /* uses are not stored one by one: count from here */
    if (s->state == SESSION_READY || s->state == SESSION_BUSY)
        session_go(s, SESSION_REROUTING);
}

void recovery_start(struct cleat *core)
{
    struct session *s;
    TAILQ_FOREACH (s, &core->sessions, entry)
        resume(s);
    keep_places(core);
    core->listing = (unsigned)(LISTS * core->group_count);
    for (size_t i = 0; i < core->group_count; i++) {
        struct group *g = &core->groups[i];
        g->first_lists = LISTS;
        timer_init(&g->relist, core->loop, list, g);
        list(g);
    }
    wake_all(core);
}

void recovery_free(struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        timer_stop(&core->groups[i].relist);
    while (!TAILQ_EMPTY(&core->orphans))
        orphan_free(TAILQ_FIRST(&core->orphans));
}
