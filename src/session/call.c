/* The calls of the public API: each is answered exactly once, from the loop. */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "http/json.h"
#include "session/call.h"
#include "session/context.h"
#include "session/document.h"
#include "session/drain.h"
#include "session/execution.h"
#include "session/job_document.h"
#include "session/listing.h"
#include "session/reaper.h"
#include "session/request.h"
#include "session/session.h"

#define REAP_TIMEOUT_MS 60000

enum call_kind {
    CALL_CREATE,
    CALL_READY,
    CALL_CLOSED,
    CALL_CLOSE,
    CALL_EXECUTE,
    CALL_WHEN,
    CALL_DRAIN,
    CALL_REAP,
    CALL_ANSWERED
};

struct cleat_call {
    TAILQ_ENTRY(cleat_call) entry;
    struct cleat *core;
    struct session *session; /* NULL: none, or no longer needed */
    char id[ID_SIZE];        /* of that session; "": of none */
    enum call_kind kind;
    cleat_done_fn *done;
    void *arg;
    struct task task;
    struct timer timer;
    bool created;
    bool cancels; /* abandoned, it closes its session */
    struct {
        bool dry_run, adopt;
        uint64_t after; /* the listing that was the newest */
    } reap;
    struct {
        call_ready_fn *ready;
        void *query;
    } when;
    /* the answer */
    bool admitted;
    struct error error;
    const char *ran;
    char *document;
};

static void call_free(struct cleat_call *call)
{
    task_stop(&call->task);
    timer_stop(&call->timer);
    free(call->when.query);
    free(call->document);
    free(call);
}

static void deliver(void *arg)
{
    struct cleat_call *call = arg;
    struct cleat_error error = {.code = error_name(call->error.code),
                                .message = call->error.message,
                                .http_status = error_http_status(call->error.code),
                                .retryable = error_retryable(call->error.code),
                                .admitted = call->admitted,
                                .ran = call->ran,
                                .reason = call->error.reason,
                                .retry_after_s = call->error.retry_after_s};
    TAILQ_REMOVE(&call->core->free_calls, call, entry);
    call->done(call->arg, call->document ? NULL : &error, call->document);
    call_free(call);
}

static void wait_ended(void *arg)
{
    struct error e;
    error_set(&e, ERR_WAIT_TIMEOUT,
              "the wait ended before the session did what was waited for");
    call_finish(arg, &e, NULL, NULL);
}

/* True: it is answered. */
static bool answer_when(struct cleat_call *call, bool expired)
{
    char *document = call->when.ready(call->session, call->when.query, expired);
    if (document)
        call_finish(call, NULL, NULL, document);
    return document != NULL;
}

static void when_ended(void *arg)
{
    if (!answer_when(arg, true))
        wait_ended(arg);
}

static struct cleat_call *call_new(struct cleat *core, struct session *s, enum call_kind kind,
                                   cleat_done_fn *done, void *arg)
{
    struct cleat_call *call = mem_alloc(sizeof(*call));
    call->core = core;
    call->session = s;
    call->kind = kind;
    call->done = done;
    call->arg = arg;
    task_init(&call->task, core->loop, deliver, call);
    timer_init(&call->timer, core->loop, wait_ended, call);
    mem_copy_string(call->id, sizeof(call->id), s ? s->id : "");
    if (s)
        TAILQ_INSERT_TAIL(&s->calls, call, entry);
    else
        TAILQ_INSERT_TAIL(&core->free_calls, call, entry);
    return call;
}

/* document (owned) or error; delivered by the call's own task. */
void call_finish(struct cleat_call *call, const struct error *e, const char *ran,
                 char *document)
{
    if (call->kind == CALL_ANSWERED)
        return;
    call->kind = CALL_ANSWERED;
    timer_stop(&call->timer);
    if (call->session) {
        call->admitted = true;
        TAILQ_REMOVE(&call->session->calls, call, entry);
        TAILQ_INSERT_TAIL(&call->core->free_calls, call, entry);
        call->session = NULL;
    }
    if (e)
        call->error = *e;
    call->ran = ran;
    call->document = document;
    task_wake(&call->task);
}

