/* Metrics as Prometheus scrapes them. All is counted already: nobody walks the sessions here.
 */
#include <stdlib.h>
#include "cleat.h"
#include "http/prometheus.h"
#include "session/config.h"
#include "session/drain.h"
#include "session/gate.h"
#include "session/metrics.h"
#include "session/metrics_text.h"
#include "session/reaper.h"
#include "session/sweep.h"

#define EACH_GROUP(g, core)                                                                    \
    for (const struct group *g = (core)->groups; g < (core)->groups + (core)->group_count; g++)

static void single(struct exposition *x, const char *name, const char *type, int64_t value,
                   const char *help)
{
    expose_family(x, name, type, help);
    expose(x, value, NULL);
}

static void counter(struct exposition *x, const char *name, uint64_t value, const char *help)
{
    single(x, name, "counter", (int64_t)value, help);
}

static void gauge(struct exposition *x, const char *name, int64_t value, const char *help)
{
    single(x, name, "gauge", value, help);
}

/* ---- sessions ---- */

static void add_sessions(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_sessions", "gauge", "Sessions that are not over, by state.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < SESSION_CLOSED; i++)
            expose(x, g->session_counts[i], "class", g->class->name, "state",
                   session_state_names[i], NULL);
    gauge(x, "cleat_sessions_over", core->closed,
          "Sessions that are over and still remembered, so that their request ids stay used.");
    expose_family(x, "cleat_attempts", "gauge", "Attempts that have not ended, by state.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < ATTEMPT_ENDED; i++)
            expose(x, g->attempt_counts[i], "class", g->class->name, "state",
                   attempt_state_names[i], NULL);
    expose_family(x, "cleat_limit", "gauge", "Limits of the configuration.");
    expose(x, core->settings->max_sessions, "limit", "max_sessions", NULL);
    expose(x, core->settings->max_queued, "limit", "max_queued", NULL);
    expose(x, core->settings->max_closed, "limit", "max_closed", NULL);
}

static void add_admissions(struct exposition *x, const struct cleat *core)
{
    const struct counters *n = &core->counters;
    counter(x, "cleat_admissions_total", n->admissions, "Sessions that were given a place.");
    counter(x, "cleat_admission_returns_total", n->returns,
            "Sessions that went back to the queue because their engine had no room.");
    counter(x, "cleat_queue_timeouts_total", n->queue_timeouts,
            "Sessions that waited in the queue for too long.");
    expose_family(x, "cleat_rejections_total", "counter",
                  "Creates that were refused with code full, by reason.");
    for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
        expose(x, (int64_t)n->refused[i], "reason", limit_names[i], NULL);
}

static void add_starts(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_session_starts_total", "counter",
                  "Sessions that became ready, failed before, or were called off before.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < START_RESULTS; i++)
            expose(x, (int64_t)g->metrics->starts[i], "class", g->class->name, "result",
                   start_result_names[i], NULL);
    expose_family(x, "cleat_session_start_seconds", "histogram",
                  "Time from leaving the queue to ready.");
    EACH_GROUP (g, core)
        expose_histogram(x, &g->metrics->session_starts, &buckets_long, "class", g->class->name,
                         NULL);
    expose_family(x, "cleat_container_start_seconds", "histogram",
                  "Time from the call that launches a container to its first proven answer, or "
                  "to its address where it is not asked.");
    EACH_GROUP (g, core)
        expose_histogram(x, &g->metrics->container_starts, &buckets_long, "class",
                         g->class->name, NULL);
}

static void add_ends(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_sessions_ended_total", "counter",
                  "Sessions that began to close, by the reason.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < STOP_REASONS && *g->metrics->ended[i].reason; i++)
            expose(x, (int64_t)g->metrics->ended[i].count, "class", g->class->name,
                   "stop_reason", g->metrics->ended[i].reason, NULL);
}

static void add_phases(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_phase_seconds", "histogram",
                  "Time of the phases of a session and of the steps of its cleanup, of those "
                  "that came to their end.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < SPAN_NAMES; i++)
            expose_histogram(x, &g->metrics->phases[i], &buckets_long, "class", g->class->name,
                             "phase", span_names[i], NULL);
}

