/* Who gets a warm container, when it is not simply the next who asks: those whose own launch is
 * held up, whatever holds it up, and those whose turn it is under limits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "haproxy.h"
#include "instance.h"
#include "places.h"
#include "scenario.h"
#include "sim_aws.h"

#define AT_ONCE_MS 1500 /* from its birth, or from when the pool is ready: no back-off */

static struct life *named[4];

static struct life *born(unsigned number, int64_t at_ms, int64_t close_ms, bool outlives)
{
    struct plan p = {.tenant = "tenant-a",
                     .user = world_printf("user-%u", number),
                     .born_ms = at_ms,
                     .close_ms = close_ms,
                     .stays = true,
                     .outlives = outlives};
    return named[number] = life_new(&p);
}

static void ready_by(const struct life *life, int64_t at_ms)
{
    if (!life->was_ready || life->ready_ms > at_ms)
        world_violate("WARM", "%s was ready at %" PRId64 ", and a warm container at %" PRId64,
                      life->name, life->was_ready ? life->ready_ms : -1, at_ms - AT_ONCE_MS);
}

/* It was launched before anybody asked. */
static void took_a_warm_one(const struct life *life)
{
    for (const struct container *c = containers; c; c = c->next)
        if (books_is_of(c, life->session) && strcmp(c->session, life->session) != 0)
            return;
    world_violate("WARM", "%s has no container that was warm", life->name);
}

static void all_were_ready(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
}

static void starts_within(int64_t ms)
{
    container_habits.start_min_ms = container_habits.start_max_ms = ms;
}

/* ---- the engine has no room ---- */

/* One host is warm, the other has a session that stays. A third session finds no room, and may
 * not have the warm one; who comes after it may. */
static void set_no_room(struct settings_of_world *s)
{
    s->static_hosts = 2;
    s->warm_min = s->warm_max = 1;
    starts_within(500);
}

static void begin_no_room(void)
{
    born(0, 10000, 150000, true);
    born(1, 20000, 150000, true);
    born(2, 60000, 10000, false);
    born(3, 60100, 150000, false);
}

static void judge_no_room(void)
{
    all_were_ready();
    took_a_warm_one(named[2]);
    ready_by(named[2], 60000 + AT_ONCE_MS);
    if (named[1]->ready_ms < named[2]->ready_ms)
        world_violate("QUEUE", "%s was ready before there was room", named[1]->name);
    if (named[3]->ready_ms < named[1]->ready_ms)
        world_violate("QUEUE", "%s was ready before who waits for longer", named[3]->name);
    warm_want("hits", warm_figure("hits"), 1);
    warm_want("misses", warm_figure("misses"), 3);
}

/* Both hosts are taken while one becomes warm: who waits for room has it as soon as it is. */
static void set_ready_later(struct settings_of_world *s)
{
    set_no_room(s);
    starts_within(2000);
}

static void begin_ready_later(void)
{
    born(0, 100, 100000, true);
    born(1, 200, 10000, false);
}

static void judge_ready_later(void)
{
    all_were_ready();
    took_a_warm_one(named[1]);
    ready_by(named[1], 2000 + AT_ONCE_MS / 2);
}

/* ---- the balancer has no room ---- */

static void set_no_place(struct settings_of_world *s)
{
    s->ecs = s->slots = true;
    s->groups = 2;
    s->warm_min = s->warm_max = 1;
    ecs_habits.state_ms = 5000;
}

static void begin_no_place(void)
{
    born(0, 5000, 200000, true);
    born(1, 5100, 100000, false);
}

static void judge_no_place(void)
{
    all_were_ready();
    took_a_warm_one(named[1]);
    if (named[1]->ready_ms > 100000)
        world_violate("WARM", "%s waited for a place", named[1]->name);
}

/* ---- launches fail ---- */

/* Launches fail until just before the pool is wanted. Who failed three times would wait for 27
 * s. */
static void want_one(void *arg)
{
    (void)arg;
    settings.warm_min = settings.warm_max = books_limits.warm_max = 1;
    instance_reload();
}

static void set_back_off(struct settings_of_world *s)
{
    s->faults.until_ms = 30000;
    s->faults.spawn_fails = 10000;
    starts_within(500);
}

static void begin_back_off(void)
{
    born(0, 12000, 60000, false);
    world_at(30000, want_one, NULL);
}

static void judge_back_off(void)
{
    all_were_ready();
    took_a_warm_one(named[0]);
    ready_by(named[0], 30500 + AT_ONCE_MS);
}

/* ---- the pool itself ---- */

/* Who found no room goes away: the pool, and not only the next session, sees that there is some
 * again. */
