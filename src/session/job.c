/* A job from its request to its outcome; what it runs is in job_run.c. */
#include "session/job.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/event.h"
#include "session/job_files.h"
#include "session/job_mark.h"
#include "session/metrics.h"
#include "session/session.h"

const char *const job_outcome_names[JOB_OUTCOMES] = {"",          "succeeded", "failed",
                                                     "timed_out", "cancelled", "lost"};

void job_new(struct session *s, const json_t *spec)
{
    const char *name = json_string_value(json_object_get(spec, "name"));
    int64_t timeout_s = json_integer_value(json_object_get(spec, "timeout_s"));
    struct job *j = s->job = mem_alloc(sizeof(*j));
    j->name = mem_strdup(name);
    j->timeout_s = timeout_s > 0 ? timeout_s : s->exec_timeout_s;
    j->exit_code = j->signal = -1;
}

void job_free(struct session *s)
{
    if (!s->job)
        return;
    job_mark_forget(s);
    job_log_close(&s->job->log);
    free(s->job->name);
    free(s->job);
    s->job = NULL;
}

bool job_has_ended(const struct session *s)
{
    return s->job->outcome != JOB_OPEN;
}

/* ---- its end ---- */

static int64_t end_of_run(const struct session *s, const json_t *record)
{
    const struct job *j = s->job;
    int64_t now = core_now(s->core), ran = 0;
    json_t *ms = json_object_get(record, "execution_time_ms");
    if (json_is_integer(ms))
        ran = json_integer_value(ms);
    return record && j->started > 0 && ran >= 0 && ran < now - j->started ? j->started + ran
                                                                          : now;
}

static struct log_field if_any(const char *key, int value)
{
    return value < 0 ? KV(key, NULL) : KI(key, value);
}

static void end(struct session *s, enum job_outcome outcome, const struct error *e,
                const json_t *record)
{
    struct job *j = s->job;
    j->outcome = outcome;
    j->ended = end_of_run(s, record);
    if (e)
        j->error = *e;
    if (j->sent)
        job_log_open(&j->log, s->core->settings->state_dir, s->id);
    job_mark(s);
    j->bytes = j->log.bytes;
    j->truncated = j->log.truncated;
    session_dirty(s);
    metrics_job(s);
    struct log_field exit_code = if_any("exit_code", j->exit_code);
    struct log_field signal = if_any("signal", j->signal);
    log_info("job.ended", KV("session", s->id), KV("name", j->name ? j->name : ""),
             KV("outcome", job_outcome_names[outcome]), exit_code, signal,
             KI("output", j->bytes), KV("error", j->error.message));
    event_emit(s, "job.ended", KV("outcome", job_outcome_names[outcome]), exit_code, signal,
               KI("output", j->bytes), KV("error", j->error.message));
}

static void end_and_close(struct session *s, enum job_outcome outcome, const struct error *e,
                          const json_t *record)
{
    end(s, outcome, e, record);
    session_close(s, outcome == JOB_CANCELLED ? "cancelled" : "job_ended", NULL);
}

void job_closing(struct session *s, const char *stop_reason, const struct error *e)
{
    if (!s->job || job_has_ended(s))
        return;
    if (strcmp(stop_reason, "max_lifetime") == 0)
        end(s, JOB_TIMED_OUT, NULL, NULL);
    else if (!e)
        end(s, JOB_CANCELLED, NULL, NULL);
    else
        end(s, s->job->sent ? JOB_LOST : JOB_FAILED, e, NULL);
}

void job_over(struct session *s)
{
    if (!s->job)
        return;
    job_files_drop_command(s);
    job_log_close(&s->job->log);
}

void job_cancel(struct session *s)
{
    struct job *j = s->job;
    if (job_has_ended(s) || j->cancelling)
        return;
    if (!s->running || s->running->ran != RAN_YES || s->group->class->proof == PROOF_NONE) {
        session_close(s, "cancelled", NULL);
        return;
    }
    j->cancelling = true;
    j->cancel_by = core_now(s->core) + JOB_CANCEL_MS;
    session_dirty(s);
    session_wake(s);
}

/* ---- the record of its execution ---- */

static int number(const json_t *record, const char *key)
{
    const json_t *n = json_object_get(record, key);
    return json_is_integer(n) ? (int)json_integer_value(n) : -1;
}

static bool says_completed(const json_t *record)
{
    const char *status = json_string_value(json_object_get(record, "status"));
    return status && strcmp(status, "completed") == 0;
}

/* Its command never was: the record then has no status of a process. */
static void could_not_start(struct session *s, const json_t *record)
{
    struct error e;
    const char *why = json_string_value(json_object_get(record, "error"));
    error_set(&e, ERR_INVALID, "the command %s", why ? why : "could not be started");
    end_and_close(s, JOB_FAILED, &e, record);
}

