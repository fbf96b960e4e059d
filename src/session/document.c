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
#include "session/context.h"
#include "session/document.h"
#include "session/job.h"
#include "session/metrics.h"
#include "session/position.h"
#include "session/route.h"
#include "session/session.h"
#include "session/steps.h"
#include "session/warm.h"

json_t *document_time(int64_t ms)
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

json_t *document_number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

json_t *document_optional(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

void document_add_context(json_t *o, const struct session *s)
{
    const struct {
        const char *key, *value;
    } names[] = {{"request_id", s->warm ? NULL : s->request_id},
                 {"tenant", s->context.tenant},
                 {"user", s->context.user},
                 {"thread", s->context.thread},
                 {"run", s->context.run},
                 {"parent", s->context.parent},
                 {"class", s->class_name}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_object_set_new(o, names[i].key, document_optional(names[i].value));
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
    if (s->state >= SESSION_CLOSING)
        return json_null();
    if (s->state == SESSION_QUEUED)
        return document_time(session_queue_end(s));
    if (s->state == SESSION_OPENING)
        return document_time(session_create_end(s));
    if (s->warm)
        return document_time(warm_end(s));
    int64_t end = session_lifetime_end(s), idle = s->used + s->idle_timeout_s * 1000;
    return document_time(idle < end && !s->running ? idle : end);
}

json_t *document_address(const struct attempt *a)
{
    if (!a || !a->launched)
        return json_null();
    return json_sprintf("%s:%u", a->container.ip, (unsigned)a->container.port);
}

/* Where its files arrive: under the name that its container was launched with. */
static json_t *artifacts(const struct session *s, const struct attempt *a)
{
    const char *store = s->group->class->artifacts;
    size_t len = strlen(store);
    while (len > 0 && store[len - 1] == '/')
        len--;
    return a && len > 0 ? json_sprintf("%.*s/%s", (int)len, store, a->identity.session)
                        : json_null();
}

/* How its balancer sees it. */
static void add_target(json_t *o, const struct attempt *a)
{
    static const char *const states[] = {[TARGET_UNKNOWN] = "unknown",
                                         [TARGET_CHECKING] = "checking",
                                         [TARGET_HEALTHY] = "healthy",
                                         [TARGET_UNHEALTHY] = "unhealthy",
                                         [TARGET_GONE] = "gone"};
    bool known = a && a->registered;
    json_object_set_new(o, "target", known ? json_string(states[a->target]) : json_null());
    json_object_set_new(o, "target_reason", document_optional(known ? a->target_reason : NULL));
}

static void add_attempt(json_t *o, const struct session *s)
{
    const struct attempt *a = shown(s);
    json_object_set_new(o, "attempt", json_integer(a ? a->number : 0));
    json_object_set_new(o, "attempt_state",
                        a ? json_string(attempt_state_names[a->state]) : json_null());
    json_object_set_new(o, "container",
                        a && a->launched ? json_string(a->container.id) : json_null());
    json_object_set_new(o, "address", document_address(a));
    add_target(o, a);
    json_object_set_new(o, "direct_path", json_boolean(a && a->direct));
    json_object_set_new(o, "progress", document_optional(a ? a->progress : NULL));
    json_object_set_new(o, "artifacts", artifacts(s, a));
    json_object_set_new(o, "claimed", json_boolean(a && attempt_is_claimed(a)));
    json_object_set_new(o, "attempt_error",
                        s->attempt_error ? json_incref(s->attempt_error) : json_null());
}

static json_t *waiting_for(const struct session *s)
{
    return document_optional(s->state == SESSION_QUEUED ? position_waits_for(s)
                                                        : s->waiting_for);
}

json_t *session_document(const struct session *s)
{
    json_t *o = json_object();
    json_object_set_new(o, "session_id", json_string(s->id));
    document_add_context(o, s);
    json_object_set_new(o, "state", json_string(session_state_names[s->state]));
    json_object_set_new(o, "created_at", document_time(s->created));
    json_object_set_new(o, "expires_at", expires_at(s));
    json_object_set_new(o, "stop_reason", document_optional(s->stop_reason));
    json_object_set_new(o, "error",
                        s->error.code == ERR_NONE
                            ? json_null()
                            : json_pack("{s:s, s:s}", "code", error_name(s->error.code),
                                        "message", s->error.message));
    json_object_set_new(
        o, "proof",
        json_string(s->group->class->proof == PROOF_REQUIRED ? "required" : "none"));
    json_object_set_new(o, "input", document_optional(s->input.url));
    json_object_set_new(
        o, "job", s->job ? json_string(s->job->name ? s->job->name : s->id) : json_null());
    json_object_set_new(o, "adopted", json_boolean(s->adopted));
    json_object_set_new(o, "warm", json_boolean(s->warm));
    add_attempt(o, s);
    json_object_set_new(o, "waiting_for", waiting_for(s));
    json_object_set_new(o, "queue", position_document(s));
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

char *document_take(json_t *o)
{
    char *text = js_text(o);
    json_decref(o);
    return text;
}

char *cleat_session(struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = context_find(core, tenant, id);
    return s ? document_take(session_document(s)) : NULL;
}

/* What speaks against telling it; ERR_NONE: nothing. */
static enum error_code check_route(const struct session *s, const char **message)
{
    if (!s) {
        *message = "there is no such session";
        return ERR_NOT_FOUND;
    }
    if (s->state >= SESSION_CLOSING) {
        *message = "the session is closing or closed";
        return ERR_CLOSED;
    }
    if (s->warm) {
        *message = "the container is warm: it waits for the session it is for";
        return ERR_CONFLICT;
    }
    const struct attempt *a = s->attempt;
    bool known = a && a->state == ATTEMPT_LIVE && a->route.confirmed;
    metrics_route(s->group, known);
    *message = "the session has no confirmed route now";
    return known ? ERR_NONE : ERR_NOT_READY;
}

static json_t *route_document(const struct session *s)
{
    const struct attempt *a = s->attempt;
    const struct group *g = s->group;
    json_t *headers = json_object();
    json_t *o = json_object();
    const struct balancer_node *node = route_node(a);
    if (node) {
        json_object_set_new(o, "base_url", json_string(node->url));
        if (g->balancer_ops->sweeps(g->balancer))
            json_object_set_new(headers, "Cookie", document_optional(a->route.cookies.header));
        if (node->header.name)
            json_object_set_new(headers, node->header.name, json_string(node->header.value));
    } else {
        json_object_set_new(
            o, "base_url",
            json_sprintf("http://%s:%u", a->container.ip, (unsigned)a->container.port));
    }
    json_object_set_new(o, "headers", headers);
    int64_t expires = a->route.cookies.expires_ms;
    json_object_set_new(o, "expires_at", expires ? document_time(expires) : json_null());
    return o;
}

char *cleat_route(struct cleat *core, const char *tenant, const char *id,
                  struct cleat_error *why)
{
    const struct session *s = context_find(core, tenant, id);
    const char *message;
    enum error_code code = check_route(s, &message);
    if (code == ERR_NONE)
        return document_take(route_document(s));
    if (why)
        *why = (struct cleat_error){.code = error_name(code),
                                    .message = message,
                                    .http_status = error_http_status(code),
                                    .retryable = error_retryable(code),
                                    .admitted = s != NULL};
    return NULL;
}
