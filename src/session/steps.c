/* The script of a session's life, in order. Each step looks at what there is and either starts
 * what is missing, waits, or goes on; it may be run at any time and any number of times. */

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/admission.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/cleanup.h"
#include "session/context.h"
#include "session/death.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/gate.h"
#include "session/grants.h"
#include "session/input.h"
#include "session/job.h"
#include "session/launch.h"
#include "session/message.h"
#include "session/probe.h"
#include "session/route.h"
#include "session/session.h"
#include "session/stage.h"
#include "session/steps.h"
#include "session/warm.h"

#define STEPS_PER_WAKE 32
#define STUCK_RETRY_MS 1000
#define START_RETRY_MS 10
#define START_RETRY_MAX_MS 250
#define DIRECT_CONNECT_TIMEOUT_MS 1000
#define DIRECT_UNREACHABLE                                                                     \
    3 /* connects that time out before we stop trying the own address                          \
       */
#define START_MAX_ANSWER 65536

void op_done(struct op *op, const struct error *e)
{
    op->state = OP_DONE;
    op->error = e ? *e : (struct error){0};
}

/* ---- attempt ---- */

/* From STARTING to CHECKING one deadline holds. True: it has passed and the attempt failed. */
static bool past_start_deadline(struct attempt *a, const char *waiting_for)
{
    struct session *s = a->session;
    if (a->adopted) /* it did start; its session's own deadline holds */
        return false;
    if (a->start_deadline == 0)
        a->start_deadline = core_now(s->core) + s->group->class->start_timeout_s * 1000;
    if (session_not_before(s, a->start_deadline))
        return false;
    struct error e;
    error_set(&e, ERR_UNHEALTHY, "the container was not ready within %lld s: waiting for %s",
              (long long)s->group->class->start_timeout_s, waiting_for);
    attempt_fail(a, &e);
    return true;
}

static void take_start_answer(struct attempt *a)
{
    const struct message *m = &a->message;
    int64_t wait = (int64_t)START_RETRY_MS << (a->tries < 8 ? a->tries : 8);
    bool unreachable = m->verdict == VERDICT_FAILED && m->error.code == ERR_TIMEOUT && !m->sent;
    if (m->verdict == VERDICT_PROVEN && m->status == 200) {
        a->direct = true;
        attempt_learn(a, m->body);
        attempt_go(a, ATTEMPT_REGISTERING);
        return;
    }
    if (m->verdict == VERDICT_MISROUTE)
        attempt_misrouted(a, "start");
    message_reset(&a->message);
    a->tries++;
    a->unreachable = unreachable ? a->unreachable + 1 : 0;
    a->retry_at =
        core_now(a->session->core) + (wait < START_RETRY_MAX_MS ? wait : START_RETRY_MAX_MS);
    if (a->unreachable >= DIRECT_UNREACHABLE)
        attempt_go(a, ATTEMPT_REGISTERING);
}

/* Waits until the container proves itself on its own address, where that can be reached. */
static void start(struct attempt *a)
{
    struct session *s = a->session;
    const struct class *class = s->group->class;
    if (!attempt_durable(a) || past_start_deadline(a, "an answer on its own address"))
        return;
    if (!a->registered && !launch_has_place(a))
        return;
    if (class->proof == PROOF_NONE || class->direct_path == DIRECT_PATH_NEVER) {
        attempt_go(a, ATTEMPT_REGISTERING);
        return;
    }
    if (a->message.state == OP_DONE)
        take_start_answer(a);
    if (a->state != ATTEMPT_STARTING || a->message.state == OP_RUNNING)
        return;
    if (session_not_before(s, a->retry_at))
        return;
    message_send(&a->message, a,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .anonymous = true,
                                           .direct = true,
                                           .connect_timeout_ms = DIRECT_CONNECT_TIMEOUT_MS,
                                           .timeout_ms = 2 * DIRECT_CONNECT_TIMEOUT_MS,
                                           .max_answer = START_MAX_ANSWER});
}

static void added(void *arg, const struct error *e)
{
    struct attempt *a = arg;
    op_done(&a->add_op, e);
    gate_done(a, DRIVER_ADD, &a->add_op);
    session_wake(a->session);
}

/* One at a time where a balancer could take the one for the other. */
static bool waits_for_twin(struct attempt *a)
{
    const struct attempt *other;
    TAILQ_FOREACH (other, &a->session->attempts, entry)
        if (other != a && other->registered && !cleanup_is_over(other->cleanup.drain) &&
            !attempt_has_ended(other) && route_may_confuse(a, other))
            return true;
    return false;
}