static void add_cleanup(struct exposition *x, const struct cleat *core)
{
    static const struct {
        enum step_result result;
        const char *name;
    } results[] = {{STEP_OK, "ok"}, {STEP_SKIPPED, "skipped"}, {STEP_LOST, "lost"}};
    expose_family(x, "cleat_cleanup_steps_total", "counter",
                  "Steps of cleanup, by result; lost: given up, something is left.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < SPAN_STEPS; i++)
            for (size_t j = 0; j < sizeof(results) / sizeof(results[0]); j++)
                expose(x, (int64_t)g->metrics->cleanup[i][results[j].result], "class",
                       g->class->name, "step", span_names[SPAN_NAMES - SPAN_STEPS + i],
                       "result", results[j].name, NULL);
}

static void add_executions(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_executions_total", "counter",
                  "Executions; completed and failed: so says the container's record; lost: "
                  "there is no record.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < EXECUTION_RESULTS; i++)
            expose(x, (int64_t)g->metrics->executions[i], "class", g->class->name, "result",
                   execution_result_names[i], NULL);
    expose_family(x, "cleat_execution_seconds", "histogram",
                  "Time of executions that have a record, from sending to the answer.");
    EACH_GROUP (g, core)
        expose_histogram(x, &g->metrics->execution_times, &buckets_long, "class",
                         g->class->name, NULL);
}

static void add_jobs(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_jobs_total", "counter", "Jobs that ended, by how.");
    EACH_GROUP (g, core)
        for (size_t i = JOB_OPEN + 1; i < JOB_OUTCOMES; i++)
            expose(x, (int64_t)g->metrics->jobs[i], "class", g->class->name, "outcome",
                   job_outcome_names[i], NULL);
    expose_family(x, "cleat_job_seconds", "histogram",
                  "Time for which the commands of jobs ran.");
    EACH_GROUP (g, core)
        expose_histogram(x, &g->metrics->job_times, &buckets_long, "class", g->class->name,
                         NULL);
}

/* ---- drivers ---- */

static void add_driver_failures(struct exposition *x, const struct group *g,
                                enum driver_call call)
{
    for (int code = ERR_NONE + 1; code < ERR_COUNT; code++)
        if (g->metrics->driver_calls[call][code] > 0)
            expose(x, (int64_t)g->metrics->driver_calls[call][code], "class", g->class->name,
                   "call", driver_call_names[call], "code", error_name((enum error_code)code),
                   NULL);
}

static int64_t failed_calls(const struct group *g, size_t call)
{
    uint64_t n = 0;
    for (size_t code = ERR_NONE + 1; code < ERR_COUNT; code++)
        n += g->metrics->driver_calls[call][code];
    return (int64_t)n;
}

static void add_driver_calls(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_driver_calls_total", "counter",
                  "Calls of runtime and balancer that ended, by result.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < DRIVER_CALLS; i++) {
            expose(x, (int64_t)g->metrics->driver_calls[i][ERR_NONE], "class", g->class->name,
                   "call", driver_call_names[i], "result", "ok", NULL);
            expose(x, failed_calls(g, i), "class", g->class->name, "call", driver_call_names[i],
                   "result", "failed", NULL);
        }
    expose_family(x, "cleat_driver_failures_total", "counter",
                  "Calls of runtime and balancer that failed, by error code.");
    EACH_GROUP (g, core)
        for (int call = 0; call < DRIVER_CALLS; call++)
            add_driver_failures(x, g, (enum driver_call)call);
    expose_family(x, "cleat_breaker_open", "gauge",
                  "1 while calls of that kind are held back because they kept failing.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < DRIVER_CALLS; i++)
            expose(x, breaker_state(&g->breakers[i], core_now(core)) != BREAKER_CLOSED, "class",
                   g->class->name, "call", driver_call_names[i], NULL);
}

static void add_failed_in(struct exposition *x, const struct group *g, size_t state)
{
    for (int code = 0; code < ERR_COUNT; code++)
        if (g->metrics->attempts_failed[state][code] > 0)
            expose(x, (int64_t)g->metrics->attempts_failed[state][code], "class",
                   g->class->name, "state", attempt_state_names[state], "code",
                   error_name((enum error_code)code), NULL);
}

static void add_attempts(struct exposition *x, const struct cleat *core)
{
    counter(x, "cleat_launches_total", core->counters.launches,
            "Launches of containers that were begun.");
    expose_family(x, "cleat_attempt_failures_total", "counter",
                  "Attempts that failed, by the state they were in and error code.");
    EACH_GROUP (g, core)
        for (size_t state = 0; state < ATTEMPT_STATES; state++)
            add_failed_in(x, g, state);
    expose_family(x, "cleat_container_deaths_total", "counter",
                  "Containers that died after they had served.");
    EACH_GROUP (g, core)
        expose(x, (int64_t)g->metrics->deaths, "class", g->class->name, NULL);
}

/* ---- routes ---- */

static void add_routes(struct exposition *x, const struct cleat *core)
{
    counter(x, "cleat_misroutes_total", core->counters.misroutes,
            "Answers of a wrong container; nothing of them was believed.");
    expose_family(x, "cleat_route_requests_total", "counter",
                  "Requests that needed a route (executions, GET /route): hit: it was known "
                  "and confirmed, miss: it had to be sought first.");
    EACH_GROUP (g, core) {
        expose(x, (int64_t)g->metrics->route_hits, "class", g->class->name, "result", "hit",
               NULL);
        expose(x, (int64_t)g->metrics->route_misses, "class", g->class->name, "result", "miss",
               NULL);
    }
    expose_family(x, "cleat_route_waiting", "gauge", "Attempts that wait for a sweep.");
    EACH_GROUP (g, core)
        expose(x, (int64_t)sweeps_count(g).waiting, "class", g->class->name, NULL);
    expose_family(x, "cleat_sweeps_total", "counter", "Sweeps of target groups.");
    EACH_GROUP (g, core)
        expose(x, (int64_t)sweeps_count(g).sweeps, "class", g->class->name, NULL);
    expose_family(x, "cleat_probes_total", "counter", "Probes that sweeps sent.");
    EACH_GROUP (g, core)
        expose(x, (int64_t)sweeps_count(g).probes, "class", g->class->name, NULL);
}

/* Of the runtimes that have one. */
static void add_endpoint_cache(struct exposition *x, const struct cleat *core)
{
    static const char *const members[][2] = {{"hits", "hit"}, {"misses", "miss"}};
    expose_family(x, "cleat_endpoint_cache_requests_total", "counter",
                  "Times that a container's address was needed: hit: the cache had it.");
    EACH_GROUP (g, core) {
        json_t *status = g->runtime_ops->status(g->runtime);
        const json_t *cache = json_object_get(status, "endpoint_cache");
        for (size_t i = 0; cache && i < sizeof(members) / sizeof(members[0]); i++)
            expose(x, json_integer_value(json_object_get(cache, members[i][0])), "class",
                   g->class->name, "result", members[i][1], NULL);
        json_decref(status);
    }
}

static void add_http(struct exposition *x, const struct cleat *core)
{
    struct http_client_stats http;
    http_client_get_stats(core->client, &http);
    counter(x, "cleat_http_exchanges_total", http.exchanges,
            "HTTP requests to containers, balancers and engines.");
    counter(x, "cleat_http_connections_opened_total", http.connections_opened,
            "Connections opened for them.");
    gauge(x, "cleat_http_connections", (int64_t)http.connections_open,
          "Connections that are open.");
    gauge(x, "cleat_http_pools", (int64_t)http.shares,
          "Private pools of connections, one of each session that has some.");
    counter(x, "cleat_http_shared_connections_total", http.shared_connections,
            "Requests refused because another session had used their connection; stays 0.");
}

static void add_aws_of(struct exposition *x, const json_t *calls, const char *name,
                       const char *member, const char *help)
{
    const char *action;
    json_t *counts;
    expose_family(x, name, "counter", help);
    json_object_foreach ((json_t *)calls, action, counts)
        expose(x, json_integer_value(json_object_get(counts, member)), "action", action, NULL);
}

static void add_aws(struct exposition *x, const struct cleat *core)
{
    json_t *status = core_uses_aws(core) ? aws_status(core->aws) : NULL;
    const json_t *calls = json_object_get(status, "calls");
    add_aws_of(x, calls, "cleat_aws_calls_total", "calls", "Calls of AWS APIs.");
    add_aws_of(x, calls, "cleat_aws_throttled_total", "throttled", "Of them, throttled ones.");
    add_aws_of(x, calls, "cleat_aws_errors_total", "errors", "Of them, those that failed.");
    json_decref(status);
}

/* ---- the process ---- */

static void add_orphans(struct exposition *x, const struct cleat *core)
{
    struct reaper_counts n = reaper_count(core);
    counter(x, "cleat_orphans_found_total", n.found,
            "Containers and targets of ours that no attempt owns.");
    counter(x, "cleat_orphans_adopted_total", n.adopted,
            "Of them, those given back to a session.");
    counter(x, "cleat_orphans_closed_total", n.closed, "Of them, those closed.");
    expose_family(x, "cleat_orphans", "gauge",
                  "Orphans there are: waiting out their grace, closing, held for an operator, "
                  "reported only.");
    expose(x, n.waiting, "state", "waiting", NULL);
    expose(x, n.closing, "state", "closing", NULL);
    expose(x, n.held, "state", "held", NULL);
    expose(x, n.reported, "state", "reported", NULL);
}

static void add_journal(struct exposition *x, const struct cleat *core)
{
    struct store_status st;
    core->store_ops->status(core->store, &st);
    counter(x, "cleat_journal_commits_total", core->counters.commits,
            "Commits sent to the journal.");
    counter(x, "cleat_journal_failures_total", core->counters.commits_failed,
            "Commits that failed.");
    gauge(x, "cleat_journal_failing", core->store_failing,
          "1 while the journal cannot be written: nothing new is begun.");
    counter(x, "cleat_journal_checkpoints_total", st.checkpoints,
            "Times that the log was copied into the database.");
    gauge(x, "cleat_journal_log_bytes", st.log_bytes, "Log not copied into the database yet.");
}

static void add_loop(struct exposition *x, const struct cleat *core)
{
    struct loop_stats loop;
    loop_get_stats(core->loop, &loop);
    expose_family(x, "cleat_loop_turn_seconds", "histogram",
                  "Time of the turns of the coordinator's loop.");
    expose_histogram(x, &loop.turns, &buckets_short, NULL);
    counter(x, "cleat_loop_long_turns_total", loop.long_turns, "Turns of more than 50 ms.");
    expose_family(x, "cleat_loop_longest_turn_seconds", "gauge", "The longest turn so far.");
    expose_seconds(x, loop.longest_turn_us, NULL);
}

static void (*const parts[])(struct exposition *, const struct cleat *) = {
    add_sessions, metrics_add_tenants, add_admissions,     add_starts, add_ends,
    add_phases,   add_cleanup,         add_executions,     add_jobs,   add_driver_calls,
    add_attempts, add_routes,          add_endpoint_cache, add_http,   add_aws,
    add_orphans,  add_journal,         add_loop,
};

char *cleat_metrics(struct cleat *core)
{
    struct exposition x = {0};
    expose_family(&x, "cleat_build_info", "gauge", "1; the version is in the label.");
    expose(&x, 1, "version", cleat_version(), NULL);
    gauge(&x, "cleat_ready", cleat_ready(core, NULL), "1 while /readyz says ready.");
    gauge(&x, "cleat_draining", core->drain.all || core->drain.closed,
          "1 while no new sessions of anybody are taken.");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        parts[i](&x, core);
    return buf_take(&x.text);
}
