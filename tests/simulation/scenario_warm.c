/* Containers that are ready before anybody asks: taken in one commit, never too many, replaced
 * when they die, grow old or their class changes. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "instance.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"

#define POOL_IS_READY_MS 60000
#define MANY 200

/* ---- what cleat says of its pool ---- */

int64_t warm_figure(const char *key)
{
    char *text = coordinator ? cleat_status(coordinator) : NULL;
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    json_t *class = json_object_get(json_object_get(o, "classes"), "default");
    int64_t n = json_integer_value(json_object_get(json_object_get(class, "warm"), key));
    json_decref(o);
    free(text);
    return n;
}

static unsigned warm_alive(void)
{
    unsigned count = 0;
    for (const struct container *c = containers; c; c = c->next)
        count += c->alive && books_is_warm(c->session);
    return count;
}

void warm_want(const char *what, int64_t found, int64_t wanted)
{
    if (found != wanted)
        world_violate("WARM", "%s: %" PRId64 ", and should be %" PRId64, what, found, wanted);
}

/* ---- lives ---- */

static void born_at(int64_t at_ms, bool env, unsigned inputs)
{
    struct plan p = {.tenant = "tenant-a",
                     .born_ms = at_ms,
                     .close_ms = -1,
                     .linger_ms = 300,
                     .env = env,
                     .inputs = inputs,
                     .executions = 1};
    p.execution[0] = (struct planned_execution){.after_ready_ms = 100,
                                                .takes_ms = 200,
                                                .artifact = true,
                                                .named = true,
                                                .retries = true};
    life_new(&p);
}

static void judge_lives(void)
{
    for (const struct life *life = lives; life; life = life->next) {
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
        if (books_containers(life->session) != 1)
            world_violate("ONCE", "%s had %u containers", life->name,
                          books_containers(life->session));
        if (life->execution[0].outcome != OUTCOME_RECORD && !settings.plain)
            world_violate("RECORD", "the execution of %s has no record: %s", life->name,
                          life->execution[0].error ? life->execution[0].error : "not executed");
    }
    for (const struct container *c = containers; c; c = c->next)
        if (c->uploaded < c->artifacts)
            world_violate("I4", "container %u lost files", c->index);
}

/* ---- each point of a claim and of a refill ---- */

static void set_pool(struct settings_of_world *s, unsigned min, unsigned max)
{
    s->nodes = 0;
    s->warm_min = min;
    s->warm_max = max;
}

static void set_crash_warm(struct settings_of_world *s)
{
    set_pool(s, 1, 2);
}

static void set_crash_warm_ecs(struct settings_of_world *s)
{
    set_pool(s, 1, 2);
    s->ecs = true;
    s->groups = 1;
    s->own_role = true;
    ecs_habits.state_ms = 100;
    alb_habits.deregistration_ms = 5000;
}

static void set_crash_warm_plain(struct settings_of_world *s)
{
    set_pool(s, 1, 1);
    s->nodes = 1;
    s->plain = true;
}

static void begin_claims(void)
{
    int64_t from_ms = settings.ecs ? 15000 : 5000;
    for (int i = 0; i < (settings.ecs ? 1 : 2); i++)
        born_at(from_ms + 400 * i, false, 0);
}

static void set_crash_warm_env(struct settings_of_world *s)
{
    set_pool(s, 1, 1);
    s->nodes = 1;
    s->input = true;
}

static void begin_claim_with_env(void)
{
    born_at(5000, true, 3);
}

/* ---- many at once ---- */

static unsigned started_before;

static void stop_refilling(void *arg)
{
    (void)arg;
    warm_want("ready", warm_figure("ready"), MANY);
    settings.warm_min = 0;
    instance_reload();
    for (const struct container *c = containers; c; c = c->next)
        started_before++;
}

static void set_many(struct settings_of_world *s)
{
    set_pool(s, MANY, MANY);
    s->nodes = 1;
}

static void begin_many(void)
{
    started_before = 0;
    world_at(POOL_IS_READY_MS - 1, stop_refilling, NULL);
    for (unsigned i = 0; i < MANY; i++)
        born_at(POOL_IS_READY_MS + i % 3, false, 0);
}

static void judge_many(void)
{
    unsigned claimed = 0;
    judge_lives();
    for (const struct life *life = lives; life; life = life->next)
        for (const struct container *c = containers; c; c = c->next) {
            bool its = books_is_of(c, life->session);
            claimed += its;
            if (its && c->spawned_ms >= life->plan.born_ms)
                world_violate("WARM", "a container was launched for %s", life->name);
        }
    warm_want("claimed", claimed, MANY);
    warm_want("hits", warm_figure("hits"), MANY);
    warm_want("misses", warm_figure("misses"), 0);
}

/* ---- death, age, drain, another class, engines that fail ---- */

static void kill_warm(void *arg)
{
    (void)arg;
    for (struct container *c = containers; c; c = c->next)
        if (c->alive && books_is_warm(c->session) && world_chance(5000))
            container_end(c, 9);
}

