#include "recount.h"

#include <string.h>
#include "driver/docker_box.h"
#include "session/queue.h"
#include "session/session.h"
#include "world.h"

static void check_group(const struct cleat *core, const struct group *g)
{
    unsigned sessions[SESSION_STATES] = {0}, attempts[ATTEMPT_STATES] = {0};
    const struct session *s;
    const struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry) {
        sessions[s->state] += s->group == g && !s->warm;
        TAILQ_FOREACH (a, &s->attempts, entry)
            attempts[a->state] += s->group == g;
    }
    if (memcmp(sessions, g->session_counts, sizeof sessions) != 0)
        world_violate("counts", "class %s: sessions by state", g->class->name);
    if (memcmp(attempts, g->attempt_counts, sizeof attempts) != 0)
        world_violate("counts", "class %s: attempts by state", g->class->name);
}

/* The newest of each is enough: after every turn. Most are the same literal as the one before.
 */
static void check_spans(const struct cleat *core)
{
    const struct session *s;
    const char *known = NULL;
    TAILQ_FOREACH (s, &core->open, part_entry) {
        const char *name = s->span_count > 0 ? s->spans[s->span_count - 1].name : span_names[0];
        size_t i = 0;
        if (name == known)
            continue;
        while (span_names[i] && strcmp(span_names[i], name) != 0)
            i++;
        if (!span_names[i])
            world_violate("counts", "the interval %s is in no list", name);
        known = name;
    }
}

static void check_parts(const struct cleat *core)
{
    const struct session *s;
    size_t open = 0, over = 0;
    TAILQ_FOREACH (s, &core->open, part_entry) {
        open++;
        if (session_is_over(s))
            world_violate("counts", "%s is over and among those that are not", s->id);
    }
    TAILQ_FOREACH (s, &core->over, part_entry) {
        over++;
        if (!session_is_over(s))
            world_violate("counts", "%s is not over and among those that are", s->id);
    }
    if (open + over != HASH_COUNT(core->by_id))
        world_violate("counts", "%zu sessions and %zu that are over are not all", open, over);
}

static void check_part_of(const struct tenant *t, const struct session *s, bool over)
{
    if (s->tenant != t || session_is_over(s) != over)
        world_violate("counts", "%s is in a wrong list of tenant %s", s->id, t->name);
}

static void check_tenants(const struct cleat *core)
{
    const struct session *s;
    for (const struct tenant *t = core->tenants; t; t = t->hh.next) {
        unsigned count = 0;
        TAILQ_FOREACH (s, &t->open, tenant_entry) {
            check_part_of(t, s, false);
            count++;
        }
        TAILQ_FOREACH (s, &t->over, tenant_entry) {
            check_part_of(t, s, true);
            count++;
        }
        if (count != t->sessions)
            world_violate("counts", "tenant %s lists %u of %u sessions", t->name, count,
                          t->sessions);
    }
}

void recount(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        check_group(core, &core->groups[i]);
    check_parts(core);
    check_tenants(core);
    check_spans(core);
}

static void check_boxes(const struct runtime *rt)
{
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        if (docker_awaits_clear(b))
            world_violate("I5", "%s is remembered for ever", b->container.id);
}

void recount_at_end(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (core->groups[i].runtime_ops == &runtime_docker)
            check_boxes(core->groups[i].runtime);
}
