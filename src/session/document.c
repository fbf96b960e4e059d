/* The documents that callers see (cleatd(8), API). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "cleat.h"
#include "http/json.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/config.h"
#include "session/document.h"
#include "session/drain.h"
#include "session/gate.h"
#include "session/reaper.h"
#include "session/route.h"
#include "session/session.h"
#include "session/sweep.h"

#define MAX_CLOSED_LISTED 1000

static json_t *time_text(int64_t ms)
{
    char text[40];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(ms % 1000));
    return json_string(text);
}

static json_t *since(const struct session *s, int64_t when)
{
    return when ? json_integer(when - s->created) : json_null();
}

static json_t *optional(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

/* The attempt to show: the current one, or the last. */
static const struct attempt *shown(const struct session *s)
{
    return s->attempt ? s->attempt : TAILQ_LAST(&s->attempts, attempt_list);
}

static json_t *spans(const struct session *s, bool cleanup)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->span_count; i++) {
        const struct span *span = &s->spans[i];
        if (span->cleanup != cleanup)
            continue;
        json_t *o = json_pack(
            "{s:s, s:i, s:I, s:o}", "name", span->name, "attempt", (int)span->attempt,
            "start_ms", (json_int_t)(span->start - s->created), "end_ms", since(s, span->end));
        if (span->result)
            json_object_set_new(o, "result", json_string(span->result));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *expires_at(const struct session *s)
{
    if (!s->ready || s->state >= SESSION_CLOSING)
        return json_null();
    int64_t end = session_lifetime_end(s), idle = s->used + s->idle_timeout_s * 1000;
    return time_text(idle < end && !s->running ? idle : end);
}

static json_t *address(const struct attempt *a)
{
    if (!a || !a->launched)
        return json_null();
    return json_sprintf("%s:%u", a->container.ip, (unsigned)a->container.port);
}

static void add_attempt(json_t *o, const struct session *s)
{
    const struct attempt *a = shown(s);
    json_object_set_new(o, "attempt", json_integer(a ? a->number : 0));
    json_object_set_new(o, "attempt_state",
                        a ? json_string(attempt_state_names[a->state]) : json_null());
    json_object_set_new(o, "container",
                        a && a->launched ? json_string(a->container.id) : json_null());
    json_object_set_new(o, "address", address(a));
    json_object_set_new(o, "direct_path", json_boolean(a && a->direct));
    json_object_set_new(o, "progress", optional(a ? a->progress : NULL));
}

static json_t *waiting_for(const struct session *s)
{
    return optional(s->state == SESSION_QUEUED ? "a place among max_sessions" : s->waiting_for);
}

json_t *session_document(const struct session *s)
{
    json_t *o = json_object();
    const struct {
        const char *key, *value;
    } names[] = {{"session_id", s->id},
                 {"request_id", s->request_id},
                 {"tenant", s->context.tenant},
                 {"user", s->context.user},
                 {"thread", s->context.thread},
                 {"run", s->context.run},
                 {"parent", s->context.parent},
                 {"class", s->class_name},
                 {"state", session_state_names[s->state]}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_object_set_new(o, names[i].key, optional(names[i].value));
    json_object_set_new(o, "created_at", time_text(s->created));
    json_object_set_new(o, "expires_at", expires_at(s));
    json_object_set_new(o, "stop_reason", optional(s->stop_reason));
    json_object_set_new(o, "error",
                        s->error.code == ERR_NONE
                            ? json_null()
                            : json_pack("{s:s, s:s}", "code", error_name(s->error.code),
                                        "message", s->error.message));
    json_object_set_new(
        o, "proof",
        json_string(s->group->class->proof == PROOF_REQUIRED ? "required" : "none"));
    json_object_set_new(o, "input", optional(s->input.url));
    json_object_set_new(o, "adopted", json_boolean(s->adopted));
    add_attempt(o, s);
    json_object_set_new(o, "waiting_for", waiting_for(s));
    json_object_set_new(o, "executions", json_integer((json_int_t)s->executed));
    json_object_set_new(o, "executions_failed", json_integer((json_int_t)s->executions_failed));
    json_object_set_new(o, "executions_queued", json_integer(s->queued));
    json_object_set_new(o, "probes", json_integer((json_int_t)s->probes));
    json_object_set_new(o, "misroutes", json_integer((json_int_t)s->misroutes));
    json_object_set_new(o, "replacements", json_integer(s->replacements));
    json_object_set_new(o, "phases", spans(s, false));
    json_object_set_new(o, "cleanup", spans(s, true));
    json_object_set_new(o, "ready_ms", since(s, s->ready));
    json_object_set_new(o, "closing_ms", since(s, s->closing));
    json_object_set_new(o, "closed_ms", since(s, s->closed));
    return o;
}

static char *take_text(json_t *o)
{
    char *text = js_text(o);
    json_decref(o);
    return text;
}

static struct session *visible(const struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = core_find(core, id);
    return s && (!tenant || strcmp(tenant, s->context.tenant) == 0) ? s : NULL;
}

char *cleat_session(struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = visible(core, tenant, id);
    return s ? take_text(session_document(s)) : NULL;
}

static bool is_listed(const struct session *s, const char *tenant, bool over)
{
    return session_is_over(s) == over && (!tenant || strcmp(tenant, s->context.tenant) == 0);
}

/* All that are not over, and the newest of those that are: a list that one turn can make. */
char *cleat_sessions(struct cleat *core, const char *tenant)
{
    json_t *list = json_array();
    const struct session *s;
    unsigned closed = 0;
    TAILQ_FOREACH (s, &core->sessions, entry)
        closed += is_listed(s, tenant, true);
    unsigned skip = closed > MAX_CLOSED_LISTED ? closed - MAX_CLOSED_LISTED : 0;
    json_t *o = json_pack("{s:o, s:b}", "sessions", list, "truncated", skip > 0);
    TAILQ_FOREACH (s, &core->sessions, entry) {
        if (is_listed(s, tenant, true) && skip > 0)
            skip--;
        else if (is_listed(s, tenant, session_is_over(s)))
            json_array_append_new(list, session_document(s));
    }
    return take_text(o);
}

char *cleat_route(struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = visible(core, tenant, id);
    const struct attempt *a = s ? s->attempt : NULL;
    if (!a || a->state != ATTEMPT_LIVE || !a->route.confirmed)
        return NULL;
    const struct group *g = s->group;
    json_t *headers = json_object();
    json_t *o = json_object();
    const struct balancer_node *node = route_node(a);
    if (node) {
        json_object_set_new(o, "base_url", json_string(node->url));
        if (g->balancer_ops->sweeps(g->balancer))
            json_object_set_new(headers, "Cookie", optional(a->route.cookies.header));
        if (node->header.name)
            json_object_set_new(headers, node->header.name, json_string(node->header.value));
    } else {
        json_object_set_new(
            o, "base_url",
            json_sprintf("http://%s:%u", a->container.ip, (unsigned)a->container.port));
    }
    json_object_set_new(o, "headers", headers);
    int64_t expires = a->route.cookies.expires_ms;
    json_object_set_new(o, "expires_at", expires ? time_text(expires) : json_null());
    return take_text(o);
}

static json_t *group_status(const struct group *g)
{
    struct sweep_counts n = sweeps_count(g);
    return json_pack("{s:o, s:o, s:o, s:b, s:i, s:I, s:I}", "runtime",
                     g->runtime_ops->status(g->runtime), "balancer",
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
    const struct session *s;
    const struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry) {
        sessions[s->state]++;
        TAILQ_FOREACH (a, &s->attempts, entry)
            attempts[a->state]++;
    }
    json_object_set_new(
        o, "sessions",
        counts(session_state_names, SESSION_STATES, sessions, (int)HASH_COUNT(core->by_id)));
    json_object_set_new(o, "attempts",
                        counts(attempt_state_names, ATTEMPT_STATES, attempts, -1));
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static bool uses_aws(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (class_uses_aws(core->groups[i].class))
            return true;
    return false;
}

static json_t *journal_status(const struct cleat *core)
{
    static const char *const durability[] = {[STORE_NORMAL] = "normal", [STORE_FULL] = "full"};
    const struct outage *outage = &core->outage;
    struct store_status st;
    core->store_ops->status(core->store, &st);
    json_t *o = json_pack(
        "{s:s, s:o, s:o, s:I, s:o}", "durability", durability[core->settings->durability],
        "commits", number(core->counters.commits), "checkpoints", number(st.checkpoints),
        "log_bytes", (json_int_t)st.log_bytes, "log_problem", optional(st.trouble));
    json_object_set_new(o, "failing",
                        optional(core->store_failing ? outage->error.message : NULL));
    json_object_set_new(o, "since",
                        core->store_failing ? time_text(outage->since) : json_null());
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
    add_counts(o, core);
    json_t *classes = json_object();
    for (size_t i = 0; i < core->group_count; i++)
        json_object_set_new(classes, core->groups[i].class->name,
                            group_status(&core->groups[i]));
    json_object_set_new(o, "classes", classes);
    json_object_set_new(o, "http",
                        json_pack("{s:o, s:o, s:o, s:o, s:o}", "exchanges",
                                  number(http.exchanges), "connections_opened",
                                  number(http.connections_opened), "connections_open",
                                  number(http.connections_open), "pools", number(http.shares),
                                  "shared_connections", number(http.shared_connections)));
    json_object_set_new(o, "aws", uses_aws(core) ? aws_status(core->aws) : json_null());
    json_object_set_new(o, "loop",
                        json_pack("{s:o, s:o, s:I}", "turns", number(loop.turns), "long_turns",
                                  number(loop.long_turns), "longest_turn_us",
                                  (json_int_t)loop.longest_turn_us));
    json_object_set_new(o, "journal", journal_status(core));
    json_object_set_new(o, "orphans", reaper_status(core));
    json_object_set_new(o, "drain", drain_status(core));
    json_object_set_new(o, "misroutes", number(n->misroutes));
    json_object_set_new(o, "launches", number(n->launches));
    json_object_set_new(o, "launch_failures", number(n->launch_failures));
    json_object_set_new(o, "uploads",
                        json_pack("{s:o, s:o, s:o}", "confirmed", number(n->uploads_confirmed),
                                  "lost", number(n->uploads_lost), "skipped",
                                  number(n->uploads_skipped)));
    return take_text(o);
}

static json_t *isolation_of(const struct session *s, const struct attempt *a)
{
    const char *last[16];
    uint64_t total = 0;
    size_t count = a->pool ? pool_connections(a->pool, last, &total) : 0;
    json_t *connections = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(connections, json_string(last[i]));
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "session_id", s->id, "state",
                  session_state_names[s->state], "container", a->container.id, "address",
                  address(a), "connections", connections, "connections_total", number(total),
                  "probes", number(s->probes), "misroutes", number(s->misroutes));
    json_object_set_new(
        o, "proof",
        json_string(s->group->class->proof == PROOF_REQUIRED ? "required" : "none"));
    json_object_set_new(o, "direct_path", json_boolean(a->direct));
    return o;
}

/* Counts every address that a second attempt holds (I3). */
static json_t *isolation_walk(const struct cleat *core, const char *tenant, json_t *list)
{
    const struct session *s;
    const struct attempt *a;
    json_t *holders = json_object();
    json_int_t conflicts = 0;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry) {
            char where[64];
            bool gone = a->died ||
                        a->cleanup.stop != STEP_PENDING; /* its address may be in use again */
            if (!a->launched || attempt_has_ended(a) || gone)
                continue;
            snprintf(where, sizeof(where), "%s:%u", a->container.ip,
                     (unsigned)a->container.port);
            conflicts += json_object_get(holders, where) != NULL;
            json_object_set_new(holders, where, json_true());
            if (!tenant || strcmp(tenant, s->context.tenant) == 0)
                json_array_append_new(list, isolation_of(s, a));
        }
    json_decref(holders);
    return json_integer(conflicts);
}

char *cleat_isolation(struct cleat *core, const char *tenant)
{
    struct http_client_stats http;
    http_client_get_stats(core->client, &http);
    json_t *list = json_array();
    json_t *conflicts = isolation_walk(core, tenant, list);
    return take_text(json_pack("{s:o, s:o, s:o, s:i}", "sessions", list, "address_conflicts",
                               conflicts, "shared_connections", number(http.shared_connections),
                               "sessions_checked", (int)json_array_size(list)));
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
