/* Short scripts on each kind of engine, led again with a crash at each of their points. A crash
 * costs nobody anything: each session gets ready in its one container, each execution has its
 * record, each file arrives. */
#include <string.h>
#include "books.h"
#include "scenario.h"
#include "service.h"
#include "static.h"
#include "sim_aws.h"

/* What differs between the scripts. */
static struct script {
    unsigned lives, inputs;
    bool env;
    int64_t close_ms; /* in whatever state; 0: when its executions are done */
    int64_t death_ms; /* of the first one's container; 0: it lives */
    int64_t
        first_ms; /* of the first execution, which nobody asks for again; 0: as the others */
} script;

static void set_script(struct settings_of_world *s, unsigned count)
{
    s->nodes = 0;
    script = (struct script){.lives = count};
}

static void set_crash_direct(struct settings_of_world *s)
{
    set_script(s, 2);
}

static void set_crash_haproxy(struct settings_of_world *s)
{
    set_script(s, 2);
    s->nodes = 1;
}

static void set_crash_two_nodes(struct settings_of_world *s)
{
    set_script(s, 1);
    s->nodes = 2;
    s->direct_never = true;
}

static void set_crash_docker(struct settings_of_world *s)
{
    set_script(s, 2);
    s->docker = true;
}

static void set_crash_docker_haproxy(struct settings_of_world *s)
{
    set_script(s, 1);
    s->docker = true;
    s->nodes = 1;
}

static void set_crash_static(struct settings_of_world *s)
{
    set_script(s, 2);
    s->static_hosts = 2;
}

static void set_crash_ecs(struct settings_of_world *s)
{
    set_script(s, 2);
    s->ecs = true;
    s->groups = 1;
}

static void set_crash_slots(struct settings_of_world *s)
{
    set_script(s, 2);
    s->ecs = true;
    s->groups = 2;
    s->slots = true;
    alb_habits.deregistration_ms = 5000;
}

static void set_crash_role(struct settings_of_world *s)
{
    set_script(s, 1);
    s->ecs = true;
    s->own_role = true;
}

static void set_crash_plain(struct settings_of_world *s)
{
    set_script(s, 1);
    s->nodes = 1;
    s->plain = true;
}

static void set_crash_input(struct settings_of_world *s)
{
    set_script(s, 1);
    s->input = true;
    script.inputs = 3;
}

static void set_crash_env(struct settings_of_world *s)
{
    set_script(s, 1);
    s->nodes = 1;
    script.env = true;
}

/* An execution goes on that its coordinator does not know any more, for longer than the second
 * one may take: that waits for it. */
static void set_crash_behind(struct settings_of_world *s)
{
    set_script(s, 1);
    s->nodes = (unsigned)world_pick(0, 1);
    script.first_ms = 280000;
}

/* One has a place, the others wait in the queue. */
static void set_crash_queue(struct settings_of_world *s)
{
    set_script(s, 3);
    s->max_sessions = 1;
}

static void set_crash_cancelled(struct settings_of_world *s)
{
    set_script(s, 2);
    s->nodes = (unsigned)world_pick(0, 1);
    s->docker = world_chance(5000);
    script.close_ms = world_pick(1, 700);
}

static void set_crash_salvage(struct settings_of_world *s)
{
    set_script(s, 1);
    s->nodes = 1;
    container_habits.artifacts_down_until_ms = 100000;
}

static void set_crash_death(struct settings_of_world *s)
{
    set_script(s, 2);
    s->docker = world_chance(5000);
    script.death_ms = world_pick(10, 1200);
}

static void set_crash_idle(struct settings_of_world *s)
{
    set_script(s, 1);
    s->idle_timeout_s = 2;
    script.close_ms = 60000;
}

static void begin_script(void)
{
    if (script.death_ms)
        world_at(script.death_ms, container_end_first, NULL);
    for (unsigned i = 0; i < script.lives; i++) {
        struct plan p = {.tenant = "tenant-a",
                         .born_ms = 300 * (int64_t)i,
                         .close_ms = script.close_ms ? script.close_ms : -1,
                         .stays = script.close_ms > 0,
                         .linger_ms = 300,
                         .env = script.env,
                         .inputs = script.inputs,
                         .executions = 2};
        for (unsigned e = 0; e < p.executions; e++)
            p.execution[e] = (struct planned_execution){.after_ready_ms = 100 + 400 * e,
                                                        .takes_ms = 200,
                                                        .artifact = true,
                                                        .named = true,
                                                        .retries = true};
        if (script.first_ms) {
            p.execution[0].takes_ms = script.first_ms;
            p.execution[0].timeout_s = script.first_ms / 1000 + 20;
            p.execution[0].retries = false;
        }
        life_new(&p);
    }
}

