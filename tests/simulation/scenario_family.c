/* Children: sessions with a parent, of every generation. They close when it does, for whatever
 * cause and in whatever state both are, over crashes at every commit; and nothing of a child
 * survives its parent. */
#include <string.h>
#include "container.h"
#include "life.h"
#include "scenario.h"

#define LOOK_MS 50

#define MAX_LIVES 32

static unsigned children_closed;
static bool had_ended[MAX_LIVES]; /* the parent of that child, one look ago */

static bool is_over(const char *state)
{
    return state && (strcmp(state, "CLOSING") == 0 || strcmp(state, "CLOSED") == 0 ||
                     strcmp(state, "FAILED") == 0);
}

/* As callers see both, at any moment but in the midst of the turn that ends them. */
static void look(void *arg)
{
    struct life *child = arg;
    const char *why, *unused;
    if (child->phase >= LIFE_CLOSING)
        return;
    world_at(LOOK_MS, look, child);
    const char *state = coordinator ? life_state(child, &why) : NULL;
    if (!state)
        return;
    bool ends = is_over(life_state(child->plan.parent, &unused));
    bool midst = ends && !had_ended[child->index];
    had_ended[child->index] = ends;
    if (midst)
        return;
    if (ends && !is_over(state)) {
        world_violate("CHILD", "%s is %s, and its parent closes", child->name, state);
    } else if (is_over(state) && !ends) {
        world_violate("CHILD", "%s closes (%s), and its parent does not", child->name, why);
    } else if (ends) {
        if (!why || strcmp(why, "parent_closed") != 0)
            world_violate("CHILD", "%s ends by %s", child->name, why ? why : "nothing");
        children_closed++;
        life_close(child);
    }
}

static struct life *child_of(struct life *parent, int64_t born_ms)
{
    struct plan p = {.tenant = parent->plan.tenant,
                     .parent = parent,
                     .born_ms = born_ms,
                     .close_ms = -1,
                     .stays = true,
                     .executions = 1};
    p.execution[0] = (struct planned_execution){
        .after_ready_ms = 50, .takes_ms = 300, .artifact = true, .named = true};
    struct life *child = life_new(&p);
    world_at(born_ms, look, child);
    return child;
}

/* close_ms 0: it closes when its executions are done. */
static struct life *parent_new(const char *tenant, int64_t born_ms, int64_t close_ms)
{
    struct plan p = {.tenant = tenant,
                     .born_ms = born_ms,
                     .close_ms = close_ms ? close_ms : -1,
                     .stays = close_ms > 0,
                     .linger_ms = 500,
                     .executions = 1};
    p.execution[0] = (struct planned_execution){.after_ready_ms = 100,
                                                .takes_ms = 400,
                                                .artifact = true,
                                                .named = true,
                                                .retries = true};
    return life_new(&p);
}

/* ---- a crash at each point ---- */

static void begin(void)
{
    children_closed = 0;
    memset(had_ended, 0, sizeof had_ended);
}

static void set_crash_family(struct settings_of_world *s)
{
    s->lives = 2;
}

/* The child has no place, and closes without one. */
static void set_crash_family_queue(struct settings_of_world *s)
{
    s->lives = 2;
    s->max_sessions = 1;
}

static void begin_crash_family(void)
{
    begin();
    child_of(parent_new("tenant-a", 0, 0), 100);
}

/* ---- many, at random ---- */

static void set_family(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(0, 2);
    s->docker = world_chance(3000);
    s->max_sessions = world_chance(3000) ? 6 : 1000;
    s->crash_every_ms = world_chance(6000) ? 4000 : 0;
    s->faults.until_ms = 60000;
    s->faults.commit_fails = world_chance(3000) ? 300 : 0;
}

static void begin_family(void)
{
    static const char *const tenants[] = {"tenant-a", "tenant-b"};
    begin();
    for (unsigned i = 0; i < 3; i++) {
        int64_t born = world_pick(0, 2000);
        struct life *parent = parent_new(tenants[world_pick(0, 1)], born, world_pick(1, 9000));
        for (unsigned k = 0; k < 3; k++) {
            struct life *child = child_of(parent, born + world_pick(0, 4000));
            if (world_chance(5000))
                child_of(child, born + world_pick(0, 4000));
        }
    }
}

static void judge_family(void)
{
    for (const struct container *c = containers; c; c = c->next)
        if (c->alive)
            world_violate("CHILD", "container %u outlives its session's parent", c->index);
}

static void judge_script(void)
{
    judge_family();
    const struct scenario_order *order = &scenario_order;
    bool seen = order->fail_commit == 0 && order->full_commit == 0 && !order->crash_again;
    if (children_closed == 0 && seen)
        world_violate("CHILD", "no child was there to close");
}

const struct scenario family_scenarios[] = {
    {"crash-family", "a parent and its child", set_crash_family, begin_crash_family,
     judge_script, EACH_POINT},
    {"crash-family-queue", "the same with one place", set_crash_family_queue,
     begin_crash_family, judge_family, EACH_POINT},
    {"family", "parents and children that end in any state", set_family, begin_family,
     judge_family, 20},
    {NULL, NULL, NULL, NULL, NULL, 0}};
