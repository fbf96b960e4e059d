/* Every mishap at every step of a cleanup, alone and after every other one, each in a world of
 * its own with one session. The seed is the number of the combination. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "scenario.h"
#include "sim_aws.h"
#include "trap.h"

#define CLOSED_WITHIN_MS (20 * 60 * 1000)
#define MAX_TRAPS 64

#define OF(mishap) (1u << MISHAP_##mishap)
#define ANSWERS (OF(ERROR) | OF(REFUSED) | OF(ANSWER_LOST) | OF(LATE))
#define ENDS (OF(DEATH) | OF(CRASH))

/* What can go wrong where; a balancer's restart wherever there is one that can. */
static const unsigned mishaps_at[MOMENTS] = {
    [MOMENT_END] = ENDS | OF(AWAY),
    [MOMENT_COMPLETE] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_PROGRESS] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_UPLOAD] = OF(ERROR) | OF(LATE) | ENDS | OF(AWAY),
    [MOMENT_DEREGISTER] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_DRAIN] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_STOP] = ANSWERS | ENDS | OF(AWAY),
    [MOMENT_RELEASE] = OF(CRASH),
};

enum { DIRECT_WORLDS = 468, HAPROXY_WORLDS = 1852, PLAIN_WORLDS = 1544, ALB_WORLDS = 1560 };

/* What a class is like, and how many worlds that makes. */
struct shape {
    unsigned worlds;
    bool balancer, restarts; /* restarts: and forgets */
    bool engine;             /* a stop is a call, not a signal */
    bool sequential;         /* the balancer comes after the upload */
};

static struct trap chosen[2];
static bool is_last;
static unsigned alone, pairs, struck_both, lost_by_death;

/* ---- the combinations ---- */

static unsigned mishaps_of(enum moment m, const struct shape *shape)
{
    if ((m == MOMENT_DEREGISTER || m == MOMENT_DRAIN) && !shape->balancer)
        return 0;
    unsigned some = mishaps_at[m] | (shape->restarts ? OF(BALANCER) : 0);
    if (m == MOMENT_STOP && !shape->engine) /* a signal has no answer */
        some &= ~(OF(ERROR) | OF(REFUSED) | OF(ANSWER_LOST) | OF(AWAY));
    return some;
}

static unsigned list_traps(struct trap *list, const struct shape *shape)
{
    unsigned n = 0;
    for (unsigned m = 0; m < MOMENTS; m++)
        for (unsigned k = 0; k < MISHAPS; k++)
            if (mishaps_of((enum moment)m, shape) & (1u << k))
                list[n++] = (struct trap){(enum moment)m, (enum mishap)k};
    return n;
}

/* False: there will be no such moment any more. */
static bool can_follow(const struct trap *first, const struct trap *second,
                       const struct shape *shape)
{
    bool uploaded = first->moment == MOMENT_STOP || first->mishap == MISHAP_DEATH ||
                    (shape->sequential && first->moment >= MOMENT_DEREGISTER);
    if (first->moment == MOMENT_RELEASE || second->moment == MOMENT_END)
        return false;
    return !uploaded || second->moment >= MOMENT_DEREGISTER;
}

/* First each alone, then the pairs. Gives the number of all. */
static unsigned combine(unsigned wanted, const struct shape *shape, struct trap out[2])
{
    struct trap list[MAX_TRAPS];
    unsigned n = list_traps(list, shape), number = n;
    if (wanted < n)
        out[0] = out[1] = list[wanted];
    for (unsigned i = 0; i < n * n; i++) {
        const struct trap *first = &list[i / n], *second = &list[i % n];
        if (!can_follow(first, second, shape))
            continue;
        if (number++ == wanted) {
            out[0] = *first;
            out[1] = *second;
        }
    }
    alone = n;
    pairs = number - n;
    return number;
}

static void choose(const struct shape *shape)
{
    unsigned number = (unsigned)((world.seed - 1) % shape->worlds);
    unsigned all = combine(number, shape, chosen);
    bool pair = number >= alone;
    if (all != shape->worlds)
        world_violate("SIM", "%u combinations in place of %u", all, shape->worlds);
    if (number == 0)
        lost_by_death = struck_both = 0;
    is_last = number + 1 == all;
    traps_set(chosen, pair ? 2 : 1);
    world_log("%s at %s", mishap_names[chosen[0].mishap], moment_names[chosen[0].moment]);
    if (pair)
        world_log("then %s at %s", mishap_names[chosen[1].mishap],
                  moment_names[chosen[1].moment]);
}

