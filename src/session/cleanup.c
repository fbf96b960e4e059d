/* The end of an attempt, as a graph: upload and deregistration side by side where the
 * container's own address is proven, else one after the other; the stop after both; the end
 * when the address is free. */

#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/cleanup.h"
#include "session/gate.h"
#include "session/grants.h"
#include "session/launch.h"
#include "session/message.h"
#include "session/route.h"
#include "session/session.h"
#include "session/steps.h"

#define POLL_MS 100
#define DRAIN_MARGIN_MS 60000 /* beyond step_timeout_s, for requests under way */
#define RETRY_CAP_MS 60000
#define COMPLETE_TIMEOUT_MS 15000
#define MAX_ANSWER 65536

static bool is_over(enum step_result r)
{
    return r >= STEP_OK;
}

static const char *result_name(enum step_result r)
{
    return r == STEP_OK        ? "ok"
           : r == STEP_SKIPPED ? "skipped"
           : r == STEP_LOST    ? "lost"
                               : "running";
}

static void begin_step(struct attempt *a, enum step_result *step, const char *name)
{
    *step = STEP_RUNNING;
    session_span_open(a->session, name, a->number, true);
}

static void end_step(struct attempt *a, enum step_result *step, const char *name,
                     enum step_result result)
{
    if (*step == STEP_PENDING)
        session_span_open(a->session, name, a->number, true);
    *step = result;
    session_span_close(a->session, name, a->number, result_name(result));
    log_info("cleanup.step", KV("session", a->session->id), KI("attempt", a->number),
             KV("step", name), KV("result", result_name(result)));
    attempt_dirty(a);
    a->session->again = true;
}

/* ---- upload ---- */

static void end_upload(struct attempt *a, enum step_result result, const char *why)
{
    struct counters *n = &a->session->core->counters;
    if (result == STEP_LOST) {
        n->uploads_lost++;
        log_error("artifacts.lost", KV("session", a->session->id), KI("attempt", a->number),
                  KV("container", a->container.id), KV("cause", why));
    } else if (result == STEP_OK) {
        n->uploads_confirmed++;
    } else {
        n->uploads_skipped++;
    }
    end_step(a, &a->cleanup.upload, "upload", result);
    session_dirty(a->session); /* its document says so after a crash as well */
    attempt_quiet(a);          /* last: why may be a text of its answer */
}

static int64_t upload_patience(const struct attempt *a)
{
    return a->session->group->class->upload_timeout_s * 1000;
}

/* The container and its path stay until it works, or until the salvage limit. */
static void upload_failed(struct attempt *a, const char *why)
{
    struct cleanup *c = &a->cleanup;
    int64_t now = core_now(a->session->core);
    if (now >= c->salvage_until) {
        end_upload(a, STEP_LOST, why);
        return;
    }
    c->polling = false;
    c->upload_tries++;
    c->upload_retry_at = now + backoff_ms(a->session->group->class->backoff_base_ms,
                                          c->upload_tries, RETRY_CAP_MS);
    if (c->upload_retry_at > c->salvage_until)
        c->upload_retry_at = c->salvage_until;
    c->upload_deadline = c->upload_retry_at + upload_patience(a);
    log_warn("upload.retry", KV("session", a->session->id), KI("attempt", a->number),
             KI("try", c->upload_tries), KI("wait_ms", c->upload_retry_at - now),
             KV("error", why));
    message_reset(&c->message);
    attempt_go(a, ATTEMPT_SALVAGING);
    a->session->again = true; /* also when it was there already */
}

static const char *error_text(const struct message *m)
{
    const json_t *error = json_object_get(m->body, "error");
    const char *text = json_string_value(error);
    if (!text)
        text = json_string_value(json_object_get(error, "message"));
    return text ? text : "the container did not say why";
}

/* Progress of an upload that the container does on its own. */
static void take_progress(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    const char *state = json_string_value(json_object_get(c->message.body, "state"));
    int64_t now = core_now(a->session->core);
    if (state && strcmp(state, "done") == 0) {
        end_upload(a, STEP_OK, NULL);
    } else if (state && strcmp(state, "failed") == 0) {
        upload_failed(a, error_text(&c->message));
    } else if (state && strcmp(state, "running") == 0) {
        int64_t progress = json_integer_value(json_object_get(c->message.body, "bytes_done")) +
                           json_integer_value(json_object_get(c->message.body, "files_done"));
        if (progress != c->progress)
            c->upload_deadline = now + upload_patience(a);
        c->progress = progress;
        c->upload_retry_at = now + POLL_MS;
        message_reset(&c->message);
    } else {
        upload_failed(a, "the container knows of no upload");
    }
}

