/* The scenarios. Each draws what it does not fix from the seed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "books.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"
#include "sim_stage.h"

#define TARGETS_BACK_MS 2000

/* ---- plans ---- */

static struct plan plain_plan(int64_t born_ms)
{
    return (struct plan){
        .tenant = "tenant-a", .born_ms = born_ms, .close_ms = -1, .linger_ms = 1000};
}

static void add_execution(struct plan *p, int64_t after_ready_ms, int64_t takes_ms,
                          bool artifact)
{
    p->execution[p->executions++] = (struct planned_execution){.after_ready_ms = after_ready_ms,
                                                               .takes_ms = takes_ms,
                                                               .artifact = artifact,
                                                               .named = true};
}

static struct life *life_number(unsigned index)
{
    struct life *life = lives;
    while (life && life->index != index)
        life = life->next;
    return life;
}

/* ---- quiet worlds of a certain shape ---- */

static void set_quiet(struct settings_of_world *s)
{
    s->nodes = 1;
}

static void set_direct(struct settings_of_world *s)
{
    (void)s;
}

static void set_64(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 64;
    s->gather_max_ms = "60000";
}

static void judge_64(void)
{
    uint64_t all = network_books.probes + network_books.confirms;
    uint64_t bound = settings.lives * 5 / 2 + 16;
    printf("  64 at once: %" PRIu64 " probes + %" PRIu64 " confirms, allowed %" PRIu64 "\n",
           network_books.probes, network_books.confirms, bound);
    if (all > bound)
        world_violate("PROBES", "%" PRIu64 " probes and confirms for %u sessions", all,
                      settings.lives);
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
}

static void judge_all_ready_quietly(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
}

static void judge_all_ready(void)
{
    printf("  %u sessions: %" PRIu64 " probes + %" PRIu64 " confirms\n", settings.lives,
           network_books.probes, network_books.confirms);
    judge_all_ready_quietly();
}

static void set_random_picks(struct settings_of_world *s)
{
    set_64(s);
    s->random_picks = true;
}

static void set_three_nodes(struct settings_of_world *s)
{
    set_64(s);
    s->nodes = 3;
}

static void set_three_nodes_own_cookies(struct settings_of_world *s)
{
    set_three_nodes(s);
    s->own_cookies = true;
}

static void set_staggered(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 64;
    s->stagger_ms = 15000;
    s->linger_ms = 20000;
}

/* One newcomer among 64 that are routed already. */
static void begin_newcomer(void)
{
    for (int i = 0; i < 64; i++) {
        struct plan p = plain_plan(0);
        p.close_ms = 120000;
        p.stays = true;
        add_execution(&p, 100000, 10, false);
        life_new(&p);
    }
    struct plan newcomer = plain_plan(60000);
    add_execution(&newcomer, 100, 50, true);
    life_new(&newcomer);
}

static void judge_newcomer(void)
{
    const struct life *newcomer = life_number(64);
    printf("  newcomer among 64: ready after %" PRId64 " ms; %" PRIu64 " probes in all\n",
           newcomer->ready_ms - 60000, network_books.probes);
    if (newcomer->ready_ms < 0 || newcomer->ready_ms > 90000)
        world_violate("READY", "the newcomer was not ready in time");
}

static void set_fail_over(struct settings_of_world *s)
{
    s->nodes = 1;
    s->rehomes_cookies = world_chance(5000);
}

/* ---- the silent fail-over: a target hangs, the balancer re-routes its session to another's
 * container; the next execution is a misroute that did not run, and when the target is back the
 * session works ---- */

static void hang_first(void *arg)
{
    (void)arg;
    container_hang(container_of_session(life_number(0)->session), true);
}

static void wake_first(void *arg)
{
    (void)arg;
    container_hang(container_of_session(life_number(0)->session), false);
}

