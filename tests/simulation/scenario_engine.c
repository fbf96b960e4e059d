/* Engines that are away for a while: who waits for them, and what that costs. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "scenario.h"
#include "service.h"

#define AWAY_MS 80000
#define TRIALS 2 /* after 30 s and after 60 s more: then it is back */

void set_docker_away(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 50;
}

void begin_docker_away(void)
{
    struct plan p;
    docker_restart(AWAY_MS);
    for (unsigned i = 0; i < settings.lives; i++) {
        plan_draw(&p);
        p.born_ms = 0;
        p.close_ms = -1;
        life_new(&p);
    }
}

/* Each was launched once before the breaker opened at most, and once when it was closed. */
void judge_docker_away(void)
{
    char *text = cleat_status(coordinator);
    json_t *status = json_loads(text, 0, NULL);
    json_int_t launches = json_integer_value(json_object_get(status, "launches"));
    if (launches > 2 * settings.lives + TRIALS)
        world_violate("BREAKER", "%" JSON_INTEGER_FORMAT " launches for %u sessions", launches,
                      settings.lives);
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
    if (docker_left() > 0)
        world_violate("I5", "%u containers are left in the engine", docker_left());
    json_decref(status);
    free(text);
}
