/* Two cleats with two owners' names on the same engines: each with crashes of its own, and
 * neither ever touches what is the other's (books_acts_on). */
#include "instance.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"
#include "static.h"

#define OTHERS_ADDRESSES "127.65.0.0/24"

static void set_two(struct settings_of_world *s)
{
    s->lives = 4;
    s->nodes = (unsigned)world_pick(0, 2);
    s->docker = world_chance(4000);
    s->ecs = !s->docker && world_chance(5000);
    s->stagger_ms = 10000;
    if (!s->docker && !s->ecs && world_chance(4000))
        s->static_hosts = (unsigned)world_pick(1, 4);
}

static void set_two_crashes(struct settings_of_world *s)
{
    set_two(s);
    s->crash_every_ms = world_pick(500, 8000);
    s->faults.until_ms = 40000;
    s->faults.point_crash = (unsigned)world_pick(0, 100);
    s->faults.commit_fails = (unsigned)world_pick(0, 300);
}

static void lead_lives(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p;
        plan_draw(&p);
        life_new(&p);
    }
}

static void start_other(void *unused)
{
    (void)unused;
    instance_begin();
}

/* The other one uses the same engines, nodes and cluster; addresses of this machine are given
 * out by each from a range of its own. */
static void begin_two(void)
{
    struct instance *first = world.me;
    lead_lives();
    world.me = world_add_instance("other", "/simulated/other");
    world.me->address_range = OTHERS_ADDRESSES;
    world_at(1, start_other, NULL);
    lead_lives();
    world.me = first;
}

static void judge_two(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready && settings.crash_every_ms == 0)
            world_violate("READY", "%s was never ready", life->name);
    if (docker_left() > 0)
        world_violate("I5", "%u boxes are left", docker_left());
    if (static_left() > 0)
        world_violate("I5", "%u hosts are still leased", static_left());
}

const struct scenario two_scenarios[] = {
    {"two", "two owners on the same engines", set_two, begin_two, judge_two, 10},
    {"two-crashes", "the same, and both crash", set_two_crashes, begin_two, judge_two, 40},
    {NULL, NULL, NULL, NULL, NULL, 0}};