static void look_at_pool(void *arg)
{
    unsigned *wanted = arg;
    if (coordinator)
        warm_want("ready", warm_figure("ready"), *wanted);
    warm_want("alive", warm_alive(), *wanted);
}

static void expect_pool(int64_t at_ms, unsigned ready)
{
    unsigned *wanted = world_alloc(sizeof *wanted);
    *wanted = ready;
    world_at(at_ms, look_at_pool, wanted);
}

static void set_deaths(struct settings_of_world *s)
{
    set_pool(s, 4, 6);
    s->nodes = (unsigned)world_pick(0, 1);
    s->docker = world_chance(5000);
}

static void begin_deaths(void)
{
    expect_pool(POOL_IS_READY_MS, 4);
    world_at(POOL_IS_READY_MS + 1, kill_warm, NULL);
    world_at(2 * POOL_IS_READY_MS + 1, kill_warm, NULL);
    born_at(2 * POOL_IS_READY_MS + 1 + world_pick(0, 20), false, 0);
    expect_pool(400000, 4);
    born_at(400001, false, 0);
}

static void judge_deaths(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
}

static void set_ages(struct settings_of_world *s)
{
    set_pool(s, 3, 4);
    s->warm_ttl_s = 100;
    s->plain = world_chance(5000);
    s->nodes = s->plain;
}

static void begin_ages(void)
{
    for (int i = 1; i <= 20; i++)
        world_at(i * 50000, kill_warm, NULL);
    born_at(1020000, false, 0); /* not the one that is killed just then */
}

static void judge_ages(void)
{
    for (const struct container *c = containers; c; c = c->next)
        if (books_is_warm(c->session) && c->ended_ms - c->spawned_ms > 130000)
            world_violate("WARM", "container %u was warm for %" PRId64 " ms", c->index,
                          c->ended_ms - c->spawned_ms);
    judge_lives();
}

static void set_plain_hour(struct settings_of_world *s)
{
    set_pool(s, 2, 2);
    s->plain = true;
    s->nodes = 1;
    s->warm_ttl_s = 86400;
    s->idle_timeout_s = 86400;
}

static void judge_hour(void)
{
    unsigned made = 0;
    for (const struct container *c = containers; c; c = c->next) {
        made += books_is_warm(c->session);
        if (c->ended_ms - c->spawned_ms > 3100000)
            world_violate("WARM", "container %u lived for %" PRId64 " ms", c->index,
                          c->ended_ms - c->spawned_ms);
    }
    if (made < 8)
        world_violate("WARM", "only %u containers in three hours", made);
}

static void begin_hour(void)
{
    born_at(3 * 3600000, false, 0);
}

static int64_t changed_at_ms;

static void change_class(void *arg)
{
    (void)arg;
    changed_at_ms = world.now_ms;
    settings.command = "/simulated/cleat-executor --newer";
    instance_reload();
}

static void set_changes(struct settings_of_world *s)
{
    unsigned max = (unsigned)world_pick(3, 6);
    set_pool(s, 3, max);
    s->nodes = (unsigned)world_pick(0, 1);
}

/* One that is there before new ones are may have an old container; later nobody has. */
static void begin_changes(void)
{
    expect_pool(POOL_IS_READY_MS - 1, 3);
    world_at(POOL_IS_READY_MS, change_class, NULL);
    born_at(POOL_IS_READY_MS + 1, false, 0);
    expect_pool(5 * POOL_IS_READY_MS, 3);
    born_at(5 * POOL_IS_READY_MS + 1, false, 0);
}

static void judge_changes(void)
{
    judge_lives();
    warm_want("misses", warm_figure("misses"), 0);
    for (const struct container *c = containers; c; c = c->next)
        if (c->spawned_ms < changed_at_ms && c->ended_ms > 5 * POOL_IS_READY_MS)
            world_violate("WARM", "container %u is of the old class", c->index);
}

static unsigned drained_after;

static void drained(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg, (void)document;
    drained_after += error == NULL;
}

static void drain_all(void *arg)
{
    (void)arg;
    struct call *call = call_new("drain", 60000, drained, NULL);
    call_keep(call, cleat_drain(coordinator, NULL, false, call_done, call));
}

static void undrain_all(void *arg)
{
    (void)arg;
    struct call *call = call_new("undrain", 60000, drained, NULL);
    call_keep(call, cleat_undrain(coordinator, NULL, call_done, call));
}

static void begin_drain(void)
{
    drained_after = 0;
    expect_pool(POOL_IS_READY_MS - 1, 3);
    world_at(POOL_IS_READY_MS, drain_all, NULL);
    expect_pool(2 * POOL_IS_READY_MS - 1, 0);
    world_at(2 * POOL_IS_READY_MS, undrain_all, NULL);
    expect_pool(3 * POOL_IS_READY_MS, 3);
    born_at(3 * POOL_IS_READY_MS + 1, false, 0);
}

static void judge_drained(void)
{
    warm_want("drains", drained_after, 2);
    judge_lives();
}

static void set_sizes(struct settings_of_world *s)
{
    set_pool(s, 2, 8);
}

static void grow(void *arg)
{
    (void)arg;
    settings.warm_min = 6;
    instance_reload();
}

