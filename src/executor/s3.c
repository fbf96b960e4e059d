#include "executor/s3.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/settings.h"
#include "http/client.h"

#define UNDO_MS 10000
#define CALL_MS 10000   /* for a request and its answer … */
#define BYTES_PER_MS 64 /* … and for its bytes, on a slow line */

/* ---- jobs */

static void step_jobs(struct s3 *s)
{
    for (struct s3_job *job = TAILQ_FIRST(&s->jobs), *after; job; job = after) {
        after = TAILQ_NEXT(job, entry);
        if (!job->step(job))
            continue;
        TAILQ_REMOVE(&s->jobs, job, entry);
        s->job_count--;
        job->release(job);
    }
}

static bool add_job(struct s3 *s)
{
    struct s3_job *job = s->error.code || s->job_count >= s->jobs_max ? NULL : s->next(s->arg);
    if (!job)
        return false;
    TAILQ_INSERT_TAIL(&s->jobs, job, entry);
    s->job_count++;
    return true;
}

static void pump(void *arg)
{
    struct s3 *s = arg;
    step_jobs(s);
    while (add_job(s))
        step_jobs(s);
    if (s->job_count == 0)
        loop_stop(s->loop);
}

/* Jobs are stepped soon. */
static void wake(struct s3 *s)
{
    task_wake(&s->pump);
}

enum error_code s3_run(struct s3 *s, unsigned jobs_max, s3_next_fn *next, void *arg,
                       struct error *e)
{
    s->jobs_max = jobs_max;
    s->next = next;
    s->arg = arg;
    wake(s);
    loop_run(s->loop);
    if (s->error.code)
        *e = s->error;
    return s->error.code;
}

void s3_fail(struct s3 *s, const char *key, const struct error *e)
{
    if (!s->error.code) {
        if (key)
            error_set(&s->error, e->code, "%.100s: %s", key, e->message);
        else
            s->error = *e;
        timer_arm(&s->limit, UNDO_MS);
    }
    wake(s);
}

bool s3_has_room(const struct s3 *s, int64_t len)
{
    return s->flying == 0 || s->flying + (size_t)len <= S3_FLYING_MAX;
}

/* ---- calls */

static void on_answer(void *arg, const struct aws_answer *answer)
{
    struct s3_call *c = arg;
    c->call = NULL;
    c->answered = true;
    c->error = answer->error;
    c->status = answer->status;
    mem_copy_string(c->code, sizeof c->code, answer->code);
    if (!c->error.code && c->take)
        c->take(c->arg, answer, &c->error);
    c->s3->flying -= c->flying;
    c->flying = 0;
    wake(c->s3);
}

void s3_call_start(struct s3_call *c, struct s3 *s, struct aws_request *r, int64_t len,
                   s3_take_fn *take, void *arg)
{
    *c = (struct s3_call){.s3 = s, .flying = r->body_len, .take = take, .arg = arg};
    r->service = AWS_S3;
    if (r->timeout_ms == 0)
        r->timeout_ms = CALL_MS + len / BYTES_PER_MS;
    s->flying += c->flying;
    c->call = aws_start(s->aws, r, on_answer, c);
}

void s3_call_drop(struct s3_call *c)
{
    if (c->call)
        aws_cancel(c->call);
    if (c->s3)
        c->s3->flying -= c->flying;
    *c = (struct s3_call){0};
}

const char *s3_header(const struct aws_answer *a, const char *name)
{
    struct http_answer view = {.headers = a->headers, .header_count = a->header_count};
    return http_answer_header(&view, name);
}

/* ---- a job of one call */

struct single {
    struct s3_job job;
    struct s3 *s3;
    struct aws_request *request;
    struct s3_call call;
    bool started;
};

static bool step_single(struct s3_job *job)
{
    struct single *o = (struct single *)job;
    if (o->s3->error.code) {
        s3_call_drop(&o->call);
        return true;
    }
    if (!o->call.answered)
        return false;
    if (o->call.error.code)
        s3_fail(o->s3, o->request->key, &o->call.error);
    return true;
}

static void release_single(struct s3_job *job)
{
    (void)job; /* on the stack of s3_do */
}

static struct s3_job *next_single(void *arg)
{
    struct single *o = arg;
    if (o->started)
        return NULL;
    o->started = true;
    s3_call_start(&o->call, o->s3, o->request, (int64_t)o->request->body_len, NULL, NULL);
    return &o->job;
}

enum error_code s3_do(struct s3 *s, struct aws_request *r, struct error *e)
{
    struct single one = {
        .job = {.step = step_single, .release = release_single}, .s3 = s, .request = r};
    return s3_run(s, 1, next_single, &one, e);
}

/* ---- life */

static void on_signal(void *arg)
{
    struct error e;
    error_set(&e, ERR_CANCELLED, "the copying process was told to end");
    s3_fail(arg, NULL, &e);
}

static void on_undo_limit(void *arg)
{
    struct s3 *s = arg;
    log_error("s3.undo_limit", KI("jobs", s->job_count));
    loop_stop(s->loop);
}

static void on_told(void *arg)
{
    struct s3 *s = arg;
    struct aws_keys keys = {0};
    bool open = settings_receive(&s->told, &keys);
    if (keys.access_key)
        aws_set_keys(s->aws, &keys);
    settings_release_keys(&keys);
    if (open)
        return;
    fd_watch_free(s->settings);
    s->settings = NULL;
}

/* Not longer than who reads our lines, but long enough to undo what was begun. */
static void set_up(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    log_set_level(LOG_LEVEL_ERROR);
}

enum error_code s3_open(struct s3 *s, bool of_executor, struct error *e)
{
    struct aws_keys keys = {0};
    *s = (struct s3){0};
    TAILQ_INIT(&s->jobs);
    set_up();
    if (of_executor && settings_await(&s->told, &keys, e)) {
        settings_release_keys(&keys);
        return e->code;
    }
    s->loop = loop_new(NULL);
    task_init(&s->pump, s->loop, pump, s);
    timer_init(&s->limit, s->loop, on_undo_limit, s);
    s->sigterm = signal_watch_new(s->loop, SIGTERM, on_signal, s);
    s->sigint = signal_watch_new(s->loop, SIGINT, on_signal, s);
    s->client = http_client_new(s->loop);
    s->aws = aws_new(s->loop, s->client, NULL, keys.access_key ? &keys : NULL);
    if (of_executor)
        s->settings = fd_watch_new(s->loop, STDOUT_FILENO, false, on_told, s);
    settings_release_keys(&keys);
    return ERR_NONE;
}

static void drop_jobs(struct s3 *s)
{
    for (struct s3_job *job; (job = TAILQ_FIRST(&s->jobs));) {
        TAILQ_REMOVE(&s->jobs, job, entry);
        job->release(job);
    }
}

void s3_close(struct s3 *s)
{
    settings_release(&s->told);
    if (!s->loop)
        return;
    drop_jobs(s);
    task_stop(&s->pump);
    timer_stop(&s->limit);
    fd_watch_free(s->settings);
    signal_watch_free(s->sigterm);
    signal_watch_free(s->sigint);
    aws_free(s->aws);
    http_client_free(s->client);
    loop_free(s->loop);
}
