/* Metrics as Prometheus scrapes them. All is counted already: nobody walks the sessions here.
 */
#include <stdlib.h>
#include "cleat.h"
#include "http/prometheus.h"
#include "session/config.h"
#include "session/drain.h"
#include "session/metrics.h"
#include "session/metrics_text.h"
#include "session/reaper.h"
#include "session/warm.h"

/* ---- sessions ---- */

static void add_sessions(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_sessions", "gauge", "Sessions that are not over, by state.");
    EACH_GROUP (g, core)
        for (size_t i = 0; i < SESSION_CLOSED; i++)
            expose(x, g->session_counts[i], "class", g->class->name, "state",
                   session_state_names[i], NULL);
    expose_gauge(
        x, "cleat_sessions_over", core->closed,
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

static void add_warm(struct exposition *x, const struct cleat *core)
{
    expose_family(x, "cleat_warm_containers", "gauge",
                  "Containers that wait for a session, and those on their way there or out.");
    EACH_GROUP (g, core) {
        struct warm_counts n = warm_count(g);
        expose(x, n.ready, "class", g->class->name, "state", "ready", NULL);
        expose(x, n.starting, "class", g->class->name, "state", "starting", NULL);
        expose(x, n.closing, "class", g->class->name, "state", "closing", NULL);
    }
    expose_family(x, "cleat_warm_target", "gauge", "How many of them there should be.");
    EACH_GROUP (g, core)
        expose(x, warm_target(g), "class", g->class->name, NULL);
    expose_family(
        x, "cleat_warm_claims_total", "counter",
        "Sessions of classes with a pool that needed a container: hit: a warm one was "
        "there.");
    EACH_GROUP (g, core) {
        expose(x, (int64_t)g->warm.hits, "class", g->class->name, "result", "hit", NULL);
        expose(x, (int64_t)g->warm.misses, "class", g->class->name, "result", "miss", NULL);
    }
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

/* ---- the process ---- */

static void add_orphans(struct exposition *x, const struct cleat *core)
{
    struct reaper_counts n = reaper_count(core);
    expose_counter(x, "cleat_orphans_found_total", n.found,
                   "Containers and targets of ours that no attempt owns.");
    expose_counter(x, "cleat_orphans_adopted_total", n.adopted,
                   "Sessions that were found again by the label of their container.");
    expose_counter(x, "cleat_orphans_closed_total", n.closed,
                   "Of the orphans found, those closed.");
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
    expose_counter(x, "cleat_journal_commits_total", core->counters.commits,
                   "Commits sent to the journal.");
    expose_counter(x, "cleat_journal_failures_total", core->counters.commits_failed,
                   "Commits that failed.");
    expose_gauge(x, "cleat_journal_failing", core->store_failing,
                 "1 while the journal cannot be written: nothing new is begun.");
    expose_counter(x, "cleat_journal_checkpoints_total", st.checkpoints,
                   "Times that the log was copied into the database.");
    expose_gauge(x, "cleat_journal_log_bytes", st.log_bytes,
                 "Log not copied into the database yet.");
}

static void add_loop(struct exposition *x, const struct cleat *core)
{
    struct loop_stats loop;
    loop_get_stats(core->loop, &loop);
    expose_family(x, "cleat_loop_turn_seconds", "histogram",
                  "Time of the turns of the coordinator's loop.");
    expose_histogram(x, &loop.turns, &buckets_short, NULL);
    expose_counter(x, "cleat_loop_long_turns_total", loop.long_turns,
                   "Turns of more than 50 ms.");
    expose_family(x, "cleat_loop_longest_turn_seconds", "gauge", "The longest turn so far.");
    expose_seconds(x, loop.longest_turn_us, NULL);
}

static void add_events(struct exposition *x, const struct cleat *core)
{
    const struct events *n = &core->events;
    expose_gauge(x, "cleat_event_readers", n->reading, "Streams of events that are open.");
    expose_counter(x, "cleat_event_readers_slow_total", n->slow,
                   "Readers of events that were cut off because they did not keep up.");
    expose_counter(x, "cleat_event_gaps_total", n->gaps,
                   "Times that a reader was told that events it asked for are not kept.");
    expose_gauge(x, "cleat_events_bytes", (int64_t)n->bytes, "Memory that kept events take.");
}

static void (*const parts[])(struct exposition *, const struct cleat *) = {
    add_sessions,
    metrics_add_admission,
    add_starts,
    add_warm,
    add_ends,
    add_phases,
    add_cleanup,
    add_executions,
    add_jobs,
    metrics_add_driver_calls,
    metrics_add_attempts,
    metrics_add_routes,
    metrics_add_endpoint_cache,
    metrics_add_http,
    metrics_add_aws,
    add_orphans,
    add_journal,
    add_events,
    add_loop,
};

char *cleat_metrics(struct cleat *core)
{
    struct exposition x = {0};
    expose_family(&x, "cleat_build_info", "gauge", "1; the version is in the label.");
    expose(&x, 1, "version", cleat_version(), NULL);
    expose_gauge(&x, "cleat_ready", cleat_ready(core, NULL), "1 while /readyz says ready.");
    expose_gauge(&x, "cleat_draining", core->drain.all || core->drain.closed,
                 "1 while no new sessions of anybody are taken.");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        parts[i](&x, core);
    return buf_take(&x.text);
}
