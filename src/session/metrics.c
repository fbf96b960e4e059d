#include "session/metrics.h"

#include <string.h>
#include "base/mem.h"

#define FIRST_STEP (SPAN_NAMES - SPAN_STEPS)

const char *const start_result_names[START_RESULTS] = {"ready", "failed", "cancelled"};
const char *const execution_result_names[EXECUTION_RESULTS] = {"completed", "failed", "lost"};

struct metrics *metrics_new(void)
{
    return mem_alloc(sizeof(struct metrics));
}

static size_t find_phase(const char *name)
{
    size_t i = 0;
    while (i < SPAN_NAMES && strcmp(span_names[i], name) != 0)
        i++;
    return i;
}

void metrics_phase(const struct group *g, const char *name, int64_t ms)
{
    size_t i = find_phase(name);
    if (i < SPAN_NAMES)
        histogram_add(&g->metrics->phases[i], &buckets_long, ms * 1000);
}

const struct histogram *metrics_phase_of(const struct metrics *m, const char *name)
{
    return &m->phases[find_phase(name)];
}

void metrics_cleanup(const struct group *g, const char *step, enum step_result result)
{
    size_t i = find_phase(step);
    if (i >= FIRST_STEP && i < SPAN_NAMES)
        g->metrics->cleanup[i - FIRST_STEP][result]++;
}

/* An operator's drain is nobody's failure, nor is what a user calls off. */
static enum start_result unsuccessful(const struct session *s)
{
    bool failed = s->error.code != ERR_NONE && s->error.code != ERR_DRAINING &&
                  s->error.code != ERR_CANCELLED;
    return failed ? START_FAILED : START_CANCELLED;
}

static void note_end(struct metrics *m, const char *reason)
{
    size_t i = 0;
    while (i < STOP_REASONS - 1 && *m->ended[i].reason &&
           strcmp(m->ended[i].reason, reason) != 0)
        i++;
    if (!*m->ended[i].reason)
        mem_copy_string(m->ended[i].reason, sizeof(m->ended[i].reason),
                        i < STOP_REASONS - 1 ? reason : "other");
    m->ended[i].count++;
}

void metrics_session(const struct session *s, enum session_state from)
{
    struct metrics *m = s->group->metrics;
    if (s->warm)
        return;
    if (s->state == SESSION_READY && from == SESSION_OPENING) {
        m->starts[START_READY]++;
        histogram_add(&m->session_starts, &buckets_long, (s->ready - s->opened) * 1000);
    }
    bool is_orphan = strcmp(s->stop_reason, "orphan") == 0; /* nobody asked for it */
    if (s->state == SESSION_CLOSING && s->ready == 0 && !is_orphan)
        m->starts[unsuccessful(s)]++;
    if (s->state == SESSION_CLOSING)
        note_end(m, s->stop_reason);
}

void metrics_attempt(const struct attempt *a, enum attempt_state from)
{
    if (from == ATTEMPT_STARTING && a->state == ATTEMPT_REGISTERING && a->launch_began > 0)
        histogram_add(&a->session->group->metrics->container_starts, &buckets_long,
                      (a->since - a->launch_began) * 1000);
}

void metrics_attempt_failed(const struct attempt *a, enum error_code code)
{
    a->session->group->metrics->attempts_failed[a->state][code]++;
}

void metrics_driver_call(const struct group *g, enum driver_call call, const struct error *e)
{
    g->metrics->driver_calls[call][e ? e->code : ERR_NONE]++;
}

void metrics_execution(const struct group *g, enum execution_result result, int64_t ms)
{
    g->metrics->executions[result]++;
    if (ms >= 0)
        histogram_add(&g->metrics->execution_times, &buckets_long, ms * 1000);
}

void metrics_job(const struct session *s)
{
    const struct job *j = s->job;
    struct metrics *m = s->group->metrics;
    m->jobs[j->outcome]++;
    if (j->started > 0)
        histogram_add(&m->job_times, &buckets_long, (j->ended - j->started) * 1000);
}

void metrics_route(const struct group *g, bool hit)
{
    if (hit)
        g->metrics->route_hits++;
    else
        g->metrics->route_misses++;
}

uint64_t metrics_failed_attempts(const struct cleat *core)
{
    uint64_t n = 0;
    for (size_t i = 0; i < core->group_count; i++)
        for (size_t state = 0; state < ATTEMPT_STATES; state++)
            for (size_t code = 0; code < ERR_COUNT; code++)
                n += core->groups[i].metrics->attempts_failed[state][code];
    return n;
}

uint64_t metrics_uploads(const struct cleat *core, enum step_result result)
{
    size_t step = find_phase("upload") - FIRST_STEP;
    uint64_t n = 0;
    for (size_t i = 0; i < core->group_count; i++)
        n += core->groups[i].metrics->cleanup[step][result];
    return n;
}
