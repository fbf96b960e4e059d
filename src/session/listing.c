#include "session/listing.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/event.h"
#include "session/gate.h"
#include "session/launch.h"
#include "session/past.h"
#include "session/reaper.h"
#include "session/session.h"

#define RETRY_MS 5000
#define LISTS 2 /* of a group: its containers and its targets */

struct listing {
    struct group *group;
    struct timer timer;
    bool first, failed, trial;
    bool again;       /* asked for while one was under way */
    unsigned running; /* lists under way */
    unsigned early;   /* of those soon after a start, begun so far */
    bool whole;       /* one has succeeded that misses nothing of before the start */
    uint64_t done;    /* number of the newest that is over */
    struct listed listed;
    size_t container_capacity, target_capacity;
};

static void wake_all(struct cleat *core)
{
    struct session *s;
    TAILQ_FOREACH (s, &core->sessions, entry)
        session_wake(s);
}

static void forget(struct listing *l)
{
    struct listed *all = &l->listed;
    for (size_t i = 0; i < all->container_count; i++)
        free(all->containers[i].label);
    free(all->containers);
    free(all->targets);
    *all = (struct listed){0};
    l->container_capacity = l->target_capacity = 0;
}

/* ---- what the drivers tell ---- */

/* Without an address it is still on its way: its launch is asked for again, which leads to the
 * same one; unless it is to end, for which its name is enough. */
static bool is_awaited(const struct attempt *a, const struct container *c)
{
    if (a->launch_op.state == OP_RUNNING || a->launched || a->cleanup.stop >= STEP_OK)
        return false;
    return *c->ip || attempt_is_ending(a);
}

static void give_to_attempt(struct group *g, const char *key, const struct container *c)
{
    struct attempt *a = core_find_attempt(g->core, key);
    if (!a || attempt_has_ended(a) || a->session->group != g || !is_awaited(a, c))
        return;
    log_info("container.adopted", KV("session", a->session->id), KV("container", c->id));
    event_emit(a->session, "container.adopted", KI("attempt", a->number),
               KV("container", c->id));
    a->container = *c;
    a->launched = true;
    launch_forget_prepared(a);
    attempt_dirty(a);
    g->runtime_ops->adopt(g->runtime, c);
}

static void on_container(void *arg, const char *key, const struct container *c, bool alive,
                         const char *label)
{
    struct listing *l = arg;
    struct listed *all = &l->listed;
    give_to_attempt(l->group, key, c);
    if (all->container_count == l->container_capacity) {
        l->container_capacity = l->container_capacity ? 2 * l->container_capacity : 16;
        all->containers =
            mem_grow(all->containers, l->container_capacity * sizeof(*all->containers));
    }
    struct listed_container *to = &all->containers[all->container_count++];
    *to =
        (struct listed_container){.container = *c, .alive = alive, .label = mem_strdup(label)};
    mem_copy_string(to->key, sizeof(to->key), key);
}

static void on_target(void *arg, const struct target *t, enum target_state state)
{
    struct listing *l = arg;
    struct listed *all = &l->listed;
    (void)state;
    if (all->target_count == l->target_capacity) {
        l->target_capacity = l->target_capacity ? 2 * l->target_capacity : 16;
        all->targets = mem_grow(all->targets, l->target_capacity * sizeof(*all->targets));
    }
    struct listed_target *to = &all->targets[all->target_count++];
    *to = (struct listed_target){.port = t->port};
    mem_copy_string(to->id, sizeof(to->id), t->id);
    mem_copy_string(to->ip, sizeof(to->ip), t->ip);
}

/* ---- one after the other ---- */

/* A remote engine may list late what was launched right before a crash; after five minutes ECS
 * has said all (Amazon ECS API Reference, eventual consistency of DescribeTasks). What is
 * listed late counts from the newest listing that failed. */
static const int64_t early_ms[] = {20000, 60000, 240000};

static bool is_early(const struct listing *l)
{
    return l->group->runtime_ops->prepare && l->early < sizeof(early_ms) / sizeof(early_ms[0]);
}

