/* Jobs: one command each, whatever crashes; every byte that it said, once. */
#include <string.h>
#include "books.h"
#include "container.h"
#include "job_life.h"
#include "scenario.h"
#include "service.h"

#define LOST_IS_KNOWN_MS 5000
#define LOOK_MS 50

void plan_draw_job(struct plan *p)
{
    struct planned_job *j = &p->job;
    p->is_job = true;
    p->executions = p->inputs = 0;
    p->stays = false;
    j->takes_ms = world_chance(500) ? world_pick(30000, 90000) : world_pick(1, 4000);
    j->timeout_s = world_chance(1000) ? world_pick(1, 3) : 300;
    j->cancel_ms = world_chance(2000) ? world_pick(0, 6000) : -1;
    j->lines = (unsigned)world_pick(0, 30);
    j->fails = world_chance(2000);
    j->artifact = world_chance(3000);
    j->input = world_chance(3000);
}

/* ---- scripts, that crash everywhere ---- */

static struct {
    unsigned lives, cancelled;
    int64_t death_ms; /* after its command began; 0: never */
} script;

static void set_script(struct settings_of_world *s)
{
    s->check_interval_ms = 500;
    script.lives = 1;
    script.cancelled = 0;
    script.death_ms = 0;
}

static void set_jobs_crash(struct settings_of_world *s)
{
    set_script(s);
    s->nodes = (unsigned)world_pick(0, 1);
}

static void set_jobs_cancelled(struct settings_of_world *s)
{
    set_script(s);
    script.cancelled = 1;
}

static void set_jobs_queue(struct settings_of_world *s)
{
    set_script(s);
    s->max_sessions = 1;
    script.lives = 2;
}

static void set_jobs_death(struct settings_of_world *s)
{
    set_script(s);
    s->replace = world_chance(5000);
    script.death_ms = world_pick(10, 500);
}

static void die_while_it_runs(void *unused)
{
    if (containers && containers->executions)
        world_at(script.death_ms, container_end_first, unused);
    else
        world_at(LOOK_MS, die_while_it_runs, unused);
}

static void begin_script(void)
{
    if (script.death_ms)
        world_at(0, die_while_it_runs, NULL);
    for (unsigned i = 0; i < script.lives; i++) {
        struct plan p = {.tenant = "tenant-a", .born_ms = 100 * (int64_t)i, .close_ms = -1};
        p.is_job = true;
        p.job = (struct planned_job){.takes_ms = 600,
                                     .timeout_s = 300,
                                     .cancel_ms = script.cancelled ? world_pick(0, 900) : -1,
                                     .lines = 12,
                                     .artifact = true,
                                     .input = true};
        life_new(&p);
    }
}

static unsigned runs_of(const struct life *life)
{
    return books_runs(life->session, life->session);
}

/* Its container's death is known at once, or soon after a start; a disk that is out of order
 * holds that up. */
static void judge_lost_job(const struct life *life)
{
    const struct container *c = containers;
    while (c && (c->alive || !books_is_of(c, life->session)))
        c = c->next;
    int64_t from_ms = !c || c->ended_ms < world.me->since_ms ? world.me->since_ms : c->ended_ms;
    bool disk_fails = scenario_order.fail_commit || scenario_order.full_commit;
    if (!disk_fails && life->job.ended_ms > from_ms + LOST_IS_KNOWN_MS)
        world_violate("JOB", "%s is lost, and that is known after %d ms", life->name,
                      (int)(life->job.ended_ms - from_ms));
}

static void judge_script(void)
{
    for (const struct life *life = lives; life; life = life->next) {
        const char *state = life->job.state ? life->job.state : "nothing";
        bool cut_short = script.cancelled || script.death_ms;
        if (!cut_short && (strcmp(state, "succeeded") != 0 || runs_of(life) != 1))
            world_violate("JOB", "%s is %s, and ran %u times", life->name, state,
                          runs_of(life));
        if (script.cancelled && strcmp(state, "cancelled") != 0 &&
            strcmp(state, "succeeded") != 0)
            world_violate("JOB", "%s was cancelled, and is %s", life->name, state);
        if (life->job.truncated)
            world_violate("JOB", "the log of %s is cut", life->name);
        if (script.death_ms && strcmp(state, "lost") != 0)
            world_violate("JOB", "%s is %s without its container", life->name, state);
        if (script.death_ms)
            judge_lost_job(life);
    }
}

/* ---- many, and everything fails now and then ---- */

