#include "cleat/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "cleat/member.h"
#include "cleat/queue.h"

static bool state_is(const json_t *job, const char *name)
{
    const char *state = member_text(job, "state");
    return state && strcmp(state, name) == 0;
}

bool job_succeeded(const json_t *job)
{
    return state_is(job, "succeeded");
}

bool job_has_ended(const json_t *job)
{
    return !state_is(job, "queued") && !state_is(job, "starting") && !state_is(job, "running");
}

const char *job_exit_text(const json_t *job)
{
    static char text[32];
    int64_t code = member_number(job, "exit_code"), number = member_number(job, "signal");
    const char *name = number > 0 ? sigabbrev_np((int)number) : NULL;
    if (name)
        snprintf(text, sizeof text, "SIG%s", name);
    else if (number > 0)
        snprintf(text, sizeof text, "signal %" PRId64, number);
    else if (code >= 0)
        snprintf(text, sizeof text, "%" PRId64, code);
    else
        return NULL;
    return text;
}

int job_exit_status(const json_t *job)
{
    int64_t code = member_number(job, "exit_code"), number = member_number(job, "signal");
    if (state_is(job, "timed_out"))
        return JOB_TIMED_OUT;
    if (state_is(job, "cancelled"))
        return JOB_CANCELLED;
    if (number > 0)
        return JOB_KILLED + (int)number;
    return code >= 0 ? (int)code : JOB_NO_RESULT;
}

static void describe_running(struct buf *out, const json_t *job, int64_t now)
{
    int64_t started = time_read(member_text(job, "started_at"));
    int64_t bytes = member_number(json_object_get(job, "output"), "bytes");
    char text[SPAN_SIZE];
    buf_puts(out, "running");
    if (started >= 0) {
        span_text(text, now > started ? now - started : 0);
        buf_printf(out, " for %s", text);
    }
    if (bytes > 0) {
        size_text(text, bytes);
        buf_printf(out, ", %s of output", text);
    }
}

static const char *error_text(const json_t *job)
{
    const json_t *error = json_object_get(job, "error");
    return json_is_object(error) ? member_text(error, "message") : json_string_value(error);
}

static void describe_end(struct buf *out, const json_t *job)
{
    int64_t ran = member_number(job, "run_ms");
    const char *exit = job_exit_text(job), *error = error_text(job);
    const char *state = member_text(job, "state");
    char span[SPAN_SIZE];
    for (; state && *state; state++)
        buf_add(out, *state == '_' ? " " : state, 1);
    if (ran >= 0) {
        span_text(span, ran);
        buf_printf(out, " %s %s", job_succeeded(job) ? "in" : "after", span);
    }
    if (exit && member_number(job, "signal") > 0)
        buf_printf(out, ": killed by %s", exit);
    else if (exit && state_is(job, "failed"))
        buf_printf(out, ": exit code %s", exit);
    if (error)
        buf_printf(out, ": %s", error);
}

void job_describe(struct buf *out, const json_t *job, int64_t now)
{
    if (state_is(job, "queued"))
        queue_describe(out, json_object_get(job, "queue"), now);
    else if (state_is(job, "starting"))
        buf_puts(out, "starting");
    else if (state_is(job, "running"))
        describe_running(out, job, now);
    else
        describe_end(out, job);
}