/* A plain container that once accepted `complete`: its health is 503 when it has uploaded. */
static void take_plain_health(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    if (c->message.verdict == VERDICT_PROVEN && c->message.status == 503) {
        end_upload(a, STEP_OK, NULL);
        return;
    }
    message_reset(&c->message);
    c->upload_retry_at = core_now(a->session->core) + 10 * POLL_MS;
}

static void take_upload_answer(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    const struct message *m = &c->message;
    bool plain = a->session->group->class->proof == PROOF_NONE;
    if (m->verdict == VERDICT_MISROUTE) {
        attempt_misrouted(a, "complete");
        if (!m->direct)
            route_drop(a);
        upload_failed(a, "another container answered");
    } else if (plain && c->polling) {
        take_plain_health(a);
    } else if (plain && m->verdict != VERDICT_PROVEN && m->sent && m->status != 503) {
        c->polling = true; /* not repeated blindly: it may be at work */
        c->upload_retry_at = core_now(a->session->core) + POLL_MS;
        message_reset(&c->message);
    } else if (m->verdict != VERDICT_PROVEN) {
        upload_failed(a, m->error.message);
    } else if (c->polling) {
        take_progress(a);
    } else if (m->status == 202) {
        c->polling = true;
        message_reset(&c->message);
    } else if (m->status == 200 && json_is_true(json_object_get(m->body, "upload_completed"))) {
        end_upload(a, STEP_OK, NULL);
    } else {
        upload_failed(a, error_text(m));
    }
}

static void send_upload(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    bool plain = a->session->group->class->proof == PROOF_NONE;
    struct message_options o = {.method = c->polling ? "GET" : "POST",
                                .path = c->polling && plain ? "/health" : "/session/complete",
                                .direct = a->direct,
                                .respond_async = !plain,
                                .connect_timeout_ms = COMPLETE_TIMEOUT_MS,
                                .timeout_ms = plain && !c->polling ? upload_patience(a)
                                                                   : COMPLETE_TIMEOUT_MS,
                                .max_answer = MAX_ANSWER};
    json_t *body = json_pack("{s:s, s:s}", "session_id", a->session->id, "nonce", a->key);
    if (!c->polling)
        o.body = body;
    message_send(&c->message, a, &o);
    json_decref(body);
}

/* A plain container knows its store by itself. */
static bool has_no_store(const struct class *class)
{
    return class->proof == PROOF_REQUIRED && !*class->artifacts;
}

static void upload(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (is_over(c->upload))
        return;
    if (c->upload == STEP_PENDING) {
        if (!a->launched || !a->touched || has_no_store(s->group->class)) {
            end_upload(a, STEP_SKIPPED, NULL);
            return;
        }
        begin_step(a, &c->upload, "upload");
        c->upload_deadline = core_now(s->core) + upload_patience(a);
    }
    if (a->died) {
        end_upload(a, a->in_order ? STEP_OK : STEP_LOST, a->cause);
        return;
    }
    if (c->message.state == OP_DONE) {
        take_upload_answer(a);
        if (is_over(c->upload))
            return;
    }
    int64_t now = core_now(s->core);
    if (now >= c->upload_deadline) {
        upload_failed(a, "no progress within upload_timeout_s");
        return;
    }
    session_at(s, c->upload_deadline);
    grants_step(a);
    if (c->message.state == OP_RUNNING)
        return;
    if (session_not_before(s, c->upload_retry_at))
        return;
    if ((a->direct || route_step(a)) && grants_valid(a))
        send_upload(a);
}

/* ---- deregistration ---- */

static void removed(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    op_done(&a->cleanup.remove_op, e);
    gate_done(a->session->group, DRIVER_REMOVE, &a->cleanup.remove_op);
    session_wake(a->session);
}

