#include "scenario.h"
#include <inttypes.h>
#include <string.h>
#include "books.h"
#include "files.h"
#include "instance.h"
#include "places.h"
#include "recount.h"
#include "service.h"
#include "static.h"
#include "sim_aws.h"
#include "sim_stage.h"
#include "sim_store.h"
#include "trap.h"
#include "witness.h"

#define LIVES_END_MS (INT64_C(6) * 3600 * 1000)
#define QUIET_STEPS 10
#define SETTLE_MS (INT64_C(3600) * 1000)
#define STEP_MS 1000
#define CREATE_TIMEOUT_S 600 /* the default */
#define TASK                                                                                   \
    "{\"taskDefinition\":\"executor\",\"launchType\":\"FARGATE\",\"networkConfiguration\":{"   \
    "\"awsvpcConfiguration\":{\"subnets\":[\"subnet-1\"]}}}"

void sim_client_begin(void);

struct settings_of_world settings;
struct scenario_order scenario_order;
/* clang-format off */
static const struct scenario *const lists[] = {
    scenarios,
    cleanup_scenarios,
    crash_scenarios,
    death_scenarios,
    disk_scenarios,
    mute_scenarios,
    family_scenarios,
    job_scenarios,
    orphan_scenarios,
    static_scenarios,
    queue_scenarios,
    two_scenarios,
    warm_scenarios,
    claim_scenarios,
};
/* clang-format on */

const struct scenario *scenario_next(const struct scenario *s)
{
    const size_t count = sizeof lists / sizeof *lists;
    if (!s)
        return lists[0];
    if (s[1].name)
        return s + 1;
    for (size_t i = 0; i + 1 < count; i++)
        for (const struct scenario *of = lists[i]; of->name; of++)
            if (of == s)
                return lists[i + 1];
    return NULL;
}

const struct scenario *scenario_find(const char *name)
{
    if (strcmp(name, scenario_random.name) == 0)
        return &scenario_random;
    const struct scenario *s = scenario_next(NULL);
    while (s && strcmp(s->name, name) != 0)
        s = scenario_next(s);
    return s;
}

static void spin(void *arg)
{
    world_at(0, spin, arg);
}

static void restart_engine(void *arg)
{
    (void)arg;
    docker_restart(world_pick(50, 10000));
}

static void restart_node(void *arg)
{
    haproxy_restart(arg, world_pick(50, 3000));
}

/* ---- the world ---- */

static void forget_tables(void)
{
    network_begin();
    service_begin();
    docker_begin();
    static_begin();
    aws_begin();
    haproxy_begin();
    files_begin();
    datafiles_begin();
    books_begin();
    sim_store_begin();
    sim_client_begin();
    containers_begin();
    traps_begin();
    places_begin();
    stages_begin();
    lives_begin();
    witness_begin();
    instances_crashes = 0;
}

static void set_defaults(void)
{
    memset(&settings, 0, sizeof settings);
    settings.lives = 4;
    settings.max_executions = 3;
    settings.max_sessions = 1000;
    settings.linger_ms = 2000;
    settings.check_interval_ms = 1000;
    settings.salvage_limit_s = 300;
    settings.retention_s = 86400;
    settings.idle_timeout_s = 1800;
    settings.max_lifetime_s = 900;
    settings.warm_ttl_s = 1800;
}

static void build_world(void)
{
    world.faults = settings.faults;
    store_habits.crash_at_commit = settings.crash_at_commit;
    container_habits.plain = settings.plain;
    books_limits.salvage_limit_ms = settings.salvage_limit_s * 1000;
    books_limits.probes_in_flight = 32;
    books_limits.warm_max = settings.warm_max;
    /* A crash may undo that it was ready. */
    life_limits.execute_ms = (CREATE_TIMEOUT_S + settings.max_lifetime_s + 300) * 1000;
    life_limits.replaces = settings.replace;
    life_limits.close_ms = (settings.salvage_limit_s + 1800) * 1000;
    for (unsigned i = 0; i < settings.nodes; i++) {
        struct node *node = haproxy_start(i);
        node->random_picks = settings.random_picks;
        node->rehomes_cookies = settings.rehomes_cookies;
        node->own_cookies = settings.own_cookies;
        node->cookie_age_s = settings.cookie_age_s;
        node->mute_from_ms = settings.mute_from_ms;
        node->mute_to_ms = settings.mute_to_ms;
        if (settings.node_restart_ms)
            world_at(settings.node_restart_ms, restart_node, node);
    }
    if (settings.ecs || settings.groups)
        aws_listen();
    files_put("/simulated/ecs-task.json", TASK);
    files_put(FILES_BOOT_ID, "boot-0\n");
    for (unsigned i = 0; i < settings.groups; i++) {
        struct node *node = alb_add_group(i, settings.slots);
        node->random_picks = settings.random_picks;
        node->rehomes_cookies = settings.rehomes_cookies;
    }
    if (settings.static_hosts)
        static_start(settings.static_hosts);
    if (settings.docker)
        docker_start();
    if (settings.docker && settings.engine_restart_ms)
        world_at(settings.engine_restart_ms, restart_engine, NULL);
    if (world.sabotage == SABOTAGE_SPIN)
        world_at(1000, spin, NULL);
    instance_begin();
}