struct cleat_call *call_refuse(struct cleat *core, const struct error *e, bool admitted,
                               const char *ran, cleat_done_fn *done, void *arg)
{
    struct cleat_call *call = call_new(core, NULL, CALL_READY, done, arg);
    call_finish(call, e, ran, NULL);
    call->admitted = admitted;
    return call;
}

struct cleat_call *call_created(struct session *s, bool created, cleat_done_fn *done, void *arg)
{
    struct cleat_call *call = call_new(s->core, s, CALL_CREATE, done, arg);
    call->created = call->cancels = created;
    session_wake(s);
    return call;
}

struct cleat_call *call_when(struct session *s, call_ready_fn *ready, void *query,
                             int64_t timeout_ms, cleat_done_fn *done, void *arg)
{
    struct cleat_call *call = call_new(s->core, s, CALL_WHEN, done, arg);
    call->when.ready = ready;
    call->when.query = query;
    timer_init(&call->timer, s->core->loop, when_ended, call);
    timer_arm(&call->timer, timeout_ms);
    session_wake(s);
    return call;
}

static char *document_of(const struct cleat_call *call)
{
    bool of_job = call->kind == CALL_CREATE && call->session->job;
    json_t *o = of_job ? job_document(call->session) : session_document(call->session);
    if (call->kind == CALL_CREATE)
        json_object_set_new(o, "created", json_boolean(call->created));
    return document_take(o);
}

static void answer(struct cleat_call *call, bool holds)
{
    if (holds)
        call_finish(call, NULL, NULL, document_of(call));
}

static void answer_ready(struct cleat_call *call, const struct session *s)
{
    struct error e;
    if (s->state >= SESSION_CLOSING) {
        error_set(&e, s->error.code ? s->error.code : ERR_CLOSED, "%s",
                  s->error.code ? s->error.message
                                : "the session was closed before it was ready");
        call_finish(call, &e, NULL, NULL);
        return;
    }
    answer(call, s->state == SESSION_READY || s->state == SESSION_BUSY);
}

static void answer_store_failed(struct cleat_call *call)
{
    struct error e;
    error_set(&e, ERR_STORE,
              "the session closes, but the journal cannot be written; it is tried again");
    call_finish(call, &e, NULL, NULL);
}

