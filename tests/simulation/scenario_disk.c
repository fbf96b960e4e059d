/* The journal's disk is full or broken for a while; the wall clock is wrong. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "files.h"
#include "scenario.h"
#include "service.h"
#include "sim_store.h"

#define WORKS_AGAIN_MS 30100 /* and until the commit is durable */

static void judge_ready(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (!life->was_ready)
            world_violate("READY", "%s was never ready", life->name);
    if (docker_left() > 0)
        world_violate("I5", "%u containers are left in the engine", docker_left());
}

/* ---- the disk ---- */

/* It is tried every now and then. */
static void check_works(void *unused)
{
    (void)unused;
    char *text = coordinator ? cleat_status(coordinator) : NULL;
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    if (o && !json_is_null(json_object_get(json_object_get(o, "journal"), "failing")))
        world_violate("DISK", "the journal is still failing, %d ms after its disk's return",
                      WORKS_AGAIN_MS);
    json_decref(o);
    free(text);
}

/* Sessions in every state meet it. */
static void set_disk_full(struct settings_of_world *s)
{
    s->lives = 8;
    s->stagger_ms = 20000;
    s->nodes = (unsigned)world_pick(0, 1);
    s->docker = world_chance(3000);
    store_habits.full_from_ms = world_pick(0, 15000);
    store_habits.full_until_ms = store_habits.full_from_ms + world_pick(100, 120000);
    world_at(store_habits.full_until_ms + WORKS_AGAIN_MS, check_works, NULL);
}

static void set_disk_full_crashes(struct settings_of_world *s)
{
    set_disk_full(s);
    s->crash_every_ms = 5000;
    s->faults.until_ms = store_habits.full_until_ms + 10000;
}

static void set_commits_fail(struct settings_of_world *s)
{
    s->lives = 8;
    s->stagger_ms = 10000;
    s->nodes = (unsigned)world_pick(0, 1);
    s->faults.until_ms = 60000;
    s->faults.commit_fails = (unsigned)world_pick(100, 5000);
}

static void restart_on_a_broken_disk(void *unused)
{
    (void)unused;
    store_habits.load_fails = (unsigned)world_pick(1, 3);
    world.crash_due = true;
}

static void set_load_fails(struct settings_of_world *s)
{
    s->lives = 4;
    s->nodes = (unsigned)world_pick(0, 1);
    world_at(world_pick(100, 6000), restart_on_a_broken_disk, NULL);
}

/* ---- the clock ---- */

static void set_clock_jumps(struct settings_of_world *s)
{
    s->lives = 8;
    s->stagger_ms = 20000;
    s->nodes = (unsigned)world_pick(0, 1);
    s->docker = world_chance(3000);
    s->cookie_age_s = world_chance(5000) ? 10 : 0;
    s->clock_jump_every_ms = 3000;
    s->faults.until_ms = 60000;
}

static void set_clock_jumps_restarts(struct settings_of_world *s)
{
    set_clock_jumps(s);
    s->crash_every_ms = 4000;
}

/* Who is not asked to end goes on, and who has a limit keeps to it. */
static void judge_clock(void)
{
    judge_ready();
    for (const struct life *life = lives; life; life = life->next)
        for (unsigned i = 0; i < life->plan.executions; i++)
            if (life->execution[i].outcome == OUTCOME_SKIPPED)
                world_violate("CLOCK", "%s was closed before its time", life->name);
}

static void set_clock_lifetime(struct settings_of_world *s)
{
    set_clock_jumps_restarts(s);
    s->max_lifetime_s = 60;
}

/* The machine is booted again, with a clock that is behind; its tasks go on meanwhile. */
static void reboot(void *unused)
{
    (void)unused;
    world.crash_due = true;
    world.me->booted_ms = world.now_ms;
    world.me->wall_shift_ms = -world_pick(0, 86400000);
    files_put(FILES_BOOT_ID, world_printf("boot-%lld\n", (long long)world.now_ms));
}

static void set_clock_reboot(struct settings_of_world *s)
{
    s->lives = 6;
    s->ecs = true;
    s->max_lifetime_s = 60;
    world_at(world_pick(5000, 60000), reboot, NULL);
}

#define LIFETIME_GRACE_MS 190000 /* until ready, and while the coordinator is down */

static void begin_clock_lifetime(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p = {.tenant = "tenant-a", .born_ms = 1000 * (int64_t)i, .stays = true};
        p.close_ms = 1800 * 1000;
        life_new(&p);
    }
}

static void judge_clock_lifetime(void)
{
    judge_ready();
    for (const struct container *c = containers; c; c = c->next) {
        int64_t lived_ms = c->ended_ms - c->spawned_ms;
        if (lived_ms < settings.max_lifetime_s * 1000 ||
            lived_ms > settings.max_lifetime_s * 1000 + LIFETIME_GRACE_MS)
            world_violate("CLOCK", "container %u lived for %lld ms", c->index,
                          (long long)lived_ms);
    }
}

/* Time stood still for them at most since the last that the journal heard. */
static void judge_clock_reboot(void)
{
    judge_ready();
    for (const struct container *c = containers; c; c = c->next)
        if (c->ended_ms - c->spawned_ms >
            2 * settings.max_lifetime_s * 1000 + LIFETIME_GRACE_MS)
            world_violate("CLOCK", "container %u lived for %lld ms", c->index,
                          (long long)(c->ended_ms - c->spawned_ms));
}

const struct scenario disk_scenarios[] = {
    {"disk-full", "no commit succeeds for a while", set_disk_full, NULL, judge_ready, 40},
    {"disk-full-crashes", "the same, and crashes", set_disk_full_crashes, NULL, judge_ready,
     40},
    {"commits-fail", "single commits fail", set_commits_fail, NULL, judge_ready, 20},
    {"load-fails", "the journal cannot be read at a start", set_load_fails, NULL, judge_ready,
     10},
    {"clock-jumps", "the wall clock is wrong by up to a month", set_clock_jumps, NULL,
     judge_clock, 20},
    {"clock-jumps-restarts", "the same, and restarts", set_clock_jumps_restarts, NULL,
     judge_clock, 20},
    {"clock-lifetime", "the same, and all live for a minute", set_clock_lifetime,
     begin_clock_lifetime, judge_clock_lifetime, 20},
    {"clock-reboot", "the machine boots with a clock that is behind", set_clock_reboot,
     begin_clock_lifetime, judge_clock_reboot, 20},
    {NULL, NULL, NULL, NULL, NULL, 0}};
