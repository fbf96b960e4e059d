/* The calls about jobs. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "http/json.h"
#include "session/call.h"
#include "session/context.h"
#include "session/create.h"
#include "session/document.h"
#include "session/job.h"
#include "session/job_document.h"
#include "session/job_request.h"
#include "session/session.h"

struct cleat_call *cleat_job_submit(struct cleat *core, const char *tenant, const char *request,
                                    size_t len, cleat_done_fn *done, void *arg)
{
    struct create_request r;
    struct error e = {0};
    if (!job_request_parse(core->config, tenant, request, len, &r, &e))
        return call_refuse(core, &e, false, NULL, done, arg);
    return create_call(core, &r, done, arg);
}

static struct session *find(struct cleat *core, const char *tenant, const char *id,
                            struct error *e)
{
    struct session *s = context_find(core, tenant, id);
    if (s && s->job)
        return s;
    error_set(e, ERR_NOT_FOUND, "there is no such job");
    return NULL;
}

/* What a crash does not undo. */
static bool is_over(const struct session *s)
{
    return job_has_ended(s) && session_durable(s);
}

static char *when_ended(struct session *s, void *unused, bool expired)
{
    (void)unused;
    return is_over(s) && !expired ? document_take(job_document(s)) : NULL;
}

struct cleat_call *cleat_job_wait(struct cleat *core, const char *tenant, const char *id,
                                  int64_t timeout_ms, cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct session *s = find(core, tenant, id, &e);
    if (!s)
        return call_refuse(core, &e, false, NULL, done, arg);
    return call_when(s, when_ended, NULL, timeout_ms, done, arg);
}

static char *when_durable(struct session *s, void *unused, bool expired)
{
    (void)unused, (void)expired;
    return session_durable(s) ? document_take(job_document(s)) : NULL;
}

#define CANCEL_TIMEOUT_MS 60000 /* the journal may be out of order for longer */

struct cleat_call *cleat_job_cancel(struct cleat *core, const char *tenant, const char *id,
                                    cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct session *s = find(core, tenant, id, &e);
    if (!s)
        return call_refuse(core, &e, false, NULL, done, arg);
    job_cancel(s);
    return call_when(s, when_durable, NULL, CANCEL_TIMEOUT_MS, done, arg);
}

/* ---- logs ---- */

struct log_query {
    uint64_t after;
    int stream; /* -1: both */
    bool follow;
};

static char *log_document(struct session *s, const struct log_query *q)
{
    struct job *j = s->job;
    uint64_t next;
    json_t *chunks = job_log_read(&j->log, q->after, q->stream, &next);
    return document_take(
        json_pack("{s:o, s:I, s:b, s:b}", "chunks", chunks, "next", (json_int_t)next, "ended",
                  (int)(is_over(s) && next >= j->log.bytes), "truncated",
                  (int)(j->log.truncated || j->truncated || j->log.bytes < j->bytes)));
}

static char *when_more(struct session *s, void *query, bool expired)
{
    const struct log_query *q = query;
    struct job *j = s->job;
    if (j->sent)
        job_log_open(&j->log, s->core->settings->state_dir, s->id);
    bool more = q->after < j->log.bytes;
    if (!more && q->follow && !expired && !is_over(s))
        return NULL;
    if (!j->log.path)
        return document_take(json_pack("{s:[], s:I, s:b, s:b}", "chunks", "next",
                                       (json_int_t)q->after, "ended", (int)is_over(s),
                                       "truncated", 0));
    return log_document(s, q);
}

static bool find_stream(const char *name, int *out)
{
    for (int i = 0; name && i < JOB_STREAMS; i++)
        if (strcmp(job_stream_names[i], name) == 0) {
            *out = i;
            return true;
        }
    *out = -1;
    return !name;
}

struct cleat_call *cleat_job_logs(struct cleat *core, const char *tenant, const char *id,
                                  const struct cleat_log_query *query, cleat_done_fn *done,
                                  void *arg)
{
    struct error e = {0};
    struct log_query q = {.after = query->after, .follow = query->follow_ms > 0};
    struct session *s = find(core, tenant, id, &e);
    if (s && !find_stream(query->stream, &q.stream))
        error_set(&e, ERR_INVALID, "stream is stdout or stderr");
    if (e.code != ERR_NONE)
        return call_refuse(core, &e, s != NULL, NULL, done, arg);
    struct log_query *copy = mem_alloc(sizeof(*copy));
    *copy = q;
    return call_when(s, when_more, copy, q.follow ? query->follow_ms : 1, done, arg);
}
