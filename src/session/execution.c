#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/execution_message.h"
#include "session/job.h"
#include "session/job_mark.h"
#include "session/message.h"
#include "session/metrics.h"
#include "session/once.h"
#include "session/session.h"

#define EXECUTION_GRACE_MS                                                                     \
    30000 /* the container enforces timeout_s itself; this is for its answer */
#define OUTAGE_PATIENCE_MS 5000
#define MAX_QUEUED 64

/* What was under way when that ended is asked for again, by its id. */
static bool earlier_life_sent(const struct session *s)
{
    const struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (a->recovered && a->touched)
            return true;
    return false;
}

bool execution_may_be_repeat(const struct session *s, const char *id)
{
    const struct execution *e;
    TAILQ_FOREACH (e, &s->executions, entry)
        if (strcmp(e->id, id) == 0)
            return true;
    return earlier_life_sent(s) || !once_is_first(s, id);
}

struct execution *execution_new(struct session *s, json_t *request, bool named,
                                int64_t timeout_s, int64_t output_limit,
                                struct cleat_call *call)
{
    if (s->queued >= MAX_QUEUED)
        return NULL;
    const char *id = json_string_value(json_object_get(request, "execution_id"));
    struct execution *e = mem_alloc(sizeof(*e));
    e->session = s;
    e->request = json_incref(request);
    e->named = named;
    e->may_repeat = named && execution_may_be_repeat(s, id);
    e->timeout_s = timeout_s;
    e->output_limit = output_limit;
    e->call = call;
    mem_copy_string(e->id, sizeof(e->id), id);
    TAILQ_INSERT_TAIL(&s->executions, e, entry);
    s->queued++;
    session_wake(s);
    return e;
}

void execution_free(struct execution *e)
{
    struct session *s = e->session;
    message_reset(&e->message);
    if (s->running == e)
        s->running = NULL;
    TAILQ_REMOVE(&s->executions, e, entry);
    s->queued--;
    json_decref(e->request);
    free(e);
}

void execution_may_have_run(struct execution *e)
{
    if (e->ran == RAN_NO)
        e->ran = RAN_UNKNOWN;
}

static const char *ran_name(const struct execution *e)
{
    return e->ran == RAN_NO && !e->may_repeat ? "no" : e->ran == RAN_YES ? "yes" : "unknown";
}

/* A repeated execution id brings its old record: the container's own number tells. */
static void count(const struct execution *e, const json_t *record)
{
    struct session *s = e->session;
    const char *status = json_string_value(json_object_get(record, "status"));
    int64_t n;
    if (message_count(record, "execution_num", &n))
        n += (int64_t)s->executed_before;
    else
        n = (int64_t)s->executed + 1;
    if ((uint64_t)n <= s->executed)
        return;
    s->executed = (uint64_t)n;
    bool completed = status && strcmp(status, "completed") == 0;
    if (!completed)
        s->executions_failed++;
    metrics_execution(s->group, completed ? EXECUTION_COMPLETED : EXECUTION_FAILED,
                      e->begun ? s->used - e->begun : -1);
}

static void forget(struct execution *e)
{
    if (e->noted && e->session->attempt)
        once_forget(e->session->attempt, e->id);
    e->noted = false;
}

/* The job may close its session, which ends every execution that is left. */
static void end_of_job(struct execution *e, const struct error *error, json_t *record)
{
    struct session *s = e->session;
    enum run_state ran = e->ran;
    struct error why = error ? *error : (struct error){0};
    json_incref(record);
    execution_free(e);
    job_finished(s, ran, &why, record);
    json_decref(record);
}

static void emit_output(const struct execution *e, const json_t *record, const char *stream)
{
    size_t bytes = json_string_length(json_object_get(record, stream));
    if (bytes > 0)
        event_emit(e->session, "output", KV("execution", e->id), KV("stream", stream),
                   KI("offset", 0), KI("bytes", bytes));
}

static void emit_end(const struct execution *e, const struct error *error, const json_t *record)
{
    const char *status = json_string_value(json_object_get(record, "status"));
    if (e->of_job) {
        job_mark(e->session);
    } else {
        emit_output(e, record, "stdout");
        emit_output(e, record, "stderr");
    }
    event_emit(e->session, "execution.end", KV("execution", e->id),
               KV("result", record ? status : error_name(error->code)),
               KV("ran", record ? "yes" : ran_name(e)),
               KV("error", record ? NULL : error->message));
}

void execution_ended(struct execution *e, const struct error *error, json_t *record)
{
    struct session *s = e->session;
    s->used = core_now(s->core);
    if (e->ran == RAN_NO && !record)
        forget(e);
    if (record)
        count(e, record);
    else
        metrics_execution(s->group, EXECUTION_LOST, -1);
    if (!record)
        log_warn("execution.failed", KV("session", s->id), KV("execution", e->id),
                 KV("code", error_name(error->code)), KV("ran", ran_name(e)),
                 KV("error", error->message));
    emit_end(e, error, record);
    if (e->call)
        call_finish(e->call, record ? NULL : error, record ? NULL : ran_name(e),
                    record ? js_text(record) : NULL);
    if (e->of_job)
        end_of_job(e, error, record);
    else
        execution_free(e);
    s->again = true;
    session_wake(s);
}

void executions_end(struct session *s, const struct error *why)
{
    while (!TAILQ_EMPTY(&s->executions)) {
        struct execution *e = TAILQ_FIRST(&s->executions);
        if (e->message.state != OP_IDLE)
            execution_may_have_run(e);
        execution_ended(e, why, NULL);
    }
}