static void set_jobs(struct settings_of_world *s)
{
    s->lives = (unsigned)world_pick(1, 12);
    s->nodes = (unsigned)world_pick(0, 2);
    s->docker = world_chance(3000);
    s->replace = world_chance(5000);
    s->max_sessions = world_chance(3000) ? (unsigned)world_pick(1, 3) : 1000;
    s->crash_every_ms = world_chance(6000) ? world_pick(50, 10000) : 0;
    s->stagger_ms = world_pick(0, 10000);
    s->faults.until_ms = world_pick(5000, 120000);
    unsigned *const chances[] = {
        &s->faults.http_refused,  &s->faults.http_lost,    &s->faults.http_answer_lost,
        &s->faults.http_late,     &s->faults.http_doubled, &s->faults.http_truncated,
        &s->faults.http_cut_body, &s->faults.http_5xx,     &s->faults.commit_fails,
        &s->faults.point_crash,   &s->faults.file_fails,   &s->faults.spawn_dies_later};
    for (size_t i = 0; i < sizeof chances / sizeof *chances; i++)
        if (world_chance(4000))
            *chances[i] = (unsigned)world_pick(1, 500);
}

static void begin_jobs(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p;
        plan_draw(&p);
        plan_draw_job(&p);
        life_new(&p);
    }
}

/* What is forgotten leaves no file. */
static void set_jobs_forgotten(struct settings_of_world *s)
{
    s->lives = 5;
    s->retention_s = 60;
    s->crash_every_ms = world_chance(5000) ? world_pick(500, 10000) : 0;
}

/* ---- a log that cannot be written, until the disk is back or for ever ---- */

#define FAILS_MS 5000
#define RUNS_MS 20000
#define TIMEOUT_S 100
#define LINE_MS 2500    /* until something is there to be written */
#define GOES_ON_MS 1100 /* and until who follows it has heard */
#define GIVEN_UP_MS 60000

static struct {
    int64_t back_ms, ended_ms;
    uint64_t before;
    bool is_long; /* more is left than one answer holds, so that its end is not heard of */
} disk;

static void disk_fails(void *unused)
{
    (void)unused;
    world.faults.until_ms = disk.back_ms;
    disk.before = lives->job.offset;
}

static void check_goes_on(void *unused)
{
    (void)unused;
    if (lives->job.offset <= disk.before)
        world_violate("JOB", "its log does not go on %d ms after the disk's return",
                      GOES_ON_MS);
}

static void wait_for_end(void *unused)
{
    if (lives->job.state)
        disk.ended_ms = world.now_ms;
    else
        world_at(LOOK_MS, wait_for_end, unused);
}

static void set_jobs_disk(struct settings_of_world *s)
{
    set_script(s);
    memset(&disk, 0, sizeof disk);
    s->faults.file_fails = 10000; /* once it has begun */
    disk.back_ms = world.seed % 3 ? 400000 : FAILS_MS + world_pick(4000, 10000);
    disk.is_long = world.seed % 3 == 2;
}

static void begin_jobs_disk(void)
{
    struct plan p = {.tenant = "tenant-a", .close_ms = -1, .is_job = true};
    p.job = (struct planned_job){.takes_ms = RUNS_MS,
                                 .timeout_s = TIMEOUT_S,
                                 .cancel_ms = -1,
                                 .lines = disk.is_long ? 40 : 8};
    life_new(&p);
    world_at(FAILS_MS, disk_fails, NULL);
    world_at(FAILS_MS, wait_for_end, NULL);
    if (disk.back_ms < RUNS_MS)
        world_at(disk.back_ms + GOES_ON_MS, check_goes_on, NULL);
}

static void judge_jobs_disk(void)
{
    const struct execution *e = containers->executions;
    bool gone = disk.back_ms > RUNS_MS;
    int64_t from_ms = disk.is_long ? e->started_ms + TIMEOUT_S * 1000 : FAILS_MS;
    int64_t after_ms = disk.ended_ms - from_ms, most_ms = GIVEN_UP_MS + LINE_MS + GOES_ON_MS;
    if (strcmp(lives->job.state, "succeeded") != 0 || lives->job.truncated != gone)
        world_violate("JOB", "%s, and its log is %scut", lives->job.state,
                      lives->job.truncated ? "" : "not ");
    if (gone && (after_ms < GIVEN_UP_MS || after_ms > most_ms))
        world_violate("JOB", "its log is given up after %d ms", (int)after_ms);
}

const struct scenario job_scenarios[] = {
    {"jobs", "many jobs, cancelled, killed and crashed over", set_jobs, begin_jobs, NULL, 100},
    {"jobs-crash", "a job and a crash at every point of it", set_jobs_crash, begin_script,
     judge_script, EACH_POINT},
    {"jobs-cancelled", "the same, and it is cancelled", set_jobs_cancelled, begin_script,
     judge_script, EACH_POINT},
    {"jobs-queue", "the same, and another one waits for it", set_jobs_queue, begin_script,
     judge_script, EACH_POINT},
    {"jobs-death", "the same, and its container dies", set_jobs_death, begin_script,
     judge_script, EACH_POINT},
    {"jobs-disk", "the log of a job cannot be written", set_jobs_disk, begin_jobs_disk,
     judge_jobs_disk, 10},
    {"jobs-forgotten", "jobs whose retention is over", set_jobs_forgotten, begin_jobs, NULL,
     20},
    {0}};