static void begin_fail_over(void)
{
    for (int i = 0; i < 2; i++) {
        struct plan p = plain_plan(0);
        p.close_ms = 120000;
        p.stays = true;
        add_execution(&p, 500, 20, true);
        add_execution(&p, 25000, 20, false); /* after the target went down */
        add_execution(&p, 70000, 20, false);
        life_new(&p);
    }
    world_at(15000, hang_first, NULL);
    world_at(50000, wake_first, NULL);
}

static void judge_fail_over(void)
{
    const struct life *first = life_number(0), *second = life_number(1);
    if (first->execution[0].outcome != OUTCOME_RECORD ||
        first->execution[2].outcome != OUTCOME_RECORD)
        world_violate("FAIL-OVER", "an execution before or after the fail-over did not run");
    if (first->execution[1].outcome == OUTCOME_ERROR && !first->execution[1].said_not_run)
        world_violate("FAIL-OVER", "the misrouted execution fails with %s and not with ran: no",
                      first->execution[1].error);
    for (int i = 0; i < 3; i++)
        if (second->execution[i].outcome != OUTCOME_RECORD)
            world_violate("FAIL-OVER", "the other session was touched");
}

/* ---- liars ---- */

static void pose_as_second(void *arg)
{
    (void)arg;
    struct container *liar = container_of_session(life_number(0)->session);
    if (liar)
        liar->poses_as = life_number(1)->session;
}

static void begin_liar(void)
{
    for (int i = 0; i < 4; i++) {
        struct plan p = plain_plan(i == 0 ? 0 : 3000);
        add_execution(&p, 100, 20, true);
        add_execution(&p, 30000, 20, false);
        if (i == 0)
            p.close_ms = 90000;
        life_new(&p);
    }
    world_at(5000, pose_as_second, NULL);
}

static void judge_liar(void)
{
    for (unsigned i = 1; i < 4; i++)
        for (unsigned e = 0; e < 2; e++)
            if (life_number(i)->execution[e].outcome != OUTCOME_RECORD)
                world_violate("LIAR", "the liar disturbed L%u: %s", i,
                              life_number(i)->execution[e].error
                                  ? life_number(i)->execution[e].error
                                  : "not executed");
}

/* ---- the artifact store is out of reach ---- */

static void set_store_down(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 6;
    s->max_executions = 4;
    container_habits.artifacts_down_until_ms = 200000;
    container_habits.artifacts_hang = world_chance(5000);
}

static void judge_store_down(void)
{
    for (const struct container *c = containers; c; c = c->next)
        if (c->uploaded < c->artifacts)
            world_violate("I4", "container %u lost files though the store came back", c->index);
}

static void set_store_gone(struct settings_of_world *s)
{
    set_store_down(s);
    container_habits.artifacts_down_until_ms = FOREVER;
}

static void set_node_restart(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(1, 2);
    s->rehomes_cookies = world_chance(5000);
    s->node_restart_ms = world_pick(3000, 12000);
}

/* Those of all that were ready when it went down. */
static void look_for_targets(void *arg)
{
    struct node *node = arg;
    for (const struct life *life = lives; life; life = life->next) {
        const struct container *c = container_of_session(life->session);
        bool was_ready = life->phase == LIFE_READY && life->ready_ms < settings.node_restart_ms;
        if (was_ready && c && !haproxy_find(node, c->key))
            world_violate("RESTART", "%s has no target on node %u, %d ms after its return",
                          life->name, node->index, TARGETS_BACK_MS);
    }
}

static void wait_for_node(void *arg)
{
    struct node *node = arg;
    if (node->down)
        world_at(10, wait_for_node, node);
    else
        world_at(TARGETS_BACK_MS, look_for_targets, node);
}

static void begin_node_restart(void)
{
    for (struct node *node = nodes; node; node = node->next)
        world_at(settings.node_restart_ms + 10, wait_for_node, node);
    for (int i = 0; i < 8; i++) {
        struct plan p = plain_plan(world_pick(0, 2000));
        add_execution(&p, world_pick(0, 10000), 200, true);
        add_execution(&p, 60000, 20,
                      true); /* long after the restart: its cookies are forgotten */
        add_execution(&p, 80000, 20, true);
        life_new(&p);
    }
}