static void begin_gives_up(void)
{
    born(0, 10000, 100000, true);
    born(1, 10000, 30000, true);
    born(2, 20000, 60000, false);
}

static void look_at_pool(void *arg)
{
    (void)arg;
    warm_want("ready", warm_figure("ready"), 1);
}

static void begin_pool_returns(void)
{
    begin_gives_up();
    world_at(200000, look_at_pool, NULL);
    born(3, 200001, 1000, false);
}

static void judge_pool_returns(void)
{
    took_a_warm_one(named[3]);
    ready_by(named[3], 200001 + AT_ONCE_MS);
}

/* Its target was unhealthy for a while. */
static void hang_all(void *hangs)
{
    for (struct container *c = containers; c; c = c->next)
        container_hang(c, hangs != NULL);
}

static void set_flaps(struct settings_of_world *s)
{
    s->nodes = 1;
    s->warm_min = s->warm_max = 1;
}

static void begin_flaps(void)
{
    world_at(60000, hang_all, &named);
    world_at(75000, hang_all, NULL);
    born(0, 100000, 1000, false);
}

static void judge_flaps(void)
{
    all_were_ready();
    took_a_warm_one(named[0]);
}

/* ---- limits and turns ---- */

#define TENANTS 4
#define EACH 15

static void set_turns(struct settings_of_world *s)
{
    s->warm_min = s->warm_max = 30;
    s->max_sessions = 12;
    s->max_parallel = 10;
    s->tenant_max_sessions = 4;
    s->user_max_sessions = 2;
    s->crash_every_ms = world_chance(5000) ? 30000 : 0;
    s->faults.until_ms = 150000;
}

static void begin_turns(void)
{
    for (unsigned i = 0; i < TENANTS * EACH; i++) {
        unsigned tenant = i / EACH;
        struct plan p = {.tenant = world_printf("tenant-%u", tenant),
                         .user = world_printf("user-%u", i % 3),
                         .born_ms = 60000 + i,
                         .close_ms = -1,
                         .linger_ms = world_pick(100, 3000)};
        life_new(&p);
    }
}

static const struct life *life_of(const char *session)
{
    const struct life *life = lives;
    while (life && strcmp(life->session, session) != 0)
        life = life->next;
    return life;
}

static bool same_line(const struct life *a, const struct life *b)
{
    return strcmp(a->plan.tenant, b->plan.tenant) == 0 &&
           strcmp(a->plan.user, b->plan.user) == 0;
}

/* Those of one user were admitted as they came, and none of a tenant waits for all of another
 * one's; no limit was passed (places.h). */
static void judge_turns(void)
{
    unsigned warm = 0, of_last = 0, turns = 0;
    all_were_ready();
    for (unsigned i = 0; i < places_admissions; i++) {
        const struct life *life = life_of(places_admitted(i));
        if (!life)
            continue;
        of_last += turns++ < TENANTS * EACH / 2 && life->index / EACH == TENANTS - 1;
        for (unsigned j = i + 1; j < places_admissions; j++) {
            const struct life *later = life_of(places_admitted(j));
            if (later && same_line(life, later) && later->index < life->index)
                world_violate("QUEUE", "%s was admitted after %s", later->name, life->name);
        }
    }
    if (of_last < EACH / 3)
        world_violate("QUEUE", "the last tenant had %u of the first half of turns", of_last);
    for (const struct container *c = containers; c; c = c->next)
        warm += life_of(books_owner(c->session)) != NULL &&
                strcmp(books_owner(c->session), c->session) != 0;
    if (warm < EACH)
        world_violate("WARM", "only %u sessions had a warm container", warm);
}

const struct scenario claim_scenarios[] = {
    {"claim-no-room", "a warm container, while the engine has no room", set_no_room,
     begin_no_room, judge_no_room, 4},
    {"claim-ready-later", "a container becomes warm while sessions wait for room",
     set_ready_later, begin_ready_later, judge_ready_later, 4},
    {"claim-no-place", "a container becomes warm while a session waits for a target group",
     set_no_place, begin_no_place, judge_no_place, 4},
    {"claim-back-off", "a container becomes warm while a session waits after failures",
     set_back_off, begin_back_off, judge_back_off, 4},
    {"claim-pool-returns", "who found no room is gone, and the pool comes back", set_no_room,
     begin_pool_returns, judge_pool_returns, 4},
    {"claim-flaps", "a target was unhealthy while its container was warm", set_flaps,
     begin_flaps, judge_flaps, 4},
    {"claim-turns", "claims of many tenants under limits", set_turns, begin_turns, judge_turns,
     2},
    {NULL, NULL, NULL, NULL, NULL, 0}};
