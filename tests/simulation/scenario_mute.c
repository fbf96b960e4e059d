/* A balancer whose socket is mute for longer than anything waits for it: what it lists is
 * nobody else's meanwhile, and everybody's when it answers. */
#include <stdlib.h>
#include <string.h>
#include "scenario.h"

#define PLACES 6 /* addresses, or hosts */
#define GIVEN_UP_MS 250000
#define BACK_MS 360000 /* a breaker's longest pause, and that of who asks again */

static void set_mute_places(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(1, 2);
    s->salvage_limit_s = 60;
    s->queue_timeout_s = 900;
    s->mute_from_ms = 15000;
    s->mute_to_ms = s->mute_from_ms + world_pick(400, 1500) * 1000;
    if (world_chance(5000))
        s->static_hosts = PLACES;
    else
        s->address_range = "127.64.0.0/29";
}

static void crash(void *arg)
{
    (void)arg;
    world.crash_due = true;
}

/* Some are closed right before the socket is mute, some when it is. Others come while their
 * places are kept, and after. */
static void begin_mute_places(void)
{
    struct plan p = {.tenant = "t", .stays = true, .executions = 1};
    p.execution[0] = (struct planned_execution){.takes_ms = 100, .artifact = true};
    for (unsigned i = 0; i < PLACES; i++) {
        int64_t after_ms = i == 0 ? 1000 : world_pick(-50, i % 2 ? 0 : 5000);
        p.close_ms = settings.mute_from_ms + after_ms;
        life_new(&p);
    }
    for (unsigned i = 0; i < PLACES / 2; i++) {
        p.born_ms = settings.mute_from_ms + GIVEN_UP_MS + world_pick(0, 60000);
        p.close_ms = 600000;
        p.stays = false;
        life_new(&p);
    }
    for (unsigned i = 0; i < PLACES; i++) {
        p.born_ms = settings.mute_to_ms + 1000;
        p.close_ms = 2 * BACK_MS;
        p.stays = true;
        life_new(&p);
    }
    if (world_chance(5000))
        world_at(settings.mute_from_ms + GIVEN_UP_MS + world_pick(-60000, 60000), crash, NULL);
}

static void judge_mute_places(void)
{
    const struct life *life = lives;
    char *document = cleat_session(coordinator, NULL, life->session);
    if (!document || !strstr(document, "\"lost\""))
        world_violate("SIM", "%s was closed, and nothing was given up", life->name);
    free(document);
    for (; life; life = life->next)
        if (life->plan.born_ms > settings.mute_to_ms &&
            (!life->was_ready || life->ready_ms - life->plan.born_ms > BACK_MS))
            world_violate("READY", "%s had no place long after the balancer was back",
                          life->name);
}

const struct scenario mute_scenarios[] = {
    {"mute-places", "the balancer's socket is mute until cleanups are given up, places are few",
     set_mute_places, begin_mute_places, judge_mute_places, 20},
    {NULL, NULL, NULL, NULL, NULL, 0}};