static void judge_node_restart(void)
{
    for (const struct life *life = lives; life; life = life->next) {
        const struct life_execution *first = &life->execution[1], *second = &life->execution[2];
        if (first->outcome != OUTCOME_RECORD && !first->said_not_run)
            world_violate("RESTART", "%s fails after its balancer's restart: %s", life->name,
                          first->error ? first->error : "not executed");
        if (second->outcome != OUTCOME_RECORD)
            world_violate("RESTART", "%s does not work after its balancer's restart: %s",
                          life->name, second->error ? second->error : "not executed");
    }
}

static void set_mute_node(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 4;
    s->mute_from_ms = 6000;
    s->mute_to_ms = 6000 + world_pick(10, 600) * 1000;
    s->linger_ms = 20000;
}

/* Who is ready works on. */
static void judge_mute_node(void)
{
    for (const struct life *life = lives; life; life = life->next)
        for (unsigned i = 0; i < life->plan.executions; i++)
            if (life->was_ready && life->execution[i].outcome == OUTCOME_ERROR)
                world_violate("MUTE", "execution %u of %s: %s", i, life->name,
                              life->execution[i].error);
}

/* Containers that die while their session is used, and some while cleat is down. */
static void kill_one(void *arg)
{
    struct container *c = container_of_session(life_number(arg ? 1 : 0)->session);
    if (c)
        container_end(c, 9);
    world.crash_due = arg != NULL;
}

static void begin_deaths(void)
{
    static char second;
    for (int i = 0; i < 3; i++) {
        struct plan p = plain_plan(0);
        p.close_ms = 200000;
        p.stays = true;
        add_execution(&p, 100, 50, true);
        add_execution(&p, 60000, 50, true);
        life_new(&p);
    }
    world_at(20000, kill_one, NULL);
    world_at(30000, kill_one, &second);
}

static void judge_deaths(void)
{
    for (unsigned i = 0; i < 3; i++) {
        const struct life_execution *e = &life_number(i)->execution[1];
        if ((e->outcome == OUTCOME_RECORD) != (i == 2))
            world_violate("DEATHS", "L%u: the execution after the death is wrong", i);
    }
}

/* Wanted again at once, while a slow node still lists them. */
static void set_few_addresses(struct settings_of_world *s)
{
    s->nodes = 1;
    s->faults.until_ms = FOREVER;
    s->faults.ask_late = 3000;
    s->lives = 40;
    s->stagger_ms = 10000;
    s->address_range = "127.64.0.0/29";
}

static void set_crashes(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(0, 2);
    s->lives = 6;
    s->crash_every_ms = 700;
    s->faults.until_ms = 60000;
    s->faults.commit_crash = 300;
    s->direct_never = world_chance(3000);
}

static void begin_each_commit_cancelled(void)
{
    for (int i = 0; i < 3; i++) {
        struct plan p = plain_plan(0);
        p.close_ms = world_pick(0, 3500);
        p.env = true;
        add_execution(&p, 10, 100, true);
        life_new(&p);
    }
}

/* Each commit of a world in turn: the seeds of a run count through them. */
static void set_each_commit(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(0, 1);
    s->lives = 2;
    s->max_executions = 2;
    s->crash_at_commit = 1 + world.seed % 40;
    s->direct_never = world_chance(3000);
    s->linger_ms = 500;
}

static void set_plain(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 8;
    s->plain = true;
}

#define CRASH_MS 10000

/* Its containers are given up before the balancer's socket answers again, and their successors
 * come while it is not known what they did in an earlier life of cleat. */
static void set_plain_mute(struct settings_of_world *s)
{
    set_plain(s);
    s->docker = true;
    s->mute_from_ms = 500;
    s->mute_to_ms = CRASH_MS + 60000 + world_pick(0, 6000);
}

static void crash(void *arg)
{
    (void)arg;
    world.crash_due = true;
}