static void judge_life(const struct life *life)
{
    if (!life->was_ready)
        world_violate("READY", "%s was never ready", life->name);
    if (books_containers(life->session) != 1)
        world_violate("ONCE", "%s had %u containers", life->name,
                      books_containers(life->session));
    for (unsigned i = script.first_ms > 0; i < life->plan.executions; i++)
        if (life->execution[i].outcome != OUTCOME_RECORD && !settings.plain)
            world_violate("RECORD", "execution %u of %s has no record: %s", i, life->name,
                          life->execution[i].error ? life->execution[i].error : "not executed");
}

static void judge_left(void)
{
    for (const struct container *c = containers; c; c = c->next)
        if (c->uploaded < c->artifacts && !script.death_ms)
            world_violate("I4", "container %u lost files", c->index);
    if (docker_left() > 0)
        world_violate("I5", "%u boxes are left", docker_left());
    if (static_left() > 0)
        world_violate("I5", "%u hosts are still leased", static_left());
}

static void judge_script(void)
{
    for (const struct life *life = lives; life; life = life->next)
        judge_life(life);
    judge_left();
}

#define SCRIPT(name, help, set)                                                                \
    {                                                                                          \
        name, help, set, begin_script, judge_script, EACH_POINT                                \
    }
#define SCRIPT_CUT_SHORT(name, help, set)                                                      \
    {                                                                                          \
        name, help, set, begin_script, judge_left, EACH_POINT                                  \
    }

/* ---- how long a restart takes ---- */

#define CRASHES_MS 60000
#define LOOK_MS 50
#define READY_AGAIN_MS 5000

static void set_ready_again(struct settings_of_world *s)
{
    static void (*const engines[])(struct settings_of_world *) = {
        set_crash_direct,         set_crash_haproxy, set_crash_two_nodes, set_crash_docker,
        set_crash_docker_haproxy, set_crash_static,  set_crash_ecs,       set_crash_slots};
    engines[world.seed % (sizeof engines / sizeof *engines)](s);
    s->lives = script.lives;
}

static void look_for_ready(void *arg)
{
    const char *why;
    bool all = coordinator && world.me->since_ms > CRASHES_MS;
    for (const struct life *life = lives; life && all; life = life->next) {
        const char *state = life_state(life, &why);
        all = state && strcmp(state, "READY") == 0;
    }
    bool late = coordinator && world.me->since_ms > CRASHES_MS &&
                world.now_ms > world.me->since_ms + READY_AGAIN_MS;
    if (late)
        world_violate("READY", "not all are ready again %d ms after a start", READY_AGAIN_MS);
    if (all)
        if (!all && !late)
            world_at(LOOK_MS, look_for_ready, arg);
}

static void crash_all(void *arg)
{
    world.crash_due = true;
    world_at(LOOK_MS, look_for_ready, arg);
}

static void begin_ready_again(void)
{
    for (unsigned i = 0; i < settings.lives; i++)
        life_new(&(struct plan){.tenant = "tenant-a", .close_ms = 300000, .stays = true});
    world_at(CRASHES_MS, crash_all, NULL);
}

const struct scenario crash_scenarios[] = {
    SCRIPT("crash-direct", "processes without a balancer", set_crash_direct),
    SCRIPT("crash-haproxy", "processes behind one node", set_crash_haproxy),
    SCRIPT("crash-two-nodes", "processes behind two nodes alone", set_crash_two_nodes),
    SCRIPT("crash-docker", "a Docker engine", set_crash_docker),
    SCRIPT("crash-docker-haproxy", "a Docker engine behind a node", set_crash_docker_haproxy),
    SCRIPT("crash-static", "static hosts", set_crash_static),
    SCRIPT("crash-ecs", "tasks behind a shared target group", set_crash_ecs),
    SCRIPT("crash-slots", "tasks in slots", set_crash_slots),
    SCRIPT("crash-role", "tasks with credentials of their own", set_crash_role),
    SCRIPT("crash-plain", "a container that proves nothing", set_crash_plain),
    SCRIPT("crash-input", "an input that is copied and fetched", set_crash_input),
    SCRIPT("crash-env", "an environment that is handed over", set_crash_env),
    SCRIPT("crash-behind", "an execution that is not known any more", set_crash_behind),
    SCRIPT("crash-queue", "one place for three", set_crash_queue),
    SCRIPT("crash-salvage", "the artifact store is away", set_crash_salvage),
    SCRIPT_CUT_SHORT("crash-cancelled", "closed in any state", set_crash_cancelled),
    SCRIPT_CUT_SHORT("crash-death", "a container dies", set_crash_death),
    SCRIPT_CUT_SHORT("crash-idle", "nobody uses it any more", set_crash_idle),
    {"ready-again", "sessions are ready again soon after a crash", set_ready_again,
     begin_ready_again, NULL, 24},
    {NULL, NULL, NULL, NULL, NULL, 0}};
