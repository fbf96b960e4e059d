#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/context.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/input.h"
#include "session/job.h"
#include "session/journal.h"
#include "session/metrics.h"
#include "session/queue.h"
#include "session/request.h"
#include "session/session.h"
#include "session/steps.h"
#include "session/warm.h"

const char *const session_state_names[SESSION_STATES] = {
    "QUEUED", "OPENING", "READY", "BUSY", "REROUTING", "CLOSING", "CLOSED", "FAILED"};

static const char *const event_names[SESSION_STATES] = {
    "session.queued",    "session.opening", "session.ready",  "session.busy",
    "session.rerouting", "session.closing", "session.closed", "session.failed"};

static void leave_queue(struct session *s)
{
    if (!s->line)
        return;
    queue_remove(s);
    s->queued_ms += core_now(s->core) - s->queued_at;
    session_span_close(s, "queue", 0, NULL);
}

/* Somebody who waits may have it. */
static void give_back_places(struct session *s, bool container)
{
    places_give_owner(s);
    if (container)
        places_give_container(s);
    if (s->core->queued > 0)
        admission_wake(s->core);
}

static bool is_end(enum session_state state)
{
    return state == SESSION_CLOSED || state == SESSION_FAILED;
}

bool session_is_over(const struct session *s)
{
    return is_end(s->state);
}

static void enter_part(struct session *s)
{
    bool over = session_is_over(s);
    TAILQ_INSERT_TAIL(over ? &s->core->over : &s->core->open, s, part_entry);
    TAILQ_INSERT_TAIL(over ? &s->tenant->over : &s->tenant->open, s, tenant_entry);
}

static void leave_part(struct session *s)
{
    bool over = session_is_over(s);
    TAILQ_REMOVE(over ? &s->core->over : &s->core->open, s, part_entry);
    TAILQ_REMOVE(over ? &s->tenant->over : &s->tenant->open, s, tenant_entry);
}

static void on_timer(void *session)
{
    session_wake(session);
}

struct session *session_new(struct cleat *core, struct group *group, const char *id,
                            const char *tenant, const char *request_id)
{
    struct session *s = mem_alloc(sizeof(*s));
    s->core = core;
    s->group = group;
    mem_copy_string(s->id, sizeof(s->id), id);
    s->request_id = mem_strdup(request_id);
    s->request_key = mem_printf("%s\n%s", tenant, request_id);
    s->context.tenant = mem_strdup(tenant);
    events_begin(s);
    s->tenant = tenant_join(s);
    s->order = ++core->order;
    TAILQ_INIT(&s->children);
    TAILQ_INIT(&s->attempts);
    TAILQ_INIT(&s->executions);
    TAILQ_INIT(&s->calls);
    task_init(&s->task, core->loop, session_run, s);
    timer_init(&s->timer, core->loop, on_timer, s);
    TAILQ_INSERT_TAIL(&core->sessions, s, entry);
    s->state = SESSION_QUEUED;
    group->session_counts[s->state]++;
    enter_part(s);
    HASH_ADD_STR(core->by_id, id, s);
    HASH_ADD_KEYPTR(hh_request, core->by_request, s->request_key, strlen(s->request_key), s);
    return s;
}

void session_free(struct session *s)
{
    struct cleat *core = s->core;
    calls_forget(s);
    input_stop(s);
    while (!TAILQ_EMPTY(&s->executions))
        execution_free(TAILQ_FIRST(&s->executions));
    while (!TAILQ_EMPTY(&s->attempts))
        attempt_free(TAILQ_FIRST(&s->attempts));
    context_part(s);
    leave_queue(s);
    give_back_places(s, true);
    leave_part(s);
    tenant_leave(s);
    if (s->counted)
        core->closed--;
    events_forget(s);
    if (s->in_journal)
        TAILQ_REMOVE(&core->journal, s, journal_entry);
    task_stop(&s->task);
    timer_stop(&s->timer);
    TAILQ_REMOVE(&core->sessions, s, entry);
    s->group->session_counts[s->state] -= !s->warm;
    warm_free(s);
    HASH_DELETE(hh, core->by_id, s);
    HASH_DELETE(hh_request, core->by_request, s);
    free(s->context.tenant);
    free(s->context.user);
    free(s->context.thread);
    free(s->context.run);
    free(s->context.parent);
    free(s->request_id);
    free(s->request_key);
    free(s->class_name);
    free(s->parameters);
    free(s->input.url);
    free(s->spans);
    json_decref(s->env);
    json_decref(s->attempt_error);
    job_free(s);
    free(s);
}

void session_fill(struct session *s, const struct create_request *r)
{
    s->context.user = mem_strdup(r->user);
    s->context.thread = mem_strdup(r->thread);
    s->context.run = mem_strdup(r->run);
    s->context.parent = mem_strdup(r->parent);
    s->class_name = mem_strdup(r->class_name);
    s->parameters = mem_strdup(r->parameters);
    s->env = json_incref(r->env);
    s->input.url = mem_strdup(r->input);
    s->create_timeout_s = r->create_timeout_s;
    s->idle_timeout_s = r->idle_timeout_s;
    s->max_lifetime_s = r->max_lifetime_s;
    s->exec_timeout_s = r->exec_timeout_s;
    if (r->job)
        job_new(s, r->job);
}