static void shrink(void *arg)
{
    (void)arg;
    settings.warm_min = settings.warm_max = 1;
    instance_reload();
}

static void begin_sizes(void)
{
    expect_pool(POOL_IS_READY_MS - 1, 2);
    world_at(POOL_IS_READY_MS, grow, NULL);
    expect_pool(2 * POOL_IS_READY_MS - 1, 6);
    world_at(2 * POOL_IS_READY_MS, shrink, NULL);
    expect_pool(3 * POOL_IS_READY_MS, 1);
    born_at(3 * POOL_IS_READY_MS + 1, false, 0);
}

/* Nothing is kept at first; what is asked for every five seconds is expected after a while.
 * A task passes three states of at most ten seconds: three are wanted at the mean of fifteen,
 * two when those of late were quick. */
static void set_expected(struct settings_of_world *s)
{
    set_pool(s, 0, 5);
    s->ecs = true;
    ecs_habits.state_ms = 10000;
}

static void look_at_expectation(void *arg)
{
    (void)arg;
    int64_t target = warm_figure("target");
    if (target < 2)
        world_violate("WARM", "%" PRId64 " are wanted, of twelve in a minute", target);
}

static void begin_expected(void)
{
    for (int i = 0; i < 60; i++)
        born_at(1000 + 5000 * i, false, 0);
    world_at(200000, look_at_expectation, NULL);
}

static void judge_expected(void)
{
    judge_lives();
    if (warm_figure("hits") < 30)
        world_violate("WARM", "only %" PRId64 " of 60 found a warm container",
                      warm_figure("hits"));
    warm_want("target in the end", warm_figure("target"), 0);
}

/* No launch works for ten minutes: they become rare. */
static void set_failing(struct settings_of_world *s)
{
    set_pool(s, 4, 4);
    s->faults.until_ms = 600000;
    s->faults.spawn_dies = 10000;
}

static void judge_failing(void)
{
    unsigned failed = 0;
    for (const struct container *c = containers; c; c = c->next)
        failed += c->spawned_ms < settings.faults.until_ms;
    if (failed < 4 || failed > 20)
        world_violate("WARM", "%u launches in ten minutes in which none works", failed);
    judge_lives();
}

/* One that is there already says nothing of those that fail. */
static void set_failing_beside(struct settings_of_world *s)
{
    set_pool(s, 1, 4);
    s->faults.until_ms = 720000;
}

static void begin_to_fail(void *arg)
{
    (void)arg;
    warm_want("ready", warm_figure("ready"), 1);
    world.faults.spawn_dies = 10000;
    settings.warm_min = 4;
    instance_reload();
}

static void begin_failing_beside(void)
{
    world_at(2 * POOL_IS_READY_MS, begin_to_fail, NULL);
    expect_pool(1700000, 4);
    born_at(1700001, false, 0);
}

static void begin_failing(void)
{
    expect_pool(1500000, 4);
    born_at(1500001, false, 0);
}

static void set_random_warm(struct settings_of_world *s)
{
    set_random(s);
    s->warm_max = (unsigned)world_pick(1, 4);
    s->warm_min = (unsigned)world_pick(0, s->warm_max);
    s->warm_ttl_s = world_chance(3000) ? world_pick(5, 60) : 1800;
    s->stagger_ms = world_pick(0, 120000);
}

const struct scenario warm_scenarios[] = {
    {"crash-warm", "two claims and a refill", set_crash_warm, begin_claims, judge_lives,
     EACH_POINT},
    {"crash-warm-ecs", "the same of tasks with credentials", set_crash_warm_ecs, begin_claims,
     judge_lives, EACH_POINT},
    {"crash-warm-plain", "the same without proof", set_crash_warm_plain, begin_claims,
     judge_lives, EACH_POINT},
    {"crash-warm-env", "a claim that hands over env and input", set_crash_warm_env,
     begin_claim_with_env, judge_lives, EACH_POINT},
    {"warm-many", "200 claims of 200 warm containers", set_many, begin_many, judge_many, 1},
    {"warm-deaths", "warm containers die", set_deaths, begin_deaths, judge_deaths, 10},
    {"warm-ages", "warm containers grow old", set_ages, begin_ages, judge_ages, 4},
    {"warm-hour", "plain containers have an hour", set_plain_hour, begin_hour, judge_hour, 1},
    {"warm-changes", "the class changes", set_changes, begin_changes, judge_changes, 10},
    {"warm-drain", "everything is drained", set_changes, begin_drain, judge_drained, 4},
    {"warm-sizes", "more and fewer are wanted", set_sizes, begin_sizes, judge_lives, 2},
    {"warm-expected", "as many as are asked for", set_expected, begin_expected, judge_expected,
     1},
    {"warm-failing", "launches fail", set_failing, begin_failing, judge_failing, 10},
    {"warm-failing-beside", "launches fail, and one works since long ago", set_failing_beside,
     begin_failing_beside, judge_failing, 4},
    {"warm-random", "random lives and faults with a pool", set_random_warm, NULL, NULL, 100},
    {NULL, NULL, NULL, NULL, NULL, 0}};