void executions_lose(struct session *s, const struct error *why)
{
    struct execution *e = s->running;
    if (e && e->message.state != OP_IDLE)
        execution_may_have_run(e);
    if (e && e->ran != RAN_NO)
        execution_ended(e, why, NULL);
    s->running = NULL;
    TAILQ_FOREACH (e, &s->executions, entry) { /* they wait from now on */
        forget(e);
        e->deadline = e->retry_at = 0;
        e->tries = 0;
    }
}

void executions_misroute(struct session *s)
{
    struct execution *e = TAILQ_FIRST(&s->executions);
    if (e && e != s->running)
        execution_misrouted(e);
}

/* The caller is told. A plain container may still be at it and knows no deadline: its slot is
 * free only when it has finished, or when the session ends. */
static void give_up(struct execution *e)
{
    struct error why;
    error_set(&why, ERR_EXEC_TIMEOUT, "no record of the execution within %lld s%s%s",
              (long long)e->timeout_s, e->last.code ? ": " : "", e->last.message);
    if (e->message.state != OP_IDLE)
        execution_may_have_run(e);
    if (e->session->group->class->proof == PROOF_REQUIRED || e->ran == RAN_NO || e->of_job) {
        execution_ended(e, &why, NULL);
        return;
    }
    if (e->call)
        call_finish(e->call, &why, ran_name(e), NULL);
    e->call = NULL;
    e->last = why;
    e->settling = true;
    e->deadline = INT64_MAX;
    message_reset(&e->message);
    e->session->again = true;
}

/* What runs must not be forgotten by a crash, and the journal cannot be told. A short outage is
 * waited for. */
static void refuse_untouched(struct execution *e)
{
    struct session *s = e->session;
    struct error why;
    if (session_not_before(s, s->core->outage.since + OUTAGE_PATIENCE_MS))
        return;
    error_set(&why, ERR_STORE, "the journal cannot be written, so nothing is begun: %s",
              s->core->outage.error.message);
    execution_ended(e, &why, NULL);
}

/* It was sent to a container that is gone, and its record with it. */
static bool was_lost(struct execution *e)
{
    struct error why;
    if (!e->named || !once_was_sent(e->session->attempt, e->id))
        return false;
    e->ran = RAN_UNKNOWN;
    error_set(&why, ERR_DIED,
              "this execution was sent to an earlier container of the session, which died");
    execution_ended(e, &why, NULL);
    return true;
}

/* Where a container may be replaced, what is sent to it is in the journal first; anywhere else
 * this life alone remembers it. */
static void note(struct execution *e)
{
    struct attempt *a = e->session->attempt;
    if (e->noted || !e->named)
        return;
    e->noted = once_note(a, e->id);
    if (e->noted && a->noting)
        attempt_dirty(a);
}

/* What a crash must not undo once something runs: that there may be artifacts, that a death now
 * is no failed launch, and what was sent. */
static bool may_run(const struct execution *e)
{
    struct session *s = e->session;
    return attempt_touch_durable(s->attempt) && session_ready_durable(s) &&
           (!e->noted || !s->attempt->noting || attempt_durable(s->attempt));
}

/* A job ends at its deadline also where the container knows none. */
static int64_t grace_ms(const struct execution *e)
{
    bool plain = e->session->group->class->proof == PROOF_NONE;
    return e->of_job && plain ? 0 : EXECUTION_GRACE_MS;
}

void execution_begins(struct execution *e)
{
    e->begun = core_now(e->session->core);
    e->deadline = e->begun + e->timeout_s * 1000 + grace_ms(e);
}

static void begin(struct session *s)
{
    struct attempt *a = s->attempt;
    struct execution *e = TAILQ_FIRST(&s->executions);
    if (e && s->replacing > 0)
        e->sought_route = true;
    if (!e || s->replacing > 0)
        return;
    if (e->deadline == 0)
        e->deadline = core_now(s->core) + e->timeout_s * 1000 + EXECUTION_GRACE_MS;
    if (core_now(s->core) >= e->deadline) {
        give_up(e);
        return;
    }
    session_at(s, e->deadline);
    if (a->state != ATTEMPT_LIVE || !a->route.confirmed || a->route.suspect) {
        e->sought_route = true;
        return;
    }
    if (was_lost(e))
        return;
    attempt_touch(a);
    note(e);
    bool may_begin = !e->of_job || job_may_begin(s);
    if (!may_begin || !may_run(e)) {
        if (s->core->store_failing)
            refuse_untouched(e);
        return;
    }
    execution_begins(e);
    s->running = e;
    metrics_route(s->group, !e->sought_route);
    if (e->of_job && s->group->class->proof == PROOF_NONE)
        job_begun(e, NULL);
    s->again = true;
    event_emit(s, "execution.begin", KI("attempt", a->number), KV("execution", e->id),
               KI("timeout_s", e->timeout_s));
}

void executions_step(struct session *s)
{
    if (!s->running)
        begin(s);
    if (s->running && s->running->message.state == OP_DONE)
        execution_take_answer(s->running);
    struct execution *e = s->running;
    if (!e)
        return;
    int64_t now = core_now(s->core);
    if (now >= e->deadline) {
        give_up(e);
        return;
    }
    if (e->deadline != INT64_MAX)
        session_at(s, e->deadline);
    job_hurry_cancel(e);
    if (e->message.state == OP_RUNNING || !s->attempt->route.confirmed)
        return;
    if (session_not_before(s, e->retry_at))
        return;
    execution_send(e);
}
