#include "session/admission.h"

#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "session/drain.h"
#include "session/queue.h"
#include "session/session.h"
#include "session/warm.h"

#define CAPACITY_CAP_MS (30 * 1000) /* places may come free at any time */
#define ADMITTED_PER_TURN 256
#define RETRY_AFTER_MAX_S 300

/* ---- limits ---- */

/* Who asks, as far as anybody knows of him: NULL: he has no session. */
struct asker {
    struct cleat *core;
    unsigned warm; /* containers that are there for him, whatever room the engine has */
    const struct tenant *tenant;
    const struct tenant_user *user;
    const struct group *group;
    struct tenant_limits own;
};

static bool is_reached(unsigned count, int64_t limit)
{
    return limit > 0 && count >= (uint64_t)limit;
}

static bool lacks_capacity(const struct group *g)
{
    return g->refusals > 0 && core_now(g->core) < g->room_at;
}

/* A claim needs no room. One that the journal does not hold yet takes none. */
static bool may_claim(const struct session *s)
{
    return s->stored && warm_life_s(s) <= s->group->offer_s;
}

static void count_offers(struct group *g)
{
    g->offer_s = g->refusals > 0 && g->queued > 0 ? warm_offer(g) : 0;
}

/* The narrowest limit first: it is the one that tells the asker most. */
static enum limit obstacle(const struct asker *a)
{
    const struct settings *set = a->core->settings;
    if (a->user && is_reached(a->user->running, set->user_max_sessions))
        return LIMIT_USER_SESSIONS;
    if (a->tenant && is_reached(a->tenant->running, a->own.sessions))
        return LIMIT_TENANT_SESSIONS;
    if (is_reached(a->group->running, a->group->class->max_parallel))
        return LIMIT_PARALLEL;
    if (lacks_capacity(a->group) && a->warm == 0)
        return LIMIT_CAPACITY;
    if (is_reached(a->core->admitted, set->max_sessions))
        return LIMIT_SESSIONS;
    return LIMIT_NONE;
}

static enum limit queue_overflow(const struct asker *a)
{
    const struct settings *set = a->core->settings;
    if (a->user && is_reached(a->user->queued, set->user_max_queued))
        return LIMIT_USER_QUEUED;
    if (a->tenant && is_reached(a->tenant->queued, a->own.queued))
        return LIMIT_TENANT_QUEUED;
    if (is_reached(a->group->queued, a->group->class->max_queued))
        return LIMIT_CLASS_QUEUED;
    if (a->core->queued >= (uint64_t)set->max_queued) /* 0: nobody waits */
        return LIMIT_QUEUED;
    return LIMIT_NONE;
}

enum limit admission_obstacle(const struct session *s)
{
    return obstacle(&(struct asker){.core = s->core,
                                    .tenant = s->tenant,
                                    .user = s->user,
                                    .group = s->group,
                                    .own = s->tenant->limits});
}

/* ---- admission ---- */

static struct session *first_claimant(const struct line *l)
{
    struct session *s;
    TAILQ_FOREACH (s, &l->sessions, line_entry)
        if (may_claim(s))
            break;
    return s;
}

/* The first session of a lane that a container is there for, or may be launched for. */
static struct session *first_in(const struct lane *lane, const struct group *g)
{
    const struct line *l = TAILQ_FIRST(lane);
    struct session *first = NULL;
    if (!lacks_capacity(g))
        return l ? TAILQ_FIRST(&l->sessions) : NULL;
    if (g->offer_s > 0)
        TAILQ_FOREACH (l, lane, entry) {
            struct session *s = first_claimant(l);
            if (s && (!first || s->order < first->order))
                first = s;
        }
    return first;
}

/* Whatever its sessions ask for. */
static bool is_held_up(const struct tenant *t)
{
    return is_reached(t->running, t->limits.sessions) || drain_covers(t->core, t->name, NULL);
}

/* The first session of a tenant that fits. */
static struct session *first_of(const struct tenant *t)
{
    struct cleat *core = t->core;
    struct session *first = NULL;
    if (is_held_up(t))
        return NULL;
    for (size_t i = 0; i < core->group_count; i++) {
        const struct group *g = &core->groups[i];
        if (is_reached(g->running, g->class->max_parallel))
            continue;
        struct session *s = first_in(&t->lanes[i], g);
        if (s && (!first || s->order < first->order))
            first = s;
    }
    return first;
}

static struct session *next_of_all(const struct cleat *core)
{
    const struct tenant *t;
    struct session *s = NULL;
    if (is_reached(core->admitted, core->settings->max_sessions))
        return NULL;
    TAILQ_FOREACH (t, &core->waiting, entry)
        if ((s = first_of(t)))
            break;
    return s;
}