static void begin_plain_mute(void)
{
    for (int i = 0; i < 4; i++) {
        struct plan p = plain_plan(100 * i);
        add_execution(&p, 100, 20000, true);
        life_new(&p);
    }
    world_at(CRASH_MS, crash, NULL);
}

static void set_doubles(struct settings_of_world *s)
{
    s->nodes = 1;
    s->max_executions = 5;
    s->faults.until_ms = FOREVER;
    s->faults.http_doubled = 5000;
}

/* ---- input ---- */

static void set_input(struct settings_of_world *s)
{
    s->nodes = (unsigned)world_pick(0, 1);
    s->lives = 20;
    s->input = true;
}

static void set_input_faults(struct settings_of_world *s)
{
    set_input(s);
    s->lives = 6;
    s->faults.until_ms = 10000;
    s->faults.spawn_fails = 2000;
    s->faults.stage_fails = s->faults.stage_dies = s->faults.stage_slow = 2000;
    s->faults.sync_fails = s->faults.sync_short = s->faults.sync_slow = 3000;
}

static void set_input_each_commit(struct settings_of_world *s)
{
    set_each_commit(s);
    s->input = true;
}

/* Whose cookies lapse while they fetch, so that others may fetch in their place. */
static void set_input_plain(struct settings_of_world *s)
{
    set_input(s);
    s->nodes = 1;
    s->lives = 8;
    s->plain = true;
    s->cookie_age_s = 10;
    s->rehomes_cookies = true;
    s->faults.until_ms = 60000;
    s->faults.sync_slow = 5000;
}

/* Closed before, while and after their inputs are copied and fetched. */
static void begin_input_closed(void)
{
    for (int i = 0; i < 12; i++) {
        struct plan p = plain_plan(0);
        p.inputs = 6;
        p.close_ms = world_pick(0, 4000);
        life_new(&p);
    }
}

static void judge_input(void)
{
    judge_all_ready_quietly();
    for (const struct life *life = lives; life; life = life->next)
        if (life->plan.inputs > stage_files_in_store(life->session))
            world_violate("INPUT", "%s has %u of %u files in the store", life->name,
                          stage_files_in_store(life->session), life->plan.inputs);
}

/* ---- the Docker engine ---- */

static void set_docker(struct settings_of_world *s)
{
    s->docker = true;
    s->nodes = (unsigned)world_pick(0, 1);
}

static void set_docker_pull(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 20;
    docker_habits.has_image = false;
    docker_habits.pull_ms = world_pick(100, 40000);
}

static void set_docker_each_commit(struct settings_of_world *s)
{
    set_each_commit(s);
    s->docker = true;
}

/* Its containers die with it: who is ready closes, who is not tries again. */
static void set_docker_restart(struct settings_of_world *s)
{
    s->docker = true;
    s->lives = 6;
    s->stagger_ms = 20000;
    s->engine_restart_ms = world_pick(1, 15000);
}

static void judge_docker(void)
{
    judge_all_ready_quietly();
    if (docker_left() > 0)
        world_violate("I5", "%u containers are left in the engine", docker_left());
}

/* ---- AWS ---- */

static void set_ecs(struct settings_of_world *s)
{
    s->ecs = true;
    s->lives = 8;
    ecs_habits.late_to_see = 5000;
}

static void set_ecs_shared(struct settings_of_world *s)
{
    set_ecs(s);
    s->groups = (unsigned)world_pick(1, 3);
    s->random_picks = world_chance(5000);
    s->own_role = world_chance(5000);
}

static void set_ecs_slots(struct settings_of_world *s)
{
    set_ecs(s);
    s->groups = 6;
    s->slots = true;
    alb_habits.deregistration_ms = 5000;
}

/* One after another: what a task gave back the next one gets. */
static void set_ecs_reused(struct settings_of_world *s)
{
    set_ecs(s);
    s->groups = 1;
    s->lives = 12;
    s->stagger_ms = 300000;
    s->linger_ms = 40000;
}

