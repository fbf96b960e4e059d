/* The journal is lost, or restored from an older state, while sessions are in all states: who
 * was ready is ready again, in the same container; nothing is left. What only the journal knew
 * is gone with it: that a request id was used, what a session's creation had not yet led to. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"
#include "sim_store.h"

#define BACK_MS 200000 /* ready again; a task may be shown late */
#define MUTE_MS 30000  /* no listing of the balancer succeeds */

struct kept {
    struct life *life;
    const struct container *container;
    struct kept *next;
};

static struct kept *kept;
static int64_t lost_at_ms;
static bool everything, unseen;

/* ---- the loss ---- */

static void keep_ready(void)
{
    for (struct life *life = lives; life; life = life->next) {
        const struct container *c =
            life->phase == LIFE_READY ? container_of_session(life->session) : NULL;
        if (!c)
            continue;
        struct kept *k = world_alloc(sizeof *k);
        *k = (struct kept){life, c, kept};
        kept = k;
        life->must_be_found = true;
    }
}

static void look_for(const struct kept *k)
{
    const struct life *life = k->life;
    if (life->phase != LIFE_READY)
        return; /* closed meanwhile, so it was found */
    char *document = cleat_session(coordinator, NULL, life->session);
    if (!document ||
        !(strstr(document, "\"state\":\"READY\"") || strstr(document, "\"state\":\"BUSY\"")))
        world_violate("I5", "%s was ready before the journal was lost: %.300s", life->name,
                      document ? document : "not found");
    if (container_of_session(life->session) != k->container)
        world_violate("I6", "%s is not in its container any more", life->name);
    free(document);
}

static void look_for_all(void *arg)
{
    if (!coordinator) {
        world_at(1000, look_for_all, arg);
        return;
    }
    for (const struct kept *k = kept; k; k = k->next)
        look_for(k);
}

static void crash(void *arg)
{
    (void)arg;
    world.crash_due = true;
}

/* The next life has a session of its own, sees nothing of those before it, and dies as well. */
static void lose_sight(void)
{
    struct plan p = {.tenant = "tenant-a", .stays = true, .close_ms = 500000};
    p.born_ms = MUTE_MS / 3;
    life_new(&p);
    for (struct node *node = nodes; node; node = node->next) {
        node->mute_from_ms = world.now_ms;
        node->mute_to_ms = world.now_ms + MUTE_MS;
    }
    world_at(2 * MUTE_MS / 3, crash, NULL);
}

static void lose(void *arg)
{
    (void)arg;
    if (!coordinator) {
        world_at(100, lose, NULL);
        return;
    }
    uint64_t commits = sim_store_durable();
    keep_ready();
    lost_at_ms = world.now_ms;
    if (world_chance(3000)) /* the clock that went with it was ahead */
        world.me->wall_shift_ms = -world_pick(0, 7200000);
    if (commits > 0)
        store_habits.roll_back =
            everything ? commits : (uint64_t)world_pick(1, (int64_t)commits);
    crash(NULL);
    if (unseen)
        lose_sight();
    world_at(BACK_MS, look_for_all, NULL);
}

/* ---- the worlds ---- */

static void set_any(struct settings_of_world *s)
{
    unsigned engine = (unsigned)world_pick(0, 2);
    kept = NULL;
    s->lives = 6;
    s->docker = engine == 1;
    s->ecs = engine == 2;
    s->nodes = world_chance(6000) ? (unsigned)world_pick(1, 2) : 0;
    if (s->ecs && world_chance(7000)) {
        s->slots = world_chance(5000);
        s->groups = s->slots ? 6 : (unsigned)world_pick(1, 2);
        s->nodes = 0;
    }
    s->own_role = s->ecs && world_chance(5000);
    s->direct_never = world_chance(2500);
    s->input = world_chance(4000);
    s->stagger_ms = world_chance(5000) ? 0 : world_pick(0, 40000);
    s->max_executions = 5;
    s->max_lifetime_s = 1500;
    s->idle_timeout_s = 1200;
    ecs_habits.state_ms = world_chance(5000) ? 100 : 3000;
    ecs_habits.late_to_see = world_chance(3000) ? 1000 : 0;
    alb_habits.deregistration_ms = 5000;
}

static void forgive(void)
{
    life_limits.forgetful = books_limits.forgetful = true;
}

static void begin_any(void)
{
    forgive();
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p;
        plan_draw(&p);
        p.stays = true;
        p.close_ms = world_chance(7000) ? world_pick(300000, 500000) : world_pick(1, 90000);
        life_new(&p);
    }
    world_at(world_pick(1, world_chance(5000) ? 5000 : 90000), lose, NULL);
}

void set_lost(struct settings_of_world *s)
{
    everything = true;
    unseen = false;
    set_any(s);
}

void set_restored(struct settings_of_world *s)
{
    everything = unseen = false;
    set_any(s);
}

void set_restored_unseen(struct settings_of_world *s)
{
    set_restored(s);
    unseen = true;
    s->groups = 0;
    s->slots = false;
    s->nodes = (unsigned)world_pick(1, 2);
}

void begin_lost(void)
{
    begin_any();
}

void judge_lost(void)
{
    for (const struct kept *k = kept; k; k = k->next)
        for (const struct container *c = containers; c; c = c->next)
            if (strcmp(c->session, k->container->session) == 0 && c->spawned_ms > lost_at_ms)
                world_violate("I6", "%s got another container when the journal was lost",
                              k->life->name);
}
