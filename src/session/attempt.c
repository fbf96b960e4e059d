#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/journal.h"
#include "session/grants.h"
#include "session/launch.h"
#include "session/message.h"
#include "session/metrics.h"
#include "session/once.h"
#include "session/reaper.h"
#include "session/session.h"
#include "session/sweep.h"
#include "session/warm.h"

#define FAILURE_CAP_MS (10 * 60 * 1000)
#define CAPACITY_CAP_MS (30 * 1000) /* places may come free at any time */

const char *const attempt_state_names[ATTEMPT_STATES] = {
    "LAUNCHING", "STARTING", "REGISTERING", "CHECKING",  "ROUTING",
    "STAGING",   "LIVE",     "ENDING",      "SALVAGING", "ENDED"};

static const char *const event_names[ATTEMPT_STATES] = {
    "attempt.launching", "attempt.starting", "attempt.registering", "attempt.checking",
    "attempt.routing",   "attempt.staging",  "attempt.live",        "attempt.ending",
    "attempt.salvaging", "attempt.ended"};

static const char *const phases[ATTEMPT_STATES] = {"launch", "start", "register",
                                                   "check",  "route", "stage"};

static void make_row_key(struct attempt *a)
{
    snprintf(a->row_key, sizeof(a->row_key), "%s.%u", a->session->id, a->number);
}

/* Key and secret are of its identity, its row of its session. */
static void identify(struct attempt *a, const struct identity *identity)
{
    const struct cleat *core = a->session->core;
    a->identity = *identity;
    snprintf(a->key, sizeof(a->key), "%s.%s.%u", core->settings->owner, a->identity.session,
             a->identity.number);
    make_row_key(a);
    proof_secret(a->secret, core->master, a->identity.session, a->identity.number);
}

struct attempt *attempt_new_as(struct session *s, unsigned number,
                               const struct identity *identity)
{
    struct cleat *core = s->core;
    struct attempt *a = mem_alloc(sizeof(*a));
    a->session = s;
    a->number = number;
    identify(a, identity);
    a->since = core_now(core);
    a->state = ATTEMPT_LAUNCHING;
    s->group->attempt_counts[a->state]++;
    s->group->arriving++;
    TAILQ_INSERT_TAIL(&s->attempts, a, entry);
    HASH_ADD_STR(core->by_key, key, a);
    return a;
}

struct attempt *attempt_new(struct session *s, unsigned number)
{
    struct identity own = {.number = number, .idle_timeout_s = s->idle_timeout_s};
    mem_copy_string(own.session, sizeof(own.session), s->id);
    return attempt_new_as(s, number, &own);
}

void attempt_move(struct attempt *a, struct session *to)
{
    TAILQ_REMOVE(&a->session->attempts, a, entry);
    a->session->attempt = NULL;
    a->session = to;
    a->number = ++to->attempts_used;
    make_row_key(a);
    a->moved = true;
    a->noting = to->group->class->on_death == ON_DEATH_REPLACE;
    a->retry_at = a->tries = 0;
    a->route = (struct route){
        .node = a->route.node, .cookies = a->route.cookies, .renew_at = a->route.renew_at};
    TAILQ_INSERT_TAIL(&to->attempts, a, entry);
    to->attempt = a;
    to->again = true;
    session_has_room(to);
    attempt_dirty(a);
    session_dirty(to);
}

bool attempt_is_claimed(const struct attempt *a)
{
    return strcmp(a->identity.session, a->session->id) != 0;
}

bool attempt_is_taken(struct attempt *a)
{
    if (a->moved && attempt_durable(a))
        a->moved = false;
    return !a->moved;
}

void attempt_launch(struct session *s)
{
    if (warm_claim(s))
        return;
    if (session_not_before(s, s->launch_at))
        return;
    s->attempt = attempt_new(s, ++s->attempts_used);
    session_span_open(s, "launch", s->attempt->number, false);
    s->attempt->noting = s->group->class->on_death == ON_DEATH_REPLACE;
    event_emit(s, event_names[ATTEMPT_LAUNCHING], KI("attempt", s->attempt->number));
    attempt_dirty(s->attempt);
    session_dirty(s);
    s->again = true;
}

