/* Sessions on static hosts, more of them than there are hosts, with one coordinator or two. */
#include <inttypes.h>
#include <string.h>
#include "container.h"
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

/* ---- a host dies under an idle session, and comes back or does not ---- */

#define LOOK_MS 50
#define RETURN_IS_SEEN_MS 5000
#define AWAY_IS_DEATH_MS 15000 /* dead_after_s, from the first refusal on */

static int64_t dies_ms, over_ms;

static void set_static_death(struct settings_of_world *s)
{
    static const int64_t away_ms[] = {500, 4000, 30000, 400000};
    s->static_hosts = 1;
    s->lives = 1;
    s->nodes = (unsigned)world_pick(0, 1);
    static_away_ms = away_ms[world.seed % 4];
    over_ms = 0;
    dies_ms = 20000 + world_pick(0, 6000);
}

static void wait_for_end(void *arg)
{
    const char *why, *state = life_state(lives, &why);
    if (state && strcmp(state, "READY") == 0) {
        world_at(LOOK_MS, wait_for_end, arg);
        return;
    }
    over_ms = world.now_ms;
    if (!why || strcmp(why, "container_died") != 0)
        world_violate("DEATH", "it is %s for %s", state ? state : "gone",
                      why ? why : "nothing");
}

static void begin_static_death(void)
{
    life_new(&(struct plan){.tenant = "t", .close_ms = 600000, .stays = true});
    world_at(dies_ms, container_end_first, NULL);
    world_at(dies_ms, wait_for_end, NULL);
}

static void judge_static_death(void)
{
    int64_t after_ms = over_ms - dies_ms, back_ms = static_away_ms + RETURN_IS_SEEN_MS;
    if (over_ms == 0 || after_ms > (back_ms < AWAY_IS_DEATH_MS ? back_ms : AWAY_IS_DEATH_MS))
        world_violate("DEATH", "it is known after %" PRId64 " ms, away for %" PRId64, after_ms,
                      static_away_ms);
    judge_static();
}

const struct scenario static_scenarios[] = {
    {"static", "sessions share a few hosts", set_static, NULL, judge_static, 20},
    {"static-crashes", "the same, with faults and crashes", set_static_crashes, NULL,
     judge_static, 60},
    {"static-turns", "sessions that wait for the one host have it as soon as it is free",
     set_static_turns, begin_static_turns, judge_static_turns, 5},
    {"static-death", "a host dies under a session, and comes back or stays away",
     set_static_death, begin_static_death, judge_static_death, 8},
    {NULL, NULL, NULL, NULL, NULL, 0}};