static void set_ecs_keys(struct settings_of_world *s)
{
    set_ecs(s);
    s->own_role = true;
}

static void set_ecs_each_commit(struct settings_of_world *s)
{
    set_each_commit(s);
    s->nodes = 0;
    s->ecs = true;
    s->groups = (unsigned)world_pick(0, 2);
    s->slots = s->groups == 2;
    ecs_habits.late_to_see = 3000;
}

/* The same while answers of AWS come in half. */
static void set_ecs_torn(struct settings_of_world *s)
{
    set_ecs_each_commit(s);
    s->groups = 3;
    s->slots = world_chance(5000);
    s->lives = 4;
    s->faults.until_ms = 20000;
    s->faults.http_cut_body = 2500;
}

static void set_ecs_plain(struct settings_of_world *s)
{
    set_ecs(s);
    s->plain = true;
    s->groups = 1;
}

/* As if a parameter had changed between a crash and the repeat: the task that the conflict
 * names is adopted. */
static void set_ecs_conflict(struct settings_of_world *s)
{
    set_ecs_each_commit(s);
    s->faults.until_ms = 60000;
    s->faults.http_answer_lost = 2000;
    ecs_habits.forgets_bytes = true;
}

/* A restart after the ends of sessions: their request ids stay refused. */
static void restart_all(void *arg)
{
    (void)arg;
    world.crash_due = true;
}

static void begin_blocked(void)
{
    for (int i = 0; i < 3; i++) {
        struct plan p = plain_plan(0);
        life_new(&p);
    }
    struct plan p = plain_plan(0);
    p.close_ms = 150000;
    p.stays = true;
    life_new(&p);
    world_at(100000, restart_all, NULL);
}

