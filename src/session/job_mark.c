#include "session/job_mark.h"

#include "session/event.h"
#include "session/job.h"

#define EVERY_MS 1000

static const char *name_of(unsigned streams)
{
    for (int i = 0; i < JOB_STREAMS; i++)
        if (streams == 1u << i)
            return job_stream_names[i];
    return "both";
}

void job_mark(struct session *s)
{
    struct job *j = s->job;
    job_mark_forget(s);
    if (j->log.bytes <= j->marked)
        return;
    unsigned streams = j->log.fresh ? j->log.fresh : job_log_streams(&j->log, j->marked);
    event_emit(s, "output", KV("stream", name_of(streams)), KI("offset", j->marked),
               KI("bytes", j->log.bytes - j->marked));
    j->marked = j->log.bytes;
    j->log.fresh = 0;
}

void job_mark_left(struct session *s)
{
    if (!s->job->mark_waits)
        job_mark(s);
}

void job_mark_soon(struct session *s)
{
    struct cleat *core = s->core;
    int64_t wait = core->marks.next - core_now(core);
    if (s->job->mark_waits)
        return;
    s->job->mark_waits = true;
    TAILQ_INSERT_TAIL(&core->marks.sessions, s, mark_entry);
    if (!timer_armed(&core->marks.timer))
        timer_arm(&core->marks.timer, wait > 0 ? wait : 0);
}

void job_mark_forget(struct session *s)
{
    if (!s->job->mark_waits)
        return;
    s->job->mark_waits = false;
    TAILQ_REMOVE(&s->core->marks.sessions, s, mark_entry);
}

static void mark_all(void *arg)
{
    struct cleat *core = arg;
    core->marks.next = core_now(core) + EVERY_MS;
    while (!TAILQ_EMPTY(&core->marks.sessions))
        job_mark(TAILQ_FIRST(&core->marks.sessions));
}

void job_marks_init(struct cleat *core)
{
    TAILQ_INIT(&core->marks.sessions);
    timer_init(&core->marks.timer, core->loop, mark_all, core);
}

void job_marks_stop(struct cleat *core)
{
    timer_stop(&core->marks.timer);
}