/* ---- the worlds ---- */

static void set_one(struct settings_of_world *s)
{
    s->lives = 1;
    s->check_interval_ms = 500;
    container_habits.upload_min_ms = 400;
    container_habits.upload_max_ms = 600;
}

static void set_cleanup_haproxy(struct settings_of_world *s)
{
    set_one(s);
    s->nodes = 1;
    choose(&(struct shape){.worlds = HAPROXY_WORLDS, .balancer = true, .restarts = true});
}

static void set_cleanup_plain(struct settings_of_world *s)
{
    set_one(s);
    s->nodes = 1;
    s->plain = true;
    choose(
        &(struct shape){PLAIN_WORLDS, .balancer = true, .restarts = true, .sequential = true});
}

static void set_cleanup_direct(struct settings_of_world *s)
{
    set_one(s);
    choose(&(struct shape){.worlds = DIRECT_WORLDS});
}

static void set_cleanup_alb(struct settings_of_world *s)
{
    set_one(s);
    s->ecs = true;
    s->groups = 1;
    choose(&(struct shape){.worlds = ALB_WORLDS, .balancer = true, .engine = true});
}

/* One execution has left an artifact and another one is at it when the session closes. */
static void begin_cleanup(void)
{
    struct plan p = {.tenant = "tenant-a",
                     .close_ms = settings.ecs ? 40000 : 3000,
                     .executions = 2,
                     .execution = {{.takes_ms = 20, .artifact = true, .named = true},
                                   {.after_ready_ms = 100, .takes_ms = 200000, .named = true}}};
    life_new(&p);
}

/* ---- what is left ---- */

static bool says_lost(const struct life *life)
{
    char *text = coordinator ? cleat_session(coordinator, NULL, life->session) : NULL;
    json_t *o = text ? json_loads(text, 0, NULL) : NULL, *step;
    const char *result = "";
    size_t i;
    json_array_foreach (json_object_get(o, "cleanup"), i, step)
        if (strcmp(json_string_value(json_object_get(step, "name")), "upload") == 0)
            result = json_string_value(json_object_get(step, "result"));
    bool lost = strcmp(result, "lost") == 0;
    if (!lost && strcmp(result, "ok") != 0)
        world_violate("I4", "the document does not tell whether the upload worked: %s",
                      text ? text : "there is none");
    json_decref(o);
    free(text);
    return lost;
}

/* No mishap lasts as long as the salvage limit. */
static void judge_artifacts(const struct life *life, const struct container *c)
{
    bool said = says_lost(life), lost = c->uploaded < c->artifacts;
    if (lost && !said)
        world_violate("I4", "an artifact is lost and nobody says so");
    if (!said)
        return;
    if (traps_killed_unconfirmed())
        lost_by_death++;
    else
        world_violate("I4", "the upload is said to be lost although its container lived");
}

static void print_all(void)
{
    printf("  %u mishaps alone and %u pairs, %u of which struck both; %u uploads died with "
           "their container\n",
           alone, pairs, struck_both, lost_by_death);
}

static void judge_cleanup(void)
{
    const struct life *life = lives;
    if (!life->was_ready || !containers || !containers->artifacts) {
        world_violate("SIM", "the session had nothing to lose");
        return;
    }
    judge_artifacts(life, containers);
    struck_both += traps_struck() == 2;
    if (life->closed_ms - life->closing_ms > CLOSED_WITHIN_MS)
        world_violate("I8", "the cleanup took %" PRId64 " s",
                      (life->closed_ms - life->closing_ms) / 1000);
    if (is_last)
        print_all();
}

const struct scenario cleanup_scenarios[] = {
    {"cleanup-direct", "every mishap at every step of a cleanup, and every pair of them",
     set_cleanup_direct, begin_cleanup, judge_cleanup, DIRECT_WORLDS},
    {"cleanup-haproxy", "the same behind HAProxy", set_cleanup_haproxy, begin_cleanup,
     judge_cleanup, HAPROXY_WORLDS},
    {"cleanup-plain", "the same with a container that proves nothing", set_cleanup_plain,
     begin_cleanup, judge_cleanup, PLAIN_WORLDS},
    {"cleanup-alb", "the same for a task behind a load balancer", set_cleanup_alb,
     begin_cleanup, judge_cleanup, ALB_WORLDS},
    {NULL, NULL, NULL, NULL, NULL, 0},
};
