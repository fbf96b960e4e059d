/* What an execution sends to its container, and what the answers mean. */
#include "session/execution_message.h"

#include <string.h>
#include "base/log.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/job.h"
#include "session/message.h"
#include "session/probe.h"
#include "session/route.h"
#include "session/session.h"

/* One POST waits this long at the container, well below a balancer's usual idle time-out of 60
 * s; then the same execution id is asked for again. */
#define WAIT_S 20
#define ANSWER_MARGIN_MS 15000
#define RETRY_MS 100
#define RETRY_MAX_MS 2000
#define CONNECT_TIMEOUT_MS 5000
#define INFO_MAX_ANSWER 65536

/* ---- questions ---- */

static void send_settling(struct execution *e)
{
    message_send(&e->message, e->session->attempt,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                           .timeout_ms = ANSWER_MARGIN_MS,
                                           .max_answer = INFO_MAX_ANSWER});
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

static void send_request(struct execution *e)
{
    struct session *s = e->session;
    bool plain = s->group->class->proof == PROOF_NONE;
    int64_t left = e->deadline - core_now(s->core);
    int64_t timeout = plain ? left : WAIT_S * 1000 + ANSWER_MARGIN_MS;
    complete_request(e);
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

void execution_send(struct execution *e)
{
    if (e->settling)
        send_settling(e);
    else if (!job_ask(e))
        send_request(e);
}

/* ---- answers ---- */

void execution_misrouted(struct execution *e)
{
    struct error error;
    error_set(&error, ERR_MISROUTE,
              "the balancer led to another container; the route is acquired anew");
    execution_ended(e, &error, NULL);
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
        execution_ended(e, &e->last, NULL);
        return;
    }
    message_reset(&e->message);
    retry(e);
}

/* One from before a restart of ours runs there: it waits as for one of this life. */
static void wait_for_other(struct execution *e)
{
    if (e->tries == 0)
        log_info("execution.waits", KV("session", e->session->id), KV("execution", e->id));
    execution_begins(e);
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
    if (error_find(code) == ERR_NOT_READY) {
        wait_for_other(e);
        return;
    }
    error_set(&why,
              status == 409  ? ERR_CONFLICT
              : status < 500 ? ERR_INVALID
                             : ERR_PROTOCOL,
              "the container refused the execution (%d): %.180s", status,
              text ? text : "no reason given");
    if (status >= 500)
        execution_may_have_run(e);
    execution_ended(e, &why, NULL);
}

static void take_lost(struct execution *e)
{
    struct session *s = e->session;
    bool nobody_there = e->message.verdict == VERDICT_BALANCER && e->message.status == 503;
    e->last = e->message.error;
    if (e->message.sent && !nobody_there) {
        execution_may_have_run(e);
        e->settling = s->group->class->proof == PROOF_NONE;
    }
    if (e->last.code == ERR_TOO_LARGE) {
        e->ran = RAN_YES;
        execution_ended(e, &e->last, NULL);
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

void execution_take_answer(struct execution *e)
{
    struct attempt *a = e->session->attempt;
    struct message *m = &e->message;
    if (m->verdict == VERDICT_MISROUTE) {
        if (m->sent && !m->stranger)
            execution_may_have_run(e);
        attempt_misrouted(a, "execute");
        route_drop(a);
        execution_misrouted(e);
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
        execution_ended(e, NULL, m->body);
    } else {
        take_refusal(e);
    }
}
