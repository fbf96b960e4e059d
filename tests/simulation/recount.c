#include "recount.h"

#include <jansson.h>
#include <stdio.h>
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

bool recount_has_attempts(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        for (size_t state = 0; state < ATTEMPT_ENDED; state++)
            if (core->groups[i].attempt_counts[state] > 0)
                return true;
    return false;
}

static void check_attempts(const struct cleat *core)
{
    const struct session *s;
    const struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (a->state != ATTEMPT_ENDED)
                world_violate("I5", "attempt %u of %s never ends", a->number, s->id);
}

static void check_boxes(const struct runtime *rt)
{
    struct docker_box *b, *next;
    HASH_ITER (hh, rt->boxes, b, next)
        if (docker_awaits_clear(b))
            world_violate("I5", "%s is remembered for ever", b->container.id);
}

/* Whoever had a place has ended, and no balancer leads there. */
static void check_places(const struct group *g)
{
    json_t *status = g->runtime_ops->status(g->runtime), *host;
    json_t *available = json_object_get(status, "addresses_free");
    const char *owner = g->core->settings->owner;
    unsigned prefix = 0;
    size_t i;
    sscanf(g->class->address_range, "%*[^/]/%u", &prefix);
    json_int_t all = ((json_int_t)1 << (32 - prefix)) - 2;
    if (available && json_integer_value(available) != all)
        world_violate("I5", "%d of %d addresses are kept for ever",
                      (int)(all - json_integer_value(available)), (int)all);
    json_array_foreach (json_object_get(status, "hosts"), i, host) {
        const char *lease = json_string_value(json_object_get(host, "lease"));
        if (lease && strncmp(lease, owner, strlen(owner)) == 0)
            world_violate("I5", "a host is kept for %s for ever", lease);
    }
    json_decref(status);
}

void recount_at_end(const struct cleat *core)
{
    check_attempts(core);
    for (size_t i = 0; i < core->group_count; i++) {
        if (core->groups[i].runtime_ops == &runtime_docker)
            check_boxes(core->groups[i].runtime);
        check_places(&core->groups[i]);
    }
}
