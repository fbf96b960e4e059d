/* Sessions on static hosts, more of them than there are hosts, with one coordinator or two. */
#include "scenario.h"
#include "static.h"

static void set_static(struct settings_of_world *s)
{
    s->static_hosts = (unsigned)world_pick(1, 4);
    s->nodes = (unsigned)world_pick(0, 2);
    s->lives = (unsigned)world_pick(1, 6);
    s->stagger_ms = 20000;
}

static void set_static_crashes(struct settings_of_world *s)
{
    set_static(s);
    s->closes_at_random = world_chance(5000);
    s->replace = world_chance(5000);
    s->warm_max = (unsigned)world_pick(0, s->static_hosts);
    s->warm_min = (unsigned)world_pick(0, s->warm_max);
    s->crash_every_ms = world_pick(300, 15000);
    s->faults.until_ms = 60000;
    s->faults.point_crash = (unsigned)world_pick(0, 100);
    s->faults.commit_fails = (unsigned)world_pick(0, 300);
    s->faults.spawn_dies = (unsigned)world_pick(0, 1000);
    s->faults.spawn_dies_later = (unsigned)world_pick(0, 1000);
    s->faults.spawn_hangs = (unsigned)world_pick(0, 500);
}

/* Every host is leased once by a session that somebody waits for, and free in the end. */
static void judge_static(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready && settings.crash_every_ms == 0)
            world_violate("READY", "%s was never ready", life->name);
    if (static_left() > 0)
        world_violate("I5", "%u hosts are still leased", static_left());
}

/* Each uses it for longer than who waits for an engine's room waits at a time. */
static void set_static_turns(struct settings_of_world *s)
{
    s->static_hosts = 1;
    s->lives = 4;
}

static void begin_static_turns(void)
{
    for (unsigned i = 0; i < settings.lives; i++)
        life_new(&(struct plan){.tenant = "t", .close_ms = -1, .linger_ms = 50000});
}

/* The host that comes free is not left idle while somebody waits for it. */
static void judge_static_turns(void)
{
    judge_static();
    for (const struct life *life = lives; life; life = life->next) {
        bool follows = false, first = true;
        for (const struct life *other = lives; other; other = other->next) {
            first = first && other->ready_ms >= life->ready_ms;
            follows = follows || (other->closed_ms <= life->ready_ms &&
                                  life->ready_ms - other->closed_ms < 1000);
        }
        if (!first && !follows)
            world_violate("QUEUE", "%s got the host long after it was free", life->name);
    }
}

const struct scenario static_scenarios[] = {
    {"static", "sessions share a few hosts", set_static, NULL, judge_static, 20},
    {"static-crashes", "the same, with faults and crashes", set_static_crashes, NULL,
     judge_static, 60},
    {"static-turns", "sessions that wait for the one host have it as soon as it is free",
     set_static_turns, begin_static_turns, judge_static_turns, 5},
    {NULL, NULL, NULL, NULL, NULL, 0}};
