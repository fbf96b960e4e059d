/* An operator drains a tenant or everybody, sees that nothing new is taken, also after crashes,
 * and ends it; or closes all and ends the coordinator. */
#include <string.h>
#include "life.h"
#include "scenario.h"

#define ANSWER_MS 60000
#define RETRY_MS 500
#define PROBE_MS 700

static struct {
    const char *tenant; /* NULL: all */
    bool now, begun, holds, ended;
    unsigned probes, refusals;
} drain;

static void begin_drain(void *arg);
static void end_drain(void *arg);

static bool is_up(void (*again)(void *arg))
{
    if (!coordinator)
        world_at(RETRY_MS, again, NULL);
    return coordinator != NULL;
}

/* ---- what a caller sees meanwhile ---- */

static void probed(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg;
    if (document && drain.holds)
        world_violate("DRAIN", "a session was taken while its tenant was drained");
    else if (error && strcmp(error->code, "draining") == 0)
        drain.refusals++;
    else if (error && !error->retryable)
        world_violate("DRAIN", "refused for another reason: %s", error->code);
}

static void probe(void *arg)
{
    (void)arg;
    if (!drain.holds)
        return;
    world_at(PROBE_MS, probe, NULL);
    if (!coordinator)
        return;
    const char *request = world_printf("{\"request_id\":\"probe-%u\"}", ++drain.probes);
    struct call *call = call_new("create while drained", ANSWER_MS, probed, NULL);
    call_keep(call,
              cleat_create(coordinator, "tenant-a", request, strlen(request), call_done, call));
}

/* ---- the operator ---- */

static void begun(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg, (void)document;
    if (error) {
        world_at(RETRY_MS, begin_drain, NULL);
        return;
    }
    if (drain.begun)
        return;
    drain.begun = drain.holds = true;
    probe(NULL);
    world_at(world_pick(10000, 40000), end_drain, NULL);
}

/* Asked again when a crash took the answer; one drain more changes nothing. */
static void look_for_answer(void *arg)
{
    (void)arg;
    if (!drain.begun)
        begin_drain(NULL);
}

static void begin_drain(void *arg)
{
    (void)arg;
    if (drain.begun || !is_up(begin_drain))
        return;
    struct call *call = call_new("drain", ANSWER_MS, begun, NULL);
    call_keep(call, cleat_drain(coordinator, drain.tenant, drain.now, call_done, call));
    world_at(ANSWER_MS, look_for_answer, NULL);
}

static void ended(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg, (void)document;
    if (error)
        world_at(RETRY_MS, end_drain, NULL);
    else
        drain.ended = true;
}

static void look_for_end(void *arg)
{
    if (!drain.ended)
        end_drain(arg);
}

static void end_drain(void *arg)
{
    (void)arg;
    drain.holds = false;
    if (drain.ended || !is_up(end_drain))
        return;
    struct call *call = call_new("undrain", ANSWER_MS, ended, NULL);
    call_keep(call, cleat_undrain(coordinator, drain.tenant, call_done, call));
    world_at(ANSWER_MS, look_for_end, NULL);
}

void set_drain(struct settings_of_world *s)
{
    s->nodes = 1;
    s->lives = 12;
    s->tenants = true;
    s->max_sessions = 6;
    s->stagger_ms = 60000;
    s->crash_every_ms = world_chance(5000) ? 8000 : 0;
    s->faults.until_ms = 120000;
    s->faults.commit_fails = world_chance(5000) ? 500 : 0;
}

void begin_drained_lives(void)
{
    memset(&drain, 0, sizeof drain);
    drain.tenant = world_chance(5000) ? "tenant-a" : NULL;
    drain.now = world_chance(5000);
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p;
        plan_draw(&p);
        life_new(&p);
    }
    world_at(world_pick(0, 20000), begin_drain, NULL);
}

void judge_drain(void)
{
    if (!drain.ended || drain.refusals == 0)
        world_violate("DRAIN", "the drain did not %s", drain.ended ? "refuse" : "end");
}
