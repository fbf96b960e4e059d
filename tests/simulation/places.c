#include "places.h"
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/id.h"
#include "session/adopt.h"
#include "session/queue.h"
#include "session/session.h"
#include "world.h"

#define OWNERS 4096    /* tenants, users and classes of one turn, at most half of it */
#define PLANT_TURN 50  /* of a sabotage */
#define EVERY_TURNS 64 /* also when nothing seems to have changed */

struct owner {
    const void *who;
    unsigned running, queued;
};

struct admission {
    const char *session;
    struct admission *next;
};

static struct owner owners[OWNERS], *used[OWNERS];
static unsigned used_count;
static bool changed; /* a session's state, since the newest recount … */
static unsigned last_admitted, last_queued; /* … which found so many */
static struct admission *first, **end;
unsigned places_admissions;

void places_begin(void)
{
    first = NULL;
    end = &first;
    places_admissions = 0;
    changed = true;
}

/* ---- the order of admission ---- */

void places_core_line(const char *line)
{
    static const char name[] = " session=";
    char id[ID_SIZE];
    const char *at = strstr(line, name);
    changed = changed || strstr(line, "event=session.");
    if (!at || !strstr(line, "event=session.state") || !strstr(line, " from=QUEUED to=OPENING"))
        return;
    snprintf(id, sizeof id, "%s", at + strlen(name));
    struct admission *a = world_alloc(sizeof *a);
    a->session = world_strdup(id);
    *end = a;
    end = &a->next;
    places_admissions++;
}

const char *places_admitted(unsigned number)
{
    const struct admission *a = first;
    while (a && number-- > 0)
        a = a->next;
    return a ? a->session : NULL;
}

/* ---- the recount ---- */

static struct owner *find(const void *who)
{
    size_t i = ((uintptr_t)who >> 4) % OWNERS;
    while (owners[i].who && owners[i].who != who)
        i = (i + 1) % OWNERS;
    if (!owners[i].who) {
        owners[i].who = who;
        used[used_count++] = &owners[i];
    }
    return &owners[i];
}

static void forget_owners(void)
{
    while (used_count > 0)
        *used[--used_count] = (struct owner){0};
}

static void count(const struct session *s)
{
    const void *const scopes[] = {s->core, s->group, s->tenant, s->user};
    bool holds[] = {s->has_container_place, s->has_container_place, s->has_owner_place,
                    s->has_owner_place};
    for (size_t i = 0; i < 4; i++) {
        struct owner *o = scopes[i] ? find(scopes[i]) : NULL;
        if (o) {
            o->running += holds[i];
            o->queued += s->line != NULL;
        }
    }
}

/* What a session may hold is told by its state. */
static void check_session(const struct session *s)
{
    bool waits = !s->warm && s->state == SESSION_QUEUED; /* a warm one asks for no place */
    bool runs = !s->warm && s->state > SESSION_QUEUED && s->state < SESSION_CLOSING;
    bool right = (s->line != NULL) == waits && s->has_owner_place == runs &&
                 (s->has_container_place == runs ||
                  (s->has_container_place && s->state == SESSION_CLOSING));
    if (!right)
        world_violate("PLACES",
                      "%s is %s, %s in the queue, with %s place of its owner and %s "
                      "of its container",
                      s->id, session_state_names[s->state], s->line ? "is" : "is not",
                      s->has_owner_place ? "a" : "no", s->has_container_place ? "one" : "none");
}

static void compare(const char *what, const char *name, const void *who, unsigned running,
                    unsigned queued)
{
    const struct owner *o = find(who);
    if (o->running != running || o->queued != queued)
        world_violate("PLACES",
                      "%s %s counts %u places and %u who wait, and there are %u and %u", what,
                      name, running, queued, o->running, o->queued);
}

static void check_limit(const char *what, const char *name, unsigned running, int64_t limit)
{
    if (limit > 0 && running > (uint64_t)limit)
        world_violate("PLACES", "%s %s has %u places of %" PRId64, what, name, running, limit);
}

/* An adopted session runs, whatever the limits say. */
static void check_tenant(const struct tenant *t, bool adopted)
{
    const struct tenant_user *u;
    compare("tenant", t->name, t, t->running, t->queued);
    if (!adopted)
        check_limit("tenant", t->name, t->running, t->limits.sessions);
    for (u = t->users; u; u = u->hh.next) {
        compare("user", u->name, u, u->running, u->queued);
        if (!adopted)
            check_limit("user", u->name, u->running, t->core->settings->user_max_sessions);
    }
}

static void check_whole(const struct cleat *core, bool adopted, bool closing)
{
    const struct tenant *t;
    compare("the daemon", "", core, core->admitted, core->queued);
    for (size_t i = 0; i < core->group_count; i++) {
        const struct group *g = &core->groups[i];
        compare("class", g->class->name, g, g->running, g->queued);
        if (!adopted && !closing)
            check_limit("class", g->class->name, g->running, g->class->max_parallel);
    }
    if (!adopted && !closing)
        check_limit("the daemon", "", core->admitted, core->settings->max_sessions);
    for (t = core->tenants; t; t = t->hh.next)
        check_tenant(t, adopted);
}

void places_check(void)
{
    struct cleat *core = world.me ? world.me->cleat : NULL;
    const struct session *s;
    bool adopted = false, closing = false;
    if (!core || world.frozen)
        return;
    if (world.sabotage == SABOTAGE_LOST_PLACE && core->admitted > 0 && world.turns > PLANT_TURN)
        core->admitted--;
    if (!changed && core->admitted == last_admitted && core->queued == last_queued &&
        world.turns % EVERY_TURNS > 0)
        return;
    changed = false;
    last_admitted = core->admitted;
    last_queued = core->queued;
    forget_owners();
    TAILQ_FOREACH (s, &core->open, part_entry) {
        adopted = adopted || s->adopted;
        closing = closing || s->state == SESSION_CLOSING; /* of an earlier start, perhaps */
        check_session(s);
        count(s);
    }
    check_whole(core, adopted, closing);
}