static int64_t capacity_backoff_ms(const struct group *g)
{
    return backoff_ms(g->class->backoff_base_ms, g->refusals, CAPACITY_CAP_MS);
}

static void see_whether_there_is_room(struct group *g)
{
    g->room_at = core_now(g->core) + capacity_backoff_ms(g);
    g->tried = g->core->served;
}

static void admit(struct session *s)
{
    struct cleat *core = s->core;
    struct group *g = s->group;
    int64_t now = core_now(core);
    core->served = now > core->served ? now : core->served + 1;
    places_take(s);
    tenant_served(s->tenant, core->served);
    core->counters.admissions++;
    session_go(s, SESSION_OPENING);
    if (g->refusals > 0 && !(may_claim(s) && warm_claim(s)))
        see_whether_there_is_room(g);
    count_offers(g);
}

/* Wakes when the engine of a class that lacks room is to be tried again. */
static void arm(struct cleat *core)
{
    int64_t now = core_now(core), at = 0;
    for (size_t i = 0; i < core->group_count; i++) {
        const struct group *g = &core->groups[i];
        if (g->queued > 0 && lacks_capacity(g) && (at == 0 || g->room_at < at))
            at = g->room_at;
    }
    if (at > 0)
        timer_arm(&core->admission_timer, at - now);
    else
        timer_stop(&core->admission_timer);
}

static void run(void *arg)
{
    struct cleat *core = arg;
    struct session *s = NULL;
    core->admission_due = false;
    for (size_t i = 0; i < core->group_count; i++)
        count_offers(&core->groups[i]);
    for (int i = 0; i < ADMITTED_PER_TURN && (s = next_of_all(core)); i++)
        admit(s);
    if (s)
        admission_wake(core);
    arm(core);
}

void admission_wake(struct cleat *core)
{
    core->admission_due = true;
    task_wake(&core->admission_task);
}

static void on_timer(void *core)
{
    admission_wake(core);
}

void admission_init(struct cleat *core)
{
    TAILQ_INIT(&core->waiting);
    TAILQ_INIT(&core->active);
    task_init(&core->admission_task, core->loop, run, core);
    timer_init(&core->admission_timer, core->loop, on_timer, core);
}

void admission_stop(struct cleat *core)
{
    task_stop(&core->admission_task);
    timer_stop(&core->admission_timer);
}

void admission_limits_changed(struct cleat *core)
{
    queue_limits_changed(core);
    core->ranked = false;
    admission_wake(core);
}

void admission_recall(const struct session *s)
{
    struct cleat *core = s->core;
    if (s->opened > s->tenant->served)
        tenant_served(s->tenant, s->opened);
    if (s->opened > core->served)
        core->served = s->opened;
}

/* ---- refusal ---- */

/* When the limit lets one more pass: those who wait already go first. 0: nothing is known. */
static int64_t expected(const struct asker *a, enum limit limit)
{
    const struct pace *pace = NULL;
    unsigned ahead = 0;
    if (limit == LIMIT_CAPACITY)
        return a->group->room_at;
    if (limit == LIMIT_USER_SESSIONS || limit == LIMIT_USER_QUEUED) {
        pace = &a->user->pace;
        ahead = a->user->queued;
    } else if (limit == LIMIT_TENANT_SESSIONS || limit == LIMIT_TENANT_QUEUED) {
        pace = &a->tenant->pace;
        ahead = a->tenant->queued;
    } else if (limit == LIMIT_PARALLEL || limit == LIMIT_CLASS_QUEUED) {
        pace = &a->group->pace;
        ahead = a->group->queued;
    } else if (limit == LIMIT_SESSIONS || limit == LIMIT_QUEUED) {
        pace = &a->core->pace;
        ahead = a->core->queued;
    }
    if (limit >= LIMIT_QUEUED) /* it is to wait itself: one of them must go */
        ahead = 0;
    return pace ? pace_expect(pace, (int64_t)ahead + 1, core_now(a->core)) : 0;
}

static const char *const refusals[LIMITS] = {
    [LIMIT_SESSIONS] = "all places are taken",
    [LIMIT_TENANT_SESSIONS] = "this tenant has as many sessions as it may",
    [LIMIT_USER_SESSIONS] = "this user has as many sessions as he may",
    [LIMIT_PARALLEL] = "all places of the class are taken",
    [LIMIT_CAPACITY] = "the engine of the class has no room",
    [LIMIT_QUEUED] = "the queue is full",
    [LIMIT_TENANT_QUEUED] = "as many sessions of this tenant wait as may",
    [LIMIT_USER_QUEUED] = "as many sessions of this user wait as may",
    [LIMIT_CLASS_QUEUED] = "the queue of the class is full",
    [LIMIT_CLOSED] = "no more closed sessions can be remembered"};

