#include "session/job_document.h"

#include <string.h>
#include "cleat.h"
#include "http/json.h"
#include "session/context.h"
#include "session/document.h"
#include "session/job.h"
#include "session/list.h"
#include "session/position.h"
#include "session/session.h"

static const char *const live_states[] = {"queued", "starting", "running"};

/* "queued", "starting", "running", or how it ended. */
static const char *state_of(const struct session *s)
{
    const struct job *j = s->job;
    if (j->outcome != JOB_OPEN)
        return job_outcome_names[j->outcome];
    return live_states[s->state == SESSION_QUEUED ? 0 : j->started > 0 ? 2 : 1];
}

static json_t *time_or_null(int64_t ms)
{
    return ms > 0 ? document_time(ms) : json_null();
}

static json_t *between(int64_t from, int64_t to)
{
    return from > 0 && to > 0 ? json_integer(to > from ? to - from : 0) : json_null();
}

static json_t *number_or_null(int n)
{
    return n >= 0 ? json_integer(n) : json_null();
}

/* A session's own failure is the job's as well. */
static json_t *error_of(const struct session *s)
{
    const struct error *e = s->job->error.code ? &s->job->error : &s->error;
    if (e->code == ERR_NONE)
        return json_null();
    return json_pack("{s:s, s:s}", "code", error_name(e->code), "message", e->message);
}

static json_t *output_of(const struct session *s)
{
    struct job *j = s->job;
    bool ended = j->outcome != JOB_OPEN;
    if (!ended && j->sent)
        job_log_open(&j->log, s->core->settings->state_dir, s->id);
    return json_pack("{s:I, s:b}", "bytes", (json_int_t)(ended ? j->bytes : j->log.bytes),
                     "truncated", (int)(ended ? j->truncated : j->log.truncated));
}

static void add_times(json_t *o, const struct session *s)
{
    const struct job *j = s->job;
    json_object_set_new(o, "created_at", document_time(s->created));
    json_object_set_new(o, "started_at", time_or_null(j->started));
    json_object_set_new(o, "ended_at", time_or_null(j->ended));
    json_object_set_new(o, "queue_ms", between(s->created, s->opened));
    json_object_set_new(o, "start_ms", between(s->opened, j->started));
    json_object_set_new(o, "run_ms", between(j->started, j->ended));
}

json_t *job_document(const struct session *s)
{
    const struct job *j = s->job;
    json_t *o = json_object();
    json_object_set_new(o, "job_id", json_string(s->id));
    json_object_set_new(o, "name", document_optional(j->name));
    document_add_context(o, s);
    json_object_set_new(o, "state", json_string(state_of(s)));
    json_object_set_new(o, "exit_code", number_or_null(j->exit_code));
    json_object_set_new(o, "signal", number_or_null(j->signal));
    json_object_set_new(o, "error", error_of(s));
    json_object_set_new(o, "queue", position_document(s));
    add_times(o, s);
    json_object_set_new(o, "output", output_of(s));
    json_object_set_new(o, "timeout_s", json_integer(j->timeout_s));
    json_object_set_new(o, "cancelling", json_boolean(j->cancelling));
    json_object_set_new(o, "session_state", json_string(session_state_names[s->state]));
    json_object_set_new(o, "stop_reason", document_optional(s->stop_reason));
    return o;
}

char *cleat_job(struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = context_find(core, tenant, id);
    return s && s->job ? document_take(job_document(s)) : NULL;
}

static bool is_listed(const struct session *s, const void *state)
{
    return s->job && (!state || strcmp(state, state_of(s)) == 0);
}

char *cleat_jobs(struct cleat *core, const char *tenant, const char *state)
{
    return list_make(core, tenant, "jobs", is_listed, state, job_document);
}
