/* What the coordinator says of itself: its counters, and whether it takes sessions. */
#include <stdlib.h>
#include "base/mem.h"
#include "cleat.h"
#include "session/admission.h"
#include "session/config.h"
#include "session/document.h"
#include "session/drain.h"
#include "session/figures.h"
#include "session/gate.h"
#include "session/metrics.h"
#include "session/reaper.h"
#include "session/session.h"
#include "session/sweep.h"
#include "session/warm.h"

static json_t *group_status(const struct group *g)
{
    struct sweep_counts n = sweeps_count(g);
    return json_pack("{s:o, s:o, s:o, s:o, s:b, s:i, s:I, s:I}", "warm", warm_status(g),
                     "runtime", g->runtime_ops->status(g->runtime), "balancer",
                     g->balancer_ops->status(g->balancer), "breakers", gate_status(g),
                     "unconfined", (int)g->unconfined, "waiting_for_route", (int)n.waiting,
                     "sweeps", (json_int_t)n.sweeps, "probes", (json_int_t)n.probes);
}

static json_t *counts(const char *const *names, size_t n, const unsigned *values, int total)
{
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(o, names[i], json_integer(values[i]));
    if (total >= 0)
        json_object_set_new(o, "total", json_integer(total));
    return o;
}

static void add_counts(json_t *o, const struct cleat *core)
{
    unsigned sessions[SESSION_STATES] = {0}, attempts[ATTEMPT_STATES] = {0};
    int total = 0;
    for (size_t i = 0; i < core->group_count; i++) {
        const struct group *g = &core->groups[i];
        for (size_t j = 0; j < SESSION_STATES; j++) {
            sessions[j] += g->session_counts[j];
            total += (int)g->session_counts[j];
        }
        for (size_t j = 0; j < ATTEMPT_STATES; j++)
            attempts[j] += g->attempt_counts[j];
    }
    json_object_set_new(o, "sessions",
                        counts(session_state_names, SESSION_STATES, sessions, total));
    json_object_set_new(o, "attempts",
                        counts(attempt_state_names, ATTEMPT_STATES, attempts, -1));
}

static json_t *journal_status(const struct cleat *core)
{
    static const char *const durability[] = {[STORE_NORMAL] = "normal", [STORE_FULL] = "full"};
    const struct outage *outage = &core->outage;
    struct store_status st;
    core->store_ops->status(core->store, &st);
    json_t *o = json_pack(
        "{s:s, s:o, s:o, s:I, s:o}", "durability", durability[core->settings->durability],
        "commits", document_number(core->counters.commits), "checkpoints",
        document_number(st.checkpoints), "log_bytes", (json_int_t)st.log_bytes, "log_problem",
        document_optional(st.trouble));
    json_object_set_new(o, "failing",
                        document_optional(core->store_failing ? outage->error.message : NULL));
    json_object_set_new(o, "since",
                        core->store_failing ? document_time(outage->since) : json_null());
    return o;
}

char *cleat_status(struct cleat *core)
{
    struct http_client_stats http;
    struct loop_stats loop;
    const struct counters *n = &core->counters;
    http_client_get_stats(core->client, &http);
    loop_get_stats(core->loop, &loop);
    json_t *o =
        json_pack("{s:s, s:s, s:I}", "version", cleat_version(), "owner", core->settings->owner,
                  "uptime_s", (json_int_t)((core_now(core) - core->started) / 1000));
    json_object_set_new(o, "key_figures", figures_document(core));
    add_counts(o, core);
    json_t *classes = json_object();
    for (size_t i = 0; i < core->group_count; i++)
        json_object_set_new(classes, core->groups[i].class->name,
                            group_status(&core->groups[i]));
    json_object_set_new(o, "classes", classes);
    json_object_set_new(o, "http",
                        json_pack("{s:o, s:o, s:o, s:o, s:o}", "exchanges",
                                  document_number(http.exchanges), "connections_opened",
                                  document_number(http.connections_opened), "connections_open",
                                  document_number(http.connections_open), "pools",
                                  document_number(http.shares), "shared_connections",
                                  document_number(http.shared_connections)));
    json_object_set_new(o, "aws", core_uses_aws(core) ? aws_status(core->aws) : json_null());
    json_object_set_new(o, "loop",
                        json_pack("{s:o, s:o, s:I}", "turns", document_number(loop.turns.total),
                                  "long_turns", document_number(loop.long_turns),
                                  "longest_turn_us", (json_int_t)loop.longest_turn_us));
    json_object_set_new(o, "journal", journal_status(core));
    json_object_set_new(o, "orphans", reaper_status(core));
    json_object_set_new(o, "drain", drain_status(core));
    json_object_set_new(o, "admission", admission_status(core));
    json_object_set_new(o, "misroutes", document_number(n->misroutes));
    json_object_set_new(o, "launches", document_number(n->launches));
    json_object_set_new(o, "launch_failures", document_number(metrics_failed_attempts(core)));
    json_object_set_new(o, "uploads",
                        json_pack("{s:o, s:o, s:o}", "confirmed",
                                  document_number(metrics_uploads(core, STEP_OK)), "lost",
                                  document_number(metrics_uploads(core, STEP_LOST)), "skipped",
                                  document_number(metrics_uploads(core, STEP_SKIPPED))));
    return document_take(o);
}

/* NULL: nothing speaks against new sessions of it. */
static const char *trouble_of(const struct group *g)
{
    if (gate_is_shut(g, DRIVER_LAUNCH))
        return g->breakers[DRIVER_LAUNCH].error.message;
    if (gate_is_shut(g, DRIVER_ADD))
        return g->breakers[DRIVER_ADD].error.message;
    return *g->trouble ? g->trouble : NULL;
}

static char *why_not_ready(const struct cleat *core)
{
    if (core->store_failing)
        return mem_printf("the journal cannot be written: %s", core->outage.error.message);
    if (core->drain.all || core->drain.closed)
        return mem_strdup("draining: no new sessions are taken");
    for (size_t i = 0; i < core->group_count; i++) {
        const char *trouble = trouble_of(&core->groups[i]);
        if (trouble)
            return mem_printf("class %s: %s", core->groups[i].class->name, trouble);
    }
    return core->listing > 0 ? mem_strdup("the drivers are asked what they hold") : NULL;
}

bool cleat_ready(struct cleat *core, char **why)
{
    char *text = why_not_ready(core);
    bool ready = text == NULL;
    if (why)
        *why = text;
    else
        free(text);
    return ready;
}