static enum error_code refuse(const struct asker *a, enum limit limit, struct error *e)
{
    int64_t at = expected(a, limit);
    a->core->counters.refused[limit]++;
    error_set(e, ERR_FULL, "%s%s", refusals[limit],
              limit < LIMIT_QUEUED ? ", and it was not to wait" : "");
    e->reason = limit_names[limit];
    if (at > 0) {
        int64_t s = (at - core_now(a->core) + 999) / 1000;
        e->retry_after_s = s < 1 ? 1 : s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (int)s;
    }
    return e->code;
}

/* They came before, and are given what is there as soon as the journal holds them. */
static unsigned about_to_claim(const struct group *g)
{
    const struct tenant *t;
    const struct session *s;
    unsigned count = 0;
    TAILQ_FOREACH (t, &g->core->waiting, entry)
        TAILQ_FOREACH (s, &t->queue, queue_entry)
            count += s->group == g && !s->stored;
    return count;
}

enum error_code admission_check(struct cleat *core, const char *tenant, const char *user,
                                const struct group *g, int64_t life_s, bool no_queue,
                                struct error *e)
{
    struct asker a = {.core = core, .group = g, .own = limits_of(core->settings, tenant)};
    while (core->admission_due) /* who came before goes before */
        run(core);
    unsigned warm = lacks_capacity(g) ? warm_offers(g, life_s) : 0;
    unsigned promised = warm > 0 ? about_to_claim(g) : 0;
    a.warm = warm > promised ? warm - promised : 0;
    a.tenant = tenant_find(core, tenant);
    a.user = a.tenant ? tenant_find_user(a.tenant, user ? user : "") : NULL;
    if (is_reached(core->closed, core->settings->max_closed))
        return refuse(&a, LIMIT_CLOSED, e);
    enum limit limit = obstacle(&a);
    if (limit != LIMIT_NONE && !no_queue)
        limit = queue_overflow(&a);
    return limit == LIMIT_NONE ? ERR_NONE : refuse(&a, limit, e);
}

/* ---- the engine's room ---- */

void admission_return(struct session *s, const struct error *e)
{
    struct group *g = s->group;
    int64_t now = core_now(s->core);
    if (g->refusals == 0 || s->opened > g->refused_at) { /* many at once say it once */
        g->refusals++;
        g->refused_at = now;
        g->room_at = now + capacity_backoff_ms(g);
    }
    s->core->counters.returns++;
    log_warn("admission.no_room", KV("session", s->id), KV("class", g->class->name),
             KI("wait_ms", g->room_at - now), KV("error", e->message));
    session_go(s, SESSION_QUEUED);
}

void admission_has_room(struct group *g)
{
    if (g->refusals == 0)
        return;
    g->refusals = 0;
    admission_wake(g->core);
}

bool admission_awaits_room(const struct group *g)
{
    const struct cleat *core = g->core;
    const struct tenant *t;
    if (g->refusals == 0 || g->queued == 0 || is_reached(g->running, g->class->max_parallel) ||
        is_reached(core->admitted, core->settings->max_sessions))
        return false;
    TAILQ_FOREACH (t, &core->waiting, entry)
        if (!TAILQ_EMPTY(&t->lanes[g - core->groups]) && !is_held_up(t))
            return true;
    return false;
}

/* Of the classes that may have this one's room and wait for some, the one that saw longest ago
 * whether there is any. */
static struct group *next_to_see(const struct group *g)
{
    struct cleat *core = g->core;
    struct group *next = NULL;
    for (size_t i = 0; i < core->group_count; i++) {
        struct group *other = &core->groups[i];
        bool waits = lacks_capacity(other) && class_shares_engine(g->class, other->class) &&
                     admission_awaits_room(other);
        if (waits && (!next || other->tried < next->tried))
            next = other;
    }
    return next;
}

/* One goes to see. When nobody waits, whoever comes next does. */
void admission_freed(const struct group *g)
{
    struct cleat *core = g->core;
    const struct group *next = next_to_see(g);
    for (size_t i = 0; i < core->group_count; i++) {
        struct group *other = &core->groups[i];
        if (lacks_capacity(other) && class_shares_engine(g->class, other->class) &&
            (!next || other == next)) {
            other->room_at = core_now(core);
            admission_wake(core);
        }
    }
}

/* ---- for operators ---- */

json_t *admission_status(const struct cleat *core)
{
    json_t *refused = json_object();
    for (int i = 1; i < LIMITS; i++)
        json_object_set_new(refused, limit_names[i],
                            json_integer((json_int_t)core->counters.refused[i]));
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:o}", "running", (int)core->admitted, "queued",
                     (int)core->queued, "admitted", (json_int_t)core->counters.admissions,
                     "returned", (json_int_t)core->counters.returns, "timed_out",
                     (json_int_t)core->counters.queue_timeouts, "refused", refused);
}
