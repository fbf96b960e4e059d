/* Engines that are away for a while: who waits for them, and what that costs. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "container.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"

#define AWAY_MS 80000
#define ROOM_IS_SEEN_MS 33000  /* by one, and then by all: 30 s, and their starts */
#define TRIALS 2               /* after 30 s and after 60 s more: then it is back */
#define STORE_IS_SEEN_MS 60000 /* a launch has its 30 s, then it waits for up to 27 s */

void set_docker_away(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 50;
}

static void open_all(void)
{
    struct plan p;
    for (unsigned i = 0; i < settings.lives; i++) {
        plan_draw(&p);
        p.born_ms = 0;
        p.close_ms = -1;
        life_new(&p);
    }
}

void begin_docker_away(void)
{
    docker_restart(AWAY_MS);
    open_all();
}

/* The file system of the artifacts does not answer. */
void set_mute_artifacts(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 20;
    s->faults.until_ms = AWAY_MS;
    s->faults.maker_hangs = 10000;
}

void begin_mute_artifacts(void)
{
    open_all();
}

/* The listing of a start takes long, and its answer shows what launches made that have failed.
 */
void set_docker_listed(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 20;
    s->faults.until_ms = 10000;
    s->faults.http_answer_lost = 3000;
    docker_habits.slow = 4000;
}

/* Who has a container waits with it until it can be registered; who closes is not done. */
void set_haproxy_away(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 30;
    s->mute_from_ms = 3000;
    s->mute_to_ms = s->mute_from_ms + 2 * AWAY_MS;
}

void begin_haproxy_away(void)
{
    struct plan p;
    for (unsigned i = 0; i < settings.lives; i++) {
        plan_draw(&p);
        p.born_ms = i % 2 ? 0 : settings.mute_from_ms + world_pick(0, 2000);
        p.close_ms = -1;
        life_new(&p);
    }
}

static json_int_t launches(void)
{
    char *text = cleat_status(coordinator);
    json_t *status = json_loads(text, 0, NULL);
    json_int_t n = json_integer_value(json_object_get(status, "launches"));
    json_decref(status);
    free(text);
    return n;
}

static void judge_ready(json_int_t most)
{
    json_int_t n = launches();
    if (n > most)
        world_violate("BREAKER", "%" JSON_INTEGER_FORMAT " launches for %u sessions", n,
                      settings.lives);
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
}

void judge_haproxy_away(void)
{
    judge_ready(settings.lives);
}

/* Each was launched once before the breaker opened at most, and once when it was closed. */
void judge_docker_away(void)
{
    judge_ready(2 * settings.lives + TRIALS);
    if (docker_left() > 0)
        world_violate("I5", "%u containers are left in the engine", docker_left());
}

/* All in their own time, and the engine has heard of none before it could start. */
void judge_mute_artifacts(void)
{
    unsigned count = 0;
    judge_ready(INT64_MAX);
    for (const struct container *c = containers; c; c = c->next, count++)
        if (c->spawned_ms < AWAY_MS || c->spawned_ms > AWAY_MS + STORE_IS_SEEN_MS)
            world_violate("STORE", "container %u starts at %" PRId64 " ms", c->index,
                          c->spawned_ms);
    if (count != settings.lives || docker_left() > 0)
        world_violate("I5", "%u containers for %u sessions, %u of them are left", count,
                      settings.lives, docker_left());
}

/* An engine without room for longer than tries get rarer and rarer. */
void set_room_returns(struct settings_of_world *s)
{
    s->ecs = true;
    s->faults.until_ms = 60000 + world_pick(0, 140000);
    ecs_habits.no_capacity = 10000;
    ecs_habits.state_ms = 100;
}

void begin_room_returns(void)
{
    for (unsigned i = 0; i < settings.lives; i++)
        life_new(&(struct plan){.tenant = "t", .close_ms = -1, .linger_ms = 1000});
}

void judge_room_returns(void)
{
    judge_ready(INT64_MAX);
    for (const struct container *c = containers; c; c = c->next)
        if (c->spawned_ms > settings.faults.until_ms + ROOM_IS_SEEN_MS)
            world_violate("ROOM", "container %u starts %" PRId64 " ms after there was room",
                          c->index, c->spawned_ms - settings.faults.until_ms);
}
