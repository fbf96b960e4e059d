
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/job.h"
#include "session/job_mark.h"
#include "session/message.h"
#include "session/metrics.h"
#include "session/once.h"
#include "session/probe.h"
#include "session/route.h"
#include "session/session.h"

/* One POST waits this long at the container, well below a balancer's usual idle time-out of 60
 * s; then the same execution id is asked for again. */
#define WAIT_S 20
#define ANSWER_MARGIN_MS 15000
#define EXECUTION_GRACE_MS                                                                     \
    30000 /* the container enforces timeout_s itself; this is for its answer */
#define OUTAGE_PATIENCE_MS 5000
#define RETRY_MS 100
#define RETRY_MAX_MS 2000
#define CONNECT_TIMEOUT_MS 5000
#define MAX_QUEUED 64
#define INFO_MAX_ANSWER 65536

struct execution *execution_new(struct session *s, json_t *request, bool named,
                                int64_t timeout_s, int64_t output_limit,
                                struct cleat_call *call)
{
    if (s->queued >= MAX_QUEUED)
        return NULL;
    struct execution *e = mem_alloc(sizeof(*e));
    e->session = s;
    e->request = json_incref(request);
    e->named = named;
    e->timeout_s = timeout_s;
    e->output_limit = output_limit;
    e->call = call;
    mem_copy_string(e->id, sizeof(e->id),
                    json_string_value(json_object_get(request, "execution_id")));
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

static void may_have_run(struct execution *e)
{
    if (e->ran == RAN_NO)
        e->ran = RAN_UNKNOWN;
}

static const char *ran_name(enum run_state ran)
{
    return ran == RAN_NO ? "no" : ran == RAN_YES ? "yes" : "unknown";
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
               KV("ran", record ? "yes" : ran_name(e->ran)),
               KV("error", record ? NULL : error->message));
}

static void finish(struct execution *e, const struct error *error, json_t *record)
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
                 KV("code", error_name(error->code)), KV("ran", ran_name(e->ran)),
                 KV("error", error->message));
    emit_end(e, error, record);
    if (e->call)
        call_finish(e->call, record ? NULL : error, record ? NULL : ran_name(e->ran),
                    record ? js_text(record) : NULL);
    if (e->of_job)
        end_of_job(e, error, record);
    else
        execution_free(e);
    s->again = true;
    session_wake(s);
}

void execution_ended(struct execution *e, json_t *record)
{
    finish(e, NULL, record);
}

void executions_end(struct session *s, const struct error *why)
{
    while (!TAILQ_EMPTY(&s->executions)) {
        struct execution *e = TAILQ_FIRST(&s->executions);
        if (e->message.state != OP_IDLE)
            may_have_run(e);
        finish(e, why, NULL);
    }
}

void executions_lose(struct session *s, const struct error *why)
{
    struct execution *e = s->running;
    if (e && e->message.state != OP_IDLE)
        may_have_run(e);
    if (e && e->ran != RAN_NO)
        finish(e, why, NULL);
    s->running = NULL;
    TAILQ_FOREACH (e, &s->executions, entry) { /* they wait from now on */
        forget(e);
        e->deadline = e->retry_at = 0;
        e->tries = 0;
    }
}

static void misrouted(struct execution *e)
{
    struct error error;
    error_set(&error, ERR_MISROUTE,
              "the balancer led to another container; the route is acquired anew");
    finish(e, &error, NULL);
}

void executions_misroute(struct session *s)
{
    struct execution *e = TAILQ_FIRST(&s->executions);
    if (e && e != s->running)
        misrouted(e);
}

static void retry(struct execution *e)
{
    int64_t wait = (int64_t)RETRY_MS << (e->tries < 6 ? e->tries : 6);
    e->tries++;
    e->retry_at = core_now(e->session->core) + (wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS);
}

/* The plain contract knows no execution ids: once the answer is lost, all that can be seen is
 * when the container has finished one more execution. */
static void take_settling(struct execution *e)
{
    struct attempt *a = e->session->attempt;
    int64_t completed = 0;
    bool ended = e->message.verdict == VERDICT_PROVEN &&
                 message_count(e->message.body, "executions_completed", &completed) &&
                 completed > a->completed;
    if (ended) {
        a->completed = completed;
        if (!a->recovered) /* else it may be one that was under way before our restart */
            e->ran = RAN_YES;
        message_reset(&e->message);
        finish(e, &e->last, NULL);
        return;
    }
    message_reset(&e->message);
    retry(e);
}

static void take_refusal(struct execution *e)
{
    const json_t *error = json_object_get(e->message.body, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "message"));
    int status = e->message.status;
    if (!text)
        text = json_string_value(error);
    struct error why;
    if (status == 409 && code &&
        strcmp(code, "busy") == 0) { /* one from before a restart of ours */
        message_reset(&e->message);
        retry(e);
        return;
    }
    error_set(&why,
              status == 409  ? ERR_CONFLICT
              : status < 500 ? ERR_INVALID
                             : ERR_PROTOCOL,
              "the container refused the execution (%d): %.180s", status,
              text ? text : "no reason given");
    if (status >= 500)
        may_have_run(e);
    finish(e, &why, NULL);
}

