/* The end of an attempt, as a graph: upload and deregistration side by side where the
 * container's own address is proven, else one after the other; the stop after both; the end
 * when the address is free. */

#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/cleanup.h"
#include "session/event.h"
#include "session/gate.h"
#include "session/launch.h"
#include "session/metrics.h"
#include "session/session.h"
#include "session/steps.h"
#include "session/upload.h"

#define DRAIN_MARGIN_MS 60000 /* beyond step_timeout_s, for requests under way */
#define RETRY_CAP_MS 30000
#define STOPPED_MS (5 * 60 * 1000) /* until an engine that takes longer is complained of */
#define INSIST_MS 60000 /* between two requests to take a target out whose time is over */

bool cleanup_is_over(enum step_result r)
{
    return r >= STEP_OK;
}

static bool steps_are_over(const struct cleanup *c)
{
    return cleanup_is_over(c->upload) && cleanup_is_over(c->deregister) &&
           cleanup_is_over(c->drain) && cleanup_is_over(c->stop);
}

bool cleanup_is_done(const struct attempt *a)
{
    return attempt_has_ended(a) || steps_are_over(&a->cleanup);
}

static const char *result_name(enum step_result r)
{
    return r == STEP_OK        ? "ok"
           : r == STEP_SKIPPED ? "skipped"
           : r == STEP_LOST    ? "lost"
                               : "running";
}

void cleanup_begin(struct attempt *a, enum step_result *step, const char *name)
{
    *step = STEP_RUNNING;
    session_span_open(a->session, name, a->number, true);
}

void cleanup_end(struct attempt *a, enum step_result *step, const char *name,
                 enum step_result result)
{
    if (*step == STEP_PENDING)
        session_span_open(a->session, name, a->number, true);
    *step = result;
    session_span_close(a->session, name, a->number, result_name(result));
    metrics_cleanup(a->session->group, name, result);
    log_info("cleanup.step", KV("session", a->session->id), KI("attempt", a->number),
             KV("step", name), KV("result", result_name(result)));
    event_emit(a->session, "cleanup.step", KI("attempt", a->number), KV("step", name),
               KV("result", result_name(result)));
    attempt_dirty(a);
    a->session->again = true;
}

/* ---- deregistration ---- */

static void removed(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    op_done(&a->cleanup.remove_op, e);
    gate_done(a, DRIVER_REMOVE, &a->cleanup.remove_op);
    session_wake(a->session);
}

static void leave_target(struct attempt *a, const char *cause)
{
    struct cleanup *c = &a->cleanup;
    log_error("target.left", KV("session", a->session->id), KV("target", a->key),
              KV("cause", cause));
    event_emit(a->session, "target.left", KI("attempt", a->number), KV("target", a->key),
               KV("cause", cause));
    if (!cleanup_is_over(c->deregister))
        cleanup_end(a, &c->deregister, "deregister", STEP_LOST);
    cleanup_end(a, &c->drain, "drain", STEP_LOST);
}

static void take_removed(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    int64_t now = core_now(s->core);
    c->remove_op.state = OP_IDLE;
    if (c->remove_op.error.code == ERR_NONE) {
        cleanup_end(a, &c->deregister, "deregister", STEP_OK);
        cleanup_begin(a, &c->drain, "drain");
        c->drain_deadline = now + s->group->class->step_timeout_s * 1000 + DRAIN_MARGIN_MS;
        return;
    }
    log_warn("deregister.retry", KV("session", s->id), KI("attempt", a->number),
             KV("error", c->remove_op.error.message));
    event_emit(a->session, "retry", KI("attempt", a->number), KV("step", "deregister"),
               KV("error", c->remove_op.error.message));
    if (now >= c->salvage_until) {
        leave_target(a, c->remove_op.error.message);
        return;
    }
    c->deregister_retry_at =
        now + backoff_ms(s->group->class->backoff_base_ms, ++c->deregister_tries, RETRY_CAP_MS);
    s->again = true;
}

static void deregister(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (cleanup_is_over(c->deregister) || c->remove_op.state == OP_RUNNING)
        return;
    if (c->remove_op.state == OP_DONE) {
        take_removed(a);
        return;
    }
    if (!a->registered && a->orphan && !cleanup_is_over(c->upload))
        return; /* its upload may need a target first */
    if (!a->registered) {
        launch_forget_place(a);
        cleanup_end(a, &c->deregister, "deregister", STEP_SKIPPED);
        cleanup_end(a, &c->drain, "drain", STEP_SKIPPED);
        return;
    }
    if (!a->direct && (!cleanup_is_over(c->upload) || !attempt_durable(a)))
        return; /* the upload's only path leads through the balancer, after a crash as well */
    if (a->add_op.state == OP_RUNNING)
        return;
    if (session_not_before(s, c->deregister_retry_at))
        return;
    if (c->deregister == STEP_PENDING)
        cleanup_begin(a, &c->deregister, "deregister");
    if (!gate_pass(a, DRIVER_REMOVE, &c->remove_op)) {
        if (!session_not_before(s, c->salvage_until))
            leave_target(a, c->remove_op.error.message);
        return;
    }
    c->remove_op.state = OP_RUNNING;
    struct target t = launch_target(a);
    s->group->balancer_ops->remove(s->group->balancer, &t, removed, a);
}

static void drain(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    if (c->drain != STEP_RUNNING)
        return;
    if (a->target == TARGET_GONE) {
        cleanup_end(a, &c->drain, "drain", STEP_OK);
    } else if (core_now(a->session->core) < c->drain_deadline) {
        session_at(a->session, c->drain_deadline);
    } else {
        leave_target(a, "the balancer still lists it");
    }
}