static int64_t next_wait(struct listing *l)
{
    const struct group *g = l->group;
    if (l->again)
        return 0;
    if (l->failed) {
        l->early = 0;
        return RETRY_MS;
    }
    int64_t wait = g->core->settings->reap_interval_s * 1000;
    if (is_early(l)) {
        int64_t early = early_ms[l->early++];
        wait = early < wait ? early : wait;
    }
    int64_t ripe = reaper_wait_ms(g);
    return ripe < wait ? ripe : wait;
}

static void note_whole(struct listing *l)
{
    const struct cleat *core = l->group->core;
    l->whole |= !l->failed && !is_early(l);
    for (size_t i = 0; i < core->group_count; i++)
        if (!core->groups[i].listing->whole)
            return;
    past_all_listed(l->group->core);
}

/* Both lists are one call: whichever fails, nothing can be concluded. */
static void tell_breaker(struct listing *l)
{
    struct error e = {0};
    if (l->failed) {
        error_set(&e, ERR_LAUNCH, "%s", l->group->trouble);
        e.of_engine = true;
    }
    gate_note(l->group, DRIVER_LIST, l->trial, &e);
}

static void finish(struct listing *l)
{
    struct group *g = l->group;
    struct cleat *core = g->core;
    tell_breaker(l);
    l->done = l->listed.number;
    if (!l->failed) {
        if (g->trouble[0])
            event_emit_core(core, "listing.works", KV("class", g->class->name));
        g->trouble[0] = '\0';
        g->listed = l->listed.number;
        reaper_compare(g, &l->listed);
    }
    forget(l);
    note_whole(l);
    timer_arm(&l->timer, next_wait(l));
    if (l->first && --core->listing == 0)
        wake_all(core);
    l->first = false;
    reaper_consider(core);
    calls_answer_reaped(core);
}

static void listed(void *arg, const struct error *e)
{
    struct listing *l = arg;
    struct group *g = l->group;
    if (e && e->code != ERR_NONE) {
        log_warn("listing.failed", KV("class", g->class->name), KV("error", e->message));
        if (!g->trouble[0])
            event_emit_core(g->core, "listing.failed", KV("class", g->class->name),
                            KV("error", e->message));
        mem_copy_string(g->trouble, sizeof(g->trouble), e->message);
        l->failed = true;
    }
    if (--l->running == 0)
        finish(l);
}

static void list(void *arg)
{
    struct listing *l = arg;
    struct group *g = l->group;
    int64_t when;
    if (!gate_admits(g, DRIVER_LIST, &l->trial, &when)) {
        l->done = ++g->core->listings; /* failed, without asking */
        timer_arm(&l->timer, when - core_now(g->core));
        calls_answer_reaped(g->core);
        return;
    }
    l->running = LISTS;
    l->failed = l->again = false;
    l->listed.asked_at = core_now(g->core);
    l->listed.number = ++g->core->listings;
    g->runtime_ops->list(g->runtime, on_container, listed, l);
    g->balancer_ops->list(g->balancer, on_target, listed, l);
}

void listings_ask(struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++) {
        struct listing *l = core->groups[i].listing;
        if (l->running > 0)
            l->again = true;
        else
            timer_arm(&l->timer, 0);
    }
}

bool listings_done_since(const struct cleat *core, uint64_t number)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (core->groups[i].listing->done <= number)
            return false;
    return true;
}

void listings_start(struct cleat *core)
{
    core->listing = (unsigned)core->group_count;
    for (size_t i = 0; i < core->group_count; i++) {
        struct listing *l = core->groups[i].listing = mem_alloc(sizeof(*l));
        l->group = &core->groups[i];
        l->first = true;
        timer_init(&l->timer, core->loop, list, l);
        list(l);
    }
}

void listings_free(struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++) {
        struct listing *l = core->groups[i].listing;
        if (!l)
            continue;
        timer_stop(&l->timer);
        forget(l);
        free(l);
        core->groups[i].listing = NULL;
    }
}
