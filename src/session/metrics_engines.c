/* Metrics of engines, balancers, and of what is sent to them. */
#include "session/gate.h"
#include "session/metrics.h"
#include "session/metrics_text.h"
#include "session/sweep.h"

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

void metrics_add_driver_calls(struct exposition *x, const struct cleat *core)
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

void metrics_add_attempts(struct exposition *x, const struct cleat *core)
{
    expose_counter(x, "cleat_launches_total", core->counters.launches,
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

void metrics_add_routes(struct exposition *x, const struct cleat *core)
{
    expose_counter(x, "cleat_misroutes_total", core->counters.misroutes,
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
void metrics_add_endpoint_cache(struct exposition *x, const struct cleat *core)
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

void metrics_add_http(struct exposition *x, const struct cleat *core)
{
    struct http_client_stats http;
    http_client_get_stats(core->client, &http);
    expose_counter(x, "cleat_http_exchanges_total", http.exchanges,
                   "HTTP requests to containers, balancers and engines.");
    expose_counter(x, "cleat_http_connections_opened_total", http.connections_opened,
                   "Connections opened for them.");
    expose_gauge(x, "cleat_http_connections", (int64_t)http.connections_open,
                 "Connections that are open.");
    expose_gauge(x, "cleat_http_pools", (int64_t)http.shares,
                 "Private pools of connections, one of each session that has some.");
    expose_counter(
        x, "cleat_http_shared_connections_total", http.shared_connections,
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

void metrics_add_aws(struct exposition *x, const struct cleat *core)
{
    json_t *status = core_uses_aws(core) ? aws_status(core->aws) : NULL;
    const json_t *calls = json_object_get(status, "calls");
    add_aws_of(x, calls, "cleat_aws_calls_total", "calls", "Calls of AWS APIs.");
    add_aws_of(x, calls, "cleat_aws_throttled_total", "throttled", "Of them, throttled ones.");
    add_aws_of(x, calls, "cleat_aws_errors_total", "errors", "Of them, those that failed.");
    json_decref(status);
}
