/* The random scenario: everything at once, each in any strength. */
#include <string.h>
#include "container.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"
#include "sim_store.h"

/* ---- plans ---- */

void plan_draw(struct plan *p)
{
    memset(p, 0, sizeof *p);
    p->tenant = settings.tenants && world_chance(5000) ? "tenant-b" : "tenant-a";
    p->born_ms = settings.stagger_ms ? world_pick(0, settings.stagger_ms) : 0;
    if (settings.users > 0)
        p->user = world_printf("user-%u", (unsigned)world_pick(1, settings.users));
    p->linger_ms = world_pick(0, settings.linger_ms);
    p->close_ms = -1;
    if (settings.closes_at_random && world_chance(4000))
        p->close_ms = world_pick(0, world_chance(5000) ? 3000 : 60000);
    p->stays = p->close_ms >= 0 && world_chance(5000);
    p->outlives = settings.warm_max > 0 && world_chance(2000);
    p->twice = world_chance(1000);
    p->keeps_alive = world_chance(1000);
    p->env = !settings.plain && world_chance(2000);
    p->inputs = settings.input && world_chance(7000) ? (unsigned)world_pick(1, 6) : 0;
    p->executions = (unsigned)world_pick(0, settings.max_executions);
    int64_t at_ms = 0;
    for (unsigned i = 0; i < p->executions; i++) {
        struct planned_execution *e = &p->execution[i];
        at_ms += world_chance(5000) ? world_pick(0, 200) : world_pick(0, 20000);
        e->after_ready_ms = at_ms;
        e->takes_ms = world_chance(500) ? world_pick(50000, 90000) : world_pick(1, 3000);
        e->fails = world_chance(2000);
        e->artifact = world_chance(3000);
        e->named = world_chance(7000);
        e->argv = !settings.plain && world_chance(2000);
        e->retries = world_chance(7000);
    }
    if (settings.jobs && world_chance(2000))
        plan_draw_job(p);
}

/* ---- the random one ---- */

static void draw_faults(struct faults *f)
{
    unsigned *const chances[] = {&f->http_refused,   &f->http_lost,     &f->http_answer_lost,
                                 &f->http_late,      &f->http_doubled,  &f->http_lying,
                                 &f->http_truncated, &f->http_cut_body, &f->http_5xx,
                                 &f->ask_refused,    &f->ask_lost,      &f->ask_answer_lost,
                                 &f->ask_late,       &f->ask_truncated, &f->ask_nonsense,
                                 &f->spawn_fails,    &f->spawn_dies,    &f->spawn_never_listens,
                                 &f->spawn_slow,     &f->spawn_hangs,   &f->spawn_dies_later,
                                 &f->commit_fails,   &f->commit_crash,  &f->point_crash,
                                 &f->file_fails,     &f->remove_fails,  &f->stage_fails,
                                 &f->stage_dies,     &f->stage_slow,    &f->sync_fails,
                                 &f->sync_short,     &f->sync_slow,     &f->maker_hangs};
    f->until_ms = world_pick(5000, 120000);
    for (size_t i = 0; i < sizeof chances / sizeof *chances; i++)
        if (world_chance(4000))
            *chances[i] =
                (unsigned)(world_chance(2000) ? world_pick(100, 2500) : world_pick(1, 300));
}

static void draw_limits(struct settings_of_world *s)
{
    unsigned *const limits[] = {&s->tenant_max_sessions, &s->user_max_sessions,
                                &s->max_parallel};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (world_chance(5000))
            *limits[i] = (unsigned)world_pick(1, 4);
    s->users = (unsigned)world_pick(1, 4);
    if (world_chance(2000))
        s->queue_timeout_s = (unsigned)world_pick(1, 60);
}

void set_random(struct settings_of_world *s)
{
    static const unsigned node_counts[] = {0, 1, 1, 1, 2, 3};
    s->lives = (unsigned)world_pick(1, 10);
    s->nodes = node_counts[world_pick(0, 5)];
    s->max_executions = (unsigned)world_pick(0, 5);
    s->random_picks = world_chance(4000);
    s->rehomes_cookies = world_chance(5000);
    s->own_cookies = world_chance(5000);
    s->plain = world_chance(2000);
    s->direct_never = world_chance(2500);
    s->tenants = !s->plain;
    s->docker = world_chance(3000);
    s->ecs = !s->docker && world_chance(4000);
    s->own_role = !s->plain && world_chance(5000);
    if (s->ecs && world_chance(7000)) {
        s->slots = world_chance(5000);
        s->groups = s->slots ? (unsigned)world_pick(1, 6) : (unsigned)world_pick(1, 3);
        s->nodes = 0;
    }
    if (s->docker && world_chance(2000))
        s->engine_restart_ms = world_pick(1, 60000);
    s->closes_at_random = world_chance(5000);
    s->input = world_chance(3000);
    s->jobs = !s->plain && world_chance(5000);
    s->replace = world_chance(3000);
    s->stagger_ms = world_chance(5000) ? 0 : world_pick(0, 20000);
    s->linger_ms = world_pick(0, 20000);
    s->cookie_age_s = world_chance(2000) ? world_pick(5, 60) : 0;
    s->check_interval_ms = world_chance(8000) ? 1000 : 200;
    s->crash_every_ms = world_chance(4000) ? world_pick(50, 30000) : 0;
    s->node_restart_ms = world_chance(1500) ? world_pick(1, 30000) : 0;
    s->max_sessions = world_chance(2000) ? (unsigned)world_pick(1, 4) : 1000;
    if (world_chance(2000))
        draw_limits(s);
    if (world_chance(1000))
        s->idle_timeout_s = world_pick(1, 30);
    if (world_chance(1000))
        s->max_lifetime_s = world_pick(1, 60);
    if (world_chance(3000))
        s->address_range = "127.64.0.0/28";
    if (world_chance(1000)) {
        s->mute_from_ms = world_pick(0, 20000);
        s->mute_to_ms = s->mute_from_ms + world_pick(1000, 100000);
    }
    if (world_chance(7500))
        draw_faults(&s->faults);
    if (world_chance(1000)) {
        store_habits.full_from_ms = world_pick(0, 20000);
        store_habits.full_until_ms = store_habits.full_from_ms + world_pick(100, 90000);
    }
    if (world_chance(1000))
        s->clock_jump_every_ms = world_pick(100, 20000);
    if (world_chance(2000))
        container_habits.posing = 3000;
    if (world_chance(1000))
        container_habits.artifacts_down_until_ms = world_pick(1000, 300000);
    container_habits.artifacts_hang = world_chance(5000);
    docker_habits.has_image = world_chance(8000);
    if (world_chance(5000))
        docker_habits.fails = docker_habits.slow = docker_habits.event_lost =
            (unsigned)world_pick(1, 1500);
    unsigned *const chances[] = {&aws_habits.throttled,   &aws_habits.fails,
                                 &ecs_habits.late_to_see, &ecs_habits.no_capacity,
                                 &ecs_habits.stuck,       &ecs_habits.interrupted};
    for (size_t i = 0; i < sizeof chances / sizeof *chances; i++)
        if (world_chance(4000))
            *chances[i] = (unsigned)world_pick(1, world_chance(3000) ? 3000 : 500);
    ecs_habits.state_ms = world_chance(5000) ? 100 : 10000;
    alb_habits.deregistration_ms = world_chance(5000) ? 5000 : 300000;
    if (!s->docker && !s->ecs && !s->plain && world_chance(3000))
        s->static_hosts = (unsigned)world_pick(1, 6);
}

const struct scenario scenario_random = {
    .name = "random", .help = "everything at once, from the seed", .set = set_random};