static void enroll(struct attempt *a)
{
    struct session *s = a->session;
    struct group *g = s->group;
    if (past_start_deadline(a, "its registration with the balancer"))
        return;
    if (a->add_op.state == OP_RUNNING || !attempt_durable(a))
        return;
    if (a->add_op.state == OP_DONE) {
        struct error e = a->add_op.error;
        a->add_op.state = OP_IDLE;
        if (e.code == ERR_NONE) {
            launch_owe_nothing(a);
            session_waits_for(s, "");
            attempt_go(a, ATTEMPT_CHECKING);
            return;
        }
        if (!error_retryable(e.code)) {
            attempt_fail(a, &e);
            return;
        }
        if (e.of_engine)
            a->start_deadline = 0; /* its container may be fine: it gets its time again */
        log_warn("register.retry", KV("session", s->id), KV("error", e.message));
        event_emit(s, "retry", KI("attempt", a->number), KV("step", "register"),
                   KV("error", e.message));
        a->retry_at = core_now(s->core) + g->class->backoff_base_ms;
    }
    if (session_not_before(s, a->retry_at))
        return;
    if (!a->registered && waits_for_twin(a)) {
        a->start_deadline = 0;
        session_waits_for(s, "an earlier attempt's target to be gone");
        return;
    }
    if (!launch_intends_target(a))
        return;
    if (!gate_pass(a, DRIVER_ADD, &a->add_op)) {
        a->start_deadline = 0;
        return;
    }
    a->add_op.state = OP_RUNNING;
    struct target t = launch_target(a);
    g->balancer_ops->add(g->balancer, &t, added, a);
}

static void check(struct attempt *a)
{
    if (a->target == TARGET_HEALTHY)
        attempt_go(a, ATTEMPT_ROUTING);
    else
        past_start_deadline(a, "the balancer's health check");
}

/* A container that has served has all that it needs. */
static bool is_staged(const struct attempt *a)
{
    const struct session *s = a->session;
    return s->ready > 0 && s->replacing == 0;
}

static void take_route(struct attempt *a)
{
    if (route_step(a))
        attempt_go(a, is_staged(a) ? ATTEMPT_LIVE : ATTEMPT_STAGING);
}

static void live(struct attempt *a)
{
    grants_step(a);
    route_keep(a);
    if (!a->route.confirmed)
        attempt_go(a, ATTEMPT_ROUTING);
}

void attempt_step(struct attempt *a)
{
    static void (*const steps[ATTEMPT_STATES])(struct attempt *) = {
        [ATTEMPT_LAUNCHING] = launch_step,
        [ATTEMPT_STARTING] = start,
        [ATTEMPT_REGISTERING] = enroll,
        [ATTEMPT_CHECKING] = check,
        [ATTEMPT_ROUTING] = take_route,
        [ATTEMPT_STAGING] = stage_step,
        [ATTEMPT_LIVE] = live,
        [ATTEMPT_ENDING] = cleanup_step,
        [ATTEMPT_SALVAGING] = cleanup_step};
    bool serves = !attempt_is_ending(a) && a->session->state < SESSION_CLOSING;
    if (serves)
        probe_step(a);
    if (serves && (a->died || a->health.dead))
        death_take(a);
    if (a->session->state >= SESSION_CLOSING && !attempt_is_ending(a))
        return; /* the session's step ends it */
    if (steps[a->state])
        steps[a->state](a);
}

/* ---- session ---- */

/* True: the deadline has passed and the session closes. */
static bool past(struct session *s, int64_t deadline, enum error_code code,
                 const char *stop_reason, const char *message)
{
    if (session_not_before(s, deadline))
        return false;
    struct error e;
    error_set(&e, code, "%s", message);
    session_close(s, stop_reason, code == ERR_NONE ? NULL : &e);
    return true;
}

int64_t session_queue_end(const struct session *s)
{
    return s->queued_at - s->queued_ms + s->core->settings->queue_timeout_s * 1000;
}

int64_t session_create_end(const struct session *s)
{
    return s->opened + s->create_timeout_s * 1000;
}

static void queued(struct session *s)
{
    struct cleat *core = s->core;
    struct error e;
    if (drain_covers(core, s->context.tenant, &e)) {
        session_close(s, "drained", &e);
        return;
    }
    if (past(s, session_queue_end(s), ERR_QUEUE_TIMEOUT, "queue_timeout",
             admission_obstacle(s) == LIMIT_CAPACITY ? "the engine had no room in time"
                                                     : "no place became free in time"))
        core->counters.queue_timeouts++;
}