int64_t attempt_backoff_ms(const struct session *s)
{
    return backoff_ms(s->group->class->backoff_base_ms, s->failures, FAILURE_CAP_MS);
}

static bool is_arriving(enum attempt_state state)
{
    return state <= ATTEMPT_CHECKING;
}

/* Nothing is asked on its behalf any more. */
void attempt_quiet(struct attempt *a)
{
    sweep_leave(a);
    message_reset(&a->message);
    message_reset(&a->health.message);
    message_reset(&a->cleanup.message);
    grants_quiet(a);
}

void attempt_free(struct attempt *a)
{
    struct session *s = a->session;
    attempt_quiet(a);
    if (a->pool)
        pool_free(a->pool);
    cookie_set_clear(&a->route.cookies);
    launch_forget_prepared(a);
    launch_owe_nothing(a);
    free(a->target_group);
    s->group->attempt_counts[a->state]--;
    if (is_arriving(a->state))
        s->group->arriving--;
    once_release(a);
    if (a->orphan)
        reaper_forgot(a);
    mem_wipe(a->secret, sizeof(a->secret));
    if (s->attempt == a)
        s->attempt = NULL;
    TAILQ_REMOVE(&s->attempts, a, entry);
    HASH_DELETE(hh, s->core->by_key, a);
    free(a);
}

void attempt_dirty(struct attempt *a)
{
    a->dirty = true;
    journal_add(a->session);
}

void attempt_touch(struct attempt *a)
{
    if (a->touched)
        return;
    a->touched = true;
    attempt_dirty(a);
}

/* Once it is, it stays so, whatever else of the attempt waits for the journal. */
bool attempt_touch_durable(struct attempt *a)
{
    if (a->touched && attempt_durable(a))
        a->touch_durable = true;
    return a->touch_durable;
}

/* A plain container that executed something had its input before. */
static void learn_staged(struct attempt *a, const json_t *info)
{
    a->claimed = a->claimed || json_is_true(json_object_get(info, "claimed"));
    if (a->session->group->class->proof == PROOF_NONE)
        a->synced =
            a->synced || json_integer_value(json_object_get(info, "executions_completed")) > 0;
    else
        a->synced = a->synced || json_is_true(json_object_get(info, "synced"));
}

void attempt_learn(struct attempt *a, const json_t *info)
{
    static const char *const marks[] = {"busy", "claimed", "synced"};
    bool used = json_integer_value(json_object_get(info, "executions_completed")) > 0;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        used = used || json_is_true(json_object_get(info, marks[i]));
    a->told = true;
    if (used)
        attempt_touch(a);
    if (a->session->adopted)
        learn_staged(a, info);
}

bool attempt_durable(const struct attempt *a)
{
    return !a->dirty && a->commit <= a->session->core->commit_durable;
}

bool attempt_is_ending(const struct attempt *a)
{
    return a->state >= ATTEMPT_ENDING;
}

bool attempt_has_ended(const struct attempt *a)
{
    return a->state == ATTEMPT_ENDED;
}

void attempt_let_go(struct attempt *a)
{
    attempt_quiet(a);
    launch_forget_place(a);
    launch_forget_prepared(a);
    if (a->refused)
        session_span_drop(a->session, a->number);
    if (a->pool)
        pool_free(a->pool);
    a->pool = NULL;
    if (a->orphan)
        reaper_ended(a);
    a->orphan = false;
}

void attempt_take_over(struct attempt *a, const struct container *c)
{
    cookie_set_clear(&a->route.cookies);
    a->route = (struct route){0};
    a->grants = (struct grants){0};
    a->cleanup = (struct cleanup){0};
    a->container = *c;
    a->launched = true;
    a->died = a->in_order = a->refused = a->direct = false;
    a->unreachable = 0;
    a->target = TARGET_UNKNOWN;
    a->target_reason[0] = a->cause[0] = '\0';
}

void attempt_set_state(struct attempt *a, enum attempt_state to)
{
    struct group *g = a->session->group;
    g->attempt_counts[a->state]--;
    g->attempt_counts[to]++;
    a->state = to;
}

/* A phase that broke off was none. */
static void leave_phase(struct attempt *a, enum attempt_state to)
{
    const char *name = phases[a->state];
    if (name && to > a->state && to <= ATTEMPT_LIVE)
        session_span_close(a->session, name, a->number, NULL);
    else if (name)
        session_span_cut(a->session, name, a->number);
}