static void take_lost(struct execution *e)
{
    struct session *s = e->session;
    bool nobody_there = e->message.verdict == VERDICT_BALANCER && e->message.status == 503;
    e->last = e->message.error;
    if (e->message.sent && !nobody_there) {
        may_have_run(e);
        e->settling = s->group->class->proof == PROOF_NONE;
    }
    if (e->last.code == ERR_TOO_LARGE) {
        e->ran = RAN_YES;
        finish(e, &e->last, NULL);
        return;
    }
    probe_doubt(s->attempt, e->last.message);
    log_info("execution.retry", KV("session", s->id), KV("execution", e->id),
             KI("try", e->tries + 1), KV("error", e->last.message));
    event_emit(s, "retry", KI("attempt", s->attempt->number), KV("step", "execution"),
               KV("execution", e->id), KI("try", e->tries + 1), KV("error", e->last.message));
    message_reset(&e->message);
    retry(e);
}

/* Its output is collected, and the record comes last. */
static bool is_taken_for_job(const struct execution *e)
{
    bool accepted = e->message.status == 200 || e->message.status == 202;
    return e->of_job && accepted && e->session->group->class->proof == PROOF_REQUIRED;
}

static void take_answer(struct execution *e)
{
    struct attempt *a = e->session->attempt;
    struct message *m = &e->message;
    if (m->verdict == VERDICT_MISROUTE) {
        if (m->sent && !m->stranger)
            may_have_run(e);
        attempt_misrouted(a, "execute");
        route_drop(a);
        misrouted(e);
    } else if (e->settling) {
        take_settling(e);
    } else if (m->verdict != VERDICT_PROVEN) {
        take_lost(e);
    } else if (job_take(e)) {
        return;
    } else if (is_taken_for_job(e)) {
        e->ran = RAN_YES;
        e->tries = 0;
        job_begun(e, m->body);
        message_reset(m);
    } else if (m->status == 202) {
        e->ran = RAN_YES;
        e->tries = 0;
        message_reset(m);
    } else if (m->status == 200 && !m->body) {
        error_set(&m->error, ERR_PROTOCOL, "the container's record is no JSON object");
        take_lost(e);
    } else if (m->status == 200) {
        if (!message_count(m->body, "total_executions", &a->completed))
            a->completed++;
        if (e->of_job)
            job_take_plain(e->session, m->body);
        if (attempt_is_claimed(a)) /* it goes by the name that it was launched with */
            json_object_set_new(m->body, "session_id", json_string(e->session->id));
        finish(e, NULL, m->body);
    } else {
        take_refusal(e);
    }
}

static void send_settling(struct execution *e)
{
    message_send(&e->message, e->session->attempt,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .timeout_ms = ANSWER_MARGIN_MS,
                                           .max_answer = INFO_MAX_ANSWER});
}

static void send(struct execution *e)
{
    struct session *s = e->session;
    bool plain = s->group->class->proof == PROOF_NONE;
    if (job_ask(e))
        return;
    int64_t left = e->deadline - core_now(s->core);
    int64_t timeout = plain ? left : WAIT_S * 1000 + ANSWER_MARGIN_MS;
    message_send(
        &e->message, s->attempt,
        &(struct message_options){.method = "POST",
                                  .path = "/execute",
                                  .body = e->request,
                                  .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                  .timeout_ms = timeout < left ? timeout : left,
                                  /* two streams, six bytes at most for one in JSON */
                                  .max_answer = (size_t)(65536 + 12 * e->output_limit)});
}

static void complete_request(struct execution *e)
{
    json_object_set_new(e->request, "session_id",
                        json_string(e->session->attempt->identity.session));
    json_object_set_new(e->request, "timeout_s", json_integer(e->timeout_s));
    json_object_set_new(e->request, "output_limit", json_integer(e->output_limit));
    if (e->session->group->class->proof == PROOF_REQUIRED)
        json_object_set_new(e->request, "wait_s", json_integer(e->of_job ? 0 : WAIT_S));
}

/* The caller is told. A plain container may still be at it and knows no deadline: its slot is
 * free only when it has finished, or when the session ends. */
static void give_up(struct execution *e)
{
    struct error why;
    error_set(&why, ERR_EXEC_TIMEOUT, "no record of the execution within %lld s%s%s",
              (long long)e->timeout_s, e->last.code ? ": " : "", e->last.message);
    if (e->message.state != OP_IDLE)
        may_have_run(e);
    if (e->session->group->class->proof == PROOF_REQUIRED || e->ran == RAN_NO || e->of_job) {
        finish(e, &why, NULL);
        return;
    }
    if (e->call)
        call_finish(e->call, &why, ran_name(e->ran), NULL);
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
    finish(e, &why, NULL);
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
    finish(e, &why, NULL);
    return true;
}

/* Where a container may be replaced, what is sent to it is in the journal first. */
static void note(struct execution *e)
{
    struct attempt *a = e->session->attempt;
    if (e->noted || !e->named || !a->noting)
        return;
    e->noted = once_note(a, e->id);
    if (e->noted)
        attempt_dirty(a);
}

/* What a crash must not undo once something runs: that there may be artifacts, that a death now
 * is no failed launch, and what was sent. */
static bool may_run(const struct execution *e)
{
    struct session *s = e->session;
    return attempt_touch_durable(s->attempt) && session_ready_durable(s) &&
           (!e->noted || attempt_durable(s->attempt));
}

/* A job ends at its deadline also where the container knows none. */
static int64_t grace_ms(const struct execution *e)
{
    bool plain = e->session->group->class->proof == PROOF_NONE;
    return e->of_job && plain ? 0 : EXECUTION_GRACE_MS;
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
    complete_request(e);
    e->begun = core_now(s->core);
    e->deadline = e->begun + e->timeout_s * 1000 + grace_ms(e);
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
        take_answer(s->running);
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
    if (e->settling)
        send_settling(e);
    else
        send(e);
}