void calls_answer(struct session *s)
{
    struct cleat_call *call, *next;
    for (call = TAILQ_FIRST(&s->calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (call->kind == CALL_CREATE)
            answer(call, s->stored);
        else if (call->kind == CALL_CLOSE && s->core->store_failing && !session_durable(s))
            answer_store_failed(call);
        else if (call->kind == CALL_WHEN)
            answer_when(call, false);
        else if (call->kind == CALL_READY)
            answer_ready(call, s);
        else if (call->kind == CALL_CLOSED)
            answer(call, session_is_over(s) && session_durable(s));
        else if (call->kind == CALL_CLOSE)
            answer(call, s->state >= SESSION_CLOSING && session_durable(s));
    }
}

void calls_fail(struct session *s, const struct error *e)
{
    struct execution *x;
    TAILQ_FOREACH (x, &s->executions, entry)
        x->call = NULL;
    while (!TAILQ_EMPTY(&s->calls)) {
        struct cleat_call *call = TAILQ_FIRST(&s->calls);
        call_finish(call, e, call->kind == CALL_EXECUTE ? "no" : NULL, NULL);
        call->admitted = false;
    }
}

void calls_forget(struct session *s)
{
    while (!TAILQ_EMPTY(&s->calls)) {
        struct cleat_call *call = TAILQ_FIRST(&s->calls);
        TAILQ_REMOVE(&s->calls, call, entry);
        call_free(call);
    }
}

void cleat_call_cancel(struct cleat_call *call)
{
    struct execution *e;
    if (call->session) {
        TAILQ_FOREACH (e, &call->session->executions, entry)
            if (e->call == call)
                e->call = NULL;
        TAILQ_REMOVE(&call->session->calls, call, entry);
    } else {
        TAILQ_REMOVE(&call->core->free_calls, call, entry);
    }
    call_free(call);
}

void cleat_call_abandon(struct cleat_call *call)
{
    struct session *s = core_find(call->core, call->id);
    if (s && call->cancels)
        session_close(s, "cancelled", NULL);
    cleat_call_cancel(call);
}

/* ---- the others ---- */

static struct session *find(struct cleat *core, const char *tenant, const char *id,
                            struct error *e)
{
    struct session *s = context_find(core, tenant, id);
    if (!s)
        error_set(e, ERR_NOT_FOUND, "there is no such session");
    return s;
}

struct cleat_call *cleat_wait(struct cleat *core, const char *tenant, const char *id,
                              bool closed, int64_t timeout_ms, cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct session *s = find(core, tenant, id, &e);
    if (!s)
        return call_refuse(core, &e, false, NULL, done, arg);
    struct cleat_call *call = call_new(core, s, closed ? CALL_CLOSED : CALL_READY, done, arg);
    call->cancels = !closed;
    timer_arm(&call->timer, timeout_ms);
    session_wake(s);
    return call;
}

/* Of what is refused because its session ends. An id of the caller's may be a repeat, and its
 * first answer lost. */
static const char *may_have_run(const struct session *s, bool named)
{
    const struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (named && a->touched)
            return "unknown";
    return "no";
}

struct cleat_call *cleat_execute(struct cleat *core, const char *tenant, const char *id,
                                 const char *request, size_t len, cleat_done_fn *done,
                                 void *arg)
{
    struct error e = {0};
    int64_t timeout_s, output_limit;
    struct session *s = find(core, tenant, id, &e);
    if (!s)
        return call_refuse(core, &e, false, "no", done, arg);
    if (s->job)
        error_set(&e, ERR_CONFLICT, "the session runs a job, and nothing beside it");
    json_t *body =
        s->job ? NULL : execute_request_parse(s, request, len, &timeout_s, &output_limit, &e);
    if (body && s->state >= SESSION_CLOSING)
        error_set(&e, ERR_CLOSED, "the session is closing or closed");
    else if (body && s->warm)
        error_set(&e, ERR_CONFLICT,
                  "the container is warm: it waits for the session it is for");
    bool named = body && json_object_get(body, "execution_id");
    if (e.code != ERR_NONE) {
        json_decref(body);
        return call_refuse(core, &e, true, may_have_run(s, named), done, arg);
    }
    if (!named) {
        uint8_t random[10];
        char made[ID_SIZE];
        loop_random(core->loop, random, sizeof(random));
        id_make(made, core_now(core), random);
        json_object_set_new(body, "execution_id", json_string(made));
    }
    struct cleat_call *call = call_new(core, s, CALL_EXECUTE, done, arg);
    if (!execution_new(s, body, named, timeout_s, output_limit, call)) {
        const char *its = json_string_value(json_object_get(body, "execution_id"));
        bool repeat = named && execution_may_be_repeat(s, its);
        error_set(&e, ERR_FULL, "too many executions wait in this session");
        e.reason = "max_executions";
        call_finish(call, &e, repeat ? "unknown" : "no", NULL);
    }
    json_decref(body);
    return call;
}

struct cleat_call *cleat_close(struct cleat *core, const char *tenant, const char *id,
                               cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct session *s = find(core, tenant, id, &e);
    if (!s)
        return call_refuse(core, &e, false, NULL, done, arg);
    struct cleat_call *call = call_new(core, s, CALL_CLOSE, done, arg);
    session_close(s, "deleted", NULL);
    session_wake(s);
    return call;
}

struct cleat_call *cleat_keepalive(struct cleat *core, const char *tenant, const char *id,
                                   cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct session *s = find(core, tenant, id, &e);
    if (s && s->state >= SESSION_CLOSING)
        error_set(&e, ERR_CLOSED, "the session is closing or closed");
    if (e.code != ERR_NONE)
        return call_refuse(core, &e, s != NULL, NULL, done, arg);
    s->used = core_now(core);
    struct cleat_call *call = call_new(core, s, CALL_READY, done, arg);
    call_finish(call, NULL, NULL, document_of(call));
    session_wake(s);
    return call;
}

/* ---- drain ---- */

void calls_answer_drains(struct cleat *core, const struct error *e)
{
    struct cleat_call *call, *next;
    for (call = TAILQ_FIRST(&core->free_calls); call; call = next) {
        next = TAILQ_NEXT(call, entry);
        if (call->kind != CALL_DRAIN)
            continue;
        if (e)
            call_finish(call, e, NULL, NULL);
        else if (drain_durable(core))
            call_finish(call, NULL, NULL, drain_document(core));
    }
}

/* Its answer comes with the commit. */
static struct cleat_call *drain_call(struct cleat *core, cleat_done_fn *done, void *arg)
{
    struct error e;
    struct cleat_call *call = call_new(core, NULL, CALL_DRAIN, done, arg);
    if (core->store_failing) {
        error_set(&e, ERR_STORE,
                  "in effect, but the journal cannot be written; it is tried again");
        call_finish(call, &e, NULL, NULL);
    }
    return call;
}

struct cleat_call *cleat_drain(struct cleat *core, const char *tenant, bool now,
                               cleat_done_fn *done, void *arg)
{
    drain_begin(core, tenant, now);
    return drain_call(core, done, arg);
}

struct cleat_call *cleat_undrain(struct cleat *core, const char *tenant, cleat_done_fn *done,
                                 void *arg)
{
    drain_end(core, tenant);
    return drain_call(core, done, arg);
}

char *cleat_draining(struct cleat *core)
{
    return drain_document(core);
}

/* ---- reap ---- */

static void listings_overdue(void *arg)
{
    struct error e;
    error_set(&e, ERR_TIMEOUT, "not every class told in time what it holds");
    call_finish(arg, &e, NULL, NULL);
}

static void parse_reap(struct cleat_call *call, const char *request, size_t len,
                       struct error *e)
{
    static const char *const keys[] = {"dry_run", "adopt", NULL};
    json_t *o = js_parse_object(request, len, e);
    if (!o)
        return;
    js_only(o, keys, e);
    js_bool(o, "dry_run", false, &call->reap.dry_run, e);
    js_bool(o, "adopt", false, &call->reap.adopt, e);
    json_decref(o);
}

struct cleat_call *cleat_reap(struct cleat *core, const char *request, size_t len,
                              cleat_done_fn *done, void *arg)
{
    struct error e = {0};
    struct cleat_call *call = call_new(core, NULL, CALL_REAP, done, arg);
    parse_reap(call, request, len, &e);
    if (e.code != ERR_NONE) {
        call_finish(call, &e, NULL, NULL);
        return call;
    }
    call->reap.after = core->listings;
    timer_init(&call->timer, core->loop, listings_overdue, call);
    timer_arm(&call->timer, REAP_TIMEOUT_MS);
    listings_ask(core);
    return call;
}

void calls_answer_reaped(struct cleat *core)
{
    struct cleat_call *call;
    TAILQ_FOREACH (call, &core->free_calls, entry)
        if (call->kind == CALL_REAP && listings_done_since(core, call->reap.after))
            call_finish(call, NULL, NULL,
                        reaper_order(core, call->reap.adopt, call->reap.dry_run));
}

/* The coordinator ends: answers that were not delivered never are. */
void calls_forget_answers(struct cleat *core)
{
    while (!TAILQ_EMPTY(&core->free_calls)) {
        struct cleat_call *call = TAILQ_FIRST(&core->free_calls);
        TAILQ_REMOVE(&core->free_calls, call, entry);
        call_free(call);
    }
}
