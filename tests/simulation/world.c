#include "world.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "books.h"
#include "places.h"
#include "recount.h"

#define KEPT_LINES 400
#define LINE_SIZE 300
#define MAX_TURNS_AT_ONE_MS 100000

struct world world;

struct world_event {
    struct timer timer;
    struct instance *me;
    void (*fn)(void *arg);
    void *arg;
};

static char kept_lines[KEPT_LINES][LINE_SIZE];
static uint64_t line_count;

/* ---- chance: xoshiro256**, seeded by splitmix64 (Blackman and Vigna, public domain
 * algorithms) ---- */

static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

uint64_t world_random(void)
{
    uint64_t *s = world.random;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

int64_t world_pick(int64_t min, int64_t max)
{
    uint64_t span = (uint64_t)(max - min) + 1;
    return min + (int64_t)(world_random() % span);
}

bool world_chance(unsigned in_10000)
{
    return in_10000 > 0 && world_random() % 10000 < in_10000;
}

bool world_fault(unsigned in_10000)
{
    return world.now_ms < world.faults.until_ms && world_chance(in_10000);
}

/* ---- log ---- */

static void hash_line(const char *line)
{
    for (; *line; line++)
        world.log_hash = (world.log_hash ^ (unsigned char)*line) * UINT64_C(0x100000001b3);
}

void world_log(const char *fmt, ...)
{
    char *line = kept_lines[line_count++ % KEPT_LINES];
    int n = snprintf(line, LINE_SIZE, "%9" PRId64 " ", world.now_ms);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, LINE_SIZE - (size_t)n, fmt, ap);
    va_end(ap);
    hash_line(line);
    if (world.log_file)
        fprintf(world.log_file, "%s\n", line);
}

void world_last_lines(FILE *to)
{
    uint64_t first = line_count > KEPT_LINES ? line_count - KEPT_LINES : 0;
    for (uint64_t i = first; i < line_count; i++)
        fprintf(to, "%s\n", kept_lines[i % KEPT_LINES]);
}

void world_violate(const char *invariant, const char *fmt, ...)
{
    if (world.violation[0])
        return;
    int n = snprintf(world.violation, sizeof world.violation, "%s: ", invariant);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(world.violation + n, sizeof world.violation - (size_t)n, fmt, ap);
    va_end(ap);
    world_log("VIOLATION %s", world.violation);
}

/* ---- time ---- */

void world_at(int64_t in_ms, void (*fn)(void *arg), void *arg)
{
    struct world_event *event = world_alloc(sizeof *event);
    event->me = world.me;
    event->fn = fn;
    event->arg = arg;
    timer_heap_add(&world.events, &event->timer, world.now_ms + (in_ms > 0 ? in_ms : 0));
}

/* The instance whose loop has something to do first, or NULL. */
static struct instance *next_loop(int64_t *at_ms)
{
    struct instance *first = NULL;
    *at_ms = -1;
    for (struct instance *i = world.instances; i; i = i->next) {
        int64_t at = i->loop ? sim_loop_next(i->loop) : -1;
        if (at < 0 || (first && at >= *at_ms))
            continue;
        first = i;
        *at_ms = at;
    }
    return first;
}

static int64_t next_ms(void)
{
    int64_t event = timer_heap_next(&world.events), loop;
    next_loop(&loop);
    if (event < 0 || (loop >= 0 && loop < event))
        return loop;
    return event;
}

static void fire_one(void)
{
    struct timer *timer = timer_heap_pop_due(&world.events, world.now_ms);
    int64_t at_ms;
    struct instance *instance;
    if (timer) {
        struct world_event event = *(struct world_event *)timer;
        world_free(timer);
        world.me = event.me;
        event.fn(event.arg);
    } else if ((instance = next_loop(&at_ms))) {
        world.me = instance;
        sim_loop_fire_timer(instance->loop);
    }
}

static void drain(void)
{
    for (struct instance *i = world.instances; i && !world.crash_due; i = i->next) {
        if (!i->loop)
            continue;
        world.me = i;
        sim_loop_drain(i->loop);
    }
}

static void note_time(int64_t at_ms)
{
    if (at_ms > world.now_ms) {
        world.now_ms = at_ms;
        world.turns_at_now = 0;
    } else if (++world.turns_at_now > MAX_TURNS_AT_ONE_MS) {
        world_violate("I10", "%d turns without time passing", MAX_TURNS_AT_ONE_MS);
    }
    world.turns++;
}

bool world_turn(void)
{
    int64_t at_ms = next_ms();
    if (at_ms < 0 || world.violation[0])
        return false;
    note_time(at_ms);
    /* A poll may find several things at once; most turns have one. */
    int64_t events = world_chance(1500) ? world_pick(2, 4) : 1;
    for (int64_t i = 0; i < events && !world.crash_due; i++)
        fire_one();
    drain();
    books_check();
    places_check();
    for (const struct instance *i = world.instances; i && !world.crash_due; i = i->next)
        if (i->cleat && sim_loop_turned(i->loop))
            recount(i->cleat);
    return !world.violation[0];
}

void world_point(const char *what)
{
    if (world.frozen || !world.me->loop)
        return;
    bool strikes = ++world.points == world.crash_point || world_fault(world.faults.point_crash);
    if (!strikes)
        return;
    world_log("crash at point %" PRIu64 ": %s", world.points, what);
    world.frozen = world.crash_due = true;
}

void world_run_until(int64_t at_ms)
{
    for (;;) {
        int64_t next = next_ms();
        if (next < 0 || next > at_ms || world.crash_due || !world_turn())
            break;
    }
    if (!world.violation[0] && !world.crash_due && world.now_ms < at_ms)
        world.now_ms = at_ms;
}

/* ---- begin and end ---- */

struct instance *world_add_instance(const char *owner, const char *state_dir)
{
    struct instance *instance = world_alloc(sizeof *instance), **end = &world.instances;
    instance->owner = owner;
    instance->state_dir = state_dir;
    for (; *end; end = &(*end)->next)
        instance->index++;
    *end = instance;
    return instance;
}

void world_begin(uint64_t seed)
{
    FILE *log_file = world.log_file;
    memset(&world, 0, sizeof world);
    world.log_file = log_file;
    world.seed = seed;
    world.log_hash = UINT64_C(0xcbf29ce484222325);
    line_count = 0;
    for (int i = 0; i < 4; i++)
        world.random[i] = split_mix(&seed);
    world.me = world_add_instance("cleat", "/simulated/state");
}

void world_end(void)
{
    timer_heap_free(&world.events);
    world_free_all();
}
