#include "session/position.h"

#include <stdlib.h>
#include "base/mem.h"
#include "session/admission.h"
#include "session/document.h"
#include "session/queue.h"

/* ---- ranks ---- */

static bool fits(int64_t limit, unsigned running, unsigned ranked)
{
    return limit == 0 || running + ranked < (uint64_t)limit;
}

/* With all that are ranked before it running. */
static bool is_held_up(const struct session *s)
{
    const struct settings *set = s->core->settings;
    const struct group *g = s->group;
    return g->refusals > 0 || !fits(g->class->max_parallel, g->running, g->ranked) ||
           !fits(s->tenant->limits.sessions, s->tenant->running, s->tenant->ranked) ||
           !fits(set->user_max_sessions, s->user->running, s->user->ranked);
}

static void give_rank(struct session *s, unsigned all)
{
    s->rank = (struct session_rank){.all = all,
                                    .in_class = ++s->group->ranked,
                                    .in_tenant = ++s->tenant->ranked,
                                    .with_user = ++s->user->ranked};
}

/* The next one of a tenant in this round, from s on. */
static struct session *find(struct session *s, bool held_up)
{
    while (s && (s->rank.all > 0 || (!held_up && is_held_up(s))))
        s = TAILQ_NEXT(s, queue_entry);
    return s;
}

/* Tenants take turns until none has another one. */
static unsigned rank_all(struct session **next, size_t tenants, bool held_up, unsigned all)
{
    while (tenants > 0) {
        size_t left = 0;
        for (size_t i = 0; i < tenants; i++) {
            struct session *s = find(next[i], held_up);
            if (!s)
                continue;
            give_rank(s, ++all);
            next[left++] = TAILQ_NEXT(s, queue_entry);
        }
        tenants = left;
    }
    return all;
}

static size_t first_of_each(const struct cleat *core, struct session **next)
{
    const struct tenant *t;
    size_t count = 0;
    TAILQ_FOREACH (t, &core->waiting, entry)
        next[count++] = TAILQ_FIRST(&t->queue);
    return count;
}

static void forget_ranks(struct cleat *core)
{
    struct tenant *t;
    struct session *s;
    for (size_t i = 0; i < core->group_count; i++)
        core->groups[i].ranked = 0;
    TAILQ_FOREACH (t, &core->waiting, entry) {
        t->ranked = 0;
        TAILQ_FOREACH (s, &t->queue, queue_entry) {
            s->rank = (struct session_rank){0};
            s->user->ranked = 0;
        }
    }
}

void position_rank(struct cleat *core)
{
    if (core->ranked)
        return;
    struct session **next = mem_array(core->queued + 1, sizeof(struct session *));
    forget_ranks(core);
    unsigned all = rank_all(next, first_of_each(core, next), false, 0);
    rank_all(next, first_of_each(core, next), true, all);
    free(next);
    core->ranked = true;
}

/* ---- expectation ---- */

int64_t position_needs(int64_t limit, unsigned running, unsigned rank)
{
    int64_t needs = (int64_t)running + rank - limit;
    return limit > 0 && needs > 0 ? needs : 0;
}

/* When it is expected to be admitted, core time; 0: nothing is known. */
static int64_t expect(const struct session *s)
{
    const struct cleat *core = s->core;
    const struct group *g = s->group;
    const struct {
        const struct pace *pace;
        int64_t needs;
    } scopes[] = {
        {&core->pace,
         position_needs(core->settings->max_sessions, core->admitted, s->rank.all)},
        {&g->pace, position_needs(g->class->max_parallel, g->running, s->rank.in_class)},
        {&s->tenant->pace,
         position_needs(s->tenant->limits.sessions, s->tenant->running, s->rank.in_tenant)},
        {&s->user->pace, position_needs(core->settings->user_max_sessions, s->user->running,
                                        s->rank.with_user)}};
    int64_t now = core_now(core), latest = now;
    if (g->refusals > 0) /* nobody says when an engine has room */
        return 0;
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        int64_t at =
            scopes[i].needs > 0 ? pace_expect(scopes[i].pace, scopes[i].needs, now) : now;
        if (at == 0)
            return 0;
        if (at > latest)
            latest = at;
    }
    return latest;
}

/* ---- documents ---- */

json_t *position_document(const struct session *s)
{
    if (s->state != SESSION_QUEUED || !s->line)
        return json_null();
    position_rank(s->core);
    const char *reason = limit_names[admission_obstacle(s)];
    int64_t at = expect(s);
    return json_pack("{s:i, s:i, s:o, s:o}", "position", (int)s->rank.all, "ahead",
                     (int)s->rank.all - 1, "estimated_start_at",
                     at > 0 ? document_time(at) : json_null(), "reason",
                     reason ? json_string(reason) : json_null());
}

const char *position_waits_for(const struct session *s)
{
    static const char *const texts[LIMITS] = {
        [LIMIT_NONE] = "its turn",
        [LIMIT_SESSIONS] = "a place among max_sessions",
        [LIMIT_TENANT_SESSIONS] = "a place among its tenant's tenant_max_sessions",
        [LIMIT_USER_SESSIONS] = "a place among its user's user_max_sessions",
        [LIMIT_PARALLEL] = "a place among its class's max_parallel",
        [LIMIT_CAPACITY] = "capacity"};
    if (s->state != SESSION_QUEUED || !s->line)
        return "";
    enum limit limit = admission_obstacle(s);
    return limit == LIMIT_CAPACITY && *s->waiting_for ? s->waiting_for : texts[limit];
}