void attempt_go(struct attempt *a, enum attempt_state to)
{
    enum attempt_state from = a->state;
    struct session *s = a->session;
    if (from == to)
        return;
    int64_t now = core_now(s->core);
    log_info("attempt.state", KV("session", s->id), KI("attempt", a->number),
             KV("from", attempt_state_names[from]), KV("to", attempt_state_names[to]),
             KI("after_ms", now - a->since));
    event_emit(s, event_names[to], KI("attempt", a->number),
               KV("from", attempt_state_names[from]), KI("after_ms", now - a->since));
    leave_phase(a, to);
    if (phases[to])
        session_span_open(s, phases[to], a->number, false);
    if (is_arriving(from) && !is_arriving(to)) {
        s->group->arriving--;
        sweeps_consider(s->group);
    }
    attempt_quiet(a);
    if (to == ATTEMPT_ENDING)
        launch_owe_nothing(a);
    if (to == ATTEMPT_LIVE && a->lived == 0)
        a->lived = now;
    attempt_set_state(a, to);
    a->since = now;
    a->tries = 0;
    a->retry_at = 0;
    metrics_attempt(a, from);
    attempt_dirty(a);
    s->again = true;
    session_wake(s);
}

/* No failure of the session's: the engine had no room, or this launch only tried whether it
 * works again. */
static bool costs_nothing(const struct attempt *a, const struct error *e)
{
    return e->code == ERR_CAPACITY || (e->of_engine && a->launch_op.trial);
}

static void lacked_room(struct attempt *a, const struct error *e)
{
    a->refused = !a->launched;
    session_lacks_room(a->session, e);
}

static void tell_failure(const struct attempt *a, const struct error *e)
{
    struct session *s = a->session;
    log_warn("attempt.failed", KV("session", s->id), KI("attempt", a->number),
             KV("state", attempt_state_names[a->state]), KV("code", error_name(e->code)),
             KV("error", e->message));
    event_emit(s, "attempt.failed", KI("attempt", a->number),
               KV("state", attempt_state_names[a->state]),
               KV("error_code", error_name(e->code)), KV("error", e->message));
    json_decref(s->attempt_error);
    s->attempt_error = json_pack("{s:i, s:s, s:s}", "attempt", (int)a->number, "code",
                                 error_name(e->code), "message", e->message);
}

/* Not live yet: the session tries again with another container, or gives up. */
void attempt_fail(struct attempt *a, const struct error *e)
{
    struct session *s = a->session;
    struct group *g = s->group;
    metrics_attempt_failed(a, e->code);
    tell_failure(a, e);
    attempt_go(a, ATTEMPT_ENDING);
    if (s->attempt != a)
        return;
    s->attempt = NULL;
    if (s->state >= SESSION_CLOSING)
        return;
    bool may_work_again =
        error_retryable(e->code) || e->code == ERR_DIED; /* nothing ran in it */
    if (e->code == ERR_CAPACITY && s->state == SESSION_OPENING && !s->warm) {
        lacked_room(a, e);
        admission_return(s, e);
        return;
    }
    bool free = costs_nothing(a, e);
    if (free)
        lacked_room(a, e);
    else
        s->failures++;
    if (a->adopted || s->warm || !may_work_again ||
        s->failures >= (unsigned)g->class->launch_attempts) {
        session_close(s, error_name(e->code), e);
        return;
    }
    int64_t base = g->class->backoff_base_ms;
    s->launch_at = core_now(s->core) + (free ? backoff_ms(base, s->refusals, CAPACITY_CAP_MS)
                                             : attempt_backoff_ms(s));
}

void attempt_misrouted(struct attempt *a, const char *where)
{
    struct session *s = a->session;
    s->misroutes++;
    s->core->counters.misroutes++;
    log_warn("misroute", KV("session", s->id), KI("attempt", a->number), KV("during", where));
    event_emit(s, "misroute", KI("attempt", a->number), KV("during", where));
    log_debug("misroute.cookie", KV("session", s->id),
              KPREFIX("cookie", cookie_set_value(&a->route.cookies)));
}