void session_enqueue(struct session *s)
{
    queue_add(s);
    if (s->span_count == 0)
        session_span_open(s, "queue", 0, false);
    admission_wake(s->core);
}

void session_wake(struct session *s)
{
    task_wake(&s->task);
}

void session_at(struct session *s, int64_t when)
{
    if (s->wake_at == 0 || when < s->wake_at)
        s->wake_at = when;
}

bool session_not_before(struct session *s, int64_t when)
{
    if (core_now(s->core) >= when)
        return false;
    session_at(s, when);
    return true;
}

void session_dirty(struct session *s)
{
    s->dirty = true;
    journal_add(s);
}

bool session_durable(const struct session *s)
{
    return !s->dirty && s->commit <= s->core->commit_durable;
}

/* Once it is, it stays so, whatever else of the session waits for the journal. */
bool session_ready_durable(struct session *s)
{
    if (s->ready > 0 && session_durable(s))
        s->ready_durable = true;
    return s->ready_durable;
}

void session_waits_for(struct session *s, const char *text)
{
    mem_copy_string(s->waiting_for, sizeof(s->waiting_for), text);
}

void session_lacks_room(struct session *s, const struct error *e)
{
    if (s->refusals++ == 0)
        session_span_open(s, "capacity", 0, false);
    event_emit(s, "session.capacity", KI("refusals", s->refusals), KV("error", e->message));
    snprintf(s->waiting_for, sizeof(s->waiting_for), "%s: %.170s",
             e->code == ERR_CAPACITY ? "capacity" : "the engine", e->message);
}

void session_has_room(struct session *s)
{
    if (s->refusals > 0)
        session_span_close(s, "capacity", 0, NULL);
    s->refusals = 0;
    session_waits_for(s, "");
}

/* A closed session is remembered for a while; what its user handed over is not. */
static void forget_env(struct session *s)
{
    json_t *o = s->env ? js_parse_object(s->parameters, strlen(s->parameters), NULL) : NULL;
    if (!o)
        return;
    json_object_del(o, "env");
    free(s->parameters);
    s->parameters = js_text(o);
    json_decref(o);
    json_decref(s->env);
    s->env = NULL;
}

void session_set_state(struct session *s, enum session_state to)
{
    if (!s->warm) {
        s->group->session_counts[s->state]--;
        s->group->session_counts[to]++;
    }
    bool moves = is_end(to) != session_is_over(s); /* else it keeps its rank */
    if (moves)
        leave_part(s);
    s->state = to;
    if (moves)
        enter_part(s);
}

void session_count_closed(struct session *s)
{
    s->counted = !s->warm;
    s->core->closed += s->counted;
}

void session_go(struct session *s, enum session_state to)
{
    enum session_state from = s->state;
    if (from == to)
        return;
    int64_t now = core_now(s->core);
    log_info("session.state", KV("session", s->id), KV("from", session_state_names[from]),
             KV("to", session_state_names[to]), KV("stop_reason", s->stop_reason),
             KV("error", s->error.message));
    event_emit(s, event_names[to], KV("from", session_state_names[from]),
               KV("stop_reason", s->stop_reason), KV("error", s->error.message));
    leave_queue(s);
    session_set_state(s, to);
    if (to == SESSION_QUEUED) {
        s->queued_at = now;
        give_back_places(s, true);
        session_enqueue(s);
    }
    if (to == SESSION_OPENING)
        s->opened = now;
    if (to == SESSION_READY && s->ready == 0)
        s->ready = s->used = now;
    if (to >= SESSION_CLOSING)
        context_end_children(s);
    if (to == SESSION_CLOSING) {
        s->closing = now;
        give_back_places(s, false);
        session_has_room(s);
        input_stop(s);
    }
    if (session_is_over(s)) {
        s->closed = now;
        session_count_closed(s);
        forget_env(s);
        job_over(s);
        session_spans_fit(s);
        give_back_places(s, true);
    }
    metrics_session(s, from);
    bool only_busy = (from == SESSION_READY && to == SESSION_BUSY) ||
                     (from == SESSION_BUSY && to == SESSION_READY);
    if (!only_busy)
        session_dirty(s);
    if (s->warm)
        warm_changed(s, from);
    s->again = true;
    session_wake(s);
}

void session_close(struct session *s, const char *stop_reason, const struct error *e)
{
    if (s->state >= SESSION_CLOSING)
        return;
    mem_copy_string(s->stop_reason, sizeof(s->stop_reason), stop_reason);
    if (e)
        s->error = *e;
    struct error why = {0};
    if (e)
        why = *e;
    else
        error_set(&why, ERR_CLOSED, "the session is closing (%s)", stop_reason);
    job_closing(s, stop_reason, e);
    executions_end(s, &why);
    session_go(s, SESSION_CLOSING);
}