static void take_removed(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    int64_t now = core_now(s->core);
    c->remove_op.state = OP_IDLE;
    if (c->remove_op.error.code == ERR_NONE) {
        end_step(a, &c->deregister, "deregister", STEP_OK);
        begin_step(a, &c->drain, "drain");
        c->drain_deadline = now + s->group->class->step_timeout_s * 1000 + DRAIN_MARGIN_MS;
        return;
    }
    log_warn("deregister.retry", KV("session", s->id), KI("attempt", a->number),
             KV("error", c->remove_op.error.message));
    if (now >= c->salvage_until) {
        log_error("target.left", KV("session", s->id), KV("target", a->key),
                  KV("cause", c->remove_op.error.message));
        end_step(a, &c->deregister, "deregister", STEP_LOST);
        end_step(a, &c->drain, "drain", STEP_LOST);
        return;
    }
    c->deregister_retry_at = now + backoff_ms(s->group->class->backoff_base_ms,
                                              ++c->deregister_tries, RETRY_CAP_MS / 2);
    s->again = true;
}

static void deregister(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (is_over(c->deregister) || c->remove_op.state == OP_RUNNING)
        return;
    if (c->remove_op.state == OP_DONE) {
        take_removed(a);
        return;
    }
    if (!a->registered) {
        launch_forget_place(a);
        end_step(a, &c->deregister, "deregister", STEP_SKIPPED);
        end_step(a, &c->drain, "drain", STEP_SKIPPED);
        return;
    }
    if (!a->direct && (!is_over(c->upload) || !attempt_durable(a)))
        return; /* the upload's only path leads through the balancer, after a crash as well */
    if (a->add_op.state == OP_RUNNING)
        return;
    if (session_not_before(s, c->deregister_retry_at))
        return;
    if (c->deregister == STEP_PENDING)
        begin_step(a, &c->deregister, "deregister");
    if (!gate_pass(s, DRIVER_REMOVE, &c->remove_op))
        return;
    c->remove_op.state = OP_RUNNING;
    s->group->balancer_ops->remove(
        s->group->balancer,
        &(struct target){.id = a->key, .ip = a->container.ip, .port = a->container.port},
        removed, a);
}

static void drain(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    if (c->drain != STEP_RUNNING)
        return;
    if (a->target == TARGET_GONE) {
        end_step(a, &c->drain, "drain", STEP_OK);
    } else if (core_now(a->session->core) < c->drain_deadline) {
        session_at(a->session, c->drain_deadline);
    } else {
        log_error("target.left", KV("session", a->session->id), KV("target", a->key),
                  KV("cause", "the balancer still lists it"));
        end_step(a, &c->drain, "drain", STEP_LOST);
    }
}

/* ---- stop ---- */

static void stopped(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    op_done(&a->cleanup.stop_op, e);
    gate_done(a->session->group, DRIVER_STOP, &a->cleanup.stop_op);
    session_wake(a->session);
}

static void stop(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (is_over(c->stop) || c->stop_op.state == OP_RUNNING)
        return;
    if (c->stop_op.state == OP_DONE) {
        c->stop_op.state = OP_IDLE;
        if (c->stop_op.error.code == ERR_NONE) {
            end_step(a, &c->stop, "stop", STEP_OK);
            return;
        }
        log_warn("stop.retry", KV("session", s->id), KI("attempt", a->number),
                 KV("error", c->stop_op.error.message));
        c->stop_retry_at = core_now(s->core) + backoff_ms(s->group->class->backoff_base_ms,
                                                          ++c->stop_tries, RETRY_CAP_MS / 2);
    }
    if (!a->launched) {
        end_step(a, &c->stop, "stop", STEP_SKIPPED);
        return;
    }
    if (!is_over(c->upload) || !is_over(c->deregister) || !attempt_durable(a))
        return;
    if (session_not_before(s, c->stop_retry_at))
        return;
    if (c->stop == STEP_PENDING)
        begin_step(a, &c->stop, "stop");
    if (!gate_pass(s, DRIVER_STOP, &c->stop_op))
        return;
    c->stop_op.state = OP_RUNNING;
    s->group->runtime_ops->stop(s->group->runtime, &a->container, c->upload == STEP_LOST,
                                stopped, a);
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

void cleanup_step(struct attempt *a)
{
    struct cleanup *c = &a->cleanup;
    struct session *s = a->session;
    if (!begin(a))
        return;
    upload(a);
    deregister(a);
    drain(a);
    stop(a);
    if (!is_over(c->upload) || !is_over(c->deregister) || !is_over(c->drain) ||
        !is_over(c->stop))
        return;
    if (a->launched &&
        c->drain != STEP_LOST) /* an address that is still listed stays reserved */
        s->group->runtime_ops->release(s->group->runtime, &a->container);
    attempt_go(a, ATTEMPT_ENDED);
}