static void random_lives(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan plan;
        plan_draw(&plan);
        life_new(&plan);
    }
}

static bool step_until(int64_t at_ms)
{
    world_run_until(at_ms);
    if (!world.violation[0] && world.crash_due)
        instance_crash_and_restart();
    return !world.violation[0];
}

static bool all_up_and_done(void)
{
    for (const struct instance *i = world.instances; i; i = i->next)
        if (!i->cleat || recount_has_attempts(i->cleat))
            return false;
    return true;
}

/* By the engines' own books: a task that is still to start counts as well. */
static bool anything_left(void)
{
    return containers_alive() > 0 || haproxy_targets() > 0 || ecs_left() > 0 || alb_left() > 0;
}

static void reload(void *arg)
{
    (void)arg;
    instance_reload();
}

/* Nobody wants warm containers any more. */
static void let_cool(void)
{
    if (settings.warm_max == 0)
        return;
    settings.warm_min = settings.warm_max = 0;
    for (world.me = world.instances; world.me; world.me = world.me->next)
        world_at(0, reload, NULL);
    world.me = world.instances;
}

/* It is over when for a while nothing is left: drivers may be in the middle of telling, and an
 * engine may get to an old request late, also while cleat is down. */
static void run_to_the_end(void)
{
    while (!lives_all_closed() && world.now_ms < LIVES_END_MS)
        if (!step_until(world.now_ms + STEP_MS))
            return;
    let_cool();
    int64_t end_ms = world.now_ms + SETTLE_MS;
    for (int quiet = 0; quiet < QUIET_STEPS && world.now_ms < end_ms;) {
        if (!step_until(world.now_ms + STEP_MS))
            return;
        bool waits = anything_left() || !calls_all_answered() || !all_up_and_done();
        quiet = waits ? 0 : quiet + 1;
    }
    if (ecs_left() + alb_left() > 0)
        world_violate("I5", "%u tasks, %u targets are left", ecs_left(), alb_left());
    for (const struct instance *i = world.instances; i; i = i->next)
        if (i->cleat)
            recount_at_end(i->cleat);
    books_check_end();
    stages_check_end();
    lives_check_end();
    witness_check_end();
}

static void stop_all(void)
{
    for (world.me = world.instances; world.me; world.me = world.me->next)
        instance_stop(world.violation[0] != '\0');
}

static unsigned count_lives(void)
{
    unsigned count = 0;
    for (const struct life *life = lives; life; life = life->next)
        count++;
    return count;
}

void scenario_run(const struct scenario *scenario, uint64_t seed,
                  const struct scenario_order *order, struct scenario_result *out)
{
    scenario_order = *order;
    world.log_file = order->log_file;
    world_begin(seed);
    forget_tables();
    cleat_set_log(instance_take_log, NULL, 2);
    world.sabotage = order->sabotage;
    world.crash_point = order->crash_at;
    store_habits.fails_at = order->fail_commit;
    store_habits.full_at = order->full_commit;
    world_log("scenario %s seed %" PRIu64, scenario->name, seed);
    set_defaults();
    scenario->set(&settings);
    build_world();
    if (scenario->begin)
        scenario->begin();
    else
        random_lives();
    run_to_the_end();
    world.me = world.instances;
    if (!world.violation[0] && scenario->judge)
        scenario->judge();
    unsigned count = count_lives();
    stop_all();
    *out = (struct scenario_result){.lives = count,
                                    .crashes = instances_crashes,
                                    .turns = world.turns,
                                    .log_hash = world.log_hash,
                                    .points = world.points,
                                    .commits = sim_store_commits,
                                    .probes = network_books.probes,
                                    .confirms = network_books.confirms,
                                    .requests = network_books.requests,
                                    .virtual_ms = world.now_ms};
    memcpy(out->violation, world.violation, sizeof out->violation);
    forget_tables();
    world_end();
}