/* Nobody asked for it: the container had begun to end and took its command with it. */
static void was_stopped(struct session *s, const json_t *record)
{
    struct error e;
    error_set(&e, ERR_DIED, "its container was stopped while the command ran");
    end_and_close(s, JOB_LOST, &e, record);
}

static void take_record(struct session *s, const json_t *record)
{
    struct job *j = s->job;
    bool plain = s->group->class->proof == PROOF_NONE;
    j->exit_code = number(record, "exit_code");
    j->signal = number(record, "signal");
    bool cancelled = json_is_true(json_object_get(record, "cancelled"));
    if (cancelled && j->cancelling)
        end_and_close(s, JOB_CANCELLED, NULL, record);
    else if (cancelled)
        was_stopped(s, record);
    else if (json_is_true(json_object_get(record, "timed_out")))
        end_and_close(s, JOB_TIMED_OUT, NULL, record);
    else if (plain ? says_completed(record) : j->exit_code == 0)
        end_and_close(s, JOB_SUCCEEDED, NULL, record);
    else if (plain || j->exit_code >= 0 || j->signal >= 0)
        end_and_close(s, JOB_FAILED, NULL, record);
    else
        could_not_start(s, record);
}

/* ---- an execution that brought no record ---- */

#define RETRY_MS 1000

/* Its container knows the execution's id, and runs it once however often it is asked. */
static bool may_repeat(const struct session *s, enum run_state ran, const struct error *e)
{
    const struct job *j = s->job;
    bool plain = s->group->class->proof == PROOF_NONE;
    int64_t limit = j->started + j->timeout_s * 1000 + RETRY_MS;
    if (plain && ran != RAN_NO)
        return false;
    if (e->code == ERR_EXEC_TIMEOUT) /* there was no way to its container for as long */
        return !j->sent || (j->started > 0 && core_now(s->core) < limit);
    return error_retryable(e->code);
}

static void take_error(struct session *s, enum run_state ran, const struct error *e)
{
    struct job *j = s->job;
    if (may_repeat(s, ran, e)) {
        log_info("job.retry", KV("session", s->id), KV("error", e->message));
        event_emit(s, "retry", KV("step", "job"), KV("error", e->message));
        j->retry_at = core_now(s->core) + RETRY_MS;
        session_at(s, j->retry_at);
        return;
    }
    if (e->code == ERR_EXEC_TIMEOUT && j->sent)
        end_and_close(s, JOB_TIMED_OUT, e, NULL);
    else
        end_and_close(s, ran == RAN_NO && j->started == 0 ? JOB_FAILED : JOB_LOST, e, NULL);
}

void job_finished(struct session *s, enum run_state ran, const struct error *e,
                  const json_t *record)
{
    if (job_has_ended(s) || s->state >= SESSION_CLOSING)
        return;
    if (record)
        take_record(s, record);
    else
        take_error(s, ran, e);
}

/* ---- its row ---- */

json_t *job_row(const struct session *s)
{
    const struct job *j = s->job;
    if (!j)
        return NULL;
    return json_pack("{s:b, s:b, s:I, s:I, s:s, s:i, s:i, s:s, s:s, s:I, s:b, s:I}", "sent",
                     (int)j->sent, "cancelling", (int)j->cancelling, "started",
                     (json_int_t)j->started, "ended", (json_int_t)j->ended, "outcome",
                     job_outcome_names[j->outcome], "exit_code", j->exit_code, "signal",
                     j->signal, "error", error_name(j->error.code), "message", j->error.message,
                     "bytes", (json_int_t)j->bytes, "truncated", (int)j->truncated, "marked",
                     (json_int_t)j->marked);
}

static enum job_outcome find_outcome(const char *name)
{
    for (int i = JOB_SUCCEEDED; name && i < JOB_OUTCOMES; i++)
        if (strcmp(job_outcome_names[i], name) == 0)
            return (enum job_outcome)i;
    return JOB_OPEN;
}

void job_from_row(struct session *s, const json_t *o)
{
    struct job *j = s->job;
    if (!j || !o)
        return;
    const char *message = json_string_value(json_object_get(o, "message"));
    j->sent = json_is_true(json_object_get(o, "sent"));
    j->cancelling = json_is_true(json_object_get(o, "cancelling"));
    j->started = json_integer_value(json_object_get(o, "started"));
    j->ended = json_integer_value(json_object_get(o, "ended"));
    j->outcome = find_outcome(json_string_value(json_object_get(o, "outcome")));
    j->exit_code = number(o, "exit_code");
    j->signal = number(o, "signal");
    j->error.code = error_find(json_string_value(json_object_get(o, "error")));
    mem_copy_string(j->error.message, sizeof(j->error.message), message ? message : "");
    j->bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes"));
    j->truncated = json_is_true(json_object_get(o, "truncated"));
    j->marked = (uint64_t)json_integer_value(json_object_get(o, "marked"));
}