const struct scenario scenarios[] = {
    {"quiet", "four sessions behind one node, no fault", set_quiet, NULL, judge_all_ready, 3},
    {"direct", "four sessions without a balancer, no fault", set_direct, NULL, judge_all_ready,
     3},
    {"64", "64 at once, round robin; probes are bounded", set_64, NULL, judge_64, 1},
    {"random-picks", "64 at once, the balancer picks at random", set_random_picks, NULL,
     judge_all_ready, 1},
    {"three-nodes", "64 at once, three nodes with their own rotation", set_three_nodes, NULL,
     judge_all_ready, 1},
    {"own-cookies", "the same, and a node knows its own cookies only",
     set_three_nodes_own_cookies, NULL, judge_all_ready, 1},
    {"staggered", "64 that start one after another", set_staggered, NULL, judge_all_ready, 1},
    {"newcomer", "one newcomer among 64 that are routed", set_quiet, begin_newcomer,
     judge_newcomer, 1},
    {"fail-over", "a target hangs and the balancer re-routes silently", set_fail_over,
     begin_fail_over, judge_fail_over, 5},
    {"liar", "user code takes the port and poses as another session", set_quiet, begin_liar,
     judge_liar, 5},
    {"store-down", "the artifact store is out of reach for a while", set_store_down, NULL,
     judge_store_down, 3},
    {"store-gone", "the artifact store is out of reach for ever", set_store_gone, NULL, NULL,
     3},
    {"node-restart", "the balancer restarts and has forgotten its servers", set_node_restart,
     begin_node_restart, judge_node_restart, 6},
    {"mute-node", "nobody answers on the balancer's socket, its traffic flows on",
     set_mute_node, NULL, judge_mute_node, 5},
    {"few-addresses", "40 sessions share 6 addresses, one after another", set_few_addresses,
     NULL, judge_all_ready, 4},
    {"deaths", "containers die while they are used, one while cleat is down", set_quiet,
     begin_deaths, judge_deaths, 3},
    {"crashes", "the coordinator crashes at commits and between turns", set_crashes, NULL, NULL,
     10},
    {"doubles", "every other request arrives unseen", set_doubles, NULL, judge_all_ready, 3},
    {"blocked", "a restart after the end of sessions", set_direct, begin_blocked, NULL, 1},
    {"each-commit", "a crash at the n-th commit, before or after it is durable",
     set_each_commit, NULL, judge_all_ready_quietly, 80},
    {"each-commit-cancelled", "the same, and sessions are closed in any state", set_each_commit,
     begin_each_commit_cancelled, NULL, 200},
    {"input", "the inputs of 20 sessions are copied and fetched", set_input, NULL, judge_input,
     4},
    {"input-faults", "copies fail, die and take long, containers fetch less", set_input_faults,
     NULL, judge_input, 10},
    {"input-each-commit", "a crash at the n-th commit", set_input_each_commit, NULL,
     judge_input, 80},
    {"input-plain", "containers that prove nothing fetch while their cookies lapse",
     set_input_plain, NULL, judge_input, 20},
    {"input-closed", "sessions are closed while their inputs are copied", set_input,
     begin_input_closed, NULL, 10},
    {"docker", "four sessions on a Docker engine, no fault", set_docker, NULL, judge_docker, 4},
    {"docker-pull", "20 sessions wait for one image", set_docker_pull, NULL, judge_docker, 3},
    {"docker-restart", "the engine restarts, its containers end", set_docker_restart, NULL,
     judge_docker, 10},
    {"docker-each-commit", "a crash at the n-th commit", set_docker_each_commit, NULL,
     judge_docker, 80},
    {"docker-away", "50 sessions open while the engine is away", set_docker_away,
     begin_docker_away, judge_docker_away, 3},
    {"mute-artifacts", "20 sessions open while their artifact store does not answer",
     set_mute_artifacts, begin_mute_artifacts, judge_mute_artifacts, 3},
    {"docker-listed", "launches fail while the first listing is under way", set_docker_listed,
     NULL, NULL, 40},
    {"haproxy-away", "30 sessions open and close while HAProxy takes no commands",
     set_haproxy_away, begin_haproxy_away, judge_haproxy_away, 3},
    {"room-returns", "sessions wait for room in an engine", set_room_returns,
     begin_room_returns, judge_room_returns, 6},
    {"ecs", "eight tasks, each on its own address", set_ecs, NULL, judge_all_ready_quietly, 4},
    {"ecs-shared", "eight tasks behind target groups", set_ecs_shared, NULL,
     judge_all_ready_quietly, 4},
    {"ecs-slots", "eight tasks take turns in six slots", set_ecs_slots, NULL,
     judge_all_ready_quietly, 4},
    {"ecs-reused", "tasks get the addresses of those before them", set_ecs_reused, NULL,
     judge_all_ready_quietly, 4},
    {"ecs-keys", "each session is given credentials of its own", set_ecs_keys, NULL,
     judge_all_ready_quietly, 2},
    {"ecs-each-commit", "a crash at the n-th commit", set_ecs_each_commit, NULL,
     judge_all_ready_quietly, 120},
    {"ecs-conflict", "the same, and a repeated RunTask conflicts", set_ecs_conflict, NULL,
     judge_all_ready_quietly, 80},
    {"ecs-torn", "the same, and half of an answer is all that comes", set_ecs_torn, NULL, NULL,
     80},
    {"ecs-plain", "tasks that prove nothing", set_ecs_plain, NULL, judge_all_ready_quietly, 3},
    {"drain", "a tenant or all are drained for a while, with crashes", set_drain,
     begin_drained_lives, judge_drain, 20},
    {"plain", "containers that prove nothing", set_plain, NULL, judge_all_ready, 3},
    {"plain-mute", "the same, while the balancer's socket is mute", set_plain_mute,
     begin_plain_mute, NULL, 40},
    {"lost", "the journal is lost", set_lost, begin_lost, judge_lost, 40},
    {"restored", "an older state of the journal is restored", set_restored, begin_lost,
     judge_lost, 40},
    {"restored-unseen", "and the next life ends before it has listed anything",
     set_restored_unseen, begin_lost, judge_lost, 40},
    {NULL, NULL, NULL, NULL, NULL, 0},
};