/* What a session was at when its time was over says more than that it was. */
static bool past_create_timeout(struct session *s)
{
    int64_t deadline = session_create_end(s);
    if (s->input.error.code != ERR_NONE)
        return past(s, deadline, ERR_INPUT, "create_timeout", s->input.error.message);
    return past(s, deadline, ERR_CREATE_TIMEOUT, "create_timeout",
                "the session was not ready within its create_timeout_s");
}

static void be_ready(struct session *s)
{
    if (!attempt_is_claimed(s->attempt) && !s->warm)
        warm_note_start(s->group, core_now(s->core) - s->opened);
    session_go(s, SESSION_READY);
}

static void opening(struct session *s)
{
    if (past_create_timeout(s))
        return;
    if (!s->attempt)
        attempt_launch(s);
    if (s->stored) /* what it copies is for a session that a crash does not undo */
        input_step(s);
    if (s->state == SESSION_OPENING && s->attempt && s->attempt->state == ATTEMPT_LIVE)
        be_ready(s);
}

static void lost_container(struct session *s)
{
    struct error e;
    error_set(&e, ERR_INTERNAL, "the session lost its container");
    session_close(s, "internal", &e);
}

static bool past_use(struct session *s)
{
    if (past(s, session_lifetime_end(s), ERR_NONE, "max_lifetime", ""))
        return true;
    return !s->job && !s->running && s->queued == 0 &&
           past(s, s->used + s->idle_timeout_s * 1000, ERR_NONE, "idle_timeout", "");
}

static void serving(struct session *s)
{
    if (!s->warm && past_use(s))
        return;
    if (s->replacing > 0)
        death_replace_step(s);
    else if (!s->attempt)
        lost_container(s);
    if (s->state >= SESSION_CLOSING)
        return;
    job_step(s);
    if (s->state >= SESSION_CLOSING)
        return;
    executions_step(s);
    if (s->state >= SESSION_CLOSING)
        return;
    const struct attempt *a = s->attempt;
    bool usable = a && a->state == ATTEMPT_LIVE && a->route.confirmed;
    session_go(s, !usable ? SESSION_REROUTING : s->running ? SESSION_BUSY : SESSION_READY);
}

static void closing(struct session *s)
{
    struct attempt *a;
    if (s->attempt) {
        a = s->attempt;
        s->attempt = NULL;
        attempt_go(a, ATTEMPT_ENDING);
    }
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (!cleanup_is_done(a))
            return;
    session_go(s, s->ready == 0 && s->error.code != ERR_NONE ? SESSION_FAILED : SESSION_CLOSED);
}

static void session_step(struct session *s)
{
    static void (*const steps[SESSION_STATES])(struct session *) = {
        [SESSION_QUEUED] = queued, [SESSION_OPENING] = opening,   [SESSION_READY] = serving,
        [SESSION_BUSY] = serving,  [SESSION_REROUTING] = serving, [SESSION_CLOSING] = closing};
    if (s->warm)
        warm_step(s);
    if (steps[s->state])
        steps[s->state](s);
}

static bool attempt_awaits(const struct attempt *a)
{
    const struct cleanup *c = &a->cleanup;
    const enum op_state ops[] = {a->launch_op.state,     a->add_op.state,  c->remove_op.state,
                                 c->stop_op.state,       a->message.state, c->message.state,
                                 a->health.message.state};
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (ops[i] == OP_RUNNING)
            return true;
    return a->sweep || grants_running(a) || !attempt_durable(a);
}

/* Every wait has an end: who is not over waits for a moment, an op, a commit or a listing. */
static bool session_awaits(const struct session *s)
{
    const struct attempt *a;
    if (s->wake_at > 0 || session_is_over(s) || !session_durable(s) || s->core->listing > 0)
        return true;
    if (input_is_running(s))
        return true;
    if (s->running && s->running->message.state == OP_RUNNING)
        return true;
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (attempt_awaits(a))
            return true;
    return false;
}

/* The task of a session: bounded, so that no session holds the loop. */
void session_run(void *arg)
{
    struct session *s = arg;
    struct attempt *a;
    for (int i = 0; i < STEPS_PER_WAKE; i++) {
        s->again = false;
        s->wake_at = 0;
        TAILQ_FOREACH (a, &s->attempts, entry)
            attempt_step(a);
        context_step(s);
        session_step(s);
        if (!s->again)
            break;
    }
    if (!s->again && !session_awaits(s)) {
        log_error("session.stuck", KV("session", s->id),
                  KV("state", session_state_names[s->state]));
        session_at(s, core_now(s->core) + STUCK_RETRY_MS);
    }
    if (s->again)
        session_wake(s);
    else if (s->wake_at > 0)
        timer_arm(&s->timer, s->wake_at - core_now(s->core));
    else
        timer_stop(&s->timer);
    calls_answer(s);
    drain_consider(s->core);
}