/* ---- stop ---- */

static void stopped(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    op_done(&a->cleanup.stop_op, e);
    gate_done(a, DRIVER_STOP, &a->cleanup.stop_op);
    session_wake(a->session);
}

static void take_stopped(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    c->stop_op.state = OP_IDLE;
    if (c->stop_op.error.code == ERR_NONE) {
        cleanup_end(a, &c->stop, "stop", STEP_OK);
        if (!s->group->runtime_ops->release_makes_room)
            admission_freed(s->group);
        return;
    }
    log_warn("stop.retry", KV("session", s->id), KI("attempt", a->number),
             KV("error", c->stop_op.error.message));
    event_emit(a->session, "retry", KI("attempt", a->number), KV("step", "stop"),
               KV("error", c->stop_op.error.message));
    c->stop_retry_at = core_now(s->core) + backoff_ms(s->group->class->backoff_base_ms,
                                                      ++c->stop_tries, RETRY_CAP_MS);
}

/* What was told to stop is waited for however long it takes, and not in silence. */
static void await_stopped(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (session_not_before(s, c->stop_deadline))
        return;
    log_error("container.left", KV("session", s->id), KV("container", a->container.id),
              KV("cause", "its engine was told to stop it and has not said that it did"));
    event_emit(s, "container.left", KI("attempt", a->number), KV("container", a->container.id));
    c->stop_deadline = core_now(s->core) + STOPPED_MS;
    session_at(s, c->stop_deadline);
}

static void stop(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (c->stop_op.state == OP_RUNNING)
        await_stopped(a);
    if (c->stop_op.state == OP_DONE)
        take_stopped(a);
    if (cleanup_is_over(c->stop) || c->stop_op.state == OP_RUNNING)
        return;
    if (!a->launched) {
        if (s->group->runtime_ops->clear)
            s->group->runtime_ops->clear(s->group->runtime, a->key);
        cleanup_end(a, &c->stop, "stop", STEP_SKIPPED);
        return;
    }
    if (!cleanup_is_over(c->upload) || !cleanup_is_over(c->deregister) || !attempt_durable(a))
        return;
    if (session_not_before(s, c->stop_retry_at))
        return;
    if (c->stop == STEP_PENDING)
        cleanup_begin(a, &c->stop, "stop");
    if (!gate_pass(a, DRIVER_STOP, &c->stop_op))
        return;
    c->stop_op.state = OP_RUNNING;
    c->stop_deadline = core_now(s->core) + s->group->class->stop_grace_s * 1000 + STOPPED_MS;
    s->group->runtime_ops->stop(s->group->runtime, &a->container, c->upload == STEP_LOST,
                                stopped, a);
}

/* ---- an address that is kept ---- */

/* A balancer may lead to it: nobody else gets it, also after a restart, for the attempt does
 * not end. An engine that gives its addresses out itself does not wait for us: then the target
 * is for whoever lists the balancer later. */
static bool keeps_address(const struct attempt *a)
{
    return a->launched && a->cleanup.drain == STEP_LOST && a->target != TARGET_GONE &&
           a->session->group->runtime_ops->release_makes_room;
}

static void asked_again(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    struct cleanup *c = &a->cleanup;
    op_done(&c->remove_op, e);
    c->remove_op.state = OP_IDLE;
    c->deregister_retry_at = core_now(a->session->core) + INSIST_MS;
    gate_note(a->session->group, DRIVER_REMOVE, c->remove_op.trial, &c->remove_op.error);
    session_wake(a->session);
}

/* Its session is over and hears no more of it. */
static void insist(struct attempt *a)
{
    struct op *op = &a->cleanup.remove_op;
    struct session *s = a->session;
    struct group *g = s->group;
    int64_t when;
    if (op->state == OP_RUNNING || session_not_before(s, a->cleanup.deregister_retry_at))
        return;
    if (!gate_admits(g, DRIVER_REMOVE, &op->trial, &when)) {
        session_at(s, when);
        return;
    }
    op->state = OP_RUNNING;
    struct target t = launch_target(a);
    g->balancer_ops->remove(g->balancer, &t, asked_again, a);
}

/* ---- all of it ---- */

/* False: an effect that was begun may still bring a container, or the intent is not durable
 * yet. */
static bool begin(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (c->begun)
        return true;
    if (a->launch_op.state == OP_RUNNING || s->core->listing > 0)
        return false;
    if (!attempt_durable(a) || !session_durable(s))
        return false;
    c->begun = true;
    c->salvage_until = core_now(s->core) + s->group->class->salvage_limit_s * 1000;
    session_span_open(s, "local", a->number, true);
    session_span_close(s, "local", a->number, "ok");
    return true;
}

static void end(struct attempt *a)
{
    struct group *g = a->session->group;
    if (a->launched) {
        g->runtime_ops->release(g->runtime, &a->container);
        if (g->runtime_ops->release_makes_room)
            admission_freed(g);
    }
    attempt_go(a, ATTEMPT_ENDED);
}

void cleanup_step(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    if (!begin(a))
        return;
    upload_step(a);
    deregister(a);
    drain(a);
    stop(a);
    if (!steps_are_over(c))
        return;
    attempt_let_go(a);
    if (keeps_address(a))
        insist(a);
    else if (c->remove_op.state != OP_RUNNING)
        end(a);
}
